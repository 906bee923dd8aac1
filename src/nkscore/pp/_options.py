"""Checks of numbers and names that the caller chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def check_share(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is from 0 to below 1."""
    if not 0 <= value < 1:
        msg = f"{name} is {value}; give a number from 0 to below 1."
        raise ValueError(msg)


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``value`` is finite and above 0."""
    if not 0 < value < float("inf"):
        msg = f"{name} is {value}; a positive number is needed, and a finite one."
        raise ValueError(msg)


def check_names(option: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raise ``ValueError`` for a name that is not known."""
    unknown = [repr(name) for name in given if name not in known]
    if unknown:
        msg = f"{option} names {', '.join(unknown)}; known here: {', '.join(known)}."
        raise ValueError(msg)
