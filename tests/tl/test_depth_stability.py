"""Calls on thinned counts: hand-worked agreement, thinning itself, errors."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError


def _cells(counts, dtype=np.float32):
    counts = np.asarray(counts, dtype=dtype)
    names = [f"c{i}" for i in range(len(counts))]
    obs = pd.DataFrame({"sample": "s"}, index=names)
    var = pd.DataFrame(index=[f"g{j}" for j in range(counts.shape[1])])
    return anndata.AnnData(obs=obs, var=var, layers={"counts": sparse.csr_matrix(counts)})


def _deep(threshold):
    """Return a caller that knows nothing but depth, which is what the function must show."""

    def call(adata):
        total = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
        adata.obs["call"] = np.where(total >= threshold, "deep", "shallow")

    return call


def _by_gene(adata):
    """Call by the larger of two genes, which thinning of large counts cannot turn."""
    first, second = (np.asarray(adata.layers["counts"][:, [j]].todense()).ravel() for j in (0, 1))
    adata.obs["call"] = np.where(first > second, "first", "second")


def test_a_caller_of_depth_is_found_out_and_one_of_genes_is_not():
    adata = _cells([[1000, 1]] * 6 + [[1, 1000]] * 4)
    depth = nk.tl.depth_stability(adata, _deep(900), column="call", shares=[0.25, 0.5])
    overall = depth[depth["state"] == "all"].groupby("share")["agreement"].mean()
    assert overall.to_dict() == {0.25: 0.0, 0.5: 0.0, 1.0: 1.0}
    genes = nk.tl.depth_stability(adata, _by_gene, column="call", shares=[0.25, 0.5])
    assert (genes["agreement"] == 1).all()
    first = genes[genes["state"] == "first"]
    assert first["n_cells"].unique().tolist() == [6]
    assert first["fraction"].tolist() == pytest.approx([0.6] * 5)


def test_numbers_by_hand():
    """Full depth: a a a b, one open, one outside. Thinned: a a open b, b, outside."""
    calls = iter(
        [["a", "a", "a", "b", "unassigned", None], ["a", "a", "unassigned", "b", "b", None]]
    )

    def call(adata):
        adata.obs["call"] = pd.Categorical(next(calls), ["a", "b", "unassigned"])

    table = nk.tl.depth_stability(
        _cells([[10, 10]] * 5 + [[900, 900]]), call, column="call", shares=[0.5], repeats=1
    )
    rows = table.set_index(["share", "state"])
    assert rows["depth"].unique().tolist() == [10.0, 20.0]
    assert rows.loc[(0.5, "all"), "n_cells"] == 4
    assert rows.loc[(0.5, "all"), "agreement"] == 0.75
    assert rows.loc[(0.5, "all"), "unassigned"] == 0.25
    assert rows.loc[(0.5, "all"), "fraction"] == 0.8
    assert rows.loc[(0.5, "a"), "agreement"] == pytest.approx(2 / 3)
    assert rows.loc[(0.5, "a"), "fraction"] == 0.4
    assert rows.loc[(0.5, "b"), "fraction"] == 0.4
    assert rows.loc[(1.0, "b"), "fraction"] == 0.2
    assert rows.loc[1.0, "agreement"].tolist() == [1.0, 1.0, 1.0]


def test_counts_are_thinned_binomially():
    seen = []

    def call(adata):
        seen.append(adata.layers["counts"].copy())
        adata.obs["call"] = "one"

    counts = np.random.default_rng(1).poisson(40, (200, 50))
    nk.tl.depth_stability(_cells(counts), call, column="call", shares=[0.25], repeats=2, rng=3)
    full, one, two = (np.asarray(part.todense()) for part in seen)
    assert (full == counts).all()
    assert (one <= counts).all()
    assert (one != two).any()
    assert one.dtype == np.float32
    # 400,000 counts at 0.25: standard deviation of the sum is 274.
    assert abs(one.sum() - 0.25 * counts.sum()) < 5 * 274
    residual = (one - 0.25 * counts) / np.sqrt(0.25 * 0.75 * np.maximum(counts, 1))
    assert residual.std() == pytest.approx(1, abs=0.03)


def test_same_seed_same_table_and_nothing_is_written():
    adata = _cells(np.random.default_rng(0).poisson(3, (60, 8)))
    adata.uns["kept"] = {"a": np.arange(3)}
    before = adata.copy()

    def call(cells):
        cells.uns["kept"]["a"][:] = 7
        _by_gene(cells)

    one, two = (nk.tl.depth_stability(adata, call, column="call", rng=5) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert list(adata.obs.columns) == ["sample"]
    assert adata.uns["kept"]["a"].tolist() == [0, 1, 2]
    assert (adata.layers["counts"] != before.layers["counts"]).nnz == 0


def test_dense_and_sparse_counts_agree():
    adata = _cells(np.random.default_rng(0).poisson(300, (30, 3)))
    dense = adata.copy()
    dense.layers["counts"] = np.asarray(adata.layers["counts"].todense())

    def call(cells):
        counts = np.asarray(sparse.csr_matrix(cells.layers["counts"]).todense())
        cells.obs["call"] = np.where(counts[:, 0] > counts[:, 1], "first", "second")

    for share in (0.5,):
        tables = [
            nk.tl.depth_stability(part, call, column="call", shares=[share], repeats=1)
            for part in (adata, dense)
        ]
        pd.testing.assert_frame_equal(*tables)


def test_states_of_nk_cells_and_the_figure():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, tumors=["K562", "697"], rng=0)
    nk.datasets.use_truth(adata)
    table = nk.tl.depth_stability(adata, nk.tl.nk_states, shares=[0.2, 0.6], repeats=1)
    overall = table[table["state"] == "all"].set_index("share")["agreement"]
    assert overall[0.2] < overall[0.6] < overall[1.0] == 1
    ax = nk.pl.depth(table, value="agreement", by="state")
    assert ax.get_ylabel() == "Agreement"
    import matplotlib.pyplot as plt

    plt.close(ax.figure)


@pytest.mark.parametrize(
    "options",
    [{"shares": [0.0]}, {"shares": [1.0]}, {"shares": [1.5]}, {"shares": []}, {"repeats": 0}],
)
def test_impossible_plans(options):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        nk.tl.depth_stability(_cells([[1, 2]]), _by_gene, column="call", **options)


def test_other_errors():
    adata = _cells([[1, 2], [3, 4]])
    with pytest.raises(MissingKeyError, match="no 'nk_state'"):
        nk.tl.depth_stability(adata, print)

    def nobody(cells):
        cells.obs["call"] = "unassigned"

    with pytest.raises(DesignError, match="No cell has a call in obs\\['call'\\]"):
        nk.tl.depth_stability(adata, nobody, column="call")
    broken = _cells([[1.5, 2]])
    with pytest.raises(WrongScaleError, match="fractions"):
        nk.tl.depth_stability(broken, _by_gene, column="call")
