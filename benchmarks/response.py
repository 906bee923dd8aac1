"""Speed, false discoveries, power and donor permutations of ``tl.interaction_response``.

Run from the repository root, on one thread::

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/response.py speed
    python benchmarks/response.py planted
    python benchmarks/response.py donors --shared ../shared

``speed``: CPU seconds and memory of the joint model, without I/O, of 156 samples (26 lines × 2 arms
× 3 donors) × 20,000 genes; the second call is timed, since the first compiles.

``planted``: experiments with planted effects and no ambient RNA; the same sums are given to
pydeseq2, with the same genes.

``donors``: cells of Kang et al. 2018 (doi 10.1038/nbt.4042). *Splits* divide the donors of one arm
in two halves, in all ways: nothing differs but donors. *Flips* exchange the arms of half of the
donors: the effect cancels where donors weigh the same. *Halves* fits disjoint donors and compares
directions. The 35 splits share eight donors, so that the binomial error is a lower limit.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import resource
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk
from nkscore._shared._response_inputs import response_inputs
from nkscore.errors import DesignError
from nkscore.stats import expressed_genes, fit_deseq2, fit_response, response_design

MODELS = {"one variance for all lines": False, "variance per line": True}


def speed(_: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    line = np.repeat([f"line{i}" for i in range(26)], 6).astype(object)
    treated = np.tile([False, False, False, True, True, True], 26)
    donor = np.tile(["d1", "d2", "d3"], 52).astype(object)
    mean = np.exp(rng.normal(3, 1.5, 20_000))
    counts = rng.poisson(mean * rng.gamma(20, 0.05, (156, 20_000))).astype(float)
    wells = np.array([f"w{i}" for i in range(156)], dtype=object)
    print("| design | variance | coefficients | CPU s |\n| --- | --- | --- | --- |")
    for name, replicate, extra in (
        ("donor as covariate", wells, {"donor": list(donor)}),
        ("donors matched in each line", donor, None),
    ):
        design = response_design(treated, line, replicate, covariates=extra)
        for label, own in MODELS.items():
            seconds = []
            for _run in range(2):
                start = time.process_time()
                fit_response(counts, design, line_variance=own)
                seconds.append(time.process_time() - start)
            print(f"| {name} | {label} | {design.matrix.shape[1]} | {seconds[-1]:.2f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak resident memory of the process: {peak:.0f} MiB")


def planted(options: argparse.Namespace) -> None:
    rows = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        rows += _one_planted(seed)
    total = pd.DataFrame(rows).groupby("method", sort=False).sum()
    print("| method | calls | of them planted | planted | FDR (95 %) | power | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in total.iterrows():
        false = int(row["calls"] - row["true"])
        low, high = stats.binomtest(false, int(row["calls"])).proportion_ci(0.95)
        print(
            f"| {name} | {row['calls']:.0f} | {row['true']:.0f} | {row['planted']:.0f} | "
            f"{100 * false / row['calls']:.1f} % ({100 * low:.1f} to {100 * high:.1f}) | "
            f"{100 * row['true'] / row['planted']:.1f} % | {row['cpu']:.1f} |"
        )


def _one_planted(seed: int) -> list[dict[str, Any]]:
    adata = nk.datasets.simulate_coculture(
        n_cells_per_sample=100, n_genes=4000, ambient=0.0, doublets=0.0, selection=0.0, rng=seed
    )
    nk.datasets.use_truth(adata)
    truth = adata.uns["truth"]["response"]
    inputs = response_inputs(
        adata, "tumor", treated="coculture", control=None, by="tumor", replicate="nk_donor",
        condition="condition", covariates=(), min_cells=10,
    )  # fmt: skip
    sums, design = inputs.sums.sums, inputs.design
    tested = expressed_genes(sums, design, library=sums.sum(axis=1), min_count=10)
    fits = {
        **{
            label: lambda own=own: fit_response(sums, design, line_variance=own)
            for label, own in MODELS.items()
        },
        "pydeseq2": lambda: fit_deseq2(sums, design, tested=tested),
    }
    rows = []
    for name, fit in fits.items():
        start = time.process_time()
        table = fit()
        cpu = time.process_time() - start
        table = table.assign(tumor=table["group"], gene=adata.var_names[table["gene"]])
        both = table.merge(truth, on=["tumor", "gene"], how="left", suffixes=("", "_true"))
        real = both["log2_fc_true"].notna()
        call = stats.false_discovery_control(both["p_value"]) < 0.05
        rows.append(
            {
                "method": name, "calls": call.sum(), "true": (call & real).sum(),
                "planted": real.sum(), "cpu": cpu,
            }
        )  # fmt: skip
    return rows


class Kang:
    """Sums of each cell type of each donor and arm."""

    def __init__(self, shared: Path) -> None:
        adata = ad.read_h5ad(shared / "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
        adata = adata[adata.obs["donor"].notna().to_numpy()].copy()
        adata.layers["counts"] = adata.X.copy()
        obs = adata.obs
        obs["sample"] = obs["donor"].astype(str) + "_" + obs["condition"].astype(str)
        inputs = response_inputs(
            adata, None, treated="stim", control="ctrl", by="cell_type", replicate="donor",
            condition="condition", covariates=(), min_cells=10,
        )  # fmt: skip
        table = inputs.samples.table
        self.counts, self.treated = inputs.sums.sums, table["treated"].to_numpy()
        self.types = table["cell_type"].astype(str).to_numpy(dtype=object)
        self.donors = table["donor"].astype(str).to_numpy(dtype=object)

    def test(self, rows: Any, treated: Any, *, own: bool) -> pd.DataFrame:
        """Fit some of the samples, with arms of one's choice."""
        design = response_design(treated[rows], self.types[rows], self.donors[rows])
        table = fit_response(self.counts[rows], design, line_variance=own)
        return table.assign(q_value=stats.false_discovery_control(table["p_value"]))

    def both_arms(self, kind: str) -> list[str]:
        """Donors with both arms of a type, an even number of them."""
        here = self.types == kind
        arms = [set(self.donors[here & side]) for side in (self.treated, ~self.treated)]
        found = sorted(arms[0] & arms[1])
        return found[: len(found) // 2 * 2]


def donors(options: argparse.Namespace) -> None:
    kang = Kang(options.shared)
    everyone = sorted(set(kang.donors))
    print("| null | variance | experiments with a call | p < 0.05 | p < 0.001 | distance |")
    print("| --- | --- | --- | --- | --- | --- |")
    for label, own in MODELS.items():
        for arm, side in (("control", ~kang.treated), ("stimulated", kang.treated)):
            rows = np.flatnonzero(side)
            arms = [np.isin(kang.donors, half) for half in _halves(everyone)]
            _report(f"splits, {arm}, all types", label, kang, rows, arms, own=own)
    own = MODELS[label]
    for kind in sorted(set(kang.types)):
        known = kang.both_arms(kind)
        for arm, side in (("control", ~kang.treated), ("stimulated", kang.treated)):
            rows = np.flatnonzero(side & (kang.types == kind))
            if rows.size == len(everyone):
                arms = [np.isin(kang.donors, half) for half in _halves(everyone)]
                _report(f"splits, {arm}, {kind}", "one type", kang, rows, arms, own=own)
        if len(known) >= 4:
            rows = np.flatnonzero((kang.types == kind) & np.isin(kang.donors, known))
            arms = [kang.treated ^ np.isin(kang.donors, half) for half in _halves(known)]
            _report(f"flips, {kind}", "one type", kang, rows, arms, own=own)
    for label, own in MODELS.items():
        _directions(label, kang, everyone, own=own)


def _halves(names: list[str]) -> list[list[str]]:
    """Half of the names in all ways, each division once."""
    return [list(half) for half in itertools.combinations(names[1:], len(names) // 2)]


def _report(name: str, label: str, kang: Kang, rows: Any, arms: list[Any], *, own: bool) -> None:
    p_values, with_call, n = [], 0, 0
    for treated in arms:
        try:
            table = kang.test(rows, treated, own=own)
        except DesignError:
            continue
        n += 1
        with_call += bool((table["q_value"] < 0.05).any())
        p_values.append(table["p_value"].to_numpy())
    p = np.concatenate(p_values)
    distance = stats.kstest(p, "uniform").statistic
    print(
        f"| {name} | {label} | {with_call} of {n} | {100 * np.mean(p < 0.05):.1f} % | "
        f"{100 * np.mean(p < 0.001):.2f} % | {distance:.3f} |", flush=True,
    )  # fmt: skip


def _directions(label: str, kang: Kang, everyone: list[str], *, own: bool) -> None:
    tables = []
    for half in (everyone[::2], everyone[1::2]):
        rows = np.flatnonzero(np.isin(kang.donors, half))
        tables.append(kang.test(rows, kang.treated, own=own))
    both = tables[0].merge(tables[1], on=["group", "gene"])
    for side in ("x", "y"):
        called = both[both[f"q_value_{side}"] < 0.05]
        same = np.sign(called["log2_fc_x"]) == np.sign(called["log2_fc_y"])
        print(f"\nHalves, {label}: {len(called)} calls in one, {100 * same.mean():.1f} % of them")
        print("have the same direction in the other.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("speed", "planted", "donors"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=2000)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    {"speed": speed, "planted": planted, "donors": donors}[options.part](options)


if __name__ == "__main__":
    main()
