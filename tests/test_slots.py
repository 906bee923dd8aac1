"""The table of slots: that it is whole, that code names no other, and that the docs show it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import pandas as pd
import pytest

import nkscore as nk
from nkscore import schema

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "nkscore"
FILES = sorted(path.relative_to(SRC) for path in SRC.rglob("*.py"))
PATHS = {slot.path: slot for slot in schema.SLOTS}
#: Names in angle brackets stand for those that the user's data bring.
NAMED = {path: slot for path, slot in PATHS.items() if "<" not in path}


# --- the table itself


def test_no_slot_stands_twice():
    assert len(PATHS) == len(schema.SLOTS)


#: Constants that are values of slots; "tumor", of TUMOR_CELLS, is a column, too.
_LEVELS = {
    "NON_TARGETING",
    "NK",
    "TUMOR_MONO",
    "NK_MONO",
    "COCULTURE",
    "MIXED",
    "SINGLET",
    "UNASSIGNED",
}


def test_every_name_is_a_constant():
    constants = {v for k, v in vars(schema).items() if k.isupper() and isinstance(v, str)}
    names = {slot.name for slot in NAMED.values() if not slot.name.startswith("nkscore/")}
    assert names - {"X"} - constants == set()


def test_every_constant_is_a_slot():
    constants = {k: v for k, v in vars(schema).items() if k.isupper() and isinstance(v, str)}
    names = {part for slot in NAMED.values() for part in slot.name.split("/")}
    assert {k for k, v in constants.items() if v not in names} == _LEVELS


def test_functions_of_the_table_exist():
    for slot in schema.SLOTS:
        for name in (*slot.written_by, *slot.read_by):
            assert callable(attrgetter(name)(nk))


def test_records_are_named_by_the_function_or_its_result():
    for slot in schema.SLOTS:
        if slot.name.startswith("nkscore/"):
            key = slot.name.removeprefix("nkscore/")
            assert key in slot.written_by or key in vars(schema).values()


def test_the_page_shows_the_table():
    """Renew it with ``python tools/make_data_contract.py``."""
    path = ROOT / "tools" / "make_data_contract.py"
    spec = importlib.util.spec_from_file_location("make_data_contract", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = tool.PAGE.read_text(encoding="utf-8")
    assert tool.page(text) == text
    for slot in schema.SLOTS:
        assert f"| {tool.spelled(slot)} | {slot.meaning} |" in text


# --- what code names

PLACES = ("layers", "obs", "var", "obsm", "varm", "obsp", "uns")
_STATES = f"({schema.NK_STATE}|{schema.TUMOR_STATE})"


class Names:
    """What the names of a function, or of a module, stand for: texts and parts of an AnnData."""

    def __init__(self, scope, outer=None):
        self.values = dict(outer.values) if outer else {}
        if isinstance(scope, ast.FunctionDef):
            arguments = scope.args
            positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
            pairs = [*zip(positional, arguments.defaults, strict=True)]
            pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            every = [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            self.values |= {argument.arg: None for argument in every if argument}
            self.values |= {argument.arg: default for argument, default in pairs if default}
        for node in _within(scope):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                targets = [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    self.values[target.id] = node.value

    def place(self, node, depth=0):
        """Part of an AnnData that an expression is; ``nkscore`` for the book of records."""
        if isinstance(node, ast.Name) and depth < 3:
            return self.place(self.values.get(node.id), depth + 1)
        if isinstance(node, ast.Attribute) and node.attr in PLACES:
            # Objects named shell are made for scanpy and thrown away.
            shell = isinstance(node.value, ast.Name) and node.value.id == "shell"
            return None if shell else node.attr
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id == "dict" and node.args:
                return self.place(node.args[0], depth)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                inner = self.place(node.func.value, depth)
                return self._book(inner, node.args[0])
        if isinstance(node, ast.Subscript):
            return self._book(self.place(node.value, depth), node.slice)
        return None

    def _book(self, place, key):
        return "nkscore" if place == "uns" and ("schema", "nkscore") in self.texts(key) else None

    def texts(self, node, depth=0):
        """Kind and text of what may be a key: a literal, a constant of schema, a pattern."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [("literal", node.value)]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "schema":
            value = getattr(schema, node.attr)
            return [("schema", value)] if isinstance(value, str) else []
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [text for part in node.elts for text in self.texts(part, depth)]
        if isinstance(node, ast.Name) and depth < 3:
            return self.texts(self.values.get(node.id), depth + 1)
        if isinstance(node, ast.JoinedStr):
            return [("pattern", "".join(map(self._part, node.values)))]
        return []

    def _part(self, node):
        if isinstance(node, ast.Constant):
            return re.escape(node.value)
        return _STATES if ast.unparse(node.value) == "slot" else ".+"


def _within(scope):
    """Nodes of a function or module, without those of the functions in it."""
    todo = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)


def _keys(node, names):
    """(place, key) of each slot that an expression names."""
    if isinstance(node, ast.Subscript):
        inside, key = node.value, node.slice
        if isinstance(inside, ast.Attribute) and inside.attr == "loc":
            inside = inside.value
            key = key.elts[1] if isinstance(key, ast.Tuple) else ast.Constant(None)
        return [(names.place(inside), key)]
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return [(names.place(node.comparators[0]), node.left)]
    return _keys_of_call(node, names) if isinstance(node, ast.Call) and node.args else []


def _keys_of_call(node, names):
    called, arguments = ast.unparse(node.func), node.args
    if called.endswith((".get", ".pop")):
        return [(names.place(node.func.value), arguments[0])]
    if called in ("schema.require", "require"):
        return [(place, arguments[2]) for _, place in names.texts(arguments[1])]
    if called in ("schema.record", "schema.recorded"):
        return [("nkscore", arguments[1])]
    if called == "write_table":
        return [("obsm", arguments[1])]
    # A helper that is given the part and the key, such as labels.
    return [(names.place(arguments[0]), arguments[1])] if len(arguments) > 1 else []


def _named(tree):
    """(line, place, kind, text) of every slot that a file names."""
    module = Names(tree)
    scopes = [(tree, module)]
    while scopes:
        scope, names = scopes.pop()
        for node in _within(scope):
            if isinstance(node, ast.FunctionDef):
                scopes.append((node, Names(node, names)))
            for place, key in _keys(node, names):
                if place is not None:
                    yield from ((node.lineno, place, *text) for text in names.texts(key))


@lru_cache
def _names_of(path):
    return sorted(set(_named(ast.parse((SRC / path).read_text(encoding="utf-8")))))


def _path(place, name):
    return f"uns/nkscore/{name}" if place == "nkscore" else f"{place}/{name}"


def _known(place, kind, text):
    if place == "uns" and text == schema.RECORD:
        return True
    if kind == "pattern":
        # A column of a state is there for both compartments.
        wanted = [text.replace(_STATES, state) for state in (schema.NK_STATE, schema.TUMOR_STATE)]
        found = [any(re.fullmatch(_path(place, w), path) for path in NAMED) for w in wanted]
        return all(found)
    return _path(place, text) in NAMED


@pytest.mark.parametrize("path", FILES, ids=str)
def test_code_names_no_slot_that_the_table_lacks(path):
    found = _names_of(path)
    assert [name for name in found if not _known(*name[1:])] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "schema.py"], ids=str)
def test_slots_are_named_by_constants(path):
    """Records apart, which carry the name of the function that wrote them."""
    literal = [name for name in _names_of(path) if name[2] == "literal" and name[1] != "nkscore"]
    assert literal == []


def test_names_are_found():
    """In as many places as one would think, and in every way of writing them."""
    found = {name[1:] for path in FILES for name in _names_of(path)}
    assert len(found) > 60
    assert {
        ("obs", "schema", "qc_pass"),
        ("layers", "schema", "counts"),
        ("varm", "schema", "ambient_nk"),
        ("obsm", "schema", "tumor_programs"),
        ("obsp", "schema", "connectivities"),
        ("obs", "pattern", f"{_STATES}_margin"),
        ("nkscore", "literal", "pp.ambient"),
        ("nkscore", "schema", "sample_sheet"),
    } <= found


_WAYS = """
KEY = "a"
def f(adata, *, by="b"):
    adata.obs[KEY] = adata.obs[by]
    obs = adata.obs
    obs["c"] = 1
    adata.obs[["d", schema.LANE]]
    adata.obs.loc[rows, "e"]
    adata.obsm.get("f")
    "g" in adata.uns
    schema.require(adata, "varm", ["h", *more], "pp.qc")
    book = dict(adata.uns.get(schema.RECORD, {}))
    book["i"]
    adata.uns[schema.RECORD].pop("j")
    for slot in states:
        del adata.obs[f"{slot}_k"]
    shell.obs["l"]
    labels(adata.obs, "m")
    rows.loc["n"], table["o"], adata.obs[unknown]
"""


def test_every_way_of_naming_a_slot_is_seen():
    found = {(place, text) for _, place, _, text in _named(ast.parse(_WAYS))}
    assert found == {
        *(("obs", name) for name in "abcdem"),
        ("obs", "lane"),
        ("obsm", "f"),
        ("uns", "g"),
        ("varm", "h"),
        ("uns", "nkscore"),
        ("nkscore", "i"),
        ("nkscore", "j"),
        ("obs", f"{_STATES}_k"),
    }


# --- what functions write that tests/test_contract.py does not run


def _paths(adata):
    found = {"X"} if adata.X is not None else set()
    for place in PLACES[:-1]:
        # anndata 0.13 lists X as the layer None.
        found |= {f"{place}/{key}" for key in getattr(adata, place) if key is not None}
    records = adata.uns.get(schema.RECORD, {})
    found |= {f"uns/{schema.RECORD}/{key}" for key in records}
    return found | {f"uns/{key}" for key in adata.uns if key != schema.RECORD}


def _declared(function):
    return {path for path in NAMED if function in PATHS[path].written_by}


def _value(adata, path):
    place, *keys = path.split("/")
    value = getattr(adata, place)
    for key in keys:
        value = value[key]
    return value


def _check_types(adata, paths, is_of_type):
    wrong = [path for path in paths if not is_of_type(_value(adata, path), PATHS[path].dtype)]
    assert wrong == []


def test_what_the_simulator_writes(small_coculture, is_of_type):
    made = _paths(small_coculture)
    # Written with ``bystanders``, ``clones`` or ``contacts``; their own tests look at them.
    more = {"obs/truth_bystander", "obs/truth_clone", "obs/truth_pair"}
    assert made == _declared("datasets.simulate_coculture") - more
    _check_types(small_coculture, made, is_of_type)


def test_what_the_planted_truth_fills(small_coculture, is_of_type):
    adata = small_coculture.copy()
    nk.datasets.use_truth(adata)
    made = _paths(adata) - _paths(small_coculture)
    assert made == _declared("datasets.use_truth")
    _check_types(adata, made, is_of_type)


GENOTYPES = {f"obs/{slot.name}" for slot in schema.SLOTS if slot.name.startswith("genotype")}


def test_what_reading_writes(small_coculture, tmp_path, is_of_type):
    """One lane with hashtags and one that is a sample, with a column of one's own."""
    file = nk.datasets.write_lanes(small_coculture, tmp_path / "lanes")
    sheet = pd.read_csv(file).assign(plate="p1")
    alone = sheet[sheet["lane"] == sheet["lane"].iloc[0]].iloc[[0]].assign(hashtag="")
    several = sheet[sheet["lane"] != sheet["lane"].iloc[0]]
    adata = nk.io.read_coculture(pd.concat([alone, several]), base=file.parent)
    made = _paths(adata)
    # Lanes of the simulator hold neither antibodies nor guides.
    absent = {"obsm/protein", "obsm/guides", *GENOTYPES}
    assert made == _declared("io.read_coculture") - absent | {"obs/plate"}
    _check_types(adata, made - {"obs/plate"}, is_of_type)


def test_what_reading_one_lane_writes(small_coculture, tmp_path, is_of_type):
    file = tmp_path / "lane.h5ad"
    lane = small_coculture[:30].copy()
    lane.obs["mine"] = 1
    lane.write_h5ad(file)
    donors = pd.DataFrame({"barcode": lane.obs_names, "donor": "d1", "probability": 0.9})
    donors.to_csv(tmp_path / "donors.csv", index=False)
    adata = nk.io.read_lane(
        file,
        annotations=["lane", "mine"],
        hashtag_path="obsm:hashtags",
        genotype_path=tmp_path / "donors.csv",
    )
    absent = {"obsm/protein", "obsm/guides", "var/gene_id"}
    assert _paths(adata) == _declared("io.read_lane") - absent | {"obs/mine"}
    _check_types(adata, _paths(adata) - {"obs/mine"}, is_of_type)


def test_what_keeping_and_summing_write(small_coculture, is_of_type):
    adata = small_coculture.copy()
    nk.datasets.use_truth(adata)
    assert _paths(nk.pp.keep(adata)) - _paths(adata) == _declared("pp.keep")
    sums = nk.tl.pseudobulk(adata, min_cells=5)
    made = _paths(sums) - _paths(adata) - {"X"}
    assert made == _declared("tl.pseudobulk")
    _check_types(sums, made, is_of_type)


# --- what docstrings say

_SLOT = re.compile(r'(layers|obs|var|obsm|varm|obsp|uns)\["(\w+)"\](?:\["([\w.]+)"\])?')
DOCUMENTED = {
    f"{space}.{name}": inspect.getdoc(getattr(module, name))
    for space, module in (
        (space, importlib.import_module(f"nkscore.{space}"))
        for space in ("datasets", "io", "pl", "pp", "tl")
    )
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}
DOCUMENTED["report"] = inspect.getdoc(nk.report)


def _spelled(text):
    """Paths of the slots that a text spells as code does."""
    for place, key, record in _SLOT.findall(text):
        if (place, key) != ("uns", schema.RECORD):
            yield f"{place}/{key}"
        elif record:
            yield f"{place}/{key}/{record}"


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstrings_read_what_the_table_says(name):
    head = DOCUMENTED[name].split("\nParameters\n")[0]
    found = {path for part in head.split("\n\n") if "Reads" in part for path in _spelled(part)}
    assert {path for path in found if name not in PATHS[path].read_by} == set()


#: "STATE" stands for either state, "key_added" for the name that the user gives.
_BY_RULE = {"tl.map_reference", "tl.responders", "tl.score", "tl.score_null"}


@pytest.mark.parametrize("name", [n for n, text in DOCUMENTED.items() if "\n    Writes" in text])
def test_docstrings_write_what_the_table_says(name):
    section = DOCUMENTED[name].split("\nReturns\n")[1].split("\nRaises\n")[0]
    for path in _spelled(section):
        assert name in PATHS[path].written_by + PATHS[path].read_by
    if name not in _BY_RULE:
        # Columns of the sheet are known together.
        declared = {path.split("/")[-1] for path in _declared(name)} - {*schema.SAMPLE_COLUMNS}
        assert {key for key in declared if f'"{key}"' not in section and key != "X"} == set()
