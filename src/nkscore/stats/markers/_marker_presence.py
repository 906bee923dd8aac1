"""Test whether a state is there at all: its markers must be raised together within cells."""

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

#: Cells looked at, and cells fitted to; more would only make what is clear clearer.
_MOST_CELLS: Final = 6000
_MOST_FITTED: Final = 10_000
#: A state is there if its markers together are so many standard errors from independence, and
#: enough of them are so each by themselves.
_LEAST_EVIDENCE: Final = 3.8
_MORE_EVIDENCE: Final = 4.0
_LEAST_Z: Final = 2.0
_LEAST_FOLD: Final = 1.3
_LEAST_MARKERS: Final = 2
#: Evidence at which a state that is not called is as probably there as not. Of 260 states in data
#: made to choose this, with both kinds made equally many, two of three with an evidence of 2 to
#: 3.8 were there, and one of twenty below -1.
_EVEN_EVIDENCE: Final = 1.5
#: Cells of each half from which anything can be judged.
_LEAST_CELLS: Final = 5
#: A state of nearly all cells has nothing left to be told from.
_LARGEST_SHARE: Final = 0.95


def fit_present_states(cells: MarkerCells, marks: Floats) -> MarkerModel:
    """Fit the mixture with the states whose markers are raised together, and no others.

    States without evidence leave one after the other, the weakest first, because an absent state
    can hide the evidence for another. What is left may then also differ in the markers of others.
    A state is learned from one half of the cells and judged in the other, where markers that were
    raised together by chance no longer are.
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
        settled = _judge(models, halves, present, evidence=evidence, fold=fold)
        if settled:
            # What a state is may shift once it may differ in the markers of others.
            models = [run_rounds(m, h, others=True) for m, h in zip(models, halves, strict=True)]
            settled = _judge(models, halves, present, evidence=evidence, fold=fold)
    model = start(cells, marks[present])
    for others in (False, True) if present.any() else ():
        model = run_rounds(model, cells, others=others, rounds=80 if others else 40)
    return _with_absent(model, marks, present, evidence=evidence, agreement=fold)


def fit_informed(model: MarkerModel, cells: MarkerCells) -> MarkerModel:
    """Fit the states that are there again, to cells that are informed by other genes."""
    there = model.present
    inside = np.append(there, True)
    share = model.share[:, inside]
    part = replace(
        model,
        marks=model.marks[there],
        log_fold=model.log_fold[there],
        share=share / share.sum(axis=1, keepdims=True),
        present=there[there],
    )
    blocks = [
        block if block.other is None else replace(block, other=block.other[:, inside])
        for block in cells.blocks
    ]
    informed = replace(cells, blocks=blocks).sampled(_MOST_FITTED)
    part = run_rounds(part, informed, others=True)
    return _with_absent(
        part, model.marks, there, evidence=model.evidence, agreement=model.agreement
    )


def with_doubt(model: MarkerModel) -> MarkerModel:
    """Give states that were judged absent the share that they may have, by their evidence.

    No evidence is not evidence of absence: a cell is not surely in no state, nor in another one,
    while it may be in a state that these data are too few or too shallow to show. What such a
    state does is not known either: its markers are taken to be raised as in the first guess.
    """
    absent = ~model.present
    chance = 1 / (1 + np.exp(_EVEN_EVIDENCE - np.clip(model.evidence[absent], -50, 50)))
    share = model.share.copy()
    # Before a cell is looked at, a state that is there is as large as the others, or as none.
    share[:, np.flatnonzero(absent)] = chance / (model.present.sum() + 1)
    log_fold = np.where(absent[:, None], first_fold(model.marks), model.log_fold)
    return replace(model, log_fold=log_fold, share=share / share.sum(axis=1, keepdims=True))


def _judge(
    models: list[MarkerModel],
    halves: list[MarkerCells],
    present: Bools,
    *,
    evidence: Floats,
    fold: Floats,
) -> bool:
    """Note the evidence for each state and strike out the weakest; whether all may stay."""
    judged = [marker_agreement(m, h) for m, h in zip(models[::-1], halves, strict=True)]
    found = (judged[0][0] + judged[1][0]) / 2
    evidence[present], enough = _evidence(found, (judged[0][1] + judged[1][1]) / np.sqrt(2))
    share = np.mean([_overall_share(m, h) for m, h in zip(models, halves, strict=True)], axis=0)
    # A common state that is worth its name leaves more evidence than a rare one; and the fewer
    # cells are left without the state, the less it takes to make it up from outliers.
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
    """Ask each marker whether it follows the other markers of its state.

    The probability of the state is computed anew without the marker; then the marker's counts
    are regressed on it, within donors. A marker that was mistaken for a state by itself, or that
    differs between donors only, has no slope.

    Returns
    -------
    fold and z (states × genes): the ratio of means that the other markers predict, and its
    distance from 1 in standard errors. NaN where the gene does not mark the state.
    """
    rows, block = _looked_at(cells)
    counts, joint = _looked_up(model, cells, rows)
    depth, donor = cells.depths, cells.donors
    fold = np.full(model.marks.shape, np.nan)
    z = np.full(model.marks.shape, np.nan)
    folds = np.exp(model.components)
    for gene in np.flatnonzero((model.marks != 0).any(axis=0)):
        usual = (depth * model.base[gene] * model.offset[donor, gene])[block]
        mean = usual[:, None] * folds[:, gene]
        spread = np.log1p(mean * model.dispersion[gene])
        own = counts[:, [gene]] * (np.log(mean) - spread) - spread / model.dispersion[gene]
        without = normalized(joint - own)
        for state in np.flatnonzero(model.marks[:, gene]):
            inside = slice(state * LEVELS.size, (state + 1) * LEVELS.size)
            on = without[:, inside].sum(axis=1)
            rest = (without * mean).sum(axis=1) - (without[:, inside] * mean[:, inside]).sum(axis=1)
            ratio, away = _slope(
                counts[:, gene],
                rest + on * usual,
                on * usual,
                dispersion=model.dispersion[gene],
                donor=donor[block],
            )
            # A marker that goes down agrees by a lower count.
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
    usual = np.bincount(donor, weight * rest * x, n_donors) / rr
    spread = float((weight * alone * on).sum())
    if spread < 1e-9:
        return 1.0, 0.0
    slope = float((weight * alone * x).sum()) / spread
    left = x - slope * alone - usual[donor] * rest
    error = float(np.sqrt((weight**2 * alone**2 * left**2).sum())) / spread
    return 1 + slope, slope / max(error, 1e-9)


def _looked_at(cells: MarkerCells) -> tuple[Ints, Ints]:
    """Rows to look at, spread evenly over donors and depths, and their blocks."""
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
        # Markers are asked about each other, without what other genes say.
        part = replace(block, counts=block.counts[inside], other=None)
        counts.append(part.counts if isinstance(part.counts, np.ndarray) else part.counts.toarray())
        joints.append(joint_log(model, part, folds))
    return np.concatenate(counts), np.concatenate(joints)
