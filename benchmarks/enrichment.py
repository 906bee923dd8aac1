"""Choose and check `gene_correlation` of `tl.enrichment` on permuted donors of real cells.

Run from the repository root (about two minutes; needs ``../shared``)::

    python benchmarks/enrichment.py --permutations 25

Each permutation swaps stimulated and control cells of half of the eight donors of Kang et al. 2018
(doi 10.1038/nbt.4042), so that no gene responds on average. Sets that hold interferon genes are
left out: those genes respond so strongly that swapped donors of unequal cell numbers do not cancel.
limma's preset of 0.01 fits the two types of most cells, but not the other four.

With ``--within`` the eight donors of one condition are divided into halves instead, which nothing
was chosen on, and all sets are kept.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk

FILE = Path(__file__).parents[2] / "shared/data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad"
SEEN = ("CD14 Mono", "CD4 Naive T")
FURTHER = ("CD4 Memory T", "CD16 Mono", "B", "CD8 T")
INTERFERON = "INTERFERON|INFLAM|TNFA|IL6|ALLOGRAFT|COMPLEMENT"
GRID = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1)


def permuted(cells: anndata.AnnData, swapped: tuple[str, ...]) -> pd.DataFrame:
    """Return the response after the arms of some donors were swapped."""
    made = cells.copy()
    condition = made.obs["condition"].astype(str).to_numpy()
    other = np.where(condition == "ctrl", "stim", "ctrl")
    made.obs["condition"] = np.where(made.obs["nk_donor"].isin(swapped), other, condition)
    made.obs["sample"] = made.obs["nk_donor"] + "_" + made.obs["condition"]
    return nk.tl.interaction_response(made, None, treated="stim", control="ctrl")


def divided(cells: anndata.AnnData, half: tuple[str, ...]) -> pd.DataFrame:
    """Return the response of half of the donors as if the others were their controls."""
    made = cells.copy()
    made.obs["condition"] = np.where(made.obs["nk_donor"].isin(half), "stim", "ctrl")
    made.obs["sample"] = made.obs["nk_donor"]
    return nk.tl.interaction_response(
        made, None, treated="stim", control="ctrl", replicate="sample"
    )


def enrichments(
    adata: anndata.AnnData, cell_type: str, n_permutations: int, within: str | None
) -> pd.DataFrame:
    """Return the tests of all permutations with genes taken for independent."""
    cells = adata[adata.obs["cell_type"] == cell_type]
    if within:
        cells = cells[cells.obs["condition"] == within]
        n = cells.obs["nk_donor"].value_counts()
        # As many as a sample of a response needs.
        cells = cells[cells.obs["nk_donor"].isin(n[n >= 10].index)]
    cells = cells.copy()
    donors = sorted(cells.obs["nk_donor"].unique())
    halves = [h for h in itertools.combinations(donors, len(donors) // 2) if donors[0] in h]
    chosen = np.random.default_rng(6).permutation(len(halves))[:n_permutations]
    null = divided if within else permuted
    response = pd.concat([null(cells, halves[i]).assign(tumor=str(i)) for i in chosen])
    table = nk.tl.enrichment(response, gene_correlation=0.0)
    table["n_genes_tested"] = table["tumor"].map(response.groupby("tumor")["gene"].nunique())
    if not within:
        table = table[~table["set"].str.contains(INTERFERON)]
    return table.assign(cell_type=cell_type)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--permutations", type=int, default=25)
    parser.add_argument("--within", choices=("ctrl", "stim"))
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    adata = anndata.read_h5ad(FILE)
    adata = adata[adata.obs["donor"].notna()].copy()
    adata.layers["counts"] = adata.X.copy()
    adata.obs["nk_donor"], adata.obs["tumor"] = adata.obs["donor"].astype(str), "all"
    parts = {
        name: pd.concat(
            [enrichments(adata, t, options.permutations, options.within) for t in types]
        )
        for name, types in (("most cells", SEEN), ("fewer cells", FURTHER))
    }
    print("| gene_correlation | types | p < 0.05 | p < 0.01 | permutations with any q < 0.05 |")
    print("|---|---|---|---|---|")
    for rho, (name, table) in itertools.product(GRID, parts.items()):
        t = table["t"] / np.sqrt(1 + (table["n_tested"] - 1) * rho)
        p = pd.Series(2 * stats.t.sf(np.abs(t), table["n_genes_tested"] - 2), index=table.index)
        called = [
            stats.false_discovery_control(p.to_numpy()[rows]).min() < 0.05
            for rows in table.reset_index().groupby(["cell_type", "tumor"]).indices.values()
        ]
        small = f"{100 * (p < 0.05).mean():.1f} % | {100 * (p < 0.01).mean():.1f} %"
        print(f"| {rho:g} | {name} | {small} | {sum(called)} of {len(called)} |")


if __name__ == "__main__":
    main()
