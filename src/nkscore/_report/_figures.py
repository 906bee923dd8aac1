"""The figures of an analysis: a list, their captions, and how they are saved."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tqdm import tqdm

from nkscore import pl, schema, signatures
from nkscore._report._overview import SUMMARY, overview
from nkscore._report._pages import pages_of, volcanoes
from nkscore._report._results import is_response, unflagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from nkscore._report._results import Results

    Drawing = Callable[[], Axes | Figure | SubFigure]

CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"
MODULES = "response_modules"
QUALITY, STATES, RESPONSE = "quality", "states", "response"


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure: file name, section of the report, caption and how to draw it."""

    name: str
    section: str
    title: str
    caption: str
    draw: Drawing


@dataclass(frozen=True, slots=True)
class FromTable:
    """A figure of a single table, drawn if the table exists."""

    table: str
    name: str
    section: str
    title: str
    caption: str
    draw: Callable[[pd.DataFrame], Axes | Figure | SubFigure]


#: One line per figure that draws one table: add yours here.
FROM_TABLES: tuple[FromTable, ...] = (
    FromTable(
        "nk_state_fractions",
        "nk_states",
        STATES,
        "States of NK cells",
        "Share of each state per line and donor.",
        pl.state_fractions,
    ),
    FromTable(
        "nk_state_shift",
        "nk_state_shift",
        STATES,
        "Shift of NK states in co-culture",
        "Logarithm of the odds ratio against NK cells alone; rings mark q < 0.05.",
        pl.state_shift,
    ),
    FromTable(
        "tumor_state_shift",
        "tumor_state_shift",
        STATES,
        "Shift of tumor states in co-culture",
        "Logarithm of the odds ratio against the same line alone; rings mark q < 0.05.",
        pl.state_shift,
    ),
    FromTable(
        "tumor_response",
        "response_dots",
        RESPONSE,
        "Genes that respond in tumor cells",
        "Color: log2 fold change; size: certainty; rings mark q < 0.05.",
        pl.response_dots,
    ),
    FromTable(
        "nk_activation",
        "nk_activation",
        STATES,
        "Lines by NK activation",
        "Logarithm of the odds ratio of activated states against NK cells alone, with its "
        "interval.",
        partial(pl.effects, label="tumor", effect="log_odds_ratio"),
    ),
    FromTable(
        "ambient",
        "ambient",
        QUALITY,
        "Ambient RNA of tumor cells",
        "Ambient share of the counts, with its interval, and the part from NK cells.",
        pl.ambient,
    ),
    FromTable(
        "core_response",
        "core_response",
        RESPONSE,
        "Core response of tumor cells",
        "Mean log2 fold change over lines, its interval and the range expected in a "
        "further line: the first 25 genes.",
        pl.core_response,
    ),
    FromTable(
        "decompose_shift",
        "decomposition",
        RESPONSE,
        "Within states, or by their shares",
        "The two parts of the change of the mean score, and their sum.",
        pl.decomposition,
    ),
    FromTable(
        "signal_activity",
        "signal_activity",
        RESPONSE,
        "Signals that explain the tumor response",
        "Area: z of each signal by itself; ring: the strongest signal of a line with a clear "
        "call, which is written above the line.",
        pl.signal_activity,
    ),
    FromTable(
        "contacts",
        "contacts",
        RESPONSE,
        "Attached pairs of NK and tumor cells",
        "Per 100 droplets, beyond what chance and leaked tags explain, with intervals.",
        pl.contacts,
    ),
    FromTable(
        "tumor_enrichment",
        "enrichment_dots",
        RESPONSE,
        "Gene sets in the tumor response",
        "Color: t of the set; size: certainty; rings mark q < 0.05.",
        pl.enrichment_dots,
    ),
    FromTable(
        "communication",
        "communication_dots",
        RESPONSE,
        "Receptors and ligands",
        "Color: log2 fold change of the product of both genes; rings mark q < 0.05; a star: "
        "ambient RNA may explain the tumor gene.",
        pl.communication_dots,
    ),
)

#: Column of the cells → caption of its map.
_MAPS = {
    schema.CONDITION: "Cells by condition, monocultures on top.",
    schema.TUMOR: "Tumor cells by line; NK cells in gray.",
    schema.NK_STATE: "NK cells by state.",
    schema.TUMOR_STATE: "Tumor cells by state.",
}
_MAP_NAMES = {schema.TUMOR: "map_line"}


def panels(results: Results) -> list[Panel]:
    """Return the figures that these results allow, in order of the report."""
    ready = [
        Panel(f.name, f.section, f.title, f.caption, partial(f.draw, results.tables[f.table]))
        for f in FROM_TABLES
        if f.table in results.tables and _answered(results.tables[f.table])
    ]
    return [
        *(Panel(tile[0], SUMMARY, tile[1], tile[2], tile[3]) for tile in overview(results)),
        *_of_lanes(results),
        *_maps(results),
        *ready,
        *_heat_map(results),
        *_volcanoes(results),
    ]


def _answered(table: pd.DataFrame) -> bool:
    """Whether a table of contacts has any estimate; its sentence says why there is none."""
    return "per_100" not in table or bool(table["per_100"].notna().any())


def _of_lanes(results: Results) -> list[Panel]:
    loaded, found = results.loaded, []
    if schema.QC_PASS in loaded.obs and schema.LANE in loaded.obs:
        found.append(
            Panel(
                "qc",
                QUALITY,
                "Quality of the cells of each lane",
                "Counts, genes and mitochondrial share, with the limits that were used.",
                lambda: pl.qc(loaded),
            )
        )
    if schema.HASHTAGS in loaded.obsm and schema.HASHTAG_CLASS in loaded.obs:
        found += [
            Panel(
                f"hashtags_{lane}",
                QUALITY,
                f"Hashtags of lane {lane}",
                "Counts of each tag; cells are sorted by their call.",
                partial(pl.hashtags, loaded, lane=lane),
            )
            for lane in sorted(loaded.obs[schema.LANE].dropna().astype(str).unique())
        ]
    if schema.COMPARTMENT in loaded.obs:
        found.append(
            Panel(
                "compartments",
                QUALITY,
                "NK and tumor cells",
                "Share of each sample's cells called NK, tumor, both or neither.",
                lambda: pl.compartments(loaded),
            )
        )
    return found


def _maps(results: Results) -> list[Panel]:
    kept = results.kept
    if schema.UMAP not in kept.obsm:
        return []
    return [
        Panel(
            _MAP_NAMES.get(column, f"map_{column}"),
            STATES,
            "Map of the cells",
            f"{shows} UMAP: distances between groups have no meaning.",
            partial(pl.embedding, kept, color=column),
        )
        for column, shows in _MAPS.items()
        if column in kept.obs
    ]


def _heat_map(results: Results) -> list[Panel]:
    if not {"tumor_response", MODULES} <= set(results.tables):
        return []
    table, modules = unflagged(results.tables["tumor_response"]), results.tables[MODULES]
    return [
        Panel(
            "response_heatmap",
            RESPONSE,
            "Genes with similar responses",
            "Genes whose response differs most between lines, in modules named by "
            "overlapping gene sets; some genes are labeled. Gray: not tested, or "
            "possibly ambient RNA.",
            partial(pl.response_heatmap, table, modules=modules),
        )
    ]


def _volcanoes(results: Results) -> list[Panel]:
    found = []
    core = signatures.get(CORE)
    for name, table in results.tables.items():
        # The NK response would double the number of figures; its table has the same information.
        if not is_response(table) or name == "nk_response":
            continue
        pages = pages_of(list(table["tumor"].astype(str).unique()))
        stem = "volcanoes" if name == "tumor_response" else f"volcanoes_{name}"
        for number, lines in enumerate(pages, 1):
            one = f"Response of {lines[0]}" if len(lines) == 1 else "Response of each line"
            found.append(
                Panel(
                    stem if len(pages) == 1 else f"{stem}_{number}",
                    RESPONSE,
                    one if len(pages) == 1 else f"{one}, page {number}",
                    "Signature: core response of tumor cells to NK cells (Dufva et al. 2023)."
                    " Open diamonds: genes that ambient RNA may explain.",
                    partial(volcanoes, table, lines, core),
                )
            )
    return found


def draw(
    results: Results, folder: Path, *, formats: Sequence[str] = ("png", "pdf")
) -> list[tuple[Panel, Path]]:
    """Draw all figures; returns each with its PNG, and notes in ``skipped`` why one is absent."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    drawn = []
    # Files only: no display is needed, and the caller's figures and backend do not change.
    before = mpl.get_backend()
    plt.switch_backend("Agg")
    try:
        planned = panels(results)
        names = file_names([panel.name for panel in planned])
        bar = tqdm(planned, desc="figures", leave=False, disable=None)
        for panel, name in zip(bar, names, strict=True):
            with results.optional(f"figure {panel.name}"):
                drawn.append((panel, _save(panel, folder / name, formats)))
    finally:
        plt.switch_backend(before)
    return drawn


def file_names(names: Sequence[str]) -> list[str]:
    """Return a file name for each name; they also differ if case is ignored."""
    taken: set[str] = set()
    found = []
    for name in names:
        # Names of lanes and lines can contain a slash.
        plain = stem = name.replace("/", "_")
        number = 2
        while plain.casefold() in taken:
            plain, number = f"{stem}_{number}", number + 1
        taken.add(plain.casefold())
        found.append(plain)
    return found


def _save(panel: Panel, path: Path, formats: Sequence[str]) -> Path:
    import matplotlib.pyplot as plt

    try:
        with warnings.catch_warnings():
            # Letters that no installed font has are drawn as boxes, with one warning each per
            # figure.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            files = pl.save(panel.draw(), path, formats=formats)
    finally:
        plt.close("all")
    return next(file for file in files if file.suffix == ".png")
