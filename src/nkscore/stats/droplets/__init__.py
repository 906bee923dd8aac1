"""Which tag, which ambient share: what a droplet holds."""

from __future__ import annotations
