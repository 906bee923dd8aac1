"""Dot matrices: an effect as color, its certainty as size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

from nkscore.pl._drawn import drawn
from nkscore.pl._look import ordered
from nkscore.pl._matrix import Matrix, draw
from nkscore.pl._tables import (
    as_text,
    by_significance,
    check_probabilities,
    check_table,
    check_unique,
    in_order,
    levels_of,
    lineages_of,
    readable,
    tumor_order,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from nkscore.pl._drawn import Look

_GENES: Final = 25
_PAIRS: Final = 25
_SETS: Final = 20


@drawn
def response_dots(
    table: pd.DataFrame,
    *,
    genes: Sequence[str] | None = None,
    tumors: Sequence[str] | None = None,
    bars: pd.DataFrame | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the response of many genes in many tumors as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.interaction_response``: columns ``tumor``, ``gene``, ``log2_fc``, ``q_value``
        and, for the strip of colors, ``lineage``; one row per gene and tumor.
    genes
        Genes from top to bottom; by default the 25 that are significant in most tumors, without
        those marked in the optional column ``ambient_suspect``.
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
        If the table has no rows, several for one dot, or lacks requested genes or tumors.

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
    data = _plain(table, "gene")
    matrix = Matrix(
        table=data,
        row="gene",
        value="log2_fc",
        value_label="log$_2$ fold change",
        rows=_top_genes(data, fdr) if genes is None else _chosen(data, "gene", genes, fdr=fdr),
        tumors=tumor_order(table, tumors),
        fdr=fdr,
        italic=True,
        bars=bars,
    )
    return draw(matrix, lineages_of(data), ax)


@drawn
def state_shift(
    table: pd.DataFrame,
    *,
    states: Sequence[str] | None = None,
    tumors: Sequence[str] | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
    **_look: Unpack[Look],
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
        If the table has no rows, several for one dot, or lacks requested states or tumors.

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
    data = _plain(table, "state")
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


@drawn
def communication_dots(
    table: pd.DataFrame,
    *,
    pairs: Sequence[str] | int = _PAIRS,
    tumors: Sequence[str] | None = None,
    by: str = "tumor",
    fdr: float = 0.05,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw how receptor-ligand pairs change in co-culture as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.communication`` (``level="line"``): columns ``tumor``, ``nk_gene``,
        ``tumor_gene``, ``log2_fc``, ``q_value``; optional: ``nk_partners``, ``lineage``, and
        ``ambient_suspect``, which marks the name of the pair.
    pairs
        Pairs from top to bottom, written as ``"NK gene – tumor gene"``, or their number: those that
        are significant in most columns, then those with the smallest q-values.
    tumors
        Columns from left to right; by default grouped by lineage, if the table has it.
    by
        ``tumor``, or ``nk_state`` for a table of one tumor split by NK states.
    fdr, ax
        Q-value below which dots get a dark ring; axes to draw on, a new figure by default.

    Returns
    -------
    Axes
        Color: log2 fold change of the product of both genes; area: −log10 q, cut at 10; gray cross:
        not tested. A star after a pair: ambient RNA may explain its tumor gene in some column; such
        pairs are below the others and do not set the scale of the colors.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or lacks requested pairs or tumors.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": ["K562", "697"], "nk_gene": "KLRC1", "tumor_gene": "HLA-E",
    ...                       "log2_fc": [1.2, 0.1], "q_value": [1e-6, 0.7]})
    >>> ax = nk.pl.communication_dots(table)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['KLRC1 – HLA-E']
    >>> plt.close(ax.figure)
    """
    check_table(table, [by, "nk_gene", "tumor_gene", "log2_fc", "q_value"], "tl.communication")
    data = _plain(table.assign(pair=_pair_names(table), tumor=table[by]), "pair")
    suspect = _suspect(data)
    rows = sorted(_chosen(data, "pair", pairs, fdr=fdr), key=lambda row: row in suspect)
    matrix = Matrix(
        table=data,
        row="pair",
        value="log2_fc",
        value_label="log$_2$ change\nof the pair",
        rows=rows,
        tumors=_columns(table, by, tumors),
        fdr=fdr,
        italic=True,
        row_labels=[f"{row}*" if row in suspect else row for row in rows],
        apart=frozenset(suspect & set(rows)),
        apart_label="Ambient RNA may explain\nthe tumor gene",
    )
    return draw(matrix, lineages_of(data) if by == "tumor" else {}, ax)


def _suspect(data: pd.DataFrame) -> set[str]:
    """Return the pairs whose tumor gene ambient RNA may explain in some column."""
    if "ambient_suspect" not in data.columns:
        return set()
    return set(data.loc[data["ambient_suspect"].fillna(value=False).astype(bool), "pair"])


def _pair_names(table: pd.DataFrame) -> pd.Series:
    nk_gene = as_text(table["nk_gene"])
    if "nk_partners" in table.columns:
        partners = table["nk_partners"].fillna("").astype(str)
        nk_gene = nk_gene.where(partners == "", nk_gene + "+" + partners.str.replace(",", "+"))
    return nk_gene + " – " + as_text(table["tumor_gene"])


def _columns(table: pd.DataFrame, by: str, wanted: Sequence[str] | None) -> list[str]:
    if by == "tumor":
        return tumor_order(table, wanted)
    return in_order(levels_of(table[by], by), wanted, f"levels of {by}")


@drawn
def enrichment_dots(
    table: pd.DataFrame,
    *,
    sets: Sequence[str] | int = _SETS,
    tumors: Sequence[str] | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the change of gene sets in each tumor as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.enrichment``: columns ``tumor``, ``set``, ``t``, ``q_value`` and, for the strip
        of colors, ``lineage``; one row per set and tumor.
    sets
        Sets from top to bottom, or their number: those that are significant in most tumors.
    tumors
        Tumors from left to right; by default grouped by lineage, if the table has it.
    fdr, ax
        Q-value below which dots get a dark ring; axes to draw on, a new figure by default.

    Returns
    -------
    Axes
        Color: t of the set, positive where its genes rise; area: −log10 q, cut at 10; gray cross:
        not tested.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or lacks requested sets or tumors.

    Examples
    --------
    >>> import matplotlib.pyplot as plt, pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": "K562", "set": ["HALLMARK_INTERFERON_GAMMA_RESPONSE"],
    ...                       "t": [9.0], "q_value": [1e-8]})
    >>> ax = nk.pl.enrichment_dots(table)
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['Interferon gamma response']
    >>> plt.close(ax.figure)
    """
    check_table(table, ["tumor", "set", "t", "q_value"], "tl.enrichment")
    data = _plain(table, "set")
    rows = _chosen(data, "set", sets, fdr=fdr)
    matrix = Matrix(
        table=data,
        row="set",
        value="t",
        value_label="t of the set",
        rows=rows,
        tumors=tumor_order(table, tumors),
        fdr=fdr,
        italic=False,
        row_labels=readable(rows),
    )
    return draw(matrix, lineages_of(data), ax)


@drawn
def perturbation_dots(
    table: pd.DataFrame,
    *,
    contrast: str | None = None,
    genes: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw the effects of knock-outs on genes or scores as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.perturbation_response`` (columns ``target``, ``gene``, ``contrast``, ``log2_fc``,
        ``q_value``) or ``tl.perturbation_scores`` (``score`` and ``effect_sd`` instead).
    contrast
        Contrast to draw, if the table has several.
    genes
        Genes or scores from top to bottom; by default the 25 that are significant for most targets.
    targets
        Targets from left to right; by default those with the most significant genes first.
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
        If the table has no rows, several for one dot, or lacks the requested contrast, genes or
        targets.

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
    data = _plain(_one_contrast(table, contrast).rename(columns={"target": "tumor"}), row)
    hits = data[data["q_value"] < fdr]
    by_row = _most_first(data, hits, row)[:_GENES]
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
    ranked = sorted(names, key=lambda name: (-int(number.get(name, 0)), float(best[name]), name))
    return ordered(ranked)


@drawn
def screen_dots(
    table: pd.DataFrame,
    *,
    genes: Sequence[str] | int = _GENES,
    screens: Sequence[str] | None = None,
    joined: pd.DataFrame | None = None,
    ax: Axes | None = None,
    **_look: Unpack[Look],
) -> Axes:
    """Draw genes in several screens as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.screen_hits``: columns ``screen``, ``gene``, ``log2_fc``, ``p_value``, ``hit``.
    genes
        Genes from top to bottom, or their number: those that are hits in most screens, then those
        with the smallest p-values.
    screens
        Screens from left to right; by default in natural order.
    joined
        From ``tl.join_screens``: if ``genes`` is a number, the first genes of this table, in its
        order.
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
        If the table has no rows, several for one dot, or lacks requested genes or screens.

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


def _plain(table: pd.DataFrame, row: str) -> pd.DataFrame:
    """Return the table with names as text; raise unless there is one row and q-value per dot."""
    texts = [name for name in ("tumor", row, "lineage") if name in table.columns]
    data = table.assign(**{name: as_text(table[name]) for name in texts})
    check_unique(data, ["tumor", row])
    check_probabilities(data["q_value"], "q_value")
    return data


def _chosen(data: pd.DataFrame, row: str, wanted: Sequence[str] | int, *, fdr: float) -> list[str]:
    """Return the requested rows, or as many of those that are significant most often."""
    if not isinstance(wanted, int):
        return in_order(dict.fromkeys(data[row]), wanted, f"{row}s")
    return by_significance(data, row, data["q_value"] < fdr, "q_value")[:wanted]


def _top_genes(data: pd.DataFrame, fdr: float) -> list[str]:
    if "ambient_suspect" in data.columns and not data["ambient_suspect"].all():
        data = data[~data["gene"].isin(data.loc[data["ambient_suspect"], "gene"])]
    return _chosen(data, "gene", _GENES, fdr=fdr)
