"""The main job: its steps, their options, and how it resumes after an interruption."""

from __future__ import annotations
