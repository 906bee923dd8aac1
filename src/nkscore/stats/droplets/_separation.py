"""Share of a cell's RNA from one of two pure sources.

Per cell, counts of genes that mark source A are compared with counts of genes that mark source B.
With w the share of the droplet's RNA from A, the expected share of A counts among both is a known
function of w. Ambient RNA of a lane holds both sources: it raises w in B cells and lowers it in A
cells. In a doublet w lies between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

_GRID: Final = np.linspace(0.0, 1.0, 51)
_ROUNDS: Final = 50
# Standard deviation of w within a class without ambient RNA.
_SPREAD: Final = 0.04
#: Standard deviation of the ambient share of droplets over its mean.
_VARIATION: Final = 0.4
#: Share of doublets in a sample at which the fit stops, unless the prior is lower.
_FEWEST_DOUBLETS: Final = 0.04
#: Least share of the smaller cell's RNA in a doublet.
_LEAST_PART: Final = 0.15
#: A soup with more than this share in common with a profile holds nothing else.
_LARGEST_SHARE: Final = 0.6
#: Expected counts of a gene in pure soup, from which it can show the ambient share.
_FEWEST_SOUP_COUNTS: Final = 50.0
#: Standard deviations from a gene's counts to their upper limit, for the smallest of many genes.
_ONE_SIDED: Final = 2.0


@dataclass(frozen=True, slots=True)
class Markers:
    """Genes of either source, and what share of each pure profile they make up.

    ``share_a``: of the genes of A in the profile of A, and in that of B; ``share_b`` likewise.
    """

    genes_a: Ints
    genes_b: Ints
    share_a: tuple[float, float]
    share_b: tuple[float, float]


def marker_genes(
    profile_a: Floats, profile_b: Floats, *, allowed: Bools, n_genes: int = 200, fold: float = 8.0
) -> Markers:
    """Choose the genes that separate two summed profiles.

    Parameters
    ----------
    profile_a, profile_b
        Summed counts per gene.
    allowed
        Genes that can be chosen (boolean), to exclude induced genes.
    n_genes
        At most this many per source, the most abundant first.
    fold
        Minimum ratio of the two abundances.
    """
    a = (profile_a + 0.5) / (profile_a.sum() + 1)
    b = (profile_b + 0.5) / (profile_b.sum() + 1)
    genes_a = _top(np.where(allowed & (a >= fold * b), a, 0.0), n_genes)
    genes_b = _top(np.where(allowed & (b >= fold * a), b, 0.0), n_genes)
    return Markers(
        genes_a,
        genes_b,
        (float(a[genes_a].sum()), float(b[genes_a].sum())),
        (float(a[genes_b].sum()), float(b[genes_b].sum())),
    )


def _top(values: Floats, n: int) -> Ints:
    order = np.argsort(-values, kind="stable")[:n]
    return np.sort(order[values[order] > 0])


def without_soup(profile: Floats, soup: Floats, *, allowed: Bools) -> tuple[Floats, float]:
    """Return summed counts of pure cells without ambient counts, and the ambient share.

    Parameters
    ----------
    profile
        Summed counts per gene of the cells.
    soup
        Profile of the ambient RNA of these cells; its sum is one.
    allowed
        Genes that can show the share (boolean).

    Notes
    -----
    A gene that these cells do not express reaches their droplets only as ambient RNA: its counts
    over those of pure soup are the ambient share, and more if the cells express it. The share is
    the smallest upper limit over all genes. Where the soup hardly has more of any gene than the
    profile, it does not contain another source, and the profile is returned as it is.
    """
    total = profile.sum()
    expected = soup * total
    genes = allowed & (expected >= _FEWEST_SOUP_COUNTS)
    if not genes.any():
        return profile, 0.0
    counts = profile[genes]
    limits = (counts + _ONE_SIDED * np.sqrt(counts + 1) + 1) / expected[genes]
    share = float(limits.min())
    if share > _LARGEST_SHARE:
        return profile, 0.0
    return np.maximum(profile - share * expected, 0.0), share


@dataclass(frozen=True, slots=True)
class MarkerCounts:
    """Counts of the markers in cells of one lane.

    ``soup``: share of the lane's ambient RNA in genes of A and of B. ``ambient``: share of the
    ambient RNA in droplets, where the fit starts. ``concentration``: of pure B and pure A cells,
    how much they differ beyond counting noise. ``prior``: cells × 3, probabilities of pure B,
    pure A and both. ``sample``: cells with the same code share fitted class probabilities, which
    start at the prior; cells with -1 keep their prior.
    """

    counts_a: Floats
    counts_b: Floats
    markers: Markers
    soup: tuple[float, float]
    ambient: float
    concentration: tuple[float, float]
    prior: Floats
    sample: Ints


def class_posterior(cells: MarkerCounts) -> tuple[Floats, tuple[float, float]]:
    """Return probabilities of pure B, pure A and both, and the mean w of pure B and pure A cells.

    The two means start where the lane's ambient RNA moves them and are fitted to the cells, those
    of monocultures included. Droplets differ in their ambient RNA, so a class spreads the more, the
    further ambient RNA moved it.
    """
    likelihood = _likelihood(cells.counts_a, cells.counts_b, cells.markers, cells.concentration)
    start_b, start_a = _start(cells)
    limits_b = (start_b, 0.0, max(0.2, start_b + 0.15))
    limits_a = (start_a, min(0.75, start_a - 0.15), 1.0)
    center_b, center_a, shares = start_b, start_a, cells.prior
    posterior = np.zeros((len(likelihood), 3))
    for _ in range(_ROUNDS):
        parts = _parts(center_b, center_a)
        posterior = likelihood @ parts * shares
        posterior /= np.maximum(posterior.sum(axis=1, keepdims=True), 1e-300)
        before, old = (center_b, center_a), shares
        shares = _shares(posterior, cells)
        center_b = _center(likelihood, parts[:, 0], posterior[:, 0], limits_b)
        center_a = _center(likelihood, parts[:, 1], posterior[:, 1], limits_a)
        moved = max(abs(center_b - before[0]), abs(center_a - before[1]))
        if max(moved, np.abs(shares - old).max(initial=0.0)) < 1e-4:
            break
    return posterior, (center_b, center_a)


def _shares(posterior: Floats, cells: MarkerCounts) -> Floats:
    """Return cells × 3: class probabilities of each cell's sample, or its prior."""
    shares = cells.prior.copy()
    fitted = cells.sample >= 0
    code = cells.sample[fitted]
    if not code.size:
        return shares
    n = np.bincount(code)[:, None]
    prior = np.zeros((n.size, 3))
    prior[code] = cells.prior[fitted]
    sums = np.column_stack([np.bincount(code, posterior[fitted, k], n.size) for k in range(3)])
    # Two pseudo-cells per class keep a class from vanishing permanently.
    found = (sums + 2 * prior) / np.maximum(n + 2 * prior.sum(axis=1, keepdims=True), 1e-300)
    # A lane in which doublets cannot be seen has some all the same.
    found[:, 2] = np.maximum(found[:, 2], np.minimum(prior[:, 2], _FEWEST_DOUBLETS))
    shares[fitted] = found[code]
    return shares


def _start(cells: MarkerCounts) -> tuple[float, float]:
    """Return w of pure B and pure A cells with their ambient RNA."""
    centers = []
    for own, least in ((0.0, 0.02), (1.0, 0.97)):
        in_a, in_b = (
            (1 - cells.ambient) * (own * pair[0] + (1 - own) * pair[1]) + cells.ambient * soup
            for pair, soup in zip(
                (cells.markers.share_a, cells.markers.share_b), cells.soup, strict=True
            )
        )
        w = _share_of_a(in_a, in_b, cells.markers, own)
        centers.append(max(w, least) if own == 0 else min(w, least))
    return min(centers[0], 0.4), max(centers[1], 0.6)


def _parts(center_b: float, center_a: float) -> Floats:
    """Return grid × 3: how probable each w is in pure B, pure A and both."""
    spread_b = float(np.hypot(_SPREAD, _VARIATION * center_b))
    spread_a = float(np.hypot(_SPREAD, _VARIATION * (1 - center_a)))
    # Doublets with less of one cell than this look like the other one.
    edge = _LEAST_PART * (center_a - center_b)
    low = center_b + min(2.5 * spread_b, edge)
    high = center_a - min(2.5 * spread_a, edge)
    return np.stack(
        [_bump(center_b, spread_b), _bump(center_a, spread_a), _between(low, high)], axis=1
    )


def _share_of_a(in_a: float, in_b: float, markers: Markers, own: float) -> float:
    """Return the w at which pure RNA has this ratio of A to B markers."""
    p = in_a / max(in_a + in_b, 1e-300)
    (a1, a0), (b1, b0) = markers.share_a, markers.share_b
    at_b, at_a = a0 - p * (a0 + b0), a1 - p * (a1 + b1)
    if abs(at_b - at_a) < 1e-12:
        return own
    return float(np.clip(at_b / (at_b - at_a), 0.0, 1.0))


def _likelihood(
    a: Floats, b: Floats, markers: Markers, concentrations: tuple[float, float]
) -> Floats:
    """Beta-binomial likelihood of each cell at each w of the grid, scaled to 1 at its best."""
    in_a = _GRID * markers.share_a[0] + (1 - _GRID) * markers.share_a[1]
    in_b = _GRID * markers.share_b[0] + (1 - _GRID) * markers.share_b[1]
    p = np.clip(in_a / np.maximum(in_a + in_b, 1e-12), 1e-4, 1 - 1e-4)
    concentration = np.exp(np.interp(_GRID, (0.0, 1.0), np.log(concentrations)))
    alpha, beta = p * concentration, (1 - p) * concentration
    log_p = special.betaln(a[:, None] + alpha, b[:, None] + beta) - special.betaln(alpha, beta)
    return np.asarray(np.exp(log_p - log_p.max(axis=1, keepdims=True)))


def _bump(center: float, spread: float) -> Floats:
    weight = np.exp(-0.5 * ((_GRID - center) / spread) ** 2)
    return np.asarray(weight / weight.sum())


def _between(low: float, high: float) -> Floats:
    middle, half = (low + high) / 2, (high - low) / 2
    # Grid points at an edge count partially, so that weights change smoothly with the centers.
    inside = np.clip((half - np.abs(_GRID - middle)) / _GRID[1] + 0.5, 0.0, 1.0)
    return np.asarray(inside / inside.sum())


def _center(
    likelihood: Floats, part: Floats, weight: Floats, limits: tuple[float, float, float]
) -> float:
    """Mean w of a class, shrunken toward its prior center by ten pseudo-cells."""
    center, low, high = limits
    at = likelihood * part
    mean = (at @ _GRID) / np.maximum(at.sum(axis=1), 1e-300)
    return float(np.clip((weight @ mean + 10 * center) / (weight.sum() + 10), low, high))


def fit_concentration(counts_a: Floats, counts_b: Floats) -> float:
    """Moment estimate of the beta-binomial concentration in cells of one pure class."""
    n = counts_a + counts_b
    keep = n >= 5
    if keep.sum() < 20:
        return 40.0
    n, a = n[keep], counts_a[keep]
    p = a.sum() / n.sum()
    variance = ((a - n * p) ** 2).sum()
    binomial = (n * p * (1 - p)).sum()
    excess = (variance - binomial) / max(float((n * (n - 1)).sum() * p * (1 - p)), 1e-12)
    return float(np.clip(1 / max(excess, 1e-6) - 1, 10.0, 200.0))
