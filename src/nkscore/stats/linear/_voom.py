"""Precision weights of log counts from their mean-variance trend (voom)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore.stats.linear._linear import fit_linear, without_zeros
from nkscore.stats.linear._normalization import log_cpm

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats


def voom(
    counts: Floats,
    design: Floats,
    library: Floats,
    *,
    used: Bools | None = None,
    zero: Bools | None = None,
    span: float = 0.5,
) -> tuple[Floats, Floats]:
    """Return log2 counts per million and their weights, both genes × samples.

    Parameters
    ----------
    counts
        Genes × samples.
    design
        Samples × coefficients.
    library
        Effective library size per sample (total × TMM factor).
    used
        Genes × samples; False removes a sample from a gene's fit, with weight 0.
    zero
        Genes × samples; True for strata without a count, which do not inform the variance.
    span
        Share of genes in each local regression of the trend.

    Notes
    -----
    Law et al. 2014, doi 10.1186/gb-2014-15-2-r29. The trend is the lowess of the square root of
    the residual standard deviation on the mean log2 count; weights are its inverse fourth power
    at the fitted counts.
    """
    from statsmodels.nonparametric.smoothers_lowess import lowess

    used = np.ones(counts.shape, bool) if used is None else used
    y = log_cpm(counts.T, library).T
    fit = fit_linear(y, design, used.astype(float))
    if zero is not None:
        fit = without_zeros(fit, y, design, used.astype(float), zero=zero)
    n_used = np.maximum(used.sum(axis=1), 1)
    log_library = np.log2(library + 1)
    mean = (np.where(used, y, 0).sum(axis=1) + used @ log_library) / n_used - np.log2(1e6)
    spread = np.sqrt(np.sqrt(fit.variance))
    known = np.isfinite(spread) & (np.where(used, counts, 0).sum(axis=1) > 0)
    x, s = mean[known], spread[known]
    width = float(np.ptp(x)) if x.size else 0.0
    if width == 0:
        # A single gene has no trend: all samples get equal weight.
        return y, used.astype(float)
    trend = lowess(s, x, frac=span, it=3, delta=0.01 * width)
    knots, first = np.unique(trend[:, 0], return_index=True)
    fitted = fit.fitted + log_library - np.log2(1e6)
    weights = 1.0 / np.square(np.square(np.interp(fitted, knots, trend[first, 1])))
    return y, np.where(used, weights, 0.0)
