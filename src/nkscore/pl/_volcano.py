"""Effect against certainty, one dot per gene."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np
import pandas as pd

from nkscore._colors import ACCENT, BACKGROUND, DOWN, FAINT, UP
from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._labels import label_points
from nkscore.pl._look import FONT, SMALL, ink, ordered, paper, pt, shades, titled, worded
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import RASTER_ABOVE, axes_or_new, fit, panels_in
from nkscore.pl._tables import (
    as_text,
    check_probabilities,
    check_table,
    check_unique,
    in_order,
    levels_of,
    one_of,
    readable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

    class HasGenes(Protocol):
        """For example a signature."""

        @property
        def genes(self) -> tuple[str, ...]: ...


_COLUMNS: Final = ("tumor", "gene", "log2_fc", "p_value", "q_value")
_MADE_BY: Final = "tl.interaction_response"
_HIGHLIGHT: Final = "#8A5A00"
#: Labels that fit into a figure of the default size; it grows with more of them.
_ROOM: Final = 15


@drawn
def volcano(
    table: pd.DataFrame,
    *,
    tumor: str | Sequence[str] | None = None,
    adjusted: bool | None = None,
    highlight: Iterable[str] | HasGenes | None = None,
    label: int | Iterable[str] = 15,
    fdr: float = 0.05,
    ax: Axes | None = None,
    fig: Figure | SubFigure | None = None,
    legend: bool = True,
    n_columns: int = 3,
    **_look: Unpack[Look],
) -> Axes | Figure:
    """Draw the response of all genes of one tumor, or several: fold change against p-value.

    Gene names are placed for the current size of the axes: finish the layout of your own figure
    first.

    Parameters
    ----------
    table
        From ``tl.interaction_response``: columns ``tumor``, ``gene``, ``log2_fc``, ``p_value``,
        ``q_value``; optional: ``ambient_suspect``, ``log2_fc_adjusted``, ``p_value_adjusted``,
        ``n_samples_treated``, ``n_samples_control``, ``df_residual``, ``df_total``. One row per
        gene and tumor.
    tumor
        Tumor to draw, optional where the table has only one; or a list, for one small panel each.
    adjusted
        Whether to draw the effects and p-values without the expected ambient counts
        (``tl.flag_ambient``); by default where the table has them.
    highlight
        Genes, or a signature with ``genes``, to highlight in a separate color.
    label
        Number of genes to label (up to half of them highlighted, then the significant genes with
        the smallest p-values), or the genes to label.
    fdr
        Genes with a q-value below it are colored.
    ax, fig
        Axes to draw one tumor on; figure, or part of one, to draw several in; new by default.
    legend
        Whether to draw the legend.
    n_columns
        Panels side by side, if there are several tumors.

    Returns
    -------
    Axes, or Figure of several tumors
        Dashed line: the largest p-value that is significant. Hollow diamonds: genes whose
        change ambient RNA may explain; they do not set the scale, and those beyond it are arrows at
        the edge. Triangles: p-values of exactly 0, drawn at the top.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or several tumors and ``tumor`` is not given, or there is one
        ``ax`` for a list of tumors.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "gene": ["B2M", "ACTB"], "log2_fc": [1.5, 0.0],
    ...                       "p_value": [1e-8, 0.9], "q_value": [2e-8, 0.9]})
    >>> ax = nk.pl.volcano(table, highlight=["B2M"])
    >>> ax.texts[-1].get_text()
    'B2M'
    >>> plt.close(ax.figure)
    """
    check_table(table, _COLUMNS, _MADE_BY)
    data = _effects_of(table, adjusted=adjusted)
    how = _How(fdr, label, _named(highlight), "log2_fc_raw" in data.columns)
    known = levels_of(table["tumor"])
    if tumor is not None and not isinstance(tumor, str):
        wanted = in_order(known, list(tumor), "tumors")
        if ax is not None or not wanted:
            msg = f"Found {len(wanted)} tumors in a list; pass one or more, and fig= for ax=."
            raise ValueError(msg)
        genes = [_prepare(data, name, highlight, fdr) for name in ordered(wanted)]
        return _small(genes, how, fig, n_columns=n_columns, legend=legend)
    genes_of = _prepare(data, one_of(known, tumor, "tumor"), highlight, fdr)
    own = ax is None
    ax = axes_or_new(ax, (4.5, 3.5))
    chosen = _chosen(genes_of, label)
    _layers(ax, genes_of, how, reach=_reach(genes_of))
    if legend:
        _legend(SidePanel(ax), genes_of, how)
    if own:
        grown = float(np.clip(len(chosen) / _ROOM, 1.0, 4.0)) ** 0.5
        fit(ax, width=2.4 * grown, height=2.3 * grown, shape=True)
    _names(ax, genes_of, chosen)
    return ax


@dataclass(frozen=True)
class _How:
    """What all panels share."""

    fdr: float
    label: int | Iterable[str]
    highlight: str
    adjusted: bool


def _effects_of(table: pd.DataFrame, *, adjusted: bool | None) -> pd.DataFrame:
    """Return the table with the effects to draw as ``log2_fc`` and ``p_value``."""
    columns = {"log2_fc": "log2_fc_adjusted", "p_value": "p_value_adjusted"}
    have = set(columns.values()) <= set(table.columns)
    if adjusted is None:
        adjusted = have
    if not adjusted:
        return table
    check_table(table, columns.values(), "tl.flag_ambient")
    # A gene without counts to subtract has no adjusted effect: nothing changes.
    new = {name: table[source].fillna(table[name]) for name, source in columns.items()}
    return table.assign(log2_fc_raw=table["log2_fc"], **new)


def _named(highlight: object) -> str:
    """Return the name of a signature, in lines for the legend."""
    name = getattr(highlight, "name", None)
    if not isinstance(name, str):
        return "Highlighted"
    words = readable([name])[0].replace("_", " ")
    return "\n".join(textwrap.wrap(words, 18))


def _small(
    genes: list[pd.DataFrame],
    how: _How,
    figure: Figure | SubFigure | None,
    *,
    n_columns: int,
    legend: bool,
) -> Figure:
    """Draw one panel per tumor, with the same scale."""
    across = min(max(n_columns, 1), len(genes))
    down = -(-len(genes) // across)
    size = (1.9 * across + 1.0, 1.9 * down)
    drawn_in, axes = panels_in(figure, down, across, size=size, sharex=True)
    panels = axes.ravel()[: len(genes)]
    reach = max(_reach(part) for part in genes)
    for ax, part in zip(panels, genes, strict=True):
        _layers(ax, part, how, reach=reach, alone=False)
    for empty in axes.ravel()[len(genes) :]:
        empty.remove()
    for ax in panels[-across:]:
        ax.tick_params(labelbottom=True)
    drawn_in.supxlabel(_x_words(how), fontsize=pt(FONT))
    drawn_in.supylabel("−log$_{10}$ p", fontsize=pt(FONT))
    if legend:
        _legend(SidePanel(panels[across - 1]), pd.concat(genes), how)
    few = min(how.label, 5) if isinstance(how.label, int) else how.label
    for ax, part in zip(panels, genes, strict=True):
        _names(ax, part, _chosen(part, few))
    return drawn_in


def _layers(ax: Axes, genes: pd.DataFrame, how: _How, *, reach: float, alone: bool = True) -> None:
    _points(ax, genes, reach)
    _threshold(ax, genes)
    if alone:
        ax.set_xlabel(_x_words(how))
        ax.set_ylabel("−log$_{10}$ p")
    _words(ax, genes, how.fdr, alone=alone)


def _x_words(how: _How) -> str:
    words = worded("log$_2$ fold change")
    return f"{words},\nadjusted for ambient RNA" if how.adjusted else words


def _names(ax: Axes, genes: pd.DataFrame, chosen: pd.DataFrame) -> None:
    solid = genes["hit"] | genes["marked"]
    label_points(
        ax,
        _xy(chosen, ax),
        words=chosen["gene"].tolist(),
        colors=chosen["ink"].tolist(),
        avoid=_xy(genes[solid], ax),
        faint=_xy(genes[~solid], ax),
        wall=0.0,
    )


def _reach(genes: pd.DataFrame) -> float:
    """Return the end of the axis: genes that ambient RNA may explain do not set it."""
    size = genes["log2_fc"].abs()
    sure = size[~genes["suspect"]]
    return float((sure if len(sure) and sure.max() > 0 else size).max()) * 1.08 or 1.0


def _prepare(
    table: pd.DataFrame, tumor: str, highlight: Iterable[str] | HasGenes | None, fdr: float
) -> pd.DataFrame:
    genes = table[as_text(table["tumor"]) == tumor].copy()
    genes["gene"] = as_text(genes["gene"])
    genes["tumor"] = tumor
    check_unique(genes, ["tumor", "gene"])
    check_probabilities(genes["p_value"], "p_value")
    check_probabilities(genes["q_value"], "q_value")
    genes = genes[genes["log2_fc"].notna() & genes["p_value"].notna()]
    if len(genes) == 0:
        msg = (
            f"No gene of {tumor!r} has both log2_fc and p_value, so nothing was tested. "
            f"Check the reason that {_MADE_BY} gives for this tumor."
        )
        raise DesignError(msg)
    marked: Any = getattr(highlight, "genes", highlight)
    wanted: set[str] = set() if marked is None else set(marked)
    genes["hit"] = (genes["q_value"] < fdr).astype(bool)
    genes["marked"] = genes["gene"].isin(wanted)
    suspect = genes.get("ambient_suspect", pd.Series(data=False, index=genes.index))
    genes["suspect"] = suspect.fillna(value=False).astype(bool)
    genes["zero"] = genes["p_value"] == 0
    genes["height"] = _heights(genes["p_value"].to_numpy(dtype=float))
    tones = _tones()
    genes["hue"] = np.where(genes["log2_fc"] > 0, tones["up"], tones["down"])
    genes["ink"] = np.where(genes["marked"], _HIGHLIGHT, ink())
    return genes.sort_values(["p_value", "log2_fc", "gene"], key=_extreme, kind="stable")


def _extreme(column: pd.Series) -> pd.Series:
    return -column.abs() if column.name == "log2_fc" else column


def _heights(p_value: Array) -> Array:
    """Return −log10 p, with p-values of 0 slightly above the highest finite one."""
    positive = p_value[p_value > 0]
    top = float(-np.log10(positive.min())) if positive.size else 1.0
    return -np.log10(np.where(p_value > 0, p_value, 10 ** -min(top * 1.06 + 0.1, 307.0)))


def _points(ax: Axes, genes: pd.DataFrame, reach: float) -> None:
    raster = len(genes) > RASTER_ABOVE
    tones = _tones()
    layers = (
        (~genes["hit"] & ~genes["marked"], None, 3.0, 1),
        (genes["hit"] & ~genes["marked"], "hue", 6.0, 2),
        (genes["marked"], tones["highlight"], 11.0, 3),
    )
    beyond = genes["log2_fc"].abs() > reach
    for chosen, color, area, order in layers:
        for symbol, rows in _symbols(genes[chosen], beyond[chosen]):
            colors = list(rows["hue"]) if color == "hue" else color or tones["background"]
            hollow = symbol in "D<>"
            ax.scatter(
                rows["log2_fc"].clip(-reach, reach),
                rows["height"],
                s=area * (1.6 if symbol != "o" else 1.0),
                marker=symbol,
                facecolors=paper() if hollow else colors,
                edgecolors=colors if hollow else "none",
                linewidths=0.7 if hollow else 0,
                zorder=order,
                rasterized=raster,
                clip_on=False,
            )
    ax.set_xlim(-reach, reach)
    # Many points at the top, with p-values of 0, need room for labels above them.
    crowded = int(genes["zero"].sum()) > 5
    ax.set_ylim(0, float(genes["height"].max()) * (1.2 if crowded else 1.06) or 1.0)


def _tones() -> dict[str, str]:
    return shades({"up": UP, "down": DOWN, "highlight": ACCENT, "background": BACKGROUND})


def _symbols(rows: pd.DataFrame, beyond: pd.Series) -> list[tuple[str, pd.DataFrame]]:
    suspect, zero, right = rows["suspect"], rows["zero"], rows["log2_fc"] > 0
    parts = [
        ("o", rows[~suspect & ~zero & ~beyond]),
        ("^", rows[~suspect & zero & ~beyond]),
        ("D", rows[suspect & ~beyond]),
        (">", rows[beyond & right]),
        ("<", rows[beyond & ~right]),
    ]
    return [(symbol, part) for symbol, part in parts if len(part)]


def _threshold(ax: Axes, genes: pd.DataFrame) -> None:
    hits = genes[genes["hit"] & ~genes["suspect"]]
    if len(hits):
        ax.axhline(float(hits["height"].min()), color=FAINT, linewidth=0.5, linestyle=(0, (4, 3)))
    ax.axvline(0, color=FAINT, linewidth=0.4, zorder=0)


def _words(ax: Axes, genes: pd.DataFrame, fdr: float, *, alone: bool) -> None:
    sure = genes["hit"] & ~genes["suspect"]
    up = int((sure & (genes["log2_fc"] > 0)).sum())
    suspect = int((genes["hit"] & genes["suspect"]).sum())
    found = f"{up:,} up, {int(sure.sum()) - up:,} down"
    found += f", {suspect:,} ambient?" if suspect else ""
    whole = f"FDR {fdr:.3g}: {found} of {len(genes):,} genes"
    note = "\n".join([whole, *_freedom(genes)]) if alone else found
    pad = pt(4 + 9 * (1 + note.count("\n")))
    titled(ax, str(genes["tumor"].iloc[0]), fontweight="bold", pad=pad)
    ax.annotate(
        note,
        (0, 1),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=pt(SMALL),
        color=ink(),
        linespacing=1.15,
    )


def _freedom(genes: pd.DataFrame) -> list[str]:
    """Say how many samples there are, and where the degrees of freedom come from."""
    if not {"n_samples_treated", "n_samples_control"} <= set(genes.columns):
        return []
    treated, control = genes["n_samples_treated"], genes["n_samples_control"]
    words = [f"n = {_range(treated)} treated + {_range(control)} control samples"]
    if not {"df_residual", "df_total"} <= set(genes.columns):
        return words
    residual, total = (float(genes[name].median()) for name in ("df_residual", "df_total"))
    own = float((treated + control).max()) - 2
    source = "variance shared over lines: " if residual > own + 0.5 else ""
    return [*words, f"{source}{residual:.0f} df, {total:,.0f} with the spread of all genes"]


def _range(column: pd.Series) -> str:
    low, high = int(column.min()), int(column.max())
    return str(low) if low == high else f"{low}–{high}"


def _legend(side: SidePanel, genes: pd.DataFrame, how: _How) -> None:
    size, tones = FONT * 0.5, _tones()
    hits = genes[genes["hit"] & ~genes["marked"]]
    rest = ~genes["hit"] & ~genes["marked"]
    entries = [
        (tones["up"], "o", "Up", bool((hits["log2_fc"] > 0).any())),
        (tones["down"], "o", "Down", bool((hits["log2_fc"] <= 0).any())),
        (tones["background"], "o", "Not significant", bool(rest.any())),
        (tones["highlight"], "o", how.highlight, bool(genes["marked"].any())),
    ]
    handles = [dot(color, text, size=size, marker=mark) for color, mark, text, on in entries if on]
    edge: dict[str, Any] = {"markeredgecolor": ink(), "markeredgewidth": 0.7}
    if genes["suspect"].any():
        handles.append(dot(paper(), "Ambient RNA\nsuspected", size=size, marker="D", **edge))
    if (genes["log2_fc"].abs() > max(_reach(part) for _, part in genes.groupby("tumor"))).any():
        handles.append(dot(paper(), "Beyond the axis", size=size, marker=">", **edge))
    if genes["zero"].any():
        handles.append(dot(ink(), "p = 0,\ndrawn at the top", size=size, marker="^"))
    side.legend(handles)


def _chosen(genes: pd.DataFrame, label: int | Iterable[str]) -> pd.DataFrame:
    if not isinstance(label, int):
        return genes[genes["gene"].isin(set(label))]
    hits = genes[genes["hit"]]
    marked = hits[hits["marked"]]
    first = marked.head((label + 1) // 2)
    rest = hits[~hits.index.isin(first.index)]
    others = rest[~rest["marked"]].head(label - len(first))
    filled = rest[rest["marked"]].head(label - len(first) - len(others))
    return pd.concat([first, others, filled])


def _xy(genes: pd.DataFrame, ax: Axes) -> Array:
    places = np.array(genes[["log2_fc", "height"]], dtype=float)
    places[:, 0] = np.clip(places[:, 0], *ax.get_xlim())
    return places
