"""Curves of survival: what is drawn is what the table holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nkscore import pl, tl
from nkscore.errors import MissingKeyError


@pytest.fixture
def curves():
    rng = np.random.default_rng(0)
    names = [f"P{i}" for i in range(60)]
    time = pd.Series(rng.exponential(300, 60), names)
    event = pd.Series(rng.random(60) < 0.7, names)
    group = pd.Series(np.repeat(["high", "low"], 30), names)
    patients = pd.DataFrame({"time": time, "event": event, "group": group})
    return tl.survival_curves(patients, group="group")


def test_steps_bands_and_p_value(curves):
    ax = pl.survival(curves, unit="months")
    steps = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == 2
    high = curves[curves["group"] == "high"]
    np.testing.assert_allclose(steps[0].get_ydata(), high["survival"])
    assert len(ax.collections) == 2
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        f"{name} (n = 30, {int(curves.loc[curves['group'] == name, 'n_events'].sum())} died)"
        for name in ("high", "low")
    ]
    assert f"log-rank p = {curves['p_value'].iloc[0]:.2g}" in [t.get_text() for t in ax.texts]
    assert ax.get_xlabel() == "Time (months)"
    ticks = [line for line in ax.lines if line.get_marker() == "|"]
    assert len(ticks[0].get_xdata()) == (high["n_censored"] > 0).sum()


def test_one_group_needs_no_legend(curves):
    part = curves[curves["group"] == "low"].assign(p_value=np.nan)
    ax = pl.survival(part)
    assert ax.get_legend() is None
    assert not ax.texts


def test_errors(curves):
    with pytest.raises(MissingKeyError, match="n_censored"):
        pl.survival(curves.drop(columns="n_censored"))
    with pytest.raises(ValueError, match="group"):
        pl.survival(pd.concat([curves, curves]))
