"""Tables of evidence for the genes that a reader of the report asks for first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore._report._evidence import COLUMNS, lines_of, of_gene

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Genes with a dossier: of the core response, then of single lines.
_MOST: Final = 20


def dossiers(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return gene → evidence for the genes that respond most, the strongest first."""
    chosen = _genes(tables)
    if not chosen:
        return {}
    lines = lines_of(tables)
    return {gene: pd.DataFrame(of_gene(tables, gene, lines))[COLUMNS[1:]] for gene in chosen}


def _genes(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the core genes by q, then those with the smallest q in any line."""
    found: list[str] = []
    core = tables.get("core_response")
    if core is not None and {"gene", "core", "q_value"} <= set(core.columns):
        sure = core[core["core"].astype(bool)].sort_values("q_value", kind="stable")
        found += list(sure["gene"].astype(str))
    response = tables.get("tumor_response")
    if response is not None and {"gene", "q_value", "p_value"} <= set(response.columns):
        sure = response[response["q_value"] < 0.05]
        suspect = sure.get("ambient_suspect")
        sure = sure if suspect is None else sure[~suspect.astype(bool)]
        found += list(sure.sort_values("p_value", kind="stable")["gene"].astype(str))
    return list(dict.fromkeys(found))[:_MOST]
