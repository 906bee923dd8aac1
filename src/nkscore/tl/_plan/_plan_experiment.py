"""Plan an experiment: what it can answer, and how likely changes are to be found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_names, check_part, check_positive, check_whole
from nkscore.io._planned_sheet import planned_sheet
from nkscore.tl._plan._choices import Choice, check_prices, choices, cost, numbers
from nkscore.tl._plan._design_words import described
from nkscore.tl._plan._pilot import pilot_variances
from nkscore.tl._plan._planned_cells import planned_cells
from nkscore.tl._plan._power import Depth, SampleRows, Wanted, balanced, power_of
from nkscore.tl._plan._questions import planned_rows, questions_of
from nkscore.tl._plan._variances import packaged

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from nkscore.tl._plan._planned_cells import PlannedCells
    from nkscore.tl._plan._variances import Variances

#: Ends of the range: types of blood cells of donors in one pool, and wells of a leukemia line with
#: NK cells, of several experiments.
_RANGE: Final = {
    schema.TUMOR_CELLS: ("Kang 2018 CD14 Mono", "Buri 2025 p185 bulk"),
    schema.NK: ("Kang 2018 CD4 Memory T", "Buri 2025 p185 bulk"),
}
_SHEET: Final = "sheet"
#: Donors and wells where the sheet has none.
_DEFAULT: Final = 3


@dataclass(frozen=True, repr=False)
class ExperimentPlan:
    """What a design can answer; see :func:`nkscore.tl.plan_experiment`.

    Attributes
    ----------
    questions
        One row per question and line.
    power
        One row per design and level of expression.
    remarks
        What the sheet leaves open, and how its columns were read.
    variances
        One row per source and level: squared coefficients of variation between ``cells``,
        ``samples`` and ``donors``.
    """

    questions: pd.DataFrame
    power: pd.DataFrame
    remarks: tuple[str, ...]
    variances: pd.DataFrame

    def __repr__(self) -> str:
        return "\n".join([*self.remarks, *described(self.questions), *self._of_power()])

    def _of_power(self) -> list[str]:
        first = self.power[self.power["varied"] == _SHEET]
        if first.empty:
            return []
        one = first.iloc[0]
        said = [
            f"counts per 10,000 = {row['level']:g}: {row['power_low']:.2f} to "
            f"{row['power_high']:.2f}"
            for row in first.to_dict("records")
        ]
        what = (
            f"Power in {one['compartment']} cells for a log2 fold change of {one['effect']:g} with "
            f"{one['cells']} cells of {one['umi']:g} UMI per sample:"
        )
        return [what, *(f"  {text}" for text in said)]


def plan_experiment(
    sheet: pd.DataFrame | str | os.PathLike[str],
    compartment: Literal["tumor", "nk"] = "tumor",
    *,
    pilot: AnnData | None = None,
    effect: float = 1.0,
    levels: Sequence[float] = (0.1, 0.5, 2.0),
    lines: Sequence[int] | None = None,
    donors: Sequence[int] | None = None,
    wells: Sequence[int] | None = None,
    cells: int | Sequence[int] = (300, 100, 1000),
    umi: float | Sequence[float] = (4000, 2000, 10000),
    state_share: float | Sequence[float] = (1.0, 0.2, 0.05),
    prices: Mapping[str, float] | None = None,
    lane_cells: int = 10_000,
    reads_per_umi: float = 4.0,
    sources: Sequence[str] | None = None,
    factors: Sequence[str] | None = None,
    extra_conditions: Sequence[str] = (),
    responding: float = 0.1,
    fdr: float = 0.05,
    repeats: int = 5,
    rng: int | np.random.Generator | None = 0,
    progress: bool | None = None,
) -> ExperimentPlan:
    """Say what a design can answer and how likely it finds a change, before any sequencing.

    Which questions can be answered follows from the sheet alone, by the grouping into samples and
    the design matrix of the analysis itself. Power comes from simulation: counts of samples are
    drawn with the variances of a pilot or of public data, and tested by the model of
    :func:`nkscore.tl.interaction_response`.

    Parameters
    ----------
    sheet
        Sample sheet (file or table), as for :func:`nkscore.io.read_coculture`. Files need not
        exist; ``path``, ``lane`` and ``hashtag`` can be missing.
    compartment
        Cells whose power is wanted: ``"tumor"`` or ``"nk"``.
    pilot
        Cells with counts, samples and compartments, to measure variances in. By default those of
        public data are used. They give a range, as none is a single-cell co-culture of NK cells and
        tumor cells.
    effect
        Change to find, log2 fold change.
    levels
        Expression of the genes to find, in counts per 10,000 (mean of both arms).
    lines, donors, wells
        Numbers to try in place of those of the sheet: lines, NK donors, wells of each line alone.
        By default 2 to 8 donors and 1 to 3 wells.
    cells, umi, state_share
        Cells of the compartment per sample, UMI counts per cell, and the share of the cells that
        are in the state to test (1: all). The first number is that of the design of the sheet.
    prices
        Any of ``donor``, ``well``, ``lane``, ``million_reads`` → price of one.
    lane_cells, reads_per_umi
        Cells per lane and reads per UMI count, for the cost.
    sources
        Packaged variances to use, see the error message of an unknown name.
    factors
        Columns of the sheet that hold treatments. By default all further columns, apart from
        those named like rounds of work (plate, batch, experiment, date).
    extra_conditions
        Custom conditions, as for :func:`nkscore.io.read_coculture`.
    responding
        Share of all genes that change as much. It decides which p-value is a discovery.
    fdr
        False discovery rate.
    repeats
        Simulated experiments per design and source.
    rng
        Seed or generator.
    progress
        Whether to show a bar; by default in a terminal.

    Returns
    -------
    :class:`ExperimentPlan` with

    - ``questions``: ``question``, ``compartment``, ``tumor`` (line), ``treated``, ``levels`` (of
      treatments and times), ``estimable``, ``df_residual``, ``n_treated``, ``n_control`` (samples
      that count), ``paired`` (donors are compared with themselves), ``confounded_with``,
      ``problem``, ``remedy``;
    - ``power``: ``varied``, ``value`` (what differs from the sheet), ``compartment``, ``lines``,
      ``donors``, ``wells``, ``cells``, ``umi``, ``state_share``, ``effect``, ``level``,
      ``power`` (mean over sources), ``power_low``, ``power_high``, ``n`` (genes simulated),
      ``fdr`` (found), ``df_residual``, and ``cost`` with prices.

    Raises
    ------
    SampleSheetError
        With all problems of the samples of the sheet.
    DesignError
        If the pilot has no replicates, or too few counts.
    ValueError
        If a number is out of range or a name is unknown.

    Notes
    -----
    The packaged variances were measured by ``benchmarks/plan.py`` in Kang et al. 2018 (doi
    10.1038/nbt.4042) and Buri et al. 2025 (Cancer Immunology Research, CIR-24-0189).
    ``docs/plan.md`` compares predicted with measured power.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> sheet = pd.DataFrame(
    ...     {
    ...         "sample": ["K562", "K562_2", "K562_d1", "K562_d2"],
    ...         "tumor": "K562",
    ...         "nk_donor": [None, None, "d1", "d2"],
    ...         "condition": ["tumor_mono", "tumor_mono", "coculture", "coculture"],
    ...     }
    ... )
    >>> plan = nk.tl.plan_experiment(
    ...     sheet, donors=[4], wells=[2], cells=300, umi=4000, state_share=1, repeats=1
    ... )
    >>> first = plan.questions.iloc[0]
    >>> first["question"], bool(first["estimable"]), int(first["df_residual"])
    ('response', True, 2)
    >>> plan.power["varied"].unique().tolist()
    ['sheet', 'donors', 'wells']
    """
    check_names("compartment", [compartment], (schema.TUMOR_CELLS, schema.NK))
    check_whole(1, repeats=repeats, lane_cells=lane_cells)
    check_positive("reads_per_umi", reads_per_umi)
    check_prices(prices or {})
    wanted = _wanted(effect, levels, responding, fdr)
    tried = {
        "cells": numbers("cells", cells, whole=True),
        "umi": numbers("umi", umi),
        "state_share": numbers("state_share", state_share),
    }
    generator = np.random.default_rng(rng)
    known = _variances(pilot, compartment, sources, generator)
    planned = planned_cells(*planned_sheet(sheet, extra_conditions), factors=factors)
    rows, base = _first(planned, compartment, tried)
    numbered: dict[str, Any] = {"lines": lines, "donors": donors, "wells": wells, **tried}
    designs = [base, *choices(base, compartment=compartment, **numbered)]
    parts = []
    for choice in _with_progress(designs, progress):
        own = _rows_of(choice, rows, compartment)
        part = _power(own, choice, wanted, known, repeats=repeats, rng=generator)
        if prices:
            part["cost"] = cost(choice, prices, lane_cells=lane_cells, reads_per_umi=reads_per_umi)
        parts.append(part.assign(compartment=compartment))
    power = pd.concat(parts, ignore_index=True)
    return ExperimentPlan(
        questions_of(planned),
        power[[name for name in (*_COLUMNS, "cost") if name in power]],
        (*planned.remarks, *_remark(rows, base, compartment)),
        pd.concat([one.table() for one in known], ignore_index=True),
    )


_COLUMNS: Final = (
    *("varied", "value", "compartment", "lines", "donors", "wells", "cells", "umi"),
    *("state_share", "effect", "level", "power", "power_low", "power_high", "n", "fdr"),
    "df_residual",
)


def _wanted(effect: float, levels: Sequence[float], responding: float, fdr: float) -> Wanted:
    check_positive("effect", effect)
    check_part("responding", responding)
    check_part("fdr", fdr)
    return Wanted(effect, tuple(numbers("levels", levels)), responding, fdr)


def _variances(
    pilot: AnnData | None,
    compartment: str,
    sources: Sequence[str] | None,
    rng: np.random.Generator,
) -> list[Variances]:
    if pilot is not None:
        return [pilot_variances(pilot, compartment, rng)]
    known = packaged()
    names = _RANGE[compartment] if sources is None else sources
    check_names("sources", names, known)
    return [known[name] for name in names]


def _first(
    planned: PlannedCells, compartment: str, tried: Mapping[str, Sequence[float]]
) -> tuple[SampleRows | None, Choice]:
    """Return the samples of the sheet, and its numbers, with defaults where it has none."""
    found = planned_rows(planned, compartment)
    base = Choice(
        _SHEET,
        np.nan,
        lines=max(len(planned.lines), 1),
        donors=len(planned.donors) or _DEFAULT,
        wells=_DEFAULT if found is None else _controls(found),
        cells=int(tried["cells"][0]),
        umi=tried["umi"][0],
        state_share=tried["state_share"][0],
    )
    return found, base


def _remark(rows: SampleRows | None, base: Choice, compartment: str) -> list[str]:
    if rows is not None:
        return []
    text = (
        f"The sheet has no answer for {compartment} cells, so power is that of a balanced design: "
        f"{base.lines} lines, {base.donors} donors, {base.wells} wells of each line alone."
    )
    return [text]


def _controls(rows: SampleRows) -> int:
    """Return the controls of a line."""
    controls = pd.Series(rows.line[~rows.treated])
    return max(round(controls.fillna("").value_counts().median()), 1)


def _rows_of(choice: Choice, rows: SampleRows | None, compartment: str) -> SampleRows:
    """Return the samples of the sheet where it decides, else those of a balanced design."""
    same = choice.varied not in {"lines", "donors", "wells"}
    if rows is not None and same:
        return rows
    return balanced(compartment, lines=choice.lines, donors=choice.donors, wells=choice.wells)


def _power(
    rows: SampleRows,
    choice: Choice,
    wanted: Wanted,
    known: Sequence[Variances],
    *,
    repeats: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    depth = Depth(choice.cells * choice.state_share, choice.umi)
    found = [power_of(rows, depth, wanted, one, repeats=repeats, rng=rng) for one in known]
    power = np.array([part["power"] for part in found])
    first = found[0]
    numbers_of = {name: getattr(choice, name) for name in Choice.__slots__}
    return pd.DataFrame({"level": first["level"], **numbers_of}).assign(
        effect=wanted.effect,
        power=power.mean(axis=0),
        power_low=power.min(axis=0),
        power_high=power.max(axis=0),
        n=sum(part["n"] for part in found),
        fdr=pd.concat([part["fdr"] for part in found]).mean(),
        df_residual=first["df_residual"],
    )


def _with_progress(designs: list[Choice], progress: bool | None) -> list[Choice]:  # noqa: FBT001
    import sys

    from tqdm import tqdm

    shown = sys.stderr.isatty() if progress is None else progress
    bar: list[Choice] = tqdm(designs, desc="designs", unit="design", disable=not shown)
    return bar
