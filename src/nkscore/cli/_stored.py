"""The parts of an AnnData that scoring needs, from an open h5ad file or zarr store.

Importing anndata takes longer than scoring a small file, so it is imported only for rare contents.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nkscore._gate import check_hdf5, check_regular
from nkscore.errors import LaneError
from nkscore.scoring import StoredSparse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    import pandas as pd
    import zarr


@dataclass(frozen=True)
class Stored:
    """Replaces an AnnData if only these parts are read; matrices stay in the file."""

    X: Any
    layers: dict[str, Any]
    obs_names: Any
    var_names: Any

    @property
    def n_vars(self) -> int:
        """Number of genes."""
        return len(self.var_names)

    @property
    def uns(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """Open an h5ad file or a zarr store for reading.

    Raises
    ------
    LaneError
        If it is missing, in another format or without the parts of an AnnData.
    """
    if not path.exists():
        msg = f"{path} does not exist. Give the path of an h5ad file or a zarr store."
        raise LaneError(msg)
    check_regular(path)
    if path.is_dir():
        yield _describe(_zarr_group(path), path)
        return
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = " ".join(str(error).split())
        msg = f"{path} cannot be opened as HDF5 ({reason}). Give an h5ad file or a zarr store."
        raise LaneError(msg) from error
    with file:
        check_hdf5(file, path)
        yield _describe(file, path)


def _zarr_group(path: Path) -> zarr.Group:
    try:
        import zarr
    except ImportError as error:
        msg = f"{path} is a folder; zarr is needed to read it: pip install 'nkscore[scale]'."
        raise LaneError(msg) from error
    from nkscore.io._zarr import check_store

    try:
        check_store(path)
        return zarr.open_group(path, mode="r")
    except LaneError:
        raise
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path} is a folder without a zarr group. Give an h5ad file or a zarr store."
        raise LaneError(msg) from error


def _describe(group: h5py.Group, path: Path) -> Stored:
    if "obs" not in group or "var" not in group:
        msg = f"{path} has no obs and var, so it is not an AnnData. Write it with adata.write_h5ad."
        raise LaneError(msg)
    layers = group.get("layers", {})
    try:
        return Stored(
            _matrix(group["X"]) if "X" in group else None,
            {name: _matrix(layers[name]) for name in layers},
            _names(group["obs"]),
            _names(group["var"]),
        )
    except (KeyError, AttributeError, TypeError, IndexError) as error:
        msg = (
            f"{path} is not laid out as an AnnData ({error}). Read it with anndata.read_h5ad or "
            "anndata.read_zarr and write it again."
        )
        raise LaneError(msg) from error


def _matrix(element: h5py.Dataset | h5py.Group) -> h5py.Dataset | StoredSparse:
    if not hasattr(element, "keys"):
        return element
    kind = str(element.attrs["encoding-type"])
    if kind in {"csr_matrix", "csc_matrix"}:
        return StoredSparse(element, kind[:3])
    from anndata.io import sparse_dataset

    return sparse_dataset(element)


def _names(frame: h5py.Group) -> pd.Index[str]:
    import pandas as pd

    names = frame[frame.attrs["_index"]]
    if names.attrs.get("encoding-type") == "string-array":
        text = (names.asstr() if hasattr(names, "asstr") else names)[...]
    else:
        from anndata.io import read_elem

        text = read_elem(names)
    index: pd.Index[str] = pd.Index(text)
    return index
