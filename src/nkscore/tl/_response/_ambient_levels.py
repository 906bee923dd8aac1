"""Ambient NK RNA in tables without counts: levels of genes in both arms, and in NK cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore._checks import SHARES_OF_CELLS
from nkscore.signatures._tables import nk_profile

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats

_LINES: Final = (schema.TUMOR, "cell_line")
_P_VALUES: Final = ("p_value", "p_val")
_CALLED: Final = 0.05
#: Least ratio of both arms: a gene that the line expresses is not absent from it.
_LEAST_FOLD: Final = 2.0
#: Share of control cells with a count, or counts per million, up to which a gene is absent.
_ABSENT_SHARE: Final = 0.05
_ABSENT_CPM: Final = 10.0
#: How far expanded NK cells may exceed the profile of blood NK cells.
_LARGEST_RATIO: Final = 16.0
_FEWEST_GENES: Final = 3
_LARGEST_SHARE: Final = 0.999


@dataclass(frozen=True, slots=True)
class _Levels:
    """Of each gene: level in the treated and in the control arm, and whether it is absent there."""

    treated: Floats
    control: Floats
    absent: Bools

    def keep(self, rows: Bools) -> _Levels:
        return _Levels(self.treated[rows], self.control[rows], self.absent[rows])


def from_nk_cells(table: pd.DataFrame, effect: str) -> Bools | None:
    """Return which raised genes ambient NK RNA can explain; ``None`` without levels in the table.

    Ambient RNA raises genes in proportion to their level in NK cells. The factor is that of the
    NK-exclusive genes of the line. A gene is explained if it is absent from the line alone, and its
    rise is not far above the one expected from its level in NK cells.
    """
    levels = _levels(table, effect)
    if levels is None:
        return None
    profile = nk_profile().reindex(table["gene"].astype(str)).to_numpy(dtype=float)
    in_nk = np.nan_to_num(2.0**profile)
    exclusive = table["gene"].isin(list(signatures.nk_exclusive())).to_numpy(dtype=bool)
    raised = (table[effect] > 0).to_numpy(dtype=bool) & _significant(table)
    suspect = np.zeros(len(table), dtype=bool)
    of_row = _line_of_rows(table)
    for line in np.unique(of_row):
        rows = of_row == line
        suspect[rows] = raised[rows] & _explained(levels.keep(rows), in_nk[rows], exclusive[rows])
    return suspect


def _explained(levels: _Levels, in_nk: Floats, exclusive: Bools) -> Bools:
    rise = levels.treated - levels.control
    new = levels.absent & (levels.treated >= _LEAST_FOLD * levels.control)
    known = exclusive & np.isfinite(rise) & (in_nk > 0) & levels.absent
    if known.sum() < _FEWEST_GENES:
        return np.zeros(rise.size, dtype=bool)
    factor = rise[known].sum() / in_nk[known].sum()
    if factor <= 0:
        return np.zeros(rise.size, dtype=bool)
    return np.asarray(new & (rise > 0) & (rise <= _LARGEST_RATIO * factor * in_nk))


def _levels(table: pd.DataFrame, effect: str) -> _Levels | None:
    if {"mean_log2_cpm", "log2_fc"} <= set(table.columns):
        half = table[effect].to_numpy(dtype=float) / 2
        mean = table["mean_log2_cpm"].to_numpy(dtype=float)
        control = 2.0 ** (mean - half)
        return _Levels(2.0 ** (mean + half), control, control <= _ABSENT_CPM)
    for pair in SHARES_OF_CELLS:
        if set(pair) <= set(table.columns):
            shares = table[list(pair)].to_numpy(dtype=float)
            # Percent in tables of nkscore, shares in those of Seurat.
            shares = shares / (100 if np.nanmax(shares, initial=0.0) > 1 else 1)
            # The mean number of counts, if they are Poisson.
            rates = -np.log1p(-np.minimum(shares, _LARGEST_SHARE))
            return _Levels(rates[:, 0], rates[:, 1], shares[:, 1] <= _ABSENT_SHARE)
    return None


def _significant(table: pd.DataFrame) -> Bools:
    name = next((c for c in _P_VALUES if c in table), None)
    if name is None:
        return np.ones(len(table), dtype=bool)
    return np.asarray(table[name].to_numpy(dtype=float) < _CALLED)


def _line_of_rows(table: pd.DataFrame) -> Floats:
    name = next((c for c in _LINES if c in table), None)
    if name is None:
        return np.zeros(len(table))
    return np.asarray(pd.factorize(table[name])[0], dtype=float)
