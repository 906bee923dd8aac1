"""Cells of a compartment grouped into samples, shared by the functions that compare samples."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._samples._cells import passed_qc
from nkscore._samples._flow import Flow, note_flow
from nkscore._samples._left_out import left_out
from nkscore._samples._wells import wells_of
from nkscore.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Ints, Labels, Level

_LOG = logging.getLogger("nkscore")
#: Column of a table of samples: the sample, or samples that count as one, of a row.
WELL = "_well"


@dataclass(frozen=True, slots=True)
class Samples:
    """``table``: one row per sample; ``codes``: row number of each cell, -1 for cells excluded.

    ``left_out`` lists the samples and lines that were excluded: ``what``, ``name``, ``reason``.
    """

    table: pd.DataFrame
    codes: Ints
    left_out: tuple[LeftOut, ...] = ()
    #: What there was before any sample was excluded; None where nothing follows it.
    flow: Flow | None = None

    def keep(self, mask: Bools | pd.Series) -> Samples:
        """Return the samples where ``mask`` is true, renumbered."""
        mask = np.asarray(mask, dtype=bool)
        # The last entry is for code -1, even if no sample is left to number.
        renumbered = np.append(np.where(mask, np.cumsum(mask) - 1, -1), -1)
        table = self.table.loc[mask].reset_index(drop=True)
        return replace(self, table=table, codes=renumbered[self.codes])

    def without(self, what: str, names: Iterable[str], reasons: Iterable[str]) -> Samples:
        """Return the same samples, with more entries in ``left_out``."""
        more = (*self.left_out, *left_out(what, names, reasons))
        return replace(self, left_out=more)

    @property
    def n_cells(self) -> int:
        """Number of cells in the samples."""
        return int((self.codes >= 0).sum())


def note_samples(
    table: pd.DataFrame,
    samples: Samples,
    *,
    step: str,
    by: str | None,
    left_out: Iterable[LeftOut] = (),
) -> pd.DataFrame:
    """Add what the samples of a table of results lost to its ledger (``note_flow``); return it."""
    note_flow(
        table,
        samples.flow,
        samples.table,
        [*samples.left_out, *left_out],
        step=step,
        n_cells=samples.n_cells,
        by=by,
    )
    return table


def compartment_samples(
    adata: AnnData,
    compartment: str | None,
    *,
    columns: Sequence[str],
    min_cells: int,
    split: Sequence[str] = (),
    replicate: str | None = None,
) -> Samples:
    """Group the cells of one compartment by sample.

    Cells that failed QC (``qc_pass`` false), have no sample or belong to another compartment are
    excluded; so are samples with fewer than ``min_cells`` cells of the compartment, named in a log
    line and in ``left_out``. A column of ``split`` that varies within samples, as the guides of
    pooled knock-outs do, divides them; the column ``WELL`` of the table then names the sample, and
    cells without a value of it are excluded. With ``replicate`` (the column of donors), samples
    that are one well, or wells of one donor that agree in ``columns``, are one row (see
    ``wells_of``).
    """
    columns = list(dict.fromkeys([schema.SAMPLE, *columns]))
    schema.require(adata, "obs", columns, "pp.demultiplex")
    of_kind = np.ones(adata.n_obs, dtype=bool)
    if compartment is not None:
        schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
        of_kind = labels(adata.obs, schema.COMPARTMENT) == compartment
    passed, known = passed_qc(adata), adata.obs[schema.SAMPLE].notna().to_numpy()
    inside = of_kind & passed & known
    if not inside.any():
        which = "in" if compartment is None else f"in compartment {compartment!r} of"
        msg = (
            f"No cell is {which} any sample. Check "
            "adata.obs['compartment'].value_counts() and which samples contain such cells."
        )
        raise DesignError(msg)
    wells = adata.obs[schema.SAMPLE].astype(str).to_numpy(dtype=object)
    if replicate is not None:
        units = wells_of(adata.obs, replicate=replicate, columns=columns)
        wells = np.array([units.get(name, name) for name in wells], dtype=object)
    names, inside = _divided(adata.obs, wells, inside, split)
    levels = sorted(set(names[inside]))
    position = {name: i for i, name in enumerate(levels)}
    codes = np.array([position.get(n, -1) for n in names], dtype=np.int64)
    codes[~inside] = -1
    obs = adata.obs.loc[inside, columns].assign(**{schema.SAMPLE: names[inside]})
    table = _sample_table(obs, columns)
    well_of = dict(zip(names[inside], wells[inside], strict=True))
    table[WELL] = table[schema.SAMPLE].map(well_of)
    table["n_cells"] = np.bincount(codes[codes >= 0], minlength=len(levels))
    reasons = [("failed QC", passed), ("no sample", known), ("no value to split by", inside)]
    flow = Flow.of(compartment, of_kind, reasons, table)
    return _large_enough(Samples(table, codes, flow=flow), compartment, min_cells)


def _large_enough(samples: Samples, compartment: str | None, min_cells: int) -> Samples:
    table = samples.table
    small = table["n_cells"] < min_cells
    if small.all():
        msg = (
            f"No sample has {min_cells} cells of the compartment (min_cells); the largest has "
            f"{table['n_cells'].max()}. Lower min_cells, or check "
            "adata.obs['compartment'].value_counts()."
        )
        raise DesignError(msg)
    if not small.any():
        return samples
    names = ", ".join(table.loc[small, schema.SAMPLE].head(10))
    _LOG.warning(
        "%d of %d samples have fewer than %d %scells and are excluded: %s",
        int(small.sum()),
        len(table),
        min_cells,
        f"{compartment} " if compartment else "",
        names,
    )
    few = [f"{n} cells, {min_cells} needed (min_cells)" for n in table.loc[small, "n_cells"]]
    return samples.without("sample", list(table.loc[small, schema.SAMPLE]), few).keep(~small)


def _divided(
    obs: pd.DataFrame, wells: Labels, inside: Bools, split: Sequence[str]
) -> tuple[Labels, Bools]:
    """Return the name of each cell's unit, and which cells have one."""
    names = wells
    for column in dict.fromkeys(split):
        values = pd.Series(np.asarray(_plain(obs[column]), dtype=object))
        pairs = pd.DataFrame({"well": wells, "value": values})[inside].drop_duplicates()
        if not pairs["well"].duplicated().any():
            continue
        known = values.notna().to_numpy()
        names = np.array(
            [f"{name} | {value}" for name, value in zip(names, values, strict=True)], dtype=object
        )
        inside = inside & known
    return names, inside


def _sample_table(obs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return one row per sample, by name; raise if a column varies within a sample."""
    # An index that shares its name with a column would be ambiguous in sort_values.
    plain = obs.assign(**{c: _plain(obs[c]) for c in columns}).rename_axis(index=None)
    for column in columns[1:]:
        pairs = plain[[schema.SAMPLE, column]].drop_duplicates()
        varying = pairs.loc[pairs[schema.SAMPLE].duplicated(), schema.SAMPLE]
        if len(varying):
            msg = (
                f"obs[{column!r}] has several values within sample {varying.iloc[0]!r}. "
                "Columns that describe samples must be constant in each; a well on several lanes, "
                "and wells of one donor, line and arm, count as one."
            )
            raise DesignError(msg)
    return plain.drop_duplicates(schema.SAMPLE).sort_values(schema.SAMPLE, ignore_index=True)


def _plain(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(object)
    return column


def labels(table: pd.DataFrame, column: str) -> Labels:
    """Return a column as text, with ``None`` for missing values."""
    values = table[column]
    return np.array([None if pd.isna(v) else str(v) for v in values], dtype=object)


def control_of(compartment: str | None, *, condition: str, control: Level | None) -> Level:
    """Return the control level: the given one, or the monoculture of the compartment."""
    if control is not None:
        return control
    if condition != schema.CONDITION:
        msg = (
            f"The arms are levels of obs[{condition!r}], for which no control is known. Name it, "
            "for example control='0'."
        )
        raise DesignError(msg)
    return schema.NK_MONO if compartment == schema.NK else schema.TUMOR_MONO


def at_level(table: pd.DataFrame, column: str, level: Level) -> Bools:
    """Return which samples have a level; numbers are compared as numbers (24 is 24.0)."""
    return np.array([_same(value, level) for value in table[column]], dtype=bool)


def _same(value: str | float | None, level: Level) -> bool:
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        try:
            return float(value) == float(level)
        except (TypeError, ValueError):
            return False
    return not pd.isna(value) and str(value) == str(level)


def arms(
    samples: Samples, *, treated: Level, control: Level, by: str, column: str = schema.CONDITION
) -> Samples:
    """Keep the samples of the two arms, for lines that have both arms (or share the controls).

    Adds the column ``treated``. Raises :class:`DesignError` if an arm is empty.
    """
    member = {name: at_level(samples.table, column, name) for name in (treated, control)}
    for name, here in member.items():
        if not here.any():
            have = ", ".join(sorted({str(c) for c in labels(samples.table, column)}))
            msg = (
                f"No sample has {column} {name!r} (samples here: {have}). "
                "Name conditions that the sample sheet has for this compartment."
            )
            raise DesignError(msg)
    if (member[treated] & member[control]).any():
        msg = f"Both arms are {treated!r}. Name two different levels of obs[{column!r}]."
        raise DesignError(msg)
    samples = samples.keep(member[treated] | member[control])
    table = samples.table.assign(treated=at_level(samples.table, column, treated))
    both = f"both {treated!r} and {control!r}"
    keep = _comparable(table, by=by, arms=both)
    lost = sorted({str(g) for g in labels(table, by)[~keep]} - {"None"})
    nameless = table.loc[~keep & table[by].isna().to_numpy(), schema.SAMPLE]
    found = replace(samples, table=table).without(
        "line", lost, [f"no sample of {both}"] * len(lost)
    )
    no_line = [f"no value of obs[{by!r}]"] * len(nameless)
    return found.without("sample", list(nameless), no_line).keep(keep)


def _comparable(table: pd.DataFrame, *, by: str, arms: str) -> Bools:
    """Return which samples belong to a line in both arms, or share their controls."""
    group, treated = labels(table, by), table["treated"].to_numpy()
    named = np.array([g is not None for g in group])
    if not named[treated].any():
        msg = (
            f"No treated sample has a value of obs[{by!r}], whose levels are compared. "
            "Fill it from the sample sheet, or name another column in by."
        )
        raise DesignError(msg)
    nameless = treated & ~named
    if nameless.any():
        which = ", ".join(table.loc[nameless, schema.SAMPLE].head(10))
        _LOG.warning("Treated samples without obs[%r], excluded: %s", by, which)
    if not named[~treated].any():
        return np.asarray(~nameless)
    both = (set(group[treated]) & set(group[~treated])) - {None}
    keep = np.array([g in both for g in group])
    lost = sorted({str(g) for g in group[~keep]} - {"None"})
    if lost:
        _LOG.warning("No samples in both arms, excluded: %s", ", ".join(lost))
    if not keep.any():
        msg = (
            f"No {by} has samples of {arms}. Each needs at least one sample per arm; "
            f"lines without a monoculture cannot be compared.{_shared_by_name(group[~treated], by)}"
        )
        raise DesignError(msg)
    return keep


def _shared_by_name(controls: Labels, by: str) -> str:
    """Return what to do if the controls of all lines have a name instead of a missing value."""
    found = sorted({str(name) for name in controls})
    if len(found) != 1:
        return ""
    return (
        f" All controls have obs[{by!r}] {found[0]!r}. If they are the controls of all levels, "
        "like NK cells alone, leave it missing: "
        f"adata.obs.loc[adata.obs[{by!r}] == {found[0]!r}, {by!r}] = None."
    )
