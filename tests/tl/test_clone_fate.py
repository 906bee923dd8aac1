"""Fates of clones: planted change found, drift not called, and where resistance comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nkscore as nk
from nkscore.errors import DesignError, LaneError, MissingKeyError, WrongScaleError
from nkscore.stats import Drift, change_of_shares, fit_drift, wells_apart


def cells_of(counts, *, wells=None, line="K562"):
    """AnnData with so many cells of each clone: condition → wells × clones."""
    rows = []
    for condition, table in counts.items():
        for w, row in enumerate(np.asarray(table)):
            for c, n in enumerate(row):
                rows += [(f"{line}_{condition}_{w}", condition, f"c/{c}")] * int(n)
    obs = pd.DataFrame(rows, columns=["sample", "condition", "clone"])
    obs.index = [f"cell{i}" for i in range(len(obs))]
    obs = obs.assign(tumor=line, compartment="tumor", qc_pass=True)
    from anndata import AnnData

    return AnnData(obs=obs)


def drawn(rng, *, n_clones=60, wells=3, founders=3000, cells=1500, effect=None, jackpots=0):
    """Counts of both arms after seeding, random killing and new events."""
    size = np.exp(1.2 * rng.normal(size=n_clones))
    effect = np.zeros(n_clones) if effect is None else effect
    made = {}
    for condition in ("coculture", "tumor_mono"):
        rows = []
        for _ in range(wells):
            alive = rng.multinomial(founders, size / size.sum()).astype(float)
            if condition == "coculture":
                alive = rng.binomial(alive.astype(int), 0.5) * 2.0**effect
                lucky = rng.choice(n_clones, jackpots, replace=False)
                alive[lucky] = np.maximum(alive[lucky], 1) * 64
            rows.append(rng.multinomial(cells, alive / alive.sum()))
        made[condition] = np.array(rows)
    return made


# --- the test by itself


def test_two_counts_are_compared_by_the_binomial_distribution():
    """Without drift: mid-p of 2 of 12 cells, half of them expected."""
    drift = Drift(1e-12, 1e-12, 10**9, np.array([1000.0]))
    counts = (np.array([[2.0, 998]]), np.array([[10.0, 990]]))
    total = np.array([1000.0])
    found = change_of_shares(counts, (total, total), (drift, drift))
    mid = stats.binom.cdf(1, 12, 0.5) + stats.binom.pmf(2, 12, 0.5) / 2
    assert found.p_value[0] == pytest.approx(2 * mid, rel=1e-4)
    assert found.log2_fc[0] == pytest.approx(np.log2(2.5 / 10.5))
    at = 2.0 ** found.ci_high[0]
    q = at / (1 + at)
    edge = stats.binom.cdf(1, 12, q) + stats.binom.pmf(2, 12, q) / 2
    assert edge == pytest.approx(0.025, rel=1e-3)


def test_drift_is_estimated():
    """Multinomial seeding of 500 cells: a clone of share s varies as s / 500 between wells."""
    rng = np.random.default_rng(0)
    size = np.exp(rng.normal(size=200))
    rows = [rng.multinomial(2000, rng.multinomial(500, size / size.sum()) / 500) for _ in range(4)]
    found = fit_drift(np.array(rows, dtype=float), np.full(4, 2000.0))
    assert 1 / found.per_cell == pytest.approx(500, rel=0.25)
    assert found.growth < 0.1


def test_one_cell_in_one_well_does_not_stand_out():
    counts = np.array([[1.0, 400, 50], [0, 0, 50], [0, 0, 50]])
    p = wells_apart(counts, Drift(1e-3, 1e-3, 100, np.full(3, 1000.0)))
    assert p[0, 0] > 0.1
    assert p[0, 1] < 1e-6
    assert p[0, 2] > 0.2


# --- fates


def test_planted_change_is_found_and_nothing_without():
    """Four experiments of each kind; q < .05 by chance in at most one of the null ones."""
    false, hits, big, wrong, called = 0, 0, 0, 0, 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        none = nk.tl.clone_fate(cells_of(drawn(rng)))
        false += (none["q_value"] < 0.05).any()
        effect = np.where(np.arange(60) < 12, -np.log2(8), 0.0)
        counts = drawn(rng, effect=effect)
        table = nk.tl.clone_fate(cells_of(counts)).set_index("clone")
        lost = table.index.isin([f"c/{c}" for c in range(12)])
        down = table["fate"].isin(["shrunken", "eliminated"])
        large = table["n_cells_control"] >= 60
        big += (lost & large).sum()
        hits += (lost & large & down).sum()
        called += down.sum()
        wrong += (down & ~lost).sum()
    assert false <= 1
    assert hits >= 0.9 * big
    assert wrong <= 0.06 * called + 1


def test_where_resistance_comes_from():
    rng = np.random.default_rng(1)
    effect = np.where(np.arange(60) < 4, 5.0, 0.0)
    before = nk.tl.clone_fate(cells_of(drawn(rng, effect=effect)))
    assert set(before["resistance"]) == {"before"}
    assert set(before.loc[before["fate"] == "grown", "clone"]) <= {f"c/{c}" for c in range(4)}
    new = nk.tl.clone_fate(cells_of(drawn(rng, jackpots=2)))
    assert set(new["resistance"]) == {"acquired"}
    assert "stand out" in new["resistance_reason"].iloc[0]
    drift = nk.tl.clone_fate(cells_of(drawn(rng, founders=400)))
    assert set(drift["resistance"]) == {"unclear"}


def test_jackpots_of_the_monoculture_forbid_a_call():
    rng = np.random.default_rng(2)
    counts = drawn(rng, jackpots=2)
    counts["tumor_mono"][0, 5] = 900
    table = nk.tl.clone_fate(cells_of(counts))
    assert set(table["resistance"]) == {"unclear"}
    assert "control wells" in table["resistance_reason"].iloc[0]


@pytest.mark.parametrize("arm", ["treated", "control"])
def test_one_well_in_an_arm_is_unclear(arm):
    counts = drawn(np.random.default_rng(0))
    condition = {"treated": "coculture", "control": "tumor_mono"}[arm]
    table = nk.tl.clone_fate(cells_of(counts | {condition: counts[condition][:1]}))
    assert set(table["fate"]) == {"unclear"}
    assert set(table["resistance"]) == {"unclear"}
    assert table["p_value"].isna().all()
    assert table["log2_fc"].notna().all()
    assert set(table["reason"]) == {f"one {arm} well: how much wells differ by drift is not known"}


def test_few_clones_do_not_show_drift():
    """With two wells and eight clones, calls without any effect are rare, too."""
    calls = []
    for seed in range(8):
        counts = drawn(np.random.default_rng(seed), n_clones=8, wells=2, founders=500)
        table = nk.tl.clone_fate(cells_of(counts))
        calls.append((table["q_value"] < 0.05).any())
        assert "needed to know drift" in table["resistance_reason"].iloc[0]
    assert sum(calls) <= 1


def test_an_eliminated_clone_and_the_limit_of_detection():
    others = [39, 42, 40, 41, 38, 43, 40, 44, 37, 40, 41, 39, 42, 40, 38, 41, 43, 40]
    counts = {
        "tumor_mono": [[40, 3, 500, *others], [42, 2, 480, *others[::-1]]],
        "coculture": [[0, 0, 510, *others[::-1]], [0, 0, 490, *others]],
    }
    table = nk.tl.clone_fate(cells_of(counts), min_cells=10).set_index("clone")
    assert table.loc["c/0", "fate"] == "eliminated"
    assert table.loc["c/0", "ci_low"] == -np.inf
    assert table.loc["c/0", "ci_high"] < -2
    assert table.loc["c/2", "fate"] == "steady"
    assert table.loc["c/1", "fate"] == "unclear"
    assert not table.loc["c/1", "detectable_loss"] < 100
    assert 1 < table.loc["c/2", "detectable_loss"] < 1.6 < table.loc["c/0", "detectable_loss"]


def test_cells_without_a_clone_and_clones_seen_once():
    counts = drawn(np.random.default_rng(3), n_clones=20)
    adata = cells_of(counts)
    adata.obs.iloc[::7, adata.obs.columns.get_loc("clone")] = None
    adata.obs.iloc[1, adata.obs.columns.get_loc("clone")] = "once"
    before = adata.obs.copy()
    table = nk.tl.clone_fate(adata).set_index("clone")
    pd.testing.assert_frame_equal(adata.obs, before)
    assert table.loc["once", "fate"] == "unclear"
    assert "too few" in table.loc["once", "reason"]
    cells = table[["n_cells_treated", "n_cells_control"]].sum().sum()
    assert cells == adata.obs["clone"].notna().sum()
    lost = pd.DataFrame(table.attrs["ledger"])
    assert lost.loc[lost["reason"] == "no clone", "n_lost"].sum() == adata.obs["clone"].isna().sum()


def test_a_clone_of_two_lines_counts_in_each(caplog):
    counts = drawn(np.random.default_rng(4), n_clones=10)
    import anndata as ad

    adata = ad.concat([cells_of(counts), cells_of(counts, line="697")], index_unique="-")
    with caplog.at_level("WARNING"):
        table = nk.tl.clone_fate(adata)
    assert "several lines" in caplog.text
    assert table.groupby("tumor").size().eq(10).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"clone": "only"}, DesignError, "share of a single clone"),
        ({"condition": "coculture"}, DesignError, "No sample has condition 'tumor_mono'"),
        ({"clone": None}, DesignError, "cells with a value"),
    ],
)
def test_what_cannot_be_answered(change, error, words):
    adata = cells_of(drawn(np.random.default_rng(0), n_clones=5))
    adata.obs = adata.obs.assign(**change)
    with pytest.raises(error, match=words):
        nk.tl.clone_fate(adata)


def test_bad_options():
    adata = cells_of(drawn(np.random.default_rng(0), n_clones=5))
    with pytest.raises(MissingKeyError, match="barcode"):
        nk.tl.clone_fate(adata, "barcode")
    with pytest.raises(ValueError, match="steady"):
        nk.tl.clone_fate(adata, steady=1)
    with pytest.raises(MissingKeyError, match="split has no column"):
        nk.tl.clone_fate(adata, split=pd.DataFrame({"tumor": ["K562"]}))


# --- before contact


@pytest.fixture(scope="module")
def planted():
    """Changed clones hold most low-MYC cells; they grow."""
    clones = nk.datasets.Clones(
        n=16, spread=0.2, changed=0.5, log2_fc=2.5, low_myc_odds=20.0, founders=20000
    )
    adata = nk.datasets.simulate_coculture(
        tumors=["K562"],
        n_donors=2,
        n_cells_per_sample=900,
        n_mono_replicates=2,
        n_genes=4000,
        nk_fraction=0.2,
        low_myc=0.4,
        clones=clones,
        rng=0,
    )
    nk.datasets.use_truth(adata)
    return adata


def test_the_truth_of_the_simulator(planted):
    truth = planted.uns["truth"]["clones"]
    np.testing.assert_allclose(truth.groupby("sample")["share"].sum(), 1)
    tumor = planted.obs["truth_compartment"] == "tumor"
    assert planted.obs.loc[tumor, "truth_clone"].notna().all()
    assert planted.obs.loc[planted.obs["truth_compartment"] == "nk", "truth_clone"].isna().all()


def test_what_winners_expressed_before_contact(planted):
    fates = nk.tl.clone_fate(planted, "truth_clone")
    grown = set(fates.loc[fates["fate"] == "grown", "clone"])
    truth = planted.uns["truth"]["clones"]
    assert grown
    assert grown <= set(truth.loc[truth["changed"], "clone"])
    table = nk.tl.clone_expression(planted, fates, "truth_clone")
    down = table[(table["q_value"] < 0.05) & (table["log2_fc"] < 0)]["gene"]
    myc = set(nk.signatures.get("HALLMARK_MYC_TARGETS_V1").genes)
    assert len(down) >= 5
    assert len(set(down) & myc) > 0.2 * len(down)
    with pytest.raises(DesignError, match="two winning and two losing"):
        nk.tl.clone_expression(planted, fates.assign(fate="grown"), "truth_clone")
    with pytest.raises(ValueError, match="winners and in losers"):
        nk.tl.clone_expression(planted, fates, "truth_clone", losers=["grown"])


def test_the_split_of_a_score_is_added(planted):
    adata = planted.copy()
    adata.obs["value"] = (adata.obs["truth_tumor_state"] == "low_myc").astype(float)
    split = nk.tl.decompose_shift(adata, "value", "truth_clone", stable=True, interval="none")
    table = nk.tl.clone_fate(adata, "truth_clone", split=split)
    total = split[(split["stratum"] == "all") & (split["component"] == "selection")]["change"]
    assert table["selection"].sum() == pytest.approx(total.iloc[0])


# --- reading


def test_tables_of_clones(planted, tmp_path):
    adata = planted[planted.obs["lane"] == planted.obs["lane"].iloc[0]].copy()
    bare = adata.obs_names.str.extract(r"([ACGT]{16})")[0].to_numpy()
    rows = pd.DataFrame({"CB": bare[:-1], "clone_id": "a/1", "UMIs": 8})
    rows.loc[0, "clone_id"] = ""
    more = pd.DataFrame({"CB": bare[1:3], "clone_id": ["b", "b"], "UMIs": [8, 1]})
    pd.concat([rows, more]).to_csv(tmp_path / "clones.csv.gz", index=False)
    found = nk.io.read_clones(tmp_path / "clones.csv.gz", adata)
    assert list(found.index) == list(adata.obs_names)
    assert found.isna().to_numpy().nonzero()[0].tolist() == [0, 1, adata.n_obs - 1]
    assert found.iloc[2] == "a/1"


def test_tables_of_clones_of_several_lanes(planted, tmp_path):
    bare = planted.obs_names.str.extract(r"([ACGT]{16})")[0].to_numpy()
    table = pd.DataFrame({"lane": planted.obs["lane"].to_numpy(), "cell": bare, "clone": "a"})
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert (nk.io.read_clones(tmp_path / "a.tsv", planted) == "a").all()
    with pytest.raises(MissingKeyError, match="no lane 'x'"):
        nk.io.read_clones(tmp_path / "a.tsv", planted, lane="x")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", MissingKeyError, "empty"),
        ("a,b\n1,2\n", MissingKeyError, "no column of cell"),
        ("cell,clone\nACGT,\n", MissingKeyError, "no cell with a clone"),
        ("cell,clone,umis\nACGT,x,many\n", WrongScaleError, "row 2: 'many'"),
        ("cell,clone\nnobody,x\nnoone,y\n", LaneError, "None of the"),
    ],
)
def test_tables_that_are_refused(planted, tmp_path, text, error, words):
    (tmp_path / "clones.csv").write_text(text)
    with pytest.raises(error, match=words):
        nk.io.read_clones(tmp_path / "clones.csv", planted)


def test_figure():
    table = nk.tl.clone_fate(cells_of(drawn(np.random.default_rng(1), jackpots=1)))
    ax = nk.pl.clone_fate(table)
    shown = sum(len(part.get_offsets()) for part in ax.collections if hasattr(part, "get_offsets"))
    assert shown >= len(table)
    import matplotlib.pyplot as plt

    plt.close(ax.figure)
    two = pd.concat([table, table.assign(tumor="697")])
    with pytest.raises(ValueError, match="2 tumors"):
        nk.pl.clone_fate(two)
