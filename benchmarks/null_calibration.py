r"""Check that nothing is found where nothing was planted.

Run from the repository root (about two minutes)::

    python benchmarks/null_calibration.py --out results/null_calibration

The figures of ``docs/response.md`` (about twelve minutes)::

    python benchmarks/null_calibration.py --truth --responses --first-seed 1000 --seeds 60 \
        --between-cells 10 --out results/null_responses

Experiments without any effect of the interaction go through the whole chain, from hashtags to
tests. Written to the folder: ``null_p_values.png`` (the distribution of the p-values of each test
against the uniform one), ``p_values.tsv`` (share of p-values below 0.05, 0.01 and 0.001 and false
calls per seed and test) and ``summary.tsv`` (the same over all seeds, with the distance from the
uniform, and the share of seeds with any call at q < 0.05 with its 95 % Clopper-Pearson interval).

With ``--null interaction`` ambient RNA and doublets stay: what then is called in tumor cells is NK
RNA, of which ``tl.flag_ambient`` should mark most (``n_flagged``).
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import stats
from tqdm.auto import tqdm

import nkscore as nk
from nkscore.errors import NkscoreWarning

mpl.use("Agg")
import matplotlib.pyplot as plt

LEVELS = (0.05, 0.01, 0.001)
TITLES = {
    "tumor_response": "Tumor response",
    "nk_response": "NK response",
    "nk_state_shift": "NK state shift",
    "tumor_state_shift": "Tumor state shift",
    "tumor_between_cells": "Tumor, test between cells",
    "nk_between_cells": "NK, test between cells",
}


def run_chain(seed: int, options: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """Simulate one experiment without effects and return the table of each test."""
    adata = nk.datasets.simulate_coculture(
        n_donors=options.donors,
        n_cells_per_sample=options.cells,
        n_genes=options.genes,
        null="all" if options.null == "all" else True,
        rng=seed,
    )
    if options.truth:
        nk.datasets.use_truth(adata)
    else:
        nk.pp.qc(adata)
        nk.pp.demultiplex(adata)
        nk.pp.compartments(adata)
    kept = nk.pp.keep(adata)
    tumor = nk.tl.interaction_response(kept, "tumor")
    if options.null == "interaction":
        nk.pp.ambient(kept)
        tumor = nk.tl.flag_ambient(tumor, adata=kept)
    tables = {"tumor_response": tumor, "nk_response": nk.tl.interaction_response(kept, "nk")}
    if seed - options.first_seed < options.between_cells:
        for name in ("tumor", "nk"):
            tables[f"{name}_between_cells"] = nk.tl.interaction_response(
                kept, name, method="welch_t"
            )
    if not options.responses:
        nk.tl.nk_states(kept)
        nk.tl.tumor_states(kept)
        for name in ("nk_state", "tumor_state"):
            tables[f"{name}_shift"] = nk.tl.state_shift(kept, name)
    return tables


def share_with_a_call(with_call: int, n: int) -> dict[str, float]:
    """Return the share of experiments with a call and its exact 95 % interval."""
    interval = stats.binomtest(with_call, n).proportion_ci(0.95)
    return {"share": with_call / n, "low": interval.low, "high": interval.high}


def summary_row(table: pd.DataFrame) -> dict[str, float]:
    """Return shares of small p-values and false calls of one table."""
    p, called = table["p_value"].to_numpy(), table["q_value"].to_numpy() < 0.05
    row: dict[str, float] = {"n_tests": len(p)}
    row |= {f"below_{level:g}": float(np.mean(p < level)) for level in LEVELS}
    row["distance"] = float(stats.kstest(p, "uniform").statistic)
    row["false_calls"] = int(called.sum())
    if "ambient_suspect" in table:
        row["n_flagged"] = int((called & table["ambient_suspect"].to_numpy()).sum())
    return row


def draw(tables: dict[str, pd.DataFrame]) -> plt.Figure:
    """One panel per test, all seeds together."""
    figure, axes = plt.subplots(1, len(tables), figsize=(2.6 * len(tables), 2.3))
    for ax, (name, table) in zip(axes, tables.items(), strict=True):
        nk.pl.p_values(table, ax=ax)
        ax.set_title(f"{TITLES[name]}\n{ax.get_title() or ax.get_title(loc='left')}", fontsize=7)
        ax.set_title("", loc="left")
    figure.tight_layout()
    return figure


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for figure and tables")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--responses", action="store_true", help="skip states and their shifts")
    parser.add_argument(
        "--between-cells",
        type=int,
        default=0,
        metavar="N",
        help="method='welch_t' beside, for the first N seeds",
    )
    parser.add_argument("--donors", type=int, default=3)
    parser.add_argument("--cells", type=int, default=150, help="droplets per well")
    parser.add_argument("--genes", type=int, default=6000)
    parser.add_argument("--null", choices=("all", "interaction"), default="all")
    parser.add_argument("--truth", action="store_true", help="skip pp: use the true labels")
    return parser.parse_args()


def main() -> None:
    options = options_of()
    options.out.mkdir(parents=True, exist_ok=True)
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    start = time.perf_counter()
    warnings.simplefilter("ignore", NkscoreWarning)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = {seed: run_chain(seed, options) for seed in tqdm(seeds, desc="seeds")}
    rows = [
        {"seed": seed, "test": name, **summary_row(table)}
        for seed, tables in runs.items()
        for name, table in tables.items()
    ]
    per_seed = pd.DataFrame(rows)
    together = {
        name: pd.concat([tables[name] for tables in runs.values() if name in tables])
        for name in TITLES
        if name in runs[options.first_seed]
    }
    summary = pd.DataFrame([{"test": n, **summary_row(t)} for n, t in together.items()])
    by_test = per_seed.groupby("test")["false_calls"]
    for name, number in (
        ("seeds_with_a_call", by_test.apply(lambda n: int((n > 0).sum()))),
        ("fewest_calls", by_test.min()),
        ("median_calls", by_test.median()),
        ("most_calls", by_test.max()),
    ):
        summary[name] = summary["test"].map(number)
    exact = [
        share_with_a_call(n, int(by_test.size()[name]))
        for name, n in zip(summary["test"], summary["seeds_with_a_call"], strict=True)
    ]
    summary = summary.join(pd.DataFrame(exact))
    per_seed.to_csv(options.out / "p_values.tsv", sep="\t", index=False)
    summary.to_csv(options.out / "summary.tsv", sep="\t", index=False)
    figure = draw(together)
    figure.savefig(options.out / "null_p_values.png", dpi=200)
    plt.close(figure)
    print(summary.round(4).to_string(index=False))
    print(f"{options.seeds} seeds in {time.perf_counter() - start:.0f} s; written to {options.out}")


if __name__ == "__main__":
    main()
