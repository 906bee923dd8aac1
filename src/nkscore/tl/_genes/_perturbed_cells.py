"""Cells of a pooled knock-out experiment grouped by guide, replicate and condition."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._ledger import note_in, rows
from nkscore._samples._cells import passed_qc
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore._samples._wells import wells_of
from nkscore.errors import DesignError, MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Ints, Labels

_LOG = logging.getLogger("nkscore")
#: Name of the only arm, or the only replicate, if there is no column for it.
ALL: Final = "all"
_FEW_CELLS: Final = "fewer cells than min_cells"
#: Types of independent units.
UNITS: Final = ("guide", "replicate", "guide_replicate")


@dataclass(frozen=True, slots=True)
class GuideCells:
    """``table``: one row per guide × replicate × arm; ``codes``: its number for each cell, or -1.

    The table has the columns ``target``, ``guide``, ``replicate``, ``arm`` and ``n_cells``; targets
    and guides in the order of their names. ``excluded``: guides and targets without a row;
    ``outside``: reason → number of cells without a guide or outside the arms.
    """

    table: pd.DataFrame
    codes: Ints
    control: str
    excluded: tuple[LeftOut, ...] = ()
    outside: Mapping[str, int] = field(default_factory=dict)

    def note(self, table: pd.DataFrame, step: str) -> pd.DataFrame:
        """Add what was excluded to ``attrs`` of a table of results; return it."""
        lost = {reason: {"": n} for reason, n in self.outside.items()}
        used = int((self.codes >= 0).sum())
        made = rows(step, "cells", self.codes.size, used, lost)
        guides = [entry for entry in self.excluded if entry["what"] == "guide"]
        n_guides = self.table["guide"].nunique()
        names = {_FEW_CELLS: [entry["name"] for entry in guides]}
        note_in(table, [*made, *rows(step, "guides", n_guides + len(guides), n_guides, names)])
        table.attrs[LEFT_OUT] = [dict(entry) for entry in self.excluded]
        return table


@dataclass(frozen=True, slots=True)
class GuideColumns:
    """Columns of ``obs`` that describe cells, and the level of the controls in the first."""

    perturbation: str
    guide: str
    control: str
    replicate: str | None
    condition: str | None


def guide_cells(
    adata: AnnData,
    columns: GuideColumns,
    *,
    arms: Sequence[str],
    compartment: str | None,
    min_cells: int,
    together: bool = False,
) -> GuideCells:
    """Group the cells that have a guide.

    Cells that failed QC or are in other arms or compartments are excluded; so are guides with fewer
    than ``min_cells`` cells in an arm (``together``: in all arms), over its replicates, with a log
    line.
    """
    control = as_text(columns.control)
    obs = _described(adata, columns)
    usable = _usable(adata, compartment)
    _require_replicates(obs[usable], columns.replicate)
    inside = _of_the_arms(obs, usable, columns, arms)
    _require_level(obs.loc[inside, "target"], columns.perturbation, control)
    _check_guides(obs[inside])
    large, excluded = _large_enough(obs, inside, min_cells, together=together)
    outside = _not_used(adata, obs, usable, inside, large)
    inside = inside & large
    _require_targets(obs.loc[inside, "target"], control, min_cells)
    keys = ["target", "guide", "replicate", "arm"]
    kept = obs.loc[inside, keys]
    table = kept.value_counts().rename("n_cells").reset_index()
    table = table.sort_values(keys, ignore_index=True)
    number = pd.Series(np.arange(len(table)), index=pd.MultiIndex.from_frame(table[keys]))
    codes = np.full(adata.n_obs, -1, dtype=np.int64)
    codes[inside] = number.loc[pd.MultiIndex.from_frame(kept)].to_numpy()
    return GuideCells(table, codes, control, excluded, outside)


def _not_used(
    adata: AnnData, obs: pd.DataFrame, usable: Bools, inside: Bools, large: Bools
) -> dict[str, int]:
    """Count the cells that are not used, by the first reason that applies."""
    passed, known = passed_qc(adata), obs.notna().all(axis=1).to_numpy()
    first = {
        "failed QC": ~passed,
        "another compartment": ~usable,
        "no guide, replicate or condition": ~known,
        "another condition": ~inside,
        f"guide: {_FEW_CELLS}": ~large,
    }
    left, counted = np.ones(adata.n_obs, dtype=bool), {}
    for reason, lost in first.items():
        counted[reason] = int((left & lost).sum())
        left &= ~lost
    return {reason: n for reason, n in counted.items() if n}


def _of_the_arms(
    obs: pd.DataFrame, usable: Bools, columns: GuideColumns, arms: Sequence[str]
) -> Bools:
    """Return which of the usable cells have a guide and are in one of the arms."""
    inside = obs.notna().all(axis=1).to_numpy() & usable
    if columns.condition is not None:
        for arm in arms:
            _require_level(obs.loc[inside, "arm"], columns.condition, arm)
        inside = inside & obs["arm"].isin(list(arms)).to_numpy()
    if not inside.any():
        msg = (
            f"No cell has a guide: obs[{columns.perturbation!r}] is empty for all "
            "requested cells. Run pp.assign_guides, and check compartment= and obs['qc_pass']."
        )
        raise DesignError(msg)
    return inside


def _described(adata: AnnData, columns: GuideColumns) -> pd.DataFrame:
    """Return target, guide, replicate and arm as text, keeping missing values."""
    needed = [name for name in (columns.perturbation, columns.guide) if name]
    schema.require(adata, "obs", needed, "pp.assign_guides")
    for named_by, column in (("replicate", columns.replicate), ("condition", columns.condition)):
        if column is not None and column not in adata.obs:
            known = ", ".join(map(str, adata.obs.columns[:20]))
            msg = (
                f"adata.obs has no {column!r} (it holds: {known}). Name the column of "
                f"{named_by}s with {named_by}=, or give {named_by}=None."
            )
            raise MissingKeyError(msg)
    replicate = _text_of(adata.obs, columns.replicate)
    if columns.replicate == schema.SAMPLE:
        arm = [columns.condition] if columns.condition is not None else []
        units = wells_of(adata.obs, replicate=schema.SAMPLE, columns=arm)
        replicate = np.array([units.get(name, name) for name in replicate], dtype=object)
    return pd.DataFrame(
        {
            "target": _text_of(adata.obs, columns.perturbation),
            "guide": _text_of(adata.obs, columns.guide),
            "replicate": replicate,
            "arm": _text_of(adata.obs, columns.condition),
        }
    )


def _text_of(obs: pd.DataFrame, column: str | None) -> Labels:
    if column is None:
        return np.full(len(obs), ALL, dtype=object)
    code, levels = pd.factorize(obs[column])
    # The last entry is for code -1, missing values.
    return np.array([*map(as_text, levels), None], dtype=object)[code]


def as_text(value: object) -> str:
    """Return the text of a level: 24 and 24.0 hours are the same."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _usable(adata: AnnData, compartment: str | None) -> Bools:
    usable: Bools = passed_qc(adata)
    if compartment is not None:
        schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
        usable = usable & (adata.obs[schema.COMPARTMENT] == compartment).to_numpy()
    return usable


def _require_level(values: pd.Series, column: str, level: str) -> None:
    have = sorted(set(values))
    if level not in have:
        shown = ", ".join(have[:10]) + (", ..." if len(have) > 10 else "")
        msg = (
            f"No cell with a guide has {level!r} in obs[{column!r}] (it holds: "
            f"{shown or 'nothing'}). Use one of these names."
        )
        raise DesignError(msg)


def _require_replicates(obs: pd.DataFrame, replicate: str | None) -> None:
    """Refuse an arm whose cells all lack a replicate, like monocultures without NK donor."""
    guided = obs[obs[["target", "guide", "arm"]].notna().all(axis=1).to_numpy()]
    known = guided["replicate"].notna().groupby(guided["arm"].to_numpy()).any()
    if len(known) and not known.all():
        arm = known.index[~known.to_numpy()][0]
        where = "" if arm == ALL else f" of {arm!r}"
        msg = (
            f"obs[{replicate!r}] is missing for all cells{where} that have a guide, so no "
            "cell is left. Name a column that is filled in every arm with replicate= "
            "(for example 'sample'), or give replicate=None."
        )
        raise DesignError(msg)


def _check_guides(obs: pd.DataFrame) -> None:
    pairs = obs[["guide", "target"]].drop_duplicates()
    repeated = pairs["guide"].duplicated()
    if repeated.any():
        name = pairs.loc[repeated, "guide"].iloc[0]
        targets = ", ".join(sorted(pairs.loc[pairs["guide"] == name, "target"]))
        msg = (
            f"Guide {name!r} has several targets ({targets}); each guide belongs to one. "
            "Give every guide a unique name in the library and run pp.assign_guides again."
        )
        raise DesignError(msg)


def _large_enough(
    obs: pd.DataFrame, inside: Bools, min_cells: int, *, together: bool
) -> tuple[Bools, tuple[LeftOut, ...]]:
    """Return the cells of guides with enough cells in every arm; the other guides and targets."""
    here = obs[inside]
    sizes = pd.crosstab(here["guide"], here["arm"])
    fewest = sizes.sum(axis=1) if together else sizes.min(axis=1)
    small = fewest < min_cells
    if small.any():
        names = sizes.index[small]
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        _LOG.warning(
            "%d of %d guides have fewer than %d cells and are excluded: %s",
            len(names),
            len(sizes),
            min_cells,
            shown,
        )
    large = obs["guide"].isin(sizes.index[~small]).to_numpy()
    reasons = [f"{n} cells, {min_cells} needed (min_cells)" for n in fewest[small]]
    gone = sorted(set(here["target"]) - set(obs.loc[inside & large, "target"]))
    excluded = left_out("guide", fewest.index[small], reasons)
    return large, excluded + left_out("target", gone, ["no guide has enough cells"] * len(gone))


def _require_targets(target: pd.Series, control: str, min_cells: int) -> None:
    left = set(target)
    if control not in left or len(left) < 2:
        lost = f"no guide of {control!r}" if control not in left else "no targeting guide"
        msg = (
            f"After excluding guides with fewer than {min_cells} cells, {lost} remains. Lower "
            "min_cells, or pool guides or replicates."
        )
        raise DesignError(msg)


def check_unit(table: pd.DataFrame, unit: str, control: str) -> None:
    """Raise :class:`DesignError` if no target has two units of the requested type."""
    if unit not in UNITS:
        msg = f"Unknown unit {unit!r}. Known: {', '.join(UNITS)}."
        raise ValueError(msg)
    n_guides = table.groupby("target")["guide"].nunique()
    n_replicates = table.groupby("arm")["replicate"].nunique()
    if unit == "guide" and n_guides.max() < 2:
        msg = (
            f"Every target ({len(n_guides) - 1} and the controls) has one guide, so the "
            "variation between guides of a target is unknown. Use unit='replicate', "
            "whose result holds only for these guides, including off-target effects."
        )
        raise DesignError(msg)
    if unit == "replicate" and n_replicates.min() < 2:
        msg = (
            "There is one replicate, so the variation between replicates is unknown. "
            "Name their column with replicate=, or use unit='guide' (guides of a target "
            "as replicates)."
        )
        raise DesignError(msg)
    few = sorted(set(n_guides.index[n_guides < 2]) - {control})
    if unit == "guide" and few:
        _LOG.warning(
            "Only one guide: %s. The variation between guides comes from the other "
            "targets, and an off-target effect of that guide cannot be distinguished "
            "from the target's.",
            ", ".join(few),
        )
