"""Bars that stand above the columns of a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore._colors import FAINT
from nkscore.pl._look import FONT, SMALL, ink, pt
from nkscore.pl._style import figure_of
from nkscore.pl._tables import as_text, check_number, check_table, check_unique

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array

#: Inches between the matrix and the bars, and their height.
_GAP: Final = 0.08
_TALL: Final = 0.5


def bars_above(ax: Axes, table: pd.DataFrame, tumors: Sequence[str], colors: Sequence[str]) -> Axes:
    """Draw the change of each tumor, with its interval where known, above its column.

    The bars hang on the upper edge of ``ax`` at a distance in inches, so they follow when its
    size changes.
    """
    from matplotlib.ticker import MaxNLocator

    change, low, high = _numbers(table, tumors)
    above = inset_above(ax, _GAP, _TALL)
    at = np.arange(len(tumors))
    known = np.isfinite(change)
    shades = np.asarray(colors, dtype=object)[known].tolist()
    above.bar(at[known], change[known], width=0.72, linewidth=0, color=shades)
    above.vlines(at[known], low[known], high[known], color=ink(), linewidth=0.6)
    above.axhline(0, color=FAINT, linewidth=0.5)
    above.set_xlim(ax.get_xlim())
    above.set_xticks([])
    above.yaxis.set_major_locator(MaxNLocator(3))
    above.spines["bottom"].set_visible(False)
    above.tick_params(axis="y", labelsize=pt(SMALL))
    above.set_ylabel("Change of\nthe score", rotation=0, ha="right", va="center", fontsize=pt(FONT))
    return above


def inset_above(ax: Axes, start: float, tall: float) -> Axes:
    """Return axes as wide as ``ax``, ``start`` inches above it and ``tall`` inches high."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    inches: Any = figure_of(ax).dpi_scale_trans
    across: Any = ax.transAxes
    place = blended_transform_factory(across, inches + ScaledTranslation(0, 1, across))
    return ax.inset_axes((0, start, 1, tall), transform=place)


def _numbers(table: pd.DataFrame, tumors: Sequence[str]) -> tuple[Array, ...]:
    check_table(table, ["tumor", "change"], "tl.response_score")
    check_unique(table, ["tumor"])
    check_number(table, "change")
    rows = table.set_index(as_text(table["tumor"])).reindex(list(tumors))
    ends = [rows.get(name, rows["change"]) for name in ("ci_low", "ci_high")]
    change, low, high = (part.to_numpy(dtype=float) for part in (rows["change"], *ends))
    return change, low, high
