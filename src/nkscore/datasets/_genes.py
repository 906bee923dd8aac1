"""The packaged gene table and gene programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints

#: Lowest abundance in the table, log2 of counts per million: not expressed.
FLOOR: Final = -3.5
_KEPT: Final = ("mitochondrial", "ribosomal", "hla", "housekeeping", "signature")


@lru_cache(maxsize=1)
def gene_table() -> pd.DataFrame:
    """Return gene, class, tumor, nk: abundances are log2 of counts per million.

    Made by ``tools/make_gene_table.py`` from the symbols of published signatures and from
    detection rates in untreated 697 and RCHACV cells (doi:10.1016/j.immuni.2023.11.008), PBMC
    (10x Genomics, labels of SoupX, doi:10.1093/gigascience/giaa151) and sorted NK cells
    (doi:10.1038/ncomms14049), rounded to quarters.
    """
    return read_table("genes.tsv")


@lru_cache(maxsize=1)
def program_table() -> pd.DataFrame:
    """Return program, gene, value.

    ``value`` is a log2 fold change at full activity; for programs named ``identity_<lineage>``
    it is the level of the gene in that lineage, log2 of counts per million.
    """
    return read_table("programs.tsv")


def read_table(name: str) -> pd.DataFrame:
    """Return a packaged table."""
    with files("nkscore.datasets").joinpath("data", name).open("rb") as handle:
        # A gene named NAN or NA would otherwise become a missing value.
        return pd.read_csv(handle, sep="\t", keep_default_na=False)


@dataclass(frozen=True)
class Genes:
    """The genes of one simulation, as arrays."""

    names: pd.Index[str]
    numbers: Ints
    classes: pd.Series[str]
    tumor: Floats
    nk: Floats
    kept_share: Floats

    def where(self, names: pd.Series[str]) -> Ints:
        """Return the columns of ``names``, -1 for those that are not among the genes."""
        return np.asarray(self.names.get_indexer(pd.Index(names)), dtype=np.int64)


def select_genes(n_genes: int | None) -> Genes:
    """Return all genes, or the signature genes and the most abundant others."""
    table = gene_table()
    planted = set(program_table()["gene"])
    kept = table["class"].isin(_KEPT) | table["gene"].isin(planted)
    if n_genes is not None:
        if not int(kept.sum()) <= n_genes <= len(table):
            msg = (
                f"n_genes is {n_genes}; the simulator keeps {int(kept.sum())} signature and "
                f"housekeeping genes and knows {len(table)}. Choose a number between the two."
            )
            raise ValueError(msg)
        level = np.where(kept, np.inf, np.maximum(table["tumor"], table["nk"]))
        order = np.argsort(-level, kind="stable")[:n_genes]
        chosen = table.iloc[np.sort(order)]
    else:
        chosen = table
    share = [float((2.0 ** chosen[c]).sum() / (2.0 ** table[c]).sum()) for c in ("tumor", "nk")]
    # Copies: pandas 3 hands out arrays that cannot be written to, which the kernels refuse.
    return Genes(
        names=pd.Index(chosen["gene"].to_numpy(dtype=object), dtype=str),
        numbers=np.array(chosen.index, dtype=np.int64),
        classes=chosen["class"].reset_index(drop=True),
        tumor=np.array(chosen["tumor"], dtype=np.float64),
        nk=np.array(chosen["nk"], dtype=np.float64),
        kept_share=np.array(share),
    )
