"""The effect of a treatment on each gene of each group, in one model of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from nkscore.stats._adjust import standard_errors
from nkscore.stats.linear._count_model import CountModel, fit_count_model
from nkscore.stats.linear._factors import line_factors
from nkscore.stats.linear._normalization import log_cpm
from nkscore.stats.linear._profile import TwoCounts, two_counts
from nkscore.stats.linear._response import expressed_genes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats, Ints
    from nkscore.stats.linear._design import Design


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
    if effective is None:
        effective = line_factors(counts, library, design).library
    model = fit_count_model(
        counts,
        design,
        tested=tested,
        effective=effective,
        overdispersion=overdispersion,
        n_cells=n_cells,
        cell_squares=cell_squares,
        variance_trend=variance_trend,
        robust=robust,
        line_variance=line_variance,
    )
    logs = log_cpm(counts[:, model.genes], effective)
    parts = [
        _of_line(model, name, logs, min_log2_fc=min_log2_fc, confidence=confidence)
        for name in design.members
    ]
    return pd.concat(parts, ignore_index=True)


def _of_line(
    model: CountModel, name: str, logs: Floats, *, min_log2_fc: float, confidence: float
) -> pd.DataFrame:
    design, genes = model.design, np.flatnonzero(model.tested[name])
    rows, column = design.members[name], design.effects[name]
    arms = (rows[design.treated[rows]], rows[~design.treated[rows]])
    effect, unscaled = (
        part[genes, column] for part in (model.counts.coefficients, model.counts.unscaled)
    )
    test = test_of_arms(model, genes, name, arms, effect=effect, unscaled=unscaled)
    part = pd.DataFrame(
        {
            "group": name,
            "gene": model.genes[genes],
            **test.columns(min_log2_fc, confidence),
            "mean_log2_cpm": logs[np.ix_(rows, genes)].mean(axis=0),
            "n_samples_treated": arms[0].size,
            "n_samples_control": arms[1].size,
            "df_residual": model.linear.df_residual[genes],
            "df_total": test.df,
        }
    )
    known = np.isfinite(part["p_value"].to_numpy()) & np.isfinite(part["log2_fc"].to_numpy())
    found: pd.DataFrame = part[known]
    return found


@dataclass(frozen=True, slots=True)
class EffectTest:
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


def test_of_arms(
    model: CountModel,
    genes: Ints,
    line: str,
    arms: tuple[Ints, Ints],
    *,
    effect: Floats,
    unscaled: Floats,
) -> EffectTest:
    """Test the effect between two sets of samples of a line (treated, control), for some genes."""
    posterior, df = model.variance(line)
    least = 0.0 if model.drawn is None else model.drawn.variance(model.counts, arms, genes)
    sigma = np.sqrt(np.maximum(posterior[genes], least))
    pair = two_counts(model.counts, genes, arms, effect=effect, unscaled=unscaled)
    error = sigma * np.sqrt(unscaled)
    return EffectTest(pair, sigma, error, np.maximum(df[genes], 1e-8))
