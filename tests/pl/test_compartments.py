from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from nkscore import pl
from nkscore.errors import MissingKeyError


def test_bars_hold_the_fractions_of_each_sample(cells):
    ax = pl.compartments(cells)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["s2", "s10", "(no sample)"]
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(4, 3)
    # Rows: nk, tumor, mixed, unassigned; columns: samples.
    np.testing.assert_allclose(widths, [[0, 1 / 2, 0], [1, 1 / 3, 0], [0, 1 / 6, 0], [0, 0, 1]])
    lefts = np.array([bar.get_x() for bar in ax.patches]).reshape(4, 3)
    np.testing.assert_allclose(lefts[1:], np.cumsum(widths, axis=0)[:-1])
    assert to_hex(ax.patches[0].get_facecolor()) == pl.palette("compartment")["nk"].lower()


def test_numbers_of_cells_and_legend(cells):
    ax = pl.compartments(cells)
    words = [text.get_text() for text in ax.texts]
    assert words[-4:] == ["4", "6", "2", "cells"]
    assert "50%" in words
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["NK", "Tumor", "Mixed (NK–tumor)", "Unassigned"]


def test_axes_are_honored_and_input_unchanged(cells):
    before = cells.obs.copy()
    _, ax = plt.subplots()
    assert pl.compartments(cells, ax=ax) is ax
    assert cells.obs.equals(before)


def test_errors(cells):
    with pytest.raises(ValueError, match="adata has no cells"):
        pl.compartments(cells[:0].copy())
    with pytest.raises(MissingKeyError, match=r"'sample'.*pp.demultiplex"):
        pl.compartments(_without(cells, "sample"))
    with pytest.raises(MissingKeyError, match=r"'compartment'.*pp.compartments"):
        pl.compartments(_without(cells, "compartment"))


def _without(adata, column):
    adata = adata.copy()
    del adata.obs[column]
    return adata
