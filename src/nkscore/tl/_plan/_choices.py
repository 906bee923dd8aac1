"""The designs whose power is compared: the one of the sheet, and one change at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore import schema
from nkscore._checks import check_names, check_positive, check_shares, check_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What prices can be given for, each per piece.
PRICES: Final = ("donor", "well", "lane", "million_reads")
#: Numbers that are tried where the caller names none.
_DONORS: Final = (2, 3, 4, 6, 8)
_WELLS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Choice:
    """One design: ``varied`` names what differs from the first one."""

    varied: str
    value: float
    lines: int
    donors: int
    wells: int
    cells: int
    umi: float
    state_share: float


def numbers(name: str, given: float | Sequence[float], *, whole: bool = False) -> list[float]:
    """Return an option of one or several numbers; the first is that of the first design."""
    found = list(given) if isinstance(given, Sequence | np.ndarray) else [given]
    if not found:
        msg = f"{name} is empty; one number or several are needed."
        raise ValueError(msg)
    for value in found:
        if whole:
            check_whole(1, **{name: value})
        else:
            check_positive(name, value)
    return [float(value) for value in found]


def choices(
    base: Choice,
    *,
    compartment: str,
    lines: Sequence[int] | None,
    donors: Sequence[int] | None,
    wells: Sequence[int] | None,
    cells: Sequence[float],
    umi: Sequence[float],
    state_share: Sequence[float],
) -> list[Choice]:
    """Return the designs, the first one aside, each with one number changed."""
    check_shares(**{f"state_share[{i}]": share for i, share in enumerate(state_share)})
    of_tumor = compartment != schema.NK
    tried = {
        "donors": _DONORS if donors is None else donors,
        "wells": (_WELLS if wells is None else wells) if of_tumor else (),
        "lines": () if lines is None else lines,
        "cells": cells,
        "umi": umi,
        "state_share": state_share,
    }
    made = []
    for name, values in tried.items():
        whole = name in {"donors", "wells", "lines", "cells"}
        given = numbers(name, values, whole=whole) if len(values) else []
        if len(given) < 2 and name in {"cells", "umi", "state_share"}:
            continue
        for value in sorted(set(given)):
            changed: dict[str, Any] = {name: int(value) if whole else value}
            made.append(replace(base, varied=name, value=value, **changed))
    return made


def cost(
    choice: Choice, prices: Mapping[str, float], *, lane_cells: int, reads_per_umi: float
) -> float:
    """Return what a design costs, with NK cells of each donor alone."""
    wells = choice.lines * (choice.donors + choice.wells) + choice.donors
    n_cells = wells * choice.cells
    pieces = {
        "donor": choice.donors,
        "well": wells,
        "lane": math.ceil(n_cells / lane_cells),
        "million_reads": n_cells * choice.umi * reads_per_umi / 1e6,
    }
    return float(sum(price * pieces[name] for name, price in prices.items()))


def check_prices(prices: Mapping[str, float]) -> None:
    """Raise ``ValueError`` for an unknown or negative price."""
    check_names("prices", prices, PRICES)
    for name, price in prices.items():
        if not 0 <= price < math.inf:
            msg = f"The price of a {name} is {price}; a number of at least 0 is needed."
            raise ValueError(msg)
