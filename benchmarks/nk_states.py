"""Measure ``tl.nk_states``: truth from easy to hard, nothing planted, thinned counts, cost.

Run by hand: ``python benchmarks/nk_states.py [truth|null|thin|real|cost|figure]`` (the first four
by default). Prints Markdown tables; ``figure`` draws ``docs/_static/nk_states.png`` from what
``truth`` and ``thin`` left in the directory of temporary files. Data:
``datasets.simulate_coculture``; a second generator in this file that shares no profile, gene or
fold with it; and real cells in ``../shared/data``. The naive caller is scanpy's ``score_genes`` for
each state, its z-score over cells, and the highest of these.
"""

from __future__ import annotations

import logging
import resource
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
STATIC = Path(__file__).resolve().parents[1] / "docs" / "_static"
KEPT = Path(tempfile.gettempdir()) / "nkscore_nk_states"
#: Of the data that are reported; others were looked at while the method was written.
SEEDS = (1201, 1202)
NULL_SEEDS = range(1101, 1107)
DEPTHS = (500, 800, 1500, 2000, 3000, 6000)
LINES = ["697", "GDM1", "JURKAT"]


@dataclass(frozen=True)
class Plan:
    """One setting of the second generator.

    ``depth``: median counts of a cell. ``ambient``: share of them that float in.
    """

    depth: float = 3000.0
    n_cells: int = 2000
    n_genes: int = 3000
    n_states: int = 5
    #: States without a cell.
    absent: tuple[int, ...] = ()
    #: Share of cells in no state.
    bare: float = 0.0
    #: Share of the markers that do not follow their state.
    inactive: float = 0.3
    ambient: float = 0.1
    n_donors: int = 3


def drawn_counts(
    plan: Plan, rng: np.random.Generator, usual: np.ndarray, *, pool: np.ndarray, effect: np.ndarray
) -> sparse.csr_matrix:
    """Draw negative binomial counts with ambient RNA and a module that varies between cells."""
    dispersion = rng.uniform(0.1, 0.8, plan.n_genes)
    module = rng.permutation(plan.n_genes)[:100]
    depth = plan.depth * rng.lognormal(0, 0.4, plan.n_cells)
    blocks, soup = [], None
    for start in range(0, plan.n_cells, 500):
        rows = slice(start, min(start + 500, plan.n_cells))
        mean = usual[rows].copy()
        mean[:, module] *= np.exp(rng.normal(0, 0.6, (mean.shape[0], 1)))
        strength = np.exp(rng.normal(0, 0.25, (mean.shape[0], 1)))
        mean[:, pool] *= np.exp(effect[rows] * strength)
        mean /= mean.sum(axis=1, keepdims=True)
        soup = mean.mean(axis=0) if soup is None else soup
        mean = depth[rows, None] * ((1 - plan.ambient) * mean + plan.ambient * soup)
        drawn = rng.poisson(mean * rng.gamma(1 / dispersion, dispersion, mean.shape))
        blocks.append(sparse.csr_matrix(drawn.astype(np.int32)))
    return sparse.vstack(blocks, format="csr")


def random_states(plan: Plan, seed: int) -> tuple[ad.AnnData, dict[str, list[str]]]:
    """Draw cells with 4 to 12 markers per state, 1.5- to 6-fold, and donors that differ."""
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.normal(0, 1.6, plan.n_genes))
    rate /= rate.sum()
    sizes = rng.integers(4, 13, plan.n_states)
    pool = rng.permutation(plan.n_genes)[: sizes.sum()]
    rate[pool] = 1e-4 * np.exp(rng.uniform(np.log(0.3), np.log(1.5), pool.size))
    owner = np.repeat(np.arange(plan.n_states), sizes)
    fold = np.log(rng.uniform(1.5, 6.0, pool.size)) * (rng.random(pool.size) >= plan.inactive)
    share = 0.03 + rng.dirichlet(np.full(plan.n_states, 1.5))
    share[list(plan.absent)] = 0
    share *= (1 - plan.bare) / share.sum()
    state = rng.choice(plan.n_states + 1, plan.n_cells, p=[*share, max(1 - share.sum(), 0)])
    donor = rng.integers(0, plan.n_donors, plan.n_cells)
    usual = rate * np.exp(rng.normal(0, 0.3, (plan.n_donors, plan.n_genes)))
    effect = (state[:, None] == owner) * fold
    counts = drawn_counts(plan, rng, usual[donor], pool=pool, effect=effect)
    names = np.array([*(f"state{i}" for i in range(plan.n_states)), "none"])
    obs = pd.DataFrame({"truth": names[state], "nk_donor": donor.astype(str), "compartment": "nk"})
    obs.index = [f"c{i}" for i in range(plan.n_cells)]
    var = pd.DataFrame(index=[f"G{i}" for i in range(plan.n_genes)])
    adata = ad.AnnData(obs=obs, var=var, layers={"counts": counts})
    return adata, {n: [f"G{g}" for g in pool[owner == i]] for i, n in enumerate(names[:-1])}


def simulated(seed: int, **options: object) -> tuple[ad.AnnData, dict[str, list[str]]]:
    """Return the NK cells of the packaged simulator, with the genes of the expanded states."""
    adata = nk.datasets.simulate_coculture(
        n_cells_per_sample=100, n_genes=4000, rng=seed, **options
    )
    nk.datasets.use_truth(adata)
    adata = adata[((adata.obs["compartment"] == "nk") & adata.obs["qc_pass"]).to_numpy()].copy()
    adata.obs["truth"] = adata.obs["truth_nk_state"].astype(str)
    states = nk.signatures.vocabulary("expanded")
    return adata, {n: [g for g in s.marks.up if g in adata.var_names] for n, s in states.items()}


def naive(adata: ad.AnnData, sets: dict[str, list[str]]) -> np.ndarray:
    """Call the state of the highest z-scored ``score_genes``."""
    import scanpy as sc

    part = ad.AnnData(adata.layers["counts"].astype(np.float32), var=adata.var[[]].copy())
    sc.pp.normalize_total(part, target_sum=1e4)
    sc.pp.log1p(part)
    for name, genes in sets.items():
        sc.tl.score_genes(part, genes, score_name=f"score {name}")
    scores = np.array([part.obs[f"score {name}"].to_numpy() for name in sets])
    z = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    return np.array(list(sets))[z.argmax(axis=0)]


def measure(adata: ad.AnnData, sets: dict[str, list[str]]) -> tuple[dict[str, float], pd.DataFrame]:
    """Return one row of the table, and confidence and truth of each cell."""
    from sklearn.metrics import f1_score

    nk.tl.nk_states(adata, vocabulary=sets)
    truth = adata.obs["truth"].to_numpy(dtype=str)
    state = adata.obs["nk_state"].astype(str).to_numpy(dtype=str)
    posterior = adata.obsm["nk_state_posterior"]
    labels = [name for name in sets if (truth == name).any()]
    best = posterior.columns.to_numpy()[posterior.to_numpy().argmax(axis=1)].astype(str)
    called = state != "unassigned"

    def f1(call: np.ndarray, cells: np.ndarray | None = None) -> float:
        cells = np.ones(truth.size, bool) if cells is None else cells
        if not cells.any():
            return np.nan
        return float(
            f1_score(truth[cells], call[cells], labels=labels, average="macro", zero_division=0)
        )

    with_none = np.column_stack([posterior, 1 - posterior.sum(axis=1)])
    every = np.array([*posterior.columns, "none"])[with_none.argmax(axis=1)]
    cells = pd.DataFrame(
        {
            "confidence": with_none.max(axis=1),
            "right": every == truth,
            "called": called,
            "truth": truth,
            "nk_state": state,
        }
    )
    simple = naive(adata, sets)
    found = adata.uns["nkscore"]["tl.nk_states"]["evidence"].set_index("state")["present"]
    return {
        "naive F1": f1(simple),
        "highest posterior F1": f1(best),
        "called": called.mean(),
        "precision": (state == truth)[called].mean() if called.any() else np.nan,
        "recall": (state == truth).mean(),
        "F1 of called": f1(state, called),
        "naive F1 of the same cells": f1(simple, called),
        "F1, unassigned is wrong": f1(state),
        "calibration error, all": calibration_error(cells),
        "calibration error, called": calibration_error(cells[cells["called"]]),
        "planted states not found": int((~found[labels]).sum()),
    }, cells


def calibration_error(cells: pd.DataFrame) -> float:
    """Return the expected calibration error over ten bins."""
    bins = np.minimum((cells["confidence"] * 10).astype(int), 9)
    groups = cells.groupby(bins)
    gap = (groups["confidence"].mean() - groups["right"].mean()).abs()
    return float((gap * groups.size()).sum() / max(len(cells), 1))


def truth() -> None:
    """Difficulty curve on both generators."""
    rows, cells = [], []
    for depth in DEPTHS:
        for seed in SEEDS:
            for source in ("simulator", "second generator"):
                data = (
                    simulated(seed, median_umi=depth)
                    if source == "simulator"
                    else random_states(Plan(depth=depth), seed)
                )
                row, each = measure(*data)
                rows.append({"source": source, "depth": depth, "seed": seed, **row})
                keep("truth", rows)
                cells.append(each.assign(source=source, depth=depth))
    table = pd.DataFrame(rows).sort_values(["source", "depth", "seed"], ignore_index=True)
    show(table)
    keep("truth", table)
    pd.concat(cells).to_csv(KEPT / "cells.csv", index=False)


def keep(name: str, rows: object) -> None:
    """Write what there is so far, for ``figure`` and for a run that is ended early."""
    KEPT.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(KEPT / f"{name}.csv", index=False)


def figure() -> None:
    """Draw reliability, the difficulty curve and thinning."""
    import matplotlib.pyplot as plt

    table, cells, thinned = (pd.read_csv(KEPT / f"{n}.csv") for n in ("truth", "cells", "thin"))
    drawn, axes = plt.subplots(2, 4, figsize=(15, 7), layout="constrained")
    sources = ("simulator", "second generator")
    groups = [(source, low) for source in sources for low in (True, False)]
    for ax, (source, low) in zip(axes[0], groups, strict=True):
        part = cells[(cells["source"] == source) & ((cells["depth"] < 1000) == low)]
        part = part.rename(columns={"confidence": "nk_state_confidence"})
        part.index = [f"c{i}" for i in range(len(part))]
        levels = [*sorted({*part["truth"], *part["nk_state"]} - {"unassigned"}), "unassigned"]
        for name in ("truth", "nk_state"):
            part[name] = pd.Categorical(part[name], categories=levels)
        nk.pl.reliability(nk.tl.calibration(ad.AnnData(obs=part), "truth"), ax=ax)
        title = f"{source}\n{'500 and 800' if low else '1,500 to 6,000'} UMI"
        ax.set_title(title, fontsize=10)
    curves = {
        "F1 of called": "called cells",
        "naive F1": "naive, all cells",
        "naive F1 of the same cells": "naive, the same cells",
    }
    for ax, source in zip(axes[1], sources, strict=False):
        part = table[table["source"] == source].melt("depth", list(curves), "method", "macro-F1")
        part["method"] = part["method"].map(curves)
        nk.pl.depth(part, value="macro-F1", ax=ax)
        ax.set(title=source, ylim=(0, 1))
    nk.pl.depth(table, value="called", by="source", ax=axes[1, 2])
    axes[1, 2].set(title="share of cells called", ylim=(0, 1))
    part = thinned.melt(["source", "share of counts"], ["changed", "lost", "changed, naive"])
    bars = part.pivot_table("value", ["source", "share of counts"], "variable")
    bars.index = [f"{source}, {share:.0%}" for source, share in bars.index]
    bars.plot.barh(ax=axes[1, 3], fontsize=8)
    axes[1, 3].set(title="counts thinned", xlabel="share of the calls made before", ylabel="")
    axes[1, 3].set_xlim(0, 1)
    axes[1, 3].legend(frameon=False, fontsize=8, loc="upper right")
    drawn.savefig(STATIC / "nk_states.png", dpi=110)


def null() -> None:
    """Count calls of states that were not planted: some of them, or all."""
    some = {"resting": 0.6, "adaptive": 0.3, "type_i_ifn": 0.1}
    planted = {"some absent": dict.fromkeys([*LINES, "alone"], some), "all absent": False}
    absent = {"some absent": Plan(absent=(0, 3)), "all absent": Plan(bare=1.0)}
    rows = []
    for seed in NULL_SEEDS:
        for what, shares in planted.items():
            for depth in (500, 1500, 4000):
                sim = simulated(seed, tumors=LINES, nk_states=shares, median_umi=depth)
                if what == "all absent":
                    sim[0].obs["truth"] = "none"
                plan = Plan(**{**vars_of(absent[what]), "depth": depth})
                both = {"simulator": sim, "second generator": random_states(plan, seed)}
                for source, (adata, sets) in both.items():
                    nk.tl.nk_states(adata, vocabulary=sets)
                    lost = [n for n in sets if not (adata.obs["truth"] == n).any()]
                    false = adata.obs["nk_state"].value_counts(normalize=True)[lost]
                    rows += [
                        {
                            "source": source,
                            "planted": what,
                            "depth": depth,
                            "seed": seed,
                            "state": n,
                            "called": x,
                        }
                        for n, x in false.items()
                    ]
                keep("null", rows)
    table = pd.DataFrame(rows).groupby(["source", "planted"])["called"]
    show(
        table.agg(
            states="size", mean="mean", largest="max", above_1_percent=lambda x: (x > 0.01).sum()
        ).reset_index()
    )


def vars_of(plan: Plan) -> dict[str, object]:
    """Return the fields of a plan."""
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def thin() -> None:
    """Thin counts to a half and a quarter, and compare the calls."""
    rows = []
    for seed in SEEDS:
        sources = {
            "simulator": simulated(seed),
            "second generator": random_states(Plan(4000), seed),
        }
        for source, (adata, sets) in sources.items():
            nk.tl.nk_states(adata, vocabulary=sets)
            before, simple = adata.obs["nk_state"].astype(str), naive(adata, sets)
            was = before != "unassigned"
            for share in (0.5, 0.25):
                other = adata.copy()
                counts = other.layers["counts"]
                kept = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), share)
                counts.data = kept.astype(counts.data.dtype)
                counts.eliminate_zeros()
                nk.tl.nk_states(other, vocabulary=sets)
                after = other.obs["nk_state"].astype(str)
                rows.append(
                    {
                        "source": source,
                        "seed": seed,
                        "share of counts": share,
                        "lost": (after == "unassigned")[was].mean(),
                        "changed": ((after != before) & (after != "unassigned"))[was].mean(),
                        "changed, naive": (naive(other, sets) != simple).mean(),
                    }
                )
    table = pd.DataFrame(rows).sort_values(["source", "seed"], ignore_index=True)
    show(table)
    keep("thin", table)


def real() -> None:
    """Interferon in Kang 2018, sorted NK cells in Zheng 2017."""
    adata = ad.read_h5ad(SHARED / "kang2018_ifnb" / "kang_ifnb_4k_counts_donors.h5ad")
    adata.layers["counts"] = adata.X.copy()
    adata.obs["nk_donor"] = adata.obs["donor"].astype(str)
    rows = []
    for kind in ("NK", "CD14 Mono", "B", "CD4 Naive T"):
        adata.obs["compartment"] = np.where(adata.obs["cell_type"] == kind, "nk", "other")
        nk.tl.nk_states(adata)
        inside = adata.obs["compartment"] == "nk"
        for condition, part in adata.obs[inside].groupby("condition", observed=True):
            found = (part["nk_state"] == "type_i_ifn").sum()
            rows.append(
                {
                    "cells": kind,
                    "condition": condition,
                    "type_i_ifn": found,
                    "of": len(part),
                    "share": found / max(len(part), 1),
                }
            )
    show(pd.DataFrame(rows))
    adata = ad.read_h5ad(SHARED / "zheng_sorted_pbmc" / "mudan_sorted_2140x8863_counts.h5ad")
    adata.layers["counts"] = adata.X.copy()
    columns = [
        c for c in adata.obs if adata.obs[c].astype(str).str.contains("NK|cd56", case=False).any()
    ]
    is_nk = adata.obs[columns[0]].astype(str).str.contains("NK|cd56", case=False)
    adata.obs["compartment"] = np.where(is_nk, "nk", "other")
    shares = {}
    for name in ("expanded", "blood", "nk123"):
        nk.tl.nk_states(adata, vocabulary=name)
        part = adata.obs.loc[is_nk.to_numpy(), "nk_state"]
        shares[name] = part.value_counts(normalize=True)
    show(pd.concat(shares).rename("share").rename_axis(["vocabulary", "state"]).reset_index())


def cost() -> None:
    """Call 100,000 cells with 40 states; wall and CPU seconds, memory beside the matrix."""
    few, sets = random_states(Plan(n_states=40, n_cells=5000, depth=3000), SEEDS[0])
    adata = ad.concat([few] * 20, index_unique="-")
    adata.layers["counts"] = adata.layers["counts"].tocsr()
    counts = adata.layers["counts"]
    size = (counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / 2**20
    nk.tl.nk_states(few, vocabulary=sets)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter(), time.process_time()
    nk.tl.nk_states(adata, vocabulary=sets)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    show(
        pd.DataFrame(
            [
                {
                    "cells": adata.n_obs,
                    "states": len(sets),
                    "seconds": wall,
                    "CPU seconds": cpu,
                    "matrix MB": size,
                    "peak above MB": after - before,
                    "called": (adata.obs["nk_state"] != "unassigned").mean(),
                }
            ]
        )
    )


def show(table: pd.DataFrame) -> None:
    """Print a Markdown table."""
    plain = table.map(lambda x: f"{x:.3f}" if isinstance(x, float) else str(x))
    print("| " + " | ".join(plain.columns) + " |")
    print("|" + "---|" * plain.shape[1])
    for row in plain.itertuples(index=False):
        print("| " + " | ".join(row) + " |")
    print(flush=True)


if __name__ == "__main__":
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    parts = {f.__name__: f for f in (truth, null, thin, real, cost, figure)}
    for wanted in sys.argv[1:] or ["truth", "null", "thin", "real"]:
        print(f"## {wanted}\n")
        parts[wanted]()
