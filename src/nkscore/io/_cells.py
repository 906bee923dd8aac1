"""Read cells that were annotated elsewhere, with their samples."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._gate import expanded
from nkscore._storable import stored_name
from nkscore._warn import warn
from nkscore.errors import MissingKeyError, SampleSheetError
from nkscore.io import _sheet, _sheet_rules, _sheet_values
from nkscore.io._cell_map import CALLS, CellMap, parsed
from nkscore.io._coculture import read_lane
from nkscore.io._lane_store import undone_on_error
from nkscore.io._sheet_columns import KNOWN, plain
from nkscore.io._sheet_file import cell_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from nkscore._types import Array
    from nkscore.io._cell_map import MappingLike

_LOG: Final = logging.getLogger("nkscore")
_SHOWN: Final = 20
#: Other words for compartments, as letters and digits.
_COMPARTMENTS: Final = {
    **{name: name for name in schema.COMPARTMENTS},
    **dict.fromkeys(("nkcell", "nkcells", "naturalkiller", "naturalkillercells"), schema.NK),
    **dict.fromkeys(("tumour", "tumorcell", "tumorcells", "tumourcells"), schema.TUMOR_CELLS),
    **dict.fromkeys(("malignant", "cancer", "leukemia", "blast", "blasts"), schema.TUMOR_CELLS),
    **dict.fromkeys(("doublet", "doublets"), "mixed"),
    **dict.fromkeys(("", "unknown"), schema.UNASSIGNED),
}


def read_cells(
    path: str | os.PathLike[str],
    mapping: MappingLike | None = None,
    *,
    keep: str | Iterable[str] = (),
    extra_conditions: Sequence[str] = (),
    genome: str | None = None,
    min_counts: int = 0,
    store: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Read cells whose samples are known, from an annotated h5ad, zarr, RDS or loom file.

    Takes the place of :func:`read_coculture` and ``pp.demultiplex``.

    Parameters
    ----------
    path
        File of cells × genes with raw counts, in any format of :func:`read_lane` that holds
        annotations of cells.
    mapping
        Names of the file for those of nkscore, as ``"condition=treatment,coculture=NK+tumor"`` or
        as a mapping. ``condition=treatment``: the column ``treatment`` holds the conditions;
        ``coculture=NK+tumor``: its value ``NK+tumor`` is a co-culture. Columns are ``condition``,
        ``sample``, ``tumor``, ``lineage``, ``nk_donor``, ``nk_source``, ``time_h``, ``et_ratio``,
        ``lane``, ``compartment``, ``nk_state``, ``tumor_state``, and further ones with their own
        name (``plate=plate``). Levels are the conditions and compartments; ``column:level=value``
        names any (``compartment:tumor=Blasts``). Columns of the file that have nkscore's names are
        read without being named, except for calls of cells.
    keep
        Calls of cells to keep as they are in the file: ``compartment``, ``nk_state``,
        ``tumor_state``. ``mapping`` keeps those that it names.
    extra_conditions
        Custom conditions in addition to ``schema.CONDITIONS``.
    genome
        Genome to read if the file holds several.
    min_counts
        Drop barcodes with fewer UMIs; 0 keeps all.
    store
        New HDF5 file for the counts, which stay in it; by default they are in memory.

    Returns
    -------
    AnnData
        Cells × genes as from :func:`read_coculture`, with the columns of the samples in ``obs`` and
        the table of samples in ``uns["nkscore"]["sample_sheet"]``. Without ``sample``, cells with
        the same condition, tumor, donor and time are one sample. Kept calls have a missing
        confidence.

    Raises
    ------
    SampleSheetError
        If the mapping is wrong, a sample has two tumors or donors, or a condition is unknown.
    MissingKeyError
        If the file lacks a column.
    LaneError
        If the file cannot be read, or holds no annotations.
    WrongScaleError
        If values are not raw counts.
    FileExistsError
        If something is at ``store``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(tumors=["K562"], n_cells_per_sample=20, rng=0)
    >>> adata.obs["culture"] = adata.obs["truth_condition"].map(
    ...     {"coculture": "NK+tumor", "tumor_mono": "tumor", "nk_mono": "NK"}
    ... )
    >>> adata.obs["line"] = adata.obs["truth_tumor"]
    >>> adata.obs["donor"] = adata.obs["truth_nk_donor"]
    >>> file = Path(tempfile.mkdtemp()) / "cells.h5ad"
    >>> adata.write_h5ad(file)
    >>> cells = nk.io.read_cells(file, "condition=culture,tumor=line,nk_donor=donor")
    >>> sorted(cells.obs["condition"].cat.categories)
    ['coculture', 'nk_mono', 'tumor_mono']
    """
    map_ = with_kept(parsed(mapping), keep)
    with undone_on_error(store):
        lane = read_lane(
            expanded(path), genome=genome, min_counts=min_counts, annotations=True, store=store
        )
        options = {
            "path": str(path),
            "extra_conditions": list(extra_conditions) or None,
            "genome": genome,
            "min_counts": min_counts,
        }
        return _with_samples(lane, expanded(path), map_, options, extra_conditions)


def _with_samples(
    adata: AnnData,
    place: Path,
    map_: CellMap,
    options: Mapping[str, object],
    extra_conditions: Sequence[str],
) -> AnnData:
    """Replace the annotations of the file by those of the samples."""
    file = adata.obs.drop(columns=schema.LANE)
    found = _columns(map_, file, place)
    default_lane = str(adata.obs[schema.LANE].iloc[0])
    adata.obs = pd.DataFrame(index=adata.obs_names)
    cells = pd.DataFrame({c: _texts(file[name], c, map_) for c, name in found.items()})
    lanes = cells.pop(schema.LANE) if schema.LANE in cells else [default_lane] * len(cells)
    adata.obs[schema.LANE] = pd.Categorical(lanes)
    calls = {column: cells.pop(column) for column in CALLS if column in cells}
    sheet, codes = _sheet_of(cells, place, found, extra_conditions)
    _write_samples(adata, sheet, codes)
    for column, values in calls.items():
        _write_call(adata, column, values.to_numpy(dtype=object), str(place))
    lanes_read = adata.uns[schema.RECORD].pop("io.read_lane")["lanes"]
    columns = [f"{column}={name}" for column, name in found.items()]
    schema.record(
        adata,
        "io.read_cells",
        function="io.read_cells",
        options={"path": options["path"], "columns": columns, **options},
        lanes=lanes_read,
        kept=" ".join(sorted(calls)) or "none",
    )
    adata.uns[schema.RECORD][schema.SAMPLE_SHEET] = _sheet.stored(sheet)
    schema.validate(adata, stage="loaded")
    return adata


def with_kept(map_: CellMap, keep: str | Iterable[str]) -> CellMap:
    """Return the map with calls that the file holds under nkscore's names."""
    names = [keep] if isinstance(keep, str) else list(keep)
    unknown = [name for name in names if name not in CALLS]
    if unknown:
        msg = f"keep names {', '.join(map(repr, unknown))}; known: {', '.join(CALLS)}."
        raise SampleSheetError(msg)
    return CellMap({name: name for name in names} | map_.columns, map_.levels)


def _columns(map_: CellMap, file: pd.DataFrame, path: Path) -> dict[str, str]:
    """Return the column of the file for each column of nkscore."""
    stored = {
        c: schema.LANE_IN_FILE if n == schema.LANE else stored_name(n)
        for c, n in map_.columns.items()
    }
    own = {schema.LANE: schema.LANE_IN_FILE} | {c: c for c in schema.SAMPLE_COLUMNS}
    found = {column: name for column, name in own.items() if name in file} | stored
    absent = [name for name in found.values() if name not in file]
    if schema.CONDITION not in found:
        absent.append(schema.CONDITION)
    if absent:
        have = ", ".join(map(str, file.columns[:_SHOWN])) or "none"
        msg = (
            f"{path} has no annotation {', '.join(map(repr, absent))} of its cells (it has: "
            f"{have}). Name the columns of the file, for example 'condition=treatment'."
        )
        raise MissingKeyError(msg)
    return found


def _texts(values: pd.Series, column: str, map_: CellMap) -> list[str]:
    levels = map_.levels.get(column, {})
    texts = [cell_text(value) if pd.notna(value) else "" for value in values.astype(object)]
    return [levels.get(text, text) for text in texts]


def _sheet_of(
    cells: pd.DataFrame, path: Path, names: dict[str, str], extra: Sequence[str]
) -> tuple[_sheet.Sheet, Array]:
    """Return the samples as a checked sheet, and the row of each cell (-1: no sample)."""
    if schema.SAMPLE not in cells:
        parts = [
            c
            for c in (schema.CONDITION, schema.TUMOR, schema.NK_DONOR, schema.TIME_H)
            if c in cells
        ]
        rows = zip(*(cells[part] for part in parts), strict=True)
        cells[schema.SAMPLE] = ["_".join(filter(None, row)) if row[0] else "" for row in rows]
        _LOG.info("%s: samples are the combinations of %s.", path, ", ".join(parts))
    codes, samples = pd.factorize(cells[schema.SAMPLE].replace("", None))
    spelled = {column: name for column, name in names.items() if column != name}
    table, problems = _one_row_each(cells, codes, [str(sample) for sample in samples])
    _sheet.report(str(path), problems, spelled)
    rows_ = tuple(f"sample {sample!r}" for sample in samples)
    sheet = _sheet.Sheet(str(path), path.parent, table, rows_, spelled=spelled)
    sheet = _sheet_values.translate(sheet, extra)
    _sheet.report(str(path), _sheet_rules.check_samples(sheet, extra), spelled)
    lost = int((codes < 0).sum())
    if lost:
        warn(f"{path}: {lost:,} of {len(codes):,} cells have no sample; no step uses them.")
    return sheet, codes


def _one_row_each(
    cells: pd.DataFrame, codes: Array, samples: list[str]
) -> tuple[pd.DataFrame, list[_sheet.Problem]]:
    """Return the columns of each sample, and a problem where its cells differ."""
    table = pd.DataFrame({column: [""] * len(samples) for column in KNOWN}, dtype=object)
    problems = []
    for column in map(str, cells):
        pairs = pd.DataFrame({"code": codes, "value": cells[column].to_numpy(dtype=object)})
        pairs = pairs[(pairs["code"] >= 0) & (pairs["value"] != "")].drop_duplicates()
        for code, values in pairs.groupby("code")["value"]:
            if len(values) > 1:
                shown = ", ".join(map(repr, values.iloc[:3]))
                text = (
                    f"has several values ({shown}). Map sample= to a column with one name a well."
                )
                problems.append(_sheet.Problem(f"sample {samples[int(str(code))]!r}", column, text))
        first = pairs.drop_duplicates("code").set_index("code")["value"]
        table[column] = [str(first.get(code, "")) for code in range(len(samples))]
    table[schema.SAMPLE] = samples
    return table, problems


def _write_samples(adata: AnnData, sheet: _sheet.Sheet, codes: Array) -> None:
    table = _sheet.stored(sheet)
    for column in map(str, table):
        if column in {schema.LANE, schema.HASHTAG}:
            continue
        values = table[column].to_numpy()
        if column in schema.NUMERIC_SAMPLE_COLUMNS:
            adata.obs[column] = np.append(values, np.nan)[codes]
            continue
        levels = [value for value in dict.fromkeys(values) if value]
        of_row = np.array([levels.index(v) if v else -1 for v in values] + [-1])
        adata.obs[column] = pd.Categorical.from_codes(
            of_row[codes], categories=pd.Index(levels, dtype=str)
        )


def _write_call(adata: AnnData, column: str, values: Array, path: str) -> None:
    if column == schema.COMPARTMENT:
        values = _compartments(values, path)
        adata.obs[column] = schema.categorical(values, schema.COMPARTMENTS)
    else:
        levels = sorted(set(values) - {"", schema.UNASSIGNED})
        named = np.array([value or None for value in values], dtype=object)
        adata.obs[column] = schema.categorical(named, [*levels, schema.UNASSIGNED])
    adata.obs[f"{column}_confidence"] = np.full(adata.n_obs, np.nan)


def _compartments(values: Array, path: str) -> Array:
    known = {value: _COMPARTMENTS.get(plain(value), "") for value in set(values)}
    unknown = sorted(value for value, level in known.items() if not level)
    if unknown:
        counts = pd.Series(values).value_counts()
        shown = ", ".join(f"{value!r} ({counts[value]:,} cells)" for value in unknown[:_SHOWN])
        msg = (
            f"{path}: {shown} in the column of compartments; {', '.join(schema.COMPARTMENTS)} are "
            "known. Map each value, for example 'other=B cells,compartment:tumor=Blasts'."
        )
        raise SampleSheetError(msg)
    return np.array([known[value] for value in values], dtype=object)
