from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore._colors import DOWN, UP
from nkscore.errors import MissingKeyError


def test_centers_colors_and_order(response):
    table = response[response["tumor"] == "THP1"]
    ax = pl.effects(table)
    points = ax.collections[0]
    np.testing.assert_allclose(points.get_offsets(), [[1, 0], [-1, 1], [0.4, 2]])
    shades = [to_hex(color) for color in points.get_facecolors()]
    assert shades == [UP.lower(), DOWN.lower(), "#ffffff"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["B2M", "ACTB", "GNLY"]


def test_intervals(response):
    ax = pl.effects(response[response["tumor"] == "THP1"])
    spans = [tuple(line.get_xdata()) for line in ax.lines[:3]]
    assert spans == [(0.6, 1.4), (-1.4, -0.6), (0.0, 0.8)]


def test_infinite_ends_are_arrows_at_the_edge(response):
    table = response.head(2).assign(ci_high=[np.inf, 0.5])
    ax = pl.effects(table)
    left, right = ax.get_xlim()
    assert np.isfinite([left, right]).all()
    arrow = next(line for line in ax.lines if line.get_marker() == ">")
    assert arrow.get_xdata()[0] == pytest.approx(right)
    assert not [line for line in ax.lines if line.get_marker() == "<"]


def test_rows_without_interval_or_effect_keep_their_name(response):
    ax = pl.effects(response[response["tumor"] == "697"])
    assert len(ax.get_yticks()) == 3
    assert len(ax.collections[0].get_offsets()) == 2
    assert len([line for line in ax.lines if len(set(line.get_ydata())) == 1]) == 2


def test_other_columns_and_reference():
    table = pd.DataFrame({"state": ["activated"], "ratio": [2.0], "lo": [1.5], "hi": [3.0]})
    ax = pl.effects(table, label="state", effect="ratio", low="lo", high="hi", reference=1)
    assert to_hex(ax.collections[0].get_facecolors()[0]) == UP.lower()
    assert ax.lines[-1].get_xdata()[0] == 1
    wide = pl.effects(
        table.assign(lo=0.5), label="state", effect="ratio", low="lo", high="hi", reference=1
    )
    assert to_hex(wide.collections[0].get_facecolors()[0]) == "#ffffff"
    assert ax.get_yticklabels()[0].get_fontstyle() == "normal"
    assert ax.get_xlabel() == "ratio\n(interval)"


def test_the_axis_says_of_what_against_what_with_which_interval():
    table = pd.DataFrame({"tumor": ["K562"], "log_odds_ratio": [1.0], "se": [0.5]})
    table = table.assign(df_total=24.0, ci_low=1 - 0.5 * 2.063899, ci_high=1 + 0.5 * 2.063899)
    table = table.assign(n_samples_treated=3, n_samples_control=2)
    shared = {"label": "tumor", "effect": "log_odds_ratio"}
    ax = pl.effects(table, of="cycling cells", against="untreated", **shared)
    assert ax.get_xlabel() == (
        "log odds ratio of cycling cells,\nagainst untreated\n"
        "(95 % interval; n = 3 against 2 samples)"
    )
    ax = pl.effects(table.assign(active_treated=0.5, active_control=0.1), **shared)
    assert "activated NK states,\nagainst NK alone" in ax.get_xlabel()


def test_axes_and_errors(response):
    _, ax = plt.subplots()
    assert pl.effects(response.head(3), ax=ax) is ax
    with pytest.raises(MissingKeyError, match="no column 'ci_low'"):
        pl.effects(response.drop(columns="ci_low"))
    with pytest.raises(ValueError, match="no rows"):
        pl.effects(response.iloc[:0])
    with pytest.raises(ValueError, match="'log2_fc' holds no finite number"):
        pl.effects(response.assign(log2_fc=np.nan))
