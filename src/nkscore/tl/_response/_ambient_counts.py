"""Counts of samples together with their expected ambient counts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import WELL, Samples, compartment_samples, labels
from nkscore._storable import stored_name
from nkscore.stats import ambient_share, relative_error

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Labels

_LOG: Final = logging.getLogger("nkscore")
_MOST_GENES: Final = 200
_FEWEST_GENES: Final = 10
_FOLD: Final = 10.0
#: Minimum error of a soup made of the lane's cells, however well its genes agree.
_LEAST_ERROR: Final = 0.05
#: Share of tumor RNA below which a lane counts as NK cells alone.
_HARDLY_ANY: Final = 0.05


@dataclass(frozen=True, slots=True)
class AmbientCounts:
    """What was counted in each sample, and how much of it is expected to be ambient.

    ``counts`` and ``expected``: samples × genes. ``error``: relative error of ``expected``.
    """

    counts: Floats
    expected: Floats
    error: float


def ambient_counts(
    adata: AnnData, samples: Samples, *, compartment: str = schema.TUMOR_CELLS
) -> AmbientCounts:
    """Return the counts of samples of one compartment and the ambient counts expected in each.

    Samples on several lanes are divided by lane (``split`` of ``compartment_samples``).
    Co-cultures of tumor cells use the share from ``pp.ambient``. For NK cells it is estimated here,
    from genes that NK cells alone (the samples that are not ``treated``) do not express. For
    monocultures that share their lane with other cells, the share is estimated from genes of those
    cells that the co-cultures show to be silent in the line.
    """
    record = schema.recorded(adata, "pp.ambient", "pp.ambient")["samples"]
    matrix = counts_of(adata, check=False)
    counts = matrix.group_sums(samples.codes, len(samples.table)).sums
    lanes = labels(samples.table, schema.LANE)
    soups = _soups(adata, matrix, sorted({str(lane) for lane in lanes}))
    soup = np.array([soups[str(lane)] for lane in lanes])
    if compartment == schema.NK:
        # NK cells are one cell type, regardless of the line they were cultured with.
        lines = np.full(len(samples.table), compartment, dtype=object)
        treated = samples.table["treated"].to_numpy(dtype=bool)
        share = _shares_of_nk(counts, soup, treated, clean=_without_tumor(adata, matrix, lanes))
    else:
        known = dict(zip(_places(record, "sample"), record["ambient_share"], strict=True))
        lines = labels(samples.table, schema.TUMOR)
        share = np.array([known.get(x, np.nan) for x in _places(samples.table, WELL)], dtype=float)
    measured = np.isfinite(share)
    total = counts.sum(axis=1)
    expected = np.where(measured[:, None], (total * np.nan_to_num(share))[:, None] * soup, 0.0)
    error = _error(counts, expected, measured=measured, lines=lines)
    for i in np.flatnonzero(~measured):
        same = measured & (lines == lines[i])
        share[i] = _share_beside(
            (counts[i], soup[i]), counts[same].sum(axis=0), expected[same].sum(axis=0), error=error
        )
        expected[i] = total[i] * share[i] * soup[i]
    return AmbientCounts(counts, expected, error)


def _places(table: pd.DataFrame, sample: str) -> list[tuple[str, str]]:
    """Return sample and lane of each row."""
    names, lanes = table[sample].astype(str), table[schema.LANE].astype(str)
    return list(zip(names, lanes, strict=True))


def _shares_of_nk(counts: Floats, soup: Floats, treated: Bools, *, clean: Bools) -> Floats:
    """Return the ambient share of the co-cultures, NaN for NK cells alone (0: unknown)."""
    reference = clean & ~treated
    if not reference.any():
        _LOG.warning(
            "Ambient tumor RNA in NK cells cannot be estimated, because all NK cells "
            "alone share their lanes with tumor cells. It is then present in both arms; "
            "nothing is subtracted"
        )
        return np.zeros(len(counts))
    alone = counts[reference].sum(axis=0)
    share = np.where(treated, 0.0, np.nan)
    for i in np.flatnonzero(treated):
        nothing = np.zeros_like(alone)
        share[i] = _share_beside((counts[i], soup[i]), alone, nothing, error=_LEAST_ERROR)
    return share


def _without_tumor(adata: AnnData, counts: Counts, lanes: Labels) -> Bools:
    """Return for each sample whether its lane has almost no tumor RNA."""
    number = {lane: i for i, lane in enumerate(sorted({str(lane) for lane in lanes}))}
    codes = np.array([number.get(str(name), -1) for name in adata.obs[schema.LANE]])
    is_tumor = (adata.obs[schema.COMPARTMENT] == schema.TUMOR_CELLS).to_numpy()
    total = counts.totals()
    every, tumor = (
        np.bincount(codes[cells], total[cells], minlength=len(number))
        for cells in (codes >= 0, is_tumor & (codes >= 0))
    )
    clean = tumor <= _HARDLY_ANY * every
    return np.array([clean[number[str(lane)]] for lane in lanes], dtype=bool)


def _soups(adata: AnnData, counts: Counts, lanes: list[str]) -> dict[str, Floats]:
    """Return the profiles of ``pp.ambient``, and the sum of the cells of further lanes."""
    given = adata.varm[schema.AMBIENT_SOUP]
    names = {lane: stored_name(lane) for lane in lanes}
    soups = {
        lane: given[name].to_numpy(dtype=float) for lane, name in names.items() if name in given
    }
    rest = [lane for lane in lanes if lane not in soups]
    if rest:
        number = {name: i for i, name in enumerate(rest)}
        codes = np.array([number.get(str(name), -1) for name in adata.obs[schema.LANE]])
        codes[~passed_qc(adata)] = -1
        sums = counts.group_sums(codes, len(rest)).sums
        soups |= {name: sums[i] / max(sums[i].sum(), 1.0) for name, i in number.items()}
    return soups


def _error(counts: Floats, expected: Floats, *, measured: Bools, lines: Labels) -> float:
    """Return the relative error of genes that a line alone lacks around their expectation."""
    seen, awaited = [], []
    for line in sorted({str(x) for x in lines[measured]}):
        here = np.array([str(x) == line for x in lines])
        alone = counts[here & ~measured].sum(axis=0)
        y, a = counts[here & measured], expected[here & measured]
        # One count more than observed is the upper limit of the line's share.
        ceiling = (alone + 1) / max(alone.sum(), 1.0) * y.sum(axis=1)[:, None]
        use = (a >= 10) & (ceiling < a / _FOLD)
        seen.append(y[use])
        awaited.append(a[use])
    if not seen:
        return _LEAST_ERROR
    return relative_error(np.concatenate(seen), np.concatenate(awaited), minimum=_LEAST_ERROR)


def _share_beside(
    sample: tuple[Floats, Floats], counts: Floats, expected: Floats, *, error: float
) -> float:
    """Return the ambient share of a sample from genes of its soup that its cells lack.

    ``counts``, minus those ``expected`` to be ambient, are of the same cell type elsewhere.
    """
    y, soup = sample
    own_total = float((counts - expected).sum())
    if own_total <= 0:
        return 0.0
    own = np.maximum(counts - expected, 0.0)
    doubt = 2 * np.sqrt(counts + (error * expected) ** 2) + 1
    ceiling = (own + doubt) / own_total
    order = np.argsort(-soup, kind="stable")
    genes = np.sort(order[(soup >= _FOLD * ceiling)[order]][:_MOST_GENES])
    if genes.size < _FEWEST_GENES:
        return 0.0
    fit = ambient_share(
        y[genes], float(y.sum()), soup[genes], alone=own[genes], total_alone=own_total
    )
    return fit.share


def ambient_share_of_genes(adata: AnnData, lines: pd.Series, genes: pd.Series) -> Floats:
    """Return the ambient share of each gene's counts in its line's co-cultures, row by row.

    NaN if ``pp.ambient`` was not run, or without counts.
    """
    share = np.full(len(genes), np.nan)
    if "pp.ambient" not in adata.uns.get(schema.RECORD, {}):
        return share
    samples = compartment_samples(
        adata,
        schema.TUMOR_CELLS,
        columns=[schema.LANE, schema.TUMOR],
        min_cells=1,
        split=[schema.LANE],
    )
    known = set(_places(schema.recorded(adata, "pp.ambient", "pp.ambient")["samples"], "sample"))
    samples = samples.keep(np.array([x in known for x in _places(samples.table, WELL)]))
    found = ambient_counts(adata, samples)
    of_sample, wanted = labels(samples.table, schema.TUMOR), np.asarray(lines).astype(str)
    at = adata.var_names.get_indexer(genes)
    for line in set(wanted):
        here, rows = of_sample == line, np.flatnonzero((wanted == line) & (at >= 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            of_genes = found.expected[here].sum(axis=0) / found.counts[here].sum(axis=0)
        share[rows] = np.minimum(of_genes, 1.0)[at[rows]]
    return share
