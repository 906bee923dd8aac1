from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError, NkscoreWarning, WrongScaleError

COLUMNS = [
    "tumor",
    "gene",
    "log2_fc",
    "se",
    "ci_low",
    "ci_high",
    "t",
    "p_value",
    "q_value",
    "q_value_line",
    "mean_log2_cpm",
    "n_samples_treated",
    "n_samples_control",
    "df_residual",
    "df_total",
    "pct_treated",
    "n_cells_treated",
    "pct_control",
    "n_cells_control",
    "donor_aware",
    "lineage",
]


@pytest.fixture(scope="module")
def response(clean):
    return nk.tl.interaction_response(clean)


@pytest.fixture(scope="module")
def with_truth(response, clean):
    truth = clean.uns["truth"]["response"]
    return response.merge(truth, on=["tumor", "gene"], how="left", suffixes=("", "_true"))


def by_key(table):
    return table.sort_values(["tumor", "gene"]).reset_index(drop=True)


# ---- planted folds


def test_planted_folds_are_recovered(with_truth):
    planted = with_truth[with_truth["log2_fc_true"].notna() & (with_truth["mean_log2_cpm"] > 7)]
    assert len(planted) > 70
    line = stats.linregress(planted["log2_fc_true"], planted["log2_fc"])
    # Measured: slope 1.02, r 0.94.
    assert line.slope == pytest.approx(1, abs=0.1)
    assert line.rvalue > 0.88
    assert abs(line.intercept) < 0.15
    strong = planted["log2_fc_true"].abs() > 0.7
    assert (np.sign(planted["log2_fc"]) == np.sign(planted["log2_fc_true"]))[strong].all()


def test_intervals_cover_the_planted_fold(with_truth):
    planted = with_truth[with_truth["log2_fc_true"].notna()]
    inside = planted["log2_fc_true"].between(planted["ci_low"], planted["ci_high"])
    # Nominal 95 %; measured 94 %.
    assert 0.9 < inside.mean() <= 1


def test_what_is_found_was_planted(with_truth):
    found = with_truth[with_truth["q_value"] < 0.05]
    assert len(found) > 30
    assert found["log2_fc_true"].notna().mean() > 0.85


def test_wider_intervals_for_more_confidence(clean, response):
    wide = nk.tl.interaction_response(clean, confidence=0.99)
    assert response["log2_fc"].between(response["ci_low"], response["ci_high"]).all()
    assert (wide["ci_low"] < response["ci_low"]).all()
    # Both end points of the interval and the p-value tell the same.
    excludes_zero = (response["ci_low"] > 0) | (response["ci_high"] < 0)
    assert (excludes_zero == (response["p_value"] < 0.05)).all()


# ---- nothing planted


def test_null_p_values_are_uniform(simulate):
    tables = {"tumor": [], "nk": []}
    for seed in range(5):
        adata = simulate(
            tumors=["697", "GDM1", "JURKAT"], n_cells_per_sample=60, null="all", rng=seed
        )
        for compartment, parts in tables.items():
            parts.append(nk.tl.interaction_response(adata, compartment))
    for parts in tables.values():
        p = np.concatenate([part["p_value"] for part in parts])
        # Genes of one experiment are correlated, so that the distance is bounded, not tested.
        # Measured over 12 seeds: 4.4 % and 5.1 % below 0.05, distance 0.009 and 0.004.
        assert stats.kstest(p, "uniform").statistic < 0.03
        assert 0.035 < (p < 0.05).mean() < 0.06
        assert (p < 0.001).mean() < 0.0025
        false_calls = [(part["q_value"] < 0.05).sum() for part in parts]
        assert np.median(false_calls) <= 1
        assert sum(false_calls) < 15


# ---- samples are the replicates


def test_more_cells_of_the_same_samples_are_not_more_replicates(clean, response):
    # Each cell twice: a test over cells would square its p-values; here nearly nothing changes.
    twice = ad.concat({"one": clean, "two": clean}, index_unique="_")
    other = nk.tl.interaction_response(twice, min_count=20)
    both = response.merge(other, on=["tumor", "gene"], suffixes=("", "_twice"))
    assert len(both) > 0.98 * len(response)
    change = np.log10(both["p_value_twice"]) - np.log10(both["p_value"])
    assert change.abs().median() < 0.02
    small = both["p_value"] < 1e-4
    assert small.sum() > 20
    assert (np.log10(both["p_value_twice"]) / np.log10(both["p_value"]))[small].max() < 1.2
    # Sparse counts tell a little less than their number; twice as many do not tell of more samples.
    assert both["df_residual_twice"].max() == pytest.approx(both["df_residual"].max(), abs=1e-3)
    assert (both["df_residual"] - both["df_residual_twice"]).abs().median() < 0.02


def test_p_values_follow_from_the_table(response):
    again = 2 * stats.t.sf(response["t"].abs(), response["df_total"])
    np.testing.assert_allclose(again, response["p_value"], rtol=1e-9)
    assert (response["df_total"] > response["df_residual"]).mean() > 0.9


def test_degrees_of_freedom_count_samples(response):
    # Per line 3 treated and 1 control sample, 2 coefficients: 4 − 2 = 2 per line, 3 lines.
    assert response["df_residual"].max() == pytest.approx(6)
    assert (response["n_samples_treated"] == 3).all()
    assert (response["n_samples_control"] == 1).all()


def test_donors_of_both_arms_are_matched(simulate):
    adata = simulate(tumors=["697", "GDM1"], null="all", donor_effect=1.0)
    matched = nk.tl.interaction_response(adata, "nk")
    # A replicate of its own for each sample: nothing to match.
    adata.obs["well"] = adata.obs["sample"]
    free = nk.tl.interaction_response(adata, "nk", replicate="well")
    assert matched["df_residual"].max() == pytest.approx(free["df_residual"].max() - 2)
    both = matched.merge(free, on=["tumor", "gene"], suffixes=("", "_free"))
    assert (both["se"] < both["se_free"]).mean() > 0.9
    assert (both["se"] / both["se_free"]).median() < 0.7


def test_shared_control_of_nk_cells(experiment):
    table = nk.tl.interaction_response(experiment, "nk")
    # 18 co-cultures and 3 controls less 6 effects, 1 baseline and 2 matched donors: 12.
    assert table["df_residual"].max() == pytest.approx(12)
    assert set(table["tumor"]) == set(experiment.obs["tumor"].cat.categories)
    assert (table["n_samples_control"] == 3).all()
    control = table.groupby("gene")["pct_control"].nunique()
    assert (control == 1).all()


# ---- which genes and samples


def test_gene_that_is_zero_in_a_line_is_not_tested_there(clean, response):
    tested = response.groupby("gene")["tumor"].nunique()
    gene = (
        response.loc[response["gene"].isin(tested.index[tested == 3]), ["gene", "mean_log2_cpm"]]
        .sort_values("mean_log2_cpm")["gene"]
        .iloc[-1]
    )
    adata = clean.copy()
    in_line = (adata.obs["tumor"] == "697").to_numpy()
    column = adata.var_names.get_loc(gene)
    counts = adata.layers["counts"].tolil()
    counts[np.flatnonzero(in_line), column] = 0
    adata.layers["counts"] = counts.tocsr()
    table = nk.tl.interaction_response(adata)
    rows = table[table["gene"] == gene].set_index("tumor")
    assert sorted(rows.index) == ["GDM1", "JURKAT"]
    # Its zeros in 697 lend no degrees of freedom: 2 per line, 2 lines.
    assert (rows["df_residual"] <= 4 + 1e-9).all()
    assert (rows["df_residual"] > 3.9).all()
    before = response[response["gene"] == gene].set_index("tumor")
    np.testing.assert_allclose(rows["log2_fc"], before["log2_fc"][rows.index], atol=0.1)


def test_rare_genes_are_not_tested(clean, response):
    assert 500 < response["gene"].nunique() < clean.n_vars
    fewer = nk.tl.interaction_response(clean, min_count=100)
    assert len(fewer) < 0.7 * len(response)
    assert set(zip(fewer["tumor"], fewer["gene"], strict=True)) <= set(
        zip(response["tumor"], response["gene"], strict=True)
    )
    with pytest.raises(DesignError, match=r"No gene has enough counts in any line"):
        nk.tl.interaction_response(clean, min_count=10**7)


def test_small_samples_are_left_out_with_a_warning(clean, caplog):
    sizes = clean.obs.loc[
        (clean.obs["compartment"] == "tumor") & clean.obs["qc_pass"], "sample"
    ].value_counts()
    smallest = sizes[sizes > 0].index[-1]
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        table = nk.tl.interaction_response(clean, min_cells=int(sizes[smallest]) + 1)
    assert f"excluded: {smallest}" in caplog.text
    reason = f"{sizes[smallest]} cells, {sizes[smallest] + 1} needed (min_cells)"
    assert table.attrs["left_out"] == [{"what": "sample", "name": smallest, "reason": reason}]
    line = smallest.split("_")[0]
    assert (table.loc[table["tumor"] == line, "n_samples_treated"] == 2).all()


def test_lower_min_cells_never_removes_a_gene(cells):
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        [
            (f"{line}{donor}{arm}", line, f"d{donor}", arm)
            for line in ("a", "b")
            for donor in range(4)
            for arm in ("tumor_mono", "coculture")
            for _ in range(int(rng.integers(3, 60)))
        ],
        columns=["sample", "tumor", "nk_donor", "condition"],
    )
    mean = np.exp(rng.normal(-2.5, 1.5, 300)) * rng.gamma(1, 1, (len(obs), 1))
    adata = cells(rng.poisson(mean), [f"G{i}" for i in range(300)])
    adata.obs = obs.assign(compartment="tumor").set_axis(adata.obs_names, axis=0)
    before, sizes = set(), []
    for min_cells in (40, 30, 20, 10, 5, 1):
        try:
            table = nk.tl.interaction_response(adata, min_cells=min_cells)
        except DesignError:
            continue
        tested = set(zip(table["tumor"], table["gene"], strict=True))
        assert before <= tested
        before = tested
        sizes.append(len(tested))
    assert sizes[-1] > sizes[0] > 50


def test_cells_of_other_compartments_failed_or_homeless_do_not_count(clean, response):
    obs = clean.obs
    used = (obs["compartment"] == "tumor") & obs["qc_pass"] & obs["sample"].notna()
    assert used.mean() < 0.75
    table = nk.tl.interaction_response(clean[used.to_numpy()].copy())
    pd.testing.assert_frame_equal(table, response)


def test_line_without_control_is_left_out_with_a_warning(clean, caplog):
    adata = clean[(clean.obs["sample"] != "GDM1_mono").to_numpy()].copy()
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        table = nk.tl.interaction_response(adata)
    assert sorted(table["tumor"].unique()) == ["697", "JURKAT"]
    assert "No samples in both arms, excluded: GDM1" in caplog.text
    [entry] = table.attrs["left_out"]
    assert (entry["what"], entry["name"]) == ("line", "GDM1")
    assert "no sample of both" in entry["reason"]


@pytest.mark.parametrize("name", ["none", "None", "NK only"])
def test_a_name_for_no_line_is_refused_by_name(clean, name):
    adata = clean.copy()
    line = adata.obs["tumor"].astype(object)
    line[(adata.obs["condition"] == "nk_mono").to_numpy()] = name
    adata.obs["tumor"] = pd.Categorical(line)
    with pytest.raises(DesignError, match=rf"All controls have obs\['tumor'\] '{name}'") as caught:
        nk.tl.interaction_response(adata, "nk")
    # The remedy works.
    exec(str(caught.value).partition("missing: ")[2].rstrip("."), {"adata": adata})
    found = nk.tl.interaction_response(adata, "nk")
    pd.testing.assert_frame_equal(found, nk.tl.interaction_response(clean, "nk"))


# ---- the table


def test_columns_and_order(response, experiment):
    assert list(response.columns) == COLUMNS
    assert response["tumor"].is_monotonic_increasing
    for _, part in response.groupby("tumor"):
        assert part["p_value"].is_monotonic_increasing
        assert part["gene"].is_unique
    assert not response.isna().any(axis=None)
    lineage = response.groupby("tumor")["lineage"].unique()
    assert lineage["697"].tolist() == ["B-ALL"]
    assert lineage["JURKAT"].tolist() == ["T-ALL"]


def test_q_values_of_the_table_and_of_the_line(response):
    expected = stats.false_discovery_control(response["p_value"])
    np.testing.assert_allclose(response["q_value"], expected)
    for _, part in response.groupby("tumor"):
        expected = stats.false_discovery_control(part["p_value"])
        np.testing.assert_allclose(part["q_value_line"], expected)
    assert not np.allclose(response["q_value"], response["q_value_line"])


def test_percent_and_number_of_cells_by_hand(response, clean):
    obs = clean.obs
    row = response[(response["tumor"] == "JURKAT") & (response["pct_treated"] < 50)].iloc[0]
    value = np.asarray(clean[:, row["gene"]].layers["counts"].todense()).ravel()
    tumor = (obs["compartment"] == "tumor") & obs["qc_pass"] & (obs["tumor"] == "JURKAT")
    for arm, condition in (("treated", "coculture"), ("control", "tumor_mono")):
        cells = (tumor & (obs["condition"] == condition)).to_numpy()
        assert row[f"n_cells_{arm}"] == cells.sum()
        assert row[f"pct_{arm}"] == pytest.approx(100 * (value[cells] > 0).mean())


@pytest.mark.parametrize("axis", ["cells", "genes", "both"])
def test_order_of_cells_and_genes_does_not_matter(clean, response, axis):
    rng = np.random.default_rng(0)
    cells = rng.permutation(clean.n_obs) if axis != "genes" else np.arange(clean.n_obs)
    genes = rng.permutation(clean.n_vars) if axis != "cells" else np.arange(clean.n_vars)
    table = nk.tl.interaction_response(clean[cells, genes].copy())
    pd.testing.assert_frame_equal(by_key(table), by_key(response), rtol=1e-6)


@pytest.mark.parametrize("form", [sparse.csc_matrix, lambda m: m.toarray(), np.float64])
def test_form_of_the_counts_does_not_matter(clean, response, form):
    adata = clean.copy()
    counts = adata.layers["counts"]
    adata.layers["counts"] = counts.astype(form) if form is np.float64 else form(counts)
    table = nk.tl.interaction_response(adata)
    pd.testing.assert_frame_equal(by_key(table), by_key(response), rtol=1e-9)


def test_nothing_is_written(clean):
    adata = clean.copy()
    nk.tl.interaction_response(adata)
    assert adata.obs.equals(clean.obs)
    assert list(adata.uns["nkscore"]) == list(clean.uns["nkscore"])
    assert (adata.layers["counts"] != clean.layers["counts"]).nnz == 0


# ---- designs that cannot answer


def test_one_sample_per_arm_is_no_replicate(simulate):
    adata = simulate(tumors=["697"], n_donors=1, n_cells_per_sample=60)
    with pytest.raises(DesignError, match=r"2 samples and 2 coefficients.*Add replicates"):
        nk.tl.interaction_response(adata)


def test_empty_arm(clean):
    with pytest.raises(
        DesignError, match=r"No sample has condition 'conditioned_medium'.*coculture"
    ):
        nk.tl.interaction_response(clean, treated="conditioned_medium")
    only = clean[(clean.obs["condition"] != "tumor_mono").to_numpy()].copy()
    with pytest.raises(DesignError, match=r"No sample has condition 'tumor_mono'"):
        nk.tl.interaction_response(only)


def test_no_line_has_both_arms(clean):
    obs = clean.obs
    keep = ((obs["tumor"] == "697") & (obs["condition"] == "coculture")) | (
        (obs["tumor"] == "GDM1") & (obs["condition"] == "tumor_mono")
    )
    with pytest.raises(DesignError, match=r"No tumor has samples of both"):
        nk.tl.interaction_response(clean[keep.to_numpy()].copy())


def test_batch_that_coincides_with_the_treatment(clean):
    adata = clean.copy()
    adata.obs["batch"] = np.where(adata.obs["condition"] == "coculture", "may", "june")
    one_line = adata[(adata.obs["tumor"] == "697").to_numpy()].copy()
    with pytest.raises(DesignError, match=r"distinguished from the other terms.*coincide"):
        nk.tl.interaction_response(one_line, covariates=["batch"])


def test_batch_that_coincides_in_all_lines_answers_nothing(clean):
    adata = clean.copy()
    adata.obs["batch"] = np.where(adata.obs["condition"] == "coculture", "may", "june")
    with pytest.raises(DesignError, match="coincide"):
        nk.tl.interaction_response(adata, covariates=["batch"])


def test_constant_covariate(clean):
    with pytest.raises(DesignError, match=r"'time_h' has the same value \(24"):
        nk.tl.interaction_response(clean, covariates=["time_h"])


def test_missing_covariate_values(clean):
    with pytest.raises(DesignError, match=r"'et_ratio' is missing"):
        nk.tl.interaction_response(clean, covariates=["et_ratio"])


def test_column_that_varies_within_a_sample(clean):
    adata = clean.copy()
    adata.obs["phase"] = adata.obs["truth_phase"].astype(str)
    with pytest.raises(DesignError, match=r"obs\['phase'\] has several values within sample"):
        nk.tl.interaction_response(adata, covariates=["phase"])


def test_useful_covariate_is_taken(simulate):
    adata = simulate(tumors=["697", "GDM1"], null="all", lane_effect=0.6)
    plain = nk.tl.interaction_response(adata, "nk", replicate="sample")
    lane = nk.tl.interaction_response(adata, "nk", replicate="sample", covariates=["lane"])
    assert lane["df_residual"].max() == pytest.approx(plain["df_residual"].max() - 2)
    assert lane["se"].median() < plain["se"].median()


def test_donors_that_differ_between_the_arms(simulate, caplog):
    adata = simulate(tumors=["697", "GDM1"], n_donors=4, n_cells_per_sample=40, null="all")
    donor, condition = (adata.obs[name].astype(str) for name in ("nk_donor", "condition"))
    alone = condition == "nk_mono"
    two = (~alone & donor.isin(["NK1", "NK2"])) | (alone & donor.isin(["NK3", "NK4"]))
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        table = nk.tl.interaction_response(adata[two.to_numpy()].copy(), "nk")
    said = "No level of 'nk_donor' is in both arms: differences between them add to the error."
    assert said in caplog.text
    assert said in table.attrs["design"]
    single = (~alone & donor.isin(["NK1", "NK2"])) | (alone & donor.isin(["NK3"]))
    table = nk.tl.interaction_response(adata[single.to_numpy()].copy(), "nk")
    assert (
        "cannot be distinguished from the treatment" in table.attrs["design"].split("nk_donor")[1]
    )
    # As a term of the model, donors of one arm only leave nothing of the treatment.
    with pytest.raises(DesignError, match="coincide with the treatment"):
        nk.tl.interaction_response(
            adata[two.to_numpy()].copy(), "nk", replicate="sample", covariates=["nk_donor"]
        )
    matched = nk.tl.interaction_response(adata, "nk")
    assert "No level of" not in matched.attrs["design"]


def test_samples_without_a_condition_are_named(clean, caplog):
    adata = clean.copy()
    inside = (adata.obs["sample"] == "697_NK1").to_numpy()
    adata.obs["condition"] = adata.obs["condition"].astype(object).where(~inside, np.nan)
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        table = nk.tl.interaction_response(adata)
    assert "1 samples without obs['condition'], excluded: 697_NK1" in caplog.text
    pd.testing.assert_frame_equal(table, nk.tl.interaction_response(clean[~inside].copy()))


def test_no_sample_with_enough_cells(clean):
    with pytest.raises(DesignError, match=r"No sample has 5000 cells.*Lower min_cells"):
        nk.tl.interaction_response(clean, min_cells=5000)


def test_genes_without_any_count(clean):
    adata = clean.copy()
    counts = adata.layers["counts"].tolil()
    counts[:, :20] = 0
    adata.layers["counts"] = counts.tocsr()
    table = nk.tl.interaction_response(adata)
    assert not set(table["gene"]) & set(adata.var_names[:20])
    assert table[["log2_fc", "se", "p_value", "q_value"]].notna().all(axis=None)
    adata.layers["counts"] = adata.layers["counts"] * 0
    with pytest.raises(DesignError, match="samples have no counts"):
        nk.tl.interaction_response(adata)


def test_a_single_gene(clean):
    most = int(np.asarray(clean.layers["counts"].sum(axis=0)).argmax())
    table = nk.tl.interaction_response(clean[:, [most]].copy())
    assert set(table["tumor"]) == {"697", "GDM1", "JURKAT"}
    assert table["p_value"].between(0, 1).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("confidence", 0.0), ("confidence", 95), ("min_log2_fc", -0.5), ("min_count", -1)],
)
def test_numbers_out_of_range(clean, name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}.*needed"):
        nk.tl.interaction_response(clean, **{name: value})


def test_scatter_between_cells_of_a_sample(clean, response):
    plain = nk.tl.interaction_response(clean, overdispersion=False)
    both = by_key(response).merge(by_key(plain), on=["tumor", "gene"], suffixes=("", "_plain"))
    assert len(both) == len(response)
    np.testing.assert_allclose(both["log2_fc"], both["log2_fc_plain"], rtol=1e-9)
    changed = np.log(both["se"] / both["se_plain"])
    assert changed.std() > 0.02
    assert abs(changed.median()) < 0.1


def test_no_cells_of_the_compartment(clean):
    with pytest.raises(DesignError, match=r"No cell is in compartment 'other'"):
        nk.tl.interaction_response(clean, "other")


def test_missing_columns_and_wrong_scale(clean):
    adata = clean.copy()
    with pytest.raises(MissingKeyError, match=r"no 'plate'"):
        nk.tl.interaction_response(adata, covariates=["plate"])
    adata.layers["counts"] = adata.layers["counts"].astype(float).log1p()
    with pytest.raises(WrongScaleError, match="fractions"):
        nk.tl.interaction_response(adata)


# ---- real data


def test_real_interferon_response(kang):
    types = ["NK", "CD14 Mono", "B"]
    adata = kang[(kang.obs["donor"].notna() & kang.obs["cell_type"].isin(types)).to_numpy()].copy()
    obs = adata.obs
    obs["sample"] = (
        obs["cell_type"].astype(str)
        + "_"
        + obs["donor"].astype(str)
        + "_"
        + obs["condition"].astype(str)
    )
    table = nk.tl.interaction_response(
        adata, None, treated="stim", control="ctrl", by="cell_type", replicate="donor", min_cells=5
    )
    genes = {"ISG15", "IFI6", "IFIT1", "IFIT3", "MX1", "ISG20"}
    sets = [nk.signatures.get(f"HALLMARK_INTERFERON_{x}_RESPONSE").up for x in ("ALPHA", "GAMMA")]
    hallmark = set().union(*sets)
    for name in types:
        rows = table[table["tumor"] == name]
        # Measured: 16 of 30 or more, of 9 to 16 % of the tested genes.
        top = rows.loc[rows["log2_fc"] > 0, "gene"].head(30)
        assert top.isin(hallmark).sum() >= 15
        assert rows["gene"].isin(hallmark).mean() < 0.2
        known = rows[rows["gene"].isin(genes)]
        assert (known["log2_fc"] > 1).all()
        assert (known["q_value"] < 0.01).all()
    assert "lineage" not in table


def test_equals_find_markers_of_seurat(shared):
    folder = shared / "golden/seurat_findmarkers"
    adata = ad.read_h5ad(folder / "input.h5ad")
    adata.layers["counts"] = adata.X.copy()
    obs = pd.read_csv(folder / "obs.csv", index_col=0).loc[adata.obs_names]
    adata.obs = obs.assign(sample=obs["condition"] + obs["donor"].astype(str))
    with pytest.warns(NkscoreWarning, match="uses cells as replicates") as caught:
        table = nk.tl.interaction_response(
            adata,
            None,
            treated="stim",
            control="ctrl",
            by="cell_type",
            replicate="donor",
            method="welch_t",
            min_cells=1,
            min_count=0,
        ).set_index("gene")
    assert {item.filename for item in caught} == {__file__}
    golden = pd.read_csv(
        folder / "t_all_normcommand.csv.gz", index_col=0, float_precision="round_trip"
    )
    golden = golden.loc[golden.index.isin(table.index)]
    assert len(golden) > 1500
    table = table.loc[golden.index]
    np.testing.assert_allclose(table["log2_fc"], golden["avg_log2FC"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(table["p_value"], golden["p_val"], rtol=1e-6, atol=1e-300)
    expected = golden["p_val_adj"]
    np.testing.assert_allclose(table["p_value_bonferroni"], expected, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(table["pct_treated"] / 100, golden["pct.1"], atol=6e-4)
    assert not table["donor_aware"].any()


def test_numbers_as_arms_and_knock_outs_within_wells(clean):
    adata = clean.copy()
    adata.obs["hours"] = np.where(adata.obs["condition"] == "coculture", 24.0, 0.0)
    table = nk.tl.interaction_response(adata, condition="hours", treated=24, control=0)
    expected = nk.tl.interaction_response(clean)
    np.testing.assert_allclose(table["log2_fc"], expected["log2_fc"])
    with pytest.raises(DesignError, match=r"no control is known"):
        nk.tl.interaction_response(adata, condition="hours", treated=24)
    adata.obs["guide"] = np.where(np.arange(adata.n_obs) % 2 == 0, "STAT1 KO", "κontrol")
    pooled = nk.tl.interaction_response(
        adata, condition="guide", treated="STAT1 KO", control="κontrol", replicate="sample"
    )
    # Each well is divided and compared with itself; nothing differs.
    assert (pooled["n_samples_treated"] == 4).all()
    assert "compared with themselves" in pooled.attrs["design"]
    assert (pooled["q_value"] < 0.05).sum() <= 3


def test_survives_a_text_file(response, tmp_path):
    response.to_csv(tmp_path / "table.tsv", sep="\t", index=False)
    back = pd.read_csv(tmp_path / "table.tsv", sep="\t", dtype={"tumor": str})
    np.testing.assert_allclose(back["q_value"], response["q_value"], rtol=1e-12)
    assert list(back.columns) == list(response.columns)


def test_survives_parquet(response, tmp_path):
    pytest.importorskip("pyarrow")
    response.to_parquet(tmp_path / "table.parquet")
    back = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(back, response)
    assert back.attrs["design"] == response.attrs["design"]


def test_levels_with_spaces_and_unicode(clean, response):
    adata = clean.copy()
    new = {"697": "лінія 697 (β)", "GDM1": "GDM 1", "JURKAT": "Jürkat | T"}
    for column in ("tumor", "condition", "nk_donor"):
        adata.obs[column] = adata.obs[column].astype(object)
    adata.obs["tumor"] = adata.obs["tumor"].map(new)
    adata.obs["condition"] = adata.obs["condition"].replace({"coculture": "Ко-культура 1:1"})
    adata.obs["nk_donor"] = "донор " + adata.obs["nk_donor"].astype(str)
    table = nk.tl.interaction_response(adata, treated="Ко-культура 1:1", control="tumor_mono")
    assert set(table["tumor"]) == set(new.values())
    expected = response.assign(tumor=response["tumor"].map(new))
    both = by_key(table).merge(expected, on=["tumor", "gene"], suffixes=("", "_plain"))
    assert len(both) == len(table) == len(response)
    np.testing.assert_allclose(both["log2_fc"], both["log2_fc_plain"], atol=1e-8)
    np.testing.assert_allclose(both["p_value"], both["p_value_plain"], rtol=1e-5)


def test_conditioned_medium_versus_none(clean, response):
    # The medium of co-cultures is put on tumor cells alone: the response is that of the cells.
    adata = clean.copy()
    medium = adata.obs["condition"].astype(object)
    adata.obs["condition"] = medium.replace(
        {"coculture": "conditioned_medium", "tumor_mono": "medium"}
    )
    table = nk.tl.interaction_response(adata, treated="conditioned_medium", control="medium")
    pd.testing.assert_frame_equal(table, response)
    with pytest.raises(DesignError, match=r"No sample has condition 'tumor_mono'"):
        nk.tl.interaction_response(adata, treated="conditioned_medium")


def test_one_line(clean):
    adata = clean[(clean.obs["tumor"] == "697").to_numpy()].copy()
    table = nk.tl.interaction_response(adata)
    assert set(table["tumor"]) == {"697"}
    assert table["df_residual"].max() == pytest.approx(2)
    assert "One sample in an arm: 697" in table.attrs["design"]
    # Nothing to compare the line with: both forms of the variance are one.
    common = nk.tl.interaction_response(adata, line_variance=False)
    pd.testing.assert_frame_equal(table, common)


def test_sixty_lines(clean):
    rng = np.random.default_rng(0)
    line = np.repeat([f"line {i}" for i in range(60)], 4)
    arm = np.tile(["coculture", "coculture", "coculture", "tumor_mono"], 60)
    sample = np.repeat(np.arange(240), 10)
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(3.0, (2400, 40)).astype(float)))
    adata.var_names = [f"G{i}" for i in range(40)]
    adata.layers["counts"] = adata.X.copy()
    adata.obs = pd.DataFrame(
        {
            "sample": np.char.add("s", sample.astype(str)),
            "tumor": line[sample],
            "condition": arm[sample],
            "nk_donor": np.tile(["a", "b", "c", "none"], 60)[sample],
            "compartment": "tumor",
        },
        index=adata.obs_names,
    )
    table = nk.tl.interaction_response(adata)
    assert table["tumor"].nunique() == 60
    assert len(table) == 60 * 40
    # Counts of 3 cells each tell nearly as much as large ones.
    np.testing.assert_allclose(table["df_residual"], 120, atol=0.1)
    assert (table["q_value"] < 0.05).sum() <= 1
    assert 0.03 < (table["p_value"] < 0.05).mean() < 0.07


def test_missing_values_in_the_sheet(clean, response, caplog):
    adata = clean.copy()
    line = adata.obs["tumor"].astype(object)
    adata.obs["tumor"] = line.where(line != "GDM1", np.nan)
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        table = nk.tl.interaction_response(adata)
    assert set(table["tumor"]) == {"697", "JURKAT"}
    assert "Treated samples without obs['tumor'], excluded: GDM1" in caplog.text
    # A sample without a known donor is one more replicate.
    adata = clean.copy()
    adata.obs["nk_donor"] = adata.obs["nk_donor"].astype(object).where(line != "GDM1", np.nan)
    table = nk.tl.interaction_response(adata)
    pd.testing.assert_frame_equal(by_key(table), by_key(response))


def test_unknown_method(clean):
    with pytest.raises(ValueError, match=r"method names 'deseq'.*pydeseq2"):
        nk.tl.interaction_response(clean, method="deseq")


def test_pydeseq2_agrees_in_the_effects(clean, response):
    pytest.importorskip("pydeseq2")
    one = clean[(clean.obs["tumor"] == "697").to_numpy()].copy()
    table = nk.tl.interaction_response(one, method="pydeseq2", min_count=60)
    both = table.merge(response, on=["tumor", "gene"])
    assert len(both) > 100
    assert np.corrcoef(both["log2_fc_x"], both["log2_fc_y"])[0, 1] > 0.9
