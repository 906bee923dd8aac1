"""Values of a sample sheet as labs write them: conditions, hours, ratios, and words for nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nkscore import schema
from nkscore._warn import warn
from nkscore.io._sheet import Sheet, with_cells
from nkscore.io._sheet_columns import factor_of, is_inverse, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Condition → other words, as letters and digits; ``+`` is written out as "and".
_CONDITIONS: Final[dict[str, str]] = {
    schema.COCULTURE: (
        "coculture cocultured cocultures cocult coculturing coincubation coincubated cocx "
        "withnk plusnk nkadded nkandtumor nkandtumour tumorandnk tumourandnk nkandtarget "
        "nkandtargets targetandnk targetsandnk nkandtumorcells tumorcellsandnk "
        "tumorcellsandnkcells nkcellsandtumorcells tumorwithnk tumourwithnk targetwithnk "
        "targetswithnk "
        "effectorandtarget effectorsandtargets targetandeffector nkandcellline celllineandnk "
        "nkandaml nkcoculture coculturewithnk coculturenk andnk nkandleukemia leukemiaandnk"
    ),
    schema.TUMOR_MONO: (
        "tumor tumour tumoralone tumouralone tumoronly tumouronly tumorcellsonly tumorcellsalone "
        "tumourcellsonly tumourcellsalone target targets targetonly targetsonly targetalone "
        "targetsalone targetcellsonly targetcellsalone celllineonly celllinealone tumormonoculture "
        "tumourmonoculture monoculturetumor monotumor nonk nonkcells withoutnk withoutnkcells wonk "
        "minusnk noeffector noeffectors cancercellsonly cancercellsalone leukemiaonly "
        "leukemiaalone blastsonly blastsalone targetmonoculture"
    ),
    schema.NK_MONO: (
        "nk nkcells nkcell nkalone nkonly nkcellsalone nkcellsonly nkmonoculture monoculturenk "
        "monocultureofnk monoculturenkcells nkcellmonoculture mononk effector effectors "
        "effectoronly effectorsonly effectoralone effectorsalone effectorcellsonly notumor "
        "notumour notarget notargets notargetcells withouttumor withouttumour withouttarget "
        "withouttargets wotumor wotarget nkwithouttumor nkwithouttarget"
    ),
    "conditioned_medium": (
        "conditionedmedium conditionedmedia cm supernatant sup nkmedium nkconditionedmedium "
        "nksupernatant nkconditionedmedia mediumonly"
    ),
}
_CONDITION_OF: Final = {
    word: condition for condition, words in _CONDITIONS.items() for word in words.split()
}
#: Cultures of one type of cell: the filled columns of the row say which.
_ALONE: Final = frozenset({"alone", "only", "mono", "monoculture", "monocultured", "single"})
_NOTHING: Final = frozenset({"", "none", "no", "without", "nil", "wo"})
_NO_TUMOR: Final = _NOTHING | {w for w, c in _CONDITION_OF.items() if c == schema.NK_MONO}
_NO_NK: Final = _NOTHING | {w for w, c in _CONDITION_OF.items() if c == schema.TUMOR_MONO}
#: Words for nothing in the columns of the other kind of cell.
_ABSENT: Final = {
    schema.TUMOR_MONO: ((schema.NK_DONOR, _NO_NK), (schema.NK_SOURCE, _NO_NK)),
    schema.NK_MONO: ((schema.TUMOR, _NO_TUMOR), (schema.LINEAGE, _NO_TUMOR)),
}
_SOURCES: Final = {"pbmc": "pbmc", "pbmcs": "pbmc", "expanded": "expanded"}
_LINEAGES: Final = {
    "acutemyeloidleukemia": "AML",
    "acutemyeloidleukaemia": "AML",
    "chronicmyeloidleukemia": "CML",
    "chronicmyeloidleukaemia": "CML",
    "multiplemyeloma": "MM",
    "myeloma": "MM",
    "ball": "B-ALL",
    "tall": "T-ALL",
    "bcellall": "B-ALL",
    "tcellall": "T-ALL",
    "aml": "AML",
    "cml": "CML",
    "mm": "MM",
    "bcl": "BCL",
    "bcelllymphoma": "BCL",
}
_HOURS: Final = re.compile(
    r"(?:t\s*=?\s*)?(?P<number>\d+(?:[.,]\d+)?)\s*"
    r"(?P<unit>h|hr|hrs|hour|hours|min|mins|minute|minutes|d|day|days)\.?",
    re.IGNORECASE,
)
_RATIO: Final = re.compile(
    r"(?P<first>\d+(?:[.,]\d+)?)\s*(?::|/|\bto\b|_|∶|：)\s*(?P<second>\d+(?:[.,]\d+)?)",
    re.IGNORECASE,
)
#: What a spreadsheet makes of the ratio 1:4: a time of the day.
_CLOCK: Final = re.compile(r"(\d{1,2}):(\d\d)(?::00)?")
_LABEL: Final = re.compile(r"^e\s*[:/]?\s*t(?:\s*ratio)?\s*[=:]?\s*(?=\d)", re.IGNORECASE)
_PER_HOUR: Final = {"h": 1.0, "m": 1.0 / 60.0, "d": 24.0}


def translate(sheet: Sheet, extra_conditions: Sequence[str]) -> Sheet:
    """Return the sheet with the words that nkscore knows; what it does not know stays."""
    cells = sheet.cells.copy()
    columns = (schema.CONDITION, schema.TUMOR, schema.NK_DONOR)
    cells[schema.CONDITION] = [
        _condition(value, tumor, donor, extra_conditions)
        for value, tumor, donor in zip(*(cells[column] for column in columns), strict=True)
    ]
    for condition, absent in _ABSENT.items():
        of_it = [value == condition for value in cells[schema.CONDITION]]
        for column, words in absent:
            values = zip(cells[column], of_it, strict=True)
            cells[column] = ["" if is_it and plain(v) in words else v for v, is_it in values]
    for column, known in ((schema.NK_SOURCE, _SOURCES), (schema.LINEAGE, _LINEAGES)):
        cells[column] = [known.get(plain(value), value) for value in cells[column]]
    hours = factor_of(sheet.spelled.get(schema.TIME_H, schema.TIME_H))
    cells[schema.TIME_H] = [_hours(value, hours) for value in cells[schema.TIME_H]]
    _ask_for_the_unit(sheet, hours)
    inverse = is_inverse(sheet.spelled.get(schema.ET_RATIO, ""))
    _tell_of_clocks(sheet)
    nk_alone = [value == schema.NK_MONO for value in cells[schema.CONDITION]]
    cells[schema.ET_RATIO] = [
        _ratio(value, inverse=inverse, nk_alone=alone)
        for value, alone in zip(cells[schema.ET_RATIO], nk_alone, strict=True)
    ]
    return with_cells(sheet, cells)


def _condition(value: str, tumor: str, donor: str, extra: Sequence[str]) -> str:
    if value in extra or value in schema.CONDITIONS:
        return value
    key = condition_key(value)
    known = {plain(name): name for name in (*schema.CONDITIONS, *extra)} | _CONDITION_OF
    for each in (key, _with_kinds(key, tumor, donor)):
        if each in known:
            return known[each]
    if key in _ALONE:
        with_tumor, with_nk = plain(tumor) not in _NO_TUMOR, plain(donor) not in _NO_NK
        if with_tumor != with_nk:
            return schema.TUMOR_MONO if with_tumor else schema.NK_MONO
    return value


def _with_kinds(key: str, tumor: str, donor: str) -> str:
    """Read "K562 + donor 3" as "tumor + NK"."""
    for name, word in ((plain(tumor), "tumor"), (plain(donor), "nk")):
        key = key.replace(name, word) if len(name) > 1 else key
    return key


def condition_key(value: str) -> str:
    """Return letters and digits of a condition, with signs written out."""
    text = re.sub(r"\+|&|\bplus\b|\bx\b", " and ", value.lower())
    text = re.sub(r"w/o|^\s*[-−]\s*(?=nk|tumou?r|target|effector)", " without ", text)
    return plain(re.sub(r"\bw/", " with ", text))


def _hours(value: str, factor: float | None) -> str:
    found = _HOURS.fullmatch(value)
    if found:
        number = float(found["number"].replace(",", "."))
        return _plainly(number * _PER_HOUR[found["unit"][0].lower()])
    if factor is None or factor == 1:
        return value
    try:
        return _plainly(float(value.replace(",", ".")) * factor) if value else value
    except ValueError:
        return value


def _ask_for_the_unit(sheet: Sheet, factor: float | None) -> None:
    name = sheet.spelled.get(schema.TIME_H)
    bare = [v for v in sheet.cells[schema.TIME_H] if re.fullmatch(r"\d+([.,]\d+)?", v)]
    if name is not None and factor is None and any(float(v.replace(",", ".")) for v in bare):
        warn(
            f"{sheet.name}: the column {name!r} has no unit; its numbers are read as hours. Call "
            "it 'Time (h)', 'Time (d)' or 'Time (min)'."
        )


def _tell_of_clocks(sheet: Sheet) -> None:
    values = sheet.cells[schema.ET_RATIO]
    times = [v for v in values if (found := _CLOCK.fullmatch(v)) and found[2][0] == "0"]
    if times:
        first, second = times[0].split(":")[:2]
        warn(
            f"{sheet.name}: {times[0]!r} in the column of the E:T ratio is a time that a "
            f"spreadsheet made of a ratio; it is read as {int(first)}:{int(second)}. Check it, and "
            "format the column as text."
        )


def _ratio(value: str, *, inverse: bool, nk_alone: bool) -> str:
    text = _LABEL.sub("", value)
    clock, found = _CLOCK.fullmatch(text), _RATIO.fullmatch(text)
    if clock:
        first, second = float(clock[1]), float(clock[2])
    elif found:
        first, second = (float(found[part].replace(",", ".")) for part in ("first", "second"))
    elif inverse and re.fullmatch(r"\d+(\.\d+)?", text):
        first, second = float(text), 1.0
    else:
        return text
    if inverse:
        first, second = second, first
    if second == 0:
        # No target cells: of NK cells alone that is no ratio.
        return "" if nk_alone else value
    return _plainly(first / second)


def _plainly(number: float) -> str:
    return repr(int(number) if number.is_integer() else number)
