"""Measure ``tl.tumor_states``: truth, depth, nothing planted, direction, cost.

Run by hand: ``python benchmarks/tumor_states.py PART ...`` with parts of ``truth``, ``depth``,
``null``, ``planted`` (among real cells), ``limit`` (of any caller), ``direction``, ``stable``,
``cost``, ``figures``: all but the last two by default; ``figures`` draws
``docs/_static/tumor_states.png``. Prints Markdown
tables. Data: ``datasets.simulate_coculture``, a second, simpler generator in this file that shares
nothing with it, and real cells in ``../shared/data``.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, special

import nkscore as nk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
STATIC = Path(__file__).resolve().parents[1] / "docs" / "_static"
LOW = "low_myc_dormant_like"
#: Of the data that are reported; others were looked at while the method was written.
SEEDS = (111, 112)
MYC = ["HALLMARK_MYC_TARGETS_V1", "HALLMARK_MYC_TARGETS_V2"]


@dataclass(frozen=True)
class Plan:
    """One setting of the second generator.

    ``depth``: median counts of a cell, and the SD of its logarithm. ``fold``: of MYC targets in
    dormant cells, which are a ``share`` of all.
    """

    depth: float = 3000.0
    depth_spread: float = 0.4
    fold: float = 0.65
    #: Share of the MYC targets that the fold acts on.
    affected: float = 1.0
    share: float = 0.15
    #: Depth of dormant cells relative to the others.
    depth_ratio: float = 1.0
    #: Whether dormant cells cycle as often as the others.
    cycle_alike: bool = False
    ambient: float = 0.1
    n_cells: int = 1500
    n_genes: int = 8000


def simple_cells(plan: Plan, seed: int) -> ad.AnnData:
    """Draw cells of two lines with random baselines; no gene table, no profile of nkscore."""
    rng = np.random.default_rng(seed)
    sets = {s: set(nk.signatures.get(s).up) for s in [*MYC, "TIROSH2016_G1S", "TIROSH2016_G2M"]}
    myc, cycle = sets[MYC[0]] | sets[MYC[1]], sets["TIROSH2016_G1S"] | sets["TIROSH2016_G2M"]
    known = sorted({g for s in nk.signatures.catalog()["name"] for g in nk.signatures.get(s).genes})
    names = np.array(known + [f"OTHER{i}" for i in range(max(plan.n_genes - len(known), 0))])
    is_myc, is_cycle = np.isin(names, list(myc)), np.isin(names, list(cycle))
    line = rng.integers(0, 2, plan.n_cells)
    low = rng.random(plan.n_cells) < plan.share
    divides = rng.random(plan.n_cells) < np.where(low & (not plan.cycle_alike), 0.03, 0.4)
    common = rng.normal(0, 1.5, names.size) + 1.2 * is_myc
    profile = np.exp(common + rng.normal(0, 0.6, (2, names.size)))
    hit = is_myc & (rng.random(names.size) < plan.affected)
    boost = np.exp(np.log(3.0) * is_cycle * (1 + rng.normal(0, 0.2, names.size)))
    mean = profile[line] * np.where(low[:, None] & hit, plan.fold, 1.0)
    mean *= np.where(divides[:, None], boost, 1.0)
    mean *= rng.lognormal(0, 0.12, (plan.n_cells, 1)) ** is_myc
    mean /= mean.sum(axis=1, keepdims=True)
    soup = mean.mean(axis=0)
    mean = (1 - plan.ambient) * mean + plan.ambient * soup
    depth = plan.depth * rng.lognormal(0, plan.depth_spread, plan.n_cells)
    depth *= np.where(low, plan.depth_ratio, 1.0)
    counts = rng.poisson(depth[:, None] * mean * rng.gamma(5, 1 / 5, mean.shape))
    obs = pd.DataFrame(
        {
            "tumor": np.array(["A", "B"])[line],
            "compartment": "tumor",
            "condition": np.where(rng.random(plan.n_cells) < 0.5, "tumor_mono", "coculture"),
            "low": low,
            "divides": divides,
            "depth": depth,
        }
    )
    obs.index = [f"c{i}" for i in range(plan.n_cells)]
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=names))
    adata.layers["counts"] = sparse.csr_matrix(counts.astype(np.int32))
    adata.uns["planted"] = {
        "profile": profile,
        "line": line,
        "hit": hit,
        "boost": boost,
        "soup": soup,
        "myc": is_myc,
    }
    return adata


def best_possible(adata: ad.AnnData, plan: Plan, kept: float = 1.0) -> np.ndarray:
    """Return the probability of low MYC for one who knows all that was planted but the level."""
    told, obs = adata.uns["planted"], adata.obs
    counts = adata.layers["counts"].toarray()
    divides = obs["divides"].to_numpy()
    base = told["profile"][told["line"]] * np.where(divides[:, None], told["boost"], 1.0)
    nodes, weight = np.polynomial.hermite_e.hermegauss(9)
    odds = []
    for fold in (1.0, plan.fold):
        parts = []
        for node, w in zip(nodes, weight / weight.sum(), strict=True):
            mean = base * np.where(told["hit"], fold, 1.0) * np.exp(0.12 * node * told["myc"])
            mean /= mean.sum(axis=1, keepdims=True)
            mean = (1 - plan.ambient) * mean + plan.ambient * told["soup"]
            mean *= kept * obs["depth"].to_numpy()[:, None]
            parts.append(
                (counts * np.log(mean) - (counts + 5) * np.log(mean + 5)).sum(1) + np.log(w)
            )
        odds.append(special.logsumexp(parts, axis=0))
    often = np.where(divides, 0.03 / 0.4, 0.97 / 0.6) * plan.share / (1 - plan.share)
    return special.expit(odds[1] - odds[0] + np.log(often))


def limit() -> None:
    """Measure the best possible caller of the second generator, and how often its calls change."""
    markdown(_limit())


def _limit() -> Iterator[dict[str, object]]:
    for label in (
        "fold 0.5",
        "fold 0.65, 3,000 UMI",
        "fold 0.65, 500 UMI",
        "fold 0.8",
        "shallow dormant (× 0.4)",
    ):
        plan = TRUTH_PLANS[label]
        adata = simple_cells(plan, SEEDS[0])
        p, low = best_possible(adata, plan), adata.obs["low"].to_numpy()
        on = p >= 0.8
        changed = {
            f"changed at {kept:.0%}": float(
                (on != (best_possible(thinned(adata, kept), plan, kept) >= 0.8)).mean()
            )
            for kept in (0.5, 0.25)
        }
        yield {
            "setting": label,
            "AUROC": auroc(low, p),
            "recall": float(on[low].mean()),
            "precision": float(low[on].mean()),
        } | changed


def our_cells(seed: int, **options: object) -> ad.AnnData:
    """Simulate with nkscore, truth in place; tumor cells that passed QC."""
    adata = nk.datasets.simulate_coculture(
        **{"n_cells_per_sample": 120, "rng": seed} | options  # type: ignore[arg-type]
    )
    nk.datasets.use_truth(adata)
    obs = adata.obs
    keep = (obs["compartment"] == "tumor") & obs["qc_pass"] & obs["tumor"].notna()
    keep &= ~obs["truth_doublet"]
    adata = adata[keep.to_numpy()].copy()
    adata.obs["low"] = (adata.obs["truth_tumor_state"] == "low_myc").to_numpy()
    return adata


def real_cells() -> dict[str, ad.AnnData]:
    """Lung-cancer lines, and blood cells with cell types in the place of lines."""
    lines = ad.read_h5ad(SHARED / "nk_plus_tumour_lines/nk_plus_tumour_lines_counts.h5ad")
    lines = lines[(lines.obs["truth"] != "NK").to_numpy()].copy()
    lines.obs["tumor"] = lines.obs["line"].astype(str).str.replace(r"PC9_.*", "PC9", regex=True)
    lines.obs["condition"] = "tumor_mono"
    blood = ad.read_h5ad(SHARED / "kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    blood = blood[blood.obs["cell_type"].notna().to_numpy()].copy()
    blood.obs["tumor"] = blood.obs["cell_type"].astype(str)
    blood.obs["condition"] = np.where(blood.obs["condition"] == "ctrl", "tumor_mono", "coculture")
    for adata in (lines, blood):
        adata.obs["compartment"] = "tumor"
        adata.layers["counts"] = sparse.csr_matrix(adata.X).astype(np.int32)
    return {"nk_plus_tumour_lines": lines, "kang2018_ifnb": blood}


def lowered(adata: ad.AnnData, fold: float = 0.5, share: float = 0.15) -> ad.AnnData:
    """Plant low-MYC cells among real ones: each count of a MYC target is kept with this chance."""
    rng = np.random.default_rng(SEEDS[0])
    adata = adata.copy()
    low = rng.random(adata.n_obs) < share
    program = set(nk.signatures.dormancy_components()["myc"].genes)
    counts = adata.layers["counts"].tocsr()
    cell = np.repeat(np.arange(adata.n_obs), np.diff(counts.indptr))
    hit = low[cell] & adata.var_names.isin(program)[counts.indices]
    counts.data[hit] = rng.binomial(counts.data[hit], fold)
    counts.eliminate_zeros()
    adata.layers["counts"], adata.obs["low"] = counts, low
    return adata


def planted() -> None:
    """Low-MYC cells planted among real ones."""
    markdown(_planted())


def _planted() -> Iterator[dict[str, object]]:
    for label, adata in real_cells().items():
        for fold in (0.4, 0.5, 0.65):
            data = called(lowered(adata, fold))
            p = data.obsm["tumor_programs"][LOW].to_numpy()
            judged = ~np.isnan(p)
            low, p = data.obs["low"].to_numpy()[judged], p[judged]
            on = p >= 0.8
            yield {
                "data": label,
                "planted": f"× {fold}",
                "AUROC": auroc(low, p),
                "ECE": calibration_error(low, p),
                "recall": float(on[low].mean()),
                "precision": float(low[on].mean()) if on.any() else np.nan,
            }


def called(adata: ad.AnnData, **options: object) -> ad.AnnData:
    """Call the states of a copy, without warnings about absent genes."""
    adata = adata.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nk.errors.NkscoreWarning)
        nk.tl.tumor_states(adata, **options)  # type: ignore[arg-type]
    return adata


def thinned(adata: ad.AnnData, share: float, seed: int = 0) -> ad.AnnData:
    """Keep each count with this probability."""
    adata = adata.copy()
    counts = adata.layers["counts"]
    counts.data = np.random.default_rng(seed).binomial(counts.data, share).astype(np.int32)
    counts.eliminate_zeros()
    return adata


def naive_scores(adata: ad.AnnData) -> pd.DataFrame:
    """Plain scores of MYC targets, turned so that low MYC is high, and the fraction found."""
    adata = adata.copy()
    sets = {"myc": nk.signatures.get(MYC[0]) | nk.signatures.get(MYC[1])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nk.pp.normalize(adata)
        out = {}
        for label, method in (
            ("score_genes", "module_score"),
            ("AUCell", "aucell"),
            ("UCell", "rank_auc"),
            ("weighted mean", "weighted_mean"),
        ):
            nk.tl.score(adata, sets, method=method, min_coverage=0.2)
            out[label] = -adata.obsm["scores"]["myc"].to_numpy()
    return pd.DataFrame(out, index=adata.obs_names)


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Area under the curve, ties counted half."""
    ranks = pd.Series(score).rank().to_numpy()
    n_on = truth.sum()
    return float((ranks[truth].sum() - n_on * (n_on + 1) / 2) / (n_on * (~truth).sum()))


def calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int = 10) -> float:
    """Mean distance between stated and found share, cells weighing equally."""
    code = np.minimum((probability * bins).astype(int), bins - 1)
    frame = pd.DataFrame({"truth": truth, "p": probability}).groupby(code)
    gap = (frame["truth"].mean() - frame["p"].mean()).abs()
    return float((gap * frame.size()).sum() / truth.size)


def quality(adata: ad.AnnData) -> dict[str, float]:
    """How well the low-MYC call of a called object fits its truth."""
    truth = adata.obs["low"].to_numpy()
    p = adata.obsm["tumor_programs"][LOW].to_numpy()
    state = adata.obs["tumor_state"].astype(str).to_numpy()
    on = state == LOW
    within = adata.obs["tumor"].astype(str).to_numpy()
    naive = naive_scores(adata)
    # A single score may be put on a common scale per line, which helps it.
    centered = naive - naive.groupby(within).transform("mean")
    return {
        "AUROC": auroc(truth, p),
        "index": auroc(truth, adata.obsm["dormancy"]["index"].to_numpy()),
        "best single": max(auroc(truth, centered[c].to_numpy()) for c in centered),
        "ECE": calibration_error(truth, p),
        "recall": on[truth].mean(),
        "precision": truth[on].mean() if on.any() else np.nan,
        "open": ((p > 0.2) & (p < 0.8)).mean(),
        "unassigned": (state == "unassigned").mean(),
    }


def mean_quality(found: list[ad.AnnData]) -> dict[str, float]:
    """Mean over seeds, and the worst precision among them."""
    table = pd.DataFrame([quality(adata) for adata in found])
    return table.mean().to_dict() | {"lowest precision": float(table["precision"].min())}


def turned(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cells that went from on to off or back."""
    return ((before >= 0.8) & (after <= 0.2)) | ((before <= 0.2) & (after >= 0.8))


def markdown(rows: Iterable[dict[str, object]]) -> None:
    """Print rows as a Markdown table, each as soon as it is there."""
    for i, row in enumerate(rows):
        if i == 0:
            print("| " + " | ".join(row) + " |")
            print("|" + "---|" * len(row))
        values = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()]
        print("| " + " | ".join(values) + " |", flush=True)
    print(flush=True)


TRUTH_PLANS = {
    "fold 0.5": Plan(fold=0.5),
    "fold 0.65, 3,000 UMI": Plan(),
    "fold 0.65, 6,000 UMI": Plan(depth=6000),
    "fold 0.65, 2,000 UMI": Plan(depth=2000),
    "fold 0.65, 1,000 UMI": Plan(depth=1000),
    "fold 0.65, 500 UMI": Plan(depth=500),
    "fold 0.8": Plan(fold=0.8),
    "fold 0.65 on 60 % of the targets": Plan(affected=0.6),
    "shallow dormant (× 0.4)": Plan(depth_ratio=0.4),
    "deep dormant (× 2), shallow normal": Plan(depth=1500, depth_ratio=2.0),
    "dormant cells cycle alike": Plan(cycle_alike=True),
    "5 % dormant": Plan(share=0.05),
    "40 % dormant": Plan(share=0.4),
}


def truth() -> None:
    """Planted low-MYC cells, both generators."""
    markdown(_truth())


def _truth() -> Iterator[dict[str, object]]:
    for label, plan in TRUTH_PLANS.items():
        second = [called(simple_cells(plan, seed)) for seed in SEEDS]
        yield {"setting": f"second generator, {label}"} | mean_quality(second)
    for umi in (6000, 4000, 2000, 1000, 500):
        ours = [called(our_cells(seed, median_umi=umi)) for seed in SEEDS]
        yield {"setting": f"nkscore's simulator, {umi:,} UMI"} | mean_quality(ours)


def null() -> None:
    """Share of cells called on for programs that were not planted."""
    rows = []
    for umi in (500, 1500, 4000):
        for kind in ("nkscore", "second"):
            adata = (
                our_cells(SEEDS[0], median_umi=umi, low_myc=0.0, null="all")
                if kind == "nkscore"
                else simple_cells(Plan(depth=umi, share=0.0), SEEDS[0])
            )
            p = called(adata, programs=["core", "response", "stress"]).obsm["tumor_programs"]
            on = (p >= 0.8).mean().drop(["cycling", "cycling_s", "cycling_g2m", "quiescent_g0"])
            open_ = ((p > 0.2) & (p < 0.8)).mean()
            rows.append(
                {
                    "data": f"{kind}, {umi:,} UMI",
                    "low MYC on": on[LOW],
                    "low MYC open": open_[LOW],
                    "most of any program on": on.max(),
                    "which": on.idxmax() if on.max() else "none",
                }
            )
    markdown(rows)


def shift(before: np.ndarray, after: np.ndarray) -> float:
    """Change of the median in standard deviations of the full-depth values."""
    return float((np.median(after) - np.median(before)) / np.std(before))


def depth() -> None:
    """Binomial thinning: our call and index beside calls by a cut-off in plain scores."""
    markdown(_depth())


def _depth() -> Iterator[dict[str, object]]:
    data = {
        "nkscore's simulator": our_cells(SEEDS[0]),
        "second generator": simple_cells(Plan(), SEEDS[0]),
    }
    if SHARED.is_dir():
        real = real_cells()
        data |= real | {f"{k}, planted × 0.5": lowered(a) for k, a in real.items()}
    for label, adata in data.items():
        full, naive = called(adata), naive_scores(adata)
        p = full.obsm["tumor_programs"][LOW].to_numpy()
        judged = ~np.isnan(p)
        on = p >= 0.8
        # Plain scores call as many cells as are low in fact (a sixth where that is not known).
        share = adata.obs["low"].mean() if "low" in adata.obs else 0.15
        for kept in (0.5, 0.25):
            thin = thinned(adata, kept)
            after = called(thin)
            q = after.obsm["tumor_programs"][LOW].to_numpy()
            index = [a.obsm["dormancy"]["index"].to_numpy()[judged] for a in (full, after)]
            row: dict[str, object] = {
                "data": label,
                "counts kept": f"{kept:.0%}",
                "on": float(on[judged].mean()),
                "call changed": float((on != (q >= 0.8))[judged].mean()),
                "on to off or back": float(turned(p, q)[judged].mean()),
                "index shift (SD)": shift(*index),
            }
            thin_naive = naive_scores(thin)
            for name in ("score_genes", "AUCell", "UCell"):
                cut = np.quantile(naive[name], 1 - share)
                row[f"{name} changed"] = float(
                    ((naive[name] > cut) != (thin_naive[name] > cut)).mean()
                )
                row[f"{name} shift"] = shift(naive[name].to_numpy(), thin_naive[name].to_numpy())
            yield row


def direction() -> None:
    """Score persister against vehicle: dormant-like up, MYC down, random sets neither."""
    path = SHARED / "dhimolea2021_persister_de/dhimolea2021_deseq_11contrasts.csv.gz"
    table = pd.read_csv(path)
    names = {"gene": "Symbol", "value": "log2FoldChange", "by": "contrast"}
    matched = nk.tl.score_contrast(table, abundance="baseMean", **names)
    plain = nk.tl.score_contrast(table, abundance=None, **names)
    rows = []
    for contrast in plain["contrast"].unique():
        row: dict[str, object] = {"contrast": contrast.replace("_VS_", " / ")}
        for label, found in (("", plain), (", matched", matched)):
            part = found[found["contrast"] == contrast].set_index("signature")
            row[f"dormant-like{label}"] = float(part.loc["dormant_like", "score"])
            row[f"p up{label}"] = float(part.loc["dormant_like", "p_up"])
            row[f"MYC{label}"] = float(part.loc["myc", "score"])
            row[f"p down{label}"] = float(part.loc["myc", "p_down"])
        rows.append(row)
    markdown(rows)
    rng = np.random.default_rng(0)
    genes = table["Symbol"].dropna().unique()
    random = {f"random {i}": list(rng.choice(genes, 175, replace=False)) for i in range(40)}
    found = nk.tl.score_contrast(
        table, random, abundance=None, n_permutations=399, **names
    ).dropna()
    print(
        f"Random sets of 175 genes: {(found['p_value'] <= 0.05).mean():.1%} of {len(found)} "
        "scores at p <= 0.05\n"
    )


def stable() -> None:
    """Low-MYC calls after other cells, genes or batches came or went."""
    adata = our_cells(SEEDS[0], median_umi=4000)
    full = called(adata)
    keep = adata.obs["tumor"].isin(["697", "GDM1"]).to_numpy()
    rng = np.random.default_rng(0)
    top = np.argsort(-np.asarray(adata.layers["counts"].sum(axis=0)).ravel())[:3000]
    other = our_cells(SEEDS[1], median_umi=2500)
    other.obs_names = "b_" + other.obs_names
    both = ad.concat([adata, other], join="inner")
    both.obs["lane"] = np.where(
        both.obs_names.str.startswith("b_"), "b " + both.obs["lane"].astype(str), both.obs["lane"]
    )
    changed = {
        "two of six lines alone": adata[keep].copy(),
        "3,000 genes with most counts": adata[:, np.sort(top)].copy(),
        "genes in another order": adata[:, rng.permutation(adata.n_vars)].copy(),
        "a second experiment beside it, 2,500 UMI": both,
    }
    rows = []
    for label, data in changed.items():
        after = called(data)
        shared = adata.obs_names.intersection(data.obs_names)
        p, q = (x.obsm["tumor_programs"].loc[shared, LOW] for x in (full, after))
        states = [x.obs["tumor_state"].astype(str)[shared] for x in (full, after)]
        rows.append(
            {
                "change": label,
                "on changed": float(((p >= 0.8) != (q >= 0.8)).mean()),
                "on to off or back": float(turned(p.to_numpy(), q.to_numpy()).mean()),
                "label changed": float((states[0] != states[1]).mean()),
            }
        )
    markdown(rows)


def figures() -> None:
    """Reliability diagrams of the low-MYC probability, and scores against depth."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    settings = {
        "4,000 UMI": our_cells(SEEDS[0], median_umi=4000),
        "1,000 UMI": our_cells(SEEDS[0], median_umi=1000),
        "second generator, 3,000 UMI": simple_cells(Plan(), SEEDS[0]),
        "second generator, 500 UMI": simple_cells(Plan(depth=500), SEEDS[0]),
    }
    axes[0].plot([0, 1], [0, 1], color="#BFBFBF", lw=1)
    for (label, adata), color in zip(
        settings.items(), nk.pl.palette("", settings).values(), strict=True
    ):
        p = called(adata, programs=LOW, order=[LOW]).obsm["tumor_programs"][LOW].to_numpy()
        code = np.minimum((p * 8).astype(int), 7)
        frame = pd.DataFrame({"p": p, "low": adata.obs["low"].to_numpy()}).groupby(code)
        shown = frame.size() >= 8
        means = frame.mean()[shown]
        axes[0].plot(means["p"], means["low"], "o-", ms=4, lw=1, color=color, label=label)
    axes[0].set(xlabel="Probability stated", ylabel="Share that is low in MYC", title="Reliability")
    axes[0].legend(frameon=False, fontsize=7)
    adata = settings["4,000 UMI"]
    shares = (1.0, 0.5, 0.25)
    thin = [adata if s == 1 else thinned(adata, s) for s in shares]
    ours = [called(a, programs=LOW, order=[LOW]).obsm["dormancy"]["index"].to_numpy() for a in thin]
    plain = [naive_scores(a)["UCell"].to_numpy() for a in thin]
    for ax, values, title in (
        (axes[1], ours, "Index of dormancy"),
        (axes[2], plain, "UCell of MYC targets, turned"),
    ):
        scaled = [(v - np.median(values[0])) / values[0].std() for v in values]
        parts = ax.violinplot(scaled, showmedians=True, showextrema=False)
        for body in parts["bodies"]:
            body.set(facecolor="#0B5FA5", alpha=0.6)
        ax.axhline(0, color="#BFBFBF", lw=1, zorder=0)
        ax.set(
            xticks=[1, 2, 3],
            xticklabels=["all", "50 %", "25 %"],
            title=title,
            xlabel="Counts kept",
            ylabel="SD from the median at full depth",
        )
    figure.savefig(STATIC / "tumor_states.png", dpi=150)
    from PIL import Image

    image = Image.open(STATIC / "tumor_states.png").convert("RGB")
    image.quantize(48).save(STATIC / "tumor_states.png", optimize=True)


def cost() -> None:
    """100,000 tumor cells: seconds and memory beyond the matrix."""
    import resource

    rng = np.random.default_rng(0)
    small = our_cells(0, n_cells_per_sample=300)
    order = rng.integers(0, small.n_obs, 100_000)
    adata = ad.AnnData(
        obs=small.obs.iloc[order].reset_index(drop=True).rename(index=str),
        var=small.var,
        layers={"counts": small.layers["counts"][order]},
    )
    counts = adata.layers["counts"]
    size = (counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / 2**30
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start, cpu = time.perf_counter(), time.process_time()
    nk.tl.tumor_states(adata)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    markdown(
        [
            {
                "cells": adata.n_obs,
                "stored counts": counts.nnz,
                "seconds": seconds,
                "CPU seconds": cpu,
                "matrix (GiB)": size,
                "peak beyond what was there (GiB)": peak - before,
            }
        ]
    )


def main(parts: list[str]) -> None:
    """Run the parts asked for."""
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    for part in parts or ["truth", "null", "depth", "planted", "limit", "direction", "stable"]:
        start = time.perf_counter()
        print(f"## {part}\n")
        globals()[part]()
        print(f"({part}: {time.perf_counter() - start:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
