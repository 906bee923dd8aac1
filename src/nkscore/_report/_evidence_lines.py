"""What each table of an analysis says of one line: its question, effect and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nkscore._report._evidence_kinds import (
    FDR,
    OTHER_TABLES,
    RESPONSE,
    Kind,
    moves,
    number_of,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from nkscore._report._evidence_kinds import Row

_SHOWN: Final = 5


def _in_contact(values: Row) -> str:
    if number_of(values, "p_family") < FDR:
        return "more attached pairs than chance"
    return str(values.get("answer", "no excess found"))


#: Questions on a line whose tables have few rows for it, in the order of the page.
OF_LINE: Final = (
    Kind(
        "Does it activate NK cells?",
        "tl.nk_activation",
        ("tumor", "rank", "active_treated"),
        "log_odds_ratio",
        "log odds ratio of activated NK cells",
        lambda v: moves(v, "log_odds_ratio"),
        reason=lambda v: f"rank {v['rank']}",
    ),
    Kind(
        "Which states change?",
        "tl.state_shift",
        ("tumor", "state", "log_odds_ratio"),
        "log_odds_ratio",
        "log odds ratio of the state",
        lambda v: moves(v, "log_odds_ratio"),
        detail=("state",),
    ),
    Kind(
        "Does the score change?",
        "tl.response_score",
        ("tumor", "change", "mean_treated", "q_value"),
        "change",
        "change of the score",
        lambda v: moves(v, "change"),
        lacks=("component",),
    ),
    Kind(
        "State or composition?",
        "tl.decompose_shift",
        ("tumor", "component", "stratum", "change"),
        "change",
        "change of the mean score",
        lambda v: moves(v, "change", "p_value"),
        detail=("component", "stratum"),
        q="",
    ),
    Kind(
        "Which signal explains the response?",
        "tl.signal_activity",
        ("tumor", "signal", "alone_z", "call"),
        "alone_z",
        "z of the signal",
        lambda v: f"called {v['call']}",
        low="",
        high="",
        q="",
        detail=("signal",),
        reason=text_of("reason"),
    ),
    Kind(
        "Do NK cells attach to it?",
        "tl.contacts",
        ("tumor", "per_100", "answer"),
        "per_100",
        "attached pairs per 100 droplets",
        _in_contact,
        low="per_100_low",
        high="per_100_high",
        q="p_family",
        reason=text_of("reason"),
    ),
    Kind(
        "Is it sensitive to killing?",
        "tl.sensitivity_auc",
        ("tumor", "auc", "n_ratios"),
        "auc",
        "area under the curve of survival",
        lambda _: "measured",
        p="",
        q="",
    ),
    Kind(
        "How much ambient RNA?",
        "pp.ambient",
        ("sample", "tumor", "ambient_share"),
        "ambient_share",
        "share of the counts",
        lambda _: "measured",
        p="",
        q="",
        detail=("sample",),
    ),
)


@dataclass(frozen=True, slots=True)
class Summary(Kind):
    """One question on a line whose answer is counted over the rows of a table."""

    count: Callable[[pd.DataFrame], tuple[int, str, str]] = lambda rows: (len(rows), "", "")

    def rows(self, table: pd.DataFrame, name: str) -> list[Row]:
        """Return one row of the evidence for all rows of a table."""
        number, verdict, reason = self.count(table)
        made = self.row({"tumor": table["tumor"].iloc[0]}, name)
        own = {"estimate": float(number), "unit": self.unit, "verdict": verdict, "reason": reason}
        return [made | own]


def _first(names: pd.Series) -> str:
    return ", ".join(map(str, names.head(_SHOWN)))


def _genes(rows: pd.DataFrame) -> tuple[int, str, str]:
    sure = rows[rows["q_value"] < FDR].sort_values("p_value", kind="stable")
    up = int((sure["log2_fc"] > 0).sum())
    note = f"strongest: {_first(sure['gene'])}" if len(sure) else ""
    if "ambient_suspect" in sure and len(sure):
        note += f"; {int(sure['ambient_suspect'].astype(bool).sum())} may be ambient RNA"
    return len(sure), f"{up} up, {len(sure) - up} down of {len(rows)} tested", note


def _specific(rows: pd.DataFrame) -> tuple[int, str, str]:
    found = rows[rows["specific"].astype(bool)].sort_values("lfsr", kind="stable")
    return len(found), f"{len(found)} of {len(rows)} genes", _first(found["gene"])


def _sets(rows: pd.DataFrame) -> tuple[int, str, str]:
    sure = rows[rows["q_value"] < FDR].sort_values("p_value", kind="stable")
    return len(sure), f"{len(sure)} of {len(rows)} sets", _first(sure["set"])


def _pairs(rows: pd.DataFrame) -> tuple[int, str, str]:
    sure = rows[rows["q_value"] < FDR].sort_values("p_value", kind="stable")
    pairs = sure["nk_gene"].astype(str) + "–" + sure["tumor_gene"].astype(str)
    return len(sure), f"{len(sure)} of {len(rows)} pairs change", _first(pairs.drop_duplicates())


def _clones(rows: pd.DataFrame) -> tuple[int, str, str]:
    fates = rows["fate"].astype(str).value_counts()
    lost = int(fates.get("eliminated", 0) + fates.get("shrunken", 0))
    words = ", ".join(f"{n} {fate}" for fate, n in fates.items())
    return (
        lost,
        f"resistance: {rows['resistance'].iloc[0]}",
        (f"{words}; {rows['resistance_reason'].iloc[0]}"),
    )


def _summary(
    question: str,
    source: str,
    needs: tuple[str, ...],
    count: Callable[[pd.DataFrame], tuple[int, str, str]],
    unit: str,
) -> Summary:
    lacks = OTHER_TABLES if needs == RESPONSE else ()
    return Summary(question, source, needs, "", unit, lambda _: "", lacks=lacks, count=count)


SUMMARIES: Final = (
    _summary(
        "Which genes respond?", "tl.interaction_response", RESPONSE, _genes, "genes at q < 0.05"
    ),
    _summary(
        "Which genes are specific to it?",
        "tl.specific_response",
        ("tumor", "gene", "difference", "lfsr", "specific"),
        _specific,
        "specific genes",
    ),
    _summary(
        "Which gene sets respond?",
        "tl.enrichment",
        ("tumor", "set", "leading_genes", "q_value"),
        _sets,
        "sets at q < 0.05",
    ),
    _summary(
        "Which receptors and ligands change?",
        "tl.communication",
        ("tumor", "nk_gene", "tumor_gene", "q_value", "p_value"),
        _pairs,
        "pairs at q < 0.05",
    ),
    _summary(
        "Which clones survive?",
        "tl.clone_fate",
        ("tumor", "clone", "fate", "resistance", "resistance_reason"),
        _clones,
        "clones that shrank or are gone",
    ),
)
