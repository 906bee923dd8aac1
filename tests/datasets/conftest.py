"""Small experiments that several test files look at."""

from __future__ import annotations

import pytest

import nkscore as nk

#: Two lines from the two ends of NK activation, few cells: fast, with every kind of well.
SMALL = {"tumors": ["697", "GDM1"], "n_donors": 2, "n_cells_per_sample": 60}


@pytest.fixture(scope="session")
def small():
    """Default effects; do not change in a test."""
    return nk.datasets.simulate_coculture(**SMALL, rng=1)


@pytest.fixture(scope="session")
def pure():
    """No ambient RNA, doublets, poor cells or random effects: planted effects stand alone."""
    return nk.datasets.simulate_coculture(
        tumors=["697", "GDM1"],
        n_donors=2,
        n_cells_per_sample=400,
        ambient=0.0,
        doublets=0.0,
        negatives=0.0,
        low_quality=0.0,
        donor_effect=0.0,
        sample_effect=0.0,
        lane_effect=0.0,
        selection=0.0,
        rng=2,
    )
