"""Errors that say what was found, what was needed and what to do.

Every error that nkscore raises on purpose is a :class:`NkscoreError`; each one also
derives from the built-in exception that a caller would expect in its place.
"""

from __future__ import annotations

__all__ = [
    "ClusterError",
    "DesignError",
    "GeneCoverageError",
    "LaneError",
    "MemoryNeededError",
    "MissingKeyError",
    "NkscoreError",
    "NkscoreWarning",
    "SampleSheetError",
    "WrongScaleError",
]


class NkscoreError(Exception):
    """Base of all errors raised on purpose by nkscore."""


class NkscoreWarning(UserWarning):
    """Something was computed, but the reader of the result should know more."""


class MissingKeyError(NkscoreError, KeyError):
    """The AnnData lacks a slot that an earlier step writes."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would escape the line breaks.
        return str(self.args[0]) if self.args else ""


class GeneCoverageError(NkscoreError, ValueError):
    """Too few genes of a signature are in the data, or the gene names are unusable."""


class WrongScaleError(NkscoreError, ValueError):
    """Values are not on the scale that the function needs (log values for counts, NaN, ...)."""


class SampleSheetError(NkscoreError, ValueError):
    """The sample sheet contradicts itself, the lanes or the vocabulary."""


class LaneError(NkscoreError, OSError):
    """A lane file is missing, empty, truncated or not in the expected format."""


class DesignError(NkscoreError, ValueError):
    """The samples cannot answer the question."""


class ClusterError(NkscoreError, RuntimeError):
    """The dask cluster ended, lost its workers, or its workers cannot do the work."""


class MemoryNeededError(NkscoreError, RuntimeError):
    """A step that needs all counts in memory cannot have them."""
