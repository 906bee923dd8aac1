from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from nkscore.stats.markers._companion_genes import (
    companion_evidence,
    companion_weight,
    learn_companions,
)


def _cells(seed, *, n=2000, fold=3.0, n_follow=10, sharp=0.3, n_groups=3):
    """Two classes in 200 genes of which the first ten follow class 0, and a blurred posterior."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 2, n)
    group = rng.integers(0, n_groups, n)
    depth = np.round(3000 * rng.lognormal(0, 0.4, n))
    rate = rng.lognormal(0, 0.5, 200) / 6000 * np.exp(0.5 * rng.normal(size=(n_groups, 200)))[group]
    raised = np.ones((n, 200))
    raised[:, :n_follow] = np.where(state == 0, fold, 1)[:, None]
    mean = depth[:, None] * rate * raised
    counts = rng.poisson(rng.gamma(1 / 0.3, 0.3 * mean))
    # What markers would say: a normal shift of 1 with this much noise, as a probability.
    shown = np.where(state == 0, 0.5, -0.5) + rng.normal(0, sharp * 3, n)
    belief = 1 / (1 + np.exp(-shown / (sharp * 3) ** 2))
    posterior = np.column_stack([belief, 1 - belief])
    return SimpleNamespace(
        counts=sparse.csr_matrix(counts),
        depth=depth,
        group=group,
        state=state,
        posterior=posterior,
        n_groups=n_groups,
    )


def _learn(cells):
    return learn_companions(
        cells.counts, cells.depth, cells.group, posterior=cells.posterior, n_groups=cells.n_groups
    )


def _evidence(cells, found):
    return companion_evidence(
        found, lambda rows: cells.counts[rows][:, found.genes], cells.depth, cells.group
    )


@pytest.mark.parametrize("seed", range(3))
def test_genes_that_follow_a_state_are_found(seed):
    cells = _cells(seed)
    found = _learn(cells)
    assert np.isin(np.arange(10), found.genes).sum() >= 8
    assert (found.genes >= 10).sum() <= 4
    inside = found.genes < 10
    difference = (found.log_fold[:, 0] - found.log_fold[:, 1])[:, inside]
    assert np.median(np.exp(difference)) == pytest.approx(3.0, rel=0.3)
    evidence = _evidence(cells, found)
    np.testing.assert_allclose(evidence.sum(axis=1), 0, atol=1e-9)
    assert ((evidence.argmax(axis=1)) == cells.state).mean() > 0.9
    assert companion_weight(evidence, cells.posterior, cells.group) > 0.6


@pytest.mark.parametrize("seed", range(3))
def test_genes_that_follow_nothing_weigh_nothing(seed):
    cells = _cells(seed, fold=1.0)
    found = _learn(cells)
    if found is not None:
        assert found.genes.size <= 5
        assert companion_weight(_evidence(cells, found), cells.posterior, cells.group) < 0.2


def test_what_groups_differ_in_is_no_sign_of_a_state():
    """One group is nearly all of one state, and has a level of its own in every gene."""
    cells = _cells(4, fold=1.0)
    drawn = np.random.default_rng(0).random(cells.state.size)
    first = cells.group == 0
    cells.posterior[:, 0] = np.where(first, 0.9, 0.1) + 0.1 * (drawn - 0.5)
    cells.posterior[:, 1] = 1 - cells.posterior[:, 0]
    found = _learn(cells)
    assert found is None or found.genes.size <= 4
    cells.group = np.zeros_like(cells.group)
    assert _learn(cells).genes.size > 50


def test_a_cell_is_not_judged_by_what_it_taught():
    cells = _cells(5)
    found = _learn(cells)
    before = _evidence(cells, found)
    odd = np.rint(cells.depth).astype(int) % 2 == 1
    cells.posterior[odd] = cells.posterior[odd][:, ::-1]
    again = _learn(cells)
    after = _evidence(cells, again)
    # Odd cells are judged by even ones, whose posterior is as it was.
    np.testing.assert_allclose(after[odd].argmax(axis=1), before[odd].argmax(axis=1))
    assert (after[~odd].argmax(axis=1) == before[~odd].argmax(axis=1)).mean() < 0.2


def test_weight_finds_how_much_evidence_overstates():
    rng = np.random.default_rng(6)
    state = rng.integers(0, 2, 5000)
    clear = np.where(state == 0, 1.0, -1.0) + rng.normal(0, 1.0, 5000)
    belief = 1 / (1 + np.exp(-(np.where(state == 0, 0.5, -0.5) + rng.normal(0, 1, 5000))))
    posterior = np.column_stack([belief, 1 - belief])
    true = np.column_stack([clear, -clear])
    one = np.zeros(5000, dtype=int)
    assert companion_weight(true, posterior, one) > 0.85
    assert companion_weight(2 * true, posterior, one) == pytest.approx(0.5, abs=0.1)
    assert companion_weight(rng.permutation(true), posterior, one) < 0.1
