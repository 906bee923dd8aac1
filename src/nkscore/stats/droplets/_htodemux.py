"""Cut-offs per hashtag from its background cluster: the algorithm of Seurat's HTODemux."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize, special, stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import Bools, Floats, Ints

#: Number of samples in the search for medoids, as in Seurat's call of cluster::clara.
_SAMPLES: Final = 100
#: Above this size a negative binomial equals a Poisson for all hashtag counts.
_LARGEST_SIZE: Final = 1e6


@dataclass(frozen=True, slots=True)
class HtoDemux:
    """Calls of HTODemux and the quantities they come from.

    ``cut_off``: per tag, positive means more counts than this. ``positive``: cells × tags. ``top``:
    position of the tag with the highest centered log ratio, which Seurat takes for a singlet.
    ``size`` and ``mean`` of the negative binomial that was fitted to the ``background_cluster``.
    """

    cut_off: Ints
    positive: Bools
    top: Ints
    clusters: Ints
    background_cluster: Ints
    size: Floats
    mean: Floats


def centered_log_ratio(counts: Floats) -> Floats:
    """Return Seurat's centered log ratio with margin 1: each tag against its mean over cells.

    ``log1p(x / exp(mean(log1p(x))))``, the mean running over all cells of the tag.
    """
    return np.asarray(np.log1p(counts / np.exp(np.log1p(counts).mean(axis=0))))


def htodemux(
    counts: Floats,
    *,
    initial_clusters: Ints | None = None,
    quantile: float = 0.99,
) -> HtoDemux:
    """Call hashtags like HTODemux in Seurat 4.3.

    Parameters
    ----------
    counts
        Cells × tags, raw counts.
    initial_clusters
        One label per cell, in place of clusters from :func:`find_medoids`.
    quantile
        A tag is positive above this quantile of its background.

    Returns
    -------
    HtoDemux
        Calls, and what they come from.

    Notes
    -----
    Stoeckius et al. 2018, doi 10.1186/s13059-018-1603-1. Cells are clustered into one cluster more
    than there are tags, on centered log ratios. Per tag, the cluster with the lowest mean gives
    the background, to whose raw counts a negative binomial is fitted by maximum likelihood.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.array([[90., 2], [80, 1], [3, 70], [1, 60], [2, 2], [1, 3], [75, 80]])
    >>> found = htodemux(counts, initial_clusters=np.array([0, 0, 1, 1, 2, 2, 0]))
    >>> found.cut_off.tolist(), found.positive.sum(axis=1).tolist()
    ([5, 7], [1, 1, 1, 1, 0, 0, 2])
    """
    counts = np.asarray(counts, dtype=np.float64)
    ratios = centered_log_ratio(counts)
    if initial_clusters is None:
        clusters = find_medoids(ratios, counts.shape[1] + 1)
    else:
        clusters = np.asarray(initial_clusters)
    labels, code = np.unique(clusters, return_inverse=True)
    mean = np.stack([np.expm1(ratios[code == k]).mean(axis=0) for k in range(len(labels))])
    lowest = mean.argmin(axis=0)
    fits = [fit_negative_binomial(counts[code == k, j]) for j, k in enumerate(lowest)]
    size, center = np.array(fits, dtype=np.float64).reshape(-1, 2).T
    cut_off = np.asarray(stats.nbinom.ppf(quantile, size, size / (size + center)), dtype=np.int64)
    return HtoDemux(
        cut_off=cut_off,
        positive=counts > cut_off,
        top=ratios.argmax(axis=1),
        clusters=clusters,
        background_cluster=labels[lowest],
        size=size,
        mean=center,
    )


def fit_negative_binomial(x: Floats) -> tuple[float, float]:
    """Maximum likelihood size and mean of a negative binomial.

    The mean is that of the counts. Counts that vary no more than a Poisson get the maximum size
    (1e6); counts that are all zero get the mean 1e-9, whose quantiles are zero.
    """
    mean = float(x.mean())
    if mean <= 0:
        return _LARGEST_SIZE, 1e-9
    values, times = np.unique(x, return_counts=True)

    def slope(log_size: float) -> float:
        size = np.exp(log_size)
        terms = special.digamma(values + size) - special.digamma(size)
        return float((times * terms).sum() - times.sum() * np.log1p(mean / size))

    low, high = np.log(1e-6), np.log(_LARGEST_SIZE)
    if x.var() <= mean or slope(high) >= 0:
        return _LARGEST_SIZE, mean
    return float(np.exp(optimize.brentq(slope, low, high, xtol=1e-12))), mean


def find_medoids(points: Floats, n_clusters: int) -> Ints:
    """Cluster points around medoids sought in 100 small samples (CLARA).

    Parameters
    ----------
    points
        Cells × dimensions; distances are Euclidean.
    n_clusters
        Number of clusters, fewer than points.

    Returns
    -------
    Ints
        Cluster per point, numbered from 0 in the order in which they first occur.

    Notes
    -----
    Kaufman and Rousseeuw 1990, doi 10.1002/9780470316801. The samples are those of R's
    ``cluster::clara``, whose generator (s ← 5761 s + 999 mod 2¹⁶) starts at zero in every call,
    independent of Seurat's seed; the clusters are therefore the same as in R. As in R (``pamLike =
    FALSE``), a swap assigns all points of the removed medoid to the new one.
    """
    n = len(points)
    n_clusters = min(n_clusters, n - 1)
    if n_clusters < 2:
        return np.zeros(n, dtype=np.int64)
    n_sample = min(n, 40 + 2 * n_clusters)
    draw = _draws(n)
    best = np.empty(0, dtype=np.int64)
    least, nearest = np.inf, np.zeros(n, dtype=np.int64)
    for _ in range(_SAMPLES if n_sample < n else 1):
        sample = _sample(n, n_sample, best, draw)
        medoids = sample[_partition(_distances(points[sample], points[sample]), n_clusters)]
        distance = _distances(points, points[medoids])
        total = distance.min(axis=1).sum()
        if total < least:
            least, nearest = total, distance.argmin(axis=1)
            best = medoids
    first, code = np.unique(nearest, return_index=True, return_inverse=True)[1:]
    return np.asarray(np.argsort(np.argsort(first))[code])


def _draws(n: int) -> Iterator[int]:
    """Positions below ``n`` from CLARA's generator."""
    state = 0
    while True:
        state = (5761 * state + 999) % 65536
        yield n * state // 65536


def _sample(n: int, n_sample: int, medoids: Ints, draw: Iterator[int]) -> Ints:
    """Sorted sample with the medoids; if it has most of the points, its complement is drawn."""
    if n_sample == n:
        return np.arange(n)
    leave_out = n < 2 * n_sample
    chosen = set() if leave_out else set(medoids.tolist())
    barred = set(medoids.tolist()) if leave_out else set()
    wanted = n - n_sample if leave_out else n_sample
    while len(chosen) < wanted:
        position = next(draw)
        if position not in barred:
            chosen.add(position)
    drawn = np.array(sorted(chosen), dtype=np.int64)
    return np.setdiff1d(np.arange(n), drawn) if leave_out else drawn


def _distances(a: Floats, b: Floats) -> Floats:
    # Differences, not products: identical points must be at distance zero exactly.
    return np.stack([np.sqrt(((a - point) ** 2).sum(axis=1)) for point in b], axis=1)


def _partition(distance: Floats, n_clusters: int) -> Ints:
    """Medoids of a few points: greedy start, then the best swap until none helps."""
    n = len(distance)
    is_medoid = np.zeros(n, dtype=np.bool_)
    nearest = np.full(n, distance.max() * 1.1 + 1)
    for _ in range(n_clusters):
        gain = np.maximum(nearest - distance, 0).sum(axis=1)
        gain[is_medoid] = -1.0
        # For equal gains the last one counts, as in CLARA.
        last = n - 1 - int(gain[::-1].argmax())
        is_medoid[last] = True
        nearest = np.minimum(nearest, distance[last])
    while True:
        change = _swap_costs(distance, is_medoid)
        new, place = np.unravel_index(change.argmin(), change.shape)
        if change[new, place] >= 0:
            return np.flatnonzero(is_medoid)
        old = np.flatnonzero(is_medoid)[place]
        is_medoid[[np.flatnonzero(~is_medoid)[new], old]] = [True, False]


def _swap_costs(distance: Floats, is_medoid: Bools) -> Floats:
    """Change of the total distance, other points × medoids."""
    to_medoids = distance[is_medoid]
    nearest, second = np.partition(to_medoids, 1, axis=0)[:2]
    to_new = distance[~is_medoid]
    saved = np.minimum(to_new - nearest, 0)
    moved = np.where(second > nearest, to_new, second) - nearest
    own = to_medoids == nearest
    return np.asarray(moved @ own.T + saved @ (~own).T)
