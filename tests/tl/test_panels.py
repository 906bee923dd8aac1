"""Panels: lineages that differ are seen, and models are tested on what they have not seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, NkscoreWarning, WrongScaleError


def _panel(n=12, n_features=100, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"L{i}" for i in range(3 * n)]
    lineage = pd.Series(np.repeat(["AML", "BCL", "MM"], n), names)
    genes = pd.DataFrame(rng.normal(size=(3 * n, n_features)), names).add_prefix("g")
    return pd.Series(rng.normal(size=3 * n), names, name="auc"), genes, lineage


def test_rows_of_lineages_are_spearmans():
    auc, genes, lineage = _panel(n_features=3)
    made = tl.associate_by(auc, genes, lineage).set_index(["feature", "group"])
    inside = lineage == "MM"
    peer = scipy_stats.spearmanr(auc[inside], genes.loc[inside, "g1"])
    assert made.loc[("g1", "MM"), "effect"] == pytest.approx(peer.statistic)
    assert made.loc[("g1", "MM"), "p_value"] == pytest.approx(peer.pvalue)
    whole = tl.associate(auc, genes, adjust_for=lineage).set_index("feature")
    assert made.loc[("g1", "pooled"), "effect"] == pytest.approx(whole.loc["g1", "effect"])
    assert made.loc[("g1", "pooled"), "p_value"] == pytest.approx(whole.loc["g1", "p_value"])
    # Without each lineage, by hand.
    without = []
    for name in ("AML", "BCL", "MM"):
        kept = lineage[lineage != name]
        part = tl.associate(auc[kept.index], genes.loc[kept.index], adjust_for=kept)
        without.append(part.set_index("feature").loc["g1"])
    row = made.loc[("g1", "pooled")]
    assert row["loo_low"] == pytest.approx(min(one["effect"] for one in without))
    assert row["loo_p_max"] == pytest.approx(max(one["p_value"] for one in without))


def test_planted_interactions_are_found_and_no_others():
    auc, genes, lineage = _panel(n=20)
    slope = lineage.map({"AML": 1.0, "BCL": 1.0, "MM": -1.0})
    auc = auc + 2 * slope * genes["g0"]
    made = tl.associate_by(auc, genes, lineage)
    made = made[made["group"] == "pooled"].set_index("feature")
    assert made.index[made["interaction_q"] < 0.05].tolist() == ["g0"]
    assert made.loc["g0", "loo_high"] > 0.7
    assert made.loc["g0", "loo_group"] in {"AML", "BCL"}


@pytest.mark.parametrize("n", [6, 12])
def test_no_interaction_without_one(n):
    rates, pooled = [], []
    for seed in range(3):
        made = tl.associate_by(*_panel(n=n, seed=seed))
        made = made[made["group"] == "pooled"]
        rates.append((made["interaction_p"] < 0.05).mean())
        pooled.append((made["p_value"] < 0.05).mean())
    assert np.mean(rates) < 0.07
    assert np.mean(pooled) < 0.07


def test_lineages_that_cannot_be_compared():
    auc, genes, lineage = _panel(n_features=2)
    with pytest.warns(NkscoreWarning, match="fewer than 6 samples are excluded: rare"):
        made = tl.associate_by(auc, genes, lineage.where(lineage.index != "L0", "rare"))
    assert set(made["group"]) == {"AML", "BCL", "MM", "pooled"}
    with pytest.raises(DesignError, match="0 of 36 lineages has 6 samples"):
        tl.associate_by(auc, genes, pd.Series(lineage.index, lineage.index))
    with pytest.raises(MissingKeyError, match="no lineage for 1 samples, the first is 'L0'"):
        tl.associate_by(auc, genes, lineage.iloc[1:])
    with pytest.raises(WrongScaleError, match="'g0' holds"):
        tl.associate_by(auc, genes.assign(g0="high"), lineage)
    with pytest.raises(DesignError, match="No feature varies"):
        tl.associate_by(auc, genes * 0, lineage)
    with pytest.raises(DesignError, match="share no sample"):
        tl.associate_by(auc, genes.reset_index(drop=True), lineage)


def test_planted_models_predict_and_noise_does_not():
    auc, genes, lineage = _panel(n=14, n_features=40)
    planted = auc * 0.5 + genes["g0"] + genes["g1"] + (lineage == "MM") * 3
    made = tl.multi_feature_model(planted, genes, lineage=lineage, n_permutations=19)
    made = made.set_index("model")
    assert made.loc["lineage", "r2"] > 0.2
    assert made.loc["lineage + features", "r2"] > made.loc["lineage", "r2"] + 0.1
    assert made.loc["lineage + features", "p_value"] == 0.05
    assert "better than lineage" in made.loc["lineage + features", "verdict"]
    assert {"g0", "g1"} <= set(list(made.attrs["weights"])[:3])
    assert made["smallest_r"].iloc[0] == pytest.approx(np.tanh(2.8016 / np.sqrt(39)), abs=1e-3)
    noise = tl.multi_feature_model(auc, genes, lineage=lineage, n_permutations=19)
    noise = noise.set_index("model").loc["lineage + features"]
    assert noise["r2"] < 0.1
    assert noise["verdict"].startswith("does not predict")


def test_a_new_lineage_is_harder():
    """The target follows the lineage, which the features show: useless for another lineage."""
    auc, genes, lineage = _panel(n=12, n_features=10)
    level = lineage.map({"AML": -2.0, "BCL": 0.0, "MM": 2.0})
    shown = genes.add(lineage.map({"AML": 3.0, "BCL": -3.0, "MM": 3.0}), axis=0)
    one, other = (
        tl.multi_feature_model(
            auc * 0.3 + level, shown, lineage=lineage, held_out=held_out, n_permutations=0
        ).set_index("model")
        for held_out in ("samples", "lineages")
    )
    assert one.loc["lineage", "r2"] > 0.8
    assert other.loc["features", "r2"] < 0.1
    assert list(other.index) == ["mean", "features"]
    assert other["n_folds"].iloc[0] == 3


def test_models_that_cannot_be_fitted():
    auc, genes, lineage = _panel(n_features=3)
    with pytest.raises(DesignError, match="8 samples have target and features; at least 10"):
        tl.multi_feature_model(auc.iloc[:8], genes)
    with pytest.raises(DesignError, match="needs two lineages"):
        tl.multi_feature_model(auc, genes, held_out="lineages")
    with pytest.raises(ValueError, match="n_folds is 1"):
        tl.multi_feature_model(auc, genes, n_folds=1)
    with pytest.raises(ValueError, match="held_out='donors'"):
        tl.multi_feature_model(auc, genes, held_out="donors")
    with pytest.raises(WrongScaleError, match="'g0' holds text"):
        tl.multi_feature_model(auc, genes.assign(g0="a"))
    with pytest.raises(DesignError, match="The target is constant"):
        tl.multi_feature_model(auc * 0, genes)
    with pytest.raises(MissingKeyError, match="none for 'L0'"):
        tl.multi_feature_model(auc, genes, lineage=lineage.iloc[1:])
    missing = genes.where(np.random.default_rng(0).random(genes.shape) > 0.1)
    assert np.isfinite(tl.multi_feature_model(auc, missing, n_permutations=0)["r2"]).all()
