"""Rules for a sample sheet. Each rule returns all of its problems."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from typing import TYPE_CHECKING, Final

from nkscore import schema
from nkscore._gate import is_there
from nkscore._warn import warn
from nkscore.io._sheet import Problem, Sheet, number
from nkscore.io._sheet_columns import FILES, GENOTYPE_PATH, HASHTAG_PATH, PATH, PROTEIN_PATH
from nkscore.io._source import nearby

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: For a condition: columns that must be filled and columns that must be empty.
_DESIGN: Final = {
    schema.TUMOR_MONO: ((schema.TUMOR,), (schema.NK_DONOR,)),
    schema.NK_MONO: ((schema.NK_DONOR,), (schema.TUMOR,)),
    schema.COCULTURE: ((schema.TUMOR, schema.NK_DONOR), ()),
}
#: Forms of ``hashtag_path`` for a table in the lane's own file: AnnData, Seurat, Bioconductor.
OWN_TABLE: Final = ("obsm:", "assay:", "mod:")


def check(sheet: Sheet, extra_conditions: Sequence[str], *, files: bool) -> list[Problem]:
    """Return all problems of ``sheet``, ordered by row."""
    problems = list(_empty(sheet))
    problems += _conditions(sheet, extra_conditions)
    problems += _designs(sheet)
    problems += _numbers(sheet)
    problems += _repeated(sheet)
    problems += _lanes(sheet)
    problems += _idle_tag_paths(sheet)
    problems += _spreadsheet_errors(sheet)
    _warn_of_twins(sheet)
    _warn_of_one_pool(sheet)
    if files:
        problems += _files(sheet)
    order = {row: position for position, row in enumerate(sheet.rows)}
    return sorted(problems, key=lambda problem: order.get(problem.row, -1))


def check_samples(sheet: Sheet, extra_conditions: Sequence[str]) -> list[Problem]:
    """Return the problems of samples whose lanes are already read."""
    problems = [*_conditions(sheet, extra_conditions), *_designs(sheet), *_numbers(sheet)]
    _warn_of_twins(sheet)
    return problems


#: What spreadsheets write where a formula failed.
_ERRORS: Final = ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!")


def _spreadsheet_errors(sheet: Sheet) -> Iterator[Problem]:
    for row, cells in _records(sheet):
        for column, value in cells.items():
            if value.upper() in _ERRORS:
                yield Problem(row, column, f"is {value!r}, a spreadsheet error. Correct it.")


def _warn_of_twins(sheet: Sheet) -> None:
    """Warn of names that differ by case, punctuation or ``.0``: one line or donor may be two."""
    for column in (schema.TUMOR, schema.NK_DONOR, schema.NK_SOURCE, schema.LINEAGE):
        twins: dict[str, dict[str, None]] = {}
        for name in filter(None, sheet.cells[column]):
            twins.setdefault(_plain(name), {})[name] = None
        for names in twins.values():
            if len(names) > 1:
                warn(
                    f"{sheet.name}: {' and '.join(map(repr, names))} in column {column!r} differ "
                    "only by case, punctuation, leading zeros or '.0' and count as different. If "
                    "they are one, write them alike."
                )


def _plain(name: str) -> str:
    whole = re.sub(r"\.0+$", "", name.lower())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[^a-z0-9]", "", whole)) or name


def _records(sheet: Sheet) -> Iterator[tuple[str, dict[str, str]]]:
    columns = list(sheet.cells.columns)
    for row, values in zip(sheet.rows, sheet.cells.itertuples(index=False), strict=True):
        yield row, dict(zip(columns, values, strict=True))


def _empty(sheet: Sheet) -> Iterator[Problem]:
    remedies = {
        PATH: "Give the lane's file or folder in every row.",
        schema.SAMPLE: "Give each row a unique name, for example K562_coculture_d1.",
        schema.CONDITION: f"Give one of {', '.join(schema.CONDITIONS)}.",
    }
    for row, cells in _records(sheet):
        for column, remedy in remedies.items():
            if not cells[column]:
                yield Problem(row, column, f"is empty. {remedy}")


def _conditions(sheet: Sheet, extra: Sequence[str]) -> Iterator[Problem]:
    known = list(dict.fromkeys([*schema.CONDITIONS, *extra]))
    for row, cells in _records(sheet):
        condition = cells[schema.CONDITION]
        if not condition or condition in known or condition.upper() in _ERRORS:
            continue
        plain = condition.lower().replace("-", "").replace(" ", "_")
        close = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        text = (
            f"is not a known condition ({', '.join(known)}).{hint} For a "
            "custom condition pass extra_conditions=[{values}]."
        )
        yield Problem(row, schema.CONDITION, text, condition)


def _designs(sheet: Sheet) -> Iterator[Problem]:
    for row, cells in _records(sheet):
        condition = cells[schema.CONDITION]
        filled, empty = _DESIGN.get(condition, ((), ()))
        for column in filled:
            if not cells[column]:
                text = f"is empty, but a sample of condition {condition!r} needs it. Fill it in."
                yield Problem(row, column, text)
        for column in empty:
            if cells[column]:
                text = (
                    f"is {cells[column]!r}, but condition {condition!r} has no such cells. Empty "
                    f"the cell, or change the condition to {schema.COCULTURE!r}."
                )
                yield Problem(row, column, text)


def _numbers(sheet: Sheet) -> Iterator[Problem]:
    remedies = {
        schema.TIME_H: "Write hours, for example 24 or 1.5, or a number with its unit (30 min).",
        schema.ET_RATIO: "Write effectors per target, for example 4:1 or 4; 1:4 or 0.25.",
    }
    for row, cells in _records(sheet):
        for column, remedy in remedies.items():
            try:
                value = number(sheet, cells[column])
            except ValueError:
                yield Problem(row, column, f"is not a number. {remedy}", cells[column])
                continue
            if value < 0 or math.isinf(value):
                what = "negative" if value < 0 else "infinite"
                yield Problem(row, column, f"is {what}. {remedy}", cells[column])


def _repeated(sheet: Sheet) -> Iterator[Problem]:
    places: dict[tuple[str, str], str] = {}
    tags: dict[tuple[str, str], str] = {}
    for row, cells in _records(sheet):
        sample, lane, tag = cells[schema.SAMPLE], cells[schema.LANE], cells[schema.HASHTAG]
        if sample and places.setdefault((sample, lane), row) != row:
            text = (
                f"{sample!r} is already the sample of {places[sample, lane]} in lane {lane!r}. A "
                "sample has one row per lane: use different names for different wells."
            )
            yield Problem(row, schema.SAMPLE, text)
        if tag and tags.setdefault((lane, tag), row) != row:
            text = (
                f"{tag!r} already marks the sample of {tags[lane, tag]} in lane {lane!r}. Within a "
                "lane each hashtag marks one sample."
            )
            yield Problem(row, schema.HASHTAG, text)
    yield from _contradictions(sheet)


#: Columns that can differ between the lanes of one sample.
_OF_A_LANE: Final = (schema.SAMPLE, schema.LANE, schema.HASHTAG, schema.GENOTYPE, *FILES)


def _contradictions(sheet: Sheet) -> Iterator[Problem]:
    """Name the columns in which the rows of one sample differ."""
    first: dict[str, tuple[str, dict[str, str]]] = {}
    for row, cells in _records(sheet):
        if not cells[schema.SAMPLE]:
            continue
        known, before = first.setdefault(cells[schema.SAMPLE], (row, cells))
        for column in [c for c in cells if c not in _OF_A_LANE]:
            if _number_or_text(sheet, cells[column]) != _number_or_text(sheet, before[column]):
                text = (
                    f"is {cells[column]!r}, but {before[column]!r} in {known} of the same sample "
                    f"{cells[schema.SAMPLE]!r}. Several rows of a sample are one well on several "
                    "lanes: write the same values, or give different wells different names."
                )
                yield Problem(row, column, text)


def _number_or_text(sheet: Sheet, text: str) -> float | str:
    """Return a number where there is one, so that 24 is 24.0; empty stays empty."""
    try:
        return number(sheet, text) if text else text
    except ValueError:
        return text


def _warn_of_one_pool(sheet: Sheet) -> None:
    """Warn of lanes that hold the same pool, tag by tag, under other names of samples."""
    described = [c for c in sheet.cells.columns if c not in _OF_A_LANE]
    pools: dict[str, dict[str, str]] = {}
    for _, cells in _records(sheet):
        if cells[schema.HASHTAG]:
            pool = pools.setdefault(cells[schema.LANE], {})
            pool[cells[schema.HASHTAG]] = "\t".join(cells[c] for c in described)
    names = {
        lane: set(sheet.cells.loc[sheet.cells[schema.LANE] == lane, schema.SAMPLE])
        for lane in pools
    }
    for one, other in itertools.combinations(pools, 2):
        if pools[one] == pools[other] and not names[one] & names[other]:
            warn(
                f"{sheet.name}: lanes {one!r} and {other!r} have the same hashtags for the same "
                "lines, donors and conditions, but other names of samples. If one pool was loaded "
                "on both, give each well the same sample in both lanes; otherwise its cells count "
                "as two wells. If the wells are different, name them in a column 'well'."
            )


def _lanes(sheet: Sheet) -> Iterator[Problem]:
    paths: dict[str, tuple[str, str]] = {}
    lanes: dict[str, tuple[str, str]] = {}
    others: dict[str, dict[str, tuple[str, str]]] = {column: {} for column in _TWO_FILES}
    genotyped = set(sheet.cells.loc[sheet.cells[GENOTYPE_PATH] != "", schema.LANE])
    rows_of: dict[str, list[tuple[str, str]]] = {}
    for row, cells in _records(sheet):
        lane, path = cells[schema.LANE], cells[PATH]
        if not path:
            continue
        place = str(sheet.resolve(path))
        rows_of.setdefault(lane, []).append((row, cells[schema.HASHTAG]))
        yield from _differs(paths, lane, (row, place), path, _TWO_PATHS)
        yield from _differs(lanes, place, (row, lane), path, _TWO_LANES)
        for column, seen in others.items():
            kind = (column, _TWO_FILES[column])
            yield from _differs(seen, lane, (row, cells[column]), cells[column], kind)
    for lane, rows in rows_of.items():
        untagged = [row for row, tag in rows if not tag]
        tagless = len(untagged) == len(rows) and lane in genotyped
        if len(rows) > 1 and untagged and not tagless:
            text = (
                f"is empty, but lane {lane!r} holds {len(rows)} samples. Only hashtags "
                "can separate their cells, or calls of their donors in genotype_path: give each "
                "sample a hashtag, or load one sample per lane."
            )
            yield from (Problem(row, schema.HASHTAG, text) for row in untagged)


_TWO_PATHS: Final = (
    PATH,
    (
        "lane {key!r} is already at {other} ({row}). One lane is one file: use different "
        "names in the column 'lane'."
    ),
)
_TWO_LANES: Final = (
    schema.LANE,
    (
        "this file is already the lane {other!r} ({row}), so its cells would be loaded twice. "
        "Use one lane name for all samples of a file."
    ),
)
_TWO: Final = (
    "is {{value!r}}, but {{other!r}} in {{row}} of the same lane {{key!r}}. {rule} in all its rows."
)
_TWO_FILES: Final = {
    HASHTAG_PATH: _TWO.format(
        rule="A lane has one entry (several matrices separated by ';'): repeat the same path"
    ),
    PROTEIN_PATH: _TWO.format(rule="A lane has one matrix of proteins: repeat the same path"),
    GENOTYPE_PATH: _TWO.format(rule="A lane has one table of donors: repeat the same path"),
}


def _differs(
    seen: dict[str, tuple[str, str]],
    key: str,
    found: tuple[str, str],
    value: str,
    kind: tuple[str, str],
) -> Iterator[Problem]:
    row, what = found
    first_row, first = seen.setdefault(key, found)
    if first != what:
        column, text = kind
        yield Problem(row, column, text.format(key=key, other=first, row=first_row, value=value))


def _idle_tag_paths(sheet: Sheet) -> Iterator[Problem]:
    for row, cells in _records(sheet):
        if cells[HASHTAG_PATH] and not cells[schema.HASHTAG]:
            text = f"is empty, but {HASHTAG_PATH!r} is given. Name the hashtag, or empty both."
            yield Problem(row, schema.HASHTAG, text)
        if cells[schema.GENOTYPE] and not cells[GENOTYPE_PATH]:
            text = "is empty, but 'genotype' is given. Name the file of calls, or empty both."
            yield Problem(row, GENOTYPE_PATH, text)


def paths_in(text: str) -> list[str]:
    """Return the paths of an entry, which ``;`` separates."""
    return [part.strip() for part in text.split(";") if part.strip()]


def _files(sheet: Sheet) -> Iterator[Problem]:
    reported = set()
    for row, cells in _records(sheet):
        named = [(column, cells[column]) for column in FILES if column != HASHTAG_PATH]
        named += [(HASHTAG_PATH, text) for text in paths_in(cells[HASHTAG_PATH])]
        for column, text in named:
            if not text or text in reported or text.startswith(OWN_TABLE):
                continue
            if is_there(sheet.resolve(text)):
                continue
            reported.add(text)
            yield Problem(row, column, _missing_file(sheet, text))


def _missing_file(sheet: Sheet, text: str) -> str:
    place = sheet.resolve(text)
    message = f"{text!r} does not exist (looked for {place}).{nearby(place)}"
    if "\\" in text and is_there(sheet.resolve(text.replace("\\", "/"))):
        message = f"{text!r} is written with backslashes. Write {text.replace(chr(92), '/')!r}."
    return f"{message} Paths are relative to {sheet.base}."
