from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nkscore import pl
from nkscore.errors import MissingKeyError


def test_heights_are_relative_to_uniform():
    values = np.concatenate([np.full(60, 0.01), np.linspace(0.05, 0.999, 140)])
    ax = pl.p_values(values)
    heights = [bar.get_height() for bar in ax.patches if bar.get_width() == pytest.approx(0.05)]
    assert heights[0] == pytest.approx(60 / 10)
    assert np.mean(heights) == pytest.approx(1)


def test_band_is_binomial():
    ax = pl.p_values(np.linspace(0, 1, 1000))
    band = max(ax.patches, key=lambda patch: patch.get_width())
    low, high = stats.binom.ppf([0.025, 0.975], 1000, 0.05) / 50
    assert band.get_y() == pytest.approx(low)
    assert band.get_y() + band.get_height() == pytest.approx(high)


def test_missing_values_are_counted():
    ax = pl.p_values(pd.DataFrame({"p_value": [0.1, 0.2, None, np.nan]}))
    assert ax.get_title(loc="left") == "n = 2 (2 missing excluded)"


def test_groups_are_outlines_with_their_numbers():
    table = pd.DataFrame({"p": np.tile([0.2, 0.7], 30), "tumor": ["K562"] * 40 + ["697"] * 20})
    ax = pl.p_values(table, column="p", by="tumor")
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["697 (20)", "K562 (40)"]
    steps = [patch.get_data().values for patch in ax.patches if hasattr(patch, "get_data")]
    assert len(steps) == 2
    assert all(step.mean() == pytest.approx(1) for step in steps)


def test_many_groups_are_rows():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"p_value": rng.random(520), "tumor": np.repeat(range(26), 20)})
    ax = pl.p_values(table, by="tumor")
    assert ax.images[0].get_array().shape == (26, 20)
    np.testing.assert_allclose(ax.images[0].get_array().mean(axis=1), 1)
    assert ax.get_yticklabels()[2].get_text() == "2 (20)"


def test_p_values_errors():
    with pytest.raises(ValueError, match=r"'p_value' holds 1\.5; probabilities between 0 and 1"):
        pl.p_values([0.5, 1.5])
    with pytest.raises(ValueError, match="All values of 'p_value' are missing"):
        pl.p_values([np.nan])
    with pytest.raises(ValueError, match="no rows"):
        pl.p_values([])
    with pytest.raises(MissingKeyError, match="no column 'p_value'"):
        pl.p_values(pd.DataFrame({"x": [0.5]}))


def test_p_values_honors_axes():
    _, ax = plt.subplots()
    assert pl.p_values([0.5], ax=ax) is ax


@pytest.fixture
def table():
    frame = pd.DataFrame(
        [[99, 1, 0], [1, 3, 0]], index=["nk", "tumor"], columns=["nk", "tumor", "mixed"]
    )
    frame.index.name = "truth"
    return frame


@pytest.mark.parametrize(
    ("normalize", "expected"),
    [
        ("rows", [[0.99, 0.01, 0], [0.25, 0.75, 0]]),
        ("columns", [[0.99, 0.25, 0], [0.01, 0.75, 0]]),
        ("none", [[99 / 104, 1 / 104, 0], [1 / 104, 3 / 104, 0]]),
    ],
)
def test_confusion_fractions(table, normalize, expected):
    ax = pl.confusion(table, normalize=normalize)
    np.testing.assert_allclose(ax.images[0].get_array(), expected)


def test_confusion_words(table):
    ax = pl.confusion(table)
    words = [text.get_text() for text in ax.texts]
    assert words == ["99%\n99", "1%\n1", "0", "25%\n1", "75%\n3", "0"]
    assert ax.texts[0].get_color() == "white"
    assert ax.texts[1].get_color() != "white"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["NK", "Tumor", "Mixed (NK–tumor)"]
    assert ax.get_ylabel() == "truth"


def test_confusion_of_rare_cells():
    ax = pl.confusion(pd.DataFrame([[1000, 1]]))
    assert ax.texts[1].get_text() == "<1%\n1"


def test_confusion_errors(table):
    with pytest.raises(ValueError, match=r"Unknown normalize 'all'\. Choose from: rows"):
        pl.confusion(table, normalize="all")
    with pytest.raises(ValueError, match="negative"):
        pl.confusion(-table)
    with pytest.raises(ValueError, match="no rows"):
        pl.confusion(table.iloc[:0])


def test_confusion_honors_axes_and_input(table):
    before = table.copy()
    _, ax = plt.subplots()
    assert pl.confusion(table, ax=ax) is ax
    pd.testing.assert_frame_equal(table, before)
