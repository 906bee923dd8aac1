"""Rows of the table of questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nkscore import schema
from nkscore.tl._plan._remedies import weakness

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nkscore.tl._plan._comparison import Answer, Arms

_MONO: Final = (schema.TUMOR_MONO, schema.NK_MONO)


def row_of(question: str, pair: Arms, answer: Answer, levels: str) -> dict[str, Any]:
    """Return the row of an answer."""
    problem, remedy = weakness(answer, pair)
    apart = [column for column, _ in answer.apart]
    if len(answer.donors) == 1 and pair.control in _MONO:
        apart.append("donor")
    return {
        "question": question,
        "compartment": pair.compartment,
        "tumor": answer.line,
        "treated": str(pair.treated),
        "levels": levels,
        "estimable": answer.estimable,
        "df_residual": answer.df_residual,
        "n_treated": answer.n_treated,
        "n_control": answer.n_control,
        "paired": answer.paired,
        "confounded_with": ", ".join(apart),
        "problem": problem,
        "remedy": remedy,
        "donors": answer.donors,
    }


def is_of(row: Mapping[str, Any], question: str) -> bool:
    """Return whether a row is of a question."""
    return bool(row["question"] == question)


def text_of(levels: Mapping[str, str]) -> str:
    """Return levels of factors as text."""
    return ", ".join(f"{column} = {level}" for column, level in levels.items())


def joined(texts: Iterable[str], mark: str) -> str:
    """Return the texts that are not empty as one."""
    return mark.join(filter(None, texts))
