"""Welch's test between cells on log-normalized counts, in the convention of Seurat 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Ints

#: Counts per cell to which Seurat and scanpy normalize.
TARGET: Final = 1e4


@dataclass(frozen=True, slots=True)
class WelchTest:
    """Welch's test of each gene between two groups of cells.

    ``log2_fc`` and its standard error ``se`` are those of mean normalized counts plus 1; ``t``,
    ``df`` and ``p_value`` (two-sided) those of mean log-normalized counts.
    """

    log2_fc: Floats
    se: Floats
    t: Floats
    df: Floats
    p_value: Floats


def log_moments(counts: Counts, codes: Ints, n_groups: int) -> Floats:
    """Return groups × genes × 4 sums over cells: x, x², e, e², with x = log(1 + e).

    ``e`` are counts per 10,000 of the cell; ``codes`` are -1 for cells of no group. Cells are added
    one after the other, so that the sums are the same however the counts are cut.
    """
    from nkscore.stats.sums._moment_kernels import add_moments

    moments = np.zeros((n_groups, counts.shape[1], 4))
    for part in counts.parts(codes >= 0):
        own = codes[part.cells].astype(np.int64)
        add_moments(
            part.matrix.indptr.astype(np.int64),
            part.matrix.indices.astype(np.int32),
            part.matrix.data.astype(np.float64),
            # Group by group, so that the sums of one group stay in the cache.
            np.argsort(own, kind="stable"),
            own,
            TARGET,
            moments,
        )
    return moments


def welch_test(treated: Floats, control: Floats, *, n: tuple[int, int]) -> WelchTest:
    """Compare two groups of cells.

    Parameters
    ----------
    treated, control
        Genes × 4 sums of :func:`log_moments`.
    n
        Numbers of cells, at least two each.

    Notes
    -----
    ``t.test`` of R on log-normalized values; the fold change is log2 of the ratio of mean counts
    per 10,000, each plus 1 (``FindMarkers`` of Seurat 4 with ``test.use = "t"``). Its standard
    error is by the delta method.
    """
    means, errors = [], []
    scaled, relative = [], []
    for sums, size in ((treated, n[0]), (control, n[1])):
        mean, mean_scaled = sums[:, 0] / size, sums[:, 2] / size
        means.append(mean)
        errors.append(np.maximum(sums[:, 1] - size * mean**2, 0) / (size - 1) / size)
        scaled.append(np.log2(mean_scaled + 1))
        variance = np.maximum(sums[:, 3] - size * mean_scaled**2, 0) / (size - 1) / size
        relative.append(variance / (mean_scaled + 1) ** 2)
    total = errors[0] + errors[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (means[0] - means[1]) / np.sqrt(total)
        df = total**2 / (errors[0] ** 2 / (n[0] - 1) + errors[1] ** 2 / (n[1] - 1))
    se = np.sqrt(relative[0] + relative[1]) / np.log(2)
    return WelchTest(scaled[0] - scaled[1], se, t, df, np.asarray(2 * stats.t.sf(np.abs(t), df)))
