"""Associations, shifts and survival."""

from __future__ import annotations
