"""What several functions of ``pp`` and ``tl`` share; they do not import each other."""

from __future__ import annotations
