"""Rank correlation of many features with one target, given groups and continuous covariates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from nkscore.stats.outcomes._association import Association
from nkscore.stats.outcomes._location import complete_blocks

if TYPE_CHECKING:
    from nkscore._types import Floats


def partial_rank_correlation(
    target: Floats, features: Floats, indicators: Floats, covariates: Floats
) -> Association:
    """Return Spearman's partial correlation of each column with ``target``.

    Parameters
    ----------
    target
        One value per sample, NaN if not known.
    features
        Samples × features, NaN if not known.
    indicators
        Samples × columns of 0 and 1: levels of groups.
    covariates
        Samples × numbers; their ranks are used, like those of both sides.

    Notes
    -----
    Residuals of ranks after a linear model of constant, indicators and ranked covariates; t with n
    minus the rank of that model minus 1 degrees of freedom. With indicators of one grouping this is
    :func:`rank_correlation` with strata.
    """
    p, effect = np.full((2, features.shape[1]), np.nan)
    n = np.zeros(features.shape[1], dtype=np.int64)
    known = np.isfinite(target)[:, None]
    for rows, columns in complete_blocks(np.where(known, features, np.nan)):
        n[columns] = len(rows)
        if not len(rows):
            continue
        basis = _basis(
            np.column_stack(
                [np.ones(len(rows)), indicators[rows], stats.rankdata(covariates[rows], axis=0)]
            )
        )
        y = _residual(stats.rankdata(target[rows])[:, None], basis)
        x = _residual(stats.rankdata(features[np.ix_(rows, columns)], axis=0), basis)
        degrees = len(rows) - basis.shape[1] - 1
        flat = (np.abs(x).max(axis=0) < 1e-7) | (np.abs(y).max() < 1e-7) | (degrees < 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            rho = (y * x).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum())
            rho = np.where(flat, np.nan, np.clip(rho, -1, 1))
            t = rho * np.sqrt(degrees / ((rho + 1) * (1 - rho)))
        effect[columns], p[columns] = rho, 2 * stats.t.sf(np.abs(t), max(degrees, 1))
    return Association(effect, p, n)


def _basis(design: Floats) -> Floats:
    """Return orthonormal columns that span the design, one for each rank."""
    size = np.abs(design).max(axis=0)
    left, singular, _ = np.linalg.svd(design / np.where(size > 0, size, 1.0), full_matrices=False)
    return np.asarray(left[:, singular > 1e-9 * singular[0]])


def _residual(values: Floats, basis: Floats) -> Floats:
    return np.asarray(values - basis @ (basis.T @ values))
