"""CRISPR screens of killing by NK cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore._colors import BACKGROUND, DOWN, FAINT, UP
from nkscore.pl._drawn import drawn
from nkscore.pl._labels import label_points
from nkscore.pl._look import FONT, SMALL, ink, pt, shades, titled
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import RASTER_ABOVE, axes_or_new, fit
from nkscore.pl._tables import (
    as_text,
    check_number,
    check_probabilities,
    check_table,
    check_unique,
    levels_of,
    one_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

_ROLES: Final = {
    "activating": (UP, "Promotes killing"),
    "inhibitory": (DOWN, "Prevents killing"),
}


@drawn
def screen_scatter(
    table: pd.DataFrame,
    *,
    screen: str | None = None,
    label: int | Iterable[str] = 12,
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw all genes of one screen: fold change against p-value, hits in color.

    p-values of 0 are drawn a little above the others.

    Parameters
    ----------
    table
        From ``tl.screen_hits``: columns ``screen``, ``gene``, ``log2_fc``, ``p_value``, ``role``,
        ``hit`` and, where present, ``is_control``.
    screen
        Screen to draw; optional if the table has only one.
    label
        Number of hits to name, the smallest p-values first, or the genes to name.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Red: losing the gene protects (or gaining it sensitizes), so it promotes killing; blue: the
        other way. Light crosses: controls.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or several screens and ``screen`` is not given.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"screen": "K562", "gene": ["CD58", "ACTB"], "log2_fc": [2.0, 0.1],
    ...                       "p_value": [1e-6, 0.8], "role": "activating", "hit": [True, False]})
    >>> ax = nk.pl.screen_scatter(table)
    >>> ax.texts[-1].get_text()
    'CD58'
    >>> plt.close(ax.figure)
    """
    columns = ["screen", "gene", "log2_fc", "p_value", "role", "hit"]
    check_table(table, columns, "tl.screen_hits")
    genes = _one_screen(table, screen)
    check_number(genes, "log2_fc", "p_value")
    own = ax is None
    ax = axes_or_new(ax, (4.5, 3.5))
    _points(ax, genes)
    ax.axvline(0, color=FAINT, linewidth=0.4, zorder=0)
    ax.set_xlabel("log$_2$ fold change of the guides\n(with / without NK cells)")
    ax.set_ylabel("−log$_{10}$ p")
    titled(ax, str(genes["screen"].iloc[0]), fontweight="bold", pad=pt(13))
    ax.annotate(
        f"{int(genes['hit'].sum()):,} hits of {len(genes):,} genes",
        (0, 1),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=pt(SMALL),
        color=ink(),
    )
    if legend:
        _legend(ax, genes)
    if own:
        fit(ax, width=2.3, height=2.2, shape=True)
    named = (
        genes[genes["hit"]].head(label)
        if isinstance(label, int)
        else genes[genes["gene"].isin(set(label))]
    )
    label_points(
        ax,
        _xy(named),
        words=named["gene"].tolist(),
        colors=[ink()] * len(named),
        avoid=_xy(genes[genes["hit"]]),
        faint=_xy(genes[~genes["hit"]]),
    )
    return ax


def _one_screen(table: pd.DataFrame, screen: str | None) -> pd.DataFrame:
    screen = one_of(levels_of(table["screen"]), screen, "screen")
    genes = table[as_text(table["screen"]) == screen]
    check_unique(genes, ["screen", "gene"])
    check_probabilities(genes["p_value"], "p_value")
    genes = genes[genes["log2_fc"].notna() & genes["p_value"].notna()]
    p_value = genes["p_value"].to_numpy(dtype=float)
    positive = p_value[p_value > 0]
    floor = float(positive.min()) / 2 if positive.size else 0.1
    genes = genes.assign(
        gene=as_text(genes["gene"]),
        hit=genes["hit"].astype(bool),
        height=-np.log10(np.maximum(p_value, floor)),
    )
    # Permutation p-values are often equal: the larger change then comes first.
    genes["size"] = -genes["log2_fc"].abs()
    return genes.sort_values(["p_value", "size", "gene"], kind="stable")


def _points(ax: Axes, genes: pd.DataFrame) -> None:
    control = genes["is_control"].astype(bool) if "is_control" in genes.columns else ~genes["hit"]
    control &= "is_control" in genes.columns
    raster = len(genes) > RASTER_ABOVE
    tones = _tones()
    layers = [
        (~genes["hit"] & ~control, tones["background"], "o", 3.0),
        (control, tones["control"], "x", 6.0),
        *((genes["hit"] & (genes["role"] == role), tones[role], "o", 9.0) for role in _ROLES),
    ]
    for order, (chosen, color, marker, area) in enumerate(layers, 1):
        part = genes[chosen]
        ax.scatter(
            part["log2_fc"],
            part["height"],
            s=area,
            c=color,
            marker=marker,
            zorder=order,
            linewidths=0.5 if marker == "x" else 0,
            rasterized=raster,
            clip_on=False,
        )
    low, high = min(float(genes["log2_fc"].min()), 0), max(float(genes["log2_fc"].max()), 0)
    margin = 0.1 * (high - low or 1.0)
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(0, float(genes["height"].max()) * 1.12 or 1.0)


def _tones() -> dict[str, str]:
    roles = {role: hue for role, (hue, _) in _ROLES.items()}
    return shades({**roles, "background": BACKGROUND, "control": FAINT})


def _legend(ax: Axes, genes: pd.DataFrame) -> None:
    size = FONT * 0.5
    present = set(genes.loc[genes["hit"], "role"].astype(str))
    tones = _tones()
    handles = [dot(tones[r], words, size=size) for r, (_, words) in _ROLES.items() if r in present]
    handles.append(dot(tones["background"], "No hit", size=size))
    if "is_control" in genes.columns and genes["is_control"].astype(bool).any():
        handles.append(dot(tones["control"], "Control", size=size, marker="x", markeredgewidth=0.6))
    SidePanel(ax).legend(handles, title="Gene")


def _xy(genes: pd.DataFrame) -> Array:
    return np.asarray(genes[["log2_fc", "height"]], dtype=float)
