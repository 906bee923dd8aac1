from __future__ import annotations

import numpy as np
import pytest

from nkscore import pl
from nkscore.errors import MissingKeyError


def _dotted(ax):
    return [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() != "-"]


def test_panels_limits_and_verdict(cells):
    figure = pl.qc(cells)
    names = [ax.get_xlabel() for ax in figure.axes]
    assert names == ["UMI counts", "Genes", "Mitochondrial (%)", "Ribosomal (%)", "Cells"]
    assert _dotted(figure.axes[0]) == pytest.approx([np.log10(500)])
    assert _dotted(figure.axes[1]) == []
    assert _dotted(figure.axes[2]) == [15.0]
    assert [text.get_text() for text in figure.axes[-1].texts] == ["10 kept\n2 removed"]
    assert [bar.get_width() for bar in figure.axes[-1].patches] == [10, 2]


def test_each_lane_has_its_row_its_limits_and_its_cells(cells):
    cells.obs["lane"] = ["L10"] * 5 + ["L2"] * 7
    cells.uns["nkscore"]["pp.qc"]["limits"] = {
        "L2": {"pct_counts_mt": [0.0, 10.0]},
        "L10": {"pct_counts_mt": [0.0, 12.0]},
    }
    figure = pl.qc(cells)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["L2", "L10"]
    assert _dotted(figure.axes[2]) == [0.0, 10.0, 0.0, 12.0]
    words = [text.get_text() for text in figure.axes[-1].texts]
    assert words == ["7 kept\n0 removed", "3 kept\n2 removed"]


def test_median_and_points_are_those_of_the_lane(cells):
    ax = pl.qc(cells).axes[2]
    kept, removed, median = ax.collections
    np.testing.assert_allclose(np.sort(kept.get_offsets()[:, 0]), cells.obs["pct_counts_mt"][2:])
    np.testing.assert_allclose(np.sort(removed.get_offsets()[:, 0]), cells.obs["pct_counts_mt"][:2])
    assert median.get_offsets()[0, 0] == pytest.approx(cells.obs["pct_counts_mt"].median())


def test_without_limits_and_without_percentages(cells):
    del cells.uns["nkscore"]
    del cells.obs["pct_counts_ribo"]
    cells.obs["pct_counts_mt"] = np.nan
    figure = pl.qc(cells)
    assert len(figure.axes) == 4
    assert not figure.axes[2].collections


def test_limits_survive_h5ad(cells, tmp_path):
    import anndata

    cells.uns["nkscore"]["pp.qc"]["limits"] = {"L1": {"pct_counts_mt": [0.0, 15.0]}}
    cells.obs = cells.obs.drop(columns=["sample", "hashtag"])
    cells.write_h5ad(tmp_path / "x.h5ad")
    figure = pl.qc(anndata.read_h5ad(tmp_path / "x.h5ad"))
    assert _dotted(figure.axes[2]) == [0.0, 15.0]


def test_lane_names_with_slashes_find_their_limits(cells):
    cells.obs["lane"] = "run/1"
    cells.uns["nkscore"]["pp.qc"]["limits"] = {"run|1": {"pct_counts_mt": [0.0, 9.0]}}
    assert _dotted(pl.qc(cells).axes[2]) == [0.0, 9.0]


def test_errors(cells):
    with pytest.raises(ValueError, match="adata has no cells"):
        pl.qc(cells[:0].copy())
    del cells.obs["total_counts"]
    with pytest.raises(MissingKeyError, match=r"total_counts.*pp.qc"):
        pl.qc(cells)
