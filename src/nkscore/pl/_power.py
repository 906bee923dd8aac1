"""The power of designs that differ in one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore._colors import FAINT
from nkscore.pl._drawn import drawn
from nkscore.pl._look import ordered, printed, shades
from nkscore.pl._side import SidePanel
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import check_number, check_probabilities, check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from nkscore.pl._drawn import Look

_COLUMNS: Final = ("varied", "value", "level", "power", "power_low", "power_high")
_LABELS: Final = {
    "donors": "NK donors",
    "wells": "Wells of each line alone",
    "lines": "Tumor lines",
    "cells": "Cells per sample",
    "umi": "UMI per cell",
    "state_share": "Share of cells in the state",
}
_LOGARITHMIC: Final = ("cells", "umi", "state_share")
#: Ends of the colors of low and high expression.
_DARKEST: Final = 0.85


@drawn
def power(
    table: pd.DataFrame,
    *,
    varied: str = "donors",
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the share of changed genes that are found against one number of the design.

    Parameters
    ----------
    table
        ``power`` of ``tl.plan_experiment``: columns ``varied``, ``value``, ``level``, ``power``,
        ``power_low``, ``power_high``.
    varied
        What to draw along x: a level of ``varied``, like ``donors``, ``wells`` or ``cells``.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        One line per level of expression; the band is the range over the sources of variances. The
        dashed line is at 0.8.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no row of ``varied``, or a power is not between 0 and 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"varied": "donors", "value": [2, 4], "level": 0.5,
    ...                       "power": [0.4, 0.7], "power_low": [0.2, 0.5],
    ...                       "power_high": [0.5, 0.9]})
    >>> ax = nk.pl.power(table)
    >>> ax.get_xlabel()
    'NK donors'
    >>> plt.close(ax.figure)
    """
    check_table(table, _COLUMNS, "tl.plan_experiment")
    check_number(table, "power")
    check_probabilities(table["power"], "power")
    rows = table[table["varied"] == varied]
    if rows.empty:
        have = ", ".join(dict.fromkeys(map(str, table["varied"])))
        msg = f"varied is {varied!r}, and the table has no such row (it has: {have}). Name one."
        raise ValueError(msg)
    own = ax is None
    ax = axes_or_new(ax, (4.5, 3.5))
    ax.axhline(0.8, color=FAINT, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
    handles = _lines(ax, rows)
    _axes(ax, varied, sorted(set(rows["value"])))
    if legend and len(handles) > 1:
        SidePanel(ax).legend(handles, title="Counts per 10,000", handlelength=1.3)
    if own:
        fit(ax, width=2.2, height=1.7)
    return ax


def _lines(ax: Axes, rows: pd.DataFrame) -> list[Line2D]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    levels = [f"{level:g}" for level in sorted(set(rows["level"]), reverse=True)]
    map_of = colormaps["viridis"](np.linspace(0, _DARKEST, len(levels)))
    colors = shades({name: to_hex(c) for name, c in zip(levels, map_of, strict=True)})
    named = rows["level"].map("{:g}".format)
    handles = []
    for level in ordered(levels):
        color = colors[level]
        own = rows[named == level].sort_values("value").dropna(subset=["power"])
        ax.fill_between(
            own["value"],
            own["power_low"],
            own["power_high"],
            color=color,
            alpha=0.15,
            linewidth=0,
            zorder=2,
        )
        (line,) = ax.plot(
            own["value"],
            own["power"],
            color=color,
            marker="o",
            markersize=3,
            linewidth=1.0,
            label=printed(level),
            zorder=3,
            clip_on=False,
        )
        handles.append(line)
    return handles


def _axes(ax: Axes, varied: str, values: list[float]) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    if varied in _LOGARITHMIC:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.10g}"))
    ax.set_xticks(values)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(_LABELS.get(varied, varied))
    ax.set_ylabel("Share of changed genes found")
