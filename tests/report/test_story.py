"""The sentences of the first screen: right in each case, also when something was not measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nkscore._report._results import Results
from nkscore._report._story import story

TWO = np.log(2.0)


def told(topic, skipped=None, options=None, **tables):
    """The sentence on a topic, None if there is none."""
    methods = {} if options is None else dict.fromkeys(tables, ("tl.x", options))
    found = story(Results(None, None, tables, skipped=skipped or {}, methods=methods))
    assert len({finding.topic for finding in found}) == len(found)
    return next((finding.text for finding in found if finding.topic == topic), None)


def activation(tumors, effects, half=0.1, **more):
    effects = np.array(effects, dtype=float)
    return pd.DataFrame(
        {
            "tumor": tumors,
            "log_odds_ratio": effects,
            "ci_low": effects - half,
            "ci_high": effects + half,
            "active_treated": 0.5,
            "active_control": 0.1,
            "n_samples_treated": 3,
            "n_samples_control": 2,
            **more,
        }
    )


def test_most_and_least_activating_line_whatever_the_order_of_rows():
    table = activation(["A", "B", "C"], np.log([2.5, 7.5, 4.5]))
    options = {"confidence": 0.9, "replicate": "nk_donor"}
    assert told("NK activation", options=options, nk_activation=table) == (
        "Of 3 lines, B (10% → 50%, odds ratio 7.50, 90% interval 6.79 to 8.29; 3 + 2 donors) "
        "activates NK cells most, A least (10% → 50%, odds ratio 2.50, 90% interval 2.26 to 2.76; "
        "3 + 2 donors)."
    )


def test_open_order_and_no_clear_activation():
    table = activation(["A", "B", "C"], [3.0, 2.9, 0.05])
    text = told("NK activation", nk_activation=table)
    assert "The order of A, B is open: intervals overlap." in text
    assert "No clear activation: C." in text
    assert "3 + 2 samples" in text
    wide = told("NK activation", nk_activation=activation(["A", "B"], [3.0, 2.0], half=1.0))
    assert wide.endswith("The order is open: all intervals overlap with the first.")


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (TWO, "NK cells are more often activated with A ("),
        (-TWO, "NK cells are less often activated with A ("),
        (0.0, "No clear change of activated NK cells with A ("),
    ],
)
def test_one_line_has_no_most_and_least(effect, words):
    text = told("NK activation", nk_activation=activation(["A"], [effect]))
    assert text.startswith(words)
    assert text.endswith("the only line.")


def test_one_donor_has_no_interval():
    table = activation(["A", "B"], [2.0, 1.0], half=np.nan)
    text = told("NK activation", nk_activation=table)
    assert text.count("no interval") == 2
    assert "overlap" not in text
    assert "nan" not in text
    none = told("NK activation", nk_activation=activation(["A"], [np.nan]))
    assert none == "No line has an estimate."


def shift(rows, **more):
    """Rows of (tumor, state, log odds ratio, q-value)."""
    table = pd.DataFrame(rows, columns=["tumor", "state", "log_odds_ratio", "q_value"])
    return table.assign(**more)


def test_states_that_change_in_most_lines_come_first():
    table = shift(
        [
            *[(line, "activated", TWO * (line == "B") + 1, 0.01) for line in "ABC"],
            *[(line, "resting", -1.0, 0.01) for line in "AB"],
            ("C", "resting", 1.0, 0.01),
            ("C", "cytokine", 1.0, 0.5),
        ]
    )
    text = told("NK states", nk_state_shift=table)
    first, second, third = text.split("no interval). ")
    assert first.startswith(
        "Activated is more frequent in 3 of 3 lines, most in B (odds ratio 5.44"
    )
    assert second.startswith("Resting is less frequent in 2 of 3 lines")
    assert third.startswith("Resting is more frequent in 1 of 3 lines")
    assert "Cytokine" not in text
    one = told("NK states", nk_state_shift=shift([("A", "activated", 1.0, 0.5)]))
    assert one == "No state changes its share in the only line (q < 0.05)."


def core(genes, flags):
    return pd.DataFrame(
        {
            "gene": genes,
            "core": flags,
            "log2_fc": 1.5,
            "ci_low": 1.0,
            "ci_high": 2.0,
            "n_up": 2,
            "n_lines": 3,
        }
    )


def responses(tumors, q_value, **more):
    rows = {"tumor": tumors, "gene": ["X", "Y", "Z"], "log2_fc": [1.0, -1.0, 2.0]}
    return pd.DataFrame({**rows, "p_value": q_value, "q_value": q_value, **more})


def test_core_response_with_genes_and_without():
    text = told("Tumor response", core_response=core(["X", "Y"], [True, False]))
    assert text == (
        "1 gene responds over all lines, first X (log2 fold change 1.50, interval 1 to 2; "
        "significant by itself in 2 of 3 lines)."
    )
    lines = responses(["A", "A", "B"], [0.01, 0.02, 0.5])
    nothing = core(["X"], [False])
    assert told("Tumor response", core_response=nothing, tumor_response=lines) == (
        "No gene responds in enough lines to be called core. Genes that change per line "
        "(q < 0.05): 0 to 2."
    )


def test_one_line_is_described_by_itself():
    line = responses("A", [0.01, 0.02, 0.5])
    text = told("Tumor response", tumor_response=line)
    assert text == (
        "In A, the only line, 2 genes of 3 change (q < 0.05): 1 up, 1 down; most certain: X "
        "(log2 fold change 1, no interval)."
    )
    flagged = line.assign(ambient_suspect=[True, True, False])
    assert told("Tumor response", tumor_response=flagged).endswith("1 up, 1 down.")
    several = responses(["A", "A", "B"], [0.01, 0.02, 0.5])
    assert "no core response was computed" in told("Tumor response", tumor_response=several)


def test_no_monoculture_is_said_with_its_reason():
    why = "No sample of tumor_mono. Add the line alone."
    skipped = {"tumor_response": why, "tumor_state_shift": why, "nk_activation": "No states."}
    assert told("Tumor response", skipped=skipped) == f"No answer. {why}"
    assert told("Dormancy", skipped=skipped) == f"No answer. {why}"
    assert told("NK activation", skipped=skipped) == "No answer. No states."
    # What nobody asked for is not mentioned.
    assert told("Contacts", skipped=skipped) is None
    assert story(Results(None, None)) == []


def signals(calls):
    return pd.DataFrame(
        [
            {"tumor": line, "signal": name, "alone_z": z, "call": call, "reason": reason}
            for line, (call, reason) in calls.items()
            for name, z in (("HALLMARK_X", 2.0), ("HALLMARK_Y", 8.0))
        ]
    )


def test_signals_clear_and_unclear():
    both = signals({"A": ("IFNG", ""), "B": ("unclear", "HALLMARK_X_RESPONSE and more")})
    assert told("Signal", signal_activity=both) == (
        "IFNG explains the response best in 1 of 2 lines (A; z 8.0); unclear in B: x response "
        "and more."
    )
    neither = signals({"A": ("unclear", "no signal stands out")})
    assert told("Signal", signal_activity=neither) == "Unclear in A: no signal stands out."


def test_ambient_with_and_without_flags():
    table = pd.DataFrame({"sample": ["a", "b"], "ambient_share": [0.02, 0.04]})
    share = "3.0% of the counts of tumor cells in co-culture (median of 2 samples; 2.0% to 4.0%)"
    assert told("Ambient RNA", ambient=table) == f"{share}."
    plain = responses(["A", "A", "B"], [0.01, 0.02, 0.5])
    assert "was not tested" in told("Ambient RNA", ambient=table, tumor_response=plain)
    flagged = plain.assign(ambient_suspect=[True, False, True])
    text = told("Ambient RNA", ambient=table, tumor_response=flagged)
    assert text == f"{share}. It may explain 1 of 2 effects, which are flagged."
    unknown = table.assign(ambient_share=np.nan)
    assert told("Ambient RNA", ambient=unknown) == "The ambient share is unknown in all samples."


def test_dormancy_up_down_unchanged_and_absent():
    name = "low_myc_dormant_like"
    both = shift([("A", name, TWO, 0.01), ("B", name, -TWO, 0.01)])
    text = told("Dormancy", tumor_state_shift=both)
    assert "more frequent with NK cells in 1 of 2 lines, most in A (odds ratio 2" in text
    assert "less frequent with NK cells in 1 of 2 lines, most in B (odds ratio 0.500" in text
    still = told("Dormancy", tumor_state_shift=shift([("A", name, TWO, 0.5)]))
    assert still == "The share of dormant-like tumor cells does not change in the only line."
    other = told("Dormancy", tumor_state_shift=shift([("A", "cycling", TWO, 0.01)]))
    assert other.startswith("No low-MYC, dormant-like tumor cells were called")


def visibility(q_value, answer="equal_depth_and_cycle"):
    return pd.DataFrame(
        {
            "tumor": ["A", "B", "B"],
            "answer": answer,
            "class": "hla_class_i",
            "gene": ["sum", "sum", "HLA-A"],
            "log2_fc": [-0.5, -1.0, 3.0],
            "ci_low": -2.0,
            "ci_high": -0.1,
            "q_value": q_value,
        }
    )


def test_visibility_counts_classes_not_genes():
    text = told("Visibility", visibility=visibility([0.5, 0.01, 0.001]))
    assert text.endswith(
        "hla class i lower in 1 of 2 lines (most in B: log2 fold change −1, interval −2 to −0.100)."
    )
    assert "no class of genes" in told("Visibility", visibility=visibility(0.5))
    only = told("Visibility", visibility=visibility(0.01, answer="as_such"))
    assert "could not be compared" in only


def contacts(answers, p_family, per_100=(2.0, 1.0)):
    return pd.DataFrame(
        {
            "tumor": ["A", "B"],
            "answer": answers,
            "per_100": per_100,
            "per_100_low": 0.5,
            "per_100_high": 3.0,
            "p_family": p_family,
            "reason": ["", "too few cells"],
        }
    )


def test_contacts_found_absent_and_without_answer():
    assert told("Contacts", contacts=contacts("excess", [0.01, 0.5])) == (
        "More attached NK–tumor pairs than chance makes in 1 of 2 lines, most in A (2 per 100 "
        "droplets, interval 0.500 to 3)."
    )
    none = told("Contacts", contacts=contacts("excess", 0.5))
    assert none == "No more NK–tumor pairs than chance makes in any of 2 lines."
    partly = told("Contacts", contacts=contacts(["excess", "no answer"], [0.01, np.nan]))
    assert partly.endswith(" 1 line without an estimate.")
    silent = told("Contacts", contacts=contacts("no answer", np.nan))
    assert silent == "No line has an estimate of attached NK–tumor pairs. too few cells."


@pytest.mark.parametrize("name", ["nk_activation", "nk_state_shift", "core_response", "contacts"])
def test_tables_of_others_that_lack_columns_give_no_sentence(name):
    table = pd.DataFrame({"tumor": ["A"], "x": [1]})
    assert story(Results(None, None, {name: table})) == []
    assert story(Results(None, None, {name: table[:0]})) == []
