"""Figures are closed after each test, and none may change matplotlib's settings."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData


@pytest.fixture(autouse=True)
def _clean_matplotlib():
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    changed = {key for key, value in dict(mpl.rcParams).items() if value != before[key]}
    assert not changed


@pytest.fixture
def cells():
    """Twelve cells of one lane, in every kind of class, compartment and condition."""
    obs = pd.DataFrame(
        {
            "lane": ["L1"] * 12,
            "sample": ["s2"] * 4 + ["s10"] * 6 + [None] * 2,
            "tumor": ["K562"] * 6 + ["697"] * 6,
            "condition": pd.Categorical(
                ["tumor_mono"] * 4 + ["coculture"] * 6 + [None] * 2,
                ["tumor_mono", "nk_mono", "coculture"],
            ),
            "compartment": pd.Categorical(
                ["tumor"] * 4 + ["nk"] * 3 + ["tumor"] * 2 + ["mixed"] + ["unassigned"] * 2,
                ["nk", "tumor", "other", "mixed", "unassigned"],
            ),
            "hashtag": ["a"] * 4 + ["b"] * 5 + [None] * 3,
            "hashtag_class": ["singlet"] * 9 + ["doublet", "negative", "negative"],
            "hashtag_confidence": [0.7, 0.9, 0.8, 1.0] + [0.9] * 8,
            "total_counts": np.linspace(100, 5000, 12),
            "n_genes_by_counts": np.linspace(50, 2000, 12),
            "pct_counts_mt": np.linspace(1, 20, 12),
            "pct_counts_ribo": np.linspace(10, 30, 12),
            "qc_pass": [False] * 2 + [True] * 10,
        },
        index=[f"c{i}" for i in range(12)],
    )
    tags = pd.DataFrame(
        {"b": [1] * 4 + [60] * 5 + [50, 0, 1], "a": [80] * 4 + [2] * 5 + [70, 1, 0], "c": 0},
        index=obs.index,
    )
    scores = pd.DataFrame({"CORE": np.arange(12.0)}, index=obs.index)
    angle = np.linspace(0, 6, 12)
    places = np.column_stack([np.cos(angle), np.sin(angle)])
    adata = AnnData(
        np.ones((12, 2), dtype=np.float32),
        obs=obs,
        obsm={"X_umap": places, "hashtags": tags, "scores": scores},
    )
    limits = {"L1": {"total_counts": [500.0, np.inf], "pct_counts_mt": ["None", 15.0]}}
    adata.uns["nkscore"] = {"pp.qc": {"limits": limits}}
    return adata


@pytest.fixture
def response():
    """Three tumors × three genes; 697 × GNLY was not tested."""
    return pd.DataFrame(
        {
            "tumor": ["K562"] * 3 + ["697"] * 3 + ["THP1"] * 3,
            "lineage": ["CML"] * 3 + ["B-ALL"] * 3 + ["AML"] * 3,
            "gene": ["B2M", "ACTB", "GNLY"] * 3,
            "log2_fc": [2.0, 0.1, 1.0, 0.5, -0.2, np.nan, 1.0, -1.0, 0.4],
            "se": 0.2,
            "ci_low": [1.6, -0.3, 0.6, 0.1, -0.6, np.nan, 0.6, -1.4, 0.0],
            "ci_high": [2.4, 0.5, 1.4, 0.9, 0.2, np.nan, 1.4, -0.6, 0.8],
            "p_value": [1e-12, 0.8, 1e-5, 0.02, 0.6, np.nan, 1e-4, 1e-3, 0.1],
            "q_value": [1e-11, 0.9, 1e-4, 0.06, 0.7, np.nan, 1e-3, 1e-2, 0.2],
            "ambient_suspect": [False, False, True] * 3,
            "n_samples_treated": 3,
            "n_samples_control": 2,
        }
    )


@pytest.fixture
def fractions():
    """NK states: 697 activates least (0.1), K562 most (0.6); two donors each, and NK alone."""
    rows = []
    activated = {"K562": {"NK1": 0.5, "NK2": 0.7}, "697": {"NK1": 0.1, "NK2": 0.1}}
    lineage = {"K562": "CML", "697": "B-ALL"}
    for tumor, donors in activated.items():
        for donor, high in donors.items():
            parts = {"resting": 1 - high, "activated": high / 2, "cytokine": high / 2}
            rows += [
                (f"{tumor}-{donor}", tumor, lineage[tumor], donor, "coculture", state, part)
                for state, part in parts.items()
            ]
    rows += [
        ("NK1", None, None, "NK1", "nk_mono", state, part)
        for state, part in {"resting": 1.0, "activated": 0.0, "cytokine": 0.0}.items()
    ]
    names = ["sample", "tumor", "lineage", "nk_donor", "condition", "state", "fraction"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(n_total=100, n_cells=(table["fraction"] * 100).round().astype(int))
