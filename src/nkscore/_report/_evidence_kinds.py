"""What each table of an analysis says of one gene or one line: its question, effect and verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    Row = dict[str, Any]

FDR: Final = 0.05
NOT_TESTED: Final = "not tested"


@dataclass(frozen=True, slots=True)
class Kind:
    """One question, and how a table that answers it is recognized and read.

    ``needs`` are the columns that a table must have, ``lacks`` those of other tables that it must
    not have. ``genes`` are the columns that name a gene.
    """

    question: str
    source: str
    needs: tuple[str, ...]
    effect: str
    unit: str
    verdict: Callable[[Row], str]
    lacks: tuple[str, ...] = ()
    genes: tuple[str, ...] = ("gene",)
    low: str = "ci_low"
    high: str = "ci_high"
    p: str = "p_value"
    q: str = "q_value"
    #: Columns that tell rows of one line apart: state, screen, set, ...
    detail: tuple[str, ...] = ()
    #: Reason for the verdict.
    reason: Callable[[Row], str] = lambda _: ""

    def fits(self, table: pd.DataFrame) -> bool:
        """Whether a table answers the question."""
        have = set(table.columns)
        return len(table) > 0 and set(self.needs) <= have and not set(self.lacks) & have

    def of_gene(self, table: pd.DataFrame, gene: str) -> pd.DataFrame:
        """Return the rows that name a gene, by itself or in a list."""
        found = np.zeros(len(table), dtype=bool)
        for name in (each for each in self.genes if each in table):
            text = table[name].astype(str)
            found |= (text == gene).to_numpy()
            several = text.str.contains(r"[,;+ ]", regex=True).to_numpy()
            if several.any():
                parts = text[several].str.split(r"[,;+ ]+", regex=True)
                found[several] |= [gene in each for each in parts]
        return table[found]

    def rows(self, table: pd.DataFrame, name: str) -> list[Row]:
        """Return one row of the evidence for each row of a table."""
        records: list[Any] = table.to_dict("records")
        return [self.row(values, name) for values in records]

    def row(self, values: Row, name: str) -> Row:
        """Return one row of the evidence from one row of a table."""
        detail = [str(values[c]) for c in self.detail if _known(values.get(c))]
        return {
            "question": self.question,
            "source": name,
            "tumor": str(values["tumor"]) if _known(values.get("tumor")) else "all",
            "compartment": "nk" if name.startswith("nk_") else "",
            "detail": ", ".join(detail),
            "estimate": number_of(values, self.effect),
            "ci_low": number_of(values, self.low),
            "ci_high": number_of(values, self.high),
            "p_value": number_of(values, self.p),
            "q_value": number_of(values, self.q),
            "unit": self.unit if self.effect else "",
            "verdict": self.verdict(values),
            "reason": self.reason(values),
        }


def _known(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and np.isnan(value)) and value != ""


def number_of(values: Row, name: str) -> float:
    value = values.get(name, np.nan)
    return float(value) if isinstance(value, (int, float, np.number)) else np.nan


def moves(values: Row, effect: str = "log2_fc", q: str = "q_value") -> str:
    """Return up, down or that no change was found."""
    if np.isnan(number_of(values, q)):
        return NOT_TESTED
    if number_of(values, q) >= FDR:
        return "no change found"
    return "up" if number_of(values, effect) > 0 else "down"


def _yes(name: str, yes: str, no: str) -> Callable[[Row], str]:
    return lambda values: yes if bool(values.get(name)) else no


def text_of(*names: str) -> Callable[[Row], str]:
    return lambda values: ", ".join(str(values[n]) for n in names if _known(values.get(n)))


def _after_ambient(values: Row) -> str:
    if bool(values["ambient_suspect"]):
        return "may be ambient RNA"
    if np.isnan(number_of(values, "log2_fc_adjusted")):
        return "not flagged"
    sure = number_of(values, "p_value") < FDR
    return "not explained by ambient RNA" if sure else "nothing to explain"


def _of_flag(values: Row) -> str:
    measured = np.isfinite(number_of(values, "log2_fc_adjusted"))
    return "" if measured else "ambient RNA was not measured; genes are flagged by name only"


_FC: Final = "log2 fold change"
OTHER_TABLES: Final = (
    "core",
    "answer",
    "nk_share",
    "n_clones_winners",
    "screen",
    "nk_gene",
    "target",
)
RESPONSE: Final = ("tumor", "gene", "log2_fc", "p_value", "q_value")

#: Questions on a gene, in the order of the page.
OF_GENE: Final = (
    Kind(
        "Does it respond to contact?",
        "tl.interaction_response",
        RESPONSE,
        "log2_fc",
        _FC,
        moves,
        lacks=OTHER_TABLES,
    ),
    Kind(
        "Can ambient RNA explain it?",
        "tl.flag_ambient",
        (*RESPONSE, "ambient_suspect"),
        "log2_fc_adjusted",
        f"{_FC}, ambient RNA subtracted",
        _after_ambient,
        lacks=OTHER_TABLES,
        low="",
        high="",
        reason=_of_flag,
        p="p_value_adjusted",
        q="",
    ),
    Kind(
        "Can doublets explain it?",
        "tl.doublet_sensitivity",
        (*RESPONSE, "doublet_suspect"),
        "log2_fc_without_doublets",
        f"{_FC}, doublets removed",
        _yes("doublet_suspect", "may be doublets", "remains without doublets"),
        lacks=OTHER_TABLES,
        low="",
        high="",
        p="",
        q="",
    ),
    Kind(
        "Does it respond in all lines?",
        "tl.core_response",
        ("gene", "core", "log2_fc"),
        "log2_fc",
        f"mean {_FC} over lines",
        _yes("core", "core response", "not in the core response"),
    ),
    Kind(
        "Is the response specific to a line?",
        "tl.specific_response",
        ("gene", "difference", "lfsr", "specific"),
        "difference",
        f"difference of {_FC} to other lines",
        _yes("specific", "specific", "not specific"),
        low="",
        high="",
        p="",
        q="",
        reason=lambda v: f"local false sign rate {number_of(v, 'lfsr'):.2g}",
    ),
    Kind(
        "Which genes respond alike?",
        "tl.response_modules",
        ("gene", "module", "label"),
        "",
        "",
        lambda v: f"module {v['module']}",
        low="",
        high="",
        p="",
        q="",
        reason=text_of("label"),
    ),
    Kind(
        "Does it lead a gene set?",
        "tl.enrichment",
        ("tumor", "set", "leading_genes"),
        "t",
        "t of the set",
        lambda v: moves(v, "t"),
        genes=("leading_genes",),
        low="",
        high="",
        detail=("set",),
    ),
    Kind(
        "State or composition?",
        "tl.decompose_shift",
        ("tumor", "component", "stratum", "change", "gene"),
        "change",
        "change of the mean",
        text_of("component"),
        detail=("component", "stratum"),
    ),
    Kind(
        "Does attachment add to it?",
        "tl.contact_response",
        ("gene", "log2_fc", "nk_share", "n_own"),
        "log2_fc",
        f"{_FC}, attached pairs over expectation",
        moves,
        reason=lambda v: (
            f"share of the expected counts from NK cells {number_of(v, 'nk_share'):.2f}"
        ),
    ),
    Kind(
        "Did later winners differ before contact?",
        "tl.clone_expression",
        ("gene", "log2_fc", "n_clones_winners"),
        "log2_fc",
        f"{_FC}, winning against losing clones",
        moves,
    ),
    Kind(
        "Does it receive or send a signal?",
        "tl.signal_activity",
        ("tumor", "signal", "alone_z", "call"),
        "alone_z",
        "z of the signal",
        lambda v: f"line called {v['call']}",
        genes=("receptor", "ligand"),
        low="",
        high="",
        q="",
        detail=("signal",),
        reason=text_of("reason"),
    ),
    Kind(
        "Does its loss change killing?",
        "tl.screen_hits",
        ("screen", "gene", "log2_fc", "hit", "role"),
        "log2_fc",
        f"{_FC} of cells in the screen",
        lambda v: str(v["role"] or "no role") if bool(v["hit"]) else "no hit",
        low="",
        high="",
        detail=("screen",),
    ),
    Kind(
        "Do screens agree?",
        "tl.join_screens",
        ("gene", "combined", "n_screens"),
        "combined",
        "combined effect",
        lambda v: str(v.get("role") or "no role"),
        low="",
        high="",
        reason=lambda v: f"{v['n_screens']} screens",
    ),
    Kind(
        "Does it bind an NK receptor or ligand?",
        "tl.communication",
        ("tumor", "nk_gene", "tumor_gene", "score", "log2_fc"),
        "log2_fc",
        f"{_FC} of the product of both genes",
        moves,
        genes=("nk_gene", "nk_partners", "tumor_gene"),
        detail=("nk_state", "nk_gene", "tumor_gene", "class"),
    ),
)
