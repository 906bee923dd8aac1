"""What NK cells can see of residual tumor cells: two answers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Unpack

import numpy as np
import pandas as pd

from nkscore._colors import DOWN, FAINT, UP
from nkscore.pl._drawn import drawn
from nkscore.pl._look import FONT, SMALL, ink, ordered, paper, printed, pt, shades
from nkscore.pl._side import SidePanel, dot
from nkscore.pl._style import headed, panels_in
from nkscore.pl._tables import as_text, check_number, check_table, levels_of, one_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nkscore._types import Array, Floats
    from nkscore.pl._drawn import Look

_ROW: Final = 0.15
_TITLES: Final = {"as_such": "As such", "equal_depth_and_cycle": "At equal depth and cycle"}
_SUM: Final = "sum"
_COLUMNS: Final = ("tumor", "answer", "class", "gene", "log2_fc", "ci_low", "ci_high", "q_value")
_BAND: Final = "#E6E6E6"
_RNA: Final = "rna_per_cell"
_CLASSES: Final = {
    _RNA: "RNA per cell",
    "nkg2d_ligands": "NKG2D ligands",
    "dnam1_ligands": "DNAM-1 ligands",
    "ncr_ligands": "NKp30, NKp44, NKp46 ligands",
    "cd2_slam_ligands": "CD2, 2B4, SLAM ligands",
    "lfa1_ligands": "LFA-1 ligands",
    "hla_class_i": "HLA class I",
    "hla_e": "HLA-E",
    "tigit_ligands": "TIGIT, CD96 ligands",
    "mhc_class_ii": "HLA class II",
    "ifng_signaling": "IFN-γ signaling",
    **{
        name: name.capitalize().replace("_", " ")
        for name in (
            "costimulatory_ligands",
            "other_adhesion",
            "death_receptors",
            "apoptosis_promoting",
            "apoptosis_preventing",
            "decoy_receptors",
            "checkpoint_ligands",
            "antigen_presentation",
        )
    },
}


@drawn
def visibility(
    table: pd.DataFrame,
    *,
    tumor: str | None = None,
    q_value: float = 0.05,
    genes: bool = True,
    fig: Figure | SubFigure | None = None,
    **_look: Unpack[Look],
) -> Figure:
    """Draw the change of each class of genes that NK cells see, and of the genes that changed.

    Parameters
    ----------
    table
        From ``tl.visibility``: columns ``tumor``, ``answer``, ``class``, ``gene``, ``log2_fc``,
        ``ci_low``, ``ci_high``, ``q_value``; optional: ``more_means``, ``detectable_log2_fc``,
        ``overlap``.
    tumor
        Line or patient to draw; optional if the table has only one.
    q_value
        Rows up to this q-value are filled.
    genes
        Whether to draw genes that are called in one of the answers below their class.
    fig
        Figure or part of a figure to draw in; a new figure by default.

    Returns
    -------
    Figure
        One panel per answer with common rows: effect and interval. Filled: called; red: more
        visible to NK cells, blue: less visible, dark: either. Gray band: changes that such an
        experiment misses more often than in one of five cases.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, or several lines and ``tumor`` is not given.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> row = {"tumor": "K562", "class": "nkg2d_ligands", "gene": "sum", "log2_fc": -1.0,
    ...        "ci_low": -1.4, "ci_high": -0.6, "q_value": 0.001, "more_means": "more visible"}
    >>> answers = ("as_such", "equal_depth_and_cycle")
    >>> table = pd.DataFrame([{**row, "answer": answer} for answer in answers])
    >>> figure = nk.pl.visibility(table)
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['As such', 'At equal depth and cycle']
    >>> plt.close(figure)
    """
    check_table(table, _COLUMNS, "tl.visibility")
    check_number(table, "log2_fc")
    name = one_of(levels_of(table["tumor"]), tumor, "tumor")
    own = table[as_text(table["tumor"]) == name]
    rows = _rows(own, q_value=q_value, genes=genes)
    answers = [
        answer
        for answer in dict.fromkeys([*_TITLES, *own["answer"]])
        if answer in set(own["answer"])
    ]
    size = (1.6 * len(answers) + 3.2, _ROW * len(rows) + 0.75)
    figure, axes = panels_in(fig, 1, len(answers), size=size, sharex=True, sharey=True)
    limits = _limits(own.merge(rows, on=["class", "gene"]))
    for ax, answer in zip(axes[0], answers, strict=True):
        part = rows.merge(own[own["answer"] == answer], on=["class", "gene"], how="left")
        _panel(ax, part, q_value=q_value, limits=limits)
        ax.set_title(_TITLES.get(answer, answer))
        _note(ax, part)
    _labels(axes[0][0], rows)
    axes[0][0].set_ylim(len(rows) - 0.4, -0.6)
    figure.supxlabel("log$_2$ fold change, residual / other", fontsize=pt(FONT))
    headed(figure, name)
    _legend(axes[0][-1])
    return figure


def _rows(table: pd.DataFrame, *, q_value: float, genes: bool) -> pd.DataFrame:
    """Return the classes in the order of the table, each with its called genes."""
    found: list[tuple[str, str]] = []
    called = table[(table["q_value"] <= q_value) & (table["gene"] != _SUM)]
    for name in ordered(dict.fromkeys(table["class"])):
        inside = table[table["class"] == name]
        if (inside["gene"] == _SUM).any():
            found.append((name, _SUM))
        single: Array = inside["gene"].unique()[: int((name, _SUM) not in found)]
        below: Array | list[str] = (
            called.loc[called["class"] == name, "gene"].unique() if genes else []
        )
        found += [(name, str(gene)) for gene in dict.fromkeys([*single[:1], *below])]
    return pd.DataFrame(found, columns=["class", "gene"])


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return limits that show all effects and most of each interval."""
    effect = table["log2_fc"].to_numpy(dtype=float)
    effect = effect[np.isfinite(effect)]
    reach = float(np.abs(np.append(effect, 1.0)).max()) * 1.25
    return -reach, reach


def _panel(ax: Axes, part: pd.DataFrame, *, q_value: float, limits: tuple[float, float]) -> None:
    low, high = limits
    at = np.arange(len(part))
    if "detectable_log2_fc" in part.columns:
        reach = np.clip(part["detectable_log2_fc"].to_numpy(dtype=float), 0, high)
        known = np.isfinite(reach)
        ax.barh(at[known], 2 * reach[known], left=-reach[known], height=1.0, color=_BAND, zorder=0)
    ax.axvline(0, color=FAINT, linewidth=0.6, zorder=1)
    effect, start, end, q = (
        part[name].to_numpy(dtype=float) for name in ("log2_fc", "ci_low", "ci_high", "q_value")
    )
    known = np.isfinite(effect)
    ax.hlines(
        at[known],
        np.maximum(start, low)[known],
        np.minimum(end, high)[known],
        color=ink(),
        linewidth=0.8,
        zorder=2,
    )
    hue = _hues(part, effect)
    called = q <= q_value
    face = np.where(called, hue, paper())
    ax.scatter(
        effect[known],
        at[known],
        s=14,
        c=face[known].tolist(),
        edgecolors=np.where(called, hue, ink())[known].tolist(),
        linewidths=0.7,
        zorder=3,
    )
    for row in at[~known & (part["class"] != _RNA).to_numpy()]:
        ax.text(
            0,
            row,
            "not tested",
            fontsize=pt(SMALL),
            color=FAINT,
            ha="center",
            va="center",
            zorder=3,
        )
    ax.set_xlim(low, high)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _hues(part: pd.DataFrame, effect: Floats) -> Array:
    means = (
        as_text(part["more_means"])
        if "more_means" in part.columns
        else pd.Series("", index=part.index)
    )
    sign = means.map({"more visible": 1, "less visible": -1}).fillna(0).to_numpy(dtype=float)
    toward = sign * np.sign(effect)
    tones = shades({"up": UP, "down": DOWN, "either": ink()})
    down = np.where(toward < 0, tones["down"], tones["either"])
    return np.where(toward > 0, tones["up"], down)


def _note(ax: Axes, part: pd.DataFrame) -> None:
    if "overlap" not in part.columns or not part["overlap"].notna().any():
        return
    share = float(part["overlap"].dropna().iloc[0])
    ax.set_xlabel(f"overlap of the groups {share:.2f}", fontsize=pt(SMALL), color=FAINT)


def _labels(ax: Axes, rows: pd.DataFrame) -> None:
    first = ~rows["class"].duplicated()
    names = [
        _first_label(str(name), str(gene)) if is_first else str(gene)
        for name, gene, is_first in zip(rows["class"], rows["gene"], first, strict=True)
    ]
    ax.set_yticks(range(len(names)), names)
    for text, is_first in zip(ax.get_yticklabels(), first, strict=True):
        text.set_fontstyle("normal" if is_first else "italic")
        text.set_fontweight("bold" if is_first else "normal")


def _first_label(name: str, gene: str) -> str:
    """Return the name of a class, with its gene if only one is tested."""
    known = printed(name)
    words = _CLASSES.get(name, name.replace("_", " ")) if known == name else known
    return words if gene in (_SUM, words) else f"{words}: {gene}"


def _legend(ax: Axes) -> None:
    from matplotlib.patches import Patch

    tones = shades({"up": UP, "down": DOWN, "either": ink()})
    handles: list[Any] = [
        dot(tones["up"], "More visible\nto NK cells", size=4),
        dot(tones["down"], "Less visible", size=4),
        dot(tones["either"], "Either", size=4),
        dot(paper(), "Not called", size=4, markeredgecolor=ink(), markeredgewidth=0.7),
        Patch(facecolor=_BAND, edgecolor="none", label="Too small\nto be found"),
    ]
    SidePanel(ax).legend(handles)
