"""The file of a sample sheet, text or workbook, as a header and rows of text."""

from __future__ import annotations

import csv
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nkscore._gate import is_there
from nkscore._text import read_text
from nkscore.errors import SampleSheetError
from nkscore.io._sheet_columns import REQUIRED, column_of
from nkscore.io._workbook import Grid, is_workbook, read_workbook

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOG: Final = logging.getLogger("nkscore")
_MISSING: Final = frozenset({"", "na", "n/a", "n.a.", "nan", "none", "null", "<na>", "nat", "nil"})
_DASHES: Final = re.compile(r"[-–—−_]+")
#: Rows in which the header is sought: titles and remarks can stand above it.
_TOP: Final = 30


@dataclass(frozen=True, slots=True)
class Table:
    """Header and rows of a sheet; ``rows`` says how a user finds each again."""

    header: list[str]
    records: list[list[str]]
    rows: tuple[str, ...]
    decimal_comma: bool = False


def cell_text(value: object) -> str:
    """Return a cell as text, ``""`` for what stands for nothing."""
    if isinstance(value, float) and value.is_integer():
        # A column of whole numbers with one gap is float in pandas: donor 1 must not be "1.0".
        value = int(value)
    text = "" if value is None else " ".join(str(value).replace("\u200b", "").split())
    return "" if text.lower() in _MISSING or _DASHES.fullmatch(text) else text


def read_table(path: Path) -> Table:
    """Read a sheet's file."""
    _check_file(path)
    if is_workbook(path):
        name, grid = _worksheet(path, read_workbook(path))
        return _table(path, grid, of=f" of {name!r}" if name else "")
    lines = re.split(r"\r\n|\n|\r", read_text(path).replace("\0", ""))
    grids = [_parsed(path, lines, delimiter) for delimiter in _delimiters(lines)]
    delimiter, grid = max(grids, key=lambda each: _known(each[1]))
    return _table(path, grid, decimal_comma=delimiter == ";")


def _check_file(path: Path) -> None:
    if path.is_dir():
        msg = f"The sample sheet {path} is a folder. Give the CSV, TSV or XLSX file in it."
        raise SampleSheetError(msg)
    if not is_there(path) or not path.is_file():
        msg = f"The sample sheet {path} does not exist (working folder: {Path.cwd()})."
        raise SampleSheetError(msg)


def _delimiters(lines: Sequence[str]) -> list[str]:
    """Return the delimiters, the most frequent one of the first filled line first."""
    first = next((line for line in lines if line.strip(" ,;\t") and not _is_remark(line)), "")
    return sorted(",\t;", key=first.count, reverse=True)


def _is_remark(line: str) -> bool:
    return line.lstrip().startswith("#")


def _parsed(path: Path, lines: list[str], delimiter: str) -> tuple[str, Grid]:
    # Remarks become blank lines, so that the rows keep their numbers, unless one is the header.
    header = next((n for n, line in enumerate(lines) if _is_header(line, delimiter)), -1)
    kept = ["" if _is_remark(line) and n != header else line for n, line in enumerate(lines)]
    if header >= 0:
        kept[header] = kept[header].lstrip().lstrip("#")
    try:
        parsed: Grid = [
            [*row] for row in csv.reader(io.StringIO("\n".join(kept)), delimiter=delimiter)
        ]
    except csv.Error as error:
        msg = f"{path} is not a text table ({error}). Save the sample sheet as CSV."
        raise SampleSheetError(msg) from error
    return delimiter, parsed


def _is_header(line: str, delimiter: str) -> bool:
    return _is_whole([line.lstrip("# ").split(delimiter)])


def _known_in(record: Sequence[object]) -> set[str]:
    return {column for cell in record if cell and (column := column_of(str(cell).strip(" *:\"'#")))}


def _known(grid: Grid) -> int:
    """Return how many columns of a sheet the best header of ``grid`` has."""
    return max((len(_known_in(record)) for record in grid[:_TOP]), default=0)


def _worksheet(path: Path, worksheets: dict[str, Grid]) -> tuple[str, Grid]:
    """Return the worksheet that holds the samples, and its name if there are several."""
    filled = {name: grid for name, grid in worksheets.items() if any(map(any, grid))}
    if len(filled) < 2:
        return "", next(iter(filled.values()), [])
    whole = [name for name, grid in filled.items() if _is_whole(grid)]
    if len(whole) > 1:
        msg = (
            f"{path}: the worksheets {', '.join(map(repr, whole))} all hold a sample sheet. Keep "
            "one of them in the file."
        )
        raise SampleSheetError(msg)
    name = whole[0] if whole else max(filled, key=lambda each: _known(filled[each]))
    _LOG.info("%s: the samples are read from the worksheet %r.", path, name)
    return name, filled[name]


def _is_whole(grid: Sequence[Sequence[object]]) -> bool:
    return any(set(REQUIRED) <= _known_in(record) for record in grid[:_TOP])


def _table(path: Path, grid: Grid, *, of: str = "", decimal_comma: bool = False) -> Table:
    numbered = [
        (f"row {number}{of}", [cell_text(cell) for cell in record])
        for number, record in enumerate(grid, start=1)
    ]
    filled = [(row, record) for row, record in numbered if any(record)]
    if not filled:
        msg = f"{path} is empty. A sample sheet needs a header ({', '.join(REQUIRED)}, ...)."
        raise SampleSheetError(msg)
    top = [record for _, record in filled[:_TOP]]
    counts = [len(_known_in(record)) for record in top]
    place = counts.index(max(counts)) if max(counts) > 1 else 0
    if not _is_whole([top[place]]) and _is_whole([[record[0] for _, record in filled]]):
        msg = (
            f"{path}: its first column holds the names {', '.join(REQUIRED)}, so its samples are "
            "columns. Write one row per sample (in a spreadsheet: copy, then paste transposed)."
        )
        raise SampleSheetError(msg)
    if place:
        _LOG.info("%s: the header is %s; the rows above are skipped.", path, filled[place][0])
    header = [name.strip(" *:\"'") for name in filled[place][1]]
    body = filled[place + 1 :]
    header, records = _without_numbers(header, [record for _, record in body])
    return Table(header, records, tuple(row for row, _ in body), decimal_comma)


def _without_numbers(
    header: list[str], records: list[list[str]]
) -> tuple[list[str], list[list[str]]]:
    """Drop the numbers of rows that R and pandas write before the first column."""
    first = [record[0] if record else "" for record in records]
    counted = first in ([str(n + start) for n in range(len(first))] for start in (0, 1))
    if not counted or not records:
        return header, records
    if header[0] in {"", "Unnamed: 0"}:
        return header[1:], [record[1:] for record in records]
    if all(len(record) == len(header) + 1 for record in records) and header[-1]:
        return header, [record[1:] for record in records]
    return header, records
