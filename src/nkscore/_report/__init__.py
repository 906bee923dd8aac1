"""One HTML file of an analysis, and the lists of tables and figures that it shares with the CLI."""

from __future__ import annotations

from nkscore._report._write import report

__all__ = ["report"]
