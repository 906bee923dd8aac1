"""House style of the figures, and the tools that lay them out."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from nkscore._colors import INK
from nkscore._settings import settings
from nkscore.pl._look import (
    FONT,
    HOUSE,
    INKED,
    WIDTHS,
    checked_palette,
    checked_size,
    checked_style,
    finish,
    now,
    pt,
    using,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nkscore._types import Array
    from nkscore.pl._look import Palette, Style

#: Number of points above which a scatter becomes an image within vector files.
RASTER_ABOVE: Final = 2_000
#: Empty margin around figures, in inches.
_PAD: Final = 0.03
#: Least inside of axes, in inches.
_LEAST: Final = 0.3
_FAMILIES: Final = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")


@contextmanager
def style(
    style: Style | None = None,
    *,
    font_size: float | None = None,
    palette: Palette | None = None,
) -> Iterator[None]:
    """House style of nkscore: for your own matplotlib figures, and your look for all of nkscore's.

    Small sans-serif type, thin axes, a white background in dark notebooks too, and text that stays
    text in PDF and SVG. Figures of nkscore that are drawn within take over what is given here. The
    previous settings are restored afterwards.

    Parameters
    ----------
    style
        Settings on top of the house style: a name that :func:`show_styles` draws, a mapping of
        matplotlib's ``rcParams``, or a list of both.
    font_size
        Size of the text in points, 7.5 by default.
    palette
        Colors of the figures drawn within: a mapping from levels to colors, a list of colors, or
        the name of a color map of matplotlib.

    Returns
    -------
    Context manager, for a ``with`` statement.

    Raises
    ------
    ValueError
        If a style, a color or a size is not known.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import nkscore as nk
    >>> with nk.pl.style("grid", font_size=9):
    ...     figure, ax = plt.subplots()
    >>> plt.close(figure)
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    # Jupyter's backend turns on interactive mode when it is loaded, with the first figure. If it
    # were loaded within the context, leaving the context would undo that, and no later figure would
    # show.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    look = now()
    changes: dict[str, Any] = {}
    if style is not None:
        changes["style"] = (*look.style, *checked_style(style))
    if font_size is not None:
        changes["font_size"] = checked_size(font_size)
    if palette is not None:
        changes["palette"] = checked_palette(palette)
    with using(replace(look, **changes) if changes else look), mpl.rc_context(_defaults()):
        for part in now().style:
            mpl.rcParams.update(_of_style(part))
        yield


def _of_style(part: str | Mapping[str, object]) -> dict[Any, Any]:
    """Return the settings of a style of the house, of matplotlib, or of the caller."""
    from matplotlib.style import library

    if not isinstance(part, str):
        return dict(part)
    return dict(HOUSE[part] if part in HOUSE else cast("Any", library)[part])


def _defaults() -> dict[Any, Any]:
    """Return the house style with what the user set for all figures."""
    return {**_settings(), **settings.figure}


def _settings() -> dict[Any, Any]:
    colors = dict.fromkeys(INKED, INK)
    white = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "white")
    lines = dict.fromkeys(
        ("axes.linewidth", "xtick.major.width", "ytick.major.width", "patch.linewidth"), 0.6
    )
    small = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), pt(FONT - 0.5))
    return {
        **colors,
        **white,
        **lines,
        **small,
        "font.family": available_fonts(),
        "font.size": pt(FONT),
        "axes.labelsize": pt(FONT),
        "axes.titlesize": pt(FONT + 0.5),
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": False,
        "figure.titlesize": pt(FONT + 0.5),
        "figure.dpi": 120,
        "legend.title_fontsize": pt(FONT - 0.5),
        "legend.frameon": False,
        "lines.linewidth": 0.8,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "mathtext.default": "regular",
        "figure.constrained_layout.w_pad": _PAD,
        "figure.constrained_layout.h_pad": _PAD,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
    }


def available_fonts() -> list[str]:
    """Return the house fonts that this machine has; each missing font would be logged."""
    from matplotlib import font_manager

    have = {entry.name for entry in font_manager.fontManager.ttflist}
    return [name for name in _FAMILIES if name in have]


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return ``ax``, or the axes of a new figure of ``size`` (inches)."""
    if ax is not None:
        restyle(ax)
        return ax
    from matplotlib import pyplot as plt

    scale = now().scale
    figure, new = plt.subplots(figsize=(size[0] * scale, size[1] * scale), layout="constrained")
    now().made.append(figure)
    return new


def panels_in(
    figure: Figure | SubFigure | None,
    rows: int,
    columns: int,
    *,
    size: tuple[float, float],
    **options: Any,  # noqa: ANN401 - of matplotlib
) -> tuple[Figure, Array]:
    """Return a figure and its panels: ``figure``, or a new one of ``size`` (inches).

    ``options`` go to ``Figure.subplots``. A title that was asked for gets room above.
    """
    look = now()
    if figure is None:
        from matplotlib import pyplot as plt

        above = 0.25 if look.title else 0.0
        wide, high = size[0] * look.scale, (size[1] + above) * look.scale
        if isinstance(look.figsize, str):
            wide = WIDTHS[look.figsize]
        elif look.figsize is not None:
            wide, high = look.figsize
        figure = plt.figure(figsize=(wide, high), layout="constrained")
        look.made.append(figure)
    panels = figure.subplots(rows, columns, squeeze=False, **options)
    return cast("Figure", figure), panels


def headed(figure: Figure | SubFigure, text: str) -> None:
    """Write the title that was asked for, or ``text``, above all panels."""
    look = now()
    look.met.add("title")
    figure.suptitle(
        text if look.title is None else look.title, fontweight="bold", fontsize=pt(FONT + 0.5)
    )


def restyle(ax: Axes) -> None:
    """Set thin lines and small type on axes that were made outside :func:`style`."""
    families = available_fonts()
    ax.tick_params(labelsize=pt(FONT - 0.5), width=0.6, length=2.5, labelfontfamily=families)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(pt(FONT))
        label.set_fontfamily(families)
    for side, spine in ax.spines.items():
        spine.set_linewidth(0.6)
        spine.set_visible(side in {"left", "bottom"})


def figure_of(part: Axes | Figure | SubFigure) -> Figure:
    """Return the whole figure of axes or of a subfigure, even if they are in a subfigure."""
    from matplotlib.figure import Figure

    holder: Any = part
    while not isinstance(holder, Figure):
        holder = holder.figure
    return holder


def fit(ax: Axes, *, width: float, height: float, shape: bool = False) -> None:
    """Resize the figure so that the inside of ``ax`` measures ``width`` × ``height`` inches.

    Elements around the axes (labels, legends) have a fixed size, so the figure must adapt. The
    figure must be large at first: legends on the right that extend below the axes would hide how
    much room the labels need. Larger type makes the inside larger, and a size that the caller asked
    for goes before: with the width of a column ``shape`` keeps the proportions of the inside.
    """
    finish(ax)
    figure, look = figure_of(ax), now()
    width, height = width * look.scale, height * look.scale
    figure.draw_without_rendering()
    inside, outside = ax.get_window_extent(), ax.get_tightbbox()
    if outside is None:
        return
    sides = (inside.x0 - outside.x0 + outside.x1 - inside.x1) / figure.dpi + 2 * _PAD
    top, bottom = (outside.y1 - inside.y1) / figure.dpi, (inside.y0 - outside.y0) / figure.dpi
    if look.figsize is not None:
        wanted = look.figsize
        wide = WIDTHS[wanted] if isinstance(wanted, str) else wanted[0]
        height = height * (wide - sides) / width if shape else height
        width = wide - sides
        if not isinstance(wanted, str):
            height = wanted[1] - top - bottom - 2 * _PAD
        _check_room(width, height, (sides, top + bottom + 2 * _PAD))
    below = max(height + bottom, _depth(ax))
    high = top + below + 2 * _PAD
    if isinstance(look.figsize, tuple):
        high = look.figsize[1]
    figure.set_size_inches(width + sides, high)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.draw_without_rendering()


def _check_room(width: float, height: float, around: tuple[float, float]) -> None:
    if min(width, height) < _LEAST:
        msg = (
            f"figsize leaves {width:.2f} × {height:.2f} inches for the data, as words and legends "
            f"take {around[0]:.2f} × {around[1]:.2f}; at least {_LEAST} × {_LEAST} are needed. "
            "Pass a larger figsize, a smaller font_size or, where there is one, legend=False."
        )
        raise ValueError(msg)


def _depth(ax: Axes) -> float:
    """Return how far legends and color bars reach below the top of the axes, in inches."""
    from matplotlib.legend import Legend

    beside = [child for child in ax.get_children() if isinstance(child, Legend)] + ax.child_axes
    top = ax.get_window_extent().y1
    depths = [top - float(artist.get_window_extent().y0) for artist in beside]
    return max(depths, default=0.0) / figure_of(ax).dpi


def cell_points(ax: Axes, columns: int, rows: int) -> float:
    """Return the smaller side, in points, of one cell of a grid laid over ``ax``."""
    box = ax.get_window_extent()
    scale = 72 / figure_of(ax).dpi
    return float(min(box.width / max(columns, 1), box.height / max(rows, 1)) * scale)


def height_of(ax: Axes) -> float:
    """Return the height of the inside of ``ax`` in inches."""
    return float(ax.get_window_extent().height / figure_of(ax).dpi)


def bare(ax: Axes) -> None:
    """Remove spines and tick marks; keep labels."""
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)


def resize_dots(ax: Axes, *, cell: float, shape: tuple[int, int]) -> None:
    """Fit the dots of a grid of columns × rows, and their legends, to the size that was asked for.

    ``cell`` is the side of a cell, in points, for which they were drawn.
    """
    from matplotlib.collections import PathCollection
    from matplotlib.legend import Legend

    if now().figsize is None:
        return
    ratio = cell_points(ax, *shape) / cell
    for part in (one for one in ax.collections if isinstance(one, PathCollection)):
        part.set_sizes(np.asarray(part.get_sizes()) * ratio**2)
    legends = [child for child in ax.get_children() if isinstance(child, Legend)]
    for legend in legends:
        for line in legend.get_lines():
            line.set_markersize(line.get_markersize() * ratio)
