"""Sets, cells and options at the edge of what makes sense, for every method."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import GeneCoverageError, WrongScaleError
from nkscore.scoring import MODULE_SCORE, gene_sets, get_scorer, run, scorers
from nkscore.scoring._module_score import control_plan
from nkscore.scoring._null import with_random_sets

METHODS = sorted(scorers())
N_GENES = 400


@pytest.fixture(scope="module")
def cells():
    """Log values in which genes 0 to 9 are silent in every cell, and cell 3 is silent."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 1.0, N_GENES), (25, N_GENES)).astype(np.float32)
    counts[:, :10] = 0
    counts[3] = 0
    return sparse.csr_matrix(np.log1p(counts))


def _scored(matrix, method, up, down=(), *, absent=0, **options):
    index = gene_sets([up], [down], n_genes=N_GENES, sizes=[(len(up) + absent, len(down))])
    scores = run(get_scorer(method), matrix, index, **options)
    low, high = get_scorer(method).limits
    assert np.isfinite(scores).all()
    assert ((scores >= low) & (scores <= high)).all()
    return scores[:, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_set_whose_genes_are_all_absent_scores_zero(cells, method):
    assert (_scored(cells, method, [], absent=5) == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_set_whose_genes_are_all_absent_is_refused_by_name(small_coculture, method):
    adata = small_coculture[:30].copy()
    nk.pp.normalize(adata)
    with pytest.raises(GeneCoverageError, match="ghosts"):
        nk.tl.score(adata, {"ghosts": ["NOSUCHGENE1", "NOSUCHGENE2"]}, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_one_gene_orders_cells_by_its_value_among_like_cells(cells, method):
    # Two cells that differ in nothing but which of two genes has the higher value.
    pair = cells[[0, 0]].toarray()
    pair[0, 50:52], pair[1, 50:52] = (3.0, 0.0), (0.0, 3.0)
    high, low = _scored(sparse.csr_matrix(pair), method, [50])
    assert high > low


@pytest.mark.parametrize("method", METHODS)
def test_all_genes(cells, method):
    scores = _scored(cells, method, np.arange(N_GENES))
    dense = cells.toarray()
    expected = {
        # Ranks of all genes add up to n (n + 1) / 2: the score is 1 by definition.
        "rank_auc": np.ones(25),
        "weighted_mean": dense.mean(axis=1),
        "zscore": np.zeros(25),
        "ulm": np.zeros(25),
    }.get(method)
    if method == "aucell":
        # The expectation over ways to break ties of a set that holds every top gene.
        expected = np.ones(25)
    if expected is not None:
        np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_genes_that_no_cell_expresses(cells, method):
    silent = _scored(cells, method, np.arange(10))
    if method == "module_score":
        # All of its controls come from the bin of silent genes, too.
        assert (silent == 0).all()
    else:
        expressed = _scored(cells, method, np.arange(10, 60))
        # The cell without counts scores the same for any set, up to the size of the set.
        assert np.delete(silent < expressed, 3).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_cell_without_counts_does_not_depend_on_how_zeros_are_stored(cells, method):
    stored = cells.tolil()
    stored[3, 20] = 1.0
    stored = stored.tocsr()
    stored.data[stored.indptr[3] : stored.indptr[4]] = 0
    assert stored.nnz == cells.nnz + 1
    genes = np.arange(15, 40)
    assert _scored(stored, method, genes)[3] == _scored(cells, method, genes)[3]


@pytest.mark.parametrize("max_rank", [N_GENES, N_GENES + 1, 10**9])
def test_max_rank_above_the_number_of_genes(cells, max_rank):
    at_most = _scored(cells, "rank_auc", np.arange(5, 60), max_rank=N_GENES)
    assert (_scored(cells, "rank_auc", np.arange(5, 60), max_rank=max_rank) == at_most).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN or infinite"), (-1.0, "negative")])
def test_impossible_values_in_the_last_cell(cells, method, value, words):
    broken = cells.copy()
    broken.data[-1] = value
    with pytest.raises(WrongScaleError, match=f"holds {words} .* not scaled or imputed"):
        _scored(broken, method, np.arange(5, 60))


@pytest.mark.parametrize("method", [m for m in METHODS if m != "module_score"])
def test_a_score_is_the_same_among_thousands_of_sets(cells, method):
    up, down = np.arange(20, 50), np.arange(60, 65)
    index = gene_sets([up], [down], n_genes=N_GENES, sizes=[(30, 5)])
    means = np.asarray(cells.mean(axis=0)).ravel()
    many = with_random_sets(index, means, n_random=800, rng=0)
    assert many.members.size > 40 * N_GENES
    scores = run(get_scorer(method), cells, many)[:, 0]
    np.testing.assert_allclose(scores, _scored(cells, method, up, down), rtol=0, atol=1e-12)


def test_module_score_of_a_gene_listed_more_often_than_a_byte_counts(cells):
    listed = [50] * 300 + [51] * 100
    index = gene_sets([listed], [[]], n_genes=N_GENES, sizes=[(400, 0)])
    plan = control_plan(index, [np.array([7, 70]), np.zeros(0, np.int64)])
    assert plan.counted.dtype == np.float64
    (block,) = nk.scoring.row_blocks(cells)
    dense = cells.toarray().astype(float)
    expected = 0.75 * dense[:, 50] + 0.25 * dense[:, 51] - dense[:, [7, 70]].mean(axis=1)
    np.testing.assert_allclose(MODULE_SCORE.func(block, plan)[:, 0], expected, atol=1e-12)


_THREADS = """
import threading, numpy as np
from dataclasses import replace
from scipy import sparse
from nkscore.scoring import RANK_AUC, gene_sets, run

most = 0
def counted(block, sets, **options):
    global most
    most = max(most, sum("ThreadPool" in t.name for t in threading.enumerate()))
    return RANK_AUC.func(block, sets, **options)

cells = sparse.csr_matrix(np.random.default_rng(0).poisson(0.5, (300, 200)))
index = gene_sets([np.arange(9)], [[]], n_genes=200, sizes=[(9, 0)])
run(replace(RANK_AUC, func=counted), cells, index, block_bytes=8000)
print(most)
"""


@pytest.mark.parametrize("number", [1, 3])
def test_as_many_threads_as_numba_is_told(number, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(number))
    done = subprocess.run(
        [sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == number
