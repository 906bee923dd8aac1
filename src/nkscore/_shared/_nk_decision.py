"""Which posteriors become calls."""

from __future__ import annotations

from typing import Any

import numpy as np


def decide(
    posterior: Any, present: Any, *, min_confidence: float, max_error: float
) -> tuple[Any, Any, Any]:
    """Return the call of each cell (last column: none), its confidence and its margin.

    States that are not ``present`` are not called, however probable they are in a cell.
    Calls are kept from the surest down as long as the mean of their error probabilities stays
    within ``max_error`` times the squared mean confidence of all cells. The square is there
    because cells that say little also leave the folds, and so the confidence itself, uncertain.
    """
    last = posterior.shape[1] - 1
    best = posterior.argmax(axis=1)
    ranked = np.sort(posterior, axis=1)
    confidence, margin = ranked[:, -1], ranked[:, -1] - ranked[:, -2]
    there = np.append(present, False)[best]
    candidate = np.flatnonzero(there & (confidence >= min_confidence))
    sure = np.sort(1 - confidence[candidate])
    mean_error = np.cumsum(sure) / np.arange(1, sure.size + 1)
    within = np.flatnonzero(mean_error <= max_error * confidence.mean() ** 2)
    limit = sure[within[-1]] if within.size else -1.0
    called = np.zeros(best.size, dtype=bool)
    called[candidate[(1 - confidence[candidate]) <= limit]] = True
    return np.where(called, best, last), confidence, margin
