"""Associations within each lineage, how they differ, and what remains without one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._checks import check_confidence
from nkscore._warn import warn
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import (
    benjamini_hochberg,
    fisher_z,
    group_correlations,
    interval,
    random_effects,
    rank_correlation,
)

if TYPE_CHECKING:
    from nkscore._types import Array, Floats
    from nkscore.stats import GroupCorrelations

POOLED: Final = "pooled"
_COLUMNS: Final = [
    *("target", "feature", "group", "effect", "ci_low", "ci_high", "p_value", "q_value", "n"),
    *("n_groups", "i2", "interaction_p", "interaction_q"),
    *("loo_low", "loo_high", "loo_p_max", "loo_group"),
]


def associate_by(
    targets: pd.DataFrame | pd.Series,
    features: pd.DataFrame,
    by: pd.Series,
    *,
    min_samples: int = 6,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Associate features with targets within each lineage, and compare the lineages.

    Parameters
    ----------
    targets
        Samples (lines, patients) × targets.
    features
        Samples × features, numbers or yes and no (as 1 and 0).
    by
        Lineage of each sample, matched by the index.
    min_samples
        Minimum number of complete samples of a lineage; four are the minimum of the formulas.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per target, feature and lineage, and one with ``group`` ``"pooled"``: ``target``,
    ``feature``, ``group``, ``effect`` (Spearman's correlation, -1 to 1; pooled: of ranks within
    lineages, as :func:`associate` with ``adjust_for``), ``ci_low``, ``ci_high``, ``p_value``,
    ``q_value`` (Benjamini-Hochberg over features, within target and group), ``n``, and for pooled
    rows ``n_groups``, ``i2`` (share of the differences between lineages beyond chance),
    ``interaction_p`` (that all lineages have one correlation), ``interaction_q``, ``loo_low``,
    ``loo_high`` (range of the pooled effect with one lineage excluded), ``loo_p_max`` (largest
    p-value of these) and ``loo_group`` (whose exclusion gives it). ``attrs["left_out"]`` names
    lineages and features without a row.

    Raises
    ------
    DesignError
        If fewer than two lineages have ``min_samples``, tables share no sample, a name is repeated,
        or no feature varies in two lineages.
    MissingKeyError
        If a sample has no lineage.
    WrongScaleError
        If a target or feature is text, or infinite.

    Notes
    -----
    Intervals and interaction by Fisher's z with the variance 1.06 / (n - 3) (Fieller, Hartley and
    Pearson 1957, doi 10.1093/biomet/44.3-4.470) and Cochran's Q. A large ``interaction_p`` in small
    lineages is no evidence that they agree; look at the intervals.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> lineage = pd.Series(["AML"] * 12 + ["MM"] * 12, [f"L{i}" for i in range(24)])
    >>> x = pd.Series(np.tile(np.arange(12.0), 2), lineage.index)
    >>> auc = x.where(lineage == "AML", -x).rename("auc")
    >>> made = nk.tl.associate_by(auc, x.to_frame("gene"), lineage)
    >>> made[["group", "effect"]].values.tolist()
    [['AML', 1.0], ['MM', -1.0], ['pooled', 0.0]]
    >>> bool(made["interaction_p"].iloc[-1] < 0.001)
    True
    """
    check_confidence(confidence)
    goals = _numbers(targets.to_frame() if isinstance(targets, pd.Series) else targets, "targets")
    table = _numbers(features, "features")
    shared = goals.index.intersection(table.index, sort=False)
    groups = _groups(by, shared, min_samples)
    shared = groups.index
    values, names = table.loc[shared].to_numpy(), groups.to_numpy(dtype=object)
    parts, left_out = [], []
    for target in goals:
        goal = goals[target].loc[shared].to_numpy()
        made = group_correlations(goal, values, names, least=min_samples, confidence=confidence)
        usable = np.isfinite(made.rho).sum(axis=1) >= 2
        left_out += [f"{target}: {f}" for f in table.columns[~usable]]
        if usable.any():
            part = _one_target(goal, values, names, made, confidence)
            part["feature"] = np.tile(table.columns.astype(str), len(part) // len(usable))
            parts.append(part[np.tile(usable, len(part) // len(usable))].assign(target=str(target)))
    if not parts:
        msg = (
            "No feature varies with a target in two lineages. Lower min_samples, or use "
            "tl.associate with adjust_for."
        )
        raise DesignError(msg)
    return _sorted(pd.concat(parts, ignore_index=True), left_out)


def _numbers(table: pd.DataFrame, what: str) -> pd.DataFrame:
    for axis, kind in ((table.index, "sample"), (table.columns, "column")):
        if axis.has_duplicates:
            found = axis[axis.duplicated()].tolist()[0]
            raise DesignError(f"{what} holds the {kind} {found!r} twice; each must occur once.")
    text = [c for c in table if not pd.api.types.is_numeric_dtype(table[c])]
    if text:
        msg = (
            f"{what}, {text[0]!r} holds {table[text[0]].dtype} values; numbers, or true and false, "
            "are needed. Convert levels with pd.get_dummies."
        )
        raise WrongScaleError(msg)
    made = table.astype("float64")
    if np.isinf(made.to_numpy()).any():
        raise WrongScaleError(f"{what} holds infinite values. Set them to missing or clip them.")
    return made


def _groups(by: pd.Series, shared: pd.Index, min_samples: int) -> pd.Series:
    """Return the lineage of each sample of a lineage that is large enough."""
    if not len(shared):
        raise DesignError("targets and features share no sample. Samples must be the rows.")
    if by.index.has_duplicates:
        raise DesignError("by holds a sample twice; each must occur once.")
    groups = by.reindex(shared)
    if groups.isna().any():
        lost = groups.index[groups.isna()].tolist()
        msg = f"by has no lineage for {len(lost)} samples, the first is {lost[0]!r}. Name it."
        raise MissingKeyError(msg)
    groups = groups.astype(object).map(str)
    size = groups.map(groups.value_counts())
    kept = groups[size >= min_samples]
    if kept.nunique() < 2:
        found = ", ".join(f"{k} {v}" for k, v in groups.value_counts().items())
        msg = (
            f"{kept.nunique()} of {groups.nunique()} lineages has {min_samples} samples ({found}); "
            "two are needed to compare. Merge lineages, or use tl.associate with adjust_for."
        )
        raise DesignError(msg)
    small = sorted(set(groups[size < min_samples]))
    if small:
        warn(f"Lineages with fewer than {min_samples} samples are excluded: {', '.join(small)}.")
    return kept


def _one_target(
    goal: Floats, values: Floats, names: Array, made: GroupCorrelations, confidence: float
) -> pd.DataFrame:
    """Return the rows of all features: each lineage, and all lineages."""
    levels = sorted(set(names.tolist()))
    z, error = fisher_z(made.rho, made.n)
    parts = []
    for at, level in enumerate(levels):
        inside = names == level
        test = rank_correlation(goal[inside], values[inside])
        known = np.isfinite(made.rho[:, at])
        columns = {
            "effect": made.rho[:, at],
            "ci_low": made.low[:, at],
            "ci_high": made.high[:, at],
            "p_value": np.where(known, test.p_value, np.nan),
            "n": made.n[:, at],
        }
        parts.append(pd.DataFrame(columns).assign(group=level))
    pooled = rank_correlation(goal, values, names)
    both, width = fisher_z(pooled.effect, pooled.n - len(levels) + 1)
    low, high = interval(both, width, np.inf, confidence)
    between = random_effects(z, error, confidence=confidence)
    whole = pd.DataFrame(
        {
            "effect": pooled.effect,
            "ci_low": np.tanh(low),
            "ci_high": np.tanh(high),
            "p_value": pooled.p_value,
            "n": pooled.n,
            "n_groups": between.n,
            "i2": between.i2,
            "interaction_p": between.heterogeneity_p,
        }
    )
    whole = whole.assign(group=POOLED, **_without_each(goal, values, names, levels))
    return pd.concat([*parts, whole], ignore_index=True)


def _without_each(
    goal: Floats, values: Floats, names: Array, levels: list[str]
) -> dict[str, Array]:
    kept = [names != level for level in levels]
    tests = [rank_correlation(goal[rows], values[rows], names[rows]) for rows in kept]
    effect = np.stack([test.effect for test in tests])
    p = np.nan_to_num(np.stack([test.p_value for test in tests]), nan=1.0)
    return {
        "loo_low": np.fmin.reduce(effect),
        "loo_high": np.fmax.reduce(effect),
        "loo_p_max": p.max(axis=0),
        "loo_group": np.array(levels, dtype=object)[p.argmax(axis=0)],
    }


def _sorted(made: pd.DataFrame, left_out: list[str]) -> pd.DataFrame:
    key = made["target"] + "\n" + made["group"]
    made["q_value"] = benjamini_hochberg(made["p_value"], key)
    made["interaction_q"] = benjamini_hochberg(made["interaction_p"], key)
    is_pooled = made["group"] == POOLED
    best = made[is_pooled].set_index(["target", "feature"])["p_value"]
    pairs = pd.MultiIndex.from_frame(made[["target", "feature"]])
    made = made.assign(_best=best.reindex(pairs).to_numpy(), _last=is_pooled)
    made = made.sort_values(["target", "_best", "feature", "_last", "group"], kind="stable")
    made = made[_COLUMNS].reset_index(drop=True)
    if left_out:
        warn(
            f"{len(left_out)} pairs do not vary in two lineages ({', '.join(left_out[:3])}); see "
            "attrs['left_out']."
        )
    made.attrs["left_out"] = left_out
    return made
