"""What differs between wells for technical reasons: depth, numbers of cells, lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams

_DEPENDS_ON: Final = (schema.CONDITION, schema.LANE, schema.TUMOR)
#: What is left of a well with few cells.
_FEW: Final = 0.1


def depth_factors(options: Options, sheet: pd.DataFrame, streams: Streams) -> Floats:
    """Return a factor on the depth of each row of ``sheet``."""
    chosen = options.uneven_depth
    if isinstance(chosen, Mapping):
        _check_names("uneven_depth", chosen, {str(v) for c in _DEPENDS_ON for v in sheet[c]})
        factors = np.ones(len(sheet))
        for column in _DEPENDS_ON:
            factors *= [chosen.get(name, 1.0) for name in sheet[column]]
        return factors
    exponent = np.zeros(len(sheet))
    for column in _DEPENDS_ON:
        drawn = {n: streams.uniform(f"depth of {column} {n}", 0)[0] for n in sheet[column].unique()}
        exponent += sheet[column].map(drawn).to_numpy(dtype=np.float64)
    # The shallowest and the deepest well differ by the chosen factor.
    apart = np.ptp(exponent)
    exponent = (exponent - exponent.min()) / apart if apart > 0 else exponent
    return np.asarray(chosen**-exponent, dtype=np.float64)


def tag_factors(options: Options, sheet: pd.DataFrame, streams: Streams) -> Floats:
    """Return a factor on the hashtag signal of each row of ``sheet``."""
    weak = [streams.uniform(f"weak tag of {name}", 0)[0] for name in sheet[schema.SAMPLE]]
    return np.asarray(options.unequal_tags ** -np.array(weak), dtype=np.float64)


def cells_of_rows(options: Options, sheet: pd.DataFrame, streams: Streams) -> Ints:
    """Return the droplets of each row of ``sheet``: of its well, shared out to the well's lanes."""
    chosen = options.few_cells
    full = options.n_cells_per_sample
    wells = sheet[schema.SAMPLE].unique()
    if isinstance(chosen, Mapping):
        _check_names("few_cells", chosen, set(wells))
        size = {name: int(chosen.get(name, full)) for name in wells}
    else:
        few = max(1, round(_FEW * full))
        size = {
            name: few if streams.uniform(f"few cells in {name}", 0)[0] < chosen else full
            for name in wells
        }
    part = sheet.groupby(schema.SAMPLE, sort=False).cumcount().to_numpy()
    total = sheet[schema.SAMPLE].map(size).to_numpy(dtype=np.int64)
    lanes = options.lanes_per_pool
    return np.asarray(total * (part + 1) // lanes - total * part // lanes, dtype=np.int64)


def over_lanes(sheet: pd.DataFrame, n_lanes: int) -> pd.DataFrame:
    """Return ``sheet`` with each lane loaded ``n_lanes`` times: ``Lane_a``, ``Lane_b``, ..."""
    if n_lanes == 1:
        return sheet
    parts = []
    for _, pool in sheet.groupby(schema.LANE, sort=False):
        parts += [
            pool.assign(**{schema.LANE: pool[schema.LANE] + f"_{chr(ord('a') + i)}"})
            for i in range(n_lanes)
        ]
    made = pd.concat(parts, ignore_index=True)
    made.index = made.index.astype(str)
    return made


def _check_names(option: str, chosen: Mapping[str, object], known: set[str]) -> None:
    unknown = [repr(name) for name in chosen if name not in known]
    if unknown:
        names = ", ".join(sorted(known - {""}))
        msg = f"{option} names {', '.join(unknown)}; known here: {names}."
        raise ValueError(msg)
