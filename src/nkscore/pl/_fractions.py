"""Fractions of cells in each state, one bar per tumor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore import schema
from nkscore._colors import BACKGROUND, is_missing, natural_key
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, colors_of, ink, ordered, paper, printed, pt, shortened
from nkscore.pl._side import SidePanel, dot, dots, lineage_strip, patches
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, check_number, check_table, check_unique, in_order, levels_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

_COLUMNS: Final = ("sample", "tumor", "nk_donor", "condition", "state", "fraction")
_ACTIVATED: Final = ("activated", "type_i_ifn", "cytokine")
_NK_ALONE: Final = "NK alone"
#: States that can be distinguished; if there are more, the rarest are drawn as one.
_MOST: Final = 18


@dataclass(frozen=True, kw_only=True)
class _Bars:
    """Heights of all bars: ``means`` is bars × states, ``dots`` one row per bar and donor."""

    means: pd.DataFrame
    dots: pd.DataFrame
    ranked_by: list[str]
    conditions: list[str]


@drawn
def state_fractions(
    table: pd.DataFrame,
    *,
    state_order: Sequence[str] | None = None,
    tumors: Sequence[str] | None = None,
    rank_by: Iterable[str] | None = None,
    conditions: Iterable[str] | None = None,
    palette_of: str = "state",
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the mean fraction of cells in each state, one stacked bar per tumor.

    Parameters
    ----------
    table
        From ``tl.state_fractions``: columns ``sample``, ``tumor``, ``nk_donor``, ``condition``,
        ``state``, ``fraction`` and, for the strip of colors, ``lineage``; one row per sample
        and state.
    state_order
        States from the bottom of the bars upwards; by default those of ``rank_by`` first.
    tumors
        Tumors from left to right; by default from the lowest to the highest summed fraction of
        the ``rank_by`` states.
    rank_by
        States that order the tumors and whose sum is drawn as one dot per donor; by default those
        of ``activated``, ``type_i_ifn`` and ``cytokine`` that the table has.
    conditions
        Conditions to draw next to ``nk_mono``, which is the first bar; by default ``coculture``, or
        all if there is none. Several conditions are drawn side by side.
    palette_of
        Palette of the states: ``state``, ``nk_state`` or ``tumor_state``.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Bars: mean over NK donors (samples of one donor are averaged first). Dots: each donor, drawn
        only if the ``rank_by`` states are at the bottom of the bars. With more than 18 states the
        rarest are drawn as one, in gray.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one sample and state, or lacks requested levels.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"sample": ["s1", "s1"], "tumor": "K562", "nk_donor": "NK1",
    ...                       "condition": "coculture", "state": ["resting", "activated"],
    ...                       "fraction": [0.25, 0.75]})
    >>> ax = nk.pl.state_fractions(table)
    >>> [float(bar.get_height()) for bar in ax.patches]
    [0.75, 0.25]
    >>> plt.close(ax.figure)
    """
    check_table(table, _COLUMNS, "tl.state_fractions")
    check_unique(table, ["sample", "state"])
    check_number(table, "fraction")
    levels = levels_of(table["state"], "state")
    chosen = _ACTIVATED if rank_by is None else in_order(levels, list(rank_by), "states")
    ranked = [name for name in chosen if name in levels]
    order = in_order(levels, state_order, "states") if state_order else _stack(levels, ranked)
    bars = _folded(_collect(table, order, ranked, conditions))
    bars = _ordered(bars, tumors, levels_of(table["tumor"]))
    own = ax is None
    width = 0.17 * max(len(bars.means), 2) + 0.1
    ax = axes_or_new(ax, (width + 3, 5))
    positions = _positions(bars)
    colors = _colors(bars, palette_of)
    _stacked(ax, bars, positions, colors)
    _donors(ax, bars, positions)
    _label(ax, bars, positions)
    side = SidePanel(ax)
    drawn = [name for name in map(str, bars.means) if bars.means[name].any()]
    _legends(side, bars, {name: colors[name] for name in drawn})
    _lineage(ax, side, table, positions)
    if own:
        fit(ax, width=width, height=1.7)
    return ax


def _stack(levels: list[str], ranked: list[str]) -> list[str]:
    middle = [name for name in reversed(levels) if name not in ranked and not is_missing(name)]
    return ordered(ranked + middle + [name for name in levels if is_missing(name)])


def _collect(
    table: pd.DataFrame, order: list[str], ranked: list[str], conditions: Iterable[str] | None
) -> _Bars:
    data = table.assign(
        condition=as_text(table["condition"]),
        donor=as_text(table["nk_donor"].where(table["nk_donor"].notna(), table["sample"])),
        state=as_text(table["state"]),
        bar=as_text(table["tumor"]),
    )
    alone = data["condition"] == schema.NK_MONO
    data["bar"] = data["bar"].where(~alone, _NK_ALONE)
    kept = _conditions(data.loc[~alone, "condition"], conditions)
    data = data[alone | data["condition"].isin(kept)]
    # pivot_table would drop samples without cells.
    samples = data.pivot(  # noqa: PD010
        index=["bar", "condition", "donor", "sample"], columns="state", values="fraction"
    ).reindex(columns=order)
    donors = samples.groupby(["bar", "condition", "donor"], observed=True).mean()
    means = donors.groupby(["bar", "condition"], observed=True).mean()
    return _Bars(
        means=means,
        dots=donors[ranked].sum(axis=1, min_count=1).reset_index(name="height"),
        ranked_by=ranked,
        conditions=kept,
    )


def _folded(bars: _Bars) -> _Bars:
    """Sum the rarest states if there are more than colors; keep those that rank the bars."""
    means = bars.means
    if len(means.columns) <= _MOST:
        return bars
    fixed = [name for name in means.columns if name in bars.ranked_by or is_missing(name)]
    size = means.mean().drop(fixed).sort_values(ascending=False, kind="stable")
    rare = set(size.index[max(_MOST - 1 - len(fixed), 0) :])
    kept = means[[name for name in means.columns if name not in rare]]
    other = means[sorted(rare)].sum(axis=1, min_count=1)
    return replace(bars, means=kept.assign(**{f"{len(rare)} rarer states": other}))


def _colors(bars: _Bars, kind: str) -> dict[str, str]:
    names = [name for name in bars.means.columns if not str(name).endswith(" rarer states")]
    return {**colors_of(kind, names), **dict.fromkeys(bars.means.columns[len(names) :], BACKGROUND)}


def _conditions(column: pd.Series, wanted: Iterable[str] | None) -> list[str]:
    known = levels_of(column, "condition")
    if wanted is not None:
        return in_order(known, list(wanted), "conditions")
    if schema.COCULTURE in known:
        return [schema.COCULTURE]
    return known


def _ordered(bars: _Bars, tumors: Sequence[str] | None, levels: list[str]) -> _Bars:
    means = bars.means
    present = set(means.index.get_level_values("bar"))
    names = [name for name in levels if name in present]
    names += sorted(present - set(names) - {_NK_ALONE}, key=natural_key)
    if tumors is None and bars.ranked_by:
        last = bars.conditions[-1:]
        height = means.loc[means.index.isin(last, level="condition"), bars.ranked_by].sum(axis=1)
        height = height.groupby("bar").mean()
        names.sort(key=lambda name: (float(height.get(name, -1.0)), natural_key(name)))
    names = in_order(names, tumors, "tumors")
    keys = [(_NK_ALONE, schema.NK_MONO)] if _NK_ALONE in present else []
    keys += [
        (name, condition)
        for name in names
        for condition in bars.conditions
        if (name, condition) in means.index
    ]
    return replace(bars, means=means.loc[keys])


def _positions(bars: _Bars) -> dict[tuple[str, str], float]:
    """Place bars of one tumor side by side, with a gap after NK cells alone."""
    places: dict[tuple[str, str], float] = {}
    groups = list(dict.fromkeys(bars.means.index.get_level_values("bar")))
    step = 1 / max(len(bars.conditions), 1)
    start = 0.4 if _NK_ALONE in groups else 0.0
    for i, group in enumerate(groups):
        if group == _NK_ALONE:
            places[group, schema.NK_MONO] = 0.0
            continue
        for j, condition in enumerate(bars.conditions):
            if (group, condition) in bars.means.index:
                places[group, condition] = start + i + (j + 0.5) * step - 0.5
    return places


def _width(bars: _Bars) -> float:
    return 0.86 / max(len(bars.conditions), 1)


def _stacked(
    ax: Axes, bars: _Bars, positions: dict[tuple[str, str], float], colors: dict[str, str]
) -> None:
    x = np.array(list(positions.values()))
    means = bars.means.loc[list(positions)]
    bottom: Array = np.zeros(len(means))
    for state in means.columns:
        height = means[state].fillna(0).to_numpy(dtype=float)
        ax.bar(
            x,
            height,
            bottom=bottom,
            width=_width(bars),
            color=colors[state],
            edgecolor=paper(),
            linewidth=0.3,
        )
        bottom = bottom + height
    ax.set_xlim(x.min() - 0.6, x.max() + 0.6)
    ax.set_ylim(0, 1)


def _donors(ax: Axes, bars: _Bars, positions: dict[tuple[str, str], float]) -> None:
    lowest = list(bars.means.columns[: len(bars.ranked_by)])
    if not bars.ranked_by or set(lowest) != set(bars.ranked_by):
        return
    donors = sorted(bars.dots["donor"].unique(), key=natural_key)
    shift = dict(zip(donors, np.linspace(-0.3, 0.3, len(donors) + 2)[1:-1], strict=True))
    rows = [
        (positions[bar, condition] + shift[donor] * _width(bars), height)
        for bar, condition, donor, height in bars.dots.itertuples(index=False)
        if (bar, condition) in positions
    ]
    x, y = np.array(rows).T
    ax.scatter(x, y, s=5, c=paper(), edgecolors=ink(), linewidths=0.4, zorder=4, clip_on=False)


def _label(ax: Axes, bars: _Bars, positions: dict[tuple[str, str], float]) -> None:
    names = list(dict.fromkeys(bar for bar, _ in positions))
    centers = [np.mean([x for (bar, _), x in positions.items() if bar == name]) for name in names]
    ax.set_xticks(centers, shortened(names), rotation=90)
    ax.tick_params(axis="x", length=0, pad=pt(10))
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.set_ylabel("Cells in state (%)")
    if len(bars.conditions) > 1:
        ax.set_title(
            "Bars from left: " + ", ".join(printed(name) for name in bars.conditions),
            fontsize=pt(FONT - 0.5),
        )


def _legends(side: SidePanel, bars: _Bars, colors: dict[str, str]) -> None:
    shown = dict(reversed(colors.items()))
    side.legend(patches(shown, map(printed, shown)), title="State")
    if len(side.ax.collections):
        words = " + ".join(printed(name) for name in bars.ranked_by)
        entry = dot(
            paper(),
            f"one donor:\n{words}".replace(" + ", " +\n"),
            size=3,
            markeredgecolor=ink(),
            markeredgewidth=0.5,
        )
        side.legend([entry])


def _lineage(
    ax: Axes, side: SidePanel, table: pd.DataFrame, positions: dict[tuple[str, str], float]
) -> None:
    if "lineage" not in table.columns:
        return
    known = dict(zip(as_text(table["tumor"]), as_text(table["lineage"]), strict=True))
    levels = [name for name in levels_of(table["lineage"], "lineage") if not is_missing(name)]
    colors = colors_of("lineage", levels, main=False)
    by_tumor: dict[str, list[float]] = {}
    for (bar, _), x in positions.items():
        if known.get(bar) in colors:
            by_tumor.setdefault(bar, []).append(x)
    if by_tumor:
        centers = [float(np.mean(places)) for places in by_tumor.values()]
        lineage_strip(ax, centers, [colors[known[bar]] for bar in by_tumor])
        side.legend(dots(colors, map(printed, colors)), title="Lineage")
