"""One lane as read from disk: cells × features, before hashtags and genes are separated."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore.errors import LaneError, NkscoreError, NkscoreWarning, WrongScaleError
from nkscore.schema import check_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nkscore._types import Array

GENE_EXPRESSION: Final = "Gene Expression"
ANTIBODY: Final = "Antibody Capture"
GUIDE: Final = "CRISPR Guide Capture"
MULTIPLEXING: Final = "Multiplexing Capture"

_INT32_MAX: Final = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Lane:
    """Counts of one lane: CSR int32, cells × features, sorted and without duplicates."""

    path: Path
    format: str
    counts: Any
    barcodes: Array
    #: Columns ``id``, ``name``, ``type``; all strings, ``""`` if the file has no ``id``.
    features: pd.DataFrame
    #: Named tables that may hold tags, read on request: ``obsm`` of an AnnData, other assays of a
    #: Seurat object, by their names in ``hashtag_path``.
    tables: Mapping[str, Callable[[], pd.DataFrame]] = field(default_factory=dict)
    tables_in: str = "obsm"
    #: Cell annotations of the file, one row per barcode, read on request.
    annotations: Callable[[], pd.DataFrame] | None = None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error of a file library into one :class:`LaneError` that names the file."""
    try:
        yield
    except (NkscoreError, NkscoreWarning):
        raise
    except MemoryError as error:
        msg = (
            f"{path} needs more memory than available. Either its header is damaged (then "
            "copy or download the file again), or the lane needs a larger machine."
        )
        raise LaneError(msg) from error
    except Exception as error:
        raise LaneError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    detail = " ".join(str(error).split())[:200]
    size = f" ({path.stat().st_size:,} bytes)" if path.is_file() else ""
    return (
        f"{path}{size} cannot be read: it is truncated, damaged or not what its name says "
        f"({type(error).__name__}: {detail}). Compare its size or checksum with the source, then "
        "copy or download it again."
    )


def counts_from_csr(
    data: Array,
    indices: Array,
    indptr: Array,
    *,
    shape: tuple[int, int],
    where: str,
    axes: tuple[str, str] = ("cell", "feature"),
) -> sparse.csr_matrix:
    """Check the three arrays of a CSR matrix and return it as canonical int32 counts.

    Offsets and column numbers are checked before scipy uses them: its compiled loops trust them,
    and a damaged file would crash the process instead of raising an error.
    """
    _check_structure(data, indices, indptr, shape=shape, where=where)
    try:
        values, low = as_int32(data, where)
    except WrongScaleError as error:
        position = first_broken(data)
        row = int(np.searchsorted(indptr, position, side="right"))
        place = f"The first one is at {axes[0]} {row}, {axes[1]} {int(indices[position]) + 1}"
        msg = f"{error} {place} of the file."
        raise WrongScaleError(msg) from None
    columns = indices.astype(np.int32, copy=False)
    matrix = sparse.csr_matrix((values, columns, indptr), shape=shape, copy=False)
    if not matrix.has_canonical_format:
        matrix.sum_duplicates()
    if low == 0:
        matrix.eliminate_zeros()
    return matrix


def _check_structure(
    data: Array,
    indices: Array,
    indptr: Array,
    *,
    shape: tuple[int, int],
    where: str,
) -> None:
    whole = all(part.ndim == 1 and part.dtype.kind in "iu" for part in (indices, indptr))
    sound = (
        whole
        and data.ndim == 1
        and min(shape) >= 0
        and len(indptr) == shape[0] + 1
        and indptr[0] == 0
        and indptr[-1] == len(data) == len(indices)
        and bool((indptr[1:] >= indptr[:-1]).all())
        and (indices.size == 0 or (indices.min() >= 0 and indices.max() < shape[1]))
    )
    if not sound:
        msg = (
            f"{where} is damaged: its row offsets, column numbers and values do not describe one "
            f"{shape[0]} × {shape[1]} matrix. Copy or download the file again."
        )
        raise LaneError(msg)


def as_int32(values: Array, where: str) -> tuple[Array, int]:
    """Return ``values`` as int32 and their minimum (1 if empty); only whole counts pass."""
    if values.size == 0:
        return values.astype(np.int32), 1
    check_counts(values, where)
    high = values.max()
    if high > _INT32_MAX:
        msg = (
            f"{where} holds {high:g}, which is too large for a UMI count (the largest is "
            f"{_INT32_MAX:,}). Load the raw counts."
        )
        raise WrongScaleError(msg)
    return values.astype(np.int32, copy=False), int(values.min())


def first_broken(values: Array) -> int:
    """Return the position of the first value that cannot be a UMI count."""
    with np.errstate(invalid="ignore"):
        broken = ~(np.isfinite(values) & (values >= 0) & (values <= _INT32_MAX))
        broken |= values != np.rint(values)
    return int(np.argmax(broken))


def own_table(lane: Lane, key: str) -> pd.DataFrame:
    """Return a table of the lane's own file as int32 counts, one row per barcode."""
    where = f"{lane.path}, {lane.tables_in}[{key!r}],"
    if key not in lane.tables:
        tables = ", ".join(lane.tables) or "none"
        remedy = (
            "Write the tag counts as a DataFrame into obsm, with the tags as column names."
            if lane.tables_in == "obsm"
            else "Name one of these, or give the hashtags as a separate matrix."
        )
        msg = (
            f"{where} is not a table with column names (tables in {lane.tables_in}: {tables}). "
            f"{remedy}"
        )
        raise LaneError(msg)
    with reading(lane.path):
        frame = lane.tables[key]()
        values, _ = as_int32(frame.to_numpy(), where)
    if len(frame) != len(lane.barcodes):
        msg = f"{where} has {len(frame)} rows for {len(lane.barcodes)} cells. Write it again."
        raise LaneError(msg)
    return pd.DataFrame(values, columns=[str(name) for name in frame.columns])


def check_not_empty(lane: Lane) -> None:
    """Raise :class:`LaneError` for a lane without cells or without features."""
    n_cells, n_features = lane.counts.shape
    if n_cells == 0 or n_features == 0:
        what = "no cells" if n_cells == 0 else "no features"
        msg = (
            f"{lane.path} ({lane.format}) holds {what} ({n_cells} barcodes × {n_features} "
            "features). A lane needs at least one of each: check that the pipeline "
            "finished and that this is its filtered matrix, or remove the lane from the "
            "sample sheet."
        )
        raise LaneError(msg)


def check_barcodes(barcodes: pd.Index, path: Path) -> None:
    """Raise :class:`LaneError` if a barcode occurs twice in a lane."""
    if barcodes.is_unique:
        return
    repeated = barcodes[barcodes.duplicated()].unique()
    msg = (
        f"{path}: barcodes occur more than once ({len(repeated)}, for example "
        f"{', '.join(map(str, repeated[:3]))}). One file must hold one lane: if several lanes "
        "were merged into it, give each lane as its own file, or make the barcodes unique."
    )
    raise LaneError(msg)
