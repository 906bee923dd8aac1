"""Worksheets of a spreadsheet workbook, as rows of cells."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

from nkscore._warn import warn
from nkscore.errors import SampleSheetError

if TYPE_CHECKING:
    from pathlib import Path

    from openpyxl.worksheet.worksheet import Worksheet

#: Rows of cells; rows above the first filled one are in it, so that they keep their numbers.
Grid = list[list[object]]

_ZIP: Final = b"PK\x03\x04"
#: Workbooks before 2007, and those with a password.
_OLE: Final = b"\xd0\xcf\x11\xe0"
_MOST_BYTES: Final = 1 << 28
_MOST_CELLS: Final = 1_000_000


def is_workbook(path: Path) -> bool:
    """Whether a file is a workbook, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(4)
    return head in {_ZIP, _OLE}


def read_workbook(path: Path) -> dict[str, Grid]:
    """Return the cells of each worksheet."""
    try:
        if _holds_xlsx(path):
            return _read_xlsx(path)
        return _read_other(path)
    except SampleSheetError:
        raise
    except ImportError as error:
        msg = (
            f"{path} is a workbook, and {error.name} is needed to read it: pip install "
            "'nkscore[workbooks]', or save the sheet as CSV (UTF-8)."
        )
        raise SampleSheetError(msg) from error
    except Exception as error:
        # Both libraries raise whatever a damaged file brings about.
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = (
            f"{path} cannot be read as a workbook ({reason}). If it has a password, remove it; "
            "else save the sheet as CSV (UTF-8) and give that file."
        )
        raise SampleSheetError(msg) from error


def _holds_xlsx(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if sum(part.file_size for part in parts) > _MOST_BYTES:
        msg = f"{path} unpacks to more than 256 MB, which is no sample sheet. Save it as CSV."
        raise SampleSheetError(msg)
    return any(part.filename == "xl/workbook.xml" for part in parts)


def _read_xlsx(path: Path) -> dict[str, Grid]:
    import openpyxl

    # calamine (0.9) reads cells in error, for example #N/A, as empty ones.
    values = openpyxl.load_workbook(path, data_only=True)
    formulas = openpyxl.load_workbook(path)
    found: dict[str, Grid] = {}
    for sheet in values.worksheets:
        if sheet.sheet_state == "visible":
            _check_size(path, sheet.max_row * sheet.max_column)
            grid: Grid = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=1)]
            _fill_merged(sheet, grid)
            _check_formulas(path, grid, formulas[sheet.title])
            _tell_of_hidden(path, sheet, grid)
            found[sheet.title] = grid
    return found


def _check_size(path: Path, n_cells: int) -> None:
    if n_cells > _MOST_CELLS:
        msg = f"{path} has {n_cells:,} cells, which is no sample sheet. Save it as CSV."
        raise SampleSheetError(msg)


def _fill_merged(sheet: Worksheet, grid: Grid) -> None:
    """Write the value of merged cells into each of them, if they are one below the other."""
    for area in sheet.merged_cells.ranges:
        if area.min_col == area.max_col:
            for row in range(area.min_row, area.max_row):
                grid[row][area.min_col - 1] = grid[area.min_row - 1][area.min_col - 1]


def _check_formulas(path: Path, grid: Grid, formulas: Worksheet) -> None:
    for row, cells in zip(grid, formulas.iter_rows(min_row=1), strict=False):
        for value, cell in zip(row, cells, strict=False):
            if value is None and cell.data_type == "f":
                msg = (
                    f"{path}, {formulas.title!r}, cell {cell.coordinate} holds a formula without "
                    "a stored result. Open the file in a spreadsheet program and save it, or "
                    "write values."
                )
                raise SampleSheetError(msg)


def _tell_of_hidden(path: Path, sheet: Worksheet, grid: Grid) -> None:
    hidden = [
        number
        for number, row in enumerate(grid, start=1)
        if any(row) and sheet.row_dimensions[number].hidden
    ]
    if hidden:
        shown = ", ".join(map(str, hidden[:5])) + (", ..." if len(hidden) > 5 else "")
        warn(
            f"{path}, {sheet.title!r}: hidden rows are read, too ({shown}). Delete those that do "
            "not count."
        )


def _read_other(path: Path) -> dict[str, Grid]:
    """Read ODS, XLS and XLSB."""
    import python_calamine

    _refuse_errors(path)
    book = python_calamine.load_workbook(path)
    found: dict[str, Grid] = {}
    for shown in book.sheets_metadata:
        if shown.visible == python_calamine.SheetVisibleEnum.Visible:
            sheet = book.get_sheet_by_name(shown.name)
            _check_size(path, sheet.total_height * sheet.total_width)
            grid: Grid = [[*row] for row in sheet.to_python(skip_empty_area=False)]
            found[shown.name] = grid
    return found


def _refuse_errors(path: Path) -> None:
    """Raise for an ODS file with cells in error, which calamine reads as empty ones."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        in_error = "content.xml" in archive.namelist() and (
            b'value-type="error"' in archive.read("content.xml")
        )
    if in_error:
        msg = f"{path} holds cells in error (for example #N/A). Correct their formulas."
        raise SampleSheetError(msg)
