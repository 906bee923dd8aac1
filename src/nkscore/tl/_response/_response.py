"""Expression changes by the interaction: samples as replicates, variance shared by lines."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_confidence, check_names
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import labels
from nkscore._warn import warn
from nkscore.errors import DesignError
from nkscore.stats import (
    expressed_genes,
    fit_count_response,
    fit_deseq2,
    fit_response,
    joint_factors,
    line_factors,
    log_cpm,
    log_moments,
    tmm_factors,
    welch_test,
    with_interval,
    with_q_values,
)
from nkscore.tl._response._response_inputs import (
    ResponseInputs,
    note_response,
    response_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Floats

_LOG = logging.getLogger("nkscore")
_METHODS: Final = ("quasi_likelihood", "voom", "welch_t", "pydeseq2")
_NORMALIZATIONS: Final = ("line", "joint", "tmm")


def interaction_response(
    adata: AnnData,
    compartment: str | None = schema.TUMOR_CELLS,
    *,
    treated: str | float = schema.COCULTURE,
    control: str | float | None = None,
    by: str = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    covariates: Sequence[str] = (),
    method: Literal["quasi_likelihood", "voom", "welch_t", "pydeseq2"] = "quasi_likelihood",
    normalization: Literal["line", "joint", "tmm"] = "line",
    min_log2_fc: float = 0.0,
    min_cells: int = 10,
    min_count: int = 10,
    variance_trend: bool = True,
    robust: bool = True,
    line_variance: bool = True,
    overdispersion: bool = True,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test each gene of each line for a change between two conditions.

    Counts are summed per sample; all lines enter one quasi-likelihood model of negative binomial
    counts, so lines with a single monoculture share the variance of the others. Samples
    (donors, wells) are the replicates, never cells. Any column of ``obs`` can hold the arms: times,
    media, knock-outs.

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
        Numbers are compared as numbers (24 is 24.0 hours).
    by
        Column whose levels get separate effects (lines). Controls without a level, like monoculture
        NK cells, are shared by all. If it varies within samples (cell types), each sample is
        divided.
    replicate
        Column of the replicates. Replicates in both arms of a line are matched. Samples that agree
        in replicate, line, arm and covariates are summed and count once, and so are parts of one
        well without a replicate (see ``docs/sample_sheet.md``).
    condition
        Column of the arms. If it varies within samples (guides of pooled knock-outs), each sample
        is divided; ``replicate="sample"`` then compares cells of the same well (or of wells of one
        NK donor, line, condition and time).
    covariates
        Further columns of ``obs``, constant within samples, for example ``["lane"]`` if each sample
        was measured in one lane.
    method
        ``"quasi_likelihood"`` models counts, so the arms can differ in depth. ``"voom"`` is limma's
        linear model of log counts, equal to R with ``normalization="tmm"``; it is less reliable
        where one arm is shallow. ``"pydeseq2"`` fits the same sums by negative binomial regression.
        ``"welch_t"`` is the test between cells of the reference study, exactly as in Seurat 4: it
        treats cells of one donor as independent, so its p-values are much too small. Use it only
        for comparison with published tables.
    normalization
        How the depth of samples is compared, for ``"quasi_likelihood"`` and ``"voom"``. ``"line"``:
        within each line and its controls, on the genes that differ least between the arms. The
        effects of this function compare samples of one line only, so they need no scale common to
        all lines; if the arms are lines themselves (``condition="tumor"``), the genes are those
        that both express. ``"joint"``: the same over all lines at once, on genes that all express.
        ``"tmm"``: edgeR's factors over all lines, which turn depth into response if the arms differ
        in depth.
    min_log2_fc
        Smallest relevant change: tests whether the change is larger (``treat`` of limma), not
        whether there is any; for example ``np.log2(1.2)``. Not for ``"welch_t"``.
    min_cells
        Samples with fewer cells are excluded.
    min_count
        A gene is tested in a line if it has on average half as many counts per sample (at least 1.5
        × as many in total), and a count in as many samples as the smaller arm has; or if this holds
        without the samples of fewest cells. Lowering ``min_cells`` can thus add genes but not
        remove them. A gene without a count in a line is never tested in that line.
    variance_trend
        Whether the shared variance can depend on mean expression (limma's ``eBayes(trend=TRUE)``).
        Without it only the weights model the trend, and highly expressed genes get p-values that
        are too small if samples differ biologically.
    robust
        Whether genes that vary much more between samples than others at their expression keep their
        own variance (limma's ``eBayes(robust=TRUE)``).
    line_variance
        Whether a gene can vary more between samples of one line than of others. The variance in a
        line is then shrunken toward the one expected from the other lines and genes, by as much as
        lines agree in the data; without it, all lines have the variance of limma's model. Lines
        that share their controls (NK cells) always have one variance.
    overdispersion
        Whether genes whose counts vary more between cells of a sample than those of other genes at
        their expression are expected to vary more between samples, too, as estimated from the data.
        The sums of genes of rare cell states come from few cells, and would otherwise be called by
        chance. With ``"quasi_likelihood"``, errors are never smaller than drawing other cells of
        the same samples allows.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per tested line × gene, sorted by line and p-value, with columns ``tumor`` (the level of
    ``by``), ``gene``, ``log2_fc``, ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over the whole table: on average 5 % of the calls at 0.05 over all lines are
    false), ``q_value_line`` (within the line), ``mean_log2_cpm``, ``pct_treated``, ``pct_control``
    (percent of cells with a count), ``n_cells_treated``, ``n_cells_control``,
    ``n_samples_treated``, ``n_samples_control``, ``df_residual`` (of the gene), ``df_total`` (plus
    those of the shared variance: ``p_value`` is that of ``t`` with ``df_total`` degrees of
    freedom), ``donor_aware`` (false for ``"welch_t"``), ``lineage`` if ``obs`` has it, and
    ``p_value_bonferroni`` for ``"welch_t"`` (Seurat's ``p_val_adj``: p-value × all genes).
    ``attrs["design"]`` says in words which questions the samples can answer. ``attrs["left_out"]``
    lists the samples and lines without a row, each with ``what``, ``name`` and ``reason``.

    Raises
    ------
    DesignError
        If the samples allow no answer: an arm is empty, there is no replicate, donors are
        confounded with the treatment, or a covariate is constant.
    ValueError
        If ``method`` is unknown or a number is out of range.
    MissingKeyError
        If a column or the counts are absent.
    WrongScaleError
        If ``layers["counts"]`` is not counts.

    Notes
    -----
    Chen et al. 2025 (edgeR 4), doi 10.1093/nar/gkaf018; Law et al. 2014, doi
    10.1186/gb-2014-15-2-r29; Smyth 2004, doi 10.2202/1544-6115.1027. With ``"quasi_likelihood"``,
    ``t`` is the signed root of the likelihood ratio and the interval is that of the profile
    likelihood. If an arm has almost no counts, both are more accurate than ``log2_fc / se``. If a
    gene is not tested in a line, its zeros in that line do not enter the shared variance; the same
    holds for an arm or replicate without a count, whose zeros agree by construction (edgeR's
    ``voomLmFit``).

    Warns with :class:`nkscore.errors.NkscoreWarning` for ``"welch_t"``.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.interaction_response(adata, "tumor")
    >>> bool((table.loc[table["gene"] == "STAT1", "log2_fc"] > 0).all())
    True
    """
    _check_names(method, normalization)
    _check_numbers(confidence=confidence, min_log2_fc=min_log2_fc, min_count=min_count)
    schema.check_var_names(adata)
    inputs = response_inputs(
        adata,
        compartment,
        treated=treated,
        control=control,
        by=by,
        replicate=replicate,
        condition=condition,
        covariates=covariates,
        min_cells=min_cells,
    )
    arms = _Arms(inputs, by)
    tested = _tested(inputs, min_count)
    remarks: tuple[str, ...] = ()
    if method in {"quasi_likelihood", "voom"}:
        effective, remarks = _library_sizes(inputs, normalization, tested)
        fit = _model(method, inputs, confidence, overdispersion=overdispersion)
        table = fit(
            inputs.sums.sums,
            inputs.design,
            tested=tested,
            effective=effective,
            min_log2_fc=min_log2_fc,
            variance_trend=variance_trend,
            robust=robust,
            line_variance=line_variance,
            overdispersion=inputs.overdispersion() if overdispersion else None,
        )
    elif method == "pydeseq2":
        table = fit_deseq2(inputs.sums.sums, inputs.design, tested=tested, min_log2_fc=min_log2_fc)
    else:
        table = _between_cells(adata, inputs, arms, tested=tested)
    attrs = {"design": " ".join([*inputs.remarks, *remarks]), LEFT_OUT: _without_row(inputs, table)}
    table = _named(_completed(table, arms, method, confidence), adata, by)
    table.attrs |= attrs
    return note_response(table, inputs, np.any(list(tested.values()), axis=0), by=by)


def _completed(table: pd.DataFrame, arms: _Arms, method: str, confidence: float) -> pd.DataFrame:
    table = _with_cells(_with_interval(table, confidence), arms)
    table["donor_aware"] = method != "welch_t"
    return table


def _check_names(method: str, normalization: str) -> None:
    check_names("method", [method], _METHODS)
    check_names("normalization", [normalization], _NORMALIZATIONS)


def _model(
    method: str, inputs: ResponseInputs, confidence: float, *, overdispersion: bool
) -> Callable[..., pd.DataFrame]:
    if method == "voom":
        return fit_response
    squares = inputs.sums.squares if overdispersion else None
    n_cells = inputs.samples.table["n_cells"].to_numpy(float)
    return partial(fit_count_response, n_cells=n_cells, cell_squares=squares, confidence=confidence)


def _check_numbers(*, confidence: float, min_log2_fc: float, min_count: float) -> None:
    check_confidence(confidence)
    for name, value in (("min_log2_fc", min_log2_fc), ("min_count", min_count)):
        if not 0 <= value < np.inf:
            msg = f"{name} is {value!r}; a number of at least 0 is needed."
            raise ValueError(msg)


class _Arms:
    """Cells of each arm of each line, pooled."""

    def __init__(self, inputs: ResponseInputs, by: str) -> None:
        treated, group = inputs.design.treated, labels(inputs.samples.table, by)
        names = [(bool(t), g) for t, g in zip(treated, group, strict=True)]
        self.keys = sorted(set(names), key=str)
        self.of_sample = np.array([self.keys.index(name) for name in names])
        member = np.eye(len(self.keys))[self.of_sample].T
        self.n_cells = (member @ inputs.samples.table["n_cells"].to_numpy(float)).astype(int)
        self.detected = member @ inputs.sums.cells
        self.codes = np.where(inputs.samples.codes >= 0, self.of_sample[inputs.samples.codes], -1)

    def number(self, name: str, *, treated: bool) -> int:
        """Return the arm of a line; controls without a line belong to all."""
        key = (treated, name)
        return self.keys.index(key if key in self.keys else (treated, None))


def _tested(inputs: ResponseInputs, min_count: int) -> dict[str, Bools]:
    counts = inputs.sums.sums
    tested = expressed_genes(
        counts,
        inputs.design,
        library=counts.sum(axis=1),
        min_count=min_count,
        n_cells=inputs.samples.table["n_cells"].to_numpy(float),
    )
    if not any(mask.any() for mask in tested.values()):
        msg = "No gene has enough counts in any line. Lower min_count or pool more cells."
        raise DesignError(msg)
    return tested


def _library_sizes(
    inputs: ResponseInputs, normalization: str, tested: dict[str, Bools]
) -> tuple[Floats, tuple[str, ...]]:
    counts = inputs.sums.sums
    library = counts.sum(axis=1)
    if normalization == "tmm":
        kept = np.any(list(tested.values()), axis=0)
        return library * tmm_factors(counts[:, kept], library), ()
    found = (line_factors if normalization == "line" else joint_factors)(
        counts, library, inputs.design
    )
    for remark in found.remarks:
        _LOG.warning(remark)
    return found.library, found.remarks


def _without_row(inputs: ResponseInputs, table: pd.DataFrame) -> list[LeftOut]:
    """Name samples and lines without a row, with the reason."""
    present = set(table["group"])
    lines = [name for name in inputs.design.effects if name not in present]
    reason = "no gene has enough counts (min_count)"
    return [*inputs.left_out, *left_out("line", lines, [reason] * len(lines))]


def _between_cells(
    adata: AnnData, inputs: ResponseInputs, arms: _Arms, *, tested: dict[str, Bools]
) -> pd.DataFrame:
    warn(
        "method='welch_t' uses cells as replicates: its p-values do not hold for other "
        "donors or wells. Use it only to compare with published tables."
    )
    design, counts = inputs.design, inputs.sums.sums
    matrix = counts_of(adata, check=False)
    moments = log_moments(matrix, arms.codes, len(arms.keys))
    level = log_cpm(counts, counts.sum(axis=1))
    parts = []
    for name, rows in design.members.items():
        pair = [arms.number(name, treated=side) for side in (True, False)]
        sizes = (int(arms.n_cells[pair[0]]), int(arms.n_cells[pair[1]]))
        if min(sizes) < 2:
            continue
        test = welch_test(moments[pair[0]], moments[pair[1]], n=sizes)
        part = pd.DataFrame(
            {
                "group": name,
                "gene": np.arange(matrix.shape[1]),
                "log2_fc": test.log2_fc,
                "se": test.se,
                "t": test.t,
                "p_value": test.p_value,
                "mean_log2_cpm": level[rows].mean(axis=0),
                "n_samples_treated": int(design.treated[rows].sum()),
                "n_samples_control": int((~design.treated[rows]).sum()),
                "df_residual": test.df,
                "df_total": np.inf,
                "p_value_bonferroni": np.minimum(test.p_value * matrix.shape[1], 1.0),
            }
        )
        parts.append(part[tested[name] & np.isfinite(test.p_value)])
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def _with_interval(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add the interval, unless it is that of a profile likelihood, and the q-values."""
    if "ci_low" not in table:
        table = with_interval(table, "log2_fc", table["df_total"], confidence)
    return with_q_values(with_q_values(table, q_value="q_value_line", by="group"))


def _with_cells(table: pd.DataFrame, arms: _Arms) -> pd.DataFrame:
    """Add percent of cells with a count and numbers of cells."""
    gene = table["gene"].to_numpy()
    for side, name in ((True, "treated"), (False, "control")):
        number = {line: arms.number(line, treated=side) for line in table["group"].unique()}
        row = table["group"].map(number).to_numpy(dtype=int)
        table[f"pct_{name}"] = 100 * arms.detected[row, gene] / arms.n_cells[row]
        table[f"n_cells_{name}"] = arms.n_cells[row]
    return table


def _named(table: pd.DataFrame, adata: AnnData, by: str) -> pd.DataFrame:
    """Name genes and lines, add lineages, and sort."""
    table = table.rename(columns={"group": "tumor"})
    table["gene"] = adata.var_names.astype(str)[table["gene"].to_numpy()]
    if by == schema.TUMOR and schema.LINEAGE in adata.obs:
        known = adata.obs[[by, schema.LINEAGE]].dropna().astype(str).drop_duplicates(by)
        lineage = dict(zip(known[by], known[schema.LINEAGE], strict=True))
        table["lineage"] = table["tumor"].map(lineage)
    return table.sort_values(["tumor", "p_value", "gene"]).reset_index(drop=True)
