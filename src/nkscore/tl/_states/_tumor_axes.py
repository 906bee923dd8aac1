"""Axes of a tumor cell's state: genes that the data contain, and the value of each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.signatures._axes import AXES, AXIS, axis_parts, incomplete_axes
from nkscore.stats import AxisValues, axis_change, signed_axis
from nkscore.tl._states._write import write_table

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Floats
    from nkscore.tl._states._tumor_programs import TumorCounts


def write_axes(adata: AnnData, counts: TumorCounts) -> pd.DataFrame:
    """Write value and interval of each cell on each axis; return what the axes were made from."""
    lacking = incomplete_axes(counts.genes.columns)
    made = {axis: _axis(counts, axis) for axis in AXES if axis not in lacking}
    nothing = np.full(counts.line.size, np.nan)
    for slot, end in (
        (schema.TUMOR_AXES, "value"),
        (schema.TUMOR_AXES_LOW, "low"),
        (schema.TUMOR_AXES_HIGH, "high"),
    ):
        table = {axis: getattr(made[axis], end) if axis in made else nothing for axis in AXES}
        write_table(adata, slot, pd.DataFrame(table), counts.cells.rows, AXES)
    return _made_from(counts)


def _axis(counts: TumorCounts, axis: str) -> AxisValues:
    line, baseline = counts.line, counts.baseline
    parts = []
    for part in axis_parts()[axis]:
        data = counts.of(f"{AXIS}{part.name}")
        noise = data.noise + _gene_noise(counts, f"{AXIS}{part.name}")[line]
        parts.append((axis_change(data.x, data.expected, noise, line, baseline), part.sign))
    return signed_axis(parts, line, baseline)


def _gene_noise(counts: TumorCounts, name: str) -> Floats:
    """Return each line's squared relative error of a sum because its genes vary on their own."""
    genes, levels = counts.genes.columns[name], counts.levels
    rate, spread = levels.rate[:, genes], levels.spread[:, genes]
    part = rate / (1 + spread * rate * levels.depth[:, None])
    total = np.maximum(part.sum(axis=1), 1e-12)
    return np.asarray((part**2 * spread).sum(axis=1) / total**2)


def _made_from(counts: TumorCounts) -> pd.DataFrame:
    rows = [
        {
            "axis": axis,
            "part": part.name,
            "sign": part.sign,
            "n_genes": len(part.genes),
            "n_found": len(counts.genes.columns.get(f"{AXIS}{part.name}", ())),
        }
        for axis, parts in axis_parts().items()
        for part in parts
    ]
    return pd.DataFrame(rows)
