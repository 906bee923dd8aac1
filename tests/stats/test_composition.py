from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.stats import fit_composition, fit_linear, moderated_test, response_design

BASE = np.array([0.55, 0.25, 0.12, 0.06, 0.02])


def draw(rng, kind):
    """Three lines × three donors and three controls without an effect, counts and design."""
    rows, line, donor = [], [], []
    for d in range(3):
        of_donor = np.exp(rng.normal(0, 0.3, 5)) * BASE
        for name in (None, "A", "B", "C"):
            share = of_donor / of_donor.sum()
            if kind == "dirichlet":
                share = rng.dirichlet(40 * share)
            else:
                share = share * np.exp(rng.normal(0, 0.35, 5))
            rows.append(rng.multinomial(int(rng.integers(50, 400)), share / share.sum()))
            line.append(name)
            donor.append(f"d{d}")
    line = np.array(line, dtype=object)
    treated = np.array([x is not None for x in line])
    return np.array(rows, float), response_design(treated, line, np.array(donor, dtype=object))


def p_values(counts, design):
    present = counts.sum(axis=0) > 0
    fit = fit_composition(counts[:, present], design.matrix).fit
    tests = [moderated_test(fit, c, min_variance=1.0) for c in design.effects.values()]
    p = np.full((len(tests), 5), np.nan)
    p[:, present] = [t.p_value for t in tests]
    return p


@pytest.mark.parametrize(("kind", "n"), [("dirichlet", 200), ("logistic", 60)])
def test_p_values_are_uniform_without_an_effect(kind, n):
    rng = np.random.default_rng(0)
    p = np.array([p_values(*draw(rng, kind)) for _ in range(n)])
    every = p[np.isfinite(p)]
    # 15 related tests an experiment, so that the bounds are wider than those of tables.
    assert stats.kstest(every, "uniform").statistic < 0.03 * np.sqrt(200 / n)
    assert abs(np.mean(every < 0.05) - 0.05) < 0.015 * np.sqrt(200 / n)
    # Common and rare states alike. With one variance for all logits, common states of a
    # Dirichlet-multinomial had 1 % and rare ones 10 % below 0.05.
    assert (np.mean(p < 0.05, axis=(0, 1)) < 0.05 + 0.04 * np.sqrt(200 / n)).all()
    least = [stats.false_discovery_control(x[np.isfinite(x)]).min() for x in p]
    assert np.mean(np.array(least) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)


def test_the_kind_of_variation_is_found():
    rng = np.random.default_rng(2)
    exponents = {
        kind: np.mean([fit_composition(*matrix_of(draw(rng, kind))).exponent for _ in range(20)])
        for kind in ("dirichlet", "logistic")
    }
    assert exponents["dirichlet"] > 0.5
    assert exponents["logistic"] < 0.35


def matrix_of(drawn):
    counts, design = drawn
    return counts[:, counts.sum(axis=0) > 0], design.matrix


def test_pure_counting_needs_no_variance_between_samples():
    rng = np.random.default_rng(3)
    design = np.column_stack([np.ones(40), np.repeat([0.0, 1.0], 20)])
    counts = rng.multinomial(400, BASE, size=40).astype(float)
    found = fit_composition(counts, design)
    assert (found.between < 0.02).all()
    # The fit is the weighted regression of logits with exactly these variances.
    total = counts.sum(axis=1)[:, None]
    logit = np.log((counts + 0.5) / (total - counts + 0.5)).T
    share = (counts + 0.5) / (total + 1)
    weights = 1 / (1 / (total * share * (1 - share)).T + found.between)
    again = fit_linear(logit, design, weights)
    np.testing.assert_allclose(found.fit.coefficients, again.coefficients)
