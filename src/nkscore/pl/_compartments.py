"""NK, tumor and other cells of each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._colors import INK, is_dark
from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, colors_of, ordered, printed, pt
from nkscore.pl._side import SidePanel, patches
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, levels_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

_NO_SAMPLE: Final = "(no sample)"
#: Height of a bar, and maximum height of all bars, in inches.
_ROW: Final = 0.17
_TALLEST: Final = 12.0


@drawn
def compartments(adata: AnnData, *, ax: Axes | None = None, **_look: Unpack[Look]) -> Axes:
    """Draw the fractions of NK, tumor and other cells of each sample as stacked bars.

    Reads ``obs["sample"]`` and ``obs["compartment"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        One bar per sample with its number of cells; cells without a sample come last.

    Raises
    ------
    MissingKeyError
        If ``pp.compartments`` or ``pp.demultiplex`` was not run.
    DesignError
        If there are no cells.

    Examples
    --------
    >>> import anndata, matplotlib.pyplot as plt, numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> obs = pd.DataFrame({"sample": ["a"] * 4, "compartment": ["nk", "nk", "nk", "tumor"]},
    ...                    index=list("wxyz"))
    >>> ax = nk.pl.compartments(anndata.AnnData(np.ones((4, 1)), obs=obs))
    >>> [float(bar.get_width()) for bar in ax.patches]
    [0.75, 0.25]
    >>> plt.close(ax.figure)
    """
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    schema.require(adata, "obs", [schema.SAMPLE], "pp.demultiplex")
    if adata.n_obs == 0:
        msg = "adata has no cells, so there is nothing to draw. Check the filters before this step."
        raise DesignError(msg)
    counts = _counts(adata.obs)
    row = min(_ROW, _TALLEST / len(counts))
    own = ax is None
    ax = axes_or_new(ax, (6, 2 + row * len(counts)))
    # Text is at most as high as its row: 0.15 inches fit the default size.
    _bars(ax, counts, small=pt(SMALL * min(row / 0.15, 1.0)))
    if own:
        fit(ax, width=2.6, height=row * len(counts) + 0.05)
    return ax


def _counts(obs: pd.DataFrame) -> pd.DataFrame:
    sample, compartment = obs[schema.SAMPLE], obs[schema.COMPARTMENT]
    names = as_text(sample).where(sample.notna(), _NO_SAMPLE)
    counts = pd.crosstab(names.to_numpy(), as_text(compartment).to_numpy())
    rows = levels_of(sample) + ([_NO_SAMPLE] if sample.isna().any() else [])
    known = [name for name in schema.COMPARTMENTS if name in counts.columns]
    extra = [name for name in levels_of(compartment) if name not in schema.COMPARTMENTS]
    return counts.loc[ordered(rows), ordered(known + extra)]


def _bars(ax: Axes, counts: pd.DataFrame, *, small: float) -> None:
    totals = counts.sum(axis=1).to_numpy(dtype=float)
    colors = colors_of("compartment", counts.columns)
    rows = np.arange(len(counts))
    left: Array = np.zeros(len(counts))
    for name in counts.columns:
        width = counts[name].to_numpy(dtype=float) / totals
        ax.barh(rows, width, left=left, height=0.82, color=colors[name], linewidth=0)
        shade = "white" if is_dark(colors[name]) else INK
        for row in map(int, np.flatnonzero(width >= 0.12)):
            ax.text(
                left[row] + width[row] / 2,
                row,
                f"{width[row]:.0%}",
                color=shade,
                ha="center",
                va="center_baseline",
                fontsize=small - 0.5,
            )
        left = left + width
    for row, total in enumerate(totals):
        ax.text(1.01, row, f"{total:,.0f}", va="center_baseline", ha="left", fontsize=small)
    ax.text(1.01, -0.85, "cells", va="center_baseline", ha="left", fontsize=pt(SMALL))
    ax.set_xlim(0, 1)
    ax.set_ylim(len(counts) - 0.5, -0.5)
    ax.set_yticks(rows, [str(name) for name in counts.index])
    ax.tick_params(axis="y", length=0)
    if small < pt(SMALL):
        ax.tick_params(axis="y", labelsize=small)
    ax.spines["left"].set_visible(False)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.set_xlabel("Cells of the sample (%)")
    SidePanel(ax, gap=0.5).legend(patches(colors, map(printed, colors)))
