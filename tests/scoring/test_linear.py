"""``zscore`` and ``ulm``; the weighted mean has a separate file."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

GENES = [f"g{i}" for i in range(300)]
SETS = {
    "up": (GENES[:20], []),
    "signed": (GENES[30:60], GENES[100:115]),
    "one": (["g7"], []),
    "down": ([], GENES[200:240]),
}


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.4, 3, 300) * rng.gamma(3, 0.3, (25, 1)))
    return np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)


def _weights(sets):
    return np.array([[(g in up) - 1.0 * (g in down) for g in GENES] for up, down in sets.values()])


def test_ulm_is_the_t_value_of_a_regression(score, cells):
    found = score(cells, GENES, SETS, method="ulm")
    for i, j in np.ndindex(found.shape):
        fit = stats.linregress(_weights(SETS)[j], cells[i])
        assert found[i, j] == pytest.approx(fit.slope / fit.stderr, rel=1e-9)
    assert np.abs(found).max() > 1


def test_zscore_standardizes_all_genes_of_the_cell(score, cells):
    found = score(cells, GENES, SETS, method="zscore")
    standard = stats.zscore(cells, axis=1, ddof=1)
    weights = _weights(SETS)
    expected = standard @ weights.T / np.sqrt(np.abs(weights).sum(axis=1))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["ulm", "zscore"])
def test_zero_where_nothing_varies(score, method):
    flat = np.vstack([np.zeros(300), np.full(300, 0.7)])
    assert (score(flat, GENES, SETS, method=method) == 0).all()
    everything = {"all": (GENES, [])}
    np.testing.assert_allclose(
        score(np.arange(300.0)[None, :], GENES, everything, method=method), 0, atol=1e-9
    )


def test_ulm_of_a_cell_that_is_nothing_but_its_set(score):
    cell = np.zeros((1, 300))
    cell[0, :20] = 2.0
    found = score(cell, GENES, SETS, method="ulm")[0, 0]
    assert np.isfinite(found)
    assert found > 1e6


@pytest.mark.parametrize("method", ["ulm", "zscore", "weighted_mean"])
def test_precision_of_the_input(score, cells, method):
    single = cells.astype(np.float32)
    found = score(sparse.csr_matrix(single), GENES, SETS, method=method)
    same = score(sparse.csr_matrix(single.astype(np.float64)), GENES, SETS, method=method)
    assert (found == same).all()
    double = score(sparse.csr_matrix(cells), GENES, SETS, method=method)
    assert (found != double).any()
    np.testing.assert_allclose(found, double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["ulm", "zscore"])
def test_equals_decoupler_where_all_genes_are_kept(score, cells, method):
    decoupler = pytest.importorskip("decoupler", reason="the extra 'enrichment' is not installed")
    # decoupler subtracts the mean of all genes once, whatever the signs of the set; for ulm the
    # signs agree.
    sets = {k: v for k, v in SETS.items() if method == "ulm" or not v[1]}
    rows = [
        (name, gene, weight)
        for name, parts in sets.items()
        for weight, part in zip((1, -1), parts, strict=True)
        for gene in part
    ]
    net = pd.DataFrame(rows, columns=["source", "target", "weight"])
    data = pd.DataFrame(cells, index=[f"c{i}" for i in range(25)], columns=GENES)
    options = {}
    if method == "zscore":
        # The mean of all genes is subtracted by KSEA, not by RoKAI; before 2.3.1 the names of the
        # two were swapped.
        release = tuple(map(int, metadata.version("decoupler").split(".")[:3]))
        options = {"flavor": "KSEA" if release >= (2, 3, 1) else "RoKAI"}
    expected = getattr(decoupler.mt, method)(data, net, tmin=1, empty=False, **options)[0]
    ours = score(cells, GENES, sets, method=method)
    np.testing.assert_allclose(ours, expected[list(sets)], rtol=1e-10, atol=1e-10)
