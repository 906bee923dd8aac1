"""The whole page, section by section."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import pandas as pd

from nkscore import schema
from nkscore._report import _html as html
from nkscore._report._caveats import caveats, samples_of
from nkscore._report._figures import QUALITY, RESPONSE, STATES, is_response
from nkscore._report._methods import origin, steps, versions
from nkscore._report._tables import words
from nkscore._report._words import FDR, found, genes_per_line, measured
from nkscore._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._report._figures import Panel
    from nkscore._report._results import Results

_SECTIONS = {
    "summary": "Summary",
    QUALITY: "Quality",
    STATES: "States",
    RESPONSE: "Response to the interaction",
    "more": "Further tables",
    "methods": "Methods and versions",
}
# Nothing may be fetched, whatever a sample is called.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(results: Results, drawn: list[tuple[Panel, Path]], title: str) -> str:
    """Return the report as HTML."""
    made = {name: _section(name, results, drawn) for name in (QUALITY, STATES, RESPONSE, "more")}
    bodies = {"summary": _summary(results), **made, "methods": _methods(results)}
    bodies = {name: body for name, body in bodies.items() if body}
    links = "".join(f'<li><a href="#{n}">{html.text(_SECTIONS[n])}</a></li>' for n in bodies)
    sections = "\n".join(
        f'<section id="{name}"><h2>{html.text(_SECTIONS[name])}</h2>\n{body}</section>'
        for name, body in bodies.items()
    )
    assets = resources.files("nkscore._report")
    style, script = (assets.joinpath(f).read_text("utf-8") for f in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="generator" content="nkscore {__version__}">'
        f'<title>{html.text(title)}</title><link rel="icon" href="data:,">'
        f"<style>{style}</style></head>\n<body>"
        '<a class="skip" href="#summary">Skip to the summary</a>\n'
        f"<header><h1>{html.text(title)}</h1>"
        f'<p class="subtitle">NK cells and tumor cells, alone and together · nkscore {__version__}'
        f"</p></header>\n<nav aria-label=Contents><h2>Contents</h2><ol>{links}</ol></nav>\n"
        f"<main>{sections}</main>\n<footer>{_FOOTER}</footer>\n<script>{script}</script></body></html>\n"
    )


_FOOTER = (
    "This page is one file and loads nothing. Tables hold all rows, compressed, with six "
    "significant digits; they sort by their headings, and the filter takes words and conditions "
    "such as q_value&lt;0.05, all of which a row must meet. q_value: Benjamini and Hochberg over "
    "all tests of the table; q_value_line: over those of one line."
)


def _summary(results: Results) -> str:
    warnings = caveats(results)
    parts = ["<h3>What was measured</h3>", html.paragraphs(measured(results))]
    sentences = list(found(results))
    if sentences:
        parts += ["<h3>What was found</h3>", html.bullets(sentences)]
    if warnings:
        parts.append(
            f'<div class="caveats"><h3>What to keep in mind</h3>{html.bullets(warnings)}</div>'
        )
    return "\n".join(parts)


def _section(name: str, results: Results, drawn: list[tuple[Panel, Path]]) -> str:
    parts = [
        html.figure(panel.name, panel.title, panel.caption, image)
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
            parts.append(html.table(key, title, f"{caption} {origin(results, key)}".strip(), table))
    return "\n".join(parts)


def _design(results: Results) -> list[str]:
    made = []
    samples = samples_of(results)
    if len(samples):
        made.append(
            html.table("samples", "Samples", "From the sample sheet, with the cells kept.", samples)
        )
    obs = results.loaded.obs
    if {schema.QC_PASS, schema.LANE} <= set(obs.columns):
        caption = "pp.qc: cells that passed, and medians over all cells of the lane."
        made.append(html.table("lanes", "Cells of each lane", caption, _lanes(obs)))
    record = _record(results, "pp.demultiplex")
    if isinstance(record.get("cells"), pd.DataFrame):
        caption = "pp.demultiplex: cells of each lane by the call of their hashtags."
        made.append(html.table("hashtag_calls", "Hashtag calls", caption, _flat(record["cells"])))
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


def _counts(results: Results) -> list[str]:
    return [
        html.table(
            f"{name}_counts",
            f"{words(name, table)[1]}: genes per line",
            f"Genes at q < {FDR}. {origin(results, name)}",
            genes_per_line(table),
        )
        for name, table in results.tables.items()
        if is_response(table)
    ]


def _methods(results: Results) -> str:
    listed = "".join(
        f"<dt>{html.text(name)}</dt><dd>{html.text(version)}</dd>"
        for name, version in versions().items()
    )
    caption = "In the order of the names; options are those that were in force."
    parts = [html.table("steps", "Steps", caption, steps(results))]
    coverage = _record(results, schema.SCORES).get("coverage")
    if isinstance(coverage, pd.DataFrame):
        parts.append(
            html.table(
                "signatures", "Gene sets", "tl.score: genes found in the data.", _flat(coverage)
            )
        )
    return "\n".join([*parts, f"<h3>Software</h3><dl>{listed}</dl>"])
