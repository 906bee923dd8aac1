"""Cells on a plane."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._colors import BACKGROUND, MISSING, OUTSIDE, is_missing
from nkscore.errors import DesignError, MissingKeyError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, colormap, colors_of, ink, paper, printed, pt, worded
from nkscore.pl._side import SidePanel, dots
from nkscore.pl._style import RASTER_ABOVE, axes_or_new, bare, figure_of, fit, panels_in
from nkscore.pl._tables import all_levels, as_text, levels_of, listed, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Text

    from nkscore._types import Array, Bools
    from nkscore.pl._drawn import Look

_FAINTEST: Final = "#ECECEC"
#: Cells without a call, where cells that need none are drawn, too.
_UNASSIGNED: Final = "#8F8F8F"
_HEADINGS: Final = {
    schema.NK_STATE: "NK state",
    schema.TUMOR_STATE: "Tumor state",
    schema.TUMOR: "Line",
    schema.CONDITION: "Condition",
    schema.COMPARTMENT: "Compartment",
    schema.LINEAGE: "Lineage",
}
#: Levels on maps of lines that are no lines.
_NO_LINES: Final = {schema.NK, schema.NK_MONO}
_ALONE: Final = (schema.TUMOR_MONO, schema.NK_MONO)


@drawn
def embedding(
    adata: AnnData,
    *,
    color: str | Sequence[str] = schema.CONDITION,
    basis: str = schema.UMAP,
    key: str | None = None,
    compartment: str | None = None,
    gray: Iterable[str] = (),
    groups: str | Iterable[str] | None = None,
    size: float | None = None,
    legend: bool | Literal["map"] | None = None,
    n_columns: int = 3,
    ax: Axes | None = None,
    fig: Figure | SubFigure | None = None,
    **_look: Unpack[Look],
) -> Axes | Figure:
    """Draw cells in two dimensions, colored by levels, numbers or genes.

    Reads ``obsm[basis]`` and, for each color, a column of ``obs``, a column of a table in ``obsm``
    (``obsm["scores"]`` first), or a gene of ``X`` after ``pp.normalize``. Of the lines in
    ``obs["tumor"]``, the tumor cells are colored and named, and NK cells are gray where
    ``obs["compartment"]`` exists; pass ``compartment="nk"`` for NK cells by the line they met.

    Parameters
    ----------
    adata
        Cells × genes.
    color
        Column of ``obs``, score or gene; with several, one panel each.
    basis
        Key of ``obsm``; the first two columns are drawn.
    key
        Table in ``obsm`` that holds the scores, for example the ``key_added`` of ``tl.score``; by
        default ``scores``, then any other table with such a column.
    compartment
        Level of ``obs["compartment"]`` whose cells alone are drawn, for example ``"nk"``; all
        cells by default.
    gray
        Levels drawn in gray beneath the others, for example ``["tumor_mono"]``. Levels that
        ``color`` lacks are ignored.
    groups
        Levels to color; all others are drawn in gray beneath.
    size
        Area of a point in points²; chosen from the number of cells by default.
    legend
        ``True``: legend or color bar; ``"map"``: names of levels on the map; ``False``: neither; by
        default ``"map"`` for lines on a map of all cells and ``True`` for all others.
    n_columns
        Panels side by side, if there are several.
    ax
        Axes to draw a single color on; a new figure by default.
    fig
        Figure, or part of one, to draw several colors in; a new figure by default.

    Returns
    -------
    Axes, or Figure of several panels
        Points are drawn in a fixed shuffled order, so that no level hides another; of conditions,
        monocultures are on top. Cells without counts of a gene are gray and beneath.

    Raises
    ------
    MissingKeyError
        If ``basis``, ``color``, ``key`` or ``obs["compartment"]`` is missing.
    ValueError
        If there are no cells, ``groups`` names a level that ``color`` lacks, several tables have
        the column, or there is one ``ax`` for several colors.

    Examples
    --------
    >>> import anndata, matplotlib.pyplot as plt, numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> obs = pd.DataFrame({"compartment": ["nk", "tumor"] * 5}, index=[f"c{i}" for i in range(10)])
    >>> xy = np.arange(20.0).reshape(10, 2)
    >>> adata = anndata.AnnData(np.ones((10, 1)), obs=obs, obsm={"X_umap": xy})
    >>> ax = nk.pl.embedding(adata, color="compartment")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['NK', 'Tumor']
    >>> plt.close(ax.figure)
    """
    places = _places(adata, basis)
    chosen = _of_compartment(adata, compartment)
    area = float(np.clip(16_000 / max(int(chosen.sum()), 1), 0.8, 12.0)) if size is None else size
    layout = _Layout(
        basis,
        area,
        legend=legend is not False,
        all_on_map=legend == "map",
        lines_on_map=legend is None and compartment is None,
    )
    single = isinstance(color, str)
    names = [color] if isinstance(color, str) else list(color)
    _check_panels(names, ax=ax, single=single)
    panels = [_panel_of(adata, name, key, lines=compartment is None) for name in names]
    beneath = [_beneath(panel.cells, gray, groups) for panel in panels]
    if single:
        own = ax is None
        ax = axes_or_new(ax, (5, 3.5))
        _draw(ax, places[chosen], panels[0].at(chosen), layout, beneath[0])
        if own:
            fit(ax, width=2.4, height=2.4, shape=True)
        return ax
    across = min(max(n_columns, 1), len(names))
    size_of = (2.9 * across, 2.1 * -(-len(names) // across))
    figure, axes = panels_in(fig, -(-len(names) // across), across, size=size_of)
    for place, panel, below in zip(axes.ravel(), panels, beneath, strict=False):
        _draw(place, places[chosen], panel.at(chosen), layout, below)
        heading = _HEADINGS.get(panel.name, readable([panel.name])[0])
        place.set_title(worded(heading), fontstyle="italic" if panel.gene else "normal")
        place.set_box_aspect(1)
    for empty in axes.ravel()[len(names) :]:
        empty.remove()
    return figure


@dataclass(frozen=True)
class _Layout:
    """What all panels share."""

    basis: str
    area: float
    legend: bool
    #: Levels named on the map: of all columns, or of lines only.
    all_on_map: bool
    lines_on_map: bool


@dataclass(frozen=True)
class _Panel:
    """What colors the cells: levels or numbers; counts of a gene may be 0."""

    name: str
    cells: pd.Series
    gene: bool = False

    def at(self, chosen: Bools) -> _Panel:
        return replace(self, cells=self.cells[chosen])


def _check_panels(names: list[str], *, ax: Axes | None, single: bool) -> None:
    if not names:
        msg = "color is empty; at least one column, score or gene is needed."
        raise ValueError(msg)
    if not single and ax is not None:
        msg = (
            f"Found {len(names)} colors in a list and one ax; pass fig= for a list of colors, or "
            "one color as text."
        )
        raise ValueError(msg)


def _of_compartment(adata: AnnData, compartment: str | None) -> Bools:
    if compartment is None:
        return np.ones(adata.n_obs, dtype=bool)
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    held = as_text(adata.obs[schema.COMPARTMENT])
    chosen = (held == compartment).to_numpy()
    if not chosen.any():
        msg = (
            f"No cell of compartment {compartment!r}; at least one is needed. adata.obs"
            f"[{schema.COMPARTMENT!r}] holds: {listed(levels_of(held))}."
        )
        raise ValueError(msg)
    return np.asarray(chosen)


def _places(adata: AnnData, basis: str) -> Array:
    schema.require(adata, "obsm", [basis], "the embedding (for example scanpy.tl.umap)")
    places = np.asarray(adata.obsm[basis], dtype=float)[:, :2]
    if len(places) == 0:
        msg = "adata has no cells, so there is nothing to draw. Check the filters before this step."
        raise DesignError(msg)
    if places.shape[1] < 2:
        msg = f"adata.obsm[{basis!r}] has one column; two are needed. Choose another basis."
        raise ValueError(msg)
    return places


def _panel_of(adata: AnnData, name: str, key: str | None, *, lines: bool) -> _Panel:
    """Return the values to color by: of cells, of a table of scores, or of a gene."""
    if key is None and name in adata.obs:
        values: pd.Series = adata.obs[name].rename(name)
        return _Panel(name, _lines(adata, values, lines=lines) if name == schema.TUMOR else values)
    tables = {k: t for k, t in adata.obsm.items() if isinstance(t, pd.DataFrame)}
    if key is not None and key not in tables:
        msg = (
            f"adata.obsm has no table {key!r}; it has: {listed(tables) or 'none'}. Pass the "
            "key_added with which the scores were made."
        )
        raise MissingKeyError(msg)
    found = [k for k in ([key] if key else tables) if name in tables[k].columns]
    if schema.SCORES in found:
        found = [schema.SCORES]
    if len(found) > 1:
        msg = f"{name!r} is in {listed(found)} of adata.obsm; one is needed. Say which by key=."
        raise ValueError(msg)
    if found:
        return _Panel(name, pd.Series(tables[found[0]][name], name=name))
    if key is None and name in adata.var_names and adata.X is not None:
        return _Panel(name, adata[:, [name]].to_df().iloc[:, 0].rename(name), gene=True)
    scores = listed(tables[schema.SCORES].columns) if schema.SCORES in tables else ""
    msg = (
        f"No {name!r} to color by: adata.obs holds {listed(adata.obs.columns) or 'nothing'}; "
        f"adata.obsm[{schema.SCORES!r}] holds {scores or 'nothing'}; X holds "
        f"{0 if adata.X is None else adata.n_vars} genes. "
        "Choose one of these, or run the function that writes it (scores: tl.score; genes: "
        "pp.normalize)."
    )
    raise MissingKeyError(msg)


def _lines(adata: AnnData, values: pd.Series, *, lines: bool) -> pd.Series:
    """Return the line of each cell, with levels for NK cells (``lines``), or for NK cells alone.

    NK cells alone met no line, which differs from cells that could not be assigned.
    """
    if lines and schema.COMPARTMENT in adata.obs:
        inside = as_text(adata.obs[schema.COMPARTMENT]) == schema.NK
        values = _with_level(values, inside.to_numpy(), schema.NK)
    if schema.CONDITION in adata.obs:
        alone = (as_text(adata.obs[schema.CONDITION]) == schema.NK_MONO) & values.isna()
        values = _with_level(values, alone.to_numpy(), schema.NK_MONO)
    return values


def _with_level(values: pd.Series, chosen: Bools, level: str) -> pd.Series:
    if not chosen.any():
        return values
    levels = [*(name for name in all_levels(values, str(values.name)) if name != level), level]
    text = values.astype(object).where(values.isna(), values.astype(str)).mask(chosen, level)
    return pd.Series(pd.Categorical(text, levels), index=values.index, name=values.name)


def _beneath(
    values: pd.Series, gray: Iterable[str], groups: str | Iterable[str] | None
) -> set[str]:
    levels = all_levels(values)
    beneath = {gray} if isinstance(gray, str) else set(gray)
    if groups is None:
        return beneath & set(levels)
    wanted = {groups} if isinstance(groups, str) else set(groups)
    unknown = sorted(wanted - set(levels))
    if unknown:
        msg = (
            f"groups names {listed(unknown)}, which {values.name!r} lacks. "
            f"Choose from: {listed(levels)}."
        )
        raise ValueError(msg)
    return set(levels) - wanted


def _draw(ax: Axes, places: Array, panel: _Panel, layout: _Layout, beneath: set[str]) -> None:
    _frame(ax, layout.basis)
    values = panel.cells
    if pd.api.types.is_numeric_dtype(values.dtype) and values.dtype != bool:
        _draw_numbers(ax, places, panel, layout)
    else:
        _draw_levels(ax, places, values, layout, beneath=beneath)


def _draw_levels(
    ax: Axes, places: Array, values: pd.Series, layout: _Layout, *, beneath: set[str]
) -> None:
    name, levels = str(values.name), all_levels(values, str(values.name))
    text = as_text(values)
    if "unassigned" in levels:
        # If that is a separate level, a missing value means that the column does not apply to the
        # cell.
        text = text.mask(values.isna().to_numpy(), OUTSIDE)
    # NK cells on a map of lines take no color from the lines.
    own = [
        level
        for level in (*levels, *text.unique())
        if level not in _NO_LINES or name != schema.TUMOR
    ]
    colors = colors_of(name, own)
    faint = dict.fromkeys(beneath | (_NO_LINES if name == schema.TUMOR else set()), BACKGROUND)
    unassigned = {"unassigned": _UNASSIGNED} if OUTSIDE in set(text) else {}
    colors |= {**faint, **unassigned, OUTSIDE: _FAINTEST}
    shades = text.map(colors).to_numpy(dtype=object)
    below = text.isin(faint).to_numpy() | np.array([is_missing(level) for level in text])
    top = ~below & (name == schema.CONDITION) & text.isin(_ALONE).to_numpy()
    for chosen in (below, ~below & ~top, top):
        _scatter(ax, places[chosen], shades[chosen].tolist(), area=layout.area)
    used = {level: hue for level, hue in colors.items() if level in set(text)}
    last = sorted(used, key=lambda level: (is_missing(level), level in faint))
    used = {level: used[level] for level in last}
    if layout.all_on_map or (layout.lines_on_map and name == schema.TUMOR):
        _name_levels(ax, places, text, [level for level in used if not is_missing(level)])
        used = {level: hue for level, hue in used.items() if is_missing(level)}
    if layout.legend and used:
        columns = 1 + (len(used) - 1) // 16
        SidePanel(ax).legend(dots(used, map(printed, used)), ncols=columns)


def _name_levels(ax: Axes, places: Array, text: pd.Series, levels: list[str]) -> None:
    """Write the name of each level at the middle of its cells, with a pale rim."""
    from matplotlib.patheffects import withStroke

    names = []
    for level in levels:
        inside = places[(text == level).to_numpy()]
        x, y = np.median(inside[np.isfinite(inside).all(axis=1)], axis=0)
        # The cell next to the median lies among others, where the median itself may not.
        x, y = inside[np.argmin(np.hypot(inside[:, 0] - x, inside[:, 1] - y))]
        names.append(
            ax.text(
                x,
                y,
                printed(level),
                ha="center",
                va="center",
                fontsize=pt(FONT),
                fontweight="bold",
                color=ink(),
                zorder=6,
                path_effects=[withStroke(linewidth=2.0, foreground=paper())],
            )
        )
    _part_names(ax, names)


def _part_names(ax: Axes, names: list[Text]) -> None:
    """Push names that cover each other apart, up and down."""
    figure_of(ax).draw_without_rendering()
    placed: list[tuple[float, float, float]] = []
    for text in sorted(names, key=lambda text: -text.get_position()[1]):
        box = text.get_window_extent()
        middle, high = (box.y0 + box.y1) / 2, box.height
        for left, right, below in placed:
            if box.x0 < right and left < box.x1 and middle + high / 2 > below:
                middle = below - high / 2
        shift = ax.transData.inverted().transform((0, middle))[1]
        text.set_position((text.get_position()[0], float(shift)))
        placed.append((box.x0, box.x1, middle - high / 2))
        placed.sort(key=lambda part: -part[2])


def _draw_numbers(ax: Axes, places: Array, panel: _Panel, layout: _Layout) -> None:
    numbers = panel.cells.to_numpy(dtype=float, na_value=np.nan)
    known = np.isfinite(numbers) & ~(panel.gene & (numbers == 0))
    _scatter(ax, places[~known], MISSING, area=layout.area)
    cmap = colormap("viridis")
    points = _scatter(ax, places[known], numbers[known], area=layout.area, cmap=cmap)
    if points is None:
        return
    # A few extreme cells must not compress the others into one shade.
    low, high = np.quantile(numbers[known], [0.0 if panel.gene else 0.01, 0.99])
    points.set_clim(low, high if high > low else low + 1)
    if layout.legend:
        side = SidePanel(ax)
        words = f"{panel.name}\nlog(1 + CP10k)" if panel.gene else readable([panel.name])[0]
        side.colorbar(points, words, extend="both" if known.sum() >= 100 else "neither")
        if not known.all():
            side.legend(dots({"": MISSING}, ["No counts" if panel.gene else "Missing"]))


def _scatter(
    ax: Axes,
    places: Array,
    colors: str | Sequence[str] | Array,
    *,
    area: float,
    cmap: Colormap | None = None,
) -> PathCollection | None:
    count = len(places)
    if count == 0:
        return None
    order = np.random.default_rng(0).permutation(count)
    if not isinstance(colors, str):
        colors = [colors[i] for i in order]
    return ax.scatter(
        places[order, 0],
        places[order, 1],
        s=area,
        c=colors,
        cmap=cmap,
        linewidths=0,
        rasterized=count > RASTER_ABOVE,
    )


def _frame(ax: Axes, basis: str) -> None:
    bare(ax)
    ax.set_xticks([])
    ax.set_yticks([])
    name = basis.removeprefix("X_")
    name = name.upper() if name.islower() else name
    arrow = {
        "arrowstyle": "-|>",
        "linewidth": 0.6,
        "color": ink(),
        "mutation_scale": 5,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    for end in ((0.22, -0.03), (-0.03, 0.22)):
        ax.annotate(
            "",
            xy=end,
            xytext=(-0.03, -0.03),
            xycoords="axes fraction",
            arrowprops=arrow,
            annotation_clip=False,
        )
    words: dict[str, Any] = {"fontsize": pt(FONT - 1), "transform": ax.transAxes, "clip_on": False}
    ax.text(-0.03, -0.05, f"{name} 1", va="top", ha="left", **words)
    ax.text(-0.05, -0.03, f"{name} 2", va="bottom", ha="right", rotation=90, **words)
