"""What goes into the two levels of a program, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class ProgramCounts:
    """Summed counts of one program.

    ``expected`` is the count at the usual level up to a factor per ``line``; ``noise`` the squared
    relative error of ``expected``. ``usual`` marks cells in which the usual level is looked for
    first (monocultures). Lines and batches are numbered from 0.
    """

    x: Floats
    expected: Floats
    noise: Floats
    line: Ints
    batch: Ints
    usual: Bools

    def take(self, cells: Ints | Bools) -> ProgramCounts:
        """Return these cells alone."""
        return ProgramCounts(*(getattr(self, name)[cells] for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class TwoLevels:
    """Posterior of the other level per cell, and what was learned.

    ``mean`` is the count expected of each cell at the usual level, ``dispersion`` the squared
    relative spread between the cells of each line. Where no second level was found
    ``fold`` is 1, ``supported`` false, and no posterior exceeds 0.7. ``judged`` is false for
    cells of lines in which the program has nothing to be compared with.
    """

    posterior: Floats
    mean: Floats
    dispersion: Floats
    fold: float
    level: Floats
    supported: bool
    judged: Bools
