"""Samples of patients or lines, one row each, as such and at equal cell cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._checks import check_columns, check_frame
from nkscore._counts._open import open_counts
from nkscore._samples._left_out import left_out
from nkscore._samples._matrices import has_counts, matrix_of
from nkscore._samples._samples import labels
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.signatures import get
from nkscore.stats import log_cpm, response_design
from nkscore.tl._states._visibility_fit import Units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import CSR, Floats, Ints, Labels
    from nkscore.stats import Design

#: Logarithms are smaller.
_LARGEST_LOG: Final = 50.0
_CYCLE: Final = ("TIROSH2016_G1S", "TIROSH2016_G2M")
_LEVEL: Final = "cell_cycle"


@dataclass(frozen=True, slots=True)
class SampleUnits:
    """Both answers: ``raw`` as such, ``matched`` with the level of cell-cycle genes in the model.

    ``matched`` is ``None`` if it is impossible; ``remarks`` say why. ``overlap`` is one number per
    line.
    """

    raw: Units
    matched: Units | None
    overlap: dict[str, float]
    remarks: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def sample_units(
    data: pd.DataFrame | AnnData,
    samples: pd.DataFrame,
    *,
    residual: str,
    other: str,
    state: str,
    by: str | None,
    replicate: str | None,
    covariates: Sequence[str],
    classes: CSR,
    tested: Ints,
) -> SampleUnits:
    """Prepare both models of a table of samples."""
    names, genes, values = _expression(data)
    columns = [state, *covariates, *(c for c in (by, replicate) if c is not None)]
    advice = "Name columns of the table of samples."
    check_frame(samples, "samples", advice)
    check_columns(samples, columns, advice, what="The table of samples")
    table, values, missing = _rows(
        samples, names, values, columns=columns, state=state, levels=(residual, other)
    )
    counts = _are_counts(values)
    treated = table[state].astype(str).to_numpy() == residual
    table = table.assign(treated=treated, line="all" if by is None else labels(table, by))
    table, values = _summed(table, values, replicate, covariates, counts=counts)
    logs = log_cpm(values, values.sum(axis=1)) if counts else values
    level = _cycle_level(genes, logs, tested)
    plain = {name: list(table[name]) for name in covariates}
    design = _design(table, replicate, plain)
    matched, reason = None, ""
    if level is None:
        reason = "No answer at equal cell cycle: none of its genes varies."
    else:
        try:
            more = _design(table, replicate, {**plain, _LEVEL: list(map(float, level))})
            matched = _with_classes(values, classes, tested, more, counts=counts)
        except DesignError as error:
            reason = f"No answer at equal cell cycle: {error}"
    raw = _with_classes(values, classes, tested, design, counts=counts)
    paired = "are compared with themselves" if design.blocked else "are not matched between levels"
    words = f"{int(treated.sum())} residual and {int((~treated).sum())} other samples"
    remarks = (f"{words}; replicates ({replicate or 'samples'}) {paired}.", reason)
    return SampleUnits(raw, matched, _overlap(level, table), remarks, missing)


def _expression(data: pd.DataFrame | AnnData) -> tuple[pd.Index, pd.Index, Floats]:
    if isinstance(data, pd.DataFrame):
        text = [c for c in data.columns if not pd.api.types.is_numeric_dtype(data[c])]
        if text:
            msg = (
                f"Column {text[0]!r} of the expression holds {data[text[0]].dtype} values; numbers "
                "are needed, samples in rows and genes in columns. Move annotations to samples."
            )
            raise WrongScaleError(msg)
        return data.index, data.columns.astype(str), data.to_numpy(dtype=float)
    schema.check_var_names(data)
    name = schema.COUNTS if has_counts(data) else "X"
    values = open_counts(matrix_of(data, name)).rows().toarray().astype(float)
    return data.obs_names, data.var_names.astype(str), values


def _rows(
    samples: pd.DataFrame,
    names: pd.Index,
    values: Floats,
    *,
    columns: Sequence[str],
    state: str,
    levels: tuple[str, str],
) -> tuple[pd.DataFrame, Floats, tuple[LeftOut, ...]]:
    """Return annotation and values of the samples at both levels, in the order of the data."""
    for index, what in ((samples.index, "samples"), (names, "the expression")):
        if index.has_duplicates:
            first = index[index.duplicated()][0]
            msg = f"{what} holds the sample {first!r} more than once; keep one row per sample."
            raise DesignError(msg)
    if not np.isfinite(values).all():
        msg = (
            f"{int((~np.isfinite(values)).sum())} values of the expression are missing or "
            "infinite; finite numbers are needed. Drop such genes or fill them at their source."
        )
        raise WrongScaleError(msg)
    table = samples.reindex(names)[list(dict.fromkeys(columns))]
    text = table[state].astype(object).where(table[state].notna(), None).map(str)
    for level in levels:
        if not (text == level).any():
            msg = (
                f"No sample of the expression has {state} {level!r} (there are: "
                f"{', '.join(sorted(set(text)))}). Name levels of samples[{state!r}], and check "
                "that both tables have the same index."
            )
            raise MissingKeyError(msg)
    here = text.isin(levels).to_numpy() & table.notna().all(axis=1).to_numpy()
    lost = text.isin(levels).to_numpy() & ~here
    reason = "a column of the table of samples is missing"
    missing = left_out("sample", list(names[lost]), [reason] * int(lost.sum()))
    return table[here].assign(**{state: text[here]}), values[here], missing


def _are_counts(values: Floats) -> bool:
    if values.min() >= 0 and values.max() > _LARGEST_LOG:
        if (values == np.rint(values)).all():
            return True
        msg = (
            f"The expression goes up to {values.max():g} and is neither counts nor logarithms. "
            "Give counts, or logarithms like numpy.log2(TPM + 1)."
        )
        raise WrongScaleError(msg)
    return False


def _summed(
    table: pd.DataFrame,
    values: Floats,
    replicate: str | None,
    covariates: Sequence[str],
    *,
    counts: bool,
) -> tuple[pd.DataFrame, Floats]:
    """Join samples that agree in line, replicate and level: they are measured repeatedly."""
    if replicate is None:
        return table, values
    keys = ["line", replicate, "treated"]
    groups = table.groupby(keys, sort=False, observed=True).ngroup()
    code: Ints = np.array(groups, dtype=np.int64)
    first = table.iloc[np.unique(code, return_index=True)[1]]
    member = np.eye(code.max() + 1)[code].T
    joined = member @ values
    if not counts:
        joined = joined / member.sum(axis=1, keepdims=True)
    for name in covariates:
        first = first.assign(**{name: np.array(_mean_or_first(table[name], code))})
    return first.reset_index(drop=True), joined


def _mean_or_first(column: pd.Series, code: Ints) -> list[Any]:
    grouped = column.groupby(code)
    if pd.api.types.is_numeric_dtype(column):
        return list(grouped.mean())
    if column.astype(str).groupby(code).agg(lambda part: len(set(part)) > 1).any():
        msg = (
            f"Covariate {column.name!r} has several values for one replicate and level. Give it "
            "one value each, or use a finer replicate."
        )
        raise DesignError(msg)
    return list(grouped.first())


def _design(table: pd.DataFrame, replicate: str | None, covariates: dict[str, list[Any]]) -> Design:
    owner: Labels = (
        np.array([None] * len(table), dtype=object)
        if replicate is None
        else labels(table, replicate)
    )
    return response_design(
        table["treated"].to_numpy(), labels(table, "line"), owner, covariates=covariates
    )


def _cycle_level(genes: pd.Index, logs: Floats, tested: Ints) -> Floats | None:
    wanted = {gene for name in _CYCLE for gene in get(name).up}
    here = np.asarray(genes.isin(list(wanted)))
    here[tested] = False
    here &= np.ptp(logs, axis=0) > 0
    return logs[:, here].mean(axis=1) if here.any() else None


def _with_classes(
    values: Floats, classes: CSR, tested: Ints, design: Design, *, counts: bool
) -> Units:
    sums = values @ classes
    if not counts:
        sums = sums / np.asarray(classes.sum(axis=0)).ravel()
    both = np.column_stack([values, sums])
    return Units(both, values.shape[1], tested, design, logs=not counts)


def _overlap(level: Floats | None, table: pd.DataFrame) -> dict[str, float]:
    """Return the common area of two normal distributions of the level, per line."""
    found = {}
    for name, rows in table.groupby("line", sort=False).indices.items():
        side = table["treated"].to_numpy(dtype=bool)[rows]
        found[str(name)] = np.nan
        if level is None or min(side.sum(), (~side).sum()) < 2:
            continue
        parts = [level[rows][side], level[rows][~side]]
        spread = float(np.sqrt(np.mean([part.var(ddof=1) for part in parts])))
        if spread > 0:
            apart = abs(parts[0].mean() - parts[1].mean()) / spread
            found[str(name)] = float(2 * scipy_stats.norm.sf(apart / 2))
    return found
