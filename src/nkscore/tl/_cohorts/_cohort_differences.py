"""Differences of scores between patients: subtypes, mutations, and treatment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nkscore._checks import check_confidence
from nkscore.errors import DesignError
from nkscore.stats import benjamini_hochberg
from nkscore.tl._cohorts._contrasts import (
    Contrast,
    contrasts,
    kruskal,
    level_names,
    moderated_table,
    wilcoxon_table,
)
from nkscore.tl._cohorts._tables import checked_scores, patients_of, refuse_constant, with_samples

_COLUMNS = [
    "grouping",
    "level",
    "reference",
    "contrast",
    "feature",
    "test",
    "effect",
    "ci_low",
    "ci_high",
    "rank_biserial",
    "p_value",
    "q_value",
    "n_level",
    "n_reference",
    "p_overall",
    "q_overall",
]
_LOG = logging.getLogger("nkscore")
_TESTS = {"wilcoxon": wilcoxon_table, "moderated_t": moderated_table}
_NAMES = {
    ("wilcoxon", False): "rank_sum",
    ("wilcoxon", True): "signed_rank",
    ("moderated_t", False): "moderated_t",
    ("moderated_t", True): "paired_moderated_t",
}


def cohort_differences(
    scores: pd.DataFrame,
    groups: pd.Series | pd.DataFrame,
    *,
    reference: str | Mapping[str, str] | None = None,
    patient: pd.Series | None = None,
    test: str = "wilcoxon",
    min_samples: int = 3,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare scores between groups of patients, or within patients between time points.

    Parameters
    ----------
    scores
        Samples × features, for example from :func:`project_cohort`.
    groups
        One or several groupings of the samples (subtype, a column per mutated gene, time point),
        matched by the index. Categories keep their order, other levels are sorted; samples where
        a grouping is missing are excluded from it.
    reference
        Level to compare the others with, for all groupings or by grouping. Default: the first of
        two levels; with more, each level against all other samples; with ``patient``, every pair of
        levels, later against earlier.
    patient
        Patient of each sample: levels are compared within patients who have both (diagnosis with
        residual disease or relapse). Patients who lack one of them are excluded, with a log line.
    test
        ``"wilcoxon"``: rank sum, or signed rank within patients; exact if an arm has fewer than 9
        samples, or for up to 50 patients, and no values are tied. ``"moderated_t"``: t-test with a
        variance shared between the features (limma), for few patients and many features.
    min_samples
        Minimum number of samples of a level, or of pairs.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per grouping, comparison and feature, sorted by p-value within a comparison:
    ``grouping``, ``level``, ``reference``, ``contrast``, ``feature``, ``test``, ``effect`` (level
    minus reference, in units of the score: median of all differences for ``wilcoxon``, difference
    of means for ``moderated_t``), ``ci_low``, ``ci_high`` (infinite if the samples are too few to
    bound it), ``rank_biserial`` (-1 to 1; missing for ``moderated_t``), ``p_value``, ``q_value``
    (Benjamini-Hochberg within a comparison), ``n_level``, ``n_reference`` (samples with a score;
    equal for pairs), ``p_overall``, ``q_overall`` (Kruskal and Wallis over all levels, if there are
    more than two and samples are independent).

    Raises
    ------
    DesignError
        If a sample is repeated, tables share no sample, ``reference`` names no existing level or
        grouping, a feature is constant, a patient has two samples at a level, or no comparison has
        ``min_samples`` on both sides.
    WrongScaleError
        If a score is not a number or infinite.
    ValueError
        If ``test`` is unknown.

    Notes
    -----
    With n pairs the signed rank test cannot go below 2 / 2**n: 0.06 for five patients. Rare levels
    are excluded from comparisons with a log line and named in ``attrs["left_out"]``. Differences
    between time points include differences in cell composition: fewer tumor cells in remission
    change bulk scores by themselves.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> patients = [f"P{i}" for i in range(12)]
    >>> scores = pd.DataFrame({"mhc_i": np.arange(12.0)}, index=patients)
    >>> mutated = pd.Series([False] * 6 + [True] * 6, index=patients, name="NLRC5")
    >>> made = nk.tl.cohort_differences(scores, mutated)
    >>> made[["contrast", "effect", "rank_biserial"]].values.tolist()
    [['True vs False', 6.0, 1.0]]
    """
    if test not in _TESTS:
        msg = f"test={test!r}; one of {', '.join(_TESTS)} is needed."
        raise ValueError(msg)
    check_confidence(confidence)
    table = checked_scores(scores)
    if isinstance(groups, pd.Series):
        name: Any = groups.name
        frame = groups.to_frame(name or "group")
    else:
        frame = groups
    frame = with_samples(frame, table.index, "groups")
    _check_groupings(reference, frame)
    table = table.loc[frame.index]
    owner = patients_of(patient, table.index)
    refuse_constant(table)
    parts, left_out = [], []
    for name in frame.columns:
        levels, labels = level_names(frame[name])
        first = _reference(reference, str(name), levels)
        overall = kruskal(table.to_numpy(), levels if owner is None else [], labels)
        for contrast in contrasts(levels, labels, reference=first, patient=owner):
            if min(len(contrast.rows), len(contrast.other_rows)) < min_samples:
                left_out.append(_too_few(contrast, str(name)))
                continue
            made = _compared(table, contrast, test, confidence)
            overall_test = {"p_overall": overall, "q_overall": benjamini_hochberg(overall)}
            parts.append(made.assign(grouping=str(name), **overall_test))
    return _joined(parts, left_out, min_samples=min_samples)


def _compared(
    table: pd.DataFrame, contrast: Contrast, test: str, confidence: float
) -> pd.DataFrame:
    values = table.to_numpy()
    made = _TESTS[test](values, contrast, confidence)
    here, there = np.isfinite(values[contrast.rows]), np.isfinite(values[contrast.other_rows])
    if contrast.paired:
        here = there = here & there
    return made.assign(
        level=contrast.level,
        reference=contrast.reference,
        contrast=f"{contrast.level} vs {contrast.reference}",
        feature=table.columns.astype(str).to_numpy(dtype=object),
        test=_NAMES[test, contrast.paired],
        q_value=benjamini_hochberg(made["p_value"]),
        n_level=here.sum(axis=0),
        n_reference=there.sum(axis=0),
    )


def _check_groupings(reference: str | Mapping[str, str] | None, frame: pd.DataFrame) -> None:
    known = [str(name) for name in frame.columns]
    named = reference if isinstance(reference, Mapping) else {}
    unknown = [name for name in named if name not in known]
    if unknown:
        msg = f"reference names the grouping {unknown[0]!r}; known: {', '.join(known)}."
        raise DesignError(msg)


def _reference(
    reference: str | Mapping[str, str] | None, name: str, levels: list[str]
) -> str | None:
    asked = reference.get(name) if isinstance(reference, Mapping) else reference
    if asked is not None and str(asked) not in levels:
        msg = f"{name} has no level {asked!r}; it has {', '.join(levels) or 'none'}."
        raise DesignError(f"{msg} Name one of them as reference.")
    return None if asked is None else str(asked)


def _too_few(contrast: Contrast, name: str) -> str:
    kind = "pairs" if contrast.paired else "samples"
    found = f"{len(contrast.rows)}"
    if not contrast.paired:
        found += f" and {len(contrast.other_rows)}"
    text = f"{name}: {contrast.level} vs {contrast.reference} ({found} {kind})"
    _LOG.warning("Too few to compare, excluded: %s", text)
    return text


def _joined(parts: list[pd.DataFrame], left_out: list[str], *, min_samples: int) -> pd.DataFrame:
    if not parts:
        found = "; ".join(left_out) or "no grouping has two levels"
        msg = (
            f"No comparison has {min_samples} samples or pairs on both sides: {found}. "
            "Merge rare levels, add samples, or check the spelling of time points and patients."
        )
        raise DesignError(msg)
    made = pd.concat(parts, ignore_index=True)
    place = made.groupby(["grouping", "contrast"], sort=False).ngroup()
    made = made.assign(_place=place).sort_values(["_place", "p_value", "feature"])
    made = made[_COLUMNS].reset_index(drop=True)
    made.attrs["left_out"] = left_out
    return made
