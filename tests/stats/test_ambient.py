"""The ambient share: exact where expectations are met, honest about noise and expressed genes."""

from __future__ import annotations

import numpy as np
import pytest

from nkscore.stats import ambient_share

SOUP = np.linspace(0.001, 0.003, 50)


def estimate(counts, total, alone=None, total_alone=1e6, **options):
    alone = np.zeros(len(counts)) if alone is None else alone
    return ambient_share(
        np.asarray(counts, dtype=float),
        total,
        SOUP,
        alone=alone,
        total_alone=total_alone,
        **options,
    )


def test_counts_at_their_expectation_give_the_share():
    """Genes absent from the line: the share is counts over what pure soup would give."""
    fit = estimate(1e6 * 0.05 * SOUP, 1e6)
    assert fit.share == pytest.approx(0.05, abs=1e-4)
    assert fit.low < 0.05 < fit.high
    assert fit.used.all()


def test_own_expression_is_taken_off():
    """x = N (rho soup + (1 - rho) own), with own known from many cells alone."""
    own = np.full(50, 2e-4)
    fit = estimate(1e6 * (0.1 * SOUP + 0.9 * own), 1e6, alone=1e9 * own, total_alone=1e9)
    assert fit.share == pytest.approx(0.1, abs=1e-3)


def test_no_counts_is_no_ambient_rna():
    fit = estimate(np.zeros(50), 1e5)
    assert fit.share == pytest.approx(0.0, abs=1e-5)
    assert fit.low == 0.0
    assert 0 < fit.high < 0.01


def test_genes_that_the_cells_express_after_all_are_left_out():
    counts = 1e6 * 0.02 * SOUP
    counts[:5] += 5000
    fit = estimate(counts, 1e6)
    assert not fit.used[:5].any()
    assert fit.used[5:].all()
    assert fit.share == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("share", [0.005, 0.02, 0.1, 0.2])
def test_interval_covers_the_truth_in_about_95_percent(share):
    rng = np.random.default_rng(0)
    own = rng.gamma(0.2, 2e-5, 50)
    hits, estimates = 0, []
    for _ in range(200):
        counts = rng.poisson(3e5 * (share * SOUP + (1 - share) * own)).astype(float)
        alone = rng.poisson(3e5 * own).astype(float)
        fit = estimate(counts, 3e5, alone=alone, total_alone=3e5)
        hits += fit.low <= share <= fit.high
        estimates.append(fit.share)
    assert 0.90 <= hits / 200 <= 1.0
    assert np.mean(estimates) == pytest.approx(share, rel=0.05)


def test_more_counts_narrow_the_interval():
    few, many = (estimate(n * 0.05 * SOUP, n) for n in (1e5, 1e7))
    assert many.high - many.low < 0.2 * (few.high - few.low)
