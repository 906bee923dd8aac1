"""R matrices, genes × cells, as cells × genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from nkscore.errors import LaneError, WrongScaleError
from nkscore.io._lane import as_int32, counts_from_csr, first_broken
from nkscore.io._rds_nodes import classes, slot, texts

if TYPE_CHECKING:
    from nkscore._types import Array
    from nkscore.io._rds_nodes import Node

#: Sparse classes of the R package Matrix that can hold counts.
MATRICES: Final = frozenset({"dgCMatrix", "dgTMatrix", "dgRMatrix"})


@dataclass(frozen=True, slots=True)
class Named:
    """Counts, cells × genes, CSR int32, with the names stored in the matrix."""

    counts: Any
    genes: Array | None
    cells: Array | None


def matrix(node: Node, where: str) -> Named:
    """Return the counts of a sparse or plain matrix."""
    kinds = classes(node)
    if MATRICES.intersection(kinds):
        return _sparse(node, kinds[0], where)
    sides = slot(node, "dim")
    if node.kind != "number" or sides is None or len(sides.data) != 2:
        what = " / ".join(kinds) or node.kind
        msg = (
            f"{where} is of the class {what}, whose counts are not in this file or cannot "
            "be read by nkscore. In R: as(counts, 'dgCMatrix'), put it back and saveRDS."
        )
        raise LaneError(msg)
    n_genes, n_cells = (int(side) for side in sides.data)
    # Column by column, which is cell by cell.
    values = np.asarray(node.data).reshape(n_cells, n_genes)
    whole = _whole(values, where)
    return Named(sparse.csr_matrix(whole), *_names(node, "dimnames"))


def is_empty(node: Node | None) -> bool:
    """Return whether a slot for a matrix is empty, or its matrix has no entries."""
    sides = None if node is None else (slot(node, "Dim") or slot(node, "dim"))
    return sides is None or 0 in sides.data


def _whole(values: Array, where: str) -> Array:
    try:
        return as_int32(values, where)[0]
    except WrongScaleError as error:
        cell, gene = divmod(first_broken(values.ravel()), values.shape[1])
        msg = f"{error} The first one is at gene {gene + 1}, cell {cell + 1} of the matrix."
        raise WrongScaleError(msg) from None


def _sparse(node: Node, kind: str, where: str) -> Named:
    parts = {name: slot(node, name) for name in ("i", "j", "p", "x", "Dim")}
    i, j, p, x, sides = (None if part is None else part.data for part in parts.values())
    if sides is None or x is None or len(sides) != 2:
        msg = f"{where} is damaged: a {kind} without its values. Copy or download the file again."
        raise LaneError(msg)
    n_genes, n_cells = (int(side) for side in sides)
    names = _names(node, "Dimnames")
    if kind == "dgCMatrix":
        shape, indices, offsets, axes = (n_cells, n_genes), i, p, ("cell", "gene")
    elif kind == "dgRMatrix":
        shape, indices, offsets, axes = (n_genes, n_cells), j, p, ("gene", "cell")
    else:
        x = _whole(np.asarray(x)[None, :], where)[0]
        places = (np.asarray(j), np.asarray(i))
        ordered = sparse.coo_matrix((x, places), shape=(n_cells, n_genes)).tocsr()
        return Named(ordered, *names)
    counts = counts_from_csr(
        np.asarray(x), np.asarray(indices), np.asarray(offsets), shape=shape, where=where, axes=axes
    )
    return Named(counts if kind == "dgCMatrix" else counts.T.tocsr(), *names)


def _names(node: Node, attribute: str) -> tuple[Array | None, Array | None]:
    pair = slot(node, attribute)
    if pair is None or pair.kind != "list" or len(pair.items) != 2:
        return None, None
    genes, cells = (texts(item) for item in pair.items)
    return genes, cells
