"""What NK cells can see of residual cells, with what was planted as the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError
from nkscore.stats import overlap_weights

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TRUTH = {"residual": "dormant", "state": "planted"}
CLASSES = {"a": ["UL", "PVR"], "b": ["HLA-E"], "absent": ["MICA"]}


def cells(seed=0, *, halved=("PVR",), rna=0.6, n_samples=3):
    """Samples × 120 cells, a third dormant; half of the others cycle and have more of UL."""
    rng = np.random.default_rng(seed)
    cycle = nk.signatures.get("TIROSH2016_G2M").up
    names = [*(f"g{i}" for i in range(300)), *cycle, "UL", "PVR", "HLA-E"]
    n = 120 * n_samples
    dormant = np.tile(np.arange(120) < 40, n_samples)
    cycling = ~dormant & (rng.random(n) < 0.5) | dormant & (rng.random(n) < 0.1)
    depth = np.exp(0.3 * rng.normal(size=n)) * np.where(dormant, rna, 1.0)
    rate = np.full((n, len(names)), 3.0)
    at = {name: i for i, name in enumerate(names)}
    rate[:, [at[g] for g in cycle]] *= np.where(cycling, 1.0, 0.1)[:, None]
    rate[:, at["UL"]] *= np.where(cycling, 1.0, 0.5)
    rate[:, [at[g] for g in halved]] *= np.where(dormant, 0.5, 1.0)[:, None]
    sample = np.repeat([f"s{i}" for i in range(n_samples)], 120)
    rate *= np.exp(0.1 * rng.normal(size=(n_samples, len(names))))[np.repeat(range(n_samples), 120)]
    counts = sparse.csr_matrix(rng.poisson(rate * depth[:, None]).astype(np.int32))
    obs = pd.DataFrame(
        {
            "sample": sample,
            "tumor": "L1",
            "compartment": "tumor",
            "planted": np.where(dormant, "dormant", "cycling_or_not"),
        },
        index=[f"c{i}" for i in range(n)],
    )
    return AnnData(obs=obs, var=pd.DataFrame(index=names), layers={"counts": counts})


def row(table, answer, gene, cls=None):
    part = table[(table["answer"] == answer) & (table["gene"] == gene)]
    return (part if cls is None else part[part["class"] == cls]).iloc[0]


def test_two_answers_to_two_questions():
    """A gene of the cycle changes as such only; a lost ligand changes in both."""
    adata = cells()
    before = adata.layers["counts"].copy()
    table = nk.tl.visibility(adata, classes=CLASSES, **TRUTH)
    assert (adata.layers["counts"] != before).nnz == 0
    assert list(adata.obs) == ["sample", "tumor", "compartment", "planted"]
    lost = row(table, "equal_depth_and_cycle", "PVR")
    assert lost["q_value"] < 0.01
    assert lost["ci_low"] < -1 < lost["ci_high"]
    as_such = row(table, "as_such", "PVR")
    assert as_such["ci_low"] < -1 + np.log2(0.6) < as_such["ci_high"]
    rna = row(table, "as_such", "sum", "rna_per_cell")
    assert rna["ci_low"] < np.log2(0.6) < rna["ci_high"]
    assert row(table, "as_such", "UL")["q_value"] < 0.01
    assert abs(row(table, "equal_depth_and_cycle", "UL")["log2_fc"]) < 0.25
    assert row(table, "equal_depth_and_cycle", "HLA-E")["q_value"] > 0.05
    assert 0 < table["overlap"].iloc[0] < 0.9
    after, had = (row(table, a, "UL") for a in ("equal_depth_and_cycle", "as_such"))
    assert after["n_residual"] <= had["n_residual"]
    assert after["n_other"] < had["n_other"]
    # Counts per cell, by hand.
    dormant = (adata.obs["planted"] == "dormant").to_numpy()
    own = adata[:, "PVR"].layers["counts"].toarray().ravel()
    assert as_such["mean_residual"] == pytest.approx(own[dormant].mean())
    left = {(e["what"], e["name"]): e["reason"] for e in table.attrs["left_out"]}
    assert left["gene", "MICA"] == "not in the data"
    assert ("class", "absent") in left


def test_sum_of_a_class_is_the_sum_of_its_counts():
    table = nk.tl.visibility(cells(halved=("PVR", "UL")), classes=CLASSES, **TRUTH)
    total = row(table, "as_such", "sum", "a")
    parts = [row(table, "as_such", gene) for gene in ("PVR", "UL")]
    assert total["mean_other"] == pytest.approx(sum(part["mean_other"] for part in parts))
    assert total["n_genes"] == 2
    assert not ((table["class"] == "b") & (table["gene"] == "sum")).any()


def test_what_could_have_been_found_is_found_in_four_of_five():
    """With one gene in the family, at the smallest detectable change."""
    first = nk.tl.visibility(cells(rna=1.0, halved=()), classes={"a": ["PVR"]}, **TRUTH)
    small = row(first, "equal_depth_and_cycle", "PVR")
    ratio = small["detectable_log2_fc"] / small["se"]
    # (t of .975) + (t of .8), by hand for many degrees of freedom.
    assert ratio == pytest.approx(1.96 + 0.8416, abs=0.05)


def test_genes_of_the_calls_are_not_tested():
    table = nk.tl.visibility(cells(), classes=CLASSES, state_genes=["PVR", "g1"], **TRUTH)
    assert "PVR" not in set(table["gene"])
    reasons = {e["name"]: e["reason"] for e in table.attrs["left_out"]}
    assert reasons["PVR"] == "it took part in calling the state"


def test_states_are_called_again_without_the_tested_genes(monkeypatch):
    from nkscore.tl._states import _visibility_state

    adata = nk.datasets.simulate_coculture(
        tumors=["K562"], n_cells_per_sample=150, n_genes=4000, low_myc=0.3, null=True, rng=1
    )
    nk.datasets.use_truth(adata)
    nk.tl.tumor_states(adata)
    before = adata.obs["tumor_state"].copy()
    used = []
    called = _visibility_state.tumor_states

    def spy(copy, **options):
        for program in options["programs"].values():
            used.extend(program.members())
        called(copy, **options)

    monkeypatch.setattr(_visibility_state, "tumor_states", spy)
    table = nk.tl.visibility(adata, min_cells=5)
    tested = set(",".join(nk.signatures.visibility_classes()["genes"]).split(","))
    assert used
    assert not set(used) & tested
    assert "called again without the tested genes" in table.attrs["design"]
    pd.testing.assert_series_equal(adata.obs["tumor_state"], before)


def test_patients_are_compared_with_themselves():
    """A shift between patients hides a loss that each of them has."""
    rng = np.random.default_rng(0)
    genes = [*(f"g{i}" for i in range(200)), "PVR", "HLA-E", "B2M", "MKI67"]
    patients = [f"P{i}" for i in range(8)]
    level = rng.normal(6, 1.5, (8, len(genes)))
    times = ("diagnosis", "residual", "relapse")
    logs = np.concatenate([level + 0.2 * rng.normal(size=level.shape) for _ in times])
    logs[8:16, genes.index("PVR")] -= 1.0
    samples = pd.DataFrame(
        {"time": np.repeat(times, 8), "patient": patients * 3}, index=[f"x{i}" for i in range(24)]
    )
    data = pd.DataFrame(logs, index=samples.index, columns=genes)
    options = {"residual": "residual", "other": "diagnosis", "state": "time", "by": None}
    paired = nk.tl.visibility(data, samples, replicate="patient", **options)
    lost = row(paired, "as_such", "PVR")
    assert lost["q_value"] < 0.01
    assert lost["log2_fc"] == pytest.approx(-1, abs=0.3)
    assert row(paired, "as_such", "HLA-E")["q_value"] > 0.05
    alone = nk.tl.visibility(data, samples, **options)
    assert row(alone, "as_such", "PVR")["se"] > 3 * lost["se"]
    back = nk.tl.visibility(
        data, samples, replicate="patient", **{**options, "residual": "relapse"}
    )
    assert row(back, "as_such", "PVR")["q_value"] > 0.05


def test_bad_input_says_what_to_do():
    adata = cells(n_samples=2)
    with pytest.raises(MissingKeyError, match="no level 'asleep'"):
        nk.tl.visibility(adata, residual="asleep", state="planted")
    with pytest.raises(GeneCoverageError, match="Human gene symbols"):
        nk.tl.visibility(adata, classes={"a": ["Raet1d"]}, **TRUTH)
    with pytest.raises(DesignError, match="no residual degree of freedom"):
        nk.tl.visibility(adata[adata.obs["sample"] == "s0"], classes=CLASSES, **TRUTH)
    with pytest.raises(DesignError, match="min_cells"):
        nk.tl.visibility(adata, classes=CLASSES, min_cells=500, **TRUTH)
    with pytest.raises(DesignError, match="name the level"):
        nk.tl.visibility(adata, adata.obs, **TRUTH)
    with pytest.raises(DesignError, match="for tables of samples"):
        nk.tl.visibility(adata, replicate="sample", **TRUTH)
    table = pd.DataFrame([[120.5, 3.0]] * 4, columns=["PVR", "HLA-E"], index=list("abcd"))
    samples = pd.DataFrame({"time": ["d", "d", "r", "r"]}, index=list("abcd"))
    with pytest.raises(WrongScaleError, match="neither counts nor logarithms"):
        nk.tl.visibility(table, samples, residual="r", other="d", state="time", by=None)


def test_weights_balance_the_groups():
    rng = np.random.default_rng(3)
    treated = rng.random(600) < 0.3
    x = rng.normal(size=(600, 2)) + np.where(treated, 1.0, 0.0)[:, None]
    found = overlap_weights(treated, x, rng.integers(0, 3, 600))
    means = [
        np.average(x[side], axis=0, weights=found.weights[side]) for side in (treated, ~treated)
    ]
    assert means[0] == pytest.approx(means[1], abs=0.03)
    # Two normal distributions that are √2 standard deviations apart share 2 Φ(-√2 / 2).
    assert found.overlap == pytest.approx(0.48, abs=0.08)
    same = overlap_weights(treated, np.ones((600, 1)), np.zeros(600, dtype=int))
    assert same.overlap == 1
    apart = overlap_weights(treated, np.where(treated, 1.0, 0.0)[:, None], np.zeros(600, dtype=int))
    assert apart.overlap == 0


@pytest.mark.skipif(not (SHARED / "nk_p185_ball_coculture").exists(), reason="needs ../shared/data")
def test_real_survivors_present_more_antigen():
    """Leukemia cells that survive 10 to 16 days with NK cells respond to interferon gamma."""
    import anndata

    path = SHARED / "nk_p185_ball_coculture" / "nk_p185_ball_coculture_counts.h5ad"
    adata = anndata.read_h5ad(path)
    adata.layers["counts"] = adata.X
    tested = ",".join(nk.signatures.visibility_classes()["genes"]).split(",")
    steady = adata.var_names[np.asarray(adata.X.sum(axis=0)).ravel().argsort()[-3000:]]
    adata = adata[:, adata.var_names.isin([*steady, *tested])].copy()
    table = nk.tl.visibility(
        adata,
        adata.obs,
        residual="coculture_late",
        other="tumor_mono",
        state="arm",
        replicate="experiment",
    )
    for gene, called in (("STAT1", True), ("FAS", True), ("B2M", False), ("HLA-B", False)):
        part = table[(table["gene"] == gene) & (table["answer"] == "as_such")]
        assert len(part) == 2
        assert (part["log2_fc"] > 0.3).all()
        assert (part["q_value"] < 0.05).all() or not called
    left = {e["name"] for e in table.attrs["left_out"]}
    assert {"MICA", "ULBP1", "RAET1L"} <= left
