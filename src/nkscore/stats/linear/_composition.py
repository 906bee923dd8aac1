"""Fractions of samples on the logit scale, with weights for counting and for sample variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize

from nkscore.stats.linear._linear import LinearFit, fit_linear

if TYPE_CHECKING:
    from nkscore._types import Floats

#: Exponents for the growth of the variance between samples toward rare states: 0 is equal variance
#: of logits (logistic normal), 1 equal overdispersion (Dirichlet-multinomial).
_EXPONENTS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST_BETWEEN: Final = 1e4


@dataclass(frozen=True, slots=True)
class CompositionFit:
    """Linear model of logits, states × samples.

    ``fit`` weighs each logit by its counts and what samples vary beyond them. ``between``:
    variance between samples, states × 1, which grows toward rare states with ``exponent``.
    """

    fit: LinearFit
    between: Floats
    exponent: float


def fit_composition(counts: Floats, design: Floats) -> CompositionFit:
    """Fit the logits of all states' fractions with one model of their variances.

    Parameters
    ----------
    counts
        Samples × states, each state with at least one cell and no sample empty.
    design
        Samples × coefficients.

    Notes
    -----
    A logit with half a cell added to each side has a sampling variance plus a variance between
    samples, ``τ · (4 p (1 − p)) ** −γ`` with the state's pooled share ``p``. For each γ of 0, 0.25,
    ..., 1, τ makes the mean residual variance of the states one. The γ with the highest restricted
    likelihood is used.
    """
    total = counts.sum(axis=1)[:, None]
    share = (counts + 0.5) / (total + 1)
    logit = np.log((counts + 0.5) / (total - counts + 0.5)).T
    counting = 1 / (total * share * (1 - share)).T
    pooled = (counts.sum(axis=0) + 0.5) / (total.sum() + 1)
    best = -np.inf
    chosen = CompositionFit(fit_linear(logit, design, 1 / counting), np.zeros_like(pooled), 0.0)
    for exponent in _EXPONENTS:
        scale = ((4 * pooled * (1 - pooled)) ** -exponent)[:, None]
        between = _between(logit, counting, design, scale) * scale
        variance = counting + between
        fit = fit_linear(logit, design, 1 / variance)
        likelihood = _restricted_likelihood(logit, variance, design, fit)
        # Equal likelihoods (a single state) keep the smaller exponent.
        if likelihood > best + 1e-9:
            best, chosen = likelihood, CompositionFit(fit, between, exponent)
    return chosen


def _between(logit: Floats, counting: Floats, design: Floats, scale: Floats) -> float:
    """Return the variance between samples that explains the residuals beyond sampling."""

    def excess(between: float) -> float:
        fit = fit_linear(logit, design, 1 / (counting + between * scale))
        return float((fit.variance * fit.df_residual).sum() - fit.df_residual.sum())

    if not excess(0.0) > 0:
        return 0.0
    # Each step fits the model, so the root is bracketed closely first.
    low, high = 0.0, 0.1
    while high < _MOST_BETWEEN and excess(high) > 0:
        low, high = high, 4 * high
    return float(optimize.brentq(excess, low, high, xtol=1e-12, rtol=1e-9))


def _restricted_likelihood(
    logit: Floats, variance: Floats, design: Floats, fit: LinearFit
) -> float:
    # With an orthonormal basis the determinant is defined even if columns repeat.
    u, values, _ = np.linalg.svd(design, full_matrices=False)
    basis = u[:, values > 1e-10 * values[0]]
    normal = np.einsum("ni,sn,nj->sij", basis, 1 / variance, basis)
    squares = ((logit - fit.fitted) ** 2 / variance).sum(axis=1)
    per_state = np.log(variance).sum(axis=1) + np.linalg.slogdet(normal)[1] + squares
    return float(-0.5 * per_state.sum())
