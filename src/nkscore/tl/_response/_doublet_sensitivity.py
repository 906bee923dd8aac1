"""Dependence of a tumor response on the few cells with most NK RNA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nkscore import schema
from nkscore._checks import check_columns, check_shares
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import Samples, arms, compartment_samples, labels
from nkscore.errors import WrongScaleError
from nkscore.stats import log2_ratio_of_arms

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from nkscore._types import Floats, Ints


def doublet_sensitivity(
    responses: pd.DataFrame,
    adata: AnnData,
    *,
    treated: str = schema.COCULTURE,
    control: str = schema.TUMOR_MONO,
    left_out: float = 0.05,
    threshold: float = 0.5,
    min_cells: int = 10,
) -> pd.DataFrame:
    """Estimate each effect again without the tumor cells that look most like NK-tumor doublets.

    An NK-tumor doublet called as a tumor cell adds a whole NK profile to few cells. From each
    treated sample the cells with the highest ``nk_rna_share`` are excluded. An effect that depends
    on these cells falls; an effect that the tumor cells share stays.

    Reads ``layers["counts"]``, ``obs["nk_rna_share"]`` and the columns ``sample``, ``tumor``,
    ``condition``, ``compartment`` and ``qc_pass`` of ``obs``.

    Parameters
    ----------
    responses
        Table with columns ``tumor``, ``gene`` and ``log2_fc``, as from
        :func:`nkscore.tl.interaction_response` for tumor cells.
    adata
        Cells × genes, from which the responses were computed, after ``pp.compartments``.
    treated, control
        Conditions that the table compares.
    left_out
        Share of a treated sample's tumor cells to exclude, 0 to 0.5; choose at least the possible
        share of missed doublets.
    threshold
        A gene is suspect if this share of its effect is lost, 0 to 1.
    min_cells
        Samples with fewer tumor cells are excluded, as in the response.

    Returns
    -------
    A copy of the table with ``log2_fc_without_doublets``, ``doublet_share`` (lost share of the
    effect, 0 to 1; NaN for lines and genes that the data lack) and the boolean column
    ``doublet_suspect``.

    Raises
    ------
    MissingKeyError
        If a column is absent or ``pp.compartments`` was not run.
    WrongScaleError
        If ``left_out`` is out of range, or no tumor cell has a finite ``nk_rna_share``.
    ValueError
        If ``threshold`` is not from 0 to 1.
    DesignError
        If no sample of an arm has enough tumor cells.
    GeneCoverageError
        If gene names of ``adata`` are repeated.

    Notes
    -----
    Excluding the cells with most NK RNA also removes some ambient NK RNA by chance: genes of NK
    cells fall slightly even without doublets. Use :func:`nkscore.tl.flag_ambient` for ambient RNA.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, n_genes=4000, rng=0)
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> nk.pp.compartments(adata)
    >>> table = nk.tl.doublet_sensitivity(nk.tl.interaction_response(adata), adata)
    >>> bool(table.loc[table["gene"] == "STAT1", "doublet_suspect"].any())
    False
    """
    check_columns(responses, [schema.TUMOR, "gene", "log2_fc"], "Rename yours.")
    if not 0 < left_out <= 0.5:
        msg = f"left_out is {left_out!r}; a share above 0 and up to 0.5 is needed (for example "
        "0.05)."
        raise WrongScaleError(msg)
    check_shares(threshold=threshold)
    schema.check_var_names(adata)
    schema.require(adata, "obs", [schema.NK_RNA_SHARE], "pp.compartments")
    samples = compartment_samples(
        adata, schema.TUMOR_CELLS, columns=[schema.TUMOR, schema.CONDITION], min_cells=min_cells
    )
    samples = arms(samples, treated=treated, control=control, by=schema.TUMOR)
    kept = _without_top(adata, samples, left_out)
    shift = _shift(adata, samples, kept, responses)
    before = responses["log2_fc"].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = np.clip(-shift / before, 0.0, 1.0)
    return responses.assign(
        log2_fc_without_doublets=before + shift,
        doublet_share=lost,
        doublet_suspect=lost >= threshold,
    )


def _without_top(adata: AnnData, samples: Samples, left_out: float) -> Ints:
    """Return the sample of each cell, -1 for treated cells with the most NK RNA."""
    share = adata.obs[schema.NK_RNA_SHARE].to_numpy(dtype=float)
    codes = samples.codes.copy()
    if not np.isfinite(share[codes >= 0]).any():
        msg = (
            "obs['nk_rna_share'] is missing (NaN) in all tumor cells, so the likely "
            "doublets among them are unknown. Run pp.compartments on all lanes, "
            "including monocultures."
        )
        raise WrongScaleError(msg)
    share = np.nan_to_num(share, nan=0.0)
    for i in np.flatnonzero(samples.table["treated"].to_numpy()):
        cells = np.flatnonzero(samples.codes == i)
        ranked = np.sort(share[cells])
        # Ties are kept together, so that the order of cells does not matter.
        limit = ranked[cells.size - 1 - int(np.ceil(left_out * cells.size))]
        codes[cells[share[cells] > limit]] = -1
    return codes


def _shift(adata: AnnData, samples: Samples, kept: Ints, responses: pd.DataFrame) -> Floats:
    n_samples = len(samples.table)
    found = counts_of(adata, check=False).each_group_sums(
        [(samples.codes, n_samples), (kept, n_samples)]
    )
    both = [part.sums for part in found]
    lines, treated = labels(samples.table, schema.TUMOR), samples.table["treated"].to_numpy()
    of_row = responses[schema.TUMOR].astype(str).to_numpy()
    gene = adata.var_names.get_indexer(responses["gene"])
    shift = np.full(len(responses), np.nan)
    of_all = np.array([line is None for line in lines])
    for line in sorted({str(x) for x in lines[~of_all]}):
        here, rows = (lines == line) | of_all, np.flatnonzero((of_row == line) & (gene >= 0))
        before, after = (log2_ratio_of_arms(sums[here], treated[here]) for sums in both)
        shift[rows] = (after - before)[gene[rows]]
    return shift
