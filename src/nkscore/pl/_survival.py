"""Survival of patients over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from nkscore._colors import FAINT, INK
from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, colors_of, ink, printed, pt, shades
from nkscore.pl._side import SidePanel
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import check_number, check_table, check_unique, levels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look


@drawn
def survival(
    table: pd.DataFrame,
    *,
    unit: str = "days",
    ax: Axes | None = None,
    legend: bool = True,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the share of patients alive over time, one curve per group.

    Parameters
    ----------
    table
        From ``tl.survival_curves``: columns ``group``, ``time``, ``survival``, ``ci_low``,
        ``ci_high``, ``n_censored``, ``n`` and, where present, ``n_events`` and ``p_value``.
    unit
        Unit of time, for the axis.
    ax, legend
        Axes to draw on, a new figure by default; whether to draw the legend.

    Returns
    -------
    Axes
        Steps: Kaplan-Meier estimate; band: interval; vertical ticks: end of follow-up of living
        patients; in the corner: p-value of the log-rank test.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, a group has a time twice, or a column is not numeric.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> patients = pd.DataFrame({"time": [1.0, 2.0, 3.0, 4.0], "event": [True, False, True, True]})
    >>> curves = nk.tl.survival_curves(patients)
    >>> ax = nk.pl.survival(curves)
    >>> ax.get_xlabel()
    'Time (days)'
    >>> plt.close(ax.figure)
    """
    numbers = ["time", "survival", "ci_low", "ci_high", "n_censored", "n"]
    check_table(table, ["group", *numbers], "tl.survival_curves")
    check_number(table, *numbers)
    check_unique(table, ["group", "time"])
    groups = levels_of(table["group"])
    colors = colors_of("group", groups) if len(groups) > 1 else shades({groups[0]: INK})
    own = ax is None
    ax = axes_or_new(ax, (3.2, 2.4))
    for name in groups:
        _curve(ax, table[table["group"].astype(str) == name], color=colors[name], label=name)
    ax.axhline(0.5, color=FAINT, linewidth=0.5, linestyle=":", zorder=0)
    ax.set_ylim(0, 1.02)
    ax.set_xlim(left=0)
    ax.set_xlabel(f"Time ({unit})")
    ax.set_ylabel("Patients alive")
    if "p_value" in table and table["p_value"].notna().any():
        ax.text(
            0.03,
            0.04,
            f"log-rank p = {table['p_value'].iloc[0]:.2g}",
            fontsize=pt(SMALL),
            color=ink(),
            transform=ax.transAxes,
        )
    if legend and len(groups) > 1:
        SidePanel(ax).legend(ax.get_legend_handles_labels()[0])
    if own:
        fit(ax, width=2.4, height=1.8)
    return ax


def _curve(ax: Axes, part: pd.DataFrame, *, color: str, label: str) -> None:
    part = part.sort_values("time")
    said = f"{printed(label)} (n = {int(part['n'].iloc[0])}"
    if "n_events" in part:
        said += f", {int(part['n_events'].sum())} died"
    ax.fill_between(
        part["time"],
        part["ci_low"],
        part["ci_high"],
        step="post",
        color=color,
        alpha=0.15,
        linewidth=0,
    )
    ax.step(part["time"], part["survival"], where="post", color=color, label=f"{said})")
    alive = part[part["n_censored"] > 0]
    ax.plot(alive["time"], alive["survival"], "|", color=color, markersize=4, markeredgewidth=0.7)
