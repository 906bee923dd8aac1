"""What a file claims, checked before anything of it is loaded: sizes, links, kinds of files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nkscore.errors import LaneError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import h5py

#: Up to this size an array is read whatever it claims.
SMALL: Final = 1 << 26
#: Counts and names pack 3 to 30 times, tables of nearly nothing but zeros 200 times.
_MOST_PACKED: Final = 400
_MOST_ENTRIES: Final = 20_000
_MOST_OBJECTS: Final = 200_000
_MOST_IN_CHUNK: Final = 1 << 30


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with the home folder for ``~``; a name like ``~x`` of no user stays."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; none has a name that the system cannot hold."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def check_regular(path: Path) -> None:
    """Refuse pipes, sockets and devices, which may never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        msg = f"{path} is no file and no folder (a pipe or a device). Give a file."
        raise LaneError(msg)


def check_claim(claimed: int, stored: int, where: str) -> None:
    """Refuse an array whose size its bytes on disk cannot explain."""
    if claimed > max(SMALL, _MOST_PACKED * stored):
        msg = (
            f"{where} claims {claimed:,} bytes of values but stores {stored:,}. It is damaged or "
            "made to fill the memory. Copy or download the file again."
        )
        raise LaneError(msg)


def check_workbook(path: Path) -> None:
    """Refuse a pipe, and a workbook whose packed parts claim more than tables do."""
    check_regular(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            claimed = sum(part.file_size for part in packed.infolist())
        check_claim(claimed, path.stat().st_size, str(path))


def check_hdf5(file: h5py.File, path: Path) -> None:
    """Refuse an HDF5 file that reads other files, or claims more than it holds."""
    for number, (name, item) in enumerate(_objects(file, path)):
        if number > _MOST_OBJECTS:
            msg = f"{path} holds more than {_MOST_OBJECTS:,} objects. {_NOT_A_LANE}"
            raise LaneError(msg)
        where = f"{path}, {name or '/'},"
        if hasattr(item, "shape"):
            _check_dataset(item, where)


_NOT_A_LANE: Final = "That is no lane: write it again with the program that made it."


def _objects(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield all objects once, without following links out of the file."""
    import h5py

    waiting: list[tuple[str, h5py.Group | h5py.Dataset]] = [("", file)]
    seen: set[int] = set()
    while waiting:
        name, item = waiting.pop()
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            continue
        seen.add(address)
        yield name, item
        if not isinstance(item, h5py.Group):
            continue
        if len(item) > _MOST_ENTRIES:
            msg = f"{path}, {name or '/'}, holds {len(item):,} entries. {_NOT_A_LANE}"
            raise LaneError(msg)
        waiting += [(f"{name}/{key}", found) for key, found in _entries(item, f"{path}, {name}")]


def _entries(group: h5py.Group, where: str) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    import h5py

    for key in group:
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            msg = (
                f"{where}/{key}, is a link to another file ({link.filename}), which nkscore does "
                "not follow. Write the data into one file."
            )
            raise LaneError(msg)
        # A soft link leads to an object that is found by its own name, too.
        found = group.get(key) if isinstance(link, h5py.HardLink) else None
        if isinstance(found, (h5py.Group, h5py.Dataset)):
            yield key, found


def _check_dataset(data: h5py.Dataset, where: str) -> None:
    if data.external or data.is_virtual:
        msg = (
            f"{where} has its values in other files, which nkscore does not open. Write the data "
            "into one file."
        )
        raise LaneError(msg)
    if data.shape is None:
        return
    width = max(1, data.dtype.itemsize)
    if data.chunks is not None and math.prod(data.chunks) * width > _MOST_IN_CHUNK:
        msg = f"{where} has chunks of {math.prod(data.chunks) * width:,} bytes. {_NOT_A_LANE}"
        raise LaneError(msg)
    check_claim(math.prod(data.shape) * width, data.id.get_storage_size(), where)
