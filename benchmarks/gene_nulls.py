"""Every test of knock-outs, screens, panels and cohorts where there is nothing to find.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/gene_nulls.py [--first-seed 900]

Each test runs on several data sets in which labels mean nothing: guides are dealt to targets by
chance (guides differ, targets do not), donors, lines and patients get permuted labels. Prints a
Markdown table of the shares of p-values below 0.05 and 0.01, of data sets with any q below 0.05,
and the largest distance of all p-values from uniform (Kolmogorov-Smirnov). Non-targeting guides of
real cells (Papalexi et al. 2021, ../shared/data) are divided by chance where the file is at hand.
Seeds from 900 on were not looked at while anything was chosen.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from perturbation import simulate
from scipy import stats

import nkscore as nk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THP1 = Path(__file__).parents[2] / "shared/data/papalexi_eccite_thp1"
Found = tuple[str, str, pd.DataFrame]


def knockouts(seed: int) -> Iterator[Found]:
    """Guides are alike, or differ by 0.05 of log expression; targets do not differ."""
    for unit, guide_sd in (
        ("guide", 0.05),
        ("guide", 0.0),
        ("replicate", 0.0),
        ("replicate", 0.05),
    ):
        adata = simulate(
            n_cells=3000,
            n_genes=200,
            n_targets=4,
            n_changed=0,
            guides_of=(3, 6),
            seed=seed,
            guide_sd=guide_sd,
        )
        alike = "differ" if guide_sd else "alike"
        table = nk.tl.perturbation_response(
            adata, replicate="nk_donor", condition="condition", unit=unit
        )
        for name, part in by_contrast(table):
            yield "perturbation_response", f"{name}, unit={unit!r}, guides {alike}", part


def scores(seed: int) -> Iterator[Found]:
    """Guides differ by a fifth of the spread of cells, targets do not."""
    adata = simulate(n_cells=3000, n_genes=5, n_targets=4, n_changed=0, guides_of=(3, 6), seed=seed)
    rng = np.random.default_rng(seed)
    guide = pd.factorize(adata.obs["guide"], sort=True)[0]
    values = rng.normal(size=(adata.n_obs, 40)) + rng.normal(0, 0.2, (18, 40))[guide]
    columns = [f"s{i}" for i in range(40)]
    adata.obsm["scores"] = pd.DataFrame(values, adata.obs_names, columns)
    table = nk.tl.perturbation_scores(adata, replicate="nk_donor", condition="condition")
    for name, part in by_contrast(table):
        yield "perturbation_scores", name, part


def by_contrast(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Divide the interaction from the effects in either arm."""
    for interaction, part in table.groupby(table["contrast"] == "interaction"):
        yield ("interaction with NK cells" if interaction else "effect"), part


def abundance(seed: int) -> Iterator[Found]:
    """Clones of a guide grow by chance, or all alike; NK cells select none."""
    units = ("guide", 0.4), ("guide_replicate", 0.0), ("replicate", 0.0), ("replicate", 0.4)
    for unit, growth_sd in units:
        rng = np.random.default_rng(seed)
        rows: list[tuple[str, str, str, str]] = []
        for target in [*(f"T{i}" for i in range(30)), "non-targeting"]:
            for k in range(4):
                growth = np.exp(rng.normal(0, growth_sd))
                for donor in ("D1", "D2", "D3"):
                    before = rng.poisson(60 * rng.lognormal(0, 0.3))
                    after = rng.poisson(30 * growth * rng.lognormal(0, 0.3))
                    rows += [(target, f"{target}g{k}", donor, "tumor_mono")] * before
                    rows += [(target, f"{target}g{k}", donor, "coculture")] * after
        obs = pd.DataFrame(rows, columns=["perturbation", "guide", "nk_donor", "condition"])
        adata = anndata.AnnData(obs=obs.set_axis(obs.index.astype(str)))
        table = nk.tl.guide_abundance(adata, replicate="nk_donor", unit=unit)
        alike = "differ" if growth_sd else "alike"
        yield "guide_abundance", f"unit={unit!r}, guides {alike}", table


def screens(seed: int) -> Iterator[Found]:
    """Genes of four screens, each with four guides of no effect, as MAGeCK writes them."""
    rng = np.random.default_rng(seed)
    made = {}
    for name in "abcd":
        guides = rng.normal(0, 0.5, (2000, 4))
        z = guides.mean(axis=1) / 0.25
        enriched, depleted = stats.norm.sf(z), stats.norm.cdf(z)
        made[name] = pd.DataFrame(
            {
                "gene": [f"G{i}" for i in range(2000)],
                "log2_fc": guides.mean(axis=1),
                "se": 0.25,
                "p_value": np.minimum(2 * np.minimum(enriched, depleted), 1),
                "q_value": 1.0,
                "p_depleted": depleted,
                "q_depleted": 1.0,
                "p_enriched": enriched,
                "q_enriched": 1.0,
            }
        )
    kinds = {"a": "loss", "b": "loss", "c": "gain", "d": "gain"}
    hits = nk.tl.screen_hits(made, perturbation=kinds)
    yield "screen_hits", "two-sided (default)", hits
    yield (
        "screen_hits",
        "sided='one', as published",
        nk.tl.screen_hits(made, perturbation=kinds, sided="one"),
    )
    for method in ("stouffer", "rank", "random_effects"):
        yield (
            "join_screens",
            f"method={method!r}, four screens",
            nk.tl.join_screens(hits, method=method),
        )


def panels(seed: int) -> Iterator[Found]:
    """63 lines of six types; features differ between types, permuted within them."""
    rng = np.random.default_rng(seed)
    lines = [f"L{i}" for i in range(63)]
    kind = pd.Series(rng.choice(list("ABCDEF"), 63), lines)
    level = pd.Series(kind).map(dict(zip("ABCDEF", range(6), strict=True))).to_numpy()
    auc = pd.Series(rng.beta(4, 2, 63), lines, name="auc")
    numbers = pd.DataFrame(rng.gamma(2, 1, (63, 500)), lines).rename(columns=str)
    mutated = pd.DataFrame(rng.random((63, 500)) < 0.3, lines).rename(columns=str)
    sensitive = (auc > auc.median()).astype(int).rename("sensitive")
    for target in (auc, sensitive):
        for table in (numbers, mutated):
            made = nk.tl.associate(target, table)
            what = "yes or no" if target is sensitive else "number"
            also = "yes or no" if table is mutated else "number"
            yield "associate", f"{what} with {also} ({made['test'].iloc[0]})", made
    shifted = numbers + level[:, None]
    made = nk.tl.associate(auc + 0.3 * level, shifted, adjust_for=kind)
    yield "associate", "within types (partial_spearman)", made


def cohorts(seed: int) -> Iterator[Found]:
    """Ninety patients, or thirty at three times."""
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(90)]
    scores = pd.DataFrame(rng.normal(size=(90, 300)), names).rename(columns=str)
    three = pd.Series(np.tile(["diagnosis", "residual", "relapse"], 30), names)
    owner = pd.Series(np.repeat([f"N{i}" for i in range(30)], 3), names)
    for test in ("wilcoxon", "moderated_t"):
        for patient in (None, owner):
            made = nk.tl.cohort_differences(
                scores, three, reference="diagnosis", patient=patient, test=test
            )
            yield "cohort_differences", made["test"].iloc[0], made
            if test == "wilcoxon" and patient is None:
                part = made.drop_duplicates("feature")
                part = part[["p_overall", "q_overall"]].set_axis(["p_value", "q_value"], axis=1)
                yield "cohort_differences", "all levels (Kruskal and Wallis)", part


def survival(seed: int) -> Iterator[Found]:
    """Ninety patients, about 54 deaths."""
    rng = np.random.default_rng(seed)
    names = [f"P{i}" for i in range(90)]
    values = pd.DataFrame(rng.normal(size=(90, 300)), names).rename(columns=str)
    time = pd.Series(rng.exponential(1000, 90), names)
    event = pd.Series(rng.random(90) < 0.6, names)
    for n_covariates in (2, 6):
        given = pd.DataFrame(rng.normal(size=(90, n_covariates)), names).rename(columns=str)
        for small in (True, False):
            both = nk.tl.cohort_survival(values, time, event, adjust_for=given, small_sample=small)
            for model, made in both.groupby("model"):
                if model == "adjusted":
                    usual = "" if small else ", small_sample=False"
                    yield "cohort_survival", f"Cox, {n_covariates} covariates{usual}", made
                elif n_covariates == 2 and small:
                    yield "cohort_survival", "Cox, univariable", made
                    part = made[["ph_p_value"]].set_axis(["p_value"], axis=1)
                    yield "cohort_survival", "proportional hazards", part


def cytokines(seed: int) -> Iterator[Found]:
    """Wells with and without NK cells that release nothing."""
    rng = np.random.default_rng(seed)
    wells = pd.DataFrame(
        {
            "tumor": np.repeat([f"L{i}" for i in range(60)], 10 * 8),
            "analyte": np.tile(np.repeat([f"a{i}" for i in range(10)], 8), 60),
            "condition": np.tile(["coculture", "tumor_mono"], 60 * 10 * 4),
            "concentration": 20 * rng.lognormal(0, 0.3, 60 * 10 * 8),
            "flag": "",
        }
    )
    yield "cytokine_response", "four wells against four", nk.tl.cytokine_response(wells)


def real_controls(first: int, n_draws: int) -> list[Found]:
    """Three non-targeting guides of THP-1 cells against the others."""
    path = THP1 / "papalexi_20729x299_counts_110grna.h5ad"
    if not path.exists():
        return []
    adata = anndata.read_h5ad(path)
    adata.layers["counts"] = adata.X.copy()
    names = [str(name) for name in adata.uns["grna_names"]]
    counts = adata.obsm["grna"].toarray()
    adata.obsm["guides"] = pd.DataFrame(counts, adata.obs_names, names)
    library = dict(zip(names, map(str, adata.uns["grna_target"]), strict=True))
    nk.pp.assign_guides(adata, library=library)
    controls = adata[(adata.obs["perturbation"] == "non-targeting").to_numpy()].copy()
    guides = sorted(set(controls.obs["guide"].astype(str)))
    found: list[Found] = []
    for seed in range(first, first + n_draws):
        chosen = np.random.default_rng(seed).permutation(guides)[:3]
        own = controls.obs["guide"].isin(chosen)
        controls.obs["fake"] = np.where(own, "none", "non-targeting")
        table = nk.tl.perturbation_response(controls, perturbation="fake", replicate="bio_rep")
        found.append(("perturbation_response", "non-targeting guides, THP-1 (real)", table))
    return found


def summarized(found: list[Found]) -> pd.DataFrame:
    """Return one row per test."""
    rows = []
    names = list(dict.fromkeys((function, what) for function, what, _ in found))
    for name in names:
        tables = [table for function, what, table in found if (function, what) == name]
        p = np.concatenate([t["p_value"].dropna().to_numpy(dtype=float) for t in tables])
        called = [bool((t["q_value"] < 0.05).any()) for t in tables if "q_value" in t]
        per_set = [float((t["p_value"] < 0.05).mean()) for t in tables]
        error = np.std(per_set, ddof=1) / np.sqrt(len(per_set))
        rows.append(
            {
                "function": f"`tl.{name[0]}`",
                "test": name[1],
                "p-values": f"{p.size:,}",
                "p < 0.05 (± error)": f"{100 * (p < 0.05).mean():.1f} ± {100 * error:.1f} %",
                "p < 0.01": f"{100 * (p < 0.01).mean():.2f} %",
                "any q < 0.05": f"{sum(called)} of {len(called)}" if called else "",
                "distance": f"{stats.kstest(p, 'uniform').statistic:.3f}",
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-seed", type=int, default=900)
    parser.add_argument("--sets", type=int, default=20)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("nkscore").setLevel(logging.ERROR)
    found: list[Found] = []
    parts: tuple[Callable[[int], Iterator[Found]], ...] = (
        knockouts,
        scores,
        abundance,
        screens,
        panels,
        cohorts,
        survival,
        cytokines,
    )
    for part in parts:
        for seed in range(asked.first_seed, asked.first_seed + asked.sets):
            found += list(part(seed))
    found += real_controls(asked.first_seed, asked.sets)
    table = summarized(found)
    print("| " + " | ".join(table.columns) + " |\n" + "|---" * table.shape[1] + "|")
    for row in table.itertuples(index=False):
        print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
