from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore.errors import MissingKeyError


def _ticks(ax):
    return [tick.get_text() for tick in ax.get_xticklabels()]


def _heights(ax, bars):
    return np.array([bar.get_height() for bar in ax.patches]).reshape(-1, bars)


def _legends(ax):
    from matplotlib.legend import Legend

    return {
        child.get_title().get_text(): [text.get_text() for text in child.get_texts()]
        for child in ax.get_children()
        if isinstance(child, Legend)
    }


def test_bars_are_means_over_donors_ordered_by_activation(fractions):
    ax = pl.state_fractions(fractions)
    assert _ticks(ax) == ["NK alone", "697", "K562"]
    # From the bottom: activated, cytokine, resting.
    np.testing.assert_allclose(
        _heights(ax, 3), [[0, 0.05, 0.3], [0, 0.05, 0.3], [1, 0.9, 0.4]], atol=1e-12
    )
    colors = [to_hex(bar.get_facecolor()) for bar in ax.patches[::3]]
    states = pl.palette("nk_state")
    assert colors == [states[name].lower() for name in ("activated", "cytokine", "resting")]


def test_donors_are_dots_at_their_own_height(fractions):
    ax = pl.state_fractions(fractions)
    heights = sorted(ax.collections[0].get_offsets()[:, 1])
    assert heights == pytest.approx([0, 0.1, 0.1, 0.5, 0.7])


def test_samples_of_one_donor_are_averaged_first(fractions):
    again = fractions[fractions["sample"] == "K562-NK1"].assign(sample="K562-NK1-again")
    again["fraction"] = [0.9, 0.05, 0.05]
    ax = pl.state_fractions(pd.concat([fractions, again]))
    # NK1: mean of 0.25 and 0.05; NK2: 0.35.
    assert _heights(ax, 3)[0, 2] == pytest.approx((0.15 + 0.35) / 2)


def test_orders_can_be_given(fractions):
    ax = pl.state_fractions(
        fractions, tumors=["K562", "697"], state_order=["resting", "activated", "cytokine"]
    )
    assert _ticks(ax) == ["NK alone", "K562", "697"]
    np.testing.assert_allclose(_heights(ax, 3)[0], [1, 0.4, 0.9])
    # The dots would not lie at the border of the states they sum.
    assert not [c for c in ax.collections if len(c.get_offsets()) == 5]


def test_rank_by_other_states(fractions):
    ax = pl.state_fractions(fractions, rank_by=["resting"])
    assert _ticks(ax) == ["NK alone", "K562", "697"]


def test_legends_and_lineage_strip(fractions):
    ax = pl.state_fractions(fractions)
    legends = _legends(ax)
    assert legends["State"] == ["Resting", "Cytokine", "Activated"]
    assert legends["Lineage"] == ["CML", "B-ALL"]
    strip = ax.collections[-1]
    shades = [to_hex(color) for color in strip.get_facecolors()]
    assert shades == [pl.palette("lineage")[name].lower() for name in ("B-ALL", "CML")]
    assert list(strip.get_offsets()[:, 0]) == pytest.approx(list(ax.get_xticks()[1:]))


def test_without_lineage_and_without_nk_alone(fractions):
    table = fractions[fractions["condition"] == "coculture"].drop(columns="lineage")
    ax = pl.state_fractions(table)
    assert _ticks(ax) == ["697", "K562"]
    assert "Lineage" not in _legends(ax)


def test_two_conditions_stand_side_by_side(fractions):
    alone = fractions[fractions["condition"] == "coculture"].assign(
        condition="tumor_mono", nk_donor=None
    )
    alone["sample"] += "-alone"
    table = pd.concat([fractions[fractions["condition"] == "coculture"], alone])
    ax = pl.state_fractions(table, conditions=["tumor_mono", "coculture"])
    assert len(ax.patches) == 3 * 4
    assert _ticks(ax) == ["697", "K562"]
    assert ax.get_title(loc="left") == "Bars from left: Tumor alone, Co-culture"
    assert len(pl.state_fractions(table).patches) == 3 * 2


def test_a_sample_without_cells_leaves_a_gap_and_keeps_its_name(fractions):
    table = fractions.copy()
    table.loc[table["tumor"] == "697", "fraction"] = np.nan
    ax = pl.state_fractions(table)
    assert _ticks(ax) == ["NK alone", "697", "K562"]
    np.testing.assert_allclose(_heights(ax, 3)[:, 1], 0)
    heights = np.ma.filled(ax.collections[0].get_offsets()[:, 1], np.nan)
    assert sorted(heights[np.isfinite(heights)]) == pytest.approx([0, 0.5, 0.7])


def test_one_tumor_one_state(fractions):
    table = fractions[(fractions["tumor"] == "K562") & (fractions["state"] == "activated")]
    ax = pl.state_fractions(table)
    assert _heights(ax, 1).ravel() == pytest.approx([0.3])


def test_tumor_states_and_categories(fractions):
    table = fractions[fractions["condition"] == "coculture"].copy()
    names = {"resting": "zz", "activated": "aa", "cytokine": "baseline"}
    table["state"] = pd.Categorical(
        table["state"].map(names), ["zz", "baseline", "aa", "unassigned"]
    )
    ax = pl.state_fractions(table, palette_of="tumor_state")
    assert _legends(ax)["State"] == ["Zz", "Baseline", "Aa"] or _legends(ax)["State"] == [
        "zz",
        "Baseline",
        "aa",
    ]
    assert _ticks(ax) == ["697", "K562"]


def test_long_names_and_26_lines_do_not_overlap():
    rows = [
        (
            f"s{i}",
            f"PATIENT-{i:02d} relapse, bone marrow, second visit",
            "NK1",
            "coculture",
            state,
            0.5,
        )
        for i in range(26)
        for state in ("resting", "activated")
    ]
    names = ["sample", "tumor", "nk_donor", "condition", "state", "fraction"]
    ax = pl.state_fractions(pd.DataFrame(rows, columns=names))
    boxes = [tick.get_window_extent() for tick in ax.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))
    assert min(box.y0 for box in boxes) >= 0
    assert max(box.height for box in boxes) / ax.figure.dpi < 1.5


def test_axes_are_honored_and_input_unchanged(fractions):
    before = fractions.copy()
    _, ax = plt.subplots()
    assert pl.state_fractions(fractions, ax=ax) is ax
    pd.testing.assert_frame_equal(fractions, before)


def test_errors(fractions):
    with pytest.raises(MissingKeyError, match=r"no column 'state'.*tl.state_fractions"):
        pl.state_fractions(fractions.drop(columns="state"))
    with pytest.raises(ValueError, match="The table has no rows"):
        pl.state_fractions(fractions.iloc[:0])
    with pytest.raises(ValueError, match="several rows for sample NK1, state resting"):
        pl.state_fractions(pd.concat([fractions, fractions.iloc[-3:]]))
    with pytest.raises(ValueError, match=r"Unknown tumors 'HeLa'.*'697', 'K562'"):
        pl.state_fractions(fractions, tumors=["HeLa"])
    with pytest.raises(ValueError, match=r"Unknown conditions 'x'"):
        pl.state_fractions(fractions, conditions=["x"])
    with pytest.raises(TypeError, match="Found list; a pandas DataFrame is needed"):
        pl.state_fractions([1])
