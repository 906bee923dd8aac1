"""Variances of genes that may differ between lines.

One variance per gene for all lines is too small for lines in which the gene varies more between
samples than elsewhere. Here the variance of a gene in a line is shrunken toward the one expected
from the other lines, by as much as lines agree: with equal lines almost nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from nkscore.stats.linear._linear import combined_variance, fit_linear, inverse_trigamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Bools, Floats
    from nkscore.stats.linear._design import Design
    from nkscore.stats.linear._linear import LinearFit, Squeezed

#: With fewer genes, differences between lines cannot be estimated.
_FEWEST_GENES: Final = 20


#: With fewer degrees of freedom (sparse counts), a variance counts as unknown.
LEAST_DF: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Line:
    """Variances of each gene, with their degrees of freedom.

    ``variance``: of the line itself; ``others``: what the other lines make one expect.
    """

    variance: Floats
    df: Floats
    others: Floats
    others_df: Floats

    def log_ratio(self, among: Bools | None = None) -> tuple[Floats, Floats]:
        """Return the log of own to expected variance, and its sampling variance."""
        known = (self.df > 0) & np.isfinite(self.variance) & (self.others > 0)
        if among is not None:
            known &= among
        ratio, half = self.variance[known] / self.others[known], self.df[known] / 2
        if ratio.size:
            ratio = np.maximum(ratio, 1e-5 * np.median(ratio))
        unbiased = np.log(np.maximum(ratio, 1e-300)) - special.digamma(half) + np.log(half)
        return unbiased, special.polygamma(1, half)


def line_variances(
    fit: LinearFit,
    squeezed: Squeezed,
    design: Design,
    *,
    y: Floats,
    weights: Floats,
    tested: Mapping[str, Bools],
) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Return for each group what :func:`nkscore.stats.squeeze_variances` returns for all.

    The prior of a group has its own scale (some lines vary more in all genes). Its degrees of
    freedom are one number for all groups, and never exceed those of the other groups and the common
    prior. The result is empty if groups share their controls, for a single group, and with too few
    genes: the common variance is then used.

    Parameters
    ----------
    fit, squeezed
        Of the model of all groups.
    y, weights
        Genes × samples; weight 0 for samples without information about the variance.
    tested
        Group → the genes that are tested in it.
    """
    rows = np.concatenate(list(design.members.values()))
    if len(design.effects) < 2 or np.unique(rows).size < rows.size:
        return {}
    lines = {
        name: _line(fit, squeezed, design, name, y=y, weights=weights, tested=tested[name])
        for name in design.effects
    }
    return _agreed(lines, fit.df_residual)


def line_variances_from(
    fit: LinearFit,
    squeezed: Squeezed,
    design: Design,
    *,
    squares: Floats,
    df: Floats,
    nominal: Floats,
    tested: Mapping[str, Bools],
    dense: Mapping[str, Bools],
) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Return the same from squares and degrees of freedom of each count, genes × samples.

    ``nominal`` are the degrees of freedom of large counts; a line is never given more. Genes that
    are not ``dense`` in a line do not enter the estimate of how much lines agree: the logarithm of
    the variance of counts near zero scatters far more than that of a chi-square variable.
    """
    rows = np.concatenate(list(design.members.values()))
    if len(design.effects) < 2 or np.unique(rows).size < rows.size:
        return {}
    lines = {}
    for name in design.effects:
        members = design.members[name]
        own_df = np.where(tested[name], df[:, members].sum(axis=1), 0.0)
        # With less than half a degree of freedom a variance is pure noise, with a huge logarithm.
        own_df[own_df < LEAST_DF] = 0.0
        own = squares[:, members].sum(axis=1)
        variance = np.divide(own, own_df, out=np.full(own.size, np.nan), where=own_df > 0)
        own_df = np.minimum(own_df, nominal[:, members].sum(axis=1))
        lines[name] = _with_others(fit, squeezed, variance, own_df)
    return _agreed(lines, fit.df_residual, dense)


def _agreed(
    lines: dict[str, _Line], df_residual: Floats, dense: Mapping[str, Bools] | None = None
) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Shrink each line's variances toward those of the others."""
    found = {
        name: line.log_ratio(among=None if dense is None else dense[name])
        for name, line in lines.items()
    }
    telling = [pair for pair in found.values() if pair[0].size >= _FEWEST_GENES]
    if not telling:
        return {}
    agreement = _agreement(telling)
    result = {}
    for name, line in lines.items():
        df = np.minimum(agreement, line.others_df)
        prior = line.others * _scale(found[name][0], agreement)
        posterior = combined_variance(line.variance, line.df, prior, df)
        # Tests add the degrees of freedom of the whole model, which include the line's.
        result[name] = (posterior, prior, df + line.df - df_residual)
    return result


def _line(
    fit: LinearFit,
    squeezed: Squeezed,
    design: Design,
    name: str,
    *,
    y: Floats,
    weights: Floats,
    tested: Bools,
) -> _Line:
    samples, genes = design.members[name], np.flatnonzero(tested)
    part = design.matrix[samples]
    part = part[:, (part != 0).any(axis=0)]
    own = fit_linear(y[np.ix_(genes, samples)], part, weights[np.ix_(genes, samples)])
    variance, df = np.full(tested.size, np.nan), np.zeros(tested.size)
    variance[genes], df[genes] = own.variance, own.df_residual
    return _with_others(fit, squeezed, variance, df)


def _with_others(fit: LinearFit, squeezed: Squeezed, variance: Floats, df: Floats) -> _Line:
    _, prior, prior_df = squeezed
    prior_df = np.broadcast_to(np.asarray(prior_df, dtype=float), df.shape)
    squares = _squares(fit.variance, fit.df_residual) - _squares(variance, df)
    rest = np.maximum(fit.df_residual - df, 0.0)
    mean = np.maximum(squares, 0.0) / np.maximum(rest, 1.0)
    return _Line(variance, df, combined_variance(mean, rest, prior, prior_df), rest + prior_df)


def _squares(variance: Floats, df: Floats) -> Floats:
    return np.where(df > 0, variance, 0.0) * df


def _agreement(found: list[tuple[Floats, Floats]]) -> float:
    """Return the degrees of freedom of the expected variance, by moments."""
    excess = [float(e.var(ddof=1) - noise.mean()) for e, noise in found]
    certainty = [e.size / float(noise.mean()) ** 2 for e, noise in found]
    mean = float(np.average(excess, weights=certainty))
    return 2 * inverse_trigamma(mean) if mean > 0 else float("inf")


def _scale(log_ratio: Floats, agreement: float) -> float:
    if log_ratio.size < _FEWEST_GENES:
        return 1.0
    half = agreement / 2
    shift = 0.0 if np.isinf(half) else float(special.digamma(half) - np.log(half))
    return float(np.exp(log_ratio.mean() + shift))
