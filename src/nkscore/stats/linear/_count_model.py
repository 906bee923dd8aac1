"""A model of counts for all genes, with variances shared between genes and lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore.stats.linear._cell_noise import CellNoise
from nkscore.stats.linear._line_variance import LEAST_DF, line_variances_from
from nkscore.stats.linear._linear import LinearFit, combined_variance, squeeze_variances
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
from nkscore.stats.linear._tail_df import fewer_for_outliers, tail_df

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
    squares, df = _limited_squares(*residual_squares(fit, own, used, likely=likely), nominal)
    level = np.log2((np.where(used, own, 0.0).sum(axis=1) + 0.5) / (used @ effective) * 1e6)
    linear = _residual_variances(fit, squares, df)
    factor = np.ones(level.size)
    if overdispersion is not None:
        linear, weights = with_overdispersion(
            linear, np.ones((level.size, 1)), level=level, overdispersion=overdispersion[kept]
        )
        factor = 1 / weights[:, 0]
    squeezed = squeeze_variances(
        linear.variance,
        linear.df_residual,
        covariate=level if variance_trend else None,
        robust=robust,
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
            levels=_levels(fit.mean, design),
        )
    squeezed = _limited_prior(fit, linear, squeezed)
    drawn = None
    if cell_squares is not None and n_cells is not None:
        drawn = CellNoise.of(own, cell_squares[:, kept].T, n_cells)
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
        drawn,
    )


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


def _limited_squares(squares: Floats, df: Floats, nominal: Floats) -> tuple[Floats, Floats]:
    """Give no count more degrees of freedom than a large one.

    A count near zero has more than one, but is worth less: without a limit, samples without the
    gene outweigh those in which it varies.
    """
    counted = np.divide(nominal, df, out=np.ones(df.shape), where=df > nominal)
    return squares * counted, df * counted


def _limited_prior(fit: CountFit, linear: LinearFit, squeezed: Squeezed) -> Squeezed:
    """Give the common prior fewer degrees of freedom where genes vary more than it expects."""
    _, prior, df_prior = squeezed
    df_prior = np.broadcast_to(np.asarray(df_prior, dtype=np.float64), prior.shape).copy()
    level = fit.mean.mean(axis=1)
    known = (linear.df_residual >= 1) & np.isfinite(linear.variance) & (prior > 0)
    ratio, df = linear.variance[known] / prior[known], linear.df_residual[known]
    if not ratio.size:
        return squeezed
    most = float(df_prior.max())
    df_prior = np.minimum(df_prior, tail_df(ratio, df, most, level=level[known], at=level))
    df_prior[known] = fewer_for_outliers(ratio, df, df_prior[known], level=level[known])
    usable = np.where(np.isfinite(linear.variance), linear.df_residual, 0.0)
    return combined_variance(linear.variance, usable, prior, df_prior), prior, df_prior


def _residual_variances(fit: CountFit, squares: Floats, df: Floats) -> LinearFit:
    total = df.sum(axis=1)
    total[total < LEAST_DF] = 0.0
    found = squares.sum(axis=1)
    variance = np.divide(found, total, out=np.full(total.size, np.nan), where=total > 0)
    return LinearFit(fit.coefficients, fit.unscaled, variance, total, np.zeros((1, 1)))


def _levels(mean: Floats, design: Design) -> dict[str, Floats]:
    """Return for each line the mean count per sample of each gene."""
    return {name: mean[:, rows].mean(axis=1) for name, rows in design.members.items()}


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
