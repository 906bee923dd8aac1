"""Which part of the library may import which, and how long its parts may get."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from functools import lru_cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import nkscore as nk

SRC = Path(__file__).resolve().parents[1] / "src" / "nkscore"
FILES = sorted(path.relative_to(SRC) for path in SRC.rglob("*.py"))
_MODULES = {path.parts[0].removesuffix(".py") for path in FILES}

#: What the modules of each part may import of nkscore, besides their own part: only what stands on
#: a lower floor.
ALLOWED = {
    "errors": set(),
    "_types": set(),
    "_version": set(),
    "_compile": set(),
    "_warn": {"errors"},
    "_whole": set(),
    "_settings": set(),
    "_about": set(),
    "_slots": set(),
    "_storable": set(),
    "_gate": {"errors"},
    "_text": {"errors", "_gate"},
    "schema": {"errors", "_counts", "_slots", "_storable", "_version"},
    "_ledger": {"errors", "schema"},
    "_checks": {"errors"},
    "_donors": {"schema"},
    "_colors": {"errors"},
    "_counts": {"errors", "_compile", "_whole"},
    "signatures": {"errors", "_gate", "_text", "_warn"},
    "scoring": {"errors", "_compile", "_counts"},
    "stats": {"errors", "_compile", "_counts"},
    "datasets": {"errors", "schema", "signatures", "_compile", "_warn", "_whole"},
    "io": {
        *("errors", "schema", "_counts", "_donors", "_gate", "_ledger", "_slots", "_storable"),
        *("_text", "_warn", "_whole"),
    },
    "_samples": {"errors", "schema", "_counts", "_ledger", "stats"},
    "pl": {"errors", "schema", "_colors", "_settings", "_storable"},
}
_TOOLS = {
    "errors",
    "schema",
    "_checks",
    "_colors",
    "_counts",
    "_ledger",
    "_samples",
    "_storable",
    "scoring",
    "signatures",
    "stats",
}
ALLOWED |= {
    "pp": (_TOOLS | {"_donors", "_warn"}) - {"_colors"},
    "tl": _TOOLS | {"_warn", "io"},
    "_report": {
        *("_colors", "_ledger", "_version", "_whole", "errors", "io", "pl", "schema"),
        *("signatures", "tl"),
    },
    "_run": {
        *("_gate", "_ledger", "_report", "_storable", "_version", "_whole", "errors", "io"),
        *("_counts", "_samples", "pp", "schema", "scoring", "signatures", "tl"),
    },
}
#: Names of kinds of arrays, which every part may use in annotations.
FOR_TYPES = {"_types"}
#: On top: they may import what they like, and nothing may import them.
TOP = {"__init__", "cli"}


@lru_cache
def _tree(path):
    return ast.parse((SRC / path).read_text(encoding="utf-8"))


def _part(path):
    return path.parts[0].removesuffix(".py")


def _module(path):
    """Dotted name of a file, as it is imported."""
    parts = ("nkscore", *path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


_NAMES = {_module(path) for path in FILES}


def _imported(path):
    """Full names of the files of nkscore that a file imports, at the top or where used."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in _NAMES else node.module for name in full]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] == "nkscore"}
    return found - {_module(path)}


def _parts_imported(path):
    parts = [name.split(".") for name in _imported(path)]
    return {part[1] if len(part) > 1 else "__init__" for part in parts}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path):
    part = _part(path)
    if part not in TOP:
        assert _parts_imported(path) - {part} - FOR_TYPES <= ALLOWED[part]


def test_every_part_has_a_rule():
    assert {_part(path) for path in FILES} - TOP == set(ALLOWED)


def _circles(edges):
    """Groups of names that lead back to each other."""
    reached = {name: set(others) for name, others in edges.items()}
    while True:
        before = sum(map(len, reached.values()))
        for others in reached.values():
            others |= {far for other in others for far in reached.get(other, ())}
        if sum(map(len, reached.values())) == before:
            return sorted(name for name, others in reached.items() if name in others)


def test_circles_are_seen():
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
    assert _circles({"a": {"b", "c"}, "b": {"c"}}) == []


def test_no_circle_of_parts():
    assert _circles({part: lower - TOP for part, lower in ALLOWED.items()}) == []


def test_no_circle_of_files():
    """Also not by imports within functions or for types only.

    import-linter (2.17) sees the other rules of this page, but no circle of a file and the
    ``__init__`` of its own package.
    """
    assert _circles({_module(path): _imported(path) for path in FILES}) == []


def _room(name):
    """Room of ``tl`` that a module lies in."""
    parts = name.split(".")
    return parts[2] if parts[1:2] == ["tl"] and len(parts) > 3 else None


def test_no_room_of_tools_imports_another():
    rooms = {_module(path) for path in FILES if _room(_module(path))}
    assert len({_room(name) for name in rooms}) == 9
    wrong = [
        (_module(path), name)
        for path in FILES
        for name in _imported(path)
        if (room := _room(_module(path))) and name.startswith("nkscore.tl") and _room(name) != room
    ]
    assert wrong == []


_PROJECT = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _names(requirements):
    """Names of distributions, as the index writes them."""
    return {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in requirements}


#: Libraries of extras are imported within functions, where an error says which extra is needed.
_CORE = _names(_PROJECT["dependencies"])
_EXTRA = _names(text for extra in _PROJECT["optional-dependencies"].values() for text in extra)
_DISTRIBUTIONS = packages_distributions()


def _undeclared(names, declared):
    """Imported names of others that no distribution of ``declared`` brings."""
    return {
        name
        for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"nkscore"}
        if not _names(_DISTRIBUTIONS.get(name, [name])) & declared
    }


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_import_is_declared(path):
    """What comes with another library today may go with its next version."""
    assert _undeclared(_all_names(_tree(path)), _CORE | _EXTRA) == set()
    assert _undeclared(_imports_at_the_top(path), _CORE) == set()


_HEAVY = {"anndata", "scanpy", "matplotlib", "numba", "igraph", "leidenalg", "statsmodels"}


def _names_of(node):
    """Modules that a statement imports, with their full names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module} if isinstance(node, ast.ImportFrom) else set()


def _all_names(tree):
    return {name for node in ast.walk(tree) for name in _names_of(node)}


def _imports_at_the_top(path):
    """Modules of others that are loaded as soon as the file is."""
    return {name.split(".")[0] for node in _tree(path).body for name in _names_of(node)}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_slow_libraries_are_imported_where_used(path):
    allowed = {
        "_compile": {"numba"},
        "scoring": {"numba"},
        "datasets": {"numba"},
        "pl": {"matplotlib"},
        "io": {"anndata"},
    }
    assert _imports_at_the_top(path) & _HEAVY <= allowed.get(_part(path), set())


@pytest.mark.parametrize(
    "path", [p for p in FILES if _part(p) in {"_counts", "scoring", "stats"}], ids=str
)
def test_kernels_know_arrays_only(path):
    names = {name.split(".")[0] for name in _all_names(_tree(path))}
    assert not names & {"anndata", "scanpy", "matplotlib"}
    assert "nkscore.schema" not in _imported(path)


#: Files of the steps that may take matrices out of an AnnData: the door, and what writes them.
_DOORS = {Path("_samples/_matrices.py"), Path("_samples/_stored.py")}


def _matrices_taken(tree):
    """Lines that take ``X`` or a layer out of an object, not only look whether it is there."""
    looked_at = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.In | ast.NotIn | ast.Is | ast.IsNot)
        for part in (node.left, *node.comparators)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"X", "layers"}
        and isinstance(node.ctx, ast.Load)
        and id(node) not in looked_at
    ]


def test_matrices_taken_are_seen():
    taken = (
        "counts = adata.layers['counts']\nx = adata.X[:, 0]\nf(a.layers.get('b'), cells.X.sum())"
    )
    assert sorted(_matrices_taken(ast.parse(taken))) == [1, 2, 3, 3]
    looked_at = "if 'counts' in adata.layers or adata.X is None:\n    adata.X = normalized"
    assert _matrices_taken(ast.parse(looked_at)) == []


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if _part(p) in {"_report", "_run", "_samples", "pl", "pp", "tl"}],
    ids=str,
)
def test_counts_are_read_through_one_door(path):
    """Steps ask ``counts_of(adata)``, so that matrices may lie in memory, in files or in dask."""
    if path not in _DOORS:
        assert _matrices_taken(_tree(path)) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_length_of_modules(path):
    """Lines of code: no blanks, comments or docstrings."""
    documented = {
        line
        for node in ast.walk(_tree(path))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    texts = map(str.strip, (SRC / path).read_text(encoding="utf-8").splitlines())
    code = [
        number
        for number, text in enumerate(texts, start=1)
        if text and not text.startswith("#") and number not in documented
    ]
    assert len(code) <= 400


@pytest.mark.parametrize("path", FILES, ids=str)
def test_length_of_functions(path):
    """Signature and comments included, the docstring not."""
    found = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            documented = node.body[0].end_lineno - node.body[0].lineno + 1
            length = node.end_lineno - node.lineno + 1
            found.append((length - documented * (ast.get_docstring(node) is not None), node.name))
    assert [(n, name) for n, name in found if n > 60] == []


def test_the_formatter_decides():
    assert not [path for path in FILES if "# fmt: " + "skip" in (SRC / path).read_text("utf-8")]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_assert(path):
    """``python -O`` drops them, and their messages help nobody."""
    assert not [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_warnings_go_through_the_one_way_to_warn(path):
    """It finds the line of the user's code; a number of frames is wrong after the next change."""
    calls = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("warnings.warn", "_outside")
    ]
    assert bool(calls) is (_part(path) == "_warn")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_is_unpickled(path):
    """Files of others would run as code."""
    modules = {name.split(".")[0] for name in _all_names(_tree(path))}
    assert not modules & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    allowed = [
        node.lineno
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.keyword)
        and node.arg == "allow_pickle"
        and ast.unparse(node.value) != "False"
    ]
    assert not allowed


_OF_GENERATORS = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_global_random_numbers(path):
    """Only generators made from a seed: a result may not depend on what ran before."""
    used = {
        node.attr
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "random")
    }
    assert used <= _OF_GENERATORS


@pytest.mark.parametrize("path", FILES, ids=str)
def test_futures_are_on(path):
    """Annotations stay text, so that types need not be imported."""
    assert "annotations" in {
        alias.name
        for node in _tree(path).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


# --- docs/house.md

HOUSE = (SRC.parents[1] / "docs" / "house.md").read_text(encoding="utf-8")


def _row(room):
    """Cells of the row that describes a room."""
    rows = [line for line in HOUSE.splitlines() if line.startswith(f"| `{room}` |")]
    assert len(rows) == 1, room
    return rows[0].strip("| ").split(" | ")


def test_the_picture_of_the_house_shows_every_floor():
    floors = re.findall(r"^(\d)   (.+)$", HOUSE, re.MULTILINE)
    numbers = [int(number) for number, _ in floors]
    assert numbers == sorted(range(1, len(floors) + 1), reverse=True)
    floor = {room: int(number) for number, rooms in floors for room in rooms.split()}
    assert set(floor) == set(ALLOWED) | TOP - {"__init__"}
    assert sum(len(rooms.split()) for _, rooms in floors) == len(floor)
    for room, lower in ALLOWED.items():
        assert all(floor[other] < floor[room] for other in lower), room


@pytest.mark.parametrize("room", [*ALLOWED, "cli"])
def test_the_house_says_what_is_in_each_room(room):
    assert len(_row(room)) == 2


@pytest.mark.parametrize("part", ["tl", "stats"])
def test_the_house_shows_the_rooms_of_a_part(part):
    section = HOUSE.split(f"## The rooms of `{part}`")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in (SRC / part).iterdir() if _is_room(path))
    files = {path.name for path in (SRC / part).glob("*.py")} - {"__init__.py"}
    assert files == set(re.findall(r"`(_\w+\.py)`", section))


def _is_room(path):
    return (path / "__init__.py").exists()


def test_the_house_lists_the_functions_of_tl():
    functions = [name for name in nk.tl.__all__ if inspect.isfunction(getattr(nk.tl, name))]
    for name in functions:
        room = getattr(nk.tl, name).__module__.split(".")[2]
        assert f"`{name}`" in _row(room)[2], name
    section = HOUSE.split("## The rooms of `tl`")[1].split("\n## ")[0]
    assert sum(line.count("`") // 2 - 1 for line in section.splitlines() if "? |" in line) == len(
        functions
    )
