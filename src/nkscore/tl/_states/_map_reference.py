"""States carried over from a labelled reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nkscore import schema
from nkscore.tl._states._reference_transfer import transfer_states

if TYPE_CHECKING:
    from anndata import AnnData


def map_reference(
    adata: AnnData,
    reference: AnnData,
    *,
    labels: str | None = None,
    compartment: str = schema.NK,
    batch: str | None = None,
    min_confidence: float = 0.5,
    reject: float | None = 0.01,
    min_cells: int = 20,
) -> None:
    """Give each cell the state of those cells of a labelled reference that it resembles.

    Reads ``layers["counts"]`` of the cells of the compartment (and ``obs["qc_pass"]`` where
    present); of the reference ``layers["counts"]``, ``obs[labels]``, and where present
    ``obs["compartment"]``, ``obs["qc_pass"]``, ``obs[batch]``, ``obsm["X_umap"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    reference
        Cells × genes with labels. Cells without a label, or with ``unassigned``, are not used, nor
        those of other compartments, if the reference has the column; of each label, 1,000 cells
        drawn with a fixed seed.
    labels
        Column of the reference's ``obs`` with the states; ``nk_state`` or ``tumor_state`` by
        default.
    compartment
        ``"nk"`` or ``"tumor"``.
    batch
        Column of the reference's ``obs`` that is left out level by level to learn how sure a call
        in another batch can be. By default ``nk_donor`` for NK cells and ``tumor`` for tumor
        cells; at random where the column is absent or a label is in one level only.
    min_confidence
        Cells whose best label has a lower probability are ``unassigned``.
    reject
        Share of the reference's own cells that would be taken for unlike their label: cells
        beyond this distance are ``unassigned``. 0 rejects only what is beyond all of them, ``None``
        nothing, as may be needed where a reference comes from another laboratory.
    min_cells
        Fewest cells of the compartment.

    Returns
    -------
    None
        Writes, with ``nk_state`` or ``tumor_state`` for STATE, ``obs[STATE]`` (categorical with all
        labels and ``unassigned``; missing outside the compartment), ``obs[STATE_confidence]``
        (float64, highest probability), ``obs[STATE_margin]`` (float64, distance to the second
        highest), ``obs[STATE_distance]`` (float64: 0 as the median cell of the label, above 1
        unlike it), ``obsm[STATE_posterior]`` (float64 DataFrame, cells × labels, with ``|`` for
        ``/``, NaN outside), ``obsm["X_umap_reference"]`` (float64, cells × 2, NaN outside; only if
        the reference has ``obsm["X_umap"]``), ``uns[STATE_colors]`` and
        ``uns["nkscore"]["tl.map_reference"]`` with ``levels``: of each depth, how many cells have
        it and how often the label of left-out cells of the reference was found. Removes the record
        of the states called before; places and record are those of the last mapping, of whichever
        compartment.

    Raises
    ------
    MissingKeyError
        If compartments were not called, or the reference lacks counts, ``labels`` or ``batch``.
    WrongScaleError
        If the counts of data or reference are no counts.
    GeneCoverageError
        If data and reference share too few genes, or gene names are repeated.
    DesignError
        If fewer than ``min_cells`` cells of the compartment passed QC, or the reference has fewer
        than 20 cells or fewer than two labels of 10 cells.
    TypeError
        If the reference is no AnnData.
    ValueError
        If an option is not one of the above.

    Notes
    -----
    A logistic regression (scikit-learn) on genes that tell the labels apart, with the penalty that
    predicts left-out batches best, after the idea of CellTypist (doi 10.1126/science.abl5197). The
    reference is thinned to doublings of depth; each cell is judged by the model of its own depth,
    and by nothing else of the data, so that other cells do not matter. Probabilities take
    the shares of labels in the reference for granted. A state that the reference lacks is
    recognized only where it differs in much of the profile, and not always then; not where it
    differs in some markers: ``docs/reference_mapping.md`` has the numbers, also of
    other libraries.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, n_genes=4000, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> reference = adata[(adata.obs["nk_donor"] != "NK3").to_numpy()].copy()
    >>> query = adata[(adata.obs["nk_donor"] == "NK3").to_numpy()].copy()
    >>> nk.tl.map_reference(query, reference, labels="truth_nk_state")
    >>> list(query.obs["nk_state"].cat.categories)
    ['activated', 'adaptive', 'cytokine', 'resting', 'type_i_ifn', 'unassigned']
    """
    transfer_states(
        adata,
        reference,
        labels=labels,
        compartment=compartment,
        batch=batch,
        min_confidence=min_confidence,
        reject=reject,
        min_cells=min_cells,
    )
