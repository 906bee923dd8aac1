from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

import nkscore as nk
from nkscore.scoring import gene_sets, get_scorer, null_scores
from nkscore.scoring._null import with_random_sets

N_GENES = 2000


@pytest.fixture(scope="module")
def cells():
    """Counts without any program: genes vary independently about the cell's depth."""
    rng = np.random.default_rng(0)
    rates = np.exp(rng.normal(-2, 1.5, N_GENES))
    return sparse.csr_matrix(rng.poisson(rates * rng.gamma(4, 0.5, (300, 1))))


def _index(*parts, n_genes=N_GENES):
    up, down = [u for u, _ in parts], [d for _, d in parts]
    sizes = [(len(u), len(d)) for u, d in parts]
    return gene_sets(up, down, n_genes=n_genes, sizes=sizes)


def _null(matrix, index, **options):
    options = {"method": "rank_auc", "n_random": 99, "rng": 0} | options
    return null_scores(get_scorer(options.pop("method")), matrix, index, **options)


def test_random_sets_are_distinct_and_of_like_expression():
    means = np.random.default_rng(1).permutation(N_GENES) / 100
    up, down = np.array([3, 700, 701, 1999]), np.array([10, 11])
    plan = with_random_sets(_index((up, down)), means, n_random=50, rng=0)
    parts = plan.parts()
    assert plan.n_sets == 51
    assert parts[0].tolist() == up.tolist()
    assert parts[1].tolist() == down.tolist()
    members = np.concatenate([up, down])
    expected = np.sort(means[members] // 1)
    for j in range(1, 51):
        genes = np.concatenate(parts[2 * j : 2 * j + 2])
        assert len(parts[2 * j]) == 4
        assert np.unique(genes).size == 6
        assert not np.isin(genes, members).any()
        # 20 bins of 100 genes: means 0 to 0.99, 1 to 1.99, ...
        assert (np.sort(means[genes] // 1) == expected).all()
    assert len({tuple(p) for p in parts[2::2]}) > 45


def test_bins_grow_with_the_set():
    # 60 of the 100 lowest genes leave too little choice among the other 40.
    plan = with_random_sets(_index((np.arange(60), [])), np.arange(400.0), n_random=20, rng=0)
    drawn = np.concatenate(plan.parts()[2::2])
    assert drawn.min() >= 60
    assert drawn.max() >= 200


def test_p_and_z_by_hand():
    # 40 genes of one mean; the set holds the two highest of the cell: no random set is higher.
    cell = np.array([[9.0, 9.0, *range(1, 9), *[0] * 30]])
    high, low = (_index((genes, []), n_genes=40) for genes in ([0, 1], [38, 39]))
    z, p = _null(cell, high, method="weighted_mean", n_random=49)
    assert p[0, 0] == pytest.approx(1 / 50)
    assert z[0, 0] > 3
    # All random sets score as high as zero or higher.
    assert _null(cell, low, method="weighted_mean", n_random=49)[1][0, 0] == 1


def test_a_cell_without_counts_stands_out_in_nothing():
    index = _index((np.arange(10), np.arange(20, 25)))
    z, p = _null(sparse.csr_matrix((3, N_GENES)), index)
    assert (z == 0).all()
    assert (p == 1).all()


@pytest.mark.parametrize("method", ["rank_auc", "aucell", "weighted_mean", "ulm", "zscore"])
def test_p_of_random_sets_is_uniform(cells, method):
    rng = np.random.default_rng(2)
    # The cells of one set share its genes: many sets and few cells say more.
    parts = [(rng.choice(N_GENES, 40, replace=False), []) for _ in range(150)]
    z, p = _null(cells[:40], _index(*parts), method=method)
    assert abs(p.mean() - 0.5) < 0.05
    assert abs((p <= 0.1).mean() - 0.1) < 0.03
    assert abs(z.mean()) < 0.15
    assert 0.85 < z.std() < 1.15


def test_planted_program_is_found_whatever_its_abundance(cells):
    rng = np.random.default_rng(3)
    planted = cells.toarray()
    means = planted.mean(axis=0)
    common = rng.choice(np.argsort(means)[-600:], 40, replace=False)
    rare = np.argsort(means)[600:640]
    planted[:50, rare] += rng.poisson(0.6, (50, 40))
    z, p = _null(sparse.csr_matrix(planted), _index((rare, []), (common, [])))
    assert (p[:50, 0] < 0.05).mean() > 0.9
    # Abundant genes that nothing raised score high, but not higher than others of their kind.
    assert (p[:, 1] < 0.05).mean() < 0.12
    scores = nk.scoring.run(
        get_scorer("rank_auc"), sparse.csr_matrix(planted), _index((rare, []), (common, []))
    )
    assert scores[:, 1].mean() > scores[:50, 0].mean() + 0.1
    assert stats.spearmanr(z[:, 0], -p[:, 0]).statistic > 0.9


def test_blocks_do_not_matter(cells, monkeypatch):
    index = _index((np.arange(0, 400, 10), np.arange(5, 100, 20)))
    expected = _null(cells, index)
    monkeypatch.setattr("nkscore.scoring._null._SCORE_BYTES", 16 * 100 * 7)
    assert all((a == b).all() for a, b in zip(_null(cells, index), expected, strict=True))
    assert (_null(cells, index, rng=1)[0] != expected[0]).any()


@pytest.mark.parametrize("method", ["rank_auc", "zscore"])
def test_dask_gives_the_same_numbers(cells, method):
    array = pytest.importorskip("dask.array", reason="dask (extra 'scale') is not installed")
    index = _index((np.arange(0, 400, 10), np.arange(5, 100, 20)))
    chunked = array.from_array(cells.toarray(), chunks=(37, 900)).map_blocks(sparse.csr_matrix)
    for found, expected in zip(
        _null(chunked, index, method=method), _null(cells, index, method=method), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_sets_that_leave_no_choice():
    index = _index((np.arange(30), []), n_genes=100)
    with pytest.raises(ValueError, match=r"holds 30 of 100 genes .* at least 3 other genes"):
        _null(np.ones((2, 100)), index)


@pytest.fixture
def few(small_coculture):
    return small_coculture[:60].copy()


def test_writes_tables_and_record(few):
    sets = {"a": ["PRF1", "GZMB", "NKG7"], "b": ["ACTB", "CD3E-"]}
    nk.tl.score_null(few, sets, n_sets=19)
    assert list(few.obsm["scores_z"].columns) == ["a", "b"]
    p = few.obsm["scores_p"].to_numpy()
    np.testing.assert_allclose(p * 20, np.rint(p * 20), atol=1e-12)
    assert p.min() >= 1 / 20
    options = few.uns["nkscore"]["scores_null"]["options"]
    assert options["n_sets"] == 19
    assert options["method"] == "rank_auc"


def test_what_is_refused(few):
    nk.pp.normalize(few)
    with pytest.raises(
        ValueError, match=r"module_score already compares each set with control genes"
    ):
        nk.tl.score_null(few, {"a": ["PRF1"]}, method="module_score")
    with pytest.raises(ValueError, match=r"n_sets is 1; .* 2 or more"):
        nk.tl.score_null(few, {"a": ["PRF1"]}, n_sets=1)
    few.obsm["scores_z"] = np.zeros((60, 1))
    with pytest.raises(ValueError, match=r"obsm\['scores_z'\] exists and was not written"):
        nk.tl.score_null(few, {"a": ["PRF1"]})
