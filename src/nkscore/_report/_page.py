"""The whole page, section by section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from nkscore import schema
from nkscore._ledger import LEDGER
from nkscore._report import _html as html
from nkscore._report._caveats import caveats, samples_of
from nkscore._report._figures import QUALITY, RESPONSE, STATES, is_response
from nkscore._report._html import Figure, Table
from nkscore._report._methods import origin, steps, versions
from nkscore._report._tables import words
from nkscore._report._words import FDR, found, genes_per_line, measured
from nkscore._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._report._figures import Panel
    from nkscore._report._results import Results

    Part = Figure | Table

_SECTIONS = {
    "summary": "Summary",
    QUALITY: "Quality",
    STATES: "States",
    RESPONSE: "Response to the interaction",
    LEDGER: "Losses",
    "more": "Further tables",
    "methods": "Methods and versions",
}


_OF_TABLES = (QUALITY, STATES, RESPONSE, LEDGER, "more")


def page(results: Results, drawn: list[tuple[Panel, Path]], title: str) -> str:
    """Return the report as HTML."""
    parts = {name: _parts(name, results, drawn) for name in _OF_TABLES}
    parts = {"summary": [], **parts, "methods": _methods(results)}
    template = html.templates().get_template("page.html")
    text = template.render(
        title=title,
        style=html.part("page.css"),
        script=html.part("page.js"),
        version=__version__,
        sections=[
            {"name": name, "title": _SECTIONS[name], "parts": made}
            for name, made in parts.items()
            if made or name == "summary"
        ],
        measured=measured(results),
        found=list(found(results)),
        caveats=caveats(results),
        versions=versions(),
        n_shown=html.SHOWN,
    )
    # Lone surrogates, as in file names that are not UTF-8, cannot be written.
    return text.encode("utf-8", "replace").decode("utf-8")


def _parts(name: str, results: Results, drawn: list[tuple[Panel, Path]]) -> list[Part]:
    parts: list[Part] = [
        Figure.of(panel.name, panel.title, panel.caption, image)
        for panel, image in drawn
        if panel.section == name
    ]
    if name == QUALITY:
        parts = [*_design(results), *parts]
    if name == RESPONSE:
        parts = [*_counts(results), *parts]
    for key, table in results.tables.items():
        section, title, caption = words(key, table)
        if section == name:
            parts.append(Table.of(key, title, f"{caption} {origin(results, key)}".strip(), table))
    return parts


def _design(results: Results) -> list[Table]:
    made = []
    samples = samples_of(results)
    if len(samples):
        made.append(
            Table.of("samples", "Samples", "From the sample sheet, with the cells kept.", samples)
        )
    obs = results.loaded.obs
    if {schema.QC_PASS, schema.LANE} <= set(obs.columns):
        caption = "pp.qc: cells that passed, and medians over all cells of the lane."
        made.append(Table.of("lanes", "Cells of each lane", caption, _lanes(obs)))
    record = _record(results, "pp.demultiplex")
    if isinstance(record.get("cells"), pd.DataFrame):
        caption = "pp.demultiplex: cells of each lane by the call of their hashtags."
        made.append(Table.of("hashtag_calls", "Hashtag calls", caption, _flat(record["cells"])))
    return made


def _record(results: Results, key: str) -> dict[str, Any]:
    record = results.kept.uns.get(schema.RECORD, {}).get(key, {})
    return record if isinstance(record, dict) else {}


def _lanes(obs: pd.DataFrame) -> pd.DataFrame:
    lanes = obs.groupby(obs[schema.LANE].astype(str))
    columns = {"cells": lanes.size(), "passed": lanes[schema.QC_PASS].sum()}
    for column in (schema.TOTAL_COUNTS, schema.N_GENES_BY_COUNTS, schema.PCT_COUNTS_MT):
        if column in obs:
            columns[f"median_{column}"] = lanes[column].median()
    return pd.DataFrame(columns).rename_axis(schema.LANE).reset_index()


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Turn row names into a column, unless they only count the rows (as text, from h5ad)."""
    counted = list(map(str, table.index)) == list(map(str, range(len(table))))
    return table.reset_index(drop=counted)


def _counts(results: Results) -> list[Table]:
    return [
        Table.of(
            f"{name}_counts",
            f"{words(name, table)[1]}: genes per line",
            f"Genes at q < {FDR}. {origin(results, name)}",
            genes_per_line(table),
        )
        for name, table in results.tables.items()
        if is_response(table)
    ]


def _methods(results: Results) -> list[Part]:
    caption = "In the order of the names; options are those that were in force."
    parts: list[Part] = [Table.of("steps", "Steps", caption, steps(results))]
    coverage = _record(results, schema.SCORES).get("coverage")
    if isinstance(coverage, pd.DataFrame):
        parts.append(
            Table.of(
                "signatures", "Gene sets", "tl.score: genes found in the data.", _flat(coverage)
            )
        )
    return parts
