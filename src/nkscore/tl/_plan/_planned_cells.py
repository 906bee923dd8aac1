"""The samples of a sheet as cells, so that the functions of the analysis can group them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._samples._wells import WELL_COLUMNS
from nkscore.errors import SampleSheetError
from nkscore.io._sheet import stored
from nkscore.io._sheet_columns import KNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore.io._sheet import Sheet

#: Words in names of columns that say in which round of work a sample was made.
_ROUNDS: Final = re.compile(
    r"batch|experiment|plate|date|day_of|operator|run$|chip|seq|library|kit|round|repeat",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PlannedCells:
    """What the samples of a sheet will hold.

    ``cells``: one NK or tumor cell per sample and lane. ``factors`` are columns whose levels are
    compared, ``batches`` those that say how the work was divided.
    """

    cells: AnnData
    factors: tuple[str, ...]
    batches: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """Names of the tumor lines, in the order of the sheet."""
        return list(dict.fromkeys(self.cells.obs[schema.TUMOR].dropna().astype(str)))

    @property
    def donors(self) -> list[str]:
        """Names of the NK donors, in the order of the sheet."""
        return list(dict.fromkeys(self.cells.obs[schema.NK_DONOR].dropna().astype(str)))


def planned_cells(
    sheet: Sheet, remarks: Sequence[str], *, factors: Sequence[str] | None
) -> PlannedCells:
    """Return what the samples of a sheet will hold; ``factors`` None: by the names of columns."""
    rows = stored(sheet).reset_index(drop=True)
    for column in rows:
        if column not in schema.NUMERIC_SAMPLE_COLUMNS:
            rows[column] = [text or None for text in rows[column]]
    parts = [
        rows.assign(**{schema.COMPARTMENT: kind})[_holds(rows, kind)]
        for kind in (schema.TUMOR_CELLS, schema.NK)
    ]
    obs = pd.concat(parts, ignore_index=True)
    obs.index = pd.Index([str(i) for i in range(len(obs))])
    from anndata import AnnData

    compared, batches, said = _roles(obs, factors)
    cells = AnnData(X=np.zeros((len(obs), 0), dtype=np.float32), obs=obs)
    return PlannedCells(cells, compared, batches, (*remarks, *said))


def _holds(rows: pd.DataFrame, kind: str) -> pd.Series:
    own = schema.TUMOR if kind == schema.TUMOR_CELLS else schema.NK_DONOR
    alone = schema.TUMOR_MONO if kind == schema.NK else schema.NK_MONO
    # A medium, or another condition of cells alone, names no donor.
    return rows[own].notna() & (rows[schema.CONDITION] != alone)


def _roles(
    obs: pd.DataFrame, factors: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """Return columns that are compared, columns of rounds of work, and what was assumed."""
    own = [c for c in obs if c not in (*KNOWN, schema.COMPARTMENT, *WELL_COLUMNS[:1])]
    varying = [str(c) for c in own if 1 < obs[c].nunique() < obs[schema.SAMPLE].nunique()]
    if factors is None:
        compared = [c for c in varying if not _ROUNDS.search(c) and c not in WELL_COLUMNS]
        compared = [c for c in compared if not _of_a_name(obs, c)]
    else:
        compared = [c for c in factors if c != schema.TIME_H]
        _check_factors(obs, compared)
    batches = [c for c in varying if c not in compared and not _of_a_name(obs, c)]
    said = []
    if factors is None and (compared or batches):
        said.append(
            "Read by their names: "
            + "; ".join(
                f"{', '.join(names)} as {what}"
                for names, what in ((compared, "treatment"), (batches, "round of work"))
                if names
            )
            + ". If that is wrong, name the treatments with factors=[...]."
        )
    if len(obs[schema.TIME_H].dropna().unique()) > 1:
        compared = [schema.TIME_H, *compared]
    return tuple(compared), tuple(batches), said


def _check_factors(obs: pd.DataFrame, factors: Sequence[str]) -> None:
    absent = [c for c in factors if c not in obs]
    if absent:
        have = ", ".join(str(c) for c in obs if c != schema.COMPARTMENT)
        msg = (
            f"The sheet has no column {', '.join(map(repr, absent))} (it has: {have}). Name the "
            "columns of treatments in factors, in lower case as the sheet is read."
        )
        raise SampleSheetError(msg)


def _of_a_name(obs: pd.DataFrame, column: str) -> bool:
    """Whether a column only describes lines or donors (a lineage, an age)."""
    known = obs[obs[column].notna()]
    return any(
        known[name].notna().all() and known.groupby(name)[column].nunique().max() == 1
        for name in (schema.TUMOR, schema.NK_DONOR)
    )
