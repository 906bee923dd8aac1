"""How many cells are in which state."""

from __future__ import annotations
