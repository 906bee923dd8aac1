"""Tables for spreadsheets and for programs of gene sets."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._whole import whole
from nkscore.errors import DesignError, MissingKeyError
from nkscore.io._columns import dictionary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anndata import AnnData
    from openpyxl.worksheet._write_only import WriteOnlyWorksheet

_LOG: Final = logging.getLogger("nkscore")
#: Of one worksheet, with the header.
_MOST_ROWS: Final = 1_048_576
_MOST_COLUMNS: Final = 16_384
_UNSTORABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
#: Characters that names of worksheets or files cannot have.
_NOT_IN_NAMES: Final = re.compile(r"[\[\]:*?/\\\"<>|\s]+")
_STATISTICS: Final = ("t", "log2_fc", "score")
_SETS: Final = ("module", "signature", "set", "state", "cluster")


@dataclass(frozen=True, slots=True)
class Choice:
    """Options of the export."""

    by: str
    rank_by: str | None
    max_q: float
    overwrite: bool

    def free(self, path: Path) -> Path:
        """Return ``path`` if it can be written."""
        if path.exists() and not self.overwrite:
            msg = f"{path} exists. Choose another name, or pass overwrite=True to replace it."
            raise FileExistsError(msg)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def write_xlsx(
    data: AnnData | pd.DataFrame | Mapping[str, pd.DataFrame], path: Path, choice: Choice
) -> list[Path]:
    """Write a workbook with one worksheet per table, and one that explains the columns."""
    try:
        from openpyxl import Workbook
    except ImportError as error:
        msg = "to='xlsx' needs openpyxl: pip install 'nkscore[workbooks]'."
        raise ImportError(msg) from error
    tables = {name: _with_index(table) for name, table in _tables(data)}
    for name, table in tables.items():
        _check_size(name, table)
    choice.free(path)
    book = Workbook(write_only=True)
    names: set[str] = set()
    for name, table in [*tables.items(), ("columns", dictionary(tables))]:
        sheet = book.create_sheet(_free_name(name, names))
        sheet.freeze_panes = "A2"
        _fill(sheet, table)
    with whole(path) as beside:
        book.save(beside)
    return [path]


def _tables(
    data: AnnData | pd.DataFrame | Mapping[str, pd.DataFrame],
) -> Iterator[tuple[str, pd.DataFrame]]:
    if isinstance(data, pd.DataFrame):
        yield "table", data
        return
    if not isinstance(data, Mapping):
        yield "cells", data.obs
        data = {k: frame for k, frame in data.obsm.items() if isinstance(frame, pd.DataFrame)}
    for name, table in data.items():
        if not hasattr(table, "columns"):
            msg = f"{name!r} is of type {type(table).__name__}; a DataFrame is needed."
            raise TypeError(msg)
        yield str(name), table


def _with_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the names of its rows as first column, if they are names."""
    if isinstance(table.index, pd.RangeIndex):
        return table
    name = "cell" if table.index.name is None else str(table.index.name)
    while name in table:
        name = f"{name}_name"
    return table.rename_axis(index=name).reset_index()


def _check_size(name: str, table: pd.DataFrame) -> None:
    if len(table) >= _MOST_ROWS or table.shape[1] > _MOST_COLUMNS:
        msg = (
            f"{name!r} has {len(table):,} rows and {table.shape[1]:,} columns; a worksheet holds "
            f"{_MOST_ROWS - 1:,} and {_MOST_COLUMNS:,}. Write it with table.to_csv, or select rows."
        )
        raise ValueError(msg)


def _free_name(name: str, taken: set[str]) -> str:
    """Return a name for a worksheet: up to 31 characters, unique without regard to case."""
    plain = _NOT_IN_NAMES.sub("_", name)[:31] or "table"
    found, number = plain, 2
    while found.lower() in taken:
        found = f"{plain[:27]}_{number}"
        number += 1
    taken.add(found.lower())
    return found


def _fill(sheet: WriteOnlyWorksheet, table: pd.DataFrame) -> None:
    from openpyxl.cell import WriteOnlyCell

    def text(value: object) -> WriteOnlyCell:
        cell = WriteOnlyCell(sheet, value=_UNSTORABLE.sub(" ", str(value)))
        # Text that begins with "=" would be a formula, and an edited gene name a date.
        cell.data_type, cell.number_format = "s", "@"
        return cell

    def cell_of(value: object) -> object:
        if value is None or value is pd.NA or value is pd.NaT:
            return None
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
        if isinstance(value, (int, np.integer)):
            return int(value)
        if isinstance(value, (float, np.floating)):
            number = float(value)
            return number if np.isfinite(number) else None if np.isnan(number) else str(number)
        return text(value)

    sheet.append([text(column) for column in table])
    for row in table.itertuples(index=False, name=None):
        sheet.append([cell_of(value) for value in row])


def write_rnk(table: pd.DataFrame, path: Path, choice: Choice) -> list[Path]:
    """Write the genes of each response by their statistic."""
    _require(table, ["gene"])
    statistic = choice.rank_by or next((name for name in _STATISTICS if name in table), "t")
    _require(table, [statistic])
    files = []
    for level, rows in _levels(table, choice.by):
        values = pd.to_numeric(rows[statistic]).to_numpy(dtype=np.float64)
        kept = np.isfinite(values)
        if not kept.all():
            _LOG.warning(
                "%s: %d genes without %s are not written", path, int((~kept).sum()), statistic
            )
        genes = rows["gene"].astype(str)[kept]
        if genes.duplicated().any():
            gene = genes[genes.duplicated()].iloc[0]
            msg = (
                f"Gene {gene!r} occurs twice in one list. Name the column that distinguishes the "
                f"rows in by= (now {choice.by!r}), or select one comparison."
            )
            raise DesignError(msg)
        # By name where the statistic is equal, so that the file does not depend on the order.
        order = np.lexsort((genes.to_numpy(dtype=str), -values[kept]))
        ranked = pd.DataFrame({"gene": genes.to_numpy()[order], "t": values[kept][order]})
        file = choice.free(_beside(path, level))
        with whole(file) as beside:
            ranked.to_csv(beside, sep="\t", header=False, index=False)
        files.append(file)
    return files


def _levels(table: pd.DataFrame, by: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the rows of each level; the level is empty if there is only one."""
    if by not in table or table[by].nunique() < 2:
        yield "", table
        return
    for level in dict.fromkeys(table[by].dropna()):
        yield str(level), table[table[by] == level]


def _beside(path: Path, level: str) -> Path:
    name = _NOT_IN_NAMES.sub("_", level)
    return path.with_name(f"{path.stem}_{name}{path.suffix}") if level else path


def write_gmt(table: pd.DataFrame, path: Path, choice: Choice) -> list[Path]:
    """Write gene sets: those that the table names, or the genes that are up and down."""
    _require(table, ["gene"])
    column = next((name for name in _SETS if name in table), None)
    if column is not None:
        sets = list(_named_sets(table, column))
    else:
        _require(table, ["log2_fc", "q_value"])
        sets = list(_changed_sets(table, choice))
    if not sets:
        msg = (
            f"No gene has q_value below {choice.max_q}, so there is no set. Raise max_q, or write "
            "to='rnk', which keeps all genes."
        )
        raise DesignError(msg)
    lines = ["\t".join([_NOT_IN_NAMES.sub("_", name), *rest]) for name, *rest in sets]
    with whole(choice.free(path)) as beside:
        beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [path]


def _named_sets(table: pd.DataFrame, column: str) -> Iterator[list[str]]:
    numbered = pd.api.types.is_numeric_dtype(table[column])
    for level in dict.fromkeys(table[column].dropna()):
        rows = table[table[column] == level]
        label = str(rows["label"].iloc[0]) if "label" in rows else "nkscore"
        name = f"{column}_{level}" if numbered else str(level)
        yield [name, label, *dict.fromkeys(rows["gene"].astype(str))]


def _changed_sets(table: pd.DataFrame, choice: Choice) -> Iterator[list[str]]:
    for level, rows in _levels(table, choice.by):
        hits = rows[rows["q_value"] < choice.max_q].sort_values("q_value", kind="stable")
        for ending, sign in (("UP", 1), ("DN", -1)):
            genes = hits["gene"].astype(str)[np.sign(hits["log2_fc"]) == sign]
            if len(genes):
                name = f"{level or 'response'}_{ending}"
                yield [name, f"q_value < {choice.max_q}", *dict.fromkeys(genes)]


def _require(table: pd.DataFrame, columns: list[str]) -> None:
    absent = [column for column in columns if column not in table]
    if absent:
        msg = (
            f"The table has no column {', '.join(map(repr, absent))} (it has: "
            f"{', '.join(map(str, table.columns))}). Pass a table of genes, for example of "
            "tl.interaction_response."
        )
        raise MissingKeyError(msg)
