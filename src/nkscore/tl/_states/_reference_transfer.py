"""States of one compartment carried over from a labelled reference, for the functions of tl."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_shares
from nkscore._samples._cells import cells_of, spread
from nkscore.tl._states import _reference_distances as where
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

_LOG = logging.getLogger("nkscore")
_BLOCK = 4000
#: Compartment → what differs between its batches.
_BATCH = {schema.NK: schema.NK_DONOR, schema.TUMOR_CELLS: schema.TUMOR}


def transfer_states(
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
    """Do what :func:`nkscore.tl.map_reference` says."""
    from threadpoolctl import threadpool_limits

    _check_options(compartment, min_confidence, reject)
    slot, usual_batch = SLOTS[compartment][0], _BATCH[compartment]
    labels = slot if labels is None else labels
    cells = cells_of(adata, compartment, min_cells=min_cells, purpose="to be mapped")
    mapping.require_columns(reference, labels=labels, batch=batch)
    if batch is None and usual_batch in reference.obs:
        batch = usual_batch
    ref = mapping.read_reference(
        adata,
        reference,
        labels=labels,
        compartment=compartment,
        batch=batch,
    )
    # Threads of small matrices wait for each other longer than they work.
    with threadpool_limits(limits=1, user_api="blas"):
        share, far, umap, levels = _map(adata, cells, ref, reject=reject or 0.0)
    farthest = np.inf if reject is None else 1.0
    sure = (share.max(axis=1) >= min_confidence) & (far <= farthest)
    _write(adata, compartment, cells, ref, share=share, far=far, sure=sure)
    adata.obsm.pop(schema.UMAP_REFERENCE, None)
    if umap is None:
        _LOG.info("The reference has no obsm['X_umap'], so no places on its map are written.")
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
    adata: AnnData, cells: Any, ref: mapping.Reference, *, reject: float
) -> tuple[Any, Any, Any, pd.DataFrame]:
    """Return probabilities, distances, places and what is known of each level of depth."""
    level_of = models.levels_of(_depths(adata, cells, ref), ref)
    markers = models.markers_of_folds(ref)
    of_map = None if ref.umap is None else where.reference_map(ref)
    n_labels = len(ref.labels)
    share, far = np.zeros((cells.size, n_labels)), np.zeros(cells.size)
    umap = None if of_map is None else np.zeros((cells.size, 2))
    table = []
    for number in np.unique(level_of):
        level = models.learn_level(ref, int(number), markers)
        usual = where.usual_distances(ref, level, reject=reject)
        here = np.flatnonzero(level_of == number)
        for rows in _blocks(here):
            counts = mapping.shared_counts(adata, cells[rows], ref.genes)
            share[rows] = models.predict(level, counts, n_labels)
            far[rows] = where.distance(usual, counts, share[rows].argmax(axis=1))
            if umap is not None and of_map is not None:
                umap[rows] = where.places(ref, level, of_map, counts)
        table.append(
            {
                "depth": 2.0**level.depth,
                "n_cells": int(here.size),
                "penalty": level.penalty,
                "accuracy_left_out": level.accuracy,
                "confidence_left_out": level.confidence,
            }
        )
    return share, far, umap, pd.DataFrame(table)


def _depths(adata: AnnData, cells: Any, ref: mapping.Reference) -> Any:
    blocks = [
        mapping.depth_of(mapping.shared_counts(adata, cells[rows], ref.genes))
        for rows in _blocks(np.arange(cells.size))
    ]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def _blocks(rows: Any) -> list[Any]:
    return [rows[start : start + _BLOCK] for start in range(0, rows.size, _BLOCK)]


def _write(
    adata: AnnData,
    compartment: str,
    cells: Any,
    ref: mapping.Reference,
    *,
    share: Any,
    far: Any,
    sure: Any,
) -> None:
    slot, _ = SLOTS[compartment]
    ranked = np.sort(share, axis=1)
    call = np.where(sure, share.argmax(axis=1), len(ref.labels))
    write_states(
        adata,
        compartment,
        cells,
        ref.labels,
        call=call,
        confidence=ranked[:, -1],
        margin=ranked[:, -1] - ranked[:, -2],
    )
    adata.obs[f"{slot}_distance"] = spread(far, cells, adata.n_obs)
    write_table(adata, f"{slot}_posterior", share, cells, ref.labels)
    _LOG.info("Unlike all cells of the reference: %d of %d cells", (far > 1).sum(), cells.size)
