"""Marker genes in groups of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore._colors import FAINT
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, colormap, ink, ordered, paper, printed, pt, shortened
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import axes_or_new, bare, cell_points, fit, height_of, resize_dots
from nkscore.pl._tables import as_text, check_table, check_unique, in_order, levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

    from nkscore._types import Floats
    from nkscore.pl._drawn import Look

_CELL: Final = 0.19
#: Convention → column of the color, its words, color map.
_CONVENTIONS: Final = {
    "scanpy": ("mean", "Mean of X", "Reds"),
    "seurat": ("z_score", "Scaled mean\n(z over groups)", "RdBu_r"),
}
#: Limit of z-scores, as in Seurat.
_CLIP: Final = 2.5


@drawn
def marker_dots(
    table: pd.DataFrame,
    *,
    convention: str = "scanpy",
    groups: Sequence[str] | None = None,
    genes: Sequence[str] | None = None,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the expression of marker genes in groups of cells as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.marker_table``: columns ``group``, ``gene``, ``fraction`` and ``mean`` or
        ``z_score``; with ``block``, lines separate the blocks of genes.
    convention
        ``"scanpy"``: color is the mean of ``X``, and the area of a dot is proportional to the
        fraction of cells to the power of 1.5. ``"seurat"``: color is ``z_score``, cut at ±2.5, and
        the diameter of a dot is proportional to the fraction. Groups look more similar with the
        first and more different with the second, which hides the level of a gene.
    groups
        Groups from left to right; by default in the order of the table.
    genes
        Genes from top to bottom; by default in the order of the table.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Genes are rows, groups are columns. A gray cross: no z-score (the gene does not vary).

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or lacks requested genes or groups, or if it
        has only one group with ``seurat``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"group": ["resting", "activated"], "gene": "CRTAM",
    ...                       "mean": [0.1, 1.2], "fraction": [0.1, 0.8]})
    >>> ax = nk.pl.marker_dots(table)
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['Resting', 'Activated']
    >>> plt.close(ax.figure)
    """
    if convention not in _CONVENTIONS:
        msg = f"Unknown convention {convention!r}. Choose from: {', '.join(_CONVENTIONS)}."
        raise ValueError(msg)
    column, words, cmap = _CONVENTIONS[convention]
    check_table(table, ["group", "gene", "fraction", column], "tl.marker_table")
    check_unique(table, ["group", "gene"])
    data = table.assign(group=as_text(table["group"]), gene=as_text(table["gene"]))
    rows = in_order(dict.fromkeys(data["gene"]), genes, "genes")
    columns = in_order(_group_order(table), groups, "groups")
    color = _grid(data, column, rows, columns)
    if not np.isfinite(color).any():
        msg = (
            f"Column {column!r} holds no number, as with a single group; this convention "
            "needs at least two groups. Use convention='scanpy'."
        )
        raise ValueError(msg)
    own = ax is None
    size = (_CELL * len(columns), _CELL * len(rows))
    ax = axes_or_new(ax, (size[0] + 3, size[1] + 3))
    _frame(ax, data, rows, columns)
    cell = pt(_CELL * 72)
    widest = 0.92 * (cell if own else cell_points(ax, len(columns), len(rows)))
    areas = _areas(_grid(data, "fraction", rows, columns), widest, convention)
    points = _draw(ax, color, areas, convention, cmap)
    side = SidePanel(ax, tall=max(pt(size[1]) if own else height_of(ax), 1.1))
    side.colorbar(points, words, extend=_extend(color, convention))
    _legend(side, widest, convention)
    if own:
        fit(ax, width=size[0], height=size[1])
        shape = (len(columns), len(rows))
        resize_dots(ax, cell=cell, shape=shape)
    return ax


def _group_order(table: pd.DataFrame) -> list[str]:
    if hasattr(table["group"], "cat"):
        return levels_of(table["group"])
    return ordered(dict.fromkeys(as_text(table["group"])))


def _grid(data: pd.DataFrame, column: str, rows: list[str], columns: list[str]) -> Floats:
    wide = data.pivot_table(index="gene", columns="group", values=column, aggfunc="first")
    return np.asarray(wide.reindex(index=rows, columns=columns), dtype=float)


def _areas(fraction: Floats, widest: float, convention: str) -> Floats:
    """Return areas in points²: scanpy scales areas by a power of 1.5, Seurat diameters."""
    power = 1.5 if convention == "scanpy" else 2.0
    return np.asarray(widest**2 * np.nan_to_num(fraction) ** power)


def _draw(ax: Axes, color: Floats, areas: Floats, convention: str, cmap: str) -> PathCollection:
    y, x = (grid.ravel() for grid in np.mgrid[0 : color.shape[0], 0 : color.shape[1]])
    values, sizes = color.ravel(), areas.ravel()
    known = np.isfinite(values)
    if convention == "scanpy":
        low, high = 0.0, float(values[known].max()) or 1.0
    else:
        high = min(_CLIP, float(np.abs(values[known]).max())) or 1.0
        low = -high
    points = ax.scatter(
        x[known],
        y[known],
        s=sizes[known],
        c=np.clip(values[known], low, high),
        cmap=colormap(cmap),
        vmin=low,
        vmax=high,
        linewidths=0.3,
        edgecolors=FAINT,
        zorder=2,
    )
    ax.scatter(x[~known], y[~known], s=8, marker="x", c=FAINT, linewidths=0.6, zorder=2)
    return points


def _extend(color: Floats, convention: str) -> str:
    beyond = convention == "seurat" and bool((np.abs(np.nan_to_num(color)) > _CLIP).any())
    return "both" if beyond else "neither"


def _frame(ax: Axes, data: pd.DataFrame, rows: list[str], columns: list[str]) -> None:
    bare(ax)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    words = shortened([printed(name) for name in columns])
    ax.set_xticks(range(len(columns)), words, rotation=90)
    ax.set_yticks(range(len(rows)), rows, fontstyle="italic")
    ax.hlines(range(len(rows)), -0.5, len(columns) - 0.5, color="#EFEFEF", linewidth=0.5, zorder=0)
    if "block" not in data.columns:
        return
    block = dict(zip(data["gene"], as_text(data["block"]), strict=True))
    edges = [i - 0.5 for i in range(1, len(rows)) if block[rows[i]] != block[rows[i - 1]]]
    ax.hlines(edges, -0.5, len(columns) - 0.5, color=ink(), linewidth=0.5, zorder=1)


def _legend(side: SidePanel, widest: float, convention: str) -> None:
    marks = [0.1, 0.25, 0.5, 1.0]
    sizes = _areas(np.array(marks), widest, convention) ** 0.5
    handles = [
        dot(paper(), f"{mark:.0%}", size=float(size), markeredgecolor=FAINT, markeredgewidth=0.5)
        for mark, size in zip(marks, sizes, strict=True)
    ]
    side.legend(
        handles,
        title="Cells with\nthe gene",
        labelspacing=0.5,
        handlelength=1.7,
        fontsize=pt(FONT - 0.5),
    )
