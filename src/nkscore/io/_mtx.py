"""Folders of a Matrix Market file with its barcodes and features.

Cell Ranger 2 and 3, STARsolo and CITE-seq-Count write features × barcodes; kallisto | bustools
writes barcodes × features under other names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore._text import SAFE_FLOATS, opened
from nkscore.errors import LaneError
from nkscore.io._lane import Lane, as_int32, counts_from_csr, reading
from nkscore.io._listing import read_barcodes, read_features
from nkscore.io._tenx_h5 import select_genome

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._types import Array
    from nkscore.io._source import Source

_ANY_MTX: Final = re.compile(r"(?P<stem>.+)\.mtx(\.gz)?", re.IGNORECASE)
_GENOME_PREFIX: Final = re.compile(r"^(?P<genome>.+?)_+ENS[A-Z]*G\d")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a pipeline names a matrix and the files that go with it."""

    matrix: re.Pattern[str]
    barcodes: tuple[str, ...]
    features: tuple[str, ...]
    cells_first: bool


def _layout(matrix: str, barcodes: str, features: str, *, cells_first: bool = True) -> Layout:
    pattern = re.compile(rf"{matrix}\.mtx(\.gz)?", re.IGNORECASE)
    return Layout(pattern, tuple(barcodes.split()), tuple(features.split()), cells_first)


#: In the order in which they are tried; ``{a}`` and ``{b}`` are parts of the matrix's name.
_LAYOUTS: Final = (
    # alevin-fry, Parse Biosciences, kallisto | bustools (also of spliced and nascent RNA).
    _layout(r"(?P<a>.*)quants_mat", "{a}quants_mat_rows.txt", "{a}quants_mat_cols.txt"),
    _layout(
        r"(?P<a>.*)(?:count_matrix|DGE)", "{a}cell_metadata.csv", "{a}all_genes.csv {a}genes.csv"
    ),
    _layout(
        r"(?P<a>.*cells_x_[^.]+)(?:\.\w+)?",
        "{a}.barcodes.txt",
        "{a}.genes.names.txt {a}.genes.txt {a}.features.txt",
    ),
    # Cell Ranger, STARsolo, CITE-seq-Count, and GEO with the sample first or last.
    _layout(
        r"(?P<a>.*?)matrix(?P<b>.*)",
        "{a}barcodes{b}.tsv {a}barcodes{b}.txt {a}barcodes{b}.csv",
        "{a}features{b}.tsv {a}genes{b}.tsv {a}features{b}.txt {a}genes{b}.txt {a}features{b}.csv "
        "{a}genes{b}.csv",
        cells_first=False,
    ),
    _layout(
        r"(?P<a>.*?[._-]?)(?:(?:raw_)?counts?|umis?|expression|data)",
        "{a}barcodes.tsv {a}barcodes.txt {a}barcodes.csv {a}cells.txt {a}cells.tsv",
        "{a}features.tsv {a}genes.tsv {a}genes.txt {a}features.txt {a}genes.csv {a}features.csv",
        cells_first=False,
    ),
    _layout(r"(?P<a>.+)", "{a}.barcodes.txt", "{a}.genes.names.txt {a}.genes.txt"),
)
#: Gzip cannot compress by more than this factor, and a line of an entry has at least six bytes.
_MOST_ENTRIES_PER_BYTE: Final = 1032 / 6
_LONGEST_LINE: Final = 1 << 16
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Trio:
    """The three files of one matrix, and its orientation."""

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
    table["genome"] = ""
    if len(table) and _GENOME_PREFIX.match(str(table["id"].iloc[0])):
        table["genome"] = table["id"].str.extract(_GENOME_PREFIX, expand=False).fillna("")
    barcodes = read_barcodes(trio.barcodes)
    with reading(trio.matrix):
        counts = _read_matrix(trio, n_features=len(table), n_barcodes=len(barcodes))
    counts, table = select_genome(counts, table, genome, source.path)
    return Lane(source.path, "mtx folder", counts, barcodes, table)


def find_trio(source: Source) -> Trio:
    """Return the files that belong together or raise :class:`LaneError`."""
    folder = source.path if source.kind == "folder" else source.path.parent
    # macOS puts files of the same names, but for "._", into archives.
    names = {item.name for item in folder.iterdir() if not item.name.startswith(".")}
    wanted = sorted(names) if source.kind == "folder" else [source.path.name]
    # An unpacked copy next to the .gz is the same matrix and faster to read.
    stems: dict[str, str] = {}
    for name in sorted(wanted):
        found = _ANY_MTX.fullmatch(name)
        if found:
            stems.setdefault(found["stem"], name)
    if len(stems) > 1:
        msg = (
            f"{folder} holds {len(stems)} matrices: {', '.join(sorted(stems.values())[:6])}. "
            "Give the path of one .mtx file instead of the folder; barcodes and features "
            "are found by the same prefix."
        )
        raise LaneError(msg)
    return _partners(folder, next(iter(stems.values())), names)


def _partners(folder: Path, matrix: str, names: set[str]) -> Trio:
    tried = []
    for layout in _LAYOUTS:
        found = layout.matrix.fullmatch(matrix)
        if found:
            parts = {"a": "", "b": "", **found.groupdict()}
            files = [
                [name.format(**parts) + end for name in options for end in ("", ".gz")]
                for options in (layout.barcodes, layout.features)
            ]
            present = [next((name for name in options if name in names), "") for options in files]
            if all(present):
                barcodes, features = (folder / name for name in present)
                return Trio(folder / matrix, barcodes, features, layout.cells_first)
            tried.append((files, present))
    files, present = max(tried, key=lambda one: sum(map(bool, one[1])))
    lacking = next(place for place, name in enumerate(present) if not name)
    msg = (
        f"{folder / matrix} has no file of {('barcodes', 'features')[lacking]} next to it (looked "
        f"for {', '.join(files[lacking])}; the folder holds: {', '.join(sorted(names)[:10])}). Put "
        "the three files of a matrix into one folder."
    )
    raise LaneError(msg)


def _read_matrix(trio: Trio, *, n_features: int, n_barcodes: int) -> sparse.csr_matrix:
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
) -> list[Array]:
    # Not scipy.io.mmread: it is faster, but a damaged file makes it crash the process.
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
        **SAFE_FLOATS,
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
            msg = f"a {name} number is outside 1 to {side}"
            raise ValueError(msg)
        places.append((place - 1).astype(np.int32))
    return [*places, as_int32(block["value"].to_numpy(), where)[0]]


def _check_header(trio: Trio, entries: int, kind: str) -> None:
    path = trio.matrix
    if not re.fullmatch(r"coordinate (integer|unsigned-integer|real) general", kind):
        msg = (
            f"{path} is a Matrix Market file of type {kind!r}; counts of cells are "
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
        "The matrix has the opposite orientation: transpose it"
        if turned
        else "Take all three files from the same run"
    )
    return (
        f"{trio.matrix} is {found[0]} × {found[1]}, but {files[sides[0]]} lists {expected[0]} "
        f"{sides[0]} and {files[sides[1]]} {expected[1]} {sides[1]}. {remedy}."
    )
