"""Genes that respond differently in one line or lineage than in the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore._checks import check_shares
from nkscore._ledger import note_in, rows
from nkscore._samples._left_out import LEFT_OUT
from nkscore.errors import DesignError, MissingKeyError
from nkscore.stats import (
    adaptive_shrinkage,
    between_variance,
    fit_linear,
    squeeze_variances,
)
from nkscore.tl._response._response_table import (
    ADJUSTED,
    effects_of,
    error_df,
    note_effects,
    response_matrices,
)

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints
    from nkscore.tl._response._response_table import Effects, ResponseTable

_COLUMNS = [
    "gene",
    "log2_fc",
    "log2_fc_others",
    "difference",
    "se",
    "df",
    "shrunken",
    "shrunken_sd",
    "lfsr",
    "s_value",
    "specific",
    "n_lines",
    "n_others",
]


def specific_response(
    responses: pd.DataFrame,
    *,
    by: str = "tumor",
    adjusted: bool | None = None,
    lfsr_threshold: float = 0.05,
    null_weight: float = 10.0,
) -> pd.DataFrame:
    """Find genes whose response in one line or lineage differs from that of the others.

    Each gene's departure from the mean of the other lines is shrunken toward zero, by as much as
    all departures of that line imply.

    Parameters
    ----------
    responses
        One row per line × gene, with columns ``tumor``, ``gene``, ``log2_fc``, ``se`` and,
        optionally, ``df_total`` (degrees of freedom of the errors; ``p_value`` implies them) and
        ``lineage``.
    by
        ``"tumor"``: each line against the other lines. ``"lineage"``: the mean of a lineage's lines
        against the other lineages, with lines as the replicates.
    adjusted
        Whether to compare the effects without ambient RNA, as in :func:`nkscore.tl.core_response`.
    lfsr_threshold
        Genes below it are ``specific``.
    null_weight
        Pseudocounts of departures that are exactly zero, at least 1; ashr's default.

    Returns
    -------
    One row per line (or lineage) × gene tested in it and in at least one other, sorted by line and
    ``lfsr``, with columns ``tumor`` or ``lineage``, ``gene``, ``log2_fc`` (in the line),
    ``log2_fc_others`` (mean of the others), ``difference``, ``se``, ``df``, ``shrunken`` (posterior
    mean of the difference), ``shrunken_sd``, ``lfsr`` (local false sign rate: the probability that
    the difference is zero or of the other sign), ``s_value`` (expected share of wrong signs among
    genes of this or a smaller ``lfsr`` in the line), ``specific`` (bool), ``n_lines`` (in the
    group), ``n_others`` (other lines or lineages). ``attrs["left_out"]`` lists effects that cannot
    be used, each with ``what``, ``name`` (line) and ``reason``; ``attrs["effect"]`` names the
    column of the effects.

    Raises
    ------
    DesignError
        If the table has no rows or only one line, or no lineage has two lines (or two tested lines
        of any gene).
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If a numeric column contains text.
    ValueError
        If ``by`` is unknown, or a number is out of range.

    Notes
    -----
    The others are pooled with a variance between them, so a gene that is specific to another line
    widens the comparison instead of shifting it. Shared errors of lines make the result
    conservative, never anticonservative. Each effect compares samples of one line, so lines need no
    common scale of depth here (a contrast of their baselines would). Stephens 2017, doi
    10.1093/biostatistics/kxw041.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> specific = nk.tl.specific_response(nk.tl.interaction_response(adata, "tumor"))
    >>> bool((specific["lfsr"] <= 1).all())
    True
    """
    if by not in ("tumor", "lineage"):
        msg = f"by is {by!r}; known: 'tumor', 'lineage'."
        raise ValueError(msg)
    check_shares(lfsr_threshold=lfsr_threshold)
    if not 1 <= null_weight < np.inf:
        msg = f"null_weight is {null_weight!r}; a number of at least 1 is needed, for example 10."
        raise ValueError(msg)
    table = response_matrices(responses, ["log2_fc", "se"], ["p_value", "df_total", *ADJUSTED])
    found = effects_of(table, adjusted=adjusted)
    effect = found.effect
    variance, df, names = found.error**2, error_df(table), table.lines
    n_lines = np.isfinite(effect).astype(int)
    if by == "lineage":
        effect, variance, df, names, n_lines = _lineages(table, effect, variance)
    if len(names) < 2:
        msg = (
            f"The table holds only one {by} ({names[0]}); a specific response differs from others. "
            f"Add the responses of at least one other {by}."
        )
        raise DesignError(msg)
    parts = []
    for j, name in enumerate(names):
        part = _against_others(effect, variance, df, j, one_estimate=by == "lineage")
        part = part.assign(gene=table.genes, n_lines=n_lines[:, j])
        part[by] = name
        part = part[np.isfinite(part["difference"])]
        parts.append(_shrink(part, null_weight))
    result = pd.concat([p for p in parts if len(p)] or parts[:1], ignore_index=True)
    result["specific"] = result["lfsr"] < lfsr_threshold
    result = result[[by, *_COLUMNS]].sort_values([by, "lfsr", "gene"], ignore_index=True)
    result.attrs |= {LEFT_OUT: list(found.left_out), "effect": found.name}
    return _noted(result, table, found, by)


def _noted(result: pd.DataFrame, table: ResponseTable, found: Effects, by: str) -> pd.DataFrame:
    """Add effects, genes and lines that are lost to the ledger of the table."""
    few, step = f"with an effect in a single {by}", "tl.specific_response"
    note_effects(result, table, found, step=step, too_few=few)
    if table.lineage is not None and by == "lineage":
        known = dict(zip(table.lines, table.lineage, strict=True))
        nameless = [line for line, lineage in known.items() if not lineage]
        n_out = sum(map(bool, known.values()))
        note_in(result, rows(step, "lines", len(known), n_out, {"no lineage": nameless}))
    return result


def _of_lineages(lineage: list[str] | None) -> tuple[list[str], list[int], Any]:
    """Return the lineages, the lines that have one, and the number of each line's lineage."""
    if lineage is None or not any(lineage):
        msg = "The table has no column 'lineage' with values. Add the lineage of each line."
        raise MissingKeyError(msg)
    keep = [i for i, name in enumerate(lineage) if name]
    names = sorted({lineage[i] for i in keep})
    if len(names) == len(keep):
        msg = (
            f"Each of the {len(names)} lineages has one line, so the variation within a "
            "lineage is unknown. Add a second line to a lineage, or compare lines (by='tumor')."
        )
        raise DesignError(msg)
    return names, keep, np.array([names.index(lineage[i]) for i in keep])


def _lineages(
    table: ResponseTable, effect: Floats, variance: Floats
) -> tuple[Floats, Floats, Floats, list[str], Ints]:
    """Return each lineage's mean effect, its variance and degrees of freedom.

    Lines of a lineage have one variance per gene. Its estimate is shared between genes like
    residual variances in limma.
    """
    names, keep, group = _of_lineages(table.lineage)
    effect, variance = effect[:, keep], variance[:, keep]
    known = np.isfinite(effect)
    member = np.eye(len(names))[group]
    n_lines = known @ member
    tau2 = between_variance(effect, variance, group)
    if not np.isfinite(tau2).any():
        msg = (
            "No gene was tested, with its error, in two lines of a lineage, so the "
            "variation within a lineage is unknown. Compare lines (by='tumor')."
        )
        raise DesignError(msg)
    weight = known / (np.where(known, variance, 1.0) + np.nanmedian(tau2))
    fit = fit_linear(np.where(known, effect, 0.0), member, weight)
    # A single gene carries little information on the variance of its lines; all genes carry more.
    spread, _, df_prior = squeeze_variances(fit.variance, fit.df_residual)
    spread = np.where(np.isfinite(spread), spread, np.nanmean(spread))
    freedom = np.minimum(fit.df_residual + df_prior, fit.df_residual.sum())
    total = np.where(n_lines > 0, weight @ member, np.nan)
    sampling = (weight**2 * np.where(known, variance, 0.0)) @ member / total**2
    error = np.maximum(spread[:, None] / total, sampling)
    mean = (weight * np.where(known, effect, 0.0)) @ member / total
    return mean, error, np.tile(freedom[:, None], len(names)), names, n_lines.astype(int)


def _against_others(
    effect: Floats, variance: Floats, df: Floats, j: int, *, one_estimate: bool
) -> pd.DataFrame:
    """Contrast column ``j`` with the random-effects mean of the others.

    ``one_estimate``: whether the errors of all columns come from one estimate of the gene.
    """
    others = np.delete(np.arange(effect.shape[1]), j)
    y, v = effect[:, others], variance[:, others]
    known = np.isfinite(y)
    n = known.sum(axis=1)
    tau2 = np.nan_to_num(between_variance(y, v))
    v, y = np.where(known, v, 1.0), np.where(known, y, 0.0)
    weight = known / (v + tau2[:, None])
    total = np.where(n > 0, weight.sum(axis=1), np.nan)
    mean = (weight * y).sum(axis=1) / total
    sampling = (weight**2 * v).sum(axis=1) / total**2
    spread = (weight * (y - mean[:, None]) ** 2).sum(axis=1) / np.maximum(n - 1, 1)
    between = np.where(n > 1, np.maximum(spread, 1.0), 1.0) / total - sampling
    # Rounding leaves small residues if the others agree.
    between = np.where(between > 1e-9 * sampling, between, 0.0)
    own_df = np.broadcast_to(df, effect.shape)[:, j]
    variance_j = variance[:, j]
    whole = variance_j + sampling + between
    uncertain = variance_j + sampling if one_estimate else variance_j
    part = uncertain**2 / own_df + between**2 / np.maximum(n - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(part > 0, whole**2 / part, np.inf)
    return pd.DataFrame(
        {
            "log2_fc": effect[:, j],
            "log2_fc_others": mean,
            "difference": effect[:, j] - mean,
            "se": np.sqrt(whole),
            "df": freedom,
            "n_others": n,
        }
    )


def _shrink(part: pd.DataFrame, null_weight: float) -> pd.DataFrame:
    if part.empty:
        return part.assign(shrunken=np.nan, shrunken_sd=np.nan, lfsr=np.nan, s_value=np.nan)
    difference, se = part["difference"].to_numpy(), part["se"].to_numpy()
    shrunk = adaptive_shrinkage(
        difference, _normal_error(difference, se, part["df"].to_numpy()), null_weight=null_weight
    )
    order = np.argsort(shrunk.lfsr, kind="stable")
    s_value = np.empty(len(part))
    s_value[order] = np.cumsum(shrunk.lfsr[order]) / np.arange(1, len(part) + 1)
    return part.assign(
        shrunken=shrunk.mean, shrunken_sd=shrunk.sd, lfsr=shrunk.lfsr, s_value=s_value
    )


def _normal_error(difference: Floats, se: Floats, df: Floats) -> Floats:
    """Return errors for which normal tests give the p-values of t-tests."""
    t = np.abs(difference) / se
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(np.isinf(df), scipy_stats.norm.logsf(t), scipy_stats.t.logsf(t, df))
        z = -scipy_stats.norm.ppf(np.exp(log_p))
        # Near zero both agree; far out the tail probability underflows.
        ratio = np.where((t > 1e-3) & (log_p > -600) & (z > 0), t / z, 1.0)
        ratio = np.where(log_p <= -600, t / np.sqrt(-2 * log_p), ratio)
    return se * np.maximum(ratio, 1.0)
