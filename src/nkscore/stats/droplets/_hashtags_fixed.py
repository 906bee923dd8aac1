"""Tags of droplets by a mixture that was fitted before, on other droplets of the lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore.stats.droplets._hashtags import probabilities
from nkscore.stats.droplets._hashtags_model import Data, Model, expect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats, Ints
    from nkscore.stats.droplets._hashtags import HashtagMixture

_PER_TAG: Final = ("base", "size", "signal", "spread", "share")
_PER_LANE: Final = ("factor_shape", "depth_slope", "doubling", "slope", "leak", "leak_level")
#: Codes of droplets without a tag, and with two.
NEGATIVE, DOUBLET = -1, -2


@dataclass(frozen=True, slots=True)
class FixedTags:
    """A fitted model of the tags of one lane, with the limits that its calls met.

    ``center``: mean of log(1 + depth) in the fit. A singlet has at least ``min_confidence``, and at
    most ``max_doubt``.
    """

    tags: tuple[str, ...]
    model: Model
    center: float
    shared_label: float
    min_confidence: float = 0.5
    max_doubt: float = 1.0

    @property
    def doubling(self) -> float:
        """Background of a droplet with two cells over that with one."""
        return self.model.doubling

    def call(self, counts: Floats, depth: Floats) -> Ints:
        """Return the number of each droplet's tag, ``NEGATIVE`` or ``DOUBLET``."""
        n_tags = len(self.tags)
        found = self._probability(counts, depth)
        best = found.argmax(axis=1)
        doubt = 1 - found.max(axis=1)
        unsure = (best < n_tags) & ((doubt > 1 - self.min_confidence) | (doubt > self.max_doubt))
        more = found[:, n_tags + 1] >= found[:, n_tags]
        instead = np.where(more & (self.max_doubt < 1), DOUBLET, NEGATIVE)
        call = np.where(best == n_tags, NEGATIVE, np.where(best > n_tags, DOUBLET, best))
        return np.where(unsure, instead, call).astype(np.int64)

    def pairs(self, counts: Floats, depth: Floats) -> Ints:
        """Return the two most probable tags of droplets that have two, droplets × 2."""
        posterior = expect(self._data(counts, depth), self.model, shared_label=self.shared_label)
        both = [k for k, s in enumerate(posterior.states) if len(s.tags) == 2 and not s.one_cell]
        best = np.array(both)[posterior.weight[:, both].argmax(axis=1)]
        places = np.array([(*s.tags, 0, 0)[:2] for s in posterior.states])[best]
        return np.take_along_axis(posterior.top, places, axis=1).astype(np.int64)

    def _data(self, counts: Floats, depth: Floats) -> Data:
        counts = np.asarray(counts, dtype=np.float64)
        return Data(counts, np.log1p(counts), np.log1p(np.asarray(depth)) - self.center)

    def _probability(self, counts: Floats, depth: Floats) -> Floats:
        posterior = expect(self._data(counts, depth), self.model, shared_label=self.shared_label)
        found = probabilities(posterior, len(self.tags))
        found[np.asarray(counts).sum(axis=1) == 0] = np.eye(len(self.tags) + 2)[len(self.tags)]
        return found

    def as_table(self, lane: str) -> pd.DataFrame:
        """Return one row per tag, with all numbers of the model, to be stored."""
        table = pd.DataFrame({"lane": lane, "tag": list(self.tags)})
        table = table.assign(**{name: getattr(self.model, name) for name in _PER_TAG})
        alike = {name: getattr(self.model, name) for name in _PER_LANE}
        alike |= {f"n_tags_{k}": float(x) for k, x in enumerate(self.model.n_tags)}
        alike |= {"center": self.center, "shared_label": self.shared_label}
        alike |= {"min_confidence": self.min_confidence, "max_doubt": self.max_doubt}
        return table.assign(**alike)

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> FixedTags:
        """Return the model of the rows of one lane, as :meth:`as_table` wrote it."""
        first = table.iloc[0]
        numbers: dict[str, Any] = {name: table[name].to_numpy(np.float64) for name in _PER_TAG}
        numbers |= {name: float(first[name]) for name in _PER_LANE}
        numbers["n_tags"] = np.array([float(first[f"n_tags_{k}"]) for k in range(4)])
        model = Model(
            **numbers,
        )
        names: Sequence[str] = [str(name) for name in table["tag"]]
        rest = ("center", "shared_label", "min_confidence", "max_doubt")
        return cls(tuple(names), model, *(float(first[name]) for name in rest))


def fixed_tags(
    fit: HashtagMixture, tags: Sequence[str], *, min_confidence: float, max_doubt: float
) -> FixedTags | None:
    """Return the model behind a fit, with the limits of its calls; ``None`` without a model."""
    if fit.fitted is None:
        return None
    model, center, shared_label = fit.fitted
    return FixedTags(tuple(map(str, tags)), model, center, shared_label, min_confidence, max_doubt)
