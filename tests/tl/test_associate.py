"""Association of features with sensitivity: the right test for each pair, nothing from nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, NkscoreWarning, WrongScaleError


@pytest.fixture
def panel():
    rng = np.random.default_rng(1)
    lines = [f"line{i}" for i in range(30)]
    auc = pd.Series(rng.random(30), index=lines, name="auc")
    genes = pd.DataFrame(rng.normal(size=(30, 5)), index=lines, columns=list("ABCDE"))
    genes["A"] = -auc + 0.05 * rng.normal(size=30)
    mutations = pd.DataFrame({"GNA13": auc > 0.5, "TP53": rng.random(30) > 0.5}, index=lines)
    return auc, genes, mutations


def test_each_pair_gets_its_test(panel):
    auc, genes, mutations = panel
    sensitive = (auc < 0.5).rename("sensitive")
    targets = pd.concat([auc, sensitive.astype(int)], axis=1)
    made = tl.associate(targets, {"expression": genes, "mutation": mutations})
    tests = made.groupby(["target", "family"])["test"].unique().map(list).to_dict()
    assert tests == {
        ("auc", "expression"): ["spearman"],
        ("auc", "mutation"): ["wilcoxon"],
        ("sensitive", "expression"): ["wilcoxon"],
        ("sensitive", "mutation"): ["fisher"],
    }
    best = made[made["target"] == "auc"].groupby("family").first()
    assert best["feature"].to_dict() == {"expression": "A", "mutation": "GNA13"}
    assert best.loc["expression", "effect"] < -0.9
    assert best.loc["mutation", "effect"] == 1.0


def test_numbers_are_scipys_with_missing_values(panel):
    auc, genes, _ = panel
    genes.iloc[:4, 1] = np.nan
    auc.iloc[7] = np.nan
    made = tl.associate(auc, genes).set_index("feature")
    expected = scipy_stats.spearmanr(auc, genes["B"], nan_policy="omit")
    assert made.loc["B", "n"] == 25
    np.testing.assert_allclose(made.loc["B", "effect"], expected.statistic)
    np.testing.assert_allclose(made.loc["B", "p_value"], expected.pvalue)
    q = scipy_stats.false_discovery_control(made["p_value"])
    np.testing.assert_allclose(made["q_value"], q)


def test_order_of_samples_and_features_does_not_matter(panel):
    auc, genes, _ = panel
    shuffled = genes.iloc[::-1, ::-1]
    pd.testing.assert_frame_equal(tl.associate(auc, genes), tl.associate(auc, shuffled))


def test_text_becomes_one_feature_per_level(panel):
    auc, _, _ = panel
    subtype = pd.DataFrame({"subtype": ["ABC"] * 12 + ["GCB"] * 12 + [None] * 6}, index=auc.index)
    made = tl.associate(auc, subtype)
    assert sorted(made["feature"]) == ["subtype = ABC", "subtype = GCB"]
    assert made["n"].tolist() == [24, 24]


def test_cancer_type_explains_it_away():
    rng = np.random.default_rng(2)
    kind = pd.Series(np.repeat(["AML", "MM", "BCL"], 20), index=range(60))
    level = kind.map({"AML": 0.0, "MM": 4.0, "BCL": 8.0})
    auc = (level + rng.normal(size=60)).rename("auc")
    genes = pd.DataFrame({"confounded": level + rng.normal(size=60)})
    genes["true"] = auc - level + 0.3 * rng.normal(size=60)
    plain = tl.associate(auc, genes).set_index("feature")
    within = tl.associate(auc, genes, adjust_for=kind).set_index("feature")
    assert plain.loc["confounded", "p_value"] < 1e-10
    assert within.loc["confounded", "p_value"] > 0.05
    assert within.loc["true", "p_value"] < 1e-10
    assert set(within["test"]) == {"partial_spearman"}


@pytest.mark.parametrize("adjusted", [False, True])
def test_p_values_are_uniform_under_permuted_labels(panel, adjusted):
    auc, _, _ = panel
    rng = np.random.default_rng(3)
    genes = pd.DataFrame(rng.normal(size=(30, 4000)), index=auc.index)
    kind = pd.Series(np.repeat(["AML", "MM"], 15), index=auc.index) if adjusted else None
    made = tl.associate(auc, genes, adjust_for=kind)
    assert scipy_stats.kstest(made["p_value"], "uniform").pvalue > 0.01
    assert (made["q_value"] < 0.05).sum() == 0


def test_rare_features_are_named(panel):
    auc, _, mutations = panel
    mutations["rare"] = [True] * 4 + [False] * 26
    with pytest.warns(
        NkscoreWarning, match=r"1 of 3 pairs were not tested.*features: rare"
    ) as caught:
        made = tl.associate(auc, mutations)
    assert {item.filename for item in caught} == {__file__}
    assert made.attrs["left_out"] == ["features: rare"]
    assert "rare" not in set(made["feature"])


def test_errors(panel):
    auc, genes, mutations = panel
    with pytest.raises(DesignError, match="share 0 samples"):
        tl.associate(auc, genes.T)
    with pytest.raises(DesignError, match="Target 'auc' is constant"):
        tl.associate(auc * 0, genes)
    with pytest.raises(DesignError, match="column 'A' twice"):
        tl.associate(auc, genes[["A", "A"]])
    with pytest.raises(DesignError, match="No feature can be tested: all 2"):
        tl.associate(auc, mutations, min_count=20)
    with pytest.raises(WrongScaleError, match="'A' holds infinite values"):
        tl.associate(auc, genes.assign(A=np.inf))
    with pytest.raises(MissingKeyError, match="has no group for 1 samples, the first is 'line29'"):
        tl.associate(auc, genes, adjust_for=pd.Series("AML", index=auc.index[:-1]))


def test_mutations_with_missing_samples_are_one_feature(panel):
    auc, _, mutations = panel
    calls = mutations.astype(object)
    calls.loc["line0", "GNA13"] = None
    made = tl.associate(auc, calls).set_index("feature")
    assert sorted(made.index) == ["GNA13", "TP53"]
    assert made.loc["GNA13", ["test", "n"]].tolist() == ["wilcoxon", 29]
    told = tl.associate(auc, mutations.iloc[1:]).set_index("feature")
    assert made.loc["GNA13", "p_value"] == told.loc["GNA13", "p_value"]
    assert len(tl.associate(auc, mutations["TP53"])) == 1


def test_tables_that_do_not_fit(panel):
    auc, genes, _ = panel
    with pytest.raises(WrongScaleError, match="Target 'auc' holds 'high'"):
        tl.associate(auc.astype(object).where(auc < 0.5, "high"), genes)
    with pytest.raises(WrongScaleError, match="Target 'auc' holds 'inf'"):
        tl.associate(auc.where(auc < 0.5, np.inf), genes)
    with pytest.raises(DesignError, match="features is empty"):
        tl.associate(auc, {})
    kinds = pd.Series("AML", index=[*auc.index, "line0"])
    with pytest.raises(DesignError, match="holds each sample once"):
        tl.associate(auc, genes, adjust_for=kinds)
    numbers = genes.set_axis(range(30))
    with pytest.raises(DesignError, match="targets: '0', '1', '2'; features: 0, 1, 2"):
        tl.associate(auc.set_axis([str(i) for i in range(30)]), numbers)
