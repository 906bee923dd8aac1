"""Load lanes in any of the common formats, by a sample sheet, into one AnnData.

``read_coculture`` loads an experiment by its sample sheet, ``read_cells`` annotated cells,
``read_lane`` a single lane, ``read_sample_sheet`` checks a sheet before the data exist,
``parse_sample_names`` makes the columns of a sheet from names of samples. ``read_genotypes`` reads
donors of droplets, ``read_clones`` clones of cells, ``read_hla`` and ``read_kir`` typing,
``read_mageck`` and ``read_bioplex`` tables of pooled screens and of cytokine panels. ``export``
writes cells and tables for other programs.
"""

from __future__ import annotations

from nkscore.io._bioplex import read_bioplex
from nkscore.io._cells import read_cells
from nkscore.io._clones import read_clones
from nkscore.io._coculture import read_coculture, read_lane, read_sample_sheet
from nkscore.io._export import export
from nkscore.io._genotypes import read_genotypes
from nkscore.io._mageck import read_mageck
from nkscore.io._sample_names import DONOR_NAMES, SAMPLE_NAME_PATTERNS, parse_sample_names
from nkscore.io._typing import read_hla, read_kir

__all__ = [
    "DONOR_NAMES",
    "SAMPLE_NAME_PATTERNS",
    "export",
    "parse_sample_names",
    "read_bioplex",
    "read_cells",
    "read_clones",
    "read_coculture",
    "read_genotypes",
    "read_hla",
    "read_kir",
    "read_lane",
    "read_mageck",
    "read_sample_sheet",
]
