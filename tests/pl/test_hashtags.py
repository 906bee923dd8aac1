from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore.errors import MissingKeyError
from nkscore.pl._hashtags import _density


def test_heat_map_is_sorted_by_class_tag_and_confidence(cells):
    ax = pl.hashtags(cells)
    image = np.asarray(ax.images[0].get_array())
    # Tags in the order of the frame: b, then a. Singlets of b come first, then those of a.
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a"]
    expected = [60] * 5 + [1] * 4 + [50, 0, 1]
    np.testing.assert_allclose(image[0], np.log1p(expected))
    assert image.shape == (2, 12)


def test_most_certain_cells_come_first(cells):
    cells.obsm["hashtags"].loc[["c0", "c1", "c2", "c3"], "a"] = [70, 90, 80, 100]
    image = np.asarray(pl.hashtags(cells).images[0].get_array())
    np.testing.assert_allclose(image[1, 5:9], np.log1p([100, 90, 80, 70]))


def test_strip_and_legend_show_the_classes(cells):
    ax = pl.hashtags(cells)
    strip = [
        (round(bar.get_x() + 0.5), round(bar.get_width()), to_hex(bar.get_facecolor()))
        for bar in ax.patches
    ]
    colors = {name: hue.lower() for name, hue in pl.palette("hashtag_class").items()}
    assert strip == [
        (0, 9, colors["singlet"]),
        (9, 1, colors["doublet"]),
        (10, 2, colors["negative"]),
    ]
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["Singlet (9)", "Doublet (1)", "Negative (2)"]


def test_tags_without_counts_in_the_lane_are_left_out(cells):
    cells.obs["lane"] = ["L1"] * 6 + ["L2"] * 6
    cells.obsm["hashtags"]["c"] = [0] * 6 + [3] * 6
    assert len(pl.hashtags(cells, lane="L1").get_yticks()) == 2
    ax = pl.hashtags(cells, lane="L2")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a", "c"]
    assert ax.get_title(loc="left") == "L2"
    assert ax.get_xlabel() == "6 cells"


def test_missing_counts_are_zero(cells):
    cells.obsm["hashtags"]["c"] = np.nan
    assert len(pl.hashtags(cells).get_yticks()) == 2


def test_axes_are_honored(cells):
    _, ax = plt.subplots()
    assert pl.hashtags(cells, ax=ax) is ax


def test_errors(cells):
    cells.obs["lane"] = ["L1"] * 6 + ["L2"] * 6
    with pytest.raises(ValueError, match=r"Found 2 lanes; one is needed.*'L1', 'L2'"):
        pl.hashtags(cells)
    with pytest.raises(ValueError, match=r"Found no lane 'L9'.*'L1', 'L2'"):
        pl.hashtag_ridges(cells, lane="L9")
    empty = cells.copy()
    empty.obsm["hashtags"] = empty.obsm["hashtags"] * 0
    with pytest.raises(ValueError, match="All hashtag counts of lane 'L1' are 0"):
        pl.hashtags(empty, lane="L1")
    del cells.obs["hashtag_confidence"]
    with pytest.raises(MissingKeyError, match=r"hashtag_confidence.*pp.demultiplex"):
        pl.hashtags(cells)
    del cells.obsm["hashtags"]
    with pytest.raises(MissingKeyError, match=r"hashtags.*io.read_coculture"):
        pl.hashtag_ridges(cells)


def test_ridges_split_called_cells_from_others(cells):
    ax = pl.hashtag_ridges(cells)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["b", "a"]
    peaks = [
        (round(line.get_xdata()[np.argmin(line.get_ydata())], 1), line.get_ydata().min())
        for line in ax.lines
    ]
    # Others lie at counts 1 and 2, called cells at 60 and 80: log10(1 + count).
    assert [place for place, _ in peaks] == pytest.approx([0.3, 1.8, 0.5, 1.9], abs=0.11)
    assert [height for _, height in peaks] == pytest.approx([-0.9, -0.9, 0.1, 0.1])
    assert [text.get_text() for text in ax.texts] == ["5", "4", "cells"]


def test_doublets_are_left_out_of_ridges(cells):
    cells.obsm["hashtags"].loc["c9", ["a", "b"]] = 100_000
    ax = pl.hashtag_ridges(cells)
    assert ax.get_xlim()[1] > 5
    for line in ax.lines:
        assert np.ptp(line.get_ydata()[line.get_xdata() > 4]) == pytest.approx(0, abs=1e-9)


def test_density_of_equal_values_is_finite_and_sums_to_their_number():
    density = _density(np.full(7, 1.0), np.linspace(-1, 3, 241))
    assert density.sum() == pytest.approx(7)
    assert np.isfinite(density).all()


def test_input_is_unchanged(cells):
    before = cells.copy()
    pl.hashtags(cells)
    pl.hashtag_ridges(cells)
    assert cells.obsm["hashtags"].equals(before.obsm["hashtags"])
    assert cells.obs.equals(before.obs)
