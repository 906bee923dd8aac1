"""Sheets to fill in: a template, and one from names of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore import schema
from nkscore.errors import SampleSheetError
from nkscore.io._sample_names import parse_sample_names
from nkscore.io._sheet_columns import HASHTAG_PATH, PATH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Column → its meaning, in the order of the template.
MEANINGS: Final = {
    schema.LANE: "Name of the 10x lane. Empty: named by its file.",
    PATH: "File or folder of the lane, relative to this sheet. Needed.",
    schema.HASHTAG: "Tag that marks the sample in its lane. Empty: the whole lane is one sample.",
    HASHTAG_PATH: "Matrix of the hashtags, if they are not in the lane's own file.",
    schema.SAMPLE: "Name of the sample (one well). Needed.",
    schema.TUMOR: "Cell line or patient. Empty for NK cells alone.",
    schema.LINEAGE: "AML, CML, MM, B-ALL, T-ALL, BCL, ...",
    schema.NK_DONOR: "Donor of the NK cells. Empty for tumor cells alone.",
    schema.NK_SOURCE: "expanded, pbmc, ...",
    schema.CONDITION: f"{', '.join(schema.CONDITIONS)}, or your own. Needed.",
    schema.TIME_H: "Hours of culture.",
    schema.ET_RATIO: "Effector cells per target cell: 1:4 or 0.25.",
}
_EXAMPLE: Final = (
    "pool_1 pool_1.h5 HTO_1 - K562_alone K562 CML - - tumor_mono 24 -",
    "pool_1 pool_1.h5 HTO_2 - K562_with_d1 K562 CML d1 expanded coculture 24 1:4",
    "pool_1 pool_1.h5 HTO_3 - d1_alone - - d1 expanded nk_mono 24 -",
)
_SHEET, _COLUMNS = "samples", "columns"


def template() -> pd.DataFrame:
    """Return a sheet of three samples to write over."""
    rows = [["" if cell == "-" else cell for cell in row.split()] for row in _EXAMPLE]
    return pd.DataFrame(rows, columns=pd.Index(list(MEANINGS)))


def from_names(
    names: Iterable[str], *, patterns: Iterable[str] = (), nk_donor: str | None = None
) -> pd.DataFrame:
    """Return a sheet of the samples ``names``, with ``path`` and ``hashtag`` to fill in."""
    distinct = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    own = tuple(patterns) or None
    parsed = parse_sample_names(distinct, patterns=own, nk_donor=nk_donor)
    parsed = parsed[parsed[schema.SAMPLE].notna()].astype(object)
    if not len(parsed):
        msg = "There are no names of samples. Write one name per line."
        raise SampleSheetError(msg)
    extra = [column for column in parsed if column not in MEANINGS and parsed[column].notna().any()]
    return parsed.reindex(columns=[*MEANINGS, *extra]).astype(object).fillna("")


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a sheet as CSV, TSV or XLSX, by the name of the file."""
    kind = path.suffix.lower()
    if kind == ".xlsx":
        _write_xlsx(table, path)
    elif kind in {".csv", ".tsv"}:
        table.to_csv(path, sep="\t" if kind == ".tsv" else ",", index=False)
    else:
        msg = f"{path} ends in {kind or 'nothing'}; .csv, .tsv or .xlsx is needed."
        raise SampleSheetError(msg)


def _write_xlsx(table: pd.DataFrame, path: Path) -> None:
    try:
        from openpyxl import Workbook
        from openpyxl.styles import Font
        from openpyxl.utils import get_column_letter
        from openpyxl.worksheet.datavalidation import DataValidation
    except ImportError as error:
        msg = f"{path} needs openpyxl: pip install 'nkscore[workbooks]', or write .csv."
        raise SampleSheetError(msg) from error
    book = Workbook()
    sheet = book.active
    sheet.title = _SHEET
    sheet.append([str(column) for column in table])
    for row in table.itertuples(index=False):
        sheet.append([str(value) for value in row])
    for number, name in enumerate(map(str, table), start=1):
        letter = get_column_letter(number)
        sheet.column_dimensions[letter].width = max(12, len(name) + 4)
        sheet[f"{letter}1"].font = Font(bold=True)
        # As text, or the spreadsheet makes a time of the ratio 1:4.
        for cell in sheet[letter][1:] + tuple(sheet.cell(r, number) for r in range(5, 200)):
            cell.number_format = "@"
        if name == schema.CONDITION:
            # Not only these: extra_conditions= names others.
            choice = DataValidation("list", formula1=f'"{",".join(schema.CONDITIONS)}"')
            choice.showErrorMessage = False
            sheet.add_data_validation(choice)
            choice.add(f"{letter}2:{letter}1000")
    sheet.freeze_panes = "A2"
    words = book.create_sheet(_COLUMNS)
    words.append(["column", "meaning"])
    for pair in MEANINGS.items():
        words.append(pair)
    words.column_dimensions["B"].width = 80
    book.save(path)
