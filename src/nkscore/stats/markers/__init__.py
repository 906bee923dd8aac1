"""States from markers that are raised together."""

from __future__ import annotations
