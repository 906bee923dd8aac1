from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.stats import adaptive_shrinkage


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    true = np.where(rng.random(6000) < 0.9, 0.0, rng.normal(0, 1, 6000))
    error = rng.uniform(0.1, 0.4, 6000)
    return true, rng.normal(true, error), error


def test_posterior_by_hand():
    """With all mass on one width, the textbook shrinkage factor."""
    rng = np.random.default_rng(1)
    effect = rng.normal(0, np.sqrt(1 + 0.01), 5000)
    shrunk = adaptive_shrinkage(effect, np.full(5000, 0.1))
    assert shrunk.mean[np.abs(effect).argmax()] == pytest.approx(
        effect[np.abs(effect).argmax()] / 1.01, rel=0.02
    )
    assert np.median(shrunk.sd) == pytest.approx(0.1 / np.sqrt(1.01), rel=0.03)


def test_signs_are_as_sure_as_said(planted):
    true, effect, error = planted
    shrunk = adaptive_shrinkage(effect, error)
    wrong = np.sign(shrunk.mean) != np.sign(true)
    for low, high in ((0, 0.05), (0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
        inside = (shrunk.lfsr >= low) & (shrunk.lfsr < high)
        assert wrong[inside].mean() == pytest.approx(shrunk.lfsr[inside].mean(), abs=0.08)
    assert (shrunk.lfsr < 0.05).sum() > 200
    assert shrunk.share[0] == pytest.approx(0.9, abs=0.03)


def test_shrunken_effects_are_closer(planted):
    true, effect, error = planted
    shrunk = adaptive_shrinkage(effect, error)
    assert ((shrunk.mean - true) ** 2).mean() < 0.3 * ((effect - true) ** 2).mean()


def test_nothing_where_nothing_is():
    rng = np.random.default_rng(2)
    error = rng.uniform(0.1, 0.4, 6000)
    shrunk = adaptive_shrinkage(rng.normal(0, error), error)
    assert (shrunk.lfsr < 0.05).sum() == 0


def test_order_and_sign_do_not_matter(planted):
    _, effect, error = planted
    shrunk = adaptive_shrinkage(effect, error)
    turned = adaptive_shrinkage(-effect[::-1], error[::-1])
    np.testing.assert_allclose(turned.mean[::-1], -shrunk.mean, atol=1e-6)
    np.testing.assert_allclose(turned.lfsr[::-1], shrunk.lfsr, atol=1e-5)


def test_lfsr_is_half_for_a_clear_prior_and_no_information():
    effect = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    shrunk = adaptive_shrinkage(effect, np.full(2000, 1e-3))
    assert shrunk.lfsr[np.abs(effect).argmin()] > 0.1
    assert shrunk.lfsr[0] < 1e-6


def test_lfsr_by_hand(planted):
    """One less the larger posterior mass on either side of zero; what is zero is on neither."""
    effect, error = planted[1][:50], planted[2][:50]
    made = adaptive_shrinkage(effect, error)
    for i in (0, 7, 31):
        above, below, zero = 0.0, 0.0, 0.0
        for share, scale in zip(made.share, made.scale, strict=True):
            both = np.hypot(scale, error[i])
            mass = share * stats.norm.pdf(effect[i], 0, both)
            if scale == 0:
                zero += mass
            else:
                side = stats.norm.cdf(effect[i] * scale / (both * error[i]))
                above, below = above + mass * side, below + mass * (1 - side)
        expected = 1 - max(above, below) / (above + below + zero)
        assert made.lfsr[i] == pytest.approx(expected, rel=1e-6)
