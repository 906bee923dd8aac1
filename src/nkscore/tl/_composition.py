"""Which states the cells of each sample are in, and how the interaction shifts them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import optimize
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._samples import Samples, arms, compartment_samples, labels
from nkscore.stats import fit_linear, moderated_test, response_design

if TYPE_CHECKING:
    from anndata import AnnData

_LOG = logging.getLogger("nkscore")
_COMPARTMENT = {schema.NK_STATE: schema.NK, schema.TUMOR_STATE: schema.TUMOR_CELLS}
_WRITTEN_BY = {schema.NK_STATE: "tl.nk_states", schema.TUMOR_STATE: "tl.tumor_states"}
_DESCRIBED = (schema.TUMOR, schema.LINEAGE, schema.NK_DONOR, schema.CONDITION)


def state_fractions(
    adata: AnnData, state: str = schema.NK_STATE, *, min_cells: int = 10
) -> pd.DataFrame:
    """Count the states of each sample.

    Parameters
    ----------
    adata
        Cells × genes.
    state
        Column of ``obs`` with states, ``"nk_state"`` or ``"tumor_state"``, or a categorical column
        of your own.
    min_cells
        Samples with fewer cells in the compartment are left out.

    Returns
    -------
    One row per sample × state (all states, also those with no cell), with columns ``sample``,
    ``tumor``, ``lineage``, ``nk_donor``, ``condition`` (as far as ``obs`` has them), ``state``,
    ``n_cells``, ``n_total`` (cells of the compartment in the sample) and ``fraction``.

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
    described = [c for c in _DESCRIBED if c in adata.obs]
    samples = _state_samples(adata, state, columns=described, min_cells=min_cells)
    counts = _state_counts(adata, state, samples)
    long = samples.table.rename(columns={"n_cells": "n_total"})
    long = long.loc[long.index.repeat(counts.shape[1])].reset_index(drop=True)
    long["state"] = pd.Categorical(
        np.tile(counts.columns, len(samples.table)), categories=list(counts.columns)
    )
    long["n_cells"] = counts.to_numpy().ravel()
    long["fraction"] = long["n_cells"] / long["n_total"]
    order = ["sample", *described, "state", "n_cells", "n_total", "fraction"]
    return long[order]


def state_shift(
    adata: AnnData,
    state: str = schema.NK_STATE,
    *,
    treated: str = schema.COCULTURE,
    control: str | None = None,
    by: str = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    include_unassigned: bool = False,
    min_cells: int = 20,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test for each line whether a state is more or less frequent than in the control.

    The logit of each sample's fraction enters one linear model over all lines. A sample weighs by
    its binomial variance plus a variance between samples that all states have in common, so that
    large samples do not pass for sure ones; residual variances are shared between states and never
    below that sum. Samples are the replicates, and donors measured in both arms are matched.

    Parameters
    ----------
    adata
        Cells × genes.
    state
        Column of ``obs``: ``"nk_state"`` (control ``nk_mono`` by default), ``"tumor_state"``
        (control ``tumor_mono``) or a categorical column of your own.
    treated, control
        Levels of ``obs[condition]``.
    by, replicate, condition
        Columns of ``obs``: lines, replicates and conditions.
    include_unassigned
        Whether ``unassigned`` is one of the states, so that fractions are of all cells; by default
        they are of the cells with a called state, which depends less on sequencing depth.
    min_cells
        Samples with fewer such cells are left out.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line × state with columns ``tumor``, ``state``, ``fraction_treated``,
    ``fraction_control`` (means over samples), ``log_odds_ratio`` (natural logarithm), ``se``,
    ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value`` (Benjamini-Hochberg over all rows),
    ``n_samples_treated``, ``n_samples_control``, ``df_residual``.

    Raises
    ------
    DesignError
        If an arm is empty or there is no replicate.
    MissingKeyError
        If the states were not called.

    Notes
    -----
    The idea of propeller (Phipson et al. 2022, doi 10.1093/bioinformatics/btac582), with half a
    cell added to each side of the logit.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> shift = nk.tl.state_shift(adata, "nk_state")
    >>> sorted(shift["state"].unique())
    ['activated', 'adaptive', 'cytokine', 'resting', 'type_i_ifn']
    """
    if control is None:
        control = schema.TUMOR_MONO if state == schema.TUMOR_STATE else schema.NK_MONO
    samples = _state_samples(
        adata,
        state,
        columns=[by, replicate, condition],
        min_cells=min_cells,
        called=not include_unassigned,
    )
    samples = arms(samples, treated=treated, control=control, by=by, column=condition)
    group = labels(samples.table, by)
    is_treated = samples.table["treated"].to_numpy()
    design = response_design(is_treated, group, labels(samples.table, replicate))
    counts = _state_counts(adata, state, samples)
    if not include_unassigned:
        counts = counts.loc[:, counts.columns != schema.UNASSIGNED]
    total = counts.sum(axis=1).to_numpy()[:, None]
    k = counts.to_numpy(dtype=float)
    logit = np.log((k + 0.5) / (total - k + 0.5)).T
    share = (k + 0.5) / (total + 1)
    present = k.sum(axis=0) > 0
    binomial = (total * share * (1 - share)).T[present]
    weights = _precision(logit[present], binomial, design.matrix)
    fit = fit_linear(logit[present], design.matrix, weights)
    parts = []
    for name, column in design.effects.items():
        test = moderated_test(fit, column, least_variance=1.0)
        fraction = k / total
        control_rows = ~is_treated & ((group == name) | (group == None))  # noqa: E711
        treated_rows = is_treated & (group == name)
        parts.append(
            pd.DataFrame(
                {
                    "tumor": name,
                    "state": counts.columns[present],
                    "fraction_treated": fraction[treated_rows][:, present].mean(axis=0),
                    "fraction_control": fraction[control_rows][:, present].mean(axis=0),
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
    return _finish(pd.concat(parts, ignore_index=True), confidence)


def _precision(logit: Any, binomial: Any, design: Any) -> Any:
    """Add to the binomial variances the variance between samples that the residuals ask for."""

    def excess(between: float) -> float:
        fit = fit_linear(logit, design, 1 / (1 / binomial + between))
        return float((fit.variance * fit.df_residual).sum() - fit.df_residual.sum())

    between = optimize.brentq(excess, 0.0, 1e4, xtol=1e-10) if excess(0.0) > 0 else 0.0
    return 1 / (1 / binomial + between)


def _finish(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    margin = scipy_stats.t.ppf(0.5 + confidence / 2, table.pop("df_total")) * table["se"]
    table.insert(6, "ci_low", table["log_odds_ratio"] - margin)
    table.insert(7, "ci_high", table["log_odds_ratio"] + margin)
    table.insert(10, "q_value", scipy_stats.false_discovery_control(table["p_value"]))
    return table


def _state_samples(
    adata: AnnData, state: str, *, columns: Any, min_cells: int, called: bool = False
) -> Samples:
    schema.require(adata, "obs", [state], _WRITTEN_BY.get(state, "the function that calls it"))
    samples = compartment_samples(adata, _COMPARTMENT.get(state), columns=columns, min_cells=1)
    values = adata.obs[state].astype(object)
    has_state = values.notna() & (values != schema.UNASSIGNED if called else True)
    codes = np.where(has_state.to_numpy(dtype=bool), samples.codes, -1)
    n_cells = np.bincount(codes[codes >= 0], minlength=len(samples.table))
    enough = n_cells >= max(1, min_cells)
    if not enough.all():
        few = ", ".join(samples.table.loc[~enough, schema.SAMPLE].head(10))
        _LOG.warning("Fewer than %d cells with a called state, left out: %s", min_cells, few)
    return Samples(samples.table.assign(n_cells=n_cells), codes).keep(enough)


def _state_counts(adata: AnnData, state: str, samples: Samples) -> pd.DataFrame:
    values = adata.obs[state]
    levels = (
        list(values.cat.categories)
        if isinstance(values.dtype, pd.CategoricalDtype)
        else sorted(values.dropna().unique())
    )
    code = pd.Categorical(values, categories=levels).codes
    inside = (samples.codes >= 0) & (code >= 0)
    flat = samples.codes[inside] * len(levels) + code[inside]
    counts = np.bincount(flat, minlength=len(samples.table) * len(levels))
    return pd.DataFrame(counts.reshape(-1, len(levels)), columns=levels)
