"""Run the benchmarks that take less than about a minute on two cores, one line each.

    python benchmarks                # the quick ones, as make bench does
    python benchmarks --list         # every benchmark, and what it measures
    python benchmarks scoring        # those named, quick or slow, with their default options

What each prints goes to ``results/benchmarks/NAME.txt``. Options, and peers that want an
environment of their own, stand at the top of each file.
"""

from __future__ import annotations

import argparse
import ast
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "results" / "benchmarks"
#: Benchmarks for every day, with options that keep them short.
QUICK: dict[str, list[str]] = {
    "ambient_response": ["--seeds", "1"],
    "associate": [],
    "cohorts": [],
    "communication": ["--seeds", "2"],
    "composition": ["--experiments", "20"],
    "core_response": ["--runs", "5"],
    "decomposition": ["--experiments", "20"],
    "demultiplex": [],
    "enrichment": ["--permutations", "5"],
    # Without h5ad, in which a damaged heap of text can hang libhdf5 itself.
    "fuzz_readers": ["--minutes", "0.3", "--only", "sheet,h5,h5_v2,mtx,mtx_gz,loom,csv,rds"],
    "gene_nulls": ["--sets", "2"],
    "loading": ["--cells", "1000", "--rounds", "1"],
    "null_calibration": ["--truth", "--responses", "--seeds", "2", "--out", str(OUT / "null")],
    "perturbation": [],
    "preprocess": ["--cells", "5000"],
    "pseudobulk": ["--cells", "20000"],
    "response": ["speed"],
    "scoring": ["--cells", "2000", "--rounds", "1"],
}


def titles() -> dict[str, str]:
    """Return the first line of each benchmark's docstring, by name."""
    found = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.partition("\n")[0]
    return found


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(name: str) -> tuple[int, float, float]:
    """Run one benchmark; return its exit code, the seconds it took, and those of all cores."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    with (OUT / f"{name}.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(  # noqa: S603
            [sys.executable, str(HERE / f"{name}.py"), *QUICK.get(name, [])],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=HERE.parent,
            check=False,
        )
    return done.returncode, time.perf_counter() - start, _cpu_seconds() - cpu


def main() -> int:
    known = titles()
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: the quick ones")
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}")
    if options.list:
        for name, title in known.items():
            print(f"{name:<18} {'quick' if name in QUICK else 'slow':<6} {title}")
        return 0
    OUT.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.names or QUICK:
        code, seconds, cpu = run(name)
        failed += code != 0
        end = "FAILED" if code else "ok"
        print(f"{name:<18} {end:<6} {seconds:5.0f} s, {cpu:5.0f} s CPU  {known[name]}", flush=True)
    print(f"Printed output: {OUT}; {len(known) - len(QUICK)} slower ones: python benchmarks --list")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
