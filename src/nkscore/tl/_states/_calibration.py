"""Calibration of the confidence of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_shares, check_whole
from nkscore.errors import DesignError, WrongScaleError

if TYPE_CHECKING:
    from anndata import AnnData


def calibration(
    adata: AnnData,
    truth: str,
    *,
    called: str = schema.NK_STATE,
    confidence: str | None = None,
    n_bins: int = 10,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare the confidence of calls with their observed accuracy.

    Reads ``obs[truth]``, ``obs[called]`` and ``obs[confidence]``.

    Parameters
    ----------
    adata
        Cells × genes, for example simulated or sorted cells.
    truth
        Column of ``obs`` with the true level of each cell.
    called
        Column of ``obs`` with the call. Cells that are ``unassigned`` or lack one of the three
        values are excluded.
    confidence
        Column of ``obs`` with the probability that the call is correct; by default the name of
        ``called`` with ``_confidence``.
    n_bins
        Number of equally wide bins of confidence between 0 and 1.
    level
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per non-empty bin, with columns ``bin_low``, ``bin_high``, ``confidence`` (mean),
    ``observed`` (share of correct calls), ``ci_low``, ``ci_high`` (Wilson's interval of
    ``observed``, with independent cells) and ``n_cells``.

    Raises
    ------
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If a confidence is not between 0 and 1.
    DesignError
        If no cell has all three values.
    ValueError
        If ``n_bins`` is below 1 or ``level`` is not from 0 to 1.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.demultiplex(adata)
    >>> table = nk.tl.calibration(adata, "truth_hashtag", called="hashtag")
    >>> bool(table["observed"].iloc[-1] > 0.9)
    True
    """
    check_whole(1, n_bins=n_bins)
    check_shares(level=level)
    confidence = f"{called}_confidence" if confidence is None else confidence
    schema.require(adata, "obs", [truth, called, confidence], "the function that makes the call")
    cells = _judged(adata.obs, truth, called, confidence)
    stated = cells[confidence].to_numpy(dtype=float)
    # Sums of posteriors can exceed 1 by rounding.
    if stated.min() < -1e-6 or stated.max() > 1 + 1e-6:
        msg = (
            f"obs[{confidence!r}] ranges from {stated.min():g} to {stated.max():g}; probabilities "
            "between 0 and 1 are needed. Pass the column with the confidence."
        )
        raise WrongScaleError(msg)
    right = (cells[truth].astype(str) == cells[called].astype(str)).to_numpy()
    return _bins(np.clip(stated, 0, 1), right, n_bins, level)


def _judged(obs: pd.DataFrame, truth: str, called: str, confidence: str) -> pd.DataFrame:
    """Return the cells that have a truth, a call and a confidence."""
    cells = obs[[truth, called, confidence]].dropna()
    cells = cells[cells[called].astype(str) != schema.UNASSIGNED]
    if len(cells) == 0:
        msg = (
            f"No cell has a truth, a call and a confidence (obs: {truth}, {called}, {confidence}); "
            "at least one is needed. Check that the call was made on these cells."
        )
        raise DesignError(msg)
    return cells


def _bins(stated: np.ndarray, right: np.ndarray, n_bins: int, level: float) -> pd.DataFrame:
    from scipy import stats

    # A confidence on the edge of two bins belongs to the upper one, 1 to the last.
    place = np.minimum((stated * n_bins + 1e-9).astype(int), n_bins - 1)
    rows = []
    for i in np.unique(place):
        inside = place == i
        n, hits = int(inside.sum()), int(right[inside].sum())
        interval = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
        rows.append((i / n_bins, (i + 1) / n_bins, stated[inside].mean(), hits / n, *interval, n))
    names = ["bin_low", "bin_high", "confidence", "observed", "ci_low", "ci_high", "n_cells"]
    return pd.DataFrame(rows, columns=names)
