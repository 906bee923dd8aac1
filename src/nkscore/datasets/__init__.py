"""Simulated co-culture experiments with a known truth.

``simulate_coculture`` makes an experiment, ``use_truth`` fills the slots of ``pp`` with the
planted truth, ``write_lanes`` writes the experiment as 10x lanes with a sample sheet.
"""

from __future__ import annotations

from nkscore.datasets._lines import LINES
from nkscore.datasets._simulate import simulate_coculture
from nkscore.datasets._truth import use_truth
from nkscore.datasets._write import write_lanes

__all__ = ["LINES", "simulate_coculture", "use_truth", "write_lanes"]
