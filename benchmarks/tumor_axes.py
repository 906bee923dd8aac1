"""Measure the axes of tumor cells: known situations, sorted cells, planted cells, thinning.

Run by hand: ``python benchmarks/tumor_axes.py PART ...`` with parts of ``ctc`` (circulating tumor
cells), ``planted`` (low MYC among sorted cells, at half and double depth), ``situations`` (which
axis moves when; draws ``docs/_static/tumor_axes.png``). ``situations`` reads ``../shared/data``
and, from the folder in the variable NKSCORE_FETCHED, files of public repositories (no licence seen,
so they are not in this one): ``git show COMMIT:PATH > NAME`` for

    micw42/QDSWorkflow dd79af6, data/pd_raw.rda as pd_raw.csv.gz and pd_ann.csv.gz (write.csv in R):
        fibroblasts at 16 and 74 population doublings (Marthandan et al. 2016, GSE63577)
    bethmbarnes/MYC_resistant_housekeepers_in_FC-MYC_cells 6ae0bf6, data/reads.csv as
        fcmyc_reads.csv and data/targets.csv as fcmyc_targets.csv: cells with MYC off and on
    HyacinthMeng/BRD4-acts-as-a-transcriptional-repressor-of-RhoB-to-inhibit-terminal-erythropoiesis
        0e494c5: ".../1.1_BRD4_JQ1_RNAseq_P0.05_logFC1/01 diff/symbol.txt" as jq1.txt, ".../1.2_..."
        as ms436.txt (BET inhibitors in human erythroid cells), and
        ".../GSE53983_All_hs_countData.txt" as ery.txt (human erythroid differentiation)
    fernandozamuner/SE_HNSCC e34fc7c, data/JQ1_vs_DMSO_DE_results_O47_JQ1.rds and O90 as O47.csv and
        O90.csv (write.csv in R): JQ1 in two head and neck cancer lines
    jacel/TNF_HL60_S4 9295529, data/biomart_gene_ontology.rds as ens2sym.csv: symbols of Ensembl ids
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from tumor_states import LOW, SHARED, STATIC, auroc, called, markdown, naive_scores

import nkscore as nk

FETCHED = Path(os.environ.get("NKSCORE_FETCHED", ""))
_FEWEST = 5


def ctc() -> None:
    """Slow against fast circulating tumor cells: AUC of each axis and of the sum, by method."""
    folder = SHARED / "ctc_gse75367_quiescence"
    slow = pd.read_csv(folder / "cells.csv", index_col=0)["slow_published"].dropna() == 1
    table = pd.read_csv(folder / "normalised_expression.csv.gz", index_col=0).T.loc[slow.index]
    rows = []
    for method, options in (
        ("rank_auc", {}),
        ("signed_zscore", {}),
        ("signed_zscore", {"equal_detection": True}),
    ):
        found = nk.tl.project_cohort(table, method=method, **options)
        names = [*nk.signatures.tumor_axes(), "dormant_like"]
        area = {n: auroc(slow.to_numpy(), found[n].to_numpy()) for n in names}
        low, rest = (found[n].rank(pct=True) for n in ("low_myc", "g0"))
        area["low_myc and g0 (lower rank)"] = auroc(
            slow.to_numpy(), np.minimum(low, rest).to_numpy()
        )
        rows.append({"method": " ".join([method, *options])} | area)
    markdown(rows)


def sorted_cells() -> ad.AnnData:
    """Zheng's sorted blood cells, types in the place of lines."""
    cells = ad.read_h5ad(SHARED / "zheng_sorted_pbmc/mudan_sorted_2140x8863_counts.h5ad")
    cells.obs["tumor"] = cells.obs["cell_type"].astype(str)
    cells.obs["compartment"], cells.obs["condition"] = "tumor", "tumor_mono"
    cells.layers["counts"] = sparse.csr_matrix(cells.X).astype(np.int32)
    return cells


def lowered(adata: ad.AnnData, fold: float, depth: float, seed: int) -> ad.AnnData:
    """Thin MYC targets in a fifth of the cells, whose depth differs from that of the others."""
    rng = np.random.default_rng(seed)
    made = adata.copy()
    low = rng.random(made.n_obs) < 0.2
    counts = made.layers["counts"].tocsr().copy()
    cell = np.repeat(np.arange(made.n_obs), np.diff(counts.indptr))
    genes = nk.signatures.tumor_axes()["low_myc"].down
    hit = low[cell] & made.var_names.isin(genes)[counts.indices]
    counts.data[hit] = rng.binomial(counts.data[hit], fold)
    thin = low if depth < 1 else ~low
    share = min(depth, 1 / depth)
    counts.data[thin[cell]] = rng.binomial(counts.data[thin[cell]], share)
    counts.eliminate_zeros()
    made.layers["counts"], made.obs["low"] = counts, low
    return made


def planted() -> None:
    """AUROC of low MYC planted in sorted cells; calls where nothing is planted."""
    cells, rows = sorted_cells(), []
    one = cells.copy()
    one.obs["tumor"] = "all"
    for label, data in (("lines are cell types", cells), ("one line", one)):
        for fold in (1.0, 0.65, 0.5):
            for depth in (1.0, 0.5, 2.0):
                found = [_planted(lowered(data, fold, depth, seed)) for seed in (0, 1)]
                rows.append(
                    {"data": label, "fold": fold, "depth of marked cells": depth}
                    | pd.DataFrame(found).mean().to_dict()
                )
    markdown(rows)


def _planted(data: ad.AnnData) -> dict[str, float]:
    made, low = called(data, programs=LOW, order=[LOW]), data.obs["low"].to_numpy()
    p = made.obsm["tumor_programs"][LOW].to_numpy()
    keep = ~np.isnan(p)
    scores = {
        "low_myc axis": made.obsm["tumor_axes"]["low_myc"].to_numpy(),
        "probability": p,
        "score_genes": naive_scores(data)["score_genes"].to_numpy(),
    }
    area = {name: auroc(low[keep], score[keep]) for name, score in scores.items()}
    return area | {"calls": float((p[keep] >= 0.8).sum())}


def by_symbol(counts: pd.DataFrame) -> pd.DataFrame:
    """Sum rows of Ensembl ids by symbol."""
    names = pd.read_csv(FETCHED / "ens2sym.csv").dropna().drop_duplicates("ensembl_gene_id")
    symbol = names.set_index("ensembl_gene_id")["external_gene_name"]
    ids = counts.index.astype(str).str.replace(r"\.\d+$", "", regex=True)
    kept = counts[ids.isin(symbol.index)]
    return kept.groupby(symbol[ids[ids.isin(symbol.index)]].to_numpy()).sum()


def change(counts: pd.DataFrame, treated: list[str], control: list[str]) -> pd.DataFrame:
    """Return log2 fold changes and mean expression of genes with 5 counts on average."""
    used = counts[treated + control]
    used = used[used.mean(axis=1) >= _FEWEST]
    logs = np.log2(1e6 * (used + 0.5) / (used.sum() + 1))
    value = logs[treated].mean(axis=1) - logs[control].mean(axis=1)
    return pd.DataFrame({"log2_fc": value, "mean": logs.mean(axis=1)})


def _starting(table: pd.DataFrame, text: str) -> list[str]:
    return [name for name in table if text in name]


def fetched() -> dict[str, pd.DataFrame]:
    """Return the changes measured in the data of public repositories."""
    found = {}
    reads = by_symbol(pd.read_csv(FETCHED / "fcmyc_reads.csv", index_col=0))
    arms = pd.read_csv(FETCHED / "fcmyc_targets.csv").query("Treatment == 'DMSO'")
    off, on = (list(arms.loc[arms["MYC"] == level, "Sample"]) for level in ("Low", "High"))
    found["MYC off / on, FC-MYC cells"] = change(reads, off, on)
    for name, drug in (("jq1", "JQ1"), ("ms436", "MS436")):
        table = pd.read_csv(FETCHED / f"{name}.txt", sep="\t", index_col=0).groupby(level=0).sum()
        treated = [c for c in table if c[0] in "JM"]
        rest = [c for c in table if c[0] in "CD"]
        found[f"BET inhibitor {drug}, erythroid cells"] = change(table, treated, rest)
    for line in ("O47", "O90"):
        table = pd.read_csv(FETCHED / f"{line}.csv").dropna(subset=["log2FoldChange"])
        table = table[table["baseMean"] > _FEWEST].set_index("gene")
        table = table[["log2FoldChange", "baseMean"]]
        table = by_symbol(table[~table.index.duplicated()])
        found[f"BET inhibitor JQ1, head and neck line {line}"] = pd.DataFrame(
            {"log2_fc": table["log2FoldChange"], "mean": np.log2(table["baseMean"])}
        )
    table = pd.read_csv(FETCHED / "ery.txt", sep="\t", index_col=0).groupby(level=0).sum()
    young = _starting(table, "proerythroblast")
    for stage in ("late_basophilic", "orthochromatic"):
        label = f"differentiation, erythroid: {stage.replace('_', ' ')}"
        found[label] = change(table, _starting(table, stage), young)
    counts = by_symbol(pd.read_csv(FETCHED / "pd_raw.csv.gz").set_index("Geneid"))
    doubled = pd.read_csv(FETCHED / "pd_ann.csv.gz", index_col=0)["population_doublings"]
    old, young = (list(doubled.index[doubled == n]) for n in (74, 16))
    found["replicative senescence, fibroblasts"] = change(counts, old, young)
    return found


def shared() -> dict[str, pd.DataFrame]:
    """Return the changes measured in ``../shared/data``."""
    found = {}
    path = SHARED / "dhimolea2021_persister_de/dhimolea2021_deseq_11contrasts.csv.gz"
    table = pd.read_csv(path).dropna(subset=["Symbol", "log2FoldChange"])
    table = table[table["baseMean"] >= 10].sort_values("baseMean", ascending=False)
    for name, part in table.groupby("contrast"):
        rows = part.drop_duplicates("Symbol").set_index("Symbol")
        if len(rows) >= 1500:
            found[f"persister {name.split('_VS_')[0]}"] = pd.DataFrame(
                {"log2_fc": rows["log2FoldChange"], "mean": np.log2(rows["baseMean"])}
            )
    lines = ad.read_h5ad(SHARED / "nk_plus_tumour_lines/nk_plus_tumour_lines_counts.h5ad")
    arm = {"d": "PC9_Day11_Erlotinib", "c": "PC9_Day11_control"}
    found["persister PC9, erlotinib (cells)"] = _summed(lines, lines.obs["line"], arm)
    blood = ad.read_h5ad(SHARED / "kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    for kind in ("CD14 Mono", "CD4 Naive T"):
        cells = blood[(blood.obs["cell_type"] == kind).to_numpy()]
        arm = {"d": "stim", "c": "ctrl"}
        found[f"interferon beta, {kind}"] = _summed(cells, cells.obs["condition"], arm)
    return found


def _summed(cells: ad.AnnData, arm: pd.Series, names: dict[str, str]) -> pd.DataFrame:
    sums = {
        k: np.asarray(cells.X[(arm == v).to_numpy()].sum(axis=0)).ravel() for k, v in names.items()
    }
    return change(2 * pd.DataFrame(sums, cells.var_names), ["d"], ["c"])


def situations() -> None:
    """Which axis moves in which known situation."""
    changes = (fetched() if FETCHED.name else {}) | shared()
    rows = [
        part.assign(contrast=name, gene=part.index).reset_index(drop=True)
        for name, part in changes.items()
    ]
    found = nk.tl.score_contrast(
        pd.concat(rows, ignore_index=True),
        nk.signatures.tumor_axes(),
        by="contrast",
        abundance="mean",
        n_permutations=499,
    )
    axes = list(nk.signatures.tumor_axes())
    wide = found.pivot_table(index="contrast", columns="signature", values=["score", "p_value"])
    wide = wide.loc[list(changes)]
    score, p = wide["score"][axes], wide["p_value"][axes]
    text = score.map("{:+.2f}".format).where(p > 0.01, score.map("**{:+.2f}**".format))
    markdown({"situation": name} | dict(row) for name, row in text.iterrows())
    picture(score, p)


def picture(score: pd.DataFrame, p: pd.DataFrame) -> None:
    """Draw axes × situations."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7.2, 0.3 * len(score) + 1.3), layout="constrained")
    image = ax.imshow(score, cmap="RdBu_r", vmin=-0.6, vmax=0.6, aspect="auto")
    for i, j in np.argwhere((p <= 0.01).to_numpy()):
        value = score.iloc[i, j]
        color = "white" if abs(value) > 0.35 else "black"
        ax.text(j, i, f"{value:+.2f}", ha="center", va="center", fontsize=7, color=color)
    ax.set_xticks(range(score.shape[1]), score.columns, rotation=30, ha="left", fontsize=8)
    ax.set_yticks(range(len(score)), score.index, fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(image, ax=ax, shrink=0.5, pad=0.02)
    bar.set_label("Score against genes of similar abundance\n(number: p ≤ 0.01)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.savefig(STATIC / "tumor_axes.png", dpi=150)


def main(parts: list[str]) -> None:
    """Run the parts asked for."""
    warnings.simplefilter("ignore")
    for part in parts or ["ctc", "planted", "situations"]:
        print(f"## {part}\n")
        globals()[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
