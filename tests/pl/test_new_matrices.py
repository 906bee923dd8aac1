"""Dot matrices of markers, pairs, gene sets and screens, and the heat map of responses."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore.errors import MissingKeyError
from nkscore.pl._heatmap import spread


def _ticks(ax):
    return (
        [tick.get_text() for tick in ax.get_xticklabels()],
        [tick.get_text() for tick in ax.get_yticklabels()],
    )


@pytest.fixture
def markers():
    return pd.DataFrame(
        {
            "group": ["resting", "activated"] * 3,
            "gene": ["LTB", "LTB", "CRTAM", "CRTAM", "B2M", "B2M"],
            "block": ["a", "a", "b", "b", "b", "b"],
            "mean": [2.0, 0.5, 0.0, 1.0, 4.0, 4.0],
            "z_score": [3.0, -3.0, -0.7, 0.7, np.nan, np.nan],
            "fraction": [0.5, 0.25, 0.0, 0.64, 1.0, 1.0],
            "n_cells": 100,
        }
    )


def test_marker_dots_of_scanpy(markers):
    ax = pl.marker_dots(markers)
    assert _ticks(ax) == (["Resting", "Activated"], ["LTB", "CRTAM", "B2M"])
    drawn = next(c for c in ax.collections if c.get_array() is not None)
    np.testing.assert_allclose(drawn.get_array(), [2, 0.5, 0, 1, 4, 4])
    area = drawn.get_sizes()
    np.testing.assert_allclose(area[:4] / area[4], np.array([0.5, 0.25, 0, 0.64]) ** 1.5)
    assert drawn.get_clim() == (0, 4)


def test_marker_dots_of_seurat_are_cut_and_mark_constant_genes(markers):
    ax = pl.marker_dots(markers, convention="seurat")
    drawn = next(c for c in ax.collections if c.get_array() is not None)
    np.testing.assert_allclose(drawn.get_array(), [2.5, -2.5, -0.7, 0.7])
    assert drawn.get_clim() == (-2.5, 2.5)
    area = drawn.get_sizes()
    np.testing.assert_allclose(area[1] / area[0], (0.25 / 0.5) ** 2)
    crosses = [c for c in ax.collections if c.get_array() is None and len(c.get_offsets()) == 2]
    np.testing.assert_allclose(crosses[-1].get_offsets(), [[0, 2], [1, 2]])


def test_marker_dots_part_blocks(markers):
    lines = [c for c in pl.marker_dots(markers).collections if hasattr(c, "get_segments")]
    heights = [segment[0, 1] for part in lines for segment in part.get_segments()]
    assert 0.5 in heights
    assert 1.5 not in heights


def test_marker_dots_errors(markers):
    with pytest.raises(ValueError, match=r"Unknown convention 'monocle'\. Choose from: scanpy"):
        pl.marker_dots(markers, convention="monocle")
    with pytest.raises(ValueError, match=r"needs at least two groups\. Use convention='scanpy'"):
        pl.marker_dots(markers.assign(z_score=np.nan), convention="seurat")
    with pytest.raises(MissingKeyError, match=r"'z_score'.*tl.marker_table"):
        pl.marker_dots(markers.drop(columns="z_score"), convention="seurat")
    with pytest.raises(ValueError, match="Unknown genes 'IFNG'"):
        pl.marker_dots(markers, genes=["IFNG"])


def test_one_state_is_enough_for_scanpy(markers):
    ax = pl.marker_dots(markers[markers["group"] == "resting"])
    assert _ticks(ax)[0] == ["Resting"]


@pytest.fixture
def pairs():
    return pd.DataFrame(
        {
            "tumor": ["K562", "697"] * 3,
            "nk_gene": ["KLRC1", "KLRC1", "CD2", "CD2", "NCR3", "NCR3"],
            "nk_partners": ["KLRD1", "KLRD1", None, None, "", ""],
            "tumor_gene": ["HLA-E", "HLA-E", "CD58", "CD58", "BAG6", "BAG6"],
            "log2_fc": [2.0, 1.0, 0.0, -0.5, np.nan, 0.1],
            "q_value": [1e-9, 1e-3, 0.9, 0.04, np.nan, 0.6],
            "ambient_suspect": [False, False, False, True, False, False],
        }
    )


def test_communication_rows_and_rings(pairs):
    # Pairs that ambient RNA may explain stand last.
    ax = pl.communication_dots(pairs)
    assert _ticks(ax) == (["697", "K562"], ["KLRC1+KLRD1 – HLA-E", "NCR3 – BAG6", "CD2 – CD58*"])
    drawn = next(c for c in ax.collections if c.get_array() is not None)
    assert len(drawn.get_offsets()) == 5
    rings = [to_hex(color) == "#262626" for color in drawn.get_edgecolors()]
    assert rings == [True, True, False, True, False]
    assert _ticks(pl.communication_dots(pairs, pairs=1))[1] == ["KLRC1+KLRD1 – HLA-E"]


def test_communication_by_state(pairs):
    table = pairs[pairs["tumor"] == "K562"].assign(nk_state="resting")
    assert _ticks(pl.communication_dots(table, by="nk_state"))[0] == ["resting"]
    twice = pairs.assign(nk_state=["resting", "activated"] * 3)
    with pytest.raises(ValueError, match="several rows for tumor K562"):
        pl.communication_dots(pd.concat([twice, twice.assign(nk_state="x")]))


def test_enrichment_prints_readable_names():
    table = pd.DataFrame(
        {
            "tumor": "K562",
            "set": ["HALLMARK_TNFA_SIGNALING_VIA_NFKB", "OWN_SET"],
            "t": [3.0, -9.0],
            "q_value": [0.01, 1e-8],
        }
    )
    ax = pl.enrichment_dots(table)
    assert _ticks(ax)[1] == ["OWN_SET", "TNFα signaling via NF-κB"]
    assert _ticks(pl.enrichment_dots(table, sets=["HALLMARK_TNFA_SIGNALING_VIA_NFKB"]))[1] == [
        "TNFα signaling via NF-κB"
    ]
    with pytest.raises(ValueError, match="Unknown sets 'X'"):
        pl.enrichment_dots(table, sets=["X"])


@pytest.fixture
def hits():
    return pd.DataFrame(
        {
            "screen": ["K562"] * 4 + ["NALM6"] * 3,
            "gene": ["CD58", "HLA-E", "ACTB", "ctrl", "CD58", "HLA-E", "ACTB"],
            "log2_fc": [2.0, -2.0, 0.1, 0.0, 0.5, -1.0, 0.2],
            "p_value": [1e-6, 1e-4, 0.5, 0.6, 0.2, 1e-5, 0.0],
            "role": ["activating", "inhibitory", "activating", "activating"] + ["inhibitory"] * 3,
            "is_control": [False] * 3 + [True] + [False] * 3,
            "hit": [True, True, False, False, False, True, False],
        }
    )


def test_screen_dots_ring_the_hits(hits):
    ax = pl.screen_dots(hits)
    assert _ticks(ax) == (["K562", "NALM6"], ["HLA-E", "CD58", "ACTB", "ctrl"])
    drawn = next(c for c in ax.collections if c.get_array() is not None)
    rings = [to_hex(color) == "#262626" for color in drawn.get_edgecolors()]
    # Row by row: HLA-E, CD58 (no hit in NALM6), ACTB (p = 0 but no hit), ctrl.
    assert rings == [True, True, True, False, False, False, False]
    joined = pd.DataFrame({"gene": ["ACTB", "CD58", "unknown"]})
    assert _ticks(pl.screen_dots(hits, genes=2, joined=joined))[1] == ["ACTB", "CD58"]


def test_screen_scatter_colors_roles_and_names_hits(hits):
    ax = pl.screen_scatter(hits, screen="K562")
    words = {text.get_text() for text in ax.texts}
    assert {"CD58", "HLA-E", "2 hits of 4 genes"} <= words
    assert "ACTB" not in words
    found = {}
    for layer in ax.collections:
        for place in layer.get_offsets():
            found[tuple(np.round(place, 2))] = to_hex(layer.get_facecolors()[0])
    assert found[2.0, 6.0] == "#c8442b"
    assert found[-2.0, 4.0] == "#2b6cb0"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["Promotes killing", "Prevents killing", "No hit", "Control"]


def test_screen_p_of_zero_stays_finite_and_errors(hits):
    ax = pl.screen_scatter(hits, screen="NALM6")
    assert np.isfinite(ax.get_ylim()).all()
    with pytest.raises(ValueError, match=r"2 screens; one is needed. Pass screen= one of: 'K562'"):
        pl.screen_scatter(hits)


@pytest.fixture
def modules():
    genes = [f"G{i}" for i in range(40)]
    return pd.DataFrame(
        {
            "gene": genes,
            "module": np.repeat([1, 2], 20),
            "label": ["unnamed"] * 20 + ["HALLMARK_INTERFERON_GAMMA_RESPONSE"] * 20,
            "variance": np.linspace(1, 2, 40),
        }
    )


def _responses(modules, n_lines):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [(f"L{i}", gene) for i in range(n_lines) for gene in modules["gene"]],
        columns=["tumor", "gene"],
    )
    return table.assign(log2_fc=rng.normal(size=len(table)), lineage="AML")


def test_heatmap_holds_the_values_in_order_of_the_modules(modules):
    table = _responses(modules, 5)
    ax = pl.response_heatmap(table, modules=modules, tumors=["L3", "L0", "L1"])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["L3", "L0", "L1"]
    values = np.asarray(ax.collections[0].get_array()).reshape(40, 3)
    wide = table.pivot_table(index="gene", columns="tumor", values="log2_fc")
    np.testing.assert_allclose(values, wide.loc[modules["gene"], ["L3", "L0", "L1"]])


@pytest.mark.parametrize("n_lines", [1, 2, 60])
def test_heatmap_of_few_and_many_lines_names_genes_and_modules_without_overlap(modules, n_lines):
    ax = pl.response_heatmap(_responses(modules, n_lines), modules=modules)
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text().startswith("G")]
    assert len(boxes) >= 20
    names = [text for text in ax.texts if text.get_ha() == "right"]
    assert [text.get_text()[0] for text in names] == ["1", "2", "3", "4", "5"][: len(names)]
    boxes += [text.get_window_extent() for text in names]
    boxes.append(ax.get_legend().get_window_extent())
    assert not any(a.padded(-0.5).overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert any("Interferon" in text.get_text() for text in names)


def test_a_thin_module_keeps_the_name_of_its_gene_set():
    genes = [f"G{i}" for i in range(80)]
    modules = pd.DataFrame({"gene": genes, "module": [1] * 3 + [2] * 75 + [3] * 2})
    modules["label"] = modules["module"].map({1: "HALLMARK_HYPOXIA", 2: "unnamed", 3: "OWN_SET"})
    modules["label_q"] = modules["module"].map({1: 3e-10, 2: 1.0, 3: 0.02})
    ax = pl.response_heatmap(_responses(modules, 3), modules=modules, label=0)
    names = [text.get_text() for text in ax.texts if text.get_ha() == "right"]
    assert names == ["1  Hypoxia (q = 3e-10)", "2", "3  OWN_SET (q = 2e-2)"]


def test_heatmap_marks_what_was_not_tested(modules):
    table = _responses(modules, 3).iloc[1:]
    ax = pl.response_heatmap(table, modules=modules, tumors=["L0", "L1", "L2"], label=["G5"])
    assert np.ma.getmaskarray(ax.collections[0].get_array()).sum() == 1
    assert "G5" in [text.get_text() for text in ax.texts]


def test_heatmap_errors(modules):
    with pytest.raises(ValueError, match="share no gene"):
        pl.response_heatmap(
            _responses(modules, 2).assign(gene="x", tumor=range(80)), modules=modules
        )
    with pytest.raises(ValueError, match="Unknown genes 'X'"):
        pl.response_heatmap(_responses(modules, 2), modules=modules, label=["X"])


def test_spread_keeps_order_and_distance():
    places = spread(np.array([1.0, 1.1, 1.2, 9.0]), 1.0, 10.0)
    np.testing.assert_allclose(places, [0.1, 1.1, 2.1, 9.0])
    np.testing.assert_allclose(spread(np.array([0.0, 0.1]), 1.0, 10.0), [0.0, 1.0])
    np.testing.assert_allclose(spread(np.array([9.9, 10.0]), 1.0, 10.0), [9.0, 10.0])


@pytest.mark.parametrize("draw", ["marker_dots", "communication_dots", "screen_dots"])
def test_given_axes_are_used_and_input_stays(draw, markers, pairs, hits):
    table = {"marker_dots": markers, "communication_dots": pairs, "screen_dots": hits}[draw]
    before = table.copy()
    _, ax = plt.subplots()
    assert getattr(pl, draw)(table, ax=ax) is ax
    pd.testing.assert_frame_equal(table, before)
