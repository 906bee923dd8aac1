"""Independent units of a pooled knock-out experiment, and the contrasts between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore._checks import check_confidence
from nkscore.errors import DesignError
from nkscore.stats import (
    fit_with_counting,
    interaction_design,
    target_design,
    with_interval,
    with_q_values,
)
from nkscore.tl._genes._perturbed_cells import GuideCells, as_text, check_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nkscore._types import Floats, Ints, Level
    from nkscore.stats import Design

KNOCKOUT: Final = "knockout"
INTERACTION: Final = "interaction"


@dataclass(frozen=True, slots=True)
class ArmUnits:
    """Rows of the table of guides in one arm, and the unit and replicate of each.

    ``table``: one row per unit with ``target``, ``name``, ``replicate`` (a block, or ``None``) and
    ``n_cells``. If units are guides, values are adjusted for replicates beforehand and
    ``replicate`` holds their numbers; it is 0 throughout if replicates are blocks.
    """

    rows: Ints
    unit: Ints
    replicate: Ints
    table: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Contrast:
    """``levels`` (units × variables, from the collapsing function) and their model."""

    name: str
    table: pd.DataFrame
    levels: tuple[Floats, ...]
    design: Design


def arm_units(cells: GuideCells, arm: str, unit: str) -> ArmUnits:
    """Return the units of one arm."""
    rows = np.flatnonzero(cells.table["arm"] == arm)
    here = cells.table.iloc[rows]
    parts = {"guide": ["guide"], "replicate": ["target", "replicate"]}
    keys = parts.get(unit, ["guide", "replicate"])
    name = here[keys[0]].str.cat(here[keys[1:]], sep=" | ")
    code, names = pd.factorize(name)
    blocked = unit != "guide"
    replicate = pd.factorize(here["replicate"])[0]
    first = pd.Series(code).drop_duplicates().index
    table = pd.DataFrame(
        {
            "target": here["target"].to_numpy(dtype=object)[first],
            "name": np.asarray(names, dtype=object),
            "replicate": here["replicate"].to_numpy(dtype=object)[first] if blocked else None,
            "n_cells": np.bincount(code, here["n_cells"]).astype(int),
        }
    )
    return ArmUnits(rows, code, np.zeros_like(replicate) if blocked else replicate, table)


def contrasts(
    cells: GuideCells,
    arms: list[str],
    unit: str,
    collapse: Callable[[ArmUnits], tuple[Floats, ...]],
    *,
    names: list[str],
) -> Iterator[Contrast]:
    """Yield each arm's contrast with the controls and, for two arms, their interaction.

    ``arms`` are the control arm and, if present, the treated arm. ``collapse`` turns rows of the
    table of guides into values per unit.
    """
    check_unit(cells.table, unit, cells.control)
    units = [arm_units(cells, arm, unit) for arm in arms]
    values = [collapse(one) for one in units]
    for name, one, own in zip(names, units, values, strict=True):
        blocks = None if unit == "guide" else one.table["replicate"].to_numpy(dtype=object)
        target = one.table["target"].to_numpy(dtype=object)
        yield Contrast(name, one.table, own, target_design(target, cells.control, blocks))
    if len(arms) == 2:
        yield _interaction(units, values, cells.control)


def _interaction(units: list[ArmUnits], values: list[tuple[Floats, ...]], control: str) -> Contrast:
    both = set(units[0].table["name"]) & set(units[1].table["name"])
    kept = [one.table["name"].isin(both).to_numpy() for one in units]
    found = [set(one.table.loc[k, "target"]) for one, k in zip(units, kept, strict=True)]
    if control not in found[0] or len(found[0]) < 2:
        msg = (
            "No replicate occurs in both arms (or none of the controls), so units cannot "
            "be compared with themselves. Name the column of donors or batches that the "
            "arms share with replicate=, or use unit='guide'."
        )
        raise DesignError(msg)
    parts = [one.table[k] for one, k in zip(units, kept, strict=True)]
    table = pd.concat(parts, ignore_index=True)
    treated = np.repeat([False, True], [len(part) for part in parts])
    design = interaction_design(
        table["target"].to_numpy(dtype=object),
        table["name"].to_numpy(dtype=object),
        treated,
        control,
    )
    joined = tuple(np.concatenate([a[kept[0]], b[kept[1]]]) for a, b in zip(*values, strict=True))
    return Contrast(INTERACTION, table, joined, design)


def arms_of(
    condition: str | None, treated: Level | None, control: Level | None
) -> tuple[list[str], list[str]]:
    """Return the levels of the arms, the control first, and the names of their contrasts."""
    if condition is None:
        return ["all"], [KNOCKOUT]
    arms = [as_text(control), as_text(treated)]
    if arms[0] == arms[1]:
        msg = f"Both arms are {treated!r}. Name two different levels of obs[{condition!r}]."
        raise DesignError(msg)
    return arms, arms


def counted_effects(contrast: Contrast) -> pd.DataFrame:
    """Test each variable of a contrast whose ``levels`` are values and sampling variances."""
    level, counting = contrast.levels
    fit, _ = fit_with_counting(level, counting, contrast.design)
    parts = []
    for name, column in contrast.design.effects.items():
        effect = fit.coefficients[:, column]
        error = np.sqrt(fit.variance * fit.unscaled[:, column])
        t = effect / error
        parts.append(
            pd.DataFrame(
                {
                    "target": name,
                    "variable": np.arange(level.shape[1]),
                    "contrast": contrast.name,
                    "effect": effect,
                    "se": error,
                    "t": t,
                    "p_value": 2 * scipy_stats.t.sf(np.abs(t), fit.df_residual),
                    "df_residual": fit.df_residual,
                    "df_total": fit.df_residual,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def finished(
    table: pd.DataFrame, cells: GuideCells, effect: str, *, confidence: float
) -> pd.DataFrame:
    """Add intervals, q-values (within each contrast), numbers of guides and cells.

    ``table`` has the columns ``target``, ``contrast``, ``se``, ``df_total`` and ``p_value`` in
    addition to the ``effect``.
    """
    check_confidence(confidence)
    table = with_interval(table, effect, table["df_total"], confidence)
    table = with_q_values(table, by="contrast")
    sizes = cells.table.groupby("target").agg(
        n_guides=("guide", "nunique"), n_replicates=("replicate", "nunique")
    )
    arm_sizes = cells.table.groupby(["target", "arm"])["n_cells"].sum()
    total = arm_sizes.groupby("target").sum()
    where = [
        arm_sizes.get((t, c), total[t])
        for t, c in zip(table["target"], table["contrast"], strict=True)
    ]
    controls = [arm_sizes.get((cells.control, c), total[cells.control]) for c in table["contrast"]]
    table["n_guides"] = table["target"].map(sizes["n_guides"])
    table["n_guides_control"] = int(sizes["n_guides"].loc[cells.control])
    table["n_replicates"] = table["target"].map(sizes["n_replicates"])
    table["n_cells"], table["n_cells_control"] = where, controls
    return table
