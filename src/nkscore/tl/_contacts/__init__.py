"""Contacts of NK and tumor cells, from pairs of hashed lanes."""

from __future__ import annotations
