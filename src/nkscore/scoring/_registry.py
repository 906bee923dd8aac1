"""The record of a scorer and the table of all scorers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from nkscore._types import Floats

    # (RowBlock, GeneSets, **options) -> cells × sets, float64: arrays only, no names, no AnnData.
    Kernel = Callable[..., Floats]
    # What an option may hold: a number, or where random numbers come from.
    Option = float | np.random.Generator | None
    # (GeneSets, mean of each gene, **options) -> argument of the kernel in place of GeneSets.
    Prepare = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Facts about one scoring method, for docs and contract tests.

    Parameters
    ----------
    name
        Value of ``method=`` in :func:`nkscore.tl.score`.
    func
        Kernel on a block of rows.
    reads
        Slot that is scored unless ``layer=`` names another: ``"counts"`` or ``"X"``.
    limits
        Smallest and largest possible score.
    cell_wise
        Whether a cell's score depends only on that cell's values.
    rank_based
        Whether scores are unchanged by any monotone transform of a cell's values.
    options
        Accepted keyword options with their defaults.
    doi
        Publication of the statistic.
    description
        One sentence for the table of methods.
    prepare
        For scores that need all cells: converts the sets and the mean of each gene over all cells
        into the argument of ``func``. This needs a first pass over the data.
    """

    name: str
    func: Kernel
    reads: str
    limits: tuple[float, float]
    cell_wise: bool
    rank_based: bool
    options: dict[str, Option]
    doi: str
    description: str
    prepare: Prepare | None = None


_SCORERS: dict[str, Scorer] = {}


def register(scorer: Scorer) -> Scorer:
    """Add ``scorer`` to the table; a name can be taken only once."""
    if scorer.name in _SCORERS:
        msg = f"A scorer named {scorer.name!r} is already registered."
        raise ValueError(msg)
    _SCORERS[scorer.name] = scorer
    return scorer


def get_scorer(name: str) -> Scorer:
    """Return the scorer called ``name``."""
    if name not in _SCORERS:
        msg = f"Unknown scoring method {name!r}. Known: {', '.join(sorted(_SCORERS))}."
        raise ValueError(msg)
    return _SCORERS[name]


def scorers() -> dict[str, Scorer]:
    """Return all registered scorers by name."""
    return dict(_SCORERS)
