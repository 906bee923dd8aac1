"""Dot matrices of receptor-ligand pairs and of gene sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore.pl._dots import chosen, lineages_of, plain, tumor_order
from nkscore.pl._matrix import Matrix, draw
from nkscore.pl._tables import as_text, check_table, in_order, levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

_PAIRS: Final = 25
_SETS: Final = 20


def communication_dots(
    table: pd.DataFrame,
    *,
    pairs: Sequence[str] | int = _PAIRS,
    tumors: Sequence[str] | None = None,
    by: str = "tumor",
    fdr: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw how receptor-ligand pairs change in co-culture as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.communication`` (``level="line"``): columns ``tumor``, ``nk_gene``,
        ``tumor_gene``, ``log2_fc``, ``q_value``; drawn where present: ``nk_partners``,
        ``lineage``, and ``ambient_suspect``, which marks the name of the pair.
    pairs
        Pairs from top to bottom, written as ``"NK gene – tumor gene"``, or how many to take: those
        that are significant in most columns, then those of the smallest q-values.
    tumors
        Columns from left to right; by default grouped by lineage, where the table has it.
    by
        ``tumor``, or ``nk_state`` for a table of one tumor that was split by NK states.
    fdr, ax
        Q-value below which dots get a dark ring; axes to draw on, a new figure by default.

    Returns
    -------
    Axes
        Color: log2 fold change of the product of both genes; area: −log10 q, cut at 10; gray
        cross: not tested. A star behind a pair: ambient RNA may explain its tumor gene somewhere.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    ValueError
        If the table has no rows, several for one dot, or not the pairs or tumors asked for.

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
    data = plain(table.assign(pair=_pair_names(table), tumor=table[by]), "pair")
    rows = chosen(data, "pair", pairs, fdr=fdr)
    matrix = Matrix(
        table=data,
        row="pair",
        value="log2_fc",
        value_label="log$_2$ change\nof the pair",
        rows=rows,
        tumors=_columns(table, by, tumors),
        fdr=fdr,
        italic=True,
    )
    ax = draw(matrix, lineages_of(data) if by == "tumor" else {}, ax)
    if "ambient_suspect" in data.columns:
        suspect = set(data.loc[data["ambient_suspect"].astype(bool), "pair"])
        ax.set_yticks(
            ax.get_yticks(),
            [f"{row}*" if row in suspect else row for row in rows],
            fontstyle="italic",
        )
    return ax


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


def enrichment_dots(
    table: pd.DataFrame,
    *,
    sets: Sequence[str] | int = _SETS,
    tumors: Sequence[str] | None = None,
    fdr: float = 0.05,
    ax: Axes | None = None,
) -> Axes:
    """Draw which gene sets move in which tumor as a matrix of dots.

    Parameters
    ----------
    table
        From ``tl.enrichment``: columns ``tumor``, ``set``, ``t``, ``q_value`` and, for the strip
        of colors, ``lineage``; one row per set and tumor.
    sets
        Sets from top to bottom, or how many to take: those that are significant in most tumors.
    tumors
        Tumors from left to right; by default grouped by lineage, where the table has it.
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
        If the table has no rows, several for one dot, or not the sets or tumors asked for.

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
    data = plain(table, "set")
    rows = chosen(data, "set", sets, fdr=fdr)
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


_ABBREVIATIONS: Final = {
    "tnfa": "TNFα",
    "nfkb": "NF-κB",
    "il6": "IL6",
    "jak": "JAK",
    "stat3": "STAT3",
    "il2": "IL2",
    "stat5": "STAT5",
    "mtorc1": "mTORC1",
    "myc": "MYC",
    "e2f": "E2F",
    "g2m": "G2M",
    "dna": "DNA",
    "uv": "UV",
    "kras": "KRAS",
    "tgf": "TGF",
    "pi3k": "PI3K",
    "akt": "AKT",
    "mtor": "mTOR",
    "p53": "p53",
    "wnt": "WNT",
}


def readable(names: Sequence[str]) -> list[str]:
    """Print MSigDB's names of hallmark sets as words, unless two would then look the same."""
    words = []
    for name in names:
        text = name
        if name.startswith("HALLMARK_"):
            parts = name.removeprefix("HALLMARK_").lower().split("_")
            text = " ".join(_ABBREVIATIONS.get(part, part) for part in parts)
            text = text[0].upper() + text[1:] if parts[0] not in _ABBREVIATIONS else text
        words.append(text)
    return words if len(set(words)) == len(words) else list(names)
