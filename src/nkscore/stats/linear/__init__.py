"""Linear models with shared variance on sums of counts."""

from __future__ import annotations
