"""The figure of attached pairs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import nkscore as nk


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "tumor": ["697", "K562", "GDM1", "RI1"],
            "per_100": [0.1, 3.9, np.nan, 1.0],
            "per_100_low": [-0.3, 3.0, np.nan, np.nan],
            "per_100_high": [0.6, 4.9, np.nan, 1.5],
            "p_family": [0.5, 1e-5, np.nan, np.nan],
            "answer": ["excess", "excess", "no answer", "upper bound"],
            "n_own": [8, 90, 0, 20],
            "expected_chance": [6.0, 7.0, np.nan, 9.0],
            "expected_leak": [1.0, 1.0, np.nan, 0.0],
        }
    )


def test_rows_dots_and_words(table):
    ax = nk.pl.contacts(table)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["K562", "RI1", "697", "GDM1"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(dot.get_xdata()[0]) for dot in dots] == [3.9, 0.1]
    assert dots[0].get_markerfacecolor() != "white" == dots[1].get_markerfacecolor()
    assert [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "<"] == [1.5]
    texts = [text.get_text() for text in ax.texts]
    assert "  no answer" in texts
    assert "90 (8)" in texts
    plt.close(ax.figure)


def test_bad_tables(table):
    with pytest.raises(nk.errors.MissingKeyError, match="per_100"):
        nk.pl.contacts(table.drop(columns="per_100"))
    with pytest.raises(nk.errors.DesignError, match="no rows"):
        nk.pl.contacts(table.iloc[:0])
    with pytest.raises(nk.errors.DesignError):
        nk.pl.contacts(table.assign(per_100=np.nan))
