"""The dossier of a gene or line: what each table says of it, and what was not tested and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._report._dossier import dossiers
from nkscore._report._evidence_kinds import OF_GENE
from nkscore._report._evidence_lines import OF_LINE, SUMMARIES
from nkscore.errors import MissingKeyError

NUMBERS = {"log2_fc": 1.5, "ci_low": 1.0, "ci_high": 2.0, "p_value": 1e-6, "q_value": 1e-4}


def rows(*pairs, **more):
    """One row per line and gene, with an effect."""
    return pd.DataFrame([{"tumor": t, "gene": g, **NUMBERS, **more} for t, g in pairs])


@pytest.fixture
def tables():
    response = rows(("K562", "STAT1"), ("697", "STAT1"), ("K562", "PRF1"))
    response["ambient_suspect"] = response["gene"] == "PRF1"
    response["log2_fc_adjusted"] = [1.4, 1.4, 0.1]
    response.attrs["left_out"] = [{"what": "line", "name": "RI1", "reason": "no control"}]
    pairs = rows(("K562", "B2M"), score=3.0, nk_gene="KIR2DL1", tumor_gene="HLA-C", nk_state="all")
    screens = rows(("", "STAT1"), screen="S1", hit=True, role="inhibitory")
    clones = pd.DataFrame(
        {
            "tumor": "K562",
            "clone": ["a", "b"],
            "fate": ["shrunken", "grown"],
            "resistance": "before",
            "resistance_reason": "b grows",
        }
    )
    return {
        "tumor_response": response,
        "nk_response": rows(("K562", "IFNG")),
        "core_response": pd.DataFrame([{"gene": "STAT1", "core": True, **NUMBERS}]),
        "communication": pairs.drop(columns="gene"),
        "my screens": screens.drop(columns="tumor"),
        "clones": clones,
        "nk_activation": pd.DataFrame(
            [
                {
                    "tumor": "RI1",
                    "rank": 1,
                    "active_treated": 0.4,
                    "log_odds_ratio": 2.0,
                    "q_value": 0.2,
                }
            ]
        ),
        "ledger": pd.DataFrame(
            [
                {
                    "step": "decompose_shift",
                    "what": "results",
                    "n_in": 1,
                    "n_out": 0,
                    "n_lost": 1,
                    "reason": "one well",
                    "names": "",
                }
            ]
        ),
    }


def answer(found, question, line="all"):
    return found[(found["question"] == question) & (found["tumor"] == line)]


def test_a_gene(tables):
    before = {name: table.copy() for name, table in tables.items()}
    found = nk.evidence(tables, gene="STAT1")
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, before[name])
    effect = answer(found, "Does it respond to contact?", "K562")
    assert effect["verdict"].tolist() == ["up", "not tested"]
    assert effect["source"].tolist() == ["tumor_response", "nk_response"]
    assert effect["compartment"].tolist() == ["", "nk"]
    assert effect["estimate"].iloc[0] == 1.5
    assert answer(found, "Does it respond to contact?", "RI1")["reason"].iloc[0] == "no control"
    ambient = answer(found, "Can ambient RNA explain it?", "697").iloc[0]
    assert (ambient["estimate"], ambient["verdict"]) == (1.4, "not explained by ambient RNA")
    assert answer(found, "Does it respond in all lines?")["verdict"].tolist() == ["core response"]
    assert answer(found, "State or composition?")["reason"].tolist() == ["one well"]
    screen = answer(found, "Does its loss change killing?").iloc[0]
    assert (screen["detail"], screen["verdict"]) == ("S1", "inhibitory")
    published = found[found["question"] == "Published: screens"]
    hits = nk.signatures.crispr_hits()
    assert len(published) == (hits["gene"] == "STAT1").sum() > 0


def test_a_flag_by_name_is_no_test(tables):
    tables["tumor_response"] = tables["tumor_response"].drop(columns="log2_fc_adjusted")
    found = answer(nk.evidence(tables, gene="STAT1"), "Can ambient RNA explain it?", "697").iloc[0]
    assert found["verdict"] == "not flagged"
    assert "not measured" in found["reason"]


def test_genes_of_other_tables(tables):
    suspect = nk.evidence(tables, gene="PRF1")
    verdict = answer(suspect, "Can ambient RNA explain it?", "K562")["verdict"]
    assert verdict.tolist() == ["may be ambient RNA"]
    pair = answer(
        nk.evidence(tables, gene="HLA-C"), "Does it bind an NK receptor or ligand?", "K562"
    )
    assert pair["detail"].tolist() == ["all, KIR2DL1, HLA-C"]


def test_every_question_is_answered_or_has_a_reason(tables):
    for found, kinds in (
        (nk.evidence(tables, gene="STAT1"), OF_GENE),
        (nk.evidence(tables, line="K562"), (*SUMMARIES, *OF_LINE)),
    ):
        assert {kind.question for kind in kinds} <= set(found["question"])
        assert (found.loc[found["verdict"] == "not tested", "reason"] != "").all()
        assert found["verdict"].ne("").all()


def test_a_line(tables):
    found = nk.evidence(tables, line="K562")
    genes = answer(found, "Which genes respond?", "K562").iloc[0]
    assert (genes["estimate"], genes["verdict"]) == (2, "2 up, 0 down of 2 tested")
    assert "1 may be ambient RNA" in genes["reason"]
    clones = answer(found, "Which clones survive?", "K562").iloc[0]
    assert (clones["estimate"], clones["verdict"]) == (1, "resistance: before")
    assert set(found["tumor"]) == {"K562"}
    other = nk.evidence(tables, line="RI1")
    assert answer(other, "Does it activate NK cells?", "RI1")["verdict"].tolist() == [
        "no change found"
    ]
    assert answer(other, "Which genes respond?", "RI1")["reason"].iloc[0] == "no control"


def test_a_folder_and_a_single_table(tables, tmp_path):
    (tmp_path / "tables").mkdir()
    for name, table in tables.items():
        table.to_csv(tmp_path / "tables" / f"{name}.tsv", sep="\t", index=False)
    stored = nk.evidence(tmp_path, gene="PRF1")
    memory = nk.evidence(tables, gene="PRF1")
    keys = ["question", "source", "tumor", "verdict"]
    assert stored[keys].drop_duplicates().shape == memory[keys].drop_duplicates().shape
    np.testing.assert_allclose(stored["estimate"].sum(), memory["estimate"].sum())
    assert "STAT1" in nk.evidence(tables["tumor_response"], gene="STAT1").to_html()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"gene": "STAT11"}, MissingKeyError, "Did you mean STAT1"),
        ({"gene": "stat1"}, MissingKeyError, "Did you mean STAT1"),
        ({"line": "K-562"}, MissingKeyError, "Did you mean K562"),
        ({"line": "zzz"}, MissingKeyError, "There are 697, K562, RI1"),
        ({}, ValueError, "one of them"),
        ({"gene": "STAT1", "line": "K562"}, ValueError, "one of them"),
    ],
)
def test_names_that_no_table_has(tables, given, error, words):
    with pytest.raises(error, match=words):
        nk.evidence(tables, **given)


@pytest.mark.parametrize(
    ("results", "words"),
    [({}, "empty"), ({"a": 1}, "not a DataFrame"), (7, "type int"), ("/nowhere", "no tables")],
)
def test_results_of_another_type(results, words):
    with pytest.raises(MissingKeyError, match=words):
        nk.evidence(results, gene="STAT1")


def test_dossiers_of_the_report(tables):
    made = dossiers(tables)
    assert list(made) == ["STAT1"]
    assert "subject" not in made["STAT1"]
    assert dossiers({}) == {}
