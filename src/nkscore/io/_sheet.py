"""The sample sheet: read it and check it as a whole."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._gate import expanded
from nkscore._warn import warn
from nkscore.errors import SampleSheetError
from nkscore.io._sheet_columns import FILES, KNOWN, REQUIRED, Header, header_of
from nkscore.io._sheet_file import Table, cell_text, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN: Final = 20
#: Values and names of rows shown of a kind of problem.
_VALUES: Final = 4
_NAMES: Final = 6


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: its row as shown to the user, its column, and the remedy."""

    row: str
    column: str
    text: str
    #: What stands in the cell, if the text is the same for other values; ``{values}`` in the text
    #: is replaced by all of them.
    value: str = ""


def _line(problems: Sequence[Problem], spelled: Mapping[str, str]) -> str:
    """Return problems of one kind as one line, with their rows."""
    first = problems[0]
    values = list(dict.fromkeys(repr(each.value) for each in problems if each.value))
    shown = ", ".join(values[:_VALUES]) + (", ..." if len(values) > _VALUES else "")
    column = f"column {spelled.get(first.column, first.column)!r}" if first.column else ""
    if len(values) > 1:
        column, shown = f"{column} ({shown})", ""
    place = ", ".join(filter(None, (_rows([each.row for each in problems]), column)))
    text = f"{shown} {first.text.replace('{values}', ', '.join(values))}".strip()
    return f"{place}: {text}" if place else text


def _rows(rows: Sequence[str]) -> str:
    """Return rows as one text: ``rows 2, 4 to 6``."""
    distinct = list(dict.fromkeys(rows))
    found = [re.fullmatch(r"row (\d+)( of .+)?", row) for row in distinct]
    if len(distinct) < 2 or not all(found):
        more = f", ... ({len(distinct)} in all)" if len(distinct) > _NAMES else ""
        return ", ".join(filter(None, distinct[:_NAMES])) + more
    numbers = sorted(int(each[1]) for each in found if each)
    parts: list[list[int]] = []
    for each in numbers:
        if parts and each == parts[-1][-1] + 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    texts = [f"{p[0]} to {p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts]
    return f"rows {', '.join(texts)}{(found[0] and found[0][2]) or ''}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sample sheet as text: lower-case columns, ``""`` for missing values."""

    name: str
    base: Path
    cells: pd.DataFrame
    #: How to find each row again: ``row 4`` of a file (header = row 1), ``index 2`` of a frame.
    rows: tuple[str, ...]
    decimal_comma: bool = False
    #: Column → its name in the sheet, where that is another.
    spelled: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, text: str) -> Path:
        """Return the path ``text`` relative to the sheet's folder."""
        return self.base / expanded(text)


def report(
    sheet_name: str, problems: Sequence[Problem], spelled: Mapping[str, str] | None = None
) -> None:
    """Raise one :class:`SampleSheetError` with all ``problems``, one line per kind."""
    if not problems:
        return
    lines = [f"  {line}" for line in lines_of(problems, spelled or {})]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    msg = "\n".join([f"{sheet_name} has {count} (nothing was loaded):", *lines])
    raise SampleSheetError(msg)


def lines_of(problems: Sequence[Problem], spelled: Mapping[str, str]) -> list[str]:
    """Return one line per kind of problem."""
    kinds: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        kinds.setdefault((problem.column, problem.text), []).append(problem)
    lines = [_line(kind, spelled) for kind in list(kinds.values())[:_SHOWN]]
    if len(kinds) > _SHOWN:
        lines.append(f"... and {len(kinds) - _SHOWN} more.")
    return lines


def parse(
    sheet: object,
    base: str | os.PathLike[str] | None,
    *,
    required: Sequence[str] = REQUIRED,
) -> Sheet:
    """Return the sheet's cells as text; report all problems of its form together."""
    if isinstance(sheet, pd.DataFrame):
        name, default_base = "The sample sheet (DataFrame)", Path.cwd()
        header = [str(column) for column in sheet.columns]
        records = [[cell_text(value) for value in row] for row in sheet.itertuples(index=False)]
        # pandas iterates over no rows if there are no columns.
        records = records or [[] for _ in range(len(sheet))]
        rows = (
            tuple(f"index {label}" for label in sheet.index)
            if sheet.index.is_unique
            else tuple(f"row {number} of the DataFrame" for number in range(1, len(sheet) + 1))
        )
        table = Table(header, records, rows)
    elif isinstance(sheet, (str, os.PathLike)):
        path = expanded(sheet)
        name, default_base = str(path), path.resolve().parent
        table = read_table(path)
    else:
        msg = (
            f"sheet is of type {type(sheet).__name__}; a path to a CSV, TSV, XLSX or ODS file or a "
            "pandas DataFrame is needed."
        )
        raise TypeError(msg)
    base = default_base if base is None else expanded(base).resolve()
    cells, spelled = _frame(name, table, required)
    return Sheet(name, base, cells, table.rows, table.decimal_comma, spelled)


def _frame(name: str, table: Table, required: Sequence[str]) -> tuple[pd.DataFrame, dict[str, str]]:
    header = header_of(name, table.header)
    names = header.columns
    problems = _header_problems(header, required)
    for row, record in zip(table.rows, table.records, strict=True):
        problems += [Problem(row, "", text) for text in _row_problems(record, names)]
    if not table.records:
        problems.append(
            Problem("", "", "It holds a header but no samples. Add one row per sample.")
        )
    report(name, problems)
    width = len(names)
    padded = [(record + [""] * width)[:width] for record in table.records]
    cells = pd.DataFrame(padded, columns=pd.Index(names), dtype=object)
    cells = cells[[column for column in names if column]]
    _warn_near_misses(name, list(cells.columns))
    for column in KNOWN:
        if column not in cells:
            cells[column] = ""
    ordered = cells[[*KNOWN, *(column for column in cells if column not in KNOWN)]]
    return ordered, header.spelled


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


def _header_problems(header: Header, required: Sequence[str]) -> list[Problem]:
    problems, names = [], header.columns
    for column, claimed in header.claims.items():
        text = (
            f"could be {' or '.join(map(repr, claimed))}. Rename the one that holds it to "
            f"{column!r}."
        )
        problems.append(Problem("", column, text))
    for column in required:
        if column not in names and column not in header.claims:
            close = difflib.get_close_matches(column, [n for n in names if n not in KNOWN], n=1)
            hint = f" Rename {close[0]!r}?" if close else ""
            text = f"is missing (columns found: {', '.join(filter(None, names))}).{hint}"
            problems.append(Problem("", column, text))
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    problems += [Problem("", name, "occurs more than once. Keep one of them.") for name in twice]
    return problems


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
    # Most sheets have no genotypes; their tables stay as they are.
    genotyped = (sheet.cells[schema.GENOTYPE] != "").any()
    skipped = FILES if genotyped else (*FILES, schema.GENOTYPE)
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
    # In files with semicolons the comma is the decimal mark of the spreadsheet's locale; elsewhere
    # it could separate thousands, but not before one or two digits.
    comma = sheet.decimal_comma or re.fullmatch(r"\d+,\d{1,2}", text)
    return float(text.replace(",", ".") if comma else text)
