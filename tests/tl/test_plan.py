"""Plans before the experiment: what a sheet can answer, and with which power."""

from __future__ import annotations

import pandas as pd
import pytest

from nkscore.cli import main
from nkscore.errors import SampleSheetError
from nkscore.io._planned_sheet import planned_sheet
from nkscore.tl._plan._design_words import described_sheet
from nkscore.tl._plan._planned_cells import planned_cells
from nkscore.tl._plan._questions import questions_of


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
