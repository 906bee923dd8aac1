"""House style of the figures, and the tools that lay them out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from nkscore._colors import INK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Number of points above which a scatter becomes an image within vector files.
RASTER_ABOVE: Final = 20_000
FONT: Final = 7.5
SMALL: Final = 6.5
#: Empty margin around figures, in inches.
_PAD: Final = 0.03
_FAMILIES: Final = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")


@contextmanager
def style() -> Iterator[None]:
    """House style of nkscore: apply it to your own matplotlib figures.

    Small sans-serif type, thin axes, a white background in dark notebooks too, and text that stays
    text in PDF and SVG. The previous settings are restored afterwards.

    Returns
    -------
    Context manager, for a ``with`` statement.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import nkscore as nk
    >>> with nk.pl.style():
    ...     figure, ax = plt.subplots()
    >>> plt.close(figure)
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    # Jupyter's backend turns on interactive mode when it is loaded, with the first figure. If it
    # were loaded within the context, leaving the context would undo that, and no later figure would
    # show.
    plt.draw_if_interactive()  # type: ignore[no-untyped-call]
    with mpl.rc_context(_settings()):
        yield


def _settings() -> dict[Any, Any]:
    colors = dict.fromkeys(
        (
            "axes.edgecolor",
            "axes.labelcolor",
            "axes.titlecolor",
            "text.color",
            "xtick.color",
            "ytick.color",
            "xtick.labelcolor",
            "ytick.labelcolor",
            "legend.labelcolor",
        ),
        INK,
    )
    white = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "white")
    lines = dict.fromkeys(
        ("axes.linewidth", "xtick.major.width", "ytick.major.width", "patch.linewidth"), 0.6
    )
    small = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), FONT - 0.5)
    return {
        **colors,
        **white,
        **lines,
        **small,
        "font.family": available_fonts(),
        "font.size": FONT,
        "axes.labelsize": FONT,
        "axes.titlesize": FONT + 0.5,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": False,
        "figure.titlesize": FONT + 0.5,
        "figure.dpi": 120,
        "legend.title_fontsize": FONT - 0.5,
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

    _, new = plt.subplots(figsize=size, layout="constrained")
    return new


def restyle(ax: Axes) -> None:
    """Set thin lines and small type on axes that were made outside :func:`style`."""
    families = available_fonts()
    ax.tick_params(labelsize=FONT - 0.5, width=0.6, length=2.5, labelfontfamily=families)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(FONT)
        label.set_fontfamily(families)
    for side, spine in ax.spines.items():
        spine.set_linewidth(0.6)
        spine.set_visible(side in {"left", "bottom"})


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure of ``ax``, even if ``ax`` is in a subfigure."""
    from matplotlib.figure import Figure

    holder: Any = ax.figure
    while not isinstance(holder, Figure):
        holder = holder.figure
    return holder


def fit(ax: Axes, *, width: float, height: float) -> None:
    """Resize the figure so that the inside of ``ax`` measures ``width`` × ``height`` inches.

    Elements around the axes (labels, legends) have a fixed size, so the figure must adapt. The
    figure must be large at first: legends on the right that extend below the axes would hide how
    much room the labels need.
    """
    figure = figure_of(ax)
    figure.draw_without_rendering()
    inside, outside = ax.get_window_extent(), ax.get_tightbbox()
    if outside is None:
        return
    sides = (inside.x0 - outside.x0 + outside.x1 - inside.x1) / figure.dpi
    top, bottom = (outside.y1 - inside.y1) / figure.dpi, (inside.y0 - outside.y0) / figure.dpi
    below = max(height + bottom, _depth(ax))
    figure.set_size_inches(width + sides + 2 * _PAD, top + below + 2 * _PAD)
    figure.draw_without_rendering()


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
