"""Classes of tumor genes through which NK cells see, spare or kill a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nkscore.signatures._tables import read_table

if TYPE_CHECKING:
    import pandas as pd


def visibility_classes() -> pd.DataFrame:
    """Return the classes of genes that :func:`nkscore.tl.visibility` tests.

    Returns
    -------
    DataFrame with one row per class: ``class``, ``role`` (``activating``, ``inhibitory``,
    ``adhesion``, ``death``, ``survival``, ``presentation``, ``signaling``, ``both``),
    ``more_means`` (what more RNA of the class makes a tumor cell for NK cells: ``more visible``,
    ``less visible``, ``either``), ``genes`` (separated by commas; a gene can be in two classes),
    ``n_genes``, ``source`` (DOI, or the identifier of a Reactome pathway) and ``note``.

    Examples
    --------
    >>> from nkscore import signatures
    >>> classes = signatures.visibility_classes().set_index("class")
    >>> classes.loc["dnam1_ligands", ["role", "genes"]].tolist()
    ['activating', 'PVR,NECTIN2']
    """
    table = read_table("visibility.tsv")
    counted = table.assign(n_genes=[len(text.split(",")) for text in table["genes"]])
    return counted[[*table.columns[:4], "n_genes", *table.columns[4:]]]
