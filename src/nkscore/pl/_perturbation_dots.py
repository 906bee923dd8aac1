"""Knock-outs and the genes that they change, as a matrix of dots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore.pl._dots import plain
from nkscore.pl._matrix import Matrix, draw
from nkscore.pl._tables import check_table, in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

_DEFAULT_GENES: Final = 25


def perturbation_dots(
    table: pd.DataFrame,
    *,
    contrast: str | None = None,
    genes: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw the effects of knock-outs on genes or scores as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.perturbation_response`` (columns ``target``, ``gene``, ``contrast``, ``log2_fc``,
        ``q_value``) or ``tl.perturbation_scores`` (``score`` and ``effect_sd`` instead).
    contrast
        Which contrast to draw, if the table holds several.
    genes
        Genes or scores from top to bottom; by default the 25 that are significant for most targets.
    targets
        Targets from left to right; by default those with most significant genes first.
    fdr, ax
        Q-value below which dots get a dark ring; axes to draw on, a new figure by default.

    Returns
    -------
    Axes
        Color: log2 fold change (of scores: standard deviations); area: −log10 q, cut at 10; gray
        cross: not tested.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or not the contrast, genes or targets
        asked for.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"target": ["STAT1", "JAK2"], "gene": "PSMB9", "contrast": "knockout",
    ...                       "log2_fc": [-1.7, -1.4], "q_value": [1e-20, 0.2]})
    >>> ax = nk.pl.perturbation_dots(table)
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['STAT1', 'JAK2']
    >>> plt.close(ax.figure)
    """
    scores = "score" in table and "gene" not in table
    row, value = ("score", "effect_sd") if scores else ("gene", "log2_fc")
    made_by = "tl.perturbation_scores" if scores else "tl.perturbation_response"
    check_table(table, ["target", row, "contrast", value, "q_value"], made_by)
    data = plain(_one_contrast(table, contrast).rename(columns={"target": "tumor"}), row)
    hits = data[data["q_value"] < fdr]
    by_row = _most_first(data, hits, row)[:_DEFAULT_GENES]
    matrix = Matrix(
        table=data,
        row=row,
        value=value,
        value_label="standard deviations" if scores else "log$_2$ fold change",
        rows=by_row if genes is None else in_order(dict.fromkeys(data[row]), genes, "genes"),
        tumors=_most_first(data, hits, "tumor")
        if targets is None
        else in_order(dict.fromkeys(data["tumor"]), targets, "targets"),
        fdr=fdr,
        italic=not scores,
    )
    return draw(matrix, {}, ax)


def _one_contrast(table: pd.DataFrame, contrast: str | None) -> pd.DataFrame:
    have = list(dict.fromkeys(table["contrast"]))
    if contrast is None and len(have) == 1:
        return table
    if contrast not in have:
        msg = f"The table holds the contrasts {', '.join(map(str, have))}; name one: contrast=."
        raise ValueError(msg)
    return table[table["contrast"] == contrast]


def _most_first(data: pd.DataFrame, hits: pd.DataFrame, column: str) -> list[str]:
    """Return names with most hits first, then by their smallest q-value."""
    number = hits[column].value_counts()
    best = data.groupby(column)["q_value"].min()
    names = dict.fromkeys(data[column])
    return sorted(names, key=lambda name: (-int(number.get(name, 0)), float(best[name]), name))
