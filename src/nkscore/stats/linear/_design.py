"""Design matrices for treated-versus-control effects in several groups at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nkscore._types import Bools, Floats, Ints, Labels


@dataclass(frozen=True, slots=True)
class Design:
    """Samples × coefficients, and the column of each group's treatment effect.

    ``effects`` maps a group to its column; groups whose effect is confounded with other terms are
    in ``confounded`` instead. ``blocked`` says whether replicates are matched between the arms.
    ``arm`` names the arm of each sample if there are more than treated and control.
    """

    matrix: Floats
    columns: tuple[str, ...]
    effects: dict[str, int]
    confounded: tuple[str, ...]
    df_residual: int
    blocked: bool
    treated: Bools
    members: dict[str, Ints]
    strata: Bools
    arm: Labels | None = None


def response_design(
    treated: Bools,
    group: Labels,
    replicate: Labels,
    *,
    covariates: Mapping[str, Sequence[str | float | None]] | None = None,
) -> Design:
    """Build one model for all groups.

    Parameters
    ----------
    treated
        Whether a sample is treated.
    group
        Group of each sample, for example its tumor line. Controls without a group (``None``), for
        example monoculture NK cells, form one baseline that all groups share.
    replicate
        Replicate of each sample, for example its NK donor, or ``None``. Replicates that occur in
        both arms of a baseline become blocks: each is compared with itself.
    covariates
        Further columns, numbers or labels, one value per sample.

    Raises
    ------
    DesignError
        If no residual degree of freedom is left, no effect can be estimated or a covariate is
        constant.
    """
    groups = list(dict.fromkeys(group[treated]))
    shared = all(g is None for g in group[~treated])
    baseline = np.array(["shared"] * len(group), dtype=object) if shared else group
    terms: dict[str, Floats] = {}
    for name in dict.fromkeys(baseline):
        terms[f"baseline:{name}"] = (baseline == name).astype(float)
    for name in groups:
        terms[f"treated:{name}"] = ((group == name) & treated).astype(float)
    blocks = _blocks(treated, baseline, replicate)
    terms |= blocks
    for name, values in (covariates or {}).items():
        terms |= _covariate(name, list(values))
    matrix = np.column_stack(list(terms.values()))
    columns = tuple(terms)
    wanted = {name: columns.index(f"treated:{name}") for name in groups}
    lost = _not_estimable(matrix)
    df = len(group) - int(np.linalg.matrix_rank(matrix))
    design = Design(
        matrix=matrix,
        columns=columns,
        effects={name: j for name, j in wanted.items() if not lost[j]},
        confounded=tuple(name for name, j in wanted.items() if lost[j]),
        df_residual=df,
        blocked=bool(blocks),
        treated=treated,
        members={
            name: np.flatnonzero((group == name) | (~treated & (baseline == "shared") & shared))
            for name, j in wanted.items()
            if not lost[j]
        },
        strata=_strata(matrix, _candidates(treated, group, baseline, replicate, covariates or {})),
    )
    _require_answerable(design, n_samples=len(group))
    return design


def design_of_formula(
    matrix: Floats, columns: Iterable[str], *, line: Labels, arm: Labels, sets: list[Bools]
) -> Design:
    """Return a design by its matrix; effects are contrasts, which are named later.

    Parameters
    ----------
    matrix
        Samples × coefficients.
    columns
        Names of the coefficients.
    line
        Line of each sample: depth and expressed genes are those of samples of one line.
    arm
        Combination of variables of each sample, without its replicate.
    sets
        Sets of samples that might have a separate coefficient.

    Raises
    ------
    DesignError
        If no residual degree of freedom is left.
    """
    members = {name: np.flatnonzero(line == name) for name in dict.fromkeys(line)}
    # The first arm of a line stands for its controls where two groups of samples are asked for.
    treated = np.zeros(len(line), dtype=bool)
    for rows in members.values():
        treated[rows] = arm[rows] != arm[rows[0]]
    design = Design(
        matrix=matrix,
        columns=tuple(columns),
        effects=dict.fromkeys(members, -1),
        confounded=(),
        df_residual=len(line) - int(np.linalg.matrix_rank(matrix)),
        blocked=False,
        treated=treated,
        members=members,
        strata=_strata(matrix, [one for one in sets if one.any()]),
        arm=arm,
    )
    _require_residual(design, n_samples=len(line))
    return design


def _blocks(treated: Bools, baseline: Labels, replicate: Labels) -> dict[str, Floats]:
    """One column per replicate in both arms of its baseline, minus one per baseline.

    Coded as deviations from their mean, so that a replicate of one arm only is compared with all
    of them, whatever their order.
    """
    columns: dict[str, Floats] = {}
    for name in dict.fromkeys(baseline):
        here = baseline == name
        arms = [set(replicate[here & arm]) - {None} for arm in (treated, ~treated)]
        both = [r for r in dict.fromkeys(replicate[here]) if r in arms[0] & arms[1]]
        # A block for a replicate in only one arm would remove it from the comparison.
        if len(both) < 2:
            continue
        first = (here & (replicate == both[0])).astype(float)
        for level in both[1:]:
            columns[f"replicate:{name}:{level}"] = (here & (replicate == level)) - first
    return columns


def _candidates(
    treated: Bools,
    group: Labels,
    baseline: Labels,
    replicate: Labels,
    covariates: Mapping[str, Sequence[str | float | None]],
) -> list[Bools]:
    """Return sets of samples for which the model might have a separate coefficient."""
    sets = []
    for name in dict.fromkeys(baseline):
        here = baseline == name
        sets += [here, here & ~treated]
        sets += [here & (replicate == r) for r in dict.fromkeys(replicate[here]) if r is not None]
    sets += [treated & (group == name) for name in dict.fromkeys(group[treated])]
    for values in covariates.values():
        column = np.array([str(value) for value in values], dtype=object)
        sets += [column == level for level in dict.fromkeys(column)]
    return [one for one in sets if one.any()]


def _strata(matrix: Floats, sets: list[Bools]) -> Bools:
    """Keep the sets whose indicator is a combination of the columns."""
    if not sets:
        return np.zeros((len(matrix), 0), dtype=bool)
    indicator = np.column_stack(sets)
    target = indicator.astype(float)
    solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
    inside = np.abs(matrix @ solution - target).max(axis=0) < 1e-8
    return np.asarray(indicator[:, inside])


def _covariate(name: str, values: list[str | float | None]) -> dict[str, Floats]:
    if any(pd.isna(v) or v in (np.inf, -np.inf) for v in values):
        msg = (
            f"Covariate {name!r} is missing or infinite in some samples. Fill it in the "
            "sample sheet, or remove the covariate."
        )
        raise DesignError(msg)
    levels = list(dict.fromkeys(values))
    if len(levels) < 2:
        msg = (
            f"Covariate {name!r} has the same value ({levels[0] if levels else 'none'}) in all "
            "samples, so it explains nothing. Remove it."
        )
        raise DesignError(msg)
    if all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in values):
        numbers = np.array(values, dtype=float)
        # On the scale of the other columns, so that units do not affect what is estimable.
        return {f"covariate:{name}": (numbers - numbers.mean()) / numbers.std()}
    return {
        f"covariate:{name}:{level}": np.array([float(v == level) for v in values])
        for level in levels[1:]
    }


def _not_estimable(matrix: Floats) -> Bools:
    """For each column, whether it is a combination of the others."""
    _, values, vectors = np.linalg.svd(matrix, full_matrices=True)
    rank = int((values > 1e-10 * values[0]).sum()) if values.size else 0
    null_space = vectors[rank:]
    return np.asarray((null_space**2).sum(axis=0) > 1e-12)


def _require_answerable(design: Design, *, n_samples: int) -> None:
    if not design.effects:
        msg = (
            f"In {n_samples} samples the treatment cannot be distinguished from the other terms "
            f"({', '.join(c for c in design.columns if not c.startswith('treated'))}). "
            "Replicates or batches coincide with the treatment: measure both arms in "
            "each, or remove the term."
        )
        raise DesignError(msg)
    _require_residual(design, n_samples=n_samples)


def _require_residual(design: Design, *, n_samples: int) -> None:
    if design.df_residual < 1:
        msg = (
            f"{n_samples} samples and {design.matrix.shape[1]} coefficients leave no "
            "residual degree of freedom, so the variation between replicates is unknown "
            "and no p-value is possible. Add replicates (donors, or wells of a line alone) in at "
            "least one arm of one line, name repeated experiments of one donor with replicate=, "
            "or drop a covariate."
        )
        raise DesignError(msg)
