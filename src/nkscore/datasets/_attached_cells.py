"""Which cells are attached, in which states, and what contact induces in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore.datasets._genes import program_table
from nkscore.datasets._lines import NK_STATES, TUMOR_STATES

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Ints32
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells

#: Contact genes are abundant in one of the two cells and rare in the other (log2 per million).
_LOW, _HIGH, _APART = 6.5, 10.0, 2.5
PROGRAMS: Final = {schema.NK: "contact_nk", schema.TUMOR_CELLS: "contact_tumor"}


def contact_rates(options: Options, wells: Wells) -> Floats:
    """Return the planted share of droplets with a contact, per well."""
    contacts = options.contacts
    if contacts is None or options.clean:
        return np.zeros(len(wells.sheet))
    together = (wells.nk_fraction > 0) & (wells.nk_fraction < 1)
    rate = contacts.rate
    if not isinstance(rate, Mapping):
        return np.where(together, float(rate), 0.0)
    unknown = [repr(name) for name in rate if name not in options.tumors]
    if unknown:
        msg = f"rate names {', '.join(unknown)}; known here: {', '.join(options.tumors)}."
        raise ValueError(msg)
    of_well = [float(rate.get(name, 0.0)) for name in wells.sheet[schema.TUMOR]]
    return np.where(together, of_well, 0.0)


def attached_droplets(options: Options, wells: Wells, well: Ints, streams: Streams) -> Bools:
    """Return which droplets hold two attached cells."""
    if options.contacts is None:
        return np.zeros(well.size, dtype=bool)
    first = np.arange(well.size)
    return np.asarray(streams.uniform("is attached", first) < contact_rates(options, wells)[well])


def preferred(
    options: Options, nk_states: Floats, survivors: Floats, attached: Bools
) -> tuple[Floats, Floats]:
    """Return the weights of NK states, and of tumor states × HLA bins, cells × weights."""
    if options.contacts is None or not options.contacts.states:
        return nk_states, survivors
    factor = options.contacts.states
    nk = np.array([factor.get(name, 1.0) for name in NK_STATES])
    half = survivors.shape[1] // 2
    tumor = np.repeat([1.0, factor.get(TUMOR_STATES[1], 1.0)], half)
    mask = attached[:, None]
    return np.where(mask, nk_states * nk, nk_states), np.where(mask, survivors * tumor, survivors)


def contact_programs(
    options: Options, genes: Genes, streams: Streams
) -> list[tuple[str, Ints, Floats]]:
    """Return name, genes and log2 effects of what contact induces in NK and in tumor cells."""
    contacts = options.contacts
    if contacts is None:
        return []
    free = ~genes.names.isin(program_table()["gene"]) & (genes.classes == "other").to_numpy()
    found = []
    for cell, (own, other) in zip(
        PROGRAMS, ((genes.nk, genes.tumor), (genes.tumor, genes.nk)), strict=True
    ):
        candidates = np.flatnonzero(free & (own > _LOW) & (own < _HIGH) & (own - other > _APART))
        draws = streams.uniform(f"contact genes of {cell}", genes.numbers[candidates])
        chosen = candidates[np.argsort(draws, kind="stable")[: contacts.n_genes]].astype(np.int64)
        found.append((PROGRAMS[cell], chosen, np.full(chosen.size, float(contacts.log2_fc))))
    return found


def with_contact_slot(
    options: Options, cells: tuple[Bools, Bools], names: list[str], table: tuple[Ints32, Floats]
) -> tuple[Ints32, Floats]:
    """Return programs and activities of cells with one more slot, for contact.

    ``cells``: whether a cell is attached, whether it is an NK cell; ``names`` of all programs.
    """
    if options.contacts is None:
        return table
    attached, is_nk = cells
    numbers = [names.index(PROGRAMS[name]) for name in (schema.TUMOR_CELLS, schema.NK)]
    which = np.where(attached, np.array(numbers)[is_nk.astype(int)], -1)
    program, activity = table
    return (
        np.ascontiguousarray(np.column_stack([program, which]), dtype=np.int32),
        np.ascontiguousarray(np.column_stack([activity, attached.astype(np.float64)])),
    )
