"""Measure ``tl.nk_states`` on real NK cells with planted programs, with the naive caller.

    python benchmarks/foreign_states.py                    # 4 seeds, 500 to 4,000 counts
    python benchmarks/foreign_states.py --seeds 2 --depths 1000 4000

A third generator, which shares no gene, profile or fold with ``datasets.simulate_coculture``. Cells
are sorted NK cells of ``../shared/data/zheng_sorted_pbmc``: each is drawn again from the summed
counts of a cell and its two nearest neighbors, so noise, gene correlation and subsets of blood NK
cells are real. Five states are planted in genes of Hallmark sets that no program of the simulator
and no packaged vocabulary of NK states holds. Of each set 4 to 10 genes are markers that the
caller knows and up to 30 are not; folds are drawn for each gene, three in ten markers do not follow
their state, strength varies between cells, and some cells are in no state.

F1 is the mean over planted states, over all cells: a cell without a call counts as wrong. ``naive``
is the highest z-scored ``score_genes`` of scanpy.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk
from nkscore.datasets._genes import program_table

ROOT = Path(__file__).resolve().parents[1]
CELLS = ROOT.parent / "shared/data/zheng_sorted_pbmc/mudan_sorted_2140x8863_counts.h5ad"
SETS = (
    "HALLMARK_HYPOXIA",
    "HALLMARK_UNFOLDED_PROTEIN_RESPONSE",
    "HALLMARK_P53_PATHWAY",
    "HALLMARK_OXIDATIVE_PHOSPHORYLATION",
    "HALLMARK_PROTEIN_SECRETION",
    "HALLMARK_HEME_METABOLISM",
    "HALLMARK_DNA_REPAIR",
    "HALLMARK_MITOTIC_SPINDLE",
)
DEPTHS = (500, 1000, 2000, 4000)
_LEAST_RATE, _MOST_GENES = 2e-5, 40
_CERTAIN = 0.55


@dataclass(frozen=True)
class Plan:
    """One experiment. ``depth``: median counts; ``bare``: share of cells in no state."""

    depth: float
    n_cells: int = 1500
    n_states: int = 5
    bare: float = 0.15
    inactive: float = 0.3
    n_donors: int = 3


def pool() -> tuple[np.ndarray, pd.Index]:
    """Return the summed counts of each sorted NK cell and its neighbors, and the genes."""
    from sklearn.neighbors import NearestNeighbors

    adata = ad.read_h5ad(CELLS)
    adata = adata[(adata.obs["cell_type"] == "nk").to_numpy()]
    counts = sparse.csr_matrix(adata.layers.get("counts", adata.X)).toarray().astype(float)
    values = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    chosen = np.argsort(-values.var(axis=0))[:500]
    finder = NearestNeighbors(n_neighbors=3).fit(values[:, chosen])
    near = finder.kneighbors(values[:, chosen], return_distance=False)
    return counts[near].sum(axis=1), adata.var_names


def programs(genes: pd.Index, rate: np.ndarray, plan: Plan, rng: np.random.Generator) -> list:
    """Return for each state its markers, all its genes, and their natural-log folds."""
    taken = set(program_table()["gene"])
    for name in nk.signatures.vocabularies()["vocabulary"].unique():
        taken |= {g for s in nk.signatures.vocabulary(name).values() for g in s.marks.genes}
    made = []
    for name in rng.permutation(SETS)[: plan.n_states]:
        every = [g for g in nk.signatures.get(name).genes if g in genes and g not in taken]
        at = genes.get_indexer(every)
        at = rng.permutation(at[rate[at] > _LEAST_RATE])[:_MOST_GENES]
        taken |= set(genes[at])
        markers = at[: int(rng.integers(4, 11))]
        fold = np.log(rng.uniform(1.5, 6.0, at.size))
        fold[: markers.size] *= rng.random(markers.size) >= plan.inactive
        made.append((name, markers, at, fold))
    return made


def planted(plan: Plan, seed: int, cells: tuple) -> tuple[ad.AnnData, dict[str, list[str]]]:
    """Draw the cells of one experiment; return them and the vocabulary."""
    rng = np.random.default_rng(seed)
    sums, genes = cells
    made = programs(genes, sums.sum(axis=0) / sums.sum(), plan, rng)
    share = 0.05 + rng.dirichlet(np.full(plan.n_states, 2.0))
    share *= (1 - plan.bare) / share.sum()
    state = rng.choice(plan.n_states + 1, plan.n_cells, p=[*share, plan.bare])
    donor = rng.integers(0, plan.n_donors, plan.n_cells)
    shift = np.exp(rng.normal(0, 0.25, (plan.n_donors, len(genes))))
    mean = sums[rng.integers(0, len(sums), plan.n_cells)] * shift[donor]
    strength = np.exp(rng.normal(0, 0.3, plan.n_cells))
    for number, (_, _, at, fold) in enumerate(made):
        rows = np.flatnonzero(state == number)
        mean[np.ix_(rows, at)] *= np.exp(strength[rows, None] * fold)
    depth = plan.depth * rng.lognormal(0, 0.35, plan.n_cells)
    mean *= (depth / mean.sum(axis=1))[:, None]
    names = np.array([*(name for name, *_ in made), "none"])
    obs = pd.DataFrame({"truth": names[state], "nk_donor": donor.astype(str), "compartment": "nk"})
    obs.index = [f"c{i}" for i in range(plan.n_cells)]
    counts = sparse.csr_matrix(rng.poisson(mean).astype(np.int32))
    adata = ad.AnnData(obs=obs, var=pd.DataFrame(index=genes), layers={"counts": counts})
    return adata, {name: list(genes[markers]) for name, markers, _, _ in made}


def naive(adata: ad.AnnData, sets: dict[str, list[str]]) -> np.ndarray:
    """Call the state of the highest z-scored ``score_genes``."""
    import scanpy as sc

    part = ad.AnnData(adata.layers["counts"].astype(np.float32), var=adata.var[[]].copy())
    sc.pp.normalize_total(part, target_sum=1e4)
    sc.pp.log1p(part)
    scores = []
    for name, genes in sets.items():
        sc.tl.score_genes(part, genes, score_name=name)
        scores.append(part.obs[name].to_numpy())
    z = [(s - s.mean()) / s.std() for s in scores]
    return np.array(list(sets))[np.argmax(z, axis=0)]


def f1(call: np.ndarray, truth: np.ndarray, states: list[str]) -> float:
    """Return the mean F1 of the planted states over all cells."""
    both = [((call == s) & (truth == s)).sum() for s in states]
    size = [(call == s).sum() + (truth == s).sum() for s in states]
    return float(np.mean([2 * b / max(n, 1) for b, n in zip(both, size, strict=True)]))


def measure(adata: ad.AnnData, sets: dict[str, list[str]]) -> dict[str, object]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nk.tl.nk_states(adata, vocabulary=sets)
    shallow = any("too shallow" in str(w.message) for w in caught)
    truth, states = adata.obs["truth"].to_numpy(dtype=str), list(sets)
    call = adata.obs["nk_state"].to_numpy(dtype=str)
    posterior = adata.obsm["nk_state_posterior"]
    best = posterior.columns.to_numpy(dtype=str)[posterior.to_numpy().argmax(axis=1)]
    called = call != "unassigned"
    none = 1 - posterior.sum(axis=1).to_numpy()
    evidence = adata.uns["nkscore"]["tl.nk_states"]["evidence"]
    return {
        "F1": f1(call, truth, states),
        "F1 of highest posterior": f1(best, truth, states),
        "F1 naive": f1(naive(adata, sets), truth, states),
        "called": called.mean(),
        "undecided": (~called & (none < _CERTAIN)).mean(),
        "precision": (call == truth)[called].mean() if called.any() else np.nan,
        "confidence": adata.obs["nk_state_confidence"].mean(),
        "found": int(evidence["present"].sum()),
        "warned": shallow,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=float, nargs="+", default=DEPTHS)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=1)
    options = parser.parse_args()
    cells, rows = pool(), []
    for depth in options.depths:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            row = measure(*planted(Plan(depth), seed, cells))
            rows.append({"depth": depth, "seed": seed} | row)
            print(
                pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1),
                flush=True,
            )
    table = pd.DataFrame(rows).drop(columns="seed").groupby("depth")
    print(table.mean().round(3).to_string())
    worst = (pd.DataFrame(rows)["F1"] < pd.DataFrame(rows)["F1 naive"]).sum()
    print(f"below the naive caller: {worst} of {len(rows)} experiments")


if __name__ == "__main__":
    main()
