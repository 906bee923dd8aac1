"""What a design can answer, before the experiment."""

from __future__ import annotations
