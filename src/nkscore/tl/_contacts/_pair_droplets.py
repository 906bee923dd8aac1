"""The pairs of all lanes, and pairs made of two single cells whose states are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from nkscore import schema
from nkscore._samples._cells import exposure_genes
from nkscore._samples._pairs import Singles
from nkscore._samples._samples import labels
from nkscore.stats import FixedTags
from nkscore.tl._contacts._evidence import numbers
from nkscore.tl._contacts._expectation import samples_of_tags, wells_of_pairs
from nkscore.tl._contacts._pair_profiles import Depths, SingleCells

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._samples._pairs import LanePairs
    from nkscore._types import Bools, Floats, Ints, Labels

#: In-silico pairs per lane.
_PER_LANE: Final = 1200


@dataclass(frozen=True, slots=True)
class Pairs:
    """Droplets: ``cells`` (droplets × 1, or × 2 of in-silico pairs), depths, arm, sample of each.

    ``nk_sample`` is the sample of the NK cell, ``tumor_sample`` of the tumor cell.
    """

    cells: Ints
    depths: Depths
    arm: Labels
    nk_sample: Labels
    tumor_sample: Labels

    def counts(self, counts: Counts, genes: Ints) -> Floats:
        """Return counts of genes, added over the cells of each row."""
        columns = (counts.columns(genes, cells) for cells in self.cells.T)
        return np.asarray(sum(x.toarray().astype(np.float64) for x in columns))


def single_cells(adata: AnnData, counts: Counts) -> SingleCells:
    """Return the single cells with a donor or a line."""
    singles = Singles.of(adata, labels(adata.obs, schema.COMPARTMENT))
    keep = exposure_genes(adata)
    depth = np.maximum(counts.totals(keep, np.arange(adata.n_obs)), 1.0)
    donor = labels(adata.obs, schema.NK_DONOR)
    donors = sorted({str(d) for d in donor[singles.is_nk] if d is not None})
    lines = sorted({str(name) for name in singles.line if name is not None})
    of_donor = np.where(singles.is_nk, numbers(donor, donors), -1)
    return SingleCells(counts, depth, keep, of_donor, numbers(singles.line, lines), donors, lines)


def observed_pairs(
    adata: AnnData, lanes: list[LanePairs], models: pd.DataFrame, cells: SingleCells
) -> Pairs:
    """Return own pairs, and pairs with two tags whose wells are known."""
    parts = []
    donor_of = _donors_of_samples(adata, cells)
    for lane in lanes:
        tags = FixedTags.from_table(models[models["lane"] == lane.lane])
        obs = adata.obs.iloc[lane.cells]
        nk_well, tumor_well, arm = wells_of_pairs(obs, lane, tags, adata.obsm[schema.HASHTAGS])
        samples = samples_of_tags(obs, tags)
        donors = np.array([donor_of.get(name, -1) for name in samples], dtype=np.int64)
        fit = lane.fit()
        line = numbers(np.array(lane.lines, dtype=object)[fit.line], cells.lines)
        donor = np.where(nk_well >= 0, donors[nk_well], -1)
        rows = np.flatnonzero((arm != "") & (tumor_well >= 0) & (donor >= 0) & (line >= 0))
        place = lane.cells[rows]
        depths = _depths(
            fit.share[rows],
            cells.depth[place],
            np.full(rows.size, lane.model.ambient),
            (donor[rows], line[rows]),
            _kept(cells, lane),
        )
        parts.append(
            Pairs(
                place[:, None],
                depths,
                arm[rows],
                samples[nk_well[rows]],
                samples[tumor_well[rows]],
            )
        )
    return joined(parts)


def in_silico_pairs(
    adata: AnnData,
    lanes: list[LanePairs],
    cells: SingleCells,
    usable: Bools,
    rng: np.random.Generator,
) -> Pairs:
    """Return sums of a single NK and a single tumor cell of a lane that are recognized as pairs.

    ``usable`` marks cells whose states are known.
    """
    sample = labels(adata.obs, schema.SAMPLE)
    parts = []
    for lane in lanes:
        nk = np.flatnonzero((cells.donor[lane.cells] >= 0) & usable[lane.cells])
        tumor = np.flatnonzero((cells.line[lane.cells] >= 0) & usable[lane.cells])
        if not (nk.size and tumor.size):
            continue
        first, second = rng.choice(nk, _PER_LANE), rng.choice(tumor, _PER_LANE)
        rna = sparse.csr_matrix(lane.counts[first] + lane.counts[second])
        fit = lane.model.fit(rna, lane.total[first] + lane.total[second], droplets=2)
        line = numbers(np.array(lane.lines, dtype=object)[fit.line], cells.lines)
        seen = fit.pair & (line == cells.line[lane.cells[second]])
        one, two = lane.cells[first[seen]], lane.cells[second[seen]]
        depths = _depths(
            fit.share[seen],
            cells.depth[one] + cells.depth[two],
            np.full(one.size, 2 * lane.model.ambient),
            (cells.donor[one], line[seen]),
            _kept(cells, lane),
        )
        both = np.column_stack([one, two])
        parts.append(
            Pairs(both, depths, np.full(one.size, "", dtype=object), sample[one], sample[two])
        )
    return joined(parts)


def joined(parts: list[Pairs]) -> Pairs:
    """Return the pairs of all lanes."""
    stacked = [
        np.concatenate([getattr(part.depths, name) for part in parts])
        for name in ("nk", "tumor", "donor", "line")
    ]
    names = ("arm", "nk_sample", "tumor_sample")
    return Pairs(
        np.concatenate([part.cells for part in parts]),
        Depths(*stacked),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in names),
    )


def _donors_of_samples(adata: AnnData, cells: SingleCells) -> dict[str, int]:
    of = adata.obs[[schema.SAMPLE, schema.NK_DONOR]].dropna().astype(str).drop_duplicates()
    return dict(zip(of[schema.SAMPLE], numbers(of[schema.NK_DONOR], cells.donors), strict=True))


def _kept(cells: SingleCells, lane: LanePairs) -> tuple[float, Floats]:
    """Return the part of the counts that is depth: of NK cells, and of each line."""
    part = cells.depth[lane.cells] / np.maximum(lane.total, 1.0)
    donor, line = cells.donor[lane.cells], cells.line[lane.cells]
    of_lines = [
        float(part[line == k].mean()) if (line == k).any() else float(part.mean())
        for k in range(len(cells.lines))
    ]
    return float(part[donor >= 0].mean()), np.array(of_lines)


def _depths(
    share: Floats,
    depth: Floats,
    ambient: Floats,
    profiles: tuple[Ints, Ints],
    kept: tuple[float, Floats],
) -> Depths:
    """Split the depth of droplets; the profiles of NK states hold the ambient RNA of a droplet."""
    donor, line = profiles
    nk, tumor = share * kept[0], (1 - share) * kept[1][line]
    own = np.maximum(depth - ambient, 1.0) / (nk + tumor)
    return Depths(own * nk + np.minimum(ambient, depth), own * tumor, donor, line)
