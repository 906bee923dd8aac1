"""Tiny matrices worked by hand, one small simulated experiment, and the way to real data."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore import schema

#: Lines of T-cell origin next to others: their own genes are the hardest to tell from NK genes.
LINES = ["697", "ALLSIL", "JURKAT", "GDM1"]


@pytest.fixture(scope="session")
def hashed_cells(cells):
    """Build hashed lanes: hashed_cells({lane: hashtag counts}); samples are <lane>_<tag>."""

    def build(lanes):
        tables = [t.set_axis([f"{lane}_{i}" for i in t.index], axis=0) for lane, t in lanes.items()]
        together = pd.concat(tables).fillna(0)
        lane_of = [lane for lane, table in lanes.items() for _ in range(len(table))]
        adata = cells(np.ones((len(together), 1)), ["G"], lanes=lane_of)
        adata.obs_names = together.index
        adata.obsm["hashtags"] = together
        adata.uns["nkscore"] = {
            "sample_sheet": sheet_of([(lane, tag) for lane, t in lanes.items() for tag in t])
        }
        return adata

    return build


def sheet_of(wells):
    rows = [
        {
            "lane": lane,
            "hashtag": tag,
            "sample": f"{lane}_{tag}",
            "tumor": "K562",
            "lineage": "CML",
            "nk_donor": "",
            "nk_source": "",
            "condition": "tumor_mono",
            "time_h": 24.0,
            "et_ratio": float("nan"),
        }
        for lane, tag in wells
    ]
    return pd.DataFrame(rows).set_axis([str(i) for i in range(len(rows))], axis=0)


@pytest.fixture(scope="session")
def loaded():
    """Simulated lanes as read; do not change in a test."""
    return nk.datasets.simulate_coculture(
        tumors=LINES, n_donors=2, n_cells_per_sample=100, n_genes=4000, rng=0
    )


@pytest.fixture(scope="session")
def demultiplexed(loaded):
    adata = loaded.copy()
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    return adata


@pytest.fixture(scope="session")
def called(loaded, call_cells):
    """Compartments called from monocultures; do not change in a test."""
    return call_cells(loaded.copy())


@pytest.fixture(scope="session")
def real(shared):
    """Read an h5ad under ../shared, with counts where nkscore looks for them."""

    def read(path, *, counts="X"):
        adata = ad.read_h5ad(shared / path)
        if counts == "X":
            adata.layers[schema.COUNTS] = adata.X.copy()
        adata.obs["lane"] = "lane1"
        return adata

    return read
