"""Plans before the experiment: what a sheet can answer, and with which power."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.cli import main
from nkscore.errors import DesignError, SampleSheetError
from nkscore.io._planned_sheet import planned_sheet
from nkscore.tl._plan._design_words import described_sheet
from nkscore.tl._plan._planned_cells import planned_cells
from nkscore.tl._plan._power import Depth, Wanted, balanced, power_of
from nkscore.tl._plan._questions import questions_of
from nkscore.tl._plan._variances import Sums, Variances, drawn, measured, packaged


def _sheet(lines=("K562", "MM1S"), donors=("d1", "d2", "d3"), mono=2, lane_of=None):
    rows = []
    for line in lines:
        wells = [(f"{line}_alone{i}", line, None, "tumor_mono") for i in range(mono)]
        wells += [(f"{line}_{d}", line, d, "coculture") for d in donors]
        rows += wells
    rows += [(f"nk_{d}", None, d, "nk_mono") for d in donors]
    table = pd.DataFrame(rows, columns=["sample", "tumor", "nk_donor", "condition"])
    table["lane"] = [(lane_of or {}).get(kind, "p1") for kind in table["condition"]]
    table["hashtag"] = [f"H{i}" for i in table.groupby("lane").cumcount()]
    return table


def _questions(table, factors=None, **options):
    return questions_of(planned_cells(*planned_sheet(table, **options), factors=factors))


def _of(table, question, line="K562"):
    (row,) = table[(table["question"] == question) & (table["tumor"] == line)].to_dict("records")
    return row


def test_a_sound_design_answers_all():
    found = _questions(_sheet())
    assert found["estimable"].all()
    assert set(found["confounded_with"]) == {""}
    # 10 samples, a baseline and an effect for each of two lines; 9 NK samples, a baseline, two
    # effects and two differences between donors.
    assert _of(found, "response")["df_residual"] == 6
    assert not _of(found, "response")["paired"]
    nk = _of(found, "nk_response")
    assert (nk["df_residual"], nk["paired"], nk["n_treated"], nk["n_control"]) == (4, True, 3, 3)
    assert _of(found, "core_response", "all lines")["df_residual"] == 6


def test_arms_on_different_lanes_are_confounded_and_fixed():
    apart = {"tumor_mono": "p1", "coculture": "p2", "nk_mono": "p2"}
    found = _questions(_sheet(lane_of=apart))
    row = _of(found, "response")
    assert row["estimable"]
    assert row["confounded_with"] == "lane"
    assert (
        "Put one well of K562 alone into each lane that holds co-cultures of K562 (p2)"
        in (row["remedy"])
    )
    assert _of(found, "nk_response")["confounded_with"] == ""
    # What a lane does to both lines is no difference between them.
    assert _of(found, "line_difference")["confounded_with"] == ""
    # What the remedy asks for removes the problem.
    fixed = _sheet(lane_of=apart)
    fixed.loc[fixed["sample"].isin(["K562_alone1", "MM1S_alone1"]), "lane"] = "p2"
    fixed["hashtag"] = [f"H{i}" for i in range(len(fixed))]
    assert _of(_questions(fixed), "response")["confounded_with"] == ""


@pytest.mark.parametrize(
    ("table", "question", "problem", "remedy"),
    [
        (_sheet(mono=0), "response", "no sample of tumor_mono", "Add wells of K562 alone"),
        (_sheet(donors=()), "response", "no sample of coculture", "Add co-cultures of K562"),
        (_sheet(donors=("d1",), mono=1), "response", "no replicate", "Add a second well of K562"),
        (_sheet(donors=("d1",)), "nk_response", "no replicate", "Add NK donors"),
        (_sheet(mono=1), "clones", "fewer than two wells", "Seed two or more wells"),
        (_sheet().assign(hashtag=None), "contacts", "share no lane", "Give each well a hashtag"),
    ],
)
def test_what_is_not_answered_is_named_with_the_remedy(table, question, problem, remedy):
    row = _of(_questions(table), question)
    assert not row["estimable"]
    assert problem in row["problem"]
    assert remedy in row["remedy"]


def test_weak_answers_are_named():
    single = _of(_questions(_sheet(mono=1)), "response")
    assert "one sample of K562 alone" in single["problem"]
    donor = _of(_questions(_sheet(donors=("d1",))), "response")
    assert donor["confounded_with"] == "donor"
    assert "holds for this donor only" in donor["problem"]
    table = _sheet()
    table.loc[table["tumor"] == "MM1S", "nk_donor"] = table["nk_donor"].str.replace("d", "e")
    assert _of(_questions(table), "line_difference")["confounded_with"] == "donor"


def test_treatments_times_ratios_and_rounds_of_work():
    table = _sheet()
    both = pd.concat(
        [table.assign(drug="dmso"), table.assign(drug="x", sample=table["sample"] + "x")]
    ).assign(hashtag=None, lane=None)
    both["plate"] = ["P1" if c == "coculture" else "P2" for c in both["condition"]]
    found = _questions(both)
    row = found[found["question"] == "interaction"].iloc[0]
    assert row["estimable"]
    assert row["levels"] == "drug: dmso or x"
    assert row["df_residual"] == 12
    # A plate that holds one arm of both drugs changes both responses alike.
    assert row["confounded_with"] == ""
    assert set(found.query("question == 'response'")["confounded_with"]) == {"plate"}
    both["plate"] = both["plate"] + both["drug"]
    assert _questions(both).query("question == 'interaction'")["confounded_with"].iloc[0] == "plate"
    half = both[~((both["drug"] == "x") & (both["condition"] == "tumor_mono"))]
    row = _questions(half).query("question == 'interaction' and compartment == 'tumor'").iloc[0]
    assert not row["estimable"]
    assert row["remedy"] == "Make both arms at drug x."
    dose = _sheet()
    ratios = iter([1, 0.25, 0.25, 1, 1, 0.25])
    dose["et_ratio"] = [next(ratios) if c == "coculture" else None for c in dose["condition"]]
    row = _questions(dose).query("question == 'dose' and tumor == 'K562'").iloc[0]
    assert row["estimable"]
    assert "Add a third ratio" in row["remedy"]
    assert not _questions(both, factors=["plate"]).query("question == 'interaction'").empty


def test_sheets_with_open_places_are_read_and_wrong_ones_refused():
    lines = described_sheet(_sheet().drop(columns=["lane", "hashtag"]))
    assert "name no lane" in lines[0]
    lines = described_sheet(_sheet().drop(columns=["hashtag"]))
    assert "Only hashtags can separate their cells" in lines[0]
    with pytest.raises(SampleSheetError, match="'condition': is missing"):
        described_sheet(_sheet().drop(columns=["condition"]))
    with pytest.raises(SampleSheetError, match="not a known condition"):
        described_sheet(_sheet().replace("coculture", "shaken"))
    with pytest.raises(SampleSheetError, match="no column 'dose'"):
        _questions(_sheet(), factors=["dose"])
    only_nk = _sheet(lines=())
    assert "No question can be asked" in described_sheet(only_nk)[-1]


def test_sheet_check_says_what_the_design_answers(tmp_path, capsys):
    path = tmp_path / "s.csv"
    _sheet(mono=1).assign(path="a.h5", lane="a").to_csv(path, index=False)
    assert main(["sheet", "--check", str(path), "--without-files"]) == 0
    text = capsys.readouterr().out
    assert "Which genes of the tumor cells change by contact?\n  yes: K562, MM1S" in text
    assert "Add a second well of each line alone." in text


LEVEL = np.geomspace(0.1, 20, 8)


def _variances(samples=0.02, between=0.03):
    flat = [np.full(8, value) for value in (0.8, samples, between, 1 / 8)]
    return Variances("made", LEVEL, *flat, 0.5, 0.1)


def _power(compartment="tumor", *, donors=4, wells=3, depth=None, effect=1.0, **changed):
    rows = balanced(compartment, lines=2, donors=donors, wells=wells)
    wanted = Wanted(effect, (0.3, 3.0))
    return power_of(
        rows,
        depth or Depth(200, 4000),
        wanted,
        _variances(**changed),
        repeats=2,
        rng=np.random.default_rng(0),
    )


def test_power_follows_the_design():
    base = _power()
    low, high = base["power"]
    assert 0.1 < low < high < 0.98
    assert base["fdr"].iloc[0] < 0.12
    assert base["df_residual"].iloc[0] == 2 * (4 + 3) - 4
    assert _power(donors=8)["power"].mean() > base["power"].mean() + 0.05
    assert _power(samples=0.2)["power"].mean() < base["power"].mean() - 0.2
    assert _power(depth=Depth(200, 500))["power"].iloc[0] < low - 0.1
    assert _power(effect=1e-9)["power"].max() < 0.05
    # Differences between donors vanish where the cells of a donor are in both arms.
    paired = _power("nk", samples=0.005, between=0.3)["power"].iloc[1]
    assert paired > _power(samples=0.005, between=0.3)["power"].iloc[1] + 0.3
    for none in (_power(donors=1, wells=1), _power(depth=Depth(9, 4000))):
        assert (none["power"] == 0).all()
        assert (none["df_residual"] == 0).all()


def test_planted_variances_are_measured():
    rng = np.random.default_rng(1)
    n_donors, n_genes, n_cells = 12, 1500, 150
    level = rng.permutation(np.geomspace(0.1, 20, n_genes))
    arm, donor = np.repeat([0, 1], n_donors), np.tile(np.arange(n_donors), 2)
    own = np.exp(rng.normal(-0.03, np.sqrt(0.06), (n_donors, n_genes)))[donor]
    mean = n_cells * 0.4 * level * own * (1 + arm)[:, None]
    counts = drawn(rng, mean, np.full(n_genes, 0.03), np.full(n_genes, 0.8 / n_cells))
    each = counts / n_cells
    squares = n_cells * each**2 + (n_cells - 1) * (each + 0.8 * each**2)
    sums = Sums(counts, squares, np.full(2 * n_donors, float(n_cells)), arm, donor)
    found = measured("made", sums, rng)
    np.testing.assert_allclose(found.cells, 0.8, atol=0.05)
    np.testing.assert_allclose(found.samples[3:], 0.03, atol=0.01)
    np.testing.assert_allclose(found.donors[3:], 0.06, atol=0.015)
    apart = Sums(counts, squares, sums.n_cells, arm, np.full(2 * n_donors, -1))
    np.testing.assert_allclose(measured("made", apart, rng).samples[3:], 0.09, atol=0.02)
    with pytest.raises(DesignError, match="no arm of a line has two samples"):
        measured("made", Sums(counts, squares, sums.n_cells, np.arange(24), donor * 0 - 1), rng)


def test_packaged_variances_are_whole():
    for name, one in packaged().items():
        assert one.source == name
        assert (np.diff(one.level) > 0).all()
        assert min(one.cells.min(), one.samples.min(), one.donors.min()) >= 0
        assert one.share.sum() == pytest.approx(1, abs=1e-3)
        levels = one.draw_levels(np.random.default_rng(0), 500)
        assert one.level[0] / 3 < np.median(levels) < one.level[-1]


ONE = {"cells": 200, "umi": 4000, "state_share": 1, "donors": [4], "wells": [], "repeats": 1}


def test_a_plan_has_questions_power_and_cost():
    plan = nk.tl.plan_experiment(_sheet(), prices={"donor": 100, "lane": 1000}, **ONE)
    assert plan.questions["estimable"].all()
    assert plan.power["varied"].unique().tolist() == ["sheet", "donors"]
    assert (plan.power["power_low"] <= plan.power["power_high"]).all()
    # 2 lines × (3 + 2) wells and 3 of NK cells, 200 cells each, fit in one lane.
    assert plan.power["cost"].tolist() == [1300.0] * 3 + [1400.0] * 3
    assert "Which genes of the tumor cells" in repr(plan)
    assert "Power in tumor cells for a log2 fold change of 1" in repr(plan)
    again = nk.tl.plan_experiment(_sheet(), prices={"donor": 100, "lane": 1000}, **ONE)
    pd.testing.assert_frame_equal(again.power, plan.power)


def test_a_pilot_gives_the_variances():
    pilot = nk.datasets.simulate_coculture(
        tumors={"K562": "CML"}, n_cells_per_sample=80, n_donors=2, rng=0
    )
    nk.datasets.use_truth(pilot)
    before = pilot.obs.copy()
    plan = nk.tl.plan_experiment(_sheet(), "nk", pilot=pilot, **ONE)
    assert plan.variances["source"].unique().tolist() == ["pilot"]
    assert plan.power["varied"].unique().tolist() == ["sheet", "donors"]
    assert (plan.power["power_low"] == plan.power["power_high"]).all()
    pd.testing.assert_frame_equal(pilot.obs, before)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"cells": -5}, ValueError, "cells is -5"),
        ({"cells": []}, ValueError, "cells is empty"),
        ({"umi": 0}, ValueError, "umi is 0"),
        ({"state_share": 1.5}, ValueError, r"state_share\[0\] is 1.5"),
        ({"effect": -1}, ValueError, "effect is -1"),
        ({"donors": [0]}, ValueError, "donors is 0"),
        ({"prices": {"donr": 1}}, ValueError, "known here: donor, well"),
        ({"prices": {"donor": -1}}, ValueError, "price of a donor is -1"),
        ({"sources": ["Kang"]}, ValueError, "known here: Kang 2018 CD14 Mono"),
        ({"compartment": "b"}, ValueError, "compartment names 'b'"),
        ({"factors": ["dose"]}, SampleSheetError, "no column 'dose'"),
        ({"levels": [np.nan]}, ValueError, "levels is nan"),
    ],
)
def test_wrong_options(options, error, match):
    with pytest.raises(error, match=match):
        nk.tl.plan_experiment(_sheet(), **{**ONE, **options})


def test_sheets_without_donors_or_arms_still_get_numbers():
    plan = nk.tl.plan_experiment(_sheet(donors=()), **ONE)
    assert not plan.questions["estimable"].any()
    assert plan.power["varied"].iloc[0] == "sheet"
    assert plan.power["power"].notna().all()
    assert any("power is that of a balanced design" in text for text in plan.remarks)


def test_plan_command(tmp_path, capsys):
    path, out = tmp_path / "s.csv", tmp_path / "out"
    _sheet().drop(columns="lane").to_csv(path, index=False)
    arguments = ["plan", str(path), "--cells", "200", "--umi", "4000", "--state-share", "1"]
    arguments += ["--donors", "3", "--repeats", "1", "--prices", "donor=1"]
    assert main([*arguments, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "yes: K562, MM1S (6 residual degrees of freedom)" in text
    assert {"questions.tsv", "power.tsv", "power_donors.png"} <= {p.name for p in out.iterdir()}
    assert main([*arguments, "--out", str(out)]) == 1
    assert "exists. Choose another folder" in capsys.readouterr().err
    assert main([*arguments[:2], "--cells", "a"]) == 1
    assert "whole numbers separated by commas" in capsys.readouterr().err
    assert main([*arguments[:2], "--prices", "donor"]) == 1
    assert "NAME=PRICE is needed" in capsys.readouterr().err
