"""What the interaction changed."""

from __future__ import annotations
