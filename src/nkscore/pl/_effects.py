"""Estimates with two types of intervals, one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np

from nkscore._colors import DOWN, FAINT, UP
from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, in_rows, ink, paper, pt, shades, worded
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import (
    as_text,
    check_number,
    check_table,
    in_order,
    interval_words,
    number_words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array, Bools, Floats
    from nkscore.pl._drawn import Look

_ROW: Final = 0.155
_CORE_GENES: Final = 25
_NK_PART: Final = "#9DC3E6"
_AXIS: Final = {"log2_fc": "log$_2$ fold change", "log_odds_ratio": "log odds ratio"}


@drawn
def core_response(
    table: pd.DataFrame,
    *,
    genes: Sequence[str] | int = _CORE_GENES,
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the mean response of genes over lines with its confidence and prediction intervals.

    The effects of all rows without ambient RNA are what ``tl.core_response`` pools, if the response
    went through ``tl.flag_ambient``; the axis then says so. Dots are filled for core genes. Numbers
    next to a gene: lines in which it passes in the direction of its mean, of those in which it
    was tested.

    Parameters
    ----------
    table
        From ``tl.core_response`` by ``random_effects``: columns ``gene``, ``log2_fc``, ``ci_low``,
        ``ci_high``; optional: ``prediction_low``, ``prediction_high``, ``core``, ``n_lines``,
        ``n_up``, ``n_down``.
    genes
        Genes from top to bottom, or the number of first rows to take.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Dot and dark line: mean over lines and its confidence interval. Wide gray line: prediction
        interval, in which the effect of a further line is expected.

    Raises
    ------
    MissingKeyError
        If a column is missing, for example the intervals, which ``counting`` does not compute.
    ValueError
        If the table has no rows or no finite effect, or lacks requested genes.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"gene": ["B2M", "ACTB"], "core": [True, False], "log2_fc": [1.2, 0.1],
    ...                       "ci_low": [0.9, -0.2], "ci_high": [1.5, 0.4],
    ...                       "prediction_low": [0.4, -0.5], "prediction_high": [2.0, 0.7]})
    >>> ax = nk.pl.core_response(table)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['B2M', 'ACTB']
    >>> plt.close(ax.figure)
    """
    check_table(
        table,
        ["gene", "log2_fc", "ci_low", "ci_high"],
        "tl.core_response with method='random_effects'",
    )
    rows = _chosen(table, genes)
    rows = in_rows(rows, as_text(rows["gene"]))
    filled = rows["core"].to_numpy(dtype=bool) if "core" in rows.columns else _apart(rows)
    own = ax is None
    ax = axes_or_new(ax, (5, 2 + _ROW * len(rows)))
    predicted = {"prediction_low", "prediction_high"} <= set(rows.columns)
    _limits(ax, rows, [*(["prediction_low", "prediction_high"] if predicted else [])])
    if predicted:
        _lines(ax, rows, ("prediction_low", "prediction_high"), color="#D5D5D5", width=3.2)
    _lines(ax, rows, ("ci_low", "ci_high"), color=ink(), width=0.9)
    _dots(ax, rows["log2_fc"].to_numpy(dtype=float), filled)
    _rows(ax, as_text(rows["gene"]).tolist(), italic=True)
    _counts(ax, rows)
    adjusted = table.attrs.get("effect") == "log2_fc_adjusted"
    words = "\n(adjusted for ambient RNA)" if adjusted else ""
    ax.set_xlabel(f"log$_2$ fold change, mean over lines{words}")
    if legend:
        _legend(ax, predicted=predicted, filled=filled, wide={"n_lines"} <= set(rows.columns))
    if own:
        fit(ax, width=2.0, height=_ROW * len(rows) + 0.1)
    return ax


def _chosen(table: pd.DataFrame, genes: Sequence[str] | int) -> pd.DataFrame:
    names = as_text(table["gene"])
    rows: pd.DataFrame
    if isinstance(genes, int):
        rows = table[np.isfinite(table["log2_fc"].to_numpy(dtype=float))].head(genes)
    else:
        in_order(names.tolist(), genes, "genes")
        rows = table.set_index(names).loc[list(genes)]
    if not np.isfinite(rows["log2_fc"].to_numpy(dtype=float)).any():
        msg = "Column 'log2_fc' holds no finite number, so there is nothing to draw."
        raise DesignError(msg)
    return rows


def _apart(rows: pd.DataFrame) -> Bools:
    return np.asarray((rows["ci_low"] > 0) | (rows["ci_high"] < 0))


def _limits(ax: Axes, rows: pd.DataFrame, extra: list[str]) -> None:
    numbers = rows[["log2_fc", "ci_low", "ci_high", *extra]].to_numpy(dtype=float)
    finite = np.append(numbers[np.isfinite(numbers)], 0.0)
    margin = 0.06 * (np.ptp(finite) or 1.0)
    ax.set_xlim(float(finite.min() - margin), float(finite.max() + margin))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.axvline(0, color=FAINT, linewidth=0.6, zorder=0)


def _lines(
    ax: Axes, rows: pd.DataFrame, ends: tuple[str, str], *, color: str, width: float
) -> None:
    low, high = (rows[name].to_numpy(dtype=float) for name in ends)
    known = ~np.isnan(low) & ~np.isnan(high)
    left, right = ax.get_xlim()
    # An infinite end extends to the edge of the axes.
    ax.hlines(
        np.flatnonzero(known),
        np.maximum(low[known], left),
        np.minimum(high[known], right),
        color=color,
        linewidth=width,
        zorder=1 if width > 1 else 2,
    )


def _dots(ax: Axes, effect: Floats, filled: Bools) -> None:
    tones = shades({"up": UP, "down": DOWN})
    hue = np.where(effect > 0, tones["up"], tones["down"])
    known = np.isfinite(effect)
    face = np.where(filled, hue, paper())
    edge = np.where(filled, hue, ink())
    ax.scatter(
        effect[known],
        np.flatnonzero(known),
        s=16,
        c=face[known].tolist(),
        edgecolors=edge[known].tolist(),
        linewidths=0.7,
        zorder=3,
    )


def _rows(ax: Axes, names: list[str], *, italic: bool) -> None:
    ax.set_yticks(range(len(names)), names, fontstyle="italic" if italic else "normal")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _counts(ax: Axes, rows: pd.DataFrame) -> None:
    if not {"n_lines", "n_up"} <= set(rows.columns):
        return
    place: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "fontsize": pt(SMALL),
        "clip_on": False,
    }
    downs = rows["n_down"] if "n_down" in rows.columns else [0] * len(rows)
    falls = (rows["log2_fc"].to_numpy(dtype=float) < 0) & ("n_down" in rows.columns)
    for i, (up, down, lines) in enumerate(zip(rows["n_up"], downs, rows["n_lines"], strict=True)):
        words = f"{int(down)}/{int(lines)} down" if falls[i] else f"{int(up)}/{int(lines)} up"
        ax.text(1.02, i, words, va="center_baseline", **place)
    ax.text(1.02, -0.75, "passes in", va="bottom", **place)


def _legend(ax: Axes, *, predicted: bool, filled: Bools, wide: bool) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    if filled.any():
        handles.append(dot(shades({"up": UP})["up"], "Core gene", size=4))
    if not filled.all():
        handles.append(
            dot(paper(), "Not a core gene", size=4, markeredgecolor=ink(), markeredgewidth=0.7)
        )
    handles.append(
        Line2D([], [], color=ink(), linewidth=0.9, label="Confidence interval\nof the mean")
    )
    if predicted:
        handles.append(
            Line2D(
                [], [], color="#D5D5D5", linewidth=3.2, label="Range expected in\na further line"
            )
        )
    SidePanel(ax, gap=0.72 if wide else 0.12).legend(handles)


@drawn
def ambient(table: pd.DataFrame, *, ax: Axes | None = None, **_look: Unpack[Look]) -> Axes:
    """Draw the ambient share of the tumor cells' RNA in each co-culture sample.

    Parameters
    ----------
    table
        ``adata.uns["nkscore"]["pp.ambient"]["samples"]`` from ``pp.ambient``: columns ``sample``,
        ``ambient_share``, ``ci_low``, ``ci_high``; optional: ``nk_share``, ``lane``, ``evidence``.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Dots and lines: ambient share of the counts, with its interval. Bars: the part from NK
        cells. Hollow dots: lines without a monoculture, estimated from a list of genes.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"sample": ["s1"], "ambient_share": [0.05], "ci_low": [0.04],
    ...                       "ci_high": [0.06], "nk_share": [0.02]})
    >>> ax = nk.pl.ambient(table)
    >>> ax.get_xlabel()
    "Share of the tumor cells' counts (%)"
    >>> plt.close(ax.figure)
    """
    check_table(table, ["sample", "ambient_share", "ci_low", "ci_high"], "pp.ambient")
    check_number(table, "ambient_share")
    rows = table.sort_values([n for n in ("lane", "sample") if n in table.columns], kind="stable")
    rows = in_rows(rows, as_text(rows["sample"]))
    share, low, high = (
        100 * rows[name].to_numpy(dtype=float) for name in ("ambient_share", "ci_low", "ci_high")
    )
    listed = (
        (as_text(rows["evidence"]) == "list").to_numpy()
        if "evidence" in rows.columns
        else (np.zeros(len(rows), dtype=bool))
    )
    own = ax is None
    ax = axes_or_new(ax, (5, 2 + _ROW * len(rows)))
    tones = shades({"ambient": ink(), "nk": _NK_PART})
    nk_part = "nk_share" in rows.columns
    if nk_part:
        ax.barh(
            np.arange(len(rows)),
            100 * rows["nk_share"].to_numpy(dtype=float),
            height=0.7,
            color=tones["nk"],
            linewidth=0,
            zorder=1,
        )
    main = tones["ambient"]
    ax.hlines(np.arange(len(rows)), low, high, color=main, linewidth=0.9, zorder=2)
    ax.scatter(
        share,
        np.arange(len(rows)),
        s=13,
        zorder=3,
        linewidths=0.7,
        c=np.where(listed, paper(), main).tolist(),
        edgecolors=main,
    )
    ax.set_xlim(0, max(float(np.nanmax([share.max(), high.max()])) * 1.08, 1.0))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    _rows(ax, _samples_by_lane(rows), italic=False)
    ax.set_xlabel("Share of the tumor cells' counts (%)")
    _ambient_legend(ax, tones, nk_part=nk_part, listed=listed)
    if own:
        fit(ax, width=2.0, height=_ROW * len(rows) + 0.1)
    return ax


def _samples_by_lane(rows: pd.DataFrame) -> list[str]:
    """Return the names of samples, with the lane where a sample has several."""
    names = as_text(rows["sample"])
    if "lane" in rows.columns:
        names = names.where(~names.duplicated(keep=False), names + ", " + as_text(rows["lane"]))
    return list(names)


def _ambient_legend(ax: Axes, tones: dict[str, str], *, nk_part: bool, listed: Bools) -> None:
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if not listed.all():
        handles.append(dot(tones["ambient"], "Ambient, all", size=4))
    if listed.any():
        handles.append(
            dot(
                paper(),
                "Ambient, by a list\nof NK genes",
                size=4,
                markeredgecolor=tones["ambient"],
                markeredgewidth=0.7,
            )
        )
    if nk_part:
        handles.append(Patch(facecolor=tones["nk"], edgecolor="none", label="From NK cells"))
    SidePanel(ax).legend(handles)


@drawn
def effects(
    table: pd.DataFrame,
    *,
    label: str = "gene",
    effect: str = "log2_fc",
    low: str = "ci_low",
    high: str = "ci_high",
    reference: float = 0.0,
    of: str | None = None,
    against: str | None = None,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw one effect with its interval per row of a table.

    Parameters
    ----------
    table
        For example from ``tl.interaction_response`` or ``tl.state_shift``; rows are drawn from top
        to bottom in the order of the table.
    label
        Column with the names of the rows.
    effect
        Column of the effect.
    low
        Column of the lower end of the interval.
    high
        Column of the upper end of the interval.
    reference
        Value of no effect, drawn as a line.
    of, against
        What changed, and compared with what, for the axis, for example ``"activated NK states"``
        and ``"NK alone"``; known for the table of ``tl.nk_activation``.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Filled: the interval excludes ``reference`` (red above, blue below). Hollow: it does not, or
        there is no interval. An infinite end becomes an arrow at the edge. The axis names the
        coverage of the intervals, if standard errors and degrees of freedom say it, and the
        numbers of samples.

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
    table = in_rows(table, as_text(table[label]))
    numbers = table[[effect, low, high]].to_numpy(dtype=float)
    if not np.isfinite(numbers[:, 0]).any():
        msg = f"Column {effect!r} holds no finite number, so there is nothing to draw."
        raise DesignError(msg)
    names = as_text(table[label]).tolist()
    own = ax is None
    ax = axes_or_new(ax, (5, 2 + 0.16 * len(names)))
    _effect_limits(ax, numbers, reference)
    _effect_intervals(ax, numbers)
    _effect_centers(ax, numbers, reference)
    ax.axvline(reference, color=FAINT, linewidth=0.6, zorder=0)
    ax.set_yticks(range(len(names)), names)
    if label == "gene":
        for text in ax.get_yticklabels():
            text.set_fontstyle("italic")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    _effect_axis(ax, table, (effect, low, high), of=of, against=against)
    if own:
        fit(ax, width=1.9, height=0.16 * len(names) + 0.1)
    return ax


def _effect_axis(
    ax: Axes,
    table: pd.DataFrame,
    columns: tuple[str, str, str],
    *,
    of: str | None,
    against: str | None,
) -> None:
    """Say of what, against what, with which interval and how many samples."""
    effect, _, high = columns
    if {"active_treated", "active_control"} <= set(table.columns):
        of, against = of or "activated NK states", against or "NK alone"
    words = worded(_AXIS.get(effect, effect)) + (f" of {of}" if of else "")
    numbers = number_words(table)
    ax.set_xlabel(
        "\n".join(
            [
                *([words + ","] if against else [words]),
                *([f"against {against}"] if against else []),
                f"({interval_words(table, effect, high)}{'; ' + numbers if numbers else ''})",
            ]
        )
    )


def _effect_limits(ax: Axes, numbers: Array, reference: float) -> None:
    finite = np.append(numbers[np.isfinite(numbers)], reference)
    margin = 0.06 * (np.ptp(finite) or 1.0)
    ax.set_xlim(float(finite.min() - margin), float(finite.max() + margin))
    ax.set_ylim(len(numbers) - 0.4, -0.6)


def _effect_intervals(ax: Axes, numbers: Array) -> None:
    left, right = ax.get_xlim()
    for row, (_, low, high) in enumerate(numbers):
        if np.isnan(low) or np.isnan(high):
            continue
        start, end = max(low, left), min(high, right)
        ax.plot(
            [start, end], [row, row], color=ink(), linewidth=0.9, solid_capstyle="butt", zorder=2
        )
        for infinite, x, mark in ((np.isinf(low), start, "<"), (np.isinf(high), end, ">")):
            if infinite:
                ax.plot(
                    x,
                    row,
                    marker=mark,
                    markersize=3,
                    color=ink(),
                    linestyle="none",
                    clip_on=False,
                    zorder=2,
                )


def _effect_centers(ax: Axes, numbers: Array, reference: float) -> None:
    effect, low, high = numbers.T
    known = np.isfinite(effect)
    tones = shades({"up": UP, "down": DOWN})
    below = np.where(high < reference, tones["down"], paper())
    color = np.where(low > reference, tones["up"], below)
    edge = np.where(color == paper(), ink(), color)
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
