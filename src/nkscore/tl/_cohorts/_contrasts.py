"""Comparisons between samples of a cohort, and their tests."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore.errors import DesignError
from nkscore.stats import (
    complete_blocks,
    exact_signed_rank,
    fit_linear,
    interval,
    moderated_test,
    rank_sum,
    shift_between,
    shift_within,
    tied,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import Bools, Floats, Ints, Labels

REST: Final = "rest"
#: Arms smaller than this get exact p-values, if no values are tied.
_SMALL_ARM: Final = 9
#: Up to so many pairs, tied ranks get exact p-values, too.
_FEW_PAIRS: Final = 13


@dataclass(frozen=True, slots=True)
class Contrast:
    """Which samples are compared.

    ``rows`` are those at ``level``, ``other_rows`` those at ``reference``; where they are paired,
    in the same order.
    """

    level: str
    reference: str
    rows: Ints
    other_rows: Ints
    paired: bool


def level_names(groups: pd.Series) -> tuple[list[str], Labels]:
    """Return the levels in order and the level of each sample (``None`` if missing)."""
    known = groups.notna().to_numpy()
    text = np.where(known, groups.astype(object).astype(str), np.array(None, dtype=object))
    if isinstance(groups.dtype, pd.CategoricalDtype):
        order = [str(level) for level in groups.cat.categories]
    else:
        # Numbers in numerical order; mixed types by their text.
        one_type = len({type(level) for level in groups[known].unique()}) < 2
        order = [str(v) for v in sorted(groups[known].unique(), key=None if one_type else str)]
    used = set(text[known])
    return [level for level in order if level in used], text


def contrasts(
    levels: list[str], labels: Labels, *, reference: str | None, patient: Labels | None
) -> Iterator[Contrast]:
    """Yield the comparisons between the levels."""
    if patient is not None:
        for first, level in _ordered_pairs(levels, reference):
            yield _pairs(labels, patient, level=level, reference=first)
        return
    if reference is None and len(levels) > 2:
        for level in levels:
            here = labels == level
            there = ~here & np.array([label is not None for label in labels])
            yield Contrast(level, REST, np.flatnonzero(here), np.flatnonzero(there), paired=False)
        return
    first = levels[0] if reference is None else reference
    for level in levels:
        if level != first:
            rows, other = np.flatnonzero(labels == level), np.flatnonzero(labels == first)
            yield Contrast(level, first, rows, other, paired=False)


def _ordered_pairs(levels: list[str], reference: str | None) -> list[tuple[str, str]]:
    if reference is not None:
        return [(reference, level) for level in levels if level != reference]
    return [(one, two) for low, one in enumerate(levels) for two in levels[low + 1 :]]


def _pairs(labels: Labels, patient: Labels, *, level: str, reference: str) -> Contrast:
    found = []
    for name in (level, reference):
        rows = np.flatnonzero(labels == name)
        owner = pd.Series(rows, index=patient[rows])
        if owner.index.has_duplicates:
            twice = owner.index[owner.index.duplicated()][0]
            msg = (
                f"Patient {twice!r} has {int((owner.index == twice).sum())} samples at "
                f"{name!r}; pairs need one. Average them, or choose one."
            )
            raise DesignError(msg)
        found.append(owner)
    both = sorted(set(found[0].index) & set(found[1].index), key=str)
    rows, other = (owner.loc[both].to_numpy(dtype=int) for owner in found)
    return Contrast(level, reference, rows, other, paired=True)


def wilcoxon_table(values: Floats, contrast: Contrast, confidence: float) -> pd.DataFrame:
    """Test each column by ranks, with effect and interval after Hodges and Lehmann."""
    made = pd.DataFrame(
        np.nan,
        index=range(values.shape[1]),
        columns=["effect", "ci_low", "ci_high", "rank_biserial", "p_value"],
    )
    for part, member, columns in _complete(values, contrast):
        if contrast.paired:
            shift = shift_within(part, confidence=confidence)
        else:
            shift = shift_between(part[member], part[~member], confidence=confidence)
        tested = _rank_test(part, member, contrast)
        found = [shift.effect, shift.low, shift.high, *tested]
        made.iloc[columns] = np.stack(found, axis=1)
    return made


def wilcoxon_p(values: Floats, contrast: Contrast) -> Floats:
    """Return the p-values of :func:`wilcoxon_table` alone."""
    p = np.full(values.shape[1], np.nan)
    for part, member, columns in _complete(values, contrast):
        p[columns] = _rank_test(part, member, contrast)[1]
    return p


def _complete(values: Floats, contrast: Contrast) -> Iterator[tuple[Floats, Bools, Ints]]:
    """Yield differences of pairs, or samples of both arms, which of them are at the level."""
    here, there = values[contrast.rows], values[contrast.other_rows]
    block = here - there if contrast.paired else np.concatenate([here, there])
    inside = np.arange(len(block)) < len(here)
    for rows, columns in complete_blocks(block):
        part, member = block[np.ix_(rows, columns)], inside[rows]
        if member.any() and (contrast.paired or not member.all()):
            yield part, member, columns


def _rank_test(values: Floats, member: Bools, contrast: Contrast) -> tuple[Floats, Floats]:
    return _signed_rank(values) if contrast.paired else _rank_sum(values, member)


def _rank_sum(values: Floats, member: Bools) -> tuple[Floats, Floats]:
    here, there = values[member], values[~member]
    made = rank_sum(values, member[:, None].astype(float))
    p = made.p_value.copy()
    if min(len(here), len(there)) < _SMALL_ARM:
        ordered = np.sort(values, axis=0)
        untied = np.flatnonzero((np.diff(ordered, axis=0) > 0).all(axis=0))
        p[untied] = scipy_stats.mannwhitneyu(
            here[:, untied], there[:, untied], method="exact", axis=0
        ).pvalue
    return made.effect, p


def _signed_rank(differences: Floats) -> tuple[Floats, Floats]:
    differences = tied(differences)
    ranks = scipy_stats.rankdata(np.abs(differences), axis=0)
    # Differences of zero have no direction and get no rank.
    ranks = np.where(differences != 0, ranks - (differences == 0).sum(axis=0), 0.0)
    total = ranks.sum(axis=0)
    moved = np.flatnonzero(total > 0)
    p, biserial = np.full((2, differences.shape[1]), np.nan)
    biserial[moved] = (np.sign(differences) * ranks).sum(axis=0)[moved] / total[moved]
    # Where ranks are tied, scipy tries all signs, one column after the other.
    any_tied = _tied(differences)
    few_tied = any_tied & (len(differences) <= _FEW_PAIRS)
    for column in moved[few_tied[moved]]:
        p[column] = exact_signed_rank(ranks[:, column], differences[:, column] > 0)
    with warnings.catch_warnings():
        # scipy warns about few pairs when it cannot use the exact distribution because of ties.
        warnings.simplefilter("ignore")
        ways: dict[Literal["auto", "approx"], Bools] = {
            "auto": ~any_tied,
            "approx": any_tied & ~few_tied,
        }
        for method, columns in ways.items():
            others = moved[columns[moved]]
            found = scipy_stats.wilcoxon(differences[:, others], axis=0, method=method)
            p[others] = found.pvalue
    return biserial, p


def _tied(differences: Floats) -> Bools:
    """Return which columns have a difference of zero, or two of one size."""
    ordered = np.sort(np.abs(differences), axis=0)
    return np.asarray((ordered[0] == 0) | (np.diff(ordered, axis=0) == 0).any(axis=0))


def moderated_table(values: Floats, contrast: Contrast, confidence: float) -> pd.DataFrame:
    """Test the mean difference of each column by t, with variances shared between columns."""
    here, there = values[contrast.rows], values[contrast.other_rows]
    if contrast.paired:
        y = (here - there).T
        design = np.ones((y.shape[1], 1))
    else:
        y = np.concatenate([here, there]).T
        design = np.ones((y.shape[1], 2))
        design[:, 1] = np.arange(y.shape[1]) < len(here)
    known = np.isfinite(y)
    fit = fit_linear(np.where(known, y, 0.0), design, known.astype(float))
    made = moderated_test(fit, design.shape[1] - 1)
    low, high = interval(made.effect, made.standard_error, made.df, confidence)
    return pd.DataFrame(
        {
            "effect": made.effect,
            "ci_low": low,
            "ci_high": high,
            "rank_biserial": np.nan,
            "p_value": made.p_value,
        }
    )


def kruskal(values: Floats, levels: list[str], labels: Labels) -> Floats:
    """Return the p-value of Kruskal and Wallis over all levels, per column."""
    p = np.full(values.shape[1], np.nan)
    if len(levels) < 3:
        return p
    labeled = np.flatnonzero([label is not None for label in labels])
    for rows, columns in complete_blocks(values[labeled]):
        part, names = values[np.ix_(labeled[rows], columns)], labels[labeled[rows]]
        arms = [part[names == level] for level in levels if (names == level).any()]
        if len(arms) > 1:
            moved = np.ptp(part, axis=0) > 0
            p[columns[moved]] = scipy_stats.kruskal(*(a[:, moved] for a in arms), axis=0).pvalue
    return p
