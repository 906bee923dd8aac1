"""Contrasts of a model of the response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from nkscore._checks import check_confidence
from nkscore.errors import DesignError
from nkscore.stats import (
    contrast_of,
    is_estimable,
    joint_test,
    lines_of,
    needs_common_scale,
    pull_of,
    require_estimable,
    test_of_arms,
    test_of_contrast,
    vectors_of_columns,
    with_q_values,
)

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Level
    from nkscore.stats import EffectTest
    from nkscore.tl._response._response_model import ResponseModel

#: Weights of the coefficients, or the name of one.
Weights: TypeAlias = "str | Sequence[float] | pd.Series | np.ndarray"
_COLUMN = "contrast"


def contrast(
    model: ResponseModel,
    contrasts: Weights | Mapping[str, Weights] | None = None,
    *,
    treated: Mapping[str, Level] | None = None,
    control: Mapping[str, Level] | None = None,
    term: str | Mapping[str, Weights] | None = None,
    min_log2_fc: float = 0.0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test contrasts of a model: differences of groups, of differences, slopes, or whole terms.

    Parameters
    ----------
    model
        From :func:`nkscore.tl.response_model`.
    contrasts
        Name → weights of the coefficients: a vector (in the order of ``model.coefficients``), a
        difference of ``model.cond(...)``, or the name of a coefficient. A single one needs no name.
    treated, control
        Instead of ``contrasts``: levels of variables that the two groups of samples have, for
        example ``{"condition": "coculture"}`` and ``{"condition": "tumor_mono"}``. If the model has
        lines (``by``) and none is named, each line is compared, as
        :func:`nkscore.tl.interaction_response` does.
    term
        Instead of ``contrasts``: a term of the formula, or named weights, whose coefficients are
        tested together (F test), for example ``"condition:drug"`` or ``"cr(time_h, df=3)"``.
    min_log2_fc
        Smallest relevant change, as in :func:`nkscore.tl.interaction_response`; not with ``term``.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per contrast × tested gene, sorted by contrast and p-value: ``contrast``, ``gene``,
    ``log2_fc``, ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over the table), ``q_value_contrast``, ``mean_log2_cpm``,
    ``n_samples_treated`` and ``n_samples_control`` (samples that raise and lower the contrast),
    ``df_residual``, ``df_total``. A slope has ``log2_fc`` per unit of its variable. With ``term``:
    ``contrast``, ``gene``, one column ``log2_fc:<coefficient>`` each, ``f``, ``df_between``,
    ``df_total``, ``p_value``, ``q_value``, ``mean_log2_cpm``.

    Raises
    ------
    DesignError
        If the samples cannot estimate a contrast; the message names what they cannot tell apart.
    ValueError
        If a name is unknown, a vector has another length, or not exactly one kind is given.

    Notes
    -----
    A contrast over several lines has the variance of each, combined by Satterthwaite's rule. Genes
    are tested if they are in all lines that it compares.

    Examples
    --------
    Does the NK-induced response differ between two lines?

    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> model = nk.tl.response_model(adata, "~ tumor * condition", by="tumor")
    >>> first, second = model.samples["tumor"].unique()[:2]
    >>> def induced(line):
    ...     return model.cond(tumor=line, condition="coculture") - model.cond(
    ...         tumor=line, condition="tumor_mono"
    ...     )
    >>> table = nk.tl.contrast(model, {"first - second": induced(first) - induced(second)})
    >>> table.columns[:3].tolist()
    ['contrast', 'gene', 'log2_fc']
    """
    check_confidence(confidence)
    if not 0 <= min_log2_fc < np.inf:
        msg = f"min_log2_fc is {min_log2_fc!r}; a number of at least 0 is needed."
        raise ValueError(msg)
    if sum(x is not None for x in (contrasts, treated or control, term)) != 1:
        msg = "Give one of: contrasts, treated and control, or term."
        raise ValueError(msg)
    options = {"min_log2_fc": min_log2_fc, "confidence": confidence}
    if term is not None:
        table = _joint(model, term)
    elif contrasts is not None:
        table = _by_weights(model, contrasts, options)
    else:
        table = _of_groups(model, (dict(treated or {}), dict(control or {})), options)
    table = with_q_values(table)
    if term is None:
        table = with_q_values(table, q_value="q_value_contrast", by=_COLUMN)
    table.attrs |= model.attrs
    order = [_COLUMN, "p_value", "gene"]
    table = table[_ordered(table)].sort_values(order, kind="stable")
    return table.reset_index(drop=True)


def _ordered(table: pd.DataFrame) -> list[str]:
    last = ["p_value", "q_value", "q_value_contrast", "mean_log2_cpm"]
    last += ["n_samples_treated", "n_samples_control", "df_residual", "df_total"]
    first = [name for name in table.columns if name not in last]
    return [*first, *(name for name in last if name in table.columns)]


def _named_weights(
    model: ResponseModel, given: Weights | Mapping[str, Weights]
) -> dict[str, Floats]:
    if isinstance(given, Mapping):
        return {str(name): _weights(model, one) for name, one in given.items()}
    return {given if isinstance(given, str) else _COLUMN: _weights(model, given)}


def _weights(model: ResponseModel, given: Weights) -> Floats:
    names = model.coefficients
    if isinstance(given, str):
        if given not in names:
            msg = f"No coefficient is named {given!r}. There are: {', '.join(names)}."
            raise ValueError(msg)
        return np.array([float(name == given) for name in names])
    vector = np.asarray(given, dtype=float)
    if vector.shape != (len(names),) or not np.isfinite(vector).all() or not vector.any():
        msg = (
            f"A contrast of shape {vector.shape} is given; {len(names)} finite numbers that are "
            f"not all zero are needed, one per coefficient ({', '.join(names[:6])}, ...)."
        )
        raise ValueError(msg)
    return vector


def _by_weights(
    model: ResponseModel, given: Weights | Mapping[str, Weights], options: dict[str, float]
) -> pd.DataFrame:
    design = model.fit.design.matrix
    parts: list[pd.DataFrame] = []
    for name, vector in _named_weights(model, given).items():
        _require_answer(model, name, vector)
        lines = lines_of(model.fit, vector)
        test, genes = test_of_contrast(model.fit, vector, _tested(model, lines, name), lines)
        pull = pull_of(design, vector)
        sides = tuple(pull * sign > 1e-8 * np.abs(pull).max() for sign in (1, -1))
        parts.append(_rows(model, name, (genes, test), sides, options))
    return pd.concat(parts, ignore_index=True)


def _of_groups(
    model: ResponseModel,
    groups: tuple[dict[str, Level], dict[str, Level]],
    options: dict[str, float],
) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    for name, line in _compared_lines(model, groups):
        levels = [group | ({model.by: line} if line and model.by else {}) for group in groups]
        sides = tuple(model.terms.samples_at(level) for level in levels)
        if all(side.any() for side in sides):
            vector = model.terms.row(levels[0]) - model.terms.row(levels[1])
            _require_answer(model, name, vector)
            found = _compared(model, name, line, vector, sides)
            parts.append(_rows(model, name, found, sides, options))
    if not parts:
        msg = (
            f"No samples have the levels {groups[0]} and {groups[1]}"
            f"{f' in one {model.by}' if model.by else ''}. See model.samples."
        )
        raise DesignError(msg)
    return pd.concat(parts, ignore_index=True)


def _compared_lines(
    model: ResponseModel, groups: tuple[dict[str, Level], dict[str, Level]]
) -> list[tuple[str, str | None]]:
    """Return name and line of each comparison; no line for a contrast over lines."""
    if model.by is None:
        return [(_COLUMN, "all")]
    named = [str(group[model.by]) for group in groups if model.by in group]
    if not named:
        lines = model.terms.table[model.by].astype(str)
        return [(name, name) for name in dict.fromkeys(lines)]
    same = len(named) == len(groups) and len(set(named)) == 1
    return [(_COLUMN, named[0] if same else None)]


def _compared(
    model: ResponseModel, name: str, line: str | None, vector: Floats, sides: tuple[Bools, ...]
) -> tuple[Ints, EffectTest]:
    """Compare two groups of samples: of one line as for two arms, of several as a contrast."""
    lines = [line] if line else lines_of(model.fit, vector)
    genes = _tested(model, lines, name)
    if len(lines) > 1:
        test, genes = test_of_contrast(model.fit, vector, genes, lines)
        return genes, test
    found = contrast_of(model.fit, vector, genes)
    found = found.of(found.known)
    arms = (np.flatnonzero(sides[0]), np.flatnonzero(sides[1]))
    measured = {"effect": found.effect, "unscaled": found.unscaled}
    return found.genes, test_of_arms(model.fit, found.genes, lines[0], arms, **measured)


def _require_answer(model: ResponseModel, name: str, vector: Floats) -> None:
    """Raise if the samples, or their normalization, cannot answer for a contrast."""
    design = model.fit.design
    if not vector.any():
        msg = f"Contrast {name!r} compares a group with itself. Name two different groups."
        raise DesignError(msg)
    require_estimable(design.matrix, model.coefficients, vector, repr(name))
    if model.by and model.normalization == "line" and needs_common_scale(design, vector):
        msg = (
            f"Contrast {name!r} compares levels of {model.by!r} themselves, and their depth was "
            "only compared within each. Fit the model with normalization='joint'; or, for changes "
            f"within levels, with {model.by!r} as a term of the formula."
        )
        raise DesignError(msg)


def _tested(model: ResponseModel, lines: Sequence[str], name: str) -> Ints:
    genes = np.flatnonzero(np.all([model.fit.tested[line] for line in lines], axis=0))
    if not genes.size:
        msg = (
            f"No gene has enough counts in all lines that {name!r} compares "
            f"({', '.join(lines[:8])}). Lower min_count or min_cells of the model."
        )
        raise DesignError(msg)
    return genes


def _rows(
    model: ResponseModel,
    name: str,
    found: tuple[Ints, EffectTest],
    sides: tuple[Bools, ...],
    options: dict[str, float],
) -> pd.DataFrame:
    genes, test = found
    here = np.flatnonzero(np.any(sides, axis=0))
    table = pd.DataFrame(
        {
            _COLUMN: name,
            "gene": model.genes[genes],
            **test.columns(**options),
            "mean_log2_cpm": model.log2_cpm[np.ix_(here, genes)].mean(axis=0),
            "n_samples_treated": int(sides[0].sum()),
            "n_samples_control": int(sides[1].sum()),
            "df_residual": model.fit.linear.df_residual[genes],
            "df_total": test.df,
        }
    )
    known = np.isfinite(table["p_value"].to_numpy()) & np.isfinite(table["log2_fc"].to_numpy())
    rows: pd.DataFrame = table.loc[known]
    return rows


def _joint(model: ResponseModel, term: str | Mapping[str, Weights]) -> pd.DataFrame:
    design = model.fit.design.matrix
    if isinstance(term, str):
        label, columns = term, model.terms.columns_of(term)
        vectors = vectors_of_columns(design, columns)
        if not len(vectors):
            msg = (
                f"Term {term!r} cannot be tested: the other terms of the formula explain all that "
                "it does. Remove one of them, or measure its levels apart from theirs."
            )
            raise DesignError(msg)
        units = {model.coefficients[j]: np.eye(len(model.coefficients))[j] for j in columns}
        weights = {name: unit for name, unit in units.items() if is_estimable(design, unit)}
    else:
        label, weights = " & ".join(term), _named_weights(model, term)
        for name, vector in weights.items():
            _require_answer(model, name, vector)
        vectors = np.array(list(weights.values()))
    lines = list(dict.fromkeys(line for v in vectors for line in lines_of(model.fit, v)))
    found = joint_test(model.fit, vectors, _tested(model, lines, label), lines)
    effects = {
        f"log2_fc:{name}": contrast_of(model.fit, vector, found.genes).effect / np.log(2)
        for name, vector in weights.items()
    }
    rows = np.concatenate([model.fit.design.members[line] for line in lines])
    return pd.DataFrame(
        {
            _COLUMN: label,
            "gene": model.genes[found.genes],
            **effects,
            "f": found.f,
            "df_between": found.df_between,
            "p_value": found.p_value,
            "df_total": found.df,
            "mean_log2_cpm": model.log2_cpm[np.ix_(rows, found.genes)].mean(axis=0),
        }
    )
