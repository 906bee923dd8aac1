"""Which columns and values of annotated cells stand for those of nkscore."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nkscore import schema
from nkscore.errors import SampleSheetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    #: ``"condition=treatment,coculture=NK+tumor"``, or the same as a mapping.
    MappingLike = str | Iterable[str] | Mapping[str, str | Iterable[str]]

#: Columns of nkscore that a file of cells can hold.
CALLS: Final = (schema.COMPARTMENT, schema.NK_STATE, schema.TUMOR_STATE)
COLUMNS: Final = (schema.LANE, *schema.SAMPLE_COLUMNS, *CALLS)
#: Level → the column that it is a level of. "tumor" is a column.
_LEVELS: Final = {
    **dict.fromkeys(schema.CONDITIONS, schema.CONDITION),
    **dict.fromkeys(set(schema.COMPARTMENTS) - {schema.TUMOR_CELLS}, schema.COMPARTMENT),
}


@dataclass(slots=True)
class CellMap:
    """Columns by their names in the file, and levels by their values in it."""

    columns: dict[str, str] = field(default_factory=dict)
    #: Column → value of the file → level.
    levels: dict[str, dict[str, str]] = field(default_factory=dict)


def parsed(given: MappingLike | None) -> CellMap:
    """Return the map that a user wrote; all problems are reported together."""
    found, problems = CellMap(), []
    for key, value in _pairs(given):
        column, _, level = key.partition(":")
        if level:
            known = column in COLUMNS
        else:
            column, level = (_LEVELS[key], key) if key in _LEVELS else (key, "")
            known = key in _LEVELS or key in COLUMNS or key == value
        if not value or not known:
            problems.append(_problem(key, value))
        elif level:
            found.levels.setdefault(column, {})[value] = level
        elif found.columns.setdefault(column, value) != value:
            problems.append(f"{key} is given twice ({found.columns[column]!r} and {value!r})")
    if problems:
        msg = f"The map of columns cannot be used: {'; '.join(problems)}."
        raise SampleSheetError(msg)
    return found


def _pairs(given: MappingLike | None) -> Iterator[tuple[str, str]]:
    if isinstance(given, Mapping):
        for key, values in given.items():
            for value in [values] if isinstance(values, str) else values:
                yield str(key).strip(), str(value).strip()
        return
    texts = [given] if isinstance(given, str) else list(given or ())
    for parts in csv.reader(io.StringIO("\n".join(texts)), skipinitialspace=True):
        for part in filter(str.strip, parts):
            key, _, value = part.partition("=")
            yield key.strip(), value.strip()


def _problem(key: str, value: str) -> str:
    if not value:
        return f"{key!r} has no value (write {key}=NAME)"
    known = [*COLUMNS, *_LEVELS]
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"there is no column or level {key!r} ({hint})"
