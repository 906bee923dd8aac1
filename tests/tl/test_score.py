from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import GeneCoverageError, MissingKeyError, WrongScaleError


@pytest.fixture
def few(experiment):
    return experiment[:200].copy()


def test_names_of_the_catalog_become_columns(few):
    names = ["DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT", "REHMAN2021_DIAPAUSE"]
    nk.tl.score(few, names)
    scores = few.obsm["scores"]
    assert list(scores.columns) == names
    assert scores.index.equals(few.obs_names)
    assert (scores.dtypes == np.float64).all()
    assert scores.to_numpy().min() >= 0
    assert scores.to_numpy().max() <= 1
    assert not scores.isna().any(axis=None)


def test_rank_auc_by_hand(from_obs, experiment):
    # Ranks of 5 4 3 2 1 are 1 to 5. A set of ranks 1 and 4: U = (1 + 4) − 3 = 2, and the worst
    # case with max_rank 5 is 2 · 5 − 3 = 7, so 1 − 2/7.
    five = experiment[:1, :5].copy()
    five.layers["counts"] = five.layers["counts"][:, :5] * 0
    five.layers["counts"] = type(five.layers["counts"])(np.array([[5, 4, 3, 2, 1]]))
    five.var_names = ["CD2", "CD19", "MS4A1", "NKG7", "LYZ"]
    nk.tl.score(five, {"a": ["CD2", "NKG7"]}, max_rank=5)
    assert five.obsm["scores"].iloc[0, 0] == pytest.approx(1 - 2 / 7)


def test_weighted_mean_by_hand(few):
    nk.pp.normalize(few)
    nk.tl.score(few, {"x": ["PRF1", "GZMB", "ACTB-"]}, method="weighted_mean")
    x = few.to_df()
    by_hand = (x["PRF1"] + x["GZMB"] - x["ACTB"]) / 3
    np.testing.assert_allclose(few.obsm["scores"]["x"], by_hand, rtol=1e-5, atol=1e-7)


def test_signature_separates_what_it_names(experiment):
    adata = experiment.copy()
    nk.tl.score(adata, {"killer": ["PRF1", "GZMB", "NKG7", "KLRD1", "GNLY"]})
    mean = adata.obsm["scores"]["killer"].groupby(adata.obs["compartment"], observed=True).mean()
    assert mean["nk"] > mean["tumor"] + 0.3


def test_planted_response_is_scored_higher_and_its_absence_is_not(simulate):
    core = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"
    gap = {}
    for null in (False, "all"):
        adata = simulate(tumors=["JURKAT"], null=null)
        nk.tl.score(adata, core)
        cells = adata.obs["compartment"] == "tumor"
        score = adata.obsm["scores"][core][cells]
        mean = score.groupby(adata.obs["condition"][cells], observed=True).mean()
        gap[null] = mean["coculture"] - mean["tumor_mono"]
    assert gap[False] > 0.03
    assert abs(gap["all"]) < 0.01


def test_too_few_genes_are_an_error(few):
    genes = ["PRF1", "GZMB", "NOT1GENE", "NOT2GENE", "NOT3GENE"]
    with pytest.raises(GeneCoverageError, match=r"2 of 5.*50%"):
        nk.tl.score(few, {"x": genes})
    with pytest.warns(nk.errors.NkscoreWarning, match=r"2 of 5") as caught:
        nk.tl.score(few, {"x": genes}, min_coverage=0.4)
    assert {item.filename for item in caught} == {__file__}
    coverage = few.uns["nkscore"]["scores"]["coverage"]
    assert len(coverage) == 1


def test_layer_is_scored_instead(few):
    few.layers["doubled"] = few.layers["counts"] * 2
    nk.tl.score(few, {"x": ["PRF1", "GZMB"]})
    nk.tl.score(few, {"x": ["PRF1", "GZMB"]}, layer="doubled", key_added="of_layer")
    # Ranks do not change by doubling; the record says which layer it was.
    pd.testing.assert_frame_equal(few.obsm["scores"], few.obsm["of_layer"])
    assert few.uns["nkscore"]["of_layer"]["options"]["layer"] == "doubled"
    nk.pp.normalize(few)
    nk.tl.score(few, {"x": ["PRF1", "GZMB"]}, layer="X", key_added="of_x")
    assert few.uns["nkscore"]["of_x"]["options"]["layer"] == "X"
    with pytest.raises(MissingKeyError, match="absent_layer"):
        nk.tl.score(few, {"x": ["PRF1"]}, layer="absent_layer")


def test_foreign_slot_is_not_overwritten(few):
    few.obsm["scores"] = np.zeros((few.n_obs, 2))
    with pytest.raises(
        ValueError, match=r"obsm\['scores'\] exists and was not written by tl.score"
    ):
        nk.tl.score(few, {"x": ["PRF1"]})
    assert (few.obsm["scores"] == 0).all()
    nk.tl.score(few, {"x": ["PRF1"]}, key_added="mine")
    assert "mine" in few.obsm


def test_rerun_replaces_the_scores(few):
    nk.tl.score(few, {"x": ["PRF1", "GZMB"], "y": ["CD19", "CD79A"]})
    nk.tl.score(few, {"z": ["PRF1", "GZMB"]})
    assert list(few.obsm["scores"].columns) == ["z"]


def test_cells_are_scored_alone(few):
    nk.tl.score(few, {"x": ["PRF1", "GZMB", "ACTB-"]})
    some = few[50:60].copy()
    nk.tl.score(some, {"x": ["PRF1", "GZMB", "ACTB-"]})
    np.testing.assert_array_equal(some.obsm["scores"], few.obsm["scores"].iloc[50:60])


def test_mean_of_counts_is_refused(few):
    few.X = few.layers["counts"].copy()
    with pytest.raises(WrongScaleError, match=r"Run pp\.normalize"):
        nk.tl.score(few, {"x": ["PRF1"]}, method="weighted_mean")
    few.X = None
    with pytest.raises(MissingKeyError, match=r"adata\.X is empty"):
        nk.tl.score(few, {"x": ["PRF1"]}, method="weighted_mean")


def test_unknown_method_and_option(few):
    with pytest.raises(ValueError, match=r"'AUCell'\. Known: .*rank_auc.*weighted_mean"):
        nk.tl.score(few, {"x": ["PRF1"]}, method="AUCell")
    with pytest.raises(TypeError, match=r"no option maxRank.*max_rank"):
        nk.tl.score(few, {"x": ["PRF1"]}, maxRank=500)
