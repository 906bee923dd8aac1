from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nkscore as nk
from nkscore.errors import GeneCoverageError, MissingKeyError, WrongScaleError

GENES = [f"G{i}" for i in range(400)]


def response(rng, *, shift=0.0, lines=("a",)):
    parts = []
    for line in lines:
        t = rng.standard_normal(400)
        t[:20] += shift
        parts.append(pd.DataFrame({"tumor": line, "gene": GENES, "t": t}))
    return pd.concat(parts, ignore_index=True)


def test_equals_a_t_test_of_means():
    table = response(np.random.default_rng(0), shift=0.8)
    made = nk.tl.enrichment(table, {"s": GENES[:20]}, gene_correlation=0.0).iloc[0]
    inside, outside = table["t"][:20], table["t"][20:]
    # A regression on membership is the t-test with one variance.
    expected = stats.ttest_ind(inside, outside)
    assert made["t"] == pytest.approx(expected.statistic, rel=1e-6)
    assert made["p_value"] == pytest.approx(expected.pvalue, rel=1e-6)
    assert made["mean"] == pytest.approx(inside.mean())
    assert made["mean_other"] == pytest.approx(outside.mean())
    corrected = nk.tl.enrichment(table, {"s": GENES[:20]}).iloc[0]
    assert corrected["t"] == pytest.approx(expected.statistic / np.sqrt(1 + 19 * 0.05), rel=1e-6)
    best = table[:20].sort_values("t", ascending=False)["gene"].head(10)
    assert made["leading_genes"] == ",".join(best)


def test_down_genes_count_negatively():
    table = response(np.random.default_rng(1), shift=2.0)
    table.loc[10:19, "t"] -= 4.0
    signed = {"s": [*GENES[:10], *[f"{g}-" for g in GENES[10:20]]]}
    assert nk.tl.enrichment(table, signed)["t"].iloc[0] > 5
    assert abs(nk.tl.enrichment(table, {"s": GENES[:20]})["t"].iloc[0]) < 2


def test_null_p_values_are_uniform():
    rng = np.random.default_rng(2)
    sets = {f"s{i}": list(rng.choice(GENES, 15, replace=False)) for i in range(20)}
    p = nk.tl.enrichment(
        response(rng, lines=[f"l{i}" for i in range(60)]), sets, gene_correlation=0.0
    )["p_value"]
    assert len(p) == 1200
    assert stats.kstest(p, "uniform").pvalue > 0.001
    assert 0.03 < (p < 0.05).mean() < 0.07


def test_order_lines_and_coverage():
    rng = np.random.default_rng(3)
    table = response(rng, shift=3, lines=["é b", "a"])
    sets = {"hit": [*GENES[:20], "ABSENT1", "ABSENT2"], "other": GENES[50:70], "tiny": GENES[:5]}
    made = nk.tl.enrichment(table, sets)
    assert made["tumor"].tolist() == ["a", "a", "é b", "é b"]
    assert made["set"].tolist() == ["hit", "other"] * 2
    hit = made[made["set"] == "hit"]
    assert (hit["n_genes"] == 22).all()
    assert (hit["n_tested"] == 20).all()
    np.testing.assert_allclose(hit["coverage"], 20 / 22)
    mixed = nk.tl.enrichment(table.sample(frac=1, random_state=0), sets)
    pd.testing.assert_frame_equal(mixed, made)
    # A gene whose statistic is exactly zero was tested like any other.
    table.loc[0, "t"] = 0.0
    assert nk.tl.enrichment(table, sets)["n_tested"].max() == 20


def test_tables_that_cannot_be_ranked():
    table = response(np.random.default_rng(4))
    with pytest.raises(MissingKeyError, match=r"no column 'log2_fc'"):
        nk.tl.enrichment(table, statistic="log2_fc")
    with pytest.raises(WrongScaleError, match=r"Gene 'G0' occurs more than once"):
        nk.tl.enrichment(pd.concat([table, table]), {"s": GENES[:20]})
    with pytest.raises(WrongScaleError, match=r"no finite number"):
        nk.tl.enrichment(table.assign(t=np.nan))
    with pytest.raises(GeneCoverageError, match=r"has 10 of its genes"):
        nk.tl.enrichment(table, {"s": GENES[:5]})
    with pytest.raises(WrongScaleError, match=r"gene_correlation is 2"):
        nk.tl.enrichment(table, gene_correlation=2)


@pytest.mark.parametrize("line", ["697", "RCHACV"])
def test_published_tables(shared, line):
    file = shared / f"data/dufva2023_target_de/{line}_expandedNK_vs_untreated.tsv.gz"
    table = pd.read_csv(file, sep="\t")
    top = nk.tl.enrichment(table, statistic="avg_log2FC", by=None)
    first = top.iloc[0]
    assert first["set"] == "HALLMARK_INTERFERON_ALPHA_RESPONSE"
    assert first["direction"] == "up"
    assert "HALLMARK_INTERFERON_GAMMA_RESPONSE" in set(top["set"].head(4))


def test_correlated_genes_are_not_taken_for_a_response():
    rng = np.random.default_rng(7)
    sets = {f"s{i}": GENES[20 * i : 20 * i + 20] for i in range(20)}
    shared = np.repeat(rng.standard_normal((60, 20)), 20, axis=1)
    t = np.sqrt(0.95) * rng.standard_normal((60, 400)) + np.sqrt(0.05) * shared
    table = pd.DataFrame(
        {"tumor": np.repeat(np.arange(60), 400), "gene": GENES * 60, "t": t.ravel()}
    )
    small = {
        rho: (nk.tl.enrichment(table, sets, gene_correlation=rho)["p_value"] < 0.05).mean()
        for rho in (0.0, 0.05)
    }
    assert small[0.0] > 0.1
    assert small[0.05] < 0.07


def test_interferon_beta_in_monocytes(kang):
    cells = kang[kang.obs["cell_type"] == "CD14 Mono"].copy()
    cells = cells[cells.obs["donor"].notna()].copy()
    cells.obs["tumor"], cells.obs["nk_donor"] = "CD14", cells.obs["donor"].astype(str)
    cells.obs["sample"] = cells.obs["nk_donor"] + "_" + cells.obs["condition"].astype(str)
    table = nk.tl.interaction_response(cells, None, treated="stim", control="ctrl")
    made = nk.tl.enrichment(table)
    assert set(made["set"].head(2)) == {
        "HALLMARK_INTERFERON_ALPHA_RESPONSE",
        "HALLMARK_INTERFERON_GAMMA_RESPONSE",
    }
    assert (made["q_value"].head(2) < 1e-7).all()
    assert (nk.tl.enrichment(table, gene_correlation=0.01)["t"].head(2) > 8).all()


def test_rows_and_statistics_that_cannot_be_ranked():
    table = response(np.random.default_rng(4), lines=("a", "b"))
    with pytest.raises(WrongScaleError, match=r"400 rows lack a gene or a line \(tumor\)"):
        nk.tl.enrichment(table.assign(tumor=table["tumor"].where(table["tumor"] == "a")), SETS)
    with pytest.raises(WrongScaleError, match=r"is 1 for all genes of 'b'"):
        nk.tl.enrichment(table.assign(t=table["t"].where(table["tumor"] == "a", 1.0)), SETS)
    with pytest.raises(ValueError, match="min_genes is 0"):
        nk.tl.enrichment(table, SETS, min_genes=0)


SETS = {"s": GENES[:20]}
