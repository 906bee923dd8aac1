"""Speed, false discoveries, power and donor permutations of ``tl.interaction_response``.

Run from the repository root, on one thread::

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/response.py speed
    python benchmarks/response.py planted
    python benchmarks/response.py donors --shared ../shared

``speed``: CPU seconds and memory of the joint model, without I/O, of 156 samples (26 lines × 2 arms
× 3 donors) × 20,000 genes; the second call is timed, since the first compiles.

``planted``: experiments with planted effects and no ambient RNA, of a usual design (3 donors, one
monoculture per line), a favorable one (6 donors, three monocultures) and a poor one (2 donors, one
monoculture); the same sums are given to pydeseq2, with the same genes.

``donors``: cells of Kang et al. 2018 (doi 10.1038/nbt.4042), all as a user would call it. *Splits*
divide the donors of one arm in two halves, in all 35 ways: nothing differs but donors, in genes
that differ by genotype too (sex chromosomes, HLA, GSTM1: with and without). *Flips* exchange the
arms of some donors. Where half are exchanged, the response cancels if donors weigh the same;
otherwise a part of it is left, and only genes without a response tell of false calls. The 35 splits
share eight donors, so that the binomial error is a lower limit. *Halves* fits disjoint donors and
compares directions.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import re
import resource
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk
from nkscore.errors import DesignError, NkscoreWarning
from nkscore.stats import (
    expressed_genes,
    fit_count_response,
    fit_deseq2,
    fit_response,
    line_factors,
    response_design,
)
from nkscore.tl._response._response_inputs import response_inputs

MODELS: dict[str, dict[str, Any]] = {
    "default": {},
    "voom": {"method": "voom"},
    "as limma": {
        "method": "voom",
        "normalization": "tmm",
        "line_variance": False,
        "overdispersion": False,
    },
}
DESIGNS = {
    "usual": {"n_donors": 3},
    "favorable": {"n_donors": 6, "n_mono_replicates": 3},
    "poor": {"n_donors": 2},
}
#: Differ between people by what they inherit, whatever is done to their cells.
_INHERITED = re.compile(
    r"XIST|TSIX|RPS4Y1|DDX3Y|EIF1AY|KDM5D|UTY|USP9Y|ZFY|TMSB4Y|TXLNGY|TTTY\d+|HLA-.*|GSTM1"
)


def speed(_: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    line = np.repeat([f"line{i}" for i in range(26)], 6).astype(object)
    treated = np.tile([False, False, False, True, True, True], 26)
    donor = np.tile(["d1", "d2", "d3"], 52).astype(object)
    mean = np.exp(rng.normal(3, 1.5, 20_000))
    counts = rng.poisson(mean * rng.gamma(20, 0.05, (156, 20_000))).astype(float)
    scatter = rng.gamma(20, 0.05, 20_000) * (1 + mean / 100)
    wells = np.array([f"w{i}" for i in range(156)], dtype=object)
    print("| design | variance | coefficients | CPU s |\n| --- | --- | --- | --- |")
    for name, replicate, extra in (
        ("donor as covariate", wells, {"donor": list(donor)}),
        ("donors matched in each line", donor, None),
    ):
        design = response_design(treated, line, replicate, covariates=extra)
        for label, choices in MODELS.items():
            seconds = []
            for _run in range(2):
                start = time.process_time()
                _fit(counts, design, choices, scatter)
                seconds.append(time.process_time() - start)
            print(f"| {name} | {label} | {design.matrix.shape[1]} | {seconds[-1]:.2f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak resident memory of the process: {peak:.0f} MiB")


def _fit(
    counts: Any, design: Any, choices: dict[str, Any], scatter: Any, **more: Any
) -> pd.DataFrame:
    """Fit with the options of the tool."""
    rest = {"method": "quasi_likelihood", "normalization": "line", "overdispersion": True} | choices
    more["overdispersion"] = scatter if rest.pop("overdispersion") else None
    if rest.pop("normalization") == "line":
        more["effective"] = line_factors(counts, counts.sum(axis=1), design).library
    if rest.pop("method") == "voom":
        more = {k: v for k, v in more.items() if k not in {"n_cells", "cell_squares"}}
        return fit_response(counts, design, **more, **rest)
    return fit_count_response(counts, design, **more, **rest)


def planted(options: argparse.Namespace) -> None:
    print("| design | method | called | of them planted | planted | FDR (95 %) | power | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for design in options.designs:
        rows = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            rows += _one_planted(seed, DESIGNS[design])
        total = pd.DataFrame(rows).groupby("method", sort=False).sum()
        for name, row in total.iterrows():
            _print_planted(design, name, row)


def _print_planted(design: str, name: Any, row: Any) -> None:
    calls, share = int(row["calls"]), "-"
    false = calls - int(row["true"])
    if calls:
        low, high = stats.binomtest(false, calls).proportion_ci(0.95)
        share = f"{100 * false / calls:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
    print(
        f"| {design} | {name} | {calls} | {row['true']:.0f} | {row['planted']:.0f} | {share} | "
        f"{100 * row['true'] / row['planted']:.2f} % | {row['cpu']:.1f} |",
        flush=True,
    )


def _one_planted(seed: int, design_options: dict[str, int]) -> list[dict[str, Any]]:
    adata = nk.datasets.simulate_coculture(
        n_cells_per_sample=100,
        n_genes=4000,
        ambient=0.0,
        doublets=0.0,
        selection=0.0,
        rng=seed,
        **design_options,
    )
    nk.datasets.use_truth(adata)
    truth = adata.uns["truth"]["response"]
    inputs = response_inputs(
        adata,
        "tumor",
        treated="coculture",
        control=None,
        by="tumor",
        replicate="nk_donor",
        condition="condition",
        covariates=(),
        min_cells=10,
    )
    sums, design, scatter = inputs.sums.sums, inputs.design, inputs.overdispersion()
    n_cells = inputs.samples.table["n_cells"].to_numpy(float)
    of_cells = {"n_cells": n_cells, "cell_squares": inputs.sums.squares}
    tested = expressed_genes(sums, design, library=sums.sum(axis=1), min_count=10, n_cells=n_cells)
    fits = {
        **{
            label: partial(
                _fit,
                sums,
                design,
                choices,
                scatter,
                tested=tested,
                **of_cells,
            )
            for label, choices in MODELS.items()
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
                "method": name,
                "calls": call.sum(),
                "true": (call & real).sum(),
                "planted": real.sum(),
                "cpu": cpu,
            }
        )
    return rows


def _kang(shared: Path) -> ad.AnnData:
    adata = ad.read_h5ad(shared / "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    adata = adata[adata.obs["donor"].notna().to_numpy()].copy()
    adata.layers["counts"] = adata.X
    obs = adata.obs
    obs["sample"] = obs["donor"].astype(str) + "_" + obs["condition"].astype(str)
    return adata


def _response(adata: ad.AnnData, arm: Any, choices: dict[str, Any]) -> pd.DataFrame:
    """Compare cells where ``arm`` is true with the others."""
    adata.obs["arm"] = np.where(arm, "a", "b")
    return nk.tl.interaction_response(
        adata,
        None,
        treated="a",
        control="b",
        by="cell_type",
        replicate="donor",
        condition="arm",
        **choices,
    )


def donors(options: argparse.Namespace) -> None:
    kang = _kang(options.shared)
    names = kang.obs["donor"].astype(str).to_numpy()
    everyone = sorted(set(names))
    columns = ("null", "method", "with a call", "without inherited", "p < 0.05", "p < 0.001")
    print(f"| {' | '.join(columns)} | KS distance | calls in a cell type |")
    print(f"|{' --- |' * 8}")
    between = {"method": "welch_t"}
    stimulated = (kang.obs["condition"] == "stim").to_numpy()
    kinds = kang.obs["cell_type"].astype(str).to_numpy()
    for label, cells in (("control", ~stimulated), ("stimulated", stimulated)):
        part = kang[cells].copy()
        arms = [np.isin(names[cells], half) for half in _halves(everyone)]
        for model, choices in MODELS.items():
            _report(f"splits, {label}", model, part, arms, choices)
        _report(f"splits, {label}", "welch_t", part, arms[: options.between_cells], between)
        for kind in options.types:
            own = cells & (kinds == kind)
            arms_own = [np.isin(names[own], half) for half in _halves(everyone)]
            _report(f"splits, {label}, {kind}", "default", kang[own].copy(), arms_own, {})
    real = _response(kang, stimulated, {})
    silent = real.loc[real["p_value"] > 0.2, ["tumor", "gene"]]
    halves = [stimulated ^ np.isin(names, half) for half in _halves(everyone)]
    _report("flips of four donors", "default", kang, halves, {})
    _report("flips of four donors", "welch_t", kang, halves[: options.between_cells], between)
    for number in (1, 2, 3):
        arms = [
            stimulated ^ np.isin(names, some) for some in itertools.combinations(everyone, number)
        ]
        _report(f"flips of {number}, genes with p > 0.2", "default", kang, arms, {}, only=silent)
    _report("flips of four, genes with p > 0.2", "default", kang, halves, {}, only=silent)
    _directions(kang, names, stimulated, everyone)


def _halves(names: list[str]) -> list[list[str]]:
    """Half of the names in all ways, each division once."""
    return [list(half) for half in itertools.combinations(names[1:], len(names) // 2)]


def _report(
    name: str,
    label: str,
    adata: ad.AnnData,
    arms: list[Any],
    choices: dict[str, Any],
    *,
    only: pd.DataFrame | None = None,
) -> None:
    p_values: list[Any] = []
    calls: list[str] = []
    found, found_rest = 0, 0
    for arm in arms:
        try:
            table = _response(adata, arm, choices)
        except DesignError:
            continue
        if only is not None:
            table = table.merge(only, on=["tumor", "gene"])
            table["q_value"] = stats.false_discovery_control(table["p_value"])
        called = table[table["q_value"] < 0.05]
        rest = table[~table["gene"].str.fullmatch(_INHERITED)]
        found += bool(len(called))
        found_rest += bool((stats.false_discovery_control(rest["p_value"]) < 0.05).any())
        calls += list(called["gene"] + " (" + called["tumor"] + ")")
        p_values.append(table["p_value"].to_numpy())
    p, n = np.concatenate(p_values), len(p_values)
    distance = stats.kstest(p, "uniform").statistic
    most = pd.Series(calls, dtype=str).value_counts().head(8)
    print(
        f"| {name} | {label} | {found} of {n} | {found_rest} of {n} | {100 * np.mean(p < 0.05):.1f}"
        f" % | {100 * np.mean(p < 0.001):.2f} % | {distance:.3f} | {len(calls)}: "
        f"{', '.join(f'{gene} {times}' for gene, times in most.items())} |",
        flush=True,
    )


def _directions(kang: ad.AnnData, names: Any, stimulated: Any, everyone: list[str]) -> None:
    tables = []
    for half in (everyone[::2], everyone[1::2]):
        cells = np.isin(names, half)
        tables.append(_response(kang[cells].copy(), stimulated[cells], {}))
    both = tables[0].merge(tables[1], on=["tumor", "gene"])
    for side in ("x", "y"):
        called = both[both[f"q_value_{side}"] < 0.05]
        same = np.sign(called["log2_fc_x"]) == np.sign(called["log2_fc_y"])
        print(f"\nHalves: {len(called)} calls in one, {100 * same.mean():.1f} % of them")
        print("have the same direction in the other.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("speed", "planted", "donors"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=2000)
    parser.add_argument("--designs", nargs="+", choices=tuple(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--types", nargs="*", default=["CD14 Mono", "CD4 Memory T"])
    parser.add_argument("--between-cells", type=int, default=5, help="runs of method='welch_t'")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", NkscoreWarning)
    {"speed": speed, "planted": planted, "donors": donors}[options.part](options)


if __name__ == "__main__":
    main()
