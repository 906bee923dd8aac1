"""Scores of files that do not fit in memory, beside a plain read and beside pyUCell, in one run.

    .venv/bin/python benchmarks/streaming.py scale --cells 100000 1000000 --folder /tmp/stream
    .venv/bin/python benchmarks/streaming.py command --peers-python /tmp/peers/bin/python

``scale`` writes counts of 20,000 genes with about 2,000 detected per cell, laid out as anndata
lays out files of that size, and for each file takes turns between a plain read of its values and
positions (``plain``, slabs of the size that nkscore reads) and the shell command. Wall time and
peak resident size are those of the whole process, start of Python and imports included; the plain
read is timed without either. Every score is compared, bit by bit, with scores of the same cells in
memory: cells are drawn with replacement from ``--pool`` simulated ones.

``command`` times whole processes that read an h5ad file, score the ``nk`` panel and write a table:
``nkscore score``, the equivalent script with pyUCell, the imports of ``nkscore score`` alone, and
the imports with a plain read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from scoring import N_GENES, Watch, gene_lists, simulated

#: Values in one slab of the plain read: 16 MB of float64 each.
SLAB = 2 << 20
BLOCK_CELLS = 10_000
IMPORTS = (
    "import numba, pyarrow.parquet, h5py, nkscore.cli, nkscore.tl._scores._score_input\n"
    "import nkscore.scoring\n"
)
PYUCELL = """
import sys, json, anndata, pyucell
adata = anndata.read_h5ad(sys.argv[1])
sets = json.load(open(sys.argv[2]))
pyucell.compute_ucell_scores(adata, sets, n_jobs=1)
adata.obs[[c for c in adata.obs if c.endswith("_UCell")]].to_parquet(sys.argv[3])
"""
PLAIN = """
import json, sys, time
sys.path.insert(0, {here!r})
from streaming import plain
print(json.dumps(plain(sys.argv[1])))
"""


def panel() -> dict[str, list[str]]:
    import nkscore as nk

    return {name: list(s.up) for name, s in nk.signatures.as_signatures("nk").items()}


def genes() -> list[str]:
    """Name the genes of the panel by their symbols, spread over all, and the others g0, g1, ..."""
    names = [f"g{i}" for i in range(N_GENES)]
    symbols = sorted({gene for members in panel().values() for gene in members})
    places = np.random.default_rng(3).choice(N_GENES, len(symbols), replace=False)
    for place, symbol in zip(places, symbols, strict=True):
        names[place] = symbol
    return names


def write(path: Path, pool, rows, **storage) -> None:
    """Write cells ``rows`` of ``pool`` as CSR, with the chunks that the library gives that size."""
    import anndata
    import h5py
    import pandas as pd
    import zarr

    is_zarr = path.suffix == ".zarr"
    file = zarr.open_group(path, mode="w") if is_zarr else h5py.File(path, "w")
    cells = pd.DataFrame(index=pd.Index([f"c{i}" for i in range(len(rows))]))
    anndata.io.write_elem(file, "obs", cells)
    anndata.io.write_elem(file, "var", pd.DataFrame(index=pd.Index(genes())))
    file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    x = file.create_group("X")
    x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    x.attrs["shape"] = [len(rows), N_GENES]
    indptr = np.concatenate([[0], np.cumsum(np.diff(pool.indptr)[rows].astype(np.int64))])
    make = x.create_array if is_zarr else x.create_dataset
    grows = {} if is_zarr else {"maxshape": (None,)}
    for name, dtype in (("data", np.float32), ("indices", np.int32)):
        make(name, shape=(int(indptr[-1]),), dtype=dtype, **grows, **storage)
    make("indptr", shape=indptr.shape, dtype=np.int64)
    x["indptr"][...] = indptr
    for start in range(0, len(rows), BLOCK_CELLS):
        part = pool[rows[start : start + BLOCK_CELLS]]
        low, high = int(indptr[start]), int(indptr[min(start + BLOCK_CELLS, len(rows))])
        x["data"][low:high] = part.data.astype(np.float32)
        x["indices"][low:high] = part.indices
    if not is_zarr:
        file.close()


def plain(path: str) -> dict[str, float]:
    """Read all positions and values once, in slabs."""
    if path.endswith(".zarr"):
        import zarr

        group = zarr.open_group(path, mode="r")["X"]
    else:
        import h5py

        group = h5py.File(path, "r")["X"]
    start, cpu = time.perf_counter(), time.process_time()
    indices, data = group["indices"], group["data"]
    # Slabs of whole chunks, so that none is unpacked twice.
    slab = max(1, SLAB // data.chunks[0]) * data.chunks[0]
    for low in range(0, data.shape[0], slab):
        indices[low : low + slab]
        data[low : low + slab]
    return {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu}


def measured(command: list[str], threads: int) -> dict[str, float]:
    """Run a command; wall and CPU seconds and peak resident size, all of the whole process."""
    environment = os.environ | dict.fromkeys(
        ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads)
    )
    with tempfile.TemporaryFile("w+") as out:
        start = time.perf_counter()
        # Popen.wait does not tell the resources of this one child.
        child = subprocess.Popen(command, env=environment, stdout=out)  # noqa: S603
        # What wait4 tells of memory begins with that of the parent.
        with Highest(child.pid) as memory:
            _, status, used = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{command[:4]} ended with {child.returncode}")
        out.seek(0)
        return {
            "wall": wall,
            "cpu": used.ru_utime + used.ru_stime,
            "peak": memory.peak / 1024,
            "said": out.read(),
        }


class Highest(Watch):
    """Highest resident size of another process so far, in KiB."""

    def __init__(self, process: int) -> None:
        self.peak = 0
        self._status = Path(f"/proc/{process}/status")

    def look(self) -> None:
        """Keep what is higher than all before."""
        # After exec the system counts anew, so that smaller values follow the parent's.
        with contextlib.suppress(OSError, StopIteration):
            lines = self._status.read_text().splitlines()
            self.peak = int(next(x for x in lines if x.startswith("VmHWM")).split()[1])


def own(data: Path, sets: str, out: Path) -> list[str]:
    program = "import sys; from nkscore.cli import main; sys.exit(main(sys.argv[1:]))"
    return [
        sys.executable,
        "-c",
        program,
        "score",
        str(data),
        "--signatures",
        sets,
        "--layer",
        "X",
        "--out",
        str(out),
        "--force",
    ]


def expected(pool, sets: dict[str, list[str]]):
    """Scores of the simulated cells in memory."""
    import anndata
    import pandas as pd

    import nkscore as nk

    adata = anndata.AnnData(X=pool, var=pd.DataFrame(index=genes()))
    nk.tl.score(adata, sets, layer="X")
    return adata.obsm["scores"]


def scale(options) -> None:
    import pandas as pd

    pool = simulated(options.pool, pool=options.pool)
    pool.data = pool.data.astype(np.float32)
    names = genes()
    sets = {k: [names[int(g[1:])] for g in v] for k, v in gene_lists(N_GENES, 20).items()}
    reference = expected(pool, sets)
    options.folder.mkdir(parents=True, exist_ok=True)
    gmt = options.folder / "sets.gmt"
    gmt.write_text("".join("\t".join([k, "", *v]) + "\n" for k, v in sets.items()))
    print("| file | cells | GB | plain read s (CPU) | nkscore s (CPU) | ratio | peak MiB | equal |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n_cells in options.cells:
        rows = np.random.default_rng(4).integers(0, pool.shape[0], n_cells)
        for kind in options.kinds:
            data = options.folder / f"{kind}_{n_cells}.{kind.partition('_')[0]}"
            if not data.exists():
                print(f"  writing {data} ...", file=sys.stderr, flush=True)
                write(data, pool, rows, **({"compression": "gzip"} if "gzip" in kind else {}))
            out = options.folder / "scores.parquet"
            reads, scores = [], []
            here = str(Path(__file__).parent)
            for _ in range(options.rounds):
                program = PLAIN.format(here=here)
                reads.append(
                    json.loads(
                        measured([sys.executable, "-c", program, str(data)], options.threads)[
                            "said"
                        ]
                    )
                )
                scores.append(measured(own(data, str(gmt), out), options.threads))
            table = pd.read_parquet(out)
            equal = all(
                (table[name].to_numpy() == reference[name].to_numpy()[rows]).all() for name in sets
            ) and list(table.index[[0, -1]]) == ["c0", f"c{n_cells - 1}"]
            report(data, reads, scores, equal=equal)
            if not options.keep:
                shutil.rmtree(data) if data.is_dir() else data.unlink()
            out.unlink()


def report(data: Path, reads: list, scores: list, *, equal: bool) -> None:
    """Print one row per round: the first may read the disk, the next what the system kept."""
    kind, _, n_cells = data.stem.rpartition("_")
    files = [p for p in data.rglob("*") if p.is_file()] if data.is_dir() else [data]
    size = sum(p.stat().st_size for p in files) / 1e9
    for read, score in zip(reads, scores, strict=True):
        print(
            f"| {kind} | {n_cells} | {size:.1f} | {read['wall']:.2f} ({read['cpu']:.1f}) "
            f"| {score['wall']:.2f} ({score['cpu']:.1f}) | {score['wall'] / read['wall']:.2f} "
            f"| {score['peak']:.0f} | {equal} |",
            flush=True,
        )


def command(options) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    pool = simulated(2000)
    print("| cells | job | wall s | CPU s | peak MiB |")
    print("| --- | --- | --- | --- | --- |")
    for n_cells in options.cells:
        data = options.folder / f"command_{n_cells}.h5ad"
        rows = np.random.default_rng(4).integers(0, pool.shape[0], n_cells)
        write(data, pool, rows)
        sets = options.folder / "panel.json"
        sets.write_text(json.dumps(panel()))
        out = options.folder / "scores.parquet"
        program = PLAIN.format(here=str(Path(__file__).parent))
        jobs = {
            "nkscore score": own(data, "nk", out),
            "its imports": [sys.executable, "-c", IMPORTS],
            "plain read": [sys.executable, "-c", program, str(data)],
        }
        if options.peers_python:
            peer = str(options.folder / "peer.parquet")
            jobs["pyUCell"] = [options.peers_python, "-c", PYUCELL, str(data), str(sets), peer]
        times = {job: [] for job in jobs}
        for _ in range(options.rounds):
            for job, words in jobs.items():
                times[job].append(measured(words, options.threads))
        middle = {job: float(np.median([t["wall"] for t in ts])) for job, ts in times.items()}
        for job, ts in times.items():
            cpu = np.median([t["cpu"] for t in ts])
            peak = max(t["peak"] for t in ts)
            print(f"| {n_cells} | {job} | {middle[job]:.2f} | {cpu:.2f} | {peak:.0f} |")
        reads = [json.loads(t["said"])["wall"] for t in times["plain read"]]
        floor = middle["its imports"] + 1.5 * float(np.median(reads))
        print(
            f"\nplain read without imports {np.median(reads):.2f} s; imports + 1.5 × reading "
            f"{floor:.2f} s; nkscore needs {middle['nkscore score']:.2f} s"
        )
        if options.peers_python:
            print(f"pyUCell / nkscore: {middle['pyUCell'] / middle['nkscore score']:.1f} ×")
        data.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["scale", "command"])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000])
    parser.add_argument("--pool", type=int, default=10_000, help="simulated cells to draw from")
    parser.add_argument(
        "--kinds", nargs="+", default=["h5ad", "zarr"], help="h5ad, h5ad_gzip, zarr"
    )
    parser.add_argument("--folder", type=Path, default=Path("streaming-files"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers-python", help="Python with anndata and pyucell")
    parser.add_argument("--keep", action="store_true", help="keep the files of cells")
    options = parser.parse_args()
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {options.threads} threads, load average "
        f"{os.getloadavg()[0]:.1f}\n"
    )
    {"scale": scale, "command": command}[options.what](options)


if __name__ == "__main__":
    main()
