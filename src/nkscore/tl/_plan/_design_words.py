"""A table of questions as sentences."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nkscore.io._planned_sheet import planned_sheet
from nkscore.tl._plan._planned_cells import planned_cells
from nkscore.tl._plan._questions import QUESTIONS, questions_of

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

_SHOWN: Final = 12
_LINE: Final = "each line"


def described_sheet(
    sheet: str | os.PathLike[str] | pd.DataFrame, extra_conditions: Sequence[str] = ()
) -> list[str]:
    """Return which questions a sheet answers, as lines of text."""
    named, remarks = planned_sheet(sheet, extra_conditions)
    planned = planned_cells(named, remarks, factors=None)
    return [*planned.remarks, *described(questions_of(planned))]


def described(table: pd.DataFrame) -> list[str]:
    """Return a table of questions as lines: what is answered, and what would help."""
    if table.empty:
        return ["No question can be asked: the sheet has neither co-cultures nor monocultures."]
    lines: list[str] = []
    before: list[str] = []
    for question, meaning in QUESTIONS.items():
        rows = table[table["question"] == question]
        if rows.empty:
            continue
        said = [
            f"  {verdict}: {text}"
            for estimable, verdict in ((True, "yes"), (False, "no"))
            for text in _alike(rows[rows["estimable"] == estimable])
        ]
        lines += [meaning, *(["  as above"] if said == before else said)]
        before = said
    return lines


def _alike(rows: pd.DataFrame) -> list[str]:
    """Return one text per kind of problem, with the lines that have it."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for row in rows.to_dict("records"):
        name = str(row["tumor"])
        # Not within names of lanes.
        whole = rf"(?<!\w){re.escape(name)}(?!\w)"
        texts = (re.sub(whole, _LINE, str(row[column])) for column in ("problem", "remedy"))
        where = _where(str(row["compartment"]), str(row["levels"]), str(row["question"]))
        counted = row["estimable"] and row["question"] != "contacts"
        df = f"{row['df_residual']} residual degrees of freedom" if counted else ""
        kinds.setdefault((where, df, *texts), []).append(name)
    return [_sentence(key, names) for key, names in kinds.items()]


def _where(compartment: str, levels: str, question: str) -> str:
    both = question in {"interaction", "dose"}
    parts = [f"{compartment} cells" if both else "", levels]
    return "; ".join(filter(None, parts))


def _sentence(key: tuple[str, ...], names: list[str]) -> str:
    where, df, problem, remedy = key
    distinct = list(dict.fromkeys(names))
    shown = ", ".join(distinct[:_SHOWN])
    more = f", ... ({len(distinct)} lines)" if len(distinct) > _SHOWN else ""
    note = f" ({'; '.join(filter(None, [where, df]))})" if where or df else ""
    line = distinct[0] if len(distinct) == 1 else _LINE
    rest = " ".join(
        filter(None, [f"{problem[:1].upper()}{problem[1:]}." if problem else "", remedy])
    )
    return f"{shown}{more}{note}. {rest}".replace(_LINE, line).strip()
