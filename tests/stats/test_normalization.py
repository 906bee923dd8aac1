from __future__ import annotations

import numpy as np
import pytest

from nkscore.stats import log_cpm, tmm_factors


@pytest.fixture
def counts():
    """Six samples of one profile at different depths."""
    rng = np.random.default_rng(0)
    return rng.poisson(np.outer(rng.uniform(0.5, 3, 6), rng.lognormal(4, 1, 2000))).astype(float)


def test_one_profile_needs_no_factors(counts):
    np.testing.assert_allclose(tmm_factors(counts, counts.sum(axis=1)), 1, atol=0.02)


def test_few_raised_genes_are_undone(counts):
    # The raised genes take a third of the sample, so the others seem to fall by that much.
    raised = counts.copy()
    raised[0, :100] *= 10
    factors = tmm_factors(raised, raised.sum(axis=1))
    expected = counts[0].sum() / raised[0].sum()
    assert factors[0] / np.median(factors[1:]) == pytest.approx(expected, rel=0.02)
    assert np.exp(np.log(factors).mean()) == pytest.approx(1)


def test_order_of_samples_and_genes(counts):
    rng = np.random.default_rng(1)
    library = counts.sum(axis=1)
    expected = tmm_factors(counts, library)
    order, genes = rng.permutation(6), rng.permutation(2000)
    found = tmm_factors(counts[order][:, genes], library[order])
    np.testing.assert_allclose(found, expected[order], rtol=1e-9)


def test_absent_genes_do_not_matter(counts):
    library = counts.sum(axis=1)
    padded = np.hstack([counts, np.zeros((6, 500))])
    np.testing.assert_array_equal(tmm_factors(padded, library), tmm_factors(counts, library))


@pytest.mark.parametrize("shape", [(1, 5), (3, 0)])
def test_nothing_to_compare(shape):
    np.testing.assert_array_equal(tmm_factors(np.ones(shape), np.ones(shape[0])), 1)


def test_samples_without_a_common_gene():
    factors = tmm_factors(np.array([[5.0, 0], [0, 7.0]]), np.array([5.0, 7.0]))
    np.testing.assert_array_equal(factors, 1)


def test_log_cpm_by_hand():
    found = log_cpm(np.array([[0.0, 7.5]]), np.array([999_999.0]))
    np.testing.assert_allclose(found, [[-1, 3]])
