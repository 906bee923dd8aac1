"""Cells of a compartment grouped into samples, shared by the functions that compare samples."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

_LOG = logging.getLogger("nkscore")
#: Column of a table of samples: the sample of which a row is a part.
WELL = "well"


@dataclass(frozen=True, slots=True)
class Samples:
    """``table``: one row per sample; ``codes``: row number of each cell, -1 for cells left out."""

    table: pd.DataFrame
    codes: np.ndarray[Any, np.dtype[np.int64]]

    def keep(self, mask: Any) -> Samples:
        """Return the samples where ``mask`` is true, renumbered."""
        mask = np.asarray(mask, dtype=bool)
        # The last entry is for code -1, also where no sample is left to number.
        renumbered = np.append(np.where(mask, np.cumsum(mask) - 1, -1), -1)
        return Samples(self.table.loc[mask].reset_index(drop=True), renumbered[self.codes])


def compartment_samples(
    adata: AnnData,
    compartment: str | None,
    *,
    columns: Sequence[str],
    min_cells: int,
    split: Sequence[str] = (),
) -> Samples:
    """Group the cells of one compartment by sample.

    Cells that failed QC (``qc_pass`` false), have no sample or lie in another compartment are left
    out; so are samples with fewer than ``min_cells`` of the compartment's cells, with a log line.
    A column of ``split`` that varies within samples, as the guides of pooled knock-outs do, divides
    them; the column ``well`` of the table then names the sample, and cells without a value of it
    are left out.
    """
    columns = list(dict.fromkeys([schema.SAMPLE, *columns]))
    schema.require(adata, "obs", columns, "pp.demultiplex")
    inside = adata.obs[schema.SAMPLE].notna().to_numpy()
    if compartment is not None:
        schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
        inside = inside & (adata.obs[schema.COMPARTMENT] == compartment).to_numpy()
    if schema.QC_PASS in adata.obs:
        inside = inside & adata.obs[schema.QC_PASS].to_numpy(dtype=bool)
    if not inside.any():
        msg = (
            f"No cell lies in compartment {compartment!r} of any sample. Check "
            "adata.obs['compartment'].value_counts() and which samples hold such cells."
        )
        raise DesignError(msg)
    wells = adata.obs[schema.SAMPLE].astype(str).to_numpy(dtype=object)
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
    samples = Samples(table, codes)
    small = table["n_cells"] < min_cells
    if small.any():
        names_small = ", ".join(table.loc[small, schema.SAMPLE].head(10))
        _LOG.warning(
            "%d of %d samples have fewer than %d %scells and are left out: %s",
            int(small.sum()), len(table), min_cells, f"{compartment} " if compartment else "",
            names_small,
        )  # fmt: skip
        samples = samples.keep(~small)
    return samples


def _divided(obs: pd.DataFrame, wells: Any, inside: Any, split: Sequence[str]) -> tuple[Any, Any]:
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
    """One row per sample, sorted by name; a column that varies within a sample is an error."""
    # An index that shares its name with a column would be ambiguous in sort_values.
    plain = obs.assign(**{c: _plain(obs[c]) for c in columns}).rename_axis(index=None)
    for column in columns[1:]:
        pairs = plain[[schema.SAMPLE, column]].drop_duplicates()
        varying = pairs.loc[pairs[schema.SAMPLE].duplicated(), schema.SAMPLE]
        if len(varying):
            msg = (
                f"obs[{column!r}] has several values within sample {varying.iloc[0]!r}. "
                "Columns that describe samples must be constant in each."
            )
            raise DesignError(msg)
    return plain.drop_duplicates(schema.SAMPLE).sort_values(schema.SAMPLE, ignore_index=True)


def _plain(column: pd.Series) -> Any:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.astype(object)
    return column


def labels(table: pd.DataFrame, column: str) -> np.ndarray[Any, np.dtype[np.object_]]:
    """Return a column as text, with ``None`` where it is missing."""
    values = table[column]
    return np.array([None if pd.isna(v) else str(v) for v in values], dtype=object)


def at_level(table: pd.DataFrame, column: str, level: Any) -> Any:
    """Return which samples have a level; numbers are compared as numbers (24 is 24.0)."""
    values = table[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        try:
            return (values == float(level)).to_numpy(dtype=bool)
        except (TypeError, ValueError):
            return np.zeros(len(values), dtype=bool)
    return labels(table, column) == str(level)


def arms(
    samples: Samples, *, treated: Any, control: Any, by: str, column: str = schema.CONDITION
) -> Samples:
    """Keep the samples of the two arms, and of lines for which both arms (or a shared one) exist.

    Adds the column ``treated``. Raises :class:`DesignError` where an arm is empty.
    """
    if str(treated) == str(control):
        msg = f"Both arms are {treated!r}. Name two different levels of obs[{column!r}]."
        raise DesignError(msg)
    member = {name: at_level(samples.table, column, name) for name in (treated, control)}
    for name, here in member.items():
        if not here.any():
            have = ", ".join(sorted({str(c) for c in labels(samples.table, column)}))
            msg = (
                f"No sample has {column} {name!r} (samples here: {have}). "
                "Name conditions that the sample sheet holds for this compartment."
            )
            raise DesignError(msg)
    samples = samples.keep(member[treated] | member[control])
    table = samples.table.assign(treated=at_level(samples.table, column, treated))
    group = labels(table, by)
    is_treated = table["treated"].to_numpy()
    nameless = np.array([g is None for g in group]) & is_treated
    if nameless.any():
        which = ", ".join(table.loc[nameless, schema.SAMPLE].head(10))
        _LOG.warning("Treated samples without obs[%r], left out: %s", by, which)
    keep = ~nameless
    if not all(g is None for g in group[~is_treated]):
        both = (set(group[is_treated]) & set(group[~is_treated])) - {None}
        keep = np.array([g in both for g in group])
        lost = sorted({str(g) for g in group[~keep]} - {"None"})
        if lost:
            _LOG.warning("No sample of both arms, left out: %s", ", ".join(lost))
        if not keep.any():
            msg = (
                f"No {by} has samples of both {treated!r} and {control!r}. Each needs at least one "
                "of either; lines without a monoculture cannot be compared with themselves."
            )
            raise DesignError(msg)
    return Samples(table, samples.codes).keep(keep)
