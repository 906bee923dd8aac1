"""Whether samples can answer a comparison of two arms, with the design that the tests use."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy.linalg import block_diag

from nkscore import schema
from nkscore._samples._samples import arms, compartment_samples, labels
from nkscore.errors import DesignError
from nkscore.stats import is_estimable, response_design
from nkscore.tl._plan._power import SampleRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from nkscore._samples._samples import Samples
    from nkscore._types import Bools, Floats, Level
    from nkscore.stats import Design

_LOG: Final = logging.getLogger("nkscore")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the samples of one line can say about one comparison.

    ``problem`` says why there is no answer; ``apart`` names columns (lane, plate) that cannot be
    distinguished from the comparison, with the levels that hold one arm only.
    """

    line: str
    estimable: bool
    df_residual: int = 0
    n_treated: int = 0
    n_control: int = 0
    paired: bool = False
    problem: str = ""
    apart: tuple[tuple[str, tuple[str, ...]], ...] = ()
    donors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arms:
    """Two levels of a column, of the cells of a compartment."""

    compartment: str
    column: str
    treated: Level
    control: Level


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms of all lines: one answer per line, and the design where there is one.

    ``shares``: column of lanes or rounds of work → share of each sample in each level, by name.
    """

    pair: Arms
    answers: tuple[Answer, ...]
    design: Design | None = None
    shares: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    rows: SampleRows | None = None

    def effect(self, line: str) -> Floats:
        """Return the contrast that is the effect of a line."""
        if self.design is None:
            return np.zeros(0)
        vector = np.zeros(len(self.design.columns))
        vector[self.design.effects[line]] = 1.0
        return vector


def coincide(parts: Sequence[tuple[Comparison, Floats]]) -> list[str]:
    """Return columns whose levels could make a contrast of one or several comparisons.

    The levels of a column change the counts by the same factor in all of them, so what a lane does
    to all arms is no difference between responses.
    """
    columns = dict.fromkeys(c for one, _ in parts for c in one.shares)
    matrix = block_diag(*(one.design.matrix for one, _ in parts if one.design is not None))
    vector = np.concatenate([vector for _, vector in parts])
    found = []
    for column in columns:
        if any(column not in one.shares for one, _ in parts):
            continue
        share = pd.concat([one.shares[column] for one, _ in parts]).fillna(0.0).to_numpy()
        with_levels = np.append(vector, np.zeros(share.shape[1]))
        if not is_estimable(np.hstack([matrix, share]), with_levels):
            found.append(column)
    return found


def compare(
    cells: AnnData, pair: Arms, lines: Sequence[str], *, batches: Sequence[str]
) -> Comparison:
    """Return what the samples of each line say, by the grouping and design of the analysis."""
    try:
        samples = _compared(cells, pair)
    except DesignError:
        return Comparison(pair, tuple(_without(cells, pair, line) for line in lines))
    table = samples.table
    group, treated = labels(table, schema.TUMOR), table["treated"].to_numpy()
    counted = {
        line: _counted(samples, line)
        if line in set(group[treated])
        else _without(cells, pair, line)
        for line in lines
    }
    try:
        design = response_design(treated, group, labels(table, schema.NK_DONOR))
    except DesignError as error:
        found = (replace(a, problem=a.problem or _short(error)) for a in counted.values())
        return Comparison(pair, tuple(found))
    shares = {name: _shares(cells, samples, name) for name in batches}
    made = Comparison(pair, (), design, {c: s for c, s in shares.items() if not s.empty})
    made = replace(made, rows=SampleRows(treated, group, labels(table, schema.NK_DONOR)))
    answers = [answer if answer.problem else _answer(made, answer) for answer in counted.values()]
    return replace(made, answers=tuple(answers))


def _compared(cells: AnnData, pair: Arms) -> Samples:
    columns = [schema.TUMOR, schema.NK_DONOR, pair.column]
    level = _LOG.level
    # What is excluded is in the table; the analysis would log it.
    _LOG.setLevel(logging.ERROR)
    try:
        samples = compartment_samples(
            cells, pair.compartment, columns=columns, min_cells=1, replicate=schema.NK_DONOR
        )
        return arms(
            samples, treated=pair.treated, control=pair.control, by=schema.TUMOR, column=pair.column
        )
    finally:
        _LOG.setLevel(level)


def _answer(comparison: Comparison, answer: Answer) -> Answer:
    """Complete the answer of a line that has both arms."""
    design = comparison.design
    if design is None or answer.line not in design.effects:
        return replace(answer, problem="contact coincides with other terms of the model (donors)")
    rows = design.members[answer.line]
    apart = [
        (column, _one_armed(comparison.shares[column].iloc[rows], design.treated[rows]))
        for column in coincide([(comparison, comparison.effect(answer.line))])
    ]
    blocked = any(
        name.startswith("replicate:") and bool(np.abs(design.matrix[rows, j]).any())
        for j, name in enumerate(design.columns)
    )
    return replace(
        answer,
        estimable=True,
        df_residual=design.df_residual,
        paired=blocked,
        apart=tuple(apart),
    )


def _shares(cells: AnnData, samples: Samples, column: str) -> pd.DataFrame:
    """Return the share of each sample in each level of a column; empty if it has gaps."""
    inside = samples.codes >= 0
    values = labels(cells.obs[inside], column)
    if any(value is None for value in values):
        return pd.DataFrame()
    share = pd.crosstab(samples.codes[inside], values, normalize="index")
    # One level everywhere can explain no difference.
    return share if share.shape[1] > 1 else pd.DataFrame()


def _one_armed(share: pd.DataFrame, treated: Bools) -> tuple[str, ...]:
    """Return the levels that hold treated samples of a line and no control."""
    held: Bools = np.asarray(share.to_numpy() > 0)
    number = held[treated].sum(axis=0) * (held[~treated].sum(axis=0) == 0)
    return tuple(str(name) for name, n in zip(list(share.columns), number, strict=True) if n)


def _counted(samples: Samples, line: str) -> Answer:
    table = samples.table
    group, treated = labels(table, schema.TUMOR), table["treated"].to_numpy()
    controls = ~treated & np.array([name in (line, None) for name in group])
    own = treated & (group == line)
    return Answer(
        line,
        estimable=False,
        n_treated=int(own.sum()),
        n_control=int(controls.sum()),
        donors=_names(table[own]),
    )


def _names(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted({str(d) for d in table[schema.NK_DONOR].dropna()}))


def _without(cells: AnnData, pair: Arms, line: str) -> Answer:
    """Return the answer for a line that lacks an arm."""
    obs = cells.obs
    of_kind = obs[schema.COMPARTMENT] == pair.compartment
    mine = of_kind & ((obs[schema.TUMOR] == line) | obs[schema.TUMOR].isna())
    text = obs[pair.column].astype(str)
    number = [
        obs.loc[mine & (text == str(level)), schema.SAMPLE].nunique()
        for level in (pair.treated, pair.control)
    ]
    absent = [
        str(level) for level, n in zip((pair.treated, pair.control), number, strict=True) if not n
    ]
    problem = f"no sample of {' and '.join(absent) or 'both arms'}"
    return Answer(line, estimable=False, n_treated=number[0], n_control=number[1], problem=problem)


def _short(error: DesignError) -> str:
    text = str(error).split(". ")[0]
    if "no residual degree of freedom" in text:
        return "no replicate: the variation between samples stays unknown"
    return text
