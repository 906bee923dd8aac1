"""Quality of the cells, lane by lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Unpack

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._colors import palette
from nkscore._storable import stored_name
from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, SMALL, ink, paper, pt, shades, shortened
from nkscore.pl._side import SidePanel, dot, patches
from nkscore.pl._style import RASTER_ABOVE, panels_in
from nkscore.pl._tables import as_text, levels_of

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nkscore._types import Array, Floats
    from nkscore.pl._drawn import Look

_PANELS: Final = {
    schema.TOTAL_COUNTS: "UMI counts",
    schema.N_GENES_BY_COUNTS: "Genes",
    schema.PCT_COUNTS_MT: "Mitochondrial (%)",
    schema.PCT_COUNTS_RIBO: "Ribosomal (%)",
}
_NEEDED: Final = (schema.TOTAL_COUNTS, schema.N_GENES_BY_COUNTS)
_STEP: Final = "pp.qc"
#: Maximum height of all lanes, in inches.
_TALLEST: Final = 12.0


@drawn
def qc(adata: AnnData, *, fig: Figure | SubFigure | None = None, **_look: Unpack[Look]) -> Figure:
    """Draw the quality measures of each lane with their limits, and how many cells passed.

    Reads ``obs["lane"]``, ``obs["qc_pass"]``, ``obs["total_counts"]``,
    ``obs["n_genes_by_counts"]`` and, where present, ``obs["pct_counts_mt"]``,
    ``obs["pct_counts_ribo"]`` and ``uns["nkscore"]["pp.qc"]["limits"]``.

    Parameters
    ----------
    adata
        Cells × genes, before ``pp.keep``.
    fig
        Figure or part of a figure to draw in; a new figure by default.

    Returns
    -------
    Figure
        One column per measure, one row per lane: density, cells (red: removed), box from the
        lower to the upper quartile with the median, limits as dotted lines. Last column: cells
        kept and removed.

    Raises
    ------
    MissingKeyError
        If ``pp.qc`` was not run.
    DesignError
        If there are no cells.

    Examples
    --------
    >>> import anndata, matplotlib.pyplot as plt, numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> obs = pd.DataFrame({"lane": "L1", "qc_pass": [True, True, False],
    ...                     "total_counts": [900, 1100, 50], "n_genes_by_counts": [400, 500, 30]},
    ...                    index=list("abc"))
    >>> figure = nk.pl.qc(anndata.AnnData(np.ones((3, 1)), obs=obs))
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['UMI counts', 'Genes', 'Cells']
    >>> plt.close(figure)
    """
    schema.require(adata, "obs", [schema.LANE], "io.read_coculture")
    schema.require(adata, "obs", [schema.QC_PASS, *_NEEDED], _STEP)
    if adata.n_obs == 0:
        msg = "adata has no cells, so there is nothing to draw. Check the filters before this step."
        raise DesignError(msg)
    lanes = levels_of(adata.obs[schema.LANE])
    measures = [name for name in _PANELS if name in adata.obs]
    limits = _limits(adata)
    names = shortened(lanes)
    # Add about 0.06 inches per letter of the names, so that they do not narrow the panels.
    wide = 1.5 * (len(measures) + 1) + 1.0 + 0.06 * max(map(len, names))
    size = (wide, 0.75 + min(0.34 * len(lanes), _TALLEST))
    figure, (panels,) = panels_in(fig, 1, len(measures) + 1, size=size, sharey=True)
    cells = adata.obs.assign(lane=as_text(adata.obs[schema.LANE]))
    for ax, name in zip(panels, measures, strict=False):
        _measure(ax, cells, name, lanes=lanes, limits=limits)
    _verdict(panels[-1], cells, lanes)
    panels[0].set_yticks(range(len(lanes)), names)
    panels[0].set_ylim(len(lanes) - 0.5, -0.5)
    return figure


def _limits(adata: AnnData) -> dict[str, dict[str, list[float]]]:
    """Return the finite limits: lane → column → values."""
    record = adata.uns.get(schema.RECORD, {}).get(_STEP, {})
    found = record.get("limits", {}) if isinstance(record, Mapping) else {}
    if not isinstance(found, Mapping):
        return {}
    return {
        str(lane): {name: _numbers(ends) for name, ends in columns.items()}
        for lane, columns in found.items()
        if isinstance(columns, Mapping)
    }


def _numbers(ends: object) -> list[float]:
    # An open end is stored as "None" or infinity, since HDF5 has no missing number.
    values = pd.to_numeric(pd.Series(np.atleast_1d(np.asarray(ends)).tolist()), errors="coerce")
    return [float(value) for value in values if np.isfinite(value)]


def _measure(
    ax: Axes,
    cells: pd.DataFrame,
    name: str,
    *,
    lanes: list[str],
    limits: dict[str, dict[str, list[float]]],
) -> None:
    logarithmic = name in _NEEDED
    for row, lane in enumerate(lanes):
        inside = cells[cells[schema.LANE] == lane]
        values = inside[name].to_numpy(dtype=float)
        known = np.isfinite(values)
        shown = np.log10(np.maximum(values[known], 1)) if logarithmic else values[known]
        if shown.size:
            kept = inside[schema.QC_PASS].to_numpy(dtype=bool)[known]
            _cloud(ax, row, shown, kept=kept)
        for end in limits.get(stored_name(lane), {}).get(name, []):
            place = np.log10(max(end, 1)) if logarithmic else end
            x, y = [place, place], [row - 0.46, row + 0.46]
            ax.plot(x, y, color=ink(), linewidth=0.9, linestyle=(0, (1, 1.2)), zorder=5)
    ax.set_xlabel(_PANELS[name])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if logarithmic:
        _powers(ax)


def _powers(ax: Axes) -> None:
    """Put ticks at powers of ten, and between them where there is one only."""
    low, high = ax.get_xlim()
    whole = np.arange(np.floor(max(low, 0)), np.floor(high) + 1)
    ticks = {float(value): _power(int(value)) for value in whole if value >= low}
    if len(ticks) < 2:
        ticks |= {value + np.log10(3): _power(int(value), 3) for value in whole}
    shown = {place: word for place, word in ticks.items() if low <= place <= high}
    ax.set_xticks(list(shown), list(shown.values()))


def _power(exponent: int, times: int = 1) -> str:
    return f"{times}{('', '0', '00', 'k', '0k', '00k', 'M', '0M')[min(exponent, 7)]}"


def _cloud(ax: Axes, row: int, values: Array, *, kept: Array) -> None:
    """Draw density above the line, cells below it and the box on it."""
    colors = _tones()
    spread = np.random.default_rng(0).uniform(0.12, 0.42, values.size)
    for verdict in (True, False):
        chosen = kept == verdict
        ax.scatter(
            values[chosen],
            row + spread[chosen],
            s=2 if not verdict else 1.2,
            c=colors[str(verdict)],
            alpha=0.8 if not verdict else 0.3,
            linewidths=0,
            rasterized=values.size > RASTER_ABOVE,
            zorder=2,
        )
    if np.ptp(values) > 0:
        _density(ax, row, values)
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    ends = quartiles[[0, 2]]
    ax.plot(ends, [row + 0.05] * 2, color=ink(), linewidth=1.8, solid_capstyle="butt", zorder=3)
    ax.scatter(quartiles[1], row + 0.05, s=9, c=paper(), edgecolors=ink(), linewidths=0.7, zorder=4)


def _density(ax: Axes, row: int, values: Floats) -> None:
    edges = np.linspace(values.min(), values.max(), 61)
    counts = np.histogram(values, edges)[0].astype(float)
    ax.stairs(
        row - 0.42 * counts / counts.max(),
        edges,
        baseline=row,
        fill=True,
        color="#B9C6D3",
        linewidth=0,
        zorder=1,
    )


def _tones() -> dict[str, str]:
    fixed = palette("qc_pass")
    found = shades({"kept": fixed["True"], "removed": fixed["False"]})
    return {"True": found["kept"], "False": found["removed"]}


def _verdict(ax: Axes, cells: pd.DataFrame, lanes: list[str]) -> None:
    colors = _tones()
    kept = np.array([cells.loc[cells[schema.LANE] == lane, schema.QC_PASS].sum() for lane in lanes])
    total = np.array([(cells[schema.LANE] == lane).sum() for lane in lanes])
    rows = np.arange(len(lanes))
    ax.barh(rows, kept, height=0.55, color=colors["True"], linewidth=0)
    ax.barh(rows, total - kept, left=kept, height=0.55, color=colors["False"], linewidth=0)
    for row, (passed, all_cells) in enumerate(zip(kept, total, strict=True)):
        ax.annotate(
            f"{passed:,} kept\n{all_cells - passed:,} removed",
            (all_cells, row),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=pt(SMALL - 0.5),
            linespacing=1.0,
            annotation_clip=False,
        )
    ax.set_xlabel("Cells", fontsize=pt(FONT))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    side = SidePanel(ax, gap=0.75)
    side.legend(
        [
            *patches(colors, ["Kept", "Removed"]),
            dot(paper(), "Median", size=3, markeredgecolor=ink(), markeredgewidth=0.7),
            dot(ink(), "Limit", size=6, marker="|", markeredgewidth=0.9),
        ]
    )
