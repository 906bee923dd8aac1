"""Figures: each draws what a table or the slots of an AnnData hold, and computes nothing.

Functions take ``ax=None`` and return the ``Axes`` they drew on; figures of several panels
return a ``Figure``. ``docs/figures.md`` says which table each one draws.
"""

from __future__ import annotations

from nkscore.pl._checks import confusion, p_values
from nkscore.pl._compartments import compartments
from nkscore.pl._dots import response_dots, state_shift
from nkscore.pl._effects import effects
from nkscore.pl._embedding import embedding
from nkscore.pl._fractions import state_fractions
from nkscore.pl._hashtags import hashtag_ridges, hashtags
from nkscore.pl._palettes import palette
from nkscore.pl._qc import qc
from nkscore.pl._save import save
from nkscore.pl._style import style
from nkscore.pl._volcano import volcano

__all__ = [
    "compartments",
    "confusion",
    "effects",
    "embedding",
    "hashtag_ridges",
    "hashtags",
    "p_values",
    "palette",
    "qc",
    "response_dots",
    "save",
    "state_fractions",
    "state_shift",
    "style",
    "volcano",
]
