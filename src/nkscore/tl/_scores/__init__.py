"""Scores of gene sets."""

from __future__ import annotations
