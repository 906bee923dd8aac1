"""Split of a change of means into changes within strata and of their shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The two parts per stratum, and the contribution of each unit of both arms.

    ``share`` and ``mean`` are arms × strata (control first; mean NaN if the stratum is empty).
    ``coefficients[arm]`` is (share and mass of each stratum) × (within, composition) × strata, the
    derivative of the parts with respect to the arm's means.
    """

    within: Floats
    composition: Floats
    share: Floats
    mean: Floats
    coefficients: tuple[Floats, Floats]


def kitagawa(share: tuple[Floats, Floats], mass: tuple[Floats, Floats]) -> Decomposition:
    """Decompose the difference of means between two arms symmetrically.

    Parameters
    ----------
    share
        Control and treated arm: units × strata, the share of each stratum in each unit.
    mass
        The same of share times the mean of the score in that stratum (0 where it is empty).

    Returns
    -------
    ``within[k]`` = mean share × change of mean, ``composition[k]`` = change of share × (mean of the
    stratum − mean of all), both averaged over the arms, so that their sum over strata is the
    difference of the arms' mean scores. If one arm lacks a stratum, the change of its mean is
    unknown and set to zero.

    Notes
    -----
    Kitagawa 1955, doi 10.1080/01621459.1955.10501299.
    """
    p = np.stack([s.mean(axis=0) for s in share])
    t = np.stack([m.mean(axis=0) for m in mass])
    present = p > 0
    own = np.where(present, t / np.where(present, p, 1.0), 0.0)
    # If one arm has no cell of the stratum, the other arm's mean is used for both.
    mu = np.where(present, own, own[::-1])
    level = mu.mean(axis=0) - t.sum(axis=1).mean()
    return Decomposition(
        within=(mu[1] - mu[0]) * p.mean(axis=0),
        composition=(p[1] - p[0]) * level,
        share=p,
        mean=np.where(present, mu, np.nan),
        coefficients=(
            _coefficients(0, p, mu, present, level),
            _coefficients(1, p, mu, present, level),
        ),
    )


def _coefficients(arm: int, p: Floats, mu: Floats, present: Bools, level: Floats) -> Floats:
    """Return the derivatives of both parts with respect to one arm's mean shares and masses."""
    n_strata = p.shape[1]
    sign = 1.0 if arm else -1.0
    both = present.all(axis=0)
    # A mean used for both arms changes both.
    weight = np.where(both, 0.5, np.where(present[arm], 1.0, 0.0))
    by_mass = np.where(present[arm], 1 / np.where(present[arm], p[arm], 1.0), 0.0)
    by_share = -mu[arm] * by_mass
    change, average = p[1] - p[0], p.mean(axis=0)
    result = np.zeros((2, n_strata, 2, n_strata))
    k = np.arange(n_strata)
    result[0, k, 0, k] = np.where(both, sign * average * by_share + 0.5 * (mu[1] - mu[0]), 0.0)
    result[1, k, 0, k] = np.where(both, sign * average * by_mass, 0.0)
    result[0, k, 1, k] = sign * level + change * weight * by_share
    result[1, k, 1, k] = change * weight * by_mass
    # The mean of all cells depends on every stratum's mass.
    result[1, :, 1, :] -= change / 2
    return result.reshape(2 * n_strata, 2, n_strata)


def unit_spread(
    moves: tuple[Floats, Floats], *, paired: bool, noise: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Return the standard error of linear combinations of arm means, and its degrees of freedom.

    Parameters
    ----------
    moves
        Control and treated arm: units × quantities, the quantity if the unit were the only one in
        its arm.
    paired
        Whether row i of either arm is the same donor.
    noise
        Units × quantities: the variance of each unit from its finite number of cells.

    Notes
    -----
    Student's t on differences of pairs, or Welch's with the degrees of freedom of Satterthwaite.
    For a single unit, the variance between units comes from the other arm, and the variance of its
    cells is added.
    """
    n_quantities = moves[0].shape[1]
    if paired:
        difference = moves[0] + moves[1]
        n = len(difference)
        return difference.std(axis=0, ddof=1) / np.sqrt(n), np.full(n_quantities, n - 1.0)
    variance, df = np.zeros((2, n_quantities)), np.zeros((2, 1))
    for arm, other in ((0, 1), (1, 0)):
        n = len(moves[arm])
        df[arm] = max(n, len(moves[other]) if n == 1 else n) - 1
        if n > 1:
            variance[arm] = moves[arm].var(axis=0, ddof=1) / n
        else:
            between = moves[other].var(axis=0, ddof=1) - noise[other].mean(axis=0)
            # Rounding can make the noise of equal cells slightly negative.
            variance[arm] = np.maximum(between, 0.0) + np.maximum(noise[arm][0], 0.0)
    total = variance.sum(axis=0)
    if min(len(moves[0]), len(moves[1])) == 1:
        return np.sqrt(total), np.full(n_quantities, df.max())
    squares = (variance**2 / df).sum(axis=0)
    welch = np.where(squares > 0, total**2 / np.where(squares > 0, squares, 1.0), df.sum())
    return np.sqrt(total), welch
