"""Library sizes of pseudobulk samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats


def tmm_factors(
    counts: Floats, library: Floats, *, ratio_trim: float = 0.3, sum_trim: float = 0.05
) -> Floats:
    """Trimmed mean of M-values (Robinson and Oshlack 2010, doi 10.1186/gb-2010-11-3-r25).

    Parameters
    ----------
    counts
        Samples × genes.
    library
        Total count of each sample, over all its genes.
    ratio_trim, sum_trim
        Share of genes trimmed at each end by log ratio and by mean abundance.

    Returns
    -------
    One factor per sample with geometric mean 1; edgeR's ``calcNormFactors``.
    """
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] == 0 or counts.shape[0] < 2:
        return np.ones(counts.shape[0])
    upper_quartile = np.quantile(counts, 0.75, axis=1) / library
    if np.median(upper_quartile) < 1e-20:
        reference = int(np.argmax(np.sqrt(counts).sum(axis=1)))
    else:
        reference = int(np.argmin(np.abs(upper_quartile - upper_quartile.mean())))
    log_factors = np.array(
        [
            _log2_factor(
                (sample, counts[reference]), (total, library[reference]), (ratio_trim, sum_trim)
            )
            for sample, total in zip(counts, library, strict=True)
        ]
    )
    return np.asarray(2.0 ** (log_factors - log_factors.mean()))


def _log2_factor(
    counts: tuple[Floats, Floats], totals: tuple[float, float], trims: tuple[float, float]
) -> float:
    (sample, reference), (n_sample, n_reference) = counts, totals
    both = (sample > 0) & (reference > 0)
    sample, reference = sample[both], reference[both]
    a, b = sample / n_sample, reference / n_reference
    # Written so that equal ratios tie exactly, as in edgeR, because ties affect the trimming.
    ratio, abundance = np.log2(a / b), (np.log2(a) + np.log2(b)) / 2
    if ratio.size == 0 or np.abs(ratio).max() < 1e-6:
        return 0.0
    variance = (n_sample - sample) / n_sample / sample
    variance += (n_reference - reference) / n_reference / reference
    keep = _middle(ratio, trims[0]) & _middle(abundance, trims[1])
    if not keep.any():
        return 0.0
    return float(np.average(ratio[keep], weights=1 / variance[keep]))


def _middle(values: Floats, trim: float) -> Bools:
    """Return which values have a rank (ties share their mean) in the middle.

    Only the two values at the cut can be tied across it, so sorting is enough.
    """
    low = np.floor(values.size * trim) + 1
    high = values.size + 1 - low
    ordered = np.sort(values)
    lowest, highest = ordered[int(low) - 1], ordered[int(high) - 1]
    keep = (values > lowest) & (values < highest)
    for edge in (lowest, highest):
        first, last = np.searchsorted(ordered, edge), np.searchsorted(ordered, edge, side="right")
        if low <= (first + 1 + last) / 2 <= high:
            keep |= values == edge
    return np.asarray(keep)


def log_cpm(counts: Floats, library: Floats) -> Floats:
    """Return log2((counts + 0.5) / (library + 1) · 10⁶), samples × genes, as voom does."""
    return np.asarray(np.log2((counts + 0.5) / (library[:, None] + 1) * 1e6))
