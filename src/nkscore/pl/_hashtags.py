"""Hashtag counts of one lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore import schema
from nkscore._colors import FAINT
from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import (
    FONT,
    SMALL,
    colormap,
    colors_of,
    now,
    ordered,
    printed,
    pt,
    shades,
    titled,
)
from nkscore.pl._side import SidePanel, patches
from nkscore.pl._style import axes_or_new, bare, fit, height_of
from nkscore.pl._tables import all_levels, as_text, levels_of, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

_BINS: Final = 240
#: Width of the smoothing of the densities, in log10 units.
_SMOOTH: Final = 0.09
_OWN: Final = "#0B5FA5"
_OTHERS: Final = "#B5B5B5"


@drawn
def hashtags(
    adata: AnnData, *, lane: str | None = None, ax: Axes | None = None, **_look: Unpack[Look]
) -> Axes:
    """Draw the hashtag counts of a lane as a heat map, cells sorted by their call.

    Reads ``obsm["hashtags"]``, ``obs["lane"]``, ``obs["hashtag"]``, ``obs["hashtag_class"]``
    and ``obs["hashtag_confidence"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    lane
        Lane to draw; optional if there is only one.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Rows: tags with any count in the lane; columns: cells, singlets of each tag first, the
        most certain ones leftmost. Strip above: class, with the number of cells in the legend.

    Raises
    ------
    MissingKeyError
        If ``pp.demultiplex`` was not run or there are no hashtags.
    ValueError
        If there are several lanes and ``lane`` is not given.

    Examples
    --------
    >>> import anndata, matplotlib.pyplot as plt, numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> obs = pd.DataFrame({"lane": "L1", "hashtag": ["b", "a"], "hashtag_class": "singlet",
    ...                     "hashtag_confidence": 1.0}, index=["x", "y"])
    >>> counts = pd.DataFrame({"a": [0, 90], "b": [80, 1], "c": 0}, index=["x", "y"])
    >>> adata = anndata.AnnData(np.ones((2, 1)), obs=obs, obsm={"hashtags": counts})
    >>> ax = nk.pl.hashtags(adata)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['a', 'b']
    >>> plt.close(ax.figure)
    """
    counts, cells, name = _lane(adata, lane)
    order = _order(cells, list(counts.columns))
    classes = as_text(cells[schema.HASHTAG_CLASS]).to_numpy()[order]
    own = ax is None
    ax = axes_or_new(ax, (6, 3 + 0.17 * counts.shape[1]))
    shown = np.log1p(counts.to_numpy(dtype=float)[order].T)
    # Droplets of clumped antibodies must not make all others dark.
    highest = float(np.quantile(shown, 0.995)) or float(shown.max()) or 1.0
    picture = ax.imshow(
        shown,
        aspect="auto",
        cmap=colormap("magma"),
        interpolation="nearest",
        rasterized=True,
        vmin=0,
        vmax=highest,
    )
    bare(ax)
    ax.set_yticks(range(counts.shape[1]), [str(tag) for tag in counts.columns])
    ax.set_xticks([])
    ax.set_xlabel(f"{len(order):,} cells")
    side = SidePanel(ax)
    extend = "max" if bool((shown > highest).any()) else "neither"
    side.colorbar(picture, "log(1 + count)", extend=extend)
    colors = colors_of("hashtag_class", _classes(cells), main=False)
    numbers = [f"{printed(level)} ({(classes == level).sum():,})" for level in colors]
    side.legend(patches(colors, numbers))
    if own:
        # A few tags are drawn taller than necessary, to make room for the legend. The strip and
        # the title above it use the resulting height.
        fit(ax, width=3.2, height=0.17 * counts.shape[1])
    _class_strip(ax, classes, height_of(ax))
    titled(ax, name, pad=pt(10))
    if own:
        fit(ax, width=3.2, height=height_of(ax) / now().scale)
    return ax


@drawn
def hashtag_ridges(
    adata: AnnData, *, lane: str | None = None, ax: Axes | None = None, **_look: Unpack[Look]
) -> Axes:
    """Draw the counts of each hashtag in its own cells and in all others.

    Reads ``obsm["hashtags"]``, ``obs["lane"]``, ``obs["hashtag"]``, ``obs["hashtag_class"]``
    and ``obs["hashtag_confidence"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    lane
        Lane to draw; optional if there is only one.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        One ridge per tag, each density scaled to the same height: singlets of the tag in
        color, singlets of other tags and negative cells in gray. Doublets are excluded.

    Raises
    ------
    MissingKeyError
        If ``pp.demultiplex`` was not run or there are no hashtags.
    ValueError
        If there are several lanes and ``lane`` is not given.

    Examples
    --------
    >>> import anndata, matplotlib.pyplot as plt, numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> obs = pd.DataFrame({"lane": "L1", "hashtag": ["b", "a"], "hashtag_class": "singlet",
    ...                     "hashtag_confidence": 1.0}, index=["x", "y"])
    >>> counts = pd.DataFrame({"a": [0, 90], "b": [80, 1]}, index=["x", "y"])
    >>> adata = anndata.AnnData(np.ones((2, 1)), obs=obs, obsm={"hashtags": counts})
    >>> ax = nk.pl.hashtag_ridges(adata)
    >>> ax.get_xlabel()
    'Hashtag count'
    >>> plt.close(ax.figure)
    """
    counts, cells, name = _lane(adata, lane)
    single = as_text(cells[schema.HASHTAG_CLASS]) != "doublet"
    tag = as_text(cells[schema.HASHTAG]).where(
        as_text(cells[schema.HASHTAG_CLASS]) == schema.SINGLET, ""
    )
    numbers = np.log10(1 + counts.to_numpy(dtype=float))
    new = ax is None
    ax = axes_or_new(ax, (5, 2 + 0.24 * counts.shape[1]))
    tones = shades({"own": _OWN, "others": _OTHERS})
    edges = np.linspace(-0.2, max(float(np.nanmax(numbers)), 1.0) + 0.2, _BINS + 1)
    for row, column in enumerate(counts.columns):
        own = (tag == str(column)).to_numpy()
        others = numbers[single.to_numpy() & ~own, row]
        _ridge(ax, row, others, edges=edges, color=tones["others"])
        _ridge(ax, row, numbers[own, row], edges=edges, color=tones["own"])
        ax.text(
            1.02,
            row,
            f"{own.sum():,}",
            transform=ax.get_yaxis_transform(),
            va="bottom",
            fontsize=pt(SMALL),
        )
    _ridge_axes(ax, [str(column) for column in counts.columns], edges)
    titled(ax, name)
    SidePanel(ax, gap=0.5).legend(patches(tones, ["Called for the tag", "Other cells"]))
    if new:
        fit(ax, width=2.2, height=0.24 * counts.shape[1] + 0.15)
    return ax


def _lane(adata: AnnData, lane: str | None) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return counts of the lane's tags, its cells and its name."""
    schema.require(adata, "obsm", [schema.HASHTAGS], "io.read_coculture on lanes with hashtags")
    schema.require(adata, "obs", [schema.LANE], "io.read_coculture")
    columns = [schema.HASHTAG, schema.HASHTAG_CLASS, schema.HASHTAG_CONFIDENCE]
    schema.require(adata, "obs", columns, "pp.demultiplex")
    lane = one_of(levels_of(adata.obs[schema.LANE]), lane, "lane")
    inside = (as_text(adata.obs[schema.LANE]) == lane).to_numpy()
    counts = adata.obsm[schema.HASHTAGS].loc[inside].fillna(0)
    used = counts.loc[:, (counts > 0).any(axis=0)]
    if used.shape[1] == 0:
        msg = (
            f"All hashtag counts of lane {lane!r} are 0, so there is nothing to draw. "
            "Check that the tags of this lane were read."
        )
        raise DesignError(msg)
    tags = {str(tag): tag for tag in used.columns}
    used = used[[tags[name] for name in ordered(tags)]]
    return used, adata.obs.loc[inside, columns], lane


def _classes(cells: pd.DataFrame) -> list[str]:
    column = cells[schema.HASHTAG_CLASS]
    extra = [level for level in all_levels(column) if level not in schema.HASHTAG_CLASSES]
    missing = ["unassigned"] if column.isna().any() and "unassigned" not in extra else []
    return [*schema.HASHTAG_CLASSES, *extra, *missing]


def _order(cells: pd.DataFrame, tags: Sequence[object]) -> Array:
    ranks = {level: i for i, level in enumerate(_classes(cells))}
    places = {str(tag): i for i, tag in enumerate(tags)}
    kind = as_text(cells[schema.HASHTAG_CLASS]).map(ranks)
    tag = as_text(cells[schema.HASHTAG]).map(places).fillna(len(tags))
    certainty = cells[schema.HASHTAG_CONFIDENCE].astype(float).fillna(-1.0)
    return np.lexsort((-certainty.to_numpy(), tag.to_numpy(), kind.to_numpy()))


def _class_strip(ax: Axes, classes: Array, height: float) -> None:
    """Color a strip above the heat map, run by run, as tall as half a row of text."""
    colors = colors_of("hashtag_class", classes, main=False)
    starts = np.flatnonzero(np.append(True, classes[1:] != classes[:-1]))
    ends = np.append(starts[1:], len(classes))
    low, thick = 1 + 0.02 / height, 0.07 / height
    for start, end in zip(starts, ends, strict=True):
        ax.axvspan(
            start - 0.5,
            end - 0.5,
            low,
            low + thick,
            color=colors[classes[start]],
            linewidth=0,
            clip_on=False,
        )


def _ridge(ax: Axes, row: int, values: Array, *, edges: Array, color: str) -> None:
    if len(values) == 0:
        return
    density = _density(values, edges)
    centers = (edges[1:] + edges[:-1]) / 2
    top = row - 0.9 * density / density.max()
    ax.fill_between(centers, row, top, color=color, alpha=0.55, linewidth=0, zorder=2)
    ax.plot(centers, top, color=color, linewidth=0.7, zorder=3)


def _density(values: Array, edges: Array) -> Array:
    """Smooth a histogram; unlike a fitted bandwidth this also works for equal values."""
    from scipy.ndimage import gaussian_filter1d

    counts = np.histogram(values, edges)[0].astype(float)
    smooth = gaussian_filter1d(counts, _SMOOTH / (edges[1] - edges[0]), mode="constant")
    return np.asarray(smooth)


def _ridge_axes(ax: Axes, tags: list[str], edges: Array) -> None:
    ax.set_ylim(len(tags) - 0.85, -1.05)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_yticks(range(len(tags)), tags, va="bottom")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.hlines(range(len(tags)), edges[0], edges[-1], color=FAINT, linewidth=0.3, zorder=1)
    marks = {0: "0", 1: "1", 10: "10", 100: "100", 1_000: "1k", 10_000: "10k", 100_000: "100k"}
    shown = {np.log10(1 + mark): word for mark, word in marks.items()}
    shown = {float(place): word for place, word in shown.items() if place <= edges[-1]}
    ax.set_xticks(list(shown), list(shown.values()))
    ax.set_xlabel("Hashtag count", fontsize=pt(FONT))
    ax.text(
        1.02, -1.0, "cells", transform=ax.get_yaxis_transform(), va="bottom", fontsize=pt(SMALL)
    )
