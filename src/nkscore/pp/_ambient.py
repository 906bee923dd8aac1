"""Ambient RNA of NK cells in tumor profiles."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore._checks import check_part, check_positive
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import WELL, Samples, compartment_samples, labels
from nkscore._storable import stored_names
from nkscore.errors import DesignError, GeneCoverageError, WrongScaleError
from nkscore.pp._references import identity_genes
from nkscore.stats import ambient_share

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Ints

_LOG = logging.getLogger("nkscore")
_MOST_GENES = 100


def ambient(
    adata: AnnData,
    *,
    soup: pd.DataFrame | None = None,
    min_cells: int = 20,
    fold: float = 10.0,
    confidence: float = 0.95,
) -> None:
    """Estimate the ambient share of the tumor cells' RNA in each co-culture sample.

    A sample on several lanes has an estimate per lane, because each lane has its own soup. The
    estimate uses genes that the lane's NK cells express and the line alone does not: their
    counts in tumor cells of the co-culture are ambient. Counts are not changed; the expected
    ambient counts follow from the written slots.

    Reads ``layers["counts"]``, ``obs["compartment"]``, ``obs["lane"]``, ``obs["sample"]``,
    ``obs["condition"]``, ``obs["tumor"]`` and, where present, ``obs["qc_pass"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    soup
        Ambient profile, genes × lanes, as counts or shares, for example the sum of empty droplets;
        by default the sum of all cells of the lane that passed QC.
    min_cells
        Samples with fewer tumor cells (in a lane) are excluded.
    fold
        A gene is used for a line if its share in the soup is this many times the upper limit of
        its share in the line's monoculture.
    confidence
        Coverage of the intervals, from 0 to below 1.

    Returns
    -------
    None
        Writes ``uns["nkscore"]["pp.ambient"]["samples"]`` (DataFrame: ``sample``, ``lane``,
        ``tumor``, ``ambient_share`` with ``ci_low``, ``ci_high``: ambient share of the tumor cells'
        counts; ``nk_share``: its part from NK cells; ``n_cells``, ``n_genes``, ``evidence``),
        ``varm["ambient_soup"]`` (float64 DataFrame, genes × lanes, sums to 1) and
        ``varm["ambient_nk"]`` (the part of the soup that comes from NK cells). The expected NK
        ambient counts of a sample are its total count × ``ambient_share`` × ``ambient_nk``.

    Raises
    ------
    MissingKeyError
        If compartments were not called.
    DesignError
        If no co-culture sample has enough tumor cells, or a lane holds no NK cell.
    GeneCoverageError
        If the soup and the data share too few genes, its genes are repeated, or too few genes are
        specific to NK cells.
    WrongScaleError
        If the soup of a lane has no counts, or negative ones.
    ValueError
        If ``confidence`` or ``fold`` is out of range.

    Notes
    -----
    ``evidence`` is ``monoculture``, or ``list`` for lines without one, for which the NK-exclusive
    genes of the catalog are assumed to be absent from the line. A monoculture that shares its lane
    with NK cells contains ambient RNA itself; the estimate is then too low. The interval covers the
    noise of counts and the disagreement of genes, but not an error of the whole soup profile. A sum
    of cells instead of empty droplets causes an error of a few percent of the share.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.pp.ambient(adata)
    >>> table = adata.uns["nkscore"]["pp.ambient"]["samples"]
    >>> bool(table["ambient_share"].between(0.01, 0.10).all())
    True
    """
    matrix = counts_of(adata)
    schema.check_samples(adata)
    check_part("confidence", confidence)
    check_positive("fold", fold)
    columns = [schema.LANE, schema.TUMOR, schema.CONDITION]
    samples = compartment_samples(
        adata, schema.TUMOR_CELLS, columns=columns, min_cells=min_cells, split=[schema.LANE]
    )
    own = _monocultures(matrix, samples)
    with_nk = samples.keep(labels(samples.table, schema.CONDITION) == schema.COCULTURE)
    if len(with_nk.table) == 0:
        msg = (
            f"No sample of condition 'coculture' has {min_cells} tumor cells, so no "
            "sample can contain ambient NK RNA. Check obs['compartment'] and obs['condition']."
        )
        raise DesignError(msg)
    lanes = sorted(set(with_nk.table[schema.LANE]))
    soups = _soups(adata, matrix, lanes, soup)
    table = _estimates(adata, matrix, with_nk, own, soups, fold=fold, confidence=confidence)
    adata.varm[schema.AMBIENT_SOUP] = _by_lane(soups[0], adata)
    adata.varm[schema.AMBIENT_NK] = _by_lane(soups[1], adata)
    schema.record(
        adata,
        "pp.ambient",
        function="pp.ambient",
        options={
            "soup": "cells of the lane" if soup is None else "given",
            "min_cells": min_cells,
            "fold": fold,
            "confidence": confidence,
        },
        samples=table,
    )
    median = 100 * float(table["ambient_share"].median())
    _LOG.info("Ambient share of tumor cells: median %.1f %% of %d samples", median, len(table))


def _by_lane(profiles: dict[str, Floats], adata: AnnData) -> pd.DataFrame:
    table = pd.DataFrame(profiles, index=adata.var_names)
    table.columns = pd.Index(stored_names(table, "The lanes"))
    return table


def _estimates(
    adata: AnnData,
    matrix: Counts,
    samples: Samples,
    own: dict[str, Floats],
    soups: tuple[dict[str, Floats], dict[str, Floats]],
    *,
    fold: float,
    confidence: float,
) -> pd.DataFrame:
    """Return one row per co-culture sample."""
    profiles, nk_part = soups
    counts = matrix.group_sums(samples.codes, len(samples.table)).sums
    allowed = identity_genes(adata)
    rows = []
    for i, (_, sample) in enumerate(samples.table.iterrows()):
        lane, line = str(sample[schema.LANE]), str(sample[schema.TUMOR])
        genes, alone, evidence = _specific_genes(
            adata, (profiles[lane], nk_part[lane]), own.get(line), allowed=allowed, fold=fold
        )
        total = float(counts[i].sum())
        fit = ambient_share(
            counts[i, genes],
            total,
            profiles[lane][genes],
            alone=alone,
            total_alone=float(own[line].sum()) if line in own else total,
            confidence=confidence,
        )
        rows.append(
            {
                "sample": str(sample[WELL]),
                "lane": lane,
                "tumor": line,
                "ambient_share": fit.share,
                "ci_low": fit.low,
                "ci_high": fit.high,
                "nk_share": fit.share * float(nk_part[lane].sum()),
                "n_cells": int(sample["n_cells"]),
                "n_genes": int(fit.used.sum()),
                "evidence": evidence,
            }
        )
    return pd.DataFrame(rows, index=[str(i) for i in range(len(rows))])


def _monocultures(counts: Counts, samples: Samples) -> dict[str, Floats]:
    """Sum the counts of each line in monoculture."""
    alone = samples.keep(labels(samples.table, schema.CONDITION) == schema.TUMOR_MONO)
    if len(alone.table) == 0:
        return {}
    sums = counts.group_sums(alone.codes, len(alone.table)).sums
    lines = labels(alone.table, schema.TUMOR)
    return {str(line): sums[lines == line].sum(axis=0) for line in set(lines) if line is not None}


def _soups(
    adata: AnnData, counts: Counts, lanes: list[str], given: pd.DataFrame | None
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the ambient profile of each lane and its part from NK cells."""
    lane = adata.obs[schema.LANE].astype(str).to_numpy()
    use = passed_qc(adata)
    is_nk = (adata.obs[schema.COMPARTMENT] == schema.NK).to_numpy()
    number = {name: i for i, name in enumerate(lanes)}
    code = np.array([number.get(name, -1) for name in lane])
    code[~use] = -1
    both = [(code, len(lanes)), (np.where(is_nk, code, -1), len(lanes))]
    every, nk = (found.sums for found in counts.each_group_sums(both))
    empty = [name for name in lanes if nk[number[name]].sum() == 0]
    if empty:
        msg = (
            f"Lane {empty[0]!r} holds co-cultures but no cell called NK, so its NK profile is "
            "unknown. Check obs['compartment'] of that lane."
        )
        raise DesignError(msg)
    profiles, nk_part = {}, {}
    for name, i in number.items():
        total = every[i].sum()
        profiles[name] = every[i] / total
        share_of_nk = np.divide(nk[i], every[i], out=np.zeros_like(nk[i]), where=every[i] > 0)
        if given is not None:
            profiles[name] = _given_soup(adata, given, name)
        nk_part[name] = profiles[name] * share_of_nk
    return profiles, nk_part


def _given_soup(adata: AnnData, soup: object, lane: str) -> Floats:
    lanes = list(soup.columns) if isinstance(soup, pd.DataFrame) else []
    if not isinstance(soup, pd.DataFrame) or lane not in lanes:
        have = ", ".join(map(str, lanes[:10])) or f"a {type(soup).__name__} is not a table of lanes"
        msg = f"soup has no column {lane!r} ({have}); give a DataFrame of genes × lanes."
        raise DesignError(msg)
    if not soup.index.is_unique:
        again = soup.index[soup.index.duplicated()][0]
        msg = f"soup holds gene {again!r} more than once. Sum its rows: each gene must occur once."
        raise GeneCoverageError(msg)
    profile = soup[lane].reindex(adata.var_names)
    if profile.notna().mean() < 0.5:
        msg = (
            f"soup holds {profile.notna().sum()} of the {adata.n_vars} genes of the data. "
            "Its index must be gene names as in adata.var_names."
        )
        raise GeneCoverageError(msg)
    values = np.nan_to_num(profile.to_numpy(dtype=float))
    if values.min() < 0 or not 0 < values.sum() < np.inf:
        msg = (
            f"soup[{lane!r}] ranges from {values.min():g} to {values.max():g}; counts or "
            "shares of at least 0, not all 0, are needed. Sum the counts of the empty droplets."
        )
        raise WrongScaleError(msg)
    return np.asarray(values / values.sum())


def _specific_genes(
    adata: AnnData, soups: tuple[Floats, Floats], own: Floats | None, *, allowed: Bools, fold: float
) -> tuple[Ints, Floats, str]:
    """Return genes of NK cells that the line lacks, their counts in it, and the evidence."""
    profile, nk_part = soups
    if own is None:
        listed = adata.var_names.isin(list(signatures.nk_exclusive()))
        genes = np.flatnonzero(listed & (profile > 0))
        evidence, alone = "list", np.zeros(genes.size)
    else:
        # One count more than observed is the upper limit of the line's share.
        ceiling = (own + 1) / own.sum()
        wanted = allowed & (profile >= fold * ceiling) & (nk_part >= 0.5 * profile)
        order = np.argsort(-profile, kind="stable")
        genes = np.sort(order[wanted[order]][:_MOST_GENES])
        evidence, alone = "monoculture", own[genes]
    if genes.size < 3:
        msg = (
            f"{genes.size} genes are specific to NK cells in these data; at least 3 are "
            "needed. Lower fold, or check the compartments and monocultures."
        )
        raise GeneCoverageError(msg)
    return genes, alone, evidence
