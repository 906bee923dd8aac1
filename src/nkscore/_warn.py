"""The one way to warn: at the line of the user's code that called nkscore."""

from __future__ import annotations

import inspect
import warnings

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
