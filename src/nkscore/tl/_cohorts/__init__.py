"""Scores and outcomes of patients."""

from __future__ import annotations
