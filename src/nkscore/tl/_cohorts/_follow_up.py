"""Time and end of follow-up of patients, checked."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from nkscore.errors import DesignError, WrongScaleError
from nkscore.tl._cohorts._tables import with_samples

_LOG = logging.getLogger("nkscore")


def follow_up(
    samples: pd.Index, time: pd.Series, event: pd.Series, truncate: float | None
) -> pd.DataFrame:
    """Return ``time`` and ``event`` of the patients for which both are known."""
    times, events = with_samples(time, samples, "time"), with_samples(event, samples, "event")
    shared = times.index.intersection(events.index, sort=False)
    follow = pd.DataFrame(
        {"time": _numbers(times.loc[shared]), "event": _yes_no(events.loc[shared])}
    )
    known = follow.notna().all(axis=1)
    if len(samples) > int(known.sum()):
        _LOG.warning(
            "%d of %d patients have no time or no event and are excluded",
            len(samples) - int(known.sum()),
            len(samples),
        )
    follow = follow[known]
    if truncate is not None:
        if not truncate > 0:
            msg = f"truncate={truncate}; a time above 0 is needed."
            raise WrongScaleError(msg)
        later = follow["time"] > truncate
        follow = follow.assign(
            time=follow["time"].where(~later, truncate), event=follow["event"].where(~later, 0.0)
        )
    return follow


def _numbers(times: pd.Series) -> pd.Series:
    kinds = pd.api.types
    refused = (kinds.is_datetime64_any_dtype, kinds.is_timedelta64_dtype, kinds.is_bool_dtype)
    if any(is_kind(times.dtype) for is_kind in refused):
        msg = (
            f"time holds {times.dtype} values; numbers are needed, from diagnosis or treatment to "
            "the end of follow-up, for example (last_seen - diagnosed).dt.days."
        )
        raise WrongScaleError(msg)
    numbers = pd.to_numeric(times, errors="coerce").astype("float64")
    bad = ((numbers.isna() & times.notna()) | (numbers < 0) | np.isinf(numbers)).to_numpy()
    if bad.any():
        name = times.index[bad][0]
        msg = (
            f"The time of {int(bad.sum())} patients is negative or not a number, first "
            f"{name!r} with {times.loc[name]!r}. Time since diagnosis or treatment, of 0 "
            "or more, is needed: correct the dates, or remove these patients."
        )
        raise WrongScaleError(msg)
    return numbers


def _yes_no(event: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(event, errors="coerce").astype("float64")
    wrong = (numbers.isna() & event.notna()) | ~(numbers.isna() | numbers.isin([0.0, 1.0]))
    if wrong.any():
        found = ", ".join(sorted({repr(v) for v in event[wrong].tolist()})[:4])
        msg = (
            f"event holds {found}; true and false, or 1 (died) and 0 (alive at the end of "
            "follow-up), are needed. Convert the coding of the table, for example "
            ".map({'Dead': True, 'Alive': False})."
        )
        raise WrongScaleError(msg)
    return numbers


def in_strata(follow: pd.DataFrame, strata: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """Return the patients that have a stratum, with its number as ``stratum``."""
    given = strata.to_frame("strata") if isinstance(strata, pd.Series) else strata
    given = with_samples(given, follow.index, "strata")
    known = given.notna().all(axis=1)
    lost = len(follow) - int(known.sum())
    if lost:
        _LOG.warning("%d of %d patients have no stratum and are excluded", lost, len(follow))
    given = given[known]
    code = given.groupby(list(given.columns), observed=True).ngroup()
    if code.nunique() < 2:
        msg = (
            f"strata has {code.nunique()} level in these {len(code)} patients; two are needed to "
            "compare within each. Leave strata away, or give the column that differs."
        )
        raise DesignError(msg)
    made = follow.loc[code.index].assign(stratum=code)
    comparable = made.groupby("stratum")["event"].agg(["sum", "size"])
    if not ((comparable["sum"] > 0) & (comparable["size"] > 1)).any():
        msg = (
            f"None of the {len(comparable)} strata holds a death and a second patient, so there "
            "is nobody to compare with. Merge strata, or adjust for the column instead."
        )
        raise DesignError(msg)
    return made
