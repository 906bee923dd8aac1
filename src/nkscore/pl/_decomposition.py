"""Change of a mean, split into its parts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np

from nkscore._colors import default_order
from nkscore.pl._drawn import drawn
from nkscore.pl._look import (
    SMALL,
    colors_of,
    ink,
    ordered,
    paper,
    printed,
    pt,
    shades,
    shortened,
    titled,
)
from nkscore.pl._side import SidePanel, dot, dots, lineage_strip, patches
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import (
    as_text,
    check_number,
    check_table,
    check_unique,
    interval_words,
    lineages_of,
    number_words,
    readable,
    tumor_order,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

_TOTAL: Final = "total"
#: Component → color and printed name; the first two are drawn in this order.
_PARTS: Final = {
    "within_state": ("#0B5FA5", "Change within states"),
    "induction": ("#0B5FA5", "Induction"),
    "composition": ("#E69F00", "Change of shares"),
    "selection": ("#E69F00", "Selection"),
}
_BAR: Final = 0.3
#: Where the total stands, to the left of the bars.
_LEFT: Final = -0.36


@drawn
def decomposition(
    table: pd.DataFrame,
    *,
    tumors: Sequence[str] | None = None,
    score: str | None = None,
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw how much of a change comes from within the strata, and how much from their shares.

    The two bars of a tumor add up to the diamond at their left, the total change.

    Parameters
    ----------
    table
        From ``tl.decompose_shift``: columns ``tumor``, ``component``, ``stratum``, ``change``;
        optional: ``ci_low``, ``ci_high``, ``lineage``. Only stratum ``all`` is drawn.
    tumors
        Tumors from left to right; by default from the largest to the smallest total change.
    score
        Name of the score, for the axis; by default ``table.attrs["score"]``.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Bars, diamonds and their intervals; above, the numbers of samples.

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
    width = max(0.36 * len(names), 0.8)
    ax = axes_or_new(ax, (width + 3, 4))
    by_part = {
        name: rows.set_index("tumor").reindex(names)
        for name, rows in sums.groupby("component", sort=False)
    }
    shift = _LEFT + (np.arange(len(parts)) + 1.0) * (_BAR + 0.02)
    for name, place in zip(parts, shift, strict=True):
        _bars(ax, by_part[name], float(place), tones[name])
    total = sums[sums["component"] == _TOTAL].set_index("tumor").reindex(names)
    _intervals(ax, total, np.arange(len(names)) + _LEFT)
    ax.scatter(
        np.arange(len(names)) + _LEFT,
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
    _heads(ax, sums, score or table.attrs.get("score"))
    lineages = lineages_of(sums) if "lineage" in sums.columns else {}
    _names(ax, names, lineages, legend=legend, parts=parts)
    if own:
        fit(ax, width=width, height=1.6)
    return ax


def _heads(ax: Axes, sums: pd.DataFrame, score: str | None) -> None:
    """Name the score, the coverage of the intervals and the numbers of samples."""
    what = readable([str(score)])[0] if score else "the mean score"
    lines = textwrap.wrap(f"Change of {what}", 26)
    ax.set_ylabel("\n".join([*lines, f"({interval_words(sums, 'change', 'ci_high')})"]))
    numbers = number_words(sums)
    if numbers:
        titled(ax, numbers, fontsize=pt(SMALL))


def _by_total(sums: pd.DataFrame) -> list[str]:
    total = sums[sums["component"] == _TOTAL].set_index("tumor")["change"]
    names = dict.fromkeys(sums["tumor"])
    return ordered(sorted(names, key=lambda name: (-float(total.get(name, -np.inf)), name)))


def _bars(ax: Axes, rows: pd.DataFrame, shift: float, color: str) -> None:
    x = np.arange(len(rows)) + shift
    ax.bar(x, rows["change"], width=_BAR * 0.94, color=color, linewidth=0, zorder=2)
    _intervals(ax, rows, x)


def _intervals(ax: Axes, rows: pd.DataFrame, x: Array) -> None:
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
