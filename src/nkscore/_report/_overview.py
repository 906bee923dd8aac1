"""The figure of the first screen: the main results side by side, each in the width it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore import pl
from nkscore._report._results import has

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore._report._results import Results

    Draw = Callable[[], Axes]
    #: Name of the figure, title, caption and how to draw it.
    Tile = tuple[str, str, str, Draw]

SUMMARY: Final = "summary"
#: First part of the names of its figures.
OVERVIEW: Final = "overview"
#: Lines and genes of a tile: more would be too small to read.
_LINES, _GENES = 12, 8
_TILES = 3
_DORMANT: Final = "low_myc_dormant_like"
_CAPTIONS: Final = {
    "nk_activation": "Activated states, with NK cells alone as the baseline.",
    "nk_state_shift": "Color: log odds ratio; rings: q < 0.05.",
    "core_response": "Mean over lines and its interval; gray: a further line.",
    "signal_activity": "Area: z of each signal by itself.",
    "tumor_state_shift": "With the same line alone as the baseline.",
    "contacts": "Per 100 droplets, beyond chance.",
}


def overview(results: Results) -> list[Tile]:
    """Return the first results that there are, as small figures."""
    tables = {name: table for name, table in results.tables.items() if len(table)}
    lines, note = _lines(tables)
    makers = (
        ("nk_activation", "NK activation by line", _activation),
        ("nk_state_shift", "NK states in co-culture", _shift),
        ("core_response", "Core response of tumor cells", _core),
        ("signal_activity", "Signals that explain it", _signals),
        ("tumor_state_shift", "Dormant-like tumor cells", _dormancy),
        ("contacts", "Attached NK–tumor pairs", _contacts),
    )
    found: list[Tile] = []
    for name, title, maker in makers:
        draw = maker(_of_lines(tables[name], lines)) if name in tables else None
        if draw is not None:
            noted = note if "tumor" in tables[name] else ""
            found.append((f"{OVERVIEW}_{name}", title, f"{_CAPTIONS[name]}{noted}", draw))
    return found[:_TILES]


def _lines(tables: dict[str, pd.DataFrame]) -> tuple[list[str] | None, str]:
    """Return the lines to draw if there are too many: the two ends of the order of activation."""
    table = tables.get("nk_activation")
    if table is None or not has(table, "tumor", "log_odds_ratio") or len(table) <= _LINES:
        return None, ""
    order = table.sort_values("log_odds_ratio", ascending=False)["tumor"].astype(str).tolist()
    ends = [*order[: _LINES // 2], *order[-_LINES // 2 :]]
    return ends, f" Shown: the {_LINES // 2} lines that activate NK cells most and least."


def _of_lines(table: pd.DataFrame, lines: list[str] | None) -> pd.DataFrame:
    if lines is None or "tumor" not in table:
        return table
    rows: pd.DataFrame = table[table["tumor"].astype(str).isin(lines)]
    return rows.assign(tumor=rows["tumor"].astype(str))


def _activation(table: pd.DataFrame) -> Draw | None:
    if not has(table, "tumor", "log_odds_ratio", "ci_low", "ci_high") or not len(table):
        return None
    return lambda: pl.effects(table, label="tumor", effect="log_odds_ratio")


def _shift(table: pd.DataFrame) -> Draw | None:
    if not has(table, "tumor", "state", "log_odds_ratio", "q_value") or not len(table):
        return None
    return lambda: pl.state_shift(table)


def _core(table: pd.DataFrame) -> Draw | None:
    if not has(table, "gene", "log2_fc", "ci_low", "ci_high"):
        return None
    return lambda: pl.core_response(table, genes=_GENES, legend=False)


def _signals(table: pd.DataFrame) -> Draw | None:
    if not has(table, "tumor", "signal", "stands_for", "alone_z", "call") or not len(table):
        return None
    return lambda: pl.signal_activity(table)


def _dormancy(table: pd.DataFrame) -> Draw | None:
    if not has(table, "tumor", "state", "log_odds_ratio", "ci_low", "ci_high"):
        return None
    rows = table[table["state"].astype(str) == _DORMANT]
    if not len(rows):
        return None
    return lambda: pl.effects(rows, label="tumor", effect="log_odds_ratio")


def _contacts(table: pd.DataFrame) -> Draw | None:
    if not has(table, "per_100", "per_100_low", "per_100_high", "p_family", "answer", "n_own"):
        return None
    if not table["per_100"].notna().any():
        return None
    return lambda: pl.contacts(table)
