"""A sample sheet before the experiment: without files, perhaps without lanes and hashtags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore import schema
from nkscore.io import _sheet, _sheet_rules, _sheet_values
from nkscore.io._sheet_columns import FILES, PATH
from nkscore.io._source import default_lane

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

#: What can still be open: the place of the files, and which tag marks which well.
_OPEN: Final = (*FILES, schema.HASHTAG)
_REQUIRED: Final = (schema.SAMPLE, schema.CONDITION)


def planned_sheet(
    sheet: str | os.PathLike[str] | pd.DataFrame, extra_conditions: Sequence[str] = ()
) -> tuple[_sheet.Sheet, list[str]]:
    """Return a sheet whose lanes need not exist, and remarks about what it leaves open.

    Raises :class:`SampleSheetError` with all problems of its samples at once.
    """
    if isinstance(extra_conditions, str):
        extra_conditions = [extra_conditions]
    parsed = _sheet_values.translate(
        _sheet.parse(sheet, None, required=_REQUIRED), extra_conditions
    )
    cells = parsed.cells.copy()
    paths = [str(path) for path in cells[PATH]]
    cells[schema.LANE] = [
        lane or (default_lane(parsed.resolve(path)) if path else "")
        for lane, path in zip(cells[schema.LANE], paths, strict=True)
    ]
    cells[PATH] = [path or lane for path, lane in zip(paths, cells[schema.LANE], strict=True)]
    named = _sheet.with_cells(parsed, cells)
    problems = _sheet_rules.check(named, extra_conditions, files=False)
    hard = [problem for problem in problems if problem.column not in _OPEN]
    _sheet.report(named.name, hard, named.spelled)
    left_open = [p for p in problems if p.column in _OPEN and p.column != PATH]
    remarks = [f"Please check: {line}" for line in _sheet.lines_of(left_open, named.spelled)]
    without = int((cells[schema.LANE] == "").sum())
    if without:
        remarks.append(
            f"{without} of {len(cells)} rows name no lane, so nothing is known about lanes there. "
            "Fill the column 'lane' to check it."
        )
    return named, remarks
