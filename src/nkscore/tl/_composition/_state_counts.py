"""Cells per sample and state, from cells or from a table of counts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_columns, check_single_rows
from nkscore._samples._flow import note_flow
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore._samples._samples import Samples, arms, compartment_samples
from nkscore._samples._wells import wells_of
from nkscore.errors import DesignError, WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._samples._flow import Flow
    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Level

_LOG = logging.getLogger("nkscore")
_COMPARTMENT = {schema.NK_STATE: schema.NK, schema.TUMOR_STATE: schema.TUMOR_CELLS}
_WRITTEN_BY = {schema.NK_STATE: "tl.nk_states", schema.TUMOR_STATE: "tl.tumor_states"}


@dataclass(frozen=True, slots=True)
class StateCounts:
    """``table``: one row per sample; ``counts``: samples × states, whole numbers.

    ``left_out`` lists the samples and lines that were excluded.
    """

    table: pd.DataFrame
    counts: pd.DataFrame
    left_out: tuple[LeftOut, ...] = ()
    #: What there was before any sample was excluded; None for counts from a table.
    flow: Flow | None = None

    def note(self, table: pd.DataFrame, *, step: str, by: str | None) -> None:
        """Add what was lost to the ledger of a table of results."""
        excluded = [*self.left_out, *table.attrs.get(LEFT_OUT, [])]
        n_cells = int(self.counts.to_numpy().sum())
        note_flow(table, self.flow, self.table, excluded, step=step, n_cells=n_cells, by=by)

    def only(self, states: Bools) -> StateCounts:
        """Return the counts of some states; the cells of the others are lost."""
        lost = self.counts.loc[:, ~states].sum(axis=1).to_numpy()
        flow = self.flow and self.flow.without("no state called", self.table[schema.SAMPLE], lost)
        return replace(self, counts=self.counts.loc[:, states], flow=flow)

    def arms(self, *, treated: Level, control: Level, by: str, column: str) -> StateCounts:
        """Keep the samples of two conditions; the table gets the column ``treated``."""
        rows = np.arange(len(self.table))
        kept = arms(
            Samples(self.table.assign(_row=rows), rows, self.left_out),
            treated=treated,
            control=control,
            by=by,
            column=column,
        )
        counts = self.counts.iloc[kept.table["_row"].to_numpy()].reset_index(drop=True)
        return replace(
            self, table=kept.table.drop(columns="_row"), counts=counts, left_out=kept.left_out
        )


def state_counts(
    source: AnnData | pd.DataFrame,
    state: str,
    *,
    columns: Sequence[str],
    min_cells: int,
    called: bool = False,
    replicate: str | None = None,
) -> StateCounts:
    """Count the states of each sample; with ``called``, only cells with a called state.

    ``source`` is an AnnData or a table with one row per sample and state that holds ``sample``,
    ``state``, ``n_cells`` and ``columns``. With ``replicate`` (the column of donors), samples that
    count as one are summed (see ``wells_of``). Samples with fewer than ``min_cells`` cells are
    excluded, with a log line and an entry of ``left_out``; if none remains, that is a
    :class:`DesignError`.
    """
    if isinstance(source, pd.DataFrame):
        made = _from_table(source, columns, replicate)
    else:
        made = _from_cells(source, state, columns, replicate)
    if called:
        made = made.only(made.counts.columns != schema.UNASSIGNED)
    n_cells = made.counts.sum(axis=1).to_numpy()
    enough = n_cells >= max(1, min_cells)
    if not enough.any():
        msg = (
            f"No sample has {min_cells} cells with a called state (min_cells); the largest has "
            f"{n_cells.max(initial=0)}. Lower min_cells, or check why so few states were called."
        )
        raise DesignError(msg)
    if not enough.all():
        names = ", ".join(made.table.loc[~enough, schema.SAMPLE].astype(str).head(10))
        _LOG.warning("Fewer than %d cells with a called state, excluded: %s", min_cells, names)
    table = made.table.assign(n_cells=n_cells)[enough].reset_index(drop=True)
    reasons = [f"{n} cells, {min_cells} needed (min_cells)" for n in n_cells[~enough]]
    few = left_out("sample", made.table.loc[~enough, schema.SAMPLE], reasons)
    counts = made.counts[enough].reset_index(drop=True)
    return replace(made, table=table, counts=counts, left_out=few)


def _from_cells(
    adata: AnnData, state: str, columns: Sequence[str], replicate: str | None
) -> StateCounts:
    schema.require(adata, "obs", [state], _WRITTEN_BY.get(state, "the function that calls it"))
    samples = compartment_samples(
        adata, _COMPARTMENT.get(state), columns=columns, min_cells=1, replicate=replicate
    )
    values = adata.obs[state]
    levels = _levels(values)
    code = pd.Categorical(values, categories=levels).codes
    inside = (samples.codes >= 0) & (code >= 0)
    flat = samples.codes[inside] * len(levels) + code[inside]
    counts = np.bincount(flat, minlength=len(samples.table) * len(levels))
    made = pd.DataFrame(counts.reshape(-1, len(levels)), columns=levels)
    lost = samples.table["n_cells"].to_numpy() - made.sum(axis=1).to_numpy()
    flow = samples.flow and samples.flow.without("no state", samples.table[schema.SAMPLE], lost)
    return StateCounts(samples.table, made, flow=flow)


def _levels(values: pd.Series) -> list[Any]:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return list(values.cat.categories)
    return sorted(values.dropna().unique())


def _from_table(source: pd.DataFrame, columns: Sequence[str], replicate: str | None) -> StateCounts:
    needed = list(dict.fromkeys([schema.SAMPLE, "state", "n_cells", *columns]))
    advice = (
        "One row per sample and state is needed, as from tl.state_fractions. Rename your "
        "columns, or name them in the options."
    )
    check_columns(source, needed, advice, what="The table of counts")
    schema.check_counts(source["n_cells"].to_numpy(), "Column 'n_cells'")
    if source[[schema.SAMPLE, "state"]].isna().to_numpy().any():
        msg = "Rows of the table lack a sample or a state (NaN). Name both, or drop the rows."
        raise WrongScaleError(msg)
    plain = source.assign(sample=source[schema.SAMPLE].astype(str))
    advice = "Sum them, or give each sample a unique name."
    check_single_rows(plain, [schema.SAMPLE, "state"], advice)
    plain = _with_wells(plain, columns, replicate)
    table = _described(plain, [c for c in needed if c not in ("state", "n_cells")])
    levels = _levels(source["state"])
    row = pd.Index(table[schema.SAMPLE]).get_indexer(plain[schema.SAMPLE])
    counts = np.zeros((len(table), len(levels)), dtype=np.int64)
    place = pd.Index(levels).get_indexer(plain["state"])
    # Several samples can be one row.
    np.add.at(counts, (row, place), plain["n_cells"].to_numpy().astype(np.int64))
    return StateCounts(table, pd.DataFrame(counts, columns=levels))


def _with_wells(plain: pd.DataFrame, columns: Sequence[str], replicate: str | None) -> pd.DataFrame:
    """Name samples that count as one alike."""
    if replicate is None:
        return plain
    units = wells_of(plain, replicate=replicate, columns=columns)
    return plain.assign(sample=plain[schema.SAMPLE].map(units))


def _described(plain: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return one row per sample, sorted by name; raise if values vary within a sample."""
    table = plain[columns].astype(
        {c: object for c in columns if isinstance(plain[c].dtype, pd.CategoricalDtype)}
    )
    table = table.drop_duplicates().sort_values(schema.SAMPLE, kind="stable", ignore_index=True)
    repeated = table[schema.SAMPLE].duplicated()
    if repeated.any():
        msg = (
            f"Sample {table.loc[repeated, schema.SAMPLE].iloc[0]!r} has several values of "
            f"{', '.join(columns[1:])}. Columns that describe samples must be constant in each."
        )
        raise DesignError(msg)
    return table
