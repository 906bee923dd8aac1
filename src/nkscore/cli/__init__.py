"""Command line of nkscore."""

from __future__ import annotations

from nkscore.cli._main import main

__all__ = ["main"]
