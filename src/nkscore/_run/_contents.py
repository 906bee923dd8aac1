"""What files hold, for the names of finished parts; and the seal of such parts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nkscore._gate import expanded

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLOCK: Final = 1 << 20
_SEAL: Final = hashlib.blake2b().digest_size


def digest_of(path: Path) -> str:
    """Return the digest of a file, or of all files of a folder with their names."""
    made = hashlib.blake2b()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            made.update(f"{file.relative_to(path)}\0{digest_of(file)}\0".encode())
        return made.hexdigest()
    return _read(path, made, path.stat().st_size).hex()


def with_contents(options: object) -> object:
    """Return options with the digest of each file or zarr store that they name."""
    if isinstance(options, dict):
        return {str(name): with_contents(value) for name, value in options.items()}
    if isinstance(options, (list, tuple)):
        return [with_contents(value) for value in options]
    if isinstance(options, (str, Path)) and (path := _named(options)) is not None:
        return [str(options), digest_of(path)]
    return options


def states_of(files: Iterable[Path]) -> list[tuple[str, int, str]]:
    """Return path, time and digest of each file, by path."""
    return [(str(file), file.stat().st_mtime_ns, digest_of(file)) for file in sorted(files)]


def _named(text: str | Path) -> Path | None:
    from nkscore.io._zarr import MARKERS

    path = expanded(text)
    try:
        stored = path.is_dir() and any((path / name).is_file() for name in MARKERS)
        return path if stored or path.is_file() else None
    except (OSError, ValueError):
        # Text that is too long for a path.
        return None


def seal(path: Path) -> None:
    """Append the digest of a finished file; readers of HDF5 and npy pass over it."""
    digest = _read(path, hashlib.blake2b(), path.stat().st_size)
    with path.open("ab") as file:
        file.write(digest)


def is_sealed(path: Path) -> bool:
    """Whether a file exists and holds exactly what was sealed."""
    try:
        size = path.stat().st_size - _SEAL
        if size < 0:
            return False
        digest = _read(path, hashlib.blake2b(), size)
        with path.open("rb") as file:
            file.seek(size)
            return file.read() == digest
    except OSError:
        return False


def _read(path: Path, made: hashlib.blake2b, size: int) -> bytes:
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, _BLOCK))):
            made.update(block)
            size -= len(block)
    return made.digest()
