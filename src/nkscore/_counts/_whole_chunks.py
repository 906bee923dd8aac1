"""Compressed arrays of files, with each chunk unpacked once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import Array

#: Bytes of unpacked chunks to keep for the next block, and minimum number of chunks to keep.
_KEPT_BYTES: Final = 32 << 20
_KEPT: Final = 3


class WholeChunks:
    """Slices of a one-dimensional array; blocks that share a chunk share the work to unpack it.

    Safe to slice from several threads: one unpacks a chunk, the others that need it wait for it.
    """

    def __init__(self, unpack: Callable[[int], Array], n: int, per_chunk: int, dtype: Any) -> None:
        self.shape = (n,)
        self.dtype = np.dtype(dtype)
        self._unpack = unpack
        self._per_chunk = per_chunk
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[Array]] = OrderedDict()
        self._most = max(_KEPT, _KEPT_BYTES // (per_chunk * self.dtype.itemsize))

    def __getitem__(self, wanted: slice) -> Array:
        """Return the values from ``wanted.start`` to ``wanted.stop``, both within the array."""
        out = np.empty(wanted.stop - wanted.start, self.dtype)
        place = wanted.start
        while place < wanted.stop:
            chunk, skip = divmod(place, self._per_chunk)
            n = min(self._per_chunk - skip, wanted.stop - place)
            low = place - wanted.start
            out[low : low + n] = self._chunk(chunk)[skip : skip + n]
            place += n
        return out

    def _chunk(self, number: int) -> Array:
        with self._lock:
            found = self._kept.get(number)
            future: Future[Array] = found or Future()
            self._kept[number] = future
            self._kept.move_to_end(number)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if found is None:
            try:
                future.set_result(self._unpack(number))
            except BaseException as error:
                # The waiting threads must get the error, too.
                future.set_exception(error)
                raise
        return future.result()


def whole_chunks(array: Any) -> Any:
    """Return a one-dimensional zarr array, or a compressed h5py one, by whole chunks."""
    chunks = getattr(array, "chunks", None)
    if chunks is None or len(array.shape) != 1:
        return array
    n, per_chunk = int(array.shape[0]), int(chunks[0])

    def unpack(number: int) -> Array:
        return np.asarray(array[number * per_chunk : min((number + 1) * per_chunk, n)])

    return WholeChunks(unpack, n, per_chunk, array.dtype)
