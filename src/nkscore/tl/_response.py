"""What the interaction changed in expression: samples as replicates, variance shared by lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._samples import Samples, arms, compartment_samples, labels
from nkscore.errors import DesignError
from nkscore.stats import (
    detected_fraction,
    fit_linear,
    group_sums,
    moderated_test,
    response_design,
    tmm_factors,
    voom,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore.stats import Design

_LOG = logging.getLogger("nkscore")
_CONTROL = {schema.NK: schema.NK_MONO, schema.TUMOR_CELLS: schema.TUMOR_MONO}


def interaction_response(
    adata: AnnData,
    compartment: str | None = schema.TUMOR_CELLS,
    *,
    treated: str = schema.COCULTURE,
    control: str | None = None,
    by: str = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    covariates: Sequence[str] = (),
    min_cells: int = 10,
    min_count: int = 10,
    variance_trend: bool = True,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test each gene of each line for a change between two conditions.

    Counts are summed per sample; all lines enter one linear model on log2 counts per million with
    voom weights, so that lines with a single monoculture share the variance of the others. Samples
    (donors, wells) are the replicates, never cells.

    Reads ``layers["counts"]``, ``obs["sample"]``, ``obs["compartment"]``, ``obs["qc_pass"]`` and
    the columns named by the options.

    Parameters
    ----------
    adata
        Cells × genes.
    compartment
        ``"tumor"``, ``"nk"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    treated, control
        Levels of ``obs[condition]``; ``control`` is by default the monoculture of the compartment.
    by
        Column whose levels get an effect of their own (lines). Controls without a level, as
        monoculture NK cells, are shared by all.
    replicate
        Column of the replicates. Where they occur in both arms of a line they are matched.
    condition
        Column that holds the arms.
    covariates
        Further columns of ``obs``, constant within samples, for example ``["lane"]`` of samples
        that were each measured in one lane.
    min_cells
        Samples with fewer cells are left out.
    min_count
        A gene is tested in a line if it has about this many counts (relative to the median sample)
        in as many samples as the line's smaller arm has, and 1.5 × as many in all its samples.
    variance_trend
        Whether the shared variance may depend on mean expression (limma's ``eBayes(trend=TRUE)``);
        without it, voom's weights alone carry the trend, and highly expressed genes get p-values
        that are too small where samples differ biologically.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per tested line × gene, sorted by line and p-value, with columns ``tumor`` (the level of
    ``by``), ``gene``, ``log2_fc``, ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg within the line), ``mean_log2_cpm``, ``pct_treated``, ``pct_control``
    (percent of cells with a count), ``n_cells_treated``, ``n_cells_control``,
    ``n_samples_treated``, ``n_samples_control``, ``df_residual`` (of the gene), and ``lineage``
    where ``obs`` has it.

    Raises
    ------
    DesignError
        If the samples cannot answer: an arm is empty, no replicate anywhere, donors that coincide
        with the treatment, a constant covariate.
    MissingKeyError
        If a column or the counts are absent.
    WrongScaleError
        If ``layers["counts"]`` is not counts.

    Notes
    -----
    Law et al. 2014, doi 10.1186/gb-2014-15-2-r29; Smyth 2004, doi 10.2202/1544-6115.1027. A line
    in which a gene is not tested does not lend that gene's zeros to the shared variance.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.interaction_response(adata, "tumor")
    >>> bool((table.loc[table["gene"] == "STAT1", "log2_fc"] > 0).all())
    True
    """
    schema.check_input(adata)
    control = control or _CONTROL.get(str(compartment), schema.TUMOR_MONO)
    columns = [by, replicate, condition, *covariates]
    samples = compartment_samples(adata, compartment, columns=columns, min_cells=min_cells)
    samples = arms(samples, treated=treated, control=control, by=by, column=condition)
    design = response_design(
        samples.table["treated"].to_numpy(),
        labels(samples.table, by),
        labels(samples.table, replicate),
        covariates={name: list(samples.table[name]) for name in covariates},
    )
    if design.confounded:
        _LOG.warning("Treatment cannot be told apart, left out: %s", ", ".join(design.confounded))
    counts = group_sums(adata.layers[schema.COUNTS], samples.codes, len(samples.table))
    table = _fit(
        adata, counts, samples, design=design, by=by, min_count=min_count, trend=variance_trend
    )
    margin = scipy_stats.t.ppf(0.5 + confidence / 2, table.pop("df_total")) * table["se"]
    table.insert(4, "ci_low", table["log2_fc"] - margin)
    table.insert(5, "ci_high", table["log2_fc"] + margin)
    table = _percent_detected(table, adata, samples, by=by)
    return (
        _with_lineage(table, adata, by)
        .sort_values(["tumor", "p_value", "gene"])
        .reset_index(drop=True)
    )


def _fit(
    adata: AnnData,
    counts: Any,
    samples: Samples,
    *,
    design: Design,
    by: str,
    min_count: int,
    trend: bool,
) -> pd.DataFrame:
    group = labels(samples.table, by)
    treated = samples.table["treated"].to_numpy()
    library = counts.sum(axis=1)
    if (library == 0).any():
        empty = samples.table.loc[library == 0, schema.SAMPLE].iloc[0]
        msg = f"Sample {empty!r} has cells without any count. Run pp.qc and pp.keep first."
        raise DesignError(msg)
    members = {name: _line_members(group, treated, name) for name in design.effects}
    tested = {
        name: _expressed(counts[rows], library[rows], treated[rows], min_count=min_count)
        for name, rows in members.items()
    }
    kept = np.any(list(tested.values()), axis=0)
    if not kept.any():
        msg = "No gene has enough counts in any line. Lower min_count or pool more cells."
        raise DesignError(msg)
    used = np.zeros((int(kept.sum()), len(group)), dtype=bool)
    for name, rows in members.items():
        used[:, rows] |= tested[name][kept][:, None]
    effective = library * tmm_factors(counts[:, kept], library)
    y, weights = voom(counts[:, kept].T, design.matrix, effective, used=used)
    fit = fit_linear(y, design.matrix, weights)
    # Weights bend the trend of the variances but rarely make it flat at high expression, where a
    # common prior would then be too small.
    level = np.where(used, y, 0).sum(axis=1) / used.sum(axis=1) if trend else None
    genes = adata.var_names[kept].astype(str)
    parts = []
    for name, column in design.effects.items():
        rows = members[name]
        test = moderated_test(fit, column, covariate=level)
        part = pd.DataFrame(
            {
                "tumor": name,
                "gene": genes,
                "log2_fc": test.effect,
                "se": test.standard_error,
                "t": test.t,
                "p_value": test.p_value,
                "mean_log2_cpm": y[:, rows].mean(axis=1),
                "n_samples_treated": int(treated[rows].sum()),
                "n_samples_control": int((~treated[rows]).sum()),
                "df_residual": fit.df_residual,
                "df_total": test.df,
            }
        )
        part = part[tested[name][kept] & np.isfinite(test.p_value)]
        q = scipy_stats.false_discovery_control(part["p_value"]) if len(part) else []
        part.insert(6, "q_value", q)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _line_members(group: Any, treated: Any, name: str) -> Any:
    """Return the samples of a line and the controls that belong to no line."""
    return np.flatnonzero((group == name) | (~treated & np.array([g is None for g in group])))


def _expressed(counts: Any, library: Any, treated: Any, *, min_count: int) -> Any:
    cutoff = min_count / np.median(library)
    smaller_arm = max(1, min(int(treated.sum()), int((~treated).sum())))
    enough = (counts / library[:, None] >= cutoff).sum(axis=0) >= smaller_arm
    return enough & (counts.sum(axis=0) >= 1.5 * min_count)


def _percent_detected(
    table: pd.DataFrame, adata: AnnData, samples: Samples, *, by: str
) -> pd.DataFrame:
    group, treated = labels(samples.table, by), samples.table["treated"].to_numpy()
    keys = sorted({(bool(t), str(g)) for t, g in zip(treated, group, strict=True)})
    arm_of_sample = np.array(
        [keys.index((bool(t), str(g))) for t, g in zip(treated, group, strict=True)]
    )
    codes = np.where(samples.codes >= 0, arm_of_sample[samples.codes], -1)
    share = detected_fraction(adata.layers[schema.COUNTS], codes, len(keys))
    n_cells = np.bincount(codes[codes >= 0], minlength=len(keys))
    shared_control = (False, "None") in keys
    gene = adata.var_names.get_indexer(table["gene"])
    for arm, name in ((True, "treated"), (False, "control")):
        row = [
            keys.index((arm, "None" if shared_control and not arm else line))
            for line in table["tumor"]
        ]
        table[f"pct_{name}"] = 100 * share[row, gene]
        table[f"n_cells_{name}"] = n_cells[row]
    return table


def _with_lineage(table: pd.DataFrame, adata: AnnData, by: str) -> pd.DataFrame:
    if by == schema.TUMOR and schema.LINEAGE in adata.obs:
        known = adata.obs[[by, schema.LINEAGE]].dropna().astype(str).drop_duplicates(by)
        lineage = dict(zip(known[by], known[schema.LINEAGE], strict=True))
        table["lineage"] = table["tumor"].map(lineage)
    return table
