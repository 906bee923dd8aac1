"""CRISPR screens of killing by NK cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore._colors import BACKGROUND, DOWN, FAINT, INK, UP
from nkscore.pl._labels import label_points
from nkscore.pl._matrix import Matrix, draw
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import FONT, RASTER_ABOVE, SMALL, axes_or_new, fit, style
from nkscore.pl._tables import (
    as_text,
    by_significance,
    check_number,
    check_probabilities,
    check_table,
    check_unique,
    in_order,
    levels_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array

_ROLES: Final = {
    "activating": (UP, "Promotes killing"),
    "inhibitory": (DOWN, "Prevents killing"),
}
_GENES: Final = 25


def screen_scatter(
    table: pd.DataFrame,
    *,
    screen: str | None = None,
    label: int | Iterable[str] = 12,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Draw all genes of one screen: fold change against p-value, hits in color.

    Parameters
    ----------
    table
        From ``tl.screen_hits``: columns ``screen``, ``gene``, ``log2_fc``, ``p_value``, ``role``,
        ``hit`` and, where present, ``is_control``.
    screen
        Screen to draw; may be left out where the table has only one.
    label
        Number of hits to name, the smallest p-values first, or the genes to name.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Red: losing the gene protects (or gaining it sensitizes), so it promotes killing; blue: the
        other way. Light crosses: controls. p-values of 0 are drawn a little above the others.

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
    with style():
        own = ax is None
        ax = axes_or_new(ax, (4.5, 3.5))
        _points(ax, genes)
        ax.axvline(0, color=FAINT, linewidth=0.4, zorder=0)
        ax.set_xlabel("log$_2$ fold change of the guides\n(with / without NK cells)")
        ax.set_ylabel("−log$_{10}$ p")
        ax.set_title(str(genes["screen"].iloc[0]), fontweight="bold", pad=13)
        ax.annotate(
            f"{int(genes['hit'].sum()):,} hits of {len(genes):,} genes",
            (0, 1),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL,
            color=INK,
        )
        if legend:
            _legend(ax, genes)
        if own:
            fit(ax, width=2.3, height=2.2)
        named = (
            genes[genes["hit"]].head(label)
            if isinstance(label, int)
            else genes[genes["gene"].isin(set(label))]
        )
        label_points(
            ax,
            _xy(named),
            words=named["gene"].tolist(),
            colors=[INK] * len(named),
            avoid=_xy(genes[genes["hit"]]),
            faint=_xy(genes[~genes["hit"]]),
        )
    return ax


def _one_screen(table: pd.DataFrame, screen: str | None) -> pd.DataFrame:
    known = levels_of(table["screen"])
    if screen is None and len(known) == 1:
        screen = known[0]
    if screen is None or screen not in known:
        found = f"{len(known)} screens" if screen is None else f"no screen {screen!r}"
        msg = f"The table has {found}; one is drawn. Pass screen= one of: {', '.join(known)}."
        raise ValueError(msg)
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
    # p-values from permutations are often equal: the larger change then comes first.
    genes["size"] = -genes["log2_fc"].abs()
    return genes.sort_values(["p_value", "size", "gene"], kind="stable")


def _points(ax: Axes, genes: pd.DataFrame) -> None:
    control = genes["is_control"].astype(bool) if "is_control" in genes.columns else ~genes["hit"]
    control &= "is_control" in genes.columns
    raster = len(genes) > RASTER_ABOVE
    layers = [
        (~genes["hit"] & ~control, BACKGROUND, "o", 3.0),
        (control, FAINT, "x", 6.0),
        *(
            (genes["hit"] & (genes["role"] == role), hue, "o", 9.0)
            for role, (hue, _) in _ROLES.items()
        ),
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


def _legend(ax: Axes, genes: pd.DataFrame) -> None:
    size = FONT * 0.5
    present = set(genes.loc[genes["hit"], "role"].astype(str))
    handles = [dot(hue, words, size=size) for r, (hue, words) in _ROLES.items() if r in present]
    handles.append(dot(BACKGROUND, "No hit", size=size))
    if "is_control" in genes.columns and genes["is_control"].astype(bool).any():
        handles.append(dot(FAINT, "Control", size=size, marker="x", markeredgewidth=0.6))
    SidePanel(ax).legend(handles, title="Gene")


def _xy(genes: pd.DataFrame) -> Array:
    return np.asarray(genes[["log2_fc", "height"]], dtype=float)


def screen_dots(
    table: pd.DataFrame,
    *,
    genes: Sequence[str] | int = _GENES,
    screens: Sequence[str] | None = None,
    joined: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw genes in several screens as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.screen_hits``: columns ``screen``, ``gene``, ``log2_fc``, ``p_value``, ``hit``.
    genes
        Genes from top to bottom, or how many to take: those that are hits in most screens, then
        those of the smallest p-values.
    screens
        Screens from left to right; by default in natural order.
    joined
        From ``tl.join_screens``: takes its first genes, in its order, where ``genes`` is a number.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Color: log2 fold change of the guides; area: −log10 p, cut at 10; dark ring: a hit; gray
        cross: not in the screen.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or not the genes or screens asked for.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"screen": ["K562", "NALM6"], "gene": "CD58", "log2_fc": [2.0, 0.3],
    ...                       "p_value": [1e-6, 0.2], "hit": [True, False]})
    >>> ax = nk.pl.screen_dots(table)
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['K562', 'NALM6']
    >>> plt.close(ax.figure)
    """
    check_table(table, ["screen", "gene", "log2_fc", "p_value", "hit"], "tl.screen_hits")
    data = table.assign(
        tumor=as_text(table["screen"]), gene=as_text(table["gene"]), hit=table["hit"].astype(bool)
    )
    check_unique(data, ["screen", "gene"])
    check_probabilities(data["p_value"], "p_value")
    if isinstance(genes, int):
        rows = _first_genes(data, joined)[:genes]
    else:
        rows = in_order(dict.fromkeys(data["gene"]), genes, "genes")
    matrix = Matrix(
        table=data,
        row="gene",
        value="log2_fc",
        value_label="log$_2$ fold change\nof the guides",
        rows=rows,
        tumors=in_order(levels_of(table["screen"]), screens, "screens"),
        fdr=0.05,
        italic=True,
        certainty="p_value",
        certainty_label="p",
        ring="hit",
        ring_label="Hit",
    )
    return draw(matrix, {}, ax)


def _first_genes(data: pd.DataFrame, joined: pd.DataFrame | None) -> list[str]:
    if joined is not None:
        check_table(joined, ["gene"], "tl.join_screens")
        known = set(data["gene"])
        return [gene for gene in as_text(joined["gene"]) if gene in known]
    return by_significance(data, "gene", data["hit"], "p_value")
