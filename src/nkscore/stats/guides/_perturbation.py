"""Models of pooled knock-outs: guides as units, adjusted for replicates, against controls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize

from nkscore.errors import DesignError
from nkscore.stats.linear._design import Design, response_design
from nkscore.stats.linear._linear import LinearFit, fit_linear

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Labels

_ROUNDS: Final = 30
_TOLERANCE: Final = 1e-6


def without_replicates(counts: Floats, unit: Ints, replicate: Ints) -> Floats:
    """Sum counts per unit, adjusted to the same share of all replicates.

    Parameters
    ----------
    counts
        Unit × replicate pairs (rows) × genes; pairs without cells have no row.
    unit, replicate
        Number of each row's unit and replicate.

    Returns
    -------
    Units × genes. Rates are ``unit × replicate`` factors per gene (fitted by Poisson maximum
    likelihood); each unit's sum is divided by the contribution of its replicates.
    """
    n_units, n_replicates = int(unit.max()) + 1, int(replicate.max()) + 1
    by_unit = _adder(unit, n_units)
    total = by_unit @ counts
    if n_replicates < 2:
        return total
    by_replicate = _adder(replicate, n_replicates)
    library = counts.sum(axis=1, keepdims=True)
    expected_of = by_replicate @ counts
    factor = np.ones((n_replicates, counts.shape[1]))
    size = by_unit @ library
    for _ in range(_ROUNDS):
        rate = total / np.maximum(by_unit @ (library * factor[replicate]), 1e-12)
        mean = by_replicate @ (library * rate[unit])
        # Half a count on each side: a replicate without a rare gene carries little information.
        new = (expected_of + 0.5) / (mean + 0.5)
        new /= (new * (by_replicate @ library)).sum(axis=0) / library.sum()
        change = np.abs(new - factor).max()
        factor = new
        if change < _TOLERANCE:
            break
    return np.asarray(total * size / np.maximum(by_unit @ (library * factor[replicate]), 1e-12))


def means_without_replicates(
    means: Floats, weight: Floats, unit: Ints, replicate: Ints
) -> tuple[Floats, Floats]:
    """Average values per unit over replicates, adjusted for differences between replicates.

    ``means`` are rows × variables, ``weight`` (rows × variables or rows × 1) their precision.
    Returns units × variables and the sums of the weights.
    """
    n_units, n_replicates = int(unit.max()) + 1, int(replicate.max()) + 1
    by_unit, by_replicate = _adder(unit, n_units), _adder(replicate, n_replicates)
    weight = np.broadcast_to(weight, means.shape)
    total = by_unit @ weight
    shift = np.zeros((n_replicates, means.shape[1]))
    level = (by_unit @ (weight * means)) / total
    for _ in range(100 * _ROUNDS if n_replicates > 1 else 0):
        new = (by_replicate @ (weight * (means - level[unit]))) / (by_replicate @ weight)
        new -= (new * (by_replicate @ weight)).sum(axis=0) / weight.sum(axis=0)
        change = np.abs(new - shift).max()
        shift = new
        level = (by_unit @ (weight * (means - shift[replicate]))) / total
        if change < 1e-10 * (1 + np.abs(means).max()):
            break
    return level, total


def _adder(code: Ints, n: int) -> Floats:
    return np.asarray((np.arange(n)[:, None] == code[None, :]).astype(np.float64))


def target_design(target: Labels, control: str, replicate: Labels | None = None) -> Design:
    """Return the model of each target against the controls, replicates as blocks."""
    group = np.array([None if name == control else name for name in target], dtype=object)
    treated = np.array([name is not None for name in group])
    block = np.full(len(target), None, dtype=object) if replicate is None else replicate
    return response_design(treated, group, block)


def interaction_design(target: Labels, unit: Labels, treated: Bools, control: str) -> Design:
    """Return the model of the treatment effect and its difference in each target.

    Each unit (guide) occurs in both arms and is compared with itself: its baseline is a block. The
    effect of a target is the treatment effect in its units minus that in the controls.
    """
    units = list(dict.fromkeys(unit))
    targets = [name for name in dict.fromkeys(target) if name != control]
    treated = np.asarray(treated, dtype=bool)
    columns = [f"unit:{name}" for name in units] + ["treated"] + [f"both:{t}" for t in targets]
    blocks = unit[:, None] == np.array(units, dtype=object)[None, :]
    own = treated[:, None] & (target[:, None] == np.array(targets, dtype=object)[None, :])
    matrix = np.column_stack([blocks, treated, own]).astype(np.float64)
    # Two arms per unit: the units' differences are a two-sample problem per target.
    df = len(target) - len(units) - 1 - len(targets)
    if df < 1:
        msg = (
            f"{len(units)} units for {len(targets)} targets and the controls leave no "
            "residual degree of freedom for the interaction: more guides or replicates are needed."
        )
        raise DesignError(msg)
    first = len(units) + 1
    members = {name: np.flatnonzero((target == name) | (target == control)) for name in targets}
    sets = [target == name for name in dict.fromkeys(target)]
    strata = np.column_stack(
        [*(s & treated for s in sets), *(s & ~treated for s in sets), *blocks.T]
    )
    return Design(
        matrix=matrix,
        columns=tuple(columns),
        effects={name: first + i for i, name in enumerate(targets)},
        confounded=(),
        df_residual=df,
        blocked=True,
        treated=treated,
        members=members,
        strata=strata[:, strata.any(axis=0)],
    )


def fit_with_counting(values: Floats, counting: Floats, design: Design) -> tuple[LinearFit, Floats]:
    """Fit each variable with weights from its sampling error and a variance between units.

    Parameters
    ----------
    values, counting
        Units × variables: the values and their sampling variances from finite numbers of cells.

    Returns
    -------
    The fit, whose residual variance is at least 1 (sampling alone), and the variance between units
    of each variable, which makes its mean squared residual 1.
    """
    parts, between = [], np.zeros(values.shape[1])
    for j in range(values.shape[1]):
        between[j] = _between(values[:, j], counting[:, j], design.matrix)
        weight = 1 / (counting[:, j] + between[j])
        parts.append(fit_linear(values[None, :, j], design.matrix, weight[None]))
    fit = LinearFit(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("coefficients", "unscaled", "variance", "df_residual", "fitted")
        )
    )
    return replace(fit, variance=np.maximum(fit.variance, 1.0)), between


def _between(value: Floats, counting: Floats, matrix: Floats) -> float:
    def excess(between: float) -> float:
        fit = fit_linear(value[None], matrix, 1 / (counting + between)[None])
        return float(fit.variance[0]) - 1.0

    most = float(np.var(value)) * len(value) + 1e-12
    if not excess(0.0) > 0 or excess(most) >= 0:
        return 0.0
    return float(optimize.brentq(excess, 0.0, most, xtol=1e-12 * most))
