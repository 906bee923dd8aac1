"""Features of lines or patients associated with sensitivity to NK cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore._warn import warn
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import (
    benjamini_hochberg,
    exact_test,
    holm,
    partial_rank_correlation,
    rank_correlation,
    rank_sum,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import Bools, Floats, Labels
    from nkscore.stats import Association

_COLUMNS = [
    "target",
    "feature",
    "family",
    "test",
    "effect",
    "p_value",
    "q_value",
    "q_all",
    "p_holm",
    "n",
    "n_positive",
]


def associate(
    targets: pd.DataFrame | pd.Series,
    features: pd.DataFrame | pd.Series | Mapping[str, pd.DataFrame | pd.Series],
    *,
    adjust_for: pd.Series | pd.DataFrame | None = None,
    min_count: int = 5,
    min_samples: int = 8,
) -> pd.DataFrame:
    """Test every feature for association with every target, by the type of each.

    Numbers with numbers: Spearman's rank correlation. A number with a yes or no (boolean columns,
    or 0 and 1 only): Wilcoxon's rank sum test. Two of the latter: Fisher's exact test. Columns of
    text become one yes-or-no feature per level. Samples that lack either value are excluded from
    the pair.

    Parameters
    ----------
    targets
        Samples (lines, patients) × targets, for example the area from
        :func:`nkscore.tl.sensitivity_auc` per line.
    features
        Samples × features, or a mapping from family (``"expression"``, ``"mutation"``,
        ``"methylation"``) to such a table. Samples are matched by their index.
    adjust_for
        Group of each sample (cancer type), continuous covariates (age, purity, growth rate), or a
        table of both; numbers are continuous, text and yes-or-no are groups. Tests are then partial
        rank correlations (yes and no as 1 and 0), with one group column within its groups.
    min_count
        A yes-or-no feature needs this many samples with yes and with no; a number needs this many
        nonzero values.
    min_samples
        Minimum number of complete samples of a pair. With ``adjust_for``, plus the number of
        groups and of covariates.

    Returns
    -------
    One row per target and tested feature, sorted by target, family and p-value: ``target``,
    ``feature``, ``family``, ``test`` (``spearman``, ``wilcoxon``, ``fisher``,
    ``partial_spearman``), ``effect`` (correlation, -1 to 1; rank-biserial for ``wilcoxon``,
    positive if yes is associated with higher numbers; log2 odds ratio for ``fisher``), ``p_value``,
    ``q_value`` (Benjamini-Hochberg within target and family), ``q_all`` (the same over all rows),
    ``p_holm`` (Holm over all rows: the chance of any wrong call in the whole table), ``n``
    (complete samples of this pair), ``n_positive`` (yes). Features excluded by ``min_count``, and
    constant targets if there are several, are counted in a warning and named in
    ``attrs["left_out"]``.

    Raises
    ------
    DesignError
        If tables share fewer than ``min_samples`` samples, a sample is repeated, the only target
        is constant, no feature can be tested, or ``adjust_for`` repeats a sample.
    WrongScaleError
        If a feature, target or covariate has infinite values, or a target is text.
    MissingKeyError
        If ``adjust_for`` lacks samples.

    Notes
    -----
    Without ``adjust_for`` any feature that differs between cancer types is associated with a target
    that also does. p-values use the approximations above, even with few samples.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> lines = [f"line{i}" for i in range(12)]
    >>> auc = pd.Series(np.linspace(0.2, 1, 12), index=lines, name="auc")
    >>> genes = pd.DataFrame({"NCR3LG1": -auc, "HLA-E": auc**2})
    >>> nk.tl.associate(auc, genes)[["feature", "effect"]].values.tolist()
    [['HLA-E', 1.0], ['NCR3LG1', -1.0]]
    """
    frame = _unique(_as_frame(targets), "targets")
    given = features if isinstance(features, Mapping) else {"features": features}
    families = {name: _as_frame(table) for name, table in given.items()}
    if not families:
        msg = "features is empty; a table, or a mapping from family to table, is needed."
        raise DesignError(msg)
    parts: list[pd.DataFrame] = []
    left_out: list[str] = []
    for family, table in families.items():
        shared = _shared(frame, _unique(table, family), family, least=min_samples)
        adjust = _adjustment(adjust_for, shared)
        columns, kinds, values = _columns(table.loc[shared], family)
        for name in frame.columns:
            where = f"{name}, {family}" if frame.shape[1] > 1 else family
            goal = _target(frame.loc[shared, name], str(name))
            if _constant(goal):
                _refuse_only(frame)
                left_out.append(f"{where}: target is constant")
                continue
            made, dropped = _tests(
                goal,
                columns,
                kinds,
                values,
                adjust=adjust,
                min_count=min_count,
                min_samples=min_samples,
            )
            left_out += [f"{where}: {feature}" for feature in dropped]
            parts.append(made.assign(target=str(name), family=family))
    return _joined(parts, left_out, min_count=min_count, min_samples=min_samples)


def _joined(
    parts: list[pd.DataFrame], left_out: list[str], *, min_count: int, min_samples: int
) -> pd.DataFrame:
    result = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if result.empty:
        msg = (
            f"No feature can be tested: all {len(left_out)} have fewer than {min_count} samples "
            f"with a value (or a yes, or a no), or fewer than {min_samples} complete samples. "
            "Lower min_count or add samples."
        )
        raise DesignError(msg)
    if left_out:
        warn(
            f"{len(left_out)} of {len(left_out) + len(result)} pairs were not tested, "
            f"because of too few samples or no variation ({', '.join(left_out[:3])}, "
            "...); see attrs['left_out']."
        )
    p = result["p_value"].astype("float64")
    result = result.assign(q_all=benjamini_hochberg(p), p_holm=holm(p))
    result = result[_COLUMNS].sort_values(["target", "family", "p_value", "feature"])
    result = result.reset_index(drop=True)
    result.attrs["left_out"] = left_out
    return result


def _as_frame(table: pd.DataFrame | pd.Series) -> pd.DataFrame:
    return table.to_frame() if isinstance(table, pd.Series) else table


def _unique(table: pd.DataFrame, name: str) -> pd.DataFrame:
    for axis, what in ((table.index, "sample"), (table.columns, "column")):
        if axis.has_duplicates:
            found = axis[axis.duplicated()][0]
            msg = f"{name} holds the {what} {found!r} twice; each must occur once. Merge or rename."
            raise DesignError(msg)
    return table


def _shared(frame: pd.DataFrame, table: pd.DataFrame, family: str, *, least: int) -> pd.Index:
    shared = frame.index.intersection(table.index)
    if len(shared) < least:
        msg = (
            f"Targets and {family} share {len(shared)} samples (targets: "
            f"{', '.join(map(repr, frame.index[:3].tolist()))}; {family}: "
            f"{', '.join(map(repr, table.index[:3].tolist()))}); at least {least} are "
            "needed. Samples must be the rows, with the same names."
        )
        raise DesignError(msg)
    return shared


@dataclass(frozen=True, slots=True)
class _Adjustment:
    """What tests adjust for: ``groups`` if that is one column of groups and nothing else."""

    indicators: Floats
    covariates: Floats
    groups: Labels | None
    n_columns: int

    def rows(self, chosen: Bools) -> _Adjustment:
        return replace(
            self,
            indicators=self.indicators[chosen],
            covariates=self.covariates[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )

    def correlation(self, target: Floats, features: Floats) -> Association:
        if self.groups is not None:
            return rank_correlation(target, features, self.groups)
        return partial_rank_correlation(target, features, self.indicators, self.covariates)


def _adjustment(adjust_for: object, shared: pd.Index) -> _Adjustment | None:
    if adjust_for is None:
        return None
    if not isinstance(adjust_for, (pd.Series, pd.DataFrame)) or adjust_for.index.has_duplicates:
        msg = "adjust_for must be a column (a Series) or table that holds each sample once."
        raise DesignError(msg)
    given = adjust_for.to_frame("group") if isinstance(adjust_for, pd.Series) else adjust_for
    if given.columns.has_duplicates or not given.shape[1]:
        msg = f"adjust_for has the columns {list(given.columns)}; each must occur once. Rename."
        raise DesignError(msg)
    table = given.reindex(shared)
    lost = table.isna().any(axis=1)
    if lost.any():
        msg = (
            f"adjust_for has no group for {int(lost.sum())} samples, the first "
            f"is {table.index[lost].tolist()[0]!r}. Give each sample one, or remove it."
        )
        raise MissingKeyError(msg)
    numbers = [c for c in table if given[c].dtype.kind in "iuf"]
    covariates = table[numbers].to_numpy(dtype=float)
    if np.isinf(covariates).any():
        msg = "adjust_for holds infinite values. Set them to missing and remove these samples."
        raise WrongScaleError(msg)
    text = table.drop(columns=numbers).astype(str)
    none = np.zeros((len(table), 0))
    indicators = pd.get_dummies(text).to_numpy(dtype=float) if text.shape[1] else none
    one = len(numbers) == 0 and text.shape[1] == 1
    return _Adjustment(
        indicators=indicators,
        covariates=covariates,
        groups=text.iloc[:, 0].to_numpy(dtype=object) if one else None,
        n_columns=indicators.shape[1] + len(numbers),
    )


def _columns(table: pd.DataFrame, family: str) -> tuple[Labels, Bools, Floats]:
    """Return names, whether yes-or-no, and values (NaN where missing) of all features."""
    # True, False and missing in one column give an object column.
    objects = table.columns[[kind.kind == "O" for kind in table.dtypes]]
    mixed = [c for c in objects if _is_yes_or_no(table[c])]
    if mixed:
        table = table.astype(dict.fromkeys(mixed, "boolean"))
    numeric = table.select_dtypes(include=["number", "bool", "boolean"])
    text = [c for c in table.columns if c not in numeric.columns]
    parts = [numeric.astype("float64") if len(numeric.columns) else numeric]
    for column in text:
        levels = pd.get_dummies(table[column].astype(object), prefix=str(column), prefix_sep=" = ")
        parts.append(levels.astype("float64").where(table[column].notna()))
    wide = pd.concat(parts, axis=1)
    values = wide.to_numpy(dtype=float)
    if np.isinf(values).any():
        column = wide.columns[np.isinf(values).any(axis=0)][0]
        msg = f"{family}, {column!r} holds infinite values. Set them to missing or clip them."
        raise WrongScaleError(msg)
    binary = np.all(np.isnan(values) | (values == 0) | (values == 1), axis=0)
    return wide.columns.astype(str).to_numpy(dtype=object), np.asarray(binary), values


def _is_yes_or_no(column: pd.Series) -> bool:
    known = column.dropna()
    return len(known) > 0 and all(isinstance(value, (bool, np.bool_)) for value in known)


def _target(values: pd.Series, name: str) -> Floats:
    goal = pd.to_numeric(values, errors="coerce").astype("float64").to_numpy()
    bad = (np.isnan(goal) & values.notna().to_numpy()) | np.isinf(goal)
    if bad.any():
        msg = (
            f"Target {name!r} holds '{values[bad].iloc[0]}'; numbers, or true and false, are "
            "needed. Convert groups to columns of true and false: pd.get_dummies."
        )
        raise WrongScaleError(msg)
    return np.asarray(goal)


def _refuse_only(targets: pd.DataFrame) -> None:
    if targets.shape[1] == 1:
        msg = (
            f"Target {str(targets.columns[0])!r} is constant over these samples, so nothing can be "
            "associated with it. Remove it."
        )
        raise DesignError(msg)


def _constant(goal: Floats) -> bool:
    known = goal[np.isfinite(goal)]
    return known.size == 0 or bool(np.ptp(known) == 0)


def _tests(
    goal: Floats,
    columns: Labels,
    kinds: Bools,
    values: Floats,
    *,
    adjust: _Adjustment | None,
    min_count: int,
    min_samples: int,
) -> tuple[pd.DataFrame, list[str]]:
    known_goal = np.isfinite(goal)
    binary_goal = bool(np.isin(goal[known_goal], (0.0, 1.0)).all())
    masked = np.where(known_goal[:, None], values, np.nan)
    least = min_samples + (0 if adjust is None else adjust.n_columns)
    enough = _enough(masked, kinds, min_count=min_count, least=least)
    parts = []
    for binary in (False, True):
        chosen = np.flatnonzero(enough & (kinds == binary))
        if not chosen.size:
            continue
        block = masked[:, chosen]
        # Families can lack whole samples; without these most columns are complete, which is faster.
        rows = np.asarray(np.isfinite(block).any(axis=1))
        inside = None if adjust is None else adjust.rows(rows)
        test, run = _test(inside, binary=binary, binary_goal=binary_goal)
        part = _described(run(goal[rows], block[rows]), test)
        n_positive = np.nansum(block, axis=0) if binary else np.nan
        parts.append(part.assign(feature=columns[chosen], n_positive=n_positive))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)
    constant = table["p_value"].isna()
    dropped = [*columns[~enough], *table.loc[constant, "feature"]]
    table = table[~constant]
    return table.assign(q_value=benjamini_hochberg(table["p_value"])), dropped


def _described(made: Association, test: str) -> pd.DataFrame:
    return pd.DataFrame({"test": test, "effect": made.effect, "p_value": made.p_value, "n": made.n})


def _enough(values: Floats, kinds: Bools, *, min_count: int, least: int) -> Bools:
    known = np.isfinite(values)
    n = known.sum(axis=0)
    nonzero = (np.nan_to_num(values) != 0).sum(axis=0)
    return np.asarray((n >= least) & (nonzero >= min_count) & (~kinds | (n - nonzero >= min_count)))


def _test(
    adjust: _Adjustment | None, *, binary: bool, binary_goal: bool
) -> tuple[str, Callable[[Floats, Floats], Association]]:
    if adjust is not None:
        return "partial_spearman", adjust.correlation
    if binary and binary_goal:
        return "fisher", exact_test
    if binary:
        return "wilcoxon", lambda y, x: rank_sum(y[:, None], x)
    if binary_goal:
        return "wilcoxon", lambda y, x: rank_sum(x, y[:, None])
    return "spearman", rank_correlation
