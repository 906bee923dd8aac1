"""Programs of tumor cells as sums of counts."""

from __future__ import annotations
