"""Preprocessing: quality, hashtags, compartments, normalization; only ``keep`` removes cells."""

from __future__ import annotations

from nkscore.pp._ambient import ambient
from nkscore.pp._assign_guides import assign_guides
from nkscore.pp._compartments import compartments
from nkscore.pp._demultiplex import demultiplex
from nkscore.pp._doublets import doublet_scores
from nkscore.pp._keep import keep
from nkscore.pp._normalize import normalize
from nkscore.pp._qc import qc

__all__ = [
    "ambient",
    "assign_guides",
    "compartments",
    "demultiplex",
    "doublet_scores",
    "keep",
    "normalize",
    "qc",
]
