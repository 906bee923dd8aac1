"""Check which genes of a tumor response `tl.flag_ambient` marks, against simulated truth.

Run from the repository root (about a minute a seed)::

    python benchmarks/ambient_response.py --seeds 3 --first-seed 11

Each experiment is simulated twice from one seed: with ambient RNA, and without. Genes that the
ambient experiment calls (q < 0.05, raised) fall into

- ``floating``: nothing was planted in them, and ambient RNA makes at least a quarter of their log
  fold change (the rest is found without it); all are to be flagged,
- ``chance``: nothing was planted in them, but ambient RNA does little to them either: the false
  calls that a false discovery rate of 5 % allows,
- ``induced``: planted, and called without ambient RNA too; none is to be flagged,
- ``unclear``: planted too weakly to be found without ambient RNA. What raises them here is mostly
  ambient, so that a flag is right as often as wrong.

The constants of `tl.flag_ambient` were chosen on seed 0; seeds from 11 on are fresh.

With ``--compartment nk`` it is the NK response and `tl.flag_ambient(compartment="nk")`; NK cells
alone then lie in clean lanes of their own (their counts are those of the twin without ambient RNA),
or with ``--shared-lanes`` in the lanes of the co-cultures.

Selection and doublets are off, as both change genes without ambient RNA. With ``--uneven`` the lane
of the monocultures has little ambient RNA (1 %), so that genes of other lines seem raised too. The
plain rule (ambient share of at least one half) stands beside.
"""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk

if TYPE_CHECKING:
    from anndata import AnnData

SHARES = (0.02, 0.05, 0.10, 0.15)


def experiment(share: float, seed: int, options: argparse.Namespace) -> pd.DataFrame:
    """Return the tumor response, with flags where there is ambient RNA."""
    ambient: float | dict[str, float] = share
    if options.uneven and share:
        ambient = {f"Lane_NK{i + 1}": share for i in range(options.donors)}
        ambient["Lane_targets"] = 0.01
    adata = simulate(ambient, seed, options)
    nk.datasets.use_truth(adata)
    if options.compartment == "nk" and share and not options.shared_lanes:
        apart(adata, seed, options)
    response = nk.tl.interaction_response(adata, options.compartment)
    # Effects on NK cells are states, of which the truth has no table by gene.
    planted = adata.uns["truth"]["response"][["tumor", "gene", "log2_fc"]]
    if options.compartment == "nk":
        planted = planted.iloc[:0]
    response = response.merge(
        planted.rename(columns={"log2_fc": "planted"}), on=["tumor", "gene"], how="left"
    )
    if share:
        nk.pp.ambient(adata)
        response = nk.tl.flag_ambient(response, adata=adata, compartment=options.compartment)
    return response


def simulate(ambient: float | dict[str, float], seed: int, options: argparse.Namespace) -> AnnData:
    return nk.datasets.simulate_coculture(
        n_donors=options.donors,
        n_cells_per_sample=options.cells,
        n_genes=options.genes,
        n_mono_replicates=options.monocultures,
        ambient=ambient,
        doublets=0.0,
        selection=0.0,
        rng=seed,
    )


def apart(adata: AnnData, seed: int, options: argparse.Namespace) -> None:
    """Put NK cells alone into lanes of their own, with the counts that they have there."""
    clean = simulate(0.0, seed, options)
    alone = (adata.obs["condition"] == "nk_mono").to_numpy()
    own = sparse.diags_array(alone.astype(float)) @ clean.layers["counts"]
    rest = sparse.diags_array((~alone).astype(float)) @ adata.layers["counts"]
    adata.layers["counts"] = sparse.csr_matrix(own + rest)
    lane, donor = adata.obs["lane"].astype(str), adata.obs["nk_donor"].astype(str)
    adata.obs["lane"] = np.where(alone, "alone_" + donor, lane)


def compare(share: float, seed: int, options: argparse.Namespace, twin: pd.DataFrame) -> dict:
    table = experiment(share, seed, options)
    table = table[(table["q_value"] < 0.05) & (table["log2_fc"] > 0)]
    key = ["tumor", "gene"]
    pair = table[[*key, "log2_fc"]].merge(
        twin[[*key, "log2_fc", "q_value"]], on=key, how="left", suffixes=("", "_without")
    )
    effect_without = pair["log2_fc_without"].fillna(0.0)
    without = ((pair["q_value"] < 0.05) & (effect_without > 0)).to_numpy()
    raised = (pair["log2_fc"] - effect_without >= 0.25 * pair["log2_fc"]).to_numpy()
    planted = table["planted"].notna().to_numpy()
    if options.compartment == "nk":
        planted = without
    kinds = {
        "floating": ~planted & ~without & raised,
        "chance": ~planted & ~(~without & raised),
        "induced": planted & without,
        "unclear": planted & ~without,
    }
    row: dict[str, float] = {"ambient": share, "seed": seed}
    for kind, chosen in kinds.items():
        row[kind] = int(chosen.sum())
        row[f"{kind}_flagged"] = int(table["ambient_suspect"].to_numpy()[chosen].sum())
        row[f"{kind}_by_share"] = int((table["ambient_share"].to_numpy()[chosen] >= 0.5).sum())
    if options.out:
        table.assign(kind=np.select(list(kinds.values()), list(kinds), "")).to_csv(
            f"{options.out}_{share}_{seed}.tsv", sep="\t", index=False
        )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--donors", type=int, default=3)
    parser.add_argument("--cells", type=int, default=250)
    parser.add_argument("--genes", type=int, default=6000)
    parser.add_argument("--monocultures", type=int, default=1)
    parser.add_argument("--uneven", action="store_true")
    parser.add_argument("--compartment", choices=("tumor", "nk"), default="tumor")
    parser.add_argument("--shared-lanes", action="store_true")
    parser.add_argument("--out", help="prefix of files with the called genes")
    options = parser.parse_args()
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    rows = []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        twin = experiment(0.0, seed, options)
        rows += [compare(share, seed, options, twin) for share in SHARES]
    table = pd.DataFrame(rows).drop(columns="seed").groupby("ambient").sum()
    print("| ambient | kind | called | flagged | by share ≥ 0.5 |\n|---|---|---|---|---|")
    for share, row in table.iterrows():
        for kind in ("floating", "induced", "unclear", "chance"):
            n = row[kind]
            parts = [
                f"{100 * row[f'{kind}_{how}'] / max(n, 1):.1f} %" for how in ("flagged", "by_share")
            ]
            print(f"| {share:.0%} | {kind} | {n:.0f} | {' | '.join(parts)} |")


if __name__ == "__main__":
    main()
