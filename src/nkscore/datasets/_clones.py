"""Planted clones: which cells descend from one founder, and how their shares change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clones:
    """What ``simulate_coculture(clones=...)`` plants: clones of each line, their drift and fates.

    Parameters
    ----------
    n
        Clones of each line.
    spread
        SD (natural log) of the sizes of clones.
    founders
        Tumor cells that each well is seeded with: fewer founders, more drift.
    survivors
        Share of them that a co-culture spares, at random: more drift.
    changed
        Share of the clones, at random, with another fitness in every co-culture.
    log2_fc
        Log2 fold change of these clones, before all shares are scaled to sum to 1.
    acquired
        Clones that win by a new event, drawn separately for each co-culture well.
    acquired_log2_fc
        Log2 fold change of these.
    low_myc_odds
        Odds that a low-MYC cell is of a changed clone, over those of other tumor cells: what the
        clones express before contact.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562"], n_cells_per_sample=50, n_genes=4000, clones=nk.datasets.Clones(n=5)
    ... )
    >>> adata.obs["truth_clone"].nunique()
    5
    """

    n: int = 60
    spread: float = 1.2
    founders: int = 5000
    survivors: float = 0.5
    changed: float = 0.0
    log2_fc: float = -1.585
    acquired: int = 0
    acquired_log2_fc: float = 6.0
    low_myc_odds: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("founders", 1), ("acquired", 0)):
            value = getattr(self, name)
            if value != int(value) or value < least:
                msg = f"{name} is {value!r}; a whole number of at least {least} is needed."
                raise ValueError(msg)
        for name in ("changed", "survivors"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)!r}; a number from 0 to 1 is needed."
                raise ValueError(msg)
        if not self.spread >= 0 or not self.low_myc_odds > 0 or not self.survivors > 0:
            msg = (
                f"spread is {self.spread!r}, low_myc_odds {self.low_myc_odds!r} and survivors "
                f"{self.survivors!r}; numbers of at least 0, above 0 and above 0 are needed."
            )
            raise ValueError(msg)
