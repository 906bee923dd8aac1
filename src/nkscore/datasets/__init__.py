"""Simulated co-culture experiments with a known truth, and public data sets.

``simulate_coculture`` makes an experiment, ``simulate_transfer`` NK cells of patients after
transfer, ``use_truth`` fills the slots of ``pp`` with the
simulated truth, ``write_lanes`` writes the experiment as 10x lanes with a sample sheet.
``registry`` lists public data sets, ``fetch`` downloads one.
"""

from __future__ import annotations

from nkscore.datasets._clones import Clones
from nkscore.datasets._contacts import Contacts
from nkscore.datasets._lines import LINES
from nkscore.datasets._registry import fetch, registry
from nkscore.datasets._simulate import simulate_coculture
from nkscore.datasets._transfer import simulate_transfer
from nkscore.datasets._truth import use_truth
from nkscore.datasets._write import write_lanes

__all__ = [
    "LINES",
    "Clones",
    "Contacts",
    "fetch",
    "registry",
    "simulate_coculture",
    "simulate_transfer",
    "use_truth",
    "write_lanes",
]
