"""Old and current names of the same gene."""

from __future__ import annotations

from functools import cache

from nkscore.signatures._tables import read_table


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Return gene to its other names, the current one first."""
    groups: dict[str, list[str]] = {}
    table = read_table("aliases.tsv")
    for old, current in zip(table["old"], table["current"], strict=True):
        groups.setdefault(current, [current]).append(old)
    return {
        name: tuple(other for other in group if other != name)
        for group in groups.values()
        for name in group
    }
