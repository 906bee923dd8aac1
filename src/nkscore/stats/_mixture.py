"""Mixtures on counts with the sequencing depth as offset.

Depth enters as an offset of the expected count, so that a shallow cell gets a broad posterior
rather than another label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

Floats = np.ndarray[Any, np.dtype[np.float64]]

_ROUNDS = 200
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class MarkerMixture:
    """Posterior of each state per cell (last column: none of them) and the fitted parameters."""

    posterior: Floats
    share: Floats
    base_rate: Floats
    fold: Floats
    dispersion: Floats


def _log_negative_binomial(x: Floats, mean: Floats, dispersion: Floats | float) -> Floats:
    """Log probability up to a term in ``x`` and ``dispersion`` that is equal for all means."""
    size = 1 / dispersion
    return np.asarray(x * np.log(mean) - (x + size) * np.log(mean + size))


def _moment_dispersion(x: Floats, mean: Floats, weight: Floats) -> Floats:
    """Weighted estimate of (variance − mean) / mean² for each column, kept within bounds."""
    excess = (weight * ((x - mean) ** 2 - mean)).sum(axis=0)
    scale = (weight * mean**2).sum(axis=0)
    return np.asarray(np.clip(excess / np.maximum(scale, 1e-12), 1e-3, 10.0))


def fit_marker_mixture(
    counts: Floats, depth: Floats, members: np.ndarray[Any, np.dtype[np.bool_]],
    *, fold: float = 4.0, least_fold: float = 2.0,
) -> MarkerMixture:  # fmt: skip
    """Assign cells to the state whose markers are raised together.

    Parameters
    ----------
    counts
        Cells × marker genes.
    depth
        Total count per cell, over all its genes.
    members
        Marker genes × states: True where a gene marks a state.
    fold, least_fold
        Start and lower bound of how much a marker is raised in its state; the bound keeps a state
        that is not there from being fitted to noise.

    Notes
    -----
    A negative binomial mixture fitted by expectation maximization: a cell in state k expects
    ``depth · rate_g · fold_g`` counts of each marker g of k and ``depth · rate_g`` of the others.
    After the idea of CellAssign (Zhang et al. 2019, doi 10.1038/s41592-019-0529-1).
    """
    relative = (depth / np.mean(depth))[:, None]
    n_cells, n_genes = counts.shape
    n_states = members.shape[1]
    # A rate below one count in all cells cannot be told from zero.
    base = np.maximum(counts.sum(axis=0) / relative.sum(), 1 / n_cells)
    folds = np.full(n_genes, fold)
    base = base / (1 + (folds - 1) / (n_states + 1))
    dispersion = np.full(n_genes, 0.5)
    share = np.full(n_states + 1, 1 / (n_states + 1))
    posterior = np.tile(share, (n_cells, 1))
    for _ in range(_ROUNDS):
        gain = _log_negative_binomial(counts, relative * base * folds, dispersion)
        off = _log_negative_binomial(counts, relative * base, dispersion)
        log_joint = np.column_stack([(gain - off) @ members, np.zeros(n_cells)]) + np.log(share)
        posterior = special.softmax(log_joint, axis=1)
        before, share = share, np.maximum(posterior.mean(axis=0), 1e-6)
        share /= share.sum()
        on = posterior[:, :-1] @ members.T
        base = np.maximum(((1 - on) * counts).sum(0), 0.5) / ((1 - on) * relative).sum(0)
        raised = ((on * counts).sum(0) + fold) / ((on * relative).sum(0) * base + 1)
        folds = np.clip(raised, least_fold, 100.0)
        mean = relative * base * np.where(on > 0.5, folds, 1.0)
        dispersion = _moment_dispersion(counts, mean, np.ones_like(counts))
        if np.abs(share - before).max() < _TOLERANCE:
            break
    return MarkerMixture(posterior, share, base, folds, dispersion)


def two_level_posterior(
    x: Floats, expected: Floats, group: np.ndarray[Any, np.dtype[np.int64]],
    *, fold: float, bounds: tuple[float, float], usual: Any = None,
    induced: bool = False,
) -> tuple[Floats, float]:  # fmt: skip
    """Return, for each cell, the probability that a program's summed count is at its other level.

    Parameters
    ----------
    x
        Summed count of the program's genes per cell.
    expected
        Count expected of the cell if its program is at the usual level, from its depth.
    group
        Group of each cell (its line), 0 … ; the usual level and the share of cells at the other
        level are fitted per group.
    fold, bounds
        Start and limits of the ratio of the two levels, all below or all above 1.
    usual
        Cells (boolean) in which the usual level is looked for first, such as monocultures; all by
        default, and in groups that have none.
    induced
        Whether ``usual`` cells have the usual level by definition. The spread between cells is
        then learned from them alone, so that what is called the other level exceeds it.

    Returns
    -------
    posterior per cell, fitted ratio. All zero, and ratio 1, where one level explains the counts as
    well (Bayesian information criterion over all groups), or where the fitted ratio is no further
    from 1 than ``bounds`` demand.
    """
    n_groups = int(group.max()) + 1
    usual = np.ones(x.size, bool) if usual is None else usual
    one = _Levels(x, expected, group, n_groups, usual, induced)
    single = one.fit(fold=1.0, bounds=(1.0, 1.0))
    two = one.fit(fold=fold, bounds=bounds)
    penalty = 0.5 * (n_groups + 1) * np.log(x.size)
    # A ratio held up by its bound is that of a weaker difference than the program's.
    least = min(bounds, key=lambda bound: abs(np.log(bound)))
    if two[2] - single[2] <= penalty or np.isclose(two[1], least, rtol=1e-6):
        return np.zeros(x.size), 1.0
    return two[0], two[1]


@dataclass(frozen=True, slots=True)
class _Levels:
    x: Floats
    expected: Floats
    group: Any
    n_groups: int
    usual: Any
    induced: bool

    def _per_group(self, values: Floats) -> Floats:
        sums = np.bincount(self.group, weights=values, minlength=self.n_groups)
        return np.asarray(sums, dtype=np.float64)

    def _usual(self) -> Any:
        counted = self._per_group(self.usual.astype(float))
        return self.usual | (counted[self.group] == 0)

    def _start(self) -> Floats:
        use = self._usual()
        total = np.maximum(self._per_group(use * self.expected), 1e-12)
        return self._per_group(use * self.x) / total

    def fit(self, *, fold: float, bounds: tuple[float, float]) -> tuple[Floats, float, float]:
        x, expected, group = self.x, self.expected, self.group
        share = np.full(self.n_groups, 0.0 if fold == 1.0 else 0.2)
        # Unless they have the usual level by definition, the cells of the start are a mixture too.
        level = self._start() / (1.0 if self.induced else 1 + share * (fold - 1))
        dispersion = 0.02
        posterior, likelihood = np.zeros(x.size), -np.inf
        free = np.ones(x.size, dtype=bool)
        if self.induced:
            free = ~self._usual()
        for _ in range(_ROUNDS):
            mean = np.maximum(expected * level[group], 1e-9)
            log_off = _log_negative_binomial(x, mean, dispersion) + _constant(x, dispersion)
            log_on = _log_negative_binomial(x, mean * fold, dispersion) + _constant(x, dispersion)
            with np.errstate(divide="ignore"):
                joint = np.stack([log_off + np.log1p(-share[group]), log_on + np.log(share[group])])
            total = special.logsumexp(joint, axis=0)
            posterior = np.where(free, np.exp(joint[1] - total), 0.0)
            likelihood = float(np.where(free, total, log_off).sum())
            before = np.append(share, [fold, dispersion])
            n_free = np.maximum(self._per_group(free.astype(float)), 1)
            share = np.clip(self._per_group(posterior) / n_free, 0, 0.95)
            off = 1 - posterior
            level = self._per_group(off * x) / np.maximum(self._per_group(off * expected), 1e-12)
            mean = np.maximum(expected * level[group], 1e-9)
            fold = float(np.clip((posterior @ x) / max(posterior @ mean, 1e-9), *bounds))
            # Cells of groups without usual ones are a mixture, which would pass for spread.
            known = self.induced and self.usual.any()
            judged = self.usual if known else np.ones(x.size, dtype=bool)
            both = np.tile(x, 2)[:, None], np.concatenate([mean, mean * fold])[:, None]
            weight = np.concatenate([judged * off, judged * posterior])[:, None]
            dispersion = float(_moment_dispersion(*both, weight)[0])
            if np.abs(np.append(share, [fold, dispersion]) - before).max() < _TOLERANCE:
                break
        return posterior, fold, likelihood


def _constant(x: Floats, dispersion: float) -> Floats:
    size = 1 / dispersion
    return np.asarray(special.gammaln(x + size) - special.gammaln(size) + size * np.log(size))
