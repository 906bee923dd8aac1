"""Association of scores with the survival of patients."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore._checks import check_confidence
from nkscore._warn import warn
from nkscore.errors import DesignError
from nkscore.stats import benjamini_hochberg, complete_blocks, cox_regression, interval
from nkscore.tl._cohorts._follow_up import follow_up, in_strata
from nkscore.tl._cohorts._tables import checked_scores, refuse_constant, with_samples

if TYPE_CHECKING:
    from nkscore._types import Floats

_LOG = logging.getLogger("nkscore")


def cohort_survival(
    scores: pd.DataFrame,
    time: pd.Series,
    event: pd.Series,
    *,
    adjust_for: pd.DataFrame | pd.Series | None = None,
    strata: pd.DataFrame | pd.Series | None = None,
    truncate: float | None = None,
    min_events: int = 5,
    confidence: float = 0.95,
    scale: bool = True,
    small_sample: bool = True,
) -> pd.DataFrame:
    """Fit a Cox model of survival for each score, alone and adjusted for covariates.

    Parameters
    ----------
    scores
        Patients × features, for example from :func:`project_cohort`.
    time
        Time to death or to the end of follow-up, from zero, in any unit; matched by index.
    event
        Whether it ended in death: true and false, or 1 and 0.
    adjust_for
        Covariates of each model (age, stage, subtype); text becomes one indicator per level except
        the first. Patients that lack one are excluded from the adjusted models.
    strata
        Cohort, center or treatment of each patient. Both models then compare patients within
        strata, each with its separate baseline hazard; several columns are crossed. Patients
        without a stratum are excluded.
    truncate
        End all follow-up at this time, in units of ``time``: later deaths count as alive. Dufva,
        Gandolfi et al. 2023 used 1825 days.
    min_events
        Minimum number of deaths for a model, plus one for each covariate.
    confidence
        Coverage of the intervals, 0 to 1.
    scale
        Whether effects are per standard deviation of the feature; ``False``: per unit, as needed
        for a feature of 0 and 1 (high against low) and for comparison with published coefficients.
    small_sample
        Whether ``se`` of adjusted models accounts for the covariates: with d deaths and k
        covariates it is that of the partial likelihood times the square root of d / (d - k).
        ``False`` gives the numbers of R's ``coxph`` and of lifelines, whose p-values are too small
        with few deaths. Univariable models do not depend on it.

    Returns
    -------
    One row per model and feature, sorted by p-value: ``model`` (``univariable``, ``adjusted``),
    ``feature``, ``log_hr`` (natural logarithm of the ratio of hazards per standard deviation, or
    per unit with ``scale=False``), ``se``, ``ci_low``, ``ci_high`` (of ``log_hr``),
    ``hazard_ratio``, ``hr_low``, ``hr_high``, ``z``, ``p_value`` (Wald), ``q_value``
    (Benjamini-Hochberg within a model), ``ph_p_value`` (small if hazards are not proportional),
    ``n``, ``n_events``, ``sd`` (standard deviation of the feature over these patients, over all
    strata). Features without an estimate are named in a warning and in ``attrs["left_out"]``.

    Raises
    ------
    DesignError
        If a sample is repeated, tables share no sample, a feature is constant, fewer than
        ``min_events`` patients died, covariates determine each other or the strata, or there are
        fewer than two strata.
    WrongScaleError
        If a time is negative or not a number, or ``event`` is neither boolean nor 0 and 1.

    Notes
    -----
    Ties by Efron's method; proportional hazards by the correlation of scaled Schoenfeld residuals
    with the rank of the time of death (Grambsch and Therneau 1994, doi 10.1093/biomet/81.3.515). A
    score that differs between subtypes reflects the prognosis of the subtypes: compare with
    ``adjust_for``. Numbers equal statsmodels' ``PHReg`` and lifelines (adjusted models: with
    ``small_sample=False``), and with strata R's ``coxph``. ``docs/cohorts.md`` has the calibration
    of both.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> rng = np.random.default_rng(0)
    >>> patients = [f"P{i}" for i in range(80)]
    >>> scores = pd.DataFrame({"dormant_like": rng.normal(size=80)}, index=patients)
    >>> time = pd.Series(rng.exponential(np.exp(-scores["dormant_like"])), index=patients)
    >>> made = nk.tl.cohort_survival(scores, time, pd.Series(True, index=patients))
    >>> bool(made["hazard_ratio"].iloc[0] > 2), made["n_events"].tolist()
    (True, [80])
    """
    check_confidence(confidence)
    table = checked_scores(scores)
    follow = follow_up(table.index, time, event, truncate)
    follow = follow.assign(stratum=0) if strata is None else in_strata(follow, strata)
    table = table.loc[follow.index]
    _enough_deaths(follow, min_events)
    refuse_constant(table)
    options: dict[str, Any] = {
        "min_events": min_events,
        "small_sample": small_sample,
        "scale": scale,
    }
    parts = [_models(table, follow, None, "univariable", confidence, **options)]
    if adjust_for is not None:
        covariates = _covariates(adjust_for, follow["stratum"])
        table, follow = table.loc[covariates.index], follow.loc[covariates.index]
        _enough_deaths(follow, min_events, covariates.shape[1])
        refuse_constant(table)
        values = covariates.to_numpy()
        parts.append(_models(table, follow, values, "adjusted", confidence, **options))
    made = pd.concat(parts, ignore_index=True)
    left_out = [
        f"{model}: {feature}"
        for model, feature in made.loc[made["log_hr"].isna(), ["model", "feature"]].to_numpy()
    ]
    if left_out:
        warn(
            f"{len(left_out)} of {len(made)} models have no estimate, because of too few "
            "deaths, because covariates determine the feature, or because the feature "
            "separates the dead from the living without error "
            f"({', '.join(left_out[:3])}{', ...' if len(left_out) > 3 else ''}); see "
            "attrs['left_out']."
        )
    made = made[made["log_hr"].notna()].reset_index(drop=True)
    made.attrs["left_out"] = left_out
    return made


def _enough_deaths(follow: pd.DataFrame, min_events: int, n_covariates: int = 0) -> None:
    deaths = int(follow["event"].sum()) if len(follow) else 0
    least = max(1, min_events) + n_covariates
    if deaths < least:
        spent = f" for {n_covariates} covariates" if n_covariates else ""
        msg = (
            f"{deaths} of {len(follow)} patients died within follow-up; at least {least} deaths "
            f"are needed{spent}. Check the coding of event and truncate"
            f"{', or adjust for less' if n_covariates else ''}."
        )
        raise DesignError(msg)


def _covariates(adjust_for: pd.DataFrame | pd.Series, stratum: pd.Series) -> pd.DataFrame:
    """Return complete covariates as numbers, none of which others or the strata determine."""
    samples = stratum.index
    given = adjust_for.to_frame("group") if isinstance(adjust_for, pd.Series) else adjust_for
    given = with_samples(given, samples, "adjust_for")
    known = given.notna().all(axis=1)
    if not known.any():
        msg = f"No patient has all of the covariates {', '.join(map(str, given.columns))}. Fill "
        raise DesignError(f"{msg}them in, or remove covariates that are mostly missing.")
    lost = len(samples) - int(known.sum())
    if lost:
        _LOG.warning(
            "%d of %d patients lack a covariate; adjusted models exclude them",
            lost,
            len(samples),
        )
    given = given[known]
    wide = _as_numbers(given)
    groups = stratum.loc[wide.index].to_numpy()
    if given.nunique().min() < 2 or _dependent(wide - wide.groupby(groups).transform("mean")):
        within = " within strata" if len(set(groups)) > 1 else ""
        msg = (
            f"The covariates ({', '.join(map(str, given.columns))}) are constant or "
            f"determine each other{within} in these {len(wide)} patients. Remove one of them."
        )
        raise DesignError(msg)
    return wide


def _as_numbers(given: pd.DataFrame) -> pd.DataFrame:
    """Return numbers as they are, and a column of 0 and 1 per level but the first of others."""
    parts: list[pd.Series | pd.DataFrame] = []
    for name in given.columns:
        column = given[name]
        if pd.api.types.is_numeric_dtype(column):
            parts.append(column.astype("float64").rename(str(name)))
        else:
            text = column.astype(object).astype(str)
            parts.append(pd.get_dummies(text, prefix=str(name), drop_first=True))
    wide: pd.DataFrame = pd.concat(parts, axis=1).astype("float64")
    return wide


def _dependent(deviations: pd.DataFrame) -> bool:
    centered = deviations.to_numpy()
    scale = centered.std(axis=0)
    if not (scale > 1e-12).all():
        return True
    return bool(np.linalg.matrix_rank(centered / scale, tol=1e-7) < centered.shape[1])


def _models(
    table: pd.DataFrame,
    follow: pd.DataFrame,
    adjust: Floats | None,
    model: str,
    confidence: float,
    *,
    min_events: int,
    small_sample: bool,
    scale: bool,
) -> pd.DataFrame:
    effect, error, ph_p_value, n, n_events, spread = _hazards(
        table.to_numpy(), follow, adjust, min_events=min_events, small_sample=small_sample
    )
    if scale:
        effect, error = effect * spread, error * spread
    low, high = interval(effect, error, np.inf, confidence)
    p = 2 * scipy_stats.norm.sf(np.abs(effect / error))
    result = pd.DataFrame(
        {
            "model": model,
            "feature": table.columns.astype(str).to_numpy(dtype=object),
            "log_hr": effect,
            "se": error,
            "ci_low": low,
            "ci_high": high,
            "hazard_ratio": np.exp(effect),
            "hr_low": np.exp(low),
            "hr_high": np.exp(high),
            "z": effect / error,
            "p_value": p,
            "q_value": benjamini_hochberg(p),
            "ph_p_value": ph_p_value,
            "n": n.astype(np.int64),
            "n_events": n_events.astype(np.int64),
            "sd": spread,
        }
    )
    return result.sort_values(["p_value", "feature"])


def _hazards(
    values: Floats,
    follow: pd.DataFrame,
    adjust: Floats | None,
    *,
    min_events: int,
    small_sample: bool,
) -> Floats:
    """Return log hazard, its error, p of proportional hazards, n, deaths and SD by feature."""
    n_covariates = 0 if adjust is None else adjust.shape[1]
    time, event = follow["time"].to_numpy(), follow["event"].to_numpy() > 0
    stratum = follow["stratum"].to_numpy()
    made = np.full((6, values.shape[1]), np.nan)
    for rows, columns in complete_blocks(values):
        deaths = int(event[rows].sum())
        made[3, columns], made[4, columns] = len(rows), deaths
        if deaths < max(1, min_events) + n_covariates:
            continue
        part = values[np.ix_(rows, columns)]
        made[5, columns] = part.std(axis=0, ddof=1)
        others = None if adjust is None else adjust[rows]
        fit = cox_regression(part, time[rows], event[rows], others, stratum[rows])
        # Covariates fitted to the same deaths explain some of their order by chance, so the
        # remaining information looks larger than it is.
        price = np.sqrt(deaths / (deaths - n_covariates)) if small_sample else 1.0
        made[:3, columns] = fit.log_hazard, price * fit.se, fit.ph_p_value
    return made
