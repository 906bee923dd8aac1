"""Selection of knock-outs by NK cells: change of the guides' share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import numpy as np

from nkscore import schema
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore.errors import DesignError
from nkscore.stats import means_without_replicates, placed_behind, target_design
from nkscore.tl._genes._perturbed_cells import (
    ALL,
    GuideCells,
    GuideColumns,
    check_unit,
    guide_cells,
)
from nkscore.tl._genes._perturbed_units import (
    Contrast,
    arm_units,
    arms_of,
    counted_effects,
    finished,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_LOG = logging.getLogger("nkscore")


def guide_abundance(
    adata: AnnData,
    *,
    perturbation: str = schema.PERTURBATION,
    guide: str = schema.GUIDE,
    control: str = schema.NON_TARGETING,
    replicate: str | None = schema.SAMPLE,
    condition: str = schema.CONDITION,
    treated: str | float = schema.COCULTURE,
    control_condition: str | float = schema.TUMOR_MONO,
    unit: Literal["guide", "replicate", "guide_replicate"] = "guide",
    compartment: str | None = None,
    min_cells: int = 10,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test each knock-out for a change of its share of cells in the presence of NK cells.

    The effect is the log ratio of a guide's cells with and without NK cells, minus that of the
    non-targeting guides. Below zero, cells without the gene were killed more (sensitized); above
    zero, the knock-out protects. Guides or replicates are the units, never cells, because a few
    clones of a pool can give rise to many cells.

    Reads the columns of ``obs`` named below and, if present, ``obs["qc_pass"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    perturbation, guide, control, compartment, confidence
        As in ``tl.perturbation_response``.
    replicate
        Column of donors or batches. Replicates in both arms are compared with themselves; if the
        arms share none (wells), they are summed within each arm.
    condition, treated, control_condition
        Column of the arms, and its levels with and without NK cells.
    unit
        ``"guide"``: adjusted for replicates, guides are the units. ``"replicate"`` (guides of a
        target summed) and ``"guide_replicate"`` need replicates in both arms.
    min_cells
        Guides with fewer cells in both arms together are excluded; a guide that is lost in one arm
        counts.

    Returns
    -------
    One row per target, with columns ``target``, ``contrast``, ``n_units``, ``log2_fc`` (of the
    share, against the controls), ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``,
    ``df_residual``, ``df_total`` (``p_value`` is that of ``t`` with ``df_total`` degrees of
    freedom), ``n_guides``, ``n_guides_control``, ``n_replicates``, ``n_cells`` and
    ``n_cells_control`` (both arms), ``n_cells_treated``.

    Raises
    ------
    MissingKeyError
        If a column is absent.
    DesignError
        If there are no controls, an arm is empty, or nothing is replicated.

    Notes
    -----
    Half a cell is added to each number. Its variance is the sampling variance plus a variance
    between units that makes the mean squared residual 1.

    Examples
    --------
    >>> import numpy as np
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> i = np.arange(adata.n_obs)
    >>> adata.obs["guide"] = [f"{'JAK1' if k % 2 else 'NT'}g{k % 3}" for k in i]
    >>> adata.obs["perturbation"] = ["JAK1" if k % 2 else "non-targeting" for k in i]
    >>> table = nk.tl.guide_abundance(adata, compartment="tumor")
    >>> bool(table["p_value"].iloc[0] > 0.01)
    True
    """
    arms, _ = arms_of(condition, treated, control_condition)
    if len(arms) < 2:
        msg = "condition is None; the column that separates cells with and without NK cells is "
        raise DesignError(f"{msg}needed. Name it.")
    columns = GuideColumns(perturbation, guide, control, replicate, condition)
    cells = guide_cells(
        adata, columns, arms=arms, compartment=compartment, min_cells=min_cells, together=True
    )
    numbers = _numbers(cells.table, arms, unit)
    matched = GuideCells(numbers, cells.codes, control)
    check_unit(numbers, unit, control)
    units = arm_units(matched, "both", unit)
    before, after = (numbers[arm].to_numpy(dtype=float)[:, None] + 0.5 for arm in arms)
    counting = 1 / before + 1 / after
    change, precision = means_without_replicates(
        np.log2(after / before), 1 / counting, units.unit, units.replicate
    )
    table = units.table
    target = table["target"].to_numpy(dtype=object)
    blocks = None if unit == "guide" else table["replicate"].to_numpy(dtype=object)
    design = target_design(target, control, blocks)
    values = (change, 1 / precision / np.log(2) ** 2)
    found = counted_effects(Contrast("abundance", table, values, design))
    found = found.rename(columns={"effect": "log2_fc"}).drop(columns="variable")
    n_units = found["target"].map(table["target"].value_counts())
    found = placed_behind(found, "contrast", n_units=n_units)
    found = finished(found, matched, "log2_fc", confidence=confidence)
    found["n_cells_treated"] = found["target"].map(numbers.groupby("target")[arms[1]].sum())
    return _noted(found.sort_values(["p_value", "target"], ignore_index=True), cells, numbers)


def _noted(found: pd.DataFrame, cells: GuideCells, numbers: pd.DataFrame) -> pd.DataFrame:
    """Add what was excluded to ``attrs``, with replicates that one arm lacks."""
    found = cells.note(found, "tl.guide_abundance")
    used = set(numbers["replicate"])
    lost = [] if used == {ALL} else sorted(set(cells.table["replicate"]) - used)
    one_arm = left_out("replicate", lost, ["in one arm only"] * len(lost))
    found.attrs[LEFT_OUT] += [dict(entry) for entry in one_arm]
    return found


def _numbers(table: pd.DataFrame, arms: list[str], unit: str) -> pd.DataFrame:
    """Return cells of each guide and replicate in both arms; replicates of one arm are summed."""
    per_arm = [set(table.loc[table["arm"] == arm, "replicate"]) for arm in arms]
    both = per_arm[0] & per_arm[1]
    if both:
        _log_lost(sorted(per_arm[0] ^ per_arm[1]))
        table = table[table["replicate"].isin(both)]
    elif unit == "guide":
        table = table.assign(replicate=ALL)
    else:
        msg = (
            "The arms have no replicate in common, so shares cannot be compared within "
            "replicates. Name a column of donors or batches with replicate=, or use unit='guide'."
        )
        raise DesignError(msg)
    keys = ["target", "guide", "replicate"]
    sizes = table.pivot_table(
        index=keys, columns="arm", values="n_cells", aggfunc="sum", fill_value=0
    )
    sizes = sizes.reindex(columns=arms, fill_value=0)
    # A guide that is lost from a replicate in one arm is the strongest change of all.
    sizes = sizes[sizes.sum(axis=1) > 0].reset_index().rename_axis(columns=None)
    return sizes.assign(arm="both", n_cells=sizes[arms].sum(axis=1))


def _log_lost(names: list[str]) -> None:
    if names:
        _LOG.warning("Replicates of one arm only, excluded: %s", ", ".join(names))
