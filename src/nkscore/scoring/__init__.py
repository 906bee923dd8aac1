"""Scorers on arrays: a registry, kernels and the row blocks they work on."""

from __future__ import annotations

from nkscore.scoring._blocks import BLOCK_BYTES, RowBlock, as_rows, row_blocks
from nkscore.scoring._rank_auc import RANK_AUC
from nkscore.scoring._registry import Scorer, get_scorer, register, scorers
from nkscore.scoring._run import run
from nkscore.scoring._sets import GeneSets, gene_sets
from nkscore.scoring._weighted_mean import WEIGHTED_MEAN

__all__ = [
    "BLOCK_BYTES", "RANK_AUC", "WEIGHTED_MEAN", "GeneSets", "RowBlock", "Scorer", "as_rows",
    "gene_sets", "get_scorer", "register", "row_blocks", "run", "scorers",
]  # fmt: skip
