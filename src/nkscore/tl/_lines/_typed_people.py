"""HLA and KIR of donors, lines and patients: what is known, what is not, and what can be either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore._checks import check_columns, check_frame
from nkscore.errors import DesignError, WrongScaleError
from nkscore.signatures._hla import parse_alleles, silent_kir_alleles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nkscore.signatures._hla import Allele

_HLA_ADVICE: Final = "Read the typing with io.read_hla."
_KIR_ADVICE: Final = "Read the typing with io.read_kir."
#: Two copies of each gene.
_COPIES: Final = 2


@dataclass(frozen=True, slots=True)
class Person:
    """The typed copies of HLA genes; each is one allele, or several that it can be."""

    copies: tuple[tuple[Allele, ...], ...]
    #: Nothing reaches the surface, whatever the genes (B2M lost).
    silent: bool = False

    def has(self, wanted: Callable[[Allele], bool], genes: Iterable[str]) -> bool | None:
        """Return whether an expressed allele is one of those wanted, and None if unknown.

        ``genes``: without a typed copy of one of these, absence is not known.
        """
        if self.silent:
            return False
        answers = [_sure({_expressed(a, wanted) for a in copy}) for copy in self.copies]
        if True in answers:
            return True
        typed = {copy[0].gene for copy in self.copies}
        return None if None in answers or not set(genes) <= typed else False

    def names(self, wanted: Callable[[Allele], bool]) -> str:
        """Return the names of expressed alleles that are wanted, those in doubt with ``?``."""
        found = []
        for copy in () if self.silent else self.copies:
            answer = _sure({_expressed(a, wanted) for a in copy})
            name = "/".join(a.name for a in copy)
            if answer is not False:
                found.append(name if answer else f"{name}?")
        return ", ".join(dict.fromkeys(found))

    def count(self, wanted: Callable[[Allele], bool], gene: str) -> int | None:
        """Return how many of two copies of a gene are wanted; one typed copy counts twice."""
        answers = [
            _sure({_expressed(a, wanted) for a in copy})
            for copy in self.copies
            if copy[0].gene == gene
        ]
        if not answers or None in answers:
            return None
        return sum(map(bool, answers)) * (_COPIES // len(answers))


def _expressed(allele: Allele, wanted: Callable[[Allele], bool]) -> bool | None:
    if not wanted(allele) or allele.surface is False:
        return False
    return allele.surface


def _sure(answers: set[bool | None]) -> bool | None:
    return next(iter(answers)) if len(answers) == 1 else None


def people(hla: pd.DataFrame, without_hla: Iterable[str] = ()) -> dict[str, Person]:
    """Return the typing of each sample; raise where a name is wrong or a gene has three copies."""
    table = check_frame(hla, "hla", _HLA_ADVICE)
    check_columns(table, ["sample", "allele"], _HLA_ADVICE, what="hla")
    if table["sample"].isna().any() or table["allele"].isna().any():
        msg = "hla has rows without a sample or an allele. Remove them, or fill them in."
        raise WrongScaleError(msg)
    made = {}
    for name, rows in table.groupby(table["sample"].astype(str), sort=True):
        copies = tuple(_parsed(str(text), str(name)) for text in rows["allele"])
        _check_copies(copies, str(name))
        made[str(name)] = Person(copies)
    silent = [str(name) for name in without_hla]
    return {
        name: Person(made[name].copies if name in made else (), silent=name in silent)
        for name in sorted({*made, *silent})
    }


def _parsed(text: str, name: str) -> tuple[Allele, ...]:
    try:
        copy = parse_alleles(text)
    except WrongScaleError as error:
        raise WrongScaleError(f"Sample {name!r}: {error}") from None
    if len({allele.gene for allele in copy}) > 1:
        msg = (
            f"Sample {name!r}: {text!r} names alleles of several genes; one row per allele is "
            "needed. Split the row."
        )
        raise WrongScaleError(msg)
    return copy


def _check_copies(copies: tuple[tuple[Allele, ...], ...], name: str) -> None:
    genes = [copy[0].gene for copy in copies]
    crowded = next((gene for gene in genes if genes.count(gene) > _COPIES), None)
    if crowded:
        msg = (
            f"Sample {name!r} has {genes.count(crowded)} alleles of HLA-{crowded}; two are "
            "possible. Give ambiguous typing in one row (A*24:02/03), and each sample once."
        )
        raise DesignError(msg)


def receptors_of(kir: pd.DataFrame) -> dict[str, dict[str, bool | None]]:
    """Return donor → KIR gene → whether its protein reaches the surface."""
    table = check_frame(kir, "kir", _KIR_ADVICE)
    check_columns(table, ["sample", "gene", "present"], _KIR_ADVICE, what="kir")
    genes = table["gene"].astype(str).str.strip()
    if not genes.str.startswith("KIR").any():
        msg = (
            f"kir names no KIR gene (its genes: {', '.join(map(repr, genes.unique()[:5]))}); names "
            f"like KIR2DL1 are needed. {_KIR_ADVICE}"
        )
        raise WrongScaleError(msg)
    twice = table.assign(gene=genes).duplicated(["sample", "gene"])
    if twice.any():
        row = table[twice].iloc[0]
        msg = (
            f"kir has several rows for {row['gene']} of donor {row['sample']!r}; one is needed. "
            "Join the alleles with '+'."
        )
        raise DesignError(msg)
    alleles = table["alleles"] if "alleles" in table else pd.Series("", index=table.index)
    made: dict[str, dict[str, bool | None]] = {}
    cells = zip(table["sample"], genes, table["present"], alleles, strict=True)
    for name, gene, present, text in cells:
        known = None if pd.isna(present) else _yes(present) and not _silent(gene, text)
        made.setdefault(str(name), {})[gene] = known
    return made


def _yes(present: object) -> bool:
    if isinstance(present, str) or present not in (0, 1):
        msg = f"kir, column present, holds {present!r}; true or false is needed. {_KIR_ADVICE}"
        raise WrongScaleError(msg)
    return bool(present)


def _silent(gene: str, text: object) -> bool:
    """Return whether all named alleles are without protein at the surface."""
    names = [] if pd.isna(text) else [part for part in str(text).split("+") if part.strip()]  # type: ignore[call-overload]
    return bool(names) and all(_is_silent(gene, name) for name in names)


def _is_silent(gene: str, name: str) -> bool:
    """Return whether an allele, or each that the typing could not distinguish, is silent."""
    silent = silent_kir_alleles()
    parts = [part.strip().split("*")[-1] for part in name.split("/")]
    return all(part.endswith("N") or f"{gene}*{part[:3]}" in silent for part in parts)
