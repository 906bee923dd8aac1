"""Counts, tags and annotations of a SingleCellExperiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from nkscore.errors import LaneError, WrongScaleError
from nkscore.io._rds_matrix import Named, is_empty, matrix
from nkscore.io._rds_nodes import named, slot, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nkscore._types import Array
    from nkscore.io._rds_nodes import Node


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an R object that nkscore reads."""

    main: Named
    #: Name of the assay ``main``, for the log.
    origin: str
    #: Other assays with counts, read on request.
    others: Mapping[str, Callable[[], Named]] = field(default_factory=dict)
    cell_columns: dict[str, Node] = field(default_factory=dict)
    cell_names: Array | None = None
    gene_columns: dict[str, Node] = field(default_factory=dict)
    gene_place: str = "rownames"


def parts(root: Node, path: Path) -> Parts:
    """Return the parts of a SingleCellExperiment or SummarizedExperiment that nkscore reads."""
    main = _read(root, str(path))
    inner = named(slot(root, "int_colData", "listData"))
    alternatives = named(slot(inner.get("altExps"), "listData"))
    others = {
        name: partial(_read, experiment, f"{path}, assay[{name!r}],")
        for name, item in alternatives.items()
        if (experiment := slot(item, "se")) is not None
    }
    gene_data = slot(root, "rowRanges", "elementMetadata") or slot(root, "elementMetadata")
    return Parts(
        main,
        "SingleCellExperiment assay 'counts'",
        others,
        cell_columns=named(slot(root, "colData", "listData")),
        cell_names=texts(slot(root, "colData", "rownames")),
        gene_columns=named(slot(gene_data, "listData")),
        gene_place="rowData",
    )


def _read(experiment: Node, where: str) -> Named:
    assays = named(slot(experiment, "assays", "data", "listData"))
    if "counts" not in assays:
        msg = (
            f"{where} has no assay 'counts' (it holds: {', '.join(assays) or 'none'}). In R: "
            "assay(object, 'counts') <- the raw counts; saveRDS(object, file)."
        )
        raise WrongScaleError(msg)
    if is_empty(assays["counts"]) and assays["counts"].kind != "S4":
        msg = f"{where}: the assay 'counts' is empty. Get the object with its raw counts."
        raise LaneError(msg)
    found = matrix(assays["counts"], f"{where}, assay 'counts',")
    genes = texts(slot(experiment, "rowRanges", "partitioning", "NAMES"))
    if genes is None:
        genes = texts(slot(experiment, "NAMES"))
    cells = texts(slot(experiment, "colData", "rownames"))
    return Named(
        found.counts,
        found.genes if genes is None else genes,
        found.cells if cells is None else cells,
    )
