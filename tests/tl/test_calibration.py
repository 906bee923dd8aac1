from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError


def _cells(truth, called, confidence):
    obs = pd.DataFrame(
        {"truth": truth, "nk_state": called, "nk_state_confidence": confidence},
        index=[f"c{i}" for i in range(len(truth))],
    )
    return AnnData(np.ones((len(obs), 1)), obs=obs)


def test_by_hand():
    adata = _cells(
        ["a", "a", "b", "b", "a", None],
        ["a", "b", "b", "b", "unassigned", "a"],
        [0.95, 0.9, 1.0, 0.55, 0.2, 0.9],
    )
    table = tl.calibration(adata, "truth")
    assert table["n_cells"].tolist() == [1, 3]
    np.testing.assert_allclose(table["bin_low"], [0.5, 0.9])
    np.testing.assert_allclose(table["confidence"], [0.55, 0.95])
    np.testing.assert_allclose(table["observed"], [1, 2 / 3])
    # Wilson: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), n = 3.
    z, n, p = 1.959964, 3, 2 / 3
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = (p + z**2 / (2 * n) + np.array([-half, half])) / (1 + z**2 / n)
    np.testing.assert_allclose(table.loc[1, ["ci_low", "ci_high"]].astype(float), ends, rtol=1e-5)


def test_calls_that_keep_their_word_and_calls_that_do_not():
    rng = np.random.default_rng(0)
    stated = rng.uniform(0.5, 1, 4000)
    right = rng.random(4000) < stated
    kept = tl.calibration(_cells(np.where(right, "a", "b"), "a", stated), "truth")
    inside = kept["confidence"].between(kept["ci_low"], kept["ci_high"])
    assert inside.mean() >= 0.8
    sure = tl.calibration(_cells(np.where(right, "a", "b"), "a", 0.99), "truth")
    assert sure["ci_high"].iloc[0] < 0.8


def test_errors():
    with pytest.raises(WrongScaleError, match=r"from 20 to 95; probabilities between 0 and 1"):
        tl.calibration(_cells(["a", "b"], "a", [95, 20]), "truth")
    with pytest.raises(MissingKeyError, match="'other_confidence'"):
        tl.calibration(_cells(["a"], "a", 1.0), "truth", called="other")
    with pytest.raises(DesignError, match="No cell has a truth"):
        tl.calibration(_cells([None], "a", 1.0), "truth")


@pytest.mark.parametrize("options", [{"n_bins": 0}, {"level": 95}])
def test_numbers_out_of_range(options):
    with pytest.raises(ValueError, match=r"is .*; a .*number"):
        tl.calibration(_cells(["a"], "a", 1.0), "truth", **options)
