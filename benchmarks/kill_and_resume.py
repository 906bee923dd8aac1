"""Kill ``nkscore run`` at random moments, resume it each time, and compare with an undisturbed run.

    nice python benchmarks/kill_and_resume.py --kills 30 [--seed 0] [--cells 30] [--backed always]

Prints the moments, and every file of the results that differs. SIGKILL and SIGTERM take turns.
"""

from __future__ import annotations

import argparse
import shutil
import signal
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

CONFIG = """
[run]
figures = false
tables = ["nk_state_fractions", "nk_response", "tumor_response", "core_response"]
"""


def command(sheet, out, config, *more):
    start = [sys.executable, "-W", "ignore", "-m", "nkscore.cli", "run", str(sheet)]
    return [*start, "--out", str(out), "--config", str(config), *more]


def values(value):
    if isinstance(value, pd.DataFrame):
        return [(name, values(value[name])) for name in value], list(map(str, value.index))
    if isinstance(value, pd.Series):
        return value.astype(str).tolist() if value.dtype.kind not in "fiu" else value.tolist()
    if sparse.issparse(value):
        return [part.tobytes() for part in (value.data, value.indices, value.indptr)]
    if isinstance(value, dict):
        return {name: values(inner) for name, inner in value.items()}
    return np.asarray(value).tolist()


def differences(first, second):
    """Return which files, or slots of the cells, differ."""
    found = []
    names = [
        {p.relative_to(f).as_posix() for p in f.rglob("*") if p.is_file()} for f in (first, second)
    ]
    found += sorted(names[0] ^ names[1])
    for name in sorted(n for n in names[0] & names[1] if n.startswith("tables/")):
        if (first / name).read_bytes() != (second / name).read_bytes():
            found.append(name)
    one, two = (anndata.read_h5ad(folder / "adata.h5ad") for folder in (first, second))
    for place in ("obs", "var"):
        if repr(values(getattr(one, place))) != repr(values(getattr(two, place))):
            found.append(place)
    for place in ("layers", "obsm", "varm", "obsp", "uns"):
        a, b = (dict(getattr(x, place)) for x in (one, two))
        found += [
            f"{place}/{key}"
            for key in a.keys() | b.keys()
            if repr(values(a.get(key))) != repr(values(b.get(key)))
        ]
    return found


def run(line):
    subprocess.run(line, check=True, capture_output=True)  # noqa: S603


def until_killed(line, wait, how):
    """Start a command and send it a signal after some seconds; whether it still ran."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
        process.wait()
        return True
    return False


def compare(folder, n_kills, n_cells, rng, backed):
    """Return seconds of an undisturbed run, the moments of kills, and what differs."""
    config, out = folder / "run.toml", folder / "killed"
    config.write_text(CONFIG)
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "K562"], n_donors=2, n_cells_per_sample=n_cells, n_genes=4000, rng=1
    )
    sheet = nk.datasets.write_lanes(adata, folder / "lanes")
    start = time.monotonic()
    run(command(sheet, folder / "whole", config))
    seconds = time.monotonic() - start
    moments, bad = [], []
    while len(moments) < n_kills:
        wait = float(rng.uniform(0.0, seconds))
        how = signal.SIGKILL if len(moments) % 2 else signal.SIGTERM
        line = command(sheet, out, config, "--backed", backed)
        if until_killed(line, wait, how):
            moments.append(round(wait, 1))
            if len(moments) < n_kills:
                continue
            run(line)
        bad += differences(folder / "whole", out)
        shutil.rmtree(out)
    left = {path.name for path in folder.iterdir()} - {"lanes", "run.toml", "whole"}
    return seconds, moments, bad + sorted(left)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--cells", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backed", default="never", help="of the killed runs")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        seconds, moments, bad = compare(
            Path(name), options.kills, options.cells, rng, options.backed
        )
    print(f"undisturbed run {seconds:.1f} s; {len(moments)} kills after {moments} s")
    print(f"differences and left-overs: {bad or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
