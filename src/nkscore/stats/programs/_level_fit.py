"""Fit of two levels of one program by expectation maximization."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

_ROUNDS: Final = 300
_TOLERANCE: Final = 1e-4
#: Prior information (counts) for a batch without an effect: SD 0.1.
_BATCH_PRIOR: Final = 100.0
#: Prior weight, in cells, of the common share in a batch, and of the common spread in a line.
SHARE_PRIOR: Final = 5.0
_SPREAD_PRIOR: Final = 100.0
#: Largest share of cells at the other level if the baseline is more frequent by definition.
_RARE: Final = 0.5
#: The same in one batch, which may contain cells of only one level.
RARE_IN_BATCH: Final = 0.6
#: Shares tried for the upper limit, and the loss of log likelihood that marks it (95 %).
_SHARES: Final = np.concatenate([[0.0], np.geomspace(1e-3, 0.5, 25)])
_LOSS: Final = 1.92
#: Share of cells at the other level at the start.
_FIRST_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class ProgramCounts:
    """Summed counts of one program.

    ``expected`` is the count at the baseline level up to a factor per ``line``. ``noise`` is the
    squared relative error of ``expected``. ``baseline`` marks the cells that are searched first for
    the baseline level (monocultures). Lines and batches are numbered from 0.
    """

    x: Floats
    expected: Floats
    noise: Floats
    line: Ints
    batch: Ints
    baseline: Bools

    def take(self, cells: Ints | Bools) -> ProgramCounts:
        """Return only these cells."""
        return ProgramCounts(*(getattr(self, name)[cells] for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class TwoLevels:
    """Posterior of the other level per cell, and fitted values.

    ``mean`` is the count expected of each cell at the baseline level, ``dispersion`` the squared
    relative spread between the cells of each line. Where no second level was found
    ``fold`` is 1, ``supported`` false, and no posterior exceeds 0.7. ``comparable`` is false for
    cells of lines in which the program has nothing to be compared with.
    """

    posterior: Floats
    mean: Floats
    dispersion: Floats
    fold: float
    level: Floats
    supported: bool
    comparable: Bools


@dataclass(frozen=True, slots=True, eq=False)
class LevelState:
    """Level and spread between cells per line, shift and share per batch, ratio of the levels."""

    level: Floats
    shift: Floats
    share: Floats
    fold: float
    dispersion: Floats

    def mean(self, data: ProgramCounts) -> Floats:
        """Return the expected count of each cell at the baseline level."""
        factor = self.level[data.line] * self.shift[data.batch]
        return np.maximum(data.expected * factor, 1e-9)

    def spread(self, data: ProgramCounts) -> Floats:
        """Return the squared relative spread of each cell's count beyond counting."""
        return np.asarray(self.dispersion[data.line] + data.noise)

    def numbers(self) -> Floats:
        """Return the values that must converge."""
        return np.concatenate([self.share, [self.fold], self.dispersion])


@dataclass(frozen=True, slots=True, eq=False)
class LevelFit:
    """Counts of one program, and their fit."""

    data: ProgramCounts
    #: Lines and batches of all data, which may not all occur here.
    sizes: tuple[int, int]
    induced: bool
    rare: bool

    def run(
        self, fold: float, bounds: tuple[float, float], *, start: LevelState | None = None
    ) -> LevelState:
        """Return the fitted state, from the default or a given start."""
        state = self._start(fold) if start is None else start
        for _ in range(_ROUNDS):
            after = self._update(state, self.posterior(state), bounds)
            change = np.abs(after.numbers() - state.numbers()).max()
            state = after
            if change < _TOLERANCE:
                break
        return state

    def posterior(self, state: LevelState) -> Floats:
        """Return the probability of the other level of each cell."""
        with np.errstate(divide="ignore"):
            prior = np.log(state.share) - np.log1p(-state.share)
        odds = prior[self.data.batch] + self.log_ratio(state)
        return np.where(self.fixed(), 0.0, special.expit(odds))

    def upper_limit(self, state: LevelState) -> Floats:
        """Posterior with the largest share per line that the counts do not exclude.

        It is distributed over batches by what their counts do not exclude.
        """
        data = self.data
        excess = np.expm1(np.clip(self.log_ratio(state), -50.0, 50.0)) * ~self.fixed()
        gain = np.stack([self.per_batch(np.log1p(share * excess)) for share in _SHARES])
        line = np.zeros(self.sizes[1], dtype=np.int64)
        line[data.batch] = data.line
        member = np.eye(self.sizes[0])[line]
        n_free = self.per_batch(~self.fixed())
        own, whole = _largest_share(gain), _largest_share(gain @ member)
        mean = (own * n_free) @ member / np.maximum(n_free @ member, 1e-12)
        share = own * np.minimum(whole / np.maximum(mean, 1e-12), 1.0)[line]
        return self.posterior(replace(state, share=share))

    def log_likelihood_off(self, state: LevelState) -> float:
        """Return the log likelihood if all cells were at the baseline level."""
        data, mean = self.data, state.mean(self.data)
        size = 1 / state.spread(data)
        off = special.gammaln(data.x + size) - special.gammaln(size) + size * np.log(size)
        return float((off + data.x * np.log(mean) - (data.x + size) * np.log(mean + size)).sum())

    def at_cap(self, state: LevelState) -> bool:
        """Whether the other level is more frequent among the cells that should be at baseline."""
        posterior = self.posterior(state)[self._looked_at()]
        return bool(posterior.mean() > _RARE)

    def result(
        self, posterior: Floats, state: LevelState, comparable: Bools, *, found: bool
    ) -> TwoLevels:
        """Return the result for callers."""
        data, fold = self.data, state.fold if found else 1.0
        # The level of lines that are not comparable is their mean.
        own = self._per_line(data.x) / np.maximum(self._per_line(data.expected), 1e-12)
        level = np.where(self._per_line(comparable) > 0, state.level, np.maximum(own, 1e-9))
        mean = replace(state, level=level).mean(data)
        return TwoLevels(posterior, mean, state.dispersion, fold, level, found, comparable)

    def fixed(self) -> Bools:
        """Return which cells have the baseline level by definition."""
        return self.data.baseline if self.induced else np.zeros(self.data.x.size, dtype=bool)

    def log_ratio(self, state: LevelState) -> Floats:
        """Log likelihood of the other level minus that of the baseline."""
        data, mean = self.data, state.mean(self.data)
        size = 1 / state.spread(data)
        change = np.log((mean + size) / (mean * state.fold + size))
        return np.asarray(data.x * np.log(state.fold) + (data.x + size) * change)

    def per_batch(self, values: Floats | Bools) -> Floats:
        """Sum values of cells over each batch."""
        return np.asarray(np.bincount(self.data.batch, values, self.sizes[1]))

    def _per_line(self, values: Floats | Bools) -> Floats:
        return np.asarray(np.bincount(self.data.line, values, self.sizes[0]))

    def _looked_at(self) -> Bools:
        """Cells for estimating the baseline level: all cells in lines without baseline cells."""
        data = self.data
        counted = self._per_line(data.baseline)
        none: Bools = counted[data.line] == 0
        return data.baseline | none

    def _start(self, fold: float) -> LevelState:
        data, use = self.data, self._looked_at()
        share = np.full(self.sizes[1], 0.0 if fold == 1.0 else _FIRST_SHARE)
        total = np.maximum(self._per_line(use * data.expected), 1e-12)
        level = np.maximum(self._per_line(use * data.x) / total, 1e-9)
        # Unless they are at baseline by definition, the initial cells are a mixture, too.
        if not self.induced and fold != 1.0:
            level /= 1 + _FIRST_SHARE * (fold - 1)
        shift = np.ones(self.sizes[1])
        if self.rare and not self.induced:
            # A change in all cells of a batch is first attributed to the batch, then to some cells.
            mixed = 1 + share * (fold - 1)
            expected = self.per_batch(data.expected * level[data.line]) * mixed
            shift = (self.per_batch(data.x) + _BATCH_PRIOR) / (expected + _BATCH_PRIOR)
        return LevelState(level, shift, share, fold, np.full(self.sizes[0], 0.02))

    def _update(self, state: LevelState, on: Floats, bounds: tuple[float, float]) -> LevelState:
        data, off = self.data, 1 - on
        mean = state.mean(data)
        spread = state.spread(data)
        # Counts are weighted by their information on the level, which is small if cells vary
        # anyway.
        weight = off / (1 + spread * mean)
        factor = state.shift[data.batch]
        seen, expected = weight * data.x, weight * data.expected
        level = self._per_line(seen) / np.maximum(self._per_line(expected * factor), 1e-12)
        level = np.maximum(level, 1e-9)
        shift = state.shift
        if not self.induced:
            # A response must not be mistaken for a batch effect.
            expected_level = self.per_batch(expected * level[data.line]) + _BATCH_PRIOR
            shift = (self.per_batch(seen) + _BATCH_PRIOR) / expected_level
        middle = replace(state, level=level, shift=shift)
        mean = middle.mean(data)
        informs = on / (1 + spread * mean * state.fold)
        baseline_sum = max(float(informs @ mean), 1e-9)
        fold = float(informs @ data.x) / baseline_sum if on.any() else state.fold
        fold = float(np.clip(fold, *bounds))
        dispersion = self._dispersion(mean, mean * fold, on, state)
        return replace(middle, share=self._share(on, state), fold=fold, dispersion=dispersion)

    def _share(self, on: Floats, state: LevelState) -> Floats:
        if not state.share.any():
            return state.share
        free = ~self.fixed()
        common = on[free].mean() if free.any() else 0.0
        n_free = self.per_batch(free)
        share = self.per_batch(on) + SHARE_PRIOR * common
        most = RARE_IN_BATCH if self.rare else 0.95
        return np.asarray(np.clip(share / (n_free + SHARE_PRIOR), 0, most))

    def _dispersion(self, low: Floats, high: Floats, on: Floats, state: LevelState) -> Floats:
        """Moment estimate of the spread between cells of one level, per line.

        A line with more variable cells does not have a second level for that reason.
        """
        data = self.data
        # Cells of lines without baseline cells are a mixture, which would look like spread.
        comparable = data.baseline if self.induced else np.ones(data.x.size, dtype=bool)
        before = state.spread(data)
        excess, scale = np.zeros(self.sizes[0]), np.zeros(self.sizes[0])
        for mean, part in ((low, 1 - on), (high, on)):
            weight = comparable * part / (1 / mean + before) ** 2
            relative = ((data.x - mean) ** 2 - mean) / mean**2 - data.noise
            excess += self._per_line(weight * relative)
            scale += self._per_line(weight)
        common = excess.sum() / max(scale.sum(), 1e-12)
        counted = self._per_line(comparable)
        # Lines with few cells get their expectation from the others.
        own = counted / (counted + _SPREAD_PRIOR)
        found = own * excess / np.maximum(scale, 1e-12) + (1 - own) * common
        return np.asarray(np.clip(found, 1e-3, 10.0))


def _largest_share(gain: Floats) -> Floats:
    """Return the upper end of the 95 % interval of the share in each column."""
    inside = gain >= gain.max(axis=0) - _LOSS
    return np.asarray(_SHARES[gain.shape[0] - 1 - np.argmax(inside[::-1], axis=0)])
