"""Variances of a pilot experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import compartment_samples, labels
from nkscore.tl._plan._variances import Sums, measured

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Ints, Labels
    from nkscore.tl._plan._variances import Variances

#: As in ``tl.interaction_response``.
_FEWEST_CELLS = 10


def pilot_variances(adata: AnnData, compartment: str, rng: np.random.Generator) -> Variances:
    """Measure how counts vary between cells, samples and donors of a pilot.

    NK cells of a donor are compared between the arms; tumor cells are no cells of the donor.
    """
    columns = [schema.TUMOR, schema.NK_DONOR, schema.CONDITION]
    samples = compartment_samples(
        adata,
        compartment,
        columns=columns,
        min_cells=_FEWEST_CELLS,
        replicate=schema.NK_DONOR,
    )
    counts = counts_of(adata)
    sums = counts.group_sums(samples.codes, len(samples.table), squares=True)
    kind = [labels(samples.table, name).astype(str) for name in (schema.TUMOR, schema.CONDITION)]
    donor = labels(samples.table, schema.NK_DONOR)
    of_donors = compartment == schema.NK and all(name is not None for name in donor)
    inside = samples.codes >= 0
    found = Sums(
        sums.sums,
        sums.squares,
        samples.table["n_cells"].to_numpy(float),
        arm=_numbered(np.array([" | ".join(pair) for pair in zip(*kind, strict=True)])),
        donor=_numbered(donor) if of_donors else np.full(len(donor), -1),
        depth=_depth(pd.Series(counts.totals()[inside]), samples.codes[inside]),
    )
    return measured("pilot", found, rng)


def _numbered(names: Labels) -> Ints:
    return np.asarray(pd.factorize(names)[0])


def _depth(total: pd.Series, codes: Ints) -> float:
    """Return the squared coefficient of variation of the counts of cells within samples."""
    groups = total.groupby(codes)
    return float((groups.var() / groups.mean() ** 2).mean())
