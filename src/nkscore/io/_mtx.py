"""Folders of a Matrix Market file with its barcodes and features.

Cell Ranger 2 and 3, STARsolo and CITE-seq-Count write features × barcodes; kallisto | bustools
writes barcodes × features under names of its own.
"""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore.errors import LaneError
from nkscore.io._lane import GENE_EXPRESSION, Lane, as_int32, counts_from_csr, reading
from nkscore.io._tenx_h5 import select_genome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nkscore._types import Array
    from nkscore.io._source import Source

_MATRIX: Final = re.compile(r"(?P<stem>.*?)matrix\.mtx(\.gz)?", re.IGNORECASE)
_ANY_MTX: Final = re.compile(r"(?P<stem>.+)\.mtx(\.gz)?", re.IGNORECASE)
_FEATURE_FILES: Final = ("features.tsv", "genes.tsv")
_GENOME_PREFIX: Final = re.compile(r"^(?P<genome>.+?)_+ENS[A-Z]*G\d")
#: Compression by gzip cannot pass this factor, and a line of an entry has six bytes or more.
_MOST_ENTRIES_PER_BYTE: Final = 1032 / 6
_LONGEST_LINE: Final = 1 << 16
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Trio:
    """The three files of one matrix and which way round it is stored."""

    matrix: Path
    barcodes: Path
    features: Path
    cells_first: bool = False


def is_mtx(source: Source) -> bool:
    """Return whether the path is a Matrix Market file or a folder that holds one."""
    if source.kind == "file":
        return _ANY_MTX.fullmatch(source.path.name) is not None
    return source.kind == "folder" and any(_ANY_MTX.fullmatch(name) for name in source.entries)


def read_mtx(source: Source, genome: str | None) -> Lane:
    """Read a Matrix Market file with its barcodes and features."""
    trio = find_trio(source)
    table = read_features(trio.features)
    barcodes = _column(trio.barcodes)
    with reading(trio.matrix):
        counts = _read_matrix(trio, n_features=len(table), n_barcodes=len(barcodes))
    counts, table = select_genome(counts, table, genome, source.path)
    return Lane(source.path, "mtx folder", counts, barcodes, table)


def find_trio(source: Source) -> Trio:
    """Return the files that belong together or raise :class:`LaneError`."""
    folder = source.path if source.kind == "folder" else source.path.parent
    names = {item.name for item in folder.iterdir()}
    wanted = list(source.entries) if source.kind == "folder" else [source.path.name]
    # An unpacked copy beside the .gz is the same matrix and faster to read.
    stems: dict[str, str] = {}
    for name in sorted(wanted):
        found = _ANY_MTX.fullmatch(name)
        if found:
            stems.setdefault(found["stem"], name)
    if len(stems) > 1:
        msg = (
            f"{folder} holds {len(stems)} matrices: {', '.join(sorted(stems.values())[:6])}. "
            "Give the path of one .mtx file instead of the folder; barcodes and features are "
            "found by the same beginning of their names."
        )
        raise LaneError(msg)
    return _partners(folder, next(iter(stems.values())), names)


def _partners(folder: Path, matrix: str, names: set[str]) -> Trio:
    standard = _MATRIX.fullmatch(matrix)
    other = _ANY_MTX.fullmatch(matrix)
    if standard:
        stem = standard["stem"]
        barcodes, features = [f"{stem}barcodes.tsv"], [stem + name for name in _FEATURE_FILES]
    else:
        stem = other["stem"] if other else ""
        barcodes = [f"{stem}.barcodes.txt"]
        features = [f"{stem}.genes.names.txt", f"{stem}.genes.txt"]
    picked = []
    for what, options in (("barcodes", barcodes), ("features", features)):
        both = [name + suffix for name in options for suffix in ("", ".gz")]
        present = [name for name in both if name in names]
        if not present:
            msg = (
                f"{folder / matrix} has no file of {what} beside it (looked for "
                f"{', '.join(both)}; the folder holds: {', '.join(sorted(names)[:10])}). Put the "
                "three files of a matrix into one folder."
            )
            raise LaneError(msg)
        picked.append(folder / present[0])
    return Trio(folder / matrix, picked[0], picked[1], cells_first=standard is None)


def read_features(path: Path) -> pd.DataFrame:
    """Return the columns ``id``, ``name``, ``type`` and ``genome`` of a features file.

    Files of one column (names only), two (Cell Ranger 2) and three or more (Cell Ranger 3).
    """
    raw = _table(path)
    first = raw[0] if raw.shape[1] else pd.Series([], dtype=str)
    table = pd.DataFrame({"id": first, "name": raw[1] if raw.shape[1] > 1 else first})
    table["type"] = raw[2] if raw.shape[1] > 2 else GENE_EXPRESSION
    table["genome"] = ""
    if len(table) and _GENOME_PREFIX.match(str(table["id"].iloc[0])):
        table["genome"] = table["id"].str.extract(_GENOME_PREFIX, expand=False).fillna("")
    return table


def _column(path: Path) -> Array:
    raw = _table(path)
    return raw[0].to_numpy(dtype=object) if raw.shape[1] else np.array([], dtype=object)


def _table(path: Path) -> pd.DataFrame:
    with reading(path), opened(path) as stream:
        try:
            return pd.read_csv(stream, sep="\t", header=None, dtype=str, quoting=3, na_filter=False)
        except pd.errors.EmptyDataError:
            return pd.DataFrame()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file, packed or not."""
    # By content, not by name: browsers unpack .gz files and keep the name.
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.open(raw, "rb") as stream:
            yield stream  # type: ignore[misc]


def _read_matrix(trio: Trio, *, n_features: int, n_barcodes: int) -> Any:
    expected = (n_barcodes, n_features) if trio.cells_first else (n_features, n_barcodes)
    with opened(trio.matrix) as stream:
        kind, sides, entries = _header(stream)
        _check_header(trio, entries, kind)
        if sides != expected:
            raise LaneError(_wrong_shape(trio, sides, expected))
        rows, columns, values = _body(trio, stream, sides, entries, whole="real" not in kind)
    cells, features = (rows, columns) if trio.cells_first else (columns, rows)
    by_cell = sparse.csr_matrix((values, (cells, features)), shape=(n_barcodes, n_features))
    return counts_from_csr(
        by_cell.data, by_cell.indices, by_cell.indptr, shape=by_cell.shape, where=str(trio.matrix)
    )


def _header(stream: IO[bytes]) -> tuple[str, tuple[int, int], int]:
    banner = stream.readline(_LONGEST_LINE).decode().split()
    if len(banner) != 5 or [word.lower() for word in banner[:2]] != ["%%matrixmarket", "matrix"]:
        msg = "the first line is not that of a Matrix Market file"
        raise ValueError(msg)
    line = stream.readline(_LONGEST_LINE)
    while line.startswith(b"%") or line.isspace():
        line = stream.readline(_LONGEST_LINE)
    n_rows, n_columns, entries = (int(word) for word in line.split())
    return " ".join(banner[2:]).lower(), (n_rows, n_columns), entries


def _body(
    trio: Trio, stream: IO[bytes], sides: tuple[int, int], entries: int, *, whole: bool
) -> list[Any]:
    # Not scipy.io.mmread: it is faster, but a damaged file makes it end the process.
    types = {"row": np.int64, "column": np.int64, "value": np.int64 if whole else np.float64}
    if entries == 0:
        return [np.zeros(0, np.int32)] * 3
    chunks = []
    read = 0
    blocks = pd.read_csv(
        stream,
        sep=r"\s+",
        header=None,
        names=list(types),
        dtype=types,
        na_filter=False,
        quoting=3,
        chunksize=_CHUNK,
    )
    for block in blocks:
        chunks.append(_entries(block, sides, str(trio.matrix)))
        read += len(block)
    if read != entries:
        msg = (
            f"{trio.matrix} announces {entries:,} entries and holds {read:,}: it is truncated or "
            "damaged. Copy or download it again."
        )
        raise LaneError(msg)
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def _entries(block: pd.DataFrame, sides: tuple[int, int], where: str) -> list[Any]:
    if not isinstance(block.index, pd.RangeIndex):
        msg = "lines of entries have more than three numbers"
        raise ValueError(msg)  # noqa: TRY004
    places = []
    for name, side in zip(("row", "column"), sides, strict=True):
        place = block[name].to_numpy()
        if place.min() < 1 or place.max() > side:
            msg = f"a {name} number lies outside of 1 to {side}"
            raise ValueError(msg)
        places.append((place - 1).astype(np.int32))
    return [*places, as_int32(block["value"].to_numpy(), where)[0]]


def _check_header(trio: Trio, entries: int, kind: str) -> None:
    path = trio.matrix
    if not re.fullmatch(r"coordinate (integer|unsigned-integer|real) general", kind):
        msg = (
            f"{path} is a Matrix Market file of the kind {kind!r}; counts of cells are "
            "'coordinate integer general'. Export the raw counts as a sparse matrix."
        )
        raise LaneError(msg)
    if entries > path.stat().st_size * _MOST_ENTRIES_PER_BYTE:
        msg = (
            f"{path} announces {entries:,} entries, more than its {path.stat().st_size:,} bytes "
            "can hold: it is truncated or damaged. Copy or download it again."
        )
        raise LaneError(msg)


def _wrong_shape(trio: Trio, found: tuple[int, int], expected: tuple[int, int]) -> str:
    sides = ("barcodes", "features") if trio.cells_first else ("features", "barcodes")
    files = {"barcodes": trio.barcodes.name, "features": trio.features.name}
    turned = found == expected[::-1] and found != expected
    remedy = (
        "The matrix is stored the other way round: transpose it"
        if turned
        else "Take all three files from the same run"
    )
    return (
        f"{trio.matrix} is {found[0]} × {found[1]}, but {files[sides[0]]} lists {expected[0]} "
        f"{sides[0]} and {files[sides[1]]} {expected[1]} {sides[1]}. {remedy}."
    )
