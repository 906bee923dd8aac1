"""Read the packaged tables (made by tools/make_signature_tables.py)."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

import pandas as pd


@cache
def read_table(name: str) -> pd.DataFrame:
    """Return a packaged table; shared between callers, who must copy before returning it."""
    with as_file(files(__package__) / "data" / name) as path:
        # "NA" could be a gene or a note; empty cells are empty strings.
        return pd.read_csv(path, sep="\t", keep_default_na=False)


@cache
def nk_profile() -> pd.Series[float]:
    """Return the level of genes that NK cells express, log2 of counts per million, by gene.

    From sorted NK cells (doi:10.1038/ncomms14049) and NK cells of 10x PBMC
    (doi:10.1093/gigascience/giaa151), in quarters, made by ``tools/make_gene_table.py``.
    """
    return read_table("nk_profile.tsv").set_index("gene")["log2_cpm"].astype(float)


def ligand_receptor() -> pd.DataFrame:
    """Return receptor-ligand pairs between NK cells and tumor cells.

    Contains only pairs that at least one database or review lists. nkscore assigned ``class``.

    Returns
    -------
    DataFrame with one row per pair: ``nk_gene``, ``nk_partners`` (further subunits that the NK
    cell needs, separated by ``,`` or ``;``: take the lowest of all), ``tumor_gene``, ``class``
    (``activating``, ``inhibitory``, ``adhesion``, ...), ``sender`` (``nk``, ``tumor`` or
    ``both``), ``plotted_in_dufva2023``, ``crispr_hit_in_dufva2023`` (of the tumor gene),
    ``doubtful`` (a database artifact is likely), ``n_resources`` (databases that name the pair;
    they copy from each other), ``sources``, ``pmids``.

    References
    ----------
    CellPhoneDB 10.1038/s41596-020-0292-x, LIANA 10.1038/s41467-022-30755-0,
    Dufva 2023 10.1016/j.immuni.2023.11.008.

    Examples
    --------
    >>> from nkscore.signatures import ligand_receptor
    >>> pairs = ligand_receptor()
    >>> pairs.loc[pairs["nk_gene"] == "CD226", ["tumor_gene", "class"]].values.tolist()
    [['NECTIN2', 'activating'], ['PVR', 'activating']]
    """
    return read_table("ligand_receptor.tsv").copy()


def crispr_hits() -> pd.DataFrame:
    """Return tumor genes whose loss or gain changes killing by NK cells in published screens.

    Returns
    -------
    DataFrame with one row per gene and study: ``gene``, ``category`` (class of gene, after Figure 4
    of Dufva, Gandolfi et al. 2023), ``study``, ``model``, ``perturbation`` (``loss`` or ``gain``),
    ``effect`` on the tumor cell (``protects``, ``sensitizes``, ``unknown``), ``effect_read`` (False
    if the effect is the biologically expected one, or unknown, because the ranked results were not
    available), ``doi``, ``where_read``.

    Examples
    --------
    >>> from nkscore.signatures import crispr_hits
    >>> hits = crispr_hits()
    >>> sorted(hits.loc[hits["effect_read"] & (hits["effect"] == "protects"), "gene"].unique())
    ['NCR3LG1', 'SPPL3']
    """
    return read_table("crispr_hits.tsv").copy()


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Return gene to its other names, the current one first."""
    groups: dict[str, list[str]] = {}
    table = read_table("aliases.tsv")
    for old, current in zip(table["old"], table["current"], strict=True):
        groups.setdefault(current, [current]).append(old)
    return {
        name: tuple(other for other in group if other != name)
        for group in groups.values()
        for name in group
    }
