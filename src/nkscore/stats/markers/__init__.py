"""States from coexpressed markers."""

from __future__ import annotations
