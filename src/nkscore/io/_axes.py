"""The check of axes: names stand on their own axis, and the edges of a table are like the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore.errors import LaneError
from nkscore.io._names import known_symbols

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nkscore._types import Array, Ints

BARCODE: Final = re.compile(r"(.*[_.:-])?[ACGTN]{10,}([._-]\w+)?")
#: Names look like those of an axis if so many of them do; so many names show anything.
_MOST: Final = 0.5
_ENOUGH: Final = 5
_LOOKED_AT: Final = 2000
#: What tools write above the names of rows.
_CORNERS: Final = frozenset(
    {"", "x", "gene", "genes", "gene_name", "symbol", "cell", "cells", "cell_id", "barcode"}
    | {"barcodes", "id", "name", "index", "unnamed: 0", "rownames", "row.names", "v1"}
)


def check_names(genes: Array, barcodes: Array, path: Path) -> None:
    """Raise :class:`LaneError` where genes have the names of cells, or cells those of genes."""
    of_genes, of_cells = _some(genes), _some(barcodes)
    for found, pattern, axis, other in (
        (of_genes, _is_barcode, "genes", "cell barcodes"),
        (of_cells, _is_symbol, "cells", "genes"),
    ):
        share = sum(map(pattern, found)) / max(1, len(found))
        if len(found) >= _ENOUGH and share > _MOST:
            msg = (
                f"{path}: the {axis} have the names of {other} ({', '.join(found[:3])}, ...). "
                "Its two axes, or its lists of barcodes and features, are exchanged: transpose the "
                "matrix, or exchange the lists."
            )
            raise LaneError(msg)


def _some(names: Array) -> list[str]:
    step = max(1, len(names) // _LOOKED_AT)
    chosen = names[::step]
    return [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in chosen]


def _is_barcode(name: str) -> bool:
    return BARCODE.fullmatch(name) is not None and name not in known_symbols()


def _is_symbol(name: str) -> bool:
    return name in known_symbols()


def check_corner(corner: str | None, names: Sequence[str], path: Path) -> None:
    """Raise :class:`LaneError` where a header is not shifted as its number of cells says.

    ``corner``: the cell above the names of the rows, ``None`` where the header has none.
    """
    kin = names[1:_LOOKED_AT]
    cells, genes = (sum(map(like, kin)) > _MOST * len(kin) for like in (_is_barcode, _is_symbol))
    first = names[0] if corner is None else corner
    if corner is None:
        lost = (cells and not _is_barcode(first)) or (genes and first.lower() in _CORNERS)
    else:
        lost = (cells and _is_barcode(first)) or (genes and _is_symbol(first))
    if lost and len(kin) >= _ENOUGH - 1:
        what = "no name of a column" if corner is None else "the name of a column"
        msg = (
            f"{path}: its header begins with {first!r}, {what} like the others "
            f"({', '.join(kin[:3])}, ...), so all counts would stand one column off. A cell of the "
            "header was lost: write the table again, with one name for each column."
        )
        raise LaneError(msg)
    empty = [place for place, name in enumerate(names) if not name.strip()]
    if empty:
        msg = (
            f"{path}: column {empty[0] + 1} of its header is empty, so the names of columns cannot "
            "be trusted. Remove delimiters at the ends of lines, or name each column."
        )
        raise LaneError(msg)


def check_edges(counts: Any, rows: Array, columns: Array, path: Path) -> None:  # noqa: ANN401 (sparse)
    """Raise :class:`LaneError` for row numbers and totals at the edges of a table of counts."""
    if min(counts.shape) < _ENOUGH:
        return
    for names, axis in ((rows, "row"), (columns, "column")):
        total = np.asarray(counts.sum(axis=0 if axis == "row" else 1)).ravel()
        for place in (0, len(names) - 1):
            edge = counts[[place]] if axis == "row" else counts[:, [place]]
            what = _not_counts(edge.toarray().ravel().astype(np.int64), total)
            if what:
                msg = (
                    f"{path}: the {axis} {str(names[place])!r} holds {what}, not counts. Remove it "
                    "and read the table again."
                )
                raise LaneError(msg)


def _not_counts(values: Ints, total: Ints) -> str:
    """Return what the first or last row of a table holds instead of counts, "" for counts."""
    n = np.arange(len(values))
    if (values == n).all() or (values == n + 1).all():
        return "row numbers (0, 1, 2, ... or 1, 2, 3, ...)"
    if values.any() and (2 * values == total).all():
        return "the sums of the others"
    return ""
