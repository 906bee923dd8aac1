"""States of one compartment carried over from a labelled reference, for the functions of tl."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._shared import _reference_mapping as mapping
from nkscore._shared import _reference_models as models
from nkscore._shared import _reference_places as where
from nkscore._shared._choices import passed_qc
from nkscore._shared._nk_calls import spread
from nkscore._shared._options import check_shares
from nkscore.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData

STEP = "tl.map_reference"
UMAP = "X_umap_reference"
_LOG = logging.getLogger("nkscore")
_BLOCK = 4000
#: Compartment → column of its state, and what differs between its batches.
_SLOTS = {
    schema.NK: (schema.NK_STATE, schema.NK_DONOR),
    schema.TUMOR_CELLS: (schema.TUMOR_STATE, schema.TUMOR),
}


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
    function: str = STEP,
) -> None:
    """Do what :func:`nkscore.tl.map_reference` says; ``function`` is the name on record."""
    from threadpoolctl import threadpool_limits

    _check_options(compartment, min_confidence, reject)
    slot, usual_batch = _SLOTS[compartment]
    labels = slot if labels is None else labels
    cells = _cells(adata, compartment, min_cells=min_cells)
    mapping.require_columns(reference, labels=labels, batch=batch)
    if batch is None and usual_batch in reference.obs:
        batch = usual_batch
    ref = mapping.read_reference(
        adata, reference, labels=labels, compartment=compartment, batch=batch,
        stacklevel=3 if function == STEP else 4,
    )  # fmt: skip
    # Threads of small matrices wait for each other longer than they work.
    with threadpool_limits(limits=1, user_api="blas"):
        share, far, umap, levels = _map(adata, cells, ref, reject=reject or 0.0)
    farthest = np.inf if reject is None else 1.0
    sure = (share.max(axis=1) >= min_confidence) & (far <= farthest)
    _write(adata, cells, ref, slot, share=share, far=far, sure=sure)
    adata.obsm.pop(UMAP, None)
    if umap is None:
        _LOG.info("The reference has no obsm['X_umap'], so no places on its map are written.")
    else:
        adata.obsm[UMAP] = spread(umap, cells, adata.n_obs)
    options = {
        "labels": labels, "compartment": compartment, "batch": batch,
        "min_confidence": min_confidence, "reject": reject, "min_cells": min_cells,
    }  # fmt: skip
    _forget_other_calls(adata, compartment)
    schema.record(
        adata, STEP, function=function, options=options, n_reference=int(ref.code.size),
        n_genes=len(ref.genes), levels=levels,
    )  # fmt: skip


def instead_of_calling(
    adata: AnnData, reference: AnnData | None, *, caller: Callable[..., None], compartment: str,
    labels: str | None, unused: Mapping[str, Any], min_confidence: float, min_cells: int,
) -> None:  # fmt: skip
    """Transfer states for a function that otherwise calls them, by its options.

    ``unused`` are the values of those of its options that say nothing about a transfer.
    """
    step = f"tl.{caller.__name__}"
    if reference is None:
        msg = (
            f"labels is {labels!r} without a reference; it names a column of reference.obs. Give "
            f"{step} a reference too, or leave labels out."
        )
        raise ValueError(msg)
    usual = inspect.signature(caller).parameters
    given = [name for name, value in unused.items() if not _is(value, usual[name].default)]
    if given:
        msg = (
            f"{', '.join(given)} and a reference were given; {step} takes the states from the "
            f"reference's labels, where {' and '.join(given)} would have no effect. Leave out "
            f"one or the other. {STEP} has all options of a transfer."
        )
        raise ValueError(msg)
    transfer_states(
        adata, reference, labels=labels, compartment=compartment, min_confidence=min_confidence,
        min_cells=min_cells, function=step,
    )  # fmt: skip


def forget_mapping(adata: AnnData, compartment: str) -> None:
    """Drop what a transfer wrote and a call does not write anew."""
    slot, _ = _SLOTS[compartment]
    written = {schema.NK: ["distance"], schema.TUMOR_CELLS: ["distance", "margin"]}[compartment]
    for column in [f"{slot}_{name}" for name in written if f"{slot}_{name}" in adata.obs]:
        del adata.obs[column]
    if compartment == schema.TUMOR_CELLS:
        adata.obsm.pop(f"{slot}_posterior", None)
    book = dict(adata.uns.get(schema.RECORD, {}))
    if book.get(STEP, {}).get("options", {}).get("compartment") == compartment:
        adata.obsm.pop(UMAP, None)
        del book[STEP]
        adata.uns[schema.RECORD] = book


def _is(value: Any, usual: Any) -> bool:
    # Values of other types, such as tables, may not be comparable.
    return value is usual or (type(value) is type(usual) and bool(value == usual))


def _check_options(compartment: str, min_confidence: float, reject: float | None) -> None:
    if compartment not in _SLOTS:
        known = " or ".join(map(repr, _SLOTS))
        msg = f"compartment is {compartment!r}; {known} is needed."
        raise ValueError(msg)
    check_shares(min_confidence=min_confidence, reject=reject or 0.0)


def _cells(adata: AnnData, compartment: str, *, min_cells: int) -> Any:
    schema.check_input(adata)
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    inside = (adata.obs[schema.COMPARTMENT] == compartment).to_numpy()
    inside = inside & passed_qc(adata)
    cells = np.flatnonzero(inside)
    if cells.size < min_cells:
        kind = "NK" if compartment == schema.NK else compartment
        msg = (
            f"{cells.size} {kind} cells passed QC; at least {min_cells} are needed to be mapped. "
            "Check obs['compartment'], or lower min_cells."
        )
        raise DesignError(msg)
    return cells


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
                "depth": 2.0**level.depth, "n_cells": int(here.size), "penalty": level.penalty,
                "accuracy_left_out": level.accuracy, "confidence_left_out": level.confidence,
            }
        )  # fmt: skip
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
    adata: AnnData, cells: Any, ref: mapping.Reference, slot: str,
    *, share: Any, far: Any, sure: Any,
) -> None:  # fmt: skip
    # Figures and calls must show a state in one color; figures load matplotlib, so only here.
    from nkscore.pl._palettes import palette

    names = [*ref.labels, schema.UNASSIGNED]
    ranked = np.sort(share, axis=1)
    call = np.where(sure, share.argmax(axis=1), len(ref.labels))
    label = np.full(adata.n_obs, None, dtype=object)
    label[cells] = np.array(names, dtype=object)[call]
    adata.obs[slot] = schema.categorical(label, names)
    adata.obs[f"{slot}_confidence"] = spread(ranked[:, -1], cells, adata.n_obs)
    adata.obs[f"{slot}_margin"] = spread(ranked[:, -1] - ranked[:, -2], cells, adata.n_obs)
    adata.obs[f"{slot}_distance"] = spread(far, cells, adata.n_obs)
    # h5ad takes no slash in names of columns.
    columns = [name.replace("/", "|") for name in ref.labels]
    adata.obsm[f"{slot}_posterior"] = pd.DataFrame(
        spread(share, cells, adata.n_obs), index=adata.obs_names, columns=columns
    )
    colors = palette(slot, names)
    adata.uns[f"{slot}_colors"] = [colors[name] for name in names]
    counted = adata.obs[slot].value_counts()
    _LOG.info("Mapped: %s", ", ".join(f"{n} {name}" for name, n in counted.items()))
    _LOG.info("Unlike all cells of the reference: %d of %d cells", (far > 1).sum(), cells.size)


def _forget_other_calls(adata: AnnData, compartment: str) -> None:
    """Drop the record of calls that are overwritten, which would explain the wrong ones."""
    step = "tl.nk_states" if compartment == schema.NK else "tl.tumor_states"
    book = dict(adata.uns.get(schema.RECORD, {}))
    if book.pop(step, None) is not None:
        adata.uns[schema.RECORD] = book
