"""Apparently induced genes that may be ambient RNA of the lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from nkscore import schema, signatures
from nkscore._checks import check_columns, check_no_text, check_shares, names_of, no_longer
from nkscore._samples._samples import Samples, arms, compartment_samples, labels
from nkscore.errors import DesignError, MissingKeyError
from nkscore.stats import adjusted_p, remaining_effect
from nkscore.tl._response._ambient_counts import AmbientCounts, ambient_counts
from nkscore.tl._response._ambient_levels import from_nk_cells

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData

    from nkscore._types import Bools, Floats, Ints

_CALLED = 0.05
_LN2 = float(np.log(2))
_MEASURED = (
    "ambient_share",
    "log2_fc_adjusted",
    "se_adjusted",
    "se_ambient",
    "p_value_adjusted",
)


@no_longer(least_lost="Use min_lost.")
def flag_ambient(
    responses: pd.DataFrame,
    *,
    adata: AnnData | None = None,
    compartment: str = schema.TUMOR_CELLS,
    nk_genes: str | Iterable[str] | None = None,
    treated: str = schema.COCULTURE,
    control: str | None = None,
    min_cells: int = 10,
    alpha: float = 0.01,
    min_lost: float = 0.25,
) -> pd.DataFrame:
    """Mark genes of a response that may be explained by ambient RNA.

    Tumor cells in co-culture contain ambient transcripts of all cells in their lane, so genes of NK
    cells look induced in every line. With ``adata`` the expected ambient counts (from
    :func:`nkscore.pp.ambient`) are subtracted from the sums of each sample, in both arms, and the
    effect is tested again with the error of that expectation: a gene is suspect if its effect
    disappears. NK cells in turn contain ambient RNA of tumor cells. Without counts, as for
    published tables of tumor cells, upregulated genes are marked that only NK cells express, or
    that NK cells express and the line alone lacks.

    Reads ``layers["counts"]``, ``varm["ambient_soup"]``, ``uns["nkscore"]["pp.ambient"]`` and the
    columns ``sample``, ``lane``, ``tumor``, ``condition``, ``compartment`` and ``qc_pass`` of
    ``obs``.

    Parameters
    ----------
    responses
        Table with columns ``gene`` and ``log2_fc`` (or Seurat's ``avg_log2FC``); with ``adata``
        also ``tumor``, ``se`` and ``p_value``, as from :func:`nkscore.tl.interaction_response`.
    adata
        Cells × genes, from which the responses were computed, after ``pp.ambient``.
    compartment
        Compartment of the table: ``"tumor"``, or ``"nk"`` (only with ``adata``).
    nk_genes
        NK-exclusive genes to mark without counts, and no others; by default ``NK_EXCLUSIVE`` and
        ``NK_SHARED`` of the catalog (some tumors also express genes of the latter) and, if the
        table has levels of both arms (``pct_treated`` and ``pct_control``, Seurat's ``pct.1`` and
        ``pct.2``, or ``mean_log2_cpm`` with ``log2_fc``), genes whose rise is explained by their
        level in NK cells (see Notes).
    treated, control
        Conditions that the table compares; ``control`` is by default the monoculture of the
        compartment.
    min_cells
        Samples with fewer cells of the compartment are excluded, as in the response.
    alpha
        An effect remains if ``p_value_adjusted`` is below this, 0 to 1.
    min_lost
        A gene is suspect only if it loses this share of its evidence (the p-value as a normal
        deviate), 0 to 1, so that weak effects are not marked just because they are weak.

    Returns
    -------
    A copy of the table with the boolean column ``ambient_suspect`` and, with ``adata``,
    ``ambient_share`` (expected ambient counts over counts in the treated samples of the line, 0 to
    1, NaN without counts), ``log2_fc_adjusted`` (the remaining effect), ``se_adjusted`` (its
    standard error: that of the effect, and of the subtraction), ``se_ambient`` (the part of it from
    the expected ambient counts, which lines of the same lanes share) and ``p_value_adjusted``
    (two-sided, for the remaining effect; never below ``p_value``). Give all rows to
    :func:`nkscore.tl.core_response`, which pools the remaining effects. Genes with a
    ``p_value`` below 0.05 are suspect if their remaining effect is not significant or changes sign.
    A flag is a warning, not proof; a gene that is not tested (NaN) is not marked.

    Raises
    ------
    MissingKeyError
        If a column is absent, or ``pp.ambient`` was not run on ``adata``.
    DesignError
        If no line of the table has samples of both conditions.
    GeneCoverageError
        If gene names of ``adata`` are repeated.
    ValueError
        If ``compartment`` is unknown, or ``"nk"`` without ``adata``; if a number is out of its
        range.

    Notes
    -----
    If monocultures share a lane with other lines, their ambient share is estimated, too, from genes
    of those lines that the line's own co-cultures do not express. The deviation of the soup from
    the profile of ``pp.ambient`` is estimated from genes that the line alone lacks (at least 5 %).
    Published tables get only a flag, because they do not show how much is ambient. With levels of
    both arms, a gene is marked if the line alone lacks it (at most 5 % of cells or 10 counts per
    million), it at least doubles (p below 0.05, if given), and its rise is at most 16 times the
    one expected from its level in blood NK cells, scaled to the rise of the NK-exclusive genes.
    Genes that NK cells express and the line induces from nothing (GBP2, GBP5) cannot be
    distinguished without counts. In NK cells the share is estimated from genes of the soup that NK
    cells of lanes without tumor cells lack. If all NK monocultures share their lanes with tumor
    cells, ambient tumor RNA is in both arms, and nothing is subtracted.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"gene": ["GNLY", "HLA-B"], "log2_fc": [1.2, 0.5]})
    >>> nk.tl.flag_ambient(table)["ambient_suspect"].tolist()
    [True, False]
    """
    check_shares(alpha=alpha, min_lost=min_lost)
    if compartment not in (schema.NK, schema.TUMOR_CELLS) or (
        compartment == schema.NK and adata is None
    ):
        msg = (
            f"compartment is {compartment!r}{'' if adata is not None else ' without adata'}; "
            "'tumor', or 'nk' with adata, is needed: no gene list identifies ambient "
            "tumor RNA in NK cells."
        )
        raise ValueError(msg)
    effect = next((c for c in ("log2_fc", "avg_log2FC") if c in responses), None)
    needed = {"gene"} | ({"tumor", "se", "p_value"} if adata is not None else set())
    if effect is None or not needed <= set(responses.columns):
        msg = (
            f"The table has columns {', '.join(map(str, responses.columns))}; "
            f"{', '.join(sorted(needed))} and 'log2_fc' (or Seurat's 'avg_log2FC') are "
            "needed. Rename the columns."
        )
        raise MissingKeyError(msg)
    check_columns(responses, [*needed, effect], "")
    check_no_text(responses, {effect} | (needed - {"gene", "tumor"}))
    if adata is None:
        return responses.assign(ambient_suspect=_without_counts(responses, effect, nk_genes))
    schema.check_var_names(adata)
    samples = compartment_samples(
        adata,
        compartment,
        columns=[schema.LANE, schema.TUMOR, schema.CONDITION],
        min_cells=min_cells,
        split=[schema.LANE],
    )
    alone = schema.NK_MONO if compartment == schema.NK else schema.TUMOR_MONO
    samples = arms(samples, treated=treated, control=control or alone, by=schema.TUMOR)
    gene = adata.var_names.get_indexer(responses["gene"])
    found = ambient_counts(adata, samples, compartment=compartment)
    measured = _measured(responses, found, samples, gene=gene)
    before = responses[effect].to_numpy(dtype=float)
    after, p = measured["log2_fc_adjusted"], measured["p_value_adjusted"]
    raw = responses["p_value"].to_numpy(dtype=float)
    with np.errstate(invalid="ignore"):
        falls = (p >= alpha) | (np.sign(after) == -np.sign(before))
        lost = norm.isf(p / 2) <= (1 - min_lost) * norm.isf(np.maximum(raw, 1e-300) / 2)
        suspect = (raw < _CALLED) & falls & lost
    return responses.assign(**measured, ambient_suspect=suspect)


def _without_counts(
    responses: pd.DataFrame, effect: str, nk_genes: str | Iterable[str] | None
) -> Bools:
    default = [*signatures.get("NK_EXCLUSIVE").up, *signatures.get("NK_SHARED").up]
    listed = names_of(default if nk_genes is None else nk_genes)
    rises = responses["gene"].isin(listed) & (responses[effect] > 0)
    suspect = rises.to_numpy(dtype=bool)
    explained = from_nk_cells(responses, effect) if nk_genes is None else None
    return suspect if explained is None else suspect | explained


def _measured(
    responses: pd.DataFrame, ambient: AmbientCounts, samples: Samples, *, gene: Ints
) -> dict[str, Floats]:
    """Return the three measured columns, NaN for lines and genes that the data lack."""
    columns = {name: np.full(len(responses), np.nan) for name in _MEASURED}
    table_lines = responses[schema.TUMOR].astype(str).to_numpy()
    lines, treated = labels(samples.table, schema.TUMOR), samples.table["treated"].to_numpy()
    shared = _shared(set(table_lines), {str(line) for line in lines if line is not None})
    of_all = np.array([line is None for line in lines]) & ~treated
    for line in shared:
        here, rows = (lines == line) | of_all, np.flatnonzero((table_lines == line) & (gene >= 0))
        counts, floating = ambient.counts[here], ambient.expected[here]
        of_line = responses.iloc[rows]
        variance = np.ones(counts.shape[1])
        variance[gene[rows]] = (_standard_error(of_line) * _LN2) ** 2
        left = remaining_effect(
            counts,
            floating,
            treated[here],
            log_variance=np.nan_to_num(variance, nan=1.0),
            error=ambient.error,
        )
        at = gene[rows]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = floating[treated[here]].sum(axis=0) / counts[treated[here]].sum(axis=0)
        effect = "log2_fc" if "log2_fc" in responses else "avg_log2FC"
        columns["ambient_share"][rows] = np.minimum(share, 1.0)[at]
        columns["log2_fc_adjusted"][rows] = of_line[effect].to_numpy(float) + left.shift[at]
        own_error = of_line["se"].to_numpy(dtype=float)
        columns["se_adjusted"][rows] = np.hypot(own_error, left.added_error[at])
        columns["se_ambient"][rows] = left.foreign_error[at]
        columns["p_value_adjusted"][rows] = adjusted_p(
            of_line["p_value"].to_numpy(dtype=float),
            left.evidence[at],
            left.evidence_before[at],
        )
    return columns


def _standard_error(table: pd.DataFrame) -> Floats:
    """Return the error of each effect, toward zero if its likelihood is skewed.

    If an arm has almost no counts, ``se`` (the error at the estimate) is much larger than the error
    that ``p_value`` implies for the distance from zero.
    """
    error = table["se"].to_numpy(dtype=float)
    effect = np.abs(table["log2_fc" if "log2_fc" in table else "avg_log2FC"].to_numpy(dtype=float))
    evidence = norm.isf(np.maximum(table["p_value"].to_numpy(dtype=float), 1e-300) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(evidence > 1, np.fmin(error, effect / evidence), error)


def _shared(listed: set[str], sampled: set[str]) -> list[str]:
    """Return the lines of the table that have samples."""
    if not listed & sampled:
        msg = (
            f"The table is about {', '.join(sorted(listed)) or 'no line'}; adata has samples of "
            f"both conditions for {', '.join(sorted(sampled))}. Give the object from which the "
            "responses were computed."
        )
        raise DesignError(msg)
    return sorted(listed & sampled)
