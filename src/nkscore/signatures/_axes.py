"""Axes of a tumor cell's state: one signed set of genes each, the same for cells and patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nkscore.signatures._catalog import get
from nkscore.signatures._programs import dormancy_components, packaged_programs
from nkscore.signatures._signature import Signature

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The axes, in the order of tables and figures.
AXES: Final = ("low_myc", "g0", "growth", "diapause", "senescence", "apoptosis", "interferon")
#: Prefix of the parts of the axes among the sets of the programs.
AXIS: Final = "axis: "
#: Genes of phases that follow G1: a cell in G1 has few of their transcripts, as a cell in G0 has.
_PHASES: Final = ("TIROSH2016_G1S", "TIROSH2016_G2M", "HALLMARK_G2M_CHECKPOINT")
_LARGE: Final = (
    "3 3L 4 5 6 7 7A 8 9 10 10A 11 12 13 13A 14 15 17 18 18A 19 21 22 23 23A 24 26 27 27A 28 29 30 "
    "31 32 34 35 35A 36 36A 37 37A 38 39 41"
)
_SMALL: Final = (
    "2 3 3A 4X 4Y1 5 6 7 8 9 10 11 12 13 14 15 15A 16 17 18 19 20 21 23 24 25 26 27 27A 27L 28 29"
)
#: Proteins of the ribosome that only the ribosome uses.
RIBOSOME: Final = (
    "RPLP0",
    "RPLP1",
    "RPLP2",
    *(f"RPL{name}" for name in _LARGE.split()),
    *(f"RPS{name}" for name in _SMALL.split()),
)


@dataclass(frozen=True, slots=True)
class AxisPart:
    """Genes that change together on an axis, and whether they rise (1) or fall (-1) along it."""

    name: str
    genes: tuple[str, ...]
    sign: int


def axis_parts() -> dict[str, list[AxisPart]]:
    """Return the parts of each axis; parts of one axis have no gene in common."""
    parts, programs = dormancy_components(), packaged_programs()
    later = {gene for name in _PHASES for gene in get(name).genes}
    g0, diapause = parts["g0"], parts["diapause"]
    resting = tuple(gene for gene in g0.down if gene not in later)
    dying = frozenset(parts["apoptosis"].genes)
    return {
        "low_myc": [AxisPart("myc", parts["myc"].genes, -1)],
        "g0": [AxisPart("g0_up", g0.up, 1), AxisPart("g0_down", resting, -1)],
        "growth": [
            AxisPart("biosynthesis", parts["biosynthesis"].genes, 1),
            AxisPart("ribosome", RIBOSOME, 1),
        ],
        "diapause": [
            AxisPart("diapause_up", diapause.up, 1),
            AxisPart("diapause_down", diapause.down, -1),
        ],
        "senescence": [
            AxisPart("senescence", tuple(g for g in parts["senescence"].genes if g not in dying), 1)
        ],
        "apoptosis": [AxisPart("apoptosis", parts["apoptosis"].genes, 1)],
        "interferon": [AxisPart("interferon", programs["type_i_ifn"].members(), 1)],
    }


def axis_sets() -> dict[str, Signature]:
    """Return the genes of each part of each axis."""
    return {
        f"{AXIS}{part.name}": Signature(part.name, part.genes)
        for parts in axis_parts().values()
        for part in parts
    }


def incomplete_axes(found: Iterable[str]) -> dict[str, list[str]]:
    """Return the axes with a part that is not among the sets found, and those parts."""
    there = set(found)
    lacking = {
        axis: [part.name for part in parts if f"{AXIS}{part.name}" not in there]
        for axis, parts in axis_parts().items()
    }
    return {axis: names for axis, names in lacking.items() if names}


def tumor_axes() -> dict[str, Signature]:
    """Return the axes of a tumor cell's state, for cells and for samples of patients.

    Returns
    -------
    Seven signed sets; a high score means more of what the name says. ``low_myc``: MYC targets down
    (Hallmark V1 and V2 without the S and G2/M genes of Tirosh 2016 and without ribosomal proteins,
    which follow growth rather than MYC). ``g0``: quiescence (Wiecek 2023) without genes of the S
    and G2/M phases, so that a cell in G1 of the cycle is not counted as resting. ``growth``:
    mTORC1 targets, oxidative phosphorylation and ribosomal proteins. ``diapause`` (Rehman 2021),
    ``senescence`` (SenMayo, Fridman 2008), ``apoptosis`` (Hallmark) and ``interferon`` (Hallmark
    interferon alpha, without HLA genes): without transcripts of NK cells. ``docs/dormancy.md``
    shows which axis moves in which known situation.

    Examples
    --------
    >>> from nkscore import signatures
    >>> axes = signatures.tumor_axes()
    >>> list(axes)
    ['low_myc', 'g0', 'growth', 'diapause', 'senescence', 'apoptosis', 'interferon']
    >>> len(axes["g0"].up), "NPM1" in axes["low_myc"].down, "RPS6" in axes["growth"].up
    (27, True, True)
    """
    made = {}
    for name, parts in axis_parts().items():
        up, down = (
            tuple(gene for part in parts if part.sign == sign for gene in part.genes)
            for sign in (1, -1)
        )
        made[name] = Signature(name, up, down)
    return made
