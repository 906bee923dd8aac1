"""The only step that removes cells."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_names, names_of
from nkscore._ledger import has_step, note, rows
from nkscore._samples._cells import passed_qc, without_deep
from nkscore._samples._matrices import kept_in_store
from nkscore.pp._marks import note_marks

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._types import Labels

_LOG = logging.getLogger("nkscore")


def keep(
    adata: AnnData,
    *,
    hashtag_classes: Sequence[str] = (schema.SINGLET,),
    compartments: Sequence[str] | None = (schema.NK, schema.TUMOR_CELLS),
    pairs: bool = False,
    store: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Return a new object with the cells that passed all previous steps.

    Reads ``obs["qc_pass"]``, ``obs["hashtag_class"]`` and ``obs["compartment"]``, each only if the
    step that writes it was run.

    Parameters
    ----------
    adata
        Cells × genes; not changed.
    hashtag_classes
        Classes to keep: ``singlet``, ``doublet``, ``negative``.
    compartments
        Compartments to keep (``nk``, ``tumor``, ``other``, ``mixed``, ``unassigned``); ``None``
        keeps all.
    pairs
        Whether to keep NK–tumor pairs (``obs["pair"]``), too, whatever their hashtags and upper
        limits of depth: for :func:`nkscore.tl.contacts`.
    store
        New HDF5 file for the counts of the kept cells, written block by block; they stay in it. By
        default they are in memory, or dask arrays like before.

    Returns
    -------
    AnnData
        A copy of the kept cells, whose ``uns["nkscore"]["pp.keep"]["removed"]`` counts the cells
        removed for each reason (the first that applied, in the order QC, hashtag, compartment), as
        does its ``uns["nkscore"]["ledger"]`` with their lanes.

    Raises
    ------
    MissingKeyError
        If no step that annotates cells was run.
    ValueError
        If no cell is left, or a class or compartment is unknown.
    FileExistsError
        If something is at ``store``.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> kept = nk.pp.keep(adata)
    >>> int(kept.uns["nkscore"]["pp.keep"]["n_kept"]) == kept.n_obs < adata.n_obs
    True
    """
    schema.check_samples(adata)
    classes = names_of(hashtag_classes)
    parts = None if compartments is None else names_of(compartments)
    reason = _reasons(adata, classes, parts)
    if pairs:
        schema.require(adata, "obs", [schema.PAIR], "pp.compartments")
        reason[adata.obs[schema.PAIR].notna().to_numpy() & without_deep(adata)] = ""
    removed = pd.Series(reason[reason != ""]).value_counts().sort_index()
    if (reason != "").all():
        msg = (
            f"None of {adata.n_obs} cells would be kept: "
            f"{', '.join(f'{n} {r}' for r, n in removed.items())}. Relax the limits of that step."
        )
        raise ValueError(msg)
    if store is None:
        kept = adata[reason == ""].copy()
    else:
        kept = kept_in_store(adata, reason == "", Path(store).expanduser())
    schema.record(
        kept,
        "pp.keep",
        function="pp.keep",
        options={
            "hashtag_classes": classes,
            "compartments": parts,
            "pairs": pairs,
        },
        removed={str(k): int(v) for k, v in removed.items()},
        n_before=adata.n_obs,
        n_kept=kept.n_obs,
    )
    _note(adata, kept, classes, parts)
    _LOG.info(
        "Kept %d of %d cells; removed: %s",
        kept.n_obs,
        adata.n_obs,
        ", ".join(f"{n} {r}" for r, n in removed.items()) or "none",
    )
    return kept


def _note(
    adata: AnnData, kept: AnnData, classes: list[str], compartments: list[str] | None
) -> None:
    n_left = note_marks(kept, classes=classes, compartments=compartments, of=adata)
    # Nothing is lost here that an earlier step did not mark.
    step = "pp.keep again" if has_step(adata, "pp.keep") else "pp.keep"
    note(kept, {step: rows(step, "cells", n_left, kept.n_obs, {})})


def _reasons(adata: AnnData, classes: list[str], compartments: list[str] | None) -> Labels:
    """Return why each cell is removed, empty where it is kept."""
    reason = np.full(adata.n_obs, "", dtype=object)
    judged = False
    if schema.QC_PASS in adata.obs:
        judged = True
        failed = ~passed_qc(adata)
        reason[failed] = "qc: " + adata.obs[schema.QC_REASON].astype(str).to_numpy()[failed]
    for column, option, known, wanted in (
        (schema.HASHTAG_CLASS, "hashtag_classes", schema.HASHTAG_CLASSES, classes),
        (schema.COMPARTMENT, "compartments", schema.COMPARTMENTS, compartments),
    ):
        if column in adata.obs and wanted is not None:
            judged = True
            values = adata.obs[column].astype(str).to_numpy()
            check_names(option, wanted, [*dict.fromkeys((*known, *values))])
            out = (reason == "") & ~np.isin(values, wanted)
            reason[out] = f"{column}: " + values[out]
    if not judged:
        schema.require(adata, "obs", [schema.QC_PASS], "pp.qc")
    return reason
