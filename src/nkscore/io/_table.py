"""Counts as text: a dense table (genes × cells or cells × genes) or gene, cell, count per line."""

from __future__ import annotations

import csv
import io
import logging
import re
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore._text import SAFE_FLOATS, as_numbers, opened
from nkscore.errors import LaneError, WrongScaleError
from nkscore.io._axes import BARCODE, check_corner, check_edges
from nkscore.io._genes import features_table, mostly_ensembl
from nkscore.io._lane import Lane, as_int32, first_broken, reading
from nkscore.io._names import known_symbols

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._types import Array
    from nkscore.io._source import Source

_LOG: Final = logging.getLogger("nkscore")
_NAME: Final = re.compile(r".+\.(csv|tsv|txt|tab)(\.gz)?", re.IGNORECASE)
_TAG: Final = re.compile(r"(?P<name>.*[^-_.:])[-_.:][ACGTN]{6,}")
_BLOCK_BYTES: Final = 1 << 27
_LOOKED_AT: Final = 20_000
_CLEARLY: Final = 5


def is_table(source: Source) -> bool:
    """Return whether the path is a text file named like a table."""
    return source.kind == "file" and _NAME.fullmatch(source.path.name) is not None


def read_table(source: Source, genome: str | None) -> Lane:  # noqa: ARG001
    """Read counts from a text table, which names no genomes."""
    path = source.path
    with reading(path), opened(path) as stream:
        skipped = _comments(stream)
        first, second = _line(stream), _line(stream)
        if not first.strip():
            msg = f"{path} is empty. Give the pipeline's output, or copy the file again."
            raise LaneError(msg)
        delimiter = max(",\t; ", key=first.count)
        head, row = _cells(first, delimiter), _cells(second, delimiter)
    triplets = _are_triplets(head, row)
    with reading(path), opened(path) as stream:
        for _ in range(skipped):
            stream.readline()
        read = _read_triplets if triplets else _read_dense
        rows, columns, counts = read(stream, head, delimiter, path)
    if not triplets:
        check_edges(counts, rows, columns, path)
    genes_first = _genes_in_rows(rows, columns, path)
    genes, barcodes = (rows, columns) if genes_first else (columns, rows)
    kind = "triplets" if triplets else "genes × cells" if genes_first else "cells × genes"
    _LOG.info(
        "%s was read as %s: %d genes (%s, ...) and %d cells (%s, ...).",
        path,
        kind,
        len(genes),
        genes[0],
        len(barcodes),
        barcodes[0],
    )
    by_cell = counts.T.tocsr() if genes_first else counts
    table = features_table(genes, {}, path, place="the header")
    return Lane(path, f"table, {kind}", by_cell, barcodes, table)


def _comments(stream: IO[bytes]) -> int:
    """Pass the lines of remarks above a table, as BD's Rhapsody pipeline writes them."""
    skipped = 0
    place = stream.tell()
    while stream.readline().startswith(b"#"):
        skipped += 1
        place = stream.tell()
    stream.seek(place)
    return skipped


def _line(stream: IO[bytes]) -> str:
    return stream.readline().decode("utf-8-sig").rstrip("\r\n")


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(line), delimiter=delimiter), [])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_triplets(head: list[str], row: list[str]) -> bool:
    # A dense table holds numbers from its second column on, triplets only in the third.
    return len(head) == len(row) == 3 and not _is_number(row[1]) and _is_number(row[2])


def _read_dense(
    stream: IO[bytes], head: list[str], delimiter: str, path: Path
) -> tuple[Array, Array, Any]:
    stream.readline()
    # R's write.table omits the corner, write.csv leaves it empty.
    shift = _width(stream, path, delimiter) - len(head)
    if shift not in {0, 1} or len(head) + shift < 2:
        msg = (
            f"{path}: its header has {len(head)} cells and its first row {len(head) + shift}. A "
            "table of counts has a header of names and, in each row, a name and then numbers."
        )
        raise LaneError(msg)
    names = [str(name) for name in head[1 - shift :]]
    check_corner(None if shift else head[0], names, path)
    step = max(1, _BLOCK_BYTES // (8 * max(1, len(names))))
    labels: list[str] = []
    blocks = []
    reader = pd.read_csv(
        stream,
        sep=delimiter,
        header=None,
        index_col=False,
        dtype={0: str},
        na_filter=False,
        chunksize=step,
        names=range(len(names) + 1),
        **SAFE_FLOATS,
    )
    for block in reader:
        rows = [str(label) for label in block[0]]
        blocks.append(sparse.csr_matrix(_numbers(block.iloc[:, 1:], rows, names, path)))
        labels += rows
    counts = sparse.vstack(blocks, format="csr") if blocks else sparse.csr_matrix((0, len(names)))
    return np.array(labels, dtype=object), np.array(names, dtype=object), counts


def _width(stream: IO[bytes], path: Path, delimiter: str) -> int:
    place = stream.tell()
    row = _cells(stream.readline().decode("utf-8"), delimiter)
    stream.seek(place)
    if not row:
        msg = f"{path} holds a header but no counts. Give the whole table, or copy the file again."
        raise LaneError(msg)
    return len(row)


def _numbers(block: pd.DataFrame, rows: list[str], names: list[str], path: Path) -> Array:
    for column, dtype in enumerate(block.dtypes):
        if dtype.kind not in "biuf":
            numbers = as_numbers(block.iloc[:, column])
            bad = int(np.argmax(numbers.isna().to_numpy()))
            text = str(block.iloc[bad, column])
            msg = (
                f"{path}, row {rows[bad]!r}, column {names[column]!r}: "
                f"{repr(text) if text else 'an empty cell'} is not a count. Each cell of "
                "the table must hold a whole number; write 0 for no count, and remove "
                "columns of annotations."
            )
            raise WrongScaleError(msg)
    values = block.to_numpy()
    try:
        return as_int32(values, str(path))[0]
    except WrongScaleError as error:
        row, column = divmod(first_broken(values.ravel()), values.shape[1])
        msg = f"{error} The first one is in row {rows[row]!r}, column {names[column]!r}."
        raise WrongScaleError(msg) from None


def _read_triplets(
    stream: IO[bytes], head: list[str], delimiter: str, path: Path
) -> tuple[Array, Array, Any]:
    frame = pd.read_csv(
        stream,
        sep=delimiter,
        header=None if _is_number(head[2]) else 0,
        index_col=False,
        names=["row", "column", "count"],
        dtype={"row": str, "column": str},
        na_filter=False,
        **SAFE_FLOATS,
    )
    lines = [f"entry {number}" for number in range(1, len(frame) + 1)]
    values = _numbers(frame[["count"]], lines, ["count"], path).ravel()
    rows, row_names = pd.factorize(frame["row"])
    columns, column_names = pd.factorize(frame["column"])
    shape = (len(row_names), len(column_names))
    counts = sparse.csr_matrix((values, (rows, columns)), shape=shape, dtype=np.int32)
    counts.eliminate_zeros()
    return row_names.to_numpy(dtype=object), column_names.to_numpy(dtype=object), counts


def _genes_in_rows(rows: Array, columns: Array, path: Path) -> bool:
    """Return whether the rows are the genes; raise if neither axis shows it."""
    ours, theirs = _looks_like_genes(rows), _looks_like_genes(columns)
    if max(ours, theirs) > 0 and max(ours, theirs) >= _CLEARLY * min(ours, theirs):
        return ours > theirs
    # Tags can have any names, but barcodes still look like barcodes.
    ours, theirs = _looks_like_barcodes(rows), _looks_like_barcodes(columns)
    if max(ours, theirs) > 0.5 >= min(ours, theirs):
        return theirs > ours
    msg = (
        f"{path}: it is not clear whether its rows ({', '.join(map(str, rows[:3]))}, ...) or its "
        f"columns ({', '.join(map(str, columns[:3]))}, ...) are the genes: neither, or both, hold "
        "known gene symbols or barcodes. Name the genes by human symbols, or write the counts as "
        "a matrix.mtx folder or .h5ad."
    )
    raise LaneError(msg)


def _some(names: Array) -> list[str]:
    step = max(1, len(names) // _LOOKED_AT)
    return [str(name) for name in names[::step]]


def _looks_like_genes(names: Array) -> float:
    some = _some(names)
    if not some:
        return 0.0
    known = sum(name.upper() in known_symbols() for name in some) / len(some)
    return max(known, float(mostly_ensembl(names)))


def _looks_like_barcodes(names: Array) -> float:
    some = _some(names)
    # Tags carry their sequence behind names that differ; before barcodes stands the lane, if any.
    ends = [_TAG.fullmatch(name) for name in some]
    if len(some) > 1 and all(ends) and len({end["name"] for end in ends if end}) == len(some):
        return 0.0
    return sum(BARCODE.fullmatch(name) is not None for name in some) / max(1, len(some))
