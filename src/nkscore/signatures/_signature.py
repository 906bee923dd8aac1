"""One gene set with its direction and its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Source fields of a signature, in the order of the catalog.
PROVENANCE = (
    "compartment",
    "citation",
    "doi",
    "where_read",
    "licence",
    "trust",
    "version",
    "note",
)


@dataclass(frozen=True, slots=True)
class Signature:
    """A gene set: genes that go up, genes that go down, and their source.

    Repeated genes are kept once, in the order of their first mention.

    Parameters
    ----------
    name
        Name of the set.
    up, down
        Gene symbols. Members of a set without a published direction are in ``up``.
    compartment
        Cells for which the set is meant: ``nk``, ``tumor``, ``both`` or ``other``.
    citation, doi, where_read, licence, trust, version, note
        Source: the publication, its identifiers, the file in which the genes were read, the
        terms of that file, ``high`` or ``medium`` trust, release or commit, and caveats.

    Raises
    ------
    ValueError
        If a gene is in both directions, or a gene or the name is empty.
    TypeError
        If genes are given as one string, or a gene is not a string.

    Examples
    --------
    >>> from nkscore.signatures import Signature
    >>> quiet = Signature("quiet", up=("CDKN1B", "CDKN1B"), down=("MKI67", "TOP2A"))
    >>> len(quiet), quiet.weights
    (3, {'CDKN1B': 1, 'MKI67': -1, 'TOP2A': -1})
    >>> (quiet - Signature("cycle", up=("TOP2A",))).genes
    ('CDKN1B', 'MKI67')
    """

    name: str
    up: tuple[str, ...]
    down: tuple[str, ...] = ()
    compartment: str = ""
    citation: str = ""
    doi: str = ""
    where_read: str = ""
    licence: str = ""
    trust: str = ""
    version: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if not self.name or any(mark in self.name for mark in "\t\r\n"):
            msg = (
                f"A signature has the name {self.name!r}; a name without tabs and line breaks is "
                "needed to label its scores."
            )
            raise ValueError(msg)
        # The class is frozen: only object.__setattr__ can store the cleaned tuples.
        object.__setattr__(self, "up", _clean(self.up, self.name))
        object.__setattr__(self, "down", _clean(self.down, self.name))
        both = [gene for gene in self.up if gene in frozenset(self.down)]
        if both:
            msg = (
                f"Signature {self.name!r} holds {', '.join(both)} both as up and as down. "
                "A gene needs one direction: remove it from one of the two lists."
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.up) + len(self.down)

    def __bool__(self) -> bool:
        # An empty set is still a signature, so its truth value must not depend on its length.
        return True

    def _repr_html_(self) -> str:
        """Show the set in a notebook: genes, cells and source."""
        rows = {
            f"up ({len(self.up)})": ", ".join(self.up),
            f"down ({len(self.down)})": ", ".join(self.down) if self.down else "",
            "cells": self.compartment,
            "source": _cited(self),
            "read in": self.where_read,
            "licence": self.licence,
            "trust": self.trust,
            "note": self.note,
        }
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in rows.items()
            if text
        )
        return f"<b>{escape(self.name)}</b><table>{cells}</table>"

    @property
    def genes(self) -> tuple[str, ...]:
        """All genes, up before down."""
        return self.up + self.down

    @property
    def weights(self) -> dict[str, int]:
        """Gene to +1 (up) or -1 (down)."""
        return dict.fromkeys(self.up, 1) | dict.fromkeys(self.down, -1)

    def rename(self, name: str) -> Signature:
        """Return the same set under another name."""
        return self if name == self.name else replace(self, name=name)

    def __or__(self, other: object) -> Signature:
        """Genes of either set; a gene with opposite directions raises ``ValueError``."""
        if not isinstance(other, Signature):
            return NotImplemented
        return self._combined(other, "|", self.up + other.up, self.down + other.down)

    def __and__(self, other: object) -> Signature:
        """Genes in both sets with the same direction."""
        if not isinstance(other, Signature):
            return NotImplemented
        up, down = frozenset(other.up), frozenset(other.down)
        return self._combined(
            other,
            "&",
            tuple(gene for gene in self.up if gene in up),
            tuple(gene for gene in self.down if gene in down),
        )

    def __sub__(self, other: object) -> Signature:
        """Genes of this set that the other lacks, regardless of direction."""
        if not isinstance(other, Signature):
            return NotImplemented
        drop = frozenset(other.genes)
        return self._combined(
            other,
            "-",
            tuple(gene for gene in self.up if gene not in drop),
            tuple(gene for gene in self.down if gene not in drop),
        )

    def _combined(
        self, other: Signature, operator: str, up: tuple[str, ...], down: tuple[str, ...]
    ) -> Signature:
        same = self.compartment == other.compartment
        return Signature(
            f"{self.name} {operator} {other.name}",
            up,
            down,
            compartment=self.compartment if same else "",
            note=f"Made from {_source(self)} {operator} {_source(other)}.",
        )


def _cited(signature: Signature) -> str:
    return ", ".join(part for part in (signature.citation, signature.doi) if part)


def _source(signature: Signature) -> str:
    origin = _cited(signature)
    return f"{signature.name} ({origin})" if origin else signature.name


def _clean(genes: Iterable[object], name: str) -> tuple[str, ...]:
    if isinstance(genes, str):
        msg = (
            f"The genes of signature {name!r} are the single string {genes!r}; a sequence of "
            f"gene symbols is needed. Write ({genes!r},)."
        )
        raise TypeError(msg)
    kept: dict[str, None] = {}
    for gene in genes:
        if not isinstance(gene, str):
            msg = (
                f"Signature {name!r} holds {gene!r}, which is not a gene symbol; strings are "
                "needed. Missing values and dates come from spreadsheets: clean the list."
            )
            raise TypeError(msg)
        stripped = gene.strip()
        if not stripped:
            msg = f"Signature {name!r} holds an empty gene symbol. Remove it from the list."
            raise ValueError(msg)
        kept[stripped] = None
    return tuple(kept)
