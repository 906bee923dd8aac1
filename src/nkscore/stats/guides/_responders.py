"""Responding cells of a knock-out: a mixture along the direction of its effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special, stats

if TYPE_CHECKING:
    from nkscore._types import Floats

_DIRECTIONS: Final = 10
_ROUNDS: Final = 200


@dataclass(frozen=True, slots=True)
class Responders:
    """Which knock-out cells respond.

    ``probability`` of each that it does; ``position`` of cells along the effect; ``share`` of
    responders; ``separation``: distance of their mean from that of controls, in
    standard deviations of controls.
    """

    probability: Floats
    position: Floats
    control_position: Floats
    share: float
    separation: float


def responder_mixture(knockout: Floats, control: Floats) -> Responders:
    """Separate responding cells from cells that look like controls.

    Parameters
    ----------
    knockout, control
        Cells × genes: the difference of each cell from matched controls, for the genes that the
        knock-out changes.

    Notes
    -----
    The idea of mixscape (Papalexi et al. 2021, doi 10.1038/s41588-021-00778-2). Cells are projected
    on the difference between responding cells and controls, which is computed without the cell
    itself, and scaled so that 0 is the mean of controls and 1 that of responders. Responders are
    normal; the others have the distribution of the controls. Directions and mixture alternate until
    no cell changes its class. Beyond the mean of a class, the probability of that class never
    decreases.

    mixscape fits the mixture to controls and knock-out cells together. Controls are known not to
    respond, so here the share of responders refers to the knock-out cells alone.
    """
    scale = np.concatenate([knockout, control]).std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    a, b = knockout / scale, control / scale
    center = b.mean(axis=0)
    a, b = a - center, b - center
    probability = np.ones(len(a))
    share, separation = 1.0, 0.0
    position, other = np.zeros(len(a)), np.zeros(len(b))
    for _ in range(_DIRECTIONS):
        before = probability > 0.5
        if not before.any():
            break
        position, other = _projected(a, b, before.astype(np.float64))
        probability, share, separation = _two_parts(position, other)
        if (before == (probability > 0.5)).all():
            break
    return Responders(probability, position, other, share, separation)


def _projected(a: Floats, b: Floats, weight: Floats) -> tuple[Floats, Floats]:
    total = weight.sum()
    direction = weight @ a / total
    length = max(float(direction @ direction), 1e-12)
    # A cell's noise would pull it toward the mean that it is part of.
    own = weight / total * (a**2).sum(axis=1)
    share = np.minimum(weight / total, 0.5)
    return (a @ direction - own) / (1 - share) / length, b @ direction / length


def _two_parts(position: Floats, control: Floats) -> tuple[Floats, float, float]:
    """Return probability, share and separation of the component that differs from controls."""
    middle, width = float(control.mean()), max(float(control.std()), 1e-6)
    off = stats.norm.logpdf(position, middle, width)
    mean, spread, share = max(float(position.mean()), middle + width), width, 0.5
    p = np.full(position.size, 0.5)
    before = -np.inf
    for _ in range(_ROUNDS):
        one = np.log(share + 1e-300) + stats.norm.logpdf(position, mean, spread)
        other = np.log1p(-min(share, 1 - 1e-12)) + off
        p = special.expit(one - other)
        likelihood = float(np.logaddexp(one, other).sum())
        if likelihood - before < 1e-6 * abs(likelihood):
            break
        before = likelihood
        total = max(float(p.sum()), 1e-9)
        mean = max(float(p @ position / total), middle)
        # With less than a fraction of the controls' width, it would collapse to a few cells.
        spread = max(float(np.sqrt(p @ (position - mean) ** 2 / total)), 0.3 * width)
        share = float(p.mean())
    order = np.argsort(position)
    p[order] = np.maximum.accumulate(np.where(position[order] < middle, 0.0, p[order]))
    return p, share, (mean - middle) / width
