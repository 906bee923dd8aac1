"""Droplets with an NK and a tumor cell, by their RNA, lane by lane."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore._samples._cells import passed_qc
from nkscore._samples._samples import labels
from nkscore.stats import limits_of, pair_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import CSR, Bools, Floats, Ints, Labels
    from nkscore.stats import PairFit, PairModel

#: Single cells of a lane from which a profile is made; with fewer, those of all lanes.
_FEWEST: Final = 20


@dataclass(frozen=True, slots=True)
class Singles:
    """What pairs are recognized from.

    Lane of each droplet; single NK cells; line of each single tumor cell (``None`` for others);
    droplets whose sum stands for ambient RNA.
    """

    lane: Labels
    is_nk: Bools
    line: Labels
    usable: Bools

    @classmethod
    def of(cls, adata: AnnData, compartment: Labels) -> Singles:
        """Return the singles of an AnnData with these compartments."""
        usable = passed_qc(adata)
        single = usable & (labels(adata.obs, schema.HASHTAG_CLASS) == schema.SINGLET)
        line = labels(adata.obs, schema.TUMOR)
        is_tumor = single & (compartment == schema.TUMOR_CELLS)
        return cls(
            labels(adata.obs, schema.LANE),
            single & (compartment == schema.NK),
            np.array([x if there else None for x, there in zip(line, is_tumor, strict=True)]),
            usable,
        )


@dataclass(frozen=True, slots=True)
class LanePairs:
    """One lane: positions of its droplets, their counts in the genes of the model, all counts.

    ``lines`` names the profiles of the model.
    """

    lane: str
    cells: Ints
    lines: list[str]
    model: PairModel
    counts: CSR
    total: Floats

    def fit(self) -> PairFit:
        """Return the fit of all droplets."""
        return self.model.fit(self.counts, self.total)


def lane_pairs(
    counts: Counts,
    singles: Singles,
    lanes: list[str],
    *,
    allowed: Bools,
    genes: Ints | None = None,
) -> Iterator[LanePairs]:
    """Yield the lanes whose pairs can be recognized: with NK cells and at least one line.

    ``allowed`` are the genes that may show identity, ``genes`` those to use, if known.
    """
    lines = sorted({str(name) for name in singles.line if name is not None})
    place = {name: i + 1 for i, name in enumerate(lines)}
    group = np.array([place.get(name, -1) for name in singles.line], dtype=np.int64)
    group[singles.is_nk] = 0
    at = {name: i for i, name in enumerate(lanes)}
    lane = np.array([at.get(name, -1) for name in singles.lane], dtype=np.int64)
    n_groups = len(lines) + 1
    code = np.where((group >= 0) & (lane >= 0), lane * n_groups + group, -1)
    own, soup = counts.each_group_sums(
        [(code, len(lanes) * n_groups), (np.where(singles.usable, lane, -1), len(lanes))]
    )
    sums = own.sums.reshape(len(lanes), n_groups, -1)
    n_cells = np.bincount(code[code >= 0], minlength=len(lanes) * n_groups)
    n_cells = n_cells.reshape(len(lanes), n_groups)
    if genes is None:
        genes = _shared_genes(sums, n_cells, soup.sums, allowed)
    for i, name in enumerate(lanes):
        here = (n_cells[i] > 0) & (n_cells.sum(axis=0) >= _FEWEST)
        if not here[0] or not here[1:].any():
            continue
        few = n_cells[i] < _FEWEST
        profile = np.where(few[:, None], sums.sum(axis=0), sums[i])[here]
        n = np.where(few, n_cells.sum(axis=0), n_cells[i])[here]
        ambient = soup.sums[i] / max(soup.sums[i].sum(), 1)
        model = pair_model(profile, n, ambient, allowed=allowed, genes=genes)
        known = [line for line, there in zip(lines, here[1:], strict=True) if there]
        cells = np.flatnonzero(lane == i)
        yield _loaded(counts, name, cells, (known, model), group[cells])


def _shared_genes(sums: Floats, n_cells: Ints, soup: Floats, allowed: Bools) -> Ints:
    """Return the genes that separate the groups over all lanes."""
    here = n_cells.sum(axis=0) > 0
    ambient = soup.sum(axis=0) / max(soup.sum(), 1)
    pooled = sums.sum(axis=0)[here], n_cells.sum(axis=0)[here]
    return pair_model(*pooled, ambient, allowed=allowed).genes


def _loaded(
    counts: Counts, lane: str, cells: Ints, made: tuple[list[str], PairModel], group: Ints
) -> LanePairs:
    """Return the lane, with limits from how far its single cells (groups from 0) spread."""
    lines, model = made
    found = counts.columns(model.genes, cells)
    total = counts.totals(None, cells)
    share = model.fit(found, total).share
    limits = limits_of(share[group == 0], share[group > 0])
    return LanePairs(lane, cells, lines, replace(model, limits=limits), found, total)
