"""Adjusted p-values and intervals, and their columns in a table of effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

if TYPE_CHECKING:
    import numpy.typing as npt

    from nkscore._types import Array, Floats


def benjamini_hochberg(p_value: npt.ArrayLike, by: npt.ArrayLike | None = None) -> Floats:
    """Return q-values over the known p-values; NaN stays NaN and is not counted.

    Parameters
    ----------
    p_value
        0 to 1, or NaN if nothing was tested.
    by
        Group of each p-value; each group is then adjusted separately.

    Notes
    -----
    Benjamini and Hochberg 1995, doi 10.1111/j.2517-6161.1995.tb02031.x.
    """
    p = np.asarray(p_value, dtype=np.float64)
    if by is None:
        return _adjusted(p)
    groups = pd.Series(p).groupby(np.asarray(by), sort=False)
    return np.asarray(groups.transform(lambda part: _adjusted(part.to_numpy())))


def _adjusted(p: Floats) -> Floats:
    q = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q


def holm(p_value: npt.ArrayLike) -> Floats:
    """Return p-values adjusted for any wrong call among the known ones; NaN stays NaN.

    Notes
    -----
    Holm 1979: valid for any dependence between the tests.
    """
    p = np.asarray(p_value, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factor = known.size - np.arange(known.size)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factor), 1.0)
    return adjusted


def standard_errors(df: Floats | float, confidence: float) -> Floats | float:
    """Return the half-width of an interval in standard errors, by Student's t.

    With infinite degrees of freedom that is the normal distribution.
    """
    level = 0.5 + confidence / 2
    # By default, the normal distribution, from which t would differ in the last digit.
    normal = np.ndim(df) == 0 and np.isinf(df)
    reach: Floats | float = stats.norm.ppf(level) if normal else stats.t.ppf(level, df)
    return reach


def interval(
    effect: npt.ArrayLike, error: npt.ArrayLike, df: npt.ArrayLike, confidence: float
) -> tuple[Floats, Floats]:
    """Return both ends of the interval of each effect, NaN if its error or ``df`` is NaN."""
    middle = np.asarray(effect, dtype=np.float64)
    freedom = np.asarray(df, dtype=np.float64)
    margin = standard_errors(freedom, confidence) * np.asarray(error, dtype=np.float64)
    return middle - margin, middle + margin


def with_interval(
    table: pd.DataFrame, effect: str, df: npt.ArrayLike, confidence: float
) -> pd.DataFrame:
    """Return the table with ``ci_low`` and ``ci_high`` after its column ``se``."""
    low, high = interval(table[effect], table["se"], df, confidence)
    return placed_behind(table, "se", ci_low=low, ci_high=high)


def with_q_values(
    table: pd.DataFrame,
    *,
    p_value: str = "p_value",
    q_value: str = "q_value",
    by: str | None = None,
) -> pd.DataFrame:
    """Return the table with q-values after its p-values, within each level of ``by``."""
    q = benjamini_hochberg(table[p_value], None if by is None else table[by])
    return placed_behind(table, p_value, **{q_value: q})


def placed_behind(
    table: pd.DataFrame, column: str, **added: Array | pd.Series | float | str
) -> pd.DataFrame:
    """Return the table with new columns after a named one."""
    at = list(table.columns).index(column) + 1
    order = [*table.columns[:at], *added, *table.columns[at:]]
    return table.assign(**added)[order]
