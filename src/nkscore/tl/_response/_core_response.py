"""Genes that respond in most lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore._checks import check_confidence, check_shares, check_whole
from nkscore._samples._left_out import LEFT_OUT
from nkscore.errors import DesignError
from nkscore.stats import (
    FEWEST_GENES,
    benjamini_hochberg,
    error_correlation,
    pool_with_shared_variance,
    random_effects,
)
from nkscore.tl._response._response_table import (
    ADJUSTED,
    FLAG,
    effects_of,
    error_df,
    note_effects,
    response_matrices,
)

if TYPE_CHECKING:
    from nkscore._types import Ints
    from nkscore.tl._response._response_table import Effects, ResponseTable

_LOG = logging.getLogger("nkscore")


def core_response(
    responses: pd.DataFrame,
    *,
    method: str = "random_effects",
    adjusted: bool | None = None,
    min_lines: int = 2,
    min_up: int | None = None,
    q_threshold: float = 0.05,
    log2_fc_threshold: float = 0.25,
    between: str = "shared",
    correlation: float | str = "estimate",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Combine the responses of lines into one per gene, and call core genes.

    Give all rows of :func:`nkscore.tl.flag_ambient`, flagged ones included: what is pooled are the
    effects without ambient RNA, with their own errors. Without flagged rows the mean is too high in
    genes that are both induced and ambient.

    Parameters
    ----------
    responses
        One row per line × gene, with columns ``tumor``, ``gene``, ``log2_fc``, ``se`` and
        ``q_value_line`` (or ``q_value``), as from :func:`nkscore.tl.interaction_response`. Column
        names of Seurat and limma are also accepted; their fold changes are on different scales (see
        Notes).
    method
        ``"random_effects"``: the lines are a sample of all lines, and the mean of a core gene over
        all lines exceeds zero. ``"counting"``: a gene is core if it passes in many lines; this
        needs no standard errors.
    adjusted
        Whether to pool ``log2_fc_adjusted`` with ``se_adjusted`` instead of ``log2_fc`` with
        ``se``; by default, if the table has these columns.
    min_lines
        Genes tested in fewer lines are listed but not called. A row counts as tested if it has an
        effect and, for ``random_effects``, a standard error above 0.
    min_up
        For ``counting``: lines in which a core gene must pass; by default more than 12 of 26, as
        in the reference study, scaled to the number of lines of the table.
    q_threshold, log2_fc_threshold
        A gene passes in a line (``n_up``) with q (within the line) below and log2 fold change above
        these; the same limits apply to the pooled effect.
    between
        Source of the variance between lines: ``"shared"``, from the spread of the gene and the
        distribution of variances over all genes (below 100 genes like ``"own"``), or ``"own"``,
        from the gene alone with Hartung and Knapp's interval, which has little power with fewer
        than about ten lines.
    correlation
        Correlation of the errors of two lines, 0 to 1, for example from shared monoculture NK cells
        or donors; ``"estimate"`` estimates it from genes that hardly changed.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per gene, core genes first, with columns ``gene``, ``core`` (bool; only upregulated
    genes), ``log2_fc`` (mean over lines), ``se``, ``ci_low``, ``ci_high``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over genes in at least ``min_lines`` lines), ``tau2`` (variance of the
    effect between lines, of the gene alone), ``i2`` (share of the spread that is not error),
    ``heterogeneity_p``, ``prediction_low``, ``prediction_high`` (prediction interval of the effect
    in a further line; needs three lines), ``n_lines`` (tested), ``n_up``, ``n_down``, ``n_ambient``
    (lines in which the gene is flagged; NaN without flags), ``error_correlation``. With
    ``counting``: ``gene``, ``core``, ``log2_fc`` (mean), ``n_lines``, ``n_up``, ``n_down``,
    ``n_ambient``, ``min_up``. ``attrs["effect"]`` names the pooled column; ``attrs["left_out"]``
    lists effects that cannot be used, each with ``what``, ``name`` (line) and ``reason``.

    Raises
    ------
    DesignError
        If the table has no rows, fewer lines than ``min_lines``, or two rows of one line and gene.
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If a numeric column contains text.
    ValueError
        If ``method``, ``between`` or ``correlation`` is unknown, or a number is out of range.

    Notes
    -----
    If only flags are known, as for published tables, the ambient part cannot be subtracted: a gene
    that is flagged in at least half of its lines is not called core. Formulas and sources in
    ``docs/core_response.md``. The counting rule is that of Dufva et al. 2023, doi
    10.1016/j.immuni.2023.11.008, whose fold changes are differences of log2(mean + 1) of normalized
    counts per cell: 0.25 on that scale is more than 0.25 on this one for weakly expressed genes.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> core = nk.tl.core_response(nk.tl.interaction_response(adata, "tumor"))
    >>> bool(core.set_index("gene").loc["STAT1", "ci_low"] > 0)
    True
    """
    _check(method, between)
    check_confidence(confidence)
    check_shares(q_threshold=q_threshold)
    check_whole(1, min_lines=min_lines, **({} if min_up is None else {"min_up": min_up}))
    counting = method == "counting"
    table = _matrices(responses, min_lines, counting=counting)
    found = effects_of(table, adjusted=adjusted, errors=not counting)
    counts = _passing(found, q_threshold=q_threshold, log2_fc_threshold=log2_fc_threshold)
    counts["n_ambient"] = _flagged(table, found)
    if counting:
        result = _count(table, found, counts, min_lines=min_lines, min_up=min_up)
        order = ["core", "n_up", "log2_fc", "gene"]
    else:
        how: dict[str, Any] = {"min_lines": min_lines, "between": between, "confidence": confidence}
        rho = _correlation(found, correlation)
        result = _pool(table, found, correlation=rho, **how)
        called = result["q_value"] < q_threshold
        result["core"] = (called & (result["log2_fc"] > log2_fc_threshold)).to_numpy(dtype=bool)
        n_lines = np.isfinite(found.effect).sum(axis=1)
        result = result.assign(n_lines=n_lines, **counts, error_correlation=rho)
        order = ["core", "p_value", "log2_fc", "gene"]
    if found.name == "log2_fc" and FLAG in table.matrices:
        result["core"] &= 2 * result["n_ambient"] < result["n_lines"].clip(lower=1)
    ascending = [False, order[1] == "p_value", False, True]
    result = result.sort_values(order, ascending=ascending, ignore_index=True)
    result.attrs |= {"effect": found.name, LEFT_OUT: list(found.left_out)}
    few = f"in fewer than {min_lines} lines (min_lines)"
    return note_effects(result, table, found, step="tl.core_response", too_few=few)


def _check(method: str, between: str) -> None:
    if method not in ("random_effects", "counting"):
        msg = f"method is {method!r}; known: 'random_effects', 'counting'."
        raise ValueError(msg)
    if between not in ("shared", "own"):
        msg = f"between is {between!r}; known: 'shared', 'own'."
        raise ValueError(msg)


def _matrices(responses: pd.DataFrame, min_lines: int, *, counting: bool) -> ResponseTable:
    columns = ["log2_fc", "q_value_line"] if counting else ["log2_fc", "se"]
    others = ["p_value", "df_total", FLAG, *ADJUSTED]
    table = response_matrices(responses, columns, others if counting else [*others, "q_value_line"])
    if len(table.lines) < min_lines:
        msg = (
            f"The table holds {len(table.lines)} line(s), {', '.join(map(repr, table.lines))}; "
            f"at least {min_lines} are needed, because a core response is shared by "
            "lines. Add lines, or use the table of the single line."
        )
        raise DesignError(msg)
    return table


def _passing(
    found: Effects, *, q_threshold: float, log2_fc_threshold: float
) -> dict[str, Ints | float]:
    """Return the number of lines in which each gene goes up or down."""
    if found.q_value is None:
        _LOG.warning("The table has no q-value: n_up and n_down are not counted")
        return {"n_up": np.nan, "n_down": np.nan}
    effect, called = found.effect, found.q_value < q_threshold
    return {
        "n_up": (called & (effect > log2_fc_threshold)).sum(axis=1),
        "n_down": (called & (effect < -log2_fc_threshold)).sum(axis=1),
    }


def _flagged(table: ResponseTable, found: Effects) -> Ints | float:
    """Return the number of tested lines in which ambient RNA may explain the gene's effect."""
    if FLAG not in table.matrices:
        return np.nan
    flags = (table.matrices[FLAG] == 1) & np.isfinite(found.effect)
    return np.asarray(flags.sum(axis=1))


def _count(
    table: ResponseTable,
    found: Effects,
    counts: dict[str, Ints | float],
    *,
    min_lines: int,
    min_up: int | None,
) -> pd.DataFrame:
    known = np.isfinite(found.effect)
    n_lines = known.sum(axis=1)
    needed = 12 * len(table.lines) // 26 + 1 if min_up is None else min_up
    mean = np.where(known, found.effect, 0).sum(axis=1) / np.maximum(n_lines, 1)
    return pd.DataFrame(
        {
            "gene": table.genes,
            "core": (counts["n_up"] >= needed) & (n_lines >= min_lines),
            "log2_fc": np.where(n_lines > 0, mean, np.nan),
            "n_lines": n_lines,
            **counts,
            "min_up": needed,
        }
    )


def _correlation(found: Effects, correlation: float | str) -> float:
    if correlation == "estimate":
        return error_correlation(found.effect / found.error)
    if not isinstance(correlation, (int, float, np.floating)) or not 0 <= correlation < 1:
        msg = f"correlation is {correlation!r}; 'estimate' or a number from 0 to below 1 is needed."
        raise ValueError(msg)
    return float(correlation)


def _pool(
    table: ResponseTable,
    found: Effects,
    *,
    min_lines: int,
    between: str,
    correlation: float,
    confidence: float,
) -> pd.DataFrame:
    known = np.isfinite(found.effect)
    few = known.sum(axis=1) < max(min_lines, 2)
    if between == "shared" and (~few).sum() < FEWEST_GENES:
        _LOG.warning(
            "%d genes are too few: the variance between lines is estimated for each gene alone",
            (~few).sum(),
        )
        between = "own"
    how: dict[str, Any] = {
        "correlation": correlation,
        "common": found.common,
        "confidence": confidence,
    }
    if between == "own":
        pooled = random_effects(found.effect, found.error, **how)
    else:
        df = np.where(known, error_df(table), 0).sum(axis=1)
        pooled = pool_with_shared_variance(found.effect, found.error, df=df, **how)
    result = pd.DataFrame(
        {
            "gene": table.genes,
            "core": False,
            "log2_fc": pooled.effect,
            "se": pooled.standard_error,
            "ci_low": pooled.ci_low,
            "ci_high": pooled.ci_high,
            "p_value": pooled.p_value,
            "q_value": np.nan,
            "tau2": pooled.tau2,
            "i2": pooled.i2,
            "heterogeneity_p": pooled.heterogeneity_p,
            "prediction_low": pooled.prediction_low,
            "prediction_high": pooled.prediction_high,
        }
    )
    result.loc[few, result.columns.drop(["gene", "core", "log2_fc"])] = np.nan
    return result.assign(q_value=benjamini_hochberg(result["p_value"]))
