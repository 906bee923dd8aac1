"""Adjusted p-values and intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

import nkscore
from nkscore.stats import (
    benjamini_hochberg,
    interval,
    placed_behind,
    with_interval,
    with_q_values,
)

SRC = Path(nkscore.__file__).parent


def test_q_values_by_hand():
    # In order: 0.01, 0.03, 0.04, 0.5; times 4 over the rank: 0.04, 0.06, 0.053, 0.5.
    q = benjamini_hochberg([0.04, 0.01, 0.5, 0.03])
    np.testing.assert_allclose(q, [4 * 0.04 / 3, 0.04, 0.5, 4 * 0.04 / 3])


def test_unknown_p_values_stay_so_and_do_not_count():
    q = benjamini_hochberg([np.nan, 0.04, 0.01, np.nan, 0.5, 0.03])
    known = benjamini_hochberg([0.04, 0.01, 0.5, 0.03])
    np.testing.assert_array_equal(q, [np.nan, known[0], known[1], np.nan, known[2], known[3]])
    assert np.isnan(benjamini_hochberg([np.nan, np.nan])).all()


def test_no_p_values():
    for by in (None, []):
        q = benjamini_hochberg([], by)
        assert q.dtype == np.float64
        assert q.shape == (0,)


def test_groups_are_adjusted_by_themselves():
    p = np.array([0.04, 0.2, 0.01, np.nan, 0.03, 0.9])
    by = np.array(["b", "a", "b", "a", "b", "a"])
    q = benjamini_hochberg(p, by)
    for name in "ab":
        np.testing.assert_array_equal(q[by == name], benjamini_hochberg(p[by == name]))
    assert not np.array_equal(q, benjamini_hochberg(p), equal_nan=True)


def test_a_p_value_above_one_is_refused():
    with pytest.raises(ValueError, match=r"between 0\.? and 1"):
        benjamini_hochberg([0.5, 1.5])


def test_intervals_are_those_of_student():
    low, high = interval([1.0, 1.0, 1.0, 1.0], [2.0, 2.0, np.nan, 2.0], [3, np.inf, 3, np.nan], 0.9)
    # Table of t: 2.3534 for 3 degrees of freedom, 1.6449 for infinitely many.
    np.testing.assert_allclose(high, [1 + 2 * 2.353363, 1 + 2 * 1.644854, np.nan, np.nan], 1e-6)
    np.testing.assert_allclose(low, 2 - high)


def test_columns_stand_behind_what_they_belong_to():
    table = pd.DataFrame(
        {
            "line": ["a", "a", "b"],
            "change": [1.0, 0.0, 2.0],
            "se": [0.5, 0.5, 0.5],
            "p_value": [0.02, 0.04, 0.5],
            "n": [3, 3, 3],
        },
        index=[7, 3, 5],
    )
    made = with_q_values(with_interval(table, "change", 4, 0.95), by="line")
    order = ["line", "change", "se", "ci_low", "ci_high", "p_value", "q_value", "n"]
    assert list(made.columns) == order
    assert list(made.index) == [7, 3, 5]
    assert made["q_value"].tolist() == [0.04, 0.04, 0.5]
    half = scipy_stats.t.ppf(0.975, 4) * 0.5
    np.testing.assert_allclose(made["ci_high"], table["change"] + half)
    assert list(placed_behind(table, "n", m=1).columns) == [*table.columns, "m"]


def test_nothing_else_adjusts_p_values_or_places_columns_by_number():
    """``io`` stands below ``stats`` and so has its own."""
    own = {SRC / "stats" / "_adjust.py", SRC / "io" / "_mageck.py"}
    for path in SRC.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "false_discovery_control" not in text or path in own, path
        assert "t.ppf(" not in text or path in own, path
        assert ".insert(" not in text, path
