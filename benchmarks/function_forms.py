"""Call every public function on many forms of the same data, and print where one crashes.

    python benchmarks/function_forms.py [--only tl.score,pl.] [--forms csc,view] [--seconds 20]

The functions are those of ``__all__``. The arguments are those of the example in the docstring,
taken when it runs. Each AnnData, table and array among them is given in other forms. A pair of
function and form ends as

    same       the result of the example
    other      another result, where the form changes names or sizes
    refused    an error of nkscore.errors, or one that nkscore raises itself
    DIFFERENT  another result, although the data are the same
    CHANGED    the input is not what it was
    CRASH      any other error
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import doctest
import importlib
import inspect
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

os.environ.setdefault("MPLBACKEND", "Agg")
SPACES = ("io", "pp", "tl", "pl", "signatures", "datasets", "scoring", "stats")
#: They read or write files, whose forms the fuzzing of the readers tries.
WITHOUT_DATA = {"signatures.save", "datasets.fetch", "datasets.registry", "pl.save", "pl.style"}
ODD = ["a/b", "a.b", "a b", "ä-β", "1", "-", "nan", "x" * 60]


# --- forms of an AnnData: name → (change, whether the data stay the same)


def _counts(adata, change):
    for layer in [key for key in adata.layers if key is not None]:
        adata.layers[layer] = change(adata.layers[layer])
    return adata


def _matrices(adata, change):
    if adata.X is not None:
        adata.X = change(adata.X)
    return _counts(adata, change)


def _columns(adata, change):
    for name in list(adata.obs):
        adata.obs[name] = change(adata.obs[name])
    return adata


def _is_text(column):
    return isinstance(column.dtype, pd.CategoricalDtype) or column.dtype.kind in "OUT"


def _text(kind):
    def changed(column):
        if not _is_text(column):
            return column
        plain = column.astype(object).where(column.notna(), None)
        # Before pandas 3, "str" makes text of what is missing.
        return plain.astype(pd.StringDtype(na_value=np.nan) if kind == "str" else kind)

    return changed


def _levels(change):
    def changed(column):
        return change(column.astype("category").cat) if _is_text(column) else column

    return changed


def _nullable(column):
    names = {"i": "Int64", "f": "Float64", "b": "boolean"}
    return column.astype(names[column.dtype.kind]) if column.dtype.kind in names else column


def _unsorted(matrix):
    if not sparse.issparse(matrix) or matrix.format != "csr":
        return matrix
    made = matrix.copy()
    for row in range(made.shape[0]):
        part = slice(made.indptr[row], made.indptr[row + 1])
        made.indices[part] = made.indices[part][::-1].copy()
        made.data[part] = made.data[part][::-1].copy()
    made.has_sorted_indices = False
    return made


def _long_indices(matrix):
    if not sparse.issparse(matrix):
        return matrix
    made = matrix.copy()
    made.indices, made.indptr = made.indices.astype(np.int64), made.indptr.astype(np.int64)
    return made


def _explicit_zeros(matrix):
    if not sparse.issparse(matrix):
        return matrix
    made = matrix.tolil(copy=True).tocsr()
    zeros = sparse.csr_matrix((np.zeros(1, made.dtype), ([0], [0])), shape=made.shape)
    row = sparse.vstack([made[:1] + zeros, made[1:]], format="csr")
    return row.astype(matrix.dtype)


def _read_only(adata):
    for matrix in [adata.X, *[adata.layers[k] for k in adata.layers if k is not None]]:
        for part in ("data", "indices", "indptr") if sparse.issparse(matrix) else ():
            getattr(matrix, part).flags.writeable = False
    return adata


def _named(axis, change):
    def renamed(adata):
        names = list(getattr(adata, axis))
        setattr(adata, axis, pd.Index(change(names)))
        return adata

    return renamed


def _odd(names):
    return [f"{name} {ODD[i % len(ODD)]}" for i, name in enumerate(names)]


def _first_twice(names):
    return [*names[:1], *names[:-1]]


def _rename_levels(adata):
    for name in list(adata.obs):
        if isinstance(adata.obs[name].dtype, pd.CategoricalDtype):
            levels = adata.obs[name].cat.categories
            adata.obs[name] = adata.obs[name].cat.rename_categories(_odd(levels))
    return adata


def _missing(adata):
    for name in list(adata.obs):
        if isinstance(adata.obs[name].dtype, pd.CategoricalDtype):
            adata.obs.iloc[:3, adata.obs.columns.get_loc(name)] = np.nan
    return adata


def _backed(adata):
    import anndata

    path = Path(tempfile.mkdtemp()) / "a.h5ad"
    adata.write_h5ad(path)
    return anndata.read_h5ad(path, backed="r")


def _with_frames(change):
    def changed(adata):
        for key in list(adata.obsm):
            adata.obsm[key] = change(adata.obsm[key])
        return adata

    return changed


def _without(place, key):
    def cut(adata):
        if key in getattr(adata, place):
            del getattr(adata, place)[key]
        return adata

    return cut


def _extra(adata):
    adata.obs["odd things"] = (
        pd.Series([None, 1, "a", (1, 2)] * adata.n_obs, dtype=object).iloc[: adata.n_obs].to_numpy()
    )
    return adata


ADATA = {
    "view": (lambda a: a[:], True),
    "view of a view": (lambda a: a[:, :][np.arange(a.n_obs)], True),
    "csc": (lambda a: _counts(a, sparse.csc_matrix), True),
    "csr_array": (lambda a: _matrices(a, sparse.csr_array), True),
    "csc_array": (lambda a: _matrices(a, sparse.csc_array), True),
    "dense": (lambda a: _matrices(a, lambda m: m.toarray() if sparse.issparse(m) else m), True),
    "dense, Fortran": (
        lambda a: _matrices(a, lambda m: np.asfortranarray(sparse.csr_matrix(m).toarray())),
        True,
    ),
    "float32 counts": (lambda a: _counts(a, lambda m: m.astype(np.float32)), True),
    "float64 counts": (lambda a: _counts(a, lambda m: m.astype(np.float64)), True),
    "int64 counts": (lambda a: _counts(a, lambda m: m.astype(np.int64)), True),
    "uint16 counts": (lambda a: _counts(a, lambda m: m.astype(np.uint16)), True),
    "float64 X": (lambda a: _x(a, np.float64), True),
    "unsorted indices": (lambda a: _matrices(a, _unsorted), True),
    "int64 indices": (lambda a: _matrices(a, _long_indices), True),
    "explicit zeros": (lambda a: _counts(a, _explicit_zeros), True),
    "read-only": (_read_only, True),
    "backed": (_backed, True),
    "text as object": (lambda a: _columns(a, _text(object)), True),
    "text as str": (lambda a: _columns(a, _text("str")), True),
    "text as string": (lambda a: _columns(a, _text("string")), True),
    "unused levels": (
        lambda a: _columns(a, _levels(lambda c: c.add_categories(["not used"]))),
        True,
    ),
    "ordered levels": (lambda a: _columns(a, _levels(lambda c: c.as_ordered())), True),
    "reversed levels": (
        lambda a: _columns(a, _levels(lambda c: c.reorder_categories(c.categories[::-1]))),
        True,
    ),
    "nullable numbers": (lambda a: _columns(a, _nullable), True),
    "column of anything": (_extra, True),
    "frames as float": (
        _with_frames(lambda f: f.astype(float) if isinstance(f, pd.DataFrame) else f),
        True,
    ),
    "frames as nullable": (
        _with_frames(lambda f: f.apply(_nullable) if isinstance(f, pd.DataFrame) else f),
        True,
    ),
    "frames as arrays": (_with_frames(np.asarray), False),
    "numbered cells": (_named("obs_names", lambda n: list(map(str, range(len(n))))), False),
    "odd names of cells": (_named("obs_names", _odd), False),
    "cells twice": (_named("obs_names", _first_twice), False),
    "genes twice": (_named("var_names", _first_twice), False),
    "odd names of genes": (_named("var_names", _odd), False),
    "odd names of levels": (_rename_levels, False),
    "missing values": (_missing, False),
    "no cells": (lambda a: a[:0].copy(), False),
    "one cell": (lambda a: a[:1].copy(), False),
    "no genes": (lambda a: a[:, :0].copy(), False),
    "no counts": (_without("layers", "counts"), False),
    "no records": (_without("uns", "nkscore"), False),
    "no lane": (_without("obs", "lane"), False),
    "empty counts": (lambda a: _counts(a, lambda m: m * 0), False),
    "negative counts": (lambda a: _counts(a, lambda m: m * -1), False),
    "bool counts": (lambda a: _counts(a, lambda m: m.astype(bool)), False),
}


def _x(adata, dtype):
    if adata.X is not None:
        adata.X = adata.X.astype(dtype)
    return adata


# --- forms of a table


def _each(change):
    return lambda table: table.apply(change) if table.shape[1] else table


def _text_of_table(kind):
    return lambda t: t.assign(**{str(c): _text(kind)(t[c]) for c in t if isinstance(c, str)})


TABLE = {
    "slice": (lambda t: pd.concat([t, t]).iloc[: len(t)], True),
    "text as object": (_text_of_table(object), True),
    "text as str": (_text_of_table("str"), True),
    "text as string": (_text_of_table("string"), True),
    "text as category": (_text_of_table("category"), True),
    "unused levels": (
        lambda t: t.assign(
            **{
                str(c): t[c].astype("category").cat.add_categories(["not used"])
                for c in t
                if isinstance(c, str) and _is_text(t[c])
            }
        ),
        True,
    ),
    "nullable numbers": (_each(_nullable), True),
    "pyarrow": (lambda t: t.convert_dtypes(dtype_backend="pyarrow"), True),
    "float32": (_each(lambda c: c.astype(np.float32) if c.dtype.kind == "f" else c), True),
    "named rows": (lambda t: t.set_axis([f"r{i}" for i in range(len(t))]), None),
    "rows named alike": (lambda t: t.set_axis(["r"] * len(t)), None),
    "named axes": (lambda t: t.rename_axis("rows").rename_axis("columns", axis=1), None),
    "one more column": (lambda t: t.assign(**{"one more": 1}), True),
    "Fortran": (lambda t: t.copy(), True),
    "no rows": (lambda t: t.iloc[:0], False),
    "one row": (lambda t: t.iloc[:1], False),
    "missing numbers": (
        _each(lambda c: c * np.nan if c.dtype.kind == "f" else c),
        False,
    ),
    "infinite numbers": (_each(lambda c: c * 0 + np.inf if c.dtype.kind == "f" else c), False),
    "missing text": (
        _each(lambda c: c.astype(object).where(c.index != c.index[0]) if _is_text(c) else c),
        False,
    ),
    "odd text": (
        _each(lambda c: c.astype(str) + " a/b ä" if _is_text(c) else c),
        False,
    ),
    "column twice": (lambda t: pd.concat([t, t.iloc[:, :1]], axis=1), False),
    "last column absent": (lambda t: t.iloc[:, :-1], False),
    "numbers as text": (_each(lambda c: c.astype(str) if c.dtype.kind in "if" else c), False),
}

# --- forms of an array


def _strided(array):
    made = np.empty((2 * array.shape[0], *array.shape[1:]), dtype=array.dtype)
    made[::2] = array
    return made[::2]


def _locked(array):
    made = np.array(array)
    made.flags.writeable = False
    return made


ARRAY = {
    "list": (lambda x: x.tolist(), True),
    "Fortran": (np.asfortranarray, True),
    "read-only": (_locked, True),
    "strided": (_strided, True),
    "big-endian": (lambda x: x.astype(x.dtype.newbyteorder(">")), True),
    "float64": (lambda x: x.astype(np.float64) if x.dtype.kind in "iu" else x, True),
    "float32": (lambda x: x.astype(np.float32) if x.dtype.kind == "f" else x, True),
    "object": (lambda x: x.astype(object), None),
    "frame or series": (lambda x: pd.Series(x) if x.ndim == 1 else pd.DataFrame(x), True),
    "empty": (lambda x: x[:0], False),
    "one": (lambda x: x[:1], False),
    "missing": (lambda x: x * np.nan if x.dtype.kind == "f" else x, False),
    "infinite": (lambda x: x * 0 + np.inf if x.dtype.kind == "f" else x, False),
    "another axis": (lambda x: x[..., None], False),
}
SPARSE = {
    "csr_array": (sparse.csr_array, True),
    "csc": (sparse.csc_matrix, True),
    "dense": (lambda m: m.toarray(), True),
    "unsorted": (_unsorted, True),
    "int64 indices": (_long_indices, True),
    "float64": (lambda m: m.astype(np.float64), True),
    "empty": (lambda m: m[:0], False),
}


# --- functions and their arguments


class _Taken(Exception):  # noqa: N818
    """The function was called; its arguments are known."""


def public():
    """Space and name → each public function."""
    found = {}
    for space in SPACES:
        module = importlib.import_module(f"nkscore.{space}")
        for name in module.__all__:
            if inspect.isfunction(getattr(module, name)) and f"{space}.{name}" not in WITHOUT_DATA:
                found[f"{space}.{name}"] = (module, name)
    return found


def arguments_of(module, name):
    """Run the example of a function until it calls it; return the arguments or None."""
    import nkscore as nk

    function = getattr(module, name)
    taken = {}

    def recorder(*args, **kwargs):
        taken["call"] = copied(args), copied(kwargs)
        raise _Taken

    setattr(module, name, recorder)
    # As doctest runs it: within the module of the function.
    space = {**vars(sys.modules[function.__module__]), "nk": nk, name: recorder}
    try:
        for example in doctest.DocTestParser().get_examples(function.__doc__ or ""):
            exec(compile(example.source, name, "exec"), space)  # noqa: S102
    except _Taken:
        pass
    finally:
        setattr(module, name, function)
    return taken.get("call")


def copied(value):
    """Return a copy that shares no data."""
    if isinstance(value, (list, tuple)) and type(value) in {list, tuple}:
        return type(value)(copied(each) for each in value)
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    if type(value).__name__ == "AnnData":
        return value.copy() if not value.isbacked else value
    if isinstance(value, (np.ndarray, pd.DataFrame, pd.Series)) or sparse.issparse(value):
        return value.copy()
    if type(value).__name__ in {"Axes", "Figure", "SubFigure"}:
        return None
    return copy.deepcopy(value)


def kind_of(value):
    """Name of the forms that a value can take."""
    if type(value).__name__ == "AnnData":
        return "AnnData"
    if isinstance(value, pd.DataFrame):
        return "table"
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "iufb":
        return "array"
    return "sparse" if sparse.issparse(value) else ""


FORMS = {"AnnData": ADATA, "table": TABLE, "array": ARRAY, "sparse": SPARSE}


def changed(value, kind, change):
    """Return the value with every part of a kind in another form."""
    if kind_of(value) == kind:
        return change(copied(value))
    if type(value) in {list, tuple}:
        return type(value)(changed(each, kind, change) for each in value)
    if isinstance(value, dict):
        return {key: changed(each, kind, change) for key, each in value.items()}
    return value


def kinds_in(value):
    """All kinds of data in a nest of arguments."""
    if type(value) in {list, tuple}:
        return set().union(*map(kinds_in, value)) if value else set()
    if isinstance(value, dict):
        return kinds_in(list(value.values()))
    return {kind_of(value)} - {""}


# --- results


def parts(value, path=""):
    """Path → each array, column or scalar of a value."""
    if type(value).__name__ == "AnnData":
        found = {"obs": value.obs, "var": value.var}
        # A file without X has none to give.
        found |= {} if value.isbacked else {"X": value.X}
        found |= {f"layers/{k}": v for k, v in value.layers.items() if k is not None}
        found |= {f"obsm/{k}": v for k, v in value.obsm.items()}
        found |= {f"varm/{k}": v for k, v in value.varm.items()}
        found |= {f"uns/{k}": v for k, v in value.uns.items() if k != "nkscore"}
        return dict(pair for k, v in found.items() for pair in parts(v, f"{path}/{k}").items())
    if isinstance(value, pd.DataFrame):
        columns = range(value.shape[1])
        return {f"{path}/{value.columns[i]}": _plain(value.iloc[:, i]) for i in columns}
    if isinstance(value, dict):
        pairs = (parts(v, f"{path}/{k}").items() for k, v in value.items())
        return dict(pair for each in pairs for pair in each)
    if type(value) in {list, tuple}:
        return parts(dict(enumerate(value)), path)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return parts(fields, path)
    return {path: _plain(value)}


def _plain(value):
    if sparse.issparse(value):
        return value.toarray()
    if isinstance(value, pd.Series):
        kind = getattr(value.dtype, "kind", "O")
        if kind in "iufb" and not isinstance(value.dtype, pd.CategoricalDtype):
            return value.to_numpy(dtype=float, na_value=np.nan)
        return value.astype(object).where(value.notna(), "missing").astype(str).to_numpy(object)
    return value


def alike(one, other):
    """Whether two results say the same, but for their types."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        if one.shape != other.shape:
            return False
        if one.dtype.kind in "iufb" and other.dtype.kind in "iufb":
            return np.allclose(one.astype(float), other, rtol=1e-4, atol=1e-5, equal_nan=True)
        return bool((one.astype(str) == other.astype(str)).all())
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return bool(np.isclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True))
    return "object at" in repr(one) or repr(one) == repr(other)


def differences(found, expected):
    """Paths in which two results differ."""
    mine, theirs = parts(found), parts(expected)
    # A file gives no X.
    absent = [path for path in theirs if path not in mine and not path.endswith("/X")]
    return absent + [
        path for path in theirs if path in mine and not alike(mine[path], theirs[path])
    ]


def is_own(error):
    """Whether nkscore raised an error on purpose."""
    from nkscore.errors import NkscoreError, NkscoreWarning

    if isinstance(error, (NkscoreError, NkscoreWarning)):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "nkscore" in last.filename and (last.line or "").startswith("raise")


def run(function, args, kwargs):
    """Call a function; return its result and the AnnData objects that it was given."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(*args, **kwargs)
        if inspect.isgenerator(result):
            result = list(result)
    plt.close("all")
    given = [v for v in [*args, *kwargs.values()] if kind_of(v) == "AnnData"]
    return result, given


def outcome(function, call, kind, form, expected):  # noqa: PLR0911
    """How a function ends on a form, and a word on it."""
    change, same = FORMS[kind][form]
    try:
        args, kwargs = changed(call[0], kind, change), changed(call[1], kind, change)
        # The data must allow the form; anndata refuses some.
        kept = copied([args, kwargs])
    except Exception as error:  # noqa: BLE001
        return "no such form", str(error)[:80]
    writes = function.__annotations__.get("return") in {"None", None}
    try:
        found = (
            run(function, copied(args), copied(kwargs)) if writes else run(function, args, kwargs)
        )
    except Exception as error:  # noqa: BLE001
        if is_own(error):
            return "refused", str(error)[:200]
        last = [f for f in traceback.extract_tb(error.__traceback__) if "nkscore" in f.filename][
            -1:
        ]
        where = f"{Path(last[0].filename).name}:{last[0].lineno}" if last else ""
        return "CRASH", f"{type(error).__name__}: {' '.join(str(error).split())[:120]} {where}"
    try:
        if not writes and (wrong := differences([args, kwargs], kept)):
            return "CHANGED", ", ".join(wrong[:3])
        if same is not True:
            return "other", ""
        wrong = differences(found, expected)
    except Exception as error:  # noqa: BLE001
        return "DIFFERENT", f"not comparable: {type(error).__name__} {error}"
    return ("DIFFERENT", ", ".join(wrong[:4])) if wrong else ("same", "")


def pairs_of(name, forms=(), seconds=np.inf):
    """Yield form and how a function ends on it."""
    module, function = public()[name]
    call = arguments_of(module, function)
    if call is None:
        yield "", "no example", ""
        return
    called = getattr(module, function)
    expected = run(called, *copied(call))
    stop = time.monotonic() + seconds
    for kind in sorted(kinds_in(list(call))):
        for form in FORMS[kind]:
            if (not forms or form in forms) and time.monotonic() < stop:
                yield f"{kind}: {form}", *outcome(called, call, kind, form, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", help="beginnings of names, as tl.score,pl.")
    parser.add_argument("--forms", default="")
    parser.add_argument("--seconds", type=float, default=60, help="for each function")
    options = parser.parse_args()
    starts = tuple(options.only.split(",")) if options.only else ("",)
    forms = tuple(filter(None, options.forms.split(",")))
    total = collections.Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in public():
            if not name.startswith(starts):
                continue
            try:
                for form, end, detail in pairs_of(name, forms, options.seconds):
                    total[end] += 1
                    if end.isupper():
                        print(f"{end:9s} {name:28s} {form:32s} {detail}", flush=True)
            except Exception as error:  # noqa: BLE001
                total["example failed"] += 1
                print(
                    f"EXAMPLE   {name:28s} {type(error).__name__}: {str(error)[:150]}", flush=True
                )
    print(dict(total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
