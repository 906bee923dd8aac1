"""The story of the first screen: one sentence per question, with its cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore import schema
from nkscore._colors import printed
from nkscore._report._caveats import names
from nkscore._report._html import number
from nkscore._report._results import has, is_response
from nkscore._report._words import FDR, count, genes_per_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from nkscore._report._results import Results

_DORMANT: Final = "low_myc_dormant_like"
#: States, genes and classes that a sentence names.
_NAMED: Final = 3
_SUM: Final = "sum"


@dataclass(frozen=True, slots=True)
class Finding:
    """One question with its answer, and the table that holds the numbers."""

    topic: str
    text: str
    table: str


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that a sentence needs: its name and columns."""

    name: str
    columns: tuple[str, ...]

    def of(self, results: Results) -> pd.DataFrame | None:
        """Return the table if it has rows and all columns."""
        table = results.tables.get(self.name)
        return table if table is not None and has(table, *self.columns) and len(table) else None


_SHIFT: Final = ("tumor", "state", "log_odds_ratio", "q_value")
_ACTIVATION: Final = _Table("nk_activation", ("tumor", "log_odds_ratio"))
_NK_SHIFT: Final = _Table("nk_state_shift", _SHIFT)
_TUMOR_SHIFT: Final = _Table("tumor_state_shift", _SHIFT)
_CORE: Final = _Table("core_response", ("gene", "core", "log2_fc"))
_SIGNALS: Final = _Table("signal_activity", ("tumor", "call", "reason", "alone_z"))
_AMBIENT: Final = _Table("ambient", ("sample", "ambient_share"))
_VISIBILITY: Final = _Table(
    "visibility", ("tumor", "answer", "class", "gene", "log2_fc", "q_value")
)
_CONTACTS: Final = _Table("contacts", ("tumor", "answer", "per_100", "p_family"))


def story(results: Results) -> list[Finding]:
    """Return the answers in the order of the page; without its table, why there is none."""
    makers = (
        ("NK activation", _ACTIVATION, _activation),
        ("NK states", _NK_SHIFT, _states),
        ("Tumor response", _CORE, _core),
        ("Signal", _SIGNALS, _signal),
        ("Ambient RNA", _AMBIENT, _ambient),
        ("Dormancy", _TUMOR_SHIFT, _dormancy),
        ("Visibility", _VISIBILITY, _visibility),
        ("Contacts", _CONTACTS, _contacts),
    )
    found = []
    for topic, wanted, sentence in makers:
        table = wanted.of(results)
        text = sentence(table, results) if table is not None else _without(wanted.name, results)
        if text:
            found.append(Finding(topic, text, wanted.name if table is not None else ""))
    return found


def _without(name: str, results: Results) -> str:
    """Answer a question without its table: from other results, or with the reason."""
    if name == _CORE.name:
        response = results.tables.get("tumor_response")
        if response is not None and is_response(response):
            return _one_by_one(response, _Numbers.of(results, "tumor_response"))
        name = name if name in results.skipped else "tumor_response"
    reason = results.skipped.get(name)
    return "" if reason is None else f"No answer. {reason}"


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Effects in words: with the level of their interval and what the replicates are."""

    level: str
    replicates: str

    @classmethod
    def of(cls, results: Results, table: str) -> _Numbers:
        """Return what the options of a table say; tables of the caller have none."""
        _, options = results.methods.get(table, ("", {}))
        level = options.get("confidence")
        donors = options.get("replicate") == schema.NK_DONOR and table.startswith("nk_")
        return cls(
            "interval" if level is None else f"{float(level):.0%} interval",
            "donors" if donors else "samples",
        )

    def effect(self, row: pd.Series[Any], *, odds: bool = False) -> str:
        """Write a log2 fold change, or an odds ratio, with its interval."""
        column = "log_odds_ratio" if odds else "log2_fc"
        shown = [
            number(np.exp(float(value)) if odds else float(value))
            for value in (row[column], row.get("ci_low", np.nan), row.get("ci_high", np.nan))
        ]
        if not all(shown):
            return f"{shown[0] or 'unknown'}, no interval"
        return f"{shown[0]}, {self.level} {shown[1]} to {shown[2]}"

    def odds(self, row: pd.Series[Any], treated: str, control: str) -> str:
        """Write the shares of both arms, the odds ratio and the replicates."""
        shares = ""
        if {treated, control} <= set(row.index):
            shares = f"{float(row[control]):.0%} → {float(row[treated]):.0%}, "
        return f"{shares}odds ratio {self.effect(row, odds=True)}{self.arms(row)}"

    def arms(self, row: pd.Series[Any]) -> str:
        """Write the replicates of both arms."""
        arms = ("n_samples_treated", "n_samples_control")
        if not set(arms) <= set(row.index):
            return ""
        treated, control = (f"{row[arm]:.0f}" for arm in arms)
        return f"; {treated} + {control} {self.replicates}"


def _list(lines: Iterable[object]) -> str:
    return names(map(str, lines), 6)


def _extreme(part: pd.DataFrame, effect: str) -> pd.Series[Any]:
    """Return the row of the largest effect in either direction."""
    row: pd.Series[Any] = part.iloc[int(np.argmax(part[effect].abs().to_numpy(dtype=float)))]
    return row


def _some_of(n: int, n_lines: int) -> str:
    return "in the only line" if n_lines == 1 else f"in {n} of {n_lines} lines"


def _none_of(n_lines: int) -> str:
    return "in the only line" if n_lines == 1 else f"in any of {n_lines} lines"


# --- the questions


def _activation(table: pd.DataFrame, results: Results) -> str:
    known = table[np.isfinite(table["log_odds_ratio"])]
    if not len(known):
        return "No line has an estimate."
    order = known.sort_values("log_odds_ratio", ascending=False, kind="stable")
    in_words = _Numbers.of(results, _ACTIVATION.name)
    columns = ("active_treated", "active_control")
    top, last = order.iloc[0], order.iloc[-1]
    one = f"{top['tumor']} ({in_words.odds(top, *columns)})"
    if len(order) == 1:
        return f"{_verb(top)} {one}, the only line."
    text = (
        f"Of {len(order)} lines, {one} activates NK cells most, "
        f"{last['tumor']} least ({in_words.odds(last, *columns)})."
    )
    return text + _ties(order)


def _verb(row: pd.Series[Any]) -> str:
    low, high = (float(row.get(end, np.nan)) for end in ("ci_low", "ci_high"))
    if low > 0:
        return "NK cells are more often activated with"
    return (
        "NK cells are less often activated with"
        if high < 0
        else "No clear change of activated NK cells with"
    )


def _ties(order: pd.DataFrame) -> str:
    """Say what the intervals leave open."""
    if not has(order, "ci_low", "ci_high"):
        return ""
    top = order.iloc[0]
    near = order[1:][order["ci_high"][1:] >= top["ci_low"]]
    text = ""
    if len(near) == len(order) - 1:
        text = " The order is open: all intervals overlap with the first."
    elif len(near):
        text = f" The order of {_list([top['tumor'], *near['tumor']])} is open: intervals overlap."
    none = order[(order["ci_low"] <= 0) & (order["ci_high"] >= 0)]["tumor"]
    return text + (f" No clear activation: {_list(none)}." if len(none) else "")


def _states(table: pd.DataFrame, results: Results) -> str:
    sure = table[table["q_value"] < FDR]
    n_lines = table["tumor"].nunique()
    in_words = _Numbers.of(results, _NK_SHIFT.name)
    if not len(sure):
        return f"No state changes its share {_none_of(n_lines)} (q < {FDR})."
    parts = [
        (part["tumor"].nunique(), _of_state(str(state), part, n_lines, in_words))
        for (state, _), part in sure.groupby(
            [sure["state"].astype(str), sure["log_odds_ratio"] > 0]
        )
    ]
    # The states that change in most lines; ties in the order of the names.
    parts.sort(key=lambda part: -part[0])
    more = f" {len(parts) - _NAMED} further changes are below." if len(parts) > _NAMED else ""
    return " ".join(text for _, text in parts[:_NAMED]) + more


def _of_state(state: str, part: pd.DataFrame, n_lines: int, in_words: _Numbers) -> str:
    row = _extreme(part, "log_odds_ratio")
    word = "more" if row["log_odds_ratio"] > 0 else "less"
    return (
        f"{printed(state)} is {word} frequent {_some_of(part['tumor'].nunique(), n_lines)}"
        f", most in {row['tumor']} "
        f"({in_words.odds(row, 'fraction_treated', 'fraction_control')})."
    )


def _core(table: pd.DataFrame, results: Results) -> str:
    core = table[table["core"].astype(bool)]
    response = results.tables.get("tumor_response")
    lines = ""
    if response is not None and is_response(response):
        counts = genes_per_line(response)["significant"]
        lines = f" Genes that change per line (q < {FDR}): {_range(counts)}."
    if not len(core):
        return f"No gene responds in enough lines to be called core.{lines}"
    in_words = _Numbers.of(results, _CORE.name)
    shown = [
        f"{row['gene']} (log2 fold change {in_words.effect(row)}{_in_lines(row)})"
        for _, row in core.head(_NAMED).iterrows()
    ]
    return (
        f"{count(len(core), 'gene')} respond{'s' * (len(core) == 1)} over all lines, first "
        f"{', '.join(shown)}.{lines}"
    )


def _in_lines(row: pd.Series[Any]) -> str:
    if not {"n_up", "n_lines"} <= set(row.index):
        return ""
    return f"; significant by itself in {row['n_up']:.0f} of {row['n_lines']:.0f} lines"


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _one_by_one(table: pd.DataFrame, in_words: _Numbers) -> str:
    """Describe responses that were not pooled over lines, as those of a single line."""
    counts = genes_per_line(table)
    if len(counts) > 1:
        return (
            f"{_range(counts['significant'])} genes per line change (q < {FDR}) in "
            f"{len(counts)} lines; no core response was computed."
        )
    line = counts.iloc[0]
    text = (
        f"In {line['tumor']}, the only line, {count(int(line['significant']), 'gene')} of "
        f"{line['tested']:,} change (q < {FDR}): {line['up']:,} up, {line['down']:,} down"
    )
    sure = table[(table["q_value"] < FDR)]
    if "ambient_suspect" in sure:
        sure = sure[~sure["ambient_suspect"].astype(bool)]
    if not len(sure):
        return f"{text}."
    row = sure.sort_values("p_value", kind="stable").iloc[0]
    return (
        f"{text}; most certain: {row['gene']} (log2 fold change "
        f"{in_words.effect(row)}{in_words.arms(row)})."
    )


def _signal(table: pd.DataFrame, _: Results) -> str:
    lines = table.sort_values("alone_z", ascending=False, kind="stable").drop_duplicates("tumor")
    clear = lines[lines["call"].astype(str) != "unclear"]
    parts = [
        f"{call} explains the response best {_some_of(len(part), len(lines))} "
        f"({_list(part['tumor'])}; z {_z(part['alone_z'])})"
        for call, part in clear.groupby(clear["call"].astype(str))
    ]
    unclear = lines[lines["call"].astype(str) == "unclear"]
    if len(unclear):
        why = names(dict.fromkeys(unclear["reason"].astype(str).map(_spaced)), 2)
        parts.append(f"unclear in {_list(unclear['tumor'])}: {why}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _spaced(reason: str) -> str:
    """Write names of Hallmark sets as words."""
    return " ".join(
        word.removeprefix("HALLMARK_").replace("_", " ").lower()
        if word.startswith("HALLMARK_")
        else word
        for word in reason.split(" ")
    )


def _z(values: pd.Series) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"


def _ambient(table: pd.DataFrame, results: Results) -> str:
    share = table["ambient_share"].dropna()
    if not len(share):
        return "The ambient share is unknown in all samples."
    text = (
        f"{share.median():.1%} of the counts of tumor cells in co-culture (median of "
        f"{count(len(share), 'sample')}; {share.min():.1%} to {share.max():.1%})"
    )
    response = results.tables.get("tumor_response")
    if response is None or not is_response(response):
        return f"{text}."
    if "ambient_suspect" not in response:
        return f"{text}. Which effects it explains was not tested."
    sure = response["q_value"] < FDR
    flagged = int((sure & response["ambient_suspect"].astype(bool)).sum())
    return f"{text}. It may explain {flagged:,} of {int(sure.sum()):,} effects, which are flagged."


def _dormancy(table: pd.DataFrame, results: Results) -> str:
    part = table[table["state"].astype(str) == _DORMANT]
    if not len(part):
        return "No low-MYC, dormant-like tumor cells were called, so their share was not compared."
    sure = part[part["q_value"] < FDR]
    n_lines = part["tumor"].nunique()
    if not len(sure):
        return f"The share of dormant-like tumor cells does not change {_none_of(n_lines)}."
    in_words = _Numbers.of(results, _TUMOR_SHIFT.name)
    texts = []
    for word, rows in (
        ("more", sure[sure["log_odds_ratio"] > 0]),
        ("less", sure[sure["log_odds_ratio"] < 0]),
    ):
        if len(rows):
            row = _extreme(rows, "log_odds_ratio")
            texts.append(
                f"Dormant-like tumor cells are {word} frequent with NK cells "
                f"{_some_of(len(rows), n_lines)}, most in {row['tumor']} "
                f"({in_words.odds(row, 'fraction_treated', 'fraction_control')})."
            )
    return f"{' '.join(texts)} Killing of the other cells may be the cause."


def _visibility(table: pd.DataFrame, results: Results) -> str:
    rows = table[(table["answer"] == "equal_depth_and_cycle") & (table["gene"] == _SUM)]
    if not len(rows):
        return "Dormant-like cells could not be compared at equal depth and cell cycle."
    sure = rows[rows["q_value"] < FDR]
    n_lines = rows["tumor"].nunique()
    if not len(sure):
        return (
            f"At equal depth and cell cycle, no class of genes that NK cells see differs between "
            f"dormant-like and other tumor cells {_none_of(n_lines)}."
        )
    in_words = _Numbers.of(results, _VISIBILITY.name)
    parts = [
        (
            part["tumor"].nunique(),
            _of_class(str(kind), part, n_lines, in_words),
        )
        for (kind, _), part in sure.groupby([sure["class"].astype(str), sure["log2_fc"] > 0])
    ]
    parts.sort(key=lambda part: -part[0])
    shown = "; ".join(text for _, text in parts[:_NAMED])
    return f"Dormant-like against other tumor cells, at equal depth and cell cycle: {shown}."


def _of_class(kind: str, part: pd.DataFrame, n_lines: int, in_words: _Numbers) -> str:
    row = _extreme(part, "log2_fc")
    word = "higher" if row["log2_fc"] > 0 else "lower"
    return (
        f"{kind.replace('_', ' ')} {word} {_some_of(part['tumor'].nunique(), n_lines)} (most in "
        f"{row['tumor']}: log2 fold change {in_words.effect(row)})"
    )


def _contacts(table: pd.DataFrame, results: Results) -> str:
    answered = table[table["answer"].astype(str) == "excess"]
    rest = len(table) - len(answered)
    open_lines = f" {count(rest, 'line')} without an estimate." if rest else ""
    if not len(answered):
        return f"No line has an estimate of attached NK–tumor pairs.{_reasons(table)}"
    sure = answered[answered["p_family"] < FDR].sort_values("per_100", ascending=False)
    n_lines = len(answered)
    if not len(sure):
        return f"No more NK–tumor pairs than chance makes {_none_of(n_lines)}.{open_lines}"
    row = sure.iloc[0]
    ends = ""
    if has(sure, "per_100_low", "per_100_high"):
        level = _Numbers.of(results, _CONTACTS.name).level
        ends = f", {level} {number(row['per_100_low'])} to {number(row['per_100_high'])}"
    return (
        f"More attached NK–tumor pairs than chance makes {_some_of(len(sure), n_lines)}, most in "
        f"{row['tumor']} ({number(row['per_100'])} per 100 droplets{ends}).{open_lines}"
    )


def _reasons(table: pd.DataFrame) -> str:
    if "reason" not in table:
        return ""
    known = [why for why in dict.fromkeys(table["reason"].astype(str)) if why]
    return f" {names(known, 2)}." if known else ""
