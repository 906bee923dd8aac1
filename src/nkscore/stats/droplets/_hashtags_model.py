"""The model of hashtag counts: states of a droplet and their probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints

#: Number of candidate tags per droplet; all others are background.
_CANDIDATES: Final = 4


@dataclass(frozen=True, slots=True)
class Model:
    """What is fitted, in the terms of :func:`nkscore.stats.hashtag_mixture`.

    Per tag: ``base`` and ``size`` of the background's negative binomial, ``signal`` (mean of the
    log) and its variance ``spread``, ``share`` of all tags carried. ``n_tags``: probabilities of
    no, one, two and three tags. Of droplets: ``factor_shape`` of the gamma prior, ``depth_slope``
    of its log mean, ``doubling`` of it in two cells, ``slope`` of the signal on the log factor.
    ``leak``: share of droplets with a leaked tag, whose log signal is at ``leak_level`` of the way.
    """

    base: Floats
    size: Floats
    factor_shape: float
    depth_slope: float
    doubling: float
    signal: Floats
    spread: Floats
    slope: float
    share: Floats
    n_tags: Floats
    leak: float
    leak_level: float


@dataclass(frozen=True, slots=True)
class Data:
    """Droplets × tags: counts and log(1 + counts); log depth of each droplet, mean zero."""

    counts: Floats
    logs: Floats
    depth: Floats


@dataclass(frozen=True, slots=True)
class State:
    """A state of a droplet: positions among its candidates, and whether it is two cells."""

    tags: tuple[int, ...]
    leaked: tuple[int, ...] = ()
    one_cell: bool = True

    @property
    def single(self) -> bool:
        """Whether the droplet has one tag, apart from leaked ones."""
        return len(self.tags) == 1


@dataclass(frozen=True, slots=True)
class Posterior:
    """Droplets × states: probabilities; ``top`` are the tags that the states number."""

    states: list[State]
    weight: Floats
    top: Ints
    log_likelihood: float


def _states(n_candidates: int) -> list[State]:
    places = range(n_candidates)
    found = [State(())] + [State((i,)) for i in places]
    found += [State((i,), leaked=(j,)) for i, j in permutations(places, 2)]
    found += [State(pair) for pair in combinations(places, 2)]
    return found + [State(tags, one_cell=False) for k in (2, 3) for tags in combinations(places, k)]


class _Background:
    """Log likelihood of all tags except some, with the droplet's factor integrated out."""

    def __init__(self, data: Data, model: Model) -> None:
        counts, self.model = data.counts, model
        self.size_and_counts = model.size + counts
        self.own = special.gammaln(self.size_and_counts)
        self.own -= special.gammaln(model.size) + special.gammaln(counts + 1)
        self.ratio = model.base / model.size
        self.own += counts * np.log(self.ratio)
        self.counts = counts
        self.evidence = counts / (1 + self.ratio)
        self.information = model.base / (1 + self.ratio)
        self.totals = tuple(x.sum(axis=1) for x in (self.own, counts, self.evidence))
        self.expected = np.exp(model.depth_slope * data.depth)
        self.rows = np.arange(len(counts))
        self.known: dict[tuple[tuple[int, ...], bool], tuple[Floats, Floats, Floats]] = {}

    def factor(self, evidence: Floats, information: Floats, prior: Floats) -> Floats:
        """Posterior mode of the log factor, given the tags that are background."""
        shape = self.model.factor_shape
        return np.asarray((shape + evidence) / (shape / prior + information))

    def without(
        self, out: Ints, key: tuple[int, ...], *, one_cell: bool
    ) -> tuple[Floats, Floats, Floats]:
        """Log likelihood, log factor and its precision, if the tags ``out`` are not background."""
        if (key, one_cell) not in self.known:
            self.known[key, one_cell] = self._without(out, one_cell=one_cell)
        return self.known[key, one_cell]

    def _without(self, out: Ints, *, one_cell: bool) -> tuple[Floats, Floats, Floats]:
        shape = self.model.factor_shape
        prior = self.expected * (1.0 if one_cell else self.model.doubling)
        own, counts, evidence = (x.copy() for x in self.totals)
        information = np.full(len(counts), self.information.sum())
        for j in out.T:
            own -= self.own[self.rows, j]
            counts -= self.counts[self.rows, j]
            evidence -= self.evidence[self.rows, j]
            information -= self.information[j]
        factor = self.factor(evidence, information, prior)
        precision, u = shape + factor * information, np.log(factor)
        spread = np.log1p(factor[:, None] * self.ratio)
        found = own + counts * u - np.einsum("ij,ij->i", self.size_and_counts, spread)
        for j in out.T:
            found += self.size_and_counts[self.rows, j] * spread[self.rows, j]
        found += shape * (np.log(shape / prior) + u - factor / prior) - special.gammaln(shape)
        return found + 0.5 * np.log(2 * np.pi / precision), u, precision


def _log_signal(
    data: Data,
    model: Model,
    rows: Ints | slice,
    tag: Ints | slice,
    given: tuple[Floats, Floats, bool],
) -> Floats:
    u, precision, leaked = given
    mean = model.signal[tag] + model.slope * u
    if leaked:
        mean = mean - (1 - model.leak_level) * (model.signal - np.log1p(model.base))[tag]
    variance = model.spread[tag] + model.slope**2 / precision
    logs = data.logs[rows, tag]
    return np.asarray(-0.5 * (np.log(2 * np.pi * variance) + (logs - mean) ** 2 / variance) - logs)


def _candidates(data: Data, model: Model, background: _Background) -> Ints:
    """Find the most probable tags of a droplet, each compared with all others."""
    evidence = background.totals[2][:, None] - background.evidence
    information = background.information.sum() - background.information
    factor = background.factor(evidence, information, background.expected[:, None])
    u, precision = np.log(factor), model.factor_shape + factor * information
    everywhere = (slice(None), slice(None))
    gain = _log_signal(data, model, everywhere[0], everywhere[1], (u, precision, False))
    gain -= background.own + data.counts * u
    gain += background.size_and_counts * np.log1p(factor * background.ratio)
    n = min(_CANDIDATES, data.counts.shape[1])
    return np.argsort(-(gain + np.log(model.share)), axis=1, kind="stable")[:, :n]


def expect(data: Data, model: Model, *, shared_label: float) -> Posterior:
    background = _Background(data, model)
    top = _candidates(data, model, background)
    states = _states(top.shape[1])
    log_share = np.log(model.share)[top]
    weight = np.empty((len(top), len(states)))
    for k, state in enumerate(states):
        out = state.tags + state.leaked
        key = tuple(sorted(out))
        found, u, precision = background.without(top[:, list(key)], key, one_cell=state.one_cell)
        found = found + _log_prior(model, state, shared_label) + log_share[:, list(out)].sum(axis=1)
        for place in out:
            given = (u, precision, place in state.leaked)
            found += _log_signal(data, model, background.rows, top[:, place], given)
        weight[:, k] = found
    total = special.logsumexp(weight, axis=1)
    return Posterior(states, np.exp(weight - total[:, None]), top, float(total.mean()))


def _log_prior(model: Model, state: State, shared_label: float) -> float:
    """Log prior of a state without the shares of its tags."""
    second = (model.share**2).sum()
    third = (model.share**3).sum()
    n = len(state.tags)
    # Probability that n tags drawn by their shares are distinct, per set of n.
    distinct = (1.0, 1.0, (1 - second) / 2, (1 - 3 * second + 2 * third) / 6)[n]
    chance = max(model.n_tags[n], 1e-6) / max(distinct, 1e-3)
    if state.leaked:
        chance *= model.leak
    elif n == 1:
        chance *= 1 - model.leak
    elif n == 2:
        chance *= shared_label if state.one_cell else 1 - shared_label
    return float(np.log(max(chance, 1e-300)))
