"""Contacts of NK and tumor cells: planted pairs found, error of intervals, calls where none are.

    python benchmarks/contacts.py                       # every table, few repeats
    python benchmarks/contacts.py --only excess --runs 9 # one of: excess, null, genes, states

``excess``: 3 lanes of 7 hashtags, 6 lines with 0.98 to 6.3 % attached pairs; per line, how far the
estimate over three wells is from the pairs that were drawn and passed QC, and the planted rate.
``null``: nothing attached, weak and uneven tags; p below .05 by sample and line, calls by
experiment. ``genes``: contact genes of a factor, power and false calls.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd

import nkscore as nk

RATES = {
    "697": 0.0,
    "ALLSIL": 0.0098,
    "JURKAT": 0.0194,
    "K562": 0.0192,
    "RI1": 0.0396,
    "GDM1": 0.063,
}


def experiment(seed, contacts, n=1400, **options):
    adata = nk.datasets.simulate_coculture(
        n_cells_per_sample=n,
        n_genes=options.pop("n_genes", 3950),
        contacts=contacts,
        rng=seed,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nk.pp.qc(adata)
        nk.pp.demultiplex(adata)
        nk.pp.compartments(adata)
    return adata


def drawn(adata):
    """Attached pairs of each line that passed QC, and their share of the drawn droplets."""
    own = adata.obs[(adata.obs["truth_pair"] == "own") & adata.obs["qc_pass"]]
    return own["truth_tumor"].astype(str).value_counts()


def excess(runs, first):
    rows = []
    for seed in range(first, first + runs):
        start = time.perf_counter()
        adata = experiment(seed, nk.datasets.Contacts(rate=RATES))
        found = nk.tl.contacts(adata, by="tumor").set_index("tumor")
        truth, planted = (
            drawn(adata),
            adata.uns["truth"]["contacts"].groupby("tumor")["n_pairs"].sum(),
        )
        for line, rate in RATES.items():
            row, true = found.loc[line], float(truth.get(line, 0))
            # The planted share, of the droplets with one tag that passed QC.
            share = rate * row["n_droplets"]
            rows.append(
                {
                    "seed": seed,
                    "line": line,
                    "rate": 100 * rate,
                    "true": true,
                    "all_planted": planted[line],
                    "found": row["excess"],
                    "per_100": row["per_100"],
                    "inside": row["ci_low"] <= true <= row["ci_high"],
                    "rate_inside": row["ci_low"] <= share <= row["ci_high"],
                    "near": abs(row["excess"] - true) <= 0.2 * max(true, 1e-9),
                    "rate_near": abs(row["per_100"] - 100 * rate) <= 0.2 * 100 * max(rate, 1e-9),
                    "called": row["p_family"] < 0.05,
                }
            )
        print(f"# seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    shown = table.groupby("line", sort=False)[
        ["rate", "true", "found", "per_100", "inside", "rate_inside", "near", "rate_near", "called"]
    ].mean()
    print(shown.round(3).to_string())
    high = table[table["rate"] > 1.9]
    print(
        f"rates of 1.9 % and more, {len(high)} line experiments: within 20 % of the drawn pairs "
        f"{high['near'].mean():.2f}, of the planted rate {high['rate_near'].mean():.2f}; interval "
        f"holds the drawn pairs {high['inside'].mean():.2f}, "
        f"the planted rate {high['rate_inside'].mean():.2f}"
    )


def null(runs, first):
    samples, lines, experiments, recalls = [], [], [], []
    planted = nk.datasets.Contacts(rate=0.0, tag_signal=90.0, tag_spread=0.8)
    for seed in range(first, first + runs):
        adata = experiment(seed, planted, ambient={"Lane_NK2": 0.15}, lane_effect=0.3)
        sample = nk.tl.contacts(adata)
        line = nk.tl.contacts(adata, by="tumor")
        samples += sample["p_value"].dropna().tolist()
        lines += line["p_value"].dropna().tolist()
        experiments.append(bool((line["p_family"] < 0.05).any()))
        obs = adata.obs
        cross = (obs["truth_pair"] == "chance") & (obs["truth_hashtag_class"] == "doublet")
        recalls.append((obs.loc[cross, "hashtag_class"] == "doublet").mean())
        print(
            f"# seed {seed}: p < .05 in {np.mean(np.array(samples) < 0.05):.3f} so far", flush=True
        )
    print(
        f"{runs} experiments: recall of two-tag pairs {np.mean(recalls):.2f}; p < .05 in "
        f"{np.mean(np.array(samples) < 0.05):.3f} of {len(samples)} samples, "
        f"{np.mean(np.array(lines) < 0.05):.3f} of {len(lines)} lines; any line called in "
        f"{sum(experiments)} of {runs}"
    )


def genes(runs, first, log2_fc=1.0):
    rows = []
    for seed in range(first, first + runs):
        planted = nk.datasets.Contacts(rate=0.04, log2_fc=log2_fc)
        lines = ["697", "ALLSIL", "K562", "RI1", "GDM1"]
        adata = experiment(seed, planted, 1000, n_genes=6000, tumors=lines, doublets=0.07)
        table = nk.tl.contact_response(adata)
        true = table["gene"].isin(adata.uns["truth"]["contact_genes"]["gene"])
        called = table["q_value"] < 0.05
        rows.append(
            {
                "own": table["n_own"].iloc[0],
                "cross": table["n_cross"].iloc[0],
                "power": (called & true).sum() / true.sum(),
                "false": (called & ~true).sum() / max(called.sum(), 1),
                "null p < .05": (table.loc[~true, "p_value"] < 0.05).mean(),
                "median log2_fc": table.loc[true, "log2_fc"].median(),
            }
        )
        print(pd.DataFrame(rows).round(3).tail(1).to_string(header=seed == first), flush=True)
    print(pd.DataFrame(rows).mean().round(3).to_string())


def states(runs, first):
    """States of both cells of pairs, beside single cells; ratios of contact, planted and not."""
    rows, ratios = [], []
    for seed in range(first, first + runs):
        factor = {"activated": 3.0, "low_myc": 1 / 3} if seed % 2 else {}
        planted = nk.datasets.Contacts(rate=0.05, states=factor)
        lines = ["697", "K562", "RI1", "GDM1"]
        adata = experiment(seed, planted, 900, n_genes=6000, tumors=lines, doublets=0.05)
        for part in (1.0, 0.5, 0.25):
            thin = thinned(adata, part, seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nk.tl.nk_states(thin)
                nk.tl.tumor_states(thin)
                nk.tl.pair_states(thin)
            rows.append({"seed": seed, "counts": part} | judged(thin))
            print(pd.DataFrame(rows).round(3).tail(1).to_string(index=False), flush=True)
        for compartment in ("nk", "tumor"):
            table = nk.tl.contact_preferences(adata_with_states(adata), compartment=compartment)
            ratios.append(table.assign(compartment=compartment, planted=bool(factor)))
    print(pd.DataFrame(rows).drop(columns="seed").groupby("counts").mean().round(3).to_string())
    found = pd.concat(ratios).dropna(subset="p_value")
    null = found[~found["planted"]]
    print(f"nothing planted: p < .05 in {(null['p_value'] < 0.05).sum()} of {len(null)} states")
    columns = ["state", "log2_odds_ratio", "ci_low", "ci_high"]
    print(found[found["planted"]][columns].round(2).to_string(index=False))


def adata_with_states(adata):
    copy = adata.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nk.tl.nk_states(copy)
        nk.tl.tumor_states(copy)
    return copy


def thinned(adata, part, seed):
    copy = adata.copy()
    counts = copy.layers["counts"]
    kept = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), part)
    counts.data[:] = kept
    counts.eliminate_zeros()
    return copy


def judged(adata):
    """Share of right states: most probable of single cells and of pairs, and of certain pairs."""
    obs = adata.obs
    single = (
        (obs["compartment"] == "nk") & ~obs["truth_doublet"] & (obs["truth_compartment"] == "nk")
    )
    pair = obs["truth_pair"].notna() & obs["pair_nk_state"].notna()
    right = {}
    for name, here in (("nk_state_posterior", single), ("pair_nk_posterior", pair)):
        best = adata.obsm[name].loc[here].fillna(0).idxmax(axis=1)
        right[name] = best == obs.loc[here, "truth_nk_state"].astype(str)
    sure = obs.loc[pair, "pair_nk_state_confidence"] >= 0.8
    low = obs.loc[pair, "pair_tumor_state"] == "low_myc_dormant_like"
    true = obs.loc[pair, "truth_tumor_state"] == "low_myc"
    return {
        "pairs": int(pair.sum()),
        "single": right["nk_state_posterior"].mean(),
        "pair": right["pair_nk_posterior"].mean(),
        "sure": sure.mean(),
        "right where sure": right["pair_nk_posterior"][sure].mean(),
        "low MYC precision": true[low].mean(),
        "low MYC recall": low[true].mean(),
    }


TABLES = {"excess": excess, "null": null, "genes": genes, "states": states}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(TABLES))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    options = parser.parse_args()
    for name in [options.only] if options.only else TABLES:
        print(f"\n{name}")
        TABLES[name](options.runs, options.first)


if __name__ == "__main__":
    main()
