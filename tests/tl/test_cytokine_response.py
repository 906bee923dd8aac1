"""Cytokines with and without NK cells: numbers of scipy, limits of the assay kept in view."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

import nkscore as nk
from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, NkscoreWarning, WrongScaleError

FOLD = {"K562": 8.0, "697": 1.0}


def _panel(n=4, n_analytes=3, seed=0, fold=FOLD):
    """Wells of each line with and without NK cells, and of NK cells alone."""
    rng = np.random.default_rng(seed)
    rows = []
    for line, times in fold.items():
        for condition, ratio in (("coculture", times), ("tumor_mono", 1.0)):
            for j in range(n_analytes):
                values = 20 * ratio * np.exp(rng.normal(0, 0.2, n))
                rows += [(line, condition, f"a{j}", value) for value in values]
    rows += [(None, "nk_mono", f"a{j}", v) for j in range(n_analytes) for v in (5.0, 10.0, 30.0)]
    made = pd.DataFrame(rows, columns=["tumor", "condition", "analyte", "concentration"])
    return made.assign(flag="")


def _values(panel, line, condition, analyte):
    chosen = (panel["tumor"] == line) & (panel["condition"] == condition)
    return panel.loc[chosen & (panel["analyte"] == analyte), "concentration"].to_numpy()


@pytest.mark.parametrize("nk_only", [None, "nk_mono"])
def test_numbers_are_scipys(nk_only):
    panel = _panel()
    made = tl.cytokine_response(panel, nk_only=nk_only).set_index(["tumor", "analyte"])
    added = 10.0 if nk_only else 0.0
    for line in FOLD:
        x = _values(panel, line, "coculture", "a1")
        y = _values(panel, line, "tumor_mono", "a1") + added
        peer = scipy_stats.ttest_ind(np.log2(x), np.log2(y), equal_var=False)
        row = made.loc[(line, "a1")]
        np.testing.assert_allclose(row["p_value"], peer.pvalue)
        np.testing.assert_allclose([row["t"], row["df"]], [peer.statistic, peer.df])
        np.testing.assert_allclose(
            [row["ci_low"], row["ci_high"]], list(peer.confidence_interval())
        )
        np.testing.assert_allclose(row["log2_fc"], np.log2(x.mean() / y.mean()))
        assert row["nk_added"] == added
        p = made.loc[line, "p_value"]
        np.testing.assert_allclose(
            made.loc[line, "q_value"], scipy_stats.false_discovery_control(p)
        )


def test_planted_release_is_found_and_no_other():
    made = tl.cytokine_response(_panel())
    assert set(made.loc[made["q_value"] < 0.05, "tumor"]) == {"K562"}
    assert (made.loc[made["tumor"] == "K562", "ci_low"] > 2).all()
    added = tl.cytokine_response(_panel(), nk_only="nk_mono")
    assert (added["log2_fc"] < made["log2_fc"]).all()


def test_p_values_are_uniform_without_an_effect():
    made = tl.cytokine_response(_panel(12, 1500, seed=3, fold={"697": 1.0}))
    assert scipy_stats.kstest(made["p_value"], "uniform").pvalue > 0.01
    assert (made["q_value"] < 0.05).sum() == 0


def test_limits_of_the_assay_are_carried_and_not_tested():
    panel = _panel()
    low = (panel["tumor"] == "697") & (panel["analyte"] == "a0")
    panel.loc[low, "flag"] = ["below"] * 5 + ["extrapolated"] + [""] * 2
    with pytest.warns(
        NkscoreWarning, match="1 of 6 pairs of line and analyte have no p-value"
    ) as caught:
        made = tl.cytokine_response(panel).set_index(["tumor", "analyte"])
    assert {item.filename for item in caught} == {__file__}
    row = made.loc[("697", "a0")]
    assert (row["share_at_limit"], row["share_extrapolated"]) == (5 / 8, 1 / 8)
    assert np.isnan(row["p_value"])
    assert np.isfinite(row["log2_fc"])
    assert tl.cytokine_response(panel, max_at_limit=1)["p_value"].notna().all()


def test_equal_values_have_no_p_value():
    panel = _panel()
    panel.loc[(panel["tumor"] == "697") & (panel["analyte"] == "a0"), "concentration"] = 3.0
    with pytest.warns(NkscoreWarning, match="1 of 6") as caught:
        made = tl.cytokine_response(panel).set_index(["tumor", "analyte"])
    assert {item.filename for item in caught} == {__file__}
    assert np.isnan(made.loc[("697", "a0"), "p_value"])
    assert made.loc[("697", "a0"), "log2_fc"] == 0


def test_missing_wells_are_left_out():
    panel = _panel()
    first = panel.index[(panel["tumor"] == "697") & (panel["condition"] == "coculture")][0]
    panel.loc[first, ["concentration", "flag"]] = [np.nan, "missing"]
    made = tl.cytokine_response(panel).set_index(["tumor", "analyte"])
    assert made.loc[("697", "a0"), ["n_treated", "n_control"]].tolist() == [3, 4]


def test_order_of_rows_does_not_matter_and_input_stays():
    panel = _panel()
    before = panel.copy()
    made = tl.cytokine_response(panel, nk_only="nk_mono")
    pd.testing.assert_frame_equal(made, tl.cytokine_response(panel[::-1], nk_only="nk_mono"))
    pd.testing.assert_frame_equal(panel, before)


def test_from_the_file_to_the_forest_plot(tmp_path):
    file = tmp_path / "plate.csv"
    lines = ["Well,Description,Hu IFN-g (21),Hu IL-6 (19)"]
    lines += [f"A{i},K562 NK,{v},OOR <" for i, v in enumerate((90, 100, "*130"))]
    lines += [f"B{i},K562,{v},{w}" for i, (v, w) in enumerate(((9, 2), ("OOR <", 3), (11, 2)))]
    file.write_text("\n".join(lines))
    wells = pd.DataFrame(
        {"sample": ["K562 NK", "K562"], "tumor": "K562", "condition": ["coculture", "tumor_mono"]}
    )
    panel = nk.io.read_bioplex(file).merge(wells, on="sample")
    made = tl.cytokine_response(panel).set_index("analyte")
    assert made.loc["IFN-g", "q_value"] < 0.05
    assert made.loc["IFN-g", ["share_at_limit", "share_extrapolated"]].tolist() == [1 / 6, 1 / 6]
    assert made.loc["IL-6", "share_at_limit"] == 0.5
    ax = nk.pl.effects(made.reset_index(), label="analyte", effect="log2_difference")
    assert len(ax.get_yticklabels()) == 2
    ax.figure.clear()


def test_errors():
    panel = _panel()
    with pytest.raises(MissingKeyError, match=r"no column 'tumor', 'condition'.*panel.merge"):
        tl.cytokine_response(panel.drop(columns=["tumor", "condition"]))
    with pytest.raises(MissingKeyError, match=r"no level 'NK'; it has: coculture, nk_mono"):
        tl.cytokine_response(panel, treated="NK")
    with pytest.raises(MissingKeyError, match="are not distinct"):
        tl.cytokine_response(panel, treated="nk_mono", nk_only="nk_mono")
    keep = ~((panel["tumor"] == "697") & (panel["condition"] == "coculture"))
    once = pd.concat([panel[keep], panel[~keep].drop_duplicates("analyte")])
    with pytest.raises(DesignError, match=r"697 has one well of 'coculture' \(1 of 2 lines"):
        tl.cytokine_response(once)
    with pytest.raises(DesignError, match="No level of 'tumor' has wells of both"):
        tl.cytokine_response(
            panel[keep & (panel["tumor"] != "K562") | (~keep)].assign(
                tumor=lambda t: t["tumor"].where(t["condition"] == "coculture", "other")
            )
        )
    with pytest.raises(WrongScaleError, match=r"Row 3 \(a0\) has the concentration 0"):
        tl.cytokine_response(
            panel.assign(concentration=panel["concentration"].where(panel.index != 3, 0.0))
        )
    with pytest.raises(DesignError, match="Well 'A1' holds a0 more than once"):
        tl.cytokine_response(panel.assign(well="A1"))
    with pytest.raises(DesignError, match="a0 has no value in any well of 'nk_mono'"):
        tl.cytokine_response(
            panel[~((panel["condition"] == "nk_mono") & (panel["analyte"] == "a0"))],
            nk_only="nk_mono",
        )


def test_lines_without_both_arms_are_left_out(caplog):
    panel = _panel()
    panel = panel[(panel["tumor"] != "697") | (panel["condition"] == "coculture")]
    made = tl.cytokine_response(panel)
    assert set(made["tumor"]) == {"K562"}
    assert "excluded: 697" in caplog.text


def test_arms_may_be_numbers():
    panel = _panel()
    numbered = panel.assign(condition=panel["condition"].map({"coculture": 1, "tumor_mono": 0}))
    numbered = numbered[numbered["condition"].notna()].astype({"condition": int})
    made = tl.cytokine_response(numbered, treated=1, control=0)
    pd.testing.assert_frame_equal(made, tl.cytokine_response(panel))
    for wrong in ({"confidence": 95}, {"max_at_limit": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            tl.cytokine_response(panel, **wrong)
