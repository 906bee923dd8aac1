"""Two levels of a gene program: which cells have the other one, and what the data cannot tell.

Depth enters through the expected count, so that a shallow cell gets a broad posterior rather than
another call. Where no second level is found, the posterior says how sure that is: it is computed
with the largest share of such cells that the counts do not exclude.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from nkscore.stats._program_data import Floats, ProgramCounts, TwoLevels

_ROUNDS = 300
_TOLERANCE = 1e-4
#: Cells from which parameters are learned; more would not change them visibly.
_LEARN_FROM = 20_000
#: Information (counts) that a batch without an effect of its own stands for: SD 0.1.
_BATCH_PRIOR = 100.0
#: Cells that the common share stands for in a batch.
_SHARE_PRIOR = 5.0
#: Largest share of cells at the other level where the usual one is the more frequent by definition.
_RARE = 0.5
#: Shares tried for the upper limit, and the loss of log likelihood that marks it (95 %).
_SHARES = np.concatenate([[0.0], np.geomspace(1e-3, 0.5, 25)])
_LOSS = 1.92
_UNDECIDED = 0.5
#: How sure a cell may be where one level is preferred to two.
_UNSUPPORTED = 0.7
#: Powers of the best ratio that are tried beside it, nearest first, until both are this unlikely.
_STEPS = ((0.88, 1.14), (0.77, 1.3), (0.68, 1.48), (0.6, 1.7))
_NEGLIGIBLE = -6.0


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    level: Floats
    shift: Floats
    share: Floats
    fold: float
    dispersion: float

    def mean(self, data: ProgramCounts) -> Floats:
        factor = self.level[data.line] * self.shift[data.batch]
        return np.maximum(data.expected * factor, 1e-9)

    def numbers(self) -> Floats:
        return np.concatenate([self.share, [self.fold, self.dispersion]])


def two_level_posterior(
    data: ProgramCounts, *, fold: float, bounds: tuple[float, float], induced: bool = False,
    rare: bool = False,
) -> TwoLevels:  # fmt: skip
    """Return, for each cell, the probability that a program's summed count is at its other level.

    Parameters
    ----------
    data
        Counts of the program and what is expected of each cell.
    fold, bounds
        Start and limits of the ratio of the two levels, all below or all above 1. The start is
        also the ratio with which unsupported programs are judged.
    induced
        Whether ``usual`` cells have the usual level by definition. Lines without such cells are
        not judged: their posterior is one half.
    rare
        Whether the usual level is the more frequent one by definition.

    Notes
    -----
    Negative binomial counts, fitted by expectation maximization: usual level per line, share per
    batch, one fold and one spread between cells; the posterior is averaged over the folds that the
    counts leave possible. A second level needs a better Bayesian information criterion than one
    level (a fold, and a share per line, more), and a fold inside its bounds. Otherwise no cell has
    a posterior above 0.7; it is averaged over both by that criterion, and with one level the share
    is set to the upper limit of its 95 % interval (profile likelihood, at the fold halfway between
    ``fold`` and its weakest bound), so that cells too shallow to tell keep an open posterior.
    """
    known = np.bincount(data.line[data.usual], minlength=data.line.max() + 1) > 0
    judged = known[data.line] if induced else np.ones(data.x.size, dtype=bool)
    sizes = (int(data.line.max()) + 1, int(data.batch.max()) + 1)
    fit = _Fit(data, sizes, induced, rare)
    if not judged.any():
        state = fit.run(1.0, (1.0, 1.0))
        return fit.result(np.full(data.x.size, _UNDECIDED), state, judged, found=False)
    learn = _Fit(_sample(data.take(judged)), sizes, induced, rare)
    one = learn.run(1.0, (1.0, 1.0))
    two = learn.run(fold, bounds)
    gain = learn.log_likelihood(two) - learn.log_likelihood(one)
    # A ratio held up by its bound is that of a weaker difference than the program's.
    least = min(bounds, key=lambda bound: abs(np.log(bound)))
    possible = not np.isclose(two.fold, least, rtol=1e-6) and not (rare and learn.at_cap(two))
    # A ratio is learned from all cells, a share from those of each line.
    sizes_of_lines = np.bincount(learn.data.line)
    told = np.log(learn.data.x.size) + np.log(sizes_of_lines[sizes_of_lines > 0]).sum()
    price = 0.5 * float(told)
    supported = possible and gain > price
    tried = possible and gain > 0
    posterior = _averaged(fit, learn, two, bounds) if tried else np.zeros(data.x.size)
    if not supported:
        # Halfway between the program's change and the least that would count as one.
        limit = fit.upper_limit(replace(one, fold=float(np.sqrt(fold * least))))
        trust = float(special.expit(gain - price)) if tried else 0.0
        posterior = np.minimum(trust * posterior + (1 - trust) * limit, _UNSUPPORTED)
    posterior[~judged] = _UNDECIDED
    return fit.result(posterior, two if supported else one, judged, found=supported)


def _averaged(fit: _Fit, learn: _Fit, best: _State, bounds: tuple[float, float]) -> Floats:
    """Posterior over the ratios that the counts leave possible, not at the best one alone.

    Shallow cells fix the share and the ratio badly: few far cells look like many near ones.
    """
    likelihood, posterior = [0.0], [fit.posterior(best)]
    top = learn.log_likelihood(best)
    for step in _STEPS:
        for factor in step:
            ratio = float(np.clip(best.fold**factor, *bounds))
            state = learn.run(ratio, (ratio, ratio), start=replace(best, fold=ratio))
            likelihood.append(learn.log_likelihood(state) - top)
            posterior.append(fit.posterior(state))
        if max(likelihood[-2:]) < _NEGLIGIBLE:
            break
    weight = special.softmax(likelihood)
    return np.asarray(sum(w * p for w, p in zip(weight, posterior, strict=True)))


def _sample(data: ProgramCounts) -> ProgramCounts:
    """Return at most so many cells, the same ones in any order of the cells."""
    if data.x.size <= _LEARN_FROM:
        return data
    order = np.lexsort((data.x, data.expected, data.batch))
    return data.take(order[np.linspace(0, data.x.size - 1, _LEARN_FROM).astype(np.int64)])


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    data: ProgramCounts
    #: Lines and batches of all data, of which these may hold some.
    sizes: tuple[int, int]
    induced: bool
    rare: bool

    def run(
        self, fold: float, bounds: tuple[float, float], *, start: _State | None = None
    ) -> _State:
        state = self._start(fold) if start is None else start
        for _ in range(_ROUNDS):
            after = self._update(state, self.posterior(state), bounds)
            change = np.abs(after.numbers() - state.numbers()).max()
            state = after
            if change < _TOLERANCE:
                break
        return state

    def posterior(self, state: _State) -> Floats:
        with np.errstate(divide="ignore"):
            prior = np.log(state.share) - np.log1p(-state.share)
        odds = prior[self.data.batch] + self._log_ratio(state)
        return np.where(self._fixed(), 0.0, special.expit(odds))

    def upper_limit(self, state: _State) -> Floats:
        """Posterior with the largest share per line that the counts do not exclude."""
        data, ratio = self.data, self._log_ratio(state)
        ratio = np.clip(ratio, -50.0, 50.0)
        posterior = np.zeros(data.x.size)
        for line in np.unique(data.line):
            inside = (data.line == line) & ~self._fixed()
            if not inside.any():
                continue
            gain = np.array([np.log1p(s * np.expm1(ratio[inside])).sum() for s in _SHARES])
            share = _SHARES[np.flatnonzero(gain >= gain.max() - _LOSS)[-1]]
            posterior[inside] = special.expit(special.logit(share) + ratio[inside])
        return posterior

    def log_likelihood(self, state: _State) -> float:
        data, mean = self.data, state.mean(self.data)
        size = 1 / (state.dispersion + data.noise)
        off = special.gammaln(data.x + size) - special.gammaln(size) + size * np.log(size)
        off += data.x * np.log(mean) - (data.x + size) * np.log(mean + size)
        share = np.where(self._fixed(), 0.0, state.share[data.batch])
        ratio = np.minimum(self._log_ratio(state), 500.0)
        return float((off + np.logaddexp(np.log1p(-share), np.log(share + 1e-300) + ratio)).sum())

    def at_cap(self, state: _State) -> bool:
        """Whether the other level is the more frequent one where the usual one is looked for."""
        posterior = self.posterior(state)[self._looked_at()]
        return bool(posterior.mean() > _RARE)

    def result(self, posterior: Floats, state: _State, judged: Any, *, found: bool) -> TwoLevels:
        data, fold = self.data, state.fold if found else 1.0
        # Lines that are not judged are at their own mean.
        own = self._per_line(data.x) / np.maximum(self._per_line(data.expected), 1e-12)
        level = np.where(self._per_line(judged) > 0, state.level, np.maximum(own, 1e-9))
        mean = replace(state, level=level).mean(data)
        return TwoLevels(posterior, mean, state.dispersion, fold, level, found, judged)

    def _per_line(self, values: Any) -> Floats:
        return np.asarray(np.bincount(self.data.line, values, self.sizes[0]))

    def _per_batch(self, values: Any) -> Floats:
        return np.asarray(np.bincount(self.data.batch, values, self.sizes[1]))

    def _looked_at(self) -> Any:
        """Cells in which the usual level is looked for: all, in lines without usual cells."""
        data = self.data
        counted = self._per_line(data.usual)
        return data.usual | (counted[data.line] == 0)

    def _fixed(self) -> Any:
        return self.data.usual if self.induced else np.zeros(self.data.x.size, dtype=bool)

    def _log_ratio(self, state: _State) -> Floats:
        """Log likelihood of the other level less that of the usual one."""
        data, mean = self.data, state.mean(self.data)
        size = 1 / (state.dispersion + data.noise)
        change = np.log((mean + size) / (mean * state.fold + size))
        return np.asarray(data.x * np.log(state.fold) + (data.x + size) * change)

    def _start(self, fold: float) -> _State:
        data, use = self.data, self._looked_at()
        n_batches = self.sizes[1]
        share = np.full(n_batches, 0.0 if fold == 1.0 else 0.2)
        total = np.maximum(self._per_line(use * data.expected), 1e-12)
        level = np.maximum(self._per_line(use * data.x) / total, 1e-9)
        # Unless they have the usual level by definition, the cells of the start are a mixture too.
        if not self.induced and fold != 1.0:
            level /= 1 + 0.2 * (fold - 1)
        return _State(level, np.ones(n_batches), share, fold, 0.02)

    def _update(self, state: _State, on: Floats, bounds: tuple[float, float]) -> _State:
        data, off = self.data, 1 - on
        mean = state.mean(data)
        spread = state.dispersion + data.noise
        # Counts weigh as much as they tell about the level: little where cells differ anyway.
        weight = off / (1 + spread * mean)
        factor = state.shift[data.batch]
        seen, told = weight * data.x, weight * data.expected
        level = self._per_line(seen) / np.maximum(self._per_line(told * factor), 1e-12)
        level = np.maximum(level, 1e-9)
        shift = state.shift
        if not self.induced:
            # A response must not pass for a batch of its own.
            told_level = self._per_batch(told * level[data.line]) + _BATCH_PRIOR
            shift = (self._per_batch(seen) + _BATCH_PRIOR) / told_level
        middle = replace(state, level=level, shift=shift)
        mean = middle.mean(data)
        informs = on / (1 + spread * mean * state.fold)
        least = max(float(informs @ mean), 1e-9)
        fold = float(informs @ data.x) / least if on.any() else state.fold
        fold = float(np.clip(fold, *bounds))
        dispersion = self._dispersion(mean, mean * fold, off, on, state.dispersion)
        return replace(middle, share=self._share(on, state), fold=fold, dispersion=dispersion)

    def _share(self, on: Floats, state: _State) -> Floats:
        if not state.share.any():
            return state.share
        free = ~self._fixed()
        common = on[free].mean() if free.any() else 0.0
        n_free = self._per_batch(free)
        share = self._per_batch(on) + _SHARE_PRIOR * common
        share = np.clip(share / (n_free + _SHARE_PRIOR), 0, 0.95)
        return np.asarray(share)

    def _dispersion(
        self, low: Floats, high: Floats, off: Floats, on: Floats, before: float
    ) -> float:
        """Moment estimate of the spread between cells of one level."""
        data = self.data
        # Cells of lines without usual ones are a mixture, which would pass for spread.
        judged = data.usual if self.induced else np.ones(data.x.size, dtype=bool)
        excess = scale = 0.0
        for mean, part in ((low, off), (high, on)):
            weight = judged * part / (1 / mean + before + data.noise) ** 2
            relative = ((data.x - mean) ** 2 - mean) / mean**2 - data.noise
            excess += float(weight @ relative)
            scale += float(weight.sum())
        return float(np.clip(excess / max(scale, 1e-12), 1e-3, 10.0))
