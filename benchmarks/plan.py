r"""Variances of real data for ``tl.plan_experiment``, and its power against measured power.

Run from the repository root, on one thread::

    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    python benchmarks/plan.py variances --shared ../shared --out src/nkscore/tl/_plan/data
    python benchmarks/plan.py power --shared ../shared --repeats 10

``variances`` measures the packaged table: types of Kang et al. 2018 (doi 10.1038/nbt.4042; eight
donors, control and interferon beta) and the bulk replicates of Buri et al. 2025 (NK cells with p185
B-ALL lines). Bulk samples have no variation between cells, so that of Kang's monocytes is used.

``power`` compares the predicted with the measured share of planted effects that are found.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk
from nkscore._counts._group_sums import GroupSums
from nkscore.stats import benjamini_hochberg, fit_count_response, response_design
from nkscore.tl._plan._power import Depth, SampleRows, Wanted, power_of
from nkscore.tl._plan._variances import Sums, Variances, measured

_KANG = "data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad"
_P185 = "data/nk_p185_ball_coculture/nk_p185_ball_coculture_counts.h5ad"
_TYPES = ("CD14 Mono", "CD4 Naive T", "CD4 Memory T", "B", "CD16 Mono", "CD8 T", "NK")
_FEWEST_CELLS = 8


def sums_of(counts: sparse.csr_matrix, arm: np.ndarray, donor: np.ndarray) -> Sums:
    """Sum cells by arm and donor; samples of few cells are left out."""
    names = pd.MultiIndex.from_arrays([arm, donor])
    codes, levels = pd.factorize(names, sort=True)
    size = np.bincount(codes)
    kept = np.flatnonzero(size >= _FEWEST_CELLS)
    new = np.full(len(size), -1)
    new[kept] = np.arange(kept.size)
    codes = new[codes]
    sums = GroupSums(kept.size, counts.shape[1], with_squares=True)
    matrix = sparse.csr_matrix(counts)
    sums.add(matrix.indptr, matrix.indices, matrix.data.astype(float), codes=codes)
    total = np.asarray(matrix.sum(axis=1)).ravel()[codes >= 0]
    groups = pd.Series(total).groupby(codes[codes >= 0])
    depth = float((groups.var() / groups.mean() ** 2).mean())
    arms = pd.factorize(levels.get_level_values(0)[kept])[0]
    donors = pd.factorize(levels.get_level_values(1)[kept])[0]
    return Sums(sums.sums, sums.squares, size[kept].astype(float), arms, donors, depth)


def kang(shared: Path) -> dict[str, Sums]:
    cells = ad.read_h5ad(shared / _KANG)
    cells = cells[cells.obs["donor"].notna() & cells.obs["cell_type"].notna()]
    found = {}
    for kind in _TYPES:
        own = cells[cells.obs["cell_type"] == kind]
        arm, donor = (own.obs[c].astype(str).to_numpy() for c in ("condition", "donor"))
        found[f"Kang 2018 {kind}"] = sums_of(own.X, arm, donor)
    return found


def p185(shared: Path) -> Sums:
    bulk = ad.read_h5ad(shared / _P185)
    counts = np.asarray(sparse.csr_matrix(bulk.X).todense(), dtype=float)
    arm = (bulk.obs["tumor"].astype(str) + bulk.obs["arm"].astype(str)).to_numpy()
    codes = [pd.factorize(x)[0] for x in (arm, arm + bulk.obs["experiment"].astype(str).to_numpy())]
    # As one huge cell each: no variation between cells is known.
    return Sums(counts, counts**2, np.ones(len(counts)), *codes)


def variances(options: argparse.Namespace) -> list[Variances]:
    rng = np.random.default_rng(0)
    found = [measured(name, sums, rng) for name, sums in kang(options.shared).items()]
    bulk = measured("Buri 2025 p185 bulk", p185(options.shared), rng)
    # Of the variation between cells, bulk samples say nothing.
    found.append(replace(bulk, cells=found[0].at(bulk.level)[0], depth=found[0].depth))
    return found


# --- predicted against measured power


@dataclass(frozen=True)
class Pool:
    """Real or simulated cells, dealt to the samples of an experiment: the rows of each sample."""

    counts: sparse.csr_matrix
    rows: SampleRows
    cells: list[np.ndarray]


def kang_pool(shared: Path) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    cells = ad.read_h5ad(shared / _KANG)
    cells = cells[(cells.obs["condition"] == "ctrl") & cells.obs["donor"].notna()]
    cells = cells[cells.obs["cell_type"].isin(_TYPES[:3])]
    kind, donor = (cells.obs[c].astype(str).to_numpy(dtype=object) for c in ("cell_type", "donor"))
    return sparse.csr_matrix(cells.X), kind, donor


def dealt(
    rng: np.random.Generator,
    pool: tuple[sparse.csr_matrix, np.ndarray, np.ndarray],
    *,
    design: str,
    donors: int,
) -> Pool:
    """Deal control cells: donors apart (half of them treated), or halves of each donor."""
    counts, kind, donor = pool
    found = []
    chosen = rng.permutation(np.unique(donor))[:donors]
    for line in np.unique(kind):
        for i, name in enumerate(chosen):
            rows = rng.permutation(np.flatnonzero((kind == line) & (donor == name)))
            if design == "apart":
                found.append((i % 2 == 0, line, name, rows))
            else:
                middle = rows.size // 2
                found += [(True, line, name, rows[:middle]), (False, line, name, rows[middle:])]
    found = [one for one in found if one[3].size >= 10]
    treated, line, name, cells = zip(*found, strict=True)
    columns = [np.array(x, dtype=object) for x in (line, name)]
    return Pool(counts, SampleRows(np.array(treated), *columns), list(cells))


def simulated_pool(rng_seed: int, donors: int) -> Pool:
    """Tumor cells of the simulator in which nothing differs between the arms."""
    adata = nk.datasets.simulate_coculture(
        n_donors=donors,
        n_mono_replicates=2,
        n_cells_per_sample=150,
        null=True,
        ambient=0.0,
        doublets=0.0,
        negatives=0.0,
        low_quality=0.0,
        rng=rng_seed,
    )
    nk.datasets.use_truth(adata)
    obs = adata.obs[adata.obs["compartment"] == "tumor"]
    rows = obs.groupby("sample", observed=True).first()
    rows = rows[rows["condition"].isin(["coculture", "tumor_mono"])]
    cells = [
        np.flatnonzero((adata.obs["sample"] == s) & (adata.obs["compartment"] == "tumor"))
        for s in rows.index
    ]
    treated = (rows["condition"] == "coculture").to_numpy()
    donor = np.array([None if pd.isna(d) else str(d) for d in rows["nk_donor"]], dtype=object)
    line = rows["tumor"].astype(str).to_numpy(dtype=object)
    return Pool(sparse.csr_matrix(adata.layers["counts"]), SampleRows(treated, line, donor), cells)


def planted(rng: np.random.Generator, pool: Pool, effect: float) -> tuple[np.ndarray, ...]:
    """Lower a tenth of the genes in one arm by binomial thinning; return sums, squares, log2."""
    n_genes = pool.counts.shape[1]
    change = np.where(rng.random(n_genes) < 0.1, rng.choice([-effect, effect], n_genes), 0.0)
    sums = np.zeros((len(pool.cells), n_genes))
    squares = np.zeros_like(sums)
    for i, rows in enumerate(pool.cells):
        own = pool.counts[rows].astype(np.int64)
        signed = np.minimum(change if pool.rows.treated[i] else -change, 0.0)
        own.data = rng.binomial(own.data, 2.0 ** signed[own.indices]).astype(float)
        sums[i] = np.asarray(own.sum(axis=0)).ravel()
        squares[i] = np.asarray(own.multiply(own).sum(axis=0)).ravel()
    return sums, squares, change


def found_by_level(pool: Pool, rng: np.random.Generator, effect: float) -> pd.DataFrame:
    """Return each planted gene × line: its level, and whether it is found at q < 0.05."""
    sums, squares, change = planted(rng, pool, effect)
    design = response_design(pool.rows.treated, pool.rows.line, pool.rows.donor)
    size = np.array([rows.size for rows in pool.cells], dtype=float)
    scatter = (squares - sums**2 / size[:, None]).sum(axis=0) / np.maximum(sums.sum(axis=0), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = fit_count_response(
            sums, design, n_cells=size, cell_squares=squares, overdispersion=scatter
        )
    table["q"] = benjamini_hochberg(table["p_value"].to_numpy())
    parts = []
    for name, rows in design.members.items():
        rate = sums[rows] / sums[rows].sum(axis=1, keepdims=True) * 1e4
        arms = [rate[pool.rows.treated[rows] == arm].mean(axis=0) for arm in (True, False)]
        own = table[(table["group"] == name) & (table["q"] < 0.05)]
        hit = np.zeros(change.size, dtype=bool)
        right = np.sign(own["log2_fc"]) == np.sign(change[own["gene"]])
        hit[own["gene"][right]] = True
        level = np.sqrt(np.maximum(arms[0], 1e-9) * np.maximum(arms[1], 1e-9))
        mine = pd.DataFrame({"line": name, "level": level, "hit": hit})[change != 0]
        parts.append(mine)
    return pd.concat(parts)


_GRID = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)
_EDGES = (0.15, 0.3, 0.6, 1.2, 2.4, 9.6)


def pilot_of(pools: list[Pool], source: str, rng: np.random.Generator) -> Variances:
    """Measure variances in pools, their lines as arms."""
    counts, squares, size, arm, donor, depth = [], [], [], [], [], []
    for number, pool in enumerate(pools):
        for i, rows in enumerate(pool.cells):
            own = pool.counts[rows].astype(float)
            counts.append(np.asarray(own.sum(axis=0)).ravel())
            squares.append(np.asarray(own.multiply(own).sum(axis=0)).ravel())
            size.append(rows.size)
            total = np.asarray(own.sum(axis=1)).ravel()
            depth.append(total.var(ddof=1) / total.mean() ** 2)
            arm.append(f"{pool.rows.line[i]} {pool.rows.treated[i]} {number}")
            donor.append(f"{pool.rows.donor[i] or i} {pool.rows.line[i]} {number}")
    codes = [pd.factorize(np.array(x))[0] for x in (arm, donor)]
    sums = Sums(
        np.array(counts), np.array(squares), np.array(size, float), *codes, float(np.mean(depth))
    )
    return measured(source, sums, rng)


def compared(name: str, pools: list[Pool], pilot: Variances, options) -> pd.DataFrame:
    """Return measured and predicted power by level of expression."""
    rng = np.random.default_rng(3)
    effect = options.effect
    genes = pd.concat([found_by_level(pool, rng, effect) for pool in pools])
    grids = []
    for pool in pools[: options.predictions]:
        size = np.array([rows.size for rows in pool.cells], dtype=float)
        umi = np.array([float(pool.counts[rows].sum()) / rows.size for rows in pool.cells])
        wanted = Wanted(effect, _GRID, responding=0.1, n_genes=1200)
        grids.append(power_of(pool.rows, Depth(size, umi), wanted, pilot, repeats=2, rng=rng))
    power = pd.concat(grids).groupby("level")["power"].mean()
    genes["predicted"] = np.interp(np.log(genes["level"]), np.log(power.index), power)
    genes["bin"] = pd.cut(genes["level"], _EDGES)
    inside = genes[genes["bin"].notna()]
    table = inside.groupby("bin", observed=True).agg(
        n=("hit", "size"), measured=("hit", "mean"), predicted=("predicted", "mean")
    )
    table.loc["all"] = [len(inside), inside["hit"].mean(), inside["predicted"].mean()]
    table["off"] = table["predicted"] - table["measured"]
    return table.reset_index().assign(design=name, effect=effect)


def power(options: argparse.Namespace) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    parts = []
    pool = kang_pool(options.shared)
    for design, donors in (("apart", 4), ("apart", 6), ("apart", 8), ("halves", 3), ("halves", 6)):
        pools = [dealt(rng, pool, design=design, donors=donors) for _ in range(options.repeats)]
        pilot = pilot_of([dealt(rng, pool, design=design, donors=8)], f"Kang {design}", rng)
        parts.append(compared(f"Kang {design}, {donors} donors", pools, pilot, options))
    for donors in (2, 3, 5):
        pools = [simulated_pool(seed, donors) for seed in range(options.repeats)]
        pilot = pilot_of([simulated_pool(100, 6)], "simulator", rng)
        parts.append(compared(f"simulator, {donors} donors", pools, pilot, options))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["variances", "power"])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--effect", type=float, default=1.0)
    parser.add_argument("--predictions", type=int, default=4, help="designs to predict for")
    options = parser.parse_args()
    if options.what == "power":
        print(power(options).round(3).to_markdown(index=False))
    if options.what == "variances":
        table = pd.concat([one.table() for one in variances(options)])
        print(table.round(4).to_string(index=False))
        if options.out is not None:
            table.round(5).to_csv(options.out / "variances.csv", index=False)


if __name__ == "__main__":
    main()
