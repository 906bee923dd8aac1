from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore._colors import BACKGROUND, MISSING
from nkscore.errors import MissingKeyError


def _legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def _drawn(ax):
    """Map each drawn place to its color."""
    return {
        tuple(np.round(place, 9)): to_hex(color)
        for layer in ax.collections
        for place, color in zip(layer.get_offsets(), layer.get_facecolors(), strict=True)
    }


def test_each_cell_has_the_color_of_its_level(cells):
    ax = pl.embedding(cells, color="compartment")
    drawn = _drawn(ax)
    colors = pl.palette("compartment", cells.obs["compartment"].cat.categories)
    for place, level in zip(cells.obsm["X_umap"], cells.obs["compartment"], strict=True):
        assert drawn[tuple(np.round(place, 9))] == colors[level].lower()
    assert len(drawn) == 12


def test_gray_levels_and_missing_cells_lie_beneath(cells):
    ax = pl.embedding(cells, gray="tumor_mono")
    below, above = ax.collections
    shades = {to_hex(color) for color in below.get_facecolors()}
    assert shades == {BACKGROUND.lower(), MISSING.lower()}
    assert len(below.get_offsets()) == 6
    assert {to_hex(c) for c in above.get_facecolors()} == {
        pl.palette("condition")["coculture"].lower()
    }
    assert _legend(ax) == ["Co-culture", "Tumor alone", "Unassigned"]


def test_cells_outside_a_state_column_are_no_unassigned_ones(cells):
    states = ["activated"] * 4 + ["unassigned"] * 2 + [None] * 6
    cells.obs["nk_state"] = pd.Categorical(states, ["activated", "unassigned"])
    ax = pl.embedding(cells, color="nk_state")
    assert _legend(ax) == ["Activated", "Unassigned", "Other cells"]
    below = [to_hex(color) for color in ax.collections[0].get_facecolors()]
    shades = {shade: below.count(shade) for shade in below}
    assert sorted(shades.values()) == [2, 6]
    # Two grays that differ by more than a tenth of the scale.
    dark, light = sorted(int(shade[1:3], 16) for shade in shades)
    assert light - dark > 60


def test_gray_may_be_changed(cells):
    beneath = [
        len(pl.embedding(cells, gray=gray).collections[0].get_offsets())
        for gray in ((), "coculture", ["tumor_mono"])
    ]
    assert beneath == [2, 8, 6]


def test_monocultures_lie_on_top(cells):
    ax = pl.embedding(cells)
    hues = [{to_hex(c) for c in layer.get_facecolors()} for layer in ax.collections]
    colors = pl.palette("condition")
    assert hues[-2:] == [{colors["coculture"].lower()}, {colors["tumor_mono"].lower()}]


def test_lines_are_named_on_the_map_and_nk_cells_are_one_group(cells):
    cells.obs.loc[cells.obs_names[4:6], ["tumor", "condition"]] = [None, "nk_mono"]
    ax = pl.embedding(cells, color="tumor")
    names = {text.get_text() for text in ax.texts} - {"UMAP 1", "UMAP 2", ""}
    assert names == {"697", "K562", "NK"}
    assert ax.get_legend() is None
    drawn = _drawn(ax)
    for place in cells.obsm["X_umap"][4:7]:
        assert drawn[tuple(np.round(place, 9))] == BACKGROUND.lower()
    for name in ("697", "K562"):
        assert pl.palette("tumor", ["697", "K562"])[name].lower() in drawn.values()
    nk = pl.embedding(cells, color="tumor", compartment="nk")
    assert len(_drawn(nk)) == 3
    assert _legend(nk) == ["697", "NK alone"]


def test_names_on_the_map_do_not_cover_each_other():
    adata = AnnData(
        np.ones((9, 1)),
        obs={"tumor": [f"LINE{i}" for i in range(9)]},
        obsm={"X_umap": np.column_stack([np.zeros(9), np.linspace(0, 0.1, 9)])},
    )
    ax = pl.embedding(adata, color="tumor")
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if "LINE" in text.get_text()]
    assert len(boxes) == 9
    assert not any(a.padded(-0.5).overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_genes_scores_and_several_columns(cells):
    cells.var_names = ["GNLY", "CD3E"]
    cells.X = np.column_stack([np.arange(12) % 3, np.ones(12)]).astype(np.float32)
    cells.obsm["mine"] = pd.DataFrame({"OWN": np.arange(12.0)}, index=cells.obs_names)
    figure = pl.embedding(cells, color=["GNLY", "OWN", "CORE", "compartment"], n_columns=2)
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in panels] == ["GNLY", "OWN", "CORE", "Compartment"]
    zero, counted = panels[0].collections[:2]
    assert {to_hex(c) for c in zero.get_facecolors()} == {MISSING.lower()}
    assert sorted(counted.get_array()) == [1.0] * 4 + [2.0] * 4
    assert _legend(panels[0]) == ["No counts"]
    cells.obsm["other"] = cells.obsm["mine"] * 2
    with pytest.raises(ValueError, match=r"'OWN' is in 'mine', 'other'.*key="):
        pl.embedding(cells, color="OWN")
    points = pl.embedding(cells, color="OWN", key="other").collections[0]
    assert points.get_array().max() == 22
    with pytest.raises(MissingKeyError, match=r"no table 'none'; it has: .*'mine'"):
        pl.embedding(cells, color="OWN", key="none")
    with pytest.raises(ValueError, match="one ax"):
        pl.embedding(cells, color=["GNLY", "OWN"], ax=plt.figure().subplots())
    with pytest.raises(ValueError, match="color is empty"):
        pl.embedding(cells, color=[])
    with pytest.raises(ValueError, match=r"No cell of compartment 'NK'.*'nk'"):
        pl.embedding(cells, compartment="NK")


def test_groups_color_only_these(cells):
    ax = pl.embedding(cells, color="compartment", groups="nk")
    assert len(ax.collections[1].get_offsets()) == 3
    with pytest.raises(ValueError, match=r"groups names 'nk_cells'.*Choose from: 'nk', 'tumor'"):
        pl.embedding(cells, color="compartment", groups=["nk_cells"])


def test_numbers_come_from_obs_or_scores(cells):
    for color, values in (("CORE", np.arange(12.0)), ("total_counts", cells.obs["total_counts"])):
        ax = pl.embedding(cells, color=color)
        points = ax.collections[0]
        order = {
            tuple(np.round(p, 9)): v for p, v in zip(cells.obsm["X_umap"], values, strict=True)
        }
        expected = [order[tuple(np.round(place, 9))] for place in points.get_offsets()]
        np.testing.assert_allclose(points.get_array(), expected)
        assert len(ax.child_axes) == 1


def test_missing_numbers_are_gray_and_named(cells):
    cells.obs["number"] = [np.nan, *range(11)]
    ax = pl.embedding(cells, color="number")
    assert to_hex(ax.collections[0].get_facecolors()[0]) == MISSING.lower()
    assert _legend(ax) == ["Missing"]


def test_no_level_hides_another():
    rng = np.random.default_rng(0)
    obs = {"compartment": ["nk"] * 500 + ["tumor"] * 500}
    adata = AnnData(np.ones((1000, 1)), obs=obs, obsm={"X_umap": rng.normal(size=(1000, 2))})
    colors = [
        to_hex(c) for c in pl.embedding(adata, color="compartment").collections[0].get_facecolors()
    ]
    late = sum(color == pl.palette("compartment")["nk"].lower() for color in colors[500:])
    assert 200 < late < 300


def test_the_order_is_fixed(cells):
    one, two = (pl.embedding(cells).collections[-1].get_offsets() for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("count", "image"), [(2_000, False), (2_001, True)])
def test_many_points_become_an_image(count, image):
    adata = AnnData(
        np.ones((count, 1), dtype=np.float32),
        obs={"number": np.arange(count, dtype=float)},
        obsm={"X_umap": np.random.default_rng(0).normal(size=(count, 2))},
    )
    ax = pl.embedding(adata, color="number")
    assert bool(ax.collections[0].get_rasterized()) is image


def test_size_legend_and_axes_are_taken(cells):
    figure, (left, right) = plt.subplots(1, 2)
    count = len(plt.get_fignums())
    ax = pl.embedding(cells, size=7, legend=False, ax=left)
    assert ax is left
    assert ax.get_legend() is None
    assert set(ax.collections[0].get_sizes()) == {7}
    assert not right.collections
    assert len(plt.get_fignums()) == count
    assert plt.gcf() is figure


def test_axis_names(cells):
    words = [text.get_text() for text in pl.embedding(cells).texts]
    assert {"UMAP 1", "UMAP 2"} <= set(words)


def test_bool_and_text_columns_are_levels(cells):
    assert _legend(pl.embedding(cells, color="qc_pass")) == ["True", "False"]
    assert _legend(pl.embedding(cells, color="tumor", legend=True)) == ["697", "K562", "NK"]


def test_subset_keeps_the_colors_of_categories(cells):
    cells.obs["tumor"] = cells.obs["tumor"].astype("category")
    part = cells[cells.obs["tumor"] == "K562"].copy()
    part.obs["tumor"] = part.obs["tumor"].cat.set_categories(["697", "K562"])
    shade = to_hex(pl.embedding(part, color="tumor").collections[-1].get_facecolors()[0])
    assert shade == pl.palette("tumor", ["697", "K562"])["K562"].lower()


def test_input_is_unchanged(cells):
    before = cells.copy()
    pl.embedding(cells)
    assert cells.obs.equals(before.obs)
    np.testing.assert_array_equal(cells.obsm["X_umap"], before.obsm["X_umap"])
    assert not [key for key in cells.uns if key.endswith("_colors")]


def test_errors(cells):
    with pytest.raises(MissingKeyError, match=r"X_pca.*scanpy.tl.umap"):
        pl.embedding(cells, basis="X_pca")
    with pytest.raises(MissingKeyError, match=r"No 'nope' to color by.*'CORE'.*tl.score"):
        pl.embedding(cells, color="nope")
    with pytest.raises(ValueError, match="adata has no cells"):
        pl.embedding(cells[:0].copy())
    cells.obsm["X_one"] = np.ones((12, 1))
    with pytest.raises(ValueError, match="one column; two are needed"):
        pl.embedding(cells, basis="X_one")


def test_26_levels_fit_on_the_figure():
    levels = [f"LINE{i:02d}" for i in range(26)]
    adata = AnnData(
        np.ones((26, 1)), obs={"tumor": levels}, obsm={"X_umap": np.arange(52.0).reshape(26, 2)}
    )
    ax = pl.embedding(adata, color="tumor", legend=True)
    box, page = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1
    assert page.y0 <= box.y0
    assert box.y1 <= page.y1
