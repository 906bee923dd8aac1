"""Load 6 lanes with nkscore and with plain scanpy (read_10x_* and concat), in turns.

    nice python benchmarks/loading.py [--cells 3000] [--genes 20000] [--rounds 5]

Prints medians and the ratio nkscore / scanpy for 10x .h5 and for folders of matrix.mtx.gz. nkscore
checks every value and name, names cells, splits off the hashtags and keeps the sample sheet;
scanpy does none of that.
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from scipy import sparse

LANES = [f"L{number}" for number in range(1, 7)]
TAGS = 8


def make_lane(folder, lane, *, cells, genes, rng):
    """Write one lane as .h5 and as a folder, with the values and sizes of real lanes."""
    rate = rng.lognormal(-3.2, 1.6, size=genes)
    blocks = []
    for start in range(0, cells, 500):
        depth = rng.lognormal(0, 0.4, size=min(500, cells - start))
        blocks.append(sparse.csr_matrix(rng.poisson(depth[:, None] * rate), dtype=np.int32))
    tags = sparse.csr_matrix(rng.poisson(30, size=(cells, TAGS)), dtype=np.int32)
    matrix = sparse.hstack([sparse.vstack(blocks), tags], format="csr")
    names = [f"GENE{number}" for number in range(genes)] + [f"HTO_{i}" for i in range(TAGS)]
    ids = [f"ENSG{number:011d}" for number in range(genes)] + [f"H{i}" for i in range(TAGS)]
    types = ["Gene Expression"] * genes + ["Antibody Capture"] * TAGS
    letters = rng.choice(list("ACGT"), size=(cells, 16))
    barcodes = ["".join(row) + "-1" for row in letters]
    write_h5(folder / f"{lane}.h5", matrix, barcodes, (ids, names, types))
    write_mtx(folder / lane, matrix, barcodes, (ids, names, types))
    return matrix.nnz


def write_h5(path, matrix, barcodes, features):
    import h5py

    packed = {"compression": "gzip", "compression_opts": 4}
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group.create_dataset("barcodes", data=np.array(barcodes, dtype="S"), **packed)
        group.create_dataset("data", data=matrix.data, **packed)
        group.create_dataset("indices", data=matrix.indices.astype(np.int64), **packed)
        group.create_dataset("indptr", data=matrix.indptr.astype(np.int64), **packed)
        group["shape"] = np.array(matrix.shape[::-1], dtype=np.int32)
        inner = group.create_group("features")
        for key, values in zip(("id", "name", "feature_type"), features, strict=True):
            inner.create_dataset(key, data=np.array(values, dtype="S"), **packed)
        inner["genome"] = np.array(["GRCh38"] * len(features[0]), dtype="S")


def write_mtx(folder, matrix, barcodes, features):
    folder.mkdir()
    coo = matrix.tocoo()
    lines = pd.DataFrame({"row": coo.col + 1, "column": coo.row + 1, "value": coo.data})
    with gzip.open(folder / "matrix.mtx.gz", "wt", compresslevel=1) as file:
        file.write("%%MatrixMarket matrix coordinate integer general\n%\n")
        file.write(f"{matrix.shape[1]} {matrix.shape[0]} {matrix.nnz}\n")
        lines.to_csv(file, sep=" ", header=False, index=False)
    table = pd.DataFrame(dict(enumerate(features)))
    table.to_csv(folder / "features.tsv.gz", sep="\t", header=False, index=False)
    pd.Series(barcodes).to_csv(folder / "barcodes.tsv.gz", header=False, index=False)


def with_scanpy(folder, kind):
    import anndata as ad
    import scanpy as sc

    read = sc.read_10x_h5 if kind == "h5" else sc.read_10x_mtx
    suffix = ".h5" if kind == "h5" else ""
    lanes = {}
    for lane in LANES:
        lanes[lane] = read(folder / f"{lane}{suffix}", gex_only=False)
        lanes[lane].var_names_make_unique()
    return ad.concat(lanes, label="lane", index_unique="_")


def with_nkscore(folder, kind):
    import nkscore as nk

    suffix = ".h5" if kind == "h5" else ""
    rows = [
        {
            "lane": lane,
            "path": f"{lane}{suffix}",
            "hashtag": f"HTO_{tag}",
            "sample": f"{lane}_{tag}",
            "tumor": "K562",
            "condition": "tumor_mono",
        }
        for lane in LANES
        for tag in range(TAGS)
    ]
    return nk.io.read_coculture(pd.DataFrame(rows), base=folder, progress=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=3000, help="per lane")
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = [
            make_lane(folder, lane, cells=options.cells, genes=options.genes, rng=rng)
            for lane in LANES
        ]
        print(
            f"{len(LANES)} lanes × {options.cells:,} cells × {options.genes:,} genes + {TAGS} tags"
        )
        print(f"{sum(sizes):,} non-zeros; load of the machine {os.getloadavg()[0]:.1f}")
        for kind in ("h5", "mtx"):
            times = {"scanpy": [], "nkscore": []}
            ours = theirs = None
            for number in range(options.rounds + 1):
                for label, load in (("scanpy", with_scanpy), ("nkscore", with_nkscore)):
                    start = time.perf_counter()
                    loaded = load(folder, kind)
                    # The first round warms the caches of files and imports.
                    if number:
                        times[label].append(time.perf_counter() - start)
                    ours, theirs = (loaded, theirs) if label == "nkscore" else (ours, loaded)
            same = (ours.layers["counts"] != theirs.X[:, : options.genes]).nnz == 0
            ratios = [a / b for a, b in zip(times["nkscore"], times["scanpy"], strict=True)]
            print(
                f"{kind}: nkscore {median(times['nkscore']):.2f} s, scanpy "
                f"{median(times['scanpy']):.2f} s, ratio {median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}); same counts: {same}"
            )


if __name__ == "__main__":
    main()
