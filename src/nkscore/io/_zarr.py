"""Open .h5ad files and AnnData zarr stores; check a zarr store before it is read."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore._gate import SMALL, check_claim, check_regular
from nkscore._warn import warn
from nkscore.errors import LaneError
from nkscore.io._lane import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nkscore._types import Array

#: Files that make a folder a zarr group, of format 2 and 3.
MARKERS: Final = frozenset({".zgroup", "zarr.json"})
_NO_CHUNKS: Final = frozenset({".zarray", ".zattrs", ".zmetadata", "zarr.json"})
_METADATA: Final = frozenset({".zarray", "zarr.json"})


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an AnnData file or store for reading; both give groups and arrays by name."""
    if path.is_dir():
        import zarr

        check_store(path)
        yield zarr.open_group(str(path), mode="r")
        return
    import h5py

    with h5py.File(path, "r") as file, warnings.catch_warnings():
        # Files of anndata 0.7 are read as they are; their user can change nothing about them.
        warnings.filterwarnings("ignore", message=".*was written without encoding metadata")
        yield file


def check_store(path: Path) -> None:
    """Refuse a store that runs stored code, claims more than it holds, or holds pipes."""
    for folder, _, names in os.walk(path):
        for name in names:
            check_regular(Path(folder) / name)
        for name in _METADATA.intersection(names):
            file = Path(folder) / name
            check_claim(file.stat().st_size, 0, f"{file},")
            metadata = json.loads(file.read_text(encoding="utf-8"))
            if "pickle" in _codecs(metadata):
                msg = (
                    f"{file}: this array is stored as Python pickles, which run as code when they "
                    "are read; nkscore never does that. Ask its author to write the "
                    "store with anndata's write_zarr."
                )
                raise LaneError(msg)
            _check_size(metadata, Path(folder))
            _check_chunks(metadata, Path(folder))


def _check_size(metadata: dict[str, Any], folder: Path) -> None:
    if not isinstance(metadata.get("shape"), list):
        return
    kind = metadata.get("dtype", metadata.get("data_type"))
    # Kinds are named by bytes in format 2 ("<i4") and by bits in format 3 ("int32").
    digits = re.search(r"\d+", str(kind))
    width = int(digits[0]) if digits else 8
    width = width // 8 if digits and "dtype" not in metadata else width
    chunk = math.prod(_chunk_shape(metadata)) * max(1, width)
    claimed = max(math.prod(metadata["shape"]) * max(1, width), chunk)
    if claimed > SMALL:
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        check_claim(claimed, stored, f"{folder},")


def _check_chunks(metadata: dict[str, Any], folder: Path) -> None:
    """Refuse chunks that announce more bytes or texts than they can hold.

    Their decoders take the memory for it first.
    """
    if not isinstance(metadata.get("shape"), list):
        return
    if not _codecs(metadata) & {"blosc", "vlen-utf8"}:
        return
    shape = _chunk_shape(metadata)
    own = metadata.get("codecs", [])
    shard: dict[str, Any] = next((c for c in own if c.get("name") == "sharding_indexed"), {})
    # A shard is an archive of smaller chunks, and says how they are packed.
    packed = shard.get("configuration", metadata)
    codecs, most = _codecs(packed), math.prod(packed["chunk_shape"] if shard else shape)
    for file in folder.rglob("*"):
        if file.name in _NO_CHUNKS or not file.is_file():
            continue
        content = _mapped(file)
        for chunk in _chunks_of(file, content, packed, shape) if shard else (content,):
            if "blosc" in codecs:
                claimed = int.from_bytes(chunk[4:8].tobytes(), "little")
                check_claim(claimed, len(chunk), f"{file},")
            if "vlen-utf8" in codecs:
                _check_text(file, chunk.tobytes(), packed, most)


def _chunk_shape(metadata: dict[str, Any]) -> list[int]:
    grid = metadata.get("chunk_grid", {}).get("configuration", {}).get("chunk_shape")
    return list(metadata.get("chunks") or grid or [1])


def _chunks_of(
    file: Path, content: Array, shard: dict[str, Any], shape: list[int]
) -> Iterator[Array]:
    """Yield the chunks of a shard: an archive with an index of their places and sizes."""
    pairs = zip(shape, shard["chunk_shape"], strict=True)
    rows = math.prod(-(-whole // part) for whole, part in pairs)
    size = 16 * rows + (4 if "crc32c" in _codecs(shard.get("index_codecs", [])) else 0)
    if size > len(content):
        msg = (
            f"{file} is shorter than its index: it is truncated. Copy or download the store again."
        )
        raise LaneError(msg)
    start = 0 if shard.get("index_location") == "start" else len(content) - size
    index = np.frombuffer(content[start : start + 16 * rows].tobytes(), dtype="<u8")
    for place, length in index.reshape(rows, 2).tolist():
        if place + length <= len(content):
            yield content[place : place + length]


def _mapped(file: Path) -> Array:
    """Return the bytes of a file, which are read where they are looked at."""
    return np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)


def _check_text(file: Path, content: bytes, metadata: dict[str, Any], most: int) -> None:
    """Refuse a chunk whose first four bytes, the number of its texts, are more than it holds."""
    import numcodecs

    packed = metadata.get("compressor")
    for codec in metadata.get("codecs", []):
        if codec.get("name") in {"blosc", "zstd", "gzip"}:
            packed = {"id": codec["name"]}
    if packed:
        with reading(file):
            content = bytes(numcodecs.get_codec(packed).decode(content))
    announced = int.from_bytes(content[:4], "little")
    if announced > most:
        msg = (
            f"{file} announces {announced:,} texts, and a chunk holds {most:,}: it is damaged. "
            "Copy or download the store again."
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

    zarr silently fills them with zeros or empty text, which names and sparse values never are.
    """
    missing, total = _missing(array)
    if missing:
        msg = (
            f"{where} lacks {missing} of its {total} chunks: the store was not copied "
            "completely. Copy or download it again, preferably as one archive."
        )
        raise LaneError(msg)


def check_columns(group: Any, where: str) -> None:  # noqa: ANN401 (of zarr or HDF5)
    """Refuse a table that lacks text, and warn of numbers and levels that may be lost.

    zarr stores no chunk that holds nothing but zeros.
    """
    doubtful = []
    for name in group:
        column = group[name]
        if hasattr(column, "keys"):
            levels, codes = column.get("categories"), column.get("codes")
            check_complete(levels, f"{where}, {name}, categories")
            if levels is not None and levels.shape[0] > 1 and _missing(codes)[0]:
                doubtful.append(str(name))
        elif getattr(column.dtype, "kind", "O") in "biuf":
            doubtful += [str(name)] if _missing(column)[0] else []
        else:
            check_complete(column, f"{where}, {name}")
    if doubtful:
        msg = (
            f"{where} has no stored values in parts of {', '.join(doubtful)}. They are read as 0 "
            "or as the first level. If that is not what they were, the store was not copied "
            "completely: copy it again."
        )
        warn(msg)


def _missing(array: object) -> tuple[int, int]:
    total = getattr(array, "nchunks", 0)
    return total - getattr(array, "nchunks_initialized", total), total
