"""Values of lines by lineage, with tests from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import numpy as np

from nkscore.errors import DesignError
from nkscore.pl._drawn import drawn
from nkscore.pl._look import SMALL, colors_of, ink, ordered, printed, pt, titled
from nkscore.pl._style import axes_or_new, fit
from nkscore.pl._tables import as_text, check_table, check_unique, levels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._types import Array
    from nkscore.pl._drawn import Look

#: Groups of fewer points get no box, because its quartiles would be the points.
_FEWEST: Final = 4


@drawn
def box_by_group(
    table: pd.DataFrame,
    *,
    value: str,
    group: str = "lineage",
    tests: pd.DataFrame | None = None,
    q_threshold: float = 0.05,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    r"""Draw a number of each line, by lineage, as points over boxes.

    Parameters
    ----------
    table
        One row per line, for example from ``tl.response_score`` (``value="change"``).
    value
        Column of the number.
    group
        Column of the groups; from the lowest to the highest median unless ``order`` is given.
    tests
        Tests between groups, from ``tl.response_score(level="lineage")``: columns ``lineage`` (or
        the name of ``group``), ``other``, ``q_value``; ``p_overall`` is printed where present.
    q_threshold
        Pairs with a q-value below it get a bracket with their q-value.
    ax
        Axes to draw on; a new figure by default.

    Returns
    -------
    Axes
        Points: lines. Boxes: median and quartiles, of groups of at least four lines; a dash marks
        the median of smaller groups.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    DesignError
        If the table has no rows or no number.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"lineage": ["AML"] * 3 + ["MM"] * 2, "change": [1, 2, 3, 0, 1.0]})
    >>> ax = nk.pl.box_by_group(table, value="change")
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['MM\n(2)', 'AML\n(3)']
    >>> plt.close(ax.figure)
    """
    check_table(table, [group, value], "tl.response_score")
    known = table[np.isfinite(table[value].to_numpy(dtype=float)) & table[group].notna()]
    if len(known) == 0:
        msg = f"No row has both {group!r} and a finite {value!r}, so there is nothing to draw."
        raise DesignError(msg)
    names = as_text(known[group])
    numbers = {
        name: known.loc[names == name, value].to_numpy(dtype=float)
        for name in levels_of(known[group], group)
    }
    ranked = sorted(numbers, key=lambda name: float(np.median(numbers[name])))
    shown = ordered(ranked)
    own = ax is None
    # About 0.065 inches per letter of a tick label.
    step = max(0.36, 0.065 * max(len(printed(name)) + 1 for name in shown))
    width = max(step * len(shown), 0.8)
    ax = axes_or_new(ax, (width + 2, 4))
    colors = colors_of(group, numbers)
    for place, name in enumerate(shown):
        _group(ax, place, numbers[name], colors[name])
    ax.set_xlim(-0.6, len(shown) - 0.4)
    words = [f"{printed(name)}\n({len(numbers[name])})" for name in shown]
    ax.set_xticks(range(len(shown)), words)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(value.replace("_", " ").capitalize())
    if tests is not None:
        _tests(ax, tests, shown, group=group, q_threshold=q_threshold)
    if own:
        fit(ax, width=width, height=1.8)
    return ax


def _group(ax: Axes, place: int, numbers: Array, color: str) -> None:
    if len(numbers) >= _FEWEST:
        ax.boxplot(
            [numbers],
            positions=[place],
            widths=0.62,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": color, "alpha": 0.35, "linewidth": 0.6},
            medianprops={"color": ink(), "linewidth": 1.0},
            whiskerprops={"linewidth": 0.6},
            capprops={"linewidth": 0},
        )
    else:
        ax.hlines(float(np.median(numbers)), place - 0.31, place + 0.31, color=ink(), linewidth=1.0)
    ax.scatter(
        place + _spread(numbers), numbers, s=13, c=color, edgecolors=ink(), linewidths=0.4, zorder=3
    )


def _spread(numbers: Array) -> Array:
    """Return reproducible sideways shifts that separate points of similar height."""
    shift: Array = np.zeros(len(numbers))
    ranks = np.argsort(np.argsort(numbers, kind="stable"), kind="stable")
    if len(numbers) > 1:
        shift = ((ranks * 0.618034) % 1 - 0.5) * 0.4
    return shift


def _tests(
    ax: Axes, tests: pd.DataFrame, shown: list[str], *, group: str, q_threshold: float
) -> None:
    first = group if group in tests.columns else "lineage"
    check_table(tests, [first, "other", "q_value"], "tl.response_score(level='lineage')")
    check_unique(tests, [first, "other"])
    pairs = [
        (*sorted((shown.index(a), shown.index(b))), float(q))
        for a, b, q in zip(
            as_text(tests[first]), as_text(tests["other"]), tests["q_value"], strict=True
        )
        if a in shown and b in shown and q < q_threshold
    ]
    low, high = ax.get_ylim()
    step = 0.105 * (high - low)
    for level, (left, right, q) in enumerate(sorted(pairs, key=lambda p: (p[1] - p[0], p[0]))):
        y = high + step * (level + 0.3)
        bracket = [left, left, right, right], [y - step * 0.2, y, y, y - step * 0.2]
        ax.plot(*bracket, color=ink(), linewidth=0.6, clip_on=False)
        ax.text(
            (left + right) / 2, y, f"q = {q:.1g}", ha="center", va="bottom", fontsize=pt(SMALL - 1)
        )
    ax.set_ylim(low, high + step * (len(pairs) + 0.4 if pairs else 0))
    if "p_overall" in tests.columns:
        titled(ax, f"overall p = {float(tests['p_overall'].iloc[0]):.2g}", fontsize=pt(SMALL))
