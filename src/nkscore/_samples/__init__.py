"""Cells that passed, samples, and sums per sample."""

from __future__ import annotations
