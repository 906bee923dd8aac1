"""How much counts vary between cells, samples and donors: packaged, or measured in a pilot."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore.errors import DesignError

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints

#: Bins of expression, and the fewest genes of one.
_BINS: Final = 8
_FEWEST_GENES: Final = 12
#: Counts of a gene in a group of samples from which its variances are used.
_ENOUGH: Final = 30.0
#: A part of the variances this large is one of outliers.
_OUTLIERS: Final = 0.98
_SPREADS: Final = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8)
_QUANTILES: Final = (0.25, 0.5, 0.75, 0.9)
_PER: Final = 1e4
#: Rounds in which the fitted means come to agree with the sums of arms and donors.
_ROUNDS: Final = 15


@dataclass(frozen=True, slots=True)
class Variances:
    """Squared coefficients of variation at levels of expression (counts per 10,000).

    ``cells``: between cells of a sample, beyond Poisson and depth. ``samples``: between samples of
    one arm, what is common to a donor aside. ``donors``: between donors, in both arms alike.
    ``share`` of the genes at a level. ``spread``: standard deviation of the logarithm of the
    variances of genes at one level. ``depth``: of the total counts of cells.
    """

    source: str
    level: Floats
    cells: Floats
    samples: Floats
    donors: Floats
    share: Floats
    spread: float
    depth: float

    def at(self, level: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the variation between cells, samples and donors at levels of expression."""
        where = np.log(np.maximum(level, 1e-12))
        found = [
            np.interp(where, np.log(self.level), values)
            for values in (self.cells, self.samples, self.donors)
        ]
        return found[0], found[1], found[2]

    def draw_levels(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw levels of expression of genes."""
        position = rng.random(n) * (self.share.sum())
        logs = np.log(self.level)
        ends = np.concatenate([[1.5 * logs[0] - 0.5 * logs[1]], (logs[1:] + logs[:-1]) / 2])
        ends = np.append(ends, 1.5 * logs[-1] - 0.5 * logs[-2])
        return np.asarray(np.exp(np.interp(position, np.append(0.0, np.cumsum(self.share)), ends)))

    def table(self) -> pd.DataFrame:
        """Return one row per level."""
        return pd.DataFrame(
            {
                "source": self.source,
                "level": self.level,
                "cells": self.cells,
                "samples": self.samples,
                "donors": self.donors,
                "share": self.share,
                "spread": self.spread,
                "depth": self.depth,
            }
        )


def packaged() -> dict[str, Variances]:
    """Return the variances that were measured on public data, by the name of the source."""
    place = files("nkscore.tl._plan").joinpath("data", "variances.csv")
    table = pd.read_csv(io.StringIO(place.read_text(encoding="utf-8")))
    return {str(name): from_table(rows) for name, rows in table.groupby("source", sort=False)}


def from_table(rows: pd.DataFrame) -> Variances:
    """Return the variances that :meth:`Variances.table` wrote."""
    columns = ("level", "cells", "samples", "donors", "share")
    level, cells, samples, donors, share = (rows[name].to_numpy(float) for name in columns)
    first = rows.iloc[0]
    scalars = {"spread": float(first["spread"]), "depth": float(first["depth"])}
    return Variances(str(first["source"]), level, cells, samples, donors, share, **scalars)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of samples × genes, with the arm and the donor of each sample (-1: no donor).

    ``depth``: squared coefficient of variation of the total counts of cells of one sample.
    """

    counts: Floats
    squares: Floats
    n_cells: Floats
    arm: Ints
    donor: Ints
    depth: float = 0.0


def measured(source: str, sums: Sums, rng: np.random.Generator) -> Variances:
    """Estimate variances by their moments, alike for genes of like expression.

    Raises :class:`DesignError` if no arm has two samples, or too few genes have counts.
    """
    library = sums.counts.sum(axis=1)
    level = sums.counts.sum(axis=0) / library.sum() * _PER
    # Depth differs between cells and is divided out of their sums.
    between_cells = np.maximum(_of_cells(sums) - sums.depth, 0.0)
    apart = _moments(sums, [sums.arm])
    paired = _moments(sums, [sums.arm, sums.donor]) if (sums.donor >= 0).all() else None
    if apart is None:
        msg = (
            f"{source}: no arm of a line has two samples, so the variation between samples is "
            "unknown. Use a pilot with replicates (donors or wells), or the packaged variances."
        )
        raise DesignError(msg)
    total = apart.excess(between_cells)
    within = total if paired is None else paired.excess(between_cells)
    enough = np.flatnonzero(sums.counts.sum(axis=0) >= _ENOUGH)
    groups = np.array_split(enough[np.argsort(level[enough], kind="stable")], _BINS)
    if len(enough) < _BINS * _FEWEST_GENES:
        msg = (
            f"{source}: {len(enough)} genes have {_ENOUGH:g} counts; "
            f"{_BINS * _FEWEST_GENES} are needed to estimate variances. Use a larger pilot."
        )
        raise DesignError(msg)
    rows = [_of_bin(level, between_cells, within, total, genes) for genes in groups]
    means, cells, samples, donors = map(np.array, zip(*rows, strict=True))
    share = np.array([genes.size for genes in groups], dtype=float) / enough.size
    made = Variances(source, means, cells, samples, donors, share, 0.0, sums.depth)
    spread = _spread(made, apart, total, (level, between_cells), rng)
    return replace(made, spread=spread)


def _of_bin(
    level: Floats, cells: Floats, within: Floats, total: Floats, genes: Ints
) -> tuple[float, float, float, float]:
    samples = max(_mean(within[genes]), 0.0)
    donors = max(_mean(total[genes]) - samples, 0.0)
    return float(np.median(level[genes])), max(_mean(cells[genes]), 0.0), samples, donors


def _mean(values: Floats) -> float:
    """Return the mean without the few genes that would dominate it."""
    return float(np.minimum(values, np.quantile(values, _OUTLIERS)).mean())


def _of_cells(sums: Sums) -> Floats:
    """Return the squared variation between cells beyond Poisson, per gene."""
    scale = np.square(sums.counts) / sums.n_cells[:, None]
    ratio = sums.n_cells / np.maximum(sums.n_cells - 1, 1)
    excess = ((sums.squares - scale) * ratio[:, None] - sums.counts).sum(axis=0)
    found = np.divide(excess, scale.sum(axis=0), out=np.zeros(excess.size), where=scale.any(axis=0))
    return np.asarray(found)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Counts and fitted means of samples × genes, and the residual degrees of freedom."""

    counts: Floats
    mean: Floats
    n_cells: Floats
    factors: list[Ints]
    library: Floats
    free: Floats

    def excess(self, between_cells: Floats) -> Floats:
        """Return the squared variation between samples that their cells do not explain."""
        return _excess(self.counts, self.mean, self.n_cells, between_cells, self.free)


def _excess(
    counts: Floats, mean: Floats, n_cells: Floats, between_cells: Floats, free: Floats
) -> Floats:
    """``free``: the share of the variance of each sample that is left in its residual."""
    square = np.square(mean) * free[:, None]
    drawn = (mean * free[:, None]).sum(axis=0)
    drawn += between_cells * (square / n_cells[:, None]).sum(axis=0)
    total = square.sum(axis=0)
    found = np.square(counts - mean).sum(axis=0) - drawn
    return np.asarray(np.divide(found, total, out=np.zeros(total.size), where=total > 0))


def _moments(sums: Sums, factors: list[Ints]) -> _Moments | None:
    """Fit the product of factors to the counts; None without residual degrees of freedom."""
    columns = np.hstack([c[:, None] == np.unique(c) for c in factors]).astype(float)
    # A sample that is alone at a level of a factor is fitted exactly and says nothing.
    kept = np.all([np.bincount(c + 1)[c + 1] > 1 for c in factors], axis=0)
    if not kept.any():
        return None
    df = int(kept.sum()) - int(np.linalg.matrix_rank(columns[kept]))
    if df < 1:
        return None
    library = sums.counts[kept].sum(axis=1)
    codes = [c[kept] for c in factors]
    counts = sums.counts[kept]
    weighted = columns[kept] * np.sqrt(library)[:, None]
    leverage = np.einsum("ij,ji->i", weighted, np.linalg.pinv(weighted))
    mean, free = _fitted(counts, library, codes), np.clip(1 - leverage, 0.0, 1.0)
    return _Moments(counts, mean, sums.n_cells[kept], codes, library, free)


def _fitted(counts: Floats, library: Floats, factors: list[Ints]) -> Floats:
    """Return means that are a product of the factors and agree with the sums of their levels."""
    mean = np.repeat(library[:, None], counts.shape[1], axis=1)
    for _ in range(_ROUNDS if len(factors) > 1 else 1):
        for codes in factors:
            for code in np.unique(codes):
                rows = codes == code
                fitted = mean[rows].sum(axis=0)
                ratio = np.divide(
                    counts[rows].sum(axis=0), fitted, out=np.zeros(fitted.size), where=fitted > 0
                )
                mean[rows] *= ratio
    return mean


def _spread(
    made: Variances,
    moments: _Moments,
    total: Floats,
    known: tuple[Floats, Floats],
    rng: np.random.Generator,
) -> float:
    """Return the spread between genes with which simulated variances are as uneven as found."""
    level, between_cells = known
    genes = np.flatnonzero(moments.counts.sum(axis=0) >= 3 * _ENOUGH)
    _, samples, donors = made.at(level[genes])
    typical = np.maximum(samples + donors, 1e-3)
    found = np.quantile(total[genes] / typical, _QUANTILES)
    mean, cells = moments.mean[:, genes], np.maximum(between_cells[genes], 0.0)
    off = []
    for spread in _SPREADS:
        variance = typical * np.exp(rng.normal(-(spread**2) / 2, spread, genes.size))
        counts = drawn(rng, mean, variance, cells / moments.n_cells[:, None])
        again = _fitted(counts, moments.library, moments.factors)
        made_up = _excess(counts, again, moments.n_cells, cells, moments.free) / typical
        off.append(np.abs(np.quantile(made_up, _QUANTILES) - found).sum())
    return _SPREADS[int(np.argmin(off))]


def drawn(rng: np.random.Generator, mean: Floats, between: Floats, cells: Floats) -> Floats:
    """Draw counts with these means and squared variations between samples and by their cells."""
    rate = mean * factor(rng, between, mean.shape)
    size = np.maximum(cells, 1e-9)
    return rng.poisson(rate * rng.gamma(1 / size, size, mean.shape)).astype(float)


def factor(rng: np.random.Generator, variance: Floats, shape: tuple[int, ...]) -> Floats:
    """Draw factors of mean 1 with a squared coefficient of variation."""
    logs = np.log1p(np.maximum(variance, 0.0))
    return np.exp(rng.normal(-logs / 2, np.sqrt(logs), shape))
