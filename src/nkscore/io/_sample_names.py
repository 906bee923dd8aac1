"""Columns of the sample sheet from the names of samples in a study."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import pandas as pd

from nkscore import schema
from nkscore.errors import SampleSheetError

if TYPE_CHECKING:
    from collections.abc import Collection

    from nkscore._types import Array

    Patterns = Mapping[str, Mapping[str, str]] | Iterable[str]
    Fields = dict[str, str | float | None]

T = TypeVar("T")

MEDIUM_FROM: Final = "medium_from"
REPLICATE: Final = "replicate"
_COLUMNS: Final = (*schema.SAMPLE_COLUMNS, MEDIUM_FROM, REPLICATE)
_SHOWN: Final = 20

# "NK", "NK1" and the donors' codes are not tumor lines.
_LINE: Final = r"(?P<tumor>(?!(?:NK|FM)\d*(?:-|$))[^-\s_:]+)"
_DONOR: Final = r"(?P<nk_donor>(?:NK|FM)\d+)"
_SOURCE: Final = r"(?P<nk_source>expanded|PBMC|D14|D0)"
_AGAIN: Final = r"(?:-(?P<replicate>[12]))?"
_RATIO: Final = r"(?P<et_ratio>1[:_]\d+)"
_HOURS: Final = r"(?P<time_h>\d+)h"
_CROPSEQ: Final = r"CROPseq_(?P<tumor>[^_]+)(?:_(?P<crispr>activ))?"
_ALONE: Final = {schema.CONDITION: schema.TUMOR_MONO}
_NK_ALONE: Final = {schema.CONDITION: schema.NK_MONO}
_TOGETHER: Final = {schema.CONDITION: schema.COCULTURE}
_MEDIUM: Final = {schema.CONDITION: "conditioned_medium"}
_NOTHING: Final[dict[str, str]] = {}
_EXPANDED: Final = {schema.NK_SOURCE: "expanded"}
_FIRST: Final = {schema.NK_DONOR: "NK1"}

#: Sample names of Dufva et al. 2023 (doi:10.1016/j.immuni.2023.11.008); the first match wins. Each
#: is a regular expression for the whole name, whose named groups are columns, and the columns that
#: the form implies.
SAMPLE_NAME_PATTERNS: Final[dict[str, dict[str, str]]] = {
    rf"NK-medium-from-(?P<medium_from>.+?){_AGAIN}": _MEDIUM,
    rf"{_LINE}-medium-from-(?P<medium_from>.+?){_AGAIN}": _MEDIUM,
    rf"{_LINE}-(?P<time_h>0)h{_AGAIN}": _ALONE,
    rf"{_LINE}-{_HOURS}{_AGAIN}": _TOGETHER,
    rf"NK-{_HOURS}{_AGAIN}": _NK_ALONE,
    rf"NK[- ]only{_AGAIN}": _NK_ALONE,
    rf"NK-{_SOURCE}": _NK_ALONE | _FIRST,
    rf"{_DONOR}-{_SOURCE}": _NK_ALONE,
    _DONOR: _NK_ALONE | _EXPANDED,
    rf"{_LINE}-NK-{_SOURCE}": _TOGETHER | _FIRST,
    rf"{_LINE}-{_DONOR}-{_SOURCE}": _TOGETHER,
    rf"{_LINE}-{_DONOR}": _TOGETHER | _EXPANDED,
    rf"{_LINE}-NK{_AGAIN}": _TOGETHER,
    r"[Nn]o NK": _ALONE,
    rf"NK {_RATIO}(?: {_HOURS})?": _TOGETHER,
    rf"{_CROPSEQ}_noNK": _ALONE,
    rf"{_CROPSEQ}_{_DONOR}_{_RATIO}(?:_{_HOURS})?": _TOGETHER,
    r"D\d+_CTRL": _ALONE | {schema.ET_RATIO: "0"},
    r"D\d+_NK_(?P<et_ratio>[\d.]+)": _TOGETHER,
    rf"{_LINE}{_AGAIN}": _ALONE,
}

#: Codes of the donors in the same study and their names in the paper.
DONOR_NAMES: Final[dict[str, str]] = {
    "NK2587": "NK1",
    **{f"{prefix}2770": "NK2" for prefix in ("NK", "FM")},
    **{f"{prefix}2763": "NK3" for prefix in ("NK", "FM")},
    **{f"{prefix}2768": "NK4" for prefix in ("NK", "FM")},
    **{f"{prefix}2771": "NK5" for prefix in ("NK", "FM")},
    **{f"{prefix}2931": "NK6" for prefix in ("NK", "FM")},
}
_SOURCES: Final = {"PBMC": "pbmc", "D0": "pbmc", "D14": "expanded"}


def parse_sample_names(
    names: Iterable[object],
    *,
    patterns: Patterns | None = None,
    nk_donor: str | None = None,
    donors: Mapping[str, str] | None = None,
    tumors: Mapping[str, str] | Collection[str] | None = None,
    missing: Collection[str] = ("Doublet", "Negative"),
    errors: Literal["raise", "ignore"] = "raise",
) -> pd.DataFrame:
    r"""Make the columns of the sample sheet from names of samples.

    Parameters
    ----------
    names
        Names of samples or, as a Series, the name of each cell's sample. Missing values and
        the names of ``missing`` give missing values.
    patterns
        Regular expressions for the whole name; the first match wins. Their named groups are columns
        (``tumor``, ``nk_donor``, ``nk_source``, ``condition``, ``time_h``, ``et_ratio``,
        ``medium_from``, ``replicate`` or your own). A mapping adds columns that the form of the
        name implies; without ``condition`` the presence of ``tumor``, ``nk_donor`` and
        ``medium_from`` decides. By default :data:`SAMPLE_NAME_PATTERNS`, the names of Dufva et al.
        2023; to use them after your own: ``{**mine, **nk.io.SAMPLE_NAME_PATTERNS}``.
    nk_donor
        Donor of the NK cells if the name mentions NK cells but no donor.
    donors
        Other names of donors; by default :data:`DONOR_NAMES`, the codes of the same study.
    tumors
        Names of the tumors; others are an error. A mapping to lineages also fills ``lineage``.
    missing
        Names that are not samples.
    errors
        What to do with names that no pattern matches: ``raise`` lists them all in one error,
        ``ignore`` leaves their columns missing.

    Returns
    -------
    pandas.DataFrame
        One row per name, with the index of ``names`` if it is a Series: ``sample`` (the name),
        ``tumor``, ``lineage``, ``nk_donor``, ``nk_source``, ``condition``, ``medium_from``,
        ``replicate`` and your own columns as categoricals, ``time_h`` (hours) and ``et_ratio``
        (effectors per target) as float64.

    Raises
    ------
    SampleSheetError
        If names match no pattern, or a group for a number does not match one.
    ValueError
        If a pattern is not a regular expression, or ``errors`` is unknown.

    Examples
    --------
    >>> import nkscore as nk
    >>> names = ["K562-NK2", "K562", "NK-medium-from-K562-NK-1", "Doublet"]
    >>> parsed = nk.io.parse_sample_names(names)
    >>> parsed[["tumor", "nk_donor", "condition", "medium_from"]]
      tumor nk_donor           condition medium_from
    0  K562      NK2           coculture         NaN
    1  K562      NaN          tumor_mono         NaN
    2   NaN      NaN  conditioned_medium     K562-NK
    3   NaN      NaN                 NaN         NaN

    Your own names:

    >>> mine = [r"(?P<tumor>\w+)\+(?P<nk_donor>\w+)@(?P<time_h>\d+)", r"(?P<tumor>\w+)"]
    >>> parsed = nk.io.parse_sample_names(["THP1+d7@24", "THP1"], patterns=mine)
    >>> parsed[["tumor", "nk_donor", "condition", "time_h"]]
      tumor nk_donor   condition  time_h
    0  THP1       d7   coculture    24.0
    1  THP1      NaN  tumor_mono     NaN
    """
    if errors not in {"raise", "ignore"}:
        msg = f"errors={errors!r} is unknown. Pass 'raise' or 'ignore'."
        raise ValueError(msg)
    # A single string is one name, not a list of letters.
    names, missing = _several(names), _several(missing)
    tumors = _several(tumors)
    index = names.index if isinstance(names, pd.Series) else None
    codes, unique = pd.factorize(pd.Series(list(names), dtype=object), use_na_sentinel=True)
    rules = _compiled(SAMPLE_NAME_PATTERNS if patterns is None else patterns)
    idle = {name.casefold() for name in missing} | {""}
    known_donors = DONOR_NAMES if donors is None else donors
    rows: list[Fields] = []
    unparsed: list[str] = []
    for value in unique:
        name = str(value).strip()
        fields = None if name.casefold() in idle else _parse(name, rules)
        if fields is not None and not _is_known(fields, tumors):
            fields = None
        if fields is None and name.casefold() not in idle:
            unparsed.append(name)
        rows.append({} if fields is None else _finish(fields, name, known_donors, nk_donor, tumors))
    if unparsed and errors == "raise":
        raise SampleSheetError(_unparsed(unparsed, tumors))
    return _table(rows, codes, index)


def _several(names: T) -> T | list[str]:
    return [names] if isinstance(names, str) else names


def _compiled(patterns: Patterns) -> list[tuple[re.Pattern[str], Mapping[str, str]]]:
    patterns = _several(patterns)
    implications = patterns if isinstance(patterns, Mapping) else dict.fromkeys(patterns, _NOTHING)
    rules = []
    for pattern, implied in implications.items():
        try:
            rules.append((re.compile(pattern), implied))
        except re.error as error:
            msg = f"The pattern {pattern!r} is not a regular expression ({error}). Correct it."
            raise ValueError(msg) from error
    return rules


def _parse(name: str, rules: list[tuple[re.Pattern[str], Mapping[str, str]]]) -> Fields | None:
    for pattern, implied in rules:
        match = pattern.fullmatch(name)
        if match:
            found = {key: text for key, text in match.groupdict().items() if text is not None}
            return {**implied, **found}
    return None


def _is_known(fields: Fields, tumors: Mapping[str, str] | Collection[str] | None) -> bool:
    tumor = fields.get(schema.TUMOR)
    return tumors is None or tumor is None or tumor in tumors


def _finish(
    fields: Fields,
    name: str,
    donors: Mapping[str, str],
    nk_donor: str | None,
    tumors: Mapping[str, str] | Collection[str] | None,
) -> Fields:
    tumor, donor = fields.get(schema.TUMOR), fields.get(schema.NK_DONOR)
    condition = fields.setdefault(schema.CONDITION, _condition(fields))
    holds_nk = condition in {schema.NK_MONO, schema.COCULTURE} or (
        tumor is None and condition != schema.TUMOR_MONO
    )
    if donor is None and holds_nk:
        fields[schema.NK_DONOR] = nk_donor
    elif donor is not None:
        fields[schema.NK_DONOR] = donors.get(str(donor), donor)
    source = fields.get(schema.NK_SOURCE)
    fields[schema.NK_SOURCE] = _SOURCES.get(str(source), source)
    if isinstance(tumors, Mapping) and tumor is not None:
        fields.setdefault(schema.LINEAGE, tumors[str(tumor)])
    for column in schema.NUMERIC_SAMPLE_COLUMNS:
        fields[column] = _number(fields.get(column), name, column)
    fields.setdefault(schema.SAMPLE, name)
    return fields


def _condition(fields: Fields) -> str | None:
    if fields.get(MEDIUM_FROM) is not None:
        return "conditioned_medium"
    tumor, donor = (fields.get(column) is not None for column in (schema.TUMOR, schema.NK_DONOR))
    if tumor:
        return schema.COCULTURE if donor else schema.TUMOR_MONO
    return schema.NK_MONO if donor else None


def _number(text: str | float | None, name: str, column: str) -> float:
    if text is None:
        return float("nan")
    parts = re.split(r"[:_]", str(text))
    try:
        numbers = [float(part) for part in parts]
        return numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1]
    except (ValueError, ZeroDivisionError) as error:
        msg = (
            f"Sample name {name!r}: {column} is {text!r}, which is not a number. Let the group "
            f"{column} of the pattern match a number (et_ratio also as 1:16) and nothing else."
        )
        raise SampleSheetError(msg) from error


def _unparsed(names: list[str], tumors: Mapping[str, str] | Collection[str] | None) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
    of_tumors = "" if tumors is None else " or name a tumor that is not in tumors="
    return (
        f"{len(names)} sample names match no pattern{of_tumors}: {shown}. Pass patterns= that "
        "match them, name those that are not samples in missing=, or leave them missing with "
        "errors='ignore'."
    )


def _table(rows: list[Fields], codes: Array, index: pd.Index | None) -> pd.DataFrame:
    own = [key for row in rows for key in row if key not in _COLUMNS]
    table: dict[str, Any] = {}
    for column in (*_COLUMNS, *dict.fromkeys(own)):
        # One extra value for missing names, whose code is -1.
        values = [row.get(column) for row in rows] + [None]
        if column in schema.NUMERIC_SAMPLE_COLUMNS:
            table[column] = pd.Series(values, dtype="float64").to_numpy()[codes]
            continue
        levels = list(dict.fromkeys(str(value) for value in values if value is not None))
        places = {level: place for place, level in enumerate(levels)}
        of_row = [places[str(value)] if value is not None else -1 for value in values]
        table[column] = pd.Categorical.from_codes(
            [of_row[code] for code in codes], categories=pd.Index(levels, dtype=str)
        )
    return pd.DataFrame(table, index=index)
