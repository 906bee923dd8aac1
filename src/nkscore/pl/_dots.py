"""Dot matrices: an effect as color, its certainty as size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore.pl._matrix import Matrix, draw
from nkscore.pl._tables import (
    as_text,
    by_significance,
    check_probabilities,
    check_table,
    check_unique,
    in_order,
    levels_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

_DEFAULT_GENES: Final = 25


def response_dots(
    table: pd.DataFrame,
    *,
    genes: Sequence[str] | None = None,
    tumors: Sequence[str] | None = None,
    bars: pd.DataFrame | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw the response of many genes in many tumors as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.interaction_response``: columns ``tumor``, ``gene``, ``log2_fc``, ``q_value``
        and, for the strip of colors, ``lineage``; one row per gene and tumor.
    genes
        Genes from top to bottom; by default the 25 that are significant in most tumors, without
        those marked in the column ``ambient_suspect``, where the table has it.
    tumors
        Tumors from left to right; by default grouped by lineage.
    bars
        From ``tl.response_score``: columns ``tumor``, ``change`` and, where present, ``ci_low`` and
        ``ci_high``; drawn as bars above the columns. Tumors without a row get no bar.
    fdr, ax
        Q-value below which dots get a dark ring; axes to draw on, a new figure by default.

    Returns
    -------
    Axes
        Color: log2 fold change; area: −log10 q, cut at 10; gray cross: not tested.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or not the genes or tumors asked for.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": ["K562", "697"], "gene": "B2M",
    ...                       "log2_fc": [1.2, 0.1], "q_value": [1e-6, 0.7]})
    >>> ax = nk.pl.response_dots(table)
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['697', 'K562']
    >>> plt.close(ax.figure)
    """
    check_table(table, ["tumor", "gene", "log2_fc", "q_value"], "tl.interaction_response")
    data = plain(table, "gene")
    matrix = Matrix(
        table=data,
        row="gene",
        value="log2_fc",
        value_label="log$_2$ fold change",
        rows=_top_genes(data, fdr) if genes is None else chosen(data, "gene", genes, fdr=fdr),
        tumors=tumor_order(table, tumors),
        fdr=fdr,
        italic=True,
        bars=bars,
    )
    return draw(matrix, lineages_of(data), ax)


def state_shift(
    table: pd.DataFrame,
    *,
    states: Sequence[str] | None = None,
    tumors: Sequence[str] | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw how the fraction of each state shifts in each tumor as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.state_shift``: columns ``tumor``, ``state``, ``log_odds_ratio``, ``q_value``
        and, for the strip of colors, ``lineage``; one row per state and tumor.
    states
        States from top to bottom; by default in the order of the table's categories.
    tumors
        Tumors from left to right; by default grouped by lineage.
    fdr, ax
        Q-value below which dots get a dark ring; axes to draw on, a new figure by default.

    Returns
    -------
    Axes
        Color: log odds ratio (treated over control); area: −log10 q, cut at 10; gray cross:
        not tested.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or not the states or tumors asked for.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "state": ["resting", "activated"],
    ...                       "log_odds_ratio": [-1.0, 1.4], "q_value": [0.01, 0.001]})
    >>> ax = nk.pl.state_shift(table, states=["activated", "resting"])
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['Activated', 'Resting']
    >>> plt.close(ax.figure)
    """
    check_table(table, ["tumor", "state", "log_odds_ratio", "q_value"], "tl.state_shift")
    data = plain(table, "state")
    matrix = Matrix(
        table=data,
        row="state",
        value="log_odds_ratio",
        value_label="log odds ratio",
        rows=in_order(levels_of(table["state"], "state"), states, "states"),
        tumors=tumor_order(table, tumors),
        fdr=fdr,
        italic=False,
    )
    return draw(matrix, lineages_of(data), ax)


def plain(table: pd.DataFrame, row: str) -> pd.DataFrame:
    """Return the table with names as text; raise unless there is one row and q-value per dot."""
    texts = [name for name in ("tumor", row, "lineage") if name in table.columns]
    data = table.assign(**{name: as_text(table[name]) for name in texts})
    check_unique(data, ["tumor", row])
    check_probabilities(data["q_value"], "q_value")
    return data


def chosen(data: pd.DataFrame, row: str, wanted: Sequence[str] | int, *, fdr: float) -> list[str]:
    """Return the rows asked for, or as many of those that are significant most often."""
    if not isinstance(wanted, int):
        return in_order(dict.fromkeys(data[row]), wanted, f"{row}s")
    return by_significance(data, row, data["q_value"] < fdr, "q_value")[:wanted]


def lineages_of(data: pd.DataFrame) -> dict[str, str]:
    """Return the lineage of each tumor, nothing where the table does not tell."""
    if "lineage" not in data.columns:
        return {}
    known = data.drop_duplicates("tumor")
    return dict(zip(known["tumor"], known["lineage"], strict=True))


def tumor_order(table: pd.DataFrame, tumors: Sequence[str] | None) -> list[str]:
    """Return the tumors asked for, or all, grouped by lineage."""
    names = levels_of(table["tumor"])
    if tumors is not None or "lineage" not in table.columns:
        return in_order(names, tumors, "tumors")
    lineage_of = lineages_of(
        table.assign(tumor=as_text(table["tumor"]), lineage=as_text(table["lineage"]))
    )
    ranks = {level: i for i, level in enumerate(levels_of(table["lineage"], "lineage"))}
    return sorted(names, key=lambda name: ranks.get(lineage_of[name], len(ranks)))


def _top_genes(data: pd.DataFrame, fdr: float) -> list[str]:
    if "ambient_suspect" in data.columns and not data["ambient_suspect"].all():
        data = data[~data["gene"].isin(data.loc[data["ambient_suspect"], "gene"])]
    return chosen(data, "gene", _DEFAULT_GENES, fdr=fdr)
