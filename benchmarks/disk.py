"""Time and memory of a run with counts in memory and in files, and whether the tables are equal.

    python benchmarks/disk.py --cells 50000 [--map] [--folder /tmp/lanes] [--modes never always]

Simulates lanes of about 12,000 cells × 12,000 genes, written as 10x ``.h5`` (they stay in
``--folder``), and runs ``nkscore run`` without figures in a separate process for each mode.
Prints wall seconds, the largest resident size of the process (``ru_maxrss``), also per matrix
(8 bytes per count), and the files that differ between the modes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nkscore as nk
from nkscore._run._disk import stored_counts
from nkscore._run._job import files_in_sheet

#: Samples of the default simulation.
SAMPLES = 27
PER_LANE = 12_000
RUN = "import sys; from nkscore.cli import main; sys.exit(main())"


def lanes(folder: Path, n_cells: int) -> Path:
    """Return the sheet of lanes with about ``n_cells`` cells, which are made if absent."""
    sheet = folder / str(n_cells) / "sample_sheet.csv"
    if not sheet.exists():
        adata = nk.datasets.simulate_coculture(
            n_cells_per_sample=round(n_cells / SAMPLES),
            lanes_per_pool=max(1, round(n_cells / 4 / PER_LANE)),
            rng=0,
        )
        nk.datasets.write_lanes(adata, sheet.parent, formats=["h5"])
    return sheet


def measured(sheet: Path, out: Path, mode: str, config: Path, *, embedding: bool) -> list[float]:
    """Run once; return wall seconds and the largest resident size in bytes."""
    config.write_text(
        f"[run]\nfigures = false\nreport = false\nembedding = {str(embedding).lower()}\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", RUN, "run", str(sheet), "--out", str(out)]
    command += ["--backed", mode, "--config", str(config), "--force"]
    start = time.monotonic()
    process = subprocess.Popen(command)  # noqa: S603
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} ended with {status}.")
    return [time.monotonic() - start, used.ru_maxrss * 1024]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=50_000)
    parser.add_argument("--map", action="store_true", help="with the map of the cells")
    parser.add_argument("--folder", type=Path, help="where lanes stay for the next time")
    parser.add_argument("--modes", nargs="+", default=["never", "always"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sheet = lanes(options.folder or work / "lanes", options.cells)
        matrix = 8 * sum(map(stored_counts, files_in_sheet(sheet)))
        print(f"{options.cells} cells, matrix of {matrix / 1e9:.2f} GB")
        tables = {}
        for mode in options.modes:
            out = work / mode
            wall, most = measured(sheet, out, mode, work / "run.toml", embedding=options.map)
            share = most / matrix
            print(f"--backed {mode}: {wall:.0f} s, peak {most / 1e9:.2f} GB, {share:.2f} × matrix")
            tables[mode] = {p.name: p.read_bytes() for p in (out / "tables").glob("*.tsv")}
            shutil.rmtree(out)
        first = tables[options.modes[0]]
        for mode, found in tables.items():
            differ = sorted(n for n in first.keys() | found.keys() if first.get(n) != found.get(n))
            print(f"tables of {mode} that differ: {', '.join(differ) or 'none'} of {len(found)}")


if __name__ == "__main__":
    main()
