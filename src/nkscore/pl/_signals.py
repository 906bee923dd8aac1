"""Signals that explain the response of each line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np

from nkscore._colors import DOWN, FAINT, UP
from nkscore.pl._drawn import drawn
from nkscore.pl._look import ink, ordered, paper, shades
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, check_number, check_table, check_unique, levels_of, readable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look

_CELL: Final = 0.2
_LARGEST: Final = 10.0


@drawn
def signal_activity(
    table: pd.DataFrame, *, ax: Axes | None = None, legend: bool = True, **_look: Unpack[Look]
) -> Axes:
    """Draw how strongly each signal explains the response of each line, with the call.

    Parameters
    ----------
    table
        From ``tl.signal_activity``: columns ``tumor``, ``signal``, ``stands_for``, ``alone_z``,
        ``call``.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Area: z of the signal by itself; red up, blue down. Ring: the strongest signal of a line
        with a clear call. The call stands above each line.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or two for one line and signal.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "signal": ["IFNG", "TNFA"], "alone_z": [9.0, 1.0],
    ...                       "stands_for": ["IFNG", "TNFA"], "call": "IFNG"})
    >>> ax = nk.pl.signal_activity(table)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['IFNG', 'TNFA']
    >>> plt.close(ax.figure)
    """
    check_table(table, ["tumor", "signal", "stands_for", "alone_z", "call"], "tl.signal_activity")
    check_number(table, "alone_z")
    check_unique(table, ["tumor", "signal"])
    lines = levels_of(table["tumor"])
    order = table.groupby("signal", observed=True)["alone_z"].max().sort_values(ascending=False)
    signals = ordered(str(name) for name in order.index)
    x = as_text(table["tumor"]).map({name: i for i, name in enumerate(lines)}).to_numpy()
    y = as_text(table["signal"]).map({name: i for i, name in enumerate(signals)}).to_numpy()
    z = table["alone_z"].to_numpy(dtype=float)
    strongest = (
        table.groupby("tumor", observed=True)["alone_z"].transform("max") == table["alone_z"]
    )
    clear = (strongest & (table["call"] == table["stands_for"])).to_numpy()
    tones = shades({"up": UP, "down": DOWN})
    own = ax is None
    ax = axes_or_new(ax, (4 + _CELL * len(lines), 3 + _CELL * len(signals)))
    ax.scatter(
        x,
        y,
        s=110 * np.clip(np.abs(z), 0.15, _LARGEST) / _LARGEST,
        c=np.where(z > 0, tones["up"], tones["down"]).tolist(),
        edgecolors=np.where(clear, ink(), "none").tolist(),
        linewidths=1.1,
    )
    calls = table.drop_duplicates("tumor").set_index(as_text(table["tumor"]).drop_duplicates())
    ax.set_xticks(range(len(lines)), lines, rotation=90)
    ax.set_yticks(range(len(signals)), readable(signals))
    ax.set_xlim(-0.6, len(lines) - 0.4)
    ax.set_ylim(len(signals) - 0.4, -0.6)
    above = ax.secondary_xaxis("top")
    above.set_xticks(
        range(len(lines)), [str(calls.loc[name, "call"]) for name in lines], rotation=90
    )
    above.tick_params(length=0)
    above.spines["top"].set_visible(False)
    if legend:
        _legend(ax, tones)
    if own:
        fit(ax, width=_CELL * len(lines) + 0.2, height=_CELL * len(signals))
    return ax


def _legend(ax: Axes, tones: dict[str, str]) -> None:
    handles: list[Any] = [
        dot(FAINT, f"z = {number}{'+' if number == _LARGEST else ''}", size=(110 * share) ** 0.5)
        for number, share in ((2, 0.2), (5, 0.5), (10, 1.0))
    ]
    handles += [dot(tones["up"], "Up", size=5), dot(tones["down"], "Down", size=5)]
    handles.append(dot(paper(), "Called", size=7, markeredgecolor=ink(), markeredgewidth=1.1))
    SidePanel(ax).legend(handles, title="Signal alone")
