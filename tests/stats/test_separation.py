from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nkscore.stats import (
    MarkerCounts,
    class_posterior,
    fit_concentration,
    marker_genes,
    without_soup,
)

PRIOR = np.array([0.475, 0.475, 0.05])


def _droplets(seed, *, ambient=0.05, depth=3000, n=300):
    """Pure B, pure A, and doublets, in this order; genes 0-59 mark A, genes 60-119 mark B."""
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0, 1.2, 2000)
    a, b = base.copy(), base.copy()
    a[:60] *= 15
    b[60:120] *= 15
    a, b = a / a.sum(), b / b.sum()
    share = np.concatenate([np.full(n, ambient), np.full(n, 0.97), rng.uniform(0.3, 0.7, n // 5)])
    total = np.round(depth * rng.lognormal(0, 0.5, share.size)).astype(int)
    profiles = share[:, None] * a + (1 - share)[:, None] * b
    counts = np.array([rng.multinomial(k, p) for k, p in zip(total, profiles, strict=True)])
    pure = [rng.multinomial(1_000_000, p).astype(float) for p in (a, b)]
    markers = marker_genes(*pure, allowed=np.ones(2000, dtype=bool))
    return SimpleNamespace(
        in_a=counts[:, markers.genes_a].sum(axis=1).astype(float),
        in_b=counts[:, markers.genes_b].sum(axis=1).astype(float),
        markers=markers,
        kind=np.repeat([0, 1, 2], [n, n, n // 5]),
        pure=pure,
        rng=rng,
    )


def _part(cells, *, prior=PRIOR, concentration=(200.0, 200.0), fit_shares=True, soup="a"):
    """Cells in one sample, with ambient RNA of A alone or of both sources alike."""
    n, markers = len(cells.in_a), cells.markers
    soups = np.array([markers.share_a, markers.share_b])
    return MarkerCounts(
        cells.in_a,
        cells.in_b,
        markers,
        soup=tuple(soups[:, 0] if soup == "a" else soups.mean(axis=1)),
        ambient=0.0,
        concentration=concentration,
        prior=np.tile(prior, (n, 1)),
        sample=np.full(n, 0 if fit_shares else -1),
    )


def _posterior(cells, **options):
    posterior, centers = class_posterior(_part(cells, **options))
    return posterior, centers[0]


def test_markers_of_either_source():
    cells = _droplets(0)
    assert cells.markers.genes_a.tolist() == list(range(60))
    assert cells.markers.genes_b.tolist() == list(range(60, 120))
    (own, other), (less, more) = cells.markers.share_a, cells.markers.share_b
    assert own > 8 * other
    assert more > 8 * less


def test_markers_by_hand():
    # 100 counts each: gene 0 has 60.5 against 0.5, gene 2 has 30.5 against 10.5.
    a, b = np.array([60.0, 0, 30, 10]), np.array([0.0, 60, 10, 30])
    everything = np.ones(4, dtype=bool)
    markers = marker_genes(a, b, allowed=everything)
    assert (markers.genes_a.tolist(), markers.genes_b.tolist()) == ([0], [1])
    assert markers.share_a == pytest.approx((60.5 / 101, 0.5 / 101))
    assert markers.share_b == pytest.approx((0.5 / 101, 60.5 / 101))
    markers = marker_genes(a, b, allowed=everything, fold=2.0)
    assert (markers.genes_a.tolist(), markers.genes_b.tolist()) == ([0, 2], [1, 3])
    markers = marker_genes(a, b, allowed=everything, fold=2.0, n_genes=1)
    assert (markers.genes_a.tolist(), markers.genes_b.tolist()) == ([0], [1])
    markers = marker_genes(a, b, allowed=np.array([False, True, True, True]), fold=2.0)
    assert markers.genes_a.tolist() == [2]


def test_no_gene_tells_equal_profiles_apart():
    same = np.arange(50.0)
    markers = marker_genes(same, same, allowed=np.ones(50, dtype=bool))
    assert markers.genes_a.size == markers.genes_b.size == 0
    none = SimpleNamespace(in_a=np.zeros(5), in_b=np.zeros(5), markers=markers)
    posterior, _ = _posterior(none, fit_shares=False)
    np.testing.assert_allclose(posterior, np.tile(PRIOR, (5, 1)) / PRIOR.sum(), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("depth", [3000, 600])
def test_pure_cells_and_doublets(seed, depth):
    cells = _droplets(seed, depth=depth)
    posterior, _ = _posterior(cells)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    for kind in range(3):
        found = posterior[cells.kind == kind].argmax(axis=1)
        assert (found == kind).mean() > 0.97
    np.testing.assert_allclose(posterior.mean(axis=0), [5 / 11, 5 / 11, 1 / 11], atol=0.015)


@pytest.mark.parametrize("ambient", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_ambient_share(ambient):
    cells = _droplets(1, ambient=ambient)
    posterior, found = _posterior(cells)
    assert found == pytest.approx(ambient, abs=0.016)
    assert posterior[cells.kind == 0].argmax(axis=1).max() == 0


def test_no_doublets_where_none_are():
    cells = _droplets(2)
    pure = cells.kind < 2
    cells.in_a, cells.in_b, cells.kind = cells.in_a[pure], cells.in_b[pure], cells.kind[pure]
    posterior, _ = _posterior(cells)
    assert posterior[:, 2].max() < 0.5
    assert posterior[:, 2].mean() < 0.01


def test_cells_without_marker_counts_are_uncertain():
    cells = _droplets(0)
    cells.in_a[:5] = cells.in_b[:5] = 0
    posterior, _ = _posterior(cells)
    assert posterior[:5].max() < 0.6
    # One count tells something, but not much.
    cells.in_a[:5] = 1
    assert 0.5 < _posterior(cells)[0][0, 1] < 0.99


def test_prior_of_a_monoculture():
    cells = _droplets(0, depth=30)
    sure = np.array([0.985, 0.005, 0.01])
    posterior, _ = _posterior(cells, prior=sure, fit_shares=False)
    open_posterior, _ = _posterior(cells, fit_shares=False)
    assert posterior[:, 0].mean() > open_posterior[:, 0].mean() + 0.02


def test_a_cell_is_judged_by_its_own_counts_and_the_centers():
    cells = _droplets(0)
    expected, _ = _posterior(cells)
    order = cells.rng.permutation(cells.kind.size)
    cells.in_a, cells.in_b = cells.in_a[order], cells.in_b[order]
    np.testing.assert_allclose(_posterior(cells)[0], expected[order], rtol=0, atol=1e-9)


def test_ambient_rna_of_both_sources_moves_both_classes():
    """At 30 % ambient RNA of both, pure cells lie at w = .15 and .85 and are no doublets."""
    cells = _droplets(3)
    rng = np.random.default_rng(0)
    n = cells.in_a + cells.in_b
    center = np.array([0.15, 0.85, 0.5])[cells.kind]
    (a1, a0), (b1, b0) = cells.markers.share_a, cells.markers.share_b
    in_a, in_b = center * a1 + (1 - center) * a0, center * b1 + (1 - center) * b0
    cells.in_a = rng.binomial(n.astype(int), in_a / (in_a + in_b)).astype(float)
    cells.in_b = n - cells.in_a
    part = replace(_part(cells, soup="both"), ambient=0.3)
    posterior, centers = class_posterior(part)
    assert centers == pytest.approx((0.15, 0.85), abs=0.02)
    found = posterior.argmax(axis=1)
    for kind in range(3):
        assert (found == kind)[cells.kind == kind].mean() > 0.95


def test_cells_of_a_known_class_calibrate_the_others():
    """Few NK cells among doublets: those alone in a well show where NK cells lie."""
    cells = _droplets(4)
    chosen = np.concatenate([np.arange(300), np.arange(300, 310), np.arange(600, 660)])
    known = np.arange(310, 400)
    rows = np.concatenate([chosen, known])
    few = SimpleNamespace(in_a=cells.in_a[rows], in_b=cells.in_b[rows], markers=cells.markers)
    part = _part(few)
    prior, sample = part.prior.copy(), part.sample.copy()
    prior[-90:], sample[-90:] = (0.005, 0.985, 0.01), -1
    _, centers = class_posterior(replace(part, prior=prior, sample=sample))
    assert centers[1] == pytest.approx(0.97, abs=0.015)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3])
def test_profile_without_ambient_rna(share):
    rng = np.random.default_rng(0)
    own, other = rng.dirichlet(np.ones(500)), rng.dirichlet(np.ones(500))
    own[:100], other[100:200] = 0, 0
    own, other = own / own.sum(), other / other.sum()
    soup = (own + other) / 2
    counts = rng.poisson(200_000 * ((1 - share) * own + share * soup)).astype(float)
    pure, found = without_soup(counts, soup, allowed=np.ones(500, dtype=bool))
    assert 0.75 * share <= found < 1.2 * share + 0.03
    assert pure[:100].sum() < 0.3 * max(counts[:100].sum(), 1)
    assert np.corrcoef(pure, own)[0, 1] > 0.99


def test_a_soup_of_the_same_cells_takes_nothing():
    counts = np.arange(500.0)
    pure, share = without_soup(counts, counts / counts.sum(), allowed=np.ones(500, dtype=bool))
    assert share == 0
    np.testing.assert_array_equal(pure, counts)


def _beta_binomial(concentration, n_cells, rng):
    n = rng.integers(20, 200, n_cells)
    p = rng.beta(0.3 * concentration, 0.7 * concentration, n_cells)
    a = rng.binomial(n, p)
    return a.astype(float), (n - a).astype(float)


@pytest.mark.parametrize("concentration", [15.0, 40.0, 120.0])
def test_planted_concentration(concentration):
    a, b = _beta_binomial(concentration, 4000, np.random.default_rng(0))
    assert fit_concentration(a, b) == pytest.approx(concentration, rel=0.15)


def test_concentration_stays_within_its_limits():
    rng = np.random.default_rng(0)
    assert fit_concentration(rng.binomial(100, 0.3, 500).astype(float), np.full(500, 70.0)) == 200
    a, b = _beta_binomial(0.5, 500, rng)
    assert fit_concentration(a, b) == 10
    # Too few cells with enough counts: the usual value.
    assert fit_concentration(np.full(500, 2.0), np.full(500, 2.0)) == 40
    assert fit_concentration(np.full(500, 100.0), np.zeros(500)) == 200
