"""Time and memory of QC, hashtags and compartments, beside the same steps with scanpy alone.

    python benchmarks/preprocess.py --cells 100000

scanpy alone: ``calculate_qc_metrics``, ``hashsolo`` per lane, and normalize, log, highly variable
genes and principal components, after which a user would still have to cluster the cells and name
NK and tumor clusters by hand. Each side runs in a process of its own; memory is the highest
resident size less that after loading.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def simulate(path, n_cells):
    import nkscore as nk

    tumors = list(nk.datasets.LINES)
    wells = len(tumors) * 4 + 3
    adata = nk.datasets.simulate_coculture(
        tumors={t: nk.datasets.LINES[t] for t in tumors},
        n_cells_per_sample=-(-n_cells // wells),
        n_threads=2,
        rng=0,
    )
    adata.write_h5ad(path)
    print(f"{adata.n_obs} cells × {adata.n_vars} genes, {adata.layers['counts'].nnz:,} counts")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(name, steps, adata):
    before = peak()
    start = time.perf_counter()
    for step, run in steps.items():
        here = time.perf_counter()
        run()
        print(f"{name:8s} {step:14s} {time.perf_counter() - here:7.1f} s")
    counts = adata.layers["counts"]
    size = (counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes) / 2**20
    print(
        f"{name:8s} {'all':14s} {time.perf_counter() - start:7.1f} s; "
        f"{peak() - before:.0f} MiB more than after loading; the matrix has {size:.0f} MiB"
    )


def ours(adata):
    import nkscore as nk

    steps = {
        "quality": lambda: nk.pp.qc(adata),
        "hashtags": lambda: nk.pp.demultiplex(adata),
        "compartments": lambda: nk.pp.compartments(adata),
    }
    report("nkscore", steps, adata)
    known = adata.obs["sample"].notna() & adata.obs["qc_pass"] & ~adata.obs["truth_doublet"]
    right = adata.obs["compartment"].astype(str) == adata.obs["truth_compartment"].astype(str)
    print(f"nkscore  single cells in their true compartment: {100 * right[known].mean():.2f} %")


def theirs(adata):
    import anndata
    import numpy as np
    import scanpy as sc
    import scanpy.external as sce

    adata.X = adata.layers["counts"].astype(np.float32)
    adata.var["mt"] = adata.var_names.str.startswith("MT-")

    def hashtags():
        for lane in adata.obs["lane"].cat.categories:
            tags = adata.obsm["hashtags"][adata.obs["lane"] == lane]
            tags = tags.loc[:, tags.sum() > 0]
            sce.pp.hashsolo(anndata.AnnData(obs=tags), list(tags.columns))

    def components():
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        sc.pp.highly_variable_genes(adata, n_top_genes=2000)
        sc.pp.pca(adata, n_comps=30, mask_var="highly_variable")

    steps = {
        "quality": lambda: sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], inplace=True),
        "hashtags": hashtags,
        "components": components,
    }
    report("scanpy", steps, adata)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--side", choices=("nkscore", "scanpy"))
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.side:
        import anndata

        adata = anndata.read_h5ad(options.file)
        (ours if options.side == "nkscore" else theirs)(adata)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.h5ad"
        simulate(file, options.cells)
        for side in ("nkscore", "scanpy"):
            command = [sys.executable, "-W", "ignore", __file__, "--side", side]
            subprocess.run([*command, "--file", str(file)], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
