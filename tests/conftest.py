"""Fixtures for all tests: where the real data lie, and one small experiment."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.cli import main


def pytest_collection_modifyitems(items):
    """Notebooks first: they take longest, and no worker should be left alone with them."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")


@pytest.fixture(scope="session")
def shared():
    """Folder of real data and golden values beside the checkout."""
    folder = Path(__file__).resolve().parents[1] / ".." / "shared"
    if not folder.is_dir():
        pytest.skip("../shared (real data and golden values) is not on this machine")
    return folder.resolve()


def _simulate(**options):
    return nk.datasets.simulate_coculture(**{"tumors": ["697", "GDM1"], "n_donors": 2} | options)


@pytest.fixture(scope="session")
def simulate():
    """Simulate two lines from the two ends of NK activation, with two donors."""
    return _simulate


@pytest.fixture(scope="session")
def small_coculture():
    """Two lines, two donors, 320 cells × 4000 genes, as read; copy it before changing it."""
    return _simulate(n_cells_per_sample=40, n_genes=4000, rng=1)


@pytest.fixture(scope="session")
def call_cells():
    """call_cells(adata) → the same, after the steps that name wells and compartments."""

    def call(adata):
        nk.pp.qc(adata)
        nk.pp.demultiplex(adata)
        nk.pp.compartments(adata)
        return adata

    return call


def _cells(counts, genes, *, lanes="lane1", dtype=np.int32):
    counts = np.asarray(counts)
    obs = pd.DataFrame(index=pd.Index([f"cell{i}" for i in range(len(counts))], dtype=str))
    obs["lane"] = lanes
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=pd.Index(genes, dtype=str)))
    adata.layers["counts"] = sparse.csr_matrix(counts.astype(dtype))
    return adata


@pytest.fixture(scope="session")
def cells():
    """Build an AnnData from a table of counts: cells(counts, genes, lanes=..., dtype=...)."""
    return _cells


_KINDS = {
    "CSR": sparse.issparse,
    "frame": lambda value: isinstance(value, pd.DataFrame),
    "array": lambda value: isinstance(value, np.ndarray),
    "column": lambda value: isinstance(value, pd.Series),
}
_NAMES = {"float": "float32 float64", "text": "object str string"}


def _is_of_type(value, declared):
    if declared in ("dict", "list"):
        return type(value).__name__ == declared
    name, _, kind = declared.partition(" ")
    if name == "frame":
        name, kind = "any", "frame"
    types = value.dtypes if isinstance(value, pd.DataFrame) else [value.dtype]
    known = _NAMES.get(name, name).split()
    return _KINDS[kind or "column"](value) and all(name == "any" or str(t) in known for t in types)


@pytest.fixture(scope="session")
def is_of_type():
    """is_of_type(value, "float64 frame"): whether it is what the table of slots says."""
    return _is_of_type


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory):
    """Exit code and folder of one ``nkscore demo``; copy what you change."""
    out = tmp_path_factory.mktemp("demo") / "results"
    return main(["demo", "--out", str(out), "--cells", "60", "--seed", "3"]), out
