"""Open .h5ad files and AnnData zarr stores; check a zarr store before it is read."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nkscore.errors import LaneError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Files that make a folder a zarr group, of format 2 and 3.
MARKERS: Final = frozenset({".zgroup", "zarr.json"})
_METADATA: Final = frozenset({".zarray", "zarr.json"})


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an AnnData file or store for reading; both give groups and arrays by name."""
    if path.is_dir():
        import zarr

        check_codecs(path)
        yield zarr.open_group(str(path), mode="r")
        return
    import h5py

    with h5py.File(path, "r") as file, warnings.catch_warnings():
        # Files of anndata 0.7 are read as they are; their user can change nothing about them.
        warnings.filterwarnings("ignore", message=".*was written without encoding metadata")
        yield file


def check_codecs(path: Path) -> None:
    """Refuse a store whose arrays can only be read by running stored code."""
    for folder, _, names in os.walk(path):
        for name in _METADATA.intersection(names):
            file = Path(folder) / name
            if "pickle" in _codecs(json.loads(file.read_text(encoding="utf-8"))):
                msg = (
                    f"{file}: this array is stored as Python pickles, which run as code when they "
                    "are read; nkscore never does that. Ask its author to write the "
                    "store with anndata's write_zarr."
                )
                raise LaneError(msg)


def _codecs(metadata: object) -> set[str]:
    if isinstance(metadata, list):
        return set().union(*(_codecs(item) for item in metadata))
    if not isinstance(metadata, dict):
        return set()
    found = set().union(*(_codecs(item) for item in metadata.values()))
    own = {str(metadata.get(key, "")).lower().rpartition(".")[2] for key in ("id", "name")}
    return found | own


def check_complete(array: object, where: str) -> None:
    """Raise :class:`LaneError` if chunks of a zarr array are missing.

    zarr silently fills them with zeros, but the values of a sparse matrix are not zero.
    """
    total = getattr(array, "nchunks", 0)
    missing = total - getattr(array, "nchunks_initialized", total)
    if missing:
        msg = (
            f"{where} lacks {missing} of its {total} chunks: the store was not copied "
            "completely. Copy or download it again, preferably as one archive."
        )
        raise LaneError(msg)
