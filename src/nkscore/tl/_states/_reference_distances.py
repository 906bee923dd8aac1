"""How far a cell is from the reference's cells of its label, and where on the reference's map."""

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

#: Counts by which a label's profile is drawn to that of all cells.
_PRIOR_COUNTS = 1e4
_LEAST_OF_LABEL = 20
_N_VARIABLE, _N_COMPONENTS, _N_NEIGHBORS = 2000, 30, 15


@dataclass(frozen=True)
class Distances:
    """The usual distances of a label's own cells at one depth."""

    profiles: Floats
    #: Distance = intercept + slope × depth.
    line: Floats
    deepest: float
    middle: Floats
    limit: Floats


@dataclass(frozen=True)
class Map:
    """Principal components of the reference, in which neighbors are looked up."""

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


def usual_distances(ref: Reference, level: Level, *, reject: float) -> Distances:
    """Learn how far left-out cells of the reference are from the profile of their own label."""
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


def distance(usual: Distances, counts: sparse.csr_matrix, code: Ints) -> Floats:
    """Return how far each cell is from its label: 0 for the usual cell, 1 at the limit."""
    # Beyond the depth of the reference the line is not known; cells are taken for closer then.
    depth = np.minimum(depth_of(counts), usual.deepest)
    rest = _deviance(counts, code, usual.profiles) - np.polyval(usual.line, depth)
    return (rest - usual.middle[code]) / (usual.limit[code] - usual.middle[code])


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
    """Return the median place, on the reference's map, of the nearest cells of the reference."""
    from sklearn.neighbors import NearestNeighbors

    theirs, mine = (
        log_normalized(c)[:, of_map.genes] @ of_map.loadings for c in (level.counts, counts)
    )
    finder = NearestNeighbors(n_neighbors=min(_N_NEIGHBORS, ref.code.size)).fit(theirs)
    near = finder.kneighbors(mine, return_distance=False)
    umap = ref.umap if ref.umap is not None else np.full((ref.code.size, 2), np.nan)
    return np.asarray(np.median(umap[near], axis=1))
