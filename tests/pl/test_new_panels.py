"""Density maps, forests, bars, lines, reliability and boxes."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from nkscore import pl
from nkscore.errors import MissingKeyError


def _nk(n, tumors, *, states=("resting", "activated")):
    rng = np.random.default_rng(1)
    obs = pd.DataFrame(
        {
            "tumor": np.resize(tumors, n),
            "compartment": "nk",
            "condition": "coculture",
            "nk_state": np.resize(states, n),
        },
        index=[f"c{i}" for i in range(n)],
    )
    return AnnData(np.ones((n, 1)), obs=obs, obsm={"X_umap": rng.normal(size=(n, 2))})


def _titles(figure):
    return [ax.get_title() for ax in figure.axes]


def test_density_peaks_where_the_cells_are():
    adata = _nk(300, ["K562", "697"])
    right = (adata.obs["tumor"] == "K562").to_numpy()
    adata.obsm["X_umap"][:, 0] = np.where(right, 5, -5) + adata.obsm["X_umap"][:, 0]
    figure = pl.state_density(adata)
    assert _titles(figure) == ["All, by state", "697", "K562"]
    for ax, side in zip(figure.axes[1:], (-1, 1), strict=True):
        contours = [
            c for c in ax.collections if len(c.get_paths()) > 1 and c.get_array() is not None
        ]
        paths = [p.vertices for p in contours[-1].get_paths() if len(p.vertices)]
        assert len(paths) >= 4
        # The highest band lies within the cloud of the line.
        assert np.sign(paths[-1][:, 0].mean()) == side
        assert abs(abs(paths[-1][:, 0].mean()) - 5) < 1.5


def test_density_shows_nk_alone_and_few_cells_as_points():
    adata = _nk(100, ["K562"])
    adata.obs["condition"] = ["nk_mono"] * 90 + ["coculture"] * 10
    figure = pl.state_density(adata)
    assert _titles(figure)[1:] == ["NK alone", "K562"]
    assert [ax.texts[0].get_text() for ax in figure.axes[1:]] == ["90", "10"]
    points = figure.axes[2].collections[-1].get_offsets()
    assert len(points) == 10


def test_density_of_one_state_of_sixty_lines():
    adata = _nk(1300, [f"L{i}" for i in range(60)], states=["resting"])
    figure = pl.state_density(adata)
    figure.draw_without_rendering()
    assert len(figure.axes) == 61
    titles = [ax.title.get_window_extent() for ax in figure.axes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))
    legend = figure.axes[5].get_legend().get_window_extent()
    assert figure.bbox.x1 >= legend.x1


def test_density_draws_a_sample_of_large_maps_as_an_image(monkeypatch):
    monkeypatch.setattr("nkscore.pl._density._MOST_GRAY", 25_000)
    figure = pl.state_density(_nk(40_000, ["K562"]))
    gray = figure.axes[1].collections[0]
    assert len(gray.get_offsets()) == 25_000
    assert gray.get_rasterized()
    assert figure.axes[1].texts[0].get_text() == "40,000"


def test_density_errors():
    adata = _nk(50, ["K562"])
    with pytest.raises(MissingKeyError, match=r"'X_pca'.*tl.embed"):
        pl.state_density(adata, basis="X_pca")
    with pytest.raises(ValueError, match=r"No cell of compartment 'tumor'.*compartment=None"):
        pl.state_density(adata, compartment="tumor")
    with pytest.raises(ValueError, match="No cell of condition 'medium'"):
        pl.state_density(adata, condition="medium")
    with pytest.raises(ValueError, match="Unknown groups 'HeLa'"):
        pl.state_density(adata, groups=["HeLa"])


@pytest.fixture
def core():
    return pd.DataFrame(
        {
            "gene": ["B2M", "CD74", "ACTB"],
            "core": [True, False, False],
            "log2_fc": [1.0, 0.5, np.nan],
            "ci_low": [0.8, -0.1, np.nan],
            "ci_high": [1.2, 1.1, np.nan],
            "prediction_low": [0.4, -np.inf, np.nan],
            "prediction_high": [1.6, np.inf, np.nan],
            "n_lines": [26, 20, 1],
            "n_up": [25, 4, 0],
            "n_down": [0, 2, 0],
        }
    )


def test_core_response_draws_both_intervals(core):
    ax = pl.core_response(core)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["B2M", "CD74"]
    lines = [c.get_segments() for c in ax.collections if hasattr(c, "get_segments")]
    (wide, narrow) = lines
    np.testing.assert_allclose(wide[0][:, 0], [0.4, 1.6])
    # An infinite interval runs to the edges of the axes.
    np.testing.assert_allclose(wide[1][:, 0], ax.get_xlim())
    np.testing.assert_allclose(narrow[1][:, 0], [-0.1, 1.1])
    assert [t.get_text() for t in ax.texts] == ["25/26 up", "4/20 up", "passes in"]
    falls = core.assign(log2_fc=[1.0, -0.5, np.nan])
    falls.attrs["effect"] = "log2_fc_adjusted"
    ax = pl.core_response(falls)
    assert [t.get_text() for t in ax.texts][:2] == ["25/26 up", "2/20 down"]
    assert "adjusted for ambient RNA" in ax.get_xlabel()


def test_core_response_without_predictions_and_errors(core):
    few = core.drop(columns=["prediction_low", "prediction_high", "n_up", "core"])
    words = [t.get_text() for t in pl.core_response(few, genes=["B2M"]).get_legend().get_texts()]
    assert not any("further line" in word for word in words)
    with pytest.raises(MissingKeyError, match=r"'ci_low'.*method='random_effects'"):
        pl.core_response(core.drop(columns="ci_low"))
    with pytest.raises(ValueError, match="holds no finite number"):
        pl.core_response(core, genes=["ACTB"])


def test_ambient_in_percent():
    table = pd.DataFrame(
        {
            "sample": ["b", "a"],
            "ambient_share": [0.05, 0.1],
            "ci_low": [0.04, 0.08],
            "ci_high": [0.06, 0.12],
            "nk_share": [0.02, 0.03],
            "evidence": ["monoculture", "list"],
        }
    )
    ax = pl.ambient(table)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [3, 2])
    np.testing.assert_allclose(ax.collections[-1].get_offsets()[:, 0], [10, 5])
    assert len(ax.get_legend().get_texts()) == 3


@pytest.fixture
def parts():
    return pd.DataFrame(
        {
            "tumor": np.repeat(["K562", "697"], 4),
            "lineage": np.repeat(["CML", "B-ALL"], 4),
            "component": ["total", "induction", "selection", "selection"] * 2,
            "stratum": ["all", "all", "all", "clone1"] * 2,
            "change": [0.2, 0.3, -0.1, -0.1, 0.5, 0.1, 0.4, 0.4],
            "ci_low": 0.0,
            "ci_high": 0.5,
        }
    )


def test_decomposition_bars_and_totals(parts):
    ax = pl.decomposition(parts)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["697", "K562"]
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [0.1, 0.3, 0.4, -0.1])
    diamonds = next(c for c in ax.collections if len(c.get_offsets()) == 2)
    np.testing.assert_allclose(diamonds.get_offsets()[:, 1], [0.5, 0.2])
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["Induction", "Selection", "Total"]
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    for x in diamonds.get_offsets()[:, 0]:
        assert not any(left < x < right for left, right in bars)
    parts.attrs["score"] = "HALLMARK_APOPTOSIS"
    named = parts.assign(se=0.1, df=4.0, n_samples_treated=3, n_samples_control=2)
    named["ci_high"] = named["change"] + 0.1 * 2.776445
    ax = pl.decomposition(named)
    assert ax.get_ylabel() == "Change of Apoptosis\n(95 % interval)"
    assert ax.get_title(loc="left") == "n = 3 against 2 samples"


def test_decomposition_errors(parts):
    with pytest.raises(ValueError, match="no rows"):
        pl.decomposition(parts[parts["stratum"] == "clone1"])
    with pytest.raises(ValueError, match="several rows for tumor K562, component total"):
        pl.decomposition(pd.concat([parts, parts.head(1)]))


def test_time_course_joins_means_of_donors():
    table = pd.DataFrame(
        {
            "tumor": ["K562"] * 4 + ["697"] * 2,
            "time_h": [0, 0, 24, 24, 0, 24],
            "fraction": [0.0, 0.2, 0.6, 0.8, 0.1, 0.1],
        }
    )
    ax = pl.time_course(table, value="fraction")
    drawn = {line.get_label(): line.get_ydata() for line in ax.lines}
    np.testing.assert_allclose(drawn["K562"], [0.1, 0.7])
    np.testing.assert_allclose(drawn["697"], [0.1, 0.1])
    assert len(ax.collections[0].get_offsets()) == 4
    with pytest.raises(ValueError, match="'time_h' holds 'late'; numbers are needed"):
        pl.time_course(table.assign(time_h="late"), value="fraction")


def test_sixty_lines_over_time_keep_a_short_legend():
    table = pd.DataFrame(
        [(f"L{i}", t, i * t) for i in range(60) for t in (0, 6, 24)],
        columns=["tumor", "time_h", "log_odds_ratio"],
    )
    ax = pl.time_course(table)
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(words) == 13
    assert words[-1] == "48 others"
    assert "L59" in words


def test_depth_is_logarithmic_with_intervals():
    table = pd.DataFrame(
        {
            "method": "ucell",
            "depth": [500, 5000],
            "accuracy": [0.7, 0.9],
            "ci_low": [0.6, 0.8],
            "ci_high": [0.8, 1.0],
        }
    )
    ax = pl.depth(table)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["500", "5,000"]
    assert len(ax.collections) == 1
    with pytest.raises(ValueError, match="'depth' must hold numbers above 0"):
        pl.depth(table.assign(depth=0))


def test_reliability_places_and_errors():
    table = pd.DataFrame(
        {
            "bin_low": [0.5, 0.9],
            "bin_high": [0.6, 1.0],
            "confidence": [0.55, 0.95],
            "observed": [0.45, 1.0],
            "n_cells": [20, 80],
        }
    )
    ax = pl.reliability(table)
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), [[0.55, 0.45], [0.95, 1.0]])
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [0.2, 0.8])
    # 0.2 · 0.10 + 0.8 · 0.05
    assert ax.texts[0].get_text() == "n = 100 cells\nmean gap = 0.060"
    with pytest.raises(ValueError, match="'observed' holds 2; probabilities"):
        pl.reliability(table.assign(observed=2.0))


def test_boxes_only_of_four_lines_and_brackets_only_of_small_q():
    table = pd.DataFrame({"lineage": ["AML"] * 4 + ["MM"] * 2, "change": [3, 4, 5, 6, 0, 1.0]})
    tests = pd.DataFrame(
        {"lineage": ["AML"], "other": ["MM"], "q_value": [0.01], "p_overall": [0.004]}
    )
    ax = pl.box_by_group(table, value="change", tests=tests)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["MM\n(2)", "AML\n(4)"]
    assert len(ax.patches) == 1
    assert [text.get_text() for text in ax.texts] == ["q = 0.01"]
    assert ax.get_title(loc="left") == "overall p = 0.004"
    weak = pl.box_by_group(table, value="change", tests=tests.assign(q_value=0.5))
    assert not weak.texts
    points = np.concatenate(
        [c.get_offsets()[:, 1] for c in ax.collections if len(c.get_offsets()) > 1]
    )
    np.testing.assert_allclose(sorted(points), [0, 1, 3, 4, 5, 6])


def test_box_errors():
    table = pd.DataFrame({"lineage": ["AML", None], "change": [np.nan, 1.0]})
    with pytest.raises(ValueError, match="No row has both 'lineage' and a finite 'change'"):
        pl.box_by_group(table, value="change")


def test_given_axes_are_used(core, parts):
    _, (one, two) = plt.subplots(1, 2)
    assert pl.core_response(core, ax=one) is one
    assert pl.decomposition(parts, ax=two) is two


def test_folder_that_cannot_be_written(tmp_path, core):
    """The error names the file; a file in place of a folder fails for every user, root too."""
    blocked = tmp_path / "figures"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="figures"):
        pl.save(pl.core_response(core), blocked / "core")


def test_without_house_fonts(monkeypatch, core, tmp_path):
    monkeypatch.setattr("nkscore.pl._style._FAMILIES", ("No Such Font",))
    assert pl.save(pl.core_response(core), tmp_path / "core", formats=["pdf"])[0].stat().st_size
