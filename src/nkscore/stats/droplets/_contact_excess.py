"""Pairs of one well beyond what pooling brings together by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

#: Weight, in pairs, of the leak that in-silico pairs predict.
_PRIOR_LEAK: Final = 5.0
N_DRAWS: Final = 4000


@dataclass(frozen=True, slots=True)
class LaneEvidence:
    """Observed pairs of one lane, and what became of in-silico pairs.

    Per well: ``n_nk`` and ``n_tumor`` single cells; ``own`` pairs with its tag and its line;
    ``tried`` in-silico pairs of the well, and ``found``, those called its own; ``hidden``, how
    many of the lane's ``cross_tried`` in-silico pairs of two wells were called its own.

    Of the lane: ``cross`` pairs with two tags; ``leaked`` pairs with one tag that cannot be of that
    well; ``cross_found`` and ``cross_leaked``: in-silico pairs of two wells called so;
    ``mistaken``: pairs of one well that would be called leaked, because their line was mistaken.
    """

    n_nk: Ints
    n_tumor: Ints
    own: Ints
    tried: Ints
    found: Ints
    hidden: Ints
    cross: int
    leaked: int
    cross_tried: int
    cross_found: int
    cross_leaked: int
    mistaken: float = 0.0

    @property
    def leak_visible(self) -> bool:
        """Whether a leak of tags would be seen."""
        return self.cross_leaked > 0

    @property
    def recall(self) -> Floats:
        """Share of the pairs of each well that are called its own."""
        return (self.found + 0.5) / (self.tried + 1.0)

    @property
    def leak_factor(self) -> float:
        """Observed over predicted leak, shrunken toward 1."""
        made = self.cross / max(self.cross_found, 1)
        seen = max(self.leaked - self.mistaken, 0.0)
        return (seen + _PRIOR_LEAK) / (made * self.cross_leaked + _PRIOR_LEAK)

    @property
    def rate(self) -> float:
        """Chance pairs of the lane per combination of an NK and a tumor cell of two wells."""
        made = self._all_cross(np.array(self.cross), np.array(self.leak_factor))
        return float(made / max(self.combinations, 1))

    @property
    def combinations(self) -> float:
        """Numbers of combinations of an NK and a tumor cell of two wells."""
        return float(self.n_nk.sum() * self.n_tumor.sum() - self.n_nk @ self.n_tumor)

    def _all_cross(self, cross: Floats, factor: Floats) -> Floats:
        """Return all pairs of two wells, found or not, if the leak differs by a factor.

        Without a visible leak, the predicted one stands.
        """
        leak = (self.cross_leaked + self.hidden.sum()) / self.cross_tried
        found = self.cross_found / self.cross_tried
        lost = 1 - leak - found
        return np.asarray(cross * (1 + factor * leak / found) / (1 - lost))

    def expected(self) -> tuple[Floats, Floats]:
        """Return expected own pairs per well by chance, and by leaked tags."""
        chance = self.recall * self.rate * self.n_nk * self.n_tumor
        made = self.cross / max(self.cross_found, 1)
        leak = self.leak_factor * made * float(self.leak_visible) * self.hidden
        return np.asarray(chance), np.asarray(leak)

    def draws(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return draws × wells of the expected own pairs, and of the recall."""
        cross = rng.gamma(self.cross + 0.5, size=N_DRAWS)
        made = cross / max(self.cross_found, 1)
        seen = max(self.leaked - self.mistaken, 0.0)
        predicted = made * rng.gamma(self.cross_leaked + 0.5, size=N_DRAWS)
        factor = rng.gamma(seen + _PRIOR_LEAK, size=N_DRAWS) / (predicted + _PRIOR_LEAK)
        recall = rng.beta(
            self.found + 0.5, self.tried - self.found + 0.5, size=(N_DRAWS, self.own.size)
        )
        rate = self._all_cross(cross, factor) / max(self.combinations, 1)
        expected = recall * rate[:, None] * (self.n_nk * self.n_tumor)
        if self.leak_visible:
            hidden = rng.gamma(self.hidden + 0.25, size=recall.shape)
            expected = expected + (factor * made)[:, None] * hidden
        return expected, recall


@dataclass(frozen=True, slots=True)
class Excess:
    """Pairs beyond expectation, with interval and one-sided p."""

    excess: float
    low: float
    high: float
    p_value: float


def excess_of(
    evidence: list[LaneEvidence],
    member: list[Bools],
    *,
    rng: np.random.Generator,
    confidence: float,
) -> Excess:
    """Return the excess of own pairs over several wells, which can be in several lanes.

    Parameters
    ----------
    evidence, member
        Lanes, and which of their wells to add up.
    rng
        Source of the draws.
    confidence
        Coverage of the interval.

    Notes
    -----
    The interval is that of draws of the number of pairs (gamma, with half a pair added) less those
    of the expectation, each over its recall. The p-value is the chance of as many own pairs or more
    if none was attached: Poisson, averaged over the draws of the expectation.
    """
    excess, observed = 0.0, 0
    drawn, mean = np.zeros((2, N_DRAWS))
    for lane, wells in zip(evidence, member, strict=True):
        chance, leak = lane.expected()
        excess += float(((lane.own - chance - leak) / lane.recall)[wells].sum())
        observed += int(lane.own[wells].sum())
        expected, recall = lane.draws(rng)
        mean += expected[:, wells].sum(axis=1)
        typical = np.average(recall[:, wells], axis=1, weights=lane.own[wells] + 0.5)
        drawn -= expected[:, wells].sum(axis=1) / typical
        pairs = rng.gamma(np.maximum(lane.own[wells].sum(), 0), size=N_DRAWS)
        drawn += pairs / typical
    drawn += rng.gamma(0.5, size=N_DRAWS)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    p = float(np.mean(stats.poisson.sf(observed - 1, mean)))
    return Excess(excess, float(low), float(high), p)
