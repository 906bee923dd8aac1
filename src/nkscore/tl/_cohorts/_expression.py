"""Expression of a cohort as samples × genes, with its detected scale."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import names_of
from nkscore._counts._open import open_counts
from nkscore._samples._cells import passed_qc
from nkscore._samples._matrices import counts_of, has_counts, matrix_of
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._types import Floats, Labels

_LOG = logging.getLogger("nkscore")
SCALES = ("auto", "counts", "linear", "log")
#: Logarithms of counts, TPM and intensities are smaller.
_LARGEST_LOG = 50.0


@dataclass(frozen=True, slots=True)
class Expression:
    """Finite values, samples × genes, and their scale: ``counts``, ``linear`` or ``log``."""

    samples: pd.Index
    genes: pd.Index
    values: Floats
    scale: str

    def logs(self) -> Floats:
        """Return logarithms from zero: of counts per million or of linear values, or unchanged."""
        if self.scale == "counts":
            total = np.nansum(self.values, axis=1, keepdims=True)
            return np.asarray(np.log2(1 + 1e6 * self.values / np.where(total > 0, total, 1.0)))
        if self.scale == "linear":
            return np.asarray(np.log2(1 + self.values))
        return np.asarray(self.values - min(0.0, float(np.nanmin(self.values, initial=0.0))))


def sample_expression(
    data: pd.DataFrame | AnnData,
    *,
    scale: str,
    by: str | Sequence[str] | None,
    compartment: str | None,
    min_cells: int,
    missing: bool = False,
) -> Expression:
    """Convert a table, or cells summed by patient, to samples × genes.

    Values may be ``missing``, and genes centered, if the method compares each gene with itself.
    """
    if scale not in SCALES:
        msg = f"scale={scale!r}; one of {', '.join(SCALES)} is needed."
        raise ValueError(msg)
    if isinstance(data, pd.DataFrame):
        samples, genes, values = data.index, data.columns.astype(str), _numbers(data)
    elif by is None:
        schema.check_var_names(data)
        samples, genes = data.obs_names, data.var_names
        values = _dense(data)
    else:
        schema.check_var_names(data)
        genes = data.var_names
        samples, values = _summed(data, by, compartment, min_cells=min_cells)
    for axis, what in ((samples, "sample"), (genes, "gene")):
        if axis.has_duplicates:
            found = axis[axis.duplicated()][0]
            msg = (
                f"The {what} {found!r} occurs {int((axis == found).sum())} times in the "
                f"expression; each {what} must occur once. Sum, average or rename the repeats."
            )
            raise (DesignError if what == "sample" else GeneCoverageError)(msg)
    _check_values(values, samples, genes, missing=missing)
    return Expression(samples, genes, values, _scale(values, scale, genes, centered=missing))


def _numbers(table: pd.DataFrame) -> Floats:
    kinds = zip(table.columns, table.dtypes, strict=True)
    text = [(name, kind) for name, kind in kinds if not pd.api.types.is_numeric_dtype(kind)]
    if text:
        msg = (
            f"Column {text[0][0]!r} of the expression holds {text[0][1]} values; numbers "
            "are needed, samples in rows and genes in columns. Move annotations to the index."
        )
        raise WrongScaleError(msg)
    return table.to_numpy(dtype=float)


def _dense(data: AnnData) -> Floats:
    if not has_counts(data) and data.X is None:
        msg = "The AnnData holds neither layers['counts'] nor X. Load expression first."
        raise MissingKeyError(msg)
    matrix = matrix_of(data, schema.COUNTS if has_counts(data) else "X")
    return open_counts(matrix).rows().toarray().astype(float)


def _summed(
    adata: AnnData, by: str | Sequence[str], compartment: str | None, *, min_cells: int
) -> tuple[pd.Index, Floats]:
    columns = names_of(by)
    if not columns:
        msg = "by names no column. Name the columns that identify patients, or give by=None."
        raise DesignError(msg)
    schema.require(adata, "obs", columns, "io.read_coculture")
    counts = counts_of(adata, check=False)
    inside = adata.obs[columns].notna().all(axis=1).to_numpy()
    if compartment is not None:
        schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
        inside = inside & (adata.obs[schema.COMPARTMENT] == compartment).to_numpy()
    inside = inside & passed_qc(adata)
    text = adata.obs.loc[inside, columns].astype(object).astype(str)
    names = text[columns[0]].str.cat(text[columns[1:]], sep=" | ")
    number, levels = pd.factorize(names.to_numpy(dtype=object), sort=True)
    enough = np.bincount(number, minlength=len(levels)) >= min_cells
    if not enough.any():
        msg = (
            f"None of {len(levels)} patients (by {', '.join(columns)}) has {min_cells} cells. "
            "Lower min_cells, or check by= and compartment=."
        )
        raise DesignError(msg)
    _log_small(levels[~enough], len(levels), min_cells)
    codes = np.full(adata.n_obs, -1, dtype=np.int64)
    codes[inside] = np.where(enough, np.cumsum(enough) - 1, -1)[number]
    sums = counts.group_sums(codes, int(enough.sum()))
    return pd.Index(levels[enough], dtype=object), sums.sums


def _log_small(left_out: Sequence[str] | Labels, n: int, min_cells: int) -> None:
    if len(left_out):
        _LOG.warning(
            "%d of %d patients have fewer than %d cells and are excluded: %s",
            len(left_out),
            n,
            min_cells,
            ", ".join(left_out[:10]),
        )


def _check_values(
    values: Floats, samples: pd.Index, genes: pd.Index, *, missing: bool = False
) -> None:
    if 0 in values.shape:
        msg = f"The expression has {values.shape[0]} samples and {values.shape[1]} genes."
        raise DesignError(f"{msg} At least one of each is needed: check the previous filters.")
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        msg = (
            f"The expression holds {int(bad.sum())} values that are missing or infinite, "
            f"first in sample {samples[row]!r}, gene {genes[column]!r}; ranks within a "
            "sample need all values. Drop such genes (.dropna(axis=1)) or fill the "
            "values at their source."
        )
        raise WrongScaleError(msg)


def _scale(values: Floats, asked: str, genes: pd.Index, *, centered: bool = False) -> str:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if asked in {"counts", "linear"} and low < 0:
        msg = (
            f"The expression goes down to {low:g}, which is impossible with scale={asked!r}. Give "
            "scale='log' for logarithms."
        )
        raise WrongScaleError(msg)
    if asked == "log" and high > _LARGEST_LOG:
        msg = (
            f"The expression goes up to {high:g}, which logarithms do not. Give "
            "scale='linear' or scale='counts', or let it be detected (scale='auto')."
        )
        raise WrongScaleError(msg)
    if low < 0 and len(values) >= 3 and not centered:
        _refuse_standardized(values, genes)
    if asked != "auto":
        return asked
    if low < 0 or high <= _LARGEST_LOG:
        return "log"
    whole = (values == np.rint(values)) | np.isnan(values)
    return "counts" if whole.all() else "linear"


def _refuse_standardized(values: Floats, genes: pd.Index) -> None:
    spread = values.std(axis=0)
    varying = spread > 0
    if not varying.any():
        return
    centered = np.abs(values.mean(axis=0)[varying]) < 1e-3 * spread[varying]
    if centered.mean() > 0.9:
        msg = (
            f"{int(centered.sum())} of {len(genes)} genes have a mean of 0 over the "
            "samples: the expression was centered gene by gene, which removes the order "
            "of the genes within a sample. Give counts, TPM or their logarithms."
        )
        raise WrongScaleError(msg)
