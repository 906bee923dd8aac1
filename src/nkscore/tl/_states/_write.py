"""Write state calls, and drop results of earlier calls of the same compartment."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._colors import palette
from nkscore._ledger import cells_by_lane, note, rows
from nkscore._samples._cells import passed_qc, spread
from nkscore._storable import stored_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData

    from nkscore._types import Bools, Floats, Ints

MAPPING = "tl.map_reference"
_LOG = logging.getLogger("nkscore")
#: Compartment → column of its state, and the function that calls it.
SLOTS = {
    schema.NK: (schema.NK_STATE, "tl.nk_states"),
    schema.TUMOR_CELLS: (schema.TUMOR_STATE, "tl.tumor_states"),
}
#: Earlier options of calls, now in ``tl.map_reference``.
BY_MAPPING = {
    "reference": "Use tl.map_reference(adata, reference), which takes states from labeled cells.",
    "labels": "Use tl.map_reference(adata, reference, labels=...).",
}
#: Compartment → additional slots that only a mapping writes.
_OF_MAPPING = {schema.NK: ("distance",), schema.TUMOR_CELLS: ("distance", "margin")}


def write_states(
    adata: AnnData,
    compartment: str,
    cells: Ints,
    states: Sequence[str],
    *,
    call: Ints,
    confidence: Floats,
    margin: Floats | None = None,
    everywhere: bool = False,
    step: str | None = None,
) -> None:
    """Write label, confidence, margin and colors of the cells' states.

    ``call`` holds positions in ``states``, and their number for ``unassigned``. The other cells of
    the compartment are ``unassigned`` if ``everywhere``, and missing otherwise.
    """
    slot, _ = SLOTS[compartment]
    names = [*states, schema.UNASSIGNED]
    label = np.full(adata.n_obs, None, dtype=object)
    if everywhere:
        label[(adata.obs[schema.COMPARTMENT] == compartment).to_numpy()] = schema.UNASSIGNED
    label[cells] = np.array(names, dtype=object)[call]
    adata.obs[slot] = schema.categorical(label, names)
    adata.obs[f"{slot}_confidence"] = spread(confidence, cells, adata.n_obs)
    if margin is not None:
        adata.obs[f"{slot}_margin"] = spread(margin, cells, adata.n_obs)
    colors = palette(slot, names)
    adata.uns[f"{slot}_colors"] = [colors[name] for name in names]
    counted = adata.obs[slot].value_counts()
    _note_calls(adata, compartment, cells, call < len(states), step or SLOTS[compartment][1])
    kind = "NK" if compartment == schema.NK else "Tumor"
    _LOG.info("%s states: %s", kind, ", ".join(f"{n} {name}" for name, n in counted.items()))


def _note_calls(adata: AnnData, compartment: str, cells: Ints, called: Bools, step: str) -> None:
    """Add the cells of the compartment that got no state to the ledger, by lane."""
    inside = (adata.obs[schema.COMPARTMENT] == compartment).to_numpy(dtype=bool)
    got, fitted = np.zeros(adata.n_obs, dtype=bool), np.zeros(adata.n_obs, dtype=bool)
    got[cells[called]], fitted[cells] = True, True
    passed = passed_qc(adata)
    lost = {
        "failed QC": cells_by_lane(adata, inside & ~passed),
        "too few cells of the line": cells_by_lane(adata, inside & passed & ~fitted),
        "no state is certain (unassigned)": cells_by_lane(adata, fitted & ~got),
    }
    kind = "NK cells" if compartment == schema.NK else "tumor cells"
    n_in, n_out = int((inside | fitted).sum()), int(got.sum())
    made = {step: rows(step, kind, n_in, n_out, lost)}
    # Earlier calls of these cells are gone.
    others = {SLOTS[compartment][1], f"{MAPPING} ({compartment})"} - {step}
    note(adata, {**made, **{other: [] for other in others}})


def write_table(
    adata: AnnData, key: str, values: Floats | pd.DataFrame, cells: Ints, columns: Iterable[str]
) -> None:
    """Write one row per cell to ``obsm``, NaN outside ``cells``."""
    frame = spread(np.asarray(values, dtype=float), cells, adata.n_obs)
    names = stored_names(columns, "The columns")
    adata.obsm[key] = pd.DataFrame(frame, index=adata.obs_names, columns=names)


def forget_mapping(adata: AnnData, compartment: str) -> None:
    """Drop slots of a mapping that a call does not overwrite."""
    slot, _ = SLOTS[compartment]
    for column in (f"{slot}_{name}" for name in _OF_MAPPING[compartment]):
        if column in adata.obs:
            del adata.obs[column]
    if compartment == schema.TUMOR_CELLS:
        adata.obsm.pop(f"{slot}_posterior", None)
    book = dict(adata.uns.get(schema.RECORD, {}))
    if book.get(MAPPING, {}).get("options", {}).get("compartment") == compartment:
        adata.obsm.pop(schema.UMAP_REFERENCE, None)
        del book[MAPPING]
        adata.uns[schema.RECORD] = book


def forget_calls(adata: AnnData, compartment: str) -> None:
    """Drop the record of calls that a mapping replaces, which no longer applies."""
    _, step = SLOTS[compartment]
    book = dict(adata.uns.get(schema.RECORD, {}))
    if book.pop(step, None) is not None:
        adata.uns[schema.RECORD] = book
