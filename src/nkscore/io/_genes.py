"""Gene names of a lane: unique, human, symbols."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore.errors import GeneCoverageError
from nkscore.io._lane import GENE_EXPRESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from nkscore._types import Array

    Column = Callable[[], Array]

_LOG: Final = logging.getLogger("nkscore")
_ENSEMBL: Final = re.compile(r"(.*_)?ENS[A-Z]*G\d{6,}(\.\d+)?")
_LOOKED_AT: Final = 2000
#: Columns in which the common tools store gene symbols or ids.
SYMBOL_COLUMNS: Final = (
    "gene_symbols",
    "gene_symbol",
    "gene_name",
    "gene_names",
    "feature_name",
    "symbol",
    "symbols",
    "hgnc_symbol",
    "gene_short_name",
    "name",
    "gene",
)
ID_COLUMNS: Final = (
    "gene_id",
    "gene_ids",
    "ensembl_id",
    "ensembl_ids",
    "ensembl",
    "feature_id",
    "accession",
    "id",
)
TYPE_COLUMNS: Final = ("feature_types", "feature_type", "type")


def _some(names: Sequence[str] | Array) -> list[str]:
    step = max(1, len(names) // _LOOKED_AT)
    return [str(name) for name in names[::step]]


def mostly_ensembl(names: Sequence[str] | Array) -> bool:
    """Return whether more than half of ``names`` are Ensembl gene ids of any species."""
    some = _some(names)
    return sum(_ENSEMBL.fullmatch(name) is not None for name in some) > 0.5 * len(some)


def features_table(
    index: Array, columns: Mapping[str, Column], path: Path, *, place: str
) -> pd.DataFrame:
    """Return ``id``, ``name`` and ``type`` of features named by symbols or by Ensembl ids.

    ``columns`` are read on demand; ``place`` is the file's name of their table.
    """
    known = {name.lower(): column for name, column in columns.items()}
    types = _first(known, TYPE_COLUMNS)
    ids = _first(known, ID_COLUMNS)
    names = index
    if mostly_ensembl(index):
        symbols = _first(known, SYMBOL_COLUMNS)
        if symbols is None:
            raise GeneCoverageError(_only_ids(index, path, list(columns), place))
        # A gene without a symbol keeps its id, so that it stays a separate gene.
        named = ~np.isin(symbols, ("", "nan", "None", "<NA>"))
        ids, names = index, np.where(named, symbols, index)
        _LOG.info("%s: gene symbols were taken from %s.", path, place)
    return pd.DataFrame(
        {
            "id": "" if ids is None else ids,
            "name": names,
            "type": GENE_EXPRESSION if types is None else types,
        },
        index=range(len(index)),
    )


def _first(columns: Mapping[str, Column], wanted: tuple[str, ...]) -> Array | None:
    for name in wanted:
        if name in columns:
            return np.array([str(value) for value in columns[name]()], dtype=object)
    return None


def _only_ids(index: Array, path: Path, columns: list[str], place: str) -> str:
    held = ", ".join(columns) or "no columns"
    return (
        f"{path}: the genes are named by Ensembl ids (for example {index[0]}) and {place} has no "
        f"column of symbols that nkscore knows ({place} holds: {held}; known: "
        f"{', '.join(SYMBOL_COLUMNS[:6])}, ...). Gene symbols are needed: put them into "
        f"{place}['gene_symbols'] and write the file again."
    )


def check_symbols(names: Array, path: Path, *, ids: Array | None = None) -> None:
    """Raise :class:`GeneCoverageError` unless ``names`` can be human gene symbols."""
    some = _some(names)
    if mostly_ensembl(names):
        swapped = ids is not None and not mostly_ensembl(ids) and any(ids)
        remedy = (
            f"The column of ids holds symbols (for example {ids[0]}): swap the two columns."
            if swapped and ids is not None
            else "Gene symbols are needed: use a features file whose second column holds them, or, "
            "as .h5ad, put them into var['gene_symbols']."
        )
        msg = f"{path}: the genes are named by Ensembl ids only (for example {some[0]}). {remedy}"
        raise GeneCoverageError(msg)
    if sum(name.isdigit() for name in some) > 0.5 * len(some):
        msg = (
            f"{path}: the genes are named by numbers (for example {some[0]}): row numbers or "
            "Entrez ids. Gene symbols are needed: name the genes and write the file again."
        )
        raise GeneCoverageError(msg)
    _refuse_mouse(some, path)


def _refuse_mouse(some: list[str], path: Path) -> None:
    # Human symbols are upper case except for "orf" (C1orf56); mouse and rat use title case.
    worded = [name for name in some if sum(map(str.isalpha, name)) >= 2 and "orf" not in name]
    lower = [name for name in worded if not name.isupper() and name[1:].lower() == name[1:]]
    upper = sum(name.isupper() for name in worded)
    if len(lower) > max(upper, 0.5 * len(worded)):
        msg = (
            f"{path}: the gene symbols look like those of mouse or another animal (for example "
            f"{', '.join(lower[:3])}); nkscore's signatures are human, in upper case. Read the "
            "human genome of this lane, or convert the symbols to human orthologs first; "
            "converting them to upper case is not enough, because genes differ."
        )
        raise GeneCoverageError(msg)


def unique_names(names: Array, ids: Array, *, where: str) -> pd.Index:
    """Return ``names`` with ids appended to repeated ones; the first keeps its name.

    >>> names = np.array(["CD7", "MATR3", "MATR3"], dtype=object)
    >>> list(unique_names(names, np.array(["E1", "E2", "E3"]), where="lane"))
    ['CD7', 'MATR3', 'MATR3_E3']
    """
    index = pd.Index(names)
    repeated = index.duplicated()
    if not repeated.any():
        return index
    taken = set(names)
    result = list(names)
    for position in np.flatnonzero(repeated):
        stem = f"{names[position]}_{ids[position] or 'copy'}"
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        result[position] = name
    _LOG.info(
        "%s: %d repeated names got their id appended, for example %s.",
        where,
        int(repeated.sum()),
        result[int(np.flatnonzero(repeated)[0])],
    )
    unique: pd.Index = pd.Index(result)
    return unique
