"""Effects of many lines, screens or genes taken together."""

from __future__ import annotations
