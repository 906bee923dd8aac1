"""The tables of an analysis: the function that makes each, and its text in the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nkscore import schema, tl
from nkscore._ledger import LEDGER, rows
from nkscore._report._figures import CORE, MODULES, QUALITY, RESPONSE, STATES
from nkscore._report._results import is_response, unflagged

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from nkscore._report._results import Results


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its name, the function of ``tl`` that makes it and its text in the report."""

    name: str
    function: str
    section: str
    title: str
    caption: str
    #: Fixed arguments of this table; the others are options of ``run.toml``.
    fixed: dict[str, Any] = field(default_factory=dict)
    #: Table that the function takes instead of the cells.
    reads: str | None = None
    #: Cells that the function takes: those kept, or all that were loaded (with pairs).
    cells: str = "kept"
    #: Arguments that depend on the results.
    given: Callable[[Results], dict[str, Any]] = field(default=lambda _: {})
    #: Rows of that table to use.
    keep: Callable[[pd.DataFrame], pd.DataFrame] = field(default=lambda table: table)
    #: Name of the result, if the function completes another table.
    into: str | None = None

    def make(self, results: Results, options: dict[str, Any]) -> pd.DataFrame:
        """Call the function."""
        cells = getattr(results, self.cells)
        first = cells if self.reads is None else self.keep(results.tables[self.reads])
        table: pd.DataFrame = getattr(tl, self.function)(
            first, **self.fixed, **self.given(results), **options
        )
        if self.reads is not None and self.into is None:
            n_in, n_out = len(results.tables[self.reads]), len(first)
            lost = {"ambient RNA may explain it (ambient_suspect)": {"": n_in - n_out}}
            first_rows = rows(f"tl.{self.function}", "effects given", n_in, n_out, lost)
            table.attrs[LEDGER] = [*map(dict, first_rows), *table.attrs.get(LEDGER, [])]
        return table


def _cells_with_ambient(results: Results) -> dict[str, Any]:
    measured = "pp.ambient" in results.kept.uns[schema.RECORD]
    return {"adata": results.kept if measured else None}


_NK, _TUMOR = {"state": schema.NK_STATE}, {"state": schema.TUMOR_STATE}
#: One line per table, in the order in which they are made: add yours here.
TABLES: tuple[Table, ...] = (
    Table(
        "nk_state_fractions",
        "state_fractions",
        STATES,
        "NK states of each sample",
        "Cells in each state; fractions are of all NK cells of the sample.",
        _NK,
    ),
    Table(
        "nk_state_shift",
        "state_shift",
        STATES,
        "Shift of NK states in co-culture",
        "Against NK cells alone, samples as replicates; log_odds_ratio is a natural logarithm.",
        _NK,
    ),
    Table(
        "tumor_state_fractions",
        "state_fractions",
        STATES,
        "Tumor states of each sample",
        "Cells in each state; fractions are of all tumor cells of the sample.",
        _TUMOR,
    ),
    Table(
        "tumor_state_shift",
        "state_shift",
        STATES,
        "Shift of tumor states in co-culture",
        "Against the same line alone, samples as replicates.",
        _TUMOR,
    ),
    Table(
        "tumor_response",
        "interaction_response",
        RESPONSE,
        "Response of tumor cells",
        "Co-culture against the line alone: one model of all lines on sums per sample. "
        "ambient_suspect marks genes that may be explained by ambient RNA.",
        {"compartment": schema.TUMOR_CELLS},
    ),
    Table(
        "flag_ambient",
        "flag_ambient",
        RESPONSE,
        "",
        "",
        reads="tumor_response",
        given=_cells_with_ambient,
        into="tumor_response",
    ),
    Table(
        "nk_response",
        "interaction_response",
        RESPONSE,
        "Response of NK cells",
        "Co-culture against NK cells alone: one model of all lines on sums per sample.",
        {"compartment": schema.NK},
    ),
    Table(
        "nk_activation",
        "nk_activation",
        STATES,
        "Lines by NK activation",
        "Share of NK cells in activated states against NK cells alone; overlapping intervals "
        "leave the order of two lines open.",
    ),
    Table(
        "core_response",
        "core_response",
        RESPONSE,
        "Core response of tumor cells",
        "The responses of all lines combined gene by gene: all rows of the tumor response, with "
        "the expected ambient counts subtracted.",
        reads="tumor_response",
    ),
    Table(
        MODULES,
        "response_modules",
        RESPONSE,
        "Modules of the tumor response",
        "Genes whose response differs most between lines, in the order of the heat map, "
        "without possibly ambient genes; label: the gene set that overlaps with a module.",
        reads="tumor_response",
        keep=unflagged,
    ),
    Table(
        "decompose_shift",
        "decompose_shift",
        RESPONSE,
        "Within states, or by their shares",
        "Change of the mean core response score, split into change within tumor states and "
        "change of their shares.",
        {"score": CORE, "strata": schema.TUMOR_STATE},
    ),
    Table(
        "signal_activity",
        "signal_activity",
        RESPONSE,
        "Signals that explain the tumor response",
        "How well each signal explains the response of a line, without possibly ambient genes; "
        "call: the signal that explains it best, or unclear, with the reason.",
        reads="tumor_response",
        keep=unflagged,
    ),
    Table(
        "visibility",
        "visibility",
        STATES,
        "What NK cells can see of dormant-like tumor cells",
        "Dormant-like against other tumor cells of the same sample, as such and at equal depth "
        "and cell cycle; gene sum: all genes of the class together.",
        {"residual": "low_myc_dormant_like"},
    ),
    Table(
        "contacts",
        "contacts",
        RESPONSE,
        "Attached pairs of NK and tumor cells",
        "Pairs of one hashtag beyond those that chance and leaked tags make, from all cells read.",
        {"by": schema.TUMOR},
        cells="loaded",
    ),
    Table(
        "tumor_enrichment",
        "enrichment",
        RESPONSE,
        "Gene sets in the tumor response",
        "Hallmark gene sets whose genes change more than other genes, without possibly "
        "ambient genes.",
        reads="tumor_response",
        keep=unflagged,
    ),
    Table(
        "communication",
        "communication",
        RESPONSE,
        "Receptors and ligands",
        "Pairs of NK and tumor cells; log2_fc: change of the product in co-culture.",
    ),
)


def available() -> tuple[Table, ...]:
    """Return the tables whose function this version has."""
    return tuple(t for t in TABLES if hasattr(tl, t.function))


_OF_LEDGER = (
    "What came into each step, what went on, and why the rest did not; the rows of a step sum "
    "to n_in - n_out. A cell that fails several steps counts in the first one. names: lanes or "
    "samples with their cells, or what was lost."
)
_WORDS = {t.name: (t.section, t.title, t.caption) for t in TABLES} | {
    "ambient": (
        QUALITY,
        "Ambient RNA of tumor cells",
        "Ambient share of the tumor cells' counts; nk_share: the part from NK cells.",
    ),
    LEDGER: (
        LEDGER,
        "Losses of each step",
        _OF_LEDGER,
    ),
}


#: Names of known tables in the order of the report.
ORDER = tuple(_WORDS)


def words(name: str, table: pd.DataFrame) -> tuple[str, str, str]:
    """Return section, title and caption of a table, known or not."""
    if name in _WORDS:
        return _WORDS[name]
    return RESPONSE if is_response(table) else "more", name.replace("_", " ").capitalize(), ""
