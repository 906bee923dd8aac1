"""Check the core response of experiments with ambient RNA against the planted effects.

Run from the repository root (about five CPU seconds an experiment of six lines)::

    python benchmarks/core_ambient.py --seeds 4 --first-seed 31
    python benchmarks/core_ambient.py --case donors --seeds 6
    python benchmarks/core_ambient.py --case lines26 --seeds 2

Genes are those with an interferon-gamma effect planted in at least five lines. Their truth is the
mean planted effect in the wells of the experiment (``wells``), or what would be planted without
variation between donors and wells (``population``). ``ambient genes`` have more than a quarter of
their counts from ambient RNA, as estimated, on average over lines. ``false`` are core genes among
those without any planted effect.

``measured`` pools what was measured, ``not flagged`` drops flagged rows first, ``adjusted`` pools
the effects without ambient RNA with their own errors: the default of `tl.core_response`.

Selection and doublets are off, as both change genes without being planted effects; ``defaults``
has them.
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import pandas as pd

import nkscore as nk

SIX: dict[str, Any] = {"n_genes": 6000, "n_cells_per_sample": 250, "doublets": 0, "selection": 0}
CASES: dict[str, dict[str, Any]] = {
    "ambient05": {"ambient": 0.05},
    "ambient15": {"ambient": 0.15},
    "uneven": {
        "ambient": {"Lane_NK1": 0.1, "Lane_NK2": 0.1, "Lane_NK3": 0.1, "Lane_targets": 0.01}
    },
    "donors": {"ambient": 0.1, "donor_effect": 0.6},
    "donors_given": {"ambient": 0.1, "donor_response": {"NK1": 0.4, "NK2": 1.0, "NK3": 1.6}},
    "donors8": {"ambient": 0.1, "n_donors": 8, "n_cells_per_sample": 120},
    "lines26": {
        "ambient": 0.15,
        "n_cells_per_sample": 120,
        "tumors": list(nk.datasets.LINES)[:26],
    },
    "defaults": {"ambient": 0.05, "doublets": 0.05, "selection": 1.0},
}


def experiment(options: dict[str, Any], seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the flagged response, and what was planted."""
    adata = nk.datasets.simulate_coculture(**options, rng=seed)
    nk.datasets.use_truth(adata)
    nk.pp.ambient(adata)
    response = nk.tl.interaction_response(adata, "tumor")
    return nk.tl.flag_ambient(response, adata=adata), adata.uns["truth"]["response"]


def truths(options: dict[str, Any], planted: pd.DataFrame, seed: int) -> dict[str, pd.Series]:
    """Return the mean effect of genes planted in five lines: of these wells, and of all."""
    even = {**options, "n_cells_per_sample": 4, "donor_effect": 0.0, "sample_effect": 0.0}
    even.pop("donor_response", None)
    of_all = nk.datasets.simulate_coculture(**even, rng=seed).uns["truth"]["response"]
    made = {}
    for name, table in (("wells", planted), ("population", of_all)):
        by_gene = table[table["kind"] == "ifng"].groupby("gene")["log2_fc"]
        made[name] = by_gene.mean()[by_gene.size() >= 5]
    return made


def compare(case: str, seed: int) -> list[dict[str, Any]]:
    options = SIX | CASES[case]
    response, planted = experiment(options, seed)
    truth = truths(options, planted, seed)
    share = response.groupby("gene")["ambient_share"].mean()
    tables = {
        "measured": (response, False),
        "not flagged": (response[~response["ambient_suspect"]], False),
        "adjusted": (response, None),
    }
    rows = []
    for name, (table, adjusted) in tables.items():
        core = nk.tl.core_response(table, adjusted=adjusted).set_index("gene")
        row: dict[str, Any] = {"case": case, "pooled": name}
        for which, values in truth.items():
            found = core.reindex(values.index).dropna(subset=["ci_low"])
            true = values[found.index]
            inside = (found["ci_low"] <= true) & (found["ci_high"] >= true)
            ambient = share[found.index] > 0.25
            row |= {
                f"{which}: inside": inside.mean(),
                f"{which}: strong": inside[true > 0.8].mean(),
            }
            if which == "wells":
                error = found["log2_fc"] - true
                row |= {
                    "genes": len(found),
                    "ambient genes": ambient.sum(),
                    "ambient genes: inside": inside[ambient].mean(),
                    "ambient genes: error": error[ambient].median(),
                    "core": found["core"].sum(),
                }
        nothing = ~core.index.isin(planted["gene"])
        rows.append(row | {"false": core["core"].to_numpy()[nothing].sum()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, nargs="*", default=["ambient05", "ambient15"])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=31)
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for case in options.case:
        table = pd.DataFrame([row for seed in seeds for row in compare(case, seed)])
        means = table.groupby(["case", "pooled"], sort=False).mean()
        print(means.round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
