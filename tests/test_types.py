"""What annotations may say."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "nkscore"
FILES = sorted(path.relative_to(SRC) for path in SRC.rglob("*.py"))
_ALIASES = Path("_types.py")


def _tree(path):
    return ast.parse((SRC / path).read_text(encoding="utf-8"))


def _aliases_of_arrays(tree):
    """Names of assignments that do no more than name a kind of array."""
    return [
        ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and ast.unparse(node.value).strip("'\"").startswith(("np.ndarray[", "NDArray["))
    ]


def test_aliases_are_seen():
    assert _aliases_of_arrays(ast.parse("A = np.ndarray[Any, Any]\nB = 'NDArray[np.int8]'")) == [
        "A",
        "B",
    ]
    assert _aliases_of_arrays(ast.parse("a: NDArray[np.int8] = np.zeros(3)")) == []


@pytest.mark.parametrize("path", [p for p in FILES if p != _ALIASES], ids=str)
def test_arrays_are_named_in_one_place(path):
    assert _aliases_of_arrays(_tree(path)) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_aliases_are_for_annotations_only(path):
    """They are imported where only type checkers look, so that nothing is loaded for them."""
    at_run_time = [node for node in _tree(path).body if isinstance(node, ast.ImportFrom)]
    assert "nkscore._types" not in {node.module for node in at_run_time}


#: Largest share of arguments whose annotation says nothing, or leaves a part of it open.
MOST_ANY = 0.05


def _annotations(tree):
    """Text of the annotation of each argument, ``*args`` and ``**options`` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            args = node.args
            named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
            for arg in [*named, args.vararg, args.kwarg]:
                if arg is not None and arg.annotation is not None:
                    yield ast.unparse(arg.annotation)


def _holds_any(annotation):
    return any(
        (isinstance(node, ast.Name) and node.id == "Any")
        or (isinstance(node, ast.Attribute) and node.attr == "Any")
        for node in ast.walk(ast.parse(annotation, mode="eval"))
    )


def test_any_is_seen():
    tree = ast.parse("def f(a: Any, b: list[Any], c: int, *d: t.Any, e, **f: Any | None): ...")
    assert [_holds_any(text) for text in _annotations(tree)] == [True, True, False, True, True]


def test_few_arguments_are_of_any_type():
    found = [_holds_any(text) for path in FILES for text in _annotations(_tree(path))]
    assert sum(found) <= MOST_ANY * len(found)
