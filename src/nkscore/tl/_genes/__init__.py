"""Which genes decide: screens and perturbed cells."""

from __future__ import annotations
