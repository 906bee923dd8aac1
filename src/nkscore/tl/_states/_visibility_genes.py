"""The tested genes and classes as columns of a matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore._samples._left_out import left_out
from nkscore.errors import GeneCoverageError
from nkscore.signatures import visibility_classes
from nkscore.signatures._tables import synonyms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import CSR, Ints

#: Value of ``gene`` in the row of a whole class.
SUM = "sum"


@dataclass(frozen=True, slots=True)
class VisibleGenes:
    """``table`` has one row per class and gene: class, role, more_means, gene, column.

    ``column`` is the gene's position in the data, or -1. ``n_genes`` is the number of genes of the
    data; ``excluded`` holds genes that made the calls.
    """

    table: pd.DataFrame
    n_genes: int
    excluded: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: pd.Index, classes: Mapping[str, Iterable[str]] | None) -> VisibleGenes:
        """Find the genes under their current or older names."""
        position = {name: i for i, name in enumerate(names)}
        other_names = synonyms()
        rows = [
            {**row, "column": _place(row["gene"], position, other_names)}
            for row in _listed(classes)
        ]
        table = pd.DataFrame(rows, columns=["class", "role", "more_means", "gene", "column"])
        if not (table["column"] >= 0).any():
            shown = ", ".join(dict.fromkeys(table["gene"].head(5)))
            msg = (
                f"None of {table['gene'].nunique()} genes of {table['class'].nunique()} classes is "
                f"in the data (looked for {shown}, ...; the data have {', '.join(names[:5])}, ...)."
                " Human gene symbols are needed: convert the names, or give other genes in classes."
            )
            raise GeneCoverageError(msg)
        return cls(table, len(names))

    def without(self, genes: frozenset[str]) -> VisibleGenes:
        """Return the same without genes that made the calls."""
        return replace(self, excluded=genes & set(self.table["gene"]))

    @property
    def symbols(self) -> set[str]:
        """All genes to test, in the data or not."""
        return set(self.table["gene"])

    @property
    def used(self) -> pd.DataFrame:
        """Rows of genes that are in the data and made no call."""
        known = (self.table["column"] >= 0) & ~self.table["gene"].isin(list(self.excluded))
        return self.table[known]

    @property
    def columns(self) -> Ints:
        """Positions of the genes to test."""
        return np.unique(self.used["column"].to_numpy(dtype=np.int64))

    @property
    def class_names(self) -> list[str]:
        """Classes with two or more genes, which have a sum."""
        sizes = self.used.groupby("class", sort=False).size()
        return [str(name) for name in sizes.index[sizes >= 2]]

    @property
    def member(self) -> CSR:
        """Genes of the data × classes with a sum."""
        names = self.class_names
        rows = self.used[self.used["class"].isin(names)]
        at = [names.index(name) for name in rows["class"]]
        shape = (self.n_genes, len(names))
        return sparse.csr_matrix((np.ones(len(rows)), (rows["column"], at)), shape=shape)

    def described(self) -> pd.DataFrame:
        """Return one row per tested column of the sums, with what stands in the result."""
        genes = self.used.drop_duplicates("column").assign(n_genes=1)
        others = self.used.groupby("column")["class"].agg(list)
        genes["also_in"] = [",".join(others[c][1:]) for c in genes["column"]]
        names = self.class_names
        first = self.used.drop_duplicates("class").set_index("class").loc[names].reset_index()
        sizes = self.used.groupby("class").size()
        sums = first.assign(
            gene=SUM,
            n_genes=[int(sizes[name]) for name in names],
            also_in="",
            column=self.n_genes + np.arange(len(names)),
        )
        return pd.concat([genes, sums], ignore_index=True)

    def left_out(self, tested: Iterable[int]) -> list[LeftOut]:
        """Return genes and classes without a row, with the reason."""
        done = set(tested)
        found: list[LeftOut] = []
        rows = self.table.drop_duplicates("gene")
        for gene, column in zip(rows["gene"], rows["column"].to_numpy(dtype=int), strict=True):
            if gene in self.excluded:
                reason = "it took part in calling the state"
            elif column < 0:
                reason = "not in the data"
            elif column in done:
                continue
            else:
                reason = "too few counts (min_count), or it does not vary"
            found += left_out("gene", [str(gene)], [reason])
        have = set(self.used.loc[self.used["column"].isin(list(done)), "class"])
        empty = [name for name in dict.fromkeys(self.table["class"]) if name not in have]
        reason = "none of its genes could be tested"
        return [*found, *left_out("class", empty, [reason] * len(empty))]


def _listed(classes: Mapping[str, Iterable[str]] | None) -> list[dict[str, str]]:
    if classes is not None:
        return [
            {"class": str(name), "role": "", "more_means": "", "gene": str(gene)}
            for name, genes in classes.items()
            for gene in dict.fromkeys([genes] if isinstance(genes, str) else genes)
        ]
    packaged = visibility_classes().to_dict("records")
    return [
        {**{key: row[key] for key in ("class", "role", "more_means")}, "gene": gene}
        for row in packaged
        for gene in row["genes"].split(",")
    ]


def _place(
    gene: str, position: Mapping[str, int], other_names: Mapping[str, tuple[str, ...]]
) -> int:
    names = (gene, *other_names.get(gene, ()))
    return next((position[name] for name in names if name in position), -1)
