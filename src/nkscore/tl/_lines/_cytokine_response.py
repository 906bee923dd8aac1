"""Cytokine release of the co-culture: concentrations with and without NK cells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._checks import check_columns, check_confidence, check_shares
from nkscore._warn import warn
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import interval, with_q_values

if TYPE_CHECKING:
    from collections.abc import Hashable

_LOG = logging.getLogger("nkscore")
_BOUNDS = ("below", "above")


def cytokine_response(
    panel: pd.DataFrame,
    *,
    treated: str = schema.COCULTURE,
    control: str = schema.TUMOR_MONO,
    by: str = schema.TUMOR,
    column: str = schema.CONDITION,
    nk_only: str | None = None,
    max_at_limit: float = 0.5,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare cytokine concentrations between two arms, for each line and analyte.

    Parameters
    ----------
    panel
        Long table from :func:`nkscore.io.read_bioplex` (``analyte``, ``concentration`` in pg/ml,
        ``flag``), with the columns ``by`` and ``column`` joined to its wells; one row per well and
        analyte.
    treated, control
        Levels of ``column`` to compare.
    by
        Column whose levels (lines) are compared with themselves.
    column
        Column with the arms.
    nk_only
        Level of ``column`` of the wells with NK cells alone: their median is added to each control
        well, so the response is the release of the co-culture beyond the sum of its parts.
    max_at_limit
        Analytes of a line with a larger share of wells at a limit of the assay, in both arms
        together, get no p-value, because their test would compare bounds. 1 keeps all.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line and analyte, sorted by line and p-value: ``by``, ``analyte``, ``log2_fc`` (of
    the mean concentrations), ``log2_difference`` (of the mean logarithms, which is tested), ``se``,
    ``ci_low``, ``ci_high`` (of ``log2_difference``), ``t``, ``df``, ``p_value`` (Welch),
    ``q_value`` (Benjamini-Hochberg within a line), ``mean_treated``, ``mean_control`` (pg/ml, the
    latter with ``nk_added``), ``nk_added`` (pg/ml, 0 without ``nk_only``), ``n_treated``,
    ``n_control`` (wells), ``share_at_limit`` (of the wells, flags ``below`` and ``above``) and
    ``share_extrapolated``.

    Raises
    ------
    MissingKeyError
        If a column is absent, or lacks the level of an arm.
    DesignError
        If no line has both arms, a line has one well of an arm, or a well and analyte is repeated.
    WrongScaleError
        If a concentration is 0, negative or infinite.

    Notes
    -----
    Dufva, Gandolfi et al. 2023 (doi 10.1016/j.immuni.2023.11.008) tested concentrations directly.
    The scatter of concentrations grows with the mean, so this function tests logarithms, while
    ``log2_fc`` is the published ratio. The study added the NK cells' median to the untreated wells
    (``nk_only``). Wells of one culture are not biological replicates: average them first.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> panel = pd.DataFrame({"tumor": "K562", "analyte": "IFN-g", "flag": "",
    ...     "condition": ["coculture"] * 3 + ["tumor_mono"] * 3,
    ...     "concentration": [90.0, 100.0, 110.0, 9.0, 10.0, 11.0]})
    >>> made = nk.tl.cytokine_response(panel)
    >>> [round(float(made[c].iloc[0]), 2) for c in ("log2_fc", "log2_difference")]
    [3.32, 3.32]
    """
    check_confidence(confidence)
    check_shares(max_at_limit=max_at_limit)
    treated, control = str(treated), str(control)
    nk_only = None if nk_only is None else str(nk_only)
    table = _checked(panel, by, column)
    _check_arms(table, column, (treated, control, *([] if nk_only is None else [nk_only])))
    alone = _nk_medians(table, column, nk_only)
    chosen = table[table[column].isin([treated, control]) & table[by].notna()]
    chosen = chosen.assign(arm=chosen[column] == treated, line=chosen[by].astype(str))
    chosen = _lines_with_both(chosen, by, treated=treated, control=control)
    added = chosen["analyte"].map(alone).to_numpy(dtype=float)
    chosen = chosen.assign(
        added=added, value=chosen["concentration"] + np.where(chosen["arm"], 0.0, added)
    )
    rows = [
        {by: line, "analyte": analyte, **_tested(part, confidence)}
        for (line, analyte), part in chosen.groupby(["line", "analyte"], sort=True)
    ]
    made = pd.DataFrame(rows)
    made["p_value"] = made["p_value"].where(made["share_at_limit"] <= max_at_limit)
    _warn_of_untested(made, max_at_limit)
    made = with_q_values(made, by=by)
    return made.sort_values([by, "p_value", "analyte"]).reset_index(drop=True)


def _warn_of_untested(made: pd.DataFrame, max_at_limit: float) -> None:
    untested = int(made["p_value"].isna().sum())
    if untested:
        warn(
            f"{untested} of {len(made)} pairs of line and analyte have no p-value: more than "
            f"{max_at_limit:.0%} of their wells are at a limit of the assay, all values of both "
            "arms are equal, or fewer than two wells have a value; see share_at_limit."
        )


def _checked(panel: pd.DataFrame, by: str, column: str) -> pd.DataFrame:
    advice = (
        "Join the annotations of the wells to the table of io.read_bioplex: "
        "panel.merge(wells, on='sample')."
    )
    check_columns(panel, ["analyte", "concentration", by, column], advice, what="The panel")
    if "well" in panel.columns:
        plate = [c for c in ("plate", "batch") if c in panel.columns]
        repeated = panel[panel["well"].notna()].duplicated([*plate, "well", "analyte"])
        if repeated.any():
            first = panel.loc[repeated.index[repeated][0]]
            msg = (
                f"Well {first['well']!r} holds {first['analyte']} more than once. If "
                "plates were joined, name them in a column 'plate'; otherwise remove the repeats."
            )
            raise DesignError(msg)
    arms = panel[column].astype(object).map(str, na_action="ignore")
    table = panel.assign(
        flag=panel["flag"] if "flag" in panel.columns else "", **{str(column): arms}
    )
    values = pd.to_numeric(table["concentration"], errors="coerce").astype("float64")
    bad = (values.isna() & table["concentration"].notna()) | (values <= 0) | np.isinf(values)
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        msg = (
            f"Row {row} ({table['analyte'].iloc[row]}) has the concentration "
            f"{table['concentration'].iloc[row]}; a number above 0 is needed, because "
            "logarithms are compared. Set values below the curve to its limit "
            "(io.read_bioplex, below='limit')."
        )
        raise WrongScaleError(msg)
    return table.assign(concentration=values)


def _check_arms(table: pd.DataFrame, column: str, names: tuple[str, ...]) -> None:
    have = sorted(set(table[column].dropna()))
    missing = [name for name in names if name not in have]
    if missing or len(set(names)) < len(names):
        msg = (
            f"{column!r} has no level {', '.join(map(repr, missing))}"
            if missing
            else f"The arms {', '.join(map(repr, names))} are not distinct"
        )
        raise MissingKeyError(f"{msg}; it has: {', '.join(have)}. Name existing levels.")


def _nk_medians(table: pd.DataFrame, column: str, nk_only: str | None) -> dict[Hashable, float]:
    """Return the release of NK cells alone by analyte; an empty mapping adds nothing."""
    if nk_only is None:
        return dict.fromkeys(table["analyte"].unique(), 0.0)
    alone = table[(table[column] == nk_only) & table["concentration"].notna()]
    medians = alone.groupby("analyte")["concentration"].median()
    lost = sorted(set(table["analyte"]) - set(medians.index))
    if lost:
        msg = (
            f"{', '.join(lost[:5])} has no value in any well of {nk_only!r}, so the "
            "release of NK cells is unknown. Remove such analytes, or compare without nk_only."
        )
        raise DesignError(msg)
    return medians.to_dict()


def _lines_with_both(table: pd.DataFrame, by: str, *, treated: str, control: str) -> pd.DataFrame:
    keys = ["line", "arm", "analyte"]
    counted = table.groupby(keys).size().rename("n").reset_index()
    wells = counted.pivot_table(
        index="line", columns="arm", values="n", aggfunc="max", fill_value=0
    ).reindex(columns=[True, False], fill_value=0)
    both = (wells > 0).all(axis=1)
    if not both.any():
        msg = (
            f"No level of {by!r} has wells of both {treated!r} and {control!r}. Each line "
            "needs both: check the spelling of lines."
        )
        raise DesignError(msg)
    if not both.all():
        _LOG.warning("No wells in both arms, excluded: %s", ", ".join(wells.index[~both]))
    single = wells[both & (wells.min(axis=1) < 2)]
    if len(single):
        line, arm = single.index[0], treated if single[True].iloc[0] < 2 else control
        msg = (
            f"{line} has one well of {arm!r} ({len(single)} of {int(both.sum())} lines are so); "
            "two are needed to estimate the scatter. Add replicates, or remove these lines."
        )
        raise DesignError(msg)
    return table[table["line"].isin(wells.index[both])]


def _tested(part: pd.DataFrame, confidence: float) -> dict[str, Any]:
    read = part[part["value"].notna()]
    arms = [read.loc[read["arm"] == here, "value"].to_numpy() for here in (True, False)]
    means = [float(arm.mean()) if arm.size else np.nan for arm in arms]
    difference, error, degrees = np.nan, np.nan, np.nan
    if min(arm.size for arm in arms) > 1:
        logs = [np.log2(arm) for arm in arms]
        shares = [log.var(ddof=1) / log.size for log in logs]
        difference, total = float(logs[0].mean() - logs[1].mean()), float(sum(shares))
        if total > 0:
            error = np.sqrt(total)
            parts = (s**2 / (log.size - 1) for s, log in zip(shares, logs, strict=True))
            degrees = total**2 / sum(parts)
    t = difference / error
    low, high = interval(difference, error, degrees, confidence)
    flag = part["flag"].fillna("")
    return {
        "log2_fc": float(np.log2(means[0] / means[1])),
        "log2_difference": difference,
        "se": error,
        "ci_low": low,
        "ci_high": high,
        "t": t,
        "df": degrees,
        "p_value": float(2 * scipy_stats.t.sf(abs(t), degrees)),
        "mean_treated": means[0],
        "mean_control": means[1],
        "nk_added": float(part["added"].iloc[0]),
        "n_treated": arms[0].size,
        "n_control": arms[1].size,
        "share_at_limit": float(flag.isin(_BOUNDS).mean()),
        "share_extrapolated": float((flag == "extrapolated").mean()),
    }
