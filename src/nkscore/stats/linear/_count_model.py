"""A model of counts for all genes, with variances shared between genes and lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore.stats.linear._cell_noise import CellNoise
from nkscore.stats.linear._line_variance import LEAST_DF, line_variances_from
from nkscore.stats.linear._linear import LinearFit, squeeze_variances
from nkscore.stats.linear._overdispersion import with_overdispersion
from nkscore.stats.linear._quasi_likelihood import (
    CountFit,
    common_dispersion,
    fit_negative_binomial,
    residual_squares,
)
from nkscore.stats.linear._response import (
    exact_zero_samples,
    samples_of_tested,
    tested_anywhere,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats, Ints
    from nkscore.stats.linear._design import Design
    from nkscore.stats.linear._linear import Squeezed

#: Genes with this many counts per sample in each arm show how much lines differ in variance.
_DENSE: Final = 2.0


@dataclass(frozen=True, slots=True)
class CountModel:
    """Fit of the genes ``genes`` (numbers of the columns of the counts), one row per gene.

    ``linear`` has variances over ``factor``, which the scatter of cells predicts. ``own`` (counts)
    and ``likely`` (means of highest likelihood) are genes × samples, and so are ``zero``, the
    samples of strata without a count, and ``used``, those in whose group the gene is tested.
    """

    design: Design
    genes: Ints
    tested: dict[str, Bools]
    own: Floats
    effective: Floats
    used: Bools
    zero: Bools
    likely: Floats
    counts: CountFit
    linear: LinearFit
    factor: Floats
    squeezed: Squeezed
    of_lines: dict[str, Squeezed]
    drawn: CellNoise | None

    def variance(self, line: str | None) -> tuple[Floats, Floats]:
        """Return σ² of each gene in a line (``None``: of all lines), and its degrees of freedom."""
        posterior, _, prior_df = self.of_lines.get(line or "", self.squeezed)
        df = np.minimum(self.linear.df_residual + prior_df, self.linear.df_residual.sum())
        return posterior * self.factor, df


def fit_count_model(
    counts: Floats,
    design: Design,
    *,
    tested: Mapping[str, Bools],
    effective: Floats,
    overdispersion: Floats | None = None,
    n_cells: Floats | None = None,
    cell_squares: Floats | None = None,
    variance_trend: bool = True,
    robust: bool = True,
    line_variance: bool = True,
) -> CountModel:
    """Fit the genes that are tested in any group; see :func:`nkscore.stats.fit_count_response`."""
    kept = tested_anywhere(tested)
    at = {name: mask[kept] for name, mask in tested.items()}
    own = np.ascontiguousarray(counts[:, kept].T)
    used = samples_of_tested(at, design, own.shape)
    zero = exact_zero_samples(own, design.strata, used)
    likely, fit = _fits(own, design, effective, used, zero)
    nominal = np.where(used, 1 - fit.leverage, 0.0)
    squares, df = residual_squares(fit, own, used, likely=likely)
    level = np.log2((np.where(used, own, 0.0).sum(axis=1) + 0.5) / (used @ effective) * 1e6)
    linear = _residual_variances(fit, squares, df, nominal)
    factor = np.ones(level.size)
    if overdispersion is not None:
        alike, scatter = np.ones((level.size, 1)), overdispersion[kept]
        linear, weights = with_overdispersion(linear, alike, level=level, overdispersion=scatter)
        factor = 1 / weights[:, 0]
    trend = level if variance_trend else None
    squeezed = squeeze_variances(
        linear.variance, linear.df_residual, covariate=trend, robust=robust
    )
    of_lines: dict[str, Squeezed] = {}
    if line_variance:
        of_lines |= line_variances_from(
            linear,
            squeezed,
            design,
            squares=squares / factor[:, None],
            df=df,
            nominal=nominal,
            tested=at,
            dense=_dense(fit.mean, design),
        )
    return CountModel(
        design,
        np.flatnonzero(kept),
        at,
        own,
        effective,
        used,
        zero,
        likely,
        fit,
        linear,
        factor,
        squeezed,
        of_lines,
        _drawn(own, None if cell_squares is None else cell_squares[:, kept], n_cells),
    )


def _drawn(own: Floats, squares: Floats | None, n_cells: Floats | None) -> CellNoise | None:
    """Return the noise of drawing cells, if their number and squared counts are known."""
    if squares is None or n_cells is None:
        return None
    return CellNoise.of(own, squares.T, n_cells)


def _fits(
    own: Floats, design: Design, effective: Floats, used: Bools, zero: Bools
) -> tuple[Floats, CountFit]:
    """Return the means of highest likelihood, and the fit with reduced bias."""
    psi = common_dispersion(own, design.matrix, effective, used & ~zero)
    likely = fit_negative_binomial(
        own, design.matrix, effective, dispersion=psi, used=used & ~zero, reduce_bias=False
    ).mean
    start = np.where(zero, 0.5, np.maximum(likely, 1e-3))
    fit = fit_negative_binomial(
        own, design.matrix, effective, dispersion=psi, used=used, start=start
    )
    return np.where(zero, 0.0, likely), fit


def _residual_variances(fit: CountFit, squares: Floats, df: Floats, nominal: Floats) -> LinearFit:
    total = df.sum(axis=1)
    total[total < LEAST_DF] = 0.0
    found = squares.sum(axis=1)
    variance = np.divide(found, total, out=np.full(total.size, np.nan), where=total > 0)
    # Counts near one have slightly more than one degree of freedom; samples are the limit.
    total = np.minimum(total, nominal.sum(axis=1))
    return LinearFit(fit.coefficients, fit.unscaled, variance, total, np.zeros((1, 1)))


def _dense(mean: Floats, design: Design) -> dict[str, Bools]:
    """Return for each line the genes with enough counts per sample in both arms."""
    found = {}
    for name, rows in design.members.items():
        found[name] = np.ones(mean.shape[0], dtype=bool)
        for arm in (rows[design.treated[rows]], rows[~design.treated[rows]]):
            share = np.zeros(mean.shape[1])
            share[arm] = 1 / arm.size
            found[name] &= mean @ share >= _DENSE
    return found
