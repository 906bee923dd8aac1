"""The one door to the counts: row blocks from memory and from files."""

from __future__ import annotations
