"""How much memory is free, and what does not fit into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nkscore.errors import MemoryNeededError

#: Share of the free memory that one step may take.
_MOST: Final = 0.8


def check_fits(n_bytes: int, purpose: str) -> None:
    """Raise :class:`MemoryNeededError` if a matrix in files cannot be loaded."""
    free = free_memory()
    if n_bytes > _MOST * free:
        msg = (
            f"{purpose} needs the counts in memory; they take {n_bytes / 1e9:.1f} GB, and "
            f"{free / 1e9:.1f} GB are free. Use fewer cells, or a machine with more memory."
        )
        raise MemoryNeededError(msg)


def free_memory() -> int:
    """Return the bytes of memory that this process can take without swapping."""
    free = _free_of_machine()
    for limit, used in _limits():
        free = min(free, max(0, limit - used))
    return free


def _free_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(found.split()[1]) << 10
    except (OSError, StopIteration):
        # Other systems do not say how much is free: half of what they have, if they say that.
        if not hasattr(os, "sysconf"):
            return 1 << 62
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _limits() -> list[tuple[int, int]]:
    """Return limits of the containers or jobs that hold the process, with what they use."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="ascii").partition("::")[2].strip()
    except OSError:
        return []
    folder = Path("/sys/fs/cgroup") / own.lstrip("/")
    found = []
    for place in (folder, *folder.parents):
        try:
            limit = (place / "memory.max").read_text(encoding="ascii").strip()
            used = (place / "memory.current").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit() and used.isdigit():
            found.append((int(limit), int(used)))
    return found
