"""Simulated NK cells of patients after transfer of a donor's NK cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._random import seed_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nkscore._types import Floats

_STATES: Final = ("resting", "adaptive", "activated", "type_i_ifn", "cytokine")
_PRODUCT: Final = (0.25, 0.10, 0.35, 0.05, 0.25)
_PATIENT: Final = (0.70, 0.15, 0.05, 0.05, 0.05)


def simulate_transfer(
    *,
    n_patients: int = 4,
    days: Sequence[float] = (-7, 7, 14, 28, 60),
    n_cells: int = 800,
    peak: float = 0.6,
    half_life: float = 12.0,
    states: Mapping[str, float] | None = None,
    errors: float = 0.004,
    no_call: float = 0.05,
    patient_effect: float = 0.3,
    null: bool = False,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Simulate genotypes and states of NK cells of patients after transfer, with the truth.

    Parameters
    ----------
    n_patients
        Patients ``P1``, ``P2``, ..., who all got cells of ``donor0``. The product is in one sample
        per patient.
    days
        Days of blood draws; negative ones are before the infusion.
    n_cells
        NK cells per sample.
    peak
        Share of donor cells at infusion.
    half_life
        Days after which half of the share is left.
    states
        Fractions of states of persisting cells. ``None``: those of the product, with three times
        the odds of ``adaptive`` (memory-like) and fewer ``cytokine`` cells.
    errors
        Share of cells called as the other genotype.
    no_call
        Share of cells without a genotype (doublets, few counts).
    patient_effect
        Standard deviation of the logarithm of odds between patients, of shares and of states.
    null
        No donor cell persists, and donor cells of any time have the states of the product.
    rng
        Seed or generator.

    Returns
    -------
    One row per cell, like ``obs``: ``sample``, ``patient``, ``day`` (missing for the product),
    ``condition`` (``patient``, ``product``), ``genotype`` (``donor0``, ``recipient1``, ...; missing
    without a call), ``compartment``, ``nk_state``, ``truth_origin``, ``truth_share`` (of its
    sample).

    Examples
    --------
    >>> import nkscore as nk
    >>> cells = nk.datasets.simulate_transfer(n_patients=2, n_cells=100, days=(-7, 7))
    >>> cells.groupby("condition")["sample"].nunique().to_dict()
    {'patient': 4, 'product': 2}
    """
    draw = np.random.default_rng(seed_of(rng))
    persisting = _persisting(states, null=null)
    parts = []
    for number in range(1, n_patients + 1):
        name = f"P{number}"
        shift = patient_effect * draw.normal(size=1 + len(_STATES))
        common: dict[str, Any] = {"n_cells": n_cells, "shift": shift}
        parts.append(_sample(draw, name, np.nan, share=1.0, states=_PRODUCT, **common))
        for day in days:
            alive = day >= 0 and not null
            share = peak * 0.5 ** (day / half_life) if alive else 0.0
            odds = share / (1 - share) * np.exp(shift[0])
            share = odds / (1 + odds)
            parts.append(_sample(draw, name, day, share=share, states=persisting, **common))
    cells = pd.concat(parts, ignore_index=True)
    return _called(cells, draw, errors=errors, no_call=no_call)


def _persisting(states: Mapping[str, float] | None, *, null: bool) -> Sequence[float]:
    if null:
        return _PRODUCT
    if states is not None:
        return [float(states.get(name, 0.0)) for name in _STATES]
    factor = {"adaptive": 3.0, "cytokine": 0.3}
    return [share * factor.get(name, 1.0) for name, share in zip(_STATES, _PRODUCT, strict=True)]


def _sample(
    draw: np.random.Generator,
    patient: str,
    day: float,
    *,
    share: float,
    n_cells: int,
    states: Sequence[float],
    shift: Floats,
) -> pd.DataFrame:
    of_donor = draw.random(n_cells) < share
    is_product = bool(np.isnan(day))
    named = np.empty(n_cells, dtype=object)
    for inside, weights in ((of_donor, states), (~of_donor, _PATIENT)):
        odds = np.asarray(weights, dtype=float) * np.exp(shift[1:] * (not is_product))
        named[inside] = draw.choice(_STATES, size=int(inside.sum()), p=odds / odds.sum())
    return pd.DataFrame(
        {
            schema.SAMPLE: f"{patient}_product" if is_product else f"{patient}_{day:g}",
            "patient": patient,
            "day": day,
            schema.CONDITION: "product" if is_product else "patient",
            schema.COMPARTMENT: schema.NK,
            schema.NK_STATE: named,
            "truth_origin": np.where(of_donor, "donor", "recipient"),
            "truth_share": share,
        }
    )


def _called(
    cells: pd.DataFrame, draw: np.random.Generator, *, errors: float, no_call: float
) -> pd.DataFrame:
    own = "recipient" + cells["patient"].str[1:]
    ours = (cells["truth_origin"] == "donor").to_numpy() ^ (draw.random(len(cells)) < errors)
    called = own.where(~ours, "donor0").where(draw.random(len(cells)) >= no_call)
    cells = cells.assign(**{schema.GENOTYPE: called})
    states = pd.Categorical(cells[schema.NK_STATE], categories=list(_STATES))
    return cells.assign(**{schema.NK_STATE: states})
