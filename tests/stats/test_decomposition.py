from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.stats import kitagawa, unit_spread


def _arms(share, mean):
    p = tuple(np.atleast_2d(np.array(s, dtype=float)) for s in share)
    return p, tuple(p[i] * np.atleast_2d(np.array(mean[i], dtype=float)) for i in (0, 1))


def test_by_hand():
    """Shares 0.6/0.4 → 0.2/0.8, means 1/3 → 2/3: total 2.8 − 1.8 = 1."""
    split = kitagawa(*_arms(([0.6, 0.4], [0.2, 0.8]), ([1, 3], [2, 3])))
    np.testing.assert_allclose(split.within, [0.4, 0.0])
    # Level of the states: 1.5 − 2.3 and 3 − 2.3.
    np.testing.assert_allclose(split.composition, [-0.4 * -0.8, 0.4 * 0.7])
    assert split.within.sum() + split.composition.sum() == pytest.approx(1)


def test_pure_cases():
    only_within = kitagawa(*_arms(([0.6, 0.4], [0.6, 0.4]), ([1, 3], [2, 4])))
    assert only_within.within.sum() == pytest.approx(1)
    np.testing.assert_allclose(only_within.composition, 0, atol=1e-12)
    only_shares = kitagawa(*_arms(([0.6, 0.4], [0.1, 0.9]), ([1, 3], [1, 3])))
    np.testing.assert_allclose(only_shares.within, 0, atol=1e-12)
    assert only_shares.composition.sum() == pytest.approx(1)


def test_swapping_arms_turns_signs():
    share, mass = _arms(([0.6, 0.4], [0.2, 0.8]), ([1, 3], [2, 3]))
    one, other = kitagawa(share, mass), kitagawa(share[::-1], mass[::-1])
    np.testing.assert_allclose(one.within, -other.within)
    np.testing.assert_allclose(one.composition, -other.composition)


def test_stratum_of_one_arm_counts_as_composition():
    split = kitagawa(*_arms(([1.0, 0.0], [0.5, 0.5]), ([1, 0], [1, 5])))
    np.testing.assert_allclose(split.within, 0)
    assert split.composition.sum() == pytest.approx(2)
    assert np.isnan(split.mean[0, 1])


@pytest.mark.parametrize("empty", [False, True])
def test_coefficients_are_derivatives(empty):
    rng = np.random.default_rng(0)
    share = [rng.dirichlet(np.ones(3) * 3, n) for n in (4, 3)]
    if empty:
        share[0][:, 1] = 0
    mass = [p * rng.normal(size=p.shape) for p in share]
    split = kitagawa(tuple(share), tuple(mass))
    step = 1e-6
    for arm in (0, 1):
        for i in range(len(share[arm])):
            dp, dt = share[arm][i] - share[arm].mean(0), mass[arm][i] - mass[arm].mean(0)
            moved_p, moved_t = list(share), list(mass)
            moved_p[arm], moved_t[arm] = share[arm] + step * dp, mass[arm] + step * dt
            moved = kitagawa(tuple(moved_p), tuple(moved_t))
            slope = np.einsum("i,ick->ck", np.concatenate([dp, dt]), split.coefficients[arm])
            np.testing.assert_allclose((moved.within - split.within) / step, slope[0], atol=1e-5)
            np.testing.assert_allclose(
                (moved.composition - split.composition) / step, slope[1], atol=1e-5
            )


def test_spread_is_that_of_the_t_tests():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 1)), rng.normal(0, 3, size=(6, 1))
    none = (np.zeros_like(a), np.zeros_like(b))
    se, df = unit_spread((-a, b), paired=False, noise=none)
    welch = stats.ttest_ind(b[:, 0], a[:, 0], equal_var=False)
    assert (b.mean() - a.mean()) / se[0] == pytest.approx(welch.statistic)
    assert df[0] == pytest.approx(welch.df)
    se, df = unit_spread((-a, b[:4]), paired=True, noise=none)
    paired = stats.ttest_rel(b[:4, 0], a[:, 0])
    assert (b[:4].mean() - a.mean()) / se[0] == pytest.approx(paired.statistic)
    assert df[0] == 3


def test_a_single_unit_takes_the_spread_of_the_other_arm():
    b = np.array([[1.0], [2.0], [3.0]])
    se, df = unit_spread(
        (np.zeros((1, 1)), b), paired=False, noise=(np.full((1, 1), 0.5), np.full((3, 1), 0.25))
    )
    assert se[0] ** 2 == pytest.approx(1 / 3 + (1 - 0.25) + 0.5)
    assert df[0] == 2
