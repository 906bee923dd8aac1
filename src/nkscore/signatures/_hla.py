"""Names of HLA alleles, the groups that KIR see, and which receptor sees which."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from nkscore.errors import WrongScaleError
from nkscore.signatures._tables import read_table

if TYPE_CHECKING:
    import pandas as pd

#: Suffixes of names: no protein at the surface, and expression that nobody has shown.
_ABSENT: Final = "NSC"
_DOUBTFUL: Final = "QA"
_NAME: Final = re.compile(
    r"(?:HLA-)?(?P<gene>[A-Z]+\d?)\*(?P<fields>\d{2,4}(?::\d{2,4}){0,3})(?P<suffix>[NLSQCA]|[GP])?"
)
#: Several alleles that the typing could not distinguish, also as a code of the donor registries.
_CODE: Final = re.compile(r"(?:HLA-)?(?P<gene>[A-Z]+\d?)\*(?P<first>\d{2,4}):(?P<code>[A-Z]{2,})")


@dataclass(frozen=True, slots=True)
class Allele:
    """One allele: ``name`` without the prefix ``HLA-``; up to four fields; suffix or ``""``.

    ``group`` is ``C1``, ``C2``, ``Bw4-80I``, ``Bw4-80T``, ``Bw4``, ``Bw6`` or ``none``;
    ``leader`` is residue -21 of HLA-B, ``M``, ``T`` or ``""``. ``surface`` is False for null and
    secreted alleles and None where expression is questionable.
    """

    name: str
    gene: str
    fields: tuple[str, ...]
    suffix: str
    group: str
    leader: str
    surface: bool | None

    def is_of(self, prefix: str) -> bool:
        """Return whether the allele is the one named, or belongs to it (``A*03``)."""
        return self.name_of(prefix.count(":") + 1) == prefix

    def name_of(self, n_fields: int) -> str:
        """Return the name with at most so many fields."""
        return f"{self.gene}*{':'.join(self.fields[:n_fields])}"


def hla_groups() -> pd.DataFrame:
    """Return what the sequences of HLA-A, HLA-B and HLA-C show to KIR and to HLA-E.

    Returns
    -------
    DataFrame with one row per allele group (``B*13``) and one per protein that differs from its
    group (``C*16:02``): ``allele``, ``group`` (``C1``, ``C2``, ``Bw4-80I``, ``Bw4-80T``, ``Bw4``
    with another residue 80, ``Bw6``, ``none``, or ``null`` if no allele of the name makes protein),
    ``leader`` (residue -21 of HLA-B: ``M`` feeds HLA-E, ``T`` does not).

    Notes
    -----
    Groups by residue 80 of HLA-C, and residues 80, 82 and 83 of HLA-A and HLA-B, of the proteins in
    IPD-IMGT/HLA 3.58 (doi 10.1093/nar/gkac1011), by ``tools/make_hla_groups.py``. Leader: Horowitz
    et al. 2016, doi 10.1126/sciimmunol.aag1672.

    Examples
    --------
    >>> from nkscore.signatures import hla_groups
    >>> hla_groups().set_index("allele").loc[["C*07", "C*16:02", "B*07"], "group"].tolist()
    ['C1', 'C2', 'Bw6']
    """
    return read_table("hla_groups.tsv").copy()


def kir_ligands() -> pd.DataFrame:
    """Return which KIR recognizes which HLA.

    Returns
    -------
    DataFrame with one row per rule: ``receptor``, ``effect`` (``inhibitory``, ``activating``),
    ``ligand`` (a group of :func:`hla_groups`, or alleles, ``A*24``; of several that apply, the one
    with the longest name counts, and alleles count before groups), ``strength`` (``strong``;
    ``peptide``: with some peptides only; ``weak``; ``none``: has the epitope and is not a ligand),
    ``source``, ``note``.

    Examples
    --------
    >>> from nkscore.signatures import kir_ligands
    >>> rules = kir_ligands()
    >>> rules.loc[rules["receptor"] == "KIR2DL1", ["ligand", "strength"]].values.tolist()
    [['C2', 'strong']]
    """
    return read_table("kir_ligands.tsv").copy()


@cache
def silent_kir_alleles() -> tuple[str, ...]:
    """Return alleles of KIR (three digits) whose protein does not reach the surface."""
    return tuple(read_table("kir_not_expressed.tsv")["allele"])


def parse_alleles(text: str) -> tuple[Allele, ...]:
    """Return the alleles that an entry of a typing can be; several if it is ambiguous.

    ``A*24:02/03`` and ``A*24:02/A*24:03`` are two. ``HLA-``, and suffixes of IPD-IMGT/HLA (null,
    low, secreted, questionable) and of G and P groups are read. A code of the donor registries
    (``A*24:AB``) stands for its allele group.

    Raises
    ------
    WrongScaleError
        If a name is not one of HLA, or IPD-IMGT/HLA has no such allele group.
    """
    parts = [part.strip() for part in re.split(r"[/|]", text.strip())]
    found: list[Allele] = []
    for part in parts:
        whole = part if "*" in part or not found else _completed(part, found[-1])
        found.append(_allele(whole))
    return tuple(dict.fromkeys(found))


def _completed(part: str, before: Allele) -> str:
    """Return ``A*24:03`` for ``03`` after ``A*24:02``."""
    fields = part.split(":")
    kept = before.fields[: max(1, len(before.fields) - len(fields))]
    return f"{before.gene}*{':'.join([*kept, *fields])}"


def _allele(text: str) -> Allele:
    code = _CODE.fullmatch(text)
    if code:
        text = f"{code['gene']}*{code['first']}"
    read = _NAME.fullmatch(_with_colons(text))
    if read is None:
        msg = (
            f"{text!r} is not a name of an HLA allele; names of IPD-IMGT/HLA are needed, for "
            "example 'C*07:02' or 'HLA-A*24:02:01G'. Correct the typing."
        )
        raise WrongScaleError(msg)
    gene, fields = read["gene"], tuple(read["fields"].split(":"))
    suffix = read["suffix"] or ""
    name = f"{gene}*{read['fields']}"
    group, leader = _looked_up(gene, fields, text)
    surface: bool | None = suffix not in tuple(_ABSENT) and group != "null"
    if surface and suffix in tuple(_DOUBTFUL):
        surface = None
    return Allele(name, gene, fields, suffix, group, leader, surface)


def _with_colons(text: str) -> str:
    """Return the present name for one of before 2010 (``A*2402``, ``Cw*0702``)."""
    text = re.sub(r"^(HLA-)?C[wW]\*", "C*", text)
    old = re.fullmatch(r"((?:HLA-)?[ABC]\*)(\d{2})(\d{2})(?:\d{2}){0,2}([NLSQCA]?)", text)
    return f"{old[1]}{old[2]}:{old[3]}{old[4]}" if old else text


def _looked_up(gene: str, fields: tuple[str, ...], text: str) -> tuple[str, str]:
    if gene not in ("A", "B", "C"):
        return "none", ""
    table = _groups()
    group = table.get(f"{gene}*{fields[0]}")
    if group is None:
        known = ", ".join(name for name in table if name.startswith(f"{gene}*") and ":" not in name)
        msg = (
            f"{text!r}: IPD-IMGT/HLA has no allele group {gene}*{fields[0]}; it has {known}. "
            "Correct the typing."
        )
        raise WrongScaleError(msg)
    return table.get(f"{gene}*{':'.join(fields[:2])}", group)


@cache
def _groups() -> dict[str, tuple[str, str]]:
    table = read_table("hla_groups.tsv")
    return dict(
        zip(table["allele"], zip(table["group"], table["leader"], strict=True), strict=True)
    )
