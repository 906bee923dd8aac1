"""The drawing of dot matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore._colors import BACKGROUND, FAINT, default_order, is_missing
from nkscore.pl._above import bars_above
from nkscore.pl._look import colormap, colors_of, ink, paper, printed, pt, shortened
from nkscore.pl._side import SidePanel, dot, dots, lineage_strip
from nkscore.pl._style import axes_or_new, bare, cell_points, fit, height_of, resize_dots
from nkscore.pl._tables import check_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nkscore._types import Array

#: −log10 q above which dots have the same size.
_TOP: Final = 10.0
_CELL: Final = 0.19


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A matrix of dots: one row of ``table`` per dot."""

    table: pd.DataFrame
    row: str
    value: str
    value_label: str
    rows: list[str]
    tumors: list[str]
    fdr: float
    italic: bool
    #: Column of probabilities that the area of the dots shows, and its printed name.
    certainty: str = "q_value"
    certainty_label: str = "q"
    #: Boolean column of dots with a ring; by default ``certainty`` below ``fdr``.
    ring: str | None = None
    ring_label: str = ""
    #: Printed names of ``rows``.
    row_labels: list[str] | None = None
    #: Rows that do not set the scale of the colors, and what is said of them in the legend.
    apart: frozenset[str] = frozenset()
    apart_label: str = ""
    #: One value per tumor, drawn as bars above the columns.
    bars: pd.DataFrame | None = None


def draw(matrix: Matrix, lineages: dict[str, str], ax: Axes | None) -> Axes:
    """Draw the dots with their legends; raise if no dot has a value."""
    check_number(matrix.table, matrix.value, matrix.certainty)
    own = ax is None
    size = (_CELL * len(matrix.tumors), _CELL * len(matrix.rows))
    cell = pt(_CELL * 72)
    ax = axes_or_new(ax, (size[0] + 5, size[1] + 6))
    _grid(ax, matrix, strip=bool(lineages))
    biggest = (0.82 * (cell if own else cell_points(ax, *_shape(matrix)))) ** 2
    points, limit, complete = _dots(ax, matrix, biggest)
    side = SidePanel(ax, tall=max(height_of(ax) if not own else pt(size[1] + 0.7), 1.1))
    side.colorbar(points, matrix.value_label, extend=limit)
    _size_legend(side, matrix, biggest, complete=complete)
    if lineages:
        _strip(ax, matrix.tumors, lineages, side)
    if matrix.bars is not None:
        hues = colors_of("lineage", lineages.values(), main=False)
        columns = [hues[lineages[name]] if lineages else FAINT for name in matrix.tumors]
        bars_above(ax, matrix.bars, matrix.tumors, columns)
    if own:
        fit(ax, width=size[0], height=size[1])
        resize_dots(ax, cell=cell, shape=_shape(matrix))
    return ax


def _shape(matrix: Matrix) -> tuple[int, int]:
    return len(matrix.tumors), len(matrix.rows)


def _grid(ax: Axes, matrix: Matrix, *, strip: bool) -> None:
    columns, rows = _shape(matrix)
    bare(ax)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_xticks(range(columns), shortened(matrix.tumors), rotation=90)
    words = matrix.row_labels or [n if matrix.italic else printed(n) for n in matrix.rows]
    ax.set_yticks(range(rows), words)
    if matrix.italic:
        for label in ax.get_yticklabels():
            label.set_fontstyle("italic")
    ax.tick_params(axis="x", pad=pt(9 if strip else 3))
    edges = [i - 0.5 for i in range(1, rows) if matrix.rows[i] in matrix.apart]
    if edges and matrix.rows[int(edges[0] - 0.5)] not in matrix.apart:
        ax.axhline(edges[0], color=FAINT, linewidth=0.6, zorder=1)
    ax.hlines(range(rows), -0.5, columns - 0.5, color="#EFEFEF", linewidth=0.5, zorder=0)
    ax.vlines(range(columns), -0.5, rows - 0.5, color="#EFEFEF", linewidth=0.5, zorder=0)


def _dots(ax: Axes, matrix: Matrix, biggest: float) -> tuple[Any, str, bool]:
    """Draw the dots; return them, the ends of the color bar, and whether all were tested."""
    full = pd.MultiIndex.from_product([matrix.rows, matrix.tumors])
    cells = matrix.table.set_index([matrix.row, "tumor"]).reindex(full)
    columns, rows = _shape(matrix)
    y, x = (grid.ravel() for grid in np.mgrid[0:rows, 0:columns])
    value = cells[matrix.value].to_numpy(dtype=float)
    q_value = cells[matrix.certainty].to_numpy(dtype=float)
    known = ~np.isnan(value) & ~np.isnan(q_value)
    sets_scale = known & ~np.isin(np.asarray(matrix.rows, dtype=object)[y], list(matrix.apart))
    limit, extend = _color_limit(value[sets_scale if sets_scale.any() else known])
    if extend == "neither" and (np.abs(value[known]) > limit * (1 + 1e-9)).any():
        extend = "both"
    ring = q_value[known] < matrix.fdr
    if matrix.ring is not None:
        ring = cells[matrix.ring].to_numpy()[known].astype(bool)
    points = ax.scatter(
        x[known],
        y[known],
        s=_areas(q_value[known], biggest),
        c=np.clip(value[known], -limit, limit),
        cmap=colormap("RdBu_r"),
        vmin=-limit,
        vmax=limit,
        linewidths=np.where(ring, 0.9, 0.3).tolist(),
        edgecolors=np.where(ring, ink(), BACKGROUND).tolist(),
        zorder=2,
    )
    ax.scatter(
        x[~known], y[~known], s=biggest * 0.12, marker="x", c=FAINT, linewidths=0.6, zorder=2
    )
    return points, extend, bool(known.all())


def _color_limit(values: Array) -> tuple[float, str]:
    """Return symmetric limits that do not depend on a few extreme values."""
    sizes = np.abs(values[np.isfinite(values)])
    if sizes.size == 0 or sizes.max() == 0:
        return 1.0, "neither"
    limit = float(np.quantile(sizes, 0.98))
    limit = limit or float(sizes.max())
    return limit, "both" if (np.abs(values) > limit * (1 + 1e-9)).any() else "neither"


def _areas(q_value: Array, biggest: float) -> Array:
    strength = -np.log10(np.maximum(q_value, 10**-_TOP))
    return np.asarray(biggest * (0.06 + 0.94 * np.clip(strength, 0, _TOP) / _TOP))


def _size_legend(side: SidePanel, matrix: Matrix, biggest: float, *, complete: bool) -> None:
    marks = [(1.0, "0"), (1e-2, "2"), (1e-5, "5"), (1e-10, "≥ 10")]
    sizes = [
        dot(
            paper(),
            label,
            size=float(_areas(np.array([q]), biggest)[0] ** 0.5),
            markeredgecolor=FAINT,
            markeredgewidth=0.5,
        )
        for q, label in marks
    ]
    side.legend(
        sizes, title=f"−log$_{{10}}$ {matrix.certainty_label}", labelspacing=0.45, handlelength=1.7
    )
    shown = biggest**0.5
    noted = [dot(ink(), matrix.apart_label, size=5, marker="$*$")] if matrix.apart else []
    marked = [
        dot(
            paper(),
            matrix.ring_label or f"q < {matrix.fdr:g}",
            size=shown * 0.7,
            markeredgecolor=ink(),
            markeredgewidth=0.9,
        ),
        dot(FAINT, "Not tested", size=shown * 0.35, marker="x", markeredgewidth=0.6),
    ]
    side.legend([*(marked[:1] if complete else marked), *noted], handlelength=1.7)


def _strip(ax: Axes, tumors: list[str], lineages: dict[str, str], side: SidePanel) -> None:
    names = [lineages[tumor] for tumor in tumors]
    colors = colors_of("lineage", names, main=False)
    lineage_strip(ax, list(range(len(tumors))), [colors[name] for name in names])
    known = default_order("lineage", (name for name in colors if not is_missing(name)))
    colors = {name: colors[name] for name in known}
    side.legend(dots(colors, map(printed, colors)), title="Lineage")
