"""What keeps a design from an answer, and what would fix it, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nkscore import schema

if TYPE_CHECKING:
    from nkscore.tl._plan._comparison import Answer, Arms

#: With fewer residual degrees of freedom, critical values of t are above 3.
_FEW_DF: Final = 3
_SHOWN: Final = 4


def weakness(answer: Answer, pair: Arms) -> tuple[str, str]:
    """Return what is wrong with an answer and its remedy; empty if nothing is."""
    if not answer.estimable:
        return answer.problem, _of_missing(answer, pair)
    found = [_of_batch(answer, pair, *one) for one in answer.apart]
    if answer.n_control == 1:
        found.append(
            (
                f"one sample of {_alone(answer, pair)}: its deviation passes for a response",
                f"Add a second well of {_alone(answer, pair)}.",
            )
        )
    if len(answer.donors) == 1 and pair.control in (schema.TUMOR_MONO, schema.NK_MONO):
        found.append(
            (
                f"one NK donor ({answer.donors[0]}): the result holds for this donor only",
                f"Add co-cultures of {answer.line} with two or more other donors.",
            )
        )
    if answer.df_residual < _FEW_DF:
        found.append(
            (
                f"{answer.df_residual} residual degrees of freedom: only large changes are found",
                "Add NK donors" + (", or wells of lines alone." if _of_tumor(pair) else "."),
            )
        )
    fixes = dict.fromkeys(fix for _, fix in found)
    return "; ".join(problem for problem, _ in found), " ".join(fixes)


def _of_tumor(pair: Arms) -> bool:
    return pair.compartment == schema.TUMOR_CELLS


def _alone(answer: Answer, pair: Arms) -> str:
    """Return the control wells of a line."""
    if pair.control == schema.TUMOR_MONO:
        return f"{answer.line} alone"
    if pair.control == schema.NK_MONO:
        return "NK cells alone"
    return f"{answer.line} at {pair.column} {pair.control}"


def _together(answer: Answer, pair: Arms) -> str:
    """Return the treated wells of a line."""
    if pair.treated == schema.COCULTURE:
        return f"co-cultures of {answer.line}"
    return f"{answer.line} at {pair.column} {pair.treated}"


def _of_missing(answer: Answer, pair: Arms) -> str:
    if not answer.n_control:
        per = "of each donor" if pair.control == schema.NK_MONO else "(two or more)"
        return f"Add wells of {_alone(answer, pair)} {per}, in the lanes of its co-cultures."
    if not answer.n_treated:
        return f"Add {_together(answer, pair)}, with three or more NK donors."
    if "no replicate" in answer.problem:
        if _of_tumor(pair):
            return (
                f"Add a second well of {_alone(answer, pair)}, and co-cultures of {answer.line} "
                "with three or more NK donors."
            )
        return f"Add NK donors (three or more), each alone and with {answer.line}."
    return f"Measure {_alone(answer, pair)} and {_together(answer, pair)} with the same donors."


def _of_batch(answer: Answer, pair: Arms, column: str, levels: tuple[str, ...]) -> tuple[str, str]:
    shown = ", ".join(levels[:_SHOWN]) + (", ..." if len(levels) > _SHOWN else "")
    where = f" ({shown})" if shown else ""
    problem = f"coincides with {column}{where}"
    if column == schema.LANE:
        fix = (
            f"Put one well of {_alone(answer, pair)} into each lane that holds "
            f"{_together(answer, pair)}{where}, with hashtags."
        )
    else:
        fix = f"Make a well of {_alone(answer, pair)} in each {column}{where}."
    return problem, fix
