"""log1p of counts per 10,000."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Array, Floats

#: Cells worked on at once.
_ROWS: Final = 4096


def factors(total: Floats, target_sum: float) -> Floats:
    """Return what the counts of each cell are multiplied by; 0 for a cell without counts."""
    return np.divide(target_sum, total, out=np.zeros_like(total), where=total > 0)


def log_values(counts: Array, per_cell: Floats, lengths: Array) -> Array:
    """Return log1p of scaled counts as float32; cell ``i`` has ``lengths[i]`` of them."""
    logs = np.empty(counts.size, np.float32)
    ends = np.cumsum(lengths)
    low = 0
    for start in range(0, len(lengths), _ROWS):
        stop = min(start + _ROWS, len(lengths))
        high = int(ends[stop - 1])
        values = np.repeat(per_cell[start:stop], lengths[start:stop])
        values *= counts[low:high]
        logs[low:high] = np.log1p(values, out=values)
        low = high
    return logs
