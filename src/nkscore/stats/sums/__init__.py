"""Sums and moments of groups of cells."""

from __future__ import annotations
