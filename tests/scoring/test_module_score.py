"""``module_score`` against Seurat 4.3 (../shared/golden/seurat_modulescore/run.R)."""

from __future__ import annotations

import gzip
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from nkscore.scoring import MODULE_SCORE, gene_sets, run
from nkscore.scoring._module_score import draw_controls, expression_bins


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "seurat_modulescore"

    def read(name):
        # As text: converted by Python, which keeps the last bit in every pandas.
        return pd.read_csv(folder / f"{name}.csv.gz", index_col=0, dtype=str)

    with gzip.open(folder / "counts.mtx.gz") as file, warnings.catch_warnings():
        # scipy announces another type of result, which makes no difference here.
        warnings.simplefilter("ignore", DeprecationWarning)
        counts = sparse.csr_matrix(io.mmread(file).T).astype(np.float64)
    x = sparse.csr_matrix(sparse.diags(1e4 / np.asarray(counts.sum(axis=1)).ravel()) @ counts)
    x.data = np.log1p(x.data)
    genes = pd.Index(pd.read_csv(folder / "genes.csv")["gene"])
    return SimpleNamespace(read=read, x=x, genes=genes)


def _columns(genes, long):
    return {k: genes.get_indexer(rows) for k, rows in long.groupby("list", sort=False)["gene"]}


def _index(genes, used):
    up = list(used.values())
    return gene_sets(up, [[]] * len(up), n_genes=len(genes), sizes=[(len(u), 0) for u in up])


@pytest.mark.parametrize(
    ("scores", "controls", "used"),
    [
        ("modulescore_nbin24_ctrl100", "controls_nbin24_ctrl100", "genes_used"),
        ("modulescore_nbin24_ctrl5", "controls_nbin24_ctrl5", "genes_used"),
        ("modulescore_nbin10_ctrl50", "controls_nbin10_ctrl50", "genes_used"),
        ("cellcycle_cc.genes", "cellcycle_controls_cc.genes", "cellcycle_used_cc.genes"),
    ],
)
def test_equals_seurat_given_its_control_genes(golden, monkeypatch, scores, controls, used):
    given = list(_columns(golden.genes, golden.read(controls)).values())
    # Down parts are empty and have no controls.
    with_down = [part for c in given for part in (np.sort(c), np.zeros(0, int))]
    monkeypatch.setattr("nkscore.scoring._module_score.draw_controls", lambda *_, **__: with_down)
    sets = _columns(golden.genes, golden.read(used))
    found = run(MODULE_SCORE, golden.x, _index(golden.genes, sets))
    expected = golden.read(scores)[list(sets)].astype(float).to_numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert expected.std() > 0.05


def test_bins_are_those_of_seurat(golden):
    bins = golden.read("gene_bins_nbin24_ctrl100")
    means = np.asarray(golden.x.mean(axis=0)).ravel()
    found = pd.Series(expression_bins(means, 24) + 1, golden.genes)
    expected = bins["bin"].astype(int)
    assert (found[expected.index] == expected).mean() > 0.99
    assert (found[expected.index] - expected).abs().max() <= 1


def test_own_controls_agree_with_seurat_in_distribution(golden):
    sets = _columns(golden.genes, golden.read("genes_used"))
    index = _index(golden.genes, sets)
    expected = golden.read("modulescore_nbin24_ctrl100")[list(sets)].astype(float).to_numpy()
    draws = np.array([run(MODULE_SCORE, golden.x, index, rng=seed) for seed in range(12)])
    spread = draws.std(axis=0, ddof=1)
    # Seurat's draw lies among ours: a thirteenth draw would be off by 1.04 spreads on average.
    z = (expected - draws.mean(axis=0)) / spread
    assert np.sqrt((z**2).mean()) < 1.6
    assert spread.mean() < 0.05 * expected.std()


def test_by_hand_with_all_genes_as_controls():
    # One bin and 10 controls: the controls of each part are all four genes.
    cells = np.array([[1.0, 2.0, 0.0, 4.0], [0.0, 0.5, 3.0, 0.0]])
    index = gene_sets([[0, 1]], [[3]], n_genes=4, sizes=[(2, 0)])
    found = run(MODULE_SCORE, cells, index, n_bins=1, n_controls=10)
    up = cells[:, :2].mean(axis=1) - cells.mean(axis=1)
    np.testing.assert_allclose(found[:, 0], up - (cells[:, 3] - cells.mean(axis=1)), atol=1e-12)


def test_controls_come_from_the_bin_of_each_gene():
    means = np.arange(1000.0)
    rng = np.random.default_rng(0)
    (controls,) = draw_controls([np.array([5, 980])], means, n_bins=10, n_controls=20, rng=rng)
    assert controls.size == 40
    assert (np.diff(controls) > 0).all()
    assert set(controls // 100) == {0, 9}


def test_seed_decides():
    rng = np.random.default_rng(1)
    cells = rng.poisson(1.0, (30, 400)).astype(float)
    index = gene_sets([np.arange(10)], [[]], n_genes=400, sizes=[(10, 0)])
    options = {"n_bins": 4, "n_controls": 5}
    first = run(MODULE_SCORE, cells, index, rng=1, **options)
    assert (run(MODULE_SCORE, cells, index, rng=1, **options) == first).all()
    assert (run(MODULE_SCORE, cells, index, rng=2, **options) != first).any()


def test_order_of_cells_changes_no_control():
    rng = np.random.default_rng(2)
    cells = np.log1p(rng.poisson(0.3, (200, 400)) * rng.random((200, 1)) * 7)
    index = gene_sets([np.arange(10)], [[]], n_genes=400, sizes=[(10, 0)])
    order = rng.permutation(200)
    found = run(MODULE_SCORE, cells[order], index, n_controls=5)
    assert (found == run(MODULE_SCORE, cells, index, n_controls=5)[order]).all()


@pytest.mark.parametrize(("option", "words"), [("n_bins", "1 bin"), ("n_controls", "1 control")])
def test_options_from_one(option, words):
    index = gene_sets([[0]], [[]], n_genes=4, sizes=[(1, 0)])
    with pytest.raises(ValueError, match=rf"{option} is 0; at least {words}"):
        run(MODULE_SCORE, np.ones((2, 4)), index, **{option: 0})
