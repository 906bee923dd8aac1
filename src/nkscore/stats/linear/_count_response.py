"""The effect of a treatment on each gene of each group, in one model of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import stats

from nkscore.stats._adjust import standard_errors
from nkscore.stats.linear._cell_noise import CellNoise
from nkscore.stats.linear._factors import line_factors
from nkscore.stats.linear._line_variance import LEAST_DF, line_variances_from
from nkscore.stats.linear._linear import LinearFit, squeeze_variances
from nkscore.stats.linear._normalization import log_cpm
from nkscore.stats.linear._overdispersion import with_overdispersion
from nkscore.stats.linear._profile import TwoCounts, two_counts
from nkscore.stats.linear._quasi_likelihood import (
    CountFit,
    common_dispersion,
    fit_negative_binomial,
    residual_squares,
)
from nkscore.stats.linear._response import (
    exact_zero_samples,
    expressed_genes,
    samples_of_tested,
    tested_anywhere,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats
    from nkscore.stats.linear._design import Design
    from nkscore.stats.linear._linear import Squeezed

#: Genes with this many counts per sample in each arm show how much lines differ in variance.
_DENSE: Final = 2.0


def fit_count_response(
    counts: Floats,
    design: Design,
    *,
    tested: Mapping[str, Bools] | None = None,
    library: Floats | None = None,
    effective: Floats | None = None,
    overdispersion: Floats | None = None,
    n_cells: Floats | None = None,
    cell_squares: Floats | None = None,
    min_count: float = 10,
    variance_trend: bool = True,
    robust: bool = True,
    line_variance: bool = True,
    min_log2_fc: float = 0.0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return effect, error, interval and test for each group × gene.

    Parameters
    ----------
    counts
        Samples × genes; fractions are allowed, for example after subtracting ambient counts.
    design
        From :func:`nkscore.stats.response_design`, for the same samples.
    tested
        Group → genes to test in it; by default those of :func:`expressed_genes`.
    library
        Total count per sample; by default the sum of ``counts``.
    effective
        Library sizes to compare samples by; by default those of steady genes of each line and its
        controls.
    overdispersion
        Variance between cells of a sample over their mean, per gene. If given, genes with a large
        value for their expression are expected to vary more between samples, too.
    n_cells
        Cells per sample.
    cell_squares
        Sum of squared counts of the cells, samples × genes. With ``n_cells``, errors are never
        smaller than drawing other cells of the same samples allows.
    min_count
        See :func:`expressed_genes`.
    variance_trend, robust
        See :func:`nkscore.stats.squeeze_variances`.
    line_variance
        Whether a gene can vary more in one group than in others.
    min_log2_fc
        Smallest relevant effect; ``t`` is 0 for effects below it.
    confidence
        Coverage of ``ci_low`` and ``ci_high``.

    Returns
    -------
    The columns of :func:`nkscore.stats.fit_response`, and ``ci_low`` and ``ci_high``. ``t`` is the
    signed root of the quasi-likelihood ratio; ``p_value`` is that of Student's t with ``df_total``
    degrees of freedom and agrees with the interval. If an arm has almost no counts, ``log2_fc``
    over ``se`` is smaller than ``t``.

    Raises
    ------
    DesignError
        If no gene is left, or a sample is empty.

    Notes
    -----
    After edgeR 4 (Chen et al. 2025, doi 10.1093/nar/gkaf018): the variance is σ² (μ + ψ μ²), with
    deviances adjusted for small counts. Effects are estimated with Firth's bias reduction.
    """
    library = counts.sum(axis=1) if library is None else library
    if tested is None:
        tested = expressed_genes(
            counts, design, library=library, min_count=min_count, n_cells=n_cells
        )
    kept = tested_anywhere(tested)
    if effective is None:
        effective = line_factors(counts, library, design).library
    at = {name: mask[kept] for name, mask in tested.items()}
    scatter = None if overdispersion is None else overdispersion[kept]
    model = _fitted(counts[:, kept], design, effective, at, scatter)
    squeezed = squeeze_variances(
        model.linear.variance,
        model.linear.df_residual,
        covariate=model.level if variance_trend else None,
        robust=robust,
    )
    own_line = _of_lines(model, squeezed, design, at) if line_variance else {}
    drawn = _cell_noise(counts, cell_squares, n_cells, kept)
    logs = log_cpm(counts[:, kept], effective)
    parts: list[pd.DataFrame] = []
    for name, rows in design.members.items():
        posterior, _, prior_df = own_line.get(name, squeezed)
        arms = [rows[design.treated[rows]], rows[~design.treated[rows]]]
        least = 0.0 if drawn is None else drawn.variance(model.counts, model.weights, arms)
        sigma = np.sqrt(np.maximum(posterior * model.factor, least))
        df = np.minimum(model.linear.df_residual + prior_df, model.linear.df_residual.sum())
        test = _test(model, design, name, sigma=sigma, df=df)
        part = pd.DataFrame(
            {
                "group": name,
                "gene": np.flatnonzero(kept),
                **test.columns(min_log2_fc, confidence),
                "mean_log2_cpm": logs[rows].mean(axis=0),
                "n_samples_treated": arms[0].size,
                "n_samples_control": arms[1].size,
                "df_residual": model.linear.df_residual,
                "df_total": df,
            }
        )
        known = np.isfinite(part["p_value"].to_numpy()) & np.isfinite(part["log2_fc"].to_numpy())
        parts.append(part[at[name] & known])
    return pd.concat(parts, ignore_index=True)


def _cell_noise(
    counts: Floats, squares: Floats | None, n_cells: Floats | None, kept: Bools
) -> CellNoise | None:
    if squares is None or n_cells is None:
        return None
    return CellNoise.of(counts[:, kept].T, squares[:, kept].T, n_cells)


@dataclass(frozen=True, slots=True)
class _Model:
    """Fit of all genes; ``linear`` has variances over ``factor``, which cell scatter predicts.

    ``weights``, ``squares``, ``df`` and ``nominal`` (``df`` of large counts) are genes × samples.
    """

    counts: CountFit
    weights: Floats
    linear: LinearFit
    squares: Floats
    df: Floats
    nominal: Floats
    factor: Floats
    level: Floats


def _fitted(
    counts: Floats,
    design: Design,
    effective: Floats,
    tested: Mapping[str, Bools],
    scatter: Floats | None,
) -> _Model:
    own = np.ascontiguousarray(counts.T)
    used = samples_of_tested(tested, design, own.shape)
    zero = exact_zero_samples(own, design.strata, used)
    inside = used & ~zero
    psi = common_dispersion(own, design.matrix, effective, inside)
    likely = fit_negative_binomial(
        own, design.matrix, effective, dispersion=psi, used=inside, reduce_bias=False
    )
    start = np.where(zero, 0.5, np.maximum(likely.mean, 1e-3))
    fit = fit_negative_binomial(
        own, design.matrix, effective, dispersion=psi, used=used, start=start
    )
    squares, df = residual_squares(fit, own, used, likely=np.where(zero, 0.0, likely.mean))
    total = df.sum(axis=1)
    total[total < LEAST_DF] = 0.0
    found = squares.sum(axis=1)
    variance = np.divide(found, total, out=np.full(total.size, np.nan), where=total > 0)
    nominal = np.where(used, 1 - fit.leverage, 0.0)
    # Counts near one have slightly more than one degree of freedom; samples are the limit.
    total = np.minimum(total, nominal.sum(axis=1))
    level = np.log2((np.where(used, own, 0.0).sum(axis=1) + 0.5) / (used @ effective) * 1e6)
    linear = LinearFit(fit.coefficients, fit.unscaled, variance, total, np.zeros((1, 1)))
    factor = np.ones(total.size)
    if scatter is not None:
        linear, weights = with_overdispersion(
            linear, np.ones((total.size, 1)), level=level, overdispersion=scatter
        )
        factor = 1 / weights[:, 0]
    return _Model(fit, fit.weights, linear, squares, df, nominal, factor, level)


def _of_lines(
    model: _Model,
    squeezed: Squeezed,
    design: Design,
    tested: Mapping[str, Bools],
) -> dict[str, tuple[Floats, Floats, Floats]]:
    dense = _dense(model.counts.mean, design)
    return line_variances_from(
        model.linear,
        squeezed,
        design,
        squares=model.squares / model.factor[:, None],
        df=model.df,
        nominal=model.nominal,
        tested=tested,
        dense=dense,
    )


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


@dataclass(frozen=True, slots=True)
class _Test:
    """One effect: its profile likelihood, the root of σ², Wald's error, degrees of freedom of t."""

    pair: TwoCounts
    sigma: Floats
    error: Floats
    df: Floats

    def columns(self, min_log2_fc: float, confidence: float) -> dict[str, Floats]:
        t, p = self._t(min_log2_fc * np.log(2))
        reach = standard_errors(self.df, confidence) * self.sigma
        low, high = self.pair.bounds(reach)
        return {
            "log2_fc": self.pair.effect / np.log(2),
            "se": self.error / np.log(2),
            "ci_low": low / np.log(2),
            "ci_high": high / np.log(2),
            "t": t,
            "p_value": p,
        }

    def _t(self, min_effect: float) -> tuple[Floats, Floats]:
        t = self.pair.root() / self.sigma
        any_effect = np.asarray(2 * stats.t.sf(np.abs(t), self.df))
        if min_effect == 0:
            return t, any_effect
        # As in limma's treat: beyond the nearer limit, or as far beyond the other.
        side = np.sign(self.pair.effect)
        above = self.pair.root(min_effect) / self.sigma
        below = self.pair.root(-min_effect) / self.sigma
        nearer = np.where(side > 0, above, -below)
        other = np.where(side > 0, below, -above)
        p = stats.t.sf(nearer, self.df) + stats.t.sf(other, self.df)
        # The limits of a skewed likelihood are not equally far from an effect of zero.
        return side * np.maximum(nearer, 0.0), np.clip(p, any_effect, 1.0)


def _test(model: _Model, design: Design, name: str, *, sigma: Floats, df: Floats) -> _Test:
    column, rows = design.effects[name], design.members[name]
    pair = two_counts(model.counts, model.weights, column, rows, design.treated[rows])
    error = sigma * np.sqrt(model.counts.unscaled[:, column])
    return _Test(pair, sigma, error, np.maximum(df, 1e-8))
