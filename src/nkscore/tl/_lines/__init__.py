"""Sensitivity and features of lines."""

from __future__ import annotations
