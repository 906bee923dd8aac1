"""Two levels of one program."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import beta, nbinom

from nkscore.stats import ProgramCounts, two_level_posterior
from nkscore.stats.programs._level_fit import LevelFit, LevelState
from nkscore.stats.programs._two_levels import level_evidence

RAISED = {"fold": 3.0, "bounds": (1.5, 50.0)}
LOWERED = {"fold": 0.6, "bounds": (0.2, 0.9)}


def _negative_binomial(mean, dispersion, rng):
    return rng.negative_binomial(1 / dispersion, 1 / (1 + mean * dispersion)).astype(float)


def _program_cells(seed, *, share=(0.2, 0.1, 0.3), fold=3.0, dispersion=0.03, n=400, depth=4000):
    """Three lines with usual levels of their own."""
    rng = np.random.default_rng(seed)
    line = np.repeat(np.arange(3), n)
    on = rng.random(3 * n) < np.asarray(share)[line]
    expected = np.round(depth * rng.lognormal(0, 0.4, 3 * n))
    usual = expected * 0.01 * np.array([1, 0.6, 1.7])[line]
    x = _negative_binomial(usual * np.where(on, fold, 1), dispersion, rng)
    return SimpleNamespace(x=x, expected=expected, line=line, on=on, rng=rng)


def _fit(cells, start=RAISED, *, usual=None, **options):
    nothing = np.zeros(cells.x.size)
    alone = np.zeros(cells.x.size, bool) if usual is None else usual
    data = ProgramCounts(cells.x, cells.expected, nothing, cells.line, cells.line, alone)
    return two_level_posterior(data, **start, **options)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("planted", "start"), [(3.0, RAISED), (2.0, RAISED), (0.5, LOWERED), (0.4, LOWERED)]
)
def test_planted_levels_are_found(planted, start, seed):
    cells = _program_cells(seed, fold=planted)
    found = _fit(cells, start)
    assert found.supported
    assert found.fold == pytest.approx(planted, rel=0.08)
    assert found.dispersion == pytest.approx(0.03, abs=0.015)
    sure = np.abs(found.posterior - 0.5) > 0.4
    assert sure.mean() > 0.7
    assert ((found.posterior > 0.5) == cells.on)[sure].mean() > 0.965
    share = np.bincount(cells.line, found.posterior) / 400
    # The own spread of a line swallows some of few lowered cells.
    np.testing.assert_allclose(share, np.bincount(cells.line, cells.on) / 400, atol=0.07)


@pytest.mark.parametrize("dispersion", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("start", [RAISED, LOWERED])
def test_no_second_level_where_none_is(start, dispersion):
    """Cells that merely differ among themselves are no two kinds of cells."""
    for seed in range(5):
        cells = _program_cells(seed, share=(0, 0, 0), dispersion=dispersion)
        found = _fit(cells, start)
        assert not found.supported
        assert found.fold == 1
        assert found.posterior.max() <= 0.7


def test_what_the_data_could_not_show_stays_open():
    """With few counts a lowered program cannot be told from none: off, but not surely."""
    deep = _fit(_program_cells(0, share=(0, 0, 0)), LOWERED)
    shallow = _fit(_program_cells(0, share=(0, 0, 0), depth=200), LOWERED)
    assert not deep.supported
    assert not shallow.supported
    assert (deep.posterior > 0.2).mean() < 0.1
    assert (shallow.posterior > 0.2).mean() > 0.3
    planted = _fit(_program_cells(0, fold=0.5, depth=200), LOWERED)
    assert (planted.posterior > 0.2).mean() > 0.3


@pytest.mark.parametrize("share", [0.15, 0.45, 0.6])
def test_monocultures_that_are_mixtures_themselves(share):
    """Cycling cells are in monocultures too: where they are looked at first must not matter."""
    for seed in range(3):
        cells = _program_cells(seed, share=(share,) * 3, fold=4.0)
        alone = cells.rng.random(cells.x.size) < 0.5
        found = _fit(cells, usual=alone)
        assert found.fold == pytest.approx(4, rel=0.06)
        assert ((found.posterior > 0.5) == cells.on).mean() > 0.98
        np.testing.assert_allclose(found.posterior, _fit(cells).posterior, rtol=0, atol=0.01)


def test_the_rarer_level_is_the_other_one():
    """Cells with more than most are no reason to call most of them low."""
    cells = _program_cells(1, share=(0.15, 0.15, 0.15), fold=2.0)
    assert not _fit(cells, LOWERED, rare=True).supported
    assert _fit(cells, {"fold": 1.8, "bounds": (1.2, 5.0)}, rare=True).supported


def _induced_cells(seed, *, fold):
    """Half of the cells grew alone, where the program is off."""
    cells = _program_cells(seed, share=(0.4, 0.2, 0.5), fold=fold)
    alone = cells.rng.random(cells.x.size) < 0.5
    off = _program_cells(seed + 100, share=(0, 0, 0))
    cells.x = np.where(alone, off.x, cells.x)
    cells.expected = np.where(alone, off.expected, cells.expected)
    cells.on &= ~alone
    return cells, alone


@pytest.mark.parametrize("seed", range(3))
def test_an_induced_program_is_off_in_monocultures(seed):
    cells, alone = _induced_cells(seed, fold=2.5)
    found = _fit(cells, usual=alone, induced=True)
    assert found.fold == pytest.approx(2.5, rel=0.08)
    assert found.posterior[alone].max() == 0
    assert ((found.posterior > 0.5) == cells.on)[~alone].mean() > 0.96
    nothing, one = _induced_cells(seed, fold=1.0)
    none = _fit(nothing, usual=one, induced=True)
    assert none.fold == 1
    assert none.posterior.max() <= 0.7
    assert none.posterior.mean() < 0.05


def test_an_induced_program_is_not_judged_without_a_monoculture():
    cells, alone = _induced_cells(0, fold=2.5)
    alone &= cells.line != 2
    found = _fit(cells, usual=alone, induced=True)
    inside = cells.line == 2
    assert (found.posterior[inside] == 0.5).all()
    assert not found.comparable[inside].any()
    assert found.comparable[~inside].all()
    assert found.posterior[~inside & cells.on].mean() > 0.8
    nowhere = _fit(cells, usual=np.zeros(cells.x.size, bool), induced=True)
    assert (nowhere.posterior == 0.5).all()


@pytest.mark.parametrize("seed", range(3))
def test_shallow_cells_keep_their_level(seed):
    cells = _program_cells(seed)
    deep = _fit(cells).posterior
    cells.x = cells.rng.binomial(cells.x.astype(int), 0.25).astype(float)
    cells.expected /= 4
    thin = _fit(cells).posterior
    turned = ((deep > 0.9) & (thin < 0.1)) | ((deep < 0.1) & (thin > 0.9))
    assert turned.mean() < 0.01
    assert (np.abs(thin - 0.5) > 0.4).mean() < (np.abs(deep - 0.5) > 0.4).mean() - 0.02


def test_probabilities_of_levels_are_calibrated():
    cells = _program_cells(21, fold=2.0, n=2500)
    posterior = _fit(cells).posterior
    right = (posterior > 0.5) == cells.on
    probability = np.maximum(posterior, 1 - posterior)
    for low, high in ((0.5, 0.75), (0.75, 0.95), (0.95, 1.01)):
        inside = (probability >= low) & (probability < high)
        assert inside.sum() > 30
        assert abs(probability[inside].mean() - right[inside].mean()) < 0.04


def test_order_of_cells_does_not_matter():
    cells = _program_cells(2)
    expected = _fit(cells).posterior
    order = cells.rng.permutation(cells.x.size)
    for name in ("x", "expected", "line"):
        setattr(cells, name, getattr(cells, name)[order])
    np.testing.assert_allclose(_fit(cells).posterior, expected[order], rtol=0, atol=1e-8)


def test_a_line_without_monoculture_uses_its_own_cells():
    cells, alone = _induced_cells(0, fold=2.5)
    alone &= cells.line != 2
    found = _fit(cells, usual=alone)
    inside = cells.line == 2
    assert ((found.posterior > 0.5) == cells.on)[inside].mean() > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_a_line_whose_cells_differ_more_has_no_second_level_for_that(seed):
    """With one spread for all lines, the wide one would be cut in two."""
    narrow = _program_cells(seed, share=(0, 0, 0), dispersion=0.02, n=600)
    wide = _program_cells(seed + 50, share=(0, 0, 0), dispersion=0.12, n=600)
    for name in ("x", "expected"):
        mixed = np.where(narrow.line == 2, getattr(wide, name), getattr(narrow, name))
        setattr(narrow, name, mixed)
    found = _fit(narrow, LOWERED, rare=True)
    assert not found.supported
    assert found.posterior.max() <= 0.7
    np.testing.assert_allclose(found.dispersion, [0.02, 0.02, 0.12], rtol=0.35)


def _many_small_lines(seed):
    rng = np.random.default_rng(seed)
    line = np.repeat(np.arange(15), 40)
    on = rng.random(600) < 0.2
    expected = np.full(600, 4000.0)
    x = _negative_binomial(40 * np.where(on, 0.4, 1), 0.03, rng)
    return SimpleNamespace(x=x, expected=expected, line=line, on=on)


@pytest.mark.parametrize("seed", range(3))
def test_lines_lend_each_other_the_evidence_for_a_second_level(seed):
    cells = _many_small_lines(seed)
    found = _fit(cells, LOWERED, rare=True)
    assert found.supported
    called = found.posterior >= 0.8
    assert called[cells.on].mean() > 0.5
    assert cells.on[called].mean() > 0.9
    alone = cells.line == 0
    small = SimpleNamespace(**{k: v[alone] for k, v in vars(cells).items()})
    assert not _fit(small, LOWERED, rare=True).supported


def test_a_change_of_all_cells_of_a_batch_is_no_second_level():
    rng = np.random.default_rng(3)
    line, batch = np.zeros(1200, int), np.repeat([0, 1], 600)
    x = _negative_binomial(40 * np.where(batch == 1, 0.6, 1.0), 0.03, rng)
    nothing = np.zeros(1200)
    data = ProgramCounts(x, nothing + 4000.0, nothing, line, batch, batch == 0)
    found = two_level_posterior(data, **LOWERED, rare=True)
    assert not found.supported
    assert (found.posterior > 0.5).mean() < 0.01


def test_the_upper_limit_is_shared_out_by_what_each_batch_allows():
    """A batch with more low cells has the higher posterior at the same count."""
    rng = np.random.default_rng(5)
    line, batch = np.zeros(800, int), np.repeat([0, 1], 400)
    on = rng.random(800) < np.where(batch == 1, 0.2, 0.0)
    x = _negative_binomial(40 * np.where(on, 0.75, 1), 0.02, rng)
    x[[0, 400]] = 30
    nothing = np.zeros(800)
    data = ProgramCounts(x, nothing + 40, nothing, line, batch, nothing.astype(bool))
    fit = LevelFit(data, (1, 2), induced=False, rare=True)
    state = LevelState(np.ones(1), np.ones(2), np.zeros(2), 0.75, np.full(1, 0.02))
    posterior = fit.upper_limit(state)
    assert posterior[400] > 2 * posterior[0]
    # Together they have what the line allows: more than there are, not twice as many.
    assert on.mean() < posterior.mean() < 2 * on.mean()


def test_evidence_is_the_likelihood_averaged_over_shares():
    """Two batches of two cells: sums over a grid of shares, by hand."""
    nothing, batch = np.zeros(4), np.array([0, 0, 1, 1])
    data = ProgramCounts(
        np.array([8.0, 20.0, 19.0, 22.0]),
        nothing + 20,
        nothing,
        np.zeros(4, int),
        batch,
        nothing.astype(bool),
    )
    fit = LevelFit(data, (1, 2), induced=False, rare=False)
    state = LevelState(np.ones(1), np.ones(2), np.full(2, 0.3), 0.5, np.full(1, 0.05))
    size = 1 / 0.05
    off = nbinom.pmf(data.x, size, size / (size + 20))
    on = nbinom.pmf(data.x, size, size / (size + 10))
    share = np.linspace(5e-4, 1 - 5e-4, 1000)
    each = (1 - share[:, None]) * off + share[:, None] * on
    of_batch = np.stack([each[:, :2].prod(axis=1), each[:, 2:].prod(axis=1)])
    common = np.geomspace(3e-3, 0.5, 12)
    edges = np.linspace(0, 1, 1001)
    mass = np.diff(beta.cdf(edges, 5 * common[:, None], 5 * (1 - common[:, None])), axis=1)
    expected = np.log((mass @ of_batch.T).prod(axis=1).mean())
    value, mean = level_evidence(fit, state)
    # What no parameter changes is left out.
    assert value - gammaln(data.x + 1).sum() == pytest.approx(expected, abs=0.02)
    assert mean[0] > mean[1]
