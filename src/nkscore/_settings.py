"""Settings of the package: how much it says, and how its figures look by default."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Names of the levels, from silent to all.
_LEVELS: Final = {
    "silent": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
_LOG: Final = logging.getLogger("nkscore")


class Settings:
    """Settings of nkscore, as ``nk.settings``; they hold until Python ends.

    Attributes
    ----------
    verbosity
        Which messages are shown: ``"silent"``, ``"error"``, ``"warning"`` (default), ``"info"``
        (what each step did) or ``"debug"``.
    figure
        Settings of matplotlib (``rcParams``) for all figures of ``pl``, on top of the house style:
        ``nk.settings.figure["figure.dpi"] = 200``.

    Raises
    ------
    ValueError
        If a level, or a setting of matplotlib, is not known.

    Examples
    --------
    >>> import nkscore as nk
    >>> nk.settings.verbosity
    'warning'
    >>> with nk.settings.override(verbosity="silent", figure={"figure.dpi": 200}):
    ...     nk.settings
    nkscore settings: verbosity 'silent', figure {'figure.dpi': 200}
    """

    __slots__ = ("_figure", "_handler", "_verbosity")

    def __init__(self) -> None:
        self._verbosity = "warning"
        self._figure: dict[str, object] = {}
        self._handler: logging.Handler | None = None

    @property
    def verbosity(self) -> str:
        """Which messages are shown."""
        return self._verbosity

    @verbosity.setter
    def verbosity(self, level: str) -> None:
        if level not in _LEVELS:
            known = ", ".join(map(repr, _LEVELS))
            msg = f"verbosity is {level!r}; known: {known}."
            raise ValueError(msg)
        self._verbosity = level
        _LOG.setLevel(_LEVELS[level])
        if self._handler is None:
            self._handler = _Handler()
            _LOG.addHandler(self._handler)

    @property
    def figure(self) -> dict[str, object]:
        """Settings of matplotlib for all figures."""
        return self._figure

    @figure.setter
    def figure(self, values: Mapping[str, object]) -> None:
        from matplotlib import rcParams

        unknown = [name for name in values if name not in rcParams]
        if unknown:
            msg = f"{', '.join(map(repr, unknown))}: no rcParams of matplotlib; see its list."
            raise ValueError(msg)
        self._figure = dict(values)

    @contextmanager
    def override(
        self, *, verbosity: str | None = None, figure: Mapping[str, object] | None = None
    ) -> Iterator[None]:
        """Use other settings within a ``with`` statement."""
        before = self._verbosity, dict(self._figure), _LOG.level
        try:
            if verbosity is not None:
                self.verbosity = verbosity
            if figure is not None:
                self.figure = {**self._figure, **figure}
            yield
        finally:
            self._verbosity, self._figure = before[0], before[1]
            _LOG.setLevel(before[2])

    def __repr__(self) -> str:
        return f"nkscore settings: verbosity {self._verbosity!r}, figure {self._figure!r}"


class _Handler(logging.Handler):
    """Writes to the ``stderr`` of the moment, which notebooks and tests exchange."""

    def emit(self, record: logging.LogRecord) -> None:
        # A handler of the caller, or of the command line, shows the message already.
        if len(_LOG.handlers) == 1 and not logging.getLogger().handlers:
            sys.stderr.write(f"{record.levelname}: {record.getMessage()}\n")


settings: Final = Settings()
