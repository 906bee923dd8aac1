"""Response of samples, lines and lineages by one score."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import optimize
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._checks import check_confidence
from nkscore._samples._left_out import LEFT_OUT, confounded_lines
from nkscore._samples._samples import WELL, Samples, arms, compartment_samples, control_of, labels
from nkscore.errors import DesignError, MissingKeyError
from nkscore.stats import (
    fit_linear,
    interval,
    moderated_test,
    placed_behind,
    response_design,
    with_interval,
    with_q_values,
)
from nkscore.tl._response._cell_values import cell_values, require_finite

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Bools, Floats, Ints, Labels, Level
    from nkscore.stats import Design, LinearFit

_DESCRIBED = (schema.TUMOR, schema.LINEAGE, schema.NK_DONOR, schema.CONDITION)


def response_score(
    adata: AnnData,
    score: str,
    *,
    level: str = "tumor",
    compartment: str | None = schema.TUMOR_CELLS,
    treated: Level = schema.COCULTURE,
    control: Level | None = None,
    by: str = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    key: str = schema.SCORES,
    min_cells: int = 10,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Summarize a score per sample, its change per line, or the difference between lineages.

    Reads ``obs["sample"]``, ``obs["compartment"]``, ``obs["qc_pass"]``, the score and the columns
    named by the options. Samples are the replicates of a line, lines those of a lineage.

    Parameters
    ----------
    adata
        Cells × genes.
    score
        Column of ``obsm[key]`` (for example a core response from :func:`nkscore.tl.score`), numeric
        column of ``obs``, or gene of ``X``.
    level
        ``"sample"``, ``"tumor"`` (the levels of ``by``) or ``"lineage"``.
    compartment
        ``"tumor"``, ``"nk"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    treated, control
        Levels of ``obs[condition]``; ``control`` is by default the monoculture of the compartment,
        and must be named for another ``condition``.
    by
        Column of the lines.
    replicate
        Column of the replicates; those in both arms of a line are matched. Samples that are one
        well, or wells of one replicate, line and condition, are averaged as one, except with
        ``level="sample"``.
    condition
        Column of the arms.
    key
        Key of ``obsm`` with the scores.
    min_cells
        Samples with fewer cells are excluded.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    For ``"sample"`` one row per sample: ``sample``, ``tumor``, ``lineage``, ``nk_donor``,
    ``condition`` (if ``obs`` has them), ``mean`` (unit of the score), ``sd`` (of cells), ``se``,
    ``ci_low``, ``ci_high`` (of the mean, over cells of the sample), ``n_cells``.

    For ``"tumor"`` one row per line: ``tumor``, ``lineage`` (if known), ``change``, ``se``,
    ``ci_low``, ``ci_high``, ``t``, ``df``, ``p_value``, ``q_value`` (Benjamini-Hochberg over
    lines), ``mean_treated``, ``mean_control``, ``n_samples_treated``, ``n_samples_control``.

    For ``"lineage"`` one row per pair: ``lineage``, ``other``, ``difference`` (of the mean change
    of their lines), ``se``, ``ci_low``, ``ci_high``, ``t``, ``df``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over pairs), ``p_overall`` (analysis of variance over all lineages),
    ``mean_change``, ``mean_change_other``, ``n_lines``, ``n_lines_other``.

    ``p_value`` is that of ``t`` with ``df`` degrees of freedom. For lines and lineages,
    ``attrs["left_out"]`` lists the samples and lines without a row, each with ``what``, ``name``
    and ``reason``.

    Raises
    ------
    DesignError
        If an arm is empty, there is no replicate, a line has several lineages, or (``"lineage"``)
        no lineage has two lines.
    MissingKeyError
        If the score or a column is absent.
    WrongScaleError
        If the score is NaN in a cell.
    ValueError
        If ``level`` is unknown, or ``confidence`` is not between 0 and 1.

    Notes
    -----
    Lines: one linear model of the sample means over all lines, with weights from the sampling
    variance of the cells plus a common variance between samples. Lineages: differences of mean
    changes with a common spread between lines of a lineage, which is valid for any sampling error
    of the lines.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.score(adata, "DUFVA2023_CORE_NK_RESPONSE")
    >>> table = nk.tl.response_score(adata, "DUFVA2023_CORE_NK_RESPONSE")
    >>> bool((table["change"] > 0).all())
    True
    """
    if level not in ("sample", "tumor", "lineage"):
        msg = f"level is {level!r}; known: 'sample', 'tumor', 'lineage'."
        raise ValueError(msg)
    check_confidence(confidence)
    values = cell_values(adata, score, key)
    if level == "sample":
        columns = [
            c for c in dict.fromkeys([*_DESCRIBED, by, replicate, condition]) if c in adata.obs
        ]
        samples = compartment_samples(adata, compartment, columns=columns, min_cells=min_cells)
        return _per_sample(samples, values, confidence)
    control = control_of(compartment, condition=condition, control=control)
    columns = [by, replicate, condition]
    samples = compartment_samples(
        adata, compartment, columns=columns, min_cells=min_cells, replicate=replicate
    )
    samples = arms(samples, treated=treated, control=control, by=by, column=condition)
    table = _per_line(samples, values, by=by, replicate=replicate, confidence=confidence)
    excluded = table.attrs[LEFT_OUT]
    if schema.LINEAGE in adata.obs and by != schema.LINEAGE:
        lineage = table["tumor"].map(_lineages(adata.obs, by))
        table = placed_behind(table, "tumor", lineage=lineage)
    if level != "tumor":
        table = _per_lineage(table, confidence)
    table.attrs[LEFT_OUT] = excluded
    return table


def _lineages(obs: pd.DataFrame, by: str) -> dict[str, str]:
    """Return the lineage of each line, if known."""
    pairs = obs[[by, schema.LINEAGE]].dropna().astype(str).drop_duplicates()
    repeated = pairs[by].duplicated()
    if repeated.any():
        msg = (
            f"{by} {pairs.loc[repeated, by].iloc[0]!r} has several values of obs['lineage']. Give "
            "each line one."
        )
        raise DesignError(msg)
    return dict(zip(pairs[by], pairs[schema.LINEAGE], strict=True))


def _per_sample(samples: Samples, values: Floats, confidence: float) -> pd.DataFrame:
    mean, variance, n = _means(samples, values)
    table = samples.table.drop(columns=["n_cells", WELL])
    se = np.sqrt(variance / n)
    low, high = interval(mean, se, np.maximum(n - 1, 1), confidence)
    return table.assign(
        mean=mean,
        sd=np.sqrt(variance),
        se=se,
        ci_low=low,
        ci_high=high,
        n_cells=n,
    )


def _means(samples: Samples, values: Floats) -> tuple[Floats, Floats, Ints]:
    """Return mean, variance of cells (NaN for one cell) and number of cells of each sample."""
    inside = samples.codes >= 0
    code, y = samples.codes[inside], values[inside]
    require_finite(y)
    size = len(samples.table)
    n = np.bincount(code, minlength=size)
    mean = np.bincount(code, weights=y, minlength=size) / n
    squares = np.bincount(code, weights=(y - mean[code]) ** 2, minlength=size)
    return mean, np.where(n > 1, squares / np.maximum(n - 1, 1), np.nan), n


def _per_line(
    samples: Samples, values: Floats, *, by: str, replicate: str, confidence: float
) -> pd.DataFrame:
    group, treated = labels(samples.table, by), samples.table["treated"].to_numpy()
    design = response_design(
        treated, group, labels(samples.table, WELL if replicate == schema.SAMPLE else replicate)
    )
    mean, variance, n = _means(samples, values)
    typical = np.nanmean(variance) if np.isfinite(variance).any() else 0.0
    # Without any spread there is no evidence, rather than infinite evidence.
    flat = np.ptp(mean) <= 1e-12 * np.abs(mean).max()
    weights = np.ones_like(mean)
    if not flat:
        weights = _precision(mean, np.where(n > 1, variance, typical) / n, design.matrix)
    fit = fit_linear(mean[None], design.matrix, weights[None])
    table = _line_effects(fit, design, mean, group=group, treated=treated)
    if flat:
        table[["change", "se", "t"]] = 0.0
    tested = _tested(table, "change", confidence)
    tested.attrs[LEFT_OUT] = [*samples.left_out, *confounded_lines(design)]
    return tested


def _line_effects(
    fit: LinearFit, design: Design, mean: Floats, *, group: Labels, treated: Bools
) -> pd.DataFrame:
    rows = []
    for name, column in design.effects.items():
        test = moderated_test(fit, column, min_variance=1.0)
        low = ~treated & np.array([g == name or g is None for g in group])
        high = treated & np.array([g == name for g in group])
        rows.append(
            {
                "tumor": name,
                "change": test.effect[0],
                "se": test.standard_error[0],
                "t": test.t[0],
                "df": float(fit.df_residual[0]),
                "mean_treated": mean[high].mean(),
                "mean_control": mean[low].mean(),
                "n_samples_treated": int(high.sum()),
                "n_samples_control": int(low.sum()),
            }
        )
    return pd.DataFrame(rows).sort_values("tumor", ignore_index=True)


def _precision(mean: Floats, sampling: Floats, design: Floats) -> Floats:
    """Return weights from the sampling variance plus the residual variance between samples."""
    scale = max(float(np.var(mean)), 1e-300)
    sampling = np.maximum(sampling, 1e-9 * scale)

    def excess(between: float) -> float:
        fit = fit_linear(mean[None], design, 1 / (sampling + between)[None])
        return float(fit.variance[0]) - 1.0

    if excess(0.0) <= 0:
        return 1 / sampling
    return 1 / (sampling + optimize.brentq(excess, 0.0, 1e3 * scale, xtol=1e-12 * scale))


def _tested(table: pd.DataFrame, effect: str, confidence: float) -> pd.DataFrame:
    p = 2 * scipy_stats.t.sf(np.abs(table["t"]), table["df"])
    table = with_interval(table, effect, table["df"], confidence)
    return with_q_values(placed_behind(table, "df", p_value=p))


def _of_lineages(table: pd.DataFrame) -> dict[str, Any]:
    """Return the changes of the lines of each lineage."""
    if "lineage" not in table or table["lineage"].notna().sum() == 0:
        msg = "No line has a lineage. Fill obs['lineage'], or compare lines (level='tumor')."
        raise MissingKeyError(msg)
    known = table[table["lineage"].notna()]
    groups = {str(name): part["change"].to_numpy() for name, part in known.groupby("lineage")}
    if len(groups) < 2 or len(known) == len(groups):
        sizes = ", ".join(f"{name} {len(v)}" for name, v in groups.items())
        msg = (
            f"Lines per lineage: {sizes}. Two lineages are needed, one of them with at "
            "least two lines, because lines are the replicates of a lineage. Add lines, "
            "or use level='tumor'."
        )
        raise DesignError(msg)
    return groups


def _per_lineage(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    groups = _of_lineages(table)
    change = table.loc[table["lineage"].notna(), "change"]
    df = len(change) - len(groups)
    within = sum(float(((v - v.mean()) ** 2).sum()) for v in groups.values())
    variance, total = within / df, float(((change - change.mean()) ** 2).sum())
    rows = []
    for a, b in combinations(sorted(groups), 2):
        x, y = groups[a], groups[b]
        se = np.sqrt(variance * (1 / len(x) + 1 / len(y)))
        difference = x.mean() - y.mean()
        rows.append(
            {
                "lineage": a,
                "other": b,
                "difference": difference,
                "se": se,
                "t": difference / se if se > 0 else 0.0,
                "df": float(df),
                "mean_change": x.mean(),
                "mean_change_other": y.mean(),
                "n_lines": len(x),
                "n_lines_other": len(y),
            }
        )
    result = _tested(pd.DataFrame(rows), "difference", confidence)
    ratio = (total - within) / (len(groups) - 1) / variance if variance > 0 else 0.0
    result["p_overall"] = float(scipy_stats.f.sf(ratio, len(groups) - 1, df))
    return result
