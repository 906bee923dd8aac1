"""Composition of cell states."""

from __future__ import annotations
