"""What the steps that mark cells lose, as rows of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore._ledger import cells_by_lane, has_step, note, rows
from nkscore._samples._cells import passed_qc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

    from nkscore._ledger import Row
    from nkscore._types import Bools, Labels

#: Compartments that states and responses use.
USED: Final = (schema.NK, schema.TUMOR_CELLS)


def note_marks(
    adata: AnnData,
    *,
    classes: Sequence[str] = (schema.SINGLET,),
    compartments: Sequence[str] | None = USED,
    of: AnnData | None = None,
) -> int:
    """Write what QC, hashtags and compartments mark to the ledger; return the cells that go on.

    A cell counts in the first step that marks it, so all rows are made from the slots together.
    ``of`` is the object whose cells are counted, by default ``adata``.
    """
    cells = adata if of is None else of
    # On cells that pp.keep returned, the first rows stay.
    again = " again" if has_step(cells, "pp.keep") else ""
    made: dict[str, list[Row]] = {}
    going = np.ones(cells.n_obs, dtype=bool)
    samples: list[str] | None = None
    for step, lost in _marks(cells, classes, compartments):
        step += again  # noqa: PLW2901 (the name in the ledger)
        here = going & (lost != "")
        reasons = {r: cells_by_lane(cells, here & (lost == r)) for r in sorted(set(lost[here]))}
        n_in, going = int(going.sum()), going & ~here
        made[step] = rows(step, "cells", n_in, int(going.sum()), reasons)
        if schema.HASHTAG_CLASS not in cells.obs or not step.startswith("pp.qc"):
            samples = _note_samples(cells, made[step], going, samples)
    note(adata, made)
    return int(going.sum())


def _marks(
    adata: AnnData, classes: Sequence[str], compartments: Sequence[str] | None
) -> Iterator[tuple[str, Labels]]:
    """Yield each step with the reason why it excludes a cell, empty where it does not."""
    if schema.QC_PASS in adata.obs:
        why = np.full(adata.n_obs, "failed QC", dtype=object)
        if schema.QC_REASON in adata.obs:
            why += ": " + adata.obs[schema.QC_REASON].astype(str).to_numpy(dtype=object)
        yield "pp.qc", np.where(passed_qc(adata), "", why).astype(object)
    for column, step, wanted in (
        (schema.HASHTAG_CLASS, "pp.demultiplex", classes),
        (schema.COMPARTMENT, "pp.compartments", compartments),
    ):
        if column in adata.obs and wanted is not None:
            values = adata.obs[column].astype(str).to_numpy(dtype=object)
            named = f"{column.replace('_class', '')} " + values
            yield step, np.where(np.isin(values, wanted), "", named).astype(object)


def _note_samples(
    adata: AnnData, made: list[Row], going: Bools, before: list[str] | None
) -> list[str] | None:
    """Add the samples that lose their last cell in a step; return those that go on."""
    if schema.SAMPLE not in adata.obs:
        return before
    step, of_cell = made[0]["step"], adata.obs[schema.SAMPLE].astype(object)
    first = before is None
    names = _samples(adata) if before is None else before
    present = set(of_cell[going & of_cell.notna().to_numpy()].astype(str))
    known = set(of_cell.dropna().astype(str))
    lost: dict[str, list[str]] = {}
    for name in (name for name in names if name not in present):
        reason = "no cell of it was found" if first and name not in known else "no cell is left"
        lost.setdefault(reason, []).append(name)
    going_on = [name for name in names if name in present]
    made += rows(step, "samples", len(names), len(going_on), lost)
    return going_on


def _samples(adata: AnnData) -> list[str]:
    """Return the samples of the sheet, also those without cells."""
    sheet = adata.uns.get(schema.RECORD, {}).get(schema.SAMPLE_SHEET)
    in_cells = adata.obs[schema.SAMPLE].dropna().astype(str).unique()
    listed = [] if sheet is None else list(sheet[schema.SAMPLE].astype(str))
    return list(dict.fromkeys([*listed, *sorted(in_cells)]))
