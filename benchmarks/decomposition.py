"""Coverage and error of ``tl.decompose_shift`` on planted selection and induction.

Run from the repository root (about three minutes)::

    python benchmarks/decomposition.py --experiments 200

Each experiment has its own donors: shares of three states vary between donors (SD 0.4 of the log),
co-culture kills the states unequally and raises the score within each state, both by amounts that
vary between donors; cells scatter around their state's mean (skewed), and samples hold few (15 to
60) or many (100 to 400) cells. Designs: monoculture of each donor (paired), monoculture wells of
their own (unpaired), one monoculture well. The truth is that of 200,000 donors with endless cells.

Printed: mean estimate over truth in percent of the total change, and the share of experiments whose
95 % interval holds the truth, for the t interval and for percentiles of a bootstrap over samples.
"""

from __future__ import annotations

import argparse
import logging

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk
from nkscore.stats import kitagawa

LEVEL = np.array([0.0, 0.6, 1.5])
SHARE = np.log([0.5, 0.3, 0.2])
SURVIVAL = np.log([0.3, 0.6, 1.0])
INDUCED = np.array([0.5, 0.3, 0.1])
COMPONENTS = ("total", "within_state", "composition")


def donors(rng, n, *, null=False):
    """Shares and means of the states in both arms of n donors."""
    base = SHARE + 0.4 * rng.normal(size=(n, 3))
    killed = (0 if null else 1) * SURVIVAL * np.exp(0.3 * rng.normal(size=(n, 1)))
    offset = 0.15 * rng.normal(size=(n, 1))
    raised = (0 if null else 1) * INDUCED + 0.1 * rng.normal(size=(n, 1))
    logits = np.stack([base, base + killed])
    share = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    mean = np.stack([LEVEL + offset, LEVEL + offset + raised])
    return share, np.broadcast_to(mean, share.shape)


def truth(*, null=False):
    share, mean = donors(np.random.default_rng(99), 200_000, null=null)
    split = kitagawa((share[0], share[1]), ((share * mean)[0], (share * mean)[1]))
    within, composition = split.within.sum(), split.composition.sum()
    return dict(zip(COMPONENTS, (within + composition, within, composition), strict=True))


def experiment(rng, n_donors, design, cells, *, null=False):
    """One data set of one line."""
    parts = []
    share, mean = donors(rng, 2 * n_donors, null=null)
    for arm, condition in enumerate(("tumor_mono", "coculture")):
        first = n_donors if design != "paired" and arm == 0 else 0
        wells = 1 if design == "one mono" and arm == 0 else n_donors
        for i in range(first, first + wells):
            n = int(rng.integers(*cells))
            state = rng.choice(3, size=n, p=share[arm, i] / share[arm, i].sum())
            score = mean[arm, i, state] + 0.25 * (rng.gamma(2.0, size=n) - 2)
            donor = f"d{i}" if design == "paired" or arm else None
            parts.append(
                pd.DataFrame(
                    {
                        "sample": f"{condition}{i}",
                        "condition": condition,
                        "nk_donor": donor,
                        "tumor": "line",
                        "compartment": "tumor",
                        "state": state.astype(str),
                        "value": score,
                    }
                )
            )
    obs = pd.concat(parts, ignore_index=True)
    obs.index = obs.index.astype(str)
    counts = sparse.csr_matrix((len(obs), 1), dtype=np.int32)
    return ad.AnnData(obs=obs, layers={"counts": counts}, var=pd.DataFrame(index=["G"]))


def measure(n_experiments, n_donors, design, cells, *, n_resamples, null=False):
    true = truth(null=null)
    scale = truth()["total"]
    hits = {(c, how): [] for c in COMPONENTS for how in ("t", "bootstrap")}
    errors = {c: [] for c in COMPONENTS}
    for seed in range(n_experiments):
        adata = experiment(
            np.random.default_rng([seed, n_donors]), n_donors, design, cells, null=null
        )
        for how in ("t", "bootstrap"):
            if how == "bootstrap" and (design == "one mono" or not n_resamples):
                continue
            resamples = {"n_resamples": n_resamples} if how == "bootstrap" else {}
            table = nk.tl.decompose_shift(
                adata, "value", "state", min_cells=10, interval=how, **resamples
            )
            table = table[table["stratum"] == "all"].set_index("component")
            for c in COMPONENTS:
                row = table.loc[c]
                hits[c, how].append(row["ci_low"] <= true[c] <= row["ci_high"])
                if how == "t":
                    errors[c].append(row["change"] - true[c])
    rows = []
    for c in COMPONENTS:
        bootstrap = hits[c, "bootstrap"]
        rows.append(
            {
                "donors": n_donors,
                "design": design,
                "cells": f"{cells[0]}–{cells[1]}",
                "component": c,
                "truth": round(true[c], 3),
                "bias, % of total": round(100 * np.mean(errors[c]) / scale, 1),
                "SD, % of total": round(100 * np.std(errors[c]) / scale, 1),
                "coverage t": round(100 * np.mean(hits[c, "t"]), 1),
                "coverage bootstrap": round(100 * np.mean(bootstrap), 1) if bootstrap else "–",
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=200)
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    rows = []
    for null in (False, True):
        for n_donors in (3, 6):
            for design in ("paired", "unpaired", "one mono"):
                for cells in ((100, 400), (15, 60)):
                    rows += [
                        {"planted": "nothing" if null else "both"} | row
                        for row in measure(
                            options.experiments,
                            n_donors,
                            design,
                            cells,
                            null=null,
                            n_resamples=0 if null else options.resamples,
                        )
                    ]
    table = pd.DataFrame(rows)
    print("| " + " | ".join(table.columns) + " |\n|" + "---|" * table.shape[1])
    for row in table.itertuples(index=False):
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
