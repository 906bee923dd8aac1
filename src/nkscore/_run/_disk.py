"""Runs whose counts stay in files: when, where, and how parts of such runs are stored."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import h5py

from nkscore._counts._memory import free_memory
from nkscore._run import _contents
from nkscore._samples._matrices import attach as attach_counts
from nkscore._samples._stored import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from anndata import AnnData

Backed = Literal["auto", "always", "never"]

_LOG = logging.getLogger("nkscore")
#: Attribute of a part whose counts are in another file.
_COUNTS: Final = "nkscore_counts"
#: Peak of a run in memory, in matrices of 8 bytes per count; benchmarks/disk.py found 4.4.
_MATRICES: Final = 5.0
_LIBRARIES: Final = 600_000_000
_MOST: Final = 0.8
#: Bytes of a file per stored count where its header does not tell their number.
_PACKED, _PLAIN = 3, 10


class Parts(Protocol):
    """What a store needs of the parts of a run."""

    def path(self, name: str, key: str, suffix: str = ".h5") -> Path:
        """Return the path of a part."""

    def writing(self, name: str, key: str, suffix: str = ".h5") -> AbstractContextManager[Path]:
        """Give a temporary path for a part, which is put in place at the end."""


@dataclass(frozen=True, slots=True)
class Store:
    """Gives the counts of one step a separate file among the parts of a run."""

    parts: Parts
    step: str
    key: str

    def holding(self, make: Callable[[Path], AnnData]) -> AnnData:
        """Return what ``make`` made, with its counts in the file that it wrote."""
        with self.parts.writing(_name(self.step), self.key) as path:
            adata = make(path)
        attach_counts(adata, self.parts.path(_name(self.step), self.key))
        return adata


def _name(step: str) -> str:
    return f"counts_{step}"


def notes_of(adata: AnnData) -> dict[str, str]:
    """Return the attribute that says where the counts of a part are, nothing for memory."""
    found = place_of(adata)
    if found is None:
        return {}
    return {_COUNTS: json.dumps({"file": Path(found.path).name, "target_sum": found.target_sum})}


def attach(adata: AnnData, part: Path) -> None:
    """Give the cells of a part their counts in the file that its attribute names."""
    place = _counts_of(part)
    if place is not None:
        attach_counts(adata, part.parent / place["file"], place["target_sum"])


def is_complete(part: Path) -> bool:
    """Whether the counts of a finished part are in it, or in a file that is whole."""
    place = _counts_of(part)
    return place is None or _contents.is_sealed(part.parent / place["file"])


def _counts_of(part: Path) -> dict[str, Any] | None:
    with h5py.File(part, "r") as file:
        text = file.attrs.get(_COUNTS)
    return None if text is None else dict(json.loads(text))


def from_disk(backed: str, files: Iterable[Path]) -> bool:
    """Return whether counts are to stay in files; by default if memory may not suffice."""
    if backed != "auto":
        return backed == "always"
    n_counts = sum(map(stored_counts, files))
    needed, free = int(8 * _MATRICES * n_counts) + _LIBRARIES, free_memory()
    use = needed > _MOST * free
    _LOG.info(
        "About %.3g counts need %.1f GB of memory, %.1f GB are free: counts are kept in %s.",
        n_counts,
        needed / 1e9,
        free / 1e9,
        "files" if use else "memory",
    )
    return use


def stored_counts(file: Path) -> int:
    """Return about how many counts a file of a lane holds: from its header, or from its size."""
    if file.suffix in {".h5", ".h5ad", ".h5mu", ".loom"}:
        try:
            with h5py.File(file, "r") as opened:
                return _largest(opened)
        except OSError:
            # The reader says what is wrong with it.
            return 0
    size = file.stat().st_size
    return size // (_PLAIN if file.suffix in {".mtx", ".tsv", ".csv", ".txt"} else _PACKED)


def _largest(file: h5py.File) -> int:
    sizes = [0]

    def look(name: str, found: object) -> None:
        if isinstance(found, h5py.Dataset) and name.rpartition("/")[2] in {"data", "matrix", "X"}:
            sizes.append(int(found.size))

    file.visititems(look)
    return max(sizes)
