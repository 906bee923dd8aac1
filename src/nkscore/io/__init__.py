"""Load lanes: sample sheet → 10x .h5, 10x folders, .h5ad → one AnnData.

``read_coculture`` loads an experiment by its sample sheet, ``read_lane`` a single lane, and
``read_sample_sheet`` checks a sheet before the data are there.
"""

from __future__ import annotations

from nkscore.io._coculture import read_coculture, read_lane, read_sample_sheet

__all__ = ["read_coculture", "read_lane", "read_sample_sheet"]
