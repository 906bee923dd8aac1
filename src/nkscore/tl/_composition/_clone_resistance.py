"""Whether the winners of a co-culture existed before contact, or arose in single wells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore.stats import ENOUGH_CLONES, holm

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats
    from nkscore.tl._composition._clone_counts import LineOfClones

BEFORE: Final = "before"
ACQUIRED: Final = "acquired"
BOTH: Final = "both"
UNCLEAR: Final = "unclear"
_SHOWN: Final = 5
#: A new event is called at this part of alpha: growth from few founders has a heavier tail than any
#: model of drift, and a wrong call names the wrong biology.
_STRICT: Final = 0.2


@dataclass(frozen=True, slots=True)
class Resistance:
    """Where the winners of a line come from, in one word and in a sentence."""

    call: str
    reason: str


def resistance_of(line: LineOfClones, grown: Bools, alpha: float) -> Resistance:
    """Call the origin of resistance of a line from its clones that have ``grown``."""
    unknown = _unknown(line)
    if unknown:
        return Resistance(UNCLEAR, unknown)
    in_treated, in_control = line.apart()
    alone = np.divide(line.counts[1].sum(axis=0), line.totals[1].sum())
    shares = line.counts[0] / line.totals[0][:, None]
    jackpots = _standing_out(np.where(shares > alone, in_treated, 1.0), alpha)
    # Where control wells differ, too, contact is not what the clone needed.
    jackpots &= in_control.min(axis=0) >= alpha
    same = grown & (shares > alone).all(axis=0) & (in_treated.min(axis=0) >= alpha)
    wells = line.totals[0].size
    if not jackpots.any():
        if not same.any():
            why = "no clone wins in every treated well, and none in a single one beyond drift"
            return Resistance(UNCLEAR, why)
        return Resistance(BEFORE, f"{_names(line, same)} grow in each of {wells} treated wells")
    found = f"{_names(line, jackpots)} stand out in single treated wells, beyond drift"
    if _standing_out(in_control, alpha).any():
        return Resistance(UNCLEAR, f"{found}, but clones of control wells do, too")
    found += _of_donors(line)
    if same.any():
        return Resistance(BOTH, f"{found}; {_names(line, same)} grow in each treated well")
    return Resistance(ACQUIRED, found)


def _unknown(line: LineOfClones) -> str:
    """Say why drift is not known, or not well enough for clones that stand out."""
    if line.drift is None:
        return f"one {line.single()} well: drift between wells is not known"
    if line.clones.size < ENOUGH_CLONES:
        return f"{line.clones.size} clones; {ENOUGH_CLONES} are needed to know drift"
    return ""


def _standing_out(p_value: Floats, alpha: float) -> Bools:
    return np.asarray(holm(p_value.min(axis=0)) < _STRICT * alpha)


def _names(line: LineOfClones, which: Bools) -> str:
    names = [str(name) for name in line.clones[which]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} clones ({', '.join(names[:_SHOWN])}{more})"


def _of_donors(line: LineOfClones) -> str:
    """Say that wells of different donors may differ by their NK cells."""
    donors = {donor for donor in line.donors if donor is not None}
    if len(donors) < 2:
        return ""
    return "; treated wells are of several NK donors, which may prefer different clones"
