"""The simulated experiment: contract, reproducibility, realism, errors."""

from __future__ import annotations

import hashlib

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk

TINY = {"tumors": ["697", "GDM1"], "n_donors": 1, "n_cells_per_sample": 12}


def digest(adata):
    counts = adata.layers["counts"]
    parts = (
        counts.data.astype("<i4"),
        counts.indices.astype("<i4"),
        counts.indptr.astype("<i8"),
        adata.obsm["hashtags"].to_numpy().astype("<i4"),
    )
    names = "\n".join([*adata.obs_names, *adata.var_names])
    return hashlib.sha256(b"".join(p.tobytes() for p in parts) + names.encode()).hexdigest()


def test_it_meets_the_contract(small):
    nk.schema.validate(small, stage="loaded")
    assert small.X is None
    counts = small.layers["counts"]
    assert isinstance(counts, sparse.csr_matrix)
    assert counts.dtype == np.int32
    assert counts.has_canonical_format
    assert counts.data.min() > 0
    assert small.obs_names.is_unique
    assert isinstance(small.obs["lane"].dtype, pd.CategoricalDtype)
    tags = small.obsm["hashtags"]
    assert tags.index.equals(small.obs_names)
    assert set(tags.dtypes) == {np.dtype(np.int32)}
    assert not {"sample", "tumor", "condition", "hashtag"} & set(small.obs)


def test_names_are_lane_and_barcode(small):
    lanes = small.obs["lane"].astype(str)
    pattern = r"_[ACGT]{16}-1"
    for name, lane in zip(small.obs_names, lanes, strict=True):
        assert name.startswith(lane)
        assert len(name) == len(lane) + 19
    assert small.obs_names.str.contains(pattern).all()


def test_default_design_is_that_of_the_six_lines():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=2)
    sheet = adata.uns["nkscore"]["sample_sheet"]
    assert len(sheet) == 27
    assert sheet.groupby("lane").size().to_dict() == {
        "Lane_NK1": 7,
        "Lane_NK2": 7,
        "Lane_NK3": 7,
        "Lane_targets": 6,
    }
    assert sheet["condition"].value_counts().to_dict() == {
        "coculture": 18,
        "tumor_mono": 6,
        "nk_mono": 3,
    }
    assert sheet.index.tolist() == [str(i) for i in range(27)]
    assert (sheet.loc[sheet["condition"] == "nk_mono", "tumor"] == "").all()
    assert sheet["et_ratio"].notna().sum() == 18
    assert adata.n_obs == 54


def test_all_26_lines_need_more_lanes_and_keep_to_14_hashtags():
    adata = nk.datasets.simulate_coculture(
        tumors=list(nk.datasets.LINES), n_donors=1, n_cells_per_sample=1, n_genes=4_500
    )
    sheet = adata.uns["nkscore"]["sample_sheet"]
    sizes = sheet.groupby("lane").size()
    assert sizes.to_dict() == {
        "Lane_NK1_1": 14,
        "Lane_NK1_2": 13,
        "Lane_targets_1": 13,
        "Lane_targets_2": 13,
    }
    assert not sheet.duplicated(["lane", "hashtag"]).any()
    assert sheet["sample"].is_unique
    assert adata.n_vars == 4_500


def test_one_line_shares_the_lane_of_the_first_donor():
    adata = nk.datasets.simulate_coculture(tumors=["K562"], n_donors=2, n_cells_per_sample=3)
    sheet = adata.uns["nkscore"]["sample_sheet"]
    assert sheet.groupby("lane").size().to_dict() == {"Lane_NK1": 3, "Lane_NK2": 2}


def test_lines_of_ones_own():
    adata = nk.datasets.simulate_coculture(
        tumors={"patient_1": "AML", "patient_2": "MM"}, n_donors=1, n_cells_per_sample=5
    )
    assert adata.obs["truth_lineage"].cat.categories.tolist() == ["AML", "MM"]


def test_same_seed_same_data_for_any_threads_and_another_seed_differs():
    first = digest(nk.datasets.simulate_coculture(**TINY, rng=5))
    assert digest(nk.datasets.simulate_coculture(**TINY, rng=5, n_threads=2)) == first
    assert digest(nk.datasets.simulate_coculture(**TINY, rng=6)) != first
    generator = np.random.default_rng(0)
    once = digest(nk.datasets.simulate_coculture(**TINY, rng=generator))
    assert digest(nk.datasets.simulate_coculture(**TINY, rng=generator)) != once


def test_result_does_not_depend_on_blocks(monkeypatch):
    from nkscore.datasets import _draw

    whole = digest(nk.datasets.simulate_coculture(**TINY, rng=5))
    monkeypatch.setattr(_draw, "_BLOCK_BYTES", 8 * 12_000 * 7)
    assert digest(nk.datasets.simulate_coculture(**TINY, rng=5)) == whole


def test_bytes_are_pinned():
    # The same on every platform, Python and library version; a change here is a change of data.
    pinned = "59c45125f693c4e3ff80d77f2f524b649e333689c4ff4069544ac43bdcf2e40a"
    assert digest(nk.datasets.simulate_coculture(**TINY, rng=5)) == pinned


def test_h5ad_round_trip(small, tmp_path):
    path = tmp_path / "small.h5ad"
    adata = small.copy()
    adata.write_h5ad(path)
    back = ad.read_h5ad(path)
    assert digest(back) == digest(small)
    pd.testing.assert_frame_equal(back.obs, small.obs, check_index_type=False)
    for key in ("samples", "lanes", "response", "ambient_profile"):
        pd.testing.assert_frame_equal(
            back.uns["truth"][key],
            small.uns["truth"][key],
            check_index_type=False,
            check_dtype=False,
            check_column_type=False,
        )
    book = back.uns["nkscore"]
    assert book["datasets.simulate_coculture"]["options"]["median_umi"] == 4000
    assert book["datasets.simulate_coculture"]["seed"] == 1
    sheet = book["sample_sheet"]
    assert sheet["nk_donor"].tolist() == small.uns["nkscore"]["sample_sheet"]["nk_donor"].tolist()


def test_mappings_are_recorded_and_survive(tmp_path):
    adata = nk.datasets.simulate_coculture(
        **TINY,
        ifn_response={"697": 0.5},
        ambient={"Lane_NK1": 0.2},
        donor_response={"NK1": 2.0},
        nk_states={"alone": {"resting": 1.0}},
    )
    adata.write_h5ad(tmp_path / "x.h5ad")
    options = ad.read_h5ad(tmp_path / "x.h5ad").uns["nkscore"]["datasets.simulate_coculture"]
    assert options["options"]["ambient"] == {"Lane_NK1": 0.2}


def test_depth_genes_and_shares_are_realistic():
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, n_donors=2, rng=3)
    counts = adata.layers["counts"]
    good = ~adata.obs["truth_low_quality"].to_numpy()
    umi = np.asarray(counts.sum(axis=1)).ravel()
    assert 3200 < np.median(umi[good]) < 5000
    assert 1100 < np.median(np.diff(counts.indptr)[good]) < 2000
    mito = np.asarray(counts[:, adata.var_names.str.startswith("MT-")].sum(axis=1)).ravel() / umi
    assert 0.02 < np.median(mito[good]) < 0.08
    assert np.median(mito[~good]) > 0.12
    ribo = adata.var_names.str.match(r"RP[LS]\d")
    share = np.asarray(counts[:, ribo].sum(axis=1)).ravel() / umi
    assert np.mean((share[good] > 0.05) & (share[good] < 0.5)) > 0.99


def test_fewer_genes_give_the_same_counts_of_the_rest_but_for_ambient():
    clean = {**TINY, "ambient": 0.0, "rng": 4}
    whole = nk.datasets.simulate_coculture(**clean)
    fewer = nk.datasets.simulate_coculture(**clean, n_genes=8_000)
    total = whole[:, fewer.var_names].layers["counts"].sum()
    assert fewer.layers["counts"].sum() == pytest.approx(total, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tumors": "K562"}, r"tumors is the text 'K562'; give a list"),
        ({"tumors": ["HELA"]}, r"'HELA', whose lineage is unknown.*datasets\.LINES"),
        ({"tumors": ["K562", "K562"]}, "names a line twice"),
        ({"tumors": []}, "at least one name"),
        ({"tumors": {"X": "carcinoma"}}, r"'carcinoma'; known here: B-ALL"),
        ({"tumors": {"a/b": "AML"}}, "none empty or with '/'"),
        ({"n_donors": 0}, "n_donors is 0; a whole number of at least 1"),
        ({"n_cells_per_sample": 2.5}, "n_cells_per_sample is 2.5; a whole number"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"median_umi": 0.0}, "median_umi is 0.0; a number above 0"),
        ({"doublets": 1.2}, "doublets is 1.2; a number from 0 to 1"),
        ({"selection": -1.0}, "selection is -1.0; a number of at least 0"),
        ({"ambient": float("nan")}, "ambient is nan; a number from 0 to 0.9"),
        ({"ambient": {"Lane_X": 0.1}}, "'Lane_X'; the lanes are Lane_NK1"),
        ({"ambient": {"Lane_NK1": 2.0}}, r"ambient\['Lane_NK1'\] is 2.0"),
        ({"ifn_response": {"K562": 1.0}}, "ifn_response names 'K562'; known here: 697, GDM1"),
        ({"donor_response": {"NK9": 1.0}}, "donor_response names 'NK9'; known here: NK1"),
        ({"nk_states": {"697": {"sleepy": 1.0}}}, "'sleepy'; known here: resting"),
        ({"nk_states": {"697": {"resting": 0.4}}}, "not negative and sum to 1"),
        ({"nk_states": {"697": {}}}, "not negative and sum to 1"),
        ({"nk_states": 3}, "nk_states is 3; True, False or fractions per line"),
        ({"null": "everything"}, "null is 'everything'; known: False, True, 'all'"),
        ({"rng": -3}, "rng is -3"),
    ],
)
def test_errors_say_what_was_found_and_needed(options, message):
    with pytest.raises(ValueError, match=message):
        nk.datasets.simulate_coculture(**{**TINY, **options})


def test_use_truth_reaches_the_stage_of_compartments(small):
    adata = small.copy()
    assert nk.datasets.use_truth(adata) is None
    nk.schema.validate(adata, stage="qc")
    nk.schema.validate(adata, stage="compartments")
    obs = adata.obs
    single = obs["hashtag_class"] == "singlet"
    assert obs.loc[~single, ["sample", "tumor", "condition", "hashtag"]].isna().all().all()
    assert obs.loc[single, "sample"].notna().all()
    assert (obs.loc[single, "sample"] == obs.loc[single, "truth_sample"]).all()
    assert obs.loc[single, "time_h"].eq(24.0).all()
    together = single & (obs["condition"] == "coculture")
    assert obs.loc[together, "et_ratio"].eq(1.0).all()
    assert obs.loc[single & ~together, "et_ratio"].isna().all()
    assert obs["compartment"].cat.categories.tolist() == list(nk.schema.COMPARTMENTS)
    assert (obs["qc_pass"] == ~obs["truth_low_quality"]).all()


def test_use_truth_survives_h5ad(small, tmp_path):
    adata = small.copy()
    nk.datasets.use_truth(adata)
    adata.write_h5ad(tmp_path / "x.h5ad")
    nk.schema.validate(ad.read_h5ad(tmp_path / "x.h5ad"), stage="compartments")


def test_use_truth_needs_simulated_cells():
    adata = ad.AnnData(obs=pd.DataFrame(index=["a", "b"]))
    with pytest.raises(nk.errors.MissingKeyError, match=r"Run datasets\.simulate_coculture first"):
        nk.datasets.use_truth(adata)
