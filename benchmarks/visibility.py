"""Power and false calls of tl.visibility where the truth is planted.

Run from the repository root (about six seconds per experiment)::

    python benchmarks/visibility.py --experiments 50 --nulls 100 --out results/visibility

Each experiment has three NK donors with 500 tumor cells of one line, a fifth of them dormant-like:
they have 0.6 times the RNA and hardly cycle (``datasets.simulate_coculture``). Two activating
ligands with about one count per cell are halved in dormant-like cells (``planted``), or not
(``null``). In both, twelve further genes depend on the cell cycle: they have 0.6 times their
counts in all cells outside S and G2M, so their counts per cell differ between the groups, but not
at an equal cell cycle. ``equal`` is the null with equal depth and no cell cycle, where the answer
as such must find nothing, either. With ``--called`` the state comes from ``tl.tumor_states``.

Written to the folder: ``calls.tsv`` (one row per experiment and answer) and ``summary.tsv``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy import stats as scipy_stats
from tqdm.auto import tqdm

import nkscore as nk

if TYPE_CHECKING:
    from anndata import AnnData

LIGANDS = ("MICB", "CD58")
CYCLE_DEPENDENT = 12
#: Genes that the simulator itself changes in dormant-like cells.
KNOWN = {"PSMB10"}
DISPERSION = 0.3


def experiment(seed: int, kind: str) -> AnnData:
    """Return 3 × 500 tumor cells with what ``kind`` plants."""
    equal = kind == "equal"
    adata = nk.datasets.simulate_coculture(
        tumors=["K562"],
        n_cells_per_sample=1000,
        n_genes=4000,
        low_myc=0.3,
        low_myc_rna=1.0 if equal else 0.6,
        cell_cycle=not equal,
        selection=0.0,
        ifn_response=0.0,
        line_response=0.0,
        doublets=0.0,
        low_quality=0.0,
        rng=seed,
    )
    nk.datasets.use_truth(adata)
    rng = np.random.default_rng(seed)
    obs = adata.obs
    inside = (obs["compartment"] == "tumor") & (obs["condition"] == "coculture")
    chosen = []
    for _, part in obs[inside].groupby("sample", observed=True):
        low = (part["truth_tumor_state"] == "low_myc").to_numpy()
        for mask, number in ((low, 100), (~low, 400)):
            names = part.index[mask]
            chosen.extend(rng.choice(names, min(number, len(names)), replace=False))
    cells = adata[sorted(chosen)].copy()
    cells.layers["counts"] = planted(cells, kind, rng)
    return cells


def planted(cells: AnnData, kind: str, rng: np.random.Generator) -> sparse.csr_matrix:
    """Draw the two ligands, and make some genes depend on the cell cycle."""
    counts = cells.layers["counts"].tocsc().astype(np.int64)
    low = (cells.obs["truth_tumor_state"] == "low_myc").to_numpy()
    depth = np.asarray(counts.sum(axis=1)).ravel()
    well = cells.obs["sample"].astype(str).to_numpy()
    wells, code = np.unique(well, return_inverse=True)
    dense = {}
    for gene in LIGANDS:
        level = depth / depth[~low].mean() * np.exp(0.15 * rng.normal(size=wells.size))[code]
        level = level * np.where(low & (kind == "planted"), 0.5, 1.0)
        dense[gene] = rng.poisson(level * rng.gamma(1 / DISPERSION, DISPERSION, level.size))
    tested = sorted(set(",".join(nk.signatures.visibility_classes()["genes"]).split(",")))
    others = [g for g in tested if g in cells.var_names and g not in {*LIGANDS, *KNOWN}]
    out = (cells.obs["truth_phase"].astype(str) == "G1").to_numpy()
    for gene in rng.choice(others, CYCLE_DEPENDENT, replace=False) if kind != "equal" else []:
        own = counts[:, cells.var_names.get_loc(gene)].toarray().ravel()
        dense[gene] = np.where(out, rng.binomial(own, 0.6), own)
    lil = counts.tolil()
    for gene, values in dense.items():
        lil[:, cells.var_names.get_loc(gene)] = values[:, None]
    return lil.tocsr().astype(np.int32)


def calls(seed: int, kind: str, *, called: bool) -> list[dict[str, float | str]]:
    """Return what was called in one experiment, one row per answer."""
    cells = experiment(seed, kind)
    options = {"residual": "low_myc", "state": "truth_tumor_state"}
    if called:
        nk.tl.tumor_states(cells)
        options = {}
    table = nk.tl.visibility(cells, **options)
    classes = nk.signatures.visibility_classes().set_index("class")["genes"].str.split(",")
    true = {(row, "sum") for row, genes in classes.items() if set(genes) & set(LIGANDS)}
    skip = {(row, "sum") for row, genes in classes.items() if set(genes) & KNOWN}
    found = []
    for answer, part in table[table["class"] != "rna_per_cell"].groupby("answer"):
        keys = list(zip(part["class"], part["gene"], strict=True))
        is_true = np.array([k[1] in LIGANDS or k in true for k in keys]) & (kind == "planted")
        counted = np.array([k[1] not in KNOWN and (k not in skip or k in true) for k in keys])
        hit = (part["q_value"] <= 0.05).to_numpy() & counted
        ligand = part["gene"].isin(LIGANDS).to_numpy()
        inside = (part["ci_low"] <= np.log2(0.5)) & (part["ci_high"] >= np.log2(0.5))
        found.append(
            {
                "kind": kind,
                "seed": seed,
                "answer": str(answer),
                "ligands_found": int((hit & ligand).sum()),
                "true_called": int((hit & is_true).sum()),
                "false_called": int((hit & ~is_true).sum()),
                "tested": int(counted.sum()),
                "p_below_0.05": float((part["p_value"] < 0.05)[~is_true & counted].mean()),
                "covered": float(inside[ligand].mean()) if kind == "planted" else np.nan,
                "median_effect": float(part.loc[ligand, "log2_fc"].median()),
                "detectable": float(part.loc[ligand, "detectable_log2_fc"].median()),
                "overlap": float(part["overlap"].iloc[0]),
            }
        )
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return power, false discovery rate and share of experiments with a false call."""
    rows = []
    for (kind, answer), part in table.groupby(["kind", "answer"]):
        n, any_false = len(part), int((part["false_called"] > 0).sum())
        low, high = scipy_stats.binomtest(any_false, n).proportion_ci(method="exact")
        total = (part["false_called"] + part["true_called"]).clip(lower=1)
        rows.append(
            {
                "kind": kind,
                "answer": answer,
                "experiments": n,
                "both_found": float((part["ligands_found"] == len(LIGANDS)).mean()),
                "power": float(part["ligands_found"].sum() / (n * len(LIGANDS))),
                "mean_fdp": float((part["false_called"] / total).mean()),
                "any_false": any_false / n,
                "any_false_low": low,
                "any_false_high": high,
                **part[
                    ["p_below_0.05", "covered", "median_effect", "detectable", "overlap"]
                ].mean(),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Run all experiments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=50)
    parser.add_argument("--nulls", type=int, default=100)
    parser.add_argument("--equal", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--called", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/visibility"))
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    wanted = {"planted": options.experiments, "null": options.nulls, "equal": options.equal}
    jobs = [(kind, options.first_seed + i) for kind, n in wanted.items() for i in range(n)]
    rows: list[dict[str, float | str]] = []
    options.out.mkdir(parents=True, exist_ok=True)
    for kind, seed in tqdm(jobs):
        rows += calls(seed, kind, called=options.called)
        table = pd.DataFrame(rows)
        table.to_csv(options.out / "calls.tsv", sep="\t", index=False)
    made = summary(table)
    made.to_csv(options.out / "summary.tsv", sep="\t", index=False)
    print(made.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
