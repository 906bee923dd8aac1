"""Scorers side by side with pyUCell, decoupler and scanpy, in one run.

    python3 -m venv /tmp/peers
    /tmp/peers/bin/pip install scanpy decoupler pyucell
    .venv/bin/python benchmarks/scoring.py --peers-python /tmp/peers/bin/python --cells 10000 50000

``--only`` runs a part of the jobs, and ``--data`` keeps the matrices for the next part.

Every job runs in a process of its own, on the same file, with the same number of threads; rounds
go through all jobs in turn, so that a busy machine slows all alike. A process loads the data and
calls once to warm up (the first call is listed, too), then times the next calls. Memory is the
highest resident size during the calls above that before, read from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

N_GENES = 20_000
#: Job: (which Python, peer to compare with, slow).
JOBS = {
    "nkscore rank_auc": ("own", "pyucell", False),
    "nkscore rank_auc, no ties": ("own", "pyucell, no ties", False),
    "nkscore rank_auc, 200 sets": ("own", "nkscore rank_auc", False),
    "nkscore aucell": ("own", "decoupler aucell", False),
    "nkscore ulm": ("own", "decoupler ulm", False),
    "nkscore zscore": ("own", "decoupler zscore", False),
    "nkscore weighted_mean": ("own", "decoupler waggr", False),
    "nkscore module_score": ("own", "scanpy score_genes", False),
    "nkscore score_null": ("own", None, True),
    "pyucell": ("peer", None, True),
    "pyucell, n_jobs=2": ("peer", None, True),
    "pyucell, no ties": ("peer", None, True),
    "decoupler aucell": ("peer", None, True),
    "decoupler ulm": ("peer", None, True),
    "decoupler zscore": ("peer", None, True),
    "decoupler waggr": ("peer", None, True),
    "scanpy score_genes": ("peer", None, True),
}


def simulated(n_cells: int, pool: int = 2000):
    """Simulate counts with about 2,000 detected genes per cell; beyond ``pool`` cells, repeated."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    share = np.exp(rng.normal(0, 2.0, N_GENES))
    share /= share.sum()
    parts = []
    for start in range(0, min(n_cells, pool), 500):
        n = min(500, min(n_cells, pool) - start)
        depth = 4000 * np.exp(rng.normal(0, 0.4, (n, 1)))
        rates = share * depth * rng.gamma(2, 0.5, (n, N_GENES))
        parts.append(sparse.csr_matrix(rng.poisson(rates).astype(np.int32)))
    return _resampled(sparse.vstack(parts, format="csr"), n_cells, rng)


def real(n_cells: int, path: Path):
    """Cells of a real data set, drawn with replacement."""
    import anndata
    from scipy import sparse

    counts = sparse.csr_matrix(anndata.read_h5ad(path).X)
    return _resampled(counts.astype(np.int32), n_cells, np.random.default_rng(0))


def _resampled(counts, n_cells: int, rng):
    rows = np.arange(n_cells) if n_cells <= counts.shape[0] else None
    return counts[rng.integers(0, counts.shape[0], n_cells) if rows is None else rows]


def normalized(counts):
    x = counts.astype(np.float32)
    total = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    factor = np.repeat((1e4 / total).astype(np.float32), np.diff(counts.indptr))
    x.data = np.log1p(x.data * factor)
    return x


def gene_lists(n_genes: int, n_sets: int) -> dict[str, list[str]]:
    rng = np.random.default_rng(1)
    sizes = np.linspace(20, 200, n_sets).astype(int)
    return {
        f"s{i}": [f"g{g}" for g in rng.choice(n_genes, n, replace=False)]
        for i, n in enumerate(sizes)
    }


def load(folder: Path, what: str):
    import anndata
    import pandas as pd
    from scipy import sparse

    matrix = sparse.load_npz(folder / f"{what}.npz")
    genes = pd.DataFrame(index=[f"g{i}" for i in range(matrix.shape[1])])
    cells = pd.DataFrame(index=[f"c{i}" for i in range(matrix.shape[0])])
    return anndata.AnnData(X=matrix, obs=cells, var=genes)


def own_job(name: str, folder: Path):
    import nkscore as nk

    method, _, rest = name.removeprefix("nkscore ").partition(", ")
    ranks = method in {"rank_auc", "aucell"}
    adata = load(folder, rest.replace(" ", "_") if rest == "no ties" else "x")
    sets = gene_lists(adata.n_vars, 200 if rest == "200 sets" else 20)
    if method == "score_null":
        return lambda: nk.tl.score_null(adata, sets, layer="X")
    # Ranks are the same for counts and log values; peers get log values.
    return lambda: nk.tl.score(adata, sets, method=method, layer="X" if ranks else None)


def peer_job(name: str, folder: Path):
    tool, _, rest = name.partition(", ")
    adata = load(folder, "no_ties" if rest == "no ties" else "x")
    sets = gene_lists(adata.n_vars, 20)
    if tool == "pyucell":
        import pyucell

        jobs = 2 if rest == "n_jobs=2" else 1
        return lambda: pyucell.compute_ucell_scores(adata, sets, n_jobs=jobs)
    if tool == "scanpy score_genes":
        import scanpy as sc

        return lambda: [sc.tl.score_genes(adata, g, score_name=k) for k, g in sets.items()]
    return _decoupler_job(tool.removeprefix("decoupler "), adata, sets)


def _decoupler_job(method: str, adata, sets):
    import decoupler
    import pandas as pd

    net = pd.DataFrame(
        [(k, g, 1.0) for k, genes in sets.items() for g in genes],
        columns=["source", "target", "weight"],
    )
    options = {} if method == "aucell" else {"bsize": 5000}
    if method == "waggr":
        # The mean alone, without its permutations.
        options |= {"fun": "wmean", "times": 0}
    run = getattr(decoupler.mt, method)
    return lambda: run(adata, net, **options)


class Watch:
    """Calls ``look`` every 20 ms while it is open."""

    def __enter__(self):
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._repeat)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _repeat(self):
        while not self._done.wait(0.02):
            self.look()


class PeakMemory(Watch):
    """Highest resident size of this process and its children while it is open, in bytes."""

    def __init__(self) -> None:
        self.before = self.high = _resident()

    def look(self) -> None:
        """Keep what is higher than all before."""
        self.high = max(self.high, _resident())


def _resident() -> int:
    pids, total = [os.getpid()], 0
    while pids:
        pid = pids.pop()
        try:
            base = Path(f"/proc/{pid}")
            total += int((base / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in (base / "task").iterdir():
                pids += [int(p) for p in (task / "children").read_text().split()]
        except OSError:
            continue
    return total


def worker(name: str, folder: Path, repeats: int) -> None:
    call = (own_job if JOBS[name][0] == "own" else peer_job)(name, folder)
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    walls, cpus = [], []
    with PeakMemory() as memory:
        for _ in range(repeats):
            start, cpu = time.perf_counter(), os.times()
            call()
            walls.append(time.perf_counter() - start)
            after = os.times()
            cpus.append(sum(after[:4]) - sum(cpu[:4]))
    print(
        json.dumps(
            {
                "first": first,
                "wall": walls,
                "cpu": cpus,
                "memory": memory.high - memory.before,
            }
        )
    )


def measure(name: str, folder: Path, options) -> dict:
    kind, _, slow = JOBS[name]
    python = sys.executable if kind == "own" else options.peers_python
    threads = dict.fromkeys(
        ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        str(options.threads),
    )
    command = [
        python,
        "-W",
        "ignore",
        __file__,
        "--worker",
        name,
        "--folder",
        str(folder),
        "--repeats",
        str(options.peer_repeats if slow else options.repeats),
    ]
    print(f"  {name} ...", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(  # noqa: S603 (our own command)
            command,
            env=os.environ | threads,
            capture_output=True,
            text=True,
            check=False,
            timeout=options.timeout,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {options.timeout:.0f} s"}
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1:]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="Python with scanpy, decoupler and pyucell")
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000])
    parser.add_argument("--real", type=Path, help="h5ad of real counts to resample instead")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of our own per round")
    parser.add_argument("--peer-repeats", type=int, default=2, help="timed calls of a peer")
    parser.add_argument("--data", type=Path, help="folder to keep the matrices in")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="jobs whose name holds one of these"
    )
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one job and round")
    parser.add_argument("--worker")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.folder, options.repeats)
        return
    medians: dict[str, list[float]] = {}
    for n_cells in options.cells:
        with data_folder(n_cells, options) as folder:
            results = {name: [] for name in chosen(options)}
            for _ in range(options.rounds):
                for name, rounds in results.items():
                    rounds.append(measure(name, folder, options))
        report(results, medians, options)
    exponents(medians, options.cells)


def chosen(options) -> list[str]:
    return [
        name
        for name, (kind, _, _) in JOBS.items()
        if (kind == "own" or options.peers_python) and any(word in name for word in options.only)
    ]


@contextlib.contextmanager
def data_folder(n_cells: int, options):
    with tempfile.TemporaryDirectory() as temporary:
        name = f"{options.real.stem if options.real else 'simulated'}_{n_cells}"
        folder = Path(options.data or temporary) / name
        if not (folder / "no_ties.npz").exists():
            folder.mkdir(parents=True, exist_ok=True)
            prepare(n_cells, folder, options.real)
        print(f"\n{name}; load average {os.getloadavg()[0]:.1f}", flush=True)
        yield folder


def prepare(n_cells: int, folder: Path, path: Path | None) -> None:
    from scipy import sparse

    counts = real(n_cells, path) if path else simulated(n_cells)
    x = normalized(counts)
    sparse.save_npz(folder / "x.npz", x, compressed=False)
    noise = np.random.default_rng(2).random(x.nnz, dtype=np.float32)
    x.data *= 1 + np.float32(0.01) * noise
    sparse.save_npz(folder / "no_ties.npz", x, compressed=False)
    print(f"{n_cells} cells × {counts.shape[1]} genes, {counts.nnz / n_cells:.0f} detected each")


def report(results: dict, medians: dict, options) -> None:
    middle = {}
    for name, rounds in results.items():
        good = [r for r in rounds if "wall" in r]
        if good:
            middle[name] = {
                "wall": float(np.median([w for r in good for w in r["wall"]])),
                "cpu": float(np.median([c for r in good for c in r["cpu"]])),
                "first": float(np.median([r["first"] for r in good])),
                "memory": max(r["memory"] for r in good) / 2**20,
                "calls": sum(len(r["wall"]) for r in good),
            }
            medians.setdefault(name, []).append(middle[name]["wall"])
        else:
            print(f"{name}: failed, {rounds[0]['error']}")
    print(f"{options.threads} threads, load average after {os.getloadavg()[0]:.1f}")
    print(
        "| job | calls | wall s | CPU s | first call s "
        "| peak over before, MiB | × peer (wall, CPU) |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, m in middle.items():
        peer = middle.get(JOBS[name][1] or "")
        ratio = f"{peer['wall'] / m['wall']:.1f}, {peer['cpu'] / m['cpu']:.1f}" if peer else ""
        print(
            f"| {name} | {m['calls']} | {m['wall']:.3f} | {m['cpu']:.3f} | {m['first']:.2f} "
            f"| {m['memory']:.0f} | {ratio} |"
        )


def exponents(medians: dict[str, list[float]], cells: list[int]) -> None:
    if len(cells) < 2:
        return
    print("\nGrowth of wall time with cells (1 = linear):")
    for name, walls in medians.items():
        if len(walls) == len(cells):
            slope = np.polyfit(np.log(cells), np.log(walls), 1)[0]
            print(f"  {name}: {slope:.2f}")


if __name__ == "__main__":
    main()
