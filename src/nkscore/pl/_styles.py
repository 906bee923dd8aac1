"""The styles of the house, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore._colors import DOWN, UP
from nkscore.pl._look import HOUSE, checked_style, ink, pt
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import style

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure, SubFigure

_ACROSS: Final = 3
_POINTS: Final = ((0.2, 0.5), (0.9, 1.6), (1.4, 1.2), (1.9, 2.4), (2.6, 2.1))


def show_styles(styles: Iterable[str] | None = None, *, font_size: float | None = None) -> Figure:
    """Draw one small example in each style, with its name above.

    Parameters
    ----------
    styles
        Names of styles of nkscore or of matplotlib (``matplotlib.style.available``); by default
        those of nkscore.
    font_size
        Size of the text in points, 7.5 by default.

    Returns
    -------
    Figure
        One panel per style. Pass a name as ``style=`` to any figure, or to
        :func:`nkscore.pl.style` for all figures drawn within.

    Raises
    ------
    ValueError
        If a style is not known.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import nkscore as nk
    >>> figure = nk.pl.show_styles(["nkscore", "dark"])
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['nkscore', 'dark']
    >>> plt.close(figure)
    """
    from matplotlib import pyplot as plt

    names = [styles] if isinstance(styles, str) else list(HOUSE if styles is None else styles)
    for name in names:
        checked_style(name)
    across = min(_ACROSS, max(len(names), 1))
    down = -(-len(names) // across)
    with style(font_size=font_size):
        figure = plt.figure(figsize=(pt(2.3 * across), pt(1.7 * down)), layout="constrained")
        parts = figure.subfigures(down, across, squeeze=False).ravel()
    for part, name in zip(parts, names, strict=False):
        _example(part, name, font_size)
    return figure


def _example(part: SubFigure, name: str, font_size: float | None) -> None:
    from matplotlib import rcParams

    with style(name, font_size=font_size):
        part.set_facecolor(rcParams["figure.facecolor"])
        ax = part.subplots()
        x, y = zip(*_POINTS, strict=True)
        ax.plot(x, y, color=ink())
        for color, chosen in ((UP, slice(0, 3)), (DOWN, slice(3, 5))):
            ax.scatter(x[chosen], y[chosen], color=color, s=16, zorder=3)
        ax.set_title(name, loc="left")
        ax.set_xlabel("Time (h)")
        ax.set_ylabel("Effect")
        SidePanel(ax).legend([dot(UP, "Up"), dot(DOWN, "Down")], title="Change")
