"""Models of the response by formula, and contrasts of their coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_names
from nkscore._samples._left_out import LEFT_OUT
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import compartment_samples
from nkscore.stats import (
    design_of_formula,
    expressed_genes,
    fit_count_model,
    joint_factors,
    line_factors,
    log_cpm,
)
from nkscore.tl._response._formula import SampleDesign, sample_design
from nkscore.tl._response._formula_words import read_formula, variables_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from nkscore._counts._group_sums import GroupSums
    from nkscore._samples._samples import Samples
    from nkscore._types import Floats, Labels, Level
    from nkscore.stats import CountModel, Design


@dataclass(frozen=True, repr=False)
class ResponseModel:
    """A fitted model of the counts of samples; see :func:`nkscore.tl.response_model`.

    Attributes
    ----------
    formula
        As given.
    samples
        One row per sample: its name, the variables of the formula and ``n_cells``.
    design_matrix
        Samples × coefficients.
    genes
        Names of the fitted genes.
    by
        Column of the lines, or ``None``.
    normalization
        As given.
    attrs
        ``design`` (what the samples can answer) and ``left_out`` (what, name, reason).
    fit, terms, log2_cpm
        The model of counts, the formula as read, and samples × genes: what contrasts are made of.
    """

    formula: str
    samples: pd.DataFrame
    design_matrix: pd.DataFrame
    genes: Labels
    by: str | None
    normalization: str
    attrs: dict[str, object]
    fit: CountModel
    terms: SampleDesign
    log2_cpm: Floats

    @property
    def coefficients(self) -> list[str]:
        """Names of the coefficients, in the order of contrasts given as vectors."""
        return list(self.design_matrix.columns)

    def cond(self, **levels: Level) -> pd.Series:
        """Return the coefficients' weights for samples at these levels.

        Differences of such vectors are contrasts. A variable without a level is at its baseline
        (numbers at their mean; replicates with gaps at the mean of all replicates).

        Parameters
        ----------
        **levels
            Variable → level, for example ``tumor="K562", condition="coculture"``.

        Raises
        ------
        ValueError
            If a variable or level is unknown.
        """
        return pd.Series(self.terms.row(levels), index=self.coefficients)

    def __repr__(self) -> str:
        return (
            f"ResponseModel {self.formula!r}: {len(self.samples)} samples, "
            f"{len(self.coefficients)} coefficients, {len(self.genes)} genes. "
            "Contrasts: nk.tl.contrast(model, ...)."
        )


def response_model(
    adata: AnnData,
    formula: str,
    compartment: str | None = schema.TUMOR_CELLS,
    *,
    by: str | None = None,
    replicate: str = schema.NK_DONOR,
    normalization: Literal["line", "joint"] = "line",
    min_cells: int = 10,
    min_count: int = 10,
    variance_trend: bool = True,
    robust: bool = True,
    line_variance: bool = True,
    overdispersion: bool = True,
) -> ResponseModel:
    """Fit a model of the counts of samples by a formula, for any contrast.

    For designs beyond two arms: interactions (does a drug, a knock-out or a line change the
    response), doses, times, paired patients. The model is that of
    :func:`nkscore.tl.interaction_response`, whose results are those of the formula
    ``~ tumor + tumor:condition`` (and ``tumor:nk_donor`` if donors are in both arms) with
    ``by="tumor"``.

    Reads ``layers["counts"]``, ``obs["sample"]``, ``obs["compartment"]``, ``obs["qc_pass"]`` and
    the variables of the formula.

    Parameters
    ----------
    adata
        Cells × genes.
    formula
        Variables of ``obs`` after a tilde, in the language of formulaic (that of R), for example
        ``"~ tumor * condition + nk_donor"``, ``"~ condition + log2(et_ratio)"``,
        ``"~ patient + C(day)"`` or ``"~ nk_donor + cr(time_h, df=3)"``. Text and categories are
        levels, numbers are slopes. The first category is the baseline; of ``condition``, the
        monoculture. A variable that varies within samples (an NK state, a guide) divides them.
    compartment
        ``"tumor"``, ``"nk"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    by
        Variable of the formula whose levels are lines. Depth is then compared within each line, and
        a gene can be tested, and vary more, in one line than in others. Without it all samples are
        compared with one another.
    replicate
        Column of the replicates. Samples that agree in it and in all variables are summed. In the
        formula it can be missing, as the NK donor of a monoculture is: such samples are compared
        with the mean of all replicates.
    normalization
        ``"line"``: depth is compared within each line, on the genes that differ least between its
        arms. ``"joint"``: over all lines at once, which contrasts of baselines of lines need.
    min_cells, min_count, variance_trend, robust, line_variance, overdispersion
        See :func:`nkscore.tl.interaction_response`.

    Returns
    -------
    The fitted model, for :func:`nkscore.tl.contrast`.

    Raises
    ------
    DesignError
        If a variable has one level or is missing in samples, or if no residual degree of freedom is
        left.
    MissingKeyError
        If a column or the counts are absent.
    ValueError
        If the formula cannot be read, or ``by`` is not one of its variables.

    Notes
    -----
    Chen et al. 2025 (edgeR 4), doi 10.1093/nar/gkaf018.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> model = nk.tl.response_model(adata, "~ tumor * condition", by="tumor")
    >>> table = nk.tl.contrast(
    ...     model, treated={"condition": "coculture"}, control={"condition": "tumor_mono"}
    ... )
    >>> bool((table.loc[table["gene"] == "STAT1", "log2_fc"] > 0).all())
    True
    """
    check_names("normalization", [normalization], ("line", "joint"))
    schema.check_var_names(adata)
    variables = variables_of(read_formula(formula, None))
    if by is not None and by not in variables:
        msg = f"by is {by!r}, which is no variable of {formula!r}. Name one of them, or None."
        raise ValueError(msg)
    columns = list(dict.fromkeys([*variables, replicate]))
    schema.require(adata, "obs", columns, "the sample sheet")
    given: dict[str, Any] = {"columns": columns, "split": variables, "replicate": replicate}
    samples = compartment_samples(adata, compartment, min_cells=min_cells, **given)
    terms = sample_design(formula, samples.table, adata.obs, replicate=replicate)
    design = _design(terms, by, replicate)
    n_cells = samples.table["n_cells"].to_numpy(float)
    sums = _sums(adata, samples)
    library = sums.sums.sum(axis=1)
    scale = line_factors if normalization == "line" else joint_factors
    factors = scale(sums.sums, library, design)
    enough: dict[str, Any] = {"library": library, "min_count": min_count, "n_cells": n_cells}
    fit = fit_count_model(
        sums.sums,
        design,
        tested=expressed_genes(sums.sums, design, **enough),
        effective=factors.library,
        overdispersion=sums.overdispersion(n_cells) if overdispersion else None,
        n_cells=n_cells,
        cell_squares=sums.squares if overdispersion else None,
        variance_trend=variance_trend,
        robust=robust,
        line_variance=line_variance,
    )
    return ResponseModel(
        formula=formula,
        samples=samples.table[[schema.SAMPLE, *variables, "n_cells"]],
        design_matrix=terms.matrix.set_axis(samples.table[schema.SAMPLE].to_numpy()),
        genes=adata.var_names.astype(str).to_numpy(dtype=object)[fit.genes],
        by=by,
        normalization=normalization,
        attrs=_attrs(design, factors.remarks, samples),
        fit=fit,
        terms=terms,
        log2_cpm=log_cpm(sums.sums[:, fit.genes], factors.library),
    )


def _design(terms: SampleDesign, by: str | None, replicate: str) -> Design:
    return design_of_formula(
        terms.matrix.to_numpy(),
        terms.matrix.columns,
        line=_lines(terms, by),
        arm=_arms(terms, replicate),
        sets=terms.strata(),
    )


def _sums(adata: AnnData, samples: Samples) -> GroupSums:
    matrix = counts_of(adata, check=False)
    return matrix.group_sums(samples.codes, len(samples.table), squares=True)


def _attrs(design: Design, remarks: Iterable[str], samples: Samples) -> dict[str, object]:
    n_samples, n_coefficients = design.matrix.shape
    said = (
        f"{n_samples} samples, {n_coefficients} coefficients, {design.df_residual} residual "
        "degrees of freedom."
    )
    return {"design": " ".join([said, *remarks]), LEFT_OUT: list(samples.left_out)}


def _lines(terms: SampleDesign, by: str | None) -> Labels:
    if by is None:
        return np.array(["all"] * len(terms.table), dtype=object)
    return terms.table[by].astype(str).to_numpy(dtype=object)


def _arms(terms: SampleDesign, replicate: str) -> Labels:
    """Return the combination of variables of each sample, without its replicate."""
    columns = [terms.table[name].astype(str) for name in terms.table if name != replicate]
    if not columns:
        return np.array(["all"] * len(terms.table), dtype=object)
    return np.array(["\0".join(parts) for parts in zip(*columns, strict=True)], dtype=object)
