"""Signed z-scores: each gene against the other samples of its stratum, for small cohorts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._warn import warn
from nkscore.errors import DesignError
from nkscore.stats import interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Floats, Ints

SIGNED_ZSCORE: Final = "signed_zscore"
#: Standard deviations that one gene of one sample can count for: 95 % efficient with normal values,
#: and hardly moved by dropouts (Huber 1964, doi 10.1214/aoms/1177703732).
_MOST: Final = 1.345
#: Fewest samples of a stratum: the distance of two is not a spread.
_FEWEST: Final = 3
#: Ratio of the numbers of detected genes (90th to 10th percentile) from which a warning is given.
_UNEQUAL: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class SignedScores:
    """Samples × sets: score and the ends of its interval."""

    score: Floats
    low: Floats
    high: Floats


def stratum_codes(strata: Mapping[str, object] | pd.Series | None, samples: pd.Index) -> Ints:
    """Return the number of each sample's stratum; all 0 without strata."""
    if strata is None:
        codes, names = np.zeros(len(samples), dtype=np.int64), pd.Index(["all samples"])
    else:
        given = pd.Series(strata).reindex(samples)
        if given.isna().any():
            lost = [str(name) for name in samples[given.isna().to_numpy()]]
            msg = (
                f"{len(lost)} of {len(samples)} samples have no stratum: {', '.join(lost[:5])}. "
                "strata needs one value for each sample, with the names of the samples as index."
            )
            raise DesignError(msg)
        codes, names = pd.factorize(given.astype(str), sort=True)
    size = np.bincount(codes, minlength=len(names))
    small = [f"{name} ({n})" for name, n in zip(names, size, strict=True) if n < _FEWEST]
    if small:
        msg = (
            f"Strata with fewer than {_FEWEST} samples: {', '.join(small)}. A z-score compares a "
            "sample with others of its stratum: merge or drop small strata, or use "
            "method='rank_auc', which needs no other sample."
        )
        raise DesignError(msg)
    return np.asarray(codes, dtype=np.int64)


def check_missing(values: Floats, codes: Ints, genes: pd.Index) -> None:
    """Raise if a gene has values in only some samples of a stratum."""
    absent = np.isnan(values)
    for code in np.unique(codes):
        share = absent[codes == code].mean(axis=0)
        partly = np.flatnonzero((share > 0) & (share < 1))
        if partly.size:
            msg = (
                f"{partly.size} genes have values in only some samples of a stratum, first "
                f"{genes[partly[0]]!r}. A gene can be missing from whole strata (platforms) only: "
                "drop the gene, or give the strata in which it was not measured."
            )
            raise DesignError(msg)


def standardized(logs: Floats, codes: Ints, *, equal_detection: bool) -> Floats:
    """Return bounded z-scores, samples × genes: less the stratum's mean, over the SD within strata.

    Genes that do not vary are missing.
    """
    member = np.eye(int(codes.max()) + 1)[:, codes]
    seen = ~np.isnan(logs)
    filled = np.where(seen, logs, 0.0)
    count = member @ seen
    mean = (member @ filled) / np.maximum(count, 1)
    rest = np.where(seen, logs - mean[codes], np.nan)
    free = (count - (count > 0)).sum(axis=0)
    spread = np.sqrt(np.nansum(rest**2, axis=0) / np.maximum(free, 1))
    varies = spread > 1e-9 * np.maximum(np.nanmax(np.abs(filled), axis=0), 1.0)
    z = np.where(varies, rest / np.where(varies, spread, 1.0), np.nan)
    z = np.clip(z, -_MOST, _MOST)
    return z - np.nanmean(z, axis=1, keepdims=True) if equal_detection else z


def signed_scores(
    z: Floats, up: list[Ints], down: list[Ints], *, min_coverage: float
) -> SignedScores:
    """Return the difference of the two directions' means, weighted by the roots of their sizes.

    The interval is that of the mean over the set's genes in the sample. Samples with too few genes
    of a set (or none of one direction) are missing.
    """
    made = [_one(z, *pair, min_coverage=min_coverage) for pair in zip(up, down, strict=True)]
    score, error, free = (np.stack(parts, axis=1) for parts in zip(*made, strict=True))
    return SignedScores(score, *interval(score, error, np.maximum(free, 1), 0.95))


def _one(z: Floats, up: Ints, down: Ints, *, min_coverage: float) -> tuple[Floats, Floats, Floats]:
    """Return score, standard error and degrees of freedom of one set in each sample."""
    weight = np.sqrt([len(up), len(down)])
    weight = weight / weight.sum()
    score, variance, free = (np.zeros(len(z)) for _ in range(3))
    for genes, part, sign in ((up, weight[0], 1), (down, weight[1], -1)):
        if not len(genes):
            continue
        values = z[:, genes]
        seen = ~np.isnan(values)
        n = seen.sum(axis=1)
        enough = n >= max(1, min_coverage * len(genes))
        total = np.where(seen, values, 0.0).sum(axis=1)
        mean = np.where(enough, total / np.maximum(n, 1), np.nan)
        rest = np.where(seen, values - mean[:, None], 0.0)
        score += sign * part * mean
        single = n < 2
        spread = np.where(single, np.inf, (rest**2).sum(axis=1) / np.maximum(n - 1, 1))
        variance += part**2 * spread / np.maximum(n, 1)
        free += n - 1
    return score, np.sqrt(variance), free


def warn_of_detection(values: Floats, *, equal_detection: bool) -> None:
    """Warn if samples differ much in the number of genes detected."""
    if equal_detection:
        return
    lowest = np.nanmin(values, axis=1, keepdims=True)
    found = (values > lowest).sum(axis=1)
    low, high = np.quantile(found, [0.1, 0.9])
    if high > _UNEQUAL * max(low, 1):
        warn(
            f"Samples differ in the genes detected (10th to 90th percentile {low:,.0f} to "
            f"{high:,.0f}); where fewer are detected, sets of genes that fall look more active. "
            "Resting cells hold less RNA, and so do poor samples: look at equal_detection=True "
            "as well."
        )
