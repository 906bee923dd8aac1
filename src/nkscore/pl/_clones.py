"""Fate of each clone: change of its share with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore._colors import DOWN, FAINT, INK, UP
from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, ink, ordered, paper, printed, pt, shades
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, check_number, check_table, levels_of, one_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look

_NEEDED: Final = ("tumor", "clone", "fate", "log2_fc", "ci_low", "ci_high", "share_control")
_COLORS: Final = {
    "eliminated": DOWN,
    "shrunken": DOWN,
    "steady": INK,
    "grown": UP,
    "unclear": FAINT,
}
#: Filled, or a cross where no cell is left.
_MARKERS: Final = {"eliminated": "X"}
_HEIGHT: Final = 2.1


@drawn
def clone_fate(
    table: pd.DataFrame, *, tumor: str | None = None, ax: Axes | None = None, **_look: Unpack[Look]
) -> Axes:
    """Draw the change of each clone's share against its share before contact.

    Parameters
    ----------
    table
        From :func:`nkscore.tl.clone_fate`.
    tumor
        Line to draw; may be omitted if the table has one.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        One point per clone, with its interval where the fate is clear; a cross: no cell is left.
        Clones without cells before contact stand at the left end. Above: where resistance comes
        from.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    DesignError
        If the table has no rows or no number.
    ValueError
        If there are several lines and none is named.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "clone": ["a", "b"], "fate": ["grown", "unclear"],
    ...     "log2_fc": [2.0, -0.3], "ci_low": [1.2, -1.5], "ci_high": [2.9, 0.8],
    ...     "share_control": [0.1, 0.02], "resistance": "before"})
    >>> ax = nk.pl.clone_fate(table)
    >>> ax.get_xlabel()
    'Share of the clone before contact'
    >>> plt.close(ax.figure)
    """
    check_table(table, _NEEDED, "tl.clone_fate")
    check_number(table, "log2_fc")
    line = one_of(levels_of(table["tumor"]), tumor, "tumor")
    rows = table[as_text(table["tumor"]) == line]
    own = ax is None
    ax = axes_or_new(ax, (6.0, 4.0))
    _draw(ax, rows)
    _title(ax, rows, line)
    if own:
        fit(ax, width=2.8, height=_HEIGHT)
    return ax


def _draw(ax: Axes, rows: pd.DataFrame) -> None:
    share = rows["share_control"].to_numpy(dtype=float)
    present = share[share > 0]
    least = float(present.min()) / 2 if present.size else 1e-3
    at = np.maximum(share, least)
    effect = rows["log2_fc"].to_numpy(dtype=float)
    fates = as_text(rows["fate"]).to_numpy()
    limit = float(np.nanmax(np.abs(effect[np.isfinite(effect)]))) + 1.0
    low = np.clip(rows["ci_low"].to_numpy(dtype=float), -limit, limit)
    high = np.clip(rows["ci_high"].to_numpy(dtype=float), -limit, limit)
    ax.axhline(0, color=ink(), linewidth=0.6, zorder=0)
    here_now = ordered([name for name in _COLORS if (fates == name).any()])
    colors = shades({name: _COLORS[name] for name in here_now})
    for fate in reversed(here_now):
        here = (fates == fate) & np.isfinite(effect)
        color = colors[fate]
        if fate != "unclear":
            ax.vlines(at[here], low[here], high[here], color=color, linewidth=0.6, alpha=0.7)
        ax.scatter(
            at[here],
            effect[here],
            s=16 if fate in _MARKERS else 11,
            color=color,
            marker=_MARKERS.get(fate, "o"),
            facecolor=paper() if fate == "steady" else color,
            linewidth=0.7,
            edgecolor=paper() if fate in _MARKERS else color,
            label=f"{printed(fate)} ({int((fates == fate).sum())})",
            zorder=2,
        )
    ax.set_xscale("log")
    ax.set_ylim(-limit, limit)
    ax.set_xlabel("Share of the clone before contact")
    ax.set_ylabel("Change of its share (log2)")
    handles, names = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], names[::-1], loc="upper left", bbox_to_anchor=(1.02, 1.0))


def _title(ax: Axes, rows: pd.DataFrame, line: str) -> None:
    ax.set_title(line)
    if "resistance" in rows:
        word = str(rows["resistance"].iloc[0])
        ax.text(
            1.0,
            1.02,
            f"resistance: {word}",
            transform=ax.transAxes,
            ha="right",
            va="bottom",
            fontsize=pt(SMALL),
        )
