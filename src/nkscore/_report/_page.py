"""The whole page, section by section."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pandas as pd

from nkscore import schema
from nkscore._ledger import LEDGER
from nkscore._report import _html as html
from nkscore._report._caveats import caveats, samples_of
from nkscore._report._figures import QUALITY, RESPONSE, STATES
from nkscore._report._html import Dossier, Figure, Gallery, Table
from nkscore._report._methods import origin, steps, today, versions
from nkscore._report._overview import OVERVIEW, SUMMARY
from nkscore._report._results import is_response
from nkscore._report._story import story
from nkscore._report._tables import words
from nkscore._report._words import FDR, genes_per_line, leads, measured
from nkscore._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._report._figures import Panel
    from nkscore._report._results import Results

    Part = Figure | Gallery | Table | Dossier

#: Sections in the order of the page: what was found comes before how cells were chosen.
_SECTIONS = {
    SUMMARY: "In short",
    LEDGER: "Losses",
    STATES: "States",
    RESPONSE: "Response to the interaction",
    "genes": "Genes",
    QUALITY: "Samples and quality",
    "more": "Further tables",
    "methods": "Methods and versions",
}
#: Figures of one type from this number on stand side by side.
_GALLERY = 3


def page(results: Results, drawn: list[tuple[Panel, Path]], title: str) -> str:
    """Return the report as HTML."""
    parts = {name: _parts(name, results, drawn) for name in _SECTIONS}
    parts["methods"] = _methods(results)
    parts["genes"] = [Dossier.of(gene, table) for gene, table in results.dossiers.items()]
    lead = leads(results)
    template = html.templates().get_template("page.html")
    text = template.render(
        title=title,
        style=html.part("page.css"),
        script=html.part("page.js"),
        version=__version__,
        made=" · ".join(filter(None, [today(), results.source, f"nkscore {__version__}"])),
        sections=[
            {"name": name, "title": _SECTIONS[name], "parts": made, "lead": lead.get(name, [])}
            for name, made in parts.items()
            if made or name == SUMMARY
        ],
        measured=measured(results),
        story=story(results),
        caveats=caveats(results),
        versions=versions(),
        dossiers=sorted(results.dossiers),
        n_shown=html.SHOWN,
    )
    # Lone surrogates, as in file names that are not UTF-8, cannot be written.
    return text.encode("utf-8", "replace").decode("utf-8")


def _parts(name: str, results: Results, drawn: list[tuple[Panel, Path]]) -> list[Part]:
    figures = [
        Figure.of(panel.name, panel.title, panel.caption, image)
        for panel, image in drawn
        if panel.section == name
    ]
    parts: list[Part] = _side_by_side(figures)
    if name == RESPONSE:
        parts = [*_counts(results), *parts]
    for key, table in results.tables.items():
        section, title, caption = words(key, table)
        if section == name:
            text = f"{caption} {origin(results, key)}".strip()
            parts.append(Table.of(key, title, text, table, linked=results.dossiers))
    return [*parts, *_design(results)] if name == QUALITY else parts


def _side_by_side(figures: list[Figure]) -> list[Part]:
    """Join figures of one type, like one per line, which would fill many screens."""
    parts: list[Part] = []
    for kind, group in itertools.groupby(figures, key=lambda figure: figure.kind):
        alike = list(group)
        parts += [Gallery(kind, alike)] if len(alike) >= _GALLERY or kind == OVERVIEW else alike
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
