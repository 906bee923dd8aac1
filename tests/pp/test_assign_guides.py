"""Guides of pooled CRISPR: planted guides are called, with ambient guides and two per cell."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from nkscore import pp, stats
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "papalexi_eccite_thp1"
NAMES = [f"{gene}g{k}" for gene in ("JAK1", "STAT1", "RFXAP", "NT") for k in (1, 2, 3)]


def _lane(*, n=900, ambient=3.0, several=0.08, none=0.05, seed=0):
    """Cells with one guide, two or none, on a background of ambient guides."""
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(8.5, 0.4, n)
    guide = rng.integers(0, len(NAMES), n)
    kind = rng.choice(["single", "multiple", "none"], n, p=[1 - several - none, several, none])
    soup = rng.dirichlet(np.full(len(NAMES), 2.0))
    counts = rng.poisson(rng.gamma(2, ambient / 2, (n, 1)) * soup)
    signal = rng.poisson(rng.lognormal(np.log(60), 1.0, n) * (depth / depth.mean()) ** 0.5)
    rows = np.flatnonzero(kind != "none")
    counts[rows, guide[rows]] += np.maximum(signal[rows], 1)
    other = (guide + 3 + rng.integers(0, 6, n)) % len(NAMES)
    rows = np.flatnonzero(kind == "multiple")
    counts[rows, other[rows]] += rng.poisson(rng.lognormal(np.log(60), 1.0, rows.size)) + 5
    adata = anndata.AnnData(
        obs=pd.DataFrame({"lane": "L1"}, index=[f"c{i}" for i in range(n)]),
        var=pd.DataFrame(index=["ACTB", "GAPDH"]),
    )
    both = rng.poisson(depth[:, None] / 2, (n, 2)).astype(np.int32)
    adata.layers["counts"] = sparse.csr_matrix(both)
    adata.obsm["guides"] = pd.DataFrame(counts, index=adata.obs_names, columns=NAMES)
    return adata, np.array(NAMES)[guide], kind


def test_planted_guides_are_called():
    adata, guide, kind = _lane()
    pp.assign_guides(adata)
    single = (adata.obs["guide_class"] == "single").to_numpy()
    truth = kind == "single"
    assert (single & truth).sum() / truth.sum() > 0.95
    right = adata.obs["guide"].astype(object).to_numpy()[single] == guide[single]
    assert (right & truth[single]).sum() / single.sum() > 0.96
    target = adata.obs["perturbation"].astype(object).to_numpy()
    expected = pd.Series(guide).str.replace(r"g\d$", "", regex=True).replace("NT", "non-targeting")
    assert (target[single & truth] == expected.to_numpy()[single & truth]).mean() > 0.98
    assert set(adata.obs["perturbation"].cat.categories) == {
        "JAK1",
        "STAT1",
        "RFXAP",
        "non-targeting",
    }


def test_confidence_means_what_it_says():
    adata, guide, kind = _lane(n=3000, ambient=12.0, seed=3)
    pp.assign_guides(adata, min_confidence=0.0)
    single = (adata.obs["guide_class"] == "single").to_numpy()
    confidence = adata.obs["guide_confidence"].to_numpy()[single]
    right = (adata.obs["guide"].astype(object).to_numpy() == guide)[single] & (
        kind[single] == "single"
    )
    assert abs(confidence.mean() - right.mean()) < 0.03


def test_mixture_calls_more_cells_right_than_the_rules():
    adata, guide, kind = _lane(n=2000, seed=1)
    right = {}
    for method in ("rules", "mixture"):
        pp.assign_guides(adata, method=method)
        called = adata.obs["guide"].astype(object).to_numpy()
        single = (adata.obs["guide_class"] == "single").to_numpy()
        right[method] = ((called == guide) & single & (kind == "single")).sum()
    assert right["mixture"] > right["rules"]


@pytest.mark.parametrize("method", ["mixture", "rules"])
def test_cells_of_nothing_but_ambient_guides_are_not_called(method):
    adata, _, _ = _lane(several=0.0, none=0.97, seed=2)
    pp.assign_guides(adata, method=method)
    assert (adata.obs["guide_class"] == "single").mean() < 0.05


def _tiny(rows):
    adata, _, _ = _lane(n=len(rows))
    names = ["JAK1g1", "JAK1g2", "STAT1g1", "NTg1"]
    adata.obsm["guides"] = pd.DataFrame(rows, index=adata.obs_names, columns=names)
    return adata


def test_rules_by_hand():
    adata = _tiny(
        [
            [30, 0, 0, 0],  # one guide only: the published script drops such cells
            [20, 15, 0, 0],  # two guides of one gene are one perturbation
            [40, 0, 12, 0],  # a second gene above 10 UMI and a tenth
            [40, 0, 10, 0],  # not above 10
            [9, 0, 0, 0],  # too few
            [12, 0, 11, 13],  # no majority, and a second gene
            [0, 0, 0, 0],
            [15, 15, 0, 0],  # which of the two guides cannot be said
        ]
    )
    pp.assign_guides(adata, method="rules")
    assert adata.obs["guide_class"].tolist() == [
        "single",
        "single",
        "multiple",
        "single",
        "none",
        "multiple",
        "none",
        "none",
    ]
    assert adata.obs["guide"].tolist()[:2] == ["JAK1g1", "JAK1g1"]
    assert adata.obs["guide_confidence"].isna().all()


def test_library_by_mapping_and_table():
    adata, _, _ = _lane(n=60)
    table = pd.DataFrame({"guide": NAMES, "gene": ["A"] * 6 + ["Control.1"] * 6})
    pp.assign_guides(adata, library=table)
    from_table = adata.obs["perturbation"].copy()
    assert list(from_table.cat.categories) == ["A", "non-targeting"]
    pp.assign_guides(adata, library=dict(zip(table["guide"], table["gene"], strict=True)))
    pd.testing.assert_series_equal(from_table, adata.obs["perturbation"])


def test_lanes_are_called_by_themselves():
    adata, _, _ = _lane(n=400)
    alone = adata[:200].copy()
    pp.assign_guides(alone)
    adata.obs["lane"] = ["a"] * 200 + ["b"] * 200
    pp.assign_guides(adata)
    pd.testing.assert_series_equal(
        adata.obs["guide_confidence"].iloc[:200], alone.obs["guide_confidence"]
    )


def test_sparse_columns_give_the_same():
    adata, _, _ = _lane(n=200)
    pp.assign_guides(adata)
    dense = adata.obs["guide_confidence"].copy()
    counts = sparse.csr_matrix(adata.obsm["guides"].to_numpy(dtype=float))
    adata.obsm["guides"] = pd.DataFrame.sparse.from_spmatrix(
        counts, index=adata.obs_names, columns=NAMES
    )
    pp.assign_guides(adata)
    pd.testing.assert_series_equal(adata.obs["guide_confidence"], dense)


def test_errors():
    adata, _, _ = _lane(n=40)
    with pytest.raises(MissingKeyError, match="gene of 1 guides is unknown, the first is 'JAK1g1'"):
        pp.assign_guides(adata, library=dict.fromkeys(NAMES[1:], "A"))
    with pytest.raises(MissingKeyError, match="'guide' and 'gene' are needed"):
        pp.assign_guides(adata, library=pd.DataFrame({"x": [1]}))
    with pytest.raises(DesignError, match="library holds the guide 'a' twice"):
        pp.assign_guides(adata, library=pd.DataFrame({"guide": ["a", "a"], "gene": ["A", "B"]}))
    with pytest.raises(ValueError, match="Unknown method 'best'"):
        pp.assign_guides(adata, method="best")
    good = adata.obsm["guides"]
    adata.obsm["guides"] = good + 0.5
    with pytest.raises(WrongScaleError, match=r"raw UMI counts"):
        pp.assign_guides(adata)
    adata.obsm["guides"] = good.set_axis([NAMES[0], *NAMES[:-1]], axis=1)
    with pytest.raises(DesignError, match="holds 'JAK1g1' twice"):
        pp.assign_guides(adata)
    adata.obsm["guides"] = good.to_numpy()
    with pytest.raises(MissingKeyError, match="a DataFrame with named columns"):
        pp.assign_guides(adata)
    del adata.obsm["guides"]
    with pytest.raises(MissingKeyError, match="guides"):
        pp.assign_guides(adata)


def _perturbations(names, **options):
    """Perturbation of each guide, in order."""
    adata, _, _ = _lane(n=120)
    adata.obsm["guides"] = adata.obsm["guides"].iloc[:, : len(names)].set_axis(names, axis=1)
    pp.assign_guides(adata, **options)
    table = adata.uns["nkscore"]["pp.assign_guides"]["guides"]
    return table["perturbation"].tolist()


def test_genes_are_read_from_the_names_of_guides():
    names = ["STAT1g2", "sgSTAT1.2", "JAK1_1", "JAK2_1", "B2M-sg3", "Non_Targeting_1", "TGFBg1"]
    genes = ["STAT1", "STAT1", "JAK1", "JAK2", "B2M", "non-targeting", "TGFB"]
    assert _perturbations(names) == genes
    controls = ["non-targeting_2", "NegCtrl1", "neg_ctrl_2", "CTRL0001", "NTC.1", "NT1", "NT5E_1"]
    assert _perturbations(controls) == ["non-targeting"] * 6 + ["NT5E"]
    # A number that may be the gene's own is not taken for the guide's.
    with pytest.raises(MissingKeyError, match=r"gene of 2 guides is unknown, the first is 'JAK1'"):
        _perturbations(["JAK1", "sgJAK2", "NT1"])


def test_a_library_with_gaps_or_numbers():
    library = pd.DataFrame({"guide": [1, 2, 3], "gene": ["A", "A", "NT"]})
    assert _perturbations([1, 2, 3], library=library) == ["A", "A", "non-targeting"]
    mapping = {1: "A", 2: "A", 3: "NT"}
    assert _perturbations([1, 2, 3], library=mapping) == ["A", "A", "non-targeting"]
    with pytest.raises(MissingKeyError, match="gene of 1 guides is unknown, the first is '2'"):
        _perturbations([1, 2, 3], library=mapping | {2: np.nan})
    with pytest.raises(MissingKeyError, match=r"library is 'library.csv'.*Read a file first"):
        _perturbations([1, 2, 3], library="library.csv")


def test_shares_out_of_range_and_guides_without_counts():
    adata, _, _ = _lane(n=40)
    for name in ("min_confidence", "min_share", "max_second_share"):
        with pytest.raises(ValueError, match=f"{name} is 2; a number from 0 to 1"):
            pp.assign_guides(adata, **{name: 2})
    adata.obsm["guides"] = pd.DataFrame("x", index=adata.obs_names, columns=NAMES)
    with pytest.raises(WrongScaleError, match="holds values that are not numbers"):
        pp.assign_guides(adata)
    adata.obsm["guides"] = pd.DataFrame(index=adata.obs_names)
    with pytest.raises(DesignError, match="no columns; one per guide"):
        pp.assign_guides(adata)


def test_mixture_of_no_counts_at_all():
    made = stats.guide_mixture(np.zeros((5, 3)))
    assert made.probability.nnz == 0


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/papalexi_eccite_thp1 is not here")
def test_real_cells_show_the_effects_of_their_guides():
    path = SHARED / "papalexi_20729x299_counts_110grna.h5ad"
    adata = anndata.read_h5ad(path)[::3].copy()
    adata.layers["counts"] = adata.X.copy()
    names = [str(name) for name in adata.uns["grna_names"]]
    adata.obsm["guides"] = pd.DataFrame(
        adata.obsm["grna"].toarray(), index=adata.obs_names, columns=names
    )
    library = dict(zip(names, map(str, adata.uns["grna_target"]), strict=True))
    pp.assign_guides(adata, library=library, method="rules")
    rules = (adata.obs["guide_class"] == "single").to_numpy()
    pp.assign_guides(adata, library=library)
    gained = (adata.obs["guide_class"] == "single").to_numpy() & ~rules
    assert gained.sum() > 300
    counts = adata.layers["counts"]
    scaled = sparse.diags(1e4 / np.asarray(counts.sum(axis=1)).ravel()) @ counts
    stat1 = np.log1p(scaled[:, [list(adata.var_names).index("STAT1")]].toarray().ravel())
    silenced = adata.obs["perturbation"].isin(["STAT1", "JAK2", "IFNGR1", "IFNGR2"]).to_numpy()
    control = (adata.obs["perturbation"] == "non-targeting").to_numpy()

    def effect(cells):
        return stat1[cells & silenced].mean() - stat1[cells & control].mean()

    # Wrong calls would dilute the effect: at least half of them must be right.
    assert effect(rules) < -0.5
    assert effect(gained) < 0.5 * effect(rules)
