"""Lists of barcodes or features of a matrix, one name per line, as pipelines and R write them."""

from __future__ import annotations

import csv
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from nkscore._text import opened
from nkscore.io._genes import ID_COLUMNS, SYMBOL_COLUMNS, TYPE_COLUMNS
from nkscore.io._lane import GENE_EXPRESSION, reading

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._types import Array

    _Quoting = Literal[0, 3]

_LOOKED_AT: Final = 4
_OF_BARCODES: Final = frozenset(
    {"x", "barcode", "barcodes", "cell", "cells", "cell_id", "cell_barcode", "bc_wells", "index"}
)
#: Headers of the column that names the features, the most reliable first.
_NAMING: Final = (*SYMBOL_COLUMNS, "genes", "features", "feature", "x")
_OF_FEATURES: Final = frozenset({*ID_COLUMNS, *_NAMING, *TYPE_COLUMNS, "genome"})


def read_barcodes(path: Path) -> Array:
    """Return the barcodes of a matrix."""
    raw = _read(path, _OF_BARCODES)
    if not raw.shape[1]:
        return np.array([], dtype=object)
    named = [column for column in raw if str(column).lower() in _OF_BARCODES - {"index"}]
    return np.asarray(raw[named[0] if named else raw.columns[0]], dtype=object)


def read_features(path: Path) -> pd.DataFrame:
    """Return the columns ``id``, ``name`` and ``type`` of the features of a matrix.

    Files of one column (names only), two (Cell Ranger 2), three or more (Cell Ranger 3), or with a
    header that says what stands where.
    """
    raw = _read(path, _OF_FEATURES)
    columns = {str(name).lower(): raw[name] for name in raw}
    if "0" in columns or not columns:
        first = columns.get("0", pd.Series([], dtype=str))
        kind = columns.get("2", GENE_EXPRESSION)
        return pd.DataFrame({"id": first, "name": columns.get("1", first), "type": kind})
    ids = [columns[name] for name in ID_COLUMNS if name in columns]
    # Without a column of symbols, what else may name the features, and then the first column.
    names = [columns[name] for name in (*_NAMING, *ID_COLUMNS, *columns) if name in columns]
    kinds = [columns[name] for name in TYPE_COLUMNS if name in columns]
    return pd.DataFrame(
        {
            "id": ids[0] if ids else "",
            "name": names[0],
            "type": kinds[0] if kinds else GENE_EXPRESSION,
        }
    )


def _read(path: Path, words: frozenset[str]) -> pd.DataFrame:
    """Return the columns as text, under the names of a header or numbered from 0."""
    with reading(path), opened(path) as stream:
        head = [line.decode().rstrip("\r\n") for line in islice(stream, _LOOKED_AT)]
        stream.seek(0)
        if not head:
            return pd.DataFrame()
        separator = _separator(head)
        quoted = any(line.startswith('"') for line in head)
        quoting: _Quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        rows = list(csv.reader(head, delimiter=separator, quoting=quoting))
        frame = _table(stream, rows, words, separator=separator, quoting=quoting)
    return frame if frame.shape[1] < 2 else _without_row_numbers(frame)


def _separator(head: list[str]) -> str:
    if any("\t" in line for line in head):
        return "\t"
    commas = {line.count(",") for line in head}
    return "," if len(commas) == 1 and commas != {0} else "\t"


def _table(
    stream: IO[bytes],
    rows: list[list[str]],
    words: frozenset[str],
    *,
    separator: str,
    quoting: _Quoting,
) -> pd.DataFrame:
    width = max(map(len, rows))
    names: list[Any] = list(range(width))
    # R's write.table leaves out the corner above its row names.
    corner = len(rows) > 1 and len(rows[0]) == len(rows[1]) - 1
    header = corner or rows[0][0].strip().lower() in {*words, ""}
    if header:
        stream.readline()
        names = ["index", *rows[0]] if corner else [cell or "index" for cell in rows[0]]
    return pd.read_csv(
        stream,
        sep=separator,
        header=None,
        names=names,
        dtype=str,
        quoting=quoting,
        na_filter=False,
        index_col=False,
    )


def _without_row_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    first = frame.iloc[:, 0]
    for start in (0, 1):
        if first.iloc[0] == str(start) and first.iloc[-1] == str(start + len(first) - 1):
            rest = frame.iloc[:, 1:]
            numbered = all(isinstance(name, int) for name in rest)
            return rest.set_axis(range(rest.shape[1]), axis=1) if numbered else rest
    return frame
