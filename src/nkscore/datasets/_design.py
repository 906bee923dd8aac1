"""The wells of the design, with their lanes and hashtags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._uneven import over_lanes

if TYPE_CHECKING:
    from typing import TypeAlias

    from nkscore.datasets._options import Options

    #: What the sample sheet says of a well, by column.
    Well: TypeAlias = dict[str, str | float]

#: Hashtags that fit into one lane, as in the reference study.
TAGS_PER_LANE: Final = 14
HOURS: Final = 24.0


def sample_sheet(options: Options) -> pd.DataFrame:
    """Return one row per well, in lane order, in the form that ``io.read_coculture`` keeps."""
    rows: list[Well] = []
    targets = [
        _well(f"{tumor}_mono{suffix}", schema.TUMOR_MONO, tumor=tumor, lineage=lineage)
        for suffix in _replicates(options.n_mono_replicates)
        for tumor, lineage in options.tumors.items()
    ]
    nk_alone = [
        _well(f"{donor}_mono{suffix}", schema.NK_MONO, donor=donor)
        for donor in options.donors
        for suffix in _replicates(options.n_mono_replicates)
    ]
    apart = options.nk_lane and len(nk_alone) > 1
    for donor in options.donors:
        wells = [
            _well(f"{tumor}_{donor}", schema.COCULTURE, tumor=tumor, lineage=lineage, donor=donor)
            for tumor, lineage in options.tumors.items()
        ]
        alone = [w for w in nk_alone if w[schema.NK_DONOR] == donor]
        wells += [] if apart else alone
        if len(targets) == 1:
            # A separate lane would hold one hashtag, which does not allow doublet calls.
            wells += targets
            targets = []
        rows += _fill_lanes(f"Lane_{donor}", wells)
    if targets:
        rows += _fill_lanes("Lane_targets", targets)
    if apart:
        rows += _fill_lanes("Lane_nk", nk_alone)
    columns = [schema.LANE, schema.HASHTAG, *schema.SAMPLE_COLUMNS]
    sheet = pd.DataFrame(rows, columns=columns)
    sheet.index = sheet.index.astype(str)
    return over_lanes(sheet, options.lanes_per_pool)


def _replicates(number: int) -> list[str]:
    return ["", *(f"_{i + 2}" for i in range(number - 1))]


def _well(
    sample: str, condition: str, *, tumor: str = "", lineage: str = "", donor: str = ""
) -> Well:
    return {
        schema.SAMPLE: sample,
        schema.TUMOR: tumor,
        schema.LINEAGE: lineage,
        schema.NK_DONOR: donor,
        schema.NK_SOURCE: "expanded" if donor else "",
        schema.CONDITION: condition,
        schema.TIME_H: HOURS,
        schema.ET_RATIO: 1.0 if condition == schema.COCULTURE else float("nan"),
    }


def _fill_lanes(name: str, wells: list[Well]) -> list[Well]:
    placed: list[Well] = []
    n_lanes = -(-len(wells) // TAGS_PER_LANE)
    for i, well in enumerate(wells):
        # Spread evenly, so that no lane is left with a single well.
        lane = i * n_lanes // len(wells)
        first = -(-lane * len(wells) // n_lanes)
        suffix = f"_{lane + 1}" if n_lanes > 1 else ""
        placed.append(
            {
                schema.LANE: f"{name}{suffix}",
                schema.HASHTAG: f"Hashtag{i - first + 1}",
                **well,
            }
        )
    return placed


def lane_ambient(options: Options, lanes: list[str]) -> dict[str, float]:
    """Return the share of ambient counts of each lane."""
    chosen: float | Mapping[str, float] = options.ambient
    if options.clean:
        return dict.fromkeys(lanes, 0.0)
    if not isinstance(chosen, Mapping):
        return dict.fromkeys(lanes, float(chosen))
    unknown = [repr(lane) for lane in chosen if lane not in lanes]
    if unknown:
        msg = f"ambient names {', '.join(unknown)}; the lanes are {', '.join(lanes)}."
        raise ValueError(msg)
    return {lane: float(chosen.get(lane, 0.05)) for lane in lanes}


def hashtag_names(sheet: pd.DataFrame) -> list[str]:
    """Return all hashtags in numerical order."""
    most = int(np.max(sheet.groupby(schema.LANE, observed=True).size()))
    return [f"Hashtag{i + 1}" for i in range(most)]
