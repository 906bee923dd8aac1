"""Simulated experiments with the truth filled in, and the way to real data."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore import schema

THREE_LINES = ["697", "GDM1", "JURKAT"]


def _simulate(**options):
    adata = nk.datasets.simulate_coculture(
        **{"n_cells_per_sample": 100, "n_genes": 4000, "rng": 0} | options
    )
    nk.datasets.use_truth(adata)
    return adata


@pytest.fixture(scope="session")
def simulate():
    """Simulate with few genes and the truth in the slots that pp fills."""
    return _simulate


@pytest.fixture(scope="session")
def experiment():
    """Six lines, three donors, all effects; do not change in a test."""
    return _simulate()


@pytest.fixture(scope="session")
def stated(experiment):
    """The experiment with states called; do not change in a test."""
    adata = experiment.copy()
    nk.tl.nk_states(adata)
    nk.tl.tumor_states(adata)
    return adata


@pytest.fixture(scope="session")
def clean():
    """Three lines without ambient RNA, doublets and most random effects: planted folds alone."""
    off = ["ambient", "doublets", "selection", "donor_effect", "lane_effect"]
    options = {"n_cells_per_sample": 150, "sample_effect": 0.05, **dict.fromkeys(off, 0.0)}
    return _simulate(tumors=THREE_LINES, **options)


@pytest.fixture(scope="session")
def thinned():
    """thinned(adata, share): each count kept with that probability."""

    def thin(adata, share):
        thin_copy = adata.copy()
        counts = thin_copy.layers["counts"]
        counts.data = np.random.default_rng(0).binomial(counts.data, share).astype(np.int32)
        counts.eliminate_zeros()
        return thin_copy

    return thin


@pytest.fixture(scope="session")
def lost_and_changed():
    """Shares of the called cells that lost their call, and that got another."""

    def shares(before, after):
        was = before != "unassigned"
        changed = (after != before) & (after != "unassigned")
        return (after == "unassigned")[was].mean(), changed[was].mean()

    return shares


@pytest.fixture(scope="session")
def from_obs(cells):
    """Build an AnnData of one gene from columns of obs."""

    def build(**columns):
        obs = pd.DataFrame(columns)
        adata = cells(np.ones((len(obs), 1)), ["G"])
        adata.obs = obs.set_axis(adata.obs_names, axis=0)
        return adata

    return build


@pytest.fixture(scope="session")
def kang(shared):
    """Blood cells with and without interferon beta, eight donors in both arms."""
    adata = ad.read_h5ad(shared / "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    adata.layers[schema.COUNTS] = adata.X.copy()
    return adata
