"""Genes that follow a state without being its markers, found in the data.

A panel of five markers carries little information in a shallow cell, but its state can change
hundreds of genes. These genes are found in one half of the cells and used in the other. Their
evidence is weighted by how well it predicts the posterior of the markers there. If the states
change no other gene, the weight is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import ndtri

from nkscore.stats.markers._marker_cells import alike, half_of
from nkscore.stats.markers._marker_mixture import normalized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nkscore._types import CSR, Floats, Ints, Matrix

#: Genes with fewer counts in the cells of the fit cannot show a fold change.
_LEAST_COUNTS: Final = 30
_LEAST_Z: Final = 3.0
_LARGEST_LOG_FOLD: Final = np.log(8.0)
#: Prior counts for a fold of one, and for the rate of all groups together.
_FOLD_PRIOR, _GROUP_PRIOR = 10.0, 5.0
_CHUNK: Final = 1000
#: Number of cells read at once.
_SLAB: Final = 50_000
#: Weights below this would only add noise.
_LEAST_WEIGHT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Companions:
    """Estimates from the cells of even depth and from those of odd depth.

    ``genes`` are columns of the counts; ``log_fold`` (halves × classes × genes), ``rate`` (halves ×
    groups × genes) and ``dispersion`` (halves × genes) are estimated in that half.
    """

    genes: Ints
    log_fold: Floats
    rate: Floats
    dispersion: Floats


@dataclass(frozen=True, slots=True)
class _Half:
    log_fold: Floats
    rate: Floats
    dispersion: Floats


def learn_companions(
    counts: Matrix, depth: Floats, group: Ints, *, posterior: Floats, n_groups: int
) -> Companions | None:
    """Find genes whose counts follow the posterior of a class within groups of cells.

    Parameters
    ----------
    counts
        Cells × genes, sparse; without the markers behind the posterior.
    depth
        Offset of each cell.
    group
        Number of each cell's sample, from 0: genes can have a different baseline level in each.
    posterior
        Cells × classes, from the markers.
    n_groups
        Number of samples; those without a cell here get the baseline level of all.

    Returns
    -------
    ``None`` if no gene follows.
    """
    half = half_of(depth)
    matrix = sparse.csr_matrix(counts)
    total = np.asarray(matrix.sum(axis=0)).ravel()
    genes = np.flatnonzero(total >= _LEAST_COUNTS)
    matrix = matrix[:, genes]
    learned = [
        _learn(
            matrix[half == h],
            depth[half == h],
            group[half == h],
            posterior=posterior[half == h],
            n_groups=n_groups,
        )
        for h in (0, 1)
    ]
    used = np.any([(part.log_fold != 0).any(axis=0) for part in learned], axis=0)
    if not used.any():
        return None
    return Companions(
        genes[used],
        np.stack([part.log_fold[:, used] for part in learned]),
        np.stack([part.rate[:, used] for part in learned]),
        np.stack([part.dispersion[used] for part in learned]),
    )


def _learn(
    counts: sparse.csr_matrix, depth: Floats, group: Ints, *, posterior: Floats, n_groups: int
) -> _Half:
    """Fit folds by quasi-likelihood, from the mean count of a soft mixture of classes."""
    n_classes, n_genes = posterior.shape[1], counts.shape[1]
    member = sparse.csr_matrix(
        (np.ones(depth.size), (group, np.arange(depth.size))), (n_groups, depth.size)
    )
    total = np.asarray((member @ counts).todense(), dtype=np.float64)
    weight = np.asarray(member @ (depth[:, None] * posterior))
    overlap = np.zeros((n_groups, n_classes * n_classes))
    for number in range(n_groups):
        inside = group == number
        own = posterior[inside]
        overlap[number] = (own.T @ (depth[inside, None] * own)).ravel()
    together = np.asarray((counts.T @ posterior), dtype=np.float64)
    fold, z = np.ones((n_classes, n_genes)), np.zeros((n_classes, n_genes))
    rate = _rates(total, weight, fold)
    for _ in range(2):
        for start in range(0, n_genes, _CHUNK):
            part = slice(start, min(start + _CHUNK, n_genes))
            fold[:, part], z[:, part] = _solve(rate[:, part], overlap, together[part])
        rate = _rates(total, weight, fold)
    spread, dispersion = _noise(counts, depth, group, posterior=posterior, fold=fold, rate=rate)
    z /= np.sqrt(spread)
    # This threshold admits about one false gene per direction, which then has little weight.
    threshold = max(_LEAST_Z, -float(ndtri(1 / z.size)))
    shrunk = np.log(fold) * np.maximum(1 - 1 / np.maximum(z**2, 1e-9), 0)
    log_fold = np.clip(shrunk, -_LARGEST_LOG_FOLD, _LARGEST_LOG_FOLD)
    log_fold[:, (np.abs(z) < threshold).all(axis=0)] = 0.0
    return _Half(log_fold, rate, dispersion)


def _rates(total: Floats, weight: Floats, fold: Floats) -> Floats:
    """Return the baseline level of each gene in each group, shrunken to that of all groups."""
    expected = weight @ fold
    overall = np.maximum(total.sum(axis=0), 0.5) / expected.sum(axis=0)
    return np.asarray((total + _GROUP_PRIOR) / (expected + _GROUP_PRIOR / overall))


def _solve(rate: Floats, overlap: Floats, together: Floats) -> tuple[Floats, Floats]:
    n_classes = together.shape[1]
    matrix = (rate.T @ overlap).reshape(-1, n_classes, n_classes)
    matrix += _FOLD_PRIOR * np.eye(n_classes)
    inverse = np.linalg.inv(matrix)
    fold = np.einsum("gkl,gl->kg", inverse, together + _FOLD_PRIOR)
    error = np.sqrt(np.maximum(np.einsum("gkk->kg", inverse), 1e-12))
    return np.clip(fold, 0.05, 20.0), (fold - 1) / error


def _noise(
    counts: sparse.csr_matrix,
    depth: Floats,
    group: Ints,
    *,
    posterior: Floats,
    fold: Floats,
    rate: Floats,
) -> tuple[Floats, Floats]:
    """Return the variance of counts over their mean, and the dispersion, of each gene."""
    n_genes = counts.shape[1]
    square, mean_sum, mean_square = np.zeros((3, n_genes))
    for start in range(0, depth.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        mean = depth[part, None] * rate[group[part]] * (posterior[part] @ fold)
        square += ((counts[part].toarray() - mean) ** 2).sum(axis=0)
        mean_sum += mean.sum(axis=0)
        mean_square += (mean**2).sum(axis=0)
    excess = np.clip((square - mean_sum) / np.maximum(mean_square, 1e-12), 0.02, 5.0)
    return np.maximum(square / np.maximum(mean_sum, 1e-12), 1.0), excess


def companion_evidence(
    companions: Companions, take: Callable[[Ints], Floats | CSR], depth: Floats, group: Ints
) -> Floats:
    """Return the log likelihood of each class in each cell (mean over classes: 0).

    ``take`` returns the counts of some cells, in ascending order, in the columns
    ``companions.genes``; for all cells at once they could be another copy of the data. A cell is
    scored with the estimates from the other half.
    """
    half = half_of(depth)
    blocks: list[tuple[int, Ints]] = []
    for number in (0, 1):
        rows = np.flatnonzero(half != number)
        if rows.size:
            blocks += [(number, rows[inside]) for inside in alike(depth[rows], group[rows])]
    block_of = np.empty(depth.size, dtype=np.int64)
    for i, (_, rows) in enumerate(blocks):
        block_of[rows] = i
    folds = np.exp(companions.log_fold)
    out = np.zeros((depth.size, companions.log_fold.shape[1]))
    for first in range(0, depth.size, _SLAB):
        slab = np.arange(first, min(first + _SLAB, depth.size))
        counts = take(slab)
        for i, inside in _by_number(block_of[slab]):
            number, rows = blocks[i]
            dispersion = companions.dispersion[number]
            mean = depth[rows].mean() * companions.rate[number, group[rows[0]]] * folds[number]
            spread = np.log1p(mean * dispersion)
            found = counts[inside] @ (np.log(mean) - spread).T
            out[slab[inside]] = found - (spread / dispersion).sum(axis=1)
    return np.asarray(out - out.mean(axis=1, keepdims=True))


def _by_number(numbers: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each number with its positions."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    for inside in np.split(order, starts[1:]):
        yield int(numbers[inside[0]]), inside


def companion_weight(evidence: Floats, posterior: Floats, group: Ints) -> float:
    """Return the weight of the evidence, 0 to 1.

    It is the weight with which the evidence best predicts the markers' posterior, from which it was
    not derived in these cells. The posterior is blurred by its overlap between classes, which is
    known.
    """
    sums = np.stack([np.bincount(group, own) for own in posterior.T], axis=1)
    prior = sums / np.maximum(np.bincount(group), 1)[:, None]
    log_prior = np.log(prior + 1e-9)[group]
    blur = (posterior.T @ posterior) / np.maximum(posterior.sum(axis=0), 1e-9)[:, None]

    def surprise(weight: float) -> float:
        predicted = normalized(log_prior + weight * evidence) @ blur
        return -float((posterior * np.log(predicted + 1e-300)).sum())

    found = minimize_scalar(surprise, bounds=(0.0, 1.0), method="bounded")
    better = found.fun < surprise(0.0)
    return float(found.x) if better and found.x >= _LEAST_WEIGHT else 0.0
