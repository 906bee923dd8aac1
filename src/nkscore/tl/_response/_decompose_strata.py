"""Shares of strata and means within them, by sample, and samples matched between arms."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._samples._left_out import left_out
from nkscore._samples._samples import Samples, labels
from nkscore.errors import DesignError
from nkscore.tl._response._cell_values import require_finite

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Floats, Ints

_LOG = logging.getLogger("nkscore")


@dataclass(frozen=True, slots=True)
class Arm:
    """The units of one arm.

    Units × strata: ``share`` of the cells, and ``mass``: share × mean. ``noise``: covariance of
    both that the finite number of cells leads to.
    """

    share: Floats
    mass: Floats
    noise: Floats
    names: list[str]

    def rows(self, index: Ints) -> Arm:
        return Arm(self.share[index], self.mass[index], self.noise[index], self.names)


def strata_of(adata: AnnData, names: list[str]) -> tuple[Ints, list[str]]:
    """Return the stratum of each cell as a number, -1 if missing, and the names."""
    schema.require(adata, "obs", names, "the function that calls these strata")
    if not names:
        msg = "No strata are named; at least one column of obs is needed (for example "
        "'tumor_state')."
        raise DesignError(msg)
    text = pd.Series("", index=np.arange(adata.n_obs), dtype=object)
    missing = np.zeros(adata.n_obs, dtype=bool)
    for i, name in enumerate(names):
        values = adata.obs[name]
        missing |= values.isna().to_numpy()
        text = text + (" | " if i else "") + values.astype(str).to_numpy(dtype=object)
    levels = sorted(set(text[~missing]))
    codes = pd.Categorical(text.where(~missing), categories=levels).codes.astype(np.int64)
    return codes, levels


def with_stratum(samples: Samples, stratum: Ints, min_cells: int) -> Samples:
    """Exclude cells without a stratum, and samples that then have too few cells."""
    lost = int(((samples.codes >= 0) & (stratum < 0)).sum())
    if not lost:
        return samples
    _LOG.warning("%d cells have no stratum and are excluded", lost)
    codes = np.where(stratum >= 0, samples.codes, -1)
    n_cells = np.bincount(codes[codes >= 0], minlength=len(samples.table))
    enough = n_cells >= max(1, min_cells)
    if not enough.any():
        msg = (
            f"No sample has {min_cells} cells with a stratum. Call strata in more cells, or lower "
            "min_cells."
        )
        raise DesignError(msg)
    if not enough.all():
        names = ", ".join(samples.table.loc[~enough, schema.SAMPLE].head(10))
        _LOG.warning("Fewer than %d cells with a stratum, excluded: %s", min_cells, names)
    wells = samples.table[schema.SAMPLE]
    flow = samples.flow and samples.flow.without(
        "no stratum", wells, samples.table["n_cells"].to_numpy() - n_cells
    )
    few = [f"{n} cells, {min_cells} needed (min_cells)" for n in n_cells[~enough]]
    table = samples.table.assign(n_cells=n_cells)
    made = replace(samples, table=table, codes=codes, flow=flow)
    return made.without("sample", list(wells[~enough]), few).keep(enough)


def moments_of(values: Floats, samples: Samples, stratum: Ints, n_strata: int) -> Arm:
    """Shares, masses and their covariances of every sample."""
    inside = samples.codes >= 0
    y = values[inside]
    require_finite(y)
    n_samples = len(samples.table)
    flat = samples.codes[inside] * n_strata + stratum[inside]
    sums = [
        np.bincount(flat, weights=w, minlength=n_samples * n_strata).reshape(-1, n_strata)
        for w in (np.ones_like(y), y, y**2)
    ]
    n = sums[0].sum(axis=1, keepdims=True)
    p, t, u = (s / n for s in sums)
    second = np.zeros((n_samples, 2 * n_strata, 2 * n_strata))
    k = np.arange(n_strata)
    second[:, k, k], second[:, k + n_strata, k + n_strata] = p, u
    second[:, k, k + n_strata] = second[:, k + n_strata, k] = t
    mean = np.concatenate([p, t], axis=1)
    # Unbiased, so that the variance between samples is not overestimated.
    covariance = (second - mean[:, :, None] * mean[:, None, :]) / np.maximum(n - 1, 1)[:, :, None]
    return Arm(p, t, covariance, [])


def matched_lines(
    samples: Samples, moments: Arm, by: str, replicate: str
) -> tuple[dict[str, tuple[Arm, Arm, bool]], tuple[LeftOut, ...]]:
    """Return the units of both arms of each line, matched if replicates are; samples excluded."""
    group = labels(samples.table, by)
    is_treated = samples.table["treated"].to_numpy()
    donor = labels(samples.table, replicate)
    name = labels(samples.table, schema.SAMPLE)
    shared = all(g is None for g in group[~is_treated])
    lines, alone = {}, []
    for line in sorted({str(g) for g in group[is_treated]}):
        here = np.array([g == line for g in group])
        members = (~is_treated & (here | shared), is_treated & here)
        both = set.intersection(*(set(donor[m]) - {None} for m in members))
        paired = len(both) >= 2
        units = []
        for member in members:
            rows = np.flatnonzero(member)
            if paired:
                rows = np.array([r for r in rows if donor[r] in both])
            ids = [str(name[r]) if donor[r] is None else str(donor[r]) for r in rows]
            units.append(_averaged(moments.rows(rows), ids))
            if len(rows) < member.sum():
                left = [str(name[r]) for r in np.flatnonzero(member) if r not in rows]
                _LOG.warning("%s: replicates of one arm only, excluded: %s", line, ", ".join(left))
                alone += left
        lines[line] = (units[0], units[1], paired)
    return lines, left_out("sample", alone, ["replicate of one arm only"] * len(alone))


def _averaged(rows: Arm, ids: list[str]) -> Arm:
    names = sorted(set(ids))
    mean = np.array([[float(i == n) for i in ids] for n in names])
    mean /= mean.sum(axis=1, keepdims=True)
    noise = np.einsum("us,sij->uij", mean**2, rows.noise)
    return Arm(mean @ rows.share, mean @ rows.mass, noise, names)


def require_replicates(lines: dict[str, tuple[Arm, Arm, bool]]) -> None:
    """Raise :class:`DesignError` if no line has a second unit in either arm."""
    alone = [n for n, (a, b, _) in lines.items() if max(len(a.names), len(b.names)) < 2]
    if not alone:
        return
    if len(alone) == len(lines):
        msg = (
            f"Every line ({', '.join(alone[:5])}) has one sample per arm, so the "
            "variation between samples is unknown and no interval is possible. Add NK "
            "donors or wells (at least two in one arm, better three in both), or call "
            "with interval='none' for the values alone."
        )
        raise DesignError(msg)
    _LOG.warning("One sample per arm, no interval: %s", ", ".join(alone))
