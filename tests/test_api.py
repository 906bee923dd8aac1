"""What holds for every public function: arguments, types and documentation."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import nkscore as nk

SPACES = ("datasets", "io", "pl", "pp", "signatures", "tl")
FUNCTIONS = {
    f"{space}.{name}": getattr(importlib.import_module(f"nkscore.{space}"), name)
    for space in SPACES
    for name in importlib.import_module(f"nkscore.{space}").__all__
}
CLASSES = {name: value for name, value in FUNCTIONS.items() if inspect.isclass(value)}
FUNCTIONS = {name: value for name, value in FUNCTIONS.items() if inspect.isfunction(value)}
STEPS = [name for name in FUNCTIONS if name.startswith(("pp.", "tl."))]


def _parameters(name):
    return inspect.signature(FUNCTIONS[name]).parameters


def _sections(name):
    """Section title → text of a numpydoc docstring; the text before is under ``""``."""
    words = inspect.getdoc(FUNCTIONS[name]) or ""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}$", words, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


@pytest.mark.parametrize("space", ["", *SPACES, "scoring", "stats", "errors"])
def test_names_are_sorted_and_exist(space):
    module = importlib.import_module(f"nkscore.{space}".rstrip("."))
    # As ruff sorts them: constants, classes, functions.
    kinds = [[], [], []]
    for name in module.__all__:
        kinds[0 if name.isupper() else 1 if name[0].isupper() else 2].append(name)
    assert list(module.__all__) == [name for kind in kinds for name in sorted(kind)]
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_the_reference_lists_every_public_name_once():
    """What two namespaces offer, such as ``TumorProgram``, has one page."""
    page = Path(__file__).parents[1] / "docs" / "api.md"
    listed = re.findall(r"^   ((?:\w+\.)?\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    spaces = [name for name in nk.__all__ if inspect.ismodule(getattr(nk, name))]
    # Slots are listed in the page of the data contract.
    own = {name: getattr(nk, name) for name in ("about", "evidence", "ledger", "report")}
    public = own | {"schema.validate": nk.schema.validate}
    for space in set(spaces) - {"schema"}:
        module = getattr(nk, space)
        public |= {f"{space}.{name}": getattr(module, name) for name in module.__all__}
    assert set(listed) <= set(public)
    first = {id(value): name for name, value in reversed(public.items())}
    assert sorted(first[id(public[name])] for name in listed) == sorted(first.values())


def test_only_known_kinds_of_names_are_public():
    every = {f"{s}.{n}" for s in SPACES for n in importlib.import_module(f"nkscore.{s}").__all__}
    constants = {name for name in every if name.partition(".")[2].isupper()}
    assert every - constants == {*FUNCTIONS, *CLASSES}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_at_most_three_positional_parameters(name):
    positional = [p for p in _parameters(name).values() if p.kind is not p.KEYWORD_ONLY]
    positional = [p for p in positional if p.kind is not p.VAR_KEYWORD]
    assert len(positional) <= 3
    assert not [p for p in positional if p.kind is p.VAR_POSITIONAL]


@pytest.mark.parametrize("name", STEPS)
def test_the_first_parameter_is_the_data(name):
    first = next(iter(_parameters(name).values()))
    if first.name == "adata":
        assert first.annotation in ("AnnData", "AnnData | pd.DataFrame")
    elif first.name == "model":
        assert first.annotation == "ResponseModel"
    else:
        assert first.annotation.startswith("pd.DataFrame")
    assert first.default is first.empty


#: Two ways to do one thing, guesses, and names of randomness other than ``rng`` and ``seed``.
_BANNED = {
    "copy",
    "inplace",
    "use_raw",
    "random_state",
    "random_seed",
    "n_jobs",
    "verbose",
    "rng_seed",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_banned_parameters(name):
    assert not _BANNED & set(_parameters(name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_everything_is_annotated(name):
    parameters = _parameters(name).values()
    assert not [p.name for p in parameters if p.annotation is p.empty]
    assert inspect.signature(FUNCTIONS[name]).return_annotation is not inspect.Signature.empty


#: Functions whose result is an object of cells or samples.
_OBJECTS = {
    "pp.keep": "AnnData",
    "tl.pseudobulk": "AnnData",
    "tl.plan_experiment": "ExperimentPlan",
    "tl.response_model": "ResponseModel",
}


@pytest.mark.parametrize("name", STEPS)
def test_annotate_or_summarize(name):
    """Slots are written and nothing is returned, or a table is returned (or fewer cells, sums)."""
    returned = inspect.signature(FUNCTIONS[name]).return_annotation
    assert returned in ("None", _OBJECTS.get(name, "pd.DataFrame"))
    text = _sections(name)["Returns"]
    assert ("Writes" in text) is (returned == "None")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_docstring_begins_with_one_line(name):
    lines = _sections(name)[""].splitlines()
    assert lines[0].endswith(".")
    assert len(lines) == 1 or lines[1] == ""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_is_described(name):
    described = set()
    for line in _sections(name).get("Parameters", "").splitlines():
        if line and not line.startswith(" "):
            described |= {word.strip().lstrip("*") for word in line.split(",")}
    assert described == set(_parameters(name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_types_stand_in_the_signature_only(name):
    assert not re.search(r"^\w+ : ", _sections(name).get("Parameters", ""), re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_described(name):
    """In a section, or by the first line ("Return the sets ...")."""
    returned = inspect.signature(FUNCTIONS[name]).return_annotation
    takes_data = "adata" in _parameters(name)
    if returned != "None" or takes_data:
        sections = _sections(name)
        in_first_line = sections[""].startswith("Return ") and not takes_data
        assert in_first_line or sections.get("Returns", "").strip()


#: What only takes long; all others must show an example, which runs among the doctests.
_WITHOUT_EXAMPLE = {"tl.embed"}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in _WITHOUT_EXAMPLE])
def test_there_is_an_example(name):
    assert ">>>" in _sections(name).get("Examples", "")


_CHECKS = re.compile(r"\b(require|recorded|check_\w+)$")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_described(name):
    tree = ast.parse(textwrap.dedent(inspect.getsource(FUNCTIONS[name])))
    raised = {
        ast.unparse(node.exc.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    checks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _CHECKS.search(ast.unparse(node.func))
    ]
    described = _sections(name).get("Raises", "")
    assert {error for error in raised if error not in described} == set()
    if checks:
        assert described.strip()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_described_errors_exist(name):
    described = re.findall(r"^(\w+)$", _sections(name).get("Raises", ""), re.MULTILINE)
    known = {
        *nk.errors.__all__,
        "ValueError",
        "TypeError",
        "FileNotFoundError",
        "FileExistsError",
        "ImportError",
        "KeyError",
    }
    assert set(described) <= known


_ORDER = [
    "",
    "Parameters",
    "Attributes",
    "Returns",
    "Yields",
    "Raises",
    "Warns",
    "See Also",
    "Notes",
    "References",
    "Examples",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sections_are_known_and_in_order(name):
    places = [_ORDER.index(title) for title in _sections(name)]
    assert places == sorted(places)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_documented(name):
    assert re.match(r"\S.*\.$", inspect.getdoc(CLASSES[name]).splitlines()[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_randomness_is_an_argument(name):
    parameters = _parameters(name)
    for word in ("rng", "seed"):
        if word in parameters:
            assert parameters[word].kind is inspect.Parameter.KEYWORD_ONLY
            assert parameters[word].default == 0
