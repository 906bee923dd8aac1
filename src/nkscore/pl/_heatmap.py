"""The response of many genes in all lines as a heat map with modules."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final, Unpack, cast

import numpy as np
import pandas as pd

from nkscore._colors import FAINT, default_order
from nkscore.errors import DesignError
from nkscore.pl._above import inset_above
from nkscore.pl._drawn import drawn
from nkscore.pl._look import (
    SMALL,
    colormap,
    colors_of,
    ink,
    now,
    paper,
    printed,
    pt,
    shortened,
    worded,
)
from nkscore.pl._side import SidePanel, patches
from nkscore.pl._style import axes_or_new, bare, figure_of, fit, height_of
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
    from matplotlib.collections import QuadMesh
    from matplotlib.transforms import Transform

    from nkscore._types import Array, Ints
    from nkscore.pl._drawn import Look

_MISSING: Final = "#D9D9D9"
#: Inches of one row and one column, and of the elements around them.
_ROW: Final = 0.022
_COLUMN: Final = 0.15
_TREE: Final = 0.3
#: Two grays in turn: modules are adjacent, and have names.
_SHADES: Final = ("#5F6B78", "#B4BDC7")


@drawn
def response_heatmap(
    table: pd.DataFrame,
    *,
    modules: pd.DataFrame,
    label: Sequence[str] | int = 30,
    tumors: Sequence[str] | None = None,
    height: float | None = None,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the response of module genes in all tumors as a heat map with some genes named.

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
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Color: log2 fold change, cut at the 97.5 % quantile of its size; gray: not tested. Left:
        modules by number, with the gene set that overlaps most and its q-value; without one, no
        set overlaps. Strip above: lineage.

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
    >>> ax = nk.pl.response_heatmap(table, modules=modules)
    >>> sorted(tick.get_text() for tick in ax.get_xticklabels())
    ['697', 'K562']
    >>> plt.close(ax.figure)
    """
    check_table(table, ["tumor", "gene", "log2_fc"], "tl.interaction_response")
    check_table(modules, ["gene", "module", "label"], "tl.response_modules")
    data = table.assign(tumor=as_text(table["tumor"]), gene=as_text(table["gene"]))
    if "lineage" in data.columns:
        data["lineage"] = as_text(data["lineage"])
    check_unique(data, ["tumor", "gene"])
    check_number(data, "log2_fc")
    matrix = _matrix(data, modules, tumors)
    lineages = lineages_of(data)
    names, tree = _columns(matrix, fixed=tumors is not None)
    matrix = matrix[names]
    rows = modules.assign(gene=as_text(modules["gene"])).set_index("gene").loc[matrix.index]
    named = _named(rows, label)
    own = ax is None
    tall, wide = height or max(_ROW * len(matrix), 2.4), max(_COLUMN * len(names), 0.9)
    ax = axes_or_new(ax, (wide + 4, tall + 2))
    _cells(ax, matrix, np.flatnonzero(np.diff(_codes(rows))) + 1)
    _above(ax, names, lineages, tree=tree)
    if own:
        fit(ax, width=wide, height=tall)
        # Words at both sides need room before it is known how much.
        figure_of(ax).set_size_inches(wide + pt(8), figure_of(ax).get_figheight())
    if isinstance(label, int):
        # As many as fit; genes requested by name are all labeled.
        named = named[: int(len(matrix) / _gap(ax, len(matrix)))]
    _words(ax, list(matrix.index), named)
    _modules(ax, rows)
    _legends(ax, lineages, longest=max(map(len, named), default=0))
    if own:
        fit(ax, width=wide, height=tall)
    return ax


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


def _columns(matrix: pd.DataFrame, *, fixed: bool) -> tuple[list[str], Array | None]:
    """Return the tumors from left to right and, unless their order is given, their tree."""
    names = [str(name) for name in matrix.columns]
    if fixed or set(names) & set(now().order) or len(names) < 2:
        return names, None
    from scipy.cluster.hierarchy import leaves_list, linkage

    tree = np.asarray(linkage(matrix.fillna(0).T, method="ward"))
    return [names[leaf] for leaf in leaves_list(tree)], tree


def _cells(ax: Axes, matrix: pd.DataFrame, edges: Ints) -> None:
    """Draw the cells, and part the modules by lines."""
    values = np.ma.masked_invalid(matrix.to_numpy())
    known = np.abs(values.compressed())
    limit = float(np.quantile(known, 0.975)) if known.size else 1.0
    bare(ax)
    ax.set_facecolor(_MISSING)
    ax.pcolormesh(
        values,
        cmap=colormap("RdBu_r"),
        vmin=-(limit or 1.0),
        vmax=limit or 1.0,
        rasterized=True,
        linewidth=0,
    )
    n_rows, n_columns = matrix.shape
    ax.set_ylim(n_rows, 0)
    ax.set_xlim(0, n_columns)
    ax.set_yticks([])
    ax.set_xticks(np.arange(n_columns) + 0.5, shortened(matrix.columns), rotation=90)
    ax.hlines(edges, 0, n_columns, color=paper(), linewidth=1.0)


def _above(ax: Axes, names: list[str], lineages: dict[str, str], *, tree: Array | None) -> None:
    """Draw lineages and the tree of the tumors above them."""
    if lineages:
        _lineages(ax, names, lineages)
    if tree is not None:
        _tree(ax, tree, strip=bool(lineages))


def _tree(ax: Axes, tree: Array, *, strip: bool) -> None:
    from scipy.cluster.hierarchy import dendrogram

    above = inset_above(ax, 0.15 if strip else 0.03, _TREE)
    bare(above)
    drawn_tree = dendrogram(tree, no_plot=True)
    for x, y in zip(drawn_tree["icoord"], drawn_tree["dcoord"], strict=True):
        above.plot(np.asarray(x) / 10, y, color=FAINT, linewidth=0.5)
    above.set_xlim(ax.get_xlim())
    above.set_ylim(bottom=0)
    above.set_xticks([])
    above.set_yticks([])


def _lineages(ax: Axes, names: list[str], lineages: dict[str, str]) -> None:
    """Color a strip above the tumors by lineage."""
    hues = colors_of("lineage", lineages.values(), main=False)
    above = inset_above(ax, 0.04, 0.08)
    bare(above)
    above.bar(np.arange(len(names)) + 0.5, 1, width=1, color=[hues[lineages[n]] for n in names])
    above.set_xlim(ax.get_xlim())
    above.set_ylim(0, 1)
    above.set_xticks([])
    above.set_yticks([])


def _codes(rows: pd.DataFrame) -> Ints:
    return np.asarray(pd.factorize(rows["module"])[0])


def _modules(ax: Axes, rows: pd.DataFrame) -> None:
    """Draw the modules as a strip at the left, each with its number and its set of genes.

    The words are pushed apart where modules are thin, so that none goes without.
    """
    place = _beside(ax)
    codes = _codes(rows)
    inside = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    for i, part in enumerate(inside):
        ax.fill_betweenx(
            [part[0], part[-1] + 1],
            -0.13,
            -0.04,
            color=_SHADES[i % 2],
            linewidth=0,
            transform=place,
            clip_on=False,
        )
    words = [_module_word(rows.iloc[part[0]]) for part in inside]
    middle = np.array([part.mean() + 0.5 for part in inside])
    heights = np.array([1.0 + word.count("\n") for word in words]) * _gap(ax, len(codes)) * 1.12
    places = spread_sizes(middle, heights, len(codes))
    for row, y, word in zip(middle, places, words, strict=True):
        x = [-0.13, -0.17, -0.24, -0.27]
        ax.plot(x, [row, row, y, y], color=FAINT, linewidth=0.4, transform=place, clip_on=False)
        ax.text(
            -0.3,
            y,
            word,
            ha="right",
            va="center",
            fontsize=pt(SMALL),
            color=ink(),
            transform=place,
            linespacing=1.05,
        )


def _module_word(first: pd.Series) -> str:
    """Return the number of a module, its set of genes and the q-value of their overlap."""
    number, word = str(first["module"]), str(first["label"])
    if word in {"unnamed", "", "nan"}:
        return number
    told = worded(word)
    lines = textwrap.wrap(readable([word])[0] if told == word else told, 22)
    if "label_q" in first.index and np.isfinite(first["label_q"]):
        lines[-1] += f" (q = {first['label_q']:.0e})".replace("e-0", "e-")
    return f"{number}  " + "\n".join(lines)


def _beside(ax: Axes, end: float = 0.0) -> Transform:
    """Return a transform: inches from an end of ``ax`` (1: the right one), and rows."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    inches: Any = figure_of(ax).dpi_scale_trans
    across = inches + ScaledTranslation(end, 0, cast("Any", ax.transAxes))
    return blended_transform_factory(across, ax.transData)


def _points_per_row(ax: Axes, count: int) -> float:
    return height_of(ax) * 72 / count


def _words(ax: Axes, genes: list[str], named: list[str]) -> None:
    """Name genes at the right, pushed apart, each joined to its row by a line."""
    if not named:
        return
    rows = np.sort([genes.index(gene) for gene in named]) + 0.5
    places = spread(rows, _gap(ax, len(genes)), len(genes))
    place = _beside(ax, 1.0)
    steps = (0.01, 0.04, 0.11, 0.14)
    for row, y in zip(rows, places, strict=True):
        ax.plot(steps, [row, row, y, y], color=FAINT, linewidth=0.4, transform=place, clip_on=False)
        ax.text(
            steps[-1] + 0.02,
            y,
            genes[int(row)],
            transform=place,
            fontsize=pt(SMALL),
            fontstyle="italic",
            va="center_baseline",
            ha="left",
            clip_on=False,
        )


def _gap(ax: Axes, count: int) -> float:
    """Return the height of a line of text in rows."""
    return pt(SMALL + 0.6) / _points_per_row(ax, count)


def spread(wanted: Array, gap: float, top: float) -> Array:
    """Return positions ``gap`` apart from 0 to ``top``, as close as possible to ``wanted``."""
    return _pushed(wanted, gap * np.arange(len(wanted)), top)


def spread_sizes(wanted: Array, sizes: Array, top: float) -> Array:
    """Return the middles of boxes of these sizes, from 0 to ``top`` and near ``wanted``."""
    middles = np.cumsum(sizes) - sizes / 2
    first = middles[0]
    places = _pushed(wanted - first, middles - first, top - sizes[-1] / 2 - first)
    return np.asarray(places + first)


def _pushed(wanted: Array, steps: Array, top: float) -> Array:
    """Push positions apart: blocks of neighbors that are too close share their mean shift.

    The distance of two neighbors is that in ``steps`` at least (pool adjacent violators).
    """
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
    cells = cast("QuadMesh", ax.collections[0])
    side.colorbar(cells, "log$_2$ fold\nchange", extend="both")
    if np.ma.getmaskarray(np.ma.asarray(cells.get_array())).any():
        side.legend(patches({"": _MISSING}, ["Not tested"]))
    if lineages:
        hues = colors_of("lineage", default_order("lineage", set(lineages.values())), main=False)
        side.legend(patches(hues, map(printed, hues)), title="Lineage")
