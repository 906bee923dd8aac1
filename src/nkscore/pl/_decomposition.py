"""Change of a mean, split into its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np

from nkscore._colors import default_order
from nkscore.pl._drawn import drawn
from nkscore.pl._look import colors_of, ink, ordered, paper, printed, pt, shades, shortened
from nkscore.pl._side import SidePanel, dot, dots, lineage_strip, patches
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import (
    as_text,
    check_number,
    check_table,
    check_unique,
    lineages_of,
    tumor_order,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look

_TOTAL: Final = "total"
#: Component → color and printed name; the first two are drawn in this order.
_PARTS: Final = {
    "within_state": ("#0B5FA5", "Change within states"),
    "induction": ("#0B5FA5", "Induction"),
    "composition": ("#E69F00", "Change of shares"),
    "selection": ("#E69F00", "Selection"),
}
_BAR: Final = 0.38


@drawn
def decomposition(
    table: pd.DataFrame,
    *,
    tumors: Sequence[str] | None = None,
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw how much of a change comes from within the strata, and how much from their shares.

    The two bars of a tumor add up to its diamond, the total change.

    Parameters
    ----------
    table
        From ``tl.decompose_shift``: columns ``tumor``, ``component``, ``stratum``, ``change``;
        optional: ``ci_low``, ``ci_high``, ``lineage``. Only stratum ``all`` is drawn.
    tumors
        Tumors from left to right; by default from the largest to the smallest total change.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Bars, their intervals and diamonds.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no row of stratum ``all``, or several for one bar.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "component": ["total", "induction", "selection"],
    ...                       "stratum": "all", "change": [0.5, 0.4, 0.1]})
    >>> ax = nk.pl.decomposition(table)
    >>> [round(float(bar.get_height()), 2) for bar in ax.patches]
    [0.4, 0.1]
    >>> plt.close(ax.figure)
    """
    check_table(table, ["tumor", "component", "stratum", "change"], "tl.decompose_shift")
    sums = table[as_text(table["stratum"]) == "all"]
    check_table(sums, ["change"], "tl.decompose_shift")
    check_number(sums, "change")
    sums = sums.assign(tumor=as_text(sums["tumor"]), component=as_text(sums["component"]))
    check_unique(sums, ["tumor", "component"])
    names = tumor_order(sums, tumors) if tumors is not None else _by_total(sums)
    parts = ordered(name for name in _PARTS if name in set(sums["component"]))
    tones = shades({name: _PARTS[name][0] for name in parts})
    own = ax is None
    width = max(0.3 * len(names), 0.6)
    ax = axes_or_new(ax, (width + 3, 4))
    by_part = {
        name: rows.set_index("tumor").reindex(names)
        for name, rows in sums.groupby("component", sort=False)
    }
    shift = (np.arange(len(parts)) - (len(parts) - 1) / 2) * _BAR
    for name, place in zip(parts, shift, strict=True):
        _bars(ax, by_part[name], float(place), tones[name])
    total = sums[sums["component"] == _TOTAL].set_index("tumor").reindex(names)
    ax.scatter(
        np.arange(len(names)),
        total["change"],
        marker="D",
        s=14,
        c=paper(),
        edgecolors=ink(),
        linewidths=0.7,
        zorder=4,
    )
    ax.axhline(0, color=ink(), linewidth=0.6, zorder=3)
    ax.set_xlim(-0.6, len(names) - 0.4)
    ax.set_ylabel("Change of the mean score")
    lineages = lineages_of(sums) if "lineage" in sums.columns else {}
    _names(ax, names, lineages, legend=legend, parts=parts)
    if own:
        fit(ax, width=width, height=1.6)
    return ax


def _by_total(sums: pd.DataFrame) -> list[str]:
    total = sums[sums["component"] == _TOTAL].set_index("tumor")["change"]
    names = dict.fromkeys(sums["tumor"])
    return ordered(sorted(names, key=lambda name: (-float(total.get(name, -np.inf)), name)))


def _bars(ax: Axes, rows: pd.DataFrame, shift: float, color: str) -> None:
    x = np.arange(len(rows)) + shift
    ax.bar(x, rows["change"], width=_BAR * 0.94, color=color, linewidth=0, zorder=2)
    if {"ci_low", "ci_high"} <= set(rows.columns):
        low, high = (rows[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
        known = np.isfinite(low) & np.isfinite(high)
        ax.vlines(x[known], low[known], high[known], color=ink(), linewidth=0.7, zorder=3)


def _names(
    ax: Axes, names: list[str], lineages: dict[str, str], *, legend: bool, parts: list[str]
) -> None:
    ax.set_xticks(range(len(names)), shortened(names), rotation=90)
    ax.tick_params(axis="x", length=0, pad=pt(10 if lineages else 3))
    ax.spines["bottom"].set_visible(False)
    side = SidePanel(ax)
    if legend:
        colors = shades({name: _PARTS[name][0] for name in parts})
        handles: list[Any] = patches(colors, [_PARTS[name][1] for name in parts])
        side.legend(
            [
                *handles,
                dot(
                    paper(), "Total", size=4, marker="D", markeredgecolor=ink(), markeredgewidth=0.7
                ),
            ]
        )
    if lineages:
        hues = colors_of("lineage", default_order("lineage", set(lineages.values())), main=False)
        lineage_strip(ax, list(range(len(names))), [hues[lineages[name]] for name in names])
        if legend:
            side.legend(dots(hues, map(printed, hues)), title="Lineage")
