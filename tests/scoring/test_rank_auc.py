from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from nkscore.scoring import RANK_AUC, gene_sets, run

GENES = ["a", "b", "c", "d", "e"]
#: Ranks 1, 2.5, 2.5, 4.5, 4.5.
CELL = np.array([[5.0, 3.0, 3.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("up", "down", "options", "expected"),
    [
        # Σr = 3.5, least 3, span 2 · 5 − 3 = 7
        ("ab", "", {}, 13 / 14),
        # best possible, and worst possible ranks of two genes
        ("a", "", {}, 1.0),
        ("de", "", {}, 1 - (9 - 3) / 7),
        # an absent gene takes rank 5: Σr = 6
        ("ax", "", {}, 4 / 7),
        # down part: 1 − (4.5 − 1) / 4 = 1/8
        ("ab", "d", {}, 13 / 14 - 1 / 8),
        ("ab", "d", {"w_neg": 0.5}, 13 / 14 - 1 / 16),
        ("ab", "d", {"w_neg": 0.0}, 13 / 14),
        # ranks cut at 3: Σr = 3.5, span 2 · 3 − 3 = 3
        ("ab", "", {"max_rank": 3}, 5 / 6),
        ("d", "", {"max_rank": 3}, 0.0),
        # more up than down gives more than none, the reverse gives none
        ("d", "a", {}, 0.0),
        ("", "a", {}, 0.0),
        ("x", "", {}, 0.0),
        # a set as large as max_rank has a span of 1/2 · n (n − 1)
        ("abc", "", {"max_rank": 3}, 1.0),
        # one gene and max_rank 1: nothing to compare
        ("a", "", {"max_rank": 1}, 0.0),
    ],
)
def test_hand_worked_cell(score, up, down, options, expected):
    for matrix in (CELL, sparse.csr_matrix(CELL)):
        found = score(matrix, GENES, {"s": (list(up), list(down))}, **options)
        assert found.shape == (1, 1)
        assert found[0, 0] == pytest.approx(expected, abs=1e-15)


def test_a_cell_without_counts_has_tied_ranks_throughout(score):
    # All genes share rank 3: 1 − (3 − 1) / 4
    assert score(np.zeros((1, 5)), GENES, {"s": (["a"], [])})[0, 0] == 0.5


def _cells_with_distinct_values(n_distinct, *, rng, n_genes=3000):
    """Two cells, each with exactly so many distinct values above zero, many of them tied."""
    cells = np.zeros((2, n_genes))
    for cell in cells:
        values = rng.permutation(np.arange(1, n_distinct + 1)) * 0.37
        filled = rng.permutation(n_genes)[: min(n_genes, 2 * n_distinct)]
        cell[filled] = np.resize(values, filled.size)
        assert np.unique(cell[cell > 0]).size == n_distinct
    return cells


@pytest.mark.parametrize("n_distinct", [1, 2, 50, 399, 400, 401, 402, 1024, 2900])
def test_counting_and_sorting_give_the_same_ranks(n_distinct):
    rng = np.random.default_rng(n_distinct)
    cells = _cells_with_distinct_values(n_distinct, rng=rng)
    alone = [[i] for i in range(3000)]
    index = gene_sets(alone, [[]] * 3000, n_genes=3000, sizes=[(1, 0)] * 3000)
    scores = run(RANK_AUC, sparse.csr_matrix(cells), index, max_rank=3000)
    ranks = 1 + (1 - scores) * 2999
    np.testing.assert_allclose(ranks, stats.rankdata(-cells, axis=1), rtol=0, atol=1e-8)


def test_one_kind_of_cell_does_not_disturb_the_next(plain_rank_auc, score):
    rng = np.random.default_rng(0)
    few, many = (_cells_with_distinct_values(n, rng=rng) for n in (30, 1500))
    cells = np.vstack([many[0], few[0], many[1], few[1], many[0], many[0], few[0]])
    genes = [f"g{i}" for i in range(3000)]
    chosen = rng.choice(3000, 40, replace=False)
    found = score(sparse.csr_matrix(cells), genes, {"s": ([genes[i] for i in chosen], [])})
    np.testing.assert_allclose(found[:, 0], plain_rank_auc(cells, chosen), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "transform", [np.log1p, np.sqrt, lambda x: x * 2.0**-60, lambda x: x * 2.0**60, lambda x: x / 3]
)
def test_monotone_transforms_change_nothing(score, transform):
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(0.3, 4, 800), (30, 800)).astype(float)
    genes = [f"g{i}" for i in range(800)]
    sets = {"s": (genes[:20], genes[30:35]), "t": (genes[100:105], [])}
    assert (score(transform(counts), genes, sets) == score(counts, genes, sets)).all()


def test_many_values_with_one_hash_pattern(plain_rank_auc, score):
    # Powers of two differ in the exponent only, halves in a few high bits of the mantissa.
    values = np.concatenate([2.0 ** np.arange(-190, 190), 1 + np.arange(1, 16) / 16])
    cells = np.tile(values, 2)[None, :]
    genes = [f"g{i}" for i in range(cells.size)]
    found = score(cells, genes, {"s": (genes[100:130], [])})
    expected = plain_rank_auc(cells, np.arange(100, 130))
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-12)


def test_genes_in_several_sets_and_both_directions(score, plain_rank_auc):
    rng = np.random.default_rng(4)
    counts = rng.poisson(1.0, (20, 60))
    genes = [f"g{i}" for i in range(60)]
    sets = {"s": (genes[:9], genes[30:33]), "t": (genes[5:12], genes[:2]), "u": (genes[:9], [])}
    found = score(counts, genes, sets)
    for j, (up, down) in enumerate(sets.values()):
        expected = plain_rank_auc(counts, [genes.index(g) for g in up])
        if down:
            expected -= plain_rank_auc(counts, [genes.index(g) for g in down])
            expected = np.maximum(expected, 0)
        np.testing.assert_allclose(found[:, j], expected, rtol=0, atol=1e-12)


def test_set_longer_than_max_rank():
    index = gene_sets([[0, 1, 2]], [[]], n_genes=5, sizes=[(3, 0)])
    with pytest.raises(ValueError, match=r"A set has 3 genes, more than max_rank \(2\)"):
        run(RANK_AUC, CELL, index, max_rank=2)


def test_set_longer_than_the_data_counts_absent_genes():
    index = gene_sets([[0, 1]], [[]], n_genes=5, sizes=[(6, 0)])
    with pytest.raises(ValueError, match=r"the number of genes in the data \(5\)"):
        run(RANK_AUC, CELL, index)


def test_max_rank_above_the_number_of_genes_is_that_number(score):
    sets = {"s": (["a", "d"], ["b"])}
    assert (score(CELL, GENES, sets, max_rank=10**6) == score(CELL, GENES, sets, max_rank=5)).all()


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_weight_of_the_down_part_must_be_a_number_from_zero(score, weight):
    with pytest.raises(ValueError, match="w_neg"):
        score(CELL, GENES, {"s": (["a"], ["b"])}, w_neg=weight)
