"""The response of many genes in all lines as a heat map with modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._colors import FAINT, INK, default_order, palette, printed, shortened
from nkscore.errors import DesignError
from nkscore.pl._side import SidePanel, patches
from nkscore.pl._style import SMALL, style
from nkscore.pl._tables import (
    as_text,
    check_number,
    check_table,
    check_unique,
    in_order,
    lineages_of,
    readable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from seaborn.matrix import ClusterGrid

    from nkscore._types import Array, Ints

_MISSING: Final = "#D9D9D9"
#: Inches of one row and one column, and of the elements around them.
_ROW: Final = 0.022
_COLUMN: Final = 0.15
_TREE: Final = 0.3


def response_heatmap(
    table: pd.DataFrame,
    *,
    modules: pd.DataFrame,
    label: Sequence[str] | int = 30,
    tumors: Sequence[str] | None = None,
    height: float | None = None,
) -> Figure:
    """Draw the response of module genes in all tumors as a heat map with some genes named.

    Drawn with seaborn's ``clustermap``.

    Parameters
    ----------
    table
        From ``tl.interaction_response``: columns ``tumor``, ``gene``, ``log2_fc`` and, for the
        strip of colors, ``lineage``; one row per gene and tumor.
    modules
        From ``tl.response_modules``: columns ``gene``, ``module``, ``label`` in the order of rows;
        ``variance`` chooses the named genes.
    label
        Genes to label, or their number: those of the largest variance, from each module in turn.
    tumors
        Tumors from left to right; by default clustered (Ward, untested genes as unchanged).
    height
        Height of the heat map in inches.

    Returns
    -------
    Figure
        Color: log2 fold change, cut at the 97.5 % quantile of its size; gray: not tested. Left:
        modules, each named by a gene set. Colored dots above: lineage.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If a table has no rows, the tables share no gene, or requested genes or tumors are missing.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": ["K562", "697"] * 3, "gene": ["A", "A", "B", "B", "C", "C"],
    ...                       "log2_fc": [2, 0, 1.5, 0.2, -1, 1]})
    >>> modules = pd.DataFrame({"gene": ["A", "B", "C"], "module": [1, 1, 2], "label": "unnamed"})
    >>> figure = nk.pl.response_heatmap(table, modules=modules)
    >>> len(figure.axes) > 1
    True
    >>> plt.close(figure)
    """
    check_table(table, ["tumor", "gene", "log2_fc"], "tl.interaction_response")
    check_table(modules, ["gene", "module", "label"], "tl.response_modules")
    data = table.assign(tumor=as_text(table["tumor"]), gene=as_text(table["gene"]))
    if "lineage" in data.columns:
        data["lineage"] = as_text(data["lineage"])
    check_unique(data, ["tumor", "gene"])
    check_number(data, "log2_fc")
    matrix = _matrix(data, modules, tumors)
    rows = modules.assign(gene=as_text(modules["gene"])).set_index("gene").loc[matrix.index]
    named = _named(rows, label)
    lineages = lineages_of(data)
    with style():
        grid = _clustermap(matrix, rows, lineages, height=height, ordered=tumors is not None)
        if isinstance(label, int):
            # As many as fit; genes requested by name are all labeled.
            named = named[: int(len(matrix) / _gap(grid.ax_heatmap, len(matrix)))]
        _words(grid.ax_heatmap, list(matrix.index), named)
        _modules(grid.ax_row_colors, rows)
        _legends(grid.ax_heatmap, lineages, longest=max(map(len, named), default=0))
    figure: Figure = grid.figure
    return figure


def _matrix(
    data: pd.DataFrame, modules: pd.DataFrame, tumors: Sequence[str] | None
) -> pd.DataFrame:
    names = in_order(dict.fromkeys(data["tumor"]), tumors, "tumors")
    genes = [gene for gene in as_text(modules["gene"]) if gene in set(data["gene"])]
    if not genes:
        msg = (
            "The table and the modules share no gene; at least one is needed. Pass the "
            "table from which tl.response_modules made the modules."
        )
        raise DesignError(msg)
    wide = data.pivot_table(index="gene", columns="tumor", values="log2_fc", aggfunc="first")
    return wide.reindex(index=genes, columns=names).astype(float)


def _named(rows: pd.DataFrame, label: Sequence[str] | int) -> list[str]:
    if not isinstance(label, int):
        return in_order(list(rows.index), label, "genes")
    weight = rows["variance"] if "variance" in rows.columns else pd.Series(0.0, index=rows.index)
    turn = weight.groupby(rows["module"]).rank(ascending=False, method="first")
    ranked = pd.DataFrame({"turn": turn, "weight": -weight}).sort_values(["turn", "weight"])
    return list(ranked.index[:label])


def _clustermap(
    matrix: pd.DataFrame,
    rows: pd.DataFrame,
    lineages: dict[str, str],
    *,
    height: float | None,
    ordered: bool,
) -> ClusterGrid:
    import seaborn as sns
    from scipy.cluster.hierarchy import linkage

    n_rows, n_columns = matrix.shape
    tall = max(_ROW * n_rows, 2.4) if height is None else height
    wide = max(_COLUMN * n_columns, 0.9)
    clustered = not ordered and n_columns > 1
    tree = linkage(matrix.fillna(0).T, method="ward") if clustered else None
    known = np.abs(matrix.to_numpy()[np.isfinite(matrix.to_numpy())])
    limit = float(np.quantile(known, 0.975)) if known.size else 1.0
    hues = palette("lineage", lineages.values()) if lineages else {}
    above = [hues[lineages[name]] for name in matrix.columns] if lineages else None
    grid = sns.clustermap(
        matrix,
        mask=matrix.isna(),
        row_cluster=False,
        col_cluster=clustered,
        col_linkage=tree,
        row_colors=_shades(rows).tolist(),
        col_colors=above,
        cmap="RdBu_r",
        vmin=-(limit or 1.0),
        vmax=limit or 1.0,
        xticklabels=shortened(matrix.columns),
        yticklabels=False,
        figsize=(wide + 0.9, tall + _TREE + 0.8),
        cbar_pos=None,
        rasterized=True,
        dendrogram_ratio=(0.02, _TREE / (tall + _TREE + 0.8)),
        colors_ratio=(0.09 / (wide + 0.9), 0.09 / (tall + _TREE + 0.8)),
        tree_kws={"linewidths": 0.5, "colors": FAINT},
    )
    _plain(grid, np.flatnonzero(np.diff(_codes(rows))) + 1, n_columns)
    return grid


def _plain(grid: ClusterGrid, edges: Ints, n_columns: int) -> None:
    """Take away ticks and names of axes, and part the modules by lines."""
    ax = grid.ax_heatmap
    ax.set_facecolor(_MISSING)
    ax.set_xlabel("")
    ax.set_ylabel("")
    ax.tick_params(axis="both", length=0)
    ax.tick_params(axis="x", rotation=90)
    ax.hlines(edges, 0, n_columns, color="white", linewidth=1.0)
    for strip in (grid.ax_row_colors, grid.ax_col_colors):
        if strip is not None:
            strip.tick_params(length=0, labelbottom=False, labelright=False, labelleft=False)


def _codes(rows: pd.DataFrame) -> Array:
    return np.asarray(pd.factorize(rows["module"])[0])


def _shades(rows: pd.DataFrame) -> Array:
    """Alternate two grays: the modules are adjacent and have names."""
    return np.asarray(np.array(["#5F6B78", "#B4BDC7"], dtype=object)[_codes(rows) % 2])


def _modules(ax: Axes, rows: pd.DataFrame) -> None:
    codes = _codes(rows)
    for code in np.unique(codes):
        inside = np.flatnonzero(codes == code)
        word = str(rows["label"].iloc[inside[0]])
        word = "" if word == "unnamed" else _folded(readable([word])[0])
        number = f"{rows['module'].iloc[inside[0]]}"
        fits = len(inside) * _points_per_row(ax, len(codes)) > SMALL * (1 + word.count("\n"))
        ax.text(
            -0.35,
            inside.mean() + 0.5,
            f"{word}  {number}" if word and fits else number,
            ha="right",
            va="center",
            fontsize=SMALL if fits else SMALL - 1.5,
            color=INK,
            transform=ax.get_yaxis_transform(),
            linespacing=1.0,
        )


def _folded(text: str, width: int = 18) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


def _points_per_row(ax: Axes, count: int) -> float:
    return float(ax.get_window_extent().height / ax.figure.dpi * 72 / count)


def _words(ax: Axes, genes: list[str], named: list[str]) -> None:
    """Name genes at the right, pushed apart, each joined to its row by a line."""
    if not named:
        return
    rows = np.sort([genes.index(gene) for gene in named]) + 0.5
    places = spread(rows, _gap(ax, len(genes)), len(genes))
    place = ax.get_yaxis_transform()
    inch = ax.figure.dpi / ax.get_window_extent().width
    steps = [1 + inch * part for part in (0.01, 0.04, 0.11, 0.14)]
    for row, y in zip(rows, places, strict=True):
        ax.plot(steps, [row, row, y, y], color=FAINT, linewidth=0.4, transform=place, clip_on=False)
        ax.text(
            steps[-1] + 0.02 * inch,
            y,
            genes[int(row)],
            transform=place,
            fontsize=SMALL,
            fontstyle="italic",
            va="center_baseline",
            ha="left",
            clip_on=False,
        )


def _gap(ax: Axes, count: int) -> float:
    """Return the height of a line of text in rows."""
    return (SMALL + 0.6) / _points_per_row(ax, count)


def spread(wanted: Array, gap: float, top: float) -> Array:
    """Return positions ``gap`` apart from 0 to ``top``, as close as possible to ``wanted``.

    Blocks of neighbors that are too close share their mean shift (pool adjacent violators).
    """
    steps = gap * np.arange(len(wanted))
    blocks: list[list[float]] = []
    for value in wanted - steps:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, count = blocks.pop()
            before, n_before = blocks.pop()
            total = count + n_before
            blocks.append([(mean * count + before * n_before) / total, total])
    means = [mean for mean, count in blocks for _ in range(int(count))]
    # If they need more room than available, they extend beyond the end.
    last = max(top - float(steps[-1]), 0.0)
    return np.asarray(np.clip(means, 0.0, last) + steps)


def _legends(ax: Axes, lineages: dict[str, str], *, longest: int) -> None:
    side = SidePanel(ax, gap=0.3 + 0.062 * longest)
    side.colorbar(ax.collections[0], "log$_2$ fold\nchange", extend="both")
    gray = patches({"": _MISSING}, ["Not tested"])
    side.legend(gray)
    if lineages:
        hues = palette("lineage", default_order("lineage", set(lineages.values())))
        side.legend(patches(hues, map(printed, hues)), title="Lineage")
