"""Check that `tl.state_shift` finds nothing where no state shifts.

Run from the repository root (about a minute)::

    python benchmarks/composition.py --experiments 200

Three lines and a shared control, each with every donor; five states from 55 % to 2 % of the cells,
50 to 400 cells a sample. Samples vary as a Dirichlet-multinomial, the same with differences of
donors, or with logistic normal noise. Printed: shares of small p-values, the Kolmogorov distance to
the uniform one, shares below 0.05 in the most common and the rarest state, and the share of
experiments with any q < 0.05.

With ``--peer-python``, the interpreter of an environment with scanpro (a port of propeller), one
line is compared with its control by both, with nothing planted and with the second state (25 %)
raised to twice its odds.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk

BASE = np.array([0.55, 0.25, 0.12, 0.06, 0.02])
PLANTED = "s1"
KINDS = ("Dirichlet-multinomial", "with donors", "logistic normal")
PEER = """
import sys, warnings
import numpy as np, pandas as pd
from scanpro import scanpro
warnings.simplefilter("ignore")
table = pd.read_csv(sys.argv[1], sep="\\t")
parts = []
for number, part in table.groupby("experiment"):
    cells = part.loc[np.repeat(part.index, part["n_cells"])]
    found = scanpro(cells, clusters_col="state", conds_col="condition", samples_col="sample",
                    transform="logit", verbosity=0).results["p_values"]
    parts.append(found.rename_axis("state").reset_index(name="p_value").assign(experiment=number))
pd.concat(parts).to_csv(sys.argv[2], sep="\\t", index=False)
"""


def experiment(
    rng: np.random.Generator, kind: str, donors: int, *, lines: str = "ABC", odds: float = 1.0
) -> pd.DataFrame:
    rows = []
    for donor in range(donors):
        mean = BASE * (np.exp(rng.normal(0, 0.3, 5)) if kind == "with donors" else 1.0)
        for line in (None, *lines):
            raised = mean * np.where(np.arange(5) == 1, odds if line else 1.0, 1.0)
            share = rng.dirichlet(40 * raised / raised.sum())
            if kind == "logistic normal":
                share = raised * np.exp(rng.normal(0, 0.35, 5))
            counts = rng.multinomial(int(rng.integers(50, 400)), share / share.sum())
            rows += [
                {
                    "sample": f"{line}_{donor}",
                    "tumor": line,
                    "nk_donor": f"d{donor}",
                    "condition": "coculture" if line else "nk_mono",
                    "state": f"s{i}",
                    "n_cells": n,
                }
                for i, n in enumerate(counts)
            ]
    return pd.DataFrame(rows)


def against_peer(python: str, options: argparse.Namespace) -> None:
    """Print both tools' share of p < 0.05 per state kind, null and planted."""
    print("| samples vary | odds of the second state | tool | p < 0.05, all | second state |")
    print("|---|---|---|---|---|")
    for kind in KINDS:
        for odds in (1.0, 2.0):
            rng = np.random.default_rng(1)
            tables = [
                experiment(rng, kind, options.donors, lines="A", odds=odds).assign(experiment=i)
                for i in range(options.experiments)
            ]
            ours = pd.concat([nk.tl.state_shift(t) for t in tables])
            with tempfile.TemporaryDirectory() as folder:
                files = [str(Path(folder) / name) for name in ("in.tsv", "out.tsv")]
                pd.concat(tables).to_csv(files[0], sep="\t", index=False)
                subprocess.run(  # noqa: S603 (the interpreter is the caller's)
                    [python, "-W", "ignore", "-c", PEER, *files], check=True
                )
                peer = pd.read_csv(files[1], sep="\t")
            for name, found in (("nkscore", ours), ("scanpro", peer)):
                small = found["p_value"] < 0.05
                second = small[(found["state"] == PLANTED).to_numpy()]
                print(f"| {kind} | {odds:g} | {name} | {small.mean():.3f} | {second.mean():.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--donors", type=int, default=3)
    parser.add_argument("--peer-python")
    options = parser.parse_args()
    if options.peer_python:
        against_peer(options.peer_python, options)
        return
    print("| samples vary | p < 0.05 | p < 0.01 | KS | common | rare | any q < 0.05 |")
    print("|---|---|---|---|---|---|---|")
    for kind in KINDS:
        rng = np.random.default_rng(0)
        tables = [
            nk.tl.state_shift(experiment(rng, kind, options.donors))
            for _ in range(options.experiments)
        ]
        together = pd.concat(tables)
        p, state = together["p_value"], together["state"]
        cells = [
            (p < 0.05).mean(),
            (p < 0.01).mean(),
            stats.kstest(p, "uniform").statistic,
            (p[state == "s0"] < 0.05).mean(),
            (p[state == "s4"] < 0.05).mean(),
            np.mean([(t["q_value"] < 0.05).any() for t in tables]),
        ]
        print(f"| {kind} | {' | '.join(f'{x:.3f}' for x in cells)} |")


if __name__ == "__main__":
    main()
