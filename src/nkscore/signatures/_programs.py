"""Programs of tumor cells as data: genes, size of the change, and exclusions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore.errors import MissingKeyError
from nkscore.signatures._catalog import get, nearest
from nkscore.signatures._signature import Signature
from nkscore.signatures._tables import read_table, synonyms

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from nkscore._types import Bools

#: Name for ribosomal proteins among the sets that a program excludes.
RIBOSOMAL: Final = "RIBOSOMAL_PROTEINS"
_PATTERNS: Final = {RIBOSOMAL: re.compile(r"^RP[LS]P?\d+[AXYL]?\d*$")}
#: Genes whose share of a cell's RNA changes for unrelated reasons.
_UNSTEADY: Final = re.compile(
    r"^(MT-|RP[LS]P?\d|HLA-|IG[HKL][VDJCGAME]|HB[ABGDEZMQ]\d?$|MALAT1$|NEAT1$|B2M$|FT[LH]1?$)"
)


_CYCLE: Final = (
    "TIROSH2016_G1S",
    "TIROSH2016_G2M",
    "HALLMARK_E2F_TARGETS",
    "HALLMARK_G2M_CHECKPOINT",
)


@dataclass(frozen=True, slots=True)
class TumorProgram:
    """A set of genes whose summed counts have one of two levels in the cells of a line.

    ``genes`` and ``without`` name sets of the catalog; a leading ``-`` takes a set's genes that go
    down. Genes of ``without`` are excluded. ``fold`` is the initial ratio of the other level to the
    baseline level, ``bounds`` its limits. ``within`` names a program; cells are then compared only
    with cells in the same state of that program (matched for the cell cycle). ``excluded_by`` names
    programs that prevent this one from becoming the label of a cell. An ``induced`` program is off
    in monocultures by definition, and on in cells that exceed them. In a ``rare`` program the
    baseline level is the more frequent one.
    """

    genes: tuple[str | Signature, ...]
    without: tuple[str | Signature, ...] = ()
    fold: float = 2.0
    bounds: tuple[float, float] = (1.4, 50.0)
    within: str = ""
    excluded_by: tuple[str, ...] = ()
    induced: bool = False
    rare: bool = False

    def members(self) -> tuple[str, ...]:
        """Symbols of the program's genes, each once."""
        drop: set[str] = set()
        patterns = [_PATTERNS[n] for n in self.without if n in _PATTERNS]
        for source in self.without:
            if source not in _PATTERNS:
                drop.update(_one_direction(source, both=True))
        found = dict.fromkeys(g for source in self.genes for g in _one_direction(source))
        return tuple(g for g in found if g not in drop and not any(p.match(g) for p in patterns))


def _one_direction(source: str | Signature, *, both: bool = False) -> tuple[str, ...]:
    if isinstance(source, Signature):
        return source.genes if both else source.up
    if source.startswith("-"):
        return get(source[1:]).down
    return get(source).genes if both else get(source).up


def tumor_programs() -> pd.DataFrame:
    """Return the packaged programs of tumor cells, one row each.

    Returns
    -------
    DataFrame with ``program``, ``group`` (``core``, ``response``, ``stress``, ``ligands``, ``aml``,
    ``mm``), ``genes`` and ``without`` (sets of the catalog, separated by commas; ``-`` before a set
    takes its genes that go down), ``fold``, ``low``, ``high`` (initial ratio of the two levels and
    its limits), ``induced``, ``rare``, ``within``, ``excluded_by``, ``n_genes``, ``source`` (DOI or
    PMID of the sets) and ``note``.

    Examples
    --------
    >>> from nkscore import signatures
    >>> programs = signatures.tumor_programs().set_index("program")
    >>> programs.loc["senescence_like", "note"][:36]
    'without transcripts of NK cells and '
    """
    table = read_table("tumor_programs.tsv").copy()
    known = packaged_programs()
    table["n_genes"] = [len(known[name].members()) for name in table["program"]]
    table["source"] = [
        own or "; ".join(dict.fromkeys(get(n.lstrip("-")).doi for n in sets.split(",")))
        for own, sets in zip(table["source"], table["genes"], strict=True)
    ]
    table["induced"], table["rare"] = table["induced"].astype(bool), table["rare"].astype(bool)
    return table


@cache
def packaged_programs() -> dict[str, TumorProgram]:
    """Return the packaged programs by name; shared, never changed."""
    return {
        row["program"]: TumorProgram(
            genes=_names(row["genes"]),
            without=_names(row["without"]),
            fold=float(row["fold"]),
            bounds=(float(row["low"]), float(row["high"])),
            within=row["within"],
            excluded_by=_names(row["excluded_by"]),
            induced=bool(row["induced"]),
            rare=bool(row["rare"]),
        )
        for row in read_table("tumor_programs.tsv").to_dict("records")
    }


@cache
def program_groups() -> dict[str, tuple[str, ...]]:
    """Return the names of the packaged programs by group."""
    table = read_table("tumor_programs.tsv")
    return {
        str(group): tuple(part["program"]) for group, part in table.groupby("group", sort=False)
    }


def get_program(name: str) -> TumorProgram:
    """Return one packaged program, or raise :class:`MissingKeyError` with the nearest names."""
    known = packaged_programs()
    if name not in known:
        msg = (
            f"There is no packaged tumor program {name!r}; one of the {len(known)} programs or a "
            f"group ({', '.join(program_groups())}) is needed. {nearest(name, known)}"
            "signatures.tumor_programs() lists all; TumorProgram(...) makes your own."
        )
        raise MissingKeyError(msg)
    return known[name]


def dormancy_components() -> dict[str, Signature]:
    """Return the gene sets of the index of dormancy, each gene in one of them.

    Returns
    -------
    ``myc`` (targets without cell-cycle genes), ``biosynthesis`` (mTORC1 targets and oxidative
    phosphorylation without the former), ``diapause`` (up and down), ``g0`` (up and down),
    ``senescence``, ``apoptosis``, and ``dormant_like``: the first four combined, up for genes that
    dormant-like cells express more.

    Examples
    --------
    >>> from nkscore import signatures
    >>> parts = signatures.dormancy_components()
    >>> {name: (len(part.up), len(part.down)) for name, part in parts.items() if name == "g0"}
    {'g0': (27, 112)}
    """
    programs = packaged_programs()
    myc = programs["low_myc_dormant_like"]
    biosynthesis = TumorProgram(
        ("HALLMARK_MTORC1_SIGNALING", "HALLMARK_OXIDATIVE_PHOSPHORYLATION"),
        (*myc.without, *myc.genes, *_CYCLE, "WIECEK2023_QUIESCENCE_COMMON", "REHMAN2021_DIAPAUSE"),
    ).members()
    g0 = get("WIECEK2023_QUIESCENCE_COMMON")
    other = frozenset((*myc.members(), *g0.genes, *TumorProgram(_CYCLE).members()))
    diapause = get("REHMAN2021_DIAPAUSE")
    up, down = (tuple(g for g in part if g not in other) for part in (diapause.up, diapause.down))
    low = dict.fromkeys((*myc.members(), *biosynthesis, *down, *g0.down))
    return {
        "myc": Signature("myc", myc.members()),
        "biosynthesis": Signature("biosynthesis", biosynthesis),
        "diapause": Signature("diapause", up, down),
        "g0": Signature("g0", g0.up, g0.down),
        "senescence": Signature("senescence", programs["senescence_like"].members()),
        "apoptosis": Signature("apoptosis", programs["apoptosis"].members()),
        "dormant_like": Signature(
            "dormant_like", tuple(g for g in (*up, *g0.up) if g not in low), tuple(low)
        ),
    }


def reference_genes(var_names: pd.Index[str], counted: Iterable[str] = ()) -> Bools:
    """Return the genes that measure depth: stable genes outside all packaged programs.

    ``counted`` are further genes to exclude, those of custom programs.
    """
    programs, other_names = packaged_programs(), synonyms()
    names = [n for g in ("core", "response", "stress") for n in program_groups()[g]]
    genes = {gene for name in names for gene in programs[name].members()} | set(counted)
    for part in dormancy_components().values():
        genes.update(part.genes)
    genes.update(*(other_names.get(gene, ()) for gene in tuple(genes)))
    return np.array(
        [str(name) not in genes and _UNSTEADY.match(str(name)) is None for name in var_names],
        dtype=bool,
    )


def found_genes(var_names: pd.Index[str], signature: Signature) -> tuple[str, ...]:
    """Return a signature's genes that the data contain under any name."""
    other_names = synonyms()
    return tuple(
        gene
        for gene in signature.genes
        if any(name in var_names for name in (gene, *other_names.get(gene, ())))
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in str(text).split(",") if part)
