"""Cells on a plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._colors import BACKGROUND, MISSING, OUTSIDE, is_missing
from nkscore.errors import DesignError, MissingKeyError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, colormap, colors_of, ink, printed, pt
from nkscore.pl._side import SidePanel, dots
from nkscore.pl._style import RASTER_ABOVE, axes_or_new, bare, fit
from nkscore.pl._tables import all_levels, as_text, listed, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Colormap

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

_FAINTEST = "#F0F0F0"


@drawn
def embedding(
    adata: AnnData,
    *,
    color: str = schema.CONDITION,
    basis: str = schema.UMAP,
    gray: Iterable[str] = ("tumor_mono",),
    groups: str | Iterable[str] | None = None,
    size: float | None = None,
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw cells in two dimensions, colored by a category or a number.

    Reads ``obsm[basis]`` and ``obs[color]``; a number may also be a column of
    ``obsm["scores"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    color
        Column of ``obs`` or ``obsm["scores"]``.
    basis
        Key of ``obsm``; the first two columns are drawn.
    gray
        Levels drawn in gray beneath the others, for example the cells without NK contact. Levels
        that ``color`` lacks are ignored.
    groups
        Levels to color; all others are drawn in gray beneath.
    size
        Area of a point in points²; chosen from the number of cells by default.
    ax
        Axes to draw on; a new figure by default.
    legend
        Whether to draw the legend or the color bar.

    Returns
    -------
    Axes
        Points are drawn in a fixed shuffled order, so that no level hides another.

    Raises
    ------
    MissingKeyError
        If ``basis`` or ``color`` is missing.
    ValueError
        If there are no cells, or ``groups`` names a level that ``color`` lacks.

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
    values = _values(adata, color)
    area = float(np.clip(25_000 / len(places), 1.0, 14.0)) if size is None else size
    own = ax is None
    ax = axes_or_new(ax, (5, 3.5))
    _frame(ax, basis)
    if pd.api.types.is_numeric_dtype(values.dtype) and values.dtype != bool:
        _draw_numbers(ax, places, values, label=color if legend else None, area=area)
    else:
        beneath = _beneath(values, gray, groups)
        _draw_levels(ax, places, values, beneath=beneath, area=area, legend=legend)
    if own:
        fit(ax, width=2.4, height=2.4, shape=True)
    return ax


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


def _values(adata: AnnData, color: str) -> pd.Series:
    if color in adata.obs:
        column: pd.Series = adata.obs[color].rename(color)
        return column
    scores = adata.obsm.get(schema.SCORES)
    names = list(scores.columns) if isinstance(scores, pd.DataFrame) else []
    if color in names:
        return pd.Series(scores[color], name=color)
    msg = (
        f"No {color!r} to color by: adata.obs holds {listed(adata.obs.columns) or 'nothing'}; "
        f"adata.obsm[{schema.SCORES!r}] holds {listed(names) or 'nothing'}. "
        "Choose one of these, or run the function that writes it (scores: tl.score)."
    )
    raise MissingKeyError(msg)


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


def _draw_levels(
    ax: Axes,
    places: Array,
    values: pd.Series,
    *,
    beneath: set[str],
    area: float,
    legend: bool,
) -> None:
    name = str(values.name)
    text = as_text(values)
    if "unassigned" in all_levels(values):
        # If that is a separate level, a missing value means that the column does not apply to the
        # cell.
        text = text.mask(values.isna().to_numpy(), OUTSIDE)
    colors = colors_of(name, [*all_levels(values, name), *text.unique()])
    colors |= {**dict.fromkeys(beneath, BACKGROUND), OUTSIDE: _FAINTEST}
    below = text.isin(beneath).to_numpy() | np.array([is_missing(level) for level in text])
    present = set(text)
    used = {level: hue for level, hue in colors.items() if level in present}
    shades = text.map(colors).to_numpy(dtype=object)
    _scatter(ax, places[below], shades[below].tolist(), area=area)
    _scatter(ax, places[~below], shades[~below].tolist(), area=area)
    if legend:
        last = sorted(used, key=lambda level: (is_missing(level), level in beneath))
        used = {level: used[level] for level in last}
        columns = 1 + (len(used) - 1) // 16
        SidePanel(ax).legend(dots(used, map(printed, used)), ncols=columns)


def _draw_numbers(
    ax: Axes,
    places: Array,
    values: pd.Series,
    *,
    label: str | None,
    area: float,
) -> None:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    known = np.isfinite(numbers)
    _scatter(ax, places[~known], MISSING, area=area)
    points = _scatter(ax, places[known], numbers[known], area=area, cmap=colormap("viridis"))
    if points is not None:
        # A few extreme cells must not compress the others into one shade.
        low, high = np.quantile(numbers[known], [0.01, 0.99])
        points.set_clim(low, high if high > low else low + 1)
    if label is not None and points is not None:
        side = SidePanel(ax)
        side.colorbar(
            points, readable([label])[0], extend="both" if known.sum() >= 100 else "neither"
        )
        if not known.all():
            side.legend(dots({"": MISSING}, ["Missing"]))


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
