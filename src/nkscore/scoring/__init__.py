"""Scorers on arrays: a registry, kernels and the row blocks they work on."""

from __future__ import annotations

from nkscore._counts._blocks import RowBlock, row_blocks
from nkscore._counts._sources import BLOCK_BYTES, StoredSparse, open_rows
from nkscore.scoring._aucell import AUCELL
from nkscore.scoring._linear import ULM, WEIGHTED_MEAN, ZSCORE
from nkscore.scoring._module_score import MODULE_SCORE
from nkscore.scoring._null import null_scores
from nkscore.scoring._rank_auc import RANK_AUC
from nkscore.scoring._registry import Scorer, get_scorer, register, scorers
from nkscore.scoring._run import prepared, run, scored
from nkscore.scoring._sets import GeneSets, gene_sets

__all__ = [
    "AUCELL",
    "BLOCK_BYTES",
    "MODULE_SCORE",
    "RANK_AUC",
    "ULM",
    "WEIGHTED_MEAN",
    "ZSCORE",
    "GeneSets",
    "RowBlock",
    "Scorer",
    "StoredSparse",
    "gene_sets",
    "get_scorer",
    "null_scores",
    "open_rows",
    "prepared",
    "register",
    "row_blocks",
    "run",
    "scored",
    "scorers",
]
