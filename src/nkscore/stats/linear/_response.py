"""The effect of a treatment on each gene of each group, in one model of log counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore.errors import DesignError
from nkscore.stats.linear._factors import arm_labels, lines_with_controls
from nkscore.stats.linear._line_variance import line_variances
from nkscore.stats.linear._linear import (
    fit_linear,
    moderated_test,
    squeeze_variances,
    without_zeros,
)
from nkscore.stats.linear._normalization import tmm_factors
from nkscore.stats.linear._overdispersion import with_overdispersion
from nkscore.stats.linear._voom import voom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats, Ints, Labels
    from nkscore.stats.linear._design import Design
    from nkscore.stats.linear._linear import LinearFit, Test


def fit_response(
    counts: Floats,
    design: Design,
    *,
    tested: Mapping[str, Bools] | None = None,
    library: Floats | None = None,
    effective: Floats | None = None,
    overdispersion: Floats | None = None,
    min_count: float = 10,
    variance_trend: bool = True,
    exact_zeros: bool = True,
    robust: bool = True,
    line_variance: bool = True,
    min_log2_fc: float = 0.0,
) -> pd.DataFrame:
    """Return effect, error and test for each group × gene.

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
        Library sizes to compare samples by; by default ``library`` × the factors of TMM.
    overdispersion
        Variance between cells of a sample over their mean, per gene. If given, genes with a large
        value for their expression are expected to vary more between samples, too.
    min_count
        See :func:`expressed_genes`.
    variance_trend
        Whether the shared variance can depend on mean expression.
    exact_zeros
        Whether strata without a count lose their degrees of freedom.
    robust
        Whether genes that vary much more than others keep their own variance.
    line_variance
        Whether a gene can vary more in one group than in others; see :func:`line_variances`.
    min_log2_fc
        Smallest relevant effect; see :func:`nkscore.stats.moderated_test`.

    Returns
    -------
    Columns ``group``, ``gene`` (column number in ``counts``), ``log2_fc``, ``se``, ``t``,
    ``p_value``, ``mean_log2_cpm``, ``n_samples_treated``, ``n_samples_control``, ``df_residual``
    and ``df_total``; rows in the order of groups and genes, without those that cannot be tested.

    Raises
    ------
    DesignError
        If no gene is left, or a sample is empty.
    """
    library = counts.sum(axis=1) if library is None else library
    if tested is None:
        tested = expressed_genes(counts, design, library=library, min_count=min_count)
    kept = tested_anywhere(tested)
    at = {name: mask[kept] for name, mask in tested.items()}
    own = np.ascontiguousarray(counts[:, kept].T)
    used = samples_of_tested(at, design, own.shape)
    zero = exact_zero_samples(own, design.strata, used) if exact_zeros else None
    if effective is None:
        effective = library * tmm_factors(counts[:, kept], library)
    y, weights = voom(own, design.matrix, effective, used=used, zero=zero)
    level = np.where(used, y, 0).sum(axis=1) / used.sum(axis=1)
    spread = None if overdispersion is None else overdispersion[kept]
    fit, weights = _fitted(y, weights, design.matrix, zero=zero, level=level, overdispersion=spread)
    # Weights flatten the trend of the variances, but rarely at high expression, where a common
    # prior would be too small.
    squeezed = squeeze_variances(
        fit.variance, fit.df_residual, covariate=level if variance_trend else None, robust=robust
    )
    telling = weights if zero is None else np.where(zero, 0.0, weights)
    own_line = (
        line_variances(fit, squeezed, design, y=y, weights=telling, tested=at)
        if line_variance
        else {}
    )
    parts = []
    for name, column in design.effects.items():
        variances = own_line.get(name, squeezed)
        test = moderated_test(fit, column, squeezed=variances, min_effect=min_log2_fc)
        mean = y[:, design.members[name]].mean(axis=1)
        part = _effects(name, test, design, genes=np.flatnonzero(kept), mean=mean)
        part = part.assign(df_residual=fit.df_residual, df_total=test.df)
        parts.append(part[at[name] & np.isfinite(test.p_value)])
    return pd.concat(parts, ignore_index=True)


def _fitted(
    y: Floats,
    weights: Floats,
    matrix: Floats,
    *,
    zero: Bools | None,
    level: Floats,
    overdispersion: Floats | None,
) -> tuple[LinearFit, Floats]:
    """Fit all genes; return the fit and the weights that it ends with."""
    fit = fit_linear(y, matrix, weights)
    if zero is not None:
        fit = without_zeros(fit, y, matrix, weights, zero=zero)
    if overdispersion is None:
        return fit, weights
    return with_overdispersion(fit, weights, level=level, overdispersion=overdispersion)


def _effects(name: str, test: Test, design: Design, *, genes: Ints, mean: Floats) -> pd.DataFrame:
    treated = design.treated[design.members[name]]
    return pd.DataFrame(
        {
            "group": name,
            "gene": genes,
            "log2_fc": test.effect,
            "se": test.standard_error,
            "t": test.t,
            "p_value": test.p_value,
            "mean_log2_cpm": mean,
            "n_samples_treated": int(treated.sum()),
            "n_samples_control": int((~treated).sum()),
        }
    )


def tested_anywhere(tested: Mapping[str, Bools]) -> Bools:
    """Return the genes that are tested in any group; without one, raise ``DesignError``."""
    kept: Bools = np.any(list(tested.values()), axis=0)
    if not kept.any():
        msg = "No gene has enough counts in any line. Lower min_count or pool more cells."
        raise DesignError(msg)
    return kept


def samples_of_tested(tested: Mapping[str, Bools], design: Design, shape: tuple[int, ...]) -> Bools:
    """Return genes × samples: whether a gene is tested in the group of a sample."""
    used = np.zeros(shape, dtype=bool)
    for name, rows in design.members.items():
        used[:, rows] |= tested[name][:, None]
    return used


def expressed_genes(
    counts: Floats,
    design: Design,
    *,
    library: Floats,
    min_count: float,
    n_cells: Floats | None = None,
) -> dict[str, Bools]:
    """Return for each group the genes with enough counts in its samples to be tested.

    Samples enter one after another, from the largest. At each step a gene is accepted if it has
    ``min_count / 2`` counts per sample on average (at least ``1.5 * min_count`` in total) and a
    count in as many samples as the smallest arm has; it is tested if any step accepts it. A small
    sample can thus add genes but not remove them. The rule uses totals over both arms, so it favors
    no direction. Groups that share their controls (NK cells) are filtered together. A gene without
    a count in a group is never tested in it.

    ``n_cells`` (by default ``library``) orders the samples.
    """
    if (library <= 0).any():
        msg = (
            f"{int((library <= 0).sum())} of {library.size} samples have no counts. "
            "Remove their cells (pp.qc, pp.keep)."
        )
        raise DesignError(msg)
    found, arm = {}, arm_labels(design)
    for names, rows in lines_with_controls(design):
        size = (library if n_cells is None else n_cells)[rows]
        treated = design.treated[rows]
        enough = _enough(counts[rows], size, arm[rows], treated=treated, min_count=min_count)
        for name in names:
            found[name] = enough & (counts[design.members[name]].sum(axis=0) > 0)
    return found


def _enough(
    counts: Floats, size: Floats, arm: Labels, *, treated: Bools, min_count: float
) -> Bools:
    order = np.argsort(-size, kind="stable")
    # Samples of one size enter together, so their order does not matter.
    complete = np.append(np.diff(size[order]) < 0, True)
    both = (np.cumsum(treated[order]) > 0) & (np.cumsum(~treated[order]) > 0)
    in_arm = np.array([np.cumsum(arm[order] == name) for name in dict.fromkeys(arm)])
    smallest = np.where(in_arm > 0, in_arm, order.size).min(axis=0)
    enough = np.zeros(counts.shape[1], dtype=bool)
    total, seen = np.zeros((2, counts.shape[1]))
    for step, row in enumerate(order):
        total += counts[row]
        seen += counts[row] > 0
        if complete[step] and both[step]:
            wanted = min_count * max((step + 1) / 2, 1.5)
            enough |= (total >= wanted) & (seen >= smallest[step])
    return enough


def exact_zero_samples(counts: Floats, strata: Bools, used: Bools) -> Bools:
    """Return whether a sample is in a stratum without a count, genes × samples."""
    none = (np.where(used, counts, 0.0) @ strata.astype(np.float64)) < 1e-4
    inside = none.astype(np.float32) @ strata.T.astype(np.float32) > 0
    return np.asarray(used & inside & (counts < 1e-4))
