"""The main job: its steps, their options, and how it goes on after an interruption."""

from __future__ import annotations
