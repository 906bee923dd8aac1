"""Cells that are neither NK nor tumor cells: T and B cells, monocytes, platelets, red cells."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore.datasets._genes import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from nkscore._types import Bools, Floats, Ints
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells

#: Types, each with its share of the bystanders and its RNA relative to the median of all cells.
BYSTANDERS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "cd4_t_cell": (0.30, 0.6),
        "cd8_t_cell": (0.20, 0.6),
        "b_cell": (0.10, 0.6),
        "monocyte": (0.20, 1.0),
        "platelet": (0.10, 0.15),
        "red_cell": (0.10, 0.3),
    }
)
#: Share of ribosomal and mitochondrial counts, where it is not that of NK cells.
_SHARES: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "platelet": {"ribosomal": 0.08, "mitochondrial": 0.06},
        "red_cell": {"ribosomal": 0.06, "mitochondrial": 0.02},
    }
)


@lru_cache(maxsize=1)
def bystander_table() -> pd.DataFrame:
    """Return cell_type, gene, level (log2 of counts per million) where it differs from NK cells.

    Made by ``tools/make_bystander_table.py`` from PBMC (10x Genomics, labels of SoupX,
    doi:10.1093/gigascience/giaa151) and from known markers of platelets and red cells.
    """
    return read_table("bystanders.tsv")


def draw_bystanders(
    options: Options, well: Ints, numbers: Ints, conjugate: Bools, streams: Streams
) -> Ints:
    """Return the type of each cell, -1 for NK and tumor cells; conjugates hold no bystander."""
    none = np.full(well.size, -1, dtype=np.int64)
    if options.bystanders == 0:
        return none
    shares = np.array([share for share, _ in BYSTANDERS.values()])
    kind = streams.choice("type of bystander", numbers, shares)
    there = streams.uniform("is bystander", numbers) < options.bystanders
    return np.where(there & ~conjugate, kind, none)


def rna_of(bystander: Ints, other: Floats) -> Floats:
    """Return the RNA content of cells: of their type, or ``other``."""
    content = np.array([rna for _, rna in BYSTANDERS.values()])
    return np.where(bystander >= 0, content[bystander], other)


def bystander_levels(genes: Genes, nk: Floats) -> Floats:
    """Return types × genes, log2 of counts per million; ``nk`` is that of NK cells."""
    table = bystander_table()
    levels = np.tile(nk, (len(BYSTANDERS), 1))
    for i, kind in enumerate(BYSTANDERS):
        own = table[table["cell_type"] == kind]
        place = genes.where(own["gene"])
        levels[i, place[place >= 0]] = own["level"].to_numpy(dtype=np.float64)[place >= 0]
    return levels


def share_of(kind: str, gene_class: str, default: float) -> float:
    """Return the share of ribosomal or mitochondrial counts in a type."""
    return _SHARES.get(kind, {}).get(gene_class, default)


def owners(wells: Wells) -> pd.Series[str]:
    """Return whose bystanders a well holds: the NK donor's, else those of the tumor's source."""
    donor = wells.sheet[schema.NK_DONOR]
    return donor.where(donor != "", wells.sheet[schema.TUMOR])
