"""Expectations for each well: NK states, response strength, survival of the killing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nkscore import schema
from nkscore.datasets._lines import ALONE, MOST_ACTIVATED, NK_STATES, activation
from nkscore.datasets._uneven import cells_of_rows, depth_factors

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams

#: Reduction of the log hazard per unit of selection, in low-MYC cells and per SD of HLA class I.
SHELTER_LOW_MYC: Final = 1.2
SHELTER_HLA: Final = 0.4
_N_BINS: Final = 41


@dataclass(frozen=True)
class Wells:
    """One row per well of the sample sheet."""

    sheet: pd.DataFrame
    lane: Ints
    lanes: list[str]
    has_nk: Bools
    has_tumor: Bools
    nk_fraction: Floats
    states: Floats
    ifn: Floats
    line_response: Floats
    depth: Floats
    truth: pd.DataFrame
    #: Wells × (tumor state × HLA bin): shares of the tumor cells that survive killing.
    survivors: Floats
    induction: Floats
    n_droplets: Ints


def hla_bins() -> Floats:
    """Return the middles of equally likely bins of a standard normal variable."""
    return np.asarray(ndtri((np.arange(_N_BINS) + 0.5) / _N_BINS), dtype=np.float64)


def expected_wells(options: Options, sheet: pd.DataFrame, streams: Streams) -> Wells:
    """Return the expectations for each well of ``sheet``."""
    together = (sheet[schema.CONDITION] == schema.COCULTURE).to_numpy()
    has_tumor = together | (sheet[schema.CONDITION] == schema.TUMOR_MONO).to_numpy()
    has_nk = together | (sheet[schema.CONDITION] == schema.NK_MONO).to_numpy()
    lanes = list(dict.fromkeys(sheet[schema.LANE]))
    lane = np.array([lanes.index(name) for name in sheet[schema.LANE]], dtype=np.int64)
    ifn, line = _responses(options, sheet, streams, together)
    killed, before, after, survivors = _killing(options, sheet, streams, together)
    induction = options.induction * options.interaction * together.astype(np.float64)
    truth = pd.DataFrame(
        {
            schema.SAMPLE: sheet[schema.SAMPLE],
            "ifn_strength": ifn,
            "line_strength": line,
            "killed_fraction": np.where(has_tumor, killed, np.nan),
            "low_myc_before": np.where(has_tumor, before, np.nan),
            "low_myc_after_killing": np.where(has_tumor, after, np.nan),
            "low_myc_after": np.where(has_tumor, after + (1 - after) * induction, np.nan),
        }
    )
    truth.index = truth.index.astype(str)
    return Wells(
        sheet=sheet,
        lane=lane,
        lanes=lanes,
        has_nk=has_nk,
        has_tumor=has_tumor,
        nk_fraction=np.where(together, options.nk_fraction, has_nk.astype(np.float64)),
        states=_state_fractions(options, sheet, streams, together),
        ifn=ifn,
        line_response=line,
        depth=_depth(options, sheet, streams, lane),
        truth=truth,
        survivors=survivors,
        induction=induction,
        n_droplets=cells_of_rows(options, sheet, streams),
    )


def _state_fractions(
    options: Options, sheet: pd.DataFrame, streams: Streams, together: np.ndarray
) -> Floats:
    n_states = len(NK_STATES)
    if options.nk_states is False:
        return np.tile(np.eye(n_states)[0], (len(sheet), 1))
    chosen = {} if options.nk_states is True else options.nk_states
    alone = _row(chosen.get("alone"), np.array(ALONE))
    donors = sheet[schema.NK_DONOR].to_numpy()
    columns = np.arange(n_states)
    fractions = np.empty((len(sheet), n_states))
    for i, (sample, tumor) in enumerate(
        zip(sheet[schema.SAMPLE], sheet[schema.TUMOR], strict=True)
    ):
        most = np.array(ALONE) + activation(tumor) * (np.array(MOST_ACTIVATED) - np.array(ALONE))
        full = _row(chosen.get(tumor), most)
        shift = options.state_shift * options.interaction * together[i]
        noise = options.donor_effect * streams.normal(f"states of donor {donors[i]}", columns)
        noise += options.sample_effect * streams.normal(f"states of well {sample}", columns)
        weights = (alone + shift * (full - alone)) * 2.0**noise
        fractions[i] = weights / weights.sum()
    return fractions


def _row(chosen: object, default: Floats) -> Floats:
    if not isinstance(chosen, Mapping):
        return default
    return np.array([float(chosen.get(state, 0.0)) for state in NK_STATES])


def _responses(
    options: Options, sheet: pd.DataFrame, streams: Streams, together: np.ndarray
) -> tuple[Floats, Floats]:
    ifn, line = np.zeros(len(sheet)), np.zeros(len(sheet))
    for i in np.flatnonzero(together).tolist():
        sample, tumor, donor = sheet.iloc[i][[schema.SAMPLE, schema.TUMOR, schema.NK_DONOR]]
        given = options.donor_response or {}
        factor = given.get(
            donor, 2.0 ** (options.donor_effect * streams.normal(f"response {donor}", 0)[0])
        )
        factor *= 2.0 ** (options.sample_effect * streams.normal(f"response {sample}", 0)[0])
        factor *= options.interaction
        default = 0.4 + 0.8 * activation(tumor)
        chosen = options.ifn_response
        strength = chosen.get(tumor, default) if isinstance(chosen, Mapping) else chosen * default
        ifn[i] = factor * strength
        line[i] = factor * options.line_response
    return ifn, line


def _killing(
    options: Options, sheet: pd.DataFrame, streams: Streams, together: np.ndarray
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return killed share, low-MYC share before and after, and the joint shares after."""
    bins = hla_bins()
    joint = np.outer([1 - options.low_myc, options.low_myc], np.full(_N_BINS, 1 / _N_BINS))
    shelter = SHELTER_LOW_MYC * np.array([[0.0], [1.0]]) + SHELTER_HLA * bins
    selection = options.selection * options.interaction
    killed, after = np.zeros(len(sheet)), np.full(len(sheet), options.low_myc)
    survivors = np.tile(joint.ravel(), (len(sheet), 1))
    for i in np.flatnonzero(together).tolist():
        tumor, donor = sheet.iloc[i][[schema.TUMOR, schema.NK_DONOR]]
        hazard = options.killing * (0.4 + activation(tumor))
        hazard *= 2.0 ** (options.donor_effect * streams.normal(f"killing {donor}", 0)[0])
        alive = joint * np.exp(-hazard * np.exp(-selection * shelter))
        killed[i] = 1 - alive.sum()
        after[i] = alive[1].sum() / alive.sum()
        survivors[i] = (alive / alive.sum()).ravel()
    return killed, np.full(len(sheet), options.low_myc), after, survivors


def _depth(options: Options, sheet: pd.DataFrame, streams: Streams, lane: np.ndarray) -> Floats:
    wells = np.array([streams.normal(f"depth of {s}", 0)[0] for s in sheet[schema.SAMPLE]])
    lanes = streams.normal("depth of lane", lane)
    depth: Floats = options.median_umi * 2.0 ** (
        options.sample_effect * wells + 1.5 * options.lane_effect * lanes
    )
    return depth * depth_factors(options, sheet, streams)
