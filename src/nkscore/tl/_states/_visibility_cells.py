"""Sums of counts of residual and other cells of each sample, as such and matched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import WELL, compartment_samples, labels
from nkscore.errors import DesignError
from nkscore.signatures import get
from nkscore.signatures._programs import reference_genes
from nkscore.stats import overlap_weights, response_design
from nkscore.tl._states._visibility_fit import Units

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._samples._left_out import LeftOut
    from nkscore._samples._samples import Samples
    from nkscore._types import CSR, Bools, Floats, Ints, Labels
    from nkscore.tl._states._visibility_state import Groups

_GROUP: Final = "residual_or_other"
_SIDES: Final = ("residual", "other")
_PHASES: Final = ("TIROSH2016_G1S", "TIROSH2016_G2M")
#: Expected counts that are added to those of a phase, so that shallow cells are not extreme.
_PRIOR: Final = 3.0
#: Matched cells that a sample needs in each group.
_FEWEST: Final = 5.0


@dataclass(frozen=True, slots=True)
class CellUnits:
    """Sums of both answers; ``raw`` as such, ``matched`` at equal depth and cycle or ``None``.

    ``pairs`` names the sample of each unit of ``raw``; ``overlap`` is one number per line.
    """

    raw: Units
    matched: Units | None
    pairs: list[str]
    overlap: dict[str, float]
    remarks: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def cell_units(
    adata: AnnData,
    groups: Groups,
    *,
    by: str,
    min_cells: int,
    classes: CSR,
    tested: Ints,
) -> CellUnits:
    """Sum counts of both groups of each sample, once as such and once matched."""
    samples = _paired(adata, groups, by=by, min_cells=min_cells)
    counts = counts_of(adata)
    table = samples.table
    weights, overlap = _matching(adata, counts, samples, labels(table, by), tested)
    own = np.flatnonzero(samples.codes >= 0)
    rows, shape = samples.codes[own], (len(table), adata.n_obs)
    plain = sparse.csr_matrix((np.ones(own.size), (rows, own)), shape=shape)
    alike = sparse.csr_matrix((_scaled(weights[own], rows), (rows, own)), shape=shape)
    sums, squares = _weighted_sums(counts, sparse.vstack([plain, alike], format="csr"), classes)
    n_alike = np.asarray(alike.sum(axis=1)).ravel()
    every, usable = np.ones(len(table), dtype=bool), _both_sides(table, n_alike >= _FEWEST)
    n_cells = table["n_cells"].to_numpy(dtype=float)
    half, n_genes = len(table), adata.n_vars
    raw = _units(table, by, every, tested, (sums[:half], squares[:half], n_cells), n_genes=n_genes)
    matched, remark = None, ""
    try:
        matched = _units(
            table, by, usable, tested, (sums[half:], squares[half:], n_alike), n_genes=n_genes
        )
    except DesignError as error:
        remark = f"No answer at equal depth and cycle: {error}"
    reason = f"fewer than {_FEWEST:g} cells of a group are alike in depth and cycle (as_such only)"
    lost = list(dict.fromkeys(table.loc[~usable, WELL].astype(str)))
    left_out = samples.without("sample", lost, [reason] * len(lost)).left_out
    return CellUnits(
        raw,
        matched,
        list(table[WELL].astype(str)),
        overlap,
        (_pairs_in_words(table, by), remark),
        left_out,
    )


def _pairs_in_words(table: pd.DataFrame, by: str) -> str:
    n_cells = table.groupby("treated")["n_cells"].sum()
    return (
        f"{table[WELL].nunique()} samples of {table[by].nunique()} {by} levels hold both groups: "
        f"{int(n_cells[True])} residual and {int(n_cells[False])} other cells."
    )


def _paired(adata: AnnData, groups: Groups, *, by: str, min_cells: int) -> Samples:
    """Return the units of samples that have both groups, with the column ``treated``."""
    from anndata import AnnData as Cells

    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    schema.require(adata, "obs", [by, schema.SAMPLE], "pp.demultiplex")
    side = np.full(adata.n_obs, None, dtype=object)
    for name, inside in zip(_SIDES, (groups.residual, groups.other), strict=True):
        side[inside] = name
    obs = adata.obs.assign(**{_GROUP: pd.Series(side, index=adata.obs.index, dtype=object)})
    known = obs[_GROUP].notna() & obs[by].notna()
    obs[schema.SAMPLE] = obs[schema.SAMPLE].astype(object).where(known)
    samples = compartment_samples(
        Cells(obs=obs),
        schema.TUMOR_CELLS,
        columns=[by, _GROUP],
        min_cells=min_cells,
        split=(_GROUP,),
        replicate=schema.SAMPLE,
    )
    treated = samples.table[_GROUP].astype(str).to_numpy() == _SIDES[0]
    table = samples.table.assign(treated=treated)
    both = _both_sides(table, np.ones(len(table), dtype=bool))
    if not both.any():
        msg = (
            f"No sample has {min_cells} residual and {min_cells} other cells (min_cells). Lower "
            "min_cells, or check adata.obs.groupby('sample') for both groups."
        )
        raise DesignError(msg)
    alone = table.loc[~both, schema.SAMPLE]
    found = type(samples)(table, samples.codes, samples.left_out)
    reason = f"the other group of this sample has fewer than {min_cells} cells"
    return found.without("sample", list(alone), [reason] * len(alone)).keep(both)


def _both_sides(table: pd.DataFrame, usable: Bools) -> Bools:
    sides = table.loc[usable].groupby(WELL)["treated"].nunique()
    return usable & table[WELL].isin(sides.index[sides == 2]).to_numpy()


def _units(
    table: pd.DataFrame,
    by: str,
    kept: Bools,
    tested: Ints,
    sums: tuple[Floats, Floats, Floats],
    *,
    n_genes: int,
) -> Units:
    """Build the model of some units; ``sums`` are counts, their squares and numbers of cells."""
    part = table[kept]
    if part.empty:
        msg = "no sample has enough cells of both groups that are alike."
        raise DesignError(msg)
    design = response_design(part["treated"].to_numpy(), labels(part, by), labels(part, WELL))
    counts, squares, n_cells = (values[kept] for values in sums)
    return Units(counts, n_genes, tested, design, n_cells, squares)


def _weighted_sums(counts: Counts, weights: CSR, classes: CSR) -> tuple[Floats, Floats]:
    """Return weighted sums of counts and of their squares: all genes, then all classes."""
    n_columns = counts.shape[1] + classes.shape[1]
    sums, squares = np.zeros((2, weights.shape[0], n_columns))
    columns = sparse.csc_matrix(weights)
    used = np.diff(columns.indptr) > 0
    for part in counts.parts(used):
        own = columns[:, part.cells]
        cells = part.matrix.astype(np.float64)
        both = sparse.hstack([cells, cells @ classes], format="csr")
        sums += (own @ both).toarray()
        both.data = np.square(both.data)
        squares += (own @ both).toarray()
    return sums, squares


def _scaled(weights: Floats, rows: Ints) -> Floats:
    """Scale weights so that those of a unit add up to its effective number of cells.

    The variance of a weighted sum is then that of a sum of so many cells.
    """
    total, squares = np.bincount(rows, weights), np.bincount(rows, np.square(weights))
    factor = np.divide(total, squares, out=np.zeros_like(total), where=squares > 0)
    return np.asarray(weights * factor[rows])


def _matching(
    adata: AnnData, counts: Counts, samples: Samples, line: Labels, tested: Ints
) -> tuple[Floats, dict[str, float]]:
    """Return a weight per cell, and the overlap of both groups per line."""
    features = _features(adata, counts, samples, tested)
    well = np.unique(samples.table[WELL].astype(str), return_inverse=True)[1]
    treated = samples.table["treated"].to_numpy()
    weights, overlap = np.zeros(adata.n_obs), {}
    for name in dict.fromkeys(line):
        units = np.flatnonzero(line == name)
        own = np.flatnonzero(np.isin(samples.codes, units))
        code = samples.codes[own]
        stratum = np.unique(well[code], return_inverse=True)[1]
        found = overlap_weights(treated[code], features[own], stratum)
        weights[own] = found.weights
        overlap[str(name)] = found.overlap
    return weights, overlap


def _features(adata: AnnData, counts: Counts, samples: Samples, tested: Ints) -> Floats:
    """Return log depth, its square, and the level of S and G2M genes, cells × features."""
    names = adata.var_names.astype(str)
    excluded = np.zeros(names.size, dtype=bool)
    excluded[tested] = True
    depth_genes = reference_genes(adata.var_names) & ~excluded
    phases = [np.asarray(names.isin(get(name).up)) & ~excluded for name in _PHASES]
    asked = np.column_stack([depth_genes, *phases]).astype(float)
    found = np.zeros((adata.n_obs, asked.shape[1]))
    own = samples.codes >= 0
    found[own] = counts.totals(asked, np.flatnonzero(own))
    depth = np.log(found[:, 0] + 1)
    middle = depth[own].mean()
    columns = [depth, np.square(depth - middle)]
    for phase in found.T[1:]:
        expected = found[:, 0] * phase[own].sum() / max(found[own, 0].sum(), 1.0)
        columns.append(np.log((phase + _PRIOR) / (expected + _PRIOR)))
    return np.column_stack(columns)
