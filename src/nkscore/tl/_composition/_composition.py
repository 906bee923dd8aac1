"""Cell states of each sample, and their shift by the interaction."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_confidence
from nkscore._ledger import LEDGER, note_in
from nkscore._samples._left_out import LEFT_OUT
from nkscore._samples._wells import WELL_COLUMNS, wells_of
from nkscore.errors import DesignError
from nkscore.stats import placed_behind
from nkscore.tl._composition._compare_fractions import compare_states, with_intervals
from nkscore.tl._composition._state_counts import state_counts

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Level, Levels
    from nkscore.tl._composition._state_counts import StateCounts

_LOG = logging.getLogger("nkscore")
_DESCRIBED = (
    schema.TUMOR,
    schema.LINEAGE,
    schema.NK_DONOR,
    schema.CONDITION,
    schema.TIME_H,
)
#: Tumor states that are absent in monocultures, because they are defined relative to them.
_BY_DEFINITION = ("ifn_gamma_response",)
_REST = "baseline"


def state_fractions(
    adata: AnnData, state: str = schema.NK_STATE, *, min_cells: int = 10
) -> pd.DataFrame:
    """Count the states of each sample.

    Parameters
    ----------
    adata
        Cells × genes.
    state
        Column of ``obs`` with states, ``"nk_state"`` or ``"tumor_state"``, or your own categorical
        column, for which all cells with a value are counted in all compartments.
    min_cells
        Samples with fewer such cells are excluded.

    Returns
    -------
    One row per sample × state (all states, also those with no cell), with columns ``sample``,
    ``tumor``, ``lineage``, ``nk_donor``, ``condition``, ``time_h``, ``well``, ``plate`` (if ``obs``
    has them; ``well`` also if several samples are one well), ``state``, ``n_cells``, ``n_total``
    (cells of all states in the sample) and ``fraction``.

    Raises
    ------
    MissingKeyError
        If the states were not called.
    DesignError
        If no sample has enough cells.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> table = nk.tl.state_fractions(adata, "nk_state")
    >>> bool(np.isclose(table.groupby("sample")["fraction"].sum(), 1).all())
    True
    """
    described = [c for c in (*_DESCRIBED, *WELL_COLUMNS) if c in adata.obs]
    found = state_counts(adata, state, columns=described, min_cells=min_cells)
    counts = found.counts
    table = found.table
    if WELL_COLUMNS[0] not in adata.obs:
        # A table has no hashtags, from which tl.state_shift could see that two samples are one.
        units = wells_of(adata.obs, replicate=schema.NK_DONOR, columns=described)
        if len(set(units.values())) < len(units):
            table = table.assign(**{WELL_COLUMNS[0]: table[schema.SAMPLE].map(units)})
            described = [*described, WELL_COLUMNS[0]]
    long = table.rename(columns={"n_cells": "n_total"})
    long = long.loc[long.index.repeat(counts.shape[1])].reset_index(drop=True)
    long["state"] = pd.Categorical(
        np.tile(counts.columns, len(found.table)), categories=list(counts.columns)
    )
    long["n_cells"] = counts.to_numpy().ravel()
    long["fraction"] = long["n_cells"] / long["n_total"]
    order = ["sample", *described, "state", "n_cells", "n_total", "fraction"]
    long = long[order]
    found.note(long, step="tl.state_fractions", by=None)
    return long


def state_shift(
    adata: AnnData | pd.DataFrame,
    state: str = schema.NK_STATE,
    *,
    treated: Levels = schema.COCULTURE,
    control: Level | None = None,
    by: str | None = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    include_unassigned: bool = False,
    min_cells: int = 20,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test for each line whether a state is more or less frequent than in the control.

    The logit of each sample's fraction enters one linear model over all lines. A sample's weight is
    the inverse of its binomial variance plus a variance between samples, so the weight of large
    samples is limited. Residual variances are shared between states and never fall below that sum.
    Samples are the replicates, and donors measured in both arms are matched.

    Parameters
    ----------
    adata
        Cells × genes; or a table of counts with one row per sample × state and the columns
        ``sample``, ``state``, ``n_cells``, ``by``, ``replicate`` and ``condition``, as
        :func:`state_fractions` returns. States without a row have no cell.
    state
        Column of ``obs``: ``"nk_state"`` (control ``nk_mono`` by default), ``"tumor_state"``
        (control ``tumor_mono``) or your own categorical column, for which all cells with a value
        are counted. With a table, it only sets the default control.
    treated, control
        Levels of ``condition``. A list of treated levels gives a time or dose course: each is
        compared with the control, for example ``condition="time_h", treated=[6, 24], control=0``.
    by, replicate, condition
        Columns of lines, replicates and conditions. ``by=None``: all samples are one line. Samples
        that are one well, or wells of one replicate, line and condition, are summed.
    include_unassigned
        Whether ``unassigned`` is one of the states, so that fractions are of all cells; by default
        they are of the cells with a called state, which depends less on sequencing depth.
    min_cells
        Samples with fewer such cells are excluded.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per treated level × line × state with columns ``tumor``, ``state``, ``treated`` (the
    level), ``fraction_treated``, ``fraction_control`` (means over samples), ``log_odds_ratio``
    (natural logarithm), ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over all rows), ``n_samples_treated``, ``n_samples_control``,
    ``df_residual``, ``df_total`` (``p_value`` is that of ``t`` with ``df_total`` degrees of
    freedom). States without any cell in either arm are not listed. ``attrs["left_out"]`` lists the
    samples and lines without a row, each with ``what``, ``name`` and ``reason``.

    Raises
    ------
    DesignError
        If an arm is empty, no treated level is named, there is no replicate, or only one state is
        left.
    MissingKeyError
        If the states were not called, or the table lacks a column.
    WrongScaleError
        If the table's ``n_cells`` are not counts.
    ValueError
        If ``confidence`` is not between 0 and 1.

    Notes
    -----
    The method follows propeller (Phipson et al. 2022, doi 10.1093/bioinformatics/btac582), with
    half a cell added to each side of the logit. The spread between samples can grow toward rare
    states, as estimated from the data (between a logistic normal and a Dirichlet-multinomial). The
    tumor state ``ifn_gamma_response`` is defined as raised above the monoculture, so its difference
    from the monoculture is not a result: those cells then count as ``baseline``.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> shift = nk.tl.state_shift(adata, "nk_state")
    >>> sorted(shift["state"].unique())
    ['activated', 'adaptive', 'cytokine', 'resting', 'type_i_ifn']
    >>> again = nk.tl.state_shift(nk.tl.state_fractions(adata))
    >>> bool(np.allclose(again["p_value"], shift["p_value"]))
    True
    """
    check_confidence(confidence)
    if control is None:
        control = schema.TUMOR_MONO if state == schema.TUMOR_STATE else schema.NK_MONO
    columns = [c for c in (by, replicate, condition) if c is not None]
    found = state_counts(
        adata,
        state,
        columns=columns,
        min_cells=min_cells,
        called=not include_unassigned,
        replicate=replicate,
    )
    if state == schema.TUMOR_STATE and control == schema.TUMOR_MONO:
        found = _without_circular(found)
    by = by or "_all"
    if by == "_all":
        found = replace(found, table=found.table.assign(_all="all"))
    given: Any = treated
    levels: list[Level] = list(given) if pd.api.types.is_list_like(given) else [given]
    if not levels:
        msg = "treated names no level; at least one is needed, for example 'coculture'."
        raise DesignError(msg)
    parts, left_out, losses = [], [], []
    for level in levels:
        both = found.arms(treated=level, control=control, by=by, column=condition)
        part = compare_states(both, by=by, replicate=replicate)
        left_out += [one for one in part.attrs.pop(LEFT_OUT) if one not in left_out]
        parts.append(placed_behind(part, "state", treated=str(level)))
        several = f" ({level})" if len(levels) > 1 else ""
        both.note(parts[-1], step=f"tl.state_shift{several}", by=by)
        losses += parts[-1].attrs.pop(LEDGER, [])
    table = with_intervals(pd.concat(parts, ignore_index=True), confidence)
    table.attrs[LEFT_OUT] = left_out
    note_in(table, losses)
    return table


def _without_circular(found: StateCounts) -> StateCounts:
    """Reassign cells of states that monocultures lack by definition."""
    circular = [name for name in _BY_DEFINITION if name in found.counts]
    if not circular or not found.counts[circular].to_numpy().any():
        return replace(found, counts=found.counts.drop(columns=circular))
    _LOG.warning(
        "State %s is defined against the monoculture, so comparing it with the monoculture would "
        "be circular: its cells count as %r. Use tl.interaction_response to test those genes.",
        ", ".join(circular),
        _REST,
    )
    counts = found.counts.drop(columns=circular)
    rest = counts.get(_REST, 0)
    together = counts.assign(**{_REST: rest + found.counts[circular].sum(axis=1)})
    return replace(found, counts=together)
