"""NK activation by each line: one number per line, to order figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_confidence, names_of
from nkscore._samples._left_out import LEFT_OUT
from nkscore.errors import DesignError
from nkscore.stats import placed_behind
from nkscore.tl._composition._compare_fractions import compare_states, with_intervals
from nkscore.tl._composition._state_counts import state_counts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from nkscore._types import Level

_ACTIVE, _OTHER = "active", "other"


def nk_activation(
    adata: AnnData | pd.DataFrame,
    *,
    states: str | Iterable[str] = ("activated", "type_i_ifn", "cytokine"),
    state: str = schema.NK_STATE,
    treated: Level = schema.COCULTURE,
    control: Level = schema.NK_MONO,
    by: str = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    min_cells: int = 20,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Order lines by the share of NK cells that they shift into activated states.

    The cells of ``states`` are counted together and compared with NK cells alone as in
    :func:`nkscore.tl.state_shift`, donor by donor if donors are in both arms.

    Parameters
    ----------
    adata
        Cells × genes with called NK states; or a table of counts from ``tl.state_fractions``.
    states
        The states that count as activated; states that the data lack are ignored.
    state
        Column of ``obs`` with the states.
    treated, control
        Levels of ``condition``.
    by, replicate, condition
        Columns of lines, replicates and conditions. Samples that are one well, or wells of one
        replicate, line and condition, are summed.
    min_cells
        Samples with fewer called cells are excluded.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line, from the most to the least activating, with columns ``tumor``, ``rank`` (1
    activates most), ``active_treated`` and ``active_control`` (mean shares of activated cells, 0 to
    1), ``log_odds_ratio`` (natural logarithm), ``se``, ``ci_low``, ``ci_high``, ``t``,
    ``p_value``, ``q_value`` (Benjamini-Hochberg over lines), ``n_samples_treated``,
    ``n_samples_control``, ``df_residual``, ``df_total`` (``p_value`` is that of ``t`` with
    ``df_total`` degrees of freedom). Intervals that overlap leave the order of two lines open.
    ``attrs["left_out"]`` lists the samples and lines without a row, each with ``what``, ``name``
    and ``reason``.

    Raises
    ------
    DesignError
        If no state of ``states`` is in the data, an arm is empty or there is no replicate.
    MissingKeyError
        If the states were not called, or the table lacks a column.
    ValueError
        If ``confidence`` is not between 0 and 1.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> order = nk.tl.nk_activation(adata)["tumor"].tolist()
    >>> order[-1]
    '697'
    """
    check_confidence(confidence)
    found = state_counts(
        adata,
        state,
        columns=[by, replicate, condition],
        min_cells=min_cells,
        called=True,
        replicate=replicate,
    )
    wanted = names_of(states)
    active = [name for name in found.counts if str(name) in wanted]
    if not active or len(active) == found.counts.shape[1]:
        msg = (
            f"Of the states {', '.join(map(str, found.counts))}, {len(active)} are in "
            f"states={wanted!r}; at least one, but not all, must be. Name states of the data."
        )
        raise DesignError(msg)
    together = found.counts[active].sum(axis=1)
    two = pd.DataFrame({_ACTIVE: together, _OTHER: found.counts.sum(axis=1) - together})
    both = replace(found, counts=two).arms(
        treated=treated, control=control, by=by, column=condition
    )
    table = compare_states(both, by=by, replicate=replicate)
    left_out = table.attrs.pop(LEFT_OUT)
    table = with_intervals(table[table["state"] == _ACTIVE].reset_index(drop=True), confidence)
    table = table.sort_values(["log_odds_ratio", "tumor"], ascending=[False, True])
    table = table.rename(
        columns={"fraction_treated": "active_treated", "fraction_control": "active_control"}
    )
    table = table.drop(columns="state").reset_index(drop=True)
    table = placed_behind(table, "tumor", rank=np.arange(1, len(table) + 1))
    table.attrs[LEFT_OUT] = left_out
    both.note(table, step="tl.nk_activation", by=by)
    return table
