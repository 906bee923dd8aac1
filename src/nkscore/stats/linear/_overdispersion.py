"""What the scatter between cells tells about the scatter between samples.

A gene of a rare cell state sums up from few cells, whose number differs from sample to sample: it
varies more between samples than other genes of the same expression. A variance shared with those
genes is too small for it, and it is called by chance. How much more is learned from all genes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from nkscore._types import Floats
    from nkscore.stats.linear._linear import LinearFit

#: With fewer genes, the curve would be noise.
_FEWEST_GENES: Final = 500
#: Narrower than that (natural logarithm), most genes are alike and nothing can be learned.
_LEAST_WIDTH: Final = 1e-4


def with_overdispersion(
    fit: LinearFit, weights: Floats, *, level: Floats, overdispersion: Floats
) -> tuple[LinearFit, Floats]:
    """Weight genes by the variance that their scatter between cells makes one expect.

    Effects stay as they are; only the scale of variances and weights changes, so that genes with
    variances of one scale share them.

    Parameters
    ----------
    fit, weights
        Genes × samples, of voom.
    level
        Mean log expression per gene.
    overdispersion
        Variance between cells of a sample over their mean, per gene.
    """
    known = overdispersion > 0
    usable = known & (fit.df_residual > 0) & np.isfinite(fit.variance) & (fit.variance > 0)
    if usable.sum() < _FEWEST_GENES:
        return fit, weights
    half = fit.df_residual[usable] / 2
    unbiased = np.log(fit.variance[usable]) - special.digamma(half) + np.log(half)
    # Both depend on expression; what matters is by how much a gene exceeds others of its level.
    excess = unbiased - _smooth(unbiased, level[usable], level[usable])
    clumped = np.log(overdispersion[known])
    clumped -= _smooth(clumped, level[known], level[known])
    if np.ptp(np.quantile(clumped[usable[known]], [0.3, 0.7])) < _LEAST_WIDTH:
        return fit, weights
    # Genes that are steady between cells may still differ between donors, by genotype for example.
    wanted = np.append(np.maximum(clumped, 0.0), 0.0)
    more = _smooth(excess, clumped[usable[known]], wanted)
    logs = np.zeros(level.size)
    logs[known] = more[:-1] - more[-1]
    factor = np.exp(logs)[:, None]
    scaled = replace(fit, variance=fit.variance / factor[:, 0], unscaled=fit.unscaled * factor)
    return scaled, weights / factor


def _smooth(values: Floats, at: Floats, wanted: Floats) -> Floats:
    """Return the local regression of values, robust against genes of their own kind."""
    from statsmodels.nonparametric.smoothers_lowess import lowess

    curve = lowess(values, at, frac=0.4, it=3, delta=0.01 * float(np.ptp(at)))
    knots, first = np.unique(curve[:, 0], return_index=True)
    return np.asarray(np.interp(wanted, knots, curve[first, 1]))
