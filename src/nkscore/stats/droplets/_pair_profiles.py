"""A model of droplets that hold an NK cell, a tumor cell, or one of each, by their RNA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from nkscore.stats.droplets._separation import without_soup

if TYPE_CHECKING:
    from nkscore._types import CSR, Bools, Floats, Ints

#: Genes that show the share of NK RNA, and as many that tell lines apart.
_N_GENES: Final = 400
#: A droplet is a pair if its share of NK RNA lies between these, or nearer to the ends where single
#: cells of the lane do not spread as far.
_LOW, _HIGH = (0.06, 0.12), (0.85, 0.94)
_RARE: Final = 0.01
_BEYOND: Final = 2.0
_FEWEST: Final = 20
_MOST_AMBIENT: Final = 0.9


@dataclass(frozen=True, slots=True)
class PairFit:
    """Per droplet: share of NK RNA, number of the line that fits best, whether it is a pair."""

    share: Floats
    line: Ints
    pair: Bools


@dataclass(frozen=True, slots=True)
class PairModel:
    """Profiles of one lane over ``genes``, the last entry being all other genes.

    ``nk``: genes + 1; ``tumor``: lines × (genes + 1); ``soup``: ambient RNA. All sum to one.
    ``ambient``: ambient counts per droplet. ``limits``: shares of NK RNA between which a droplet is
    a pair.
    """

    genes: Ints
    nk: Floats
    tumor: Floats
    soup: Floats
    ambient: float
    limits: tuple[float, float] = (_LOW[1], _HIGH[0])

    def fit(self, counts: CSR, total: Floats, *, droplets: int = 1) -> PairFit:
        """Fit droplets.

        Parameters
        ----------
        counts
            Droplets × genes of the model.
        total
            Counts per droplet, of all genes.
        droplets
            How many droplets were added up for each row: 2 for pairs made of two droplets.
        """
        share, likelihood = self.shares(counts, total, droplets=droplets)
        line = likelihood.argmax(axis=1).astype(np.int64)
        best = share[np.arange(line.size), line]
        low, high = self.limits
        return PairFit(best, line, (best >= low) & (best <= high))

    def shares(
        self, counts: CSR, total: Floats, *, droplets: int = 1, only: Bools | None = None
    ) -> tuple[Floats, Floats]:
        """Return share of NK RNA and log likelihood, droplets × lines.

        ``only`` are the genes of the model that are used; the others count as the rest.
        """
        from nkscore.stats.droplets._pair_kernels import fit_shares

        nk, tumor, soup = self.nk, self.tumor, self.soup
        if only is not None:
            counts = sparse.csr_matrix(counts[:, np.flatnonzero(only)])
            nk, tumor, soup = (_reduced(x, only) for x in (nk, tumor, soup))
        rows = sparse.csr_matrix(counts, dtype=np.float64)
        total = np.asarray(total, dtype=np.float64)
        rest = np.maximum(total - np.asarray(rows.sum(axis=1)).ravel(), 0.0)
        ambient = np.minimum(droplets * self.ambient / np.maximum(total, 1.0), _MOST_AMBIENT)
        share, likelihood = np.zeros((2, rest.size, len(tumor)))
        nk, tumor, soup = (np.ascontiguousarray(x, np.float64) for x in (nk, tumor, soup))
        fit_shares(
            (rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data),
            (rest, ambient),
            (nk, tumor, soup),
            (share, likelihood),
        )
        return share, likelihood


def _reduced(profile: Floats, only: Bools) -> Floats:
    """Return the profile of some genes; the last entry again holds all others."""
    kept = profile[..., :-1][..., only]
    return np.concatenate([kept, 1 - kept.sum(axis=-1, keepdims=True)], axis=-1)


def pair_model(
    sums: Floats,
    n_cells: Ints,
    soup: Floats,
    *,
    allowed: Bools,
    genes: Ints | None = None,
) -> PairModel:
    """Make the model of one lane from the sums of its single cells.

    Parameters
    ----------
    sums
        Groups × genes: counts of NK cells in the first row, of each line in the others.
    n_cells
        Cells per group.
    soup
        Ambient profile, sums to one.
    allowed
        Genes that show identity.
    genes
        Positions of the genes to use; by default those that separate the groups best.
    """
    ambient, pure = _ambient(sums, n_cells, soup, allowed)
    profiles = pure / np.maximum(pure.sum(axis=1, keepdims=True), 1e-300)
    if genes is None:
        genes = _informative(profiles, allowed)
    short = [np.append(p[genes], max(1 - p[genes].sum(), 1e-12)) for p in [*profiles, soup]]
    return PairModel(genes, short[0], np.array(short[1:-1]), short[-1], ambient)


def _ambient(sums: Floats, n_cells: Ints, soup: Floats, allowed: Bools) -> tuple[float, Floats]:
    """Return ambient counts per droplet, and sums without them.

    Each group gives an upper limit, as genes that none of its cells express are unknown.
    """
    limits = []
    for profile, n in zip(sums, n_cells, strict=True):
        _, share = without_soup(profile, soup, allowed=allowed)
        if share > 0:
            limits.append(share * profile.sum() / n)
    ambient = float(min(limits, default=0.0))
    return ambient, np.maximum(sums - ambient * n_cells[:, None] * soup, 0.0)


def _informative(profiles: Floats, allowed: Bools) -> Ints:
    """Return genes that separate NK cells from lines, and lines from each other."""
    nk, lines = profiles[0], profiles[1:]
    typical = lines.mean(axis=0)
    against = ((nk - lines) ** 2 / (nk + lines + 1e-9)).min(axis=0)
    between = ((lines - typical) ** 2).mean(axis=0) / (typical + 1e-9)
    chosen = np.zeros(nk.size, dtype=bool)
    for score in (against, between):
        order = np.argsort(np.where(allowed, -score, 0.0), kind="stable")
        chosen[order[:_N_GENES]] = True
    return np.flatnonzero(chosen & allowed & (nk + typical > 0))


def limits_of(share_nk: Floats, share_tumor: Floats) -> tuple[float, float]:
    """Return the shares of NK RNA between which a droplet of the lane is a pair.

    Parameters
    ----------
    share_nk, share_tumor
        Share of NK RNA in single NK and tumor cells.
    """
    low, high = _LOW[1], _HIGH[0]
    if share_tumor.size >= _FEWEST:
        low = float(np.clip(_BEYOND * np.quantile(share_tumor, 1 - _RARE), *_LOW))
    if share_nk.size >= _FEWEST:
        high = float(np.clip(1 - _BEYOND * (1 - np.quantile(share_nk, _RARE)), *_HIGH))
    return low, high
