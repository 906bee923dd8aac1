"""Cell lines, NK states and other names that the simulator knows."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The 26 lines of Dufva et al. 2023 (doi:10.1016/j.immuni.2023.11.008) with their lineages, in
#: increasing order of NK activation.
LINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "697": "B-ALL",
        "KASUMI2": "B-ALL",
        "RCHACV": "B-ALL",
        "LP1": "MM",
        "JJN3": "MM",
        "PL21": "AML",
        "SKM1": "AML",
        "MM1S": "MM",
        "MONOMAC1": "AML",
        "MOLM13": "AML",
        "ALLSIL": "T-ALL",
        "MOLM14": "AML",
        "GRANTA519": "BCL",
        "NUDHL1": "BCL",
        "SUPT11": "T-ALL",
        "NALM6": "B-ALL",
        "AMO1": "MM",
        "L363": "MM",
        "DND41": "T-ALL",
        "THP1": "AML",
        "SUDHL4": "BCL",
        "OCIM1": "AML",
        "JURKAT": "T-ALL",
        "RI1": "BCL",
        "K562": "CML",
        "GDM1": "AML",
    }
)
LINEAGES: Final = ("B-ALL", "T-ALL", "AML", "CML", "BCL", "MM")
#: The six lines that were cultured with all six donors.
DEFAULT_TUMORS: Final = ("697", "ALLSIL", "JURKAT", "K562", "RI1", "GDM1")
NK_STATES: Final = ("resting", "adaptive", "activated", "type_i_ifn", "cytokine")
TUMOR_STATES: Final = ("normal", "low_myc")
PHASES: Final = ("G1", "S", "G2M")
#: Fractions of NK_STATES in NK cells alone, and in the line that activates NK cells most.
ALONE: Final = (0.54, 0.36, 0.04, 0.03, 0.03)
MOST_ACTIVATED: Final = (0.15, 0.12, 0.42, 0.20, 0.11)


def activation(tumor: str) -> float:
    """Return how strongly a line activates NK cells, 0.1 to 1; 0.5 for lines not in LINES."""
    names = list(LINES)
    return 0.1 + 0.9 * names.index(tumor) / (len(names) - 1) if tumor in LINES else 0.5
