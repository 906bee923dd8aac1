"""Steps of loading: from a checked sheet to the parts of an AnnData and their record."""

from __future__ import annotations

import difflib
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._donors import donors_in
from nkscore._gate import expanded
from nkscore._ledger import note, rows
from nkscore._storable import stored_column, stored_name
from nkscore._warn import warn
from nkscore.errors import LaneError, NkscoreError, SampleSheetError
from nkscore.io import _combine, _sheet, _sheet_columns, _sheet_rules, _sheet_values, _tags
from nkscore.io._barcodes import decode, match
from nkscore.io._genotypes import read_genotypes
from nkscore.io._lane import check_barcodes, reading
from nkscore.io._readers import load
from nkscore.io._source import default_lane

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from nkscore._ledger import Row
    from nkscore.io._lane import Lane

_LOG: Final = logging.getLogger("nkscore")


@dataclass(frozen=True, slots=True)
class Entry:
    """A lane of the sheet with the positions of its samples."""

    lane: str
    path: Path
    #: Column of files → its entry.
    files: Mapping[str, str]
    positions: tuple[int, ...]
    #: Hashtag of each sample; one empty string for a lane that is one sample.
    hashtags: tuple[str, ...]


def check_options(genes: str, min_counts: int) -> None:
    """Raise ValueError for invalid options."""
    if genes not in {"union", "intersection"}:
        msg = f"genes={genes!r} is unknown. Pass 'union' or 'intersection'."
        raise ValueError(msg)
    if min_counts < 0:
        msg = f"min_counts={min_counts} is negative. Pass 0 to keep all barcodes."
        raise ValueError(msg)


def checked_sheet(
    sheet: str | os.PathLike[str] | pd.DataFrame,
    base: str | os.PathLike[str] | None,
    extra_conditions: Sequence[str],
    *,
    files: bool,
) -> _sheet.Sheet:
    """Return the parsed sheet with all lanes named, or raise with all of its problems."""
    if isinstance(extra_conditions, str):
        extra_conditions = [extra_conditions]
    parsed = _sheet_values.translate(_sheet.parse(sheet, base), extra_conditions)
    cells = parsed.cells.copy()
    cells[schema.LANE] = [
        lane or (default_lane(parsed.resolve(path)) if path else "")
        for lane, path in zip(cells[schema.LANE], cells[_sheet_columns.PATH], strict=True)
    ]
    named = _sheet.with_cells(parsed, cells)
    problems = _sheet_rules.check(named, extra_conditions, files=files)
    _sheet.report(named.name, problems, named.spelled)
    return named


def entries_of(sheet: _sheet.Sheet) -> list[Entry]:
    """Return the lanes of a checked sheet, in the order of their first rows."""
    cells = sheet.cells
    result = []
    for lane in dict.fromkeys(cells[schema.LANE]):
        positions = np.flatnonzero((cells[schema.LANE] == lane).to_numpy())
        rows = cells.iloc[positions]
        result.append(
            Entry(
                lane,
                sheet.resolve(rows[_sheet_columns.PATH].iloc[0]),
                {column: str(rows[column].iloc[0]) for column in _sheet_columns.FILES},
                tuple(int(position) for position in positions),
                tuple(rows[schema.HASHTAG]),
            )
        )
    return result


def with_progress(entries: Sequence[Entry], progress: bool | None) -> Iterator[Entry]:  # noqa: FBT001
    """Yield the lanes with a progress bar; by default only in a terminal."""
    from tqdm import tqdm

    wanted = (len(entries) > 1 and sys.stderr.isatty()) if progress is None else progress
    yield from tqdm(entries, desc="lanes", unit="lane", disable=not wanted)


def load_entry(
    entry: Entry,
    sheet: _sheet.Sheet,
    tags: Sequence[str],
    *,
    genome: str | None,
    min_counts: int,
) -> _combine.Part:
    """Load a lane of the sheet; errors name its lane and row."""
    try:
        source = load(entry.path, genome=genome)
        tables = tag_tables(source, entry.files, sheet.base, genome=genome)
        problems = _absent_tags(entry, sheet, source, tables.all)
        calls = genotypes(source, entry.files[_sheet_columns.GENOTYPE_PATH], sheet.base)
        problems += _absent_donors(entry, sheet, calls)
        _sheet.report(sheet.name, problems, sheet.spelled)
        part = _combine.part(entry.lane, source, tables, tags, min_counts=min_counts, calls=calls)
    except SampleSheetError:
        raise
    except NkscoreError as error:
        row = sheet.rows[entry.positions[0]]
        msg = f"{sheet.name}, {row}, lane {entry.lane!r}: {error}"
        raise type(error)(msg) from (error.__cause__ or error)
    log(part)
    return part


def tag_tables(
    source: Lane, files: Mapping[str, str], base: Path, *, genome: str | None
) -> _tags.TagTables:
    """Return the tables that hold a lane's hashtags and, if they have their own, proteins."""
    paths = _sheet_rules.paths_in(files.get(_sheet_columns.HASHTAG_PATH, ""))
    hashtags = [_tag_table(source, path, base, genome, "hashtag") for path in paths]
    path = files.get(_sheet_columns.PROTEIN_PATH, "")
    proteins = [_tag_table(source, path, base, genome, "protein")] if path else []
    return _tags.TagTables(tuple(hashtags or [_tags.inside(source)]), tuple(proteins))


def _tag_table(
    source: Lane, path: str, base: Path, genome: str | None, what: str
) -> _tags.TagTable:
    if path.startswith(_sheet_rules.OWN_TABLE):
        return _tags.in_table(source, path.partition(":")[2])
    return _tags.separate(source, load(base / expanded(path), genome=genome), what)


def genotypes(source: Lane, path: str, base: Path) -> pd.DataFrame | None:
    """Return the calls of donors of a lane, one row per barcode; None without a file."""
    if not path:
        return None
    place = base / expanded(path)
    calls = read_genotypes(place)
    cells = decode(source.barcodes, source.path)
    check_barcodes(cells, source.path)
    rows = match(cells, calls.index, where=source.path, other=place, what="table of donors")
    absent = int((rows < 0).sum())
    if absent:
        warn(
            f"{absent:,} of {len(rows):,} cells of {source.path} are not in its table of donors "
            f"{place}; their donor is unassigned."
        )
    found = calls.iloc[np.maximum(rows, 0)].reset_index(drop=True)
    found.loc[rows < 0] = [None, schema.UNASSIGNED, np.nan, np.nan]
    return found


def _absent_donors(
    entry: Entry, sheet: _sheet.Sheet, calls: pd.DataFrame | None
) -> list[_sheet.Problem]:
    """Return the problems of donors that a sheet names and the calls do not."""
    if calls is None:
        return []
    held = sorted(set(calls["donor"].dropna()))
    problems = []
    for position in entry.positions:
        text = str(sheet.cells[schema.GENOTYPE].iloc[position])
        for donor in [name for name in donors_in(text, held) if name not in held]:
            close = difflib.get_close_matches(donor, held, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            shown = ", ".join(held[:12]) + (", ..." if len(held) > 12 else "")
            said = (
                f"{donor!r} is not a donor of {entry.files[_sheet_columns.GENOTYPE_PATH]} (its "
                f"donors: {shown}).{hint} Several donors of a sample are separated by ';'."
            )
            problems.append(_sheet.Problem(sheet.rows[position], schema.GENOTYPE, said))
    return problems


def _absent_tags(
    entry: Entry, sheet: _sheet.Sheet, source: Lane, table: _tags.TagTable
) -> list[_sheet.Problem]:
    problems = []
    seen: dict[int, str] = {}
    for position, tag in zip(entry.positions, entry.hashtags, strict=True):
        place = table.find(tag) if tag else -1
        text = _tags.missing_tag(tag, source, table) if place is None else ""
        if place is not None and place >= 0 and seen.setdefault(place, tag) != tag:
            text = (
                f"{tag!r} and {seen[place]!r} are one tag of {table.where}, "
                f"{str(table.names[place])!r}. Within a lane each hashtag marks one sample."
            )
        if text:
            problems.append(_sheet.Problem(sheet.rows[position], schema.HASHTAG, text))
    return problems


def absent_in_lane(wanted: Sequence[str], source: Lane, table: _tags.TagTable) -> None:
    """Raise :class:`LaneError` for hashtags that are not in the lane."""
    missing = [_tags.missing_tag(tag, source, table) for tag in wanted if table.find(tag) is None]
    if missing:
        msg = "Hashtag " + "\nHashtag ".join(missing)
        raise LaneError(msg)


def log(part: _combine.Part) -> None:
    """Log at INFO what a lane holds."""
    tags = ", ".join(f"{slot}: {frame.shape[1]}" for slot, frame in part.frames.items())
    for done in part.mended:
        _LOG.info("Lane %s: %s.", part.lane, done)
    _LOG.info(
        "Lane %s (%s): %d cells × %d genes%s%s.",
        part.lane,
        part.source.format,
        *part.counts.shape,
        f"; {tags}" if tags else "",
        f"; {part.n_dropped} barcodes below min_counts dropped" if part.n_dropped else "",
    )


def fill_samples(
    adata: AnnData, entries: Sequence[Entry], sizes: Sequence[int], table: pd.DataFrame
) -> None:
    """Write the sample columns of ``obs`` for lanes that are one sample without hashtag.

    Lanes with hashtags stay missing. If all lanes have hashtags nothing is written, so that no
    stage after ``pp.demultiplex`` mistakes empty columns for filled ones.
    """
    row = [entry.positions[0] if entry.hashtags == ("",) else -1 for entry in entries]
    if max(row) < 0:
        return
    row_of_cell = np.repeat(row, sizes)
    for column in table:
        if column in {schema.LANE, schema.HASHTAG, schema.GENOTYPE}:
            continue
        if column in schema.NUMERIC_SAMPLE_COLUMNS:
            values = np.append(table[column].to_numpy(), np.nan)
            adata.obs[column] = values[row_of_cell]
            continue
        texts = list(table[column])
        levels = list(dict.fromkeys(text for text in texts if text))
        codes = np.array([levels.index(text) if text else -1 for text in texts] + [-1])
        adata.obs[column] = pd.Categorical.from_codes(
            codes[row_of_cell], categories=pd.Index(levels, dtype=str)
        )


def annotate(adata: AnnData, part: _combine.Part, wanted: Sequence[str] | bool) -> None:  # noqa: FBT001
    """Copy the cell annotations of the file into ``obs``."""
    if wanted is False:
        return
    path, read = part.source.path, part.source.annotations
    names = [wanted] if isinstance(wanted, str) else wanted
    if read is None:
        if names is True:
            return
        msg = f"{path} ({part.source.format}) holds no cell annotations. Do not request any."
        raise LaneError(msg)
    with reading(path):
        frame = read()
    chosen = list(frame.columns) if names is True else list(names)
    absent = [name for name in chosen if name not in frame]
    if absent:
        held = ", ".join(map(str, frame.columns[:20])) or "none"
        msg = (
            f"{path} has no annotation {', '.join(map(repr, absent))} of its cells (it has: "
            f"{held}). Name one of these, or pass annotations=True for all."
        )
        raise LaneError(msg)
    kept = frame[chosen] if part.kept is None else frame.loc[part.kept, chosen]
    for name in chosen:
        target = schema.LANE_IN_FILE if name == schema.LANE else stored_name(name)
        adata.obs[target] = stored_column(kept[name]).array


def record(
    adata: AnnData, function: str, options: Mapping[str, object], parts: Sequence[_combine.Part]
) -> None:
    """Write how ``adata`` was read into ``uns``."""
    lanes = {
        part.lane: {
            "path": str(part.source.path),
            "format": part.source.format,
            "n_cells": len(part.barcodes),
            "n_genes": len(part.genes),
            "n_dropped": part.n_dropped,
            "names_mended": "; ".join(part.mended) or "none",
        }
        for part in parts
    }
    unlisted = list(dict.fromkeys(tag for part in parts for tag in part.unlisted))
    schema.record(
        adata, function, function=function, options=options, lanes=lanes, unlisted_tags=unlisted
    )
    note(adata, {function: _losses(adata, function, parts, unlisted)})


def _losses(
    adata: AnnData, step: str, parts: Sequence[_combine.Part], unlisted: list[str]
) -> list[Row]:
    """Return the rows of the ledger: barcodes, genes, tags and features that were not read."""
    dropped = {part.lane: part.n_dropped for part in parts}
    made = rows(
        step,
        "cells",
        adata.n_obs + sum(dropped.values()),
        adata.n_obs,
        {"fewer UMIs than min_counts": dropped},
    )
    genes = dict.fromkeys(gene for part in parts for gene in part.genes)
    no_genes = dict.fromkeys(name for part in parts for name in part.no_genes)
    absent = [gene for gene in genes if gene not in adata.var_names] if len(parts) > 1 else []
    lost = {"row that is no gene": no_genes, "not in all lanes (genes='intersection')": absent}
    made += rows(step, "genes", len(genes) + len(no_genes), adata.n_vars, lost)
    n_tags = adata.obsm[schema.HASHTAGS].shape[1] if schema.HASHTAGS in adata.obsm else 0
    if n_tags:
        missing = {"not in the sample sheet": unlisted}
        made += rows(step, "tags", n_tags + len(unlisted), n_tags, missing)
    other = {kind: n for part in parts for kind, n in _tags.not_loaded(part.source).items()}
    return made + (rows(step, "features", sum(other.values()), 0, _each(other)) if other else [])


def _each(other: dict[str, int]) -> dict[str, dict[str, int]]:
    return {f"{kind} is not used": {"": n} for kind, n in other.items()}
