"""Test of state fractions between two conditions, shared by the functions that compare them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd

from nkscore._samples._samples import labels
from nkscore.errors import DesignError
from nkscore.stats import (
    fit_composition,
    moderated_test,
    response_design,
    with_interval,
    with_q_values,
)

if TYPE_CHECKING:
    from nkscore.tl._composition._state_counts import StateCounts

_LOG = logging.getLogger("nkscore")


def compare_states(found: StateCounts, *, by: str, replicate: str) -> pd.DataFrame:
    """Return one row per line × state; ``df_total`` is for :func:`with_intervals`."""
    group = labels(found.table, by)
    is_treated = found.table["treated"].to_numpy()
    design = response_design(is_treated, group, labels(found.table, replicate))
    if design.confounded:
        _LOG.warning("Treatment cannot be told apart, left out: %s", ", ".join(design.confounded))
    present = found.counts.sum(axis=0).to_numpy() > 0
    if present.sum() < 2:
        names = ", ".join(map(str, found.counts.columns[present])) or "none"
        msg = (
            f"All called cells of the samples compared are in one state ({names}); a comparison "
            "of shares needs at least two. Check the calls of states."
        )
        raise DesignError(msg)
    k = found.counts.to_numpy(dtype=float)[:, present]
    fraction = k / k.sum(axis=1)[:, None]
    fit = fit_composition(k, design.matrix).fit
    parts = []
    for name, column in design.effects.items():
        test = moderated_test(fit, column, least_variance=1.0)
        control_rows = ~is_treated & ((group == name) | (group == None))  # noqa: E711
        treated_rows = is_treated & (group == name)
        parts.append(
            pd.DataFrame(
                {
                    "tumor": name,
                    "state": found.counts.columns[present].astype(str),
                    "fraction_treated": fraction[treated_rows].mean(axis=0),
                    "fraction_control": fraction[control_rows].mean(axis=0),
                    "log_odds_ratio": test.effect,
                    "se": test.standard_error,
                    "t": test.t,
                    "p_value": test.p_value,
                    "n_samples_treated": int(treated_rows.sum()),
                    "n_samples_control": int(control_rows.sum()),
                    "df_residual": fit.df_residual,
                    "df_total": test.df,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def with_intervals(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add intervals and q-values over all rows."""
    df = table.pop("df_total")
    return with_q_values(with_interval(table, "log_odds_ratio", df, confidence))
