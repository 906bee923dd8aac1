"""The guides of a cell, from its guide UMIs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse, special

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Ints32, Matrix

_ROUNDS: Final = 60
_TOLERANCE: Final = 1e-4
#: Prior weight, in UMIs, for shrinking a cell's ambient guide UMIs to the mean of all cells.
_SHRINK: Final = 2.0
#: A guide's signal is shrunken to that of all guides as if it had this many more cells.
_EXTRA_CELLS: Final = 5.0
#: The signal's log standard deviation; a wider one would overlap with ambient guides.
_SPREAD: Final = (0.3, 1.0)
#: Ambient guides come in clumps: their variance is at least mean + 2 mean².
_DISPERSION: Final = (2.0, 20.0)
#: Minimum median count of a guide that a cell has; otherwise ambient counts could pass for it.
_LEAST_SIGNAL: Final = 8.0
#: Counts more than this many standard deviations above the background do not inform it.
_FAR: Final = 4.0


@dataclass(frozen=True, slots=True)
class GuideMixture:
    """Probability that a cell holds a guide, and what was fitted.

    ``probability``: CSR, cells × guides, stored where a count is. ``state``: cells × 3, that the
    cell holds no, one, several guides. Per guide: ``background`` (its share of the ambient guide
    UMIs), ``signal`` (median count of cells that hold it), ``share`` (of all guides held).
    ``spread`` of the log signal.
    """

    probability: sparse.csr_matrix
    state: Floats
    background: Floats
    signal: Floats
    spread: float
    share: Floats


def guide_mixture(counts: Matrix, *, depth: Floats | None = None) -> GuideMixture:
    r"""Return the probability that a cell has each guide, by a mixture per guide.

    Parameters
    ----------
    counts
        Cells × guides, raw counts, sparse or dense.
    depth
        RNA counts per cell, which partly predict the signal.

    Returns
    -------
    GuideMixture
        Probabilities, and what was fitted.

    Notes
    -----
    The background of guide j in cell i is negative binomial with mean :math:`a_i b_j`: :math:`a_i`
    are the ambient guide UMIs of the cell, estimated from all but its two highest guides, and
    :math:`b_j` is the share of guide j among these UMIs of all cells. The log of the signal is
    normal around :math:`\mu_j + \beta (\log d_i - \overline{\log d})`. A cell has no guide, one, or
    two, with fitted frequencies. Everything is fitted by expectation maximization.
    """
    x = sparse.csr_matrix(counts, dtype=np.float64)
    x.eliminate_zeros()
    entries = _Entries.of(x, depth)
    p = entries.start()
    before, slope = np.inf, 0.0
    prior = np.array([0.1, 0.8, 0.1])
    state = np.tile(prior, (x.shape[0], 1))
    for _ in range(_ROUNDS):
        off, expected, background = entries.background(p)
        on, slope, signal, spread = entries.signal(p, slope)
        share = entries.per_guide(p) + 1.0
        share /= share.sum()
        # A count below the expected background is background, even if the signal's tail is wide.
        odds = np.where(entries.value > expected, on - off + np.log(share[entries.guide]), -np.inf)
        p, state, likelihood = entries.expect(odds, prior)
        prior = (state.sum(axis=0) + 1.0) / (x.shape[0] + 3.0)
        likelihood += float(off.sum())
        if abs(likelihood - before) < _TOLERANCE * abs(likelihood):
            break
        before = likelihood
    probability = sparse.csr_matrix((p, x.indices.copy(), x.indptr.copy()), shape=x.shape)
    return GuideMixture(probability, state, background, signal, spread, share)


@dataclass(frozen=True, slots=True)
class _Entries:
    """The stored counts.

    ``rise`` is the depth of the cell relative to the mean (log), ``low`` whether at least two
    guides of the cell have higher counts.
    """

    cell: Ints
    guide: Ints32
    value: Floats
    rise: Floats
    low: Bools
    n_cells: int
    n_guides: int

    @classmethod
    def of(cls, x: sparse.csr_matrix, depth: Floats | None) -> _Entries:
        cell = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        rise = np.zeros(x.shape[0]) if depth is None else np.log(np.maximum(depth, 1.0))
        order = np.lexsort((-x.data, cell))
        low = np.empty(x.nnz, dtype=bool)
        low[order] = np.arange(x.nnz) - x.indptr[cell[order]] >= 2
        return cls(cell, x.indices, x.data, (rise - rise.mean())[cell], low, *x.shape)

    def per_guide(self, weight: Floats) -> Floats:
        return np.asarray(np.bincount(self.guide, weight, self.n_guides))

    def start(self) -> Floats:
        total = np.bincount(self.cell, self.value, self.n_cells)
        return np.asarray((self.value >= 5) & (self.value > 0.2 * total[self.cell]), dtype=float)

    def expect(self, odds: Floats, prior: Floats) -> tuple[Floats, Floats, float]:
        """Return the probability of each guide, of no, one and more guides, and log likelihood.

        ``odds`` are log odds of signal against background, times the guide's share. Three or more
        guides count like their best pair.
        """
        top = np.full(self.n_cells, -np.inf)
        np.maximum.at(top, self.cell, odds)
        top = np.where(np.isfinite(top), top, -50.0)
        weight = np.exp(odds - top[self.cell])
        others = np.where(weight < 1.0, weight, 0.0)
        total = np.bincount(self.cell, weight, self.n_cells)
        rest = np.bincount(self.cell, others, self.n_cells)
        squares = np.bincount(self.cell, others**2, self.n_cells)
        # Sum over pairs without the cancellation in (all)² − (squares), including ties at the top.
        ties = np.rint(total - rest)
        pairs = 2 * ties * rest + rest**2 - squares + ties * (ties - 1)
        with np.errstate(divide="ignore"):
            joint = np.log(prior) + np.column_stack(
                [np.zeros(self.n_cells), top + np.log(total), 2 * top + np.log(pairs)]
            )
        whole = special.logsumexp(joint, axis=1)
        state = np.exp(joint - whole[:, None])
        one = state[:, 1][self.cell] * weight / np.maximum(total, 1e-300)[self.cell]
        # Subtracting the best from the sum would cancel the second best.
        partners = np.where(weight < 1.0, total[self.cell] - weight, (rest + (ties - 1))[self.cell])
        two = 2 * weight * partners / np.maximum(pairs, 1e-300)[self.cell]
        p = np.minimum(one + state[:, 2][self.cell] * np.minimum(two, 1.0), 1.0)
        return p, state, float(whole.sum())

    def background(self, p: Floats) -> tuple[Floats, Floats, Floats]:
        """Return log probability and mean of each count as background, and the guides' shares."""
        free = (1 - p) * self.value
        soup = self.per_guide(free) + 0.5
        soup /= soup.sum()
        # A second guide counted as background would make the cell look rich in ambient guides and
        # confirm itself, so the two highest never count.
        weight = np.asarray(self.low * self.value, dtype=np.float64)
        ambient: Floats = np.bincount(self.cell, weight, self.n_cells).astype(np.float64)
        covered = 1 - np.bincount(self.cell, ~self.low * soup[self.guide], self.n_cells)
        pull = _SHRINK / max(float(ambient.mean()), 0.1)
        ambient = (ambient + _SHRINK) / (np.maximum(covered, 0.05) + pull)
        mean = np.maximum(ambient[self.cell] * soup[self.guide], 1e-9)
        size = 1 / _dispersion(self.value, mean, p, ambient, soup)
        log_p = (
            special.gammaln(self.value + size)
            - special.gammaln(size)
            - special.gammaln(self.value + 1)
            + self.value * np.log(mean / (mean + size))
            + size * np.log(size / (mean + size))
        )
        return log_p, mean, soup

    def signal(self, p: Floats, slope: float) -> tuple[Floats, float, Floats, float]:
        """Return log density of each count as signal, slope on depth, medians and spread."""
        total = max(float(p.sum()), 1e-9)
        log_value = np.log(self.value)
        center = log_value - slope * self.rise
        middle = self.per_guide(p * center) + _EXTRA_CELLS * float(p @ center) / total
        middle = np.maximum(middle / (self.per_guide(p) + _EXTRA_CELLS), np.log(_LEAST_SIGNAL))
        rest = log_value - middle[self.guide]
        squares = max(float(p @ self.rise**2), 1e-9)
        slope = float(np.clip((p * self.rise) @ rest / squares, 0.0, 1.5))
        rest = rest - slope * self.rise
        spread = float(np.clip(np.sqrt((p @ rest**2) / total), *_SPREAD))
        log_p = -0.5 * (rest / spread) ** 2 - np.log(spread * np.sqrt(2 * np.pi)) - log_value
        return log_p, slope, np.exp(middle), spread


def _dispersion(value: Floats, mean: Floats, p: Floats, ambient: Floats, share: Floats) -> float:
    """Estimate (variance − mean) / mean² of the background by moments, with unstored zeros."""
    # First all entries as zeros, then the stored ones; signal is excluded from both.
    squares = float((ambient**2).sum() * (share**2).sum()) - float(p @ mean**2)
    means = float(ambient.sum() * share.sum()) - float(p @ mean)
    # Guides that are not yet recognized would count as spread, which would then hide them.
    value = np.minimum(value, mean + _FAR * np.sqrt(mean + mean**2) + _FAR)
    excess = squares - means + float((1 - p) @ (value**2 - 2 * value * mean))
    return float(np.clip(excess / max(squares, 1e-12), *_DISPERSION))
