r"""Ask questions whose answers are known on the noise of real cells.

Run from the repository root, on one thread, in slices::

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/real_noise.py --shared ../shared --design kang4 --depths 1 0.25 --splits 100
    python benchmarks/real_noise.py --shared ../shared --design kang4 --planted --donors 3

Designs: ``kang4`` (control cells of Kang et al. 2018, doi 10.1038/nbt.4042, four types as lines),
``kang1`` (CD14 monocytes alone), ``kang26`` (26 lines, resampled from six types), ``donors`` (whole
donors against whole donors, so that what differs between people counts, too), ``donors_common``
(the same, on genes that are not known to differ between people), ``sorted`` (sorted
cells of Zheng et al. 2017, doi 10.1038/ncomms14049, dealt out to donors), ``nk`` (sorted NK cells,
controls shared by all lines), ``nk_floating`` (5 % tumor RNA in the NK cells of the treated arm;
genes of the tumor are not looked at) and ``p185`` (bulk replicates of Buri et al. 2025).

The treated arm is one random half of each donor's cells, thinned to ``--depths`` of its depth.
``--planted`` lowers a tenth of the genes of each line by binomial thinning in one arm or the other
(log2 fold changes of 0.5 to 2 in size). ``--cells`` draws as many cells per sample, with
replacement, from the half.

Columns: ``p<.05`` and ``p<.001``, share of null genes with such a p-value; ``a call``, share of
experiments with a null gene at q < 0.05 (next to it what a method at 5 % gives by chance);
``offset``, the largest median of log2 fold changes of any line; ``all``, share of null effects in
their 95 % intervals; ``FDR`` (mean over experiments, with its Monte Carlo error), ``power`` (share
of the planted effects that are tested) and ``found`` (their number), ``coverage`` of planted
effects; ``tested`` pairs of line and gene; CPU seconds per fit.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, stats

from nkscore._counts._group_sums import GroupSums
from nkscore.stats import (
    expressed_genes,
    fit_count_response,
    fit_deseq2,
    fit_response,
    line_factors,
    response_design,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nkscore.stats import Design

Rng = np.random.Generator

_KANG = "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad"
_SORTED = "data/zheng_sorted_pbmc/mudan_sorted_2140x8863_counts.h5ad"
_LINES = "data/nk_plus_tumour_lines/nk_plus_tumour_lines_counts.h5ad"
_P185 = "data/nk_p185_ball_coculture/nk_p185_ball_coculture_counts.h5ad"
_FOUR = ("CD14 Mono", "CD4 Naive T", "CD4 Memory T", "B")
_SIX = (*_FOUR, "CD16 Mono", "CD8 T")
#: A donor's cells of one type are left out below it: either half needs some.
_FEWEST = 10
#: Inherited (deleted, on X or Y, or known to differ by genotype), and an interferon response of
#: some of the donors.
_PERSONAL = {"RPS26", "LYZ", "GSTM1", "XIST", "RPS4Y1", "DDX3Y", "EIF1AY", "IFI27", "IFI6"}
#: What one row of the printed table is of.
_KEYS = ["design", "donors", "cells", "depth", "method"]


@dataclass(frozen=True)
class Pool:
    """Real cells of which nothing is known to differ within a type and donor."""

    counts: sparse.csr_matrix
    kind: np.ndarray[Any, Any]
    donor: np.ndarray[Any, Any]
    genes: tuple[str, ...] = ()

    def of(self, kind: str, donor: str) -> np.ndarray[Any, Any]:
        """Return the rows of a type of one donor."""
        return np.flatnonzero((self.kind == kind) & (self.donor == donor))


@dataclass(frozen=True)
class Experiment:
    """Sums of samples × genes and what was planted, lines × genes (0 for nothing)."""

    sums: np.ndarray[Any, Any]
    overdispersion: np.ndarray[Any, Any] | None
    design: Design
    effect: pd.DataFrame
    look_at: np.ndarray[Any, Any]
    cells: np.ndarray[Any, Any] | None = None
    squares: np.ndarray[Any, Any] | None = None


def kang(shared: Path) -> Pool:
    cells = ad.read_h5ad(shared / _KANG)
    cells = cells[(cells.obs["condition"] == "ctrl") & cells.obs["donor"].notna()]
    cells = cells[cells.obs["cell_type"].notna()]
    kind, donor = (cells.obs[c].astype(str).to_numpy(dtype=object) for c in ("cell_type", "donor"))
    return Pool(sparse.csr_matrix(cells.X).astype(np.int64), kind, donor, tuple(cells.var_names))


def sorted_cells(shared: Path, rng: Rng, donors: int) -> Pool:
    """Sorted cells have one donor: dealing them out leaves the noise of cells alone."""
    cells = ad.read_h5ad(shared / _SORTED)
    kind = cells.obs["cell_type"].astype(str).to_numpy(dtype=object)
    donor = rng.integers(0, donors, cells.n_obs).astype(str).astype(object)
    return Pool(sparse.csr_matrix(cells.X).astype(np.int64), kind, donor)


def plant(rng: Rng, lines: list[str], n_genes: int, share: float) -> pd.DataFrame:
    size = rng.uniform(0.5, 2.0, (len(lines), n_genes)) * rng.choice([-1, 1], (len(lines), n_genes))
    size[rng.random(size.shape) >= share] = 0
    return pd.DataFrame(size, index=lines)


@dataclass
class Sheet:
    """Rows of the experiment while it is put together."""

    rows: list[np.ndarray[Any, Any]]
    line: list[str | None]
    donor: list[str]
    treated: list[bool]

    def add(self, rows: Any, line: str | None, donor: str, *, treated: bool) -> None:
        """Add one sample."""
        self.rows.append(rows)
        self.line.append(line)
        self.donor.append(donor)
        self.treated.append(treated)


def draw(rng: Rng, half: Any, n_cells: int | None) -> Any:
    return half if n_cells is None else rng.choice(half, n_cells)


def halves(rng: Rng, pool: Pool, kinds: dict[str, str], options: argparse.Namespace) -> Sheet:
    """Split the cells of each line and donor into two arms."""
    sheet = Sheet([], [], [], [])
    for line, kind in kinds.items():
        found = {d: pool.of(kind, d) for d in np.unique(pool.donor)}
        enough = [d for d, rows in found.items() if rows.size >= 2 * _FEWEST]
        if options.cells is None and options.donors < len(enough):
            enough = sorted(enough, key=lambda d: -found[d].size)[: options.donors + 2]
        for donor in rng.permutation(enough)[: options.donors]:
            rows = rng.permutation(found[donor])
            middle = rows.size // 2
            for treated, part in ((True, rows[:middle]), (False, rows[middle:])):
                sheet.add(draw(rng, part, options.cells), line, donor, treated=treated)
    return sheet


def donors_apart(rng: Rng, pool: Pool, kinds: dict[str, str], options: argparse.Namespace) -> Sheet:
    """Half of the donors treated, the others not."""
    sheet = Sheet([], [], [], [])
    order = rng.permutation(np.unique(pool.donor))[: 2 * (options.donors // 2)]
    arm = {d: i % 2 == 0 for i, d in enumerate(order)}
    for line, kind in kinds.items():
        for donor, treated in arm.items():
            rows = pool.of(kind, donor)
            if rows.size >= _FEWEST:
                sheet.add(draw(rng, rows, options.cells), line, donor, treated=treated)
    return sheet


def shared_controls(rng: Rng, pool: Pool, options: argparse.Namespace) -> Sheet:
    """NK cells of each donor dealt out to a monoculture and the co-cultures of four lines."""
    sheet = Sheet([], [], [], [])
    for donor in np.unique(pool.donor):
        parts = np.array_split(rng.permutation(pool.of("nk", donor)), 5)
        for i, part in enumerate(parts):
            line = None if i == 0 else f"line{i}"
            sheet.add(draw(rng, part, options.cells), line, donor, treated=i > 0)
    return sheet


def summed(
    rng: Rng,
    counts: sparse.csr_matrix,
    sheet: Sheet,
    options: argparse.Namespace,
    *,
    added: Any = None,
    look_at: Any = None,
) -> Experiment:
    """Thin the cells by depth and by planted effects, and sum them per sample."""
    treated = np.array(sheet.treated)
    line = np.array(sheet.line, dtype=object)
    lines = list(dict.fromkeys(line[treated]))
    effect = plant(rng, lines, counts.shape[1], 0.1 if options.planted else 0.0)
    code = np.repeat(np.arange(len(sheet.rows)), [r.size for r in sheet.rows])
    cells = counts[np.concatenate(sheet.rows)].copy()
    sample = np.repeat(code, np.diff(cells.indptr))
    kept = np.where(treated, options.depth, 1.0)[sample]
    if options.planted:
        # Shared controls cannot be lowered for one line alone.
        size = np.array([effect.loc[n] if n in effect.index else 0 * effect.iloc[0] for n in line])
        if any(name is None for name in line):
            size = effect_down(effect, line)
        signed = np.where(treated[:, None], np.minimum(size, 0), np.minimum(-size, 0))
        kept = kept * 2.0 ** signed[sample, cells.indices]
    cells.data = rng.binomial(cells.data, kept)
    cells.eliminate_zeros()
    sums = GroupSums(len(sheet.rows), counts.shape[1], with_squares=True)
    sums.add(cells.indptr, cells.indices, cells.data.astype(float), codes=code)
    total, squares = sums.sums, sums.squares
    n_cells = np.array([float(r.size) for r in sheet.rows])
    if added is not None:
        own = total.copy()
        total[treated] += added(rng, total[treated])
        # As if each cell had its part of a Poisson variable.
        squares += total - own + (total**2 - own**2) / n_cells[:, None]
    design = response_design(treated, line, np.array(sheet.donor, dtype=object))
    look_at = np.ones(counts.shape[1], bool) if look_at is None else look_at
    scatter = sums.overdispersion([r.size for r in sheet.rows])
    return Experiment(total, scatter, design, effect, look_at, n_cells, squares)


def effect_down(effect: pd.DataFrame, line: Any) -> Any:
    effect.iloc[:] = -np.abs(effect.to_numpy())
    none = np.zeros(effect.shape[1])
    return np.array([none if name is None else effect.loc[name] for name in line])


def floating(shared: Path, share: float) -> tuple[Any, Any, Any]:
    """Return NK cells, tumor RNA to add to sums, and the genes that tumor cells hardly have."""
    cells = ad.read_h5ad(shared / _LINES)
    nk = (cells.obs["truth"] == "NK").to_numpy()
    counts = sparse.csr_matrix(cells.X).astype(np.int64)
    tumor = np.asarray(counts[(cells.obs["line"] == "PC9_Day11_control").to_numpy()].sum(axis=0))
    profile = tumor.ravel() / tumor.sum()
    own = np.asarray(counts[nk].sum(axis=0)).ravel()

    def added(rng: Rng, sums: Any) -> Any:
        wanted = share / (1 - share) * sums.sum(axis=1)[:, None] * profile
        return rng.poisson(wanted)

    return counts[nk], added, share * profile < 0.02 * own / own.sum()


def p185(rng: Rng, shared: Path, options: argparse.Namespace) -> Experiment:
    """Replicates of one arm against each other, in each line × arm, matched by experiment."""
    bulk = ad.read_h5ad(shared / _P185)
    sheet = Sheet([], [], [], [])
    groups = bulk.obs.groupby(["tumor", "arm", "experiment"], observed=True).indices
    for (tumor, arm, experiment), rows in groups.items():
        first, *rest = rng.permutation(rows)
        sheet.add(np.array([first]), f"{tumor} {arm}", str(experiment), treated=True)
        for row in rest:
            sheet.add(np.array([row]), f"{tumor} {arm}", str(experiment), treated=False)
    made = summed(rng, sparse.csr_matrix(bulk.X).astype(np.int64), sheet, options)
    return Experiment(made.sums, None, made.design, made.effect, made.look_at)


def make(design: str, seed: int, options: argparse.Namespace, pool: Any) -> Experiment:
    rng = np.random.default_rng([seed, 7])
    if design == "p185":
        return p185(rng, options.shared, options)
    if design in {"nk", "nk_floating"}:
        cells, added, look_at = pool
        donor = rng.integers(0, options.donors, cells.shape[0]).astype(str).astype(object)
        own = Pool(cells, np.full(cells.shape[0], "nk", dtype=object), donor)
        extra = {"added": added, "look_at": look_at} if design == "nk_floating" else {}
        return summed(rng, cells, shared_controls(rng, own, options), options, **extra)
    if design == "sorted":
        pool = sorted_cells(options.shared, rng, options.donors)
        kinds = {k: k for k in ("nk", "bcells", "memoryt", "regulatoryt")}
    elif design == "kang26":
        kinds = {f"line{i}": _SIX[i % len(_SIX)] for i in range(26)}
    elif design == "kang1":
        kinds = {"CD14 Mono": "CD14 Mono"}
    else:
        kinds = {k: k for k in _FOUR}
    split = donors_apart if design.startswith("donors") else halves
    look_at = common_genes(pool) if design == "donors_common" else None
    return summed(rng, pool.counts, split(rng, pool, kinds, options), options, look_at=look_at)


def common_genes(pool: Pool) -> Any:
    """Return whether a gene is none of those that some people have or express more."""
    return np.array([g not in _PERSONAL and not g.startswith("HLA-") for g in pool.genes])


def tested_of(experiment: Experiment) -> dict[str, Any]:
    """Return the same genes for every method."""
    return expressed_genes(
        experiment.sums,
        experiment.design,
        library=experiment.sums.sum(axis=1),
        min_count=10,
        n_cells=experiment.cells,
    )


def voom_tmm(experiment: Experiment, **choices: Any) -> pd.DataFrame:
    return fit_response(
        experiment.sums,
        experiment.design,
        tested=tested_of(experiment),
        overdispersion=experiment.overdispersion,
        **choices,
    )


def deseq2(experiment: Experiment) -> pd.DataFrame:
    return fit_deseq2(experiment.sums, experiment.design, tested=tested_of(experiment))


def edgepython(experiment: Experiment, *, python: Path) -> pd.DataFrame:
    """Run the peer in its own interpreter: nothing of it is loaded here."""
    design, sums = experiment.design, experiment.sums
    tested = tested_of(experiment)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "in.npz"
        kept = np.any(list(tested.values()), axis=0)
        columns = list(design.effects.values())
        np.savez(file, sums=sums[:, kept], matrix=design.matrix, columns=columns)
        peer = Path(__file__).with_name("_edgepython_peer.py")
        subprocess.run([python, peer, file], check=True, capture_output=True)  # noqa: S603 (own files)
        found = np.load(Path(folder) / "out.npz")
        parts = [
            pd.DataFrame(
                {
                    "group": name,
                    "gene": np.flatnonzero(kept),
                    "log2_fc": found["log2_fc"][i],
                    "se": np.nan,
                    "p_value": found["p_value"][i],
                    "df_total": np.nan,
                }
            )[tested[name][kept]]
            for i, name in enumerate(design.effects)
        ]
        return pd.concat(parts, ignore_index=True)


def quasi(experiment: Experiment, **choices: Any) -> pd.DataFrame:
    return fit_count_response(
        experiment.sums,
        experiment.design,
        tested=tested_of(experiment),
        overdispersion=experiment.overdispersion,
        n_cells=experiment.cells,
        cell_squares=experiment.squares,
        **choices,
    )


def voom_by_line(experiment: Experiment, **choices: Any) -> pd.DataFrame:
    """Return the log-linear model with library sizes of each line's steady genes."""
    library = experiment.sums.sum(axis=1)
    found = line_factors(experiment.sums, library, experiment.design)
    return voom_tmm(experiment, effective=found.library, **choices)


METHODS: dict[str, Callable[[Experiment], pd.DataFrame]] = {
    "quasi": quasi,
    "quasi, one variance": partial(quasi, line_variance=False),
    "voom": voom_by_line,
    "voom, TMM": voom_tmm,
    "pydeseq2": deseq2,
}


def measure(experiment: Experiment, table: pd.DataFrame) -> dict[str, float]:
    """Compare one table with what was planted."""
    table = table[experiment.look_at[table["gene"]]]
    row = experiment.effect.index.get_indexer(table["group"])
    truth = experiment.effect.to_numpy()[row, table["gene"]]
    q = stats.false_discovery_control(table["p_value"])
    null, called = truth == 0, q < 0.05
    half = stats.t.ppf(0.975, table["df_total"]) * table["se"]
    inside = np.abs(table["log2_fc"] - truth) <= half
    if "ci_low" in table:
        inside = (table["ci_low"] <= truth) & (truth <= table["ci_high"])
    planted = int((experiment.effect.to_numpy() != 0).sum())
    offsets = table["log2_fc"][null].groupby(table["group"]).median().abs()
    return {
        "tested": len(table),
        "p05": float((table["p_value"][null] < 0.05).mean()),
        "p001": float((table["p_value"][null] < 0.001).mean()),
        "call": float((called & null).any()),
        "calls": int((called & null).sum()),
        "offset": float(offsets.max()),
        "fdr": float((called & null).sum() / max(called.sum(), 1)),
        "true": int((called & ~null).sum()),
        "planted": planted,
        "planted_tested": int((~null).sum()),
        "inside": int(inside[~null].sum()),
        "inside_null": float(inside[null].mean()),
    }


def run(name: str, experiment: Experiment) -> dict[str, float]:
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = METHODS[name](experiment)
    spent = time.process_time() - start
    return measure(experiment, table) | {"cpu": spent}


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    n, with_call = len(rows), int(rows["call"].sum())
    interval = stats.binomtest(with_call, n).proportion_ci(0.95)
    chance = stats.binom.ppf([0.025, 0.975], n, 0.05) / n
    out: dict[str, Any] = {
        "splits": n,
        "tested": round(rows["tested"].mean()),
        "p<.05": f"{rows['p05'].mean():.3f}",
        "p<.001": f"{rows['p001'].mean():.5f}",
        "a call": f"{with_call / n:.2f} [{interval.low:.2f}, {interval.high:.2f}]",
        "by chance": f"{chance[0]:.2f}-{chance[1]:.2f}",
        "most calls": int(rows["calls"].max()),
        "offset": f"{rows['offset'].max():.2f}",
        "all": f"{rows['inside_null'].mean():.3f}",
    }
    if rows["planted"].sum():
        error = rows["fdr"].std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        out |= {
            "FDR": f"{rows['fdr'].mean():.3f} ± {error:.3f}",
            "power": f"{rows['true'].sum() / rows['planted_tested'].sum():.3f}",
            "found": round(rows["true"].mean()),
            "coverage": f"{rows['inside'].sum() / rows['planted_tested'].sum():.3f}",
        }
    return out | {"CPU s": f"{rows['cpu'].median():.2f}"}


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--design", nargs="+", default=["kang4"])
    parser.add_argument("--depths", nargs="+", type=float, default=[1, 0.5, 0.25, 0.125])
    parser.add_argument("--cells", type=int, help="per sample; by default half of what there is")
    parser.add_argument("--donors", type=int, default=8)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first split")
    parser.add_argument("--methods", nargs="+", default=["quasi"])
    parser.add_argument("--edgepython", type=Path, help="interpreter that has edgepython")
    parser.add_argument("--out", type=Path, help="table of all splits, appended to")
    return parser.parse_args()


def pool_of(design: str, options: argparse.Namespace) -> Any:
    if design in {"nk", "nk_floating"}:
        return floating(options.shared, 0.05)
    return None if design in {"sorted", "p185"} else kang(options.shared)


def main() -> None:
    options = options_of()
    if options.edgepython is not None:
        METHODS["edgepython"] = partial(edgepython, python=options.edgepython)
    found: list[dict[str, Any]] = []
    for design in options.design:
        pool = pool_of(design, options)
        for depth in options.depths:
            options.depth = depth
            table = pd.DataFrame(of_depth(design, options, pool))
            found += [
                dict(zip(_KEYS, key, strict=True)) | summary(part)
                for key, part in table.groupby(_KEYS, sort=False)
            ]
            if options.out is not None:
                new = not options.out.exists()
                table.to_csv(options.out, sep="\t", index=False, mode="a", header=new)
    print(pd.DataFrame(found).to_markdown(index=False, disable_numparse=True))


def of_depth(design: str, options: argparse.Namespace, pool: Any) -> Iterator[dict[str, Any]]:
    """Fit each split by each method."""
    key = {"design": design, "donors": options.donors, "cells": options.cells or 0}
    for seed in range(options.first, options.first + options.splits):
        experiment = make(design, seed, options, pool)
        for method in options.methods:
            more = {"depth": options.depth, "method": method, "seed": seed}
            yield key | more | run(method, experiment)


if __name__ == "__main__":
    main()
