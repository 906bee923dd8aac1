"""Test of state fractions between two conditions, shared by the functions that compare them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd

from nkscore._samples._left_out import LEFT_OUT, confounded_lines
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
    from nkscore._types import Bools, Floats
    from nkscore.stats import Test
    from nkscore.tl._composition._state_counts import StateCounts

_LOG = logging.getLogger("nkscore")
_COLUMNS = [
    "tumor",
    "state",
    "fraction_treated",
    "fraction_control",
    "log_odds_ratio",
    "se",
    "t",
    "p_value",
    "n_samples_treated",
    "n_samples_control",
    "df_residual",
    "df_total",
]


def compare_states(found: StateCounts, *, by: str, replicate: str) -> pd.DataFrame:
    """Return one row per line × state; ``attrs["left_out"]`` lists what was excluded."""
    group = labels(found.table, by)
    is_treated = found.table["treated"].to_numpy()
    design = response_design(is_treated, group, labels(found.table, replicate))
    if design.confounded:
        _LOG.warning("Treatment is confounded, excluded: %s", ", ".join(design.confounded))
    present = _present(found.counts)
    k = found.counts.to_numpy(dtype=float)[:, present]
    fraction = k / k.sum(axis=1)[:, None]
    fit = fit_composition(k, design.matrix).fit
    parts = []
    for name, column in design.effects.items():
        test = moderated_test(fit, column, min_variance=1.0)
        control_rows = ~is_treated & ((group == name) | (group == None))  # noqa: E711
        part = _one_line(test, fraction, is_treated & (group == name), control_rows)
        states = found.counts.columns[present].astype(str)
        parts.append(part.assign(tumor=name, state=states, df_residual=fit.df_residual))
    result = pd.concat(parts, ignore_index=True)[_COLUMNS]
    result.attrs[LEFT_OUT] = [*found.left_out, *confounded_lines(design)]
    return result


def _present(counts: pd.DataFrame) -> Bools:
    """Return which states have cells; two must."""
    present = counts.sum(axis=0).to_numpy() > 0
    if present.sum() < 2:
        names = ", ".join(map(str, counts.columns[present])) or "none"
        msg = (
            f"All called cells of the samples compared are in one state ({names}); a comparison "
            "of shares needs at least two. Check the calls of states."
        )
        raise DesignError(msg)
    return present


def _one_line(test: Test, fraction: Floats, treated: Bools, control: Bools) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "fraction_treated": fraction[treated].mean(axis=0),
            "fraction_control": fraction[control].mean(axis=0),
            "log_odds_ratio": test.effect,
            "se": test.standard_error,
            "t": test.t,
            "p_value": test.p_value,
            "n_samples_treated": int(treated.sum()),
            "n_samples_control": int(control.sum()),
            "df_total": test.df,
        }
    )


def with_intervals(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add intervals and q-values over all rows."""
    return with_q_values(with_interval(table, "log_odds_ratio", table["df_total"], confidence))
