"""Arrays of HDF5 files, read past the lock of the HDF5 library.

h5py reads and unpacks one array at a time, for any number of threads. The chunks of h5ad files are
plain bytes or gzip. Their positions are read once, and every thread then reads and unpacks the
chunks it needs.
"""

from __future__ import annotations

import os
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore._counts._whole_chunks import WholeChunks, whole_chunks
from nkscore.errors import LaneError

if TYPE_CHECKING:
    from nkscore._types import Array

#: Numbers of the filters in the HDF5 specification.
_GZIP: Final = 1
_SHUFFLE: Final = 2
#: Values that a thread takes at once; a whole number of chunks is not needed.
_AT_ONCE: Final = 1 << 20
_UNDERSTOOD: Final[tuple[list[int], ...]] = ([], [_GZIP], [_SHUFFLE, _GZIP])


@dataclass(frozen=True, eq=False)
class Chunks:
    """A one-dimensional array of numbers in a file; several threads can slice it at once."""

    name: str
    descriptor: int
    shape: tuple[int]
    dtype: np.dtype[Any]
    per_chunk: int
    #: Start of each chunk in the file, and its number of bytes.
    offsets: Array
    sizes: Array
    shuffled: bool

    def __getitem__(self, wanted: slice) -> Array:
        """Return the values from ``wanted.start`` to ``wanted.stop`` of an array of plain bytes."""
        out = np.empty(wanted.stop - wanted.start, self.dtype)
        place = wanted.start
        while place < wanted.stop:
            chunk, skip = divmod(place, self.per_chunk)
            n = min(self.per_chunk - skip, wanted.stop - place)
            low = place - wanted.start
            self._fill(out[low : low + n], int(self.offsets[chunk]) + skip * self.dtype.itemsize)
            place += n
        return out

    def _fill(self, part: Array, offset: int) -> None:
        """Read into ``part``; the system may return less than requested at once."""
        memory = part.view(np.uint8).data
        while memory:
            n = os.preadv(self.descriptor, [memory], offset)
            if n == 0:
                raise self._damaged("it ends too early")
            memory, offset = memory[n:], offset + n

    def unpack(self, chunk: int) -> Array:
        """Return all values of a gzipped chunk; the last one is filled up."""
        stored = np.empty(int(self.sizes[chunk]), np.uint8)
        self._fill(stored, int(self.offsets[chunk]))
        expected = self.per_chunk * self.dtype.itemsize
        try:
            plain = zlib.decompress(stored.data, bufsize=expected)
        except zlib.error as error:
            raise self._damaged(str(error)) from error
        if len(plain) != expected:
            raise self._damaged("a chunk does not have the expected length")
        if not self.shuffled:
            return np.frombuffer(plain, self.dtype)
        by_place = np.frombuffer(plain, np.uint8).reshape(self.dtype.itemsize, self.per_chunk)
        return np.ascontiguousarray(by_place.T).reshape(-1).view(self.dtype)

    def _damaged(self, found: str) -> LaneError:
        msg = f"{self.name} is damaged: {found}. Copy or write the file again."
        return LaneError(msg)


def unlocked(dataset: Any) -> Any:
    """Return an array of a file in the form that is fastest for several threads.

    A one-dimensional h5py dataset is read past the lock if possible. This is not possible for files
    that are open for writing, whose chunks may move, for compressions other than gzip, and on
    systems that cannot read at an offset.
    """
    library = type(dataset).__module__.partition(".")[0]
    if library == "zarr":
        return whole_chunks(dataset)
    if library != "h5py" or not hasattr(os, "preadv"):
        return dataset
    return _past_lock(dataset) or whole_chunks(dataset)


def read_array(dataset: Any, *, narrow: bool = False) -> Array:
    """Return a whole one-dimensional dataset; several threads unpack its chunks.

    With ``narrow``, whole numbers become int32, and those that do not fit its ends or -1, which no
    list of positions can hold.
    """
    source = unlocked(dataset)
    dtype = np.dtype(np.int32) if narrow and dataset.dtype.kind in "iu" else dataset.dtype
    if source is dataset:
        return _narrowed(dataset[()], dtype)
    out = np.empty(dataset.size, dtype)
    step = _AT_ONCE

    def fill(start: int) -> None:
        stop = min(start + step, out.size)
        out[start:stop] = _narrowed(source[start:stop], dtype)

    starts = range(0, out.size, step)
    with ThreadPoolExecutor(_n_threads()) as pool:
        for _ in pool.map(fill, starts):
            pass
    return out


def _n_threads() -> int:
    from numba import get_num_threads

    return int(get_num_threads())


def _narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    if values.dtype == dtype or values.dtype.itemsize <= dtype.itemsize:
        return values.astype(dtype, copy=False)
    return np.clip(values, -1, np.iinfo(dtype).max).astype(dtype)


def _past_lock(dataset: Any) -> Any:
    file = dataset.file
    if file.mode != "r" or file.driver != "sec2" or file.userblock_size:
        return None
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if dataset.ndim != 1 or dataset.dtype.kind not in "iuf" or filters not in _UNDERSTOOD:
        return None
    placed = _places(dataset)
    if placed is None:
        return None
    # A separate descriptor stays valid if the file is closed meanwhile.
    descriptor = os.dup(file.id.get_vfd_handle())
    chunks = Chunks(
        f"{file.filename}, {dataset.name},",
        descriptor,
        dataset.shape,
        dataset.dtype,
        *placed,
        shuffled=_SHUFFLE in filters,
    )
    weakref.finalize(chunks, os.close, descriptor)
    if not filters:
        return chunks
    return WholeChunks(chunks.unpack, dataset.size, chunks.per_chunk, dataset.dtype)


def _places(dataset: Any) -> tuple[int, Array, Array] | None:
    """Return values per chunk, and places and sizes of all chunks; ``None`` if not all exist."""
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            return None
        return max(1, dataset.size), np.array([offset]), np.array([dataset.nbytes])
    per_chunk = dataset.chunks[0]
    n_chunks = -(-dataset.size // per_chunk)
    offsets, sizes = np.full(n_chunks, -1, np.int64), np.zeros(n_chunks, np.int64)
    skipped = []

    def note(chunk: Any) -> None:
        number = chunk.chunk_offset[0] // per_chunk
        if number < n_chunks:
            offsets[number], sizes[number] = chunk.byte_offset, chunk.size
        # The filter mask shows chunks for which a filter was skipped.
        skipped.append(chunk.filter_mask)

    dataset.id.chunk_iter(note)
    return None if any(skipped) or (offsets < 0).any() else (per_chunk, offsets, sizes)
