"""The one way to write a file completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    import h5py

#: No space, no quota left, or a limit on the size of files.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path next to ``path``; without an error, it then replaces ``path``."""
    # The end of a name stays: it tells some writers how to compress.
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Give a new HDF5 file at ``path``; where the disk is full, raise ``OSError`` at the end.

    libhdf5 itself ends the process if a file cannot be written while it is closed.
    """
    import h5py

    with path.open("wb", buffering=0) as raw, path.open("rb") as written:
        disk = _Disk(raw, written)
        with h5py.File(disk, "w") as file:
            yield file
    if disk.error is not None:
        raise disk.error


class _Disk(io.RawIOBase):
    """A file for libhdf5 that keeps its first error instead of raising it."""

    def __init__(self, raw: BinaryIO, written: BinaryIO) -> None:
        self._raw, self._written = raw, written
        self._place = self._size = 0
        self.error: OSError | None = None

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = start + place
        return self._place

    def tell(self) -> int:
        return self._place

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            if self.error is None:
                self._raw.seek(self._place)
            while len(left) and self.error is None:
                left = left[self._raw.write(left) :]
        except OSError as error:
            self.error = error
        self._place += size
        self._size = max(self._size, self._place)
        return size

    def readinto(self, data: memoryview) -> int:  # type: ignore[override]
        self._written.seek(self._place)
        found = self._written.read(len(data))
        data[:] = found.ljust(len(data), b"\0")
        self._place += len(data)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._place if size is None else size
        try:
            if self.error is None:
                self._raw.truncate(self._size)
        except OSError as error:
            self.error = error
        return self._size


def is_full(error: BaseException) -> bool:
    """Whether the disk is full, a quota is used up, or a file would be too large."""
    if not isinstance(error, OSError):
        return False
    # numpy reports a short write without its reason.
    return error.errno in _FULL or "requested and" in str(error)
