"""The one way to warn: at the line of the user's code that called nkscore."""

from __future__ import annotations

import inspect
import warnings
from typing import Final

from nkscore.errors import NkscoreWarning


def warn(message: str) -> None:
    """Warn with :class:`nkscore.errors.NkscoreWarning` at the first caller outside nkscore."""
    warnings.warn(message, NkscoreWarning, stacklevel=_outside())


def _outside() -> int:
    """Return how far above :func:`warn` the user's code is, as ``stacklevel`` counts."""
    frame = inspect.currentframe()
    level = 0
    while frame is not None and f"{frame.f_globals.get('__name__')}.".startswith("nkscore."):
        frame = frame.f_back
        level += 1
    return level


_BEFORE: Final = warnings.formatwarning


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Write warnings of nkscore on one line; the line of code that follows others is noise."""
    if issubclass(category, NkscoreWarning):
        return f"{category.__name__}: {' '.join(str(message).split())}\n"
    return _BEFORE(message, category, filename, lineno, line)


warnings.formatwarning = _shown
