from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from nkscore.stats import adjusted_p, log2_ratio_of_arms, relative_error, remaining_effect

TREATED = np.array([True, True, False])
#: Genes of the cells alone, so that library sizes and TMM hardly depend on the gene under test.
REST = np.random.default_rng(0).integers(200, 400, size=200)


def with_rest(counts, foreign):
    """Samples × genes: the gene under test first, then many unchanged ones."""
    counts = np.column_stack([counts, np.tile(REST, (3, 1))]).astype(float)
    foreign = np.column_stack([foreign, np.zeros((3, 200))]).astype(float)
    return counts, foreign


def remaining(counts, foreign, *, log_variance=0.01, error=0.05):
    y, a = with_rest(counts, foreign)
    left = remaining_effect(y, a, TREATED, log_variance=np.full(201, log_variance), error=error)
    return left.shift[0], left.evidence[0], left.evidence_before[0]


def by_minimizer(counts, foreign, size, between, error):
    """The penalized deviance without an effect, by a general-purpose minimizer."""
    y, a = np.array(counts, float), np.array(foreign, float)

    def cost(x):
        rate = np.exp(np.array([x[0] + x[1] / 2, x[0] - x[1] / 2]))
        mean = size * rate + a * np.exp(x[2:])
        ratio = np.where(y > 0, y * np.log(np.maximum(y, 1) / mean), 0.0)
        penalty = x[1] ** 2 / between + (x[2:] ** 2).sum() / error**2
        return 2 * (ratio - y + mean).sum() + penalty

    start = np.array([np.log((y.sum() + 1) / size.sum()), 0.0, 0.0, 0.0])
    return min(
        optimize.minimize(
            cost,
            start + step,
            method="Nelder-Mead",
            options={"maxiter": 20000, "maxfev": 20000, "xatol": 1e-9, "fatol": 1e-10},
        ).fun
        for step in (0.0, np.array([-3.0, 0, 0, 0]), np.array([0.0, 1, 0, 0]))
    )


@pytest.mark.parametrize(
    ("counts", "foreign"),
    [([120, 130, 20], [100, 100, 0]), ([100, 90, 0], [95, 95, 0]), ([300, 260, 50], [20, 30, 5])],
)
def test_evidence_equals_a_general_minimizer(counts, foreign):
    y, a = with_rest(counts, foreign)
    total = (y - a).clip(0).sum(axis=1)
    from nkscore.stats import tmm_factors

    library = total * tmm_factors((y - a).clip(0), total)
    size = np.array([library[:2].sum(), library[2]])
    sums = np.array([y[:2, 0].sum(), y[2, 0]]), np.array([a[:2, 0].sum(), a[2, 0]])
    between = max(0.2 - 1 / (sums[0][0] + 1) - 1 / (sums[0][1] + 1), 1e-3)
    _, evidence, _ = remaining(counts, foreign, log_variance=0.2)
    assert evidence**2 == pytest.approx(
        by_minimizer(*sums, size, between, 0.05), rel=1e-3, abs=1e-3
    )


def test_foreign_counts_alone_leave_no_evidence():
    shift, evidence, before = remaining([200, 210, 0], [200, 205, 0])
    assert before > 8
    assert abs(evidence) < 1
    assert shift < -4
    # An own effect beside as much foreign RNA stays.
    _, evidence, before = remaining([400, 410, 20], [200, 205, 10])
    assert before > 8
    assert evidence > 8


def test_nothing_foreign_changes_nothing():
    shift, evidence, before = remaining([80, 90, 20], [0, 0, 0])
    assert shift == 0
    assert evidence == before
    # With no sampling noise to speak of, evidence is the log ratio over its standard deviation.
    shift, evidence, _ = remaining([20000, 20000, 10000], [0, 0, 0], log_variance=0.04)
    assert evidence == pytest.approx(np.log(2) / 0.2, rel=0.02)


def test_the_error_of_the_expectation_counts():
    loose = remaining([230, 230, 0], [200, 200, 0], error=0.3)[1]
    sure = remaining([230, 230, 0], [200, 200, 0], error=0.01)[1]
    assert sure > 1.8 > loose > 0


def test_log_ratio_by_hand():
    y, _ = with_rest([100, 100, 25], [0, 0, 0])
    expected = np.log2((200 / y[:2].sum() + 0.5 / y[2].sum()) / (25.5 / y[2].sum()))
    assert log2_ratio_of_arms(y, TREATED)[0] == pytest.approx(expected, abs=0.01)


def test_adjusted_p_is_never_smaller():
    p = np.array([1e-4, 1e-4, 0.5, 1e-4, 0.0])
    got = adjusted_p(p, np.array([4.0, 2.0, 0.1, 9.0, 0.0]), np.array([4.0, 4.0, 0.1, 3.0, 5.0]))
    assert got[0] == pytest.approx(1e-4)
    assert got[3] == pytest.approx(1e-4)
    # Half of the evidence: half of the normal deviate 3.8906.
    assert got[1] == pytest.approx(0.05174, abs=1e-4)
    assert got[4] == 1
    assert (got >= p).all()


def test_relative_error_is_recovered():
    rng = np.random.default_rng(1)
    expected = rng.uniform(200, 3000, size=4000)
    counts = rng.poisson(expected * (1 + 0.2 * rng.standard_normal(4000)).clip(0.1)).astype(float)
    assert relative_error(counts, expected, minimum=0.05) == pytest.approx(0.2, rel=0.1)
    # A tenth of the genes expressed by the cells themselves changes little.
    counts[:400] *= 5
    assert relative_error(counts, expected, minimum=0.05) == pytest.approx(0.2, rel=0.25)
    assert relative_error(rng.poisson(expected).astype(float), expected, minimum=0.05) == 0.05
    assert relative_error(counts[:9], expected[:9], minimum=0.05) == 0.05
    assert relative_error(counts * 9, expected, minimum=0.05) == 1.0
