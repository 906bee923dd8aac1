"""Tags and ambient share of droplets."""

from __future__ import annotations
