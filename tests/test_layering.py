"""Which part of the library may import which, and how long its parts may get."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "nkscore"
FILES = sorted(path.relative_to(SRC) for path in SRC.rglob("*.py"))
_MODULES = {path.parts[0].removesuffix(".py") for path in FILES}

#: Modules at the bottom, which every part may import.
_BASE = {"errors", "schema"}
#: What the modules of each part may import of nkscore, besides their own part.
ALLOWED = {
    "errors": set(),
    "schema": {"errors", "__init__"},
    "_compile": set(),
    "signatures": {"errors"},
    "scoring": {"errors", "_compile"},
    "stats": {"errors", "_compile"},
    "datasets": _BASE | {"signatures", "_compile"},
    "io": _BASE,
    "pl": _BASE,
    # Colors of states are kept in one place, with those of the figures.
    "_shared": _BASE | {"scoring", "stats", "signatures", "pl"},
    "pp": _BASE | {"_shared", "scoring", "stats", "signatures"},
    "tl": _BASE | {"_shared", "scoring", "stats", "signatures"},
    "_report": _BASE | {"pl", "signatures", "tl", "__init__"},
    "__init__": {"_report", "datasets", "errors", "io", "pl", "pp", "schema", "signatures", "tl"},
}
#: On top of everything: they may import what they like, and nothing may import them.
TOP = {
    "cli", "_completion", "_demo", "_score_cli", "_workflow", "_workflow_options",
    "_workflow_parts",
}  # fmt: skip


@lru_cache
def _tree(path):
    return ast.parse((SRC / path).read_text(encoding="utf-8"))


def _part(path):
    return path.parts[0].removesuffix(".py")


def _imported(path):
    """Names of modules of nkscore that a file imports, as tuples below ``nkscore``."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        below = [name.split(".")[1:] for name in names if name.split(".")[0] == "nkscore"]
        # "from nkscore import __version__" imports the package itself.
        found |= {tuple(m) if m and m[0] in _MODULES else ("__init__",) for m in below}
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_down(path):
    part = _part(path)
    if part in TOP:
        return
    imported = {module[0] for module in _imported(path)} - {part}
    assert imported <= ALLOWED[part]


def test_every_part_has_a_rule():
    assert {_part(path) for path in FILES} - TOP <= set(ALLOWED)


@pytest.mark.parametrize("path", [p for p in FILES if _part(p) == "tl"], ids=str)
def test_no_tool_imports_another(path):
    if path.name != "__init__.py":
        assert not [module for module in _imported(path) if module[0] == "tl"]


def test_the_table_itself_points_down():
    """No two parts may import each other, also not by a detour."""
    reached = {part: set(ALLOWED[part]) - {"__init__"} for part in ALLOWED if part != "__init__"}
    for _ in reached:
        for parts in reached.values():
            parts |= {lower for part in parts for lower in reached[part]}
    assert not [part for part, parts in reached.items() if part in parts]


_HEAVY = {"anndata", "scanpy", "matplotlib", "numba", "igraph", "leidenalg", "statsmodels"}


def _imports_at_the_top(path):
    """Modules of others that are loaded as soon as the file is."""
    found = set()
    for node in _tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_slow_libraries_are_imported_where_used(path):
    allowed = {
        "_compile": {"numba"}, "scoring": {"numba"}, "datasets": {"numba"}, "pl": {"matplotlib"},
        "io": {"anndata"},
    }  # fmt: skip
    assert _imports_at_the_top(path) & _HEAVY <= allowed.get(_part(path), set())


@pytest.mark.parametrize("path", [p for p in FILES if _part(p) in {"scoring", "stats"}], ids=str)
def test_kernels_know_arrays_only(path):
    names = {
        name.split(".")[0]
        for node in ast.walk(_tree(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
    }
    assert not names & {"anndata", "scanpy", "matplotlib"}
    assert ("schema",) not in _imported(path)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_length_of_modules(path):
    assert len((SRC / path).read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_assert(path):
    """``python -O`` drops them, and their messages help nobody."""
    assert not [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.Assert)]


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
