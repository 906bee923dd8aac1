"""Speed of the perturbation functions, beside pertpy's mixscape where it is installed.

Run by hand: ``OMP_NUM_THREADS=1 python benchmarks/perturbation.py [pertpy-python [storage]]``.
Simulates 20,000 cells × 2,000 genes, 25 targets of four guides each and eight non-targeting guides
in three replicates with and without NK cells, and prints a Markdown table of CPU seconds.
``pertpy-python`` is the interpreter of an environment that has pertpy; it gets the same cells with
``storage`` ``dense`` (which suits it) or ``sparse`` expression, and 20 minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk

PEER = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import statsmodels.sandbox.stats.multicomp as moved
from statsmodels.stats.multitest import multipletests
moved.multipletests = multipletests  # newer statsmodels moved it, pertpy 1.0 looks there
import anndata, pertpy
adata = anndata.read_h5ad(sys.argv[1])
if sys.argv[2] == "dense":
    adata.X = adata.X.toarray()
mixscape = pertpy.tl.Mixscape()
start = time.process_time()
mixscape.perturbation_signature(
    adata, "perturbation", "non-targeting", split_by="nk_donor", n_neighbors=20, use_rep="X_pca")
mixscape.mixscape(adata, "perturbation", "non-targeting", layer="X_pert")
print(time.process_time() - start)
"""


def simulate(
    *,
    n_cells: int = 20_000,
    n_genes: int = 2_000,
    n_targets: int = 25,
    n_changed: int = 40,
    guides_of: tuple[int, int] = (4, 8),
    guide_sd: float = 0.05,
    seed: int = 0,
) -> anndata.AnnData:
    """Simulate knock-outs that change some genes, of which NK cells change some further."""
    rng = np.random.default_rng(seed)
    names = [(f"T{t:02d}", f"T{t:02d}g{g}") for t in range(n_targets) for g in range(guides_of[0])]
    names += [("non-targeting", f"NTg{g}") for g in range(guides_of[1])]
    cell_guide = rng.integers(0, len(names), n_cells)
    donor, arm = rng.integers(0, 3, n_cells), rng.integers(0, 2, n_cells)
    base = rng.normal(-8.2, 1.2, n_genes)
    guide_shift = rng.normal(0, guide_sd, (len(names), n_genes))
    target = np.array([int(t[1:]) if t != "non-targeting" else -1 for t, _ in names])
    effect = np.zeros((2, n_targets, n_genes))
    for t in range(n_targets):
        genes = rng.choice(n_genes, n_changed, replace=False)
        effect[:, t, genes] = rng.choice([-1.2, 1.2], n_changed)
        effect[1, t, genes[: n_changed // 2]] = 0.0
    level = base + guide_shift + rng.normal(0, 0.1, (3, 1, n_genes))
    depth = rng.lognormal(np.log(4000), 0.3, n_cells)
    parts = []
    for start in range(0, n_cells, 2000):
        rows = slice(start, start + 2000)
        guide = cell_guide[rows]
        own = np.where(target[guide][:, None] >= 0, effect[arm[rows], target[guide]], 0.0)
        rate = np.exp(level[donor[rows], guide] + own)
        rate *= depth[rows, None] / rate.sum(axis=1, keepdims=True)
        parts.append(sparse.csr_matrix(rng.poisson(rate).astype(np.int32)))
    obs = pd.DataFrame(
        {
            "perturbation": np.array([names[g][0] for g in cell_guide], dtype=object),
            "guide": np.array([names[g][1] for g in cell_guide], dtype=object),
            "nk_donor": np.array(["D1", "D2", "D3"], dtype=object)[donor],
            "condition": np.array(["tumor_mono", "coculture"], dtype=object)[arm],
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    adata = anndata.AnnData(obs=obs, var=var)
    adata.layers["counts"] = sparse.vstack(parts, format="csr")
    adata.uns["effect"] = effect
    return adata


def timed(function) -> tuple[float, object]:
    """Return CPU seconds and the result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def recovered(adata: anndata.AnnData, table: pd.DataFrame) -> str:
    """Return which planted effects are found, and which calls are false, per contrast."""
    effect = adata.uns["effect"]
    planted = {
        "tumor_mono": effect[0],
        "coculture": effect[1],
        "interaction": effect[1] - effect[0],
    }
    said = []
    for name, part in table.groupby("contrast", sort=False):
        gene = part["gene"].str.removeprefix("gene").astype(int).to_numpy()
        target = part["target"].str.removeprefix("T").astype(int).to_numpy()
        truth = planted[name][target, gene] != 0
        called = part["q_value"].to_numpy() < 0.05
        false = 100 * (called & ~truth).sum() / max(called.sum(), 1)
        said.append(
            f"{name}: {100 * called[truth].mean():.0f} % found, {false:.1f} % of calls false"
        )
    return "; ".join(said)


def peer(adata: anndata.AnnData, python: str, storage: str) -> float:
    """Return the CPU seconds of pertpy's signature and classes, missing if it does not end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        plain = adata.copy()
        plain.uns = {}
        for name in ("responder", "responder_probability"):
            del plain.obs[name]
        plain.write_h5ad(path)
        try:
            run = subprocess.run(  # noqa: S603
                [python, "-c", PEER, str(path), storage],
                capture_output=True,
                text=True,
                check=False,
                timeout=1200,
            )
        except subprocess.TimeoutExpired:
            return np.nan
    said = run.stdout.split()
    return float(said[-1]) if said else np.nan


def main() -> None:
    """Print the table."""
    adata = simulate()
    nk.pp.normalize(adata)
    from sklearn.decomposition import TruncatedSVD

    adata.obsm["X_pca"] = TruncatedSVD(30, random_state=0).fit_transform(adata.X)
    small = adata[::20].copy()
    options = {"replicate": "nk_donor"}
    nk.tl.perturbation_response(small, **options, min_cells=1)  # loads and compiles
    rows = []
    seconds, table = timed(lambda: nk.tl.perturbation_response(adata, **options))
    rows.append(("tl.perturbation_response, one arm", seconds))
    seconds, table = timed(
        lambda: nk.tl.perturbation_response(adata, **options, condition="condition")
    )
    rows.append(("tl.perturbation_response, two arms and interaction", seconds))
    for rep in (None, "X_pca"):
        seconds, _ = timed(lambda rep=rep: nk.tl.responders(adata, **options, use_rep=rep))
        rows.append((f"tl.responders, use_rep={rep!r}", seconds))
    seconds, _ = timed(lambda: nk.tl.guide_abundance(adata, **options))
    rows.append(("tl.guide_abundance", seconds))
    if len(sys.argv) > 1:
        storage = sys.argv[2] if len(sys.argv) > 2 else "dense"
        rows.append((f"pertpy mixscape, {storage}", peer(adata, sys.argv[1], storage)))
    print("| what | CPU s |\n|---|---|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.1f} |")
    print(recovered(adata, table))


if __name__ == "__main__":
    main()
