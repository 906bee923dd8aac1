"""Guides of CRISPR screens in single cells."""

from __future__ import annotations
