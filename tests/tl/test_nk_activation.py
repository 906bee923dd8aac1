from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nkscore as nk
from nkscore.errors import DesignError


@pytest.fixture
def table():
    rows = []
    for donor in ("d1", "d2", "d3"):
        for line, active in ((None, 10), ("quiet", 15), ("loud", 120), ("middle", 50)):
            jitter = {"d1": 0, "d2": 4, "d3": -4}[donor]
            counts = {"activated": active + jitter, "cytokine": 5, "resting": 200, "adaptive": 80}
            rows += [
                {
                    "sample": f"{line}_{donor}",
                    "tumor": line,
                    "nk_donor": donor,
                    "state": state,
                    "condition": "coculture" if line else "nk_mono",
                    "n_cells": n,
                }
                for state, n in counts.items()
            ]
    return pd.DataFrame(rows)


def test_lines_are_ordered_by_hand(table):
    made = nk.tl.nk_activation(table)
    assert made["tumor"].tolist() == ["loud", "middle", "quiet"]
    assert made["rank"].tolist() == [1, 2, 3]
    share = np.mean([(120 + j + 5) / (405 + j) for j in (0, 4, -4)])
    assert made["active_treated"].iloc[0] == pytest.approx(share)
    odds = np.log(125 / 280) - np.log(15 / 280)
    assert made["log_odds_ratio"].iloc[0] == pytest.approx(odds, abs=0.1)
    assert made["q_value"].iloc[0] < 0.05
    again = 2 * stats.t.sf(made["t"].abs(), made["df_total"])
    np.testing.assert_allclose(again, made["p_value"], rtol=1e-12)
    assert made.attrs["left_out"] == []
    assert (made["ci_low"] < made["log_odds_ratio"]).all()
    pd.testing.assert_frame_equal(nk.tl.nk_activation(table.sample(frac=1, random_state=1)), made)


def test_planted_order(stated):
    made = nk.tl.nk_activation(stated).set_index("tumor")
    assert made.index[-1] == "697"
    assert set(made.index[:3]) <= {"GDM1", "RI1", "K562", "JURKAT"}
    planted = nk.datasets.LINES if hasattr(nk.datasets, "LINES") else None
    if planted is not None:
        order = [list(planted).index(line) for line in made.index]
        assert np.corrcoef(order, made["log_odds_ratio"])[0, 1] > 0.8


@pytest.mark.parametrize("states", [["nothing"], ["activated", "cytokine", "resting", "adaptive"]])
def test_states_must_be_some_of_the_data(table, states):
    with pytest.raises(DesignError, match=r"at least one, but not all, must be"):
        nk.tl.nk_activation(table, states=states)


def test_one_state_by_name(table):
    one = nk.tl.nk_activation(table, states="activated")
    pd.testing.assert_frame_equal(one, nk.tl.nk_activation(table, states=["activated"]))
