"""Small experiments that several test files look at."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def small(simulate):
    """Default effects, few cells, every kind of well; do not change in a test."""
    return simulate(n_cells_per_sample=60, rng=1)
