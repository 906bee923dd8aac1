"""Which tag of a matrix a sheet means by a name that no tag has exactly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Words for a sample tag, with its number behind: "Hashtag 1", "HTO_1", "#1", "1".
_NUMBERED: Final = re.compile(
    r"(?:anti[\W_]?human[\W_]*)?(?:sample[\W_]?tag|hash[\W_]?tag|hto|hash|tag|cmo|ht|h|#)?"
    r"(?:[\W_]*(?:oligo|antibody|no))?[\W_]*0*(?P<number>\d{1,4})(?:[\W_]*(?:totalseq|ts)[\W_]*[abc])?",
    re.IGNORECASE,
)
#: BioLegend's barcodes of the human hashtags 1 to 10 and 12 to 15, in the three chemistries.
_TOTALSEQ: Final = re.compile(
    r"(?:totalseq[\W_]*)?[abc][\W_]*0?(?P<number>2[5-6]\d)", re.IGNORECASE
)
_FIRST: Final = 250


def plain(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def number_of(name: str) -> int | None:
    """Return the number of a sample tag, if its name is nothing but a number and words for a tag.

    >>> [number_of(name) for name in ("Hashtag 1", "HTO_1", "TotalSeq-B0251", "CD56")]
    [1, 1, 1, None]
    """
    found = _TOTALSEQ.fullmatch(name)
    if found:
        return int(found["number"]) - _FIRST
    found = _NUMBERED.fullmatch(name)
    return int(found["number"]) if found else None


#: Names of antibodies against the cells themselves.
_ANTIBODY: Final = re.compile(
    r"(anti[\W_]?)?(human[\W_]?)?(CD\d|HLA|Ig[GMADE]|TCR|KLR|NK[GP]|isotype|mouse|rat\b)",
    re.IGNORECASE,
)


def marks_samples(name: str, listed: Sequence[str], *, of_tags: bool) -> bool:
    """Return whether a tag that no sheet lists marks samples, by its name.

    In a table of tags (``of_tags``) all do that are not named like antibodies against cells.
    """
    if number_of(name) is not None or _stem(name) in {_stem(tag) for tag in listed}:
        return True
    return of_tags and _ANTIBODY.match(name) is None


def _stem(name: str) -> str:
    return re.sub(r"\d+", "#", plain(name))


def alike(tag: str, names: Sequence[str]) -> int | None:
    """Return the position of the only name that differs from ``tag`` in writing alone.

    First by case, spaces and punctuation, then by the number of the tag.
    """
    keys = [plain(name) for name in names]
    if plain(tag) and keys.count(plain(tag)) == 1:
        return keys.index(plain(tag))
    number = number_of(tag)
    numbers = [number_of(name) for name in names]
    return numbers.index(number) if number is not None and numbers.count(number) == 1 else None
