from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.datasets._genes import gene_table
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError
from nkscore.signatures._tables import nk_profile


def test_raised_nk_genes_are_flagged():
    table = pd.DataFrame(
        {
            "gene": ["GNLY", "GNLY", "PRF1", "HLA-B", "NKG7"],
            "log2_fc": [1.0, -1.0, 0.0, 2.0, 0.3],
            "tumor": list("ababa"),
        }
    )
    flagged = nk.tl.flag_ambient(table)
    # Raised and NK-specific: the first and the last; lowered, unchanged or of tumors: not.
    assert flagged["ambient_suspect"].tolist() == [True, False, False, False, True]
    assert flagged["ambient_suspect"].dtype == bool
    assert "ambient_suspect" not in table


def test_own_genes_replace_the_default():
    table = pd.DataFrame({"gene": ["GNLY", "HLA-B"], "avg_log2FC": [1.0, 2.0]})
    flagged = nk.tl.flag_ambient(table, nk_genes=["HLA-B"])
    assert flagged["ambient_suspect"].tolist() == [False, True]


def test_index_and_rows_stay_as_they_are():
    table = pd.DataFrame({"gene": ["HLA-B", "GNLY"], "log2_fc": [1.0, 2.0]}, index=[7, 7])
    flagged = nk.tl.flag_ambient(table)
    pd.testing.assert_frame_equal(flagged.drop(columns="ambient_suspect"), table)


@pytest.mark.parametrize("table", [{"gene": ["A"], "lfc": [1.0]}, {"log2_fc": [1.0]}])
def test_missing_columns(table):
    with pytest.raises(MissingKeyError, match=r"gene and 'log2_fc'.*are needed"):
        nk.tl.flag_ambient(pd.DataFrame(table))


def test_empty_table():
    table = pd.DataFrame({"gene": pd.Series(dtype=str), "log2_fc": pd.Series(dtype=float)})
    assert nk.tl.flag_ambient(table)["ambient_suspect"].tolist() == []


LEVELS = nk_profile()
#: Share of ambient RNA that makes GNLY visible in a third of the cells, at 5,000 counts per cell.
SHARE, DEPTH = 0.03, 5e3


def levels_table(line="a", share=SHARE):
    """NK-exclusive genes and IL2RB as ambient RNA makes them; others not, for one reason each."""
    genes = ["GNLY", "PRF1", "GZMB", "KLRD1", "IL2RB", "KLRB1", "KLRK1", "FCER1G", "IRF9"]
    times = np.array([1, 1, 1, 1, 3, 100, 1, 1, 100])
    control = np.array([0, 0, 0, 0, 0, 0, 0, 0.4, 0])
    expected = SHARE * 2.0 ** LEVELS.reindex(genes).fillna(0).to_numpy() / 1e6 * DEPTH
    treated = control + share / SHARE * times * expected
    return pd.DataFrame(
        {
            "tumor": line,
            "gene": genes,
            "log2_fc": np.log2((treated + 1e-3) / (control + 1e-3)),
            "p_value": [1e-9] * 6 + [0.5] + [1e-9] * 2,
            "pct_treated": 100 * -np.expm1(-treated),
            "pct_control": 100 * -np.expm1(-control),
        }
    )


def test_genes_are_flagged_by_their_level_in_nk_cells():
    table = levels_table()
    flagged = nk.tl.flag_ambient(table)["ambient_suspect"].tolist()
    # KLRB1 and IRF9 rise too far, KLRK1 is not significant, the line has FCER1G.
    assert flagged == [True] * 5 + [False] * 4
    shares = table.assign(pct_treated=table["pct_treated"] / 100)
    shares = shares.assign(pct_control=table["pct_control"] / 100).rename(
        columns={"pct_treated": "pct.1", "pct_control": "pct.2", "p_value": "p_val"}
    )
    assert nk.tl.flag_ambient(shares)["ambient_suspect"].tolist() == flagged
    means = table.drop(columns=["pct_treated", "pct_control"])
    arms = [-np.log1p(-table[name] / 100) / DEPTH * 1e6 + 0.01 for name in table.columns[-2:]]
    means["log2_fc"] = np.log2(arms[0] / arms[1])
    means["mean_log2_cpm"] = np.log2(arms[0] * arms[1]) / 2
    assert nk.tl.flag_ambient(means)["ambient_suspect"].tolist() == flagged
    # Each line has its own factor: a hundredth of the ambient RNA does not explain the same rise.
    clean = levels_table("b", SHARE / 100)
    clean.loc[clean["gene"] == "IL2RB", table.columns[-2:]] = table.loc[
        4, table.columns[-2:]
    ].values
    both = nk.tl.flag_ambient(pd.concat([table, clean]))["ambient_suspect"].to_numpy()
    assert both.tolist() == [*flagged, *[True] * 4, *[False] * 5]
    given = nk.tl.flag_ambient(table, nk_genes=["GNLY"])["ambient_suspect"]
    assert given.tolist() == [True] + [False] * 8
    # Too few NK-exclusive genes to know the factor.
    assert not nk.tl.flag_ambient(table.iloc[3:])["ambient_suspect"].iloc[1]


def test_the_nk_profile_is_the_one_of_the_simulator():
    genes = gene_table().set_index("gene")["nk"]
    pd.testing.assert_series_equal(LEVELS, genes[genes >= 3], check_names=False)


def test_published_tables(shared):
    """NK genes that the line lacks are flagged, interferon genes not; sets from elsewhere."""
    cursons = pd.read_csv(shared / "data/nk_state_tables/cursons2019_NK_signature.csv").iloc[:, 0]
    interferon = {
        *nk.signatures.get("HALLMARK_INTERFERON_GAMMA_RESPONSE").up,
        *nk.signatures.get("HALLMARK_INTERFERON_ALPHA_RESPONSE").up,
    }
    of_nk, induced = [], []
    for line in ("697", "RCHACV"):
        name = f"data/dufva2023_target_de/{line}_expandedNK_vs_untreated.tsv.gz"
        flagged = nk.tl.flag_ambient(pd.read_csv(shared / name, sep="\t")).set_index("gene")
        suspect = flagged["ambient_suspect"]
        named = ["GNLY", "KLRB1", "KLRK1", "IL2RB", "KLRC2", "FCGR3A", "FCER1G", "CLIC3", "HOPX"]
        assert suspect[[*named, "CD2", "TIGIT"]].all()
        assert not suspect[["HLA-B", "STAT1", "PSMB9", "B2M", "HLA-E"]].any()
        raised = flagged[(flagged["avg_log2FC"] > 0) & (flagged["p_val"] < 0.05)]
        lacking = raised[(raised["pct.2"] <= 0.01) & raised.index.isin(cursons)]
        sure = raised[(raised["p_val_adj"] < 0.05) & raised.index.isin(interferon - {*cursons})]
        of_nk += lacking["ambient_suspect"].tolist()
        induced += sure["ambient_suspect"].tolist()
    assert len(of_nk) > 50
    assert np.mean(of_nk) >= 0.9
    assert len(induced) > 60
    assert np.mean(induced) <= 0.05


def test_simulated_ambient_genes_are_caught(simulate):
    soup = simulate(tumors=["697", "GDM1"], ambient=0.2, null=True)
    table = nk.tl.flag_ambient(nk.tl.interaction_response(soup))
    found = table[table["q_value"] < 0.05]
    # Nothing was planted; what is found is NK RNA, and the genes best known for it are flagged.
    flagged = found[found["ambient_suspect"]]
    assert len(flagged) >= 5
    assert (flagged["log2_fc"] > 0).all()
    known = found[found["gene"].isin(["GNLY", "PRF1", "GZMB"])]
    assert len(known) >= 3
    assert known["ambient_suspect"].all()


# --- with counts


def responded(simulate, share, **options):
    """The response of two lines with ambient RNA, flagged, and what was planted."""
    adata = simulate(
        tumors=["697", "GDM1", "JURKAT"],
        n_cells_per_sample=150,
        doublets=0.0,
        selection=0.0,
        ambient=share,
        **options,
    )
    table = nk.tl.interaction_response(adata, "tumor")
    if share:
        nk.pp.ambient(adata)
        table = nk.tl.flag_ambient(table, adata=adata)
    planted = adata.uns["truth"]["response"].rename(columns={"log2_fc": "planted"})
    return adata, table.merge(planted[["tumor", "gene", "planted"]], how="left")


@pytest.fixture(scope="module")
def without(simulate):
    return responded(simulate, 0.0)[1]


@pytest.fixture(scope="module")
def soups(simulate):
    return {share: responded(simulate, share) for share in (0.02, 0.15)}


def kinds(table, without):
    """Called genes: raised by ambient RNA alone, and induced (found without ambient RNA too)."""
    called = table[(table["q_value"] < 0.05) & (table["log2_fc"] > 0)]
    twin = called[["tumor", "gene"]].merge(without, how="left")
    found = ((twin["q_value"] < 0.05) & (twin["log2_fc"] > 0)).to_numpy()
    raised = called["log2_fc"].to_numpy() - twin["log2_fc"].fillna(0).to_numpy()
    planted = called["planted"].notna().to_numpy()
    floating = ~planted & ~found & (raised >= 0.25 * called["log2_fc"].to_numpy())
    return called[floating], called[planted & found]


@pytest.mark.parametrize("share", [0.02, 0.15])
def test_floating_genes_are_flagged_and_induced_ones_are_not(soups, without, share):
    floating, induced = kinds(soups[share][1], without)
    assert len(floating) > {0.02: 5, 0.15: 150}[share]
    assert floating["ambient_suspect"].mean() >= 0.95
    # Enough for 5 % to be one gene.
    assert len(induced) >= 20
    assert induced["ambient_suspect"].mean() <= 0.05
    # The plain share of counts cannot tell the two apart.
    if share == 0.15:
        by_share = induced["ambient_share"] >= 0.5
        assert by_share.any()


def test_what_remains_is_the_planted_effect(soups):
    table = soups[0.15][1]
    known = table[
        table["planted"].notna() & (table["planted"] > 0.8) & (table["ambient_share"] < 0.5)
    ]
    assert len(known) > 20
    before = (known["log2_fc"] - known["planted"]).abs().median()
    after = (known["log2_fc_adjusted"] - known["planted"]).abs().median()
    assert after < before + 0.05
    assert after < 0.35


def test_the_core_of_all_rows_holds_the_planted_effects(soups, without):
    """Planted means lie in their intervals, also of genes that are mostly ambient."""
    adata, table = soups[0.15]
    planted = adata.uns["truth"]["response"].query("kind == 'ifng'").groupby("gene")["log2_fc"]
    truth = planted.mean()[planted.size() == 3]
    rows = table.drop_duplicates(["tumor", "gene"])
    core = nk.tl.core_response(rows).set_index("gene")
    assert core.attrs["effect"] == "log2_fc_adjusted"
    found = core.loc[core.index.intersection(truth.index)].dropna(subset=["ci_low"])
    true = truth[found.index]

    def inside(pooled):
        at = pooled.loc[found.index]
        return (at["ci_low"] <= true) & (at["ci_high"] >= true)

    ambient = rows.groupby("gene")["ambient_share"].mean()[found.index] > 0.25
    assert ambient.sum() >= 20
    assert inside(core).mean() >= 0.9
    assert inside(core)[ambient].mean() >= 0.9
    measured = nk.tl.core_response(rows, adjusted=False).set_index("gene")
    assert inside(measured)[ambient].mean() < 0.8
    # GNLY is in the table, and no core gene: what is left of it is unknown.
    assert core.loc["GNLY", "n_ambient"] == core.loc["GNLY", "n_lines"]
    assert not core.loc["GNLY", "core"]
    assert core.loc["GNLY", "se"] > measured.loc["GNLY", "se"]
    clean = nk.tl.core_response(without.drop_duplicates(["tumor", "gene"]))
    assert clean.attrs["effect"] == "log2_fc"
    assert clean["n_ambient"].isna().all()


def test_columns_of_measured_flags(soups):
    table = soups[0.15][1]
    assert table["ambient_share"].dropna().between(0, 1).all()
    assert (table["p_value_adjusted"] >= table["p_value"]).all()
    assert (table["se_adjusted"] >= np.hypot(table["se"], table["se_ambient"]) - 1e-12).all()
    assert table["ambient_suspect"].dtype == bool
    known = table.loc[table["gene"].isin(["GNLY", "NKG7"]), "ambient_share"]
    assert (known > 0.75).all()


def test_order_of_rows_cells_and_genes_does_not_matter(soups):
    adata, table = soups[0.15]
    plain = table[["tumor", "gene", "log2_fc", "se", "p_value"]]
    rng = np.random.default_rng(0)
    mixed = adata[rng.permutation(adata.n_obs)][:, rng.permutation(adata.n_vars)].copy()
    rows = rng.permutation(len(plain))
    got = nk.tl.flag_ambient(plain.iloc[rows], adata=mixed).sort_index()
    columns = ["ambient_share", "log2_fc_adjusted", "p_value_adjusted"]
    np.testing.assert_allclose(got[columns], table[columns], rtol=1e-5, atol=1e-9)
    assert (got["ambient_suspect"].to_numpy() == table["ambient_suspect"].to_numpy()).all()


def test_lines_and_genes_that_the_data_lack(soups):
    adata, table = soups[0.15]
    few = table[["tumor", "gene", "log2_fc", "se", "p_value"]].head(3)
    other = few.assign(tumor="elsewhere")
    unknown = few.assign(gene=["no", "such", "gene"])
    got = nk.tl.flag_ambient(pd.concat([few, other, unknown], ignore_index=True), adata=adata)
    assert got["log2_fc_adjusted"].notna().tolist() == [True] * 3 + [False] * 6
    assert not got["ambient_suspect"].iloc[3:].any()
    with pytest.raises(DesignError, match=r"The table is about elsewhere; adata has samples"):
        nk.tl.flag_ambient(other, adata=adata)


def test_rows_that_were_not_tested(soups):
    adata, table = soups[0.15]
    few = table[["tumor", "gene", "log2_fc", "se", "p_value"]].head(4).copy()
    few.loc[1:, ["se", "p_value"]] = np.nan
    got = nk.tl.flag_ambient(few, adata=adata)
    assert got["p_value_adjusted"].isna().tolist() == [False, True, True, True]
    assert got["ambient_suspect"].tolist()[1:] == [False] * 3


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_ambient_must_be_measured(experiment):
    table = pd.DataFrame({"tumor": ["697"], "gene": ["A"], "log2_fc": [1.0]})
    with pytest.raises(MissingKeyError, match=r"gene, p_value, se, tumor and 'log2_fc'"):
        nk.tl.flag_ambient(table, adata=experiment)
    with pytest.raises(MissingKeyError, match=r"no 'pp\.ambient'\. Run pp\.ambient"):
        nk.tl.flag_ambient(table.assign(se=1.0, p_value=0.1), adata=experiment)
    doubled = experiment[:, [0, 0, 1]].copy()
    with pytest.raises(GeneCoverageError, match="occur more than once"):
        nk.tl.flag_ambient(table.assign(se=1.0, p_value=0.1), adata=doubled)


def test_the_ambient_share_of_monocultures_is_measured(simulate):
    from nkscore._samples._samples import compartment_samples
    from nkscore.tl._response._ambient_counts import ambient_counts

    lanes = {"Lane_NK1": 0.1, "Lane_NK2": 0.1, "Lane_NK3": 0.1, "Lane_targets": 0.2}
    adata = simulate(tumors=["697", "GDM1", "JURKAT"], n_cells_per_sample=150, ambient=lanes)
    nk.pp.ambient(adata)
    samples = compartment_samples(
        adata, "tumor", columns=["lane", "tumor", "condition"], min_cells=10
    )
    found = ambient_counts(adata, samples)
    share = found.expected.sum(axis=1) / found.counts.sum(axis=1)
    tumor = adata.obs["compartment"] == "tumor"
    truth = (
        adata.obs[tumor]
        .assign(n=np.asarray(adata.layers["counts"].sum(axis=1)).ravel()[tumor])
        .assign(floating=lambda d: d["n"] * d["truth_ambient"])
        .groupby("sample", observed=True)[["floating", "n"]]
        .sum()
    )
    expected = (truth["floating"] / truth["n"])[samples.table["sample"]].to_numpy()
    np.testing.assert_allclose(share, expected, rtol=0.15)


# --- tumor RNA in NK cells


@pytest.fixture(scope="module")
def nk_alone_elsewhere(simulate):
    """NK cells whose monocultures lie in clean lanes of their own, and the same with no soup."""
    options = {
        "tumors": ["697", "K562"],
        "n_cells_per_sample": 150,
        "doublets": 0.0,
        "selection": 0.0,
    }
    clean, soup = (simulate(ambient=share, **options) for share in (0.0, 0.15))
    alone = (soup.obs["condition"] == "nk_mono").to_numpy()
    both = soup.copy()
    own = sparse.diags_array(alone.astype(float)) @ clean.layers["counts"]
    rest = sparse.diags_array((~alone).astype(float)) @ soup.layers["counts"]
    both.layers["counts"] = sparse.csr_matrix(own + rest)
    lane = both.obs["lane"].astype(str)
    both.obs["lane"] = np.where(alone, "alone_" + both.obs["nk_donor"].astype(str), lane)
    return clean, soup, both


def nk_response(adata):
    nk.pp.ambient(adata)
    # Without it, as many calls as possible: what is tested here are the flags.
    response = nk.tl.interaction_response(adata, "nk", overdispersion=False)
    return nk.tl.flag_ambient(response, adata=adata, compartment="nk")


def test_tumor_rna_in_nk_cells_is_flagged(nk_alone_elsewhere):
    clean, _, both = nk_alone_elsewhere
    without = nk.tl.interaction_response(clean, "nk", overdispersion=False)
    table = nk_response(both)
    called = table[(table["q_value"] < 0.05) & (table["log2_fc"] > 0)]
    twin = called[["tumor", "gene"]].merge(without, how="left")
    true = ((twin["q_value"] < 0.05) & (twin["log2_fc"] > 0)).to_numpy()
    raised = (called["log2_fc"].to_numpy() - twin["log2_fc"].fillna(0)).to_numpy()
    floating = ~true & (raised >= 0.25 * called["log2_fc"].to_numpy())
    assert floating.sum() >= 50
    assert called["ambient_suspect"].to_numpy()[floating].mean() >= 0.95
    assert true.sum() >= 5
    assert not called["ambient_suspect"].to_numpy()[true].any()


def test_tumor_rna_in_both_arms_is_no_change(nk_alone_elsewhere, caplog):
    _, soup, _ = nk_alone_elsewhere
    with caplog.at_level("WARNING", logger="nkscore"):
        table = nk_response(soup)
    assert "Ambient tumor RNA in NK cells cannot be estimated" in caplog.text
    assert not table["ambient_suspect"].any()
    np.testing.assert_array_equal(table["log2_fc_adjusted"], table["log2_fc"])


def test_the_compartment_of_the_table():
    table = pd.DataFrame({"gene": ["GNLY"], "log2_fc": [1.0]})
    with pytest.raises(ValueError, match=r"'nk' without adata; .* with adata, is needed"):
        nk.tl.flag_ambient(table, compartment="nk")
    with pytest.raises(ValueError, match="compartment is 'other'"):
        nk.tl.flag_ambient(table, compartment="other")


def test_one_gene_by_name_and_numbers_out_of_range():
    table = pd.DataFrame({"gene": ["GNLY", "HLA-B"], "log2_fc": [1.2, 0.5]})
    assert nk.tl.flag_ambient(table, nk_genes="GNLY")["ambient_suspect"].tolist() == [True, False]
    for options in ({"alpha": 7}, {"min_lost": -1}):
        with pytest.raises(ValueError, match=r"is -?\d; a number from 0 to 1"):
            nk.tl.flag_ambient(table, **options)
