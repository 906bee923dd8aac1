"""Compartment calls on real cells with known types: F1 of NK cells, share called, share wrong.

    python benchmarks/compartments.py                      # every table
    python benchmarks/compartments.py --only markers       # one of: markers, rare, panel, lanes
    python benchmarks/compartments.py --only held_out --aml DIRECTORY

The tables ``markers``, ``rare`` and ``panel`` have no monocultures: blood with its labels, the same
with few NK cells, and the same with few genes of the NK panel. ``lanes`` puts sorted NK cells and
another sorted type as a "line" in one hashed lane, with and without monocultures, and adds ambient
RNA of that lane and doublets. ``wrong`` is the share of all cells with a call that is not the
truth; ``unassigned`` is no call. Real cells come from ``../shared/data``; nothing of it is written.
``held_out`` is marrow of patients with AML and of healthy donors, which no constant was chosen on:
the files ``*.dem.txt.gz`` and ``*.anno.txt.gz`` of GSE116256 (van Galen et al. 2019, doi
10.1016/j.cell.2019.01.031), in the directory ``--aml``.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
FILES = {
    "zheng": "zheng_sorted_pbmc/mudan_sorted_2140x8863_counts.h5ad",
    "soupx": "soupx_pbmc4k/soupx_pbmc4k_2170x33694_counts.h5ad",
    "kang": "kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad",
    "cite": "citefuse_hashed/citefuse_500x19521_counts_49adt_4hto.h5ad",
    "lines": "nk_plus_tumour_lines/nk_plus_tumour_lines_counts.h5ad",
}
PANEL = nk.signatures.get("NK_EXCLUSIVE").genes
AMBIENT = (0.0, 0.05, 0.1, 0.2, 0.3)
T_HELPERS = ("memoryt", "thelper", "regulatoryt", "naivet")


def load(name):
    adata = ad.read_h5ad(DATA / FILES[name])
    counts = adata.layers.get("counts", adata.X)
    made = ad.AnnData(obs=pd.DataFrame(index=adata.obs_names), var=adata.var[[]])
    made.layers["counts"] = sparse.csr_matrix(counts).astype(np.int32)
    made.obs["type"] = types_of(adata, name, made)
    made.obs["truth"] = made.obs["type"].map({"NK": "nk", "?": "?"}).fillna("not nk")
    made.obs["lane"] = "lane1"
    return made


def types_of(adata, name, made):
    if name == "cite":
        return by_protein(adata.obsm["protein"])
    column = adata.obs["truth" if name == "lines" else "cell_type"].astype(object)
    kind = column.where(column.notna(), "?").replace({"nk": "NK"}).to_numpy(dtype=object)
    if name == "soupx":
        # The label NK also holds T cells: only those with a gene of one of the two are known.
        t, own = (
            np.asarray(made[:, list(genes)].layers["counts"].sum(axis=1)).ravel()
            for genes in (("CD3D", "CD3G", "TRAC"), ("FCER1G", "KLRF1", "NCR1", "SH2D1B"))
        )
        kind = np.where((kind == "NK") & ((t > 0) | (own == 0)), "?", kind)
    return kind


def by_protein(protein):
    """Return the type of each cell from its antibody counts; ``?`` where they do not say.

    CD3, CD16 and CD56 did not stain in these data: their medians are those of the isotype controls
    (4 to 7 counts). NK cells carry CD7 and none of CD5, CD4, CD19 and CD11b; T cells carry CD5.
    Cells with little CD5 and much CD8 or CD27 can be NK cells or T cells.
    """
    cd5, cd7 = protein["CD5"], protein["CD7"]
    other = (protein["CD19"] >= 60) | (protein["CD11b"] >= 200) | (protein["CD4"] >= 60)
    none = (protein["CD19"] < 20) & (protein["CD11b"] < 100) & (protein["CD4"] < 25)
    none &= (protein["CD8"] < 100) & (protein["CD27"] < 40)
    is_nk = none & (cd7 >= 60) & (cd5 < 16)
    not_nk = other | (cd5 >= 45)
    return np.select([is_nk & ~not_nk, not_nk & ~is_nk], ["NK", "rest"], "?")


def call(adata, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nk.pp.qc(adata)
        start = time.process_time()
        try:
            nk.pp.compartments(adata, **options)
        except nk.errors.GeneCoverageError:
            adata.obs["compartment"] = "unassigned"
    return time.process_time() - start


def measure(adata, **also):
    known = adata.obs["truth"] != "?"
    made = adata.obs.loc[known, "compartment"].astype(str)
    truth = adata.obs.loc[known, "truth"]
    rest = made.isin(["other", "tumor"])
    is_nk, called_nk = truth == "nk", made == "nk"
    right = (
        (called_nk & is_nk)
        | (rest & (truth == "not nk"))
        | ((made == "mixed") & (truth == "mixed"))
    )
    open_ = made == "unassigned"
    both = (called_nk & is_nk).sum()
    return also | {
        "n": len(made),
        "n_nk": int(is_nk.sum()),
        "F1": 2 * both / max(is_nk.sum() + called_nk.sum(), 1),
        "recall": both / max(is_nk.sum(), 1),
        "precision": both / max(called_nk.sum(), 1),
        "called": 1 - open_.mean(),
        "nk_open": open_[is_nk].mean(),
        "nk_mixed": (made == "mixed")[is_nk].mean(),
        "nk_other": rest[is_nk].mean(),
        "wrong": (~right & ~open_).mean(),
        "doublets": (made == "mixed")[truth == "mixed"].mean(),
    }


def markers():
    rows = []
    for name in FILES:
        adata = load(name)
        cpu = call(adata)
        rows.append(measure(adata, data=name) | {"cpu_s": cpu})
        wrong = adata.obs[adata.obs["truth"] == "not nk"]
        wrong = wrong[wrong["compartment"].isin(["nk", "mixed"])]["type"].value_counts()
        if len(wrong):
            print(f"  {name}, nk or mixed: {wrong[wrong > 0].to_dict()}")
    adata = load("lines")
    adata.obs["condition"] = "coculture"
    call(adata)
    rows.append(measure(adata, data="lines, coculture"))
    return rows


def few_nk(adata, n, rng):
    """Keep so many NK cells. Cells of unknown type go as well: many of them are NK cells."""
    adata = adata[(adata.obs["truth"] != "?").to_numpy()]
    found = np.flatnonzero(adata.obs["truth"] == "nk")
    dropped = rng.permutation(found)[n:]
    return adata[np.setdiff1d(np.arange(adata.n_obs), dropped)].copy()


def rare():
    rows = []
    for name in ("zheng", "soupx", "kang", "lines"):
        whole = load(name)
        for n in (0, 3, 8, 15, 25):
            found = []
            for seed in range(3):
                adata = few_nk(whole, n, np.random.default_rng(seed))
                call(adata)
                found.append(measure(adata))
            rows.append({"data": name, "NK cells": n} | pd.DataFrame(found).mean().to_dict())
    return rows


def panel():
    rows = []
    for name in ("zheng", "soupx", "kang", "lines"):
        whole = load(name)
        for n in (10, 8, 7, 5, 3, 0):
            found = []
            for seed in range(3):
                present = [g for g in PANEL if g in whole.var_names]
                dropped = np.random.default_rng(seed).permutation(present)[n:]
                adata = whole[:, ~whole.var_names.isin(dropped)].copy()
                call(adata, evidence="markers")
                found.append(measure(adata))
            rows.append({"data": name, "panel genes": n} | pd.DataFrame(found).mean().to_dict())
    return rows


def lane(whole, line, ambient, rng, *, mono=True, doublets=0.08, cells=160):
    """Sorted NK cells and another type in one lane: NK alone, the line alone, and both."""
    kinds = {
        "nk": np.flatnonzero(whole.obs["truth"] == "nk"),
        "not nk": np.flatnonzero(np.isin(whole.obs["type"], line)),
    }
    plan = [("nk_mono", "nk")] * cells + [("tumor_mono", "not nk")] * cells if mono else []
    plan += [("coculture", "nk")] * cells + [("coculture", "not nk")] * cells
    plan += [("coculture", "mixed")] * int(doublets * cells)
    pools = {kind: itertools.cycle(rng.permutation(rows)) for kind, rows in kinds.items()}
    take = [next(pools["not nk" if kind == "not nk" else "nk"]) for _, kind in plan]
    own = whole.layers["counts"][take].toarray().astype(np.int64)
    both = [i for i, (_, kind) in enumerate(plan) if kind == "mixed"]
    own[both] += whole.layers["counts"][rng.choice(kinds["not nk"], len(both))].toarray()
    made = ad.AnnData(
        obs=pd.DataFrame(
            plan, columns=["condition", "truth"], index=[f"c{i}" for i in range(len(plan))]
        ),
        var=whole.var[[]],
    )
    made.layers["counts"] = sparse.csr_matrix(with_ambient(own, ambient, rng), dtype=np.int32)
    made.obs["lane"], made.obs["lineage"], made.obs["nk_donor"] = "lane1", "T", "d1"
    made.obs["sample"] = made.obs["condition"]
    made.obs["tumor"] = np.where(made.obs["condition"] == "nk_mono", None, "line")
    return made


def with_ambient(own, ambient, rng):
    """Replace a share of each droplet's counts by the lane's; 40 % variation between droplets."""
    share = np.clip(ambient * rng.gamma(6.25, 1 / 6.25, len(own)), 0, 0.8)
    soup = own.sum(axis=0) / own.sum()
    added = rng.poisson(share * own.sum(axis=1))
    return rng.binomial(own, 1 - share[:, None]) + rng.multinomial(added, soup)


def lanes():
    rows = []
    whole = load("zheng")
    for title, line in {
        "CD4 T": T_HELPERS,
        "CD8 T": ("cytotoxict", "naivecytotoxic"),
        "B": ("bcells",),
    }.items():
        for mono in (True, False):
            for ambient in AMBIENT:
                found = []
                for seed in range(2):
                    adata = lane(whole, line, ambient, np.random.default_rng(seed), mono=mono)
                    call(adata)
                    chosen = adata[adata.obs["condition"] == "coculture"]
                    found.append(measure(chosen))
                rows.append(
                    {"line": title, "mono": mono, "ambient": ambient}
                    | pd.DataFrame(found).mean().to_dict()
                )
    return rows


def held_out(directory):
    rows = []
    every = [aml(path) for path in sorted(Path(directory).glob("*.dem.txt.gz"))]
    every = {adata.obs["lane"].iloc[0]: adata for adata in every if adata is not None}
    together = ad.concat(every.values(), join="outer", fill_value=0)
    for name, adata in {**every, "all, as lanes": together}.items():
        known = (adata.obs["truth"] == "nk").sum()
        if known >= 25 or name.startswith("all"):
            for condition in (None, "coculture"):
                each = adata.copy()
                if condition:
                    each.obs["condition"] = condition
                call(each)
                rows.append({"data": name, "wells": condition or "no tumor"} | measure(each))
                print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False), flush=True)
                if name.startswith("all"):
                    print(pd.crosstab(each.obs["type"], each.obs["compartment"]).to_string())
    return rows


def aml(path):
    """Read one sample with the authors' cell types; None without a table of them."""
    name = path.name.split("_", 1)[1].removesuffix(".dem.txt.gz")
    types = list(path.parent.glob(f"*_{name}.anno.txt.gz"))
    if not types:
        return None
    table = pd.read_csv(path, sep="\t", index_col=0)
    kind = pd.read_csv(types[0], sep="\t", index_col=0)["CellType"].reindex(table.columns)
    made = ad.AnnData(obs=pd.DataFrame(index=table.columns), var=pd.DataFrame(index=table.index))
    made.layers["counts"] = sparse.csr_matrix(table.to_numpy().T, dtype=np.int32)
    made.obs["type"] = kind.astype(object).where(kind.notna(), "?").to_numpy(dtype=object)
    made.obs["truth"] = made.obs["type"].map({"NK": "nk", "?": "?"}).fillna("not nk")
    made.obs["lane"] = made.obs["sample"] = name
    return made


TABLES = {"markers": markers, "rare": rare, "panel": panel, "lanes": lanes, "held_out": held_out}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=TABLES, action="append")
    parser.add_argument("--aml", help="directory with the files of GSE116256, for held_out")
    options = parser.parse_args()
    for name in options.only or [name for name in TABLES if name != "held_out" or options.aml]:
        table = pd.DataFrame(TABLES[name](*[options.aml] * (name == "held_out")))
        print(f"\n{name}\n{table.round(3).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
