"""Pages of small multiples: many lines in one figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from nkscore import pl
from nkscore.pl._style import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nkscore.signatures import Signature

#: Lines on one page, and side by side.
ON_PAGE: Final = 12
_ACROSS: Final = 3
#: Width and height of one panel with its labels, in inches, and genes named in it.
_PANEL: Final = (2.75, 2.9)
_NAMED: Final = 10


def pages_of(lines: Sequence[str]) -> list[list[str]]:
    """Cut the lines into pages of about equal length."""
    n_pages = max(1, math.ceil(len(lines) / ON_PAGE))
    length = math.ceil(len(lines) / n_pages)
    return [list(lines[start : start + length]) for start in range(0, len(lines), length)]


def volcanoes(table: pd.DataFrame, lines: Sequence[str], highlight: Signature) -> Axes | Figure:
    """Draw the response of each line, side by side."""
    if len(lines) == 1:
        return pl.volcano(table, tumor=lines[0], highlight=highlight)
    from matplotlib import pyplot as plt

    across = min(_ACROSS, len(lines))
    down = math.ceil(len(lines) / across)
    with style():
        figure, grid = plt.subplots(
            down, across, figsize=(_PANEL[0] * across, _PANEL[1] * down), squeeze=False
        )
        # Names of genes are placed for the final size of the axes, so it is set first.
        figure.subplots_adjust(left=0, bottom=0, right=1, top=1, wspace=0.22, hspace=0.42)
        for place, ax in enumerate(grid.ravel()):
            if place >= len(lines):
                ax.remove()
                continue
            pl.volcano(
                table,
                tumor=lines[place],
                highlight=highlight,
                label=_NAMED,
                ax=ax,
                legend=place == across - 1,
            )
    return figure
