"""Fates of clones: calls where only drift acts, power for a loss by clone size, resistance.

    python benchmarks/clones.py                      # every table, few repeats
    python benchmarks/clones.py --only null --runs 50 # one of: null, power, resistance, guides

Counts of clones are drawn as ``datasets.Clones`` draws them: founders seeded at random, half of
them killed at random in co-culture, then cells sequenced. ``growth`` adds growth of each founder
by a birth process (Yule), ``uneven`` growth that differs between wells (SD .3, natural log).
``guides``: non-targeting guides of Papalexi et al. 2021 (THP-1, ../shared) as clones, replicates
as wells: only drift can act. Random halves of each replicate as arms: nothing can act.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import nkscore as nk
from nkscore.stats import fit_drift, wells_apart

GUIDES = Path(__file__).resolve().parents[2] / "shared" / "data" / "papalexi_eccite_thp1"


def wells(rng, size, n, *, founders, kind, survivors=1.0, effect=None, jackpots=0):
    rows = []
    for _ in range(n):
        alive = rng.multinomial(founders, size)
        if survivors < 1:
            alive = rng.binomial(alive, survivors)
        grown = alive.astype(float)
        if kind == "growth":
            grown = np.where(alive > 0, rng.gamma(np.maximum(alive, 1)), 0.0)
        if kind == "uneven":
            grown = grown * np.exp(0.3 * rng.normal(size=size.size))
        grown = grown * 2.0 ** (np.zeros(size.size) if effect is None else effect)
        lucky = rng.choice(size.size, jackpots, replace=False)
        grown[lucky] = np.maximum(grown[lucky], 1) * 64
        rows.append(rng.multinomial(rng.integers(800, 2500), grown / grown.sum()))
    return np.array(rows)


def cells(arms):
    parts = []
    for condition, table in arms.items():
        well, clone = np.nonzero(table)
        n = table[well, clone]
        parts.append(
            pd.DataFrame(
                {
                    "sample": [f"{condition}_{w}" for w in np.repeat(well, n)],
                    "condition": condition,
                    "clone": [f"c{c}" for c in np.repeat(clone, n)],
                }
            )
        )
    obs = pd.concat(parts, ignore_index=True).assign(tumor="line", compartment="tumor")
    return ad.AnnData(obs=obs.set_axis(obs.index.astype(str)))


def experiment(seed, n_clones, n_wells, *, founders=5000, kind="seeding", fold=None, **more):
    rng = np.random.default_rng(seed)
    size = np.exp(1.2 * rng.normal(size=n_clones))
    size /= size.sum()
    if fold is not None:
        # The largest clone takes the place of what is lost, so that no other share changes.
        big = int(size.argmax())
        size[[1, big]] = size[[big, 1]]
        effect = np.zeros(n_clones)
        effect[::10] = -np.log2(fold)
        effect[1] = np.log2(1 + size[::10].sum() * (1 - 1 / fold) / size[1])
        more["effect"] = effect
    arms = {
        "tumor_mono": wells(rng, size, n_wells, founders=founders, kind=kind),
        "coculture": wells(rng, size, n_wells, founders=founders, kind=kind, survivors=0.5, **more),
    }
    return nk.tl.clone_fate(cells(arms)), size


def null(runs, first):
    rows = []
    for n, w, founders, kind in itertools.product(
        (8, 20, 60, 300), (2, 3), (500, 5000), ("seeding", "growth", "uneven")
    ):
        runs_here = runs if n < 300 else max(1, runs // 3)
        p, any_q, resistant, tested = 0, 0, 0, 0
        for seed in range(first, first + runs_here):
            table, _ = experiment(seed, n, w, founders=founders, kind=kind)
            known = table["p_value"].notna()
            p += (table.loc[known, "p_value"] < 0.05).sum()
            tested += known.sum()
            any_q += (table["q_value"] < 0.05).any()
            resistant += table["resistance"].iloc[0] != "unclear"
        rows.append(
            {
                "clones": n,
                "wells": w,
                "founders": founders,
                "drift": kind,
                "experiments": runs_here,
                "clones with p<.05": p / max(tested, 1),
                "experiments with a call": any_q,
                "experiments with resistance called": resistant,
            }
        )
    return pd.DataFrame(rows)


def power(runs, first):
    """Print how often a loss of a tenth of the clones is found, by their cells in monoculture."""
    parts = []
    for fold, w in itertools.product((2, 3, 8), (2, 3, 4)):
        for seed in range(first, first + runs):
            table, _ = experiment(seed, 100, w, fold=fold)
            number = table["clone"].str[1:].astype(int)
            parts.append(
                pd.DataFrame(
                    {
                        "fold": fold,
                        "wells": w,
                        "planted": number % 10 == 0,
                        "filler": number == 1,
                        "cells": table["n_cells_control"],
                        "down": table["fate"].isin(["shrunken", "eliminated"]),
                        "called": table["q_value"] < 0.05,
                        "limit": table["detectable_loss"],
                    }
                )
            )
    every = pd.concat(parts, ignore_index=True)
    size = pd.cut(every["cells"], [0, 10, 30, 60, 120, 300, 10**6], right=False)
    found = every[every["planted"]].groupby(["fold", "wells", size], observed=True)["down"]
    print(found.agg(["mean", "size"]).round(2).to_string())
    called = every[every["called"] & ~every["filler"]]
    wrong = 1 - called.groupby(["fold", "wells"])["planted"].mean()
    print("share of calls at q < .05 that are false:")
    print(wrong.round(3).to_string())
    promised = every[every["planted"] & (every["limit"] <= every["fold"])]
    print("found where the limit of detection was met, all folds:", promised["down"].mean())


def resistance(runs, first):
    rows = []
    for kind, w in itertools.product(("before", "acquired", "drift"), (2, 3)):
        calls = []
        for seed in range(first, first + runs):
            effect = np.zeros(60)
            if kind == "before":
                effect[::15] = 3.0
            jackpots = 2 if kind == "acquired" else 0
            table, _ = experiment(seed, 60, w, kind="growth", effect=effect, jackpots=jackpots)
            calls.append(table["resistance"].iloc[0])
        counts = pd.Series(calls).value_counts().to_dict()
        rows.append({"planted": kind, "wells": w, **counts})
    return pd.DataFrame(rows).fillna(0)


def guides(*_):
    adata = ad.read_h5ad(GUIDES / "papalexi_20729x299_counts_110grna.h5ad", backed="r")
    obs = adata.obs
    control = (obs["target"] == "non-targeting").to_numpy()
    for name, part in (("non-targeting guides", obs[control]), ("all guides", obs)):
        levels = sorted(part["bio_rep"].astype(str).unique())
        print(name, part["top_grna"].nunique(), part["bio_rep"].value_counts().to_dict())
        well, clone = part["bio_rep"].astype(str), part["top_grna"].astype(str)
        counts = pd.crosstab(well, clone).to_numpy(dtype=float)
        drift = fit_drift(counts, counts.sum(axis=1))
        p = wells_apart(counts, drift)
        print(
            f"{len(levels)} replicates: {1 / drift.per_cell:.0f} founders, growth CV "
            f"{drift.growth**0.5:.2f}; p < .05 in {np.mean(p < 0.05):.3f} of wells and guides, "
            f"smallest adjusted p {min(1.0, p.min() * p.size):.3f}"
        )
        for seed in range(10):
            # Each replicate is divided at random into four wells, two of each arm.
            quarter = np.random.default_rng(seed).integers(4, size=len(part))
            here = pd.DataFrame(
                {
                    "sample": well + "_" + quarter.astype(str),
                    "clone": clone,
                    "condition": np.where(quarter < 2, "coculture", "tumor_mono"),
                    "tumor": "THP1",
                    "compartment": "tumor",
                },
                index=part.index,
            )
            show(f"random halves {seed}", here)


def show(name, obs):
    table = nk.tl.clone_fate(ad.AnnData(obs=obs))
    p = table["p_value"].dropna()
    print(
        f"{name}: {len(p)} tested, p<.05 {np.mean(p < 0.05):.3f},",
        f"{(table['q_value'] < 0.05).sum()} with q<.05, resistance {table['resistance'].iloc[0]};",
        "; ".join(f"{d['arm']} {d['founders']:.0f} founders" for d in table.attrs["drift"]),
    )


MEASURES = {"null": null, "power": power, "resistance": resistance, "guides": guides}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(MEASURES))
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", nk.errors.NkscoreWarning)
    for name, measure in MEASURES.items():
        if options.only in (None, name):
            found = measure(options.runs, options.first)
            if found is not None:
                print(found.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
