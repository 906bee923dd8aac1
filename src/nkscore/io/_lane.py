"""One lane as read from disk: cells × features, before hashtags and genes are told apart."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

from nkscore.errors import LaneError, NkscoreError, NkscoreWarning, WrongScaleError
from nkscore.schema import check_counts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

GENE_EXPRESSION: Final = "Gene Expression"
ANTIBODY: Final = "Antibody Capture"
GUIDE: Final = "CRISPR Guide Capture"

_INT32_MAX: Final = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Lane:
    """Counts of one lane: CSR int32, cells × features, sorted and without duplicates."""

    path: Path
    format: str
    counts: Any
    barcodes: np.ndarray[Any, Any]
    #: Columns ``id``, ``name``, ``type``; all strings, ``""`` where the file has no ``id``.
    features: pd.DataFrame
    #: Named tables of an .h5ad lane that may hold tags (``obsm`` keys).
    frame_keys: tuple[str, ...] = ()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a file library raises into one :class:`LaneError` that names the file."""
    try:
        yield
    except (NkscoreError, NkscoreWarning):
        raise
    except MemoryError as error:
        msg = (
            f"{path} asks for more memory than there is. Either its header is damaged (then copy "
            "or download the file again), or the lane needs a larger machine."
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
    data: np.ndarray[Any, Any],
    indices: np.ndarray[Any, Any],
    indptr: np.ndarray[Any, Any],
    *,
    shape: tuple[int, int],
    where: str,
) -> Any:
    """Check the three arrays of a CSR matrix and return it as canonical int32 counts.

    Offsets and column numbers are checked before scipy sees them: its compiled loops trust
    them, and a damaged file would end the process instead of raising an error.
    """
    _check_structure(data, indices, indptr, shape=shape, where=where)
    values, low = as_int32(data, where)
    columns = indices.astype(np.int32, copy=False)
    matrix = sparse.csr_matrix((values, columns, indptr), shape=shape, copy=False)
    if not matrix.has_canonical_format:
        matrix.sum_duplicates()
    if low == 0:
        matrix.eliminate_zeros()
    return matrix


def _check_structure(
    data: np.ndarray[Any, Any],
    indices: np.ndarray[Any, Any],
    indptr: np.ndarray[Any, Any],
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


def as_int32(values: np.ndarray[Any, Any], where: str) -> tuple[np.ndarray[Any, Any], int]:
    """Return ``values`` as int32 and their minimum (1 if empty); only whole counts pass."""
    if values.size == 0:
        return values.astype(np.int32), 1
    check_counts(values, where)
    high = values.max()
    if high > _INT32_MAX:
        msg = (
            f"{where} holds {high:g}, which no UMI count can be (the largest that fits is "
            f"{_INT32_MAX:,}). Load the raw counts."
        )
        raise WrongScaleError(msg)
    return values.astype(np.int32, copy=False), int(values.min())


def check_not_empty(lane: Lane) -> None:
    """Raise :class:`LaneError` for a lane without cells or without features."""
    n_cells, n_features = lane.counts.shape
    if n_cells == 0 or n_features == 0:
        what = "no cells" if n_cells == 0 else "no features"
        msg = (
            f"{lane.path} ({lane.format}) holds {what} ({n_cells} barcodes × {n_features} "
            "features). A lane needs at least one of each: check that the pipeline finished and "
            "that this is its filtered matrix, or take the lane out of the sample sheet."
        )
        raise LaneError(msg)


def check_barcodes(barcodes: pd.Index, path: Path) -> None:
    """Raise :class:`LaneError` where a barcode occurs twice in a lane."""
    if barcodes.is_unique:
        return
    repeated = barcodes[barcodes.duplicated()].unique()
    msg = (
        f"{path}: barcodes occur more than once ({len(repeated)}, for example "
        f"{', '.join(map(str, repeated[:3]))}). One file must hold one lane: if several lanes "
        "were merged into it, give each lane as its own file, or make the barcodes unique."
    )
    raise LaneError(msg)
