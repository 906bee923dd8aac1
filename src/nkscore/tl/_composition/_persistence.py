"""How long transferred NK cells persist, and in which states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_columns, check_confidence
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore.errors import DesignError, WrongScaleError
from nkscore.stats import (
    benjamini_hochberg,
    detectable,
    dispersion,
    exact_share,
    excess_p,
    placed_behind,
)
from nkscore.tl._composition._compare_fractions import compare_states, with_intervals
from nkscore.tl._composition._state_counts import state_counts
from nkscore.tl._composition._transfer import DONOR, RECIPIENT, UNASSIGNED, transferred_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut

#: Probability with which a share at the limit of detection would be seen.
_POWER: Final = 0.95
_ALPHA: Final = 0.05


def persistence(
    adata: AnnData | pd.DataFrame,
    donor: str | Mapping[str, str],
    *,
    patient: str = "patient",
    time: str = "day",
    genotype: str = schema.GENOTYPE,
    condition: str = schema.CONDITION,
    product: str = "product",
    infusion: float = 0.0,
    error_rate: float | None = None,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the share of donor cells among a patient's NK cells at each time after transfer.

    Parameters
    ----------
    adata
        Cells × genes, or its ``obs``: NK cells of patients with the genotype of each.
    donor
        Genotype of the NK donor, or a mapping from patient to it. All other genotypes are the
        recipient's.
    patient, time, genotype
        Columns of ``obs``. Times are numbers.
    condition, product
        Cells with this level of ``condition`` are the infusion product, which has no share.
    infusion
        Time of infusion. Samples before it have no donor cell, so their calls are errors.
    error_rate
        Share of recipient cells that are called donor, 0 to 1. ``None``: from the samples before
        infusion, of all patients together.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per patient and time: ``patient``, ``time``, ``share`` (of NK cells with a genotype, 0
    to 1, minus errors), ``ci_low``, ``ci_high``, ``share_called`` (with errors), ``p_value`` (that
    errors alone explain the calls, one-sided), ``q_value`` (Benjamini-Hochberg over times after
    infusion), ``detected`` (``p_value`` of at most .05), ``detection_limit`` (share that would be
    detected with a probability of .95; missing if none would), ``n_donor``, ``n_recipient``,
    ``n_unassigned`` (doublets, and cells without a call), ``n_samples``, ``dispersion`` (how much
    more the samples of one time vary than counts do; 1 for one sample), ``error_rate``.

    Raises
    ------
    DesignError
        If no cell is the donor's, there is no NK cell, or neither samples before infusion nor
        ``error_rate`` say how frequent errors are.
    MissingKeyError
        If a column is absent, or a patient has no donor.
    WrongScaleError
        If a time is text or missing, or ``error_rate`` is not between 0 and 1.

    Notes
    -----
    Intervals of Clopper and Pearson, with cells divided by ``dispersion``; errors are subtracted
    from share and ends. One sample per time has no replicate: its interval covers the counting of
    cells, not the drawing of blood. ``detected=False`` means a share below ``detection_limit``, not
    that no cell persists.

    Examples
    --------
    >>> import nkscore as nk
    >>> cells = nk.datasets.simulate_transfer(n_patients=1, days=(-7, 7, 60), half_life=8, rng=0)
    >>> made = nk.tl.persistence(cells, "donor0")
    >>> made[["time", "detected"]].values.tolist()
    [[-7.0, False], [7.0, True], [60.0, False]]
    """
    check_confidence(confidence)
    if error_rate is not None and not 0 <= error_rate < 1:
        msg = f"error_rate is {error_rate}; a share from 0 to below 1 is needed."
        raise WrongScaleError(msg)
    cells = transferred_cells(
        adata,
        donor,
        patient=patient,
        time=time,
        genotype=genotype,
        condition=condition,
        product=product,
    )
    cells = cells[~cells["is_product"]]
    errors = _errors(cells[cells["time"] < infusion], error_rate)
    rows = [
        {"patient": str(who), "time": when, **_share(part, errors, confidence)}
        for (who, when), part in cells.groupby(["patient", "time"], sort=True)
    ]
    if not rows:
        raise DesignError("All NK cells are of the product; cells of patients are needed.")
    made = pd.DataFrame(rows)
    after = made["time"] >= infusion
    if isinstance(errors, tuple):
        # The samples that errors were counted in cannot be tested against them.
        made.loc[~after, ["p_value", "detection_limit"]] = np.nan
        made.loc[~after, "detected"] = False
    q = benjamini_hochberg(made["p_value"].where(after))
    return placed_behind(made, "p_value", q_value=q)


def _errors(before: pd.DataFrame, error_rate: float | None) -> tuple[int, int] | float:
    """Return the rate of errors, or errors and cells of the samples before infusion."""
    if error_rate is not None:
        return error_rate
    wrong = int((before["origin"] == DONOR).sum())
    right = int((before["origin"] == RECIPIENT).sum())
    if not right + wrong:
        msg = (
            "There is no sample before infusion, so nothing tells how many recipient cells are "
            "called donor. Give error_rate, for example the share of wrong calls in a sample "
            "without donor cells of the same experiment."
        )
        raise DesignError(msg)
    if wrong > right:
        msg = (
            f"Before infusion, {wrong} of {wrong + right} cells are called donor. The donor is "
            "another genotype, or the times are not relative to the infusion."
        )
        raise DesignError(msg)
    return wrong, wrong + right


def _share(
    part: pd.DataFrame, errors: tuple[int, int] | float, confidence: float
) -> dict[str, float | int | bool]:
    counts = pd.crosstab(part["sample"], part["origin"])
    counts = counts.reindex(columns=[DONOR, RECIPIENT, UNASSIGNED], fill_value=0)
    ours = counts[DONOR].to_numpy()
    n_each = ours + counts[RECIPIENT].to_numpy()
    k, n = int(ours.sum()), int(n_each.sum())
    spread = dispersion(ours[n_each > 0], n_each[n_each > 0])
    rate = errors[0] / errors[1] if isinstance(errors, tuple) else errors
    low, high = exact_share(k / spread, n / spread, confidence)
    enough, limit = detectable(n, errors, alpha=_ALPHA, power=_POWER)
    called = k / n if n else np.nan

    def without_errors(share: float) -> float:
        return float(np.clip((share - rate) / (1 - rate), 0, 1)) if n else np.nan

    return {
        "share": without_errors(called),
        "ci_low": without_errors(low),
        "ci_high": without_errors(high),
        "share_called": called,
        "p_value": excess_p(k, n, errors) if n else np.nan,
        "detected": n > 0 and k >= enough,
        "detection_limit": (limit - rate) / (1 - rate),
        "n_donor": k,
        "n_recipient": n - k,
        "n_unassigned": int(counts[UNASSIGNED].sum()),
        "n_samples": len(counts),
        "dispersion": spread,
        "error_rate": rate,
    }


def persisting_states(
    adata: AnnData | pd.DataFrame,
    donor: str | Mapping[str, str],
    *,
    state: str = schema.NK_STATE,
    against: str = "product",
    together: Mapping[str, Iterable[str]] | None = None,
    patient: str = "patient",
    time: str = "day",
    genotype: str = schema.GENOTYPE,
    condition: str = schema.CONDITION,
    product: str = "product",
    infusion: float = 0.0,
    min_cells: int = 20,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare the states of persisting donor cells with those of the infusion product.

    Parameters
    ----------
    adata
        Cells × genes with called states, or its ``obs``.
    donor
        Genotype of the NK donor, or a mapping from patient to it.
    state
        Column of ``obs`` with states.
    against
        ``"product"``: donor cells of the infusion product; ``"recipient"``: the patient's NK cells
        of the same time.
    together
        States that are counted as one in addition, for example ``{"memory_like": ["adaptive"]}``:
        a row tests their joint share.
    patient, time, genotype, condition, product, infusion
        As in :func:`persistence`. Cells of the product are of the patient that it was made for, or
        of none.
    min_cells
        Samples with fewer cells of a state are excluded.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per time and state, as from :func:`state_shift`: ``time``, ``state``,
    ``fraction_treated`` (of persisting cells), ``fraction_control`` (of product or recipient),
    ``log_odds_ratio``, ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over all rows), ``n_samples_treated``, ``n_samples_control``,
    ``df_residual``, ``df_total``. ``attrs["left_out"]`` lists what has no row: times at which too
    few patients have donor cells, and samples with few cells.

    Raises
    ------
    DesignError
        If no time has enough samples, or a state of ``together`` is not in the data.
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If a time is text or missing.
    ValueError
        If ``against`` is unknown.

    Notes
    -----
    Patients are the replicates: cells of one patient and time are one sample, however many there
    are. A patient with both arms is compared with itself. Wrongly called recipient cells look like
    persisting ones; use times at which :func:`persistence` detects donor cells.

    Examples
    --------
    >>> import nkscore as nk
    >>> cells = nk.datasets.simulate_transfer(n_patients=4, days=(-7, 7, 14), rng=0)
    >>> made = nk.tl.persisting_states(cells, "donor0", together={"memory_like": ["adaptive"]})
    >>> bool((made.loc[made["state"] == "memory_like", "log_odds_ratio"] > 0).all())
    True
    """
    check_confidence(confidence)
    if against not in ("product", RECIPIENT):
        msg = f"against={against!r}; 'product' or 'recipient' is needed."
        raise ValueError(msg)
    obs = adata if isinstance(adata, pd.DataFrame) else adata.obs
    check_columns(obs, [state], "tl.nk_states calls the states of NK cells.", what="obs")
    cells = transferred_cells(
        adata,
        donor,
        patient=patient,
        time=time,
        genotype=genotype,
        condition=condition,
        product=product,
    )
    column = obs[state].iloc[cells["row"].to_numpy()]
    cells = cells.assign(state=column.astype(object).to_numpy())
    cells = cells[cells["state"].notna()]
    _check_together(together or {}, set(cells["state"]))
    parts, lost = _by_time(cells, against, infusion, together or {}, min_cells)
    if not parts:
        why = lost[0]["reason"] if lost else "no donor cell after infusion has a state"
        raise DesignError(f"No time can be compared with the {against}: {why}.")
    made = with_intervals(pd.concat(parts, ignore_index=True), confidence)
    made = made[["time", *(c for c in made if c not in ("time", "tumor"))]]
    made.attrs[LEFT_OUT] = lost
    return made


def _by_time(
    cells: pd.DataFrame,
    against: str,
    infusion: float,
    together: Mapping[str, Iterable[str]],
    min_cells: int,
) -> tuple[list[pd.DataFrame], list[LeftOut]]:
    """Return the comparison of each time, and which times and samples have none."""
    parts: list[pd.DataFrame] = []
    lost: list[LeftOut] = []
    after = cells[~cells["is_product"] & (cells["time"] >= infusion)]
    for when, there in after.groupby("time", sort=True):
        treated = there[there["origin"] == DONOR]
        is_control = (
            cells["is_product"]
            if against == "product"
            else cells["row"].isin(there.loc[there["origin"] == RECIPIENT, "row"])
        )
        most = treated.groupby("patient").size().max() if len(treated) else 0
        if most < min_cells:
            reason = f"no patient has {min_cells} donor cells with a state (min_cells)"
            lost += left_out("time", [f"{when:g}"], [reason])
            continue
        try:
            part = _against(treated, cells[is_control], together, min_cells)
        except DesignError as error:
            lost += left_out("time", [f"{when:g}"], [str(error).rstrip(".")])
            continue
        lost += [one for one in part.attrs.pop(LEFT_OUT) if one not in lost]
        parts.append(part.assign(time=when))
    return parts, lost


def _check_together(together: Mapping[str, Iterable[str]], known: set[str]) -> None:
    for name, states in together.items():
        if not known & set(states):
            msg = (
                f"together[{name!r}] names {', '.join(map(str, states)) or 'no state'}; the states "
                f"are {', '.join(sorted(map(str, known)))}. Name states of the data."
            )
            raise DesignError(msg)


def _against(
    treated: pd.DataFrame,
    control: pd.DataFrame,
    together: Mapping[str, Iterable[str]],
    min_cells: int,
) -> pd.DataFrame:
    """Return the comparison of one time, of each state and of those counted together."""
    counts = _counted(treated, control)
    made = [_compared(counts, min_cells)]
    for name, states in together.items():
        inside = counts["state"].isin(list(states))
        if not inside.any() or inside.all():
            continue
        two = counts.assign(state=np.where(inside, name, "others"))
        sums = two.groupby(["sample", "patient", "arm", "state"])["n_cells"].sum()
        part = _compared(sums.reset_index(), min_cells)
        made.append(part[part["state"] == name])
    joined = pd.concat(made, ignore_index=True)
    joined.attrs[LEFT_OUT] = made[0].attrs[LEFT_OUT]
    return joined


def _counted(treated: pd.DataFrame, control: pd.DataFrame) -> pd.DataFrame:
    """Return cells per patient, arm and state; a product of no patient is its sample."""
    both = pd.concat([treated.assign(arm="persisting"), control.assign(arm="control")])
    own = both["patient"].where(both["patient"].notna(), "product " + both["sample"])
    both = both.assign(patient=own.astype(str))
    both = both.assign(sample=both["patient"] + " " + both["arm"])
    sizes = both.groupby(["sample", "patient", "arm", "state"]).size()
    return sizes.rename("n_cells").reset_index()


def _compared(counts: pd.DataFrame, min_cells: int) -> pd.DataFrame:
    found = state_counts(
        counts.assign(_all="all"),
        "state",
        columns=["patient", "arm", "_all"],
        min_cells=min_cells,
        called=True,
        replicate="patient",
    )
    both = found.arms(treated="persisting", control="control", by="_all", column="arm")
    return compare_states(both, by="_all", replicate="patient")
