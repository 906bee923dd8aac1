from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from nkscore.stats import (
    MarkerCells,
    fit_present_states,
    marker_agreement,
    marker_posterior,
    with_doubt,
)
from nkscore.stats.markers._marker_cells import alike


def _cells(seed, *, shares=(0.4, 0.3, 0.3), fold=5.0, n=1500, donor_sd=0.0, rate=0.6):
    """Three states with six markers each; the last share (if short of one) has none of them."""
    rng = np.random.default_rng(seed)
    rest = max(0.0, 1 - sum(shares))
    state = rng.choice(4, n, p=[*shares, rest])
    depth = np.round(4000 * rng.lognormal(0, 0.4, n))
    donor = rng.integers(0, 3, n)
    marks = np.repeat(np.eye(3), 6, axis=0).T
    raised = np.vstack([marks, np.zeros(18)])[state]
    level = rate * rng.lognormal(0, 0.4, 18) * np.exp(donor_sd * rng.normal(size=(3, 18)))[donor]
    mean = (depth / 4000)[:, None] * level * np.where(raised, fold, 1)
    counts = rng.poisson(rng.gamma(1 / 0.3, 0.3 * mean)).astype(float)
    return SimpleNamespace(
        counts=counts, depth=depth, donor=donor, marks=marks, state=state, rng=rng
    )


def _fit(cells, order=None, genes=None):
    order = np.arange(cells.depth.size) if order is None else order
    genes = np.arange(18) if genes is None else genes
    sorted_cells = MarkerCells.of(
        sparse.csr_matrix(cells.counts[order][:, genes]), cells.depth[order], cells.donor[order]
    )
    model = fit_present_states(sorted_cells, cells.marks[:, genes])
    return model, marker_posterior(model, sorted_cells)


@pytest.mark.parametrize("seed", range(3))
def test_planted_states_are_found(seed):
    cells = _cells(seed)
    model, posterior = _fit(cells)
    assert model.present.all()
    assert (model.evidence > 15).all()
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    assert (posterior.argmax(axis=1) == cells.state).mean() > 0.95
    # Every cell is in a state here: part of the fold of five goes to the usual level.
    assert 3 < np.median(np.exp(model.log_fold[cells.marks > 0])) < 5.5


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_found_where_donors_alone_differ(seed):
    cells = _cells(seed, shares=(0, 0, 0), donor_sd=0.6, n=800)
    model, posterior = _fit(cells)
    assert not model.present.any()
    assert (posterior[:, :-1] == 0).all()
    assert (posterior[:, -1] == 1).all()


@pytest.mark.parametrize("seed", range(4))
def test_an_absent_state_is_left_out_and_the_others_stay(seed):
    cells = _cells(seed, shares=(0.5, 0.0, 0.3), donor_sd=0.4)
    model, posterior = _fit(cells)
    assert model.present.tolist() == [True, False, True]
    assert (posterior[:, 1] == 0).all()


def test_one_bimodal_gene_is_no_state():
    cells = _cells(0, shares=(0, 0, 0))
    raised = cells.rng.random(1500) < 0.3
    cells.counts[raised, 0] += cells.rng.poisson(8, raised.sum())
    model, _ = _fit(cells)
    assert not model.present.any()


def test_probabilities_are_calibrated():
    cells = _cells(5, fold=3.0, n=4000, rate=0.4, donor_sd=0.3)
    _, posterior = _fit(cells)
    sure, right = posterior.max(axis=1), posterior.argmax(axis=1) == cells.state
    for low, high in ((0.4, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (sure >= low) & (sure < high)
        assert inside.sum() > 100
        assert abs(sure[inside].mean() - right[inside].mean()) < 0.1


def test_markers_that_go_down():
    cells = _cells(1, shares=(0.3, 0.0, 0.0))
    # State 0 is told by six genes up, and by six that its cells lack.
    lacks = cells.state == 0
    cells.counts[lacks, 6:12] = np.floor(cells.counts[lacks, 6:12] / 4)
    cells.marks = np.array([cells.marks[0] - cells.marks[1], cells.marks[2]])
    model, posterior = _fit(cells)
    assert model.present.tolist() == [True, False]
    assert (model.log_fold[0, 6:12] < -0.5).all()
    assert ((posterior[:, 0] > 0.5) == lacks).mean() > 0.95


def test_order_of_cells_and_genes():
    cells = _cells(2, n=600)
    _, expected = _fit(cells)
    order, genes = cells.rng.permutation(600), cells.rng.permutation(18)
    _, found = _fit(cells, order, genes)
    np.testing.assert_allclose(found, expected[order], atol=1e-8)


def test_large_data_stay_sparse_and_give_the_same(monkeypatch):
    cells = _cells(3, n=600)
    _, dense = _fit(cells)
    monkeypatch.setattr("nkscore.stats.markers._marker_cells._DENSE_SIZE", 0)
    _, kept_sparse = _fit(cells)
    np.testing.assert_allclose(kept_sparse, dense, atol=1e-9)


def test_agreement_of_markers():
    cells = _cells(4)
    cells.counts[:, 5] = cells.rng.permutation(cells.counts[:, 5])
    sorted_cells = MarkerCells.of(cells.counts, cells.depth, cells.donor)
    fold, z = marker_agreement(fit_present_states(sorted_cells, cells.marks), sorted_cells)
    assert np.isnan(z[0, 6:]).all()
    assert (z[0, :5] > 8).all()
    assert abs(z[0, 5]) < 4
    assert fold[0, 5] == pytest.approx(1, abs=0.4)
    assert 3 < np.median(fold[0, :5]) < 12


def test_shares_of_states_in_doubt():
    cells = _cells(0)
    sorted_cells = MarkerCells.of(cells.counts, cells.depth, cells.donor)
    model = replace(
        fit_present_states(sorted_cells, cells.marks),
        present=np.array([True, False, False]),
        evidence=np.array([20.0, 1.5, -1.5]),
        share=np.tile([0.6, 0.0, 0.0, 0.4], (3, 1)),
    )
    found = with_doubt(model)
    # As probable as not, and 1 / (1 + e³); half of these, beside one state and none.
    doubted = np.array([0.25, 0.5 / (1 + np.exp(3))])
    total = 1 + doubted.sum()
    expected = np.array([0.6, *doubted, 0.4]) / total
    np.testing.assert_allclose(found.share, np.tile(expected, (3, 1)))
    np.testing.assert_allclose(found.log_fold[0], model.log_fold[0])
    np.testing.assert_allclose(found.log_fold[1:], np.log(4) * cells.marks[1:])


def test_few_cells_are_not_surely_in_no_state():
    """Planted states that few cells cannot show leave doubt; clear absence leaves little."""
    few = _cells(11, n=60, rate=0.1, fold=3.0)
    sorted_cells = MarkerCells.of(few.counts, few.depth, few.donor)
    model = fit_present_states(sorted_cells, few.marks)
    assert not model.present.any()
    assert (marker_posterior(model, sorted_cells)[:, -1] == 1).all()
    # Measured: evidence 1.8 to 3.4, and 0.49.
    assert marker_posterior(with_doubt(model), sorted_cells)[:, -1].mean() < 0.6
    many = _cells(12, shares=(0.5, 0.0, 0.3), donor_sd=0.4)
    sorted_cells = MarkerCells.of(many.counts, many.depth, many.donor)
    model = fit_present_states(sorted_cells, many.marks)
    assert model.present.tolist() == [True, False, True]
    posterior = marker_posterior(with_doubt(model), sorted_cells)
    assert posterior[:, 1].mean() < 0.05


def test_halves_of_large_data_are_kept_with_their_zeros(monkeypatch):
    cells = _cells(3, n=600)
    monkeypatch.setattr("nkscore.stats.markers._marker_cells._DENSE_SIZE", 600 * 18 // 2)
    whole = MarkerCells.of(cells.counts, cells.depth, cells.donor)
    assert all(sparse.issparse(block.counts) for block in whole.blocks)
    part = whole.sampled(200)
    assert all(isinstance(block.counts, np.ndarray) for block in part.blocks)
    before = {tuple(row) for row in cells.counts}
    assert all(tuple(row) in before for block in part.blocks for row in block.counts)


def test_cells_alike_in_donor_and_depth():
    cells = _cells(6, n=900)
    blocks = alike(cells.depth, cells.donor)
    assert sorted(np.concatenate(blocks)) == list(range(900))
    for block in blocks:
        assert np.unique(cells.donor[block]).size == 1
        assert np.ptp(np.log(cells.depth[block])) < 0.35
