"""What was excluded from a comparison, and why: ``attrs["left_out"]`` of tables of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nkscore.stats import Design

#: Key of ``attrs``.
LEFT_OUT: Final = "left_out"


class LeftOut(TypedDict):
    """``what``: ``sample``, ``line``, ``gene``, ``class``, ``guide``, ``target``, ``effects``."""

    what: str
    name: str
    reason: str


def left_out(what: str, names: Iterable[str], reasons: Iterable[str]) -> tuple[LeftOut, ...]:
    """Return one entry per name."""
    return tuple(
        LeftOut(what=what, name=str(name), reason=reason)
        for name, reason in zip(names, reasons, strict=True)
    )


def confounded_lines(design: Design) -> tuple[LeftOut, ...]:
    """Return an entry for each line whose effect the design cannot estimate."""
    reason = "the treatment is confounded with other terms"
    return left_out("line", design.confounded, [reason] * len(design.confounded))
