from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nkscore.stats import fit_marker_mixture, two_level_posterior


def _negative_binomial(mean, dispersion, rng):
    return rng.negative_binomial(1 / dispersion, 1 / (1 + mean * dispersion)).astype(float)


def _thin(counts, rng, share=0.25):
    return rng.binomial(counts.astype(int), share).astype(float)


def _check_calibrated(probability, right, *, margin):
    """Among cells called with a probability near p, a share near p must be called rightly."""
    for low, high in ((0.5, 0.75), (0.75, 0.95), (0.95, 1.01)):
        inside = (probability >= low) & (probability < high)
        assert inside.sum() > 30
        assert abs(probability[inside].mean() - right[inside].mean()) < margin


# --- states of markers


def _marker_cells(seed, *, shares=(0.4, 0.25, 0.2, 0.15), fold=8.0, n=1500):
    """Three states with six markers each; the last share has none of them."""
    rng = np.random.default_rng(seed)
    state = rng.choice(4, n, p=shares)
    depth = np.round(4000 * rng.lognormal(0, 0.4, n))
    members = np.repeat(np.eye(3, dtype=bool), 6, axis=0)
    raised = np.vstack([members.T, np.zeros(18, bool)])[state]
    rate = 0.25 * rng.lognormal(0, 0.5, 18)
    mean = (depth / 4000)[:, None] * rate * np.where(raised, fold, 1)
    counts = _negative_binomial(mean, 0.3, rng)
    return SimpleNamespace(counts=counts, depth=depth, members=members, state=state, rng=rng)


@pytest.mark.parametrize("seed", range(3))
def test_planted_states_are_found(seed):
    cells = _marker_cells(seed)
    fit = fit_marker_mixture(cells.counts, cells.depth, cells.members)
    call, probability = fit.posterior.argmax(axis=1), fit.posterior.max(axis=1)
    np.testing.assert_allclose(fit.posterior.sum(axis=1), 1)
    assert (call == cells.state).mean() > 0.95
    assert (call == cells.state)[probability > 0.9].mean() > 0.99
    np.testing.assert_allclose(fit.share, np.bincount(cells.state) / 1500, atol=0.03)
    assert np.median(fit.fold) == pytest.approx(8, rel=0.1)
    assert fit.dispersion.mean() == pytest.approx(0.3, rel=0.2)


@pytest.mark.parametrize("seed", range(6))
def test_no_state_is_found_where_none_is(seed):
    cells = _marker_cells(seed, shares=(0, 0, 0, 1))
    fit = fit_marker_mixture(cells.counts, cells.depth, cells.members)
    assert (fit.posterior.argmax(axis=1) < 3).mean() < 0.01
    assert fit.share[3] > 0.98


def test_an_absent_state_is_not_found():
    cells = _marker_cells(3, shares=(0.6, 0.0, 0.25, 0.15))
    fit = fit_marker_mixture(cells.counts, cells.depth, cells.members)
    assert (fit.posterior.argmax(axis=1) == 1).mean() < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_shallow_cells_become_uncertain_rather_than_others(seed):
    cells = _marker_cells(seed)
    deep = fit_marker_mixture(cells.counts, cells.depth, cells.members).posterior
    thin = fit_marker_mixture(_thin(cells.counts, cells.rng), cells.depth / 4, cells.members)
    sure = (deep.max(axis=1) > 0.9) & (thin.posterior.max(axis=1) > 0.9)
    both_states = (deep.argmax(axis=1) < 3) & (thin.posterior.argmax(axis=1) < 3)
    other = deep.argmax(axis=1) != thin.posterior.argmax(axis=1)
    assert sure.sum() > 600
    assert (other & both_states)[sure].mean() < 0.015
    assert (thin.posterior.max(axis=1) > 0.9).mean() < (deep.max(axis=1) > 0.9).mean() - 0.2


def test_probabilities_of_states_are_calibrated():
    cells = _marker_cells(11, fold=5.0, n=4000)
    posterior = fit_marker_mixture(cells.counts, cells.depth, cells.members).posterior
    right = posterior.argmax(axis=1) == cells.state
    _check_calibrated(posterior.max(axis=1), right, margin=0.06)


def test_depth_alone_is_no_state():
    # Cells of one kind, a third of them ten times as deep.
    rng = np.random.default_rng(0)
    depth = np.repeat([1000.0, 10_000.0], [600, 300])
    mean = np.outer(depth / 4000, np.full(18, 0.5))
    members = np.repeat(np.eye(3, dtype=bool), 6, axis=0)
    fit = fit_marker_mixture(_negative_binomial(mean, 0.2, rng), depth, members)
    assert fit.posterior[:, 3].min() > 0.5


def test_order_of_cells_and_genes_of_a_mixture():
    cells = _marker_cells(0, n=400)
    expected = fit_marker_mixture(cells.counts, cells.depth, cells.members).posterior
    order, genes = cells.rng.permutation(400), cells.rng.permutation(18)
    found = fit_marker_mixture(
        cells.counts[order][:, genes], cells.depth[order], cells.members[genes]
    )
    np.testing.assert_allclose(found.posterior, expected[order], rtol=0, atol=1e-6)


# --- two levels of one program

RAISED = {"fold": 3.0, "bounds": (1.5, 50.0)}
LOWERED = {"fold": 0.6, "bounds": (0.2, 0.8)}


def _program_cells(seed, *, share=(0.2, 0.1, 0.3), fold=3.0, dispersion=0.03, n=400):
    """Three lines with usual levels of their own."""
    rng = np.random.default_rng(seed)
    line = np.repeat(np.arange(3), n)
    on = rng.random(3 * n) < np.asarray(share)[line]
    expected = np.round(4000 * rng.lognormal(0, 0.4, 3 * n))
    usual = expected * 0.01 * np.array([1, 0.6, 1.7])[line]
    x = _negative_binomial(usual * np.where(on, fold, 1), dispersion, rng)
    return SimpleNamespace(x=x, expected=expected, line=line, on=on, rng=rng)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("planted", "start"), [(3.0, RAISED), (2.0, RAISED), (0.5, LOWERED), (0.4, LOWERED)]
)
def test_planted_levels_are_found(planted, start, seed):
    cells = _program_cells(seed, fold=planted)
    posterior, fold = two_level_posterior(cells.x, cells.expected, cells.line, **start)
    assert fold == pytest.approx(planted, rel=0.06)
    sure = np.abs(posterior - 0.5) > 0.4
    assert sure.mean() > 0.7
    assert ((posterior > 0.5) == cells.on)[sure].mean() > 0.965
    share = np.bincount(cells.line, posterior) / 400
    np.testing.assert_allclose(share, np.bincount(cells.line, cells.on) / 400, atol=0.05)


@pytest.mark.parametrize("dispersion", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("start", [RAISED, LOWERED])
def test_no_second_level_where_none_is(start, dispersion):
    """Cells that merely differ among themselves are no two kinds of cells."""
    for seed in range(8):
        cells = _program_cells(seed, share=(0, 0, 0), dispersion=dispersion)
        posterior, fold = two_level_posterior(cells.x, cells.expected, cells.line, **start)
        assert fold == 1
        assert (posterior == 0).all()


@pytest.mark.parametrize("share", [0.15, 0.45, 0.6])
def test_monocultures_that_are_mixtures_themselves(share):
    """Cycling cells are in monocultures too: where they are looked at first must not matter."""
    for seed in range(4):
        cells = _program_cells(seed, share=(share,) * 3, fold=4.0)
        alone = cells.rng.random(cells.x.size) < 0.5
        args = cells.x, cells.expected, cells.line
        posterior, fold = two_level_posterior(*args, usual=alone, **RAISED)
        assert fold == pytest.approx(4, rel=0.05)
        assert ((posterior > 0.5) == cells.on).mean() > 0.98
        everywhere, _ = two_level_posterior(*args, **RAISED)
        np.testing.assert_allclose(posterior, everywhere, rtol=0, atol=1e-3)


def _induced_cells(seed, *, fold):
    """Half of the cells grew alone, where the program is off."""
    cells = _program_cells(seed, share=(0.4, 0.2, 0.5), fold=fold)
    alone = cells.rng.random(cells.x.size) < 0.5
    off = _program_cells(seed + 100, share=(0, 0, 0))
    cells.x, cells.expected = (
        np.where(alone, off.x, cells.x),
        np.where(alone, off.expected, cells.expected),
    )
    cells.on &= ~alone
    return cells, alone


@pytest.mark.parametrize("seed", range(3))
def test_an_induced_program_is_off_in_monocultures(seed):
    cells, alone = _induced_cells(seed, fold=2.5)
    posterior, fold = two_level_posterior(
        cells.x, cells.expected, cells.line, usual=alone, induced=True, **RAISED
    )
    assert fold == pytest.approx(2.5, rel=0.06)
    assert posterior[alone].max() == 0
    assert ((posterior > 0.5) == cells.on)[~alone].mean() > 0.96
    nothing, one = _induced_cells(seed, fold=1.0)
    found = two_level_posterior(
        nothing.x, nothing.expected, nothing.line, usual=one, induced=True, **RAISED
    )
    assert found[1] == 1
    assert (found[0] == 0).all()


def test_an_induced_program_is_not_called_without_a_monoculture():
    cells, alone = _induced_cells(0, fold=2.5)
    alone &= cells.line != 2
    posterior, _ = two_level_posterior(
        cells.x, cells.expected, cells.line, usual=alone, induced=True, **RAISED
    )
    assert posterior[cells.line == 2].max() == 0
    assert posterior[(cells.line < 2) & cells.on].mean() > 0.8


@pytest.mark.parametrize("seed", range(4))
def test_shallow_cells_keep_their_level(seed):
    cells = _program_cells(seed)
    deep, _ = two_level_posterior(cells.x, cells.expected, cells.line, **RAISED)
    thin, _ = two_level_posterior(
        _thin(cells.x, cells.rng), cells.expected / 4, cells.line, **RAISED
    )
    turned = ((deep > 0.9) & (thin < 0.1)) | ((deep < 0.1) & (thin > 0.9))
    assert turned.mean() < 0.01
    assert (np.abs(thin - 0.5) > 0.4).mean() < (np.abs(deep - 0.5) > 0.4).mean() - 0.02


def test_probabilities_of_levels_are_calibrated():
    cells = _program_cells(21, fold=2.0, n=2500)
    posterior, _ = two_level_posterior(cells.x, cells.expected, cells.line, **RAISED)
    right = (posterior > 0.5) == cells.on
    _check_calibrated(np.maximum(posterior, 1 - posterior), right, margin=0.04)


def test_a_line_without_monoculture_uses_its_own_cells():
    cells, alone = _induced_cells(0, fold=2.5)
    alone &= cells.line != 2
    posterior, _ = two_level_posterior(cells.x, cells.expected, cells.line, usual=alone, **RAISED)
    inside = cells.line == 2
    assert ((posterior > 0.5) == cells.on)[inside].mean() > 0.95
