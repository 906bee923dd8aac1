"""Which of many overlapping signatures explains a response, and whether any does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Floats

#: Ridge of the joint model, as a share of the weight of all genes.
_RIDGE: Final = 0.01
#: Median absolute deviation of a standard normal distribution, inverted.
_MAD: Final = 1.4826
_ROUNDS: Final = 50


@dataclass(frozen=True, slots=True)
class SignalFit:
    """Fit of one line, one entry per signal.

    ``joint`` and ``joint_se``: coefficients of all signals in one model; ``alone``: z of a signal
    by itself; ``inflation``: by how much z of such signatures exceed those of independent genes;
    ``rival_z``: signals × signals, z of the difference of two signals in one model of both;
    ``missing``: sets of the background × 2, in one
    model with the strongest signal: z of the set, and z of the signal minus the set.
    """

    joint: Floats
    joint_se: Floats
    alone: Floats
    inflation: float
    rival_z: Floats
    missing: Floats
    explained: float


def fit_signals(
    effect: Floats, error: Floats | None, signals: Floats, background: Floats, rest: Floats
) -> SignalFit:
    """Fit the effects of all genes by signatures.

    Parameters
    ----------
    effect, error
        One per gene; without errors all genes count the same.
    signals
        Genes × signals, each with mean 0 and standard deviation 1.
    background
        Genes × sets of the same form that stand for signals which ``signals`` lack.
    rest
        Genes × sets of the same form. Most of them do not respond: the spread of their z in what
        the strongest signal leaves shows how genes of a set vary together.

    Notes
    -----
    Variances of genes are those of their errors plus one for all that signatures do not explain
    (moments). Genes of a set are correlated, so the z of sets spread more than those of independent
    genes; all errors are multiplied by that spread (an empirical null, Efron 2004, doi
    10.1198/016214504000000089).
    """
    weight = _weights(effect, error, signals)
    alone, slope = _each(effect, signals, weight)
    top = int(np.argmax(alone))
    left = effect - slope[top] * (signals[:, top] - np.average(signals[:, top], weights=weight))
    spread = [
        _spread(_each(left, part, weight)[0]) for part in (signals, rest) if part.shape[1] > 7
    ]
    inflation = max(1.0, *spread) if spread else 1.0
    joint, covariance, explained = _joint(effect, signals, weight, ridge=_RIDGE)
    missing = np.array([_beside(effect, signals[:, top], x, weight) for x in background.T])
    missing = missing.reshape(-1, 2) / np.array([1.0, inflation])
    return SignalFit(
        joint,
        inflation * np.sqrt(np.diag(covariance)),
        alone,
        inflation,
        _rivals(effect, signals, weight) / inflation,
        missing,
        explained,
    )


def _weights(effect: Floats, error: Floats | None, signals: Floats) -> Floats:
    """Return one over the variance of each gene, scaled to a mean of 1."""
    if error is None:
        return np.ones(effect.size)
    extra = 0.0
    for _ in range(_ROUNDS):
        weight = 1 / (np.square(error) + extra)
        joint, _, _ = _joint(effect, signals, weight, ridge=_RIDGE)
        left = effect - signals @ joint
        left -= np.average(left, weights=weight)
        new = max(0.0, float(np.average(np.square(left) - np.square(error), weights=weight)))
        if abs(new - extra) < 1e-6:
            break
        extra = new
    return np.asarray(weight / weight.mean())


def _each(effect: Floats, sets: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return z and slope of each set alone."""
    y = effect - np.average(effect, weights=weight)
    x = sets - np.average(sets, axis=0, weights=weight)
    square = weight @ np.square(x)
    slope = (weight * y) @ x / square
    left = np.square(y[:, None] - x * slope)
    error = np.sqrt(weight @ left / (effect.size - 2) / square)
    return slope / error, slope


def _spread(z: Floats) -> float:
    return float(_MAD * np.median(np.abs(z)))


def _joint(
    effect: Floats, sets: Floats, weight: Floats, *, ridge: float
) -> tuple[Floats, Floats, float]:
    """Return coefficients, their covariance, and the share of the variance that is explained."""
    y = effect - np.average(effect, weights=weight)
    x = sets - np.average(sets, axis=0, weights=weight)
    inner = (x * weight[:, None]).T @ x
    inverse = np.linalg.inv(inner + ridge * weight.sum() * np.eye(x.shape[1]))
    beta = inverse @ ((weight * y) @ x)
    left = float(weight @ np.square(y - x @ beta))
    variance = left / (effect.size - x.shape[1] - 1)
    total = float(weight @ np.square(y))
    return beta, variance * inverse @ inner @ inverse, 1 - left / total if total > 0 else 0.0


def _beside(effect: Floats, first: Floats, second: Floats, weight: Floats) -> tuple[float, float]:
    """Return z of the second set in a model with the first, and z of first minus second."""
    both = np.column_stack([first, second])
    # The ridge keeps two equal signatures apart from a division by zero.
    beta, covariance, _ = _joint(effect, both, weight, ridge=1e-6)
    apart = max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 1e-300)
    alone = max(covariance[1, 1], 1e-300)
    return float(beta[1] / np.sqrt(alone)), float((beta[0] - beta[1]) / np.sqrt(apart))


def _rivals(effect: Floats, signals: Floats, weight: Floats) -> Floats:
    n = signals.shape[1]
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1, n):
            found[i, j] = _beside(effect, signals[:, i], signals[:, j], weight)[1]
            found[j, i] = -found[i, j]
    return found


def shrunken_over_lines(effect: Floats, error: Floats, between: Floats) -> Floats:
    """Shrink effects (signals × lines) to the mean over lines, by how much lines differ.

    ``between`` is the variance between lines of each signal.
    """
    known = np.isfinite(effect) & np.isfinite(error)
    weight = np.where(known, 1 / (np.square(np.where(known, error, 1.0)) + between[:, None]), 0.0)
    mean = (weight * np.where(known, effect, 0.0)).sum(axis=1) / weight.sum(axis=1)
    keep = between[:, None] / (between[:, None] + np.square(error))
    return np.asarray(mean[:, None] + keep * (effect - mean[:, None]))
