"""Caveats for the reader, from the design and the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from nkscore import schema
from nkscore._ledger import LEDGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nkscore._report._results import Results

#: Share of unassigned cells, of failed cells and of ambient RNA worth a warning.
_MANY_UNASSIGNED, _MANY_FAILED, _MUCH_AMBIENT = 0.25, 0.4, 0.1

#: Share of a step's cells that one reason may take without a caveat, and how many are named.
_MANY_LOST, _WORST = 0.1, 5
#: What is always named where it is lost.
_WHOLE = ("samples", "lines", "tags", "gene sets")
#: Reasons that are no losses of the experiment.
_BY_DESIGN = "in neither arm"


def caveats(results: Results) -> list[str]:
    """Return plain sentences, the most important first."""
    return [
        *_replicates(results),
        *_confounding(samples_of(results)),
        *_ambient(results),
        *_selection(results),
        *_cells(results),
        *_losses(results),
        *absent(results),
    ]


def _losses(results: Results) -> Iterator[str]:
    """Name the worst losses of the ledger: whole samples, lines, tags and sets, and many cells."""
    ledger = results.tables.get(LEDGER)
    if ledger is None:
        return
    lost = ledger[(ledger["n_lost"] > 0) & ~ledger["what"].isin(["results", "features"])]
    whole = lost[lost["what"].isin(_WHOLE) & ~lost["reason"].str.startswith(_BY_DESIGN)]
    for what, name, reason in dict.fromkeys(
        zip(whole["what"], whole["names"], whole["reason"], strict=True)
    ):
        steps = whole.loc[(whole["names"] == name) & (whole["reason"] == reason), "step"].unique()
        yield f"Lost {what}: {names(name.split('; '))} ({reason}; {names(steps)})."
    cells = lost[lost["what"].str.endswith("cells")]
    share = cells["n_lost"] / cells["n_in"]
    worst = cells[share > _MANY_LOST].assign(share=share).sort_values("share", ascending=False)
    for _, row in worst.head(_WORST).iterrows():
        yield (
            f"{row['step']} loses {row['n_lost']:,} of {row['n_in']:,} {row['what']} "
            f"({row['share']:.0%}): {row['reason']}."
        )


def absent(results: Results) -> list[str]:
    """Return one sentence on each missing part; failures come first."""
    failed = [name for name in results.skipped if name in results.failed]
    others = [name for name in results.skipped if name not in results.failed]
    return [
        *(f"Failed: {name}. {results.skipped[name]}" for name in failed),
        *(f"Not made: {name}. {results.skipped[name]}" for name in others),
    ]


def samples_of(results: Results) -> pd.DataFrame:
    """Return one row per sample of the kept cells, with its sheet columns and number of cells."""
    obs = results.kept.obs
    columns = [c for c in (schema.LANE, *schema.SAMPLE_COLUMNS) if c in obs]
    if schema.SAMPLE not in columns:
        return pd.DataFrame({c: [] for c in (*columns, "n_cells")})
    plain = obs[columns].astype(dict.fromkeys(_categorical(obs, columns), object))
    plain = plain[plain[schema.SAMPLE].notna()]
    keys = [c for c in (schema.LANE, schema.SAMPLE) if c in columns]
    sizes = plain.groupby(keys, observed=True).size().rename("n_cells").reset_index()
    table: pd.DataFrame = plain.drop_duplicates(keys).merge(sizes, on=keys)
    return table.sort_values(keys, ignore_index=True)


def _categorical(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    return [c for c in columns if isinstance(frame[c].dtype, pd.CategoricalDtype)]


def names(values: Iterable[object], limit: int = 12) -> str:
    """Join names for a sentence."""
    listed = [str(v) for v in values]
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest


def _replicates(results: Results) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for name, table in results.tables.items():
        sentence = _single_samples(table)
        if sentence:
            alike.setdefault(sentence, []).append(name)
    for sentence, tables in alike.items():
        yield f"Few replicates in {' and '.join(tables)}: {sentence}"
    table = samples_of(results)
    if schema.NK_DONOR in table and 0 < table[schema.NK_DONOR].nunique() < 3:
        yield (
            f"Only {table[schema.NK_DONOR].nunique()} NK donor(s) took part: the results may not "
            "hold for other donors."
        )


def _single_samples(table: pd.DataFrame) -> str:
    if not {"tumor", "n_samples_treated", "n_samples_control"} <= set(table.columns):
        return ""
    arms = ["n_samples_treated", "n_samples_control"]
    per_line = table.groupby(table["tumor"].astype(str))[arms].max()
    few = per_line[(per_line < 2).any(axis=1)]
    if not len(few):
        return ""
    return (
        f"{len(few)} of {len(per_line)} lines ({names(few.index)}) have a single sample in one "
        "arm. Their variance is borrowed from the other lines, and a peculiarity of that "
        "sample cannot be distinguished from an effect."
    )


def _confounding(table: pd.DataFrame) -> Iterator[str]:
    """Name factors that are confounded with the condition or the donor."""
    if not {schema.LANE, schema.CONDITION} <= set(table.columns):
        return
    if schema.TUMOR in table:
        yield from _separate(table, schema.LANE, "lanes")
        if schema.TIME_H in table:
            yield from _separate(table[table[schema.TIME_H].notna()], schema.TIME_H, "time points")
    if schema.NK_DONOR in table:
        with_nk = table.dropna(subset=[schema.NK_DONOR])
        lanes = with_nk.groupby(schema.NK_DONOR)[schema.LANE].nunique()
        donors = with_nk.groupby(schema.LANE)[schema.NK_DONOR].nunique()
        if len(lanes) > 1 and (lanes == 1).all() and (donors == 1).all():
            yield (
                "Each NK donor has a separate lane, so differences between donors cannot "
                "be distinguished from differences between lanes."
            )


def _separate(table: pd.DataFrame, column: str, shown: str) -> Iterator[str]:
    lines, apart = 0, []
    for line, part in table.dropna(subset=[schema.TUMOR]).groupby(schema.TUMOR):
        treated = set(part.loc[part[schema.CONDITION] == schema.COCULTURE, column])
        alone = set(part.loc[part[schema.CONDITION] == schema.TUMOR_MONO, column])
        if treated and alone:
            lines += 1
            if not treated & alone:
                apart.append(line)
    if apart:
        yield (
            f"Confounded with {shown}: co-culture and monoculture are in different {shown} for "
            f"{len(apart)} of {lines} lines ({names(apart)}). Differences between these "
            f"{shown} cannot be distinguished from effects of the interaction."
        )


def _ambient(results: Results) -> Iterator[str]:
    if "ambient" not in results.tables:
        if "tumor_response" in results.tables:
            yield (
                "Ambient RNA was not measured. Genes of NK cells look induced in tumor cells of "
                "every co-culture; they are flagged only by name."
            )
        return
    shares = results.tables["ambient"].set_index("sample")["ambient_share"]
    high = shares[shares > _MUCH_AMBIENT]
    if len(high):
        yield (
            f"Much ambient RNA: above {_MUCH_AMBIENT:.0%} of the tumor cells' counts in "
            f"{len(high)} of {len(shares)} samples ({names(high.index)})."
        )


def _selection(results: Results) -> Iterator[str]:
    if {"tumor_response", "tumor_state_shift"} & set(results.tables):
        ending = (
            " The table decompose_shift splits a change into changes within states and "
            "of their shares."
            if "decompose_shift" in results.tables
            else ""
        )
        yield (
            "Co-cultures contain the cells that survived. A state that becomes more frequent, or a "
            "gene that rises, may be selected by killing rather than induced." + ending
        )


def _cells(results: Results) -> Iterator[str]:
    obs = results.loaded.obs
    if schema.QC_PASS in obs and schema.LANE in obs:
        failed = 1 - obs.groupby(schema.LANE, observed=True)[schema.QC_PASS].mean()
        bad = failed[failed > _MANY_FAILED]
        if len(bad):
            yield f"Over {_MANY_FAILED:.0%} of the cells failed quality in: {names(bad.index)}."
    for column, shown in ((schema.NK_STATE, "NK"), (schema.TUMOR_STATE, "tumor")):
        if column in results.kept.obs:
            called = results.kept.obs[column].dropna()
            share = (called == schema.UNASSIGNED).mean() if len(called) else 0.0
            if share > _MANY_UNASSIGNED:
                yield (
                    f"{share:.0%} of the {shown} cells have no state. Tests of shifts use "
                    "the other cells."
                )
