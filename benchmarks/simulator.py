"""Compare simulated cells with real ones, and time the simulator.

Run from the repository root, with the real data beside it::

    python benchmarks/simulator.py --shared ../shared --figure simulator_check.png

Each data set is one cell type, so that the comparison shows the noise of cells and not the
difference of types. All but the last panel are drawn after thinning every cell to one depth.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk

mpl.use("Agg")
import matplotlib.pyplot as plt

DEPTH = 1500


def real_cells(shared: Path) -> dict[str, sparse.csr_matrix]:
    """Return one cell type per real data set."""
    kang = ad.read_h5ad(shared / "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    pbmc = ad.read_h5ad(shared / "data/soupx_pbmc4k/soupx_pbmc4k_2170x33694_counts.h5ad")
    mono = (kang.obs["condition"] == "ctrl") & (kang.obs["cell_type"] == "CD14 Mono")
    mono &= kang.obs["donor"].isin(kang.obs.loc[mono, "donor"].value_counts().index[:3])
    helper, natural = (pbmc.obs["cell_type"] == name for name in ("T_CD4", "NK"))
    return {
        "Kang: CD14 monocytes, control": sparse.csr_matrix(kang.X[mono.to_numpy()]),
        "PBMC 4k: CD4 T cells": sparse.csr_matrix(pbmc.X[helper.to_numpy()]),
        "PBMC 4k: NK cells": sparse.csr_matrix(pbmc.X[natural.to_numpy()]),
    }


def simulated_cells() -> dict[str, sparse.csr_matrix]:
    """Return one tumor line and resting NK cells, each alone, without poor cells."""
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "K562"], n_donors=1, n_cells_per_sample=900, rng=1
    )
    obs, counts = adata.obs, adata.layers["counts"]
    good = ~obs["truth_doublet"] & ~obs["truth_low_quality"]
    line = good & (obs["truth_sample"] == "K562_mono")
    resting = good & (obs["truth_sample"] == "NK1_mono") & (obs["truth_nk_state"] == "resting")
    return {
        "simulated: K562 alone": counts[line.to_numpy()],
        "simulated: resting NK": counts[resting.to_numpy()],
    }


def thinned(counts: sparse.csr_matrix, depth: int, seed: int = 0) -> sparse.csr_matrix:
    """Keep ``depth`` counts of each cell that has as many."""
    generator = np.random.default_rng(seed)
    total = np.asarray(counts.sum(axis=1)).ravel()
    counts = sparse.csr_matrix(counts[total >= depth]).astype(np.int64)
    rows = []
    for i in range(counts.shape[0]):
        row = counts.data[counts.indptr[i] : counts.indptr[i + 1]]
        rows.append(generator.multivariate_hypergeometric(row, depth))
    counts.data = np.concatenate(rows)
    counts.eliminate_zeros()
    return counts


def moments(counts: sparse.csr_matrix) -> pd.DataFrame:
    """Return mean, variance and share of zeros per gene."""
    mean = np.asarray(counts.mean(axis=0)).ravel()
    square = np.asarray(counts.multiply(counts).mean(axis=0)).ravel()
    zero = 1 - np.asarray((counts > 0).mean(axis=0)).ravel()
    table = pd.DataFrame({"mean": mean, "variance": square - mean**2, "zero": zero})
    return table[table["mean"] > 0]


def by_mean(table: pd.DataFrame, column: str) -> pd.Series:
    """Return the median of ``column`` in bins of the mean."""
    bins = pd.cut(np.log10(table["mean"]), np.arange(-2.6, 1.9, 0.2))
    grouped = table.groupby(bins, observed=True)[column]
    middle = grouped.median()[grouped.size() >= 5]
    return pd.Series(middle.to_numpy(), index=[10**b.mid for b in middle.index])


def draw(axes: Any, name: str, counts: sparse.csr_matrix, style: dict[str, Any]) -> pd.DataFrame:
    total = np.asarray(counts.sum(axis=1)).ravel()
    detected = np.diff(counts.indptr)
    axes[3].scatter(total, detected, s=3, alpha=0.35, color=style["color"], label=name)
    thin = thinned(counts, DEPTH)
    table = moments(thin)
    axes[0].loglog(by_mean(table, "variance"), label=name, **style)
    table["excess"] = table["variance"] / table["mean"]
    axes[1].semilogx(by_mean(table, "zero"), label=name, **style)
    sizes = np.sort(table["mean"].to_numpy())[::-1]
    axes[2].loglog(np.arange(1, sizes.size + 1), sizes, **style)
    genes = np.diff(thin.indptr)
    axes[4].hist(genes, bins=25, histtype="step", density=True, **style)
    axes[5].semilogx(by_mean(table, "excess"), **style)
    print(
        f"{name:32s} cells {counts.shape[0]:5d}  UMI {np.median(total):6.0f}"
        f"  genes {np.median(detected):6.0f}  genes at {DEPTH} UMI {np.median(genes):5.0f}"
        f"  SD log UMI {np.std(np.log(total)):.2f}"
    )
    return table


def figure(shared: Path, path: Path) -> None:
    grid, axes = plt.subplots(2, 3, figsize=(15, 9))
    flat = axes.ravel()
    colors = ["#999999", "#56B4E9", "#0072B2", "#D55E00", "#E69F00"]
    every = real_cells(shared) | simulated_cells()
    curves = {}
    for (name, counts), color in zip(every.items(), colors, strict=True):
        line = "-" if name.startswith("simulated") else "--"
        curves[name] = draw(flat, name, counts, {"color": color, "linestyle": line})
    x = np.logspace(-2.5, 1.5, 50)
    flat[0].loglog(x, x, color="black", linewidth=0.6)
    flat[1].semilogx(x, np.exp(-x), color="black", linewidth=0.6, label="Poisson")
    labels = [
        ("mean", "variance"),
        ("mean", "cells without the gene"),
        ("rank of the gene", "mean"),
        ("counts per cell", "genes per cell"),
        (f"genes per cell at {DEPTH} counts", "density"),
        ("mean", "variance / mean"),
    ]
    for ax, (horizontal, vertical) in zip(flat, labels, strict=True):
        ax.set_xlabel(horizontal)
        ax.set_ylabel(vertical)
    flat[5].set_ylim(0.5, 6)
    flat[3].set_xlim(0, 12000)
    flat[3].set_ylim(0, 3500)
    flat[1].legend(frameon=False, fontsize=8)
    grid.tight_layout()
    grid.savefig(path, dpi=80)
    shared_bins = pd.DataFrame({name: by_mean(t, "zero") for name, t in curves.items()})
    print("\nShare of zeros by mean count:\n", shared_bins.round(3).to_string())


def timing() -> None:
    nk.datasets.simulate_coculture(n_cells_per_sample=5)
    for n_threads in (1, 2):
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            cells = nk.datasets.simulate_coculture(n_threads=n_threads).n_obs
            best = min(best, time.perf_counter() - start)
        print(f"{n_threads} thread(s): {cells} cells in {best:.2f} s, {cells / best:.0f} cells/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--figure", type=Path, default=Path("simulator_check.png"))
    arguments = parser.parse_args()
    figure(arguments.shared, arguments.figure)
    timing()
