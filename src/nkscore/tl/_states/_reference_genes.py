"""A labeled reference made comparable with other cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._samples._cells import NO_EXPOSURE
from nkscore._samples._matrices import counts_of
from nkscore._warn import warn
from nkscore.errors import (
    DesignError,
    GeneCoverageError,
    MissingKeyError,
    NkscoreError,
)
from nkscore.signatures import diagnose

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Ints

_LEAST_GENES, _LEAST_CELLS, _LEAST_OF_LABEL, _MOST_OF_LABEL = 500, 20, 10, 1000
_FOLDS = 5


@dataclass(frozen=True)
class Reference:
    """Labeled cells of a reference on the genes that it shares with the data."""

    genes: list[str]
    counts: sparse.csr_matrix
    labels: list[str]
    code: Ints
    #: Cells that are held out together.
    fold: Ints
    umap: Floats | None


def read_reference(
    adata: AnnData,
    reference: AnnData,
    *,
    labels: str,
    compartment: str,
    batch: str | None,
) -> Reference:
    """Return the labeled cells of the compartment, or raise if the reference is unsuitable."""
    counts = _counts(reference)
    genes = shared_genes(adata, reference)
    rows = _labelled(reference, labels, compartment)
    names = reference.obs[labels].iloc[rows].astype(str).to_numpy(dtype=object)
    found, code = np.unique(names.astype(str), return_inverse=True)
    rows, code = _at_most(rows, code.astype(np.int64))
    umap = None
    if schema.UMAP in reference.obsm:
        umap = np.asarray(reference.obsm[schema.UMAP], dtype=np.float64)[rows, :2]
    return Reference(
        genes,
        shared_counts(counts, reference.var_names.get_indexer(genes), rows),
        list(map(str, found)),
        code,
        _folds(reference, rows, code, batch),
        umap,
    )


def require_columns(reference: AnnData, *, labels: str, batch: str | None) -> None:
    """Raise :class:`MissingKeyError` unless the reference has both columns."""
    from anndata import AnnData

    if not isinstance(reference, AnnData):
        msg = (
            f"reference is of type {type(reference).__name__}; an AnnData with labeled "
            "cells is needed. Read a file first, for example with anndata.read_h5ad."
        )
        raise TypeError(msg)
    for option, column in (("labels", labels), ("batch", batch)):
        if column is not None and column not in reference.obs:
            have = ", ".join(sorted(map(str, reference.obs.columns))[:20]) or "nothing"
            msg = (
                f"The reference's obs has no {column!r} (it holds: {have}). Name the column "
                f"with {option}=."
            )
            raise MissingKeyError(msg)


def _counts(reference: AnnData) -> Counts:
    try:
        return counts_of(reference)
    except NkscoreError as error:
        msg = (
            f"The reference cannot be used: {error} (In the reference as in the data, raw UMI "
            f"counts are read from layers[{schema.COUNTS!r}].)"
        )
        raise type(error)(msg) from error


def shared_genes(adata: AnnData, reference: AnnData) -> list[str]:
    """Return the genes of both, sorted, without mitochondrial and ribosomal ones."""
    shared = adata.var_names.intersection(reference.var_names).astype(str)
    shared = shared[~shared.str.match(NO_EXPOSURE)]
    least = min(_LEAST_GENES, 0.5 * min(adata.n_vars, reference.n_vars))
    if shared.size < least:
        reasons = [
            f"In {name}, {found[0].lower()}{found[1:]}"
            for name, found in (
                ("the data", diagnose(adata.var_names)),
                ("the reference", diagnose(reference.var_names)),
            )
            if found
        ]
        remedy = " ".join(reasons) or "Use the same type of gene names in both, and all genes."
        msg = (
            f"Data and reference share {shared.size:,} genes (they hold {adata.n_vars:,} and "
            f"{reference.n_vars:,}; mitochondrial and ribosomal ones do not count), for example "
            f"{adata.var_names[0]!r} and {reference.var_names[0]!r}; at least {least:,.0f} are "
            f"needed. {remedy}"
        )
        raise GeneCoverageError(msg)
    return sorted(shared)


def _labelled(reference: AnnData, labels: str, compartment: str) -> Ints:
    """Return the positions of cells with a label that enough cells have."""
    obs = reference.obs
    usable = obs[labels].notna().to_numpy() & (obs[labels].astype(str) != schema.UNASSIGNED)
    for column, wanted in ((schema.COMPARTMENT, compartment), (schema.QC_PASS, True)):
        if column in obs:
            usable = usable & (obs[column] == wanted).to_numpy(dtype=bool)
    sizes = obs[labels][usable].astype(str).value_counts()
    few = sorted(map(str, sizes.index[sizes < _LEAST_OF_LABEL]))
    usable = usable & ~obs[labels].astype(str).isin(few).to_numpy()
    if usable.sum() < _LEAST_CELLS or (sizes >= _LEAST_OF_LABEL).sum() < 2:
        msg = (
            f"{int((sizes >= _LEAST_OF_LABEL).sum())} labels of obs[{labels!r}] have at least "
            f"{_LEAST_OF_LABEL} cells of compartment {compartment!r} in the reference "
            f"({int(usable.sum())} cells in all); at least 2 labels and {_LEAST_CELLS} cells are "
            "needed. Check the column, and the reference's obs['compartment'] and obs['qc_pass']."
        )
        raise DesignError(msg)
    if few:
        msg = (
            f"Labels with fewer than {_LEAST_OF_LABEL} cells in the reference are too "
            f"small and are excluded: {', '.join(few)}. Merge them with others to keep their cells."
        )
        warn(msg)
    return np.flatnonzero(usable)


def _at_most(rows: Ints, code: Ints) -> tuple[Ints, Ints]:
    """Keep at most this many cells of each label, drawn with a fixed seed."""
    order = np.random.default_rng(0).permutation(rows.size)
    rank = pd.Series(code[order]).groupby(code[order]).cumcount().to_numpy()
    kept = np.sort(order[rank < _MOST_OF_LABEL])
    return rows[kept], code[kept]


def _folds(reference: AnnData, rows: Ints, code: Ints, batch: str | None) -> Ints:
    if batch is not None:
        known = reference.obs[batch].iloc[rows].astype(object)
        # Cells of an unknown batch are one level; pandas 3 keeps a missing value missing as str.
        groups = known.where(known.notna(), "nan").to_numpy(dtype=str)
        levels, number = np.unique(groups, return_inverse=True)
        fold = number % _FOLDS
        n_folds = pd.Series(fold).groupby(code).nunique()
        # A label in only one fold could never be predicted there.
        if levels.size > 1 and (n_folds > 1).all():
            return fold.astype(np.int64)
    order = np.random.default_rng(1).permutation(rows.size)
    fold = np.empty(rows.size, dtype=np.int64)
    fold[order] = pd.Series(code[order]).groupby(code[order]).cumcount().to_numpy() % _FOLDS
    return fold


def shared_counts(counts: Counts, genes: Ints, rows: Ints) -> sparse.csr_matrix:
    """Return counts of some cells in some genes, in the order of both."""
    found = counts.columns(genes, rows).astype(np.float64)
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def depth_of(counts: sparse.csr_matrix) -> Floats:
    """Return the ``log2`` of each cell's total count."""
    return np.log2(np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1.0))


def log_normalized(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return log1p of counts per 10,000."""
    per_cell = np.repeat(1e4 / 2 ** depth_of(counts), np.diff(counts.indptr))
    data = np.log1p(counts.data * per_cell)
    return sparse.csr_matrix((data, counts.indices, counts.indptr), shape=counts.shape)
