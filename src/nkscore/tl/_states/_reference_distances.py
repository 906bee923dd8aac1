"""Distance of cells from the reference cells of their label, and position on its map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore.tl._states._reference_genes import depth_of, log_normalized
from nkscore.tl._states._reference_models import label_sums

if TYPE_CHECKING:
    from scipy import sparse

    from nkscore._types import Floats, Ints
    from nkscore.tl._states._reference_genes import Reference
    from nkscore.tl._states._reference_models import Level

#: Prior counts that shrink a label's profile toward that of all cells.
_PRIOR_COUNTS = 1e4
_LEAST_OF_LABEL = 20
_N_VARIABLE, _N_COMPONENTS, _N_NEIGHBORS = 2000, 30, 15


@dataclass(frozen=True)
class Distances:
    """Distances of held-out cells of each label at one depth."""

    profiles: Floats
    #: Distance = intercept + slope × depth.
    line: Floats
    deepest: float
    middle: Floats
    limit: Floats


@dataclass(frozen=True)
class Map:
    """Principal components of the reference, for finding neighbors."""

    genes: Ints
    loadings: Floats


def label_profiles(counts: sparse.csr_matrix, code: Ints, n_labels: int) -> Floats:
    """Return the share of each gene in the counts of each label."""
    sums = label_sums(counts, code, n_labels)
    overall = sums.sum(axis=0) + 1.0
    sums = sums + _PRIOR_COUNTS * overall / overall.sum()
    return np.asarray(sums / sums.sum(axis=1, keepdims=True))


def _deviance(counts: sparse.csr_matrix, code: Ints, profiles: Floats) -> Floats:
    """Multinomial deviance of each cell from the profile of its label, per count."""
    cell = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0)
    excess = np.log(counts.data / total[cell]) - np.log(profiles[code[cell], counts.indices])
    summed = np.bincount(cell, weights=counts.data * excess, minlength=counts.shape[0])
    return 2 * summed / total


def held_out_distances(ref: Reference, level: Level, *, reject: float) -> Distances:
    """Estimate the distances of held-out reference cells from the profile of their label."""
    own = np.zeros(ref.code.size)
    n_labels = len(ref.labels)
    for fold in np.unique(ref.fold):
        test = ref.fold == fold
        profiles = label_profiles(ref.counts[~test], ref.code[~test], n_labels)
        own[test] = _deviance(level.counts[test], ref.code[test], profiles)
    depth = depth_of(level.counts)
    line = np.polyfit(depth, own, 1) if np.ptp(depth) > 1e-6 else np.array([0.0, own.mean()])
    rest = own - np.polyval(line, depth)
    groups = [rest[ref.code == k] for k in range(n_labels)]
    groups = [g if g.size >= _LEAST_OF_LABEL else rest for g in groups]
    middle = np.array([np.median(g) for g in groups])
    limit = np.array([np.quantile(g, 1 - reject) for g in groups])
    profiles = label_profiles(ref.counts, ref.code, n_labels)
    return Distances(profiles, line, float(depth.max()), middle, np.maximum(limit, middle + 1e-9))


def distance(held_out: Distances, counts: sparse.csr_matrix, code: Ints) -> Floats:
    """Return the distance of each cell from its label: 0 for the median cell, 1 at the limit."""
    # Beyond the depth of the reference the trend is unknown; distances are then smaller.
    depth = np.minimum(depth_of(counts), held_out.deepest)
    rest = _deviance(counts, code, held_out.profiles) - np.polyval(held_out.line, depth)
    return (rest - held_out.middle[code]) / (held_out.limit[code] - held_out.middle[code])


def reference_map(ref: Reference) -> Map:
    """Return the principal components of the most variable genes of the reference."""
    from sklearn.decomposition import PCA

    values = log_normalized(ref.counts)
    mean = np.asarray(values.mean(axis=0)).ravel()
    variance = np.asarray(values.multiply(values).mean(axis=0)).ravel() - mean**2
    genes = np.sort(np.argsort(-variance, kind="stable")[:_N_VARIABLE])
    n_components = min(_N_COMPONENTS, ref.code.size - 1, genes.size - 1)
    pca = PCA(n_components, svd_solver="arpack", random_state=0).fit(values[:, genes])
    return Map(genes, pca.components_.T)


def places(ref: Reference, level: Level, of_map: Map, counts: sparse.csr_matrix) -> Floats:
    """Return the median position of the nearest reference cells on the reference's map."""
    from sklearn.neighbors import NearestNeighbors

    theirs, mine = (
        log_normalized(c)[:, of_map.genes] @ of_map.loadings for c in (level.counts, counts)
    )
    finder = NearestNeighbors(n_neighbors=min(_N_NEIGHBORS, ref.code.size)).fit(theirs)
    near = finder.kneighbors(mine, return_distance=False)
    umap = ref.umap if ref.umap is not None else np.full((ref.code.size, 2), np.nan)
    return np.asarray(np.median(umap[near], axis=1))
