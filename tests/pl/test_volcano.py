from __future__ import annotations

import itertools
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore._colors import ACCENT, BACKGROUND, DOWN, UP
from nkscore.errors import MissingKeyError


def _points(ax):
    """Map the color of each layer to its places."""
    drawn = {}
    for layer in ax.collections:
        face = layer.get_facecolors()
        for i, place in enumerate(layer.get_offsets()):
            shade = to_hex(face[min(i, len(face) - 1)])
            drawn.setdefault(shade, []).append(tuple(np.round(place, 6)))
    return drawn


def _words(ax):
    return [text.get_text() for text in ax.texts if text.get_fontstyle() == "italic"]


def _note(ax):
    return next(text.get_text() for text in ax.texts if text.get_fontstyle() != "italic")


def _legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_places_and_colors(response):
    table = response.drop(columns="ambient_suspect")
    drawn = _points(pl.volcano(table, tumor="THP1"))
    assert drawn[UP.lower()] == [(1.0, 4.0)]
    assert drawn[DOWN.lower()] == [(-1.0, 3.0)]
    assert drawn[BACKGROUND.lower()] == [(0.4, 1.0)]


def test_signature_has_its_own_color_and_is_named_in_italics(response):
    for signature in (["B2M"], SimpleNamespace(genes=["B2M"]), pd.Index(["B2M"])):
        ax = pl.volcano(response, tumor="K562", highlight=signature)
        assert _points(ax)[ACCENT.lower()] == [(2.0, 12.0)]
        assert "Highlighted" in _legend(ax)
        assert set(_words(ax)) == {"B2M", "GNLY"}


def test_a_signature_is_named(response):
    signature = SimpleNamespace(name="HALLMARK_APOPTOSIS", genes=["B2M"])
    assert "Apoptosis" in _legend(pl.volcano(response, tumor="K562", highlight=signature))


def test_suspects_beyond_the_scale_of_the_others_are_arrows_at_the_edge(response):
    table = response[response["tumor"] == "K562"].copy()
    table.loc[table["gene"] == "GNLY", "log2_fc"] = 9.0
    ax = pl.volcano(table)
    reach = ax.get_xlim()[1]
    assert reach == pytest.approx(2.0 * 1.08)
    assert (reach, 5.0) in [tuple(p) for layer in ax.collections for p in layer.get_offsets()]
    assert "Beyond the axis" in _legend(ax)


def test_effects_without_ambient_counts_are_drawn_where_the_table_has_them(response):
    table = response.assign(
        log2_fc_adjusted=response["log2_fc"] / 2, p_value_adjusted=response["p_value"] * 10
    )
    ax = pl.volcano(table, tumor="THP1")
    assert (0.5, 3.0) in _points(ax)[UP.lower()]
    assert ax.get_xlabel() == "log$_2$ fold change,\nadjusted for ambient RNA"
    as_measured = pl.volcano(table, tumor="THP1", adjusted=False)
    assert (1.0, 4.0) in _points(as_measured)[UP.lower()]
    with pytest.raises(MissingKeyError, match="log2_fc_adjusted"):
        pl.volcano(response, tumor="THP1", adjusted=True)


def test_one_panel_per_tumor(response):
    figure = pl.volcano(response, tumor=["697", "K562", "THP1"], n_columns=2)
    panels = [ax for ax in figure.axes if ax.get_title(loc="left")]
    assert [ax.get_title(loc="left") for ax in panels] == ["697", "K562", "THP1"]
    assert len({ax.get_xlim() for ax in panels}) == 1
    with pytest.raises(ValueError, match=r"1 tumors in a list.*fig= for ax="):
        pl.volcano(response, tumor=["697"], ax=plt.figure().subplots())


def test_names_stay_on_their_side(response):
    table = response.assign(tumor="K562", gene=[f"A_LONG_NAME{i}" for i in range(len(response))])
    table = table.assign(log2_fc=np.linspace(-0.3, 0.3, len(table)), q_value=1e-4, p_value=1e-5)
    ax = pl.volcano(table, label=9)
    ax.figure.draw_without_rendering()
    middle = ax.transData.transform((0, 0))[0]
    for text in ax.texts:
        if text.get_fontstyle() == "italic" and text.xy[0] != 0:
            box = plt.Text.get_window_extent(text)
            assert (box.x0 > middle) if text.xy[0] > 0 else (box.x1 < middle)


def test_ambient_suspects_are_hollow_diamonds(response):
    ax = pl.volcano(response, tumor="K562")
    hollow = _points(ax)["#ffffff"]
    assert hollow == [(1.0, 5.0)]
    assert "Ambient RNA\nsuspected" in _legend(ax)
    assert "Ambient RNA\nsuspected" not in _legend(
        pl.volcano(response.drop(columns="ambient_suspect"), tumor="K562")
    )


def test_note_counts_genes_and_samples(response):
    note = _note(pl.volcano(response, tumor="THP1"))
    assert note == "FDR 0.05: 1 up, 1 down of 3 genes\nn = 3 treated + 2 control samples"
    shared = response.assign(df_residual=12.0, df_total=310.4)
    assert _note(pl.volcano(shared, tumor="THP1")).endswith(
        "variance shared over lines: 12 df, 310 with the spread of all genes"
    )
    few = response.drop(columns="n_samples_control")
    assert _note(pl.volcano(few, tumor="THP1", fdr=0.005)) == "FDR 0.005: 1 up, 0 down of 3 genes"


def test_threshold_is_the_largest_significant_p(response):
    ax = pl.volcano(response, tumor="THP1")
    assert ax.lines[0].get_ydata()[0] == pytest.approx(3.0)
    assert len(pl.volcano(response, tumor="697").lines) == 1


def test_untested_genes_are_not_drawn(response):
    ax = pl.volcano(response, tumor="697")
    assert sum(len(layer.get_offsets()) for layer in ax.collections) == 2
    assert "of 2 genes" in _note(ax)


def test_p_of_zero_is_capped_and_marked(response):
    table = response.copy()
    table.loc[0, ["p_value", "q_value"]] = 0.0
    ax = pl.volcano(table, tumor="K562")
    heights = np.concatenate([layer.get_offsets()[:, 1] for layer in ax.collections])
    assert np.isfinite(heights).all()
    assert heights.max() == pytest.approx(5 * 1.06 + 0.1)
    assert ax.get_ylim()[1] > heights.max()
    assert "p = 0,\ndrawn at the top" in _legend(ax)
    assert "p = 0,\ndrawn at the top" not in _legend(pl.volcano(response, tumor="K562"))


def test_all_p_of_zero(response):
    table = response[response["tumor"] == "K562"].assign(p_value=0.0, q_value=0.0)
    ax = pl.volcano(table)
    assert np.isfinite(ax.get_ylim()).all()


def test_label_takes_numbers_and_names(response):
    assert _words(pl.volcano(response, tumor="K562", label=0)) == []
    assert _words(pl.volcano(response, tumor="K562", label=1)) == ["B2M"]
    assert _words(pl.volcano(response, tumor="K562", label=["ACTB"])) == ["ACTB"]


def test_signature_takes_at_most_half_of_the_labels():
    n = 40
    p_value = np.logspace(-30, -5, n)
    table = pd.DataFrame(
        {
            "tumor": "K562",
            "gene": [f"g{i}" for i in range(n)],
            "log2_fc": np.linspace(1, 3, n),
            "p_value": p_value,
            "q_value": p_value,
        }
    )
    signature = [f"g{i}" for i in range(20, 40)]
    words = _words(pl.volcano(table, highlight=signature, label=4))
    assert set(words) == {"g20", "g21", "g0", "g1"}
    assert set(_words(pl.volcano(table.tail(20), highlight=signature, label=4))) == {
        "g20",
        "g21",
        "g22",
        "g23",
    }


@pytest.fixture
def crowded():
    """A whole genome with 100 hits that lie close to each other."""
    rng = np.random.default_rng(3)
    effect = np.concatenate([rng.normal(1, 0.3, 100), rng.normal(0, 0.3, 8900)])
    p_value = np.concatenate([10 ** -rng.gamma(8, 0.8, 100), rng.uniform(0.001, 1, 8900)])
    return pd.DataFrame(
        {
            "tumor": "GDM1",
            "gene": [f"GENE{i}" for i in range(9000)],
            "log2_fc": effect,
            "p_value": p_value,
            "q_value": np.minimum(p_value * 50, 1),
        }
    )


def test_labels_do_not_overlap_and_stay_inside(crowded):
    ax = pl.volcano(crowded, label=30)
    ax.figure.draw_without_rendering()
    texts = [text for text in ax.texts if text.get_fontstyle() == "italic"]
    boxes = [plt.Text.get_window_extent(text) for text in texts]
    assert len(boxes) >= 25
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    frame = ax.get_window_extent().padded(1)
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes)


def test_labels_are_deterministic(crowded):
    one, two = (
        [(text.get_text(), text.get_position()) for text in pl.volcano(crowded).texts]
        for _ in range(2)
    )
    assert one == two


def test_row_order_does_not_matter(crowded):
    mixed = crowded.sample(frac=1, random_state=0)
    assert _words(pl.volcano(mixed)) == _words(pl.volcano(crowded))


def test_axes_legend_and_input(response):
    before = response.copy()
    _, ax = plt.subplots()
    assert pl.volcano(response, tumor="K562", ax=ax, legend=False) is ax
    assert ax.get_legend() is None
    pd.testing.assert_frame_equal(response, before)


def test_errors(response):
    with pytest.raises(
        ValueError, match=r"3 tumors; one is .* tumor= one of: '697', 'K562', 'THP1'"
    ):
        pl.volcano(response)
    with pytest.raises(ValueError, match="no tumor 'HeLa'"):
        pl.volcano(response, tumor="HeLa")
    with pytest.raises(MissingKeyError, match=r"no column 'p_value'.*tl.interaction_response"):
        pl.volcano(response.drop(columns="p_value"), tumor="K562")
    with pytest.raises(ValueError, match="no rows"):
        pl.volcano(response.iloc[:0])
    with pytest.raises(ValueError, match="'p_value' holds 7; probabilities between 0 and 1"):
        pl.volcano(response.assign(p_value=7.0), tumor="K562")
    with pytest.raises(ValueError, match="No gene of '697' has both"):
        pl.volcano(response.assign(log2_fc=np.nan), tumor="697")
    with pytest.raises(ValueError, match="several rows for tumor K562, gene B2M"):
        pl.volcano(pd.concat([response, response.head(1)]), tumor="K562")
