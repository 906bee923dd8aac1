"""Survival of patients over time, by group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from nkscore._checks import check_columns, check_confidence
from nkscore.errors import DesignError
from nkscore.stats import standard_errors
from nkscore.tl._cohorts._contrasts import level_names
from nkscore.tl._cohorts._follow_up import follow_up
from nkscore.tl._cohorts._tables import with_samples

ALL = "all"


def survival_curves(
    patients: pd.DataFrame,
    *,
    time: str = "time",
    event: str = "event",
    group: str | None = None,
    truncate: float | None = None,
    min_samples: int = 3,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Estimate the share of patients alive over time in each group, and compare the groups.

    Parameters
    ----------
    patients
        One row per patient, with the columns named below.
    time
        Column of the time to death or to the end of follow-up, from zero, in any unit.
    event
        Column of whether it ended in death: true and false, or 1 and 0.
    group
        Column of the group (subtype, mutation, score above or below its median); patients without
        one are excluded. Categories keep their order. By default all patients are one group.
    truncate
        End all follow-up at this time: later deaths count as alive.
    min_samples
        Minimum number of patients of a group.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per group and time at which a patient died or follow-up ended, from time 0: ``group``,
    ``time``, ``survival`` (Kaplan and Meier, 0 to 1, after the deaths of that time), ``ci_low``,
    ``ci_high`` (Greenwood's variance on the scale of log(-log)), ``n_at_risk`` (just before),
    ``n_events``, ``n_censored``, ``n`` (patients of the group) and ``p_value`` (log-rank test over
    all groups, the same in all rows; missing for one group).

    Raises
    ------
    MissingKeyError
        If a column is absent.
    DesignError
        If nobody died, a patient is repeated, or a group has fewer than ``min_samples`` patients.
    WrongScaleError
        If a time is negative or not a number, or ``event`` is neither boolean nor 0 and 1.

    Notes
    -----
    Cutting a score where the curves differ most gives a p-value that is much too small: cut at the
    median, or use :func:`cohort_survival` on the score. Kaplan and Meier 1958, doi
    10.1080/01621459.1958.10501452; log-rank test by statsmodels.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> patients = pd.DataFrame({"time": [1.0, 2.0, 3.0, 4.0], "event": [True, False, True, True]})
    >>> made = nk.tl.survival_curves(patients)
    >>> made[["time", "survival", "n_at_risk"]].values.tolist()[:3]
    [[0.0, 1.0, 4.0], [1.0, 0.75, 4.0], [2.0, 0.75, 3.0]]
    """
    check_confidence(confidence)
    columns = [time, event, *([] if group is None else [group])]
    advice = "Name its columns with time=, event= and group=."
    check_columns(patients, columns, advice, what="patients")
    if patients.empty:
        msg = "patients has no rows; one per patient is needed. Check the previous filters."
        raise DesignError(msg)
    follow = follow_up(patients.index, patients[time], patients[event], truncate)
    if not len(follow) or follow["event"].sum() < 1:
        msg = (
            f"0 of {len(follow)} patients died within follow-up; at least one death is needed. "
            "Check the coding of event and truncate."
        )
        raise DesignError(msg)
    follow, names = _grouped(follow, None if group is None else patients[group], min_samples)
    parts = [
        _curve(follow[follow["group"] == name], confidence).assign(group=name) for name in names
    ]
    made = pd.concat(parts, ignore_index=True).assign(p_value=_log_rank(follow))
    return made[["group", *[column for column in made if column != "group"]]]


def _grouped(
    follow: pd.DataFrame, groups: pd.Series | None, least: int
) -> tuple[pd.DataFrame, list[str]]:
    if groups is None:
        return follow.assign(group=ALL), [ALL]
    given = with_samples(groups, follow.index, "groups").dropna()
    names, labels = level_names(given)
    follow = follow.loc[given.index].assign(group=labels)
    sizes = follow["group"].value_counts().reindex(names)
    small = sizes.index[sizes < least]
    if len(small) or not names:
        shown = ", ".join(f"{name} ({sizes[name]})" for name in small[:3]) or "no group at all"
        msg = (
            f"Too few patients to draw a curve: {shown}; {least} in each group are "
            "needed. Merge or remove small groups; cut a score at its median."
        )
        raise DesignError(msg)
    return follow, names


def _curve(follow: pd.DataFrame, confidence: float) -> pd.DataFrame:
    time, died = follow["time"].to_numpy(), follow["event"].to_numpy() > 0
    at = np.unique(np.append(time, 0.0))
    deaths = np.array([(died & (time == t)).sum() for t in at])
    ended = np.array([(~died & (time == t)).sum() for t in at])
    risk = np.array([(time >= t).sum() for t in at])
    survival = np.cumprod(1 - deaths / risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(deaths / (risk * (risk - deaths)))
        log = np.log(survival)
        margin = standard_errors(np.inf, confidence) * np.sqrt(greenwood) / np.abs(log)
        low, high = (np.exp(log * np.exp(sign * margin)) for sign in (1, -1))
    # Before the first and after the last death, Greenwood's variance carries no information.
    inside = (survival > 0) & (survival < 1)
    bounds: dict[str, Any] = {
        "ci_low": np.where(inside, low, survival),
        "ci_high": np.where(inside, high, survival),
    }
    return pd.DataFrame(
        {
            "time": at,
            "survival": survival,
            **bounds,
            "n_at_risk": risk,
            "n_events": deaths,
            "n_censored": ended,
            "n": len(follow),
        }
    )


def _log_rank(follow: pd.DataFrame) -> float:
    if follow["group"].nunique() < 2:
        return float("nan")
    from statsmodels.duration.survfunc import survdiff

    _, p = survdiff(
        follow["time"].to_numpy(), follow["event"].to_numpy(), follow["group"].to_numpy(dtype=str)
    )
    return float(p)
