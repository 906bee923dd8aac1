"""What donors inherit: sex, deleted genes, and alleles that differ in expression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from nkscore._types import Floats
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._random import Streams

#: Log2 of counts per million in those who express the gene.
_FEMALE: Final = {"XIST": 8.0}
_MALE: Final = {"RPS4Y1": 9.5, "DDX3Y": 6.5, "ZFY": 4.0}
#: Gene, its level in those who have it, and how many of a hundred people do: GSTM1 is deleted on
#: both chromosomes in about half of them (doi:10.1073/pnas.85.19.7293); the rest are rounded.
_CARRIED: Final = {
    "GSTM1": (5.0, 50),
    "HLA-DRB5": (6.0, 30),
    "KIR2DS4": (4.5, 60),
    "KIR2DL3": (5.0, 90),
    "ERAP2": (5.5, 75),
    "CHI3L2": (5.5, 60),
    "KLRC2": (5.5, 96),
}
#: Alleles differ in expression (SD of log2).
_ALLELES: Final = {
    "HLA-A": 0.5,
    "HLA-B": 0.4,
    "HLA-C": 0.7,
    "HLA-DRB1": 0.8,
    "HLA-DQA1": 1.2,
    "HLA-DQB1": 1.2,
    "HLA-DPB1": 0.6,
}
_ABSENT: Final = -3.5


def inherited_levels(level: Floats, donor: str, genes: Genes, streams: Streams) -> Floats:
    """Return ``level`` (log2 of counts per million per gene) with what ``donor`` inherits."""
    made = level.copy()

    def set_to(gene: str, value: float) -> None:
        place = genes.where(pd.Series([gene]))[0]
        if place >= 0:
            made[place] = value

    female = is_female(donor, streams)
    for own, wanted in ((_FEMALE, female), (_MALE, not female)):
        for gene, value in own.items():
            set_to(gene, value if wanted else _ABSENT)
    carries = 100 * streams.uniform(f"carried by {donor}", np.arange(len(_CARRIED)))
    for drawn, (gene, (value, people)) in zip(carries, _CARRIED.items(), strict=True):
        set_to(gene, value if drawn < people else _ABSENT)
    apart = streams.normal(f"alleles of {donor}", np.arange(len(_ALLELES)))
    for shift, (gene, spread) in zip(apart, _ALLELES.items(), strict=True):
        place = genes.where(pd.Series([gene]))[0]
        if place >= 0:
            made[place] += spread * shift
    return made


def is_female(donor: str, streams: Streams) -> bool:
    """Return the sex of a donor."""
    return bool(streams.uniform(f"sex of {donor}", 0)[0] < 0.5)
