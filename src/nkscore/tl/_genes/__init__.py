"""Genes that matter: screens and perturbed cells."""

from __future__ import annotations
