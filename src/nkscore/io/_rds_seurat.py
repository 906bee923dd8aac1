"""Counts, tags and annotations of a Seurat object: 3 and 4 (Assay), 5 (Assay5)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from nkscore.errors import LaneError, WrongScaleError
from nkscore.io._rds_bioconductor import Parts
from nkscore.io._rds_matrix import Named, is_empty, matrix
from nkscore.io._rds_nodes import classes, named, slot, texts

if TYPE_CHECKING:
    from pathlib import Path

    from nkscore._types import Array
    from nkscore.io._rds_nodes import Node

_RNA: Final = "RNA"


def parts(root: Node, path: Path) -> Parts:
    """Return the parts of a Seurat object that nkscore reads."""
    assays = named(slot(root, "assays"))
    if not assays:
        msg = f"{path} is a Seurat object without assays. Save the whole object again."
        raise LaneError(msg)
    chosen = _main(root, assays, path)
    main = _read(assays[chosen], f"{path}, assay[{chosen!r}],")
    others = {
        name: partial(_read, assay, f"{path}, assay[{name!r}],")
        for name, assay in assays.items()
        if name != chosen and _has_counts(assay)
    }
    meta = slot(root, "meta.data")
    gene_meta = slot(assays[chosen], "meta.features") or slot(assays[chosen], "meta.data")
    return Parts(
        main,
        f"Seurat assay {chosen!r}",
        others,
        cell_columns=named(meta),
        cell_names=texts(slot(meta, "row.names")),
        gene_columns=named(gene_meta),
        gene_place="meta.features",
    )


def _main(root: Node, assays: dict[str, Node], path: Path) -> str:
    active = slot(root, "active.assay")
    wanted = [_RNA, *(texts(active) if active is not None and active.kind == "text" else ())]  # type: ignore[misc]
    for name in wanted:
        if name in assays and _has_counts(assays[name]):
            return str(name)
    msg = (
        f"{path} is a Seurat object, but its assay {_RNA!r} has no counts (assays: "
        f"{', '.join(assays)}); they were removed, for example by DietSeurat(counts = FALSE), or "
        "the object was integrated without them. Get the object with its raw counts."
    )
    raise WrongScaleError(msg)


def _has_counts(assay: Node) -> bool:
    return not is_empty(slot(assay, "counts")) or bool(_layers(assay))


def _layers(assay: Node) -> dict[str, Node]:
    """Return the layers of counts of an Assay5; a merged object has one for each sample."""
    layers = named(slot(assay, "layers"))
    return {
        name: layer
        for name, layer in layers.items()
        if (name == "counts" or name.startswith("counts.")) and not is_empty(layer)
    }


def _read(assay: Node, where: str) -> Named:
    counts = slot(assay, "counts")
    if counts is not None and not is_empty(counts):
        return matrix(counts, where)
    layers = _layers(assay)
    if not layers:
        msg = f"{where} is of the class {' / '.join(classes(assay))} and has no counts."
        raise WrongScaleError(msg)
    blocks = [_layer(assay, name, layer, where) for name, layer in layers.items()]
    return blocks[0] if len(blocks) == 1 else _together(blocks)


def _layer(assay: Node, name: str, layer: Node, where: str) -> Named:
    found = matrix(layer, where)
    genes = found.genes if found.genes is not None else _held(slot(assay, "features"), name)
    cells = found.cells if found.cells is not None else _held(slot(assay, "cells"), name)
    if genes is None or cells is None or found.counts.shape != (len(cells), len(genes)):
        msg = (
            f"{where} layer {name!r}: the names of its genes and cells do not match its counts. In "
            "R: object[['RNA']] <- as(object[['RNA']], 'Assay'); saveRDS(object, file)."
        )
        raise LaneError(msg)
    return Named(found.counts, genes, cells)


def _held(log_map: Node | None, layer: str) -> Array | None:
    """Return the names of a LogMap (names × layers, true or false) in a layer."""
    pair = slot(log_map, "dimnames")
    if log_map is None or pair is None or len(pair.items) != 2:
        return None
    names, layers = (texts(item) for item in pair.items)
    if names is None or layers is None or layer not in layers:
        return None
    values = np.asarray(log_map.data, dtype=bool).reshape(len(layers), len(names))
    held: Array = names[values[list(layers).index(layer)]]
    return held


def _together(blocks: list[Named]) -> Named:
    names = list(dict.fromkeys(gene for block in blocks for gene in block.genes))  # type: ignore[union-attr]
    place = {gene: column for column, gene in enumerate(names)}
    moved = []
    for block in blocks:
        coo = block.counts.tocoo()
        columns = np.array([place[gene] for gene in block.genes], dtype=np.int64)  # type: ignore[union-attr]
        shape = (coo.shape[0], len(names))
        moved.append(sparse.csr_matrix((coo.data, (coo.row, columns[coo.col])), shape=shape))
    cells = np.concatenate([block.cells for block in blocks])
    return Named(sparse.vstack(moved, format="csr"), np.array(names, dtype=object), cells)
