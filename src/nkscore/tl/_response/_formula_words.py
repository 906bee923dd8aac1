"""Reading of formulas and of levels named by users."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from formulaic import Formula

    from nkscore._types import Level


def read_formula(text: str, deviations: str | None) -> Formula:
    """Return a formula; the column ``deviations`` is coded as deviations from its mean."""
    from formulaic import Formula
    from formulaic.errors import FormulaicError
    from formulaic.parser.types import Factor, Term

    try:
        formula = Formula(text)
    except (FormulaicError, SyntaxError, ValueError) as error:
        msg = (
            f"{text!r} is no formula ({str(error).splitlines()[0]}). Write the columns of obs "
            "after a tilde, for example '~ tumor * condition + nk_donor'."
        )
        raise ValueError(msg) from error
    if getattr(formula, "lhs", None) is not None or not hasattr(formula, "required_variables"):
        msg = f"{text!r} has a left side. Only what explains the counts is written: '~ ...'."
        raise ValueError(msg)
    if deviations is None:
        return formula
    coded = Factor(f"C({deviations}, contr.sum)", eval_method="python")
    terms = [
        Term([coded if factor.expr == deviations else factor for factor in term.factors])
        for term in formula
    ]
    return Formula(terms)


def variables_of(formula: Formula) -> list[str]:
    """Return the columns that a formula names, sorted.

    Formulaic does not report the arguments of its own transforms (splines).
    """
    found: set[str] = set(map(str, formula.required_variables))
    for text in {factor.expr for term in formula for factor in term.factors}:
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:  # a quoted name, which is a variable already
            continue
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        functions = {node for call in calls for node in ast.walk(call)}
        names = {node for node in ast.walk(tree) if isinstance(node, ast.Name)}
        found |= {node.id for node in names - functions}
        found -= {node.id for node in names & functions}
    return sorted(found - {"np", "contr"})


def levels_or_error(levels: Mapping[str, Level], table: pd.DataFrame) -> dict[str, Level]:
    """Return named levels as the table holds them; raise for unknown columns and levels."""
    found: dict[str, Level] = {}
    for name, value in levels.items():
        if name not in table:
            msg = (
                f"{name!r} is no variable of the model, whose variables are "
                f"{', '.join(map(str, table.columns))}."
            )
            raise ValueError(msg)
        column = table[name]
        if not isinstance(column.dtype, pd.CategoricalDtype):
            found[name] = float(value)
            continue
        known = [str(level) for level in column.cat.categories]
        if str(value) not in known:
            msg = f"{name} has no level {value!r}; its levels are {', '.join(known)}."
            raise ValueError(msg)
        found[name] = str(value)
    return found
