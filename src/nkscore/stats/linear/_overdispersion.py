"""Information from the scatter between cells about the scatter between samples.

The sum of a gene of a rare cell state comes from few cells, whose number differs between samples.
Such a gene varies more between samples than other genes with the same expression. A variance shared
with those genes is too small for it and causes false calls. All genes together show how much more
it varies.
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
#: With a narrower range (natural logarithm), most genes are similar and nothing can be estimated.
_LEAST_WIDTH: Final = 1e-4


def with_overdispersion(
    fit: LinearFit, weights: Floats, *, level: Floats, overdispersion: Floats
) -> tuple[LinearFit, Floats]:
    """Weight genes by the variance expected from their scatter between cells.

    Effects do not change, only the scale of variances and weights, so that genes share variances on
    the same scale.

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
    # Both depend on expression; the relevant quantity is the excess over genes of the same level.
    excess = unbiased - _smooth(unbiased, level[usable], level[usable])
    clumped = np.log(overdispersion[known])
    clumped -= _smooth(clumped, level[known], level[known])
    if np.ptp(np.quantile(clumped[usable[known]], [0.3, 0.7])) < _LEAST_WIDTH:
        return fit, weights
    # Genes that vary little between cells can still differ between donors, for example by genotype.
    wanted = np.append(np.maximum(clumped, 0.0), 0.0)
    more = _smooth(excess, clumped[usable[known]], wanted)
    logs = np.zeros(level.size)
    logs[known] = more[:-1] - more[-1]
    factor = np.exp(logs)[:, None]
    scaled = replace(fit, variance=fit.variance / factor[:, 0], unscaled=fit.unscaled * factor)
    return scaled, weights / factor


def _smooth(values: Floats, at: Floats, wanted: Floats) -> Floats:
    """Return the local regression of values, robust against outlying genes."""
    from statsmodels.nonparametric.smoothers_lowess import lowess

    curve = lowess(values, at, frac=0.4, it=3, delta=0.01 * float(np.ptp(at)))
    knots, first = np.unique(curve[:, 0], return_index=True)
    return np.asarray(np.interp(wanted, knots, curve[first, 1]))
