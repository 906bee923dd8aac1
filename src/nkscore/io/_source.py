"""Inspect a path: its type, its content, and the name of its lane."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nkscore._gate import check_hdf5, check_regular, is_there
from nkscore.errors import LaneError
from nkscore.io._lane import reading

if TYPE_CHECKING:
    from pathlib import Path

_HDF5_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_HDF5_SUFFIXES: Final = (".h5", ".h5ad", ".hdf5", ".loom", ".h5seurat")

#: First bytes of files that are often mistaken for a lane, and the remedy for each.
_MISTAKEN: Final = (
    (b"\x1f\x8b", "is gzip-compressed: unpack it first (gunzip)"),
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the data: run `git lfs pull`"),
    (b"<", "is a web page (HTML or XML), not data: the download failed, repeat it"),
)

#: Names that every pipeline run gives to its output, so they cannot name a lane.
_GENERIC: Final = re.compile(
    r"(sample_)?(filtered|raw)(_(feature|peak|gene)_bc_matri(x|ces)(_h5)?)?|outs|count|counts"
    r"|(umi|read)_count|counts_(un)?filtered|gene(full)?|solo\.out|matrix|matrix_files"
    r"|(grch3|grcm3|hg|mm)\d+.*|cells_x_\w+|featurecounts",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """An existing path, with the names of its entries one level down."""

    path: Path
    kind: Literal["hdf5", "folder", "file"]
    entries: tuple[str, ...] = ()


def inspect(path: Path) -> Source:
    """Return the source at ``path``, or raise :class:`LaneError` if it is not usable."""
    if not is_there(path):
        msg = f"{path} does not exist.{nearby(path)} Check the path and that the disk is mounted."
        raise LaneError(msg)
    check_regular(path)
    with reading(path):
        if path.is_dir():
            names = (item.name for item in path.iterdir() if not item.name.startswith("._"))
            return Source(path, "folder", tuple(sorted(names)))
        with path.open("rb") as file:
            head = file.read(64)
    if head.startswith(_HDF5_SIGNATURE) or _is_hdf5_behind_text(path, head):
        return Source(path, "hdf5", _hdf5_keys(path))
    if path.suffix.lower() in _HDF5_SUFFIXES:
        raise LaneError(_not_hdf5(path, head))
    return Source(path, "file")


def _is_hdf5_behind_text(path: Path, head: bytes) -> bool:
    """Whether the file is HDF5 behind a block of text, as MuData writes it."""
    if not head.startswith(b"MuData"):
        return False
    import h5py

    return bool(h5py.is_hdf5(path))


def _hdf5_keys(path: Path) -> tuple[str, ...]:
    import h5py

    with reading(path), h5py.File(path, "r") as file:
        check_hdf5(file, path)
        return tuple(file.keys())


def _not_hdf5(path: Path, head: bytes) -> str:
    if not head:
        what = "is empty (0 bytes): copy or download it again"
    else:
        known = (text for start, text in _MISTAKEN if head.lstrip().startswith(start))
        what = next(known, f"is not an HDF5 file (it begins with {head[:8]!r})")
        if what.startswith("is not"):
            what += ": give the pipeline's .h5 or .h5ad output, or copy it again"
    return f"{path} {what}."


def nearby(path: Path) -> str:
    """Return a sentence on what exists instead of ``path``; it begins with a space."""
    folder = path.parent
    if not folder.is_dir():
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        return f" Its folder is missing, too; the path exists up to {folder}."
    names = sorted(item.name for item in folder.iterdir())
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    if close:
        return f" Did you mean {close[0]!r}?"
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f" {folder} holds: {shown or 'nothing'}."


def files_of(path: Path) -> list[Path]:
    """Return every file from which a lane at ``path`` is read, possibly with others."""
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    if not path.is_file():
        return []
    if ".mtx" in path.suffixes:
        # Its barcodes and features are next to it.
        return [file for file in path.parent.iterdir() if file.is_file()]
    return [path]


def default_lane(path: Path) -> str:
    """Return the lane name that ``path`` suggests.

    The name of the file or folder; if every pipeline run uses this name
    (``filtered_feature_bc_matrix.h5``, ``outs``, ``GRCh38``), the first parent folder with a
    specific name.

    >>> from pathlib import Path
    >>> default_lane(Path("runs/pool_1/outs/filtered_feature_bc_matrix.h5"))
    'pool_1'
    >>> default_lane(Path("GSM501_day2_matrix.mtx.gz"))
    'GSM501_day2'
    """
    own = re.sub(
        r"[._-]?matrix\.mtx(\.gz)?$|\.((mtx|csv|tsv|txt|tab)(\.gz)?|h5ad|h5|hdf5|zarr|loom|rds)$",
        "",
        path.name,
        flags=re.IGNORECASE,
    )
    own = own or "matrix"
    if not _GENERIC.fullmatch(own):
        return own
    for folder in path.parents:
        if folder.name and not _GENERIC.fullmatch(folder.name):
            return folder.name
    return own
