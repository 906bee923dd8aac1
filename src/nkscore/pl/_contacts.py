"""Attached pairs of NK and tumor cells, with what chance and leaked tags explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, colors_of, in_rows, ink, paper, pt
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, check_number, check_table, one_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look

_NEEDED: Final = ("per_100", "per_100_low", "per_100_high", "p_family", "answer", "n_own")
_LEVELS: Final = ("sample", "tumor", "nk_donor", "lane")
_ROW: Final = 0.19


@drawn
def contacts(
    table: pd.DataFrame, *, by: str | None = None, ax: Axes | None = None, **_look: Unpack[Look]
) -> Axes:
    """Draw attached NK–tumor pairs per 100 droplets, with intervals.

    Parameters
    ----------
    table
        From :func:`nkscore.tl.contacts`.
    by
        Column of the names; by default the first of ``sample``, ``tumor``, ``nk_donor``, ``lane``.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        One row per name, the highest first. Filled dots: more than chance at a family-wise error
        of 5 %. An arrow marks an upper bound, words a row without an answer.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    DesignError
        If the table has no rows, or no row has an estimate.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": ["K562", "697"], "per_100": [3.9, 0.1],
    ...     "per_100_low": [3.0, -0.2], "per_100_high": [4.9, 0.5], "p_family": [1e-6, 0.4],
    ...     "answer": "excess", "n_own": [80, 9], "expected_chance": [5.0, 6.0],
    ...     "expected_leak": [1.0, 1.0]})
    >>> ax = nk.pl.contacts(table)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['K562', '697']
    >>> plt.close(ax.figure)
    """
    check_table(table, _NEEDED, "tl.contacts")
    check_number(table, "per_100")
    name = one_of([c for c in _LEVELS if c in table], by, "by") if by else _first(table)
    check_table(table, [name], "tl.contacts")
    rows = table.sort_values("per_100", ascending=False, kind="stable")
    rows = in_rows(rows, as_text(rows[name])).reset_index(drop=True)
    own = ax is None
    ax = axes_or_new(ax, (4.5, 1 + _ROW * len(rows)))
    _draw(ax, rows)
    ax.set_yticks(range(len(rows)), list(as_text(rows[name])))
    if own:
        fit(ax, width=2.6, height=_ROW * len(rows) + 0.1)
    return ax


def _first(table: pd.DataFrame) -> str:
    return next((c for c in _LEVELS if c in table), _LEVELS[0])


def _draw(ax: Axes, rows: pd.DataFrame) -> None:
    colors = colors_of("compartment", ["mixed"])
    color = colors["mixed"]
    right = float(np.nanmax(rows[["per_100", "per_100_high"]].to_numpy(dtype=float)))
    left = min(float(np.nanmin(rows[["per_100", "per_100_low"]].to_numpy(dtype=float))), 0.0)
    ax.axvline(0, color=ink(), linewidth=0.6, zorder=0)
    for place, row in enumerate(rows.to_dict("records")):
        if row["answer"] == "no answer":
            ax.text(0, place, "  no answer", va="center_baseline", fontsize=pt(SMALL), color="0.45")
            continue
        bound = row["answer"] == "upper bound"
        low = left if bound else row["per_100_low"]
        ax.plot([low, row["per_100_high"]], [place, place], color=color, linewidth=1.0)
        if bound:
            ax.plot([row["per_100_high"]], [place], marker="<", color=color, markersize=4)
            continue
        called = row["p_family"] < 0.05
        ax.plot(
            [row["per_100"]],
            [place],
            marker="o",
            markersize=4.5,
            color=color,
            markerfacecolor=color if called else paper(),
        )
    _counts(ax, rows)
    span = right - left or 1.0
    ax.set_xlim(left - 0.05 * span, right + 0.05 * span)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("Attached NK–tumor pairs per 100 droplets")


def _counts(ax: Axes, rows: pd.DataFrame) -> None:
    """Write observed and expected pairs to the right."""
    place = ax.get_yaxis_transform()
    expected = rows[[c for c in ("expected_chance", "expected_leak") if c in rows]].sum(axis=1)
    for k, (n, chance) in enumerate(zip(rows["n_own"], expected, strict=True)):
        known = rows["answer"].iloc[k] != "no answer"
        text = f"{n:,.0f} ({chance:,.0f})" if known else f"{n:,.0f}"
        ax.text(1.02, k, text, transform=place, va="center_baseline", fontsize=pt(SMALL))
    ax.text(
        1.02, -0.9, "pairs (expected)", transform=place, va="center_baseline", fontsize=pt(SMALL)
    )
