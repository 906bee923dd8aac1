"""The summary in plain words: what was measured and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore import schema
from nkscore._colors import printed
from nkscore._report._caveats import names, samples_of
from nkscore._report._figures import RESPONSE, STATES
from nkscore._report._results import is_response, unflagged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._report._results import Results

FDR = 0.05
_CONDITIONS: Final = {
    schema.COCULTURE: "in co-culture",
    schema.TUMOR_MONO: "tumor alone",
    schema.NK_MONO: "NK alone",
}


def measured(results: Results) -> Iterator[str]:
    """Describe the experiment."""
    loaded, kept = results.loaded, results.kept
    lanes = loaded.obs[schema.LANE].nunique() if schema.LANE in loaded.obs else 0
    where = f" in {count(lanes, 'lane')}" if lanes else ""
    if loaded.n_obs > kept.n_obs:
        yield (
            f"{loaded.n_obs:,} droplets{where} were read; {kept.n_obs:,} cells "
            f"({kept.n_obs / loaded.n_obs:.0%}) were kept{_removed(results)}."
        )
    else:
        yield f"{kept.n_obs:,} cells{where}."
    table = samples_of(results)
    if not len(table):
        return
    parts = [count(table[schema.SAMPLE].nunique(), "sample")]
    for column, one in ((schema.TUMOR, "tumor line"), (schema.NK_DONOR, "NK donor")):
        if column in table and table[column].nunique():
            levels = sorted(table[column].dropna().astype(str).unique())
            parts.append(f"{count(len(levels), one)} ({names(levels)})")
    yield "They come from " + ", ".join(parts) + "." + _conditions(table)


def count(n: int, one: str) -> str:
    """Write a number with its noun."""
    return f"{n:,} {one}{'' if n == 1 else 's'}"


def _removed(results: Results) -> str:
    record = results.kept.uns.get(schema.RECORD, {}).get("pp.keep", {})
    removed = sorted(record.get("removed", {}).items(), key=lambda item: -int(item[1]))
    return "; removed: " + ", ".join(f"{int(n):,} {why}" for why, n in removed) if removed else ""


def _conditions(table: pd.DataFrame) -> str:
    if schema.CONDITION not in table:
        return ""
    # A sample loaded on two lanes has two rows.
    counts = table.drop_duplicates(schema.SAMPLE)[schema.CONDITION].value_counts()
    times = ""
    if schema.TIME_H in table and table[schema.TIME_H].notna().any():
        hours = sorted(table[schema.TIME_H].dropna().unique())
        times = " after " + ", ".join(f"{t:g}" for t in hours) + " hours"
    listed = ", ".join(f"{n} {_CONDITIONS.get(str(c), c)}" for c, n in counts.items())
    return f" Samples by condition: {listed}{times}."


def leads(results: Results) -> dict[str, list[str]]:
    """Describe, for the head of each section, all that the interaction changed."""
    found: dict[str, list[str]] = {STATES: [], RESPONSE: []}
    for name, cells in (("nk_state_shift", "NK cells"), ("tumor_state_shift", "Tumor cells")):
        if name in results.tables:
            found[STATES] += _shifts(results.tables[name], cells)
    for name, table in results.tables.items():
        if is_response(table):
            found[RESPONSE].append(_response(name, table))
    if "core_response" in results.tables:
        table = results.tables["core_response"]
        core = table.loc[table["core"].astype(bool), "gene"]
        listed = f": {names(core, 20)}" if len(core) else ""
        found[RESPONSE].append(
            f"Core response of tumor cells, over all lines: {count(len(core), 'gene')}{listed}."
        )
    return found


def _shifts(table: pd.DataFrame, cells: str) -> Iterator[str]:
    sure = table[table["q_value"] < FDR]
    n_lines = table["tumor"].nunique()
    if not len(sure):
        yield f"{cells}: no state changes its share in any of {n_lines} lines (q < {FDR})."
    for state, part in sure.groupby(sure["state"].astype(str)):
        for rises, word in ((True, "more"), (False, "less")):
            lines = sorted(part.loc[(part["log_odds_ratio"] > 0) == rises, "tumor"].astype(str))
            if lines:
                yield (
                    f"{cells}: {printed(state)} is {word} frequent in co-culture in "
                    f"{len(lines)} of {n_lines} lines ({names(lines)}; q < {FDR})."
                )


def _response(name: str, table: pd.DataFrame) -> str:
    counts = genes_per_line(table)
    low, high = counts["significant"].min(), counts["significant"].max()
    spread = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return (
        f"{_TITLES.get(name, name)}: {spread} genes per line differ from the control at q < {FDR}"
        f"{_flagged(counts)}. {_shared(table)}"
    )


_TITLES = {"tumor_response": "Response of tumor cells", "nk_response": "Response of NK cells"}


def _flagged(counts: pd.DataFrame) -> str:
    if "possibly_ambient" not in counts:
        return ""
    share = counts["possibly_ambient"].sum() / max(int(counts["significant"].sum()), 1)
    return f"; {share:.0%} of them may be ambient RNA and are flagged"


def _shared(table: pd.DataFrame) -> str:
    n_lines = table["tumor"].nunique()
    sure = unflagged(table[table["q_value"] < FDR])
    if n_lines < 2 or not len(sure):
        return ""
    tally = sure.groupby([sure["gene"].astype(str), sure["log2_fc"] > 0]).size()
    many = tally[tally >= max(2, (n_lines + 1) // 2)].sort_values(ascending=False, kind="stable")
    if not len(many):
        return "No unflagged gene changes in the same direction in half of the lines."
    parts = []
    for rises, word in ((True, "up"), (False, "down")):
        genes = [gene for gene, up in many.index if bool(up) is rises]
        if genes:
            parts.append(f"{word}: {names(genes, 20)}")
    return f"Same direction in at least half of the lines, not flagged: {'; '.join(parts)}."


def genes_per_line(table: pd.DataFrame) -> pd.DataFrame:
    """Count for each line the genes tested, significant, up, down and flagged."""
    sure = table["q_value"] < FDR
    parts = {
        "tested": table["q_value"].notna(),
        "significant": sure,
        "up": sure & (table["log2_fc"] > 0),
        "down": sure & (table["log2_fc"] < 0),
    }
    if "ambient_suspect" in table:
        parts["possibly_ambient"] = sure & table["ambient_suspect"].astype(bool)
    line = table["tumor"].astype(str).rename("tumor")
    return pd.DataFrame(parts).groupby(line).sum().reset_index()
