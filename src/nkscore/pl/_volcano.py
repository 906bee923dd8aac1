"""Effect against certainty, one dot per gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np
import pandas as pd

from nkscore._colors import ACCENT, BACKGROUND, DOWN, FAINT, UP
from nkscore.pl._drawn import drawn
from nkscore.pl._labels import label_points
from nkscore.pl._look import FONT, SMALL, ink, paper, pt, shades, titled
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import RASTER_ABOVE, axes_or_new, fit
from nkscore.pl._tables import (
    as_text,
    check_probabilities,
    check_table,
    check_unique,
    levels_of,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from matplotlib.axes import Axes

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
    tumor: str | None = None,
    highlight: Iterable[str] | HasGenes | None = None,
    label: int | Iterable[str] = 15,
    fdr: float = 0.05,
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the response of all genes of one tumor: fold change against p-value.

    Gene names are placed for the current size of the axes: finish the layout of your own figure
    first.

    Parameters
    ----------
    table
        From ``tl.interaction_response``: columns ``tumor``, ``gene``, ``log2_fc``, ``p_value``,
        ``q_value``; optional: ``ambient_suspect``, ``n_samples_treated``, ``n_samples_control``.
        One row per gene and tumor.
    tumor
        Tumor to draw; may be excluded where the table has only one.
    highlight
        Genes, or a signature with ``genes``, to highlight in a separate color.
    label
        Number of genes to label (up to half of them highlighted, then the significant genes with
        the smallest p-values), or the genes to label.
    fdr
        Genes with a q-value below it are colored.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Dashed line: the largest p-value that is significant. Hollow diamonds: genes whose
        change ambient RNA may explain. Triangles: p-values of exactly 0, drawn at the top.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or several tumors and ``tumor`` is not given.

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
    genes = _prepare(table, one_of(levels_of(table["tumor"]), tumor, "tumor"), highlight, fdr)
    own = ax is None
    ax = axes_or_new(ax, (4.5, 3.5))
    chosen, solid = _chosen(genes, label), genes["hit"] | genes["marked"]
    ceiling = _points(ax, genes)
    _threshold(ax, genes)
    _words(ax, genes, fdr)
    if legend:
        _legend(SidePanel(ax), genes, ceiling=ceiling)
    if own:
        grown = float(np.clip(len(chosen) / _ROOM, 1.0, 4.0)) ** 0.5
        fit(ax, width=2.4 * grown, height=2.3 * grown, shape=True)
    label_points(
        ax,
        _xy(chosen),
        words=chosen["gene"].tolist(),
        colors=chosen["ink"].tolist(),
        avoid=_xy(genes[solid]),
        faint=_xy(genes[~solid]),
    )
    return ax


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
        raise ValueError(msg)
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


def _points(ax: Axes, genes: pd.DataFrame) -> float | None:
    raster = len(genes) > RASTER_ABOVE
    layers = (
        (~genes["hit"] & ~genes["marked"], None, 3.0, 1),
        (genes["hit"] & ~genes["marked"], "hue", 6.0, 2),
        (genes["marked"], _tones()["highlight"], 11.0, 3),
    )
    for chosen, color, area, order in layers:
        for symbol, rows in _symbols(genes[chosen]):
            colors = _colors(rows, color)
            hollow = symbol == "D"
            ax.scatter(
                rows["log2_fc"],
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
    widest = float(genes["log2_fc"].abs().max()) * 1.08 or 1.0
    ax.set_xlim(-widest, widest)
    # Many points at the top, with p-values of 0, need room for labels above them.
    crowded = int(genes["zero"].sum()) > 5
    ax.set_ylim(0, float(genes["height"].max()) * (1.2 if crowded else 1.06) or 1.0)
    return float(genes["height"].max()) if genes["zero"].any() else None


def _tones() -> dict[str, str]:
    return shades({"up": UP, "down": DOWN, "highlight": ACCENT, "background": BACKGROUND})


def _colors(rows: pd.DataFrame, color: str | None) -> str | list[str]:
    if color == "hue":
        return list(rows["hue"])
    return _tones()["background"] if color is None else color


def _symbols(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    suspect, zero = rows["suspect"], rows["zero"]
    parts = [
        ("o", rows[~suspect & ~zero]),
        ("^", rows[~suspect & zero]),
        ("D", rows[suspect]),
    ]
    return [(symbol, part) for symbol, part in parts if len(part)]


def _threshold(ax: Axes, genes: pd.DataFrame) -> None:
    hits = genes[genes["hit"]]
    if len(hits):
        ax.axhline(float(hits["height"].min()), color=FAINT, linewidth=0.5, linestyle=(0, (4, 3)))
    ax.axvline(0, color=FAINT, linewidth=0.4, zorder=0)


def _words(ax: Axes, genes: pd.DataFrame, fdr: float) -> None:
    ax.set_xlabel("log$_2$ fold change")
    ax.set_ylabel("−log$_{10}$ p")
    up = int((genes["hit"] & (genes["log2_fc"] > 0)).sum())
    down = int(genes["hit"].sum()) - up
    note = f"FDR {fdr:.3g}: {up:,} up, {down:,} down of {len(genes):,} genes"
    if {"n_samples_treated", "n_samples_control"} <= set(genes.columns):
        note += f"\nn = {_range(genes['n_samples_treated'])} treated, "
        note += f"{_range(genes['n_samples_control'])} control samples"
    pad = pt(22 if "\n" in note else 13)
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


def _range(column: pd.Series) -> str:
    low, high = int(column.min()), int(column.max())
    return str(low) if low == high else f"{low}–{high}"


def _legend(side: SidePanel, genes: pd.DataFrame, *, ceiling: float | None) -> None:
    size, tones = FONT * 0.5, _tones()
    hits = genes[genes["hit"] & ~genes["marked"]]
    rest = ~genes["hit"] & ~genes["marked"]
    entries = [
        (tones["up"], "o", "Up", bool((hits["log2_fc"] > 0).any())),
        (tones["down"], "o", "Down", bool((hits["log2_fc"] <= 0).any())),
        (
            tones["background"],
            "o",
            "Not significant",
            bool(rest.any()),
        ),
        (tones["highlight"], "o", "Signature", bool(genes["marked"].any())),
    ]
    handles = [dot(color, text, size=size, marker=mark) for color, mark, text, on in entries if on]
    if genes["suspect"].any():
        handles.append(
            dot(
                paper(),
                "Ambient RNA\nsuspected",
                size=size,
                marker="D",
                markeredgecolor=ink(),
                markeredgewidth=0.7,
            )
        )
    if ceiling is not None:
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


def _xy(genes: pd.DataFrame) -> Array:
    return np.asarray(genes[["log2_fc", "height"]], dtype=float)
