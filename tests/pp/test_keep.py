from __future__ import annotations

import numpy as np
import pytest

import nkscore as nk
from nkscore.errors import MissingKeyError

#: qc_pass, qc_reason, hashtag_class, compartment
ROWS = [
    (True, "pass", "singlet", "nk"),
    (True, "pass", "singlet", "tumor"),
    (True, "pass", "singlet", "mixed"),
    (True, "pass", "singlet", "unassigned"),
    (True, "pass", "doublet", "mixed"),
    (True, "pass", "negative", "unassigned"),
    (False, "low counts", "doublet", "mixed"),
    (False, "low counts", "singlet", "nk"),
    (False, "high mitochondrial", "singlet", "tumor"),
]


@pytest.fixture
def judged(cells):
    adata = cells(np.arange(1, 10)[:, None], ["G"])
    for column, values in zip(
        ("qc_pass", "qc_reason", "hashtag_class", "compartment"),
        zip(*ROWS, strict=True),
        strict=True,
    ):
        adata.obs[column] = list(values)
    return adata


def test_each_cell_is_counted_under_the_first_reason(judged):
    kept = nk.pp.keep(judged)
    assert kept.obs_names.tolist() == ["cell0", "cell1"]
    record = kept.uns["nkscore"]["pp.keep"]
    # Cell 6 fails in all three ways and is counted for QC; cell 4 in two, for its hashtags.
    assert record["removed"] == {
        "qc: low counts": 2,
        "qc: high mitochondrial": 1,
        "hashtag_class: doublet": 1,
        "hashtag_class: negative": 1,
        "compartment: mixed": 1,
        "compartment: unassigned": 1,
    }
    assert record["n_before"] == 9
    assert record["n_kept"] == 2
    assert sum(record["removed"].values()) == record["n_before"] - record["n_kept"]


def test_only_the_steps_that_were_run_judge(judged):
    del judged.obs["qc_pass"], judged.obs["compartment"]
    kept = nk.pp.keep(judged)
    assert kept.uns["nkscore"]["pp.keep"]["removed"] == {
        "hashtag_class: doublet": 2,
        "hashtag_class: negative": 1,
    }


def test_other_classes_and_compartments_on_request(judged):
    kept = nk.pp.keep(judged, hashtag_classes=["singlet", "doublet"], compartments=None)
    assert kept.obs_names.tolist() == [f"cell{i}" for i in range(5)]
    mixed = nk.pp.keep(judged, compartments=["mixed"])
    assert mixed.obs_names.tolist() == ["cell2"]


def test_input_is_not_changed_and_not_shared(judged):
    before = judged.copy()
    kept = nk.pp.keep(judged)
    kept.layers["counts"].data[:] = 99
    kept.obs["qc_reason"] = "x"
    assert "nkscore" not in judged.uns
    assert (judged.layers["counts"] != before.layers["counts"]).nnz == 0
    assert judged.obs.equals(before.obs)
    assert judged.n_obs == 9


def test_record_of_earlier_steps_stays(judged):
    judged.uns["nkscore"] = {"pp.qc": {"function": "pp.qc"}}
    kept = nk.pp.keep(judged)
    assert set(kept.uns["nkscore"]) == {"pp.qc", "pp.keep", "ledger"}
    assert set(judged.uns["nkscore"]) == {"pp.qc"}


def test_nothing_judged_is_an_error(cells):
    with pytest.raises(MissingKeyError, match=r"qc_pass.*Run pp\.qc first"):
        nk.pp.keep(cells([[1]], ["G"]))


def test_nothing_left_says_why(judged):
    with pytest.raises(ValueError, match=r"None of 9 cells would be kept: .*2 qc: low counts"):
        nk.pp.keep(judged, hashtag_classes=[])


def test_counts_on_the_simulator_add_up(called):
    kept = nk.pp.keep(called)
    obs = called.obs
    good = (
        obs["qc_pass"]
        & (obs["hashtag_class"] == "singlet")
        & obs["compartment"].isin(["nk", "tumor"])
    )
    assert kept.n_obs == good.sum()
    assert kept.obs_names.equals(called.obs_names[good])
    removed = kept.uns["nkscore"]["pp.keep"]["removed"]
    assert sum(n for reason, n in removed.items() if reason.startswith("qc")) == (
        (~obs["qc_pass"]).sum()
    )
    assert sum(removed.values()) == (~good).sum()


def test_a_misspelt_compartment_does_not_remove_its_cells(judged):
    with pytest.raises(ValueError, match=r"compartments names 'tumour'; known here: nk, tumor, "):
        nk.pp.keep(judged, compartments=["nk", "tumour"])
    with pytest.raises(ValueError, match=r"hashtag_classes names 'singlets'; known here: singlet"):
        nk.pp.keep(judged, hashtag_classes="singlets")


def test_one_name_is_a_name(judged):
    one = nk.pp.keep(judged, compartments="nk", hashtag_classes="singlet")
    listed = nk.pp.keep(judged, compartments=["nk"])
    assert one.obs_names.equals(listed.obs_names)
    options = [kept.uns["nkscore"]["pp.keep"]["options"] for kept in (one, listed)]
    assert options[0] == options[1]


def test_compartments_of_ones_own_are_known(judged):
    adata = judged.copy()
    adata.obs["compartment"] = "stroma"
    assert nk.pp.keep(adata, compartments=["stroma"]).n_obs > 0
