r"""Tests of contrasts where nothing differs, and their speed.

Run from the repository root, on one thread::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/formula.py --shared ../shared

Control cells of Kang et al. 2018 (doi 10.1038/nbt.4042): those of each donor and type are dealt at
random to four arms, drug (no, yes) × contact (no, yes). The arm of contact has a quarter of the
depth. Nothing differs, so 5 % of p-values should be below 0.05. ``a call``: share of splits with a
gene at q < 0.05.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk
from nkscore.stats import (
    design_of_formula,
    expressed_genes,
    fit_count_model,
    line_factors,
    test_of_contrast,
)

_KANG = "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad"
_TYPES = ("CD14 Mono", "CD4 Naive T", "CD4 Memory T", "B")
_DEPTH = 0.25


def split(cells: ad.AnnData, rng: np.random.Generator) -> ad.AnnData:
    """Return the cells with random arms; the arm of contact is thinned."""
    arm = rng.integers(0, 4, cells.n_obs)
    obs = cells.obs[["kind", "donor"]].astype(str)
    obs["drug"] = np.where(arm % 2 == 1, "yes", "no")
    obs["contact"] = np.where(arm // 2 == 1, "yes", "no")
    obs["dose"] = rng.permutation(8)[pd.factorize(obs["donor"])[0]] * (arm % 2).astype(float)
    obs["sample"] = obs[["kind", "donor", "drug", "contact"]].agg("|".join, axis=1)
    counts = sparse.csr_matrix(cells.X).astype(np.int64)
    thin = np.repeat(arm // 2 == 1, np.diff(counts.indptr))
    counts.data[thin] = rng.binomial(counts.data[thin], _DEPTH)
    return ad.AnnData(
        counts.astype(np.float32), obs=obs, var=cells.var[[]], layers={"counts": counts}
    )


def questions(cells: ad.AnnData) -> dict[str, pd.DataFrame]:
    """Return the table of each question."""
    options = {"compartment": None, "by": "kind", "replicate": "donor", "min_cells": 5}
    model = nk.tl.response_model(
        cells, "~ kind + kind:donor + kind:drug + kind:contact + kind:drug:contact", **options
    )
    first, second = _TYPES[:2]

    def change(kind: str, drug: str) -> pd.Series:
        return model.cond(kind=kind, drug=drug, contact="yes") - model.cond(
            kind=kind, drug=drug, contact="no"
        )

    apart = {kind: change(kind, "yes") - change(kind, "no") for kind in _TYPES}
    slope = nk.tl.response_model(cells, "~ kind + kind:contact + kind:dose", **options)
    name = next(c for c in slope.coefficients if "dose" in c)
    return {
        "contact in each line": nk.tl.contrast(
            model, treated={"contact": "yes"}, control={"contact": "no"}
        ),
        "drug changes contact, each line": nk.tl.contrast(model, apart),
        "the same in any line (F)": nk.tl.contrast(model, term="kind:drug:contact"),
        "contact differs between two lines": nk.tl.contrast(
            model, change(first, "no") - change(second, "no")
        ),
        "slope of a dose": nk.tl.contrast(slope, name),
    }


def seconds(n_lines: int, n_genes: int) -> float:
    """Return CPU seconds of a model of 156 samples and one contrast per line."""
    rng = np.random.default_rng(0)
    samples = 156 // n_lines
    line = np.repeat([f"l{i}" for i in range(n_lines)], samples).astype(object)
    treated = np.arange(line.size) % 2
    lines = (line[:, None] == np.unique(line)).astype(float)
    batch = rng.integers(0, max(41 - 2 * n_lines, 1), line.size)
    shared = (batch[:, None] == np.arange(1, 41)).astype(float)
    matrix = np.hstack([lines, lines * treated[:, None], shared[:, shared.any(axis=0)]])
    counts = rng.negative_binomial(5, 0.2, (line.size, n_genes)).astype(float)
    arm = np.array([f"{a}{b}" for a, b in zip(line, treated, strict=True)], dtype=object)
    start = time.process_time()
    design = design_of_formula(
        matrix, [str(i) for i in range(matrix.shape[1])], line=line, arm=arm, sets=[]
    )
    library = counts.sum(axis=1)
    tested = expressed_genes(counts, design, library=library, min_count=10)
    factors = line_factors(counts, library, design).library
    model = fit_count_model(counts, design, tested=tested, effective=factors)
    for number, name in enumerate(design.members):
        vector = np.eye(matrix.shape[1])[n_lines + number]
        test_of_contrast(model, vector, np.arange(model.genes.size), [name])
    return time.process_time() - start


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cells = ad.read_h5ad(given.shared / _KANG)
    cells = cells[(cells.obs["condition"] == "ctrl") & cells.obs["donor"].notna()]
    cells = cells[cells.obs["cell_type"].isin(_TYPES)].copy()
    cells.obs["kind"] = cells.obs["cell_type"]
    rows = []
    for number in range(given.splits):
        for name, table in questions(
            split(cells, np.random.default_rng([given.seed, number]))
        ).items():
            found = {"p": (table["p_value"] < 0.05).mean(), "call": (table["q_value"] < 0.05).any()}
            rows.append({"question": name, "tests": len(table), **found})
    table = pd.DataFrame(rows).groupby("question", sort=False)
    print(
        f"| question | tests | p < .05 | splits of {given.splits} with a call |\n|---|---|---|---|"
    )
    for name, part in table:
        print(
            f"| {name} | {part['tests'].mean():.0f} | {part['p'].mean():.3f} "
            f"| {part['call'].sum()} |"
        )
    for n_lines in (26, 12):
        print(f"{n_lines} lines, 156 samples, 20,000 genes: {seconds(n_lines, 20_000):.1f} CPU s")


if __name__ == "__main__":
    main()
