"""Density of the cells of each line on the map of all NK cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore import schema
from nkscore._colors import MISSING, is_missing
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, SMALL, colormap, colors_of, ink, printed, pt, shortened
from nkscore.pl._side import SidePanel, dots
from nkscore.pl._style import RASTER_ABOVE, bare, panels_in
from nkscore.pl._tables import all_levels, as_text, in_order, levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nkscore._types import Floats, Ints
    from nkscore.pl._drawn import Look

_BINS: Final = 120
#: Contour levels, as shares of the highest density of a facet.
_LEVELS: Final = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0001)
#: With fewer cells the cells are drawn, because a density would be arbitrary.
_FEWEST: Final = 20
#: Maximum number of cells in the gray map; above it, a sample is drawn.
_MOST_GRAY: Final = 50_000
_FACET: Final = 1.05
_ALONE: Final = "NK alone"


@drawn
def state_density(
    adata: AnnData,
    *,
    by: str = schema.TUMOR,
    color: str = schema.NK_STATE,
    compartment: str | None = schema.NK,
    condition: str | None = schema.COCULTURE,
    basis: str = schema.UMAP,
    groups: Sequence[str] | None = None,
    smooth: float | None = None,
    n_columns: int = 6,
    fig: Figure | SubFigure | None = None,
    **_look: Unpack[Look],
) -> Figure:
    """Draw the density of cells over a gray map of all of them, one facet per line.

    Reads ``obsm[basis]``, ``obs[by]`` and, where present, ``obs["compartment"]``,
    ``obs["condition"]`` and ``obs[color]``.

    Parameters
    ----------
    adata
        Cells × genes with a map of the compartment (``tl.embed`` on NK cells).
    by
        Column with the facets.
    color
        Column with the states that color the first facet; skipped if absent.
    compartment
        ``"nk"``, ``"tumor"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    condition
        Level of ``obs["condition"]`` that the facets show; NK cells of ``nk_mono`` get a separate
        facet. ``None``: all conditions together.
    basis
        Key of ``obsm``; the first two columns are drawn.
    groups
        Facets from left to right; by default in the order of the column.
    smooth
        Standard deviation of the smoothing, as a share of the width of the map and the same in all
        facets; by default, with n cells in the median facet, 0.3 n^(−1/3), at most 0.05, or, if
        larger, 0.065 n^(−1/6).
    n_columns
        Facets side by side.
    fig
        Figure or part of a figure to draw in; a new figure by default.

    Returns
    -------
    Figure
        First the map by state, then one facet per group with its number of cells. The density of
        each facet is scaled to its own maximum, so facets compare positions of cells, not their
        number. Groups of fewer than 20 cells are drawn as points.

    Raises
    ------
    MissingKeyError
        If ``basis`` or ``by`` is missing.
    ValueError
        If no cell is left, or ``groups`` names an unknown level.

    Examples
    --------
    >>> import anndata, matplotlib.pyplot as plt, numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> xy = np.random.default_rng(0).normal(size=(90, 2))
    >>> obs = pd.DataFrame({"tumor": ["K562", "697", "GDM1"] * 30}, index=map(str, range(90)))
    >>> adata = anndata.AnnData(np.ones((90, 1)), obs=obs, obsm={"X_umap": xy})
    >>> figure = nk.pl.state_density(adata)
    >>> [ax.get_title() for ax in figure.axes]
    ['697', 'GDM1', 'K562']
    >>> plt.close(figure)
    """
    places, obs = _cells(adata, basis, by, compartment)
    facets = _facets(obs, by, condition)
    names = in_order(_order(obs, by, facets), groups, "groups")
    by_state = int(color in obs.columns and bool(obs[color].notna().any()))
    if smooth is None:
        middle = float(np.median([len(facets[name]) for name in names]))
        # Below about 10,000 cells the rule for many would show each cell as a blotch.
        count = max(middle, 1.0)
        smooth = max(0.065 * count ** (-1 / 6), min(0.3 * count ** (-1 / 3), 0.05))
    short = dict(zip(names, shortened(map(printed, names), 15), strict=True))
    figure, axes = _grid(fig, len(names) + by_state, n_columns)
    gray = _sample(len(places), _MOST_GRAY)
    if by_state:
        _states(axes[0], places[gray], obs[color].iloc[gray], all_levels(obs[color], color))
    for ax, name in zip(axes[by_state:], names, strict=True):
        _facet(ax, places[gray], places[facets[name]], smooth)
        ax.set_title(short[name], fontsize=pt(FONT), loc="center", pad=2)
    _same_frame(axes, places)
    if by_state:
        _legend(axes[min(len(axes), n_columns) - 1], obs[color], color)
    return figure


def _cells(
    adata: AnnData, basis: str, by: str, compartment: str | None
) -> tuple[Floats, pd.DataFrame]:
    schema.require(adata, "obsm", [basis], "tl.embed")
    if by not in adata.obs:
        schema.require(adata, "obs", [by], "pp.demultiplex")
    places = np.asarray(adata.obsm[basis], dtype=float)[:, :2]
    if places.shape[1] < 2:
        msg = f"adata.obsm[{basis!r}] has one column; two are needed. Choose another basis."
        raise ValueError(msg)
    chosen = np.isfinite(places).all(axis=1)
    if compartment is not None and schema.COMPARTMENT in adata.obs:
        chosen &= (as_text(adata.obs[schema.COMPARTMENT]) == compartment).to_numpy()
    if not chosen.any():
        msg = (
            f"No cell of compartment {compartment!r} has a position in "
            f"adata.obsm[{basis!r}]; at least one is needed. Pass compartment=None for all cells."
        )
        raise ValueError(msg)
    return places[chosen], adata.obs.loc[chosen]


def _facets(obs: pd.DataFrame, by: str, condition: str | None) -> dict[str, Ints]:
    """Return the rows of each facet."""
    names = as_text(obs[by]).to_numpy(dtype=object)
    shown = obs[by].notna().to_numpy()
    if condition is not None and schema.CONDITION in obs.columns:
        held = as_text(obs[schema.CONDITION]).to_numpy(dtype=object)
        alone = held == schema.NK_MONO
        names = np.where(alone, _ALONE, names)
        shown = (shown & (held == condition)) | alone
    if not shown.any():
        msg = (
            f"No cell of condition {condition!r} has a value of obs[{by!r}]; at least one is "
            "needed. Pass condition=None for all conditions."
        )
        raise ValueError(msg)
    return {name: np.flatnonzero(shown & (names == name)) for name in set(names[shown])}


def _order(obs: pd.DataFrame, by: str, facets: dict[str, Ints]) -> list[str]:
    known = [name for name in levels_of(obs[by], by) if name in facets and name != _ALONE]
    return [name for name in (_ALONE,) if name in facets] + known


def _grid(
    figure: Figure | SubFigure | None, count: int, n_columns: int
) -> tuple[Figure, list[Axes]]:
    columns = min(max(n_columns, 1), count)
    rows = -(-count // columns)
    size = (_FACET * columns + 1.2, (_FACET + 0.18) * rows)
    figure, axes = panels_in(figure, rows, columns, size=size)
    flat = list(axes.ravel())
    for ax in flat[count:]:
        ax.remove()
    return figure, flat[:count]


def _sample(count: int, most: int) -> Ints:
    order = np.random.default_rng(0).permutation(count)
    return order[:most]


def _states(ax: Axes, places: Floats, states: pd.Series, levels: list[str]) -> None:
    text = as_text(states)
    colors = colors_of(str(states.name), [*levels, *text.unique()])
    ax.scatter(
        places[:, 0],
        places[:, 1],
        s=_area(len(places)),
        linewidths=0,
        c=text.map(colors).tolist(),
        rasterized=len(places) > RASTER_ABOVE,
    )
    ax.set_title(
        f"All, by {_word(str(states.name)).lower()}", fontsize=pt(FONT), loc="center", pad=2
    )


def _word(column: str) -> str:
    words = {schema.NK_STATE: "State", schema.TUMOR_STATE: "State", schema.TUMOR: "Line"}
    return words.get(column, column.replace("_", " ").capitalize())


def _area(count: int) -> float:
    return float(np.clip(4000 / count, 0.3, 4.0))


def _facet(ax: Axes, gray: Floats, places: Floats, smooth: float) -> None:
    ax.scatter(
        gray[:, 0],
        gray[:, 1],
        s=_area(len(gray)),
        c=MISSING,
        linewidths=0,
        rasterized=len(gray) > RASTER_ABOVE,
    )
    ax.text(
        0.98,
        0.02,
        f"{len(places):,}",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize=pt(SMALL - 0.5),
        color=ink(),
    )
    if len(places) < _FEWEST:
        ax.scatter(places[:, 0], places[:, 1], s=5, c=ink(), linewidths=0, zorder=2)
        return
    x, y, height = _density(places, gray, smooth)
    ax.contourf(
        x,
        y,
        height.T,
        levels=list(_LEVELS),
        cmap=colormap("magma_r"),
        vmin=0,
        vmax=1.15,
        zorder=2,
        alpha=0.85,
    )


def _density(places: Floats, frame: Floats, smooth: float) -> tuple[Floats, Floats, Floats]:
    """Return a smoothed histogram of ``places`` over the extent of ``frame``, maximum 1."""
    from scipy.ndimage import gaussian_filter

    low, high = _extent(frame)
    edges = [np.linspace(a, b, _BINS + 1) for a, b in zip(low, high, strict=True)]
    counts = np.histogram2d(places[:, 0], places[:, 1], bins=edges)[0]
    height = gaussian_filter(counts, smooth * _BINS, mode="constant")
    x, y = ((part[1:] + part[:-1]) / 2 for part in edges)
    return x, y, height / (height.max() or 1.0)


def _extent(places: Floats) -> tuple[Floats, Floats]:
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.06 * np.where(high > low, high - low, 1.0)
    return low - margin, high + margin


def _same_frame(axes: list[Axes], places: Floats) -> None:
    low, high = _extent(places)
    for ax in axes:
        bare(ax)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])


def _legend(ax: Axes, states: pd.Series, color: str) -> None:
    present = set(as_text(states))
    names = [name for name in all_levels(states, color) if name in present]
    colors = colors_of(color, all_levels(states, color))
    used = {name: colors[name] for name in sorted(names, key=is_missing)}
    SidePanel(ax).legend(dots(used, map(printed, used)), title=_word(color))
