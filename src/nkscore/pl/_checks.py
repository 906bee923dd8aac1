"""Figures that check a method: p-values under the null, calls against a truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

import numpy as np
import pandas as pd

from nkscore._colors import DOWN, FAINT, INK
from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import (
    FONT,
    SMALL,
    colormap,
    colors_of,
    ink,
    ordered,
    paper,
    printed,
    pt,
    shades,
    titled,
)
from nkscore.pl._side import SidePanel
from nkscore.pl._style import axes_or_new, bare, cell_points, fit
from nkscore.pl._tables import as_text, check_probabilities, check_table, levels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nkscore._types import Array, Floats, Ints
    from nkscore.pl._drawn import Look

_BINS: Final = 20
#: Groups above which outlines cannot be distinguished.
_MANY: Final = 8


@drawn
def p_values(
    table_or_array: pd.DataFrame | pd.Series | Array,
    *,
    column: str = "p_value",
    by: str | None = None,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the distribution of p-values against the uniform one.

    Parameters
    ----------
    table_or_array
        Any table with a column of p-values, or the p-values.
    column
        Column of the p-values.
    by
        Column whose levels are drawn as separate outlines, for example ``tumor``.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        20 bins; uniform p-values give 1. Gray band: range of 95 % of the bins if the p-values are
        uniform and independent (binomial; of the smallest group with ``by``). More than 8 groups
        become rows of a heat map instead, without a band.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If there are no p-values, or some are not between 0 and 1.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, numpy as np
    >>> import nkscore as nk
    >>> ax = nk.pl.p_values(np.linspace(0.005, 0.995, 100))
    >>> ax.get_title(loc="left")
    'n = 100'
    >>> plt.close(ax.figure)
    """
    groups, absent = _groups(table_or_array, column, by)
    counts = {name: np.histogram(values, _BINS, (0, 1))[0] for name, values in groups.items()}
    own = ax is None
    ax = axes_or_new(ax, (5, 4))
    if len(groups) > _MANY:
        _rows(ax, counts)
    else:
        _band(ax, min(len(values) for values in groups.values()))
        _histograms(ax, counts, by)
    total = sum(len(values) for values in groups.values())
    note = f"n = {total:,}" + (f" ({absent:,} missing excluded)" if absent else "")
    titled(ax, note, fontsize=pt(FONT - 0.5))
    ax.set_xlim(0, 1)
    ax.set_xlabel("p-value")
    if own:
        fit(ax, width=2.2, height=0.14 * len(groups) if len(groups) > _MANY else 1.5)
    return ax


def _groups(
    source: pd.DataFrame | pd.Series | Array, column: str, by: str | None
) -> tuple[dict[str, Floats], int]:
    if isinstance(source, pd.DataFrame):
        table = source
    else:
        table = pd.DataFrame({column: np.asarray(source, dtype=float).ravel()})
    check_table(table, [column] + ([by] if by else []), "the test")
    check_probabilities(table[column], column)
    known = table[table[column].notna()]
    if len(known) == 0:
        msg = f"All values of {column!r} are missing, so there is nothing to draw: run the test."
        raise DesignError(msg)
    absent = len(table) - len(known)
    values = known[column].to_numpy(dtype=float)
    if by is None:
        return {"": values}, absent
    names = as_text(known[by]).to_numpy()
    levels = [*levels_of(known[by]), *(["unassigned"] if known[by].isna().any() else [])]
    return {name: values[names == name] for name in levels}, absent


def _band(ax: Axes, count: int) -> None:
    from scipy import stats

    low, high = stats.binom.interval(0.95, count, 1 / _BINS)
    expected = count / _BINS
    ax.axhspan(low / expected, high / expected, color="#E6E6E6", linewidth=0, zorder=0)
    for edge in (low, high):
        ax.axhline(edge / expected, color=FAINT, linewidth=0.4, zorder=3)
    ax.axhline(1, color=ink(), linewidth=0.6, linestyle=(0, (4, 3)), zorder=3)


def _histograms(ax: Axes, counts: dict[str, Ints], by: str | None) -> None:
    edges = np.linspace(0, 1, _BINS + 1)
    ax.set_ylabel("Observed / uniform")
    if by is None:
        heights = counts[""] * _BINS / counts[""].sum()
        ax.bar(
            edges[:-1],
            heights,
            width=1 / _BINS,
            align="edge",
            color=shades({"observed": DOWN})["observed"],
            alpha=0.75,
            edgecolor=paper(),
            linewidth=0.4,
            zorder=2,
        )
        return
    colors = colors_of(by, counts)
    handles = [
        ax.stairs(
            number * _BINS / number.sum(),
            edges,
            color=colors[name],
            linewidth=0.9,
            baseline=None,
            label=f"{printed(name)} ({number.sum():,})",
            zorder=2,
        )
        for name, number in counts.items()
    ]
    SidePanel(ax).legend(handles, title=by.replace("_", " ").capitalize())
    ax.set_ylim(bottom=0)


def _rows(ax: Axes, counts: dict[str, Ints]) -> None:
    heights = np.array([number * _BINS / number.sum() for number in counts.values()])
    picture = ax.imshow(
        heights,
        cmap=colormap("RdBu_r"),
        vmin=0,
        vmax=2,
        aspect="auto",
        extent=(0, 1, len(counts), 0),
    )
    bare(ax)
    names = [f"{printed(name)} ({number.sum():,})" for name, number in counts.items()]
    ax.set_yticks(np.arange(len(counts)) + 0.5, names)
    SidePanel(ax).colorbar(picture, "Observed / uniform", extend="max")


@drawn
def confusion(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    normalize: Literal["rows", "columns", "none"] = "rows",
    **_look: Unpack[Look],
) -> Axes:
    r"""Draw a table of counts (called against true) as a heat map with numbers.

    Parameters
    ----------
    table
        Counts, for example from ``pandas.crosstab(truth, called)``.
    ax
        Axes to draw on; a new figure by default.
    normalize
        Whether colors and percentages are fractions of ``rows``, of ``columns``, or of all
        counts (``none``).

    Returns
    -------
    Axes
        Each cell holds its percentage and, below, its count.

    Raises
    ------
    DesignError
        If the table is empty or has negative values.
    ValueError
        If ``normalize`` is unknown.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame([[9, 1], [0, 5]], index=["nk", "tumor"], columns=["nk", "tumor"])
    >>> ax = nk.pl.confusion(table)
    >>> [text.get_text() for text in ax.texts][:2]
    ['90%\n9', '10%\n1']
    >>> plt.close(ax.figure)
    """
    check_table(table, [], "pandas.crosstab")
    rows, columns = ({str(n): n for n in index} for index in (table.index, table.columns))
    if len(rows) == len(table.index) and len(columns) == len(table.columns):
        table = table.loc[[rows[n] for n in ordered(rows)], [columns[n] for n in ordered(columns)]]
    counts = table.to_numpy(dtype=float)
    if counts.size == 0 or not np.isfinite(counts).all() or (counts < 0).any():
        msg = (
            "The table is empty or has negative or missing counts; whole numbers of "
            "cells are needed. "
            "Make it with pandas.crosstab(truth, called)."
        )
        raise DesignError(msg)
    fractions = _fractions(counts, normalize)
    own = ax is None
    size = (0.36 * counts.shape[1], 0.32 * counts.shape[0])
    ax = axes_or_new(ax, (size[0] + 3, size[1] + 3))
    ax.imshow(fractions, cmap=colormap("Blues"), vmin=0, vmax=1, aspect="auto")
    _ticks(ax, table)
    if own:
        fit(ax, width=size[0], height=size[1])
    _numbers(ax, counts, fractions)
    return ax


def _fractions(counts: Array, normalize: str) -> Array:
    axes: dict[str, int | None] = {"rows": 1, "columns": 0, "none": None}
    if normalize not in axes:
        msg = f"Unknown normalize {normalize!r}. Choose from: {', '.join(axes)}."
        raise ValueError(msg)
    totals = counts.sum(axis=axes[normalize], keepdims=True)
    return np.asarray(np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0))


def _ticks(ax: Axes, table: pd.DataFrame) -> None:
    bare(ax)
    ax.set_xticks(
        range(table.shape[1]),
        [printed(name) for name in table.columns],
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    ax.set_yticks(range(table.shape[0]), [printed(name) for name in table.index])
    names: tuple[Any, Any] = (table.columns.name, table.index.name)
    ax.set_xlabel(str(names[0] or ""))
    ax.set_ylabel(str(names[1] or ""))
    ax.set_xticks(np.arange(-0.5, table.shape[1]), minor=True)
    ax.set_yticks(np.arange(-0.5, table.shape[0]), minor=True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="minor", length=0)


def _numbers(ax: Axes, counts: Array, fractions: Array) -> None:
    size = float(np.clip(cell_points(ax, counts.shape[1], counts.shape[0]) * 0.27, 3.0, pt(SMALL)))
    for (row, column), count in np.ndenumerate(counts):
        if count > 0:
            part = fractions[row, column]
            words = "<1%" if part < 0.005 else f"{part:.0%}"
            ax.text(
                column,
                row,
                f"{words}\n{count:,.0f}",
                ha="center",
                va="center",
                fontsize=size,
                color="white" if part > 0.55 else INK,
            )
        else:
            ax.text(column, row, "0", ha="center", va="center", fontsize=size, color=FAINT)
