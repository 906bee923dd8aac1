"""Check that `tl.state_shift` finds nothing where no state shifts.

Run from the repository root (about a minute)::

    python benchmarks/composition.py --experiments 200

Three lines and a shared control, each with every donor; five states from 55 % to 2 % of the cells,
50 to 400 cells a sample. Samples vary as a Dirichlet-multinomial, the same with differences of
donors, or with logistic normal noise. Printed: shares of small p-values, the Kolmogorov distance to
the uniform one, shares below 0.05 in the most common and the rarest state, and the share of
experiments with any q < 0.05.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk

BASE = np.array([0.55, 0.25, 0.12, 0.06, 0.02])


def experiment(rng: np.random.Generator, kind: str, donors: int) -> pd.DataFrame:
    rows = []
    for donor in range(donors):
        mean = BASE * (np.exp(rng.normal(0, 0.3, 5)) if kind == "with donors" else 1.0)
        for line in (None, "A", "B", "C"):
            share = rng.dirichlet(40 * mean / mean.sum())
            if kind == "logistic normal":
                share = mean * np.exp(rng.normal(0, 0.35, 5))
            counts = rng.multinomial(int(rng.integers(50, 400)), share / share.sum())
            rows += [
                {"sample": f"{line}_{donor}", "tumor": line, "nk_donor": f"d{donor}",
                 "condition": "coculture" if line else "nk_mono", "state": f"s{i}", "n_cells": n}
                for i, n in enumerate(counts)
            ]  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--donors", type=int, default=3)
    options = parser.parse_args()
    print("| samples vary | p < 0.05 | p < 0.01 | KS | common | rare | any q < 0.05 |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("Dirichlet-multinomial", "with donors", "logistic normal"):
        rng = np.random.default_rng(0)
        tables = [
            nk.tl.state_shift(experiment(rng, kind, options.donors))
            for _ in range(options.experiments)
        ]
        together = pd.concat(tables)
        p, state = together["p_value"], together["state"]
        cells = [
            (p < 0.05).mean(), (p < 0.01).mean(), stats.kstest(p, "uniform").statistic,
            (p[state == "s0"] < 0.05).mean(), (p[state == "s4"] < 0.05).mean(),
            np.mean([(t["q_value"] < 0.05).any() for t in tables]),
        ]  # fmt: skip
        print(f"| {kind} | {' | '.join(f'{x:.3f}' for x in cells)} |")


if __name__ == "__main__":
    main()
