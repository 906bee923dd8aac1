"""States transferred from a labeled reference."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_shares
from nkscore._samples._cells import cells_of, spread
from nkscore._samples._matrices import counts_of
from nkscore.tl._states import _reference_distances as distances
from nkscore.tl._states import _reference_genes as mapping
from nkscore.tl._states import _reference_models as models
from nkscore.tl._states._write import (
    MAPPING,
    SLOTS,
    forget_calls,
    write_states,
    write_table,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Ints

_LOG = logging.getLogger("nkscore")
_BLOCK = 4000
#: Compartment → default column of its batches.
_BATCH = {schema.NK: schema.NK_DONOR, schema.TUMOR_CELLS: schema.TUMOR}


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
    """Give each cell the state of similar cells of a labeled reference.

    Reads ``layers["counts"]`` of the cells of the compartment (and ``obs["qc_pass"]`` if present).
    From the reference, reads ``layers["counts"]``, ``obs[labels]``, and if present
    ``obs["compartment"]``, ``obs["qc_pass"]``, ``obs[batch]``, ``obsm["X_umap"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    reference
        Cells × genes with labels. Cells without a label, or with ``unassigned``, are not used, nor
        those of other compartments, if the reference has the column. At most 1,000 cells per label
        are used, drawn with a fixed seed.
    labels
        Column of the reference's ``obs`` with the states; ``nk_state`` or ``tumor_state`` by
        default.
    compartment
        ``"nk"`` or ``"tumor"``.
    batch
        Column of the reference's ``obs`` whose levels are held out in turn, to estimate the
        confidence of calls in another batch. By default ``nk_donor`` for NK cells and ``tumor`` for
        tumor cells; random folds if the column is absent or a label is in only one level.
    min_confidence
        Cells whose best label has a lower probability are ``unassigned``.
    reject
        Share of held-out reference cells beyond the distance limit of their label: cells beyond
        this limit are ``unassigned``. 0 rejects only cells beyond all of them, ``None`` rejects
        nothing, which may be needed for a reference from another laboratory.
    min_cells
        Minimum number of cells of the compartment.

    Returns
    -------
    None
        Writes, with ``nk_state`` or ``tumor_state`` for STATE, ``obs[STATE]`` (categorical with all
        labels and ``unassigned``; missing outside the compartment), ``obs[STATE_confidence]``
        (float64, highest probability), ``obs[STATE_margin]`` (float64, distance to the second
        highest), ``obs[STATE_distance]`` (float64: 0 for the median cell of the label, above 1 for
        dissimilar cells), ``obsm[STATE_posterior]`` (float64 DataFrame, cells × labels, with ``|``
        for ``/``, NaN outside), ``obsm["X_umap_reference"]`` (float64, cells × 2, NaN outside; only
        if the reference has ``obsm["X_umap"]``), ``uns[STATE_colors]`` and
        ``uns["nkscore"]["tl.map_reference"]`` with ``levels``: for each depth, the number of cells
        and the accuracy in held-out cells of the reference. Removes the record of states called
        earlier; positions and record are those of the last mapping of any compartment.

    Raises
    ------
    MissingKeyError
        If compartments were not called, or the reference lacks counts, ``labels`` or ``batch``.
    WrongScaleError
        If the counts of data or reference are not counts.
    GeneCoverageError
        If data and reference share too few genes, or gene names are repeated.
    DesignError
        If fewer than ``min_cells`` cells of the compartment passed QC, or the reference has fewer
        than 20 cells or fewer than two labels of 10 cells.
    TypeError
        If the reference is not an AnnData.
    ValueError
        If an option is not one of the above.

    Notes
    -----
    A logistic regression (scikit-learn) on genes that separate the labels, with the penalty that
    predicts held-out batches best, following the idea of CellTypist (doi 10.1126/science.abl5197).
    The reference is thinned to doublings of depth. Each cell is classified by the model of its own
    depth, independent of all other cells of the data. Probabilities assume the label shares of the
    reference. A state that the reference lacks is recognized only if it differs in much of the
    profile, and not always then; it is not recognized if it differs in some markers:
    ``docs/evidence/reference_mapping.md`` has the numbers, also for other libraries.

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
    from threadpoolctl import threadpool_limits

    _check_options(compartment, min_confidence, reject)
    slot, default_batch = SLOTS[compartment][0], _BATCH[compartment]
    labels = slot if labels is None else labels
    counts = counts_of(adata)
    cells = cells_of(adata, compartment, min_cells=min_cells, purpose="to be mapped")
    mapping.require_columns(reference, labels=labels, batch=batch)
    if batch is None and default_batch in reference.obs:
        batch = default_batch
    ref = mapping.read_reference(
        adata,
        reference,
        labels=labels,
        compartment=compartment,
        batch=batch,
    )
    # For small matrices, threads would wait for each other longer than they compute.
    with threadpool_limits(limits=1, user_api="blas"):
        share, distance, umap, levels = _map(adata, counts, cells, ref, reject=reject or 0.0)
    farthest = np.inf if reject is None else 1.0
    confident = (share.max(axis=1) >= min_confidence) & (distance <= farthest)
    _write(adata, compartment, cells, ref, share=share, distance=distance, confident=confident)
    adata.obsm.pop(schema.UMAP_REFERENCE, None)
    if umap is None:
        _LOG.info("The reference has no obsm['X_umap'], so no positions on its map are written.")
    else:
        adata.obsm[schema.UMAP_REFERENCE] = spread(umap, cells, adata.n_obs)
    options = {
        "labels": labels,
        "compartment": compartment,
        "batch": batch,
        "min_confidence": min_confidence,
        "reject": reject,
        "min_cells": min_cells,
    }
    forget_calls(adata, compartment)
    schema.record(
        adata,
        MAPPING,
        function=MAPPING,
        options=options,
        n_reference=int(ref.code.size),
        n_genes=len(ref.genes),
        levels=levels,
    )


def _check_options(compartment: str, min_confidence: float, reject: float | None) -> None:
    if compartment not in SLOTS:
        known = " or ".join(map(repr, SLOTS))
        msg = f"compartment is {compartment!r}; {known} is needed."
        raise ValueError(msg)
    check_shares(min_confidence=min_confidence, reject=reject or 0.0)


def _map(
    adata: AnnData, counts: Counts, cells: Ints, ref: mapping.Reference, *, reject: float
) -> tuple[Floats, Floats, Floats | None, pd.DataFrame]:
    """Return probabilities, distances, positions and a record of each level of depth."""
    genes = adata.var_names.get_indexer(ref.genes)
    total = counts.totals(np.isin(np.arange(adata.n_vars), genes), cells)
    level_of = models.levels_of(np.log2(np.maximum(total, 1.0)), ref)
    markers = models.markers_of_folds(ref)
    of_map = None if ref.umap is None else distances.reference_map(ref)
    n_labels = len(ref.labels)
    share, distance = np.zeros((cells.size, n_labels)), np.zeros(cells.size)
    umap = None if of_map is None else np.zeros((cells.size, 2))
    table = []
    for number in np.unique(level_of):
        level = models.learn_level(ref, int(number), markers)
        held_out = distances.held_out_distances(ref, level, reject=reject)
        here = np.flatnonzero(level_of == number)
        for rows in _blocks(here):
            shared = mapping.shared_counts(counts, genes, cells[rows])
            share[rows] = models.predict(level, shared, n_labels)
            distance[rows] = distances.distance(held_out, shared, share[rows].argmax(axis=1))
            if umap is not None and of_map is not None:
                umap[rows] = distances.places(ref, level, of_map, shared)
        table.append(
            {
                "depth": 2.0**level.depth,
                "n_cells": int(here.size),
                "penalty": level.penalty,
                "accuracy_held_out": level.accuracy,
                "confidence_held_out": level.confidence,
            }
        )
    return share, distance, umap, pd.DataFrame(table)


def _blocks(rows: Ints) -> list[Ints]:
    return [rows[start : start + _BLOCK] for start in range(0, rows.size, _BLOCK)]


def _write(
    adata: AnnData,
    compartment: str,
    cells: Ints,
    ref: mapping.Reference,
    *,
    share: Floats,
    distance: Floats,
    confident: Bools,
) -> None:
    slot, _ = SLOTS[compartment]
    ranked = np.sort(share, axis=1)
    call = np.where(confident, share.argmax(axis=1), len(ref.labels))
    write_states(
        adata,
        compartment,
        cells,
        ref.labels,
        call=call,
        confidence=ranked[:, -1],
        margin=ranked[:, -1] - ranked[:, -2],
        step=f"{MAPPING} ({compartment})",
    )
    adata.obs[f"{slot}_distance"] = spread(distance, cells, adata.n_obs)
    write_table(adata, f"{slot}_posterior", share, cells, ref.labels)
    _LOG.info(
        "Beyond the distance limit of the reference: %d of %d cells",
        (distance > 1).sum(),
        cells.size,
    )
