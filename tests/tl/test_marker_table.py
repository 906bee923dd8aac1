from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from nkscore import tl
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError


@pytest.fixture
def cells():
    """Two cells each of two groups, one unassigned, one without a group, one that failed."""
    counts = np.array([[3, 0], [0, 0], [1, 7], [1, 0], [9, 9], [9, 9], [9, 9.0]])
    obs = pd.DataFrame(
        {
            "nk_state": pd.Categorical(
                ["resting", "resting", "activated", "activated", "unassigned", None, "resting"],
                ["resting", "activated", "cytokine", "unassigned"],
            ),
            "qc_pass": [True] * 6 + [False],
        },
        index=list("abcdefg"),
    )
    adata = AnnData(sparse.csr_matrix(np.log1p(counts)), obs=obs)
    adata.var_names = ["LTB", "IFNG"]
    return adata


def test_by_hand(cells):
    table = tl.marker_table(cells, ["IFNG", "LTB"])
    assert table["group"].tolist() == ["resting", "resting", "activated", "activated"]
    assert table["gene"].tolist() == ["IFNG", "LTB"] * 2
    np.testing.assert_allclose(table["mean"], [0, np.log(4) / 2, np.log(8) / 2, np.log(2)])
    np.testing.assert_allclose(table["mean_expm1"], [0, 1.5, 3.5, 1])
    np.testing.assert_allclose(table["fraction"], [0, 0.5, 0.5, 1])
    # Of two numbers, R's scale gives -1/√2 and 1/√2.
    np.testing.assert_allclose(table["z_score"] * np.sqrt(2), [-1, 1, 1, -1])
    assert table["n_cells"].tolist() == [2, 2, 2, 2]


def test_scanpy_and_seurat_scales_on_more_groups(cells):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (60, 3))
    obs = pd.DataFrame({"line": np.repeat(["a", "b", "c"], 20)}, index=map(str, range(60)))
    adata = AnnData(sparse.csr_matrix(np.log1p(counts)), obs=obs)
    table = tl.marker_table(adata, list(adata.var_names), by="line")
    frame = pd.DataFrame(counts, index=obs["line"]).groupby(level=0).mean()
    expected = (frame - frame.mean()) / frame.std(ddof=1)
    np.testing.assert_allclose(table["z_score"], expected.to_numpy().ravel())
    dense = AnnData(np.asarray(adata.X.todense()), obs=obs)
    pd.testing.assert_frame_equal(tl.marker_table(dense, list(dense.var_names), by="line"), table)


def test_constant_genes_and_one_group_have_no_z_score(cells):
    one = cells[[0, 1]].copy()
    assert tl.marker_table(one, ["LTB"])["z_score"].isna().all()
    same = AnnData(np.ones((4, 1)), obs=cells.obs.iloc[:4])
    assert tl.marker_table(same, list(same.var_names))["z_score"].isna().all()


def test_blocks_and_absent_genes(cells, caplog):
    table = tl.marker_table(cells, {"x": ["LTB", "CRTAM"], "y": ["IFNG"]})
    assert table["block"].tolist() == ["x", "y"] * 2
    assert table.attrs["left_out"] == ["CRTAM"]
    assert "CRTAM" in caplog.text


def test_errors(cells):
    with pytest.raises(GeneCoverageError, match=r"None of the 1 genes .* Gene symbols"):
        tl.marker_table(cells, ["Ltb"])
    with pytest.raises(GeneCoverageError, match="'LTB' is listed twice"):
        tl.marker_table(cells, {"a": ["LTB"], "b": ["LTB"]})
    with pytest.raises(MissingKeyError, match="no 'state'"):
        tl.marker_table(cells, ["LTB"], by="state")
    with pytest.raises(DesignError, match="at least one group is needed"):
        tl.marker_table(cells[[4, 5, 6]].copy(), ["LTB"])
    with pytest.raises(WrongScaleError, match="log1p"):
        tl.marker_table(AnnData(cells.X * 100, obs=cells.obs, var=cells.var), ["LTB"])


def test_groups_that_are_numbers(cells):
    """Cells that failed QC do not change the names of the groups; 10 comes after 9."""
    cells.obs["cluster"] = [9, 9, 10, 10, 9, 10, 10]
    table = tl.marker_table(cells, ["LTB"], by="cluster")
    assert table["group"].tolist() == ["9", "10"]
    assert table["n_cells"].tolist() == [3, 3]


def test_a_block_of_one_gene(cells):
    one = tl.marker_table(cells, {"x": "LTB"})
    pd.testing.assert_frame_equal(one, tl.marker_table(cells, {"x": ["LTB"]}))
