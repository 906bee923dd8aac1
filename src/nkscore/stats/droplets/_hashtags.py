"""A mixture model of hashtag counts: the tags of a droplet, with probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore.stats.droplets._hashtags_model import Data, Model, Posterior, expect

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints

_ROUNDS: Final = 25
_TOLERANCE: Final = 2e-4
#: Number of droplets used in the fit; the others only get probabilities.
_FIT_ON: Final = 4000
#: The spread of a tag's signal is shrunken as if it had this many more average cells.
_EXTRA_CELLS: Final = 100.0
#: Weight, in droplets, of the prior on doublets.
_EXTRA_DROPLETS: Final = 20.0
_LEAST_FOLD: Final = 2.5
#: Largest background of a tag, in those of the typical tag, where backgrounds are held together.
_ALIKE: Final = 3.0
#: The background of a tag is shrunken toward that of the others, as by this many droplets.
_QUIET_DROPLETS: Final = 10.0


@dataclass(frozen=True, slots=True)
class HashtagMixture:
    """Probabilities per droplet and what was fitted per tag.

    ``probability``: droplets × (tags + 2): each tag alone, then negative, then doublet; rows sum to
    one. ``background`` and ``signal``: typical counts of a droplet without and with the tag.
    ``share`` of all tags carried. ``fitted``: the model, the mean log depth and ``shared_label``,
    to call other droplets of the lane.
    """

    probability: Floats
    background: Floats
    signal: Floats
    share: Floats
    fitted: tuple[Model, float, float] | None = None


def hashtag_mixture(
    counts: Floats,
    *,
    depth: Floats | None = None,
    priors: tuple[float, float, float] | None = None,
    shared_label: float = 1 / 3,
) -> HashtagMixture:
    r"""Return probabilities of each tag, of no tag and of several, by a mixture model of one lane.

    Parameters
    ----------
    counts
        Droplets × tags, raw counts, at least two tags. Droplets without a count are negative.
    depth
        RNA counts per droplet, which partly predict the background.
    priors
        Prior probabilities of no, one, and several tags; fitted by default.
    shared_label
        Share of the droplets with two full tags that hold cells of one sample (a label from debris
        or from a lysed cell). Tags alone hardly show it.

    Returns
    -------
    HashtagMixture
        Probabilities, and what was fitted.

    Notes
    -----
    The background of tag j in droplet i is negative binomial with mean :math:`s_i b_j`. The factor
    :math:`s_i`, the amount of label in the droplet, is estimated from the background tags of the
    droplet, with a gamma prior whose mean is larger in droplets of two cells and may rise with
    ``depth``. It is integrated out by Laplace's method. The log signal of a tag is normal with mean
    :math:`\mu_j + \beta \log s_i`: a droplet with much label has more of both. Tags are shrunken
    toward each other. A droplet holds no tag, one tag, one tag and another that leaked in at a
    lower level, two tags or three. Everything is fitted by expectation maximization, on at most
    4000 droplets evenly spaced by their total count; outlying background counts are downweighted.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.negative_binomial(5, 0.5, size=(120, 3))
    >>> counts[np.arange(120), np.arange(120) % 3] += rng.negative_binomial(5, 0.05, size=120)
    >>> found = hashtag_mixture(counts)
    >>> bool((found.probability.argmax(axis=1) == np.arange(120) % 3).mean() > 0.95)
    True
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[1] < 2:
        msg = f"counts has shape {counts.shape}; droplets × at least two tags are needed."
        raise ValueError(msg)
    n_tags = counts.shape[1]
    probability = np.zeros((len(counts), n_tags + 2))
    probability[:, n_tags] = 1.0
    tagged = np.flatnonzero(counts.sum(axis=1) > 0)
    if not tagged.size:
        nothing = np.zeros(n_tags)
        return HashtagMixture(probability, nothing, nothing, nothing)
    data, center = _prepare(counts[tagged], None if depth is None else np.asarray(depth)[tagged])
    model = _fit(_representative(data), priors=priors, shared_label=shared_label)
    posterior = expect(data, model, shared_label=shared_label)
    probability[tagged] = probabilities(posterior, n_tags)
    fitted = model, center, shared_label
    return HashtagMixture(probability, model.base, np.expm1(model.signal), model.share, fitted)


def _prepare(counts: Floats, depth: Floats | None) -> tuple[Data, float]:
    logs = np.log1p(counts)
    relative = np.zeros(len(counts)) if depth is None else np.log1p(depth)
    center = float(relative.mean())
    return Data(counts, logs, relative - center), center


def _representative(data: Data) -> Data:
    n = len(data.counts)
    if n <= _FIT_ON:
        return data
    order = np.argsort(data.counts.sum(axis=1), kind="stable")
    rows = order[np.linspace(0, n - 1, _FIT_ON).round().astype(np.int64)]
    return Data(data.counts[rows], data.logs[rows], data.depth[rows])


def _fit(data: Data, *, priors: tuple[float, float, float] | None, shared_label: float) -> Model:
    model = _start(data, priors)
    before = -np.inf
    for _ in range(_ROUNDS):
        posterior = expect(data, model, shared_label=shared_label)
        model = _maximize(data, model, posterior, fixed=priors is not None)
        if abs(posterior.log_likelihood - before) < _TOLERANCE:
            break
        before = posterior.log_likelihood
    return model


def _start(data: Data, priors: tuple[float, float, float] | None) -> Model:
    """Background from droplets dominated by another tag, signal from clear droplets."""
    n_tags = data.counts.shape[1]
    base = _background_at_start(data.counts)
    clear, top = _dominant(data.counts, base)
    own = [data.logs[clear & (top == j), j] - np.log1p(base[j]) for j in range(n_tags)]
    known = [float(np.median(x)) for x in own if x.size >= 5]
    typical = float(np.median(known)) if known else np.log(8.0)
    rise = np.array([np.median(x) if x.size >= 5 else typical for x in own])
    none, _, several = priors or (0.05, 0.85, 0.1)
    return Model(
        base=base,
        size=np.full(n_tags, 8.0),
        factor_shape=5.0,
        depth_slope=0.0,
        doubling=1.5,
        signal=np.log1p(base) + np.maximum(rise, np.log(_LEAST_FOLD)),
        spread=np.full(n_tags, 0.7),
        slope=1.0,
        share=np.full(n_tags, 1 / n_tags),
        n_tags=_numbers(none, several),
        leak=0.03,
        leak_level=0.5,
    )


def _background_at_start(counts: Floats) -> Floats:
    """Typical count of each tag in droplets that another tag dominates.

    Where nearly all droplets carry one tag, those dominated by another are mostly doublets of both:
    the signal of the first tag passes for its background, and its cells for unstained. Then the
    backgrounds of the tags are held together, if that explains more droplets.
    """
    apart, alike = (_levels(counts, most=most) for most in (np.inf, _ALIKE))
    stained = [_dominant(counts, base)[0].mean() for base in (apart, alike)]
    return alike if stained[1] > stained[0] else apart


def _levels(counts: Floats, *, most: float) -> Floats:
    """Background of the tags, none above ``most`` times the typical one."""
    base = np.quantile(counts, 0.1, axis=0) + 0.5
    # A tag in nearly all droplets shows no background; the other tags give its magnitude.
    base = np.minimum(base, min(most, 8) * base.min())
    few = min(5, len(counts) / 2)
    for _ in range(10):
        top = _dominant(counts, base)[1]
        rest = [counts[top != j, j] for j in range(len(base))]
        found = np.array([np.median(x) if x.size >= few else np.nan for x in rest])
        typical = float(np.nanquantile(found, 0.5, method="lower"))
        base = np.maximum(np.where(np.isnan(found), typical, found), 0.1)
        base = np.minimum(base, most * max(typical, 0.1))
    return np.asarray(base)


def _dominant(counts: Floats, base: Floats) -> tuple[Bools, Ints]:
    """Whether one tag stands out in a droplet, and which is the highest above its background."""
    fold = (counts + 0.5) / (base + 0.5)
    first, second = -np.partition(-fold, 1, axis=1)[:, :2].T
    return first > 3 * np.maximum(second, 1), fold.argmax(axis=1)


def _numbers(none: float, several: float) -> Floats:
    """Probabilities of none, one, two and three tags; triplets are as rare as under Poisson."""
    three = several**2 / 3
    return np.array([none, 1 - none - several, several - three, three])


def _maximize(data: Data, model: Model, posterior: Posterior, *, fixed: bool) -> Model:
    carried, leaked, several = _responsibilities(posterior, data.counts.shape[1])
    quiet = 1 - carried - leaked
    factor, model = _factors(data, model, quiet=quiet, several=several)
    base, size = _background_of_tags(data.counts, model, quiet=quiet, factor=factor)
    model = replace(model, base=base, size=size)
    log_factor = np.log(factor)[:, None]
    model = replace(model, **_signal_of_tags(data, model, carried, log_factor))
    level = _leak_level(data, model, leaked, log_factor)
    numbers = model.n_tags if fixed else _fitted_numbers(posterior)
    alone = sum(posterior.weight[:, k].sum() for k, x in enumerate(posterior.states) if x.single)
    return replace(
        model,
        share=(carried.sum(axis=0) + 1) / (carried.sum() + carried.shape[1]),
        n_tags=numbers,
        leak=float((leaked.sum() + 3) / (alone + 100)),
        leak_level=level,
    )


def _responsibilities(posterior: Posterior, n_tags: int) -> tuple[Floats, Floats, Floats]:
    """Droplets × tags: full, leaked; per droplet: two cells."""
    shape = (len(posterior.top), n_tags)
    carried, leaked, several = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    rows = np.arange(shape[0])
    for state, weight in zip(posterior.states, posterior.weight.T, strict=True):
        for place in state.tags:
            carried[rows, posterior.top[:, place]] += weight
        for place in state.leaked:
            leaked[rows, posterior.top[:, place]] += weight
        if not state.one_cell:
            several += weight
    return carried, leaked, several


def _factors(data: Data, model: Model, *, quiet: Floats, several: Floats) -> tuple[Floats, Model]:
    """Amount of label in each droplet, and the prior of this factor."""
    shape, ratio = model.factor_shape, model.base / model.size
    expected = model.depth_slope * data.depth + several * np.log(model.doubling)
    information = (quiet * model.base / (1 + ratio)).sum(axis=1)
    evidence = (quiet * data.counts / (1 + ratio)).sum(axis=1)
    factor = (shape + evidence) / (shape / np.exp(expected) + information)
    u = np.log(factor)
    variance = np.mean((u - expected) ** 2 + 1 / (shape + factor * information))
    # The scale of the factors is free: droplets of one cell have the mean log factor zero.
    u = u - ((1 - several) * u).sum() / (1 - several).sum()
    rest = u - model.depth_slope * data.depth
    rise = (several * rest).sum() + _EXTRA_DROPLETS * np.log(1.4)
    double = float(np.clip(rise / (several.sum() + _EXTRA_DROPLETS), 0, np.log(2.5)))
    covariance = ((u - several * double) * data.depth).sum()
    slope = float(np.clip(covariance / ((data.depth**2).sum() + _EXTRA_DROPLETS), 0, 1.5))
    return np.exp(u), replace(
        model,
        factor_shape=1 / float(np.clip(variance, 0.01, 2)),
        doubling=float(np.exp(double)),
        depth_slope=slope,
    )


def _background_of_tags(
    counts: Floats, model: Model, *, quiet: Floats, factor: Floats
) -> tuple[Floats, Floats]:
    mean = factor[:, None] * model.base
    # Counts beyond three standard deviations are label from another source.
    distance = (counts - mean) ** 2 / (mean + mean**2 / model.size)
    weight = quiet * np.minimum(1, 9 / np.maximum(distance, 1e-9))
    label = (weight * factor[:, None]).sum(axis=0)
    typical = np.exp(np.average(np.log(model.base), weights=label + 1e-9))
    # A tag in all droplets has no background of its own to be seen.
    total = (weight * counts).sum(axis=0) + _QUIET_DROPLETS * typical
    base = np.maximum(total / (label + _QUIET_DROPLETS), 0.02)
    mean = factor[:, None] * base
    excess = (weight * ((counts - mean) ** 2 - mean)).sum(axis=0) / (weight * mean**2).sum(axis=0)
    excess = np.clip(excess, 0.02, 5)
    trust = (quiet * mean / (1 + mean)).sum(axis=0)
    typical, extra = np.average(excess, weights=trust), len(counts) / 4
    return base, (trust + extra) / (trust * excess + extra * typical)


def _signal_of_tags(
    data: Data, model: Model, carried: Floats, log_factor: Floats
) -> dict[str, Any]:
    n = carried.sum(axis=0) + 1e-9
    floor = np.log1p(model.base)
    rest = data.logs - model.slope * log_factor
    rise = (carried * rest).sum(axis=0) / n - floor
    trust = np.minimum(n, 50)
    typical = np.average(rise, weights=trust)
    between = max(0.25, float(np.average((rise - typical) ** 2, weights=trust)))
    pull = model.spread / between
    rise = np.maximum((n * rise + pull * typical) / (n + pull), np.log(_LEAST_FOLD))
    signal = floor + rise
    squares = (carried * (rest - signal) ** 2).sum(axis=0)
    spread = (squares + _EXTRA_CELLS * squares.sum() / n.sum()) / (n + _EXTRA_CELLS)
    both = (carried * log_factor * (data.logs - signal)).sum()
    slope = both / max((carried * log_factor**2).sum(), 1e-9)
    return {
        "signal": signal,
        "spread": np.maximum(spread, 0.01),
        "slope": float(np.clip(slope, 0, 1.5)),
    }


def _leak_level(data: Data, model: Model, leaked: Floats, log_factor: Floats) -> float:
    """Position of leaked label between background (0) and signal (1), on the log scale."""
    rise = model.signal - np.log1p(model.base)
    below = model.signal + model.slope * log_factor - data.logs
    scale = (leaked * rise**2).sum()
    level = 1 - ((leaked * below * rise).sum() + 5) / (scale + 10)
    return float(np.clip(level, 0.3, 0.8))


def _fitted_numbers(posterior: Posterior) -> Floats:
    n = np.zeros(4)
    for state, weight in zip(posterior.states, posterior.weight.T, strict=True):
        n[len(state.tags)] += weight.sum()
    extra = np.array([1.0, 17.0, 2.0, 0.0])
    extra[3] = _EXTRA_DROPLETS * (n[2] / n.sum()) ** 2 / 3
    return np.asarray((n + extra) / (n + extra).sum())


def probabilities(posterior: Posterior, n_tags: int) -> Floats:
    """Each tag alone, none, several. One cell with two full tags can belong to either tag."""
    found = np.zeros((len(posterior.top), n_tags + 2))
    rows = np.arange(len(found))
    for state, weight in zip(posterior.states, posterior.weight.T, strict=True):
        if not state.one_cell:
            found[:, n_tags + 1] += weight
        elif not state.tags:
            found[:, n_tags] += weight
        for place in state.tags if state.one_cell else ():
            found[rows, posterior.top[:, place]] += weight / len(state.tags)
    return np.asarray(found / found.sum(axis=1, keepdims=True))
