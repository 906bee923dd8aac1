"""Options of the main job: read from TOML, checked against the functions they go to."""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import math
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nkscore import io, pp, tl
from nkscore._report._figures import CORE
from nkscore._report._tables import available
from nkscore._report._write import TITLE
from nkscore._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

#: Options by section, then by name.
Options = dict[str, dict[str, Any]]
#: What an option may be: in words, and as a test.
Kind = tuple[str, "Callable[[Any], bool]"]


def outputs(
    *,
    tables: Sequence[str] | None = None,
    embedding: bool = True,
    figures: bool = True,
    report: bool = True,
    title: str = TITLE,
) -> None:
    """Choose what is made.

    Parameters
    ----------
    tables
        Names of the tables to make; all that the design allows unless given.
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
    """One option: where it goes, what it may be, and what it is for."""

    name: str
    annotation: str
    default: Any
    meaning: str


_STEPS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("run", outputs),
    ("read", io.read_coculture),
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
#: What the job itself decides.
_TAKEN = {("read", "base"), ("read", "progress"), ("read", "sheet")}


def known() -> dict[str, dict[str, Option]]:
    """Return every option of every section, as the signatures and docstrings say."""
    sections: dict[str, tuple[Callable[..., Any], set[str]]] = {
        name: (function, set()) for name, function in _STEPS
    }
    for table in available():
        sections[table.name] = (getattr(tl, table.function), set(table.fixed))
    return {name: _options(name, *found) for name, found in sections.items()}


def defaults() -> Options:
    """Return the options that hold where none are given."""
    return {s: {o.name: o.default for o in found.values()} for s, found in known().items()}


def _options(section: str, function: Callable[..., Any], fixed: set[str]) -> dict[str, Option]:
    words = _meanings(inspect.getdoc(function) or "")
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        default = _DEFAULTS.get((section, name), parameter.default)
        if name in fixed or (section, name) in _TAKEN or default is parameter.empty:
            continue
        annotation = str(parameter.annotation)
        if not _kinds(annotation):
            # A named type, of which the default still tells what it is.
            annotation = type(default).__name__
        if parameter.kind is parameter.VAR_KEYWORD or not _kinds(annotation):
            continue
        if isinstance(default, tuple):
            default = list(default)
        found[name] = Option(name, annotation, default, words.get(name, ""))
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


def _split(text: str, mark: str) -> list[str]:
    """Split at ``mark``, but not within brackets or quotes."""
    parts, depth, quoted = [""], 0, False
    for letter in text:
        quoted ^= letter in "'\""
        depth += (letter == "[") - (letter == "]")
        if letter == mark and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


_SIMPLE: dict[str, Kind] = {
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "float": ("a number", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool)),
    "str": ("text", lambda v: isinstance(v, str)),
}


def _kinds(annotation: str) -> list[Kind]:
    """Return what TOML can hold of an annotation: in words, and as a test."""
    return [kind for part in _split(annotation, "|") if (kind := _kind(part)) is not None]


def _kind(part: str) -> Kind | None:
    if part in _SIMPLE:
        return _SIMPLE[part]
    if part == "Any":
        return "text, a list or a table", lambda v: isinstance(v, (str, list, dict))
    outer, _, inner = part.rstrip("]").partition("[")
    if outer == "Mapping" and inner.startswith("str,"):
        return _table(_kind(part[part.index(",") + 1 : -1].strip()))
    return _BRACKETS[outer](inner) if outer in _BRACKETS else None


def _choice(inner: str) -> Kind:
    choices = list(ast.literal_eval(f"[{inner}]"))
    return "one of " + ", ".join(map(repr, choices)), lambda v: v in choices


def _several(inner: str) -> Kind | None:
    found = [_kind(part) for part in _split(inner, ",")]
    kinds = [kind for kind in found if kind is not None]
    if len(kinds) < len(found):
        return None
    return (
        f"a list of {len(kinds)} ({', '.join(k[0] for k in kinds)})",
        lambda v: (
            isinstance(v, list)
            and len(v) == len(kinds)
            and all(kind[1](x) for kind, x in zip(kinds, v, strict=True))
        ),
    )


def _list(inner: str) -> Kind | None:
    kind = _kind(inner)
    return kind and (
        f"a list, each {kind[0]}",
        lambda v: isinstance(v, list) and all(map(kind[1], v)),
    )


def _table(kind: Kind | None) -> Kind | None:
    return kind and (
        f"a table, each value {kind[0]}",
        lambda v: isinstance(v, dict) and all(map(kind[1], v.values())),
    )


_BRACKETS: dict[str, Callable[[str], Kind | None]] = {
    "Literal": _choice,
    "tuple": _several,
    **dict.fromkeys(("Sequence", "Iterable", "Collection", "list"), _list),
}


def read(path: Path) -> Options:
    """Read a file of options; all problems are reported together."""
    try:
        # Editors of Windows put a mark before the text.
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        msg = f"{path} does not exist. nkscore run --write-config {path} makes one to edit."
        raise FileNotFoundError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not valid TOML: {error}. See nkscore run --write-config."
        raise ValueError(msg) from error
    return checked(given, str(path))


def checked(given: dict[str, Any], name: str) -> Options:
    """Complete options with the defaults; refuse what no step knows."""
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
        msg = f"{name} holds options that nkscore {__version__} does not know:{lines}"
        raise ValueError(msg)
    return options


def _problem(section: str, found: dict[str, Option], key: str, value: Any) -> list[str]:
    if key not in found:
        return [f"[{section}] has no option {key!r}{_nearest(key, found)}"]
    kinds = _kinds(found[key].annotation)
    if any(fits(value) for _, fits in kinds):
        return []
    wanted = " or ".join(dict.fromkeys(words for words, _ in kinds))
    return [f"[{section}] {key} is {value!r}; needed: {wanted}"]


def _nearest(name: str, names: Any) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(names) or 'none'}"


def write(options: Options) -> str:
    """Return options as commented TOML, which :func:`read` accepts."""
    lines = [
        f"# Options of nkscore run, version {__version__}. Every line may be left out; lines that",
        "# begin with '# ' and a name show options that are not set.",
    ]
    for section, found in known().items():
        lines += ["", f"[{section}]"]
        for option in found.values():
            value = options[section][option.name]
            lines += [f"# {option.meaning}"] if option.meaning else []
            allowed = " or ".join(dict.fromkeys(words for words, _ in _kinds(option.annotation)))
            lines.append(
                f"# {option.name} = ...  ({allowed})"
                if value is None
                else f"{option.name} = {_toml(value)}"
            )
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # JSON's text, other numbers and truth values are TOML as well.
    return json.dumps(value, ensure_ascii=False)
