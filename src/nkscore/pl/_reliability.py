"""Observed accuracy against stated confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore._colors import DOWN, FAINT
from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, ink, paper, pt, shades
from nkscore.pl._side import SidePanel, dot, patches
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import check_number, check_probabilities, check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look

_COLUMNS: Final = ("bin_low", "bin_high", "confidence", "observed", "n_cells")


@drawn
def reliability(table: pd.DataFrame, *, ax: Axes | None = None, **_look: Unpack[Look]) -> Axes:
    """Draw the share of correct calls against their stated confidence.

    Parameters
    ----------
    table
        From ``tl.calibration``: columns ``bin_low``, ``bin_high``, ``confidence``, ``observed``,
        ``n_cells``, and ``ci_low``, ``ci_high`` where present.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        On the dashed line confidence is calibrated; below it calls are overconfident. Gray bars:
        the share of cells in each bin.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or a number is not between 0 and 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"bin_low": [0.8, 0.9], "bin_high": [0.9, 1.0], "n_cells": [10, 90],
    ...                       "confidence": [0.86, 0.97], "observed": [0.8, 0.98]})
    >>> ax = nk.pl.reliability(table)
    >>> ax.get_xlabel()
    'Stated confidence'
    >>> plt.close(ax.figure)
    """
    check_table(table, _COLUMNS, "tl.calibration")
    check_number(table, "confidence", "observed")
    for name in ("confidence", "observed"):
        check_probabilities(table[name], name)
    low, high, stated, observed, cells = (table[name].to_numpy(dtype=float) for name in _COLUMNS)
    tones = shades({"observed": DOWN, "cells": "#E3E3E3"})
    own = ax is None
    ax = axes_or_new(ax, (4, 4))
    ax.bar(
        low,
        cells / cells.sum(),
        width=high - low,
        align="edge",
        color=tones["cells"],
        edgecolor=paper(),
        linewidth=0.5,
        zorder=0,
    )
    ax.plot([0, 1], [0, 1], color=FAINT, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    if {"ci_low", "ci_high"} <= set(table.columns):
        ax.vlines(stated, table["ci_low"], table["ci_high"], color=ink(), linewidth=0.9, zorder=2)
    ax.plot(
        stated,
        observed,
        color=tones["observed"],
        linewidth=0.9,
        marker="o",
        markersize=3.5,
        zorder=3,
        clip_on=False,
    )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("Stated confidence")
    ax.set_ylabel("Share of correct calls")
    gap = float(np.sum(cells * np.abs(stated - observed)) / cells.sum())
    ax.text(
        0.03,
        0.97,
        f"n = {cells.sum():,.0f} cells\nmean gap = {gap:.3f}",
        va="top",
        transform=ax.transAxes,
        fontsize=pt(SMALL),
        linespacing=1.2,
    )
    from matplotlib.lines import Line2D

    diagonal = Line2D([], [], color=FAINT, linewidth=0.7, linestyle=(0, (4, 3)), label="Calibrated")
    entries: list[Artist] = [dot(tones["observed"], "Observed", size=3.5), diagonal]
    entries += patches({"cells": tones["cells"]}, ["Share of cells"])
    SidePanel(ax).legend(entries)
    if own:
        fit(ax, width=1.9, height=1.9, shape=True)
    return ax
