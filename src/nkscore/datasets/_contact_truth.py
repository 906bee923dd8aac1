"""The planted contacts, per droplet, well and gene."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._attached_cells import PROGRAMS, contact_rates

if TYPE_CHECKING:
    from nkscore.datasets._cells import Cells, Droplets
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._options import Options
    from nkscore.datasets._profiles import Programs
    from nkscore.datasets._wells import Wells


def pair_truth(options: Options, droplets: Droplets, cells: Cells) -> pd.DataFrame:
    """Return ``truth_pair`` of droplets with an NK and a tumor cell; no column without contacts."""
    if options.contacts is None:
        return pd.DataFrame(index=range(len(droplets.cells)))
    first, second = droplets.cells.T
    mixed = (second >= 0) & (cells.is_nk[first] != cells.is_nk[second])
    code = np.where(mixed, np.where(cells.attached[first], 0, 1), -1)
    kinds = pd.Categorical.from_codes(code, categories=pd.Index(["own", "chance"]))
    return pd.DataFrame({schema.TRUTH_PAIR: kinds})


def contact_truth(
    options: Options, wells: Wells, obs: pd.DataFrame, programs: Programs, genes: Genes
) -> dict[str, pd.DataFrame]:
    """Return what was planted per well and per gene; empty without contacts."""
    if options.contacts is None:
        return {}
    own = obs.loc[obs[schema.TRUTH_PAIR] == "own", schema.TRUTH_SAMPLE].value_counts()
    samples = wells.sheet[schema.SAMPLE]
    table = pd.DataFrame(
        {
            schema.SAMPLE: samples,
            schema.TUMOR: wells.sheet[schema.TUMOR],
            "rate": contact_rates(options, wells),
            "n_pairs": own.reindex(samples, fill_value=0).to_numpy(dtype=np.int64),
        }
    )
    frames = []
    for cell, name in PROGRAMS.items():
        members, effect = programs.part(name)
        frames.append(
            pd.DataFrame(
                {"gene": genes.names[members], "cell": cell, "log2_fc": effect / np.log(2.0)}
            )
        )
    planted = pd.concat(frames, ignore_index=True)
    for frame in (table, planted):
        frame.index = frame.index.astype(str)
    return {"contacts": table, "contact_genes": planted}
