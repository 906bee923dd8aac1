"""Check the tests of `tl.communication` where nothing interacts, and what LIANA+ says there.

Run from the repository root (about ten seconds a seed)::

    python benchmarks/communication.py --seeds 20 --first-seed 700 --liana 2

Each seed simulates experiments without any effect of the co-culture, while lanes and donors differ.
In the first, six lines and three donors, the change of each pair against both monocultures is
tested, without ambient RNA and with 5 % of it (less the pairs that are marked as suspect). Lines do
differ in their ligands; the difference of a line from the others is therefore tested on nine donors
with one line that goes by three names, three donors each. LIANA+'s p-values answer another question
(is a pair specific to these two kinds of cells?) with cells as replicates: the share below 0.05
shows that they are no evidence of a change.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

import nkscore as nk

if TYPE_CHECKING:
    from anndata import AnnData


def null(seed: int, cells: int, **options: Any) -> AnnData:
    """Return an experiment in which nothing responds."""
    adata = nk.datasets.simulate_coculture(
        n_cells_per_sample=cells, n_genes=6000, rng=seed, **{"null": "all"} | options
    )
    nk.datasets.use_truth(adata)
    return adata


def three_names(seed: int, cells: int) -> AnnData:
    """Return one line under three names: each the co-cultures of three donors."""
    adata = null(seed, cells, tumors=["K562"], n_donors=9)
    rng = np.random.default_rng(seed)
    donors = rng.permutation(adata.obs["nk_donor"].dropna().unique())
    name_of = dict(zip(donors, np.repeat(["A", "B", "C"], 3), strict=True))
    of_line = adata.obs["tumor"].notna().to_numpy()
    # The monoculture has no donor: its cells are dealt out.
    dealt = np.array(["A", "B", "C"])[rng.integers(3, size=adata.n_obs)]
    name = adata.obs["nk_donor"].astype(object).map(name_of)
    name = np.where(name.isna(), dealt, name)
    alone = (adata.obs["condition"] == "tumor_mono").to_numpy()
    sample = adata.obs["sample"].astype(str).to_numpy()
    adata.obs["sample"] = np.where(alone, sample + "_" + dealt, sample)
    adata.obs["tumor"] = pd.Categorical(np.where(of_line, name, None))
    return adata


def judged(p: list[Any], q: list[Any]) -> str:
    """Return a row: tests, shares of small p, distance from uniform, experiments with a call."""
    every = np.concatenate(p)
    called = sum(bool((x < 0.05).any()) for x in q)
    distance = stats.kstest(every, "uniform").statistic
    small = [f"{100 * (every < limit).mean():.2f} %" for limit in (0.05, 0.001)]
    return f"{every.size} | {' | '.join(small)} | {distance:.3f} | {called} of {len(q)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=700)
    parser.add_argument("--cells", type=int, default=120)
    parser.add_argument("--liana", type=int, default=0, help="seeds for which LIANA+ runs, too")
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    found: dict[str, tuple[list[Any], list[Any]]] = {
        name: ([], [])
        for name in ("change", "change, ambient RNA", "difference of lines", "LIANA+, cells")
    }

    def add(name: str, table: pd.DataFrame, columns: tuple[str, str]) -> None:
        kept = table[table[columns[0]].notna()]
        for values, column in zip(found[name], columns, strict=True):
            values.append(kept[column].to_numpy(dtype=float))

    for i, seed in enumerate(range(options.first_seed, options.first_seed + options.seeds)):
        adata = null(seed, options.cells, n_donors=3)
        add("change", nk.tl.communication(adata), ("p_value", "q_value"))
        soup = null(seed, options.cells, n_donors=3, null=True)
        nk.pp.ambient(soup)
        table = nk.tl.communication(soup)
        table = table[~table["ambient_suspect"].to_numpy(dtype=bool)]
        add("change, ambient RNA", table, ("p_value", "q_value"))
        lines = nk.tl.communication(three_names(seed, options.cells))
        add("difference of lines", lines, ("p_value_line", "q_value_line"))
        if i < options.liana:
            table = nk.tl.communication(adata, engine="liana", n_permutations=199)
            add("LIANA+, cells", table, ("p_value", "q_value"))
    print("| test | tests | p < 0.05 | p < 0.001 | distance | experiments with q < 0.05 |")
    print("|---|---|---|---|---|---|")
    for name, (p, q) in found.items():
        if p:
            print(f"| {name} | {judged(p, q)} |")


if __name__ == "__main__":
    main()
