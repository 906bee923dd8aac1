"""CPU seconds and peak memory of ``tl.pseudobulk`` beside scanpy and decoupler.

Run from the repository root, on one thread; decoupler and scanpy must be installed::

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/pseudobulk.py --cells 50000
    python benchmarks/pseudobulk.py --cells 200000 --response

Counts of 26 lines × 2 arms × 3 donors × 20,000 genes, 3 % of the entries above zero. Each tool runs
in a process of its own, twice; the second run counts. Peak memory is what the process held above
the data, where the first run's compilation is part of it. ``--response`` adds the whole
``tl.interaction_response``, sums included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk

N_GENES = 20_000


def cells(n: int) -> ad.AnnData:
    """Cells drawn from 1,500 templates; all samples have the same expectation."""
    rng = np.random.default_rng(0)
    template = sparse.random(1500, N_GENES, 0.03, format="csr", random_state=0, dtype=np.float32)
    template.data = np.ceil(template.data * 3)
    sheet = pd.DataFrame(
        [
            (f"line{i}_{arm}_{donor}", f"line{i}", arm, donor)
            for i in range(26)
            for arm in ("coculture", "tumor_mono")
            for donor in ("d1", "d2", "d3")
        ],
        columns=["sample", "tumor", "condition", "nk_donor"],
    )
    obs = sheet.iloc[rng.integers(0, len(sheet), n)].astype("category")
    obs = obs.assign(compartment=pd.Categorical(["tumor"] * n), qc_pass=True)
    obs.index = pd.Index([f"cell{i}" for i in range(n)], dtype=str)
    counts = template[rng.integers(0, 1500, n)]
    var = pd.DataFrame(index=pd.Index([f"G{i}" for i in range(N_GENES)], dtype=str))
    return ad.AnnData(counts, obs=obs, var=var, layers={"counts": counts})


def run(tool: str, adata: ad.AnnData) -> Any:
    if tool == "nkscore":
        return nk.tl.pseudobulk(adata, "sample").X
    if tool == "scanpy":
        import scanpy as sc

        return sc.get.aggregate(adata, "sample", func="sum", layer="counts").layers["sum"]
    if tool == "decoupler":
        import decoupler as dc

        return dc.pp.pseudobulk(
            adata, sample_col="sample", groups_col=None, layer="counts", mode="sum"
        ).X
    return nk.tl.interaction_response(adata)


def measure(tool: str, n: int, pipe: Any) -> None:
    adata = cells(n)
    start_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(2):
        start = time.process_time()
        result = run(tool, adata)
        seconds.append(time.process_time() - start)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_memory) / 1024
    total = float(np.asarray(result.sum())) if tool != "response" else float("nan")
    size = 156 * N_GENES * 8 / 2**20
    pipe.send((seconds[-1], added, size, total))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--response", action="store_true")
    options = parser.parse_args()
    tools = ["nkscore", "scanpy", "decoupler", *(["response"] if options.response else [])]
    print("| tool | cells | CPU s | × nkscore | memory above the data, MiB | sum of counts |")
    print("| --- | --- | --- | --- | --- | --- |")
    context, first = multiprocessing.get_context("spawn"), None
    for tool in tools:
        mine, theirs = context.Pipe()
        process = context.Process(target=measure, args=(tool, options.cells, theirs))
        process.start()
        seconds, added, size, total = mine.recv()
        process.join()
        first = seconds if first is None else first
        name = "interaction_response" if tool == "response" else tool
        print(
            f"| {name} | {options.cells:,} | {seconds:.2f} | {seconds / first:.1f} | "
            f"{added:.0f} | {total:.0f} |",
            flush=True,
        )
    print(f"\nOne matrix of the sums: {size:.0f} MiB; nkscore returns two (sums, cells).")


if __name__ == "__main__":
    main()
