"""Test whether a state is present: its markers must be coexpressed within cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore.stats.markers._marker_mixture import (
    LEVELS,
    MarkerModel,
    first_fold,
    joint_log,
    normalized,
    run_rounds,
    start,
)

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints
    from nkscore.stats.markers._marker_cells import MarkerCells

#: Maximum number of cells for testing and for fitting; more would not change the result.
_MOST_CELLS: Final = 6000
_MOST_FITTED: Final = 10_000
#: A state is present if its markers together are this many standard errors from independence, and
#: enough of them are so individually.
_LEAST_EVIDENCE: Final = 3.8
_MORE_EVIDENCE: Final = 4.0
_LEAST_Z: Final = 2.0
_LEAST_FOLD: Final = 1.3
_LEAST_MARKERS: Final = 2
#: Evidence at which an uncalled state is present with probability one half. Of 260 states in
#: simulated data, with equally many present and absent ones, two of three with an evidence of 2 to
#: 3.8 were present, and one of twenty below -1.
EVEN_EVIDENCE: Final = 1.5
#: Minimum number of cells in each half for a test.
_LEAST_CELLS: Final = 5
#: A state in nearly all cells has no other cells for comparison.
_LARGEST_SHARE: Final = 0.95


def fit_present_states(cells: MarkerCells, marks: Floats) -> MarkerModel:
    """Fit the mixture only with the states whose markers are coexpressed.

    States without evidence are removed one by one, the weakest first, because an absent state can
    hide the evidence for another. The remaining states can then also differ in the markers of
    others. A state is fitted in one half of the cells and tested in the other, where markers that
    were coexpressed by chance no longer are.
    """
    present = np.ones(marks.shape[0], dtype=bool)
    evidence = np.zeros(marks.shape[0])
    fold = np.full(marks.shape, np.nan)
    halves = [cells.sampled(_MOST_CELLS).in_half(number) for number in (0, 1)]
    cells = cells.sampled(_MOST_FITTED)
    if min(half.order.size for half in halves) < _LEAST_CELLS:
        return _with_absent(start(cells, marks), marks, ~present, evidence=evidence, agreement=fold)
    settled = False
    while present.any() and not settled:
        models = [run_rounds(start(h, marks[present]), h, others=False, rounds=40) for h in halves]
        settled = _test_presence(models, halves, present, evidence=evidence, fold=fold)
        if settled:
            # A state may change once it can differ in the markers of others.
            models = [run_rounds(m, h, others=True) for m, h in zip(models, halves, strict=True)]
            settled = _test_presence(models, halves, present, evidence=evidence, fold=fold)
    model = start(cells, marks[present])
    for others in (False, True) if present.any() else ():
        model = run_rounds(model, cells, others=others, rounds=80 if others else 40)
    return _with_absent(model, marks, present, evidence=evidence, agreement=fold)


def fit_informed(model: MarkerModel, cells: MarkerCells) -> MarkerModel:
    """Refit the states that are present, with the evidence of other genes."""
    present = model.present
    inside = np.append(present, True)
    share = model.share[:, inside]
    part = replace(
        model,
        marks=model.marks[present],
        log_fold=model.log_fold[present],
        share=share / share.sum(axis=1, keepdims=True),
        present=present[present],
    )
    blocks = [
        block if block.other is None else replace(block, other=block.other[:, inside])
        for block in cells.blocks
    ]
    informed = replace(cells, blocks=blocks).sampled(_MOST_FITTED)
    part = run_rounds(part, informed, others=True)
    return _with_absent(
        part, model.marks, present, evidence=model.evidence, agreement=model.agreement
    )


def with_doubt(model: MarkerModel) -> MarkerModel:
    """Give absent states a share that depends on their evidence.

    No evidence is not evidence of absence: a cell may be in a state that the data are too few or
    too shallow to show. The effect of such a state is unknown as well: its markers are assumed to
    be raised as in the initial model.
    """
    absent = ~model.present
    chance = 1 / (1 + np.exp(EVEN_EVIDENCE - np.clip(model.evidence[absent], -50, 50)))
    share = model.share.copy()
    # A priori, a state that is present is as large as the others, or as none.
    share[:, np.flatnonzero(absent)] = chance / (model.present.sum() + 1)
    log_fold = np.where(absent[:, None], first_fold(model.marks), model.log_fold)
    return replace(model, log_fold=log_fold, share=share / share.sum(axis=1, keepdims=True))


def _test_presence(
    models: list[MarkerModel],
    halves: list[MarkerCells],
    present: Bools,
    *,
    evidence: Floats,
    fold: Floats,
) -> bool:
    """Record the evidence for each state and remove the weakest; return whether all stay."""
    tests = [marker_agreement(m, h) for m, h in zip(models[::-1], halves, strict=True)]
    found = (tests[0][0] + tests[1][0]) / 2
    evidence[present], enough = _evidence(found, (tests[0][1] + tests[1][1]) / np.sqrt(2))
    share = np.mean([_overall_share(m, h) for m, h in zip(models, halves, strict=True)], axis=0)
    # A true common state gives more evidence than a rare one; and the fewer cells are without the
    # state, the more easily outliers mimic it.
    common = np.maximum(share - 0.25, 0) + np.maximum(share - 0.5, 0)
    enough &= evidence[present] >= _LEAST_EVIDENCE + _MORE_EVIDENCE * common
    enough &= share <= _LARGEST_SHARE
    fold[present] = found
    if enough.all():
        return True
    order = np.where(enough, np.inf, evidence[present])
    leave = ~enough & ((order <= 1.0) | (order == order.min()))
    present[np.flatnonzero(present)[leave]] = False
    return False


def _evidence(fold: Floats, z: Floats) -> tuple[Floats, Bools]:
    marked = ~np.isnan(z)
    number = np.maximum(marked.sum(axis=1), 1)
    total = np.nansum(np.where(marked, z, 0), axis=1) / np.sqrt(number)
    follow = ((z > _LEAST_Z) & (fold > _LEAST_FOLD)).sum(axis=1)
    needed = np.maximum(_LEAST_MARKERS, np.ceil(number / 5))
    return total, (total >= _LEAST_EVIDENCE) & (follow >= needed)


def _overall_share(model: MarkerModel, cells: MarkerCells) -> Floats:
    sizes = np.array([block.counts.shape[0] for block in cells.blocks], dtype=np.float64)
    number = np.bincount(cells.donors, sizes, cells.n_donors)
    return np.asarray((number @ model.share / number.sum())[:-1])


def _with_absent(
    model: MarkerModel,
    marks: Floats,
    present: Bools,
    *,
    evidence: Floats,
    agreement: Floats,
) -> MarkerModel:
    log_fold = np.zeros(marks.shape)
    share = np.zeros((model.share.shape[0], marks.shape[0] + 1))
    share[:, -1] = 1.0
    if present.any():
        log_fold[present] = model.log_fold
        share[:, np.append(present, True)] = model.share
    return replace(
        model,
        marks=marks,
        log_fold=log_fold,
        share=share,
        present=present,
        evidence=evidence,
        agreement=agreement,
    )


def marker_agreement(model: MarkerModel, cells: MarkerCells) -> tuple[Floats, Floats]:
    """Test whether each marker follows the other markers of its state.

    The probability of the state is recomputed without the marker; then the marker's counts are
    regressed on it, within donors. A marker that alone looked like a state, or that differs only
    between donors, has no slope.

    Returns
    -------
    fold and z (states × genes): the ratio of means that the other markers predict, and its distance
    from 1 in standard errors. NaN if the gene does not mark the state.
    """
    rows, block = _looked_at(cells)
    counts, joint = _looked_up(model, cells, rows)
    depth, donor = cells.depths, cells.donors
    fold = np.full(model.marks.shape, np.nan)
    z = np.full(model.marks.shape, np.nan)
    folds = np.exp(model.components)
    for gene in np.flatnonzero((model.marks != 0).any(axis=0)):
        baseline = (depth * model.base[gene] * model.offset[donor, gene])[block]
        mean = baseline[:, None] * folds[:, gene]
        spread = np.log1p(mean * model.dispersion[gene])
        own = counts[:, [gene]] * (np.log(mean) - spread) - spread / model.dispersion[gene]
        without = normalized(joint - own)
        for state in np.flatnonzero(model.marks[:, gene]):
            inside = slice(state * LEVELS.size, (state + 1) * LEVELS.size)
            on = without[:, inside].sum(axis=1)
            rest = (without * mean).sum(axis=1) - (without[:, inside] * mean[:, inside]).sum(axis=1)
            ratio, away = _slope(
                counts[:, gene],
                rest + on * baseline,
                on * baseline,
                dispersion=model.dispersion[gene],
                donor=donor[block],
            )
            # A marker that goes down agrees if its count is lower.
            sign = np.sign(model.marks[state, gene])
            z[state, gene] = sign * away
            fold[state, gene] = ratio if sign > 0 else 1 / max(ratio, 1e-3)
    return fold, z


def _slope(
    x: Floats, rest: Floats, on: Floats, *, dispersion: float, donor: Ints
) -> tuple[float, float]:
    """Weighted regression of counts on ``on``, with a level of ``rest`` for each donor."""
    weight = 1 / np.maximum(rest * (1 + dispersion * rest), 1e-9)
    n_donors = int(donor.max()) + 1
    rr = np.maximum(np.bincount(donor, weight * rest * rest, n_donors), 1e-12)
    level = np.bincount(donor, weight * rest * on, n_donors) / rr
    alone = on - level[donor] * rest
    baseline = np.bincount(donor, weight * rest * x, n_donors) / rr
    spread = float((weight * alone * on).sum())
    if spread < 1e-9:
        return 1.0, 0.0
    slope = float((weight * alone * x).sum()) / spread
    left = x - slope * alone - baseline[donor] * rest
    error = float(np.sqrt((weight**2 * alone**2 * left**2).sum())) / spread
    return 1 + slope, slope / max(error, 1e-9)


def _looked_at(cells: MarkerCells) -> tuple[Ints, Ints]:
    """Rows for the test, spread evenly over donors and depths, and their blocks."""
    n_cells = cells.order.size
    rows = np.unique(np.linspace(0, n_cells - 1, min(n_cells, _MOST_CELLS)).astype(np.int64))
    starts = np.array([block.rows.start for block in cells.blocks])
    return rows, np.searchsorted(starts, rows, side="right") - 1


def _looked_up(model: MarkerModel, cells: MarkerCells, rows: Ints) -> tuple[Floats, Floats]:
    """Return counts of the rows and the log probability of every component."""
    counts, joints = [], []
    folds = np.exp(model.components)
    for block in cells.blocks:
        inside = rows[(rows >= block.rows.start) & (rows < block.rows.stop)] - block.rows.start
        # Markers are tested against each other, without the evidence of other genes.
        part = replace(block, counts=block.counts[inside], other=None)
        counts.append(part.counts if isinstance(part.counts, np.ndarray) else part.counts.toarray())
        joints.append(joint_log(model, part, folds))
    return np.concatenate(counts), np.concatenate(joints)
