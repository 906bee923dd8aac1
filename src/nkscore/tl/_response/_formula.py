"""A formula of sample columns, as a design matrix with rows for named levels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError

from nkscore import schema
from nkscore._samples._samples import labels
from nkscore.errors import DesignError, MissingKeyError
from nkscore.tl._response._formula_words import levels_or_error, read_formula, variables_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from formulaic import ModelSpec

    from nkscore._types import Bools, Floats, Level

#: Names that a formula can use in addition to columns and formulaic's transforms.
_CONTEXT: Final = {"np": np, "log2": np.log2}
_MONOCULTURES: Final = (schema.TUMOR_MONO, schema.NK_MONO)
#: Most columns whose combined levels can be strata without a count.
_MOST_TOGETHER: Final = 3


@dataclass(frozen=True, slots=True)
class SampleDesign:
    """The design of samples: ``matrix`` (samples × coefficients) and the rows it can answer for.

    ``table`` has the variables as they enter the formula; ``unnamed`` marks samples without a value
    of the replicate, which take the mean of all replicates.
    """

    formula: str
    table: pd.DataFrame
    matrix: pd.DataFrame
    spec: ModelSpec
    replicate: str
    unnamed: Bools
    blocks: Bools

    def row(self, levels: Mapping[str, Level]) -> Floats:
        """Return the row of the design at named levels; the others are at their baseline."""
        known = levels_or_error(levels, self.table)
        frame = pd.DataFrame(index=[0])
        for name in map(str, self.table):
            value, column = known.get(name, self._baseline(name)), self.table[name]
            frame[name] = value
            if isinstance(column.dtype, pd.CategoricalDtype):
                frame[name] = pd.Categorical([value], categories=column.cat.categories)
        found = self.spec.get_model_matrix(frame, context=_CONTEXT).to_numpy(float)[0]
        if self.unnamed.any() and self.replicate not in levels:
            found[self.blocks] = 0.0
        return np.asarray(found)

    def _baseline(self, name: str) -> Level:
        column = self.table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            return str(column.cat.categories[0])
        return float(column.mean())

    def samples_at(self, levels: Mapping[str, Level]) -> Bools:
        """Return the samples at named levels."""
        here = np.ones(len(self.table), dtype=bool)
        for name, value in levels_or_error(levels, self.table).items():
            here &= (self.table[name] == value).to_numpy()
        if self.replicate in levels:
            here &= ~self.unnamed
        return here

    def columns_of(self, term: str) -> list[int]:
        """Return the coefficients of a term of the formula."""
        terms = {str(name): where for name, where in self.spec.term_slices.items()}
        wanted = read_formula(f"~ 0 + {term}", self.replicate if self.unnamed.any() else None)
        names = [str(one) for one in wanted]
        if not names or not set(names) <= set(terms):
            have = ", ".join(name for name in terms if name != "1")
            msg = f"{term!r} is no term of {self.formula!r}, whose terms are {have}. Name one."
            raise ValueError(msg)
        return [column for name in names for column in range(*terms[name].indices(10**6))]

    def strata(self) -> list[Bools]:
        """Return sets of samples for which the model might have a separate coefficient."""
        levels = {
            str(name): column.astype(str).to_numpy(dtype=object)
            for name, column in self.table.items()
            if column.nunique() < len(column) or name == self.replicate
        }
        sets = [np.ones(len(self.table), dtype=bool)]
        for names in _together(list(levels)):
            joined = np.array(
                ["\0".join(parts) for parts in zip(*(levels[n] for n in names), strict=True)],
                dtype=object,
            )
            known = ~self.unnamed if self.replicate in names else np.ones(len(joined), dtype=bool)
            sets += [(joined == level) & known for level in dict.fromkeys(joined[known])]
        return sets


def _together(names: list[str]) -> Iterator[tuple[str, ...]]:
    for size in range(1, min(_MOST_TOGETHER, len(names)) + 1):
        yield from combinations(names, size)


def sample_design(
    formula: str, table: pd.DataFrame, obs: pd.DataFrame, *, replicate: str
) -> SampleDesign:
    """Return the design of samples (rows of ``table``) by a formula of columns of ``obs``."""
    plain = read_formula(formula, None)
    columns = {name: _values(table, obs, name) for name in variables_of(plain)}
    unnamed = np.zeros(len(table), dtype=bool)
    if replicate in columns:
        unnamed = columns[replicate].isna().to_numpy()
    _require_complete(columns, table, optional=replicate)
    frame = pd.DataFrame(columns)
    if unnamed.any():
        known = frame[replicate].cat.categories
        frame.loc[unnamed, replicate] = known[0]
    terms = read_formula(formula, replicate if unnamed.any() else None)
    try:
        matrix = terms.get_model_matrix(frame, context=_CONTEXT)
    except FormulaicError as error:
        msg = (
            f"{formula!r} cannot be computed: {str(error).splitlines()[0]} Check its functions and "
            "their arguments (np.log2, C, cr, bs, poly, ...)."
        )
        raise ValueError(msg) from error
    spec = matrix.model_spec
    numbers = pd.DataFrame(matrix).astype(float)
    blocks = np.zeros(numbers.shape[1], dtype=bool)
    for term, where in spec.term_slices.items():
        blocks[where] = replicate in map(str, spec.term_variables.get(term, ()))
    if unnamed.any():
        numbers.loc[unnamed, numbers.columns[blocks]] = 0.0
    return SampleDesign(formula, frame, numbers, spec, replicate, unnamed, blocks)


def _values(table: pd.DataFrame, obs: pd.DataFrame, name: str) -> pd.Series:
    """Return a variable of the samples: numbers, or levels with the baseline first."""
    if name not in obs:
        msg = (
            f"The formula names {name!r}, which is no column of adata.obs. Add it, for example "
            f"from the sample sheet, or correct the name ({', '.join(map(str, obs.columns[:9]))})."
        )
        raise MissingKeyError(msg)
    kind = obs[name].dtype
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        return table[name].astype(float)
    values = labels(table, name)
    present = set(values) - {None}
    if isinstance(kind, pd.CategoricalDtype) and name != schema.CONDITION:
        order = [str(level) for level in obs[name].cat.categories if str(level) in present]
    else:
        order = sorted(present)
    if name == schema.CONDITION:
        order = [level for level in _MONOCULTURES if level in present] + [
            level for level in order if level not in _MONOCULTURES
        ]
    if len(order) < 2:
        msg = (
            f"Variable {name!r} of the formula has one level ({order[0] if order else 'none'}) in "
            "all samples of the model, so it explains nothing. Remove it, or choose samples with "
            "several levels (compartment=, min_cells=)."
        )
        raise DesignError(msg)
    return pd.Series(pd.Categorical(values, categories=order), index=table.index)


def _require_complete(
    columns: Mapping[str, pd.Series], table: pd.DataFrame, *, optional: str
) -> None:
    for name, values in columns.items():
        missing = values.isna().to_numpy() | values.isin([np.inf, -np.inf]).to_numpy()
        if name == optional or not missing.any():
            continue
        which = ", ".join(table.loc[missing, schema.SAMPLE].astype(str).head(8))
        msg = (
            f"obs[{name!r}] has no value in {int(missing.sum())} of {len(table)} samples "
            f"({which}). A formula needs all its variables: fill the column, or exclude these "
            "samples before fitting."
        )
        raise DesignError(msg)
