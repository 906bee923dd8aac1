"""Effects with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore._colors import DOWN, FAINT, INK, UP
from nkscore.errors import DesignError
from nkscore.pl._style import axes_or_new, fit, style
from nkscore.pl._tables import as_text, check_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array


def effects(
    table: pd.DataFrame,
    *,
    label: str = "gene",
    effect: str = "log2_fc",
    low: str = "ci_low",
    high: str = "ci_high",
    reference: float = 0.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw one effect with its interval per row of a table.

    Parameters
    ----------
    table
        From ``tl.interaction_response``, ``tl.state_shift`` and the like; rows are drawn from
        top to bottom as they come.
    label
        Column that names the rows.
    effect
        Column of the effect.
    low
        Column of the lower end of the interval.
    high
        Column of the upper end of the interval.
    reference
        Value of no effect, drawn as a line.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Filled: the interval leaves out ``reference`` (red above, blue below). Hollow: it does
        not, or there is no interval. An end that is infinite becomes an arrow at the edge.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    DesignError
        If the table has no rows, or no effect is a finite number.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"gene": ["B2M", "ACTB"], "log2_fc": [1.2, 0.1],
    ...                       "ci_low": [0.9, -0.2], "ci_high": [1.5, 0.4]})
    >>> ax = nk.pl.effects(table)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['B2M', 'ACTB']
    >>> plt.close(ax.figure)
    """
    check_table(table, [label, effect, low, high], "tl.interaction_response")
    numbers = table[[effect, low, high]].to_numpy(dtype=float)
    if not np.isfinite(numbers[:, 0]).any():
        msg = f"Column {effect!r} holds no finite number, so there is nothing to draw."
        raise DesignError(msg)
    names = as_text(table[label]).tolist()
    with style():
        own = ax is None
        ax = axes_or_new(ax, (5, 2 + 0.16 * len(names)))
        _limits(ax, numbers, reference)
        _intervals(ax, numbers)
        _centers(ax, numbers, reference)
        ax.axvline(reference, color=FAINT, linewidth=0.6, zorder=0)
        ax.set_yticks(range(len(names)), names)
        if label == "gene":
            for text in ax.get_yticklabels():
                text.set_fontstyle("italic")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(_AXIS.get(effect, effect))
        if own:
            fit(ax, width=1.9, height=0.16 * len(names) + 0.1)
    return ax


_AXIS = {"log2_fc": "log$_2$ fold change (interval)", "log_odds_ratio": "log odds ratio (interval)"}


def _limits(ax: Axes, numbers: Array, reference: float) -> None:
    finite = np.append(numbers[np.isfinite(numbers)], reference)
    margin = 0.06 * (np.ptp(finite) or 1.0)
    ax.set_xlim(float(finite.min() - margin), float(finite.max() + margin))
    ax.set_ylim(len(numbers) - 0.4, -0.6)


def _intervals(ax: Axes, numbers: Array) -> None:
    left, right = ax.get_xlim()
    for row, (_, low, high) in enumerate(numbers):
        if np.isnan(low) or np.isnan(high):
            continue
        start, end = max(low, left), min(high, right)
        ax.plot([start, end], [row, row], color=INK, linewidth=0.9, solid_capstyle="butt", zorder=2)
        for infinite, x, mark in ((np.isinf(low), start, "<"), (np.isinf(high), end, ">")):
            if infinite:
                ax.plot(
                    x,
                    row,
                    marker=mark,
                    markersize=3,
                    color=INK,
                    linestyle="none",
                    clip_on=False,
                    zorder=2,
                )


def _centers(ax: Axes, numbers: Array, reference: float) -> None:
    effect, low, high = numbers.T
    known = np.isfinite(effect)
    color = np.where(low > reference, UP, np.where(high < reference, DOWN, "white"))
    edge = np.where(color == "white", INK, color)
    rows = np.arange(len(effect))
    ax.scatter(
        effect[known],
        rows[known],
        s=16,
        c=color[known].tolist(),
        edgecolors=edge[known].tolist(),
        linewidths=0.7,
        zorder=3,
    )
