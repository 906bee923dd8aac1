"""Time, memory and growth of a whole run with the number of cells, beside scanpy's own steps.

    python benchmarks/scale.py --cells 10000 50000 200000
    python benchmarks/scale.py --cells 200000 --sides nkscore --arguments=--no-checkpoints --no-map

Lanes of about 12,000 cells × 12,000 genes, six lines, three donors, 27 wells, are simulated and
written as 10x ``.h5`` files; they stay in ``--folder`` for the next time. Then each side runs in a
process of its own. Per step: seconds of wall time, seconds of the processor (all threads), and the
largest resident size of the process during that step, both as the operating system counts them.
The exponent of growth is that of the processor's time from one size to the next: 1 is linear.

scanpy reads the lanes and joins them, then computes QC, normalizes, selects variable genes and
finds principal components and neighbors as in its first tutorial. It assigns no hashtags, calls
nothing and tests nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PER_LANE = 12_000
#: Cells simulated at once; the counts of so many take about 3 GB.
BATCH = 200_000
WELLS = 27
STEP = re.compile(r"Step ([\w ]+?)(:|$)")
SIDES = ("nkscore", "scanpy")
TICKS = os.sysconf("SC_CLK_TCK")


def lanes(folder: Path, n_cells: int) -> Path:
    """Return the sample sheet of lanes with about ``n_cells`` cells, which are made if absent."""
    sheet = folder / str(n_cells) / "sample_sheet.csv"
    if not sheet.exists():
        command = [sys.executable, __file__, "--make", str(n_cells), "--folder", str(folder)]
        subprocess.run(command, check=True)  # noqa: S603 (a process of its own frees its memory)
    return sheet


def make(folder: Path, n_cells: int) -> None:
    """Simulate and write lanes; batches are further lanes of the same wells."""
    import pandas as pd

    import nkscore as nk

    target = folder / str(n_cells)
    shutil.rmtree(target, ignore_errors=True)
    n_batches = math.ceil(n_cells / BATCH)
    of_batch = n_cells / n_batches
    sheets, n_counts = [], 0
    for batch in range(n_batches):
        adata = nk.datasets.simulate_coculture(
            n_cells_per_sample=round(of_batch / WELLS),
            lanes_per_pool=max(1, round(of_batch / 4 / PER_LANE)),
            rng=batch,
            n_threads=2,
        )
        n_counts += adata.layers["counts"].nnz
        _rename(adata, f"B{batch}_")
        part = nk.datasets.write_lanes(adata, target / f"batch_{batch}", formats=["h5"])
        table = pd.read_csv(part, keep_default_na=False)
        sheets.append(table.assign(path=[f"batch_{batch}/{path}" for path in table["path"]]))
        del adata
    pd.concat(sheets).to_csv(target / "sample_sheet.csv", index=False)
    (target / "size.json").write_text(json.dumps({"counts": n_counts}), encoding="utf-8")


def _rename(adata, prefix: str) -> None:
    """Give lanes names that no other batch has."""
    sheet = adata.uns["nkscore"]["sample_sheet"]
    sheet["lane"] = [prefix + lane for lane in sheet["lane"]]
    adata.obs_names = [prefix + name for name in adata.obs_names]
    adata.obs["lane"] = adata.obs["lane"].cat.rename_categories(lambda lane: prefix + lane)


def scanpy_steps(sheet: Path) -> None:
    """Do with scanpy what it can do of a run, one step after the other."""
    import anndata as ad
    import pandas as pd
    import scanpy as sc

    def step(name: str) -> None:
        print(f"INFO: Step {name}", file=sys.stderr, flush=True)

    step("lanes")
    paths = dict(pd.read_csv(sheet)[["lane", "path"]].to_numpy())
    parts = {lane: sc.read_10x_h5(sheet.parent / path) for lane, path in paths.items()}
    adata = ad.concat(parts, label="lane", index_unique="_", merge="same")
    parts.clear()
    step("qc")
    adata.var["mt"] = adata.var_names.str.startswith("MT-")
    sc.pp.calculate_qc_metrics(adata, qc_vars=["mt"], inplace=True)
    step("normalize")
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    step("variable genes")
    sc.pp.highly_variable_genes(adata, n_top_genes=2000)
    step("components")
    sc.pp.pca(adata, n_comps=30, mask_var="highly_variable")
    step("neighbors")
    sc.pp.neighbors(adata)
    step("end")


def nkscore_command(sheet: Path, out: Path, options: argparse.Namespace) -> list[str]:
    start = "import sys; from nkscore.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "run", str(sheet), "--out", str(out), "--verbose"]
    if options.no_map:
        config = out.with_suffix(".toml")
        config.write_text("[run]\nembedding = false\n", encoding="utf-8")
        command += ["--config", str(config)]
    return [*command, *options.arguments]


def scanpy_command(sheet: Path, _: Path, __: argparse.Namespace) -> list[str]:
    return [sys.executable, "-W", "ignore", __file__, "--scanpy", str(sheet)]


COMMANDS = {"nkscore": nkscore_command, "scanpy": scanpy_command}


class Watch:
    """Wall time, processor time and peak memory of a process, step by step."""

    def __init__(self, pid: int) -> None:
        self.place = Path(f"/proc/{pid}")
        self.steps: dict[str, tuple[float, float, float]] = {}
        self.name, self.start, self.cpu = "imports", time.perf_counter(), 0.0

    def next(self, name: str) -> None:
        """End the step that runs and begin another."""
        now, cpu = time.perf_counter(), self._cpu()
        peak = self._peak()
        wall, used, before = self.steps.get(self.name, (0.0, 0.0, 0.0))
        self.steps[self.name] = (
            wall + now - self.start,
            used + cpu - self.cpu,
            max(before, peak),
        )
        self.name, self.start, self.cpu = name, now, cpu
        # From here on, the kernel counts the largest resident size anew.
        (self.place / "clear_refs").write_text("5", encoding="utf-8")

    def _cpu(self) -> float:
        fields = (self.place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _peak(self) -> float:
        status = (self.place / "status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20


def run(command: list[str]) -> tuple[dict[str, tuple[float, float, float]], int]:
    """Run a command that logs its steps; return what each took, and the exit code."""
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    watch = Watch(process.pid)
    for line in process.stderr:
        if found := STEP.search(line.rstrip()):
            watch.next(found[1])
        elif "Files of this run" in line:
            watch.next("in place")
        elif not line.startswith(("INFO", "WARNING")):
            sys.stderr.write(line)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    measured = list(watch.steps.values())
    cpu = used.ru_utime + used.ru_stime
    watch.steps["all"] = (
        time.perf_counter() - start,
        cpu,
        max([used.ru_maxrss / 2**20] + [peak for *_, peak in measured]),
    )
    return watch.steps, process.returncode


def typical(runs):
    """Return the medians of each step's numbers over several runs."""
    names = list(dict.fromkeys(name for each in runs for name in each))
    return {
        name: tuple(median(each[name][i] for each in runs if name in each) for i in range(3))
        for name in names
    }


def show(side: str, found: dict[int, dict[str, tuple[float, float, float]]]) -> None:
    sizes = list(found)
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    print(f"\n{side:<26}" + "".join(f"{size:>26,} cells" for size in sizes) + "  exponents")
    print(" " * 26 + f"{'wall':>12} {'CPU':>8} {'peak GB':>9} " * len(sizes))
    for name in names:
        each = [found[size].get(name) for size in sizes]
        if all(one is None or one[1] < 0.2 for one in each):
            continue
        row = "".join(
            f"{one[0]:>12.1f} {one[1]:>8.1f} {one[2]:>9.2f} " if one else " " * 32 for one in each
        )
        print(f"{name:<26}{row} {' '.join(_exponents(sizes, each))}")


def _exponents(sizes, each):
    return [
        f"{math.log(b[1] / a[1]) / math.log(large / small):.2f}" if a and b and a[1] > 0.5 else "-"
        for small, large, a, b in zip(sizes, sizes[1:], each, each[1:], strict=False)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=1, help="medians of so many runs")
    parser.add_argument("--folder", type=Path, help="for lanes; default: a temporary folder")
    parser.add_argument("--no-map", action="store_true", help="nkscore without the map")
    parser.add_argument("--arguments", nargs="*", default=[], help="further ones of nkscore run")
    parser.add_argument("--keep", type=Path, help="folder in which the results of nkscore stay")
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--scanpy", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scanpy is not None:
        scanpy_steps(options.scanpy)
    elif options.make is not None:
        make(options.folder, options.make)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        sheets = {n: lanes(folder, n) for n in options.cells}
        for n, sheet in sheets.items():
            counts = json.loads((sheet.parent / "size.json").read_text(encoding="utf-8"))["counts"]
            print(f"{n:,} cells: {counts:,} counts, {8 * counts / 2**30:.2f} GB as CSR of 32 bits")
        for side in options.sides:
            found = {}
            for n, sheet in sheets.items():
                runs = []
                for number in range(options.rounds):
                    out = (options.keep or Path(temporary)) / f"out_{side}_{n}_{number}"
                    out.parent.mkdir(parents=True, exist_ok=True)
                    steps, code = run(COMMANDS[side](sheet, out, options))
                    if code:
                        print(f"{side}, {n:,} cells: exit code {code}")
                    runs.append(steps)
                    if options.keep is None:
                        shutil.rmtree(out, ignore_errors=True)
                found[n] = typical(runs)
            show(side, found)
        print(
            f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}, {options.rounds} round(s)"
        )


if __name__ == "__main__":
    main()
