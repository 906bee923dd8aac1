from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.legend import Legend

from nkscore import pl
from nkscore.errors import MissingKeyError


def _ticks(ax):
    return (
        [tick.get_text() for tick in ax.get_xticklabels()],
        [tick.get_text() for tick in ax.get_yticklabels()],
    )


@pytest.fixture
def response(response):
    """Without the flag, which leaves genes out of the default rows (a test of its own)."""
    return response.drop(columns="ambient_suspect")


@pytest.fixture
def shift():
    return pd.DataFrame(
        {
            "tumor": ["K562", "K562", "697", "697"],
            "state": ["activated", "resting"] * 2,
            "log_odds_ratio": [2.0, -1.0, 0.5, np.inf],
            "q_value": [1e-20, 0.04, 0.5, 0.05],
        }
    )


def _cells(ax):
    """Map (column, row) to value, area and color of the edge."""
    points = ax.collections[2]
    edges = points.get_edgecolors()
    return {
        (int(x), int(y)): (value, size, to_hex(edge))
        for (x, y), value, size, edge in zip(
            points.get_offsets(), points.get_array(), points.get_sizes(), edges, strict=True
        )
    }


def test_order_of_tumors_and_genes(response):
    ax = pl.response_dots(response)
    tumors, genes = _ticks(ax)
    assert tumors == ["THP1", "K562", "697"]
    assert genes == ["B2M", "GNLY", "ACTB"]
    assert ax.get_yticklabels()[0].get_fontstyle() == "italic"
    assert ax.get_ylim() == (2.5, -0.5)


def test_value_size_and_ring(response):
    drawn = _cells(pl.response_dots(response, genes=["B2M", "ACTB"], tumors=["K562", "697"]))
    # B2M in K562: q = 1e-11, beyond the cut at 10, so the largest; 697: q = 0.06.
    limit = np.quantile([2, 0.1, 0.5, 0.2], 0.98)
    assert drawn[0, 0][0] == pytest.approx(limit)
    assert drawn[1, 0][0] == pytest.approx(0.5)
    assert drawn[1, 1][0] == pytest.approx(-0.2)
    biggest = drawn[0, 0][1]
    assert drawn[1, 0][1] == pytest.approx(biggest * (0.06 + 0.094 * -np.log10(0.06)))
    assert drawn[0, 0][2] == "#262626"
    assert drawn[1, 0][2] != "#262626"


def test_colors_are_symmetric(response):
    points = pl.response_dots(response).collections[2]
    assert points.get_clim()[0] == -points.get_clim()[1]
    assert points.get_cmap().name == "RdBu_r"


def test_untested_pairs_are_crosses(response):
    ax = pl.response_dots(response.drop(index=1))
    crosses = {tuple(place) for place in ax.collections[3].get_offsets()}
    # 697 × GNLY holds NaN, K562 × ACTB is not in the table.
    assert crosses == {(2, 1), (1, 2)}
    assert len(_cells(ax)) == 7


def test_dots_do_not_touch(response):
    for ax in (None, plt.subplots(figsize=(3, 1.2))[1]):
        drawn = pl.response_dots(response, ax=ax)
        drawn.figure.draw_without_rendering()
        box = drawn.get_window_extent()
        cell = min(box.width, box.height) / 3 * 72 / drawn.figure.dpi
        assert max(size for _, size, _ in _cells(drawn).values()) ** 0.5 < cell


def test_lineage_strip(response):
    strip = pl.response_dots(response).collections[-1]
    shades = [to_hex(color) for color in strip.get_facecolors()]
    assert shades == [pl.palette("lineage")[name].lower() for name in ("AML", "CML", "B-ALL")]
    ax = pl.response_dots(response.drop(columns="lineage"))
    assert _ticks(ax)[0] == ["697", "K562", "THP1"]
    assert len(ax.collections) == 4


def test_default_genes_leave_out_ambient_suspects():
    """NK RNA that floats in a lane is no response, however significant."""
    table = pd.DataFrame(
        {
            "tumor": ["K562", "K562", "697", "697"],
            "gene": ["GNLY", "B2M", "GNLY", "B2M"],
            "log2_fc": [6.0, 1.0, 5.0, 0.5],
            "q_value": [1e-9, 1e-3, 1e-9, 1e-2],
            "ambient_suspect": [True, False, True, False],
        }
    )
    ax = pl.response_dots(table)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["B2M"]
    ax = pl.response_dots(table, genes=["GNLY"])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["GNLY"]


def test_default_genes_are_the_25_significant_in_most_tumors():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [(f"t{j}", f"g{i}", 1.0, 0.01 if j < i % 5 else 0.9) for i in range(60) for j in range(5)],
        columns=["tumor", "gene", "log2_fc", "q_value"],
    ).sample(frac=1, random_state=rng.integers(100))
    genes = _ticks(pl.response_dots(table))[1]
    assert len(genes) == 25
    assert {int(gene[1:]) % 5 for gene in genes[:12]} == {4}
    assert genes[:2] == ["g14", "g19"]


def test_q_of_zero_is_the_largest_dot(response):
    table = response.copy()
    table.loc[0, "q_value"] = 0.0
    sizes = [size for _, size, _ in _cells(pl.response_dots(table)).values()]
    assert np.isfinite(sizes).all()


def test_26_lines_one_gene_and_long_names():
    lines = [f"LINE{i:02d} of a patient with a very long name" for i in range(26)]
    table = pd.DataFrame({"tumor": lines, "gene": "B2M", "log2_fc": 1.0, "q_value": 0.01})
    ax = pl.response_dots(table)
    ax.figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in ax.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))
    assert all(box.y0 >= 0 for box in boxes)


def test_legends_lie_on_the_figure(response):
    from matplotlib.legend import Legend

    ax = pl.response_dots(response)
    ax.figure.draw_without_rendering()
    page = ax.figure.bbox
    parts = [child for child in ax.get_children() if isinstance(child, Legend)]
    boxes = [part.get_window_extent() for part in parts + ax.child_axes]
    assert len(parts) == 3
    assert all(page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1) for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_legends_of_a_low_matrix_stand_side_by_side(shift, response):
    from matplotlib.legend import Legend

    def left_edges(ax):
        parts = [child for child in ax.get_children() if isinstance(child, Legend)]
        return {round(float(part.get_window_extent().x0)) for part in parts}

    many = pd.concat([response.assign(gene=response["gene"] + f"-{i}") for i in range(9)])
    assert len(left_edges(pl.response_dots(many))) == 1
    low = pl.state_shift(shift.assign(lineage="AML"))
    assert len(left_edges(low)) == 2
    assert low.figure.get_size_inches()[1] < 1.6


def test_axes_and_input(response, shift):
    before = response.copy()
    _, ax = plt.subplots()
    assert pl.response_dots(response, ax=ax) is ax
    pd.testing.assert_frame_equal(response, before)
    _, ax = plt.subplots()
    assert pl.state_shift(shift, ax=ax) is ax


def test_errors(response):
    with pytest.raises(MissingKeyError, match=r"no column 'q_value'.*tl.interaction_response"):
        pl.response_dots(response.drop(columns="q_value"))
    with pytest.raises(ValueError, match="no rows"):
        pl.response_dots(response.iloc[:0])
    with pytest.raises(ValueError, match="Unknown genes 'XXX'"):
        pl.response_dots(response, genes=["B2M", "XXX"])
    with pytest.raises(ValueError, match=r"several rows for tumor K562, gene B2M.*one contrast"):
        pl.response_dots(pd.concat([response, response.head(1)]))


def test_state_shift(shift):
    ax = pl.state_shift(shift)
    assert _ticks(ax) == (["697", "K562"], ["Resting", "Activated"])
    assert ax.get_yticklabels()[0].get_fontstyle() == "normal"
    drawn = _cells(ax)
    limit = ax.collections[2].get_clim()[1]
    assert np.isfinite(limit)
    assert drawn[0, 0][0] == pytest.approx(limit)
    assert drawn[1, 0][2] == "#262626"
    assert drawn[0, 0][2] != "#262626"


def test_state_shift_keeps_the_order_of_categories(shift):
    shift["state"] = pd.Categorical(shift["state"], ["activated", "unused", "resting"])
    assert _ticks(pl.state_shift(shift))[1] == ["Activated", "Resting"]
    assert _ticks(pl.state_shift(shift, states=["resting"]))[1] == ["Resting"]


def test_state_shift_of_one_state_in_one_tumor(shift):
    ax = pl.state_shift(shift.head(1))
    assert list(_cells(ax)) == [(0, 0)]


def test_state_shift_errors(shift):
    with pytest.raises(MissingKeyError, match=r"log_odds_ratio.*tl.state_shift"):
        pl.state_shift(shift.drop(columns="log_odds_ratio"))


def _bars(ax):
    (above,) = [inset for inset in ax.child_axes if inset.get_ylabel().startswith("Change")]
    return above


def test_bars_stand_above_their_columns(response):
    bars = pd.DataFrame({"tumor": ["697", "K562"], "change": [0.5, -1.0]})
    bars = bars.assign(ci_low=[0.2, -1.5], ci_high=[0.8, -0.5])
    ax = pl.response_dots(response, tumors=["K562", "THP1", "697"], bars=bars)
    above = _bars(ax)
    drawn = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in above.patches}
    # THP1, in the middle, has no row and no bar.
    assert drawn == {0: -1.0, 2: 0.5}
    (intervals,) = [part.get_segments() for part in above.collections]
    assert [segment[:, 1].tolist() for segment in intervals] == [[-1.5, -0.5], [0.2, 0.8]]
    lineage = dict(zip(response["tumor"], response["lineage"], strict=True))
    hues = pl.palette("lineage", lineage.values())
    wanted = [hues[lineage["K562"]].lower(), hues[lineage["697"]].lower()]
    assert [to_hex(bar.get_facecolor()) for bar in above.patches] == wanted
    # One column of the bars is one column of dots, below them.
    ax.figure.draw_without_rendering()
    inner, outer = above.get_window_extent(), ax.get_window_extent()
    assert above.get_xlim() == ax.get_xlim()
    assert inner.width == pytest.approx(outer.width)
    assert inner.y0 > outer.y1


def test_bars_without_intervals_or_lineages(response):
    bars = pd.DataFrame({"tumor": ["697"], "change": [0.5]})
    ax = pl.response_dots(response.drop(columns="lineage"), bars=bars)
    above = _bars(ax)
    assert len(above.patches) == 1


def test_bars_of_another_table(response):
    with pytest.raises(MissingKeyError, match=r"no column 'change'.*tl\.response_score"):
        pl.response_dots(response, bars=response)
    twice = pd.DataFrame({"tumor": ["697", "697"], "change": [0.5, 0.6]})
    with pytest.raises(ValueError, match="697"):
        pl.response_dots(response, bars=twice)
    nothing = pd.DataFrame({"tumor": ["697"], "change": [np.nan]})
    with pytest.raises(ValueError, match="'change' holds no finite number"):
        pl.response_dots(response, bars=nothing)


def test_pairs_that_ambient_rna_may_explain_are_apart_and_do_not_set_the_scale():
    table = pd.DataFrame(
        {
            "tumor": ["K562", "697"] * 3,
            "nk_gene": ["CCR5"] * 2 + ["KLRC1"] * 2 + ["CD2"] * 2,
            "tumor_gene": ["CCL5"] * 2 + ["HLA-E"] * 2 + ["CD58"] * 2,
            "log2_fc": [8.0, 7.0, 1.0, 0.5, -0.4, 0.2],
            "q_value": [1e-9, 1e-9, 1e-3, 0.2, 0.5, 0.9],
            "ambient_suspect": [True, True, False, False, False, False],
        }
    )
    ax = pl.communication_dots(table)
    rows = [tick.get_text() for tick in ax.get_yticklabels()]
    assert rows == ["KLRC1 – HLA-E", "CD2 – CD58", "CCR5 – CCL5*"]
    points = next(c for c in ax.collections if c.get_array() is not None)
    assert points.get_clim()[1] <= 1.0
    words = [t.get_text() for legend in ax.findobj(Legend) for t in legend.get_texts()]
    assert "Ambient RNA may explain\nthe tumor gene" in words
