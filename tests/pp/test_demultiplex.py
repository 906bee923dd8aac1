from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import MissingKeyError, NkscoreWarning, SampleSheetError, WrongScaleError


def planted(n_tags, *, n=400, signal=300.0, background=5.0, doublets=0.08, seed=0):
    """Negative binomial tag counts; cell i carries tag i mod n_tags, the first ones two tags."""
    rng = np.random.default_rng(seed)
    tag = np.arange(n) % n_tags
    counts = rng.negative_binomial(2, 2 / (2 + background), size=(n, n_tags))
    counts[np.arange(n), tag] += rng.negative_binomial(6, 6 / (6 + signal), size=n)
    double = np.arange(n) < doublets * n
    second = (tag[double] + 1) % n_tags
    counts[np.flatnonzero(double), second] += rng.negative_binomial(
        6, 6 / (6 + signal), size=double.sum()
    )
    names = [f"T{i}" for i in range(n_tags)]
    table = pd.DataFrame(counts, columns=names, index=[f"c{i}" for i in range(n)])
    return table, np.array(names)[tag], double


def right(adata, tag, double):
    """Share of single cells with their own tag, and of doublets found."""
    obs = adata.obs
    own = (obs["hashtag"].astype(object) == tag)[~double].mean()
    return own, (obs["hashtag_class"] == "doublet")[double].mean()


@pytest.mark.parametrize(("n_tags", "found"), [(2, 0.7), (3, 0.9), (4, 0.9), (8, 0.9)])
def test_planted_tags_are_recovered(hashed_cells, n_tags, found):
    table, tag, double = planted(n_tags)
    adata = hashed_cells({"lane1": table})
    nk.pp.demultiplex(adata)
    singlets, doublets = right(adata, tag, double)
    # Measured: 98 % and more of the singlets; 84 % of the doublets with two tags, more with more.
    assert singlets > 0.98
    assert doublets > found


def test_nothing_is_told_apart_where_no_tag_was_planted(hashed_cells):
    table, _, _ = planted(4, signal=1e-9, doublets=0.0)
    adata = hashed_cells({"lane1": table})
    nk.pp.demultiplex(adata)
    # Background alone: no tag may collect the confidence that planted tags get.
    confident = (adata.obs["hashtag_class"] == "singlet") & (adata.obs["hashtag_confidence"] > 0.99)
    assert confident.mean() < 0.05
    table, _, _ = planted(4)
    real = hashed_cells({"lane1": table})
    nk.pp.demultiplex(real)
    confident = (real.obs["hashtag_class"] == "singlet") & (real.obs["hashtag_confidence"] > 0.99)
    assert confident.mean() > 0.8


def test_dead_tag_does_not_disturb_the_others(hashed_cells, caplog):
    table, tag, double = planted(4)
    table["T3"] = 0
    adata = hashed_cells({"lane1": table})
    with caplog.at_level("WARNING", logger="nkscore"):
        nk.pp.demultiplex(adata)
    assert "T3" in caplog.text
    alive = tag != "T3"
    obs = adata.obs
    own = (obs["hashtag"].astype(object) == tag)[alive & ~double]
    assert own.mean() > 0.9
    assert not (obs["hashtag"] == "T3").any()
    # Cells of the dead tag carry background only: none may pass as a sure singlet of another tag.
    lost = obs[~alive & ~double]
    sure = (lost["hashtag_class"] == "singlet") & (lost["hashtag_confidence"] > 0.99)
    assert sure.mean() < 0.1


def test_two_tags_one_of_them_dead_is_an_error(hashed_cells):
    table, _, _ = planted(2)
    table["T1"] = 0
    with pytest.raises(SampleSheetError, match=r"Lane 'lane1'.*T1.*no count"):
        nk.pp.demultiplex(hashed_cells({"lane1": table}))


def test_droplets_without_tag_counts_are_negative_for_sure(hashed_cells):
    table, tag, double = planted(3)
    table.iloc[-5:] = 0
    adata = hashed_cells({"lane1": table})
    nk.pp.demultiplex(adata)
    empty = adata.obs.iloc[-5:]
    assert (empty["hashtag_class"] == "negative").all()
    assert (empty["hashtag_confidence"] == 1).all()
    assert empty["sample"].isna().all()
    rest = right(adata[:-5], tag[:-5], double[:-5])
    assert rest[0] > 0.98


def test_lane_without_any_tag_count_is_all_negative(hashed_cells):
    table, _, _ = planted(3, n=30)
    dead = table * 0
    adata = hashed_cells({"dead": dead, "alive": planted(3)[0]})
    nk.pp.demultiplex(adata)
    in_dead = (adata.obs["lane"] == "dead").to_numpy()
    assert (adata.obs["hashtag_class"][in_dead] == "negative").all()
    assert (adata.obs["hashtag_class"][~in_dead] == "singlet").mean() > 0.8


def test_lanes_do_not_touch_each_other(hashed_cells):
    one, two = planted(4)[0], planted(3, signal=60, seed=1)[0]
    together = hashed_cells({"one": one, "two": two})
    nk.pp.demultiplex(together)
    for lane, table in {"one": one, "two": two}.items():
        alone = hashed_cells({lane: table})
        nk.pp.demultiplex(alone)
        rows = together.obs["lane"] == lane
        for column in ("hashtag", "hashtag_class", "sample"):
            assert alone.obs[column].astype(str).tolist() == (
                together.obs.loc[rows, column].astype(str).tolist()
            )


def test_order_of_cells_and_tags_does_not_matter(hashed_cells):
    table, _, _ = planted(4)
    adata = hashed_cells({"lane1": table})
    nk.pp.demultiplex(adata)
    shuffled = hashed_cells({"lane1": table.iloc[::-1, [2, 0, 3, 1]]})
    nk.pp.demultiplex(shuffled)
    other = shuffled.obs.loc[adata.obs_names]
    assert other["hashtag"].astype(str).equals(adata.obs["hashtag"].astype(str))
    assert other["hashtag_class"].astype(str).equals(adata.obs["hashtag_class"].astype(str))
    np.testing.assert_allclose(other["hashtag_confidence"], adata.obs["hashtag_confidence"])


def test_singlets_below_the_least_confidence_are_negative(hashed_cells):
    table, _, _ = planted(4, signal=30)
    adata = hashed_cells({"lane1": table})
    nk.pp.demultiplex(adata)
    strict = adata.copy()
    nk.pp.demultiplex(strict, min_confidence=0.99)
    singlet = adata.obs["hashtag_class"] == "singlet"
    unsure = singlet & (adata.obs["hashtag_confidence"] < 0.99)
    assert unsure.sum() > 10
    assert (strict.obs["hashtag_class"][unsure] == "negative").all()
    assert strict.obs["hashtag"][unsure].isna().all()
    assert (strict.obs["hashtag_class"][~unsure] == adata.obs["hashtag_class"][~unsure]).all()


def test_priors_count(hashed_cells):
    table, _, _ = planted(4, signal=20)
    few, many = hashed_cells({"lane1": table}), hashed_cells({"lane1": table})
    nk.pp.demultiplex(few, priors=(0.01, 0.98, 0.01))
    nk.pp.demultiplex(many, priors=(0.01, 0.50, 0.49))
    is_double = [(x.obs["hashtag_class"] == "doublet").sum() for x in (few, many)]
    assert is_double[0] < is_double[1]


def test_odd_lanes_are_named(hashed_cells):
    table, _, _ = planted(3)
    rare = table.copy()
    rare.iloc[32:] = table.iloc[np.flatnonzero(np.arange(400) % 3 == 1)].sample(
        368, replace=True, random_state=0
    )
    rare.index = [f"r{i}" for i in range(400)]
    bare = planted(3, doublets=0.0, signal=1e-9)[0] * (np.arange(400) < 30)[:, None]
    adata = hashed_cells({"even": table, "rare": rare, "bare": bare})
    with pytest.warns(NkscoreWarning) as caught:
        nk.pp.demultiplex(adata)
    first, second = sorted(str(w.message) for w in caught)
    assert first.startswith("Lane 'bare': ")
    assert "are negative" in first
    assert second.startswith("Lane 'rare': tag T1 has ")
    assert "singlets (100.0%)" in second


def test_max_doublet_rate_trades_cells_for_purity(hashed_cells):
    # Weak tags, and doublets of two cells in which one took up little.
    table, _, double = planted(4, n=2000, signal=40, doublets=0.15)
    yields, impure = [], []
    for rate in (None, 0.02, 0.005, 0.0):
        adata = hashed_cells({"lane1": table})
        nk.pp.demultiplex(adata, max_doublet_rate=rate)
        obs = adata.obs
        single = (obs["hashtag_class"] == "singlet").to_numpy()
        if rate is not None and single.any():
            assert (1 - obs["hashtag_confidence"][single]).mean() <= rate
        yields.append(single.mean())
        impure.append(double[single].mean() if single.any() else 0.0)
    assert yields[0] > yields[1] > yields[2] > yields[3] == 0
    assert impure[0] > impure[1] > impure[2]
    assert impure[1] < 0.02
    # What is no singlet any more was mostly a doublet, and is said to be one.
    adata = hashed_cells({"lane1": table})
    nk.pp.demultiplex(adata, max_doublet_rate=0.02)
    assert (adata.obs["hashtag_class"] == "doublet")[double].mean() > 0.9
    assert adata.uns["nkscore"]["pp.demultiplex"]["options"]["max_doublet_rate"] == 0.02


def test_max_doublet_rate_of_one_changes_no_sure_call(hashed_cells):
    table = planted(4)[0]
    one, other = hashed_cells({"lane1": table}), hashed_cells({"lane1": table})
    nk.pp.demultiplex(one, min_confidence=0.0)
    nk.pp.demultiplex(other, min_confidence=0.0, max_doublet_rate=1.0)
    assert one.obs["hashtag"].astype(str).equals(other.obs["hashtag"].astype(str))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_doublet_rate": 1.2}, "max_doublet_rate is 1.2; a number from 0 to 1"),
        ({"max_doublet_rate": 0.1, "method": "htodemux"}, "htodemux gives no probabilities"),
    ],
)
def test_wrong_max_doublet_rate(hashed_cells, options, message):
    with pytest.raises(ValueError, match=message):
        nk.pp.demultiplex(hashed_cells({"lane1": planted(2)[0]}), **options)


# GMM-Demux 0.2.2.3 (its most probable class) reaches these purities and finds these doublets.
@pytest.mark.parametrize(
    ("batch", "rate", "purity", "doublets"),
    [(1, 0.002, 0.9854, 0.8445), (2, 0.019, 0.9618, 0.8001)],
)
def test_doublets_found_at_the_purity_of_a_peer(real, hashed_cells, batch, rate, purity, doublets):
    lane = real(f"data/hashtag_bal/bal_batch{batch}_c1_hto.h5ad")
    matrix = lane.X.toarray() if hasattr(lane.X, "toarray") else np.asarray(lane.X)
    tags = pd.DataFrame(matrix.astype(int), index=lane.obs_names, columns=lane.var_names)
    adata = hashed_cells({"lane1": tags})
    nk.pp.demultiplex(adata, max_doublet_rate=rate)
    donor = lane.obs["genetic_donor"].astype(str).to_numpy()
    called = adata.obs["hashtag"].astype(object).to_numpy()
    own = {f"BAL {i + 1:02d}": f"BAL {letter}" for i, letter in enumerate("ABCDEFGHIJKLMNOP")}
    single = pd.notna(called)
    right = np.array([own.get(c) == d for c, d in zip(called, donor, strict=True)])
    assert right[single].mean() >= purity
    found = adata.obs["hashtag_class"].to_numpy()[donor == "Doublet"] == "doublet"
    assert found.mean() >= doublets


def test_lane_with_one_tag_is_an_error(hashed_cells):
    table, _, _ = planted(3)
    adata = hashed_cells({"lane1": table[["T0"]]})
    with pytest.raises(SampleSheetError, match=r"'lane1' has only one hashtag \(T0\)"):
        nk.pp.demultiplex(adata)


def test_lane_with_one_sample_and_no_tag_passes_through(hashed_cells):
    table, _, _ = planted(3)
    adata = hashed_cells({"lane1": table, "plain": table})
    sheet = adata.uns["nkscore"]["sample_sheet"]
    plain = sheet[sheet["lane"] == "plain"].head(1).assign(hashtag="", sample="plain")
    adata.uns["nkscore"]["sample_sheet"] = pd.concat([sheet[sheet["lane"] == "lane1"], plain])
    nk.pp.demultiplex(adata)
    rows = adata.obs["lane"] == "plain"
    assert (adata.obs["sample"][rows] == "plain").all()
    assert (adata.obs["hashtag_class"][rows] == "singlet").all()
    assert adata.obs["hashtag"][rows].isna().all()
    assert (adata.obs["hashtag_confidence"][rows] == 1).all()
    assert adata.obs["hashtag"][~rows].notna().mean() > 0.8


def test_tag_of_the_sheet_that_the_matrix_lacks(hashed_cells):
    adata = hashed_cells({"lane1": planted(3)[0]})
    sheet = adata.uns["nkscore"]["sample_sheet"]
    adata.uns["nkscore"]["sample_sheet"] = sheet.replace({"hashtag": {"T2": "T9"}})
    with pytest.raises(SampleSheetError, match=r"'lane1'.*names hashtags T9, but.*T0, T1, T2"):
        nk.pp.demultiplex(adata)


@pytest.mark.parametrize("change", [np.log1p, lambda x: x - x.mean()])
def test_normalized_tags_are_refused(hashed_cells, change):
    adata = hashed_cells({"lane1": change(planted(3)[0].astype(float))})
    with pytest.raises(WrongScaleError, match=r"must not be CLR-normalized"):
        nk.pp.demultiplex(adata)


def test_missing_sheet_and_missing_matrix(hashed_cells):
    adata = hashed_cells({"lane1": planted(3)[0]})
    del adata.obsm["hashtags"]
    with pytest.raises(MissingKeyError, match=r"obsm\['hashtags'\] is absent"):
        nk.pp.demultiplex(adata)
    del adata.uns["nkscore"]
    with pytest.raises(MissingKeyError, match=r"sample_sheet.*io\.read_coculture"):
        nk.pp.demultiplex(adata)


def test_columns_of_the_sheet_are_filled_for_singlets_alone(demultiplexed):
    obs, sheet = demultiplexed.obs, demultiplexed.uns["nkscore"]["sample_sheet"]
    singlet = (obs["hashtag_class"] == "singlet").to_numpy()
    by_sample = sheet.set_index("sample")
    for column in ("tumor", "lineage", "nk_donor", "nk_source", "condition"):
        assert isinstance(obs[column].dtype, pd.CategoricalDtype)
        assert list(obs[column].cat.categories) == sorted(set(sheet[column]) - {""})
        wanted = by_sample[column].reindex(obs["sample"][singlet].astype(str)).replace({"": None})
        assert (
            obs[column][singlet].astype(object).where(obs[column][singlet].notna(), None).tolist()
            == wanted.tolist()
        )
        assert obs[column][~singlet].isna().all()
    assert obs["sample"][singlet].notna().all()
    assert obs["hashtag"][~singlet].isna().all()


def test_numbers_of_the_sheet_stay_numbers_with_gaps(demultiplexed):
    obs = demultiplexed.obs
    singlet = obs["hashtag_class"] == "singlet"
    assert obs["et_ratio"].dtype == np.float64
    assert (obs["et_ratio"][singlet & (obs["condition"] == "coculture")] == 1).all()
    assert obs["et_ratio"][obs["condition"] == "nk_mono"].isna().all()
    assert (obs["time_h"][singlet] == 24).all()
    assert obs["time_h"][~singlet].isna().all()


def test_summary_counts_all_cells_per_lane(demultiplexed):
    table = demultiplexed.uns["nkscore"]["pp.demultiplex"]["cells"]
    per_lane = table.groupby("lane")["n_cells"].sum()
    assert per_lane.to_dict() == demultiplexed.obs["lane"].value_counts().to_dict()
    doublets = table.loc[table["call"] == "doublet", "n_cells"].sum()
    assert doublets == (demultiplexed.obs["hashtag_class"] == "doublet").sum()


def test_simulator(demultiplexed):
    obs = demultiplexed.obs
    called, truth = obs["hashtag_class"], obs["truth_hashtag_class"]
    both = (called == "singlet") & (truth == "singlet")
    # Measured: all tags right, 99.9 % of the singlets kept, 91 % of the two-tag doublets found and
    # 94 % of the untagged droplets.
    assert (obs["sample"].astype(str) == obs["truth_sample"].astype(str))[both].mean() > 0.99
    assert (called == "singlet")[truth == "singlet"].mean() > 0.97
    assert (called == "doublet")[truth == "doublet"].mean() > 0.75
    assert (called == "negative")[truth == "negative"].mean() > 0.75


def test_rerun_gives_the_same(demultiplexed):
    again = demultiplexed.copy()
    nk.pp.demultiplex(again)
    pd.testing.assert_frame_equal(again.obs, demultiplexed.obs)


# Howitt et al. 2023 give 0.926 for hashsolo on this batch; measured here 0.924, and 0.948 for the
# default.
@pytest.mark.parametrize(("method", "mean", "worst"), [("hashsolo", 0.91, 0.89), (None, 0.93, 0.9)])
def test_real_lane_with_genetic_truth(real, hashed_cells, method, mean, worst):
    lane = real("data/hashtag_bal/bal_batch1_c1_hto.h5ad")
    matrix = lane.X.toarray() if hasattr(lane.X, "toarray") else np.asarray(lane.X)
    tags = pd.DataFrame(matrix.astype(int), index=lane.obs_names, columns=lane.var_names)
    adata = hashed_cells({"lane1": tags})
    nk.pp.demultiplex(adata, **({"method": method} if method else {}))
    call = adata.obs["hashtag"].astype(object).to_numpy()
    donor = lane.obs["genetic_donor"].astype(str).to_numpy()
    f1 = []
    # Donors BAL A to H carry the tags BAL 01 to 08 in order.
    for letter, number in zip("ABCDEFGH", range(1, 9), strict=True):
        is_donor, is_call = donor == f"BAL {letter}", call == f"BAL {number:02d}"
        f1.append(2 * (is_donor & is_call).sum() / (is_donor.sum() + is_call.sum()))
    assert np.mean(f1) > mean
    assert min(f1) > worst
    if method == "hashsolo":
        assert np.mean(f1) == pytest.approx(0.926, abs=0.01)


@pytest.mark.parametrize(("method", "agreement"), [("hashsolo", 0.92), ("mixture", 0.89)])
def test_real_lane_agrees_with_seurat(real, hashed_cells, shared, method, agreement):
    lane = real("data/citefuse_hashed/citefuse_500x19521_counts_49adt_4hto.h5ad")
    adata = hashed_cells({"lane1": lane.obsm["hto"].astype(int)})
    nk.pp.demultiplex(adata, method=method)
    file = shared / "golden/seurat_htodemux/citefuse/htodemux_margin2_clara_q0.99.csv.gz"
    seurat = pd.read_csv(file, index_col=0).reindex(lane.obs_names)
    theirs = seurat["HTO_classification.global"].str.lower().to_numpy()
    ours = adata.obs["hashtag_class"].astype(str).to_numpy()
    # Measured: 94.6 % (hashsolo) and 91.2 % (mixture) of the global classes; where both say
    # singlet, always the same tag.
    assert (theirs == ours).mean() > agreement
    both = (theirs == "singlet") & (ours == "singlet")
    tag = seurat["hash.ID"].str.replace("-", "_").to_numpy()
    assert (tag == adata.obs["hashtag"].astype(object).to_numpy())[both].all()
    assert both.sum() > 380


def test_hashtags_without_names_are_refused(hashed_cells):
    adata = hashed_cells({"lane1": planted(2)[0]})
    adata.obsm["hashtags"] = adata.obsm["hashtags"].to_numpy()
    with pytest.raises(MissingKeyError, match="of type ndarray; a DataFrame with named columns"):
        nk.pp.demultiplex(adata)
