"""Share of null experiments with a call, where wells lie on several lanes.

    python benchmarks/wells_over_lanes.py [--experiments 100] [--before]

Experiments of ``datasets.simulate_coculture(null=True)``: three donors, wells that differ, no
effect of the co-culture. Each pool is loaded on two lanes, and the second lane is sequenced at half
the depth. Then no more than 5 % of the experiments should have a call (8 % with the error of 100
experiments). ``--before`` counts each lane's part of a well as a sample of its own, as nkscore did
before version 0.1.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from unittest import mock

import numpy as np
import pandas as pd
from tqdm import tqdm

import nkscore as nk
from nkscore._samples import _samples
from nkscore.tl._composition import _state_counts

SCORE = "DUFVA2023_CORE_NK_RESPONSE"


def experiment(seed, **options):
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "JURKAT", "K562", "RI1"],
        n_cells_per_sample=100,
        n_genes=4000,
        null=True,
        sample_effect=0.25,
        lane_effect=0.0,
        ambient=0.0,
        doublets=0.0,
        rng=seed,
        **options,
    )
    nk.datasets.use_truth(adata)
    return adata


def on_two_lanes(adata, seed):
    """Divide the cells of each lane, and thin the counts of the second part by half."""
    rng = np.random.default_rng(seed)
    second = rng.random(adata.n_obs) < 0.5
    made = adata.copy()
    counts = made.layers["counts"].tocsr()
    keep = np.where(np.repeat(second, np.diff(counts.indptr)), 0.5, 1.0)
    counts.data = rng.binomial(counts.data.astype(np.int64), keep).astype(counts.data.dtype)
    counts.eliminate_zeros()
    made.layers["counts"] = counts
    part = np.where(second, "_b", "_a")
    made.obs["lane"] = pd.Categorical(made.obs["lane"].astype(str) + part)
    return made, part


def renamed(adata, part, *, well):
    made = adata.copy()
    names = made.obs["sample"].astype(object)
    if well:
        made.obs["well"] = made.obs["sample"]
    made.obs["sample"] = pd.Categorical(names.where(names.isna(), names.astype(str) + part))
    return made


def one_donor(adata):
    """Make the donors experiments of one donor."""
    made = adata.copy()
    made.obs["experiment"] = made.obs["nk_donor"]
    names = made.obs["nk_donor"].astype(object)
    made.obs["nk_donor"] = pd.Categorical(names.where(names.isna(), "d1"))
    return made


def uneven(seed):
    """Return an experiment as uneven as real lanes."""
    return experiment(
        seed,
        uneven_depth=4.0,
        lanes_per_pool=2,
        nk_lane=True,
        bystanders=0.1,
        unequal_tags=8.0,
        few_cells=0.2,
        inherited=True,
    )


def cases(seed):
    """Yield name, experiment and options of the test."""
    once = experiment(seed)
    lanes, part = on_two_lanes(once, seed)
    yield "each well on one lane", once, {}
    yield "same sample on two lanes", lanes, {}
    yield "renamed per lane, with a column 'well'", renamed(lanes, part, well=True), {}
    yield "renamed per lane, the tags show the pool", renamed(lanes, part, well=False), {}
    yield "two wells of each line alone", experiment(seed, n_mono_replicates=2), {}
    yield "all that is uneven", uneven(seed), {}
    repeated = renamed(one_donor(lanes), part, well=True)
    yield "one donor, experiments as replicates", repeated, {"replicate": "experiment"}


def tests(adata, options):
    """Yield name and whether anything is called."""
    for compartment in ("tumor", "nk"):
        made = nk.tl.interaction_response(adata, compartment, **options)
        yield f"interaction_response, {compartment}", made["q_value"].min() < 0.05
    made = nk.tl.state_shift(adata, "truth_nk_state", include_unassigned=True, **options)
    yield "state_shift", made["q_value"].min() < 0.05
    made = nk.tl.nk_activation(adata, state="truth_nk_state", **options)
    yield "nk_activation", made["q_value"].min() < 0.05
    made = nk.tl.response_score(adata, SCORE, **options)
    yield "response_score", made["q_value"].min() < 0.05
    made = nk.tl.decompose_shift(adata, SCORE, "truth_phase", **options)
    total = made[(made["stratum"] == "all") & (made["component"] == "total")]
    outside = (total["ci_low"] > 0) | (total["ci_high"] < 0)
    # 95 % intervals: five in a hundred lines are outside, so lines are counted, not experiments.
    yield "decompose_shift (share of lines)", outside.mean()


@contextlib.contextmanager
def parts_counted(before):
    """Count each part of a well, if ``before``."""
    with contextlib.ExitStack() as stack:
        for module in (_samples, _state_counts) if before else ():
            stack.enter_context(mock.patch.object(module, "wells_of", lambda obs, **_: own(obs)))
        yield


def own(obs):
    return {str(name): str(name) for name in obs["sample"].dropna().unique()}


def run(seeds, *, before=False):
    rows = []
    for seed in tqdm(seeds, disable=None):
        for case, adata, arguments in cases(seed):
            nk.pp.normalize(adata)
            nk.tl.score(adata, SCORE)
            with parts_counted(before):
                found = list(tests(adata, arguments))
            rows += [{"case": case, "test": test, "called": float(x)} for test, x in found]
        if seed % 10 == 9:
            print(f"up to {seed}\n{_shares(rows).to_string()}", file=sys.stderr, flush=True)
    return _shares(rows)


def _shares(rows):
    table = pd.DataFrame(rows)
    return table.pivot_table(index="case", columns="test", values="called", sort=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="seed of the first experiment")
    parser.add_argument("--before", action="store_true", help="count each part of a well")
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    pd.set_option("display.width", 250, "display.max_columns", 20)
    start = time.process_time()
    seeds = range(options.first, options.first + options.experiments)
    table = run(seeds, before=options.before)
    print(f"Share of {options.experiments} null experiments with a call")
    print(table.round(3).to_string())
    print(f"{time.process_time() - start:.0f} s CPU")


if __name__ == "__main__":
    main()
