"""Checks of what the caller gives: numbers, names, columns of tables, seeds."""

from __future__ import annotations

from functools import wraps
from numbers import Integral
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

P = ParamSpec("P")
R = TypeVar("R")

_SHOWN = 20
#: Columns with the share of treated and control cells with a count: of nkscore and Seurat.
SHARES_OF_CELLS = (("pct_treated", "pct_control"), ("pct.1", "pct.2"), ("pct_1", "pct_2"))


def check_confidence(confidence: float) -> None:
    """Raise ``ValueError`` unless intervals can have this coverage."""
    if not 0 < confidence < 1:
        msg = f"confidence is {confidence}; a share between 0 and 1 is needed, for example 0.95."
        raise ValueError(msg)


def check_shares(**options: float) -> None:
    """Raise ``ValueError`` unless each option is from 0 to 1."""
    for name, value in options.items():
        if not 0 <= value <= 1:
            msg = f"{name} is {value}; a number from 0 to 1 is needed."
            raise ValueError(msg)


def check_whole(least: int, **options: float) -> None:
    """Raise ``ValueError`` unless each option is a whole number of at least ``least``."""
    for name, value in options.items():
        if value != int(value) or value < least:
            msg = f"{name} is {value}; a whole number of {least} or more is needed."
            raise ValueError(msg)


def check_part(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is from 0 to below 1."""
    if not 0 <= value < 1:
        msg = f"{name} is {value}; give a number from 0 to below 1."
        raise ValueError(msg)


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is finite and above 0."""
    if not 0 < value < float("inf"):
        msg = f"{name} is {value}; a positive, finite number is needed."
        raise ValueError(msg)


def check_names(option: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise ``ValueError`` for a name that is not known."""
    unknown = [repr(name) for name in given if name not in known]
    if unknown:
        msg = f"{option} names {', '.join(unknown)}; known here: {', '.join(known)}."
        raise ValueError(msg)


def check_columns(
    table: pd.DataFrame, columns: Iterable[str], advice: str, *, what: str = "The table"
) -> None:
    """Raise unless the table has each column once; ``advice`` says what to do where one is absent.

    ``MissingKeyError`` for a missing column, ``DesignError`` for a repeated one.
    """
    columns = list(columns)
    missing = [name for name in dict.fromkeys(columns) if name not in table.columns]
    if missing:
        have = [str(name) for name in table.columns]
        shown = ", ".join(have[:_SHOWN]) + (", ..." if len(have) > _SHOWN else "")
        msg = f"{what} has no column {', '.join(map(repr, missing))} (it has: {shown}). {advice}"
        raise MissingKeyError(msg)
    twice = [name for name in dict.fromkeys(columns) if (table.columns == name).sum() > 1]
    if twice:
        names = ", ".join(map(repr, twice))
        raise DesignError(f"{what} has several columns {names}; one is needed. Rename the others.")


def check_no_text(table: pd.DataFrame, columns: Iterable[str], *, what: str = "The table") -> None:
    """Raise ``WrongScaleError`` where a column of numbers holds text."""
    for name in columns:
        text = next((value for value in table[name] if isinstance(value, str)), None)
        if text is not None:
            msg = (
                f"{what} holds the text {text!r} in column {name!r}; numbers are needed. Convert "
                "it with pandas.to_numeric."
            )
            raise WrongScaleError(msg)


def check_single_rows(
    table: pd.DataFrame, keys: list[str], advice: str, *, what: str = "The table"
) -> None:
    """Raise ``DesignError`` where several rows have the same ``keys``."""
    repeated = table.duplicated(keys)
    if repeated.any():
        first = table.loc[repeated, keys].iloc[0]
        where = ", ".join(f"{key} {first[key]!r}" for key in keys)
        raise DesignError(f"{what} has several rows for {where}; one is needed. {advice}")


def check_frame(table: object, where: str, advice: str) -> pd.DataFrame:
    """Return a table that names its columns, or raise ``MissingKeyError``."""
    if not isinstance(table, pd.DataFrame):
        msg = (
            f"{where} is of type {type(table).__name__}; a DataFrame with named columns is needed. "
            f"{advice}"
        )
        raise MissingKeyError(msg)
    return table


def check_there(wanted: Iterable[str], there: Collection[str], what: str) -> None:
    """Raise ``MissingKeyError`` for a name of a ``what`` that the data do not have."""
    lost = [str(name) for name in wanted if name not in there]
    if lost:
        have = ", ".join(map(str, there)) or "none"
        msg = f"There is no {what} {', '.join(lost)}; there are {have}. Name one of these."
        raise MissingKeyError(msg)


def names_of(given: str | Iterable[str]) -> list[str]:
    """Return a list of names; a single string counts as one name."""
    return [given] if isinstance(given, str) else list(given)


def seed_of(rng: int | np.random.Generator | None) -> int:
    """Return a 32-bit seed; ``None`` takes fresh entropy, a generator is advanced by one draw."""
    if rng is None:
        rng = np.random.default_rng()
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**32))
    given: Any = rng
    if isinstance(given, bool) or not isinstance(given, Integral) or int(given) < 0:
        msg = f"rng is {rng!r}; a whole number >= 0, a numpy Generator or None is needed."
        raise ValueError(msg)
    return int(given) % 2**32


def no_longer(**remedies: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse options of an earlier version, and say what to use instead."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name, remedy in remedies.items():
                if name in kwargs:
                    msg = f"{function.__name__} no longer has the option {name!r}. {remedy}"
                    raise TypeError(msg)
            return function(*args, **kwargs)

        return checked

    return decorate
