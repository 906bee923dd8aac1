"""The ledger of losses: every cell of a whole run is followed to its end."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._ledger import UNEXPLAINED, note, rows
from nkscore._run import _job, _options, _steps

CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"
UNLISTED, EMPTY, NO_MONO, SMALL = "JURKAT_NK2", "697_NK2", "GDM1", "K562_NK1"
MIN_COUNTS = 900


def planted():
    """An experiment with a well without cells, a small one, and a line without monoculture."""
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "GDM1", "JURKAT", "K562"],
        n_donors=2,
        n_cells_per_sample=60,
        n_mono_replicates=2,
        n_genes=4000,
        low_quality=0.08,
        rng=0,
    )
    sample = adata.obs["truth_sample"].astype(str).to_numpy()
    second = adata.obs["truth_sample_2"].astype(str).to_numpy()
    gone = (sample == EMPTY) | (second == EMPTY)
    small = np.flatnonzero(sample == SMALL)[12:]
    gone[small] = True
    gone |= (adata.obs["truth_tumor"] == NO_MONO).to_numpy() & (
        adata.obs["truth_condition"] == "tumor_mono"
    ).to_numpy()
    return adata[~gone].copy()


@pytest.fixture(scope="module")
def lanes(tmp_path_factory):
    """Its lanes, and a sheet that lacks the row of one tag."""
    folder = tmp_path_factory.mktemp("lanes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nk.datasets.write_lanes(planted(), folder, overwrite=True)
    sheet = pd.read_csv(folder / "sample_sheet.csv", keep_default_na=False)
    alone = (sheet["tumor"] == NO_MONO) & (sheet["condition"] == "tumor_mono")
    sheet = sheet[(sheet["sample"] != UNLISTED) & ~alone]
    sheet.to_csv(folder / "sheet.csv", index=False)
    return folder


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def ran(lanes, tmp_path_factory):
    """Ledgers of a run that stops at its last step, and of the run that takes it up."""
    out = tmp_path_factory.mktemp("run") / "out"
    options = _options.defaults()
    options["run"] |= {"embedding": False, "figures": False}
    options["run"]["tables"] = [
        *("nk_state_fractions", "nk_state_shift", "tumor_response", "nk_response"),
        *("core_response", "tumor_enrichment"),
    ]
    options["read"]["min_counts"] = MIN_COUNTS
    seen = []

    def stop(results, folder):
        seen.append(results.tables["ledger"])
        raise StopError

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(_steps, "write", stop)
        with pytest.raises(StopError), _job.job(out, force=False) as job:
            _steps.analyze(lanes / "sheet.csv", job, options)
        patch.undo()
        with _job.job(out, force=False) as job:
            _steps.analyze(lanes / "sheet.csv", job, options)
    return seen[0], out


@pytest.fixture(scope="module")
def table(ran):
    return pd.read_csv(ran[1] / "tables" / "ledger.tsv", sep="\t", keep_default_na=False)


def of(table, step, what):
    found = table[(table["step"] == step) & (table["what"] == what)]
    assert len(found), f"{step} has no row of {what}"
    return found


def lost(table, step, what):
    return of(table, step, what).set_index("reason")["n_lost"].to_dict()


def test_totals_add_up(table):
    assert UNEXPLAINED not in set(table["reason"])
    for _, part in table.groupby(["step", "what"]):
        assert part["n_in"].nunique() == part["n_out"].nunique() == 1
        assert part["n_lost"].sum() == (part["n_in"] - part["n_out"]).iloc[0]
        assert (part["n_out"] >= 0).all()
        assert part["reason"].is_unique


def test_resumed_runs_have_the_same_ledger(ran, table):
    pd.testing.assert_frame_equal(table, ran[0], check_dtype=False)
    stored = anndata.read_h5ad(ran[1] / "adata.h5ad")
    pd.testing.assert_frame_equal(nk.ledger(stored), table, check_dtype=False)


def test_cells_pass_from_step_to_step(ran, table):
    n = len(planted())
    steps = ["io.read_coculture", "pp.qc", "pp.demultiplex", "pp.compartments", "pp.keep"]
    for step in steps:
        assert of(table, step, "cells")["n_in"].iloc[0] == n
        n = of(table, step, "cells")["n_out"].iloc[0]
    kept = anndata.read_h5ad(ran[1] / "adata.h5ad", backed="r")
    assert n == kept.n_obs
    for step, what, compartment in (
        ("nk_response", "NK cells", "nk"),
        ("nk_state_shift", "NK cells", "nk"),
        ("tl.nk_states", "NK cells", "nk"),
        ("tumor_response", "tumor cells", "tumor"),
    ):
        n_in = of(table, step, what)["n_in"].iloc[0]
        assert n_in == (kept.obs["compartment"] == compartment).sum()


def by_hand(lanes):
    """Cells after the steps that mark them, all of which are still there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = nk.io.read_coculture(lanes / "sheet.csv", min_counts=MIN_COUNTS, progress=False)
        nk.pp.qc(adata)
        nk.pp.demultiplex(adata)
        nk.pp.compartments(adata)
    return adata


def test_every_cell_is_counted_where_it_ends(lanes, table, ran):
    cells = by_hand(lanes).obs
    good = cells["qc_pass"].to_numpy()
    n_qc = sum(lost(table, "pp.qc", "cells").values())
    assert n_qc == (~good).sum() > 20
    calls = cells["hashtag_class"].astype(str)
    marked = lost(table, "pp.demultiplex", "cells")
    for name in ("doublet", "negative"):
        assert marked[f"hashtag {name}"] == (good & (calls == name)).sum() > 5
    good &= (calls == "singlet").to_numpy()
    types = cells["compartment"].astype(str).to_numpy()
    for name, n in lost(table, "pp.compartments", "cells").items():
        assert n == (good & (types == name.removeprefix("compartment "))).sum()
    good &= np.isin(types, ["nk", "tumor"])
    kept = anndata.read_h5ad(ran[1] / "adata.h5ad", backed="r")
    assert list(cells.index[good]) == list(kept.obs_names)
    # Wells are lost whole, with all their cells.
    small = cells[good & (cells["sample"] == SMALL).to_numpy()]
    n_small = (small["compartment"] == "nk").sum()
    reason = "sample: fewer than 10 (min_cells)"
    few = of(table, "nk_response", "NK cells").set_index("reason").loc[reason]
    assert f"{SMALL}: {n_small}" in few["names"].split("; ")


def test_what_was_planted_is_named(table):
    low = lost(table, "io.read_coculture", "cells")
    assert low["fewer UMIs than min_counts"] > 5
    tags = of(table, "pp.demultiplex", "tags").set_index("reason")["names"]
    assert "no cell has it" in tags
    name = tags["in negative cells, but not in the sample sheet"]
    assert name.startswith("Lane_NK2 Hashtag")
    n_negative = int(name.partition("(")[2].split()[0])
    truth = planted().obs
    carry = (truth["truth_sample"] == UNLISTED) & (truth["truth_hashtag_class"] == "singlet")
    assert 0.8 * carry.sum() < n_negative <= carry.sum()
    samples = of(table, "pp.demultiplex", "samples").set_index("reason")["names"]
    assert samples["no cell of it was found"] == EMPTY
    lines = of(table, "tumor_response", "lines").set_index("reason")["names"]
    assert lines["no sample of both 'coculture' and 'tumor_mono'"] == NO_MONO


def test_the_report_names_the_worst(ran):
    text = (ran[1] / "report.html").read_text(encoding="utf-8")
    assert 'id="ledger"' in text
    for sentence in (
        f"Lost lines: {NO_MONO} (no sample of both",
        f"Lost samples: {EMPTY} (no cell of it was found; pp.demultiplex)",
        "Lost tags: Lane_NK2 Hashtag",
    ):
        assert sentence.replace("'", "&#39;") in text


def test_effects_without_error_are_counted():
    gene = [f"G{i}" for i in range(60)]
    table = pd.DataFrame(
        {
            "tumor": np.repeat(["A", "B"], 60),
            "gene": gene * 2,
            "log2_fc": np.random.default_rng(0).normal(size=120),
            "se": 0.3,
        }
    )
    table.loc[[3, 4], "log2_fc"] = np.nan
    table.loc[70, "se"] = 0.0
    made = nk.tl.specific_response(table)
    found = nk.ledger(anndata.AnnData(np.ones((1, 1))), {"specific": made})
    effects = lost(found, "specific", "effects")
    assert effects == {"log2_fc is missing": 2, "standard error is 0 or missing": 1}
    assert of(found, "specific", "genes")["names"].iloc[0] == "G10; G3; G4"


def test_steps_run_again_replace_their_rows():
    adata = nk.datasets.simulate_coculture(tumors=["697"], n_cells_per_sample=40, rng=0)
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    first = nk.ledger(adata)
    nk.pp.qc(adata)
    pd.testing.assert_frame_equal(nk.ledger(adata), first)
    nk.pp.qc(adata, limits={"total_counts": (5000, np.inf)})
    again = nk.ledger(adata)
    cells = again[again["what"] == "cells"].drop_duplicates("step")
    assert cells["n_in"].tolist() == [adata.n_obs, adata.obs["qc_pass"].sum()]
    kept = nk.pp.keep(adata)
    nk.pp.qc(kept)
    # What was removed is not forgotten when a step marks the rest.
    steps = nk.ledger(kept).drop_duplicates("step")["step"].tolist()
    assert steps[:3] == ["pp.qc", "pp.demultiplex", "pp.keep"]
    assert steps[3] == "pp.qc again"


def test_a_loss_that_no_step_explains_is_shown():
    adata = anndata.AnnData(np.ones((3, 2)))
    note(adata, {"pp.x": rows("pp.x", "cells", 10, 4, {"small": {"a": 5, "b": 0}})})
    assert nk.ledger(adata)[["n_lost", "reason"]].to_numpy().tolist() == [
        [5, "small"],
        [1, UNEXPLAINED],
    ]
    with pytest.raises(nk.errors.MissingKeyError, match=r"Run io\.read_coculture or pp\.qc"):
        nk.ledger(anndata.AnnData(np.ones((3, 2))))
