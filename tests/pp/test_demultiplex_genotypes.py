"""Samples from genetic donors, instead of hashtags and beside them."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import nkscore as nk
from nkscore import schema
from nkscore.errors import SampleSheetError

N = 80
SHEET = pd.DataFrame(
    {
        "lane": "L1",
        "hashtag": ["A", "B", "C"],
        "genotype": "",
        "sample": ["with_d1", "alone", "with_d2"],
        "tumor": ["K-562", "K-562", "THP1"],
        "nk_donor": ["d1", "", "d2"],
        "condition": ["coculture", "tumor_mono", "coculture"],
    },
    index=["0", "1", "2"],
)


def _lane(sheet, donor, kind=None, *, tags=True):
    """``N`` cells of each sample, clearly stained; donors as given, one entry per cell."""
    n = 3 * N
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, size=(n, 3))
    counts[np.arange(n), np.repeat([0, 1, 2], N)] += rng.poisson(300, n)
    obs = pd.DataFrame({"lane": pd.Categorical(["L1"] * n)}, index=[f"c{i}" for i in range(n)])
    adata = AnnData(obs=obs, var=pd.DataFrame(index=list("wxyz")))
    adata.layers["counts"] = sparse.csr_matrix(rng.poisson(1, size=(n, 4)).astype(np.int32))
    if tags:
        adata.obsm["hashtags"] = pd.DataFrame(counts, adata.obs_names, list("ABC"))
    adata.obs["genotype"] = pd.Categorical(donor)
    kind = (
        ["singlet" if name is not None else "unassigned" for name in donor]
        if kind is None
        else kind
    )
    adata.obs["genotype_class"] = schema.categorical(
        np.array(kind, object), schema.GENOTYPE_CLASSES
    )
    adata.obs["genotype_confidence"] = np.where(np.array(kind) == "unassigned", np.nan, 0.99)
    adata.uns["nkscore"] = {"sample_sheet": sheet.copy()}
    return adata


def _true_donors():
    own = [["K562", "d1"], ["K562", "K562"], ["THP1", "d2"]]
    return np.concatenate([np.tile(np.array(pair, object), N // 2) for pair in own])


def test_beside_hashtags():
    """Each rule once, on cells whose tag is clear."""
    donor, kind = _true_donors(), np.full(3 * N, "singlet", object)
    donor[0], kind[0] = None, "doublet"  # Two donors under one tag.
    donor[1], kind[1] = None, "unassigned"
    donor[2] = "THP1"  # Tag of with_d1, line of with_d2.
    donor[3] = "stranger"
    adata = _lane(SHEET, donor, kind)
    adata.obsm["hashtags"].iloc[4] = 300  # A doublet by its tags alone.
    adata.obsm["hashtags"].iloc[[5, 6]] = 0  # No tag; d1 is in one sample, K562 in two.
    before = adata.obsm["hashtags"].copy(), adata.obs["genotype"].copy()
    with pytest.warns(UserWarning, match="the sheet names no sample of the donors stranger: 1"):
        nk.pp.demultiplex(adata)
    obs = adata.obs.iloc[:8]
    expected = ["doublet_genotype", "hashtag", "conflict", "hashtag", "doublet_hashtag"]
    assert obs["sample_evidence"].tolist() == [*expected, "genotype", "none", "both"]
    expected = ["doublet", "singlet", "negative", "singlet", "doublet", "singlet", "negative"]
    assert obs["hashtag_class"].tolist() == [*expected, "singlet"]
    assert obs["sample"].isna().tolist() == [True, False, True, False, True, False, True, False]
    assert obs["sample"].iloc[5] == "with_d1"
    assert obs["hashtag"].isna().tolist() == [True, False, True, False, True, True, True, False]
    np.testing.assert_allclose(obs["hashtag_confidence"].iloc[[0, 2, 5]], [0.99, np.nan, 0.99])
    assert (adata.obs["sample_evidence"].iloc[8:] == "both").mean() > 0.95
    counted = adata.uns["nkscore"]["pp.demultiplex"]["genotypes"].iloc[0]
    assert counted["conflict"] == 1
    assert counted.drop("lane").sum() == 3 * N
    pd.testing.assert_frame_equal(adata.obsm["hashtags"], before[0])
    pd.testing.assert_series_equal(adata.obs["genotype"], before[1])


def test_agreeing_genotypes_change_nothing():
    plain = _lane(SHEET, _true_donors())
    alone = plain[:].copy()
    alone.obs = alone.obs[["lane"]]
    nk.pp.demultiplex(plain)
    nk.pp.demultiplex(alone)
    for column in ("sample", "hashtag", "hashtag_class", "hashtag_confidence", "tumor"):
        pd.testing.assert_series_equal(plain.obs[column], alone.obs[column])
    assert "sample_evidence" not in alone.obs


def test_instead_of_hashtags():
    """Donors separate samples; those of the column genotype go before names of lines."""
    sheet = SHEET.assign(hashtag="", tumor=["K562", "MOLM13", "THP1"])
    sheet["genotype"] = ["donor0;donor1", "donor2", ""]
    own = [["donor0", "donor1"], ["donor2", "donor2"], ["THP1", "d2"]]
    donor = np.concatenate([np.tile(np.array(pair, object), N // 2) for pair in own])
    donor[0] = None
    adata = _lane(sheet, donor, tags=False)
    nk.pp.demultiplex(adata)
    assert adata.obs["sample"].isna().sum() == 1
    expected = np.repeat(sheet["sample"].to_numpy(), N)
    assert (adata.obs["sample"].to_numpy(object) == expected)[1:].all()
    assert adata.obs["hashtag"].isna().all()
    assert adata.obs["hashtag_class"].tolist()[0] == "negative"


def test_donors_that_cannot_separate():
    """K562 is in two samples, and one of them has nothing else."""
    adata = _lane(SHEET.assign(hashtag=""), _true_donors(), tags=False)
    with pytest.raises(SampleSheetError, match=r"K562 is in with_d1 and alone.*in no other: alone"):
        nk.pp.demultiplex(adata)


def test_wrong_pairs_are_named():
    donor = _true_donors()
    donor[2 * N :] = "d1"
    with pytest.warns(UserWarning, match=r"different samples for 80 of 240 cells with both \(33%"):
        nk.pp.demultiplex(_lane(SHEET, donor))


def test_uncertain_donors_are_not_used():
    adata = _lane(
        SHEET.assign(hashtag="", tumor=["K562", "HL60", "THP1"]), _true_donors(), tags=False
    )
    adata.obs["genotype"] = adata.obs["genotype"].cat.rename_categories({"K562": "HL60"})
    adata.obs.loc[adata.obs["genotype"] == "HL60", "genotype_confidence"] = 0.3
    nk.pp.demultiplex(adata)
    assert adata.obs.loc[adata.obs["genotype"] == "HL60", "sample"].isna().all()
    assert adata.obs.loc[adata.obs["genotype"] == "d1", "sample"].eq("with_d1").all()
