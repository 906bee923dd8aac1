"""One comparison in several cohorts, and what they say together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore._checks import check_confidence
from nkscore.errors import DesignError
from nkscore.stats import benjamini_hochberg, interval, random_effects, stratified_rank_p
from nkscore.tl._cohorts._contrasts import contrasts, level_names, wilcoxon_p
from nkscore.tl._cohorts._tables import checked_scores, patients_of, refuse_constant, with_samples

if TYPE_CHECKING:
    from nkscore._types import Floats
    from nkscore.tl._cohorts._contrasts import Contrast

_LOG = logging.getLogger("nkscore")
POOLED: Final = "pooled"
_COLUMNS: Final = [
    "contrast",
    "level",
    "reference",
    "feature",
    "cohort",
    "effect",
    "se",
    "df",
    "ci_low",
    "ci_high",
    "p_value",
    "q_value",
    "p_rank",
    "q_rank",
    "n_level",
    "n_reference",
    "n_cohorts",
    "tau2",
    "i2",
    "heterogeneity_p",
    "prediction_low",
    "prediction_high",
]


def cohort_meta_analysis(
    scores: pd.DataFrame,
    groups: pd.Series,
    cohort: pd.Series,
    *,
    reference: str | None = None,
    patient: pd.Series | None = None,
    min_samples: int = 3,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare groups of patients, or time points within patients, in each cohort and over all.

    Parameters
    ----------
    scores
        Samples × features. Cohorts must share the unit (fractions, ranks, z-scores).
    groups
        Level of each sample (diagnosis, relapse), matched by the index.
    cohort
        Cohort of each sample. Samples are never compared over cohorts.
    reference
        Level to compare the others with; default as in :func:`cohort_differences`.
    patient
        Patient of each sample: levels are compared within patients who have both. Names of
        patients may recur in another cohort.
    min_samples
        Minimum number of samples of a level, or of pairs, in a cohort.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per comparison, feature and cohort, and one with ``cohort`` ``"pooled"``, sorted by the
    pooled p-value: ``contrast``, ``level``, ``reference``, ``feature``, ``cohort``, ``effect``
    (mean of level minus reference, in units of the score; pooled: the mean over cohorts), ``se``,
    ``df``, ``ci_low``, ``ci_high`` (t with ``df``), ``p_value`` (t-test, paired or Welch's; pooled:
    random effects), ``p_rank`` (Wilcoxon's signed rank or rank sum, exact for few samples without
    ties; pooled: ranks within cohorts), ``q_value``, ``q_rank`` (Benjamini-Hochberg over features,
    within comparison and cohort), ``n_level``, ``n_reference`` (samples; equal for pairs),
    ``n_cohorts``, and for pooled rows ``tau2`` (variance between cohorts), ``i2``,
    ``heterogeneity_p``, ``prediction_low``, ``prediction_high`` (where a further cohort may lie).
    ``attrs["left_out"]`` names cohorts with too few samples.

    Raises
    ------
    DesignError
        If fewer than two cohorts allow a comparison, a sample is repeated, tables share no sample,
        a level is unknown, a cohort is named ``pooled``, or a patient has two samples at a level.
    WrongScaleError
        If a score is not a number or infinite.

    Notes
    -----
    Pooled effects: random effects with the variance of Paule and Mandel and the interval of Hartung
    and Knapp, whose degrees of freedom are the cohorts minus 1, so that it is wide for few cohorts.
    It asks for the mean over cohorts; ``p_rank`` asks whether there is a difference in these
    cohorts, and weights them by size (van Elteren 1960).

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> rng = np.random.default_rng(0)
    >>> names = [f"P{i}_{when}" for i in range(24) for when in ("diagnosis", "relapse")]
    >>> when = pd.Series([n.split("_")[1] for n in names], names)
    >>> patient = pd.Series([n.split("_")[0] for n in names], names)
    >>> cohort = pd.Series(np.repeat(["one", "two", "three"], 16), names)
    >>> scores = pd.DataFrame({"stem": rng.normal(when == "relapse", 0.5)}, names)
    >>> made = nk.tl.cohort_meta_analysis(scores, when, cohort, patient=patient)
    >>> made["cohort"].tolist(), bool(made["p_rank"].iloc[-1] < 0.01)
    (['one', 'three', 'two', 'pooled'], True)
    """
    check_confidence(confidence)
    table = checked_scores(scores)
    when = with_samples(groups, table.index, "groups")
    place = _cohorts(cohort, when.index)
    when, table = when.loc[place.index], table.loc[place.index]
    owner = patients_of(patient, table.index)
    refuse_constant(table)
    levels, labels = level_names(when)
    if reference is not None and str(reference) not in levels:
        msg = f"groups has no level {reference!r}; it has {', '.join(levels) or 'none'}."
        raise DesignError(f"{msg} Name one of them as reference.")
    found: dict[tuple[str, str], dict[str, Contrast]] = {}
    left_out = []
    for name in sorted(set(place)):
        inside = np.where(place.to_numpy() == name, labels, np.array(None, dtype=object))
        asked = None if reference is None else str(reference)
        for one in contrasts(levels, inside, reference=asked, patient=owner):
            n = min(len(one.rows), len(one.other_rows))
            if n < min_samples:
                left_out.append(f"{name}: {one.level} vs {one.reference} ({n} samples)")
            else:
                found.setdefault((one.level, one.reference), {})[name] = one
    return _joined(found, left_out, table, min_samples=min_samples, confidence=confidence)


def _cohorts(cohort: pd.Series, samples: pd.Index) -> pd.Series:
    place = with_samples(cohort, samples, "cohort")
    place = place[place.notna()].astype(object).map(str)
    if POOLED in set(place):
        raise DesignError(f"A cohort is called {POOLED!r}, as the rows over all are. Rename it.")
    if place.nunique() < 2:
        msg = (
            f"cohort names {place.nunique()} cohort in these samples; two or more are needed. "
            "Within one cohort, use tl.cohort_differences."
        )
        raise DesignError(msg)
    lost = len(samples) - len(place)
    if lost:
        _LOG.warning("%d of %d samples have no cohort and are excluded", lost, len(samples))
    return place


def _joined(
    found: dict[tuple[str, str], dict[str, Contrast]],
    left_out: list[str],
    table: pd.DataFrame,
    *,
    min_samples: int,
    confidence: float,
) -> pd.DataFrame:
    parts = []
    for (level, reference), by_cohort in found.items():
        if len(by_cohort) < 2:
            left_out += [f"{name}: {level} vs {reference} (only cohort)" for name in by_cohort]
            continue
        made = _pooled(table, by_cohort, confidence)
        contrast = f"{level} vs {reference}"
        parts.append(made.assign(contrast=contrast, level=level, reference=reference))
    if not parts:
        found_text = "; ".join(left_out[:6]) or "groups has one level"
        msg = (
            f"No comparison has {min_samples} samples or pairs on both sides in two cohorts: "
            f"{found_text}. Check the spelling of levels and patients, or lower min_samples."
        )
        raise DesignError(msg)
    for text in left_out:
        _LOG.warning("Too few to compare, excluded: %s", text)
    joined = pd.concat(parts, ignore_index=True)[_COLUMNS]
    joined.attrs["left_out"] = left_out
    return joined


def _pooled(table: pd.DataFrame, by_cohort: dict[str, Contrast], confidence: float) -> pd.DataFrame:
    """Return the rows of one comparison: each cohort, and all of them."""
    values = table.to_numpy()
    features = table.columns.astype(str).to_numpy(dtype=object)
    parts = [
        _one_cohort(values, one, confidence).assign(cohort=name, feature=features)
        for name, one in by_cohort.items()
    ]
    effect, error = (np.stack([p[c].to_numpy() for p in parts], axis=1) for c in ("effect", "se"))
    made = random_effects(np.where(error > 0, effect, np.nan), error, confidence=confidence)
    arms = [_complete(values, one) for one in by_cohort.values()]
    paired = next(iter(by_cohort.values())).paired
    pooled = pd.DataFrame(
        {
            "feature": features,
            "cohort": POOLED,
            "effect": made.effect,
            "se": made.standard_error,
            "df": made.n - 1.0,
            "ci_low": made.ci_low,
            "ci_high": made.ci_high,
            "p_value": made.p_value,
            "p_rank": stratified_rank_p(*zip(*arms, strict=True), paired=paired),
            "n_level": sum(part["n_level"].to_numpy() for part in parts),
            "n_reference": sum(part["n_reference"].to_numpy() for part in parts),
            "n_cohorts": made.n,
            "tau2": made.tau2,
            "i2": made.i2,
            "heterogeneity_p": made.heterogeneity_p,
            "prediction_low": made.prediction_low,
            "prediction_high": made.prediction_high,
        }
    )
    order = np.lexsort((features.astype(str), made.p_value))
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    joined = pd.concat([*parts, pooled], ignore_index=True)
    joined["_place"] = np.tile(place, len(parts) + 1)
    for p, q in (("p_value", "q_value"), ("p_rank", "q_rank")):
        joined[q] = benjamini_hochberg(joined[p], joined["cohort"])
    return joined.sort_values("_place", kind="stable")


def _complete(values: Floats, contrast: Contrast) -> tuple[Floats, Floats]:
    """Return both arms; of pairs, only those with both values."""
    here, there = values[contrast.rows], values[contrast.other_rows]
    if contrast.paired:
        both = np.isfinite(here) & np.isfinite(there)
        here, there = np.where(both, here, np.nan), np.where(both, there, np.nan)
    return here, there


def _one_cohort(values: Floats, contrast: Contrast, confidence: float) -> pd.DataFrame:
    here, there = _complete(values, contrast)
    n, n_other = np.isfinite(here).sum(axis=0), np.isfinite(there).sum(axis=0)
    if contrast.paired:
        effect, part = _mean(here - there, n)
        df = n - 1.0
    else:
        (one, part_one), (other, part_other) = _mean(here, n), _mean(there, n_other)
        effect, part = one - other, part_one + part_other
        with np.errstate(invalid="ignore", divide="ignore"):
            df = part**2 / (part_one**2 / (n - 1) + part_other**2 / (n_other - 1))
    error = np.where(part > 0, np.sqrt(part), np.nan)
    low, high = interval(effect, error, df, confidence)
    return pd.DataFrame(
        {
            "effect": effect,
            "se": error,
            "df": df,
            "ci_low": low,
            "ci_high": high,
            "p_value": 2 * scipy_stats.t.sf(np.abs(effect / error), df),
            "p_rank": wilcoxon_p(values, contrast),
            "n_level": n,
            "n_reference": n_other,
            "n_cohorts": 1,
        }
    )


def _mean(values: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Return the mean of each column and its variance; NaN for fewer than two values."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=0) / n
        squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
        return mean, np.where(n > 1, squares / (n - 1) / n, np.nan)
