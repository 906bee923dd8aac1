"""A mixture of states on the counts of their markers, with sequencing depth as offset.

Depth enters as an offset of the expected count, so a shallow cell gets a broad posterior rather
than another label. Cells of one donor and of nearly the same depth share all expected counts; the
likelihood of a block of such cells is then one product of their sparse counts with the weights of
the block, so 100,000 cells need little time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats
    from nkscore.stats.markers._marker_cells import Block, MarkerCells

_TOLERANCE: Final = 1e-3
_START_FOLD: Final = 4.0
#: Strengths of a state in its cells, as exponents of the fold, and their frequencies.
LEVELS: Final = np.array([0.5, 1.0, 1.5])
LEVEL_SHARE: Final = np.array([0.25, 0.5, 0.25])
#: Prior counts for a fold of one, if a gene is not a marker of the state.
_OTHER_PRIOR: Final = 20.0
#: Prior counts for the initial fold of a marker.
OWN_PRIOR: Final = 1.0
#: Prior counts for a donor's baseline level; a shift by e then costs about six nats.
_DONOR_PRIOR: Final = 8.0
_LARGEST_FOLD: Final = 200.0
#: Share of a cell's counts below which a gene counts as not expressed; avoids log of zero.
_LEAST_RATE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class MarkerModel:
    """Fitted mixture; absent states have ``present`` false.

    ``marks``: states × genes, sign and weight of each marker. ``base``: share of each gene in cells
    of no state, times ``offset`` in each donor. ``log_fold``: states × genes. ``share``: donors ×
    (states + 1), of the cells. ``evidence`` and ``agreement`` for each state being there.
    """

    marks: Floats
    base: Floats
    log_fold: Floats
    dispersion: Floats
    offset: Floats
    share: Floats
    present: Bools = field(default_factory=lambda: np.zeros(0, bool))
    evidence: Floats = field(default_factory=lambda: np.zeros(0))
    agreement: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    @property
    def components(self) -> Floats:
        """Natural-log folds of every state at every level, and of no state: rows × genes."""
        at_levels = (self.log_fold[:, None] * LEVELS[:, None]).reshape(-1, self.base.size)
        return np.vstack([at_levels, np.zeros(self.base.size)])

    def log_prior(self, donor: int) -> Floats:
        """Log share of every component in one donor."""
        share = self.share[donor]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.append(np.outer(share[:-1], LEVEL_SHARE), share[-1])))

    def baseline(self, block: Block) -> Floats:
        """Return expected counts of the cells of a block in no state."""
        return np.asarray(block.depth * self.base * self.offset[block.donor])


@dataclass(slots=True)
class _Sums:
    """Expected sufficient statistics: donors × components × genes, and cells of each."""

    x: Floats
    exposure: Floats
    cells: Floats
    square: Floats
    mean_square: Floats
    mean: Floats


def joint_log(model: MarkerModel, block: Block, folds: Floats) -> Floats:
    """Log probability of counts and component, up to a term of the counts: cells × components."""
    mean = model.baseline(block) * folds
    spread = np.log1p(mean * model.dispersion)
    per_cell = -(spread / model.dispersion).sum(axis=1) + model.log_prior(block.donor)
    joint = np.asarray(block.counts @ (np.log(mean) - spread).T + per_cell)
    if block.other is not None:
        n_levels = np.append(np.full(block.other.shape[1] - 1, LEVELS.size), 1)
        joint += np.repeat(block.other, n_levels, axis=1)
    return joint


def normalized(joint: Floats) -> Floats:
    """Turn log probabilities into probabilities, in place."""
    joint -= joint.max(axis=1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(axis=1, keepdims=True)
    return joint


def _expect(model: MarkerModel, cells: MarkerCells) -> _Sums:
    folds = np.exp(model.components)
    shape = (cells.n_donors, *folds.shape)
    sums = _Sums(np.zeros(shape), np.zeros(shape), np.zeros(shape[:2]), *np.zeros((3, shape[2])))
    for block in cells.blocks:
        weight = normalized(joint_log(model, block, folds))
        n_cells = weight.sum(axis=0)
        baseline = model.baseline(block)
        mean = baseline * folds
        counts = np.asarray((block.counts.T @ weight).T)
        # Cells with high expectation are not more certain than their dispersion allows.
        precision = 1 / (1 + model.dispersion * baseline)
        sums.x[block.donor] += counts * precision
        sums.exposure[block.donor] += n_cells[:, None] * (block.depth * precision)
        sums.cells[block.donor] += n_cells
        awaited = n_cells @ mean**2
        sums.square += block.squares - 2 * (counts * mean).sum(axis=0) + awaited
        sums.mean += n_cells @ mean
        sums.mean_square += awaited
    return sums


def _update(model: MarkerModel, sums: _Sums, *, others: bool) -> MarkerModel:
    n_states = model.marks.shape[0]
    folds = np.exp(model.components)
    expected = sums.exposure * model.base * model.offset[:, None] * folds
    ratio = sums.x.sum(axis=(0, 1)) / np.maximum(expected.sum(axis=(0, 1)), 1e-12)
    base = np.maximum(model.base * np.maximum(ratio, 1e-3), _LEAST_RATE)
    expected *= (base / model.base)[None, None]
    shift = (sums.x.sum(axis=1) + _DONOR_PRIOR) / (
        (expected / model.offset[:, None]).sum(axis=1) + _DONOR_PRIOR
    )
    shift /= np.exp(np.log(shift).mean(axis=0)) if shift.shape[0] > 1 else shift
    expected *= (shift / model.offset)[:, None]
    log_fold = _folds(model, sums.x.sum(axis=0), expected.sum(axis=0), others=others)
    excess = np.maximum(sums.square - sums.mean, 0) / np.maximum(sums.mean_square, 1e-12)
    by_state = np.column_stack(
        [sums.cells[:, :-1].reshape(-1, n_states, LEVELS.size).sum(axis=2), sums.cells[:, -1]]
    )
    overall = by_state.sum(axis=0) + 1e-3
    pooled = by_state + 20 * overall / overall.sum()
    return replace(
        model,
        base=base,
        offset=shift,
        log_fold=log_fold,
        dispersion=np.clip(excess, 0.02, 10.0),
        share=pooled / pooled.sum(axis=1, keepdims=True),
    )


def _folds(model: MarkerModel, x: Floats, expected: Floats, *, others: bool) -> Floats:
    n_states, n_genes = model.marks.shape
    shape = (n_states, LEVELS.size, n_genes)
    counted = (x[:-1].reshape(shape) * LEVELS[:, None]).sum(axis=1)
    awaited = (expected[:-1].reshape(shape) * LEVELS[:, None]).sum(axis=1)
    current = np.exp(model.log_fold)
    own = model.marks != 0
    prior = np.where(own, OWN_PRIOR, _OTHER_PRIOR)
    centre = np.where(own, np.exp(first_fold(model.marks)), 1.0)
    new = model.log_fold + np.log((counted + prior * centre) / (awaited + prior * current))
    limit = np.log(_LARGEST_FOLD)
    new = np.where(model.marks > 0, np.clip(new, 0, limit), new)
    new = np.where(model.marks < 0, np.clip(new, -limit, 0), new)
    return np.asarray(np.where(own | others, np.clip(new, -limit, limit), 0.0))


def first_fold(marks: Floats) -> Floats:
    """Return the initial natural-log folds."""
    return np.asarray(np.log(_START_FOLD) * marks)


def start(cells: MarkerCells, marks: Floats) -> MarkerModel:
    """Return the model before the first round: every marker raised (or lowered) fourfold."""
    n_states, n_genes = marks.shape
    log_fold = first_fold(marks)
    total = sum(np.asarray(block.counts.sum(axis=0)).ravel() for block in cells.blocks)
    depth = sum(block.depth * block.counts.shape[0] for block in cells.blocks)
    # A rate below one count in all cells cannot be distinguished from zero.
    base = np.maximum(total, 1) / depth
    base /= (1 + np.expm1(log_fold).sum(axis=0) / (n_states + 1)).clip(0.2)
    share = np.full((cells.n_donors, n_states + 1), 1 / (n_states + 1))
    return MarkerModel(
        marks,
        base,
        log_fold,
        np.full(n_genes, 0.5),
        np.ones((cells.n_donors, n_genes)),
        share,
        np.ones(n_states, dtype=bool),
    )


def run_rounds(
    model: MarkerModel, cells: MarkerCells, *, others: bool, rounds: int = 80
) -> MarkerModel:
    """Alternate between the states of cells and the parameters until shares settle."""
    for _ in range(rounds):
        before = model.share
        model = _update(model, _expect(model, cells), others=others)
        if np.abs(model.share - before).max() < _TOLERANCE:
            break
    return model


def marker_posterior(model: MarkerModel, cells: MarkerCells) -> Floats:
    """Return cells × states (last: none of them), in the input order of the cells."""
    n_states = model.marks.shape[0]
    folds = np.exp(model.components)
    found = np.empty((cells.order.size, n_states + 1))
    for block in cells.blocks:
        weight = normalized(joint_log(model, block, folds))
        found[block.rows, :-1] = weight[:, :-1].reshape(-1, n_states, LEVELS.size).sum(axis=2)
        found[block.rows, -1] = weight[:, -1]
    out = np.empty_like(found)
    out[cells.order] = found
    return out
