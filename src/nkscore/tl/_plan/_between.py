"""Questions that compare responses with one another: between lines and between levels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from nkscore.tl._plan._comparison import coincide
from nkscore.tl._plan._rows import is_of, joined, row_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nkscore._types import Floats
    from nkscore.tl._plan._comparison import Answer, Comparison

    Row = dict[str, Any]

ALL_LINES: Final = "all lines"
_SEE: Final = "See the remedies of each line's response."


def _of_tumor(responses: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the responses of tumor cells that differ by their line alone."""
    rows = [row for row in responses if is_of(row, "response")]
    for key in dict.fromkeys((row["treated"], row["levels"]) for row in rows):
        yield [row for row in rows if (row["treated"], row["levels"]) == key]


def difference_rows(responses: Sequence[Row]) -> Iterator[Row]:
    """Compare each line with the others that have an answer."""
    for rows in _of_tumor(responses):
        for row in rows if len(rows) > 1 else []:
            others = [r for r in rows if r["estimable"] and r["tumor"] != row["tumor"]]
            if row["estimable"]:
                yield _difference(row, others)
            else:
                yield {**row, "question": "line_difference"}


def _difference(row: Row, others: Sequence[Row]) -> Row:
    if not others:
        return {
            **row,
            "question": "line_difference",
            "estimable": False,
            "df_residual": 0,
            "problem": "no other line has an answer",
            "remedy": "Add a second line with both arms.",
        }
    made, vector = row["made"], row["made"].effect(row["tumor"])
    for other in others:
        vector = vector - made.effect(other["tumor"]) / len(others)
    found = row_of("line_difference", made.pair, _apart(row["answer"], made, vector), row["levels"])
    if set(row["donors"]) & {donor for other in others for donor in other["donors"]}:
        return found
    return found | {
        "confounded_with": joined([found["confounded_with"], "donor"], ", "),
        "problem": joined([found["problem"], "no donor is shared with another line"], "; "),
        "remedy": joined([found["remedy"], "Co-culture all lines with the same NK donors."], " "),
    }


def _apart(answer: Answer, made: Comparison, vector: Floats) -> Answer:
    return replace(answer, apart=tuple((c, ()) for c in coincide([(made, vector)])))


def core_rows(responses: Sequence[Row]) -> Iterator[Row]:
    """Pool lines: two are needed, and three for the spread between them."""
    for rows in _of_tumor(responses):
        known = [row for row in rows if row["estimable"]]
        if len(rows) < 2:
            continue
        apart = dict.fromkeys(c for row in known for c, _ in row["answer"].apart)
        few = f"{len(known)} of {len(rows)} lines have an answer" if len(known) < 3 else ""
        mixed = f"coincides with {', '.join(apart)} in some lines" if apart else ""
        more = "Give at least three lines both arms." if few else ""
        yield {
            **rows[0],
            "question": "core_response",
            "tumor": ALL_LINES,
            "estimable": len(known) >= 2,
            "df_residual": max((row["df_residual"] for row in known), default=0),
            "n_treated": sum(row["n_treated"] for row in known),
            "n_control": sum(row["n_control"] for row in known),
            "paired": any(row["paired"] for row in known),
            "confounded_with": ", ".join(apart),
            "problem": joined([few, mixed], "; "),
            "remedy": joined([more, _SEE if apart else ""], " "),
        }


def interaction_rows(factors: Sequence[str], responses: Sequence[Row]) -> Iterator[Row]:
    """Compare the response between levels of each factor, with the other factors alike."""
    for factor in factors:
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in responses:
            rest = text_of({c: v for c, v in row["chosen"].items() if c != factor})
            key = (row["question"], row["tumor"], row["treated"], rest)
            groups.setdefault(key, []).append(row)
        for (*_, rest), rows in groups.items():
            yield _interaction(factor, rest, rows)


def _interaction(factor: str, rest: str, rows: Sequence[Row]) -> Row:
    known = [row for row in rows if row["estimable"]]
    names = [row["chosen"][factor] for row in rows]
    levels = joined([f"{factor}: {' or '.join(names)}", rest], "; ")
    answer = replace(
        rows[0]["answer"],
        estimable=len(known) > 1,
        df_residual=sum(row["df_residual"] for row in known) if len(known) > 1 else 0,
        n_treated=sum(row["n_treated"] for row in rows),
        n_control=sum(row["n_control"] for row in rows),
        apart=tuple((column, ()) for column in _between_levels(known)),
        donors=tuple(sorted({donor for row in rows for donor in row["donors"]})),
    )
    found = row_of("interaction", rows[0]["made"].pair, answer, levels)
    if answer.estimable:
        return found
    without = [row["chosen"][factor] for row in rows if not row["estimable"]]
    return found | {
        "problem": f"the response is known at {len(known)} of {len(rows)} levels of {factor}",
        "remedy": f"Make both arms at {factor} {', '.join(without) or '(a second level)'}.",
    }


def _between_levels(known: Sequence[Row]) -> list[str]:
    """Return what coincides with a difference of the first response from any other."""
    found: dict[str, None] = {}
    for row in known[1:]:
        first = known[0]["made"], known[0]["made"].effect(known[0]["tumor"])
        other = row["made"], -row["made"].effect(row["tumor"])
        found |= dict.fromkeys(coincide([first, other]))
    return list(found)
