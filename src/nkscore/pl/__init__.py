"""Figures: each draws a table or slots of an AnnData, and computes nothing.

Functions take ``ax=None`` and return the ``Axes`` they drew on; figures of several panels take
``fig=None`` and return a ``Figure``. All take the arguments of the look: colors, title, size,
order, words, size of the text and style. ``docs/figures.md`` says which table each one draws.
"""

from __future__ import annotations

from nkscore._colors import palette
from nkscore.pl._box import box_by_group
from nkscore.pl._checks import confusion, p_values
from nkscore.pl._clones import clone_fate
from nkscore.pl._compartments import compartments
from nkscore.pl._contacts import contacts
from nkscore.pl._decomposition import decomposition
from nkscore.pl._density import state_density
from nkscore.pl._dots import (
    communication_dots,
    enrichment_dots,
    perturbation_dots,
    response_dots,
    screen_dots,
    state_shift,
)
from nkscore.pl._effects import ambient, core_response, effects
from nkscore.pl._embedding import embedding
from nkscore.pl._fractions import state_fractions
from nkscore.pl._hashtags import hashtag_ridges, hashtags
from nkscore.pl._heatmap import response_heatmap
from nkscore.pl._lines import depth, time_course
from nkscore.pl._marker_dots import marker_dots
from nkscore.pl._power import power
from nkscore.pl._qc import qc
from nkscore.pl._reliability import reliability
from nkscore.pl._save import save
from nkscore.pl._screens import screen_scatter
from nkscore.pl._signals import signal_activity
from nkscore.pl._style import style
from nkscore.pl._styles import show_styles
from nkscore.pl._survival import survival
from nkscore.pl._visibility import visibility
from nkscore.pl._volcano import volcano

__all__ = [
    "ambient",
    "box_by_group",
    "clone_fate",
    "communication_dots",
    "compartments",
    "confusion",
    "contacts",
    "core_response",
    "decomposition",
    "depth",
    "effects",
    "embedding",
    "enrichment_dots",
    "hashtag_ridges",
    "hashtags",
    "marker_dots",
    "p_values",
    "palette",
    "perturbation_dots",
    "power",
    "qc",
    "reliability",
    "response_dots",
    "response_heatmap",
    "save",
    "screen_dots",
    "screen_scatter",
    "show_styles",
    "signal_activity",
    "state_density",
    "state_fractions",
    "state_shift",
    "style",
    "survival",
    "time_course",
    "visibility",
    "volcano",
]
