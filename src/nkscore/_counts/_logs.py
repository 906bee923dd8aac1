"""log1p of counts per 10,000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Array, Floats


def factors(total: Floats, target_sum: float) -> Floats:
    """Return what the counts of each cell are multiplied by; 0 for a cell without counts."""
    return np.divide(target_sum, total, out=np.zeros_like(total), where=total > 0)


def log_values(counts: Array, per_cell: Floats, lengths: Array) -> Array:
    """Return log1p of scaled counts as float32; cell ``i`` has ``lengths[i]`` of them."""
    values = np.repeat(per_cell, lengths)
    values *= counts
    logs: Array = np.log1p(values, out=values).astype(np.float32)
    return logs
