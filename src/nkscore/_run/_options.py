"""Options of the main job: read from TOML, checked against the functions that take them."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import os
import re
import tomllib
from collections import abc
from dataclasses import dataclass
from types import GenericAlias, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError

from nkscore import io, pp, tl
from nkscore._gate import check_regular
from nkscore._report._figures import CORE
from nkscore._report._tables import available
from nkscore._report._write import TITLE
from nkscore._run._values import problem_of
from nkscore._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

#: Options by section, then by name.
Options = dict[str, dict[str, Any]]
#: What an option may be: in words, and as a type.
Kind = tuple[str, Any]


def outputs(
    *,
    tables: Sequence[str] | None = None,
    embedding: bool = True,
    figures: bool = True,
    report: bool = True,
    title: str = TITLE,
) -> None:
    """Choose the results.

    Parameters
    ----------
    tables
        Names of the tables to make; by default all that the design allows.
    embedding
        Whether to compute the map (UMAP) of the cells.
    figures
        Whether to draw figures.
    report
        Whether to write report.html.
    title
        Heading of the report.
    """


@dataclass(frozen=True, slots=True)
class Option:
    """One option: the function that takes it, its allowed values and its purpose."""

    name: str
    kinds: tuple[Kind, ...]
    default: Any
    meaning: str
    #: Its type as it is written.
    hint: str = ""

    @property
    def words(self) -> str:
        """What it may be, for a message."""
        return " or ".join(dict.fromkeys(words for words, _ in self.kinds))


_STEPS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("run", outputs),
    ("read", io.read_coculture),
    ("cells", io.read_cells),
    ("qc", pp.qc),
    ("demultiplex", pp.demultiplex),
    ("compartments", pp.compartments),
    ("ambient", pp.ambient),
    ("keep", pp.keep),
    ("normalize", pp.normalize),
    ("score", tl.score),
    ("nk_states", tl.nk_states),
    ("tumor_states", tl.tumor_states),
    ("embed", tl.embed),
)
_DEFAULTS = {("score", "gene_signatures"): [CORE, "REHMAN2021_DIAPAUSE"]}
#: Parameters that the job itself sets.
_TAKEN = {
    *(("read", "base"), ("read", "progress"), ("read", "sheet")),
    *((section, "store") for section in ("read", "cells", "keep")),
}


def known() -> dict[str, dict[str, Option]]:
    """Return every option of every section, from signatures and docstrings."""
    sections: dict[str, tuple[Callable[..., Any], set[str]]] = {
        name: (function, set()) for name, function in _STEPS
    }
    for table in available():
        sections[table.name] = (getattr(tl, table.function), set(table.fixed))
    return {name: _options(name, *found) for name, found in sections.items()}


def defaults() -> Options:
    """Return the default options."""
    return {s: {o.name: o.default for o in found.values()} for s, found in known().items()}


def _options(section: str, function: Callable[..., Any], fixed: set[str]) -> dict[str, Option]:
    words = _meanings(inspect.getdoc(function) or "")
    hints = get_type_hints(function, localns=_NAMES)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        default = _DEFAULTS.get((section, name), parameter.default)
        if name in fixed or (section, name) in _TAKEN or default is parameter.empty:
            continue
        # Of a type that no file can hold, the default still tells what it is.
        kinds = _kinds(hints[name]) or _kinds(type(default))
        if parameter.kind is parameter.VAR_KEYWORD or not kinds:
            continue
        if isinstance(default, tuple):
            default = list(default)
        found[name] = Option(name, kinds, default, words.get(name, ""), str(parameter.annotation))
    return found


def _meanings(doc: str) -> dict[str, str]:
    """Return the first sentence on each parameter of a numpydoc docstring."""
    section = re.search(
        r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+$|\Z)", doc, re.MULTILINE | re.DOTALL
    )
    found: dict[str, str] = {}
    for names, text in re.findall(
        r"^(\S[^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)+)", section[1] if section else "", re.MULTILINE
    ):
        plain = " ".join(text.split()).replace("``", "")
        plain = re.sub(r":\w+:`~?([^`]*)`", r"\1", plain)
        sentence = re.split(r"(?<=[^.]\.)\s+(?=[A-Z])", plain, maxsplit=1)[0]
        found |= dict.fromkeys((name.strip() for name in names.split(",")), sentence)
    return found


class _NoText:
    """Stands for the types that TOML cannot hold and that take long to import."""


#: What signatures name without importing it where they run. A name that lacks here is an error of
#: every run, and of the tests.
_NAMES = {
    **dict.fromkeys(("AnnData", "Option", "TumorProgram"), _NoText),
    # Genes and states may also be written out.
    **dict.fromkeys(("SignaturesLike", "VocabularyLike", "MappingLike"), Any),
    "Level": str | float,
    "Levels": str | float | abc.Sequence[str] | abc.Sequence[float],
    **{name: getattr(abc, name) for name in ("Callable", "Iterable", "Mapping", "Sequence")},
    "np": np,
    "os": os,
    "pd": pd,
}
_PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _kinds(hint: Any) -> tuple[Kind, ...]:
    """Return what TOML can hold of a type: in words, and as pydantic is to check it."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(kind for part in parts if (kind := _kind(part)) is not None)


def _kind(part: Any) -> Kind | None:
    if part in _PLAIN:
        return _PLAIN[part], part
    if part is Any:
        return "text, a list or a table", str | list[Any] | dict[str, Any]
    outer, inner = get_origin(part), get_args(part)
    if outer is Literal:
        return "one of " + ", ".join(map(repr, inner)), part
    kinds = [kind for each in inner if (kind := _kind(each)) is not None]
    return _BRACKETS[outer](kinds) if outer in _BRACKETS and len(kinds) == len(inner) else None


def _several(kinds: list[Kind]) -> Kind:
    words = f"a list of {len(kinds)} ({', '.join(words for words, _ in kinds)})"
    inner = GenericAlias(tuple, tuple(kind for _, kind in kinds))
    # TOML has lists only.
    return words, Annotated[inner, Strict(strict=False)]


def _list(kinds: list[Kind]) -> Kind:
    words, kind = kinds[0]
    return f"a list, each {words}", GenericAlias(list, (kind,))


def _table(kinds: list[Kind]) -> Kind:
    words, kind = kinds[1]
    return f"a table, each value {words}", GenericAlias(dict, (str, kind))


_BRACKETS: dict[Any, Callable[[list[Kind]], Kind]] = {
    tuple: _several,
    abc.Mapping: _table,
    **dict.fromkeys((abc.Sequence, abc.Iterable, list), _list),
}


def _fits(kind: Any, value: object) -> bool:
    try:
        TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError:
        return False
    return True


def set_cells(options: Options, mapping: list[str] | None, keep: list[str] | None) -> None:
    """Write the options of the command line into those of the section ``cells``."""
    given = {name: value for name, value in options["cells"].items() if value is not None}
    if mapping:
        given["mapping"] = mapping
    if keep:
        given["keep"] = [name.strip() for text in keep for name in text.split(",")]
    options["cells"] = checked({"cells": given}, "The command line")["cells"]


def read_or_default(path: Path | None) -> Options:
    """Read a file of options, or return the default ones."""
    return defaults() if path is None else read(path)


def read(path: Path) -> Options:
    """Read a file of options; all problems are reported together."""
    try:
        check_regular(path)
        # Windows editors put a byte-order mark before the text.
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        msg = f"{path} does not exist. Run nkscore run --write-config {path} to make one that "
        "you can edit."
        raise FileNotFoundError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not valid TOML: {error}. See nkscore run --write-config."
        raise ValueError(msg) from error
    return checked(given, str(path))


def checked(given: dict[str, Any], name: str) -> Options:
    """Complete options with the defaults; refuse unknown ones."""
    options, sections = defaults(), known()
    problems = []
    for section, values in given.items():
        if section not in sections or not isinstance(values, dict):
            kind = "section" if isinstance(values, dict) else "section for the option"
            problems.append(f"no {kind} [{section}]{_nearest(section, sections)}")
            continue
        for key, value in values.items():
            problems += _problem(section, sections[section], key, value)
        options[section] |= values
    tables = set(options["run"]["tables"] or ()) if not problems else set()
    names = [table.name for table in available()]
    problems += [
        f"[run] tables: no table {t!r}{_nearest(t, names)}" for t in sorted(tables - set(names))
    ]
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        msg = f"{name} holds options that nkscore {__version__} cannot use:{lines}"
        raise ValueError(msg)
    return options


def _problem(section: str, found: dict[str, Option], key: str, value: object) -> list[str]:
    if key not in found:
        return [f"[{section}] has no option {key!r}{_nearest(key, found)}"]
    if not any(_fits(kind, value) for _, kind in found[key].kinds):
        return [f"[{section}] {key} is {value!r}; needed: {found[key].words}"]
    wrong = problem_of(section, key, value, hint=found[key].hint)
    return [f"[{section}] {key}: {wrong}"] if wrong else []


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names) or 'none'}"


def write(options: Options) -> str:
    """Return options as commented TOML, which :func:`read` accepts."""
    lines = [
        f"# Options of nkscore run, version {__version__}. Every line may be excluded; lines that",
        "# begin with '# ' and a name show options that are not set.",
    ]
    for section, found in known().items():
        lines += ["", f"[{section}]"]
        for option in found.values():
            value = options[section][option.name]
            lines += [f"# {option.meaning}"] if option.meaning else []
            lines.append(
                f"# {option.name} = ...  ({option.words})"
                if value is None
                else f"{option.name} = {_toml(value)}"
            )
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # Text, finite numbers and truth values are the same in JSON and TOML.
    return json.dumps(value, ensure_ascii=False)
