"""Planted contacts: NK and tumor cells that were attached to each other before pooling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._genes import program_table
from nkscore.datasets._lines import NK_STATES, TUMOR_STATES

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Ints32
    from nkscore.datasets._cells import Cells, Droplets
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._options import Options
    from nkscore.datasets._profiles import Programs
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells

#: Contact genes are abundant in one of the two cells and rare in the other (log2 per million).
_LOW, _HIGH, _APART = 6.5, 10.0, 2.5
_PROGRAMS: Final = {schema.NK: "contact_nk", schema.TUMOR_CELLS: "contact_tumor"}


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
        _PROGRAMS, ((genes.nk, genes.tumor), (genes.tumor, genes.nk)), strict=True
    ):
        candidates = np.flatnonzero(free & (own > _LOW) & (own < _HIGH) & (own - other > _APART))
        draws = streams.uniform(f"contact genes of {cell}", genes.numbers[candidates])
        chosen = candidates[np.argsort(draws, kind="stable")[: contacts.n_genes]].astype(np.int64)
        found.append((_PROGRAMS[cell], chosen, np.full(chosen.size, float(contacts.log2_fc))))
    return found


def with_contact_slot(
    options: Options, cells: Cells, programs: Programs, table: tuple[Ints32, Floats]
) -> tuple[Ints32, Floats]:
    """Return programs and activities of cells with one more slot, for contact."""
    if options.contacts is None:
        return table
    numbers = [programs.index(_PROGRAMS[name]) for name in (schema.TUMOR_CELLS, schema.NK)]
    which = np.where(cells.attached, np.array(numbers)[cells.is_nk.astype(int)], -1)
    program, activity = table
    return (
        np.ascontiguousarray(np.column_stack([program, which]), dtype=np.int32),
        np.ascontiguousarray(np.column_stack([activity, cells.attached.astype(np.float64)])),
    )


def pair_truth(options: Options, droplets: Droplets, cells: Cells) -> pd.DataFrame:
    """Return ``truth_pair`` of droplets with an NK and a tumor cell; no column without contacts."""
    if options.contacts is None:
        return pd.DataFrame(index=range(len(droplets.cells)))
    first, second = droplets.cells.T
    mixed = (second >= 0) & (cells.is_nk[first] != cells.is_nk[second])
    code = np.where(mixed, np.where(cells.attached[first], 0, 1), -1)
    kinds = pd.Categorical.from_codes(code, categories=pd.Index(["own", "chance"]))
    return pd.DataFrame({schema.TRUTH_PAIR: kinds})


def contact_truth(
    options: Options, wells: Wells, obs: pd.DataFrame, programs: Programs, genes: Genes
) -> dict[str, pd.DataFrame]:
    """Return what was planted per well and per gene; empty without contacts."""
    if options.contacts is None:
        return {}
    own = obs.loc[obs[schema.TRUTH_PAIR] == "own", schema.TRUTH_SAMPLE].value_counts()
    samples = wells.sheet[schema.SAMPLE]
    table = pd.DataFrame(
        {
            schema.SAMPLE: samples,
            schema.TUMOR: wells.sheet[schema.TUMOR],
            "rate": contact_rates(options, wells),
            "n_pairs": own.reindex(samples, fill_value=0).to_numpy(dtype=np.int64),
        }
    )
    frames = []
    for cell, name in _PROGRAMS.items():
        members, effect = programs.part(name)
        frames.append(
            pd.DataFrame(
                {"gene": genes.names[members], "cell": cell, "log2_fc": effect / np.log(2.0)}
            )
        )
    planted = pd.concat(frames, ignore_index=True)
    for frame in (table, planted):
        frame.index = frame.index.astype(str)
    return {"contacts": table, "contact_genes": planted}
