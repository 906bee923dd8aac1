"""Share of a sample's counts that is ambient RNA of its lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize, stats

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats

_MOST_LEFT_OUT: Final = 0.3


@dataclass(frozen=True, slots=True)
class AmbientShare:
    """The share of the counts that is ambient, from 0 to 1.

    ``low`` and ``high`` are the ends of its interval; ``used`` says which of the genes were used.
    """

    share: float
    low: float
    high: float
    used: Bools


@dataclass(frozen=True, slots=True)
class _Genes:
    """Counts in the cells and in the same cells alone, with both totals, and the soup."""

    counts: Floats
    total: float
    alone: Floats
    total_alone: float
    soup: Floats

    def keep(self, used: Bools) -> _Genes:
        return _Genes(
            self.counts[used], self.total, self.alone[used], self.total_alone, self.soup[used]
        )

    def own(self, share: float) -> Floats:
        """Maximum likelihood share of each gene in the cells' RNA, given the ambient share."""
        a, c = share * self.soup, 1 - share
        b = self.total_alone + self.total * c
        half = (c * (self.counts + self.alone) - b * a) / 2
        root = np.sqrt(half**2 + b * c * self.alone * a)
        return np.asarray(np.maximum(half + root, 0.0) / (b * max(c, 1e-12)))

    def expected(self, share: float) -> Floats:
        mean = self.total * (share * self.soup + (1 - share) * self.own(share))
        return np.asarray(np.maximum(mean, 1e-12))

    def log_likelihood(self, share: float) -> float:
        mean = self.expected(share)
        alone = np.maximum(self.total_alone * self.own(share), 1e-12)
        mixed = self.counts * np.log(mean) - mean
        pure = self.alone * np.log(alone) - alone
        return float((mixed + pure).sum())

    def fit(self) -> float:
        best = optimize.minimize_scalar(
            lambda r: -self.log_likelihood(r),
            bounds=(0.0, 1.0 - 1e-9),
            method="bounded",
            options={"xatol": 1e-7},
        )
        return float(best.x)


def ambient_share(
    counts: Floats,
    total: float,
    soup: Floats,
    *,
    alone: Floats,
    total_alone: float,
    confidence: float = 0.95,
) -> AmbientShare:
    """Estimate the ambient share from genes that the cells hardly express.

    Parameters
    ----------
    counts
        Summed counts of the genes in the cells.
    total
        Sum over all genes of the data.
    soup
        Share of each gene in the ambient RNA.
    alone, total_alone
        The same two sums in the same type of cells without that ambient RNA.
    confidence
        Coverage of the interval, 0 to 1.

    Notes
    -----
    Counts are Poisson with mean ``total · (ρ · soup + (1 − ρ) · own)`` in the cells and
    ``total_alone · own`` in those alone; ρ maximizes the profile likelihood over ``own``. A gene
    far above its expectation is expressed by the cells after all, and excluded. The interval is the
    profile likelihood interval, widened by how much the genes disagree.
    """
    genes = _Genes(counts, total, alone, total_alone, soup)
    used = np.ones(counts.size, dtype=bool)
    share = genes.fit()
    for _ in range(20):
        # Tested without fitting ``own``, which would explain any gene.
        expected = np.maximum(total * (share * soup + alone / total_alone), 1.0)
        residual = (counts - expected) / np.sqrt(expected)
        spread = max(1.0, 1.4826 * float(np.median(np.abs(residual[used]))))
        keep = residual < 4 * spread
        # If many genes seem expressed, the soup is wrong rather than the genes.
        if keep.sum() < (1 - _MOST_LEFT_OUT) * counts.size or (keep == used).all():
            break
        used = keep
        share = genes.keep(used).fit()
    low, high = _interval(genes.keep(used), share, confidence)
    return AmbientShare(share, low, high, used)


def _interval(genes: _Genes, share: float, confidence: float) -> tuple[float, float]:
    mean = genes.total * (share * genes.soup + genes.alone / genes.total_alone)
    # Genes with less than one expected count carry no information about disagreement.
    informative = mean >= 1
    chi2 = (((genes.counts - mean) ** 2 / np.maximum(mean, 1e-12))[informative]).sum()
    excess = max(1.0, float(chi2) / max(int(informative.sum()) - 1, 1))
    drop = 0.5 * float(stats.chi2.ppf(confidence, 1)) * excess
    top = genes.log_likelihood(share)

    def above(r: float) -> float:
        return genes.log_likelihood(r) - top + drop

    highest = 1.0 - 1e-9
    low = optimize.brentq(above, 0.0, share) if above(0.0) < 0 else 0.0
    high = optimize.brentq(above, share, highest) if above(highest) < 0 else 1.0
    return float(low), float(high)
