"""Negative binomial models of sums of counts, with variances estimated from adjusted deviances.

The variance of a count is σ² (μ + ψ μ²), with one ψ for all genes and one σ² per gene. Residual
variances come from deviances adjusted for small counts (``_unit_deviance``) and are shared between
genes as in a linear model. Effects come from a fit with reduced bias, tests and intervals from the
profile likelihood of an effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore.stats.linear._count_kernels import adjusted_deviances, fit_counts
from nkscore.stats.linear._sparse_pattern import kernel_design
from nkscore.stats.linear._unit_deviance import deviance_moments

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import Bools, Floats


#: Number of highly expressed genes from which the dispersion is estimated.
_MOST_GENES = 1000
_LEAST_DISPERSION, _MOST_DISPERSION = 1e-6, 4.0


@dataclass(frozen=True, slots=True)
class CountFit:
    """Fit of genes × coefficients on the natural logarithm; see ``LinearFit``.

    ``mean`` and ``weights`` are genes × samples; the weights are those of the last step of the fit,
    0 for samples that a gene does not use.
    """

    coefficients: Floats
    unscaled: Floats
    mean: Floats
    leverage: Floats
    weights: Floats
    dispersion: float


def fit_negative_binomial(
    counts: Floats,
    design: Floats,
    library: Floats,
    *,
    dispersion: float,
    used: Bools | None = None,
    reduce_bias: bool = True,
    start: Floats | None = None,
) -> CountFit:
    """Fit ``log(mean) ~ design + log(library)`` for each gene.

    Parameters
    ----------
    counts
        Genes × samples.
    design
        Samples × coefficients.
    library
        Effective library size per sample.
    dispersion
        ψ of the variance μ + ψ μ².
    used
        Genes × samples; False excludes a sample from the fit of a gene.
    reduce_bias
        Whether to reduce the bias (Firth), which keeps effects finite; otherwise the fit maximizes
        the likelihood.
    start
        Means to start from; by default the counts, shrunken toward the mean of the gene.
    """
    n_genes, n_coefficients = counts.shape[0], design.shape[1]
    own = kernel_design(design)
    used = np.ones(counts.shape, dtype=bool) if used is None else used
    if start is None:
        start = _start(counts, library, used)
    coefficients, unscaled = np.empty((2, n_genes, n_coefficients))
    log_mean = np.log(start)
    mean, leverage, weights = np.empty((3, *counts.shape))
    fit_counts(
        np.ascontiguousarray(counts, dtype=np.float64),
        np.ascontiguousarray(used),
        np.log(library),
        dispersion,
        int(reduce_bias),
        *own.arrays,
        coefficients,
        unscaled,
        log_mean,
        mean,
        leverage,
        weights,
    )
    back = own.back
    return CountFit(coefficients[:, back], unscaled[:, back], mean, leverage, weights, dispersion)


def _start(counts: Floats, library: Floats, used: Bools) -> Floats:
    own = np.where(used, counts, 0.0)
    rate = (own.sum(axis=1) + 0.5) / np.maximum(used @ library, 1e-300)
    expected = rate[:, None] * library
    return np.asarray(0.8 * counts + 0.2 * expected + 1e-3)


def residual_squares(
    fit: CountFit, counts: Floats, used: Bools, *, likely: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return adjusted squares and degrees of freedom of each count, genes × samples.

    ``likely`` are the means of maximum likelihood if ``fit`` has reduced bias.
    """
    moments = deviance_moments(fit.dispersion)
    squares, df = np.empty((2, *counts.shape))
    adjusted_deviances(
        np.ascontiguousarray(counts, dtype=np.float64),
        np.ascontiguousarray(used),
        fit.mean if likely is None else np.ascontiguousarray(likely),
        fit.mean,
        fit.leverage,
        fit.dispersion,
        moments.first,
        moments.step,
        moments.log_mean,
        moments.log_variance,
        squares,
        df,
    )
    return squares, df


def common_dispersion(counts: Floats, design: Floats, library: Floats, used: Bools) -> float:
    """Return the ψ at which highly expressed genes have a mean σ² of 1.

    Their counts are large, so they vary by the variance between samples; the σ² of a gene is its
    ratio to that.
    """
    level = np.where(used, counts, 0.0).sum(axis=1) / np.maximum(used @ library, 1e-300)
    number = min(_MOST_GENES, max(50, level.size // 5), level.size)
    # Ties with the last gene are included, so the order of genes does not matter.
    top = np.flatnonzero(level >= np.sort(level)[-number])
    own, inside = np.ascontiguousarray(counts[top]), np.ascontiguousarray(used[top])

    def excess(log_dispersion: float) -> float:
        fit = fit_negative_binomial(
            own,
            design,
            library,
            dispersion=float(np.exp(log_dispersion)),
            used=inside,
            reduce_bias=False,
        )
        squares, df = residual_squares(fit, own, inside)
        total = df.sum(axis=1)
        ratio = squares.sum(axis=1)[total > 0] / total[total > 0]
        low, high = np.quantile(ratio, [0.05, 0.9])
        # Exceptional genes (sex, stress) must not set the dispersion of all.
        middle = (ratio >= low) & (ratio <= high)
        return float(np.log(np.average(ratio[middle], weights=total[total > 0][middle])))

    return _root(excess)


def _root(excess: Callable[[float], float]) -> float:
    low, high = np.log(_LEAST_DISPERSION), np.log(_MOST_DISPERSION)
    if excess(low) <= 0:
        return _LEAST_DISPERSION
    guess = np.log(0.05)
    for _ in range(12):
        value = excess(guess)
        if abs(value) < 0.01 or high - low < 0.02:
            break
        low, high = (guess, high) if value > 0 else (low, guess)
        # The ratio falls at most as fast as the dispersion grows.
        wanted = guess + 1.3 * value
        guess = wanted if low < wanted < high else (low + high) / 2
    # On a coarse grid, to need few tables of moments.
    return float(np.exp(np.round(guess * 50) / 50))
