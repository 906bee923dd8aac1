from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse

GENES = ["a", "b", "c", "d", "e"]
#: Ranks 1, 2 or 3, 2 or 3, 4 or 5, 4 or 5.
CELL = np.array([[5.0, 3.0, 3.0, 0.0, 0.0]])


def _aucell_of_ranks(ranks, columns, top):
    """AUCell's own recovery curve: steps of the curve times their heights."""
    found = np.sort([ranks[c] for c in columns if ranks[c] < top])
    heights = np.arange(1, found.size + 1)
    area = (np.diff(np.append(found, top)) * heights).sum()
    best = np.arange(1, len(columns) + 1)
    best = best[best < top]
    return area / (np.diff(np.append(best, top)) * np.arange(1, best.size + 1)).sum()


def _all_ways_to_break_ties(values):
    """Every descending ranking of the genes that keeps the order of unequal values."""
    for order in itertools.permutations(range(len(values))):
        if all(values[i] >= values[j] for i, j in itertools.pairwise(order)):
            ranks = np.empty(len(values))
            ranks[list(order)] = np.arange(1, len(values) + 1)
            yield ranks


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        # T = 4: a recovers 3 of 3
        ("a", "", 1.0),
        # b has rank 2 or 3: (2 + 1) / 2 of 3
        ("b", "", 0.5),
        # c and d: 1.5 + 0 of 3 + 2
        ("cd", "", 0.3),
        # absent genes are left out
        ("bx", "y", 0.5),
        ("a", "b", 0.5),
        ("d", "a", -1.0),
        ("x", "", 0.0),
    ],
)
def test_hand_worked_cell(score, up, down, expected):
    sets = {"s": (list(up), list(down))}
    found = score(CELL, GENES, sets, method="aucell", top_fraction=0.8)
    assert found[0, 0] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("top_fraction", [0.3, 0.5, 0.8, 1.0])
def test_is_the_mean_over_all_ways_to_break_ties(score, top_fraction):
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(8)]
    top = max(2, int(np.ceil(8 * top_fraction)))
    for _ in range(3):
        values = rng.poisson(0.8, 8)
        chosen = rng.choice(8, 3, replace=False)
        ways = [_aucell_of_ranks(r, chosen, top) for r in _all_ways_to_break_ties(values)]
        assert len(ways) > 10
        sets = {"s": ([genes[i] for i in chosen], [])}
        found = score(values[None, :], genes, sets, method="aucell", top_fraction=top_fraction)
        assert found[0, 0] == pytest.approx(np.mean(ways), abs=1e-12)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(1)
    return rng.poisson(rng.gamma(0.3, 3, 1000) * rng.gamma(2, 0.5, (40, 1)))


def test_order_of_columns_and_other_cells_do_not_matter(score, counts):
    rng = np.random.default_rng(2)
    genes = np.array([f"g{i}" for i in range(1000)])
    sets = {"s": (list(genes[:30]), list(genes[50:60])), "t": (list(genes[10:200]), [])}
    expected = score(counts, genes, sets, method="aucell")
    assert expected.std() > 0.01
    order = rng.permutation(1000)
    found = score(counts[:, order], genes[order], sets, method="aucell")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    alone = score(sparse.csr_matrix(counts[7:9]), genes, sets, method="aucell")
    assert (alone == expected[7:9]).all()


def test_cells_without_ties(score):
    rng = np.random.default_rng(3)
    values = rng.permutation(3000)[None, :] + 0.5
    genes = [f"g{i}" for i in range(3000)]
    ranks = 3000 - np.floor(values[0])
    found = score(values, genes, {"s": (genes[:80], [])}, method="aucell")
    assert found[0, 0] == pytest.approx(_aucell_of_ranks(ranks, range(80), 150), abs=1e-12)


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_share_of_top_genes(score, share):
    with pytest.raises(ValueError, match=r"top_fraction is .* above 0, at most 1"):
        score(CELL, GENES, {"s": (["a"], [])}, method="aucell", top_fraction=share)
