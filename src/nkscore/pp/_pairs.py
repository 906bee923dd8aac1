"""Which droplets hold an NK and a tumor cell, and whether of one well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore import schema
from nkscore._samples._cells import without_deep
from nkscore._samples._pairs import Singles, lane_pairs
from nkscore._samples._samples import labels
from nkscore.pp._references import identity_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Array, Floats, Ints, Labels


@dataclass(frozen=True, slots=True)
class PairCalls:
    """Per cell: kind of pair and its line (``None``: no pair), share of NK RNA; genes used."""

    pair: Labels
    tumor: Labels
    share: Floats
    genes: Ints

    def settle(self, call: Labels, confidence: Floats, nk_share: Floats) -> None:
        """Make the pairs ``mixed``, with their share of NK RNA; a new call has no doubt left."""
        here = ~np.isnan(self.share)
        confidence[here & (call != schema.MIXED)] = 1.0
        call[here], nk_share[here] = schema.MIXED, self.share[here]

    def write(self, adata: AnnData) -> None:
        """Write ``obs["pair"]`` and ``obs["pair_tumor"]``."""
        adata.obs[schema.PAIR] = schema.categorical(self.pair, schema.PAIRS)
        lines = sorted({str(name) for name in self.tumor if name is not None})
        adata.obs[schema.PAIR_TUMOR] = schema.categorical(self.tumor, lines)


def find_pairs(adata: AnnData, counts: Counts, call: Array) -> PairCalls:
    """Return the pairs of all droplets, given the compartments called so far.

    In lanes with hashtags, RNA decides which droplets are pairs, and tags whether of one well. In
    other lanes the droplets called ``mixed`` are pairs of unknown origin.
    """
    pair = np.full(adata.n_obs, None, dtype=object)
    tumor, share = pair.copy(), np.full(adata.n_obs, np.nan)
    genes = np.zeros(0, dtype=np.int64)
    usable = without_deep(adata)
    pair[(call == schema.MIXED) & usable] = "unknown"
    lanes = _hashed_lanes(adata)
    if not lanes:
        return PairCalls(pair, tumor, share, genes)
    tag_class = labels(adata.obs, schema.HASHTAG_CLASS)
    well_line = labels(adata.obs, schema.TUMOR)
    singles = Singles.of(adata, call)
    for lane in lane_pairs(counts, singles, lanes, allowed=identity_genes(adata)):
        fit = lane.fit()
        here = fit.pair & usable[lane.cells]
        rows = lane.cells[here]
        line = np.array(lane.lines, dtype=object)[fit.line][here]
        own = (tag_class[rows] == schema.SINGLET) & (well_line[rows] == line)
        negative = tag_class[rows] == "negative"
        pair[rows] = np.where(own, "own", np.where(negative, "unknown", "chance"))
        tumor[rows], share[rows] = line, fit.share[here]
        genes = lane.model.genes
    return PairCalls(pair, tumor, share, genes)


def _hashed_lanes(adata: AnnData) -> list[str]:
    """Return the lanes in which tags tell wells apart."""
    needed = (schema.LANE, schema.HASHTAG, schema.HASHTAG_CLASS, schema.TUMOR)
    if any(name not in adata.obs for name in needed):
        return []
    tags = adata.obs[[schema.LANE, schema.HASHTAG]].dropna().astype(str).drop_duplicates()
    n_tags = tags[schema.LANE].value_counts()
    return sorted(n_tags.index[n_tags > 1])
