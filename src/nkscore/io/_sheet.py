"""The sample sheet: read it and check it as a whole."""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._text import read_text
from nkscore._warn import warn
from nkscore.errors import SampleSheetError

if TYPE_CHECKING:
    from collections.abc import Sequence

PATH: Final = "path"
HASHTAG_PATH: Final = "hashtag_path"
REQUIRED: Final = (PATH, schema.SAMPLE, schema.CONDITION)
KNOWN: Final = (schema.LANE, PATH, HASHTAG_PATH, schema.HASHTAG, *schema.SAMPLE_COLUMNS)
_MISSING: Final = frozenset({"", "na", "n/a", "nan", "none", "null", "<na>", "nat"})
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: its row as shown to the user, its column, and the remedy."""

    row: str
    column: str
    text: str

    def __str__(self) -> str:
        place = ", ".join(
            part for part in (self.row, f"column {self.column!r}" if self.column else "") if part
        )
        return f"{place}: {self.text}" if place else self.text


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sample sheet as text: lower-case columns, ``""`` for missing values."""

    name: str
    base: Path
    cells: pd.DataFrame
    #: How to find each row again: ``row 4`` of a file (header = row 1), ``index 2`` of a frame.
    rows: tuple[str, ...]
    decimal_comma: bool = False

    def resolve(self, text: str) -> Path:
        """Return the path ``text`` relative to the sheet's folder."""
        return self.base / Path(text).expanduser()


def report(sheet_name: str, problems: Sequence[Problem]) -> None:
    """Raise one :class:`SampleSheetError` with all ``problems``, if there are any."""
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"  ... and {len(problems) - _SHOWN} more.")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    msg = "\n".join([f"{sheet_name} has {count} (nothing was loaded):", *lines])
    raise SampleSheetError(msg)


def parse(sheet: object, base: str | os.PathLike[str] | None) -> Sheet:
    """Return the sheet's cells as text; report all problems of its form together."""
    if isinstance(sheet, pd.DataFrame):
        name, default_base = "The sample sheet (DataFrame)", Path.cwd()
        header = [str(column) for column in sheet.columns]
        records = [[_text(value) for value in row] for row in sheet.itertuples(index=False)]
        # pandas iterates over no rows if there are no columns.
        records = records or [[] for _ in range(len(sheet))]
        rows = (
            tuple(f"index {label}" for label in sheet.index)
            if sheet.index.is_unique
            else tuple(f"row {number} of the DataFrame" for number in range(1, len(sheet) + 1))
        )
        comma = False
    elif isinstance(sheet, (str, os.PathLike)):
        path = Path(sheet).expanduser()
        name, default_base = str(path), path.resolve().parent
        header, records, rows, comma = _read_file(path)
    else:
        msg = (
            f"sheet is of type {type(sheet).__name__}; a path to a CSV or TSV file or a pandas "
            "DataFrame is needed."
        )
        raise TypeError(msg)
    base = default_base if base is None else Path(base).expanduser().resolve()
    cells = _frame(name, header, records, rows)
    return Sheet(name, base, cells, rows, comma)


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        # A column of whole numbers with one gap is float in pandas: donor 1 must not be "1.0".
        value = int(value)
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in _MISSING else text


def _read_file(path: Path) -> tuple[list[str], list[list[str]], tuple[str, ...], bool]:
    lines = _lines(path)
    # Comments become blank lines, so that the rows keep their numbers.
    lines = ["" if line.lstrip().startswith("#") else line for line in lines]
    first = next((line for line in lines if line.strip(" ,;\t")), "")
    delimiter = max(",\t;", key=first.count)
    try:
        parsed = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    except csv.Error as error:
        msg = f"{path} is not a text table ({error}). Save the sample sheet as CSV."
        raise SampleSheetError(msg) from error
    numbered = [
        (f"row {number}", [_text(cell) for cell in record])
        for number, record in enumerate(parsed, start=1)
    ]
    filled = [(row, record) for row, record in numbered if any(record)]
    if not filled:
        msg = f"{path} is empty. A sample sheet needs a header ({', '.join(REQUIRED)}, ...)."
        raise SampleSheetError(msg)
    rows = tuple(row for row, _ in filled[1:])
    return filled[0][1], [record for _, record in filled[1:]], rows, delimiter == ";"


def _lines(path: Path) -> list[str]:
    if path.is_dir():
        msg = f"The sample sheet {path} is a folder. Give the CSV or TSV file in it."
        raise SampleSheetError(msg)
    if not path.is_file():
        msg = f"The sample sheet {path} does not exist (working folder: {Path.cwd()})."
        raise SampleSheetError(msg)
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith((b"PK", b"\xd0\xcf\x11\xe0")):
        msg = f"{path} is a spreadsheet workbook. Save the sheet as CSV (UTF-8) and give that file."
        raise SampleSheetError(msg)
    text = read_text(path)
    return re.split(r"\r\n|\n|\r", text.replace("\0", ""))


def _frame(
    name: str, header: list[str], records: list[list[str]], rows: Sequence[str]
) -> pd.DataFrame:
    names = [column.strip().lower() for column in header]
    problems = _header_problems(names)
    for row, record in zip(rows, records, strict=True):
        problems += [Problem(row, "", text) for text in _row_problems(record, names)]
    if not records:
        problems.append(
            Problem("", "", "It holds a header but no samples. Add one row per sample.")
        )
    report(name, problems)
    width = len(names)
    padded = [(record + [""] * width)[:width] for record in records]
    table = pd.DataFrame(padded, columns=pd.Index(names), dtype=object)
    table = table[[column for column in names if column]]
    _warn_near_misses(name, list(table.columns))
    for column in KNOWN:
        if column not in table:
            table[column] = ""
    return table[[*KNOWN, *(column for column in table if column not in KNOWN)]]


def _row_problems(record: list[str], names: list[str]) -> list[str]:
    found = []
    surplus = [cell for cell in record[len(names) :] if cell]
    if surplus:
        found.append(
            f"has more cells than the header ({surplus[0]!r} and so on). Quote values that contain "
            "the delimiter."
        )
    if len(names) > 1 and (other := _other_delimiter(record)):
        found.append(
            f"is a single cell, split by {other!r} unlike the header. Use the same "
            "delimiter in all rows."
        )
    if any(cell for cell, column in zip(record, names, strict=False) if not column):
        found.append("has a value in a column without a name. Name it.")
    return found


def _other_delimiter(record: list[str]) -> str:
    filled = [cell for cell in record if cell]
    if len(filled) != 1:
        return ""
    return next((mark for mark in ",;\t" if filled[0].count(mark) >= len(REQUIRED) - 1), "")


def _header_problems(names: list[str]) -> list[Problem]:
    problems = []
    for column in REQUIRED:
        if column not in names:
            close = difflib.get_close_matches(column, [n for n in names if n not in KNOWN], n=1)
            hint = f" Rename {close[0]!r}?" if close else ""
            text = f"is missing (columns found: {', '.join(filter(None, names))}).{hint}"
            problems.append(Problem("", column, text))
    for column in dict.fromkeys(names):
        if column and names.count(column) > 1:
            problems.append(Problem("", column, "occurs more than once. Keep one of them."))
        elif column in _RESERVED:
            text = "is a name that nkscore writes results to. Rename the column."
            problems.append(Problem("", column, text))
        elif "/" in column:
            text = "holds a '/', which .h5ad files cannot store. Rename the column."
            problems.append(Problem("", column, text))
    return problems


_RESERVED: Final = frozenset(
    {
        schema.QC_PASS,
        schema.QC_REASON,
        schema.HASHTAG_CLASS,
        schema.HASHTAG_CONFIDENCE,
        schema.COMPARTMENT,
        schema.COMPARTMENT_CONFIDENCE,
        schema.NK_STATE,
        "index",
        "_index",
        schema.NK_STATE_CONFIDENCE,
        schema.TUMOR_STATE,
        schema.TUMOR_STATE_CONFIDENCE,
    }
)


def _warn_near_misses(name: str, columns: list[str]) -> None:
    absent = [column for column in KNOWN if column not in columns]
    for column in columns:
        close = difflib.get_close_matches(column, absent, n=1, cutoff=0.75)
        if column not in KNOWN and close:
            msg = (
                f"{name}: the column {column!r} is kept as an extra column. If it means "
                f"{close[0]!r}, rename it."
            )
            warn(msg)


def with_cells(sheet: Sheet, cells: pd.DataFrame) -> Sheet:
    """Return ``sheet`` with new cells."""
    return replace(sheet, cells=cells)


def stored(sheet: Sheet) -> pd.DataFrame:
    """Return the table for ``uns``: text columns, float ``time_h`` and ``et_ratio``."""
    skipped = (PATH, HASHTAG_PATH)
    table: dict[str, Any] = {}
    for column in map(str, sheet.cells):
        if column in skipped:
            continue
        values = sheet.cells[column]
        if column in schema.NUMERIC_SAMPLE_COLUMNS:
            table[column] = np.array([number(sheet, text) for text in values], dtype=np.float64)
        else:
            table[column] = [str(text) for text in values]
    index = pd.Index([str(i) for i in range(len(sheet.cells))])
    return pd.DataFrame(table, index=index)


def number(sheet: Sheet, text: str) -> float:
    """Return ``text`` as a number, NaN if empty; raise ValueError for other text."""
    if not text:
        return float("nan")
    if "_" in text:
        # Python would read the ratio 1_16, as some write 1:16, as 116.
        msg = f"{text!r} is not a number"
        raise ValueError(msg)
    # In files with semicolons the comma is the decimal mark of the spreadsheet's locale.
    return float(text.replace(",", ".") if sheet.decimal_comma else text)
