"""A number over time, or over sequencing depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Unpack

import pandas as pd

from nkscore._colors import FAINT
from nkscore.pl._drawn import drawn
from nkscore.pl._look import colors_of, printed
from nkscore.pl._side import SidePanel
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, check_number, check_table, levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from nkscore.pl._drawn import Look

#: Lines above which colors cannot be distinguished; the strongest are then colored.
_MOST: Final = 12
_WORDS: Final = {
    "log_odds_ratio": "log odds ratio",
    "log2_fc": "log$_2$ fold change",
    "fraction": "Fraction of cells",
    "mean": "Mean",
}


@drawn
def time_course(
    table: pd.DataFrame,
    *,
    value: str = "log_odds_ratio",
    time: str = "time_h",
    by: str = "tumor",
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw a number over time, one line per tumor, state or gene.

    With more than 12 lines, the 12 with the largest last values are colored, the others are gray.

    Parameters
    ----------
    table
        Any table with the columns named below, for example from ``tl.state_shift`` over several
        times (``time="treated"``) or ``tl.state_fractions`` (``value="fraction"``); ``ci_low`` and
        ``ci_high`` are optional. Select one state (or one tumor) first.
    value
        Column of the number.
    time
        Column of the hours, which must be numbers.
    by
        Column of the lines.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Rows of one line and time (donors) are drawn as points, the line joins their means.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or the times are not numbers.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "time_h": [0, 6, 24], "log_odds_ratio": [0, 1, 2.0]})
    >>> ax = nk.pl.time_course(table)
    >>> ax.get_xlabel()
    'Time (h)'
    >>> plt.close(ax.figure)
    """
    check_table(table, [by, time, value], "tl.state_shift or tl.state_fractions")
    return _lines(table, _Axis(time, "Time (h)"), y=value, by=by, ax=ax, legend=legend)


@drawn
def depth(
    table: pd.DataFrame,
    *,
    value: str = "accuracy",
    depth: str = "depth",
    by: str = "method",
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw how a result depends on the counts per cell, one line per method or state.

    The table of :func:`nkscore.tl.depth_stability` is one of those that fit, with ``by="state"``
    and ``value="agreement"``.

    Parameters
    ----------
    table
        One row per depth and line (and repetition), with the columns named below; ``ci_low`` and
        ``ci_high`` are optional.
    value
        Column of the result, for example a share of correct calls or a correlation with full depth.
    depth
        Column of the median counts per cell; drawn on a logarithmic axis.
    by
        Column of the lines.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Rows of one line and depth are drawn as points, the line joins their means.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or a depth is not a number above 0.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"method": "ucell", "depth": [500, 2000], "accuracy": [0.7, 0.9]})
    >>> ax = nk.pl.depth(table)
    >>> ax.get_xscale()
    'log'
    >>> plt.close(ax.figure)
    """
    check_table(table, [by, depth, value], "your thinning of the counts")
    numbers = pd.to_numeric(table[depth], errors="coerce")
    if not (numbers > 0).all():
        msg = f"Column {depth!r} must hold numbers above 0 (counts per cell). Drop other rows."
        raise ValueError(msg)
    axis = _Axis(depth, "Counts per cell", logarithmic=True)
    return _lines(table, axis, y=value, by=by, ax=ax, legend=legend)


@dataclass(frozen=True)
class _Axis:
    """The x axis of the lines: a column, its printed name, its scale."""

    column: str
    label: str
    logarithmic: bool = False

    def ticks(self, ax: Axes, x: Sequence[float]) -> None:
        """Put ticks at the measured values, unless there are many."""
        from matplotlib.ticker import FuncFormatter, NullLocator

        if self.logarithmic:
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
            ax.tick_params(axis="x", rotation=45)
        if len(set(x)) <= 8:
            ax.set_xticks(sorted(set(x)))
        ax.set_xlabel(self.label)


def _lines(
    table: pd.DataFrame, axis: _Axis, *, y: str, by: str, ax: Axes | None, legend: bool
) -> Axes:
    own = ax is None
    ax = axes_or_new(ax, (4.5, 3.5))
    if axis.logarithmic:
        ax.set_xscale("log")
    x = _draw(ax, table, x=axis.column, y=y, by=by, legend=legend)
    axis.ticks(ax, x)
    ax.set_ylabel(_WORDS.get(y, y.replace("_", " ").capitalize()))
    if y in {"log_odds_ratio", "log2_fc"}:
        ax.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
    if own:
        fit(ax, width=2.2, height=1.7)
    return ax


def _draw(ax: Axes, table: pd.DataFrame, *, x: str, y: str, by: str, legend: bool) -> list[float]:
    check_number(table, y)
    numbers = pd.to_numeric(as_text(table[x]), errors="coerce")
    if numbers.isna().any():
        found = as_text(table.loc[numbers.isna(), x]).iloc[0]
        msg = (
            f"Column {x!r} holds {found!r}; numbers are needed. Drop these rows, or "
            "name the column of numbers."
        )
        raise ValueError(msg)
    data = table.assign(_x=numbers.astype(float), _line=as_text(table[by])).dropna(subset=[y])
    levels = [name for name in levels_of(table[by], by) if name in set(data["_line"])]
    colors, colored = _colors(data, levels, y=y, by=by)
    handles = [
        _line(
            ax,
            data[data["_line"] == name].sort_values("_x"),
            y,
            color=colors[name],
            order=3 if name in colored else 2,
            label=printed(name),
        )
        for name in levels
    ]
    if legend and len(levels) > 1:
        shown = [h for h, name in zip(handles, levels, strict=True) if name in colored]
        rest = [h for h, name in zip(handles, levels, strict=True) if name not in colored][:1]
        for other in rest:
            count = len(levels) - len(colored)
            other.set_label(f"{count} other{'s' if count > 1 else ''}")
        SidePanel(ax).legend([*shown, *rest], handlelength=1.3)
    return list(data["_x"])


def _colors(
    data: pd.DataFrame, levels: list[str], *, y: str, by: str
) -> tuple[dict[str, str], list[str]]:
    kind = "state" if by == "state" else by
    if len(levels) <= _MOST:
        return colors_of(kind, levels), levels
    last = data.sort_values("_x").groupby("_line")[y].last().abs()
    first = set(last.sort_values(ascending=False).index[:_MOST])
    colored = [name for name in levels if name in first]
    return {**dict.fromkeys(levels, "#CFCFCF"), **colors_of(kind, colored)}, colored


def _line(ax: Axes, rows: pd.DataFrame, y: str, *, color: str, order: int, label: str) -> Line2D:
    mean = rows.groupby("_x")[y].mean()
    (line,) = ax.plot(
        mean.index,
        mean.to_numpy(),
        color=color,
        linewidth=1.1,
        zorder=order,
        marker="o",
        markersize=3,
        markeredgewidth=0,
        label=label,
    )
    if len(mean) < len(rows):
        ax.scatter(
            rows["_x"],
            rows[y],
            s=7,
            facecolors="none",
            edgecolors=color,
            linewidths=0.5,
            zorder=order,
        )
    elif {"ci_low", "ci_high"} <= set(rows.columns):
        low, high = (rows[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
        ax.fill_between(rows["_x"], low, high, color=color, alpha=0.15, linewidth=0, zorder=1)
    return line
