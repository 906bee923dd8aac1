"""The gate of names: what a lab's tools made of gene symbols is undone where that is sure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from nkscore._warn import warn
from nkscore.errors import GeneCoverageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nkscore._types import Array, Bools

#: A prefix or suffix is one where so many of the names carry it.
_MOST: Final = 0.5
_SOME: Final = 0.1
#: Fewer names than this say nothing about how many should be known.
_ENOUGH: Final = 500
_LEAST_KNOWN: Final = 0.02
_ID: Final = r"ENSG\d{6,}(?:\.\d+)?"
_HUMAN: Final = re.compile(
    r"^(?:GRCh3[78]|hg1[89]|hg38|b37|human|homo_sapiens|rna|gene)[_:-]+(?=\S)", re.IGNORECASE
)
_ANIMAL: Final = re.compile(r"^(?:mm10|mm39|GRCm3[89]|mouse|mus_musculus)[_:-]+", re.IGNORECASE)
_MARK: Final = r"[|_:;,./ -]+"
_WITH_ID: Final = re.compile(rf"^{_ID}{_MARK}(?P<before>\S+)$|^(?P<after>\S+?){_MARK}{_ID}$")
_TRANSCRIPT: Final = re.compile(r"^ENST\d{6,}(\.\d+)?$")
#: Rows that counting tools and table makers add to the genes.
_NO_GENE: Final = re.compile(
    r"__\w+|_?unmapped|N_(unmapped|multimapping|noFeature|ambiguous)|no_feature|ambiguous"
    r"|too_low_aQual|not_aligned|alignment_not_unique|n(UMI|Gene|Count_RNA|Feature_RNA)"
    r"|Length|Chr|Start|End|Strand|percent[._]mito?|orig[._]ident|total",
    re.IGNORECASE,
)
_DATE: Final = re.compile(
    r"\d{1,2}-(mar|sept?|dec|oct|apr|feb|nov)|(mar|sept?|dec|oct|apr|feb|nov)-\d{1,2}"
    r"|\d{4}-\d\d-\d\d( 00:00:00)?|[34]\d{4}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mended:
    """Names after the gate, which rows are genes, and what was done, in words."""

    names: Array
    is_gene: Bools
    done: list[str]


@cache
def known_symbols() -> frozenset[str]:
    """Return all genes of the packaged signatures."""
    with files("nkscore.signatures").joinpath("data", "genes.tsv.gz").open("rb") as file:
        table = pd.read_csv(file, sep="\t", compression="gzip", keep_default_na=False)
    return frozenset(table["gene"])


def mend(names: Array, path: Path) -> Mended:
    """Return names of genes as symbols, or raise :class:`GeneCoverageError` where none can be.

    A warning lists dates that a spreadsheet made from symbols; they cannot be undone safely.
    """
    done: list[str] = []
    names = np.array([str(name) for name in names], dtype=object)
    _refuse_two_species(names, path)
    for change in _CHANGES:
        names = _changed(names, change, done)
    _refuse_transcripts(names, path)
    names = _with_hyphens(names, done)
    is_gene = np.array([_NO_GENE.fullmatch(name) is None for name in names])
    rows = names[~is_gene]
    if len(rows):
        done.append(f"{len(rows)} rows that are not genes removed ({_few(rows)})")
    warn_of_dates(names, path)
    _warn_of_strangers(names, path)
    return Mended(names, is_gene, done)


def _without_id(name: str) -> str:
    found = _WITH_ID.match(name)
    return (found["before"] or found["after"]) if found else name


def _without_quotes(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


class _Change(NamedTuple):
    """A repair in words and as a function, and whether few names suffice to make it."""

    what: str
    make: Callable[[str], str]
    of_any: bool


#: What is undone, in this order.
_CHANGES: Final = (
    _Change("spaces at the ends of names taken off", str.strip, of_any=True),
    _Change("quotes around names taken off", _without_quotes, of_any=True),
    _Change("prefix taken off", lambda name: _HUMAN.sub("", name), of_any=False),
    _Change("ids joined to the symbols taken off", _without_id, of_any=False),
)


def _changed(names: Array, change: _Change, done: list[str]) -> Array:
    """Return the names after a repair, if enough of them need it, and note it in ``done``."""
    made = np.array([change.make(name) for name in names], dtype=object)
    places = np.flatnonzero(made != names)
    if not len(places) or not (change.of_any or len(places) > _MOST * len(made)):
        return names
    done.append(f"{change.what} ({names[places[0]]!r} is {made[places[0]]!r})")
    return made


def _with_hyphens(names: Array, done: list[str]) -> Array:
    """Write ``HLA.B`` and ``MT_CO1`` with the hyphen that R's make.names or a tool replaced."""
    known, taken = known_symbols(), set(names)
    made = names.copy()
    for position, name in enumerate(names):
        if name in known or not ("." in name or "_" in name):
            continue
        plain = re.sub(r"[._]", "-", name)
        if plain not in taken and (plain in known or plain.startswith("MT-")):
            made[position] = plain
    places = np.flatnonzero(made != names)
    if len(places):
        example = f"{names[places[0]]!r} is {made[places[0]]!r}"
        done.append(f"{len(places)} hyphens restored ({example})")
    return made


def _share(names: Array, pattern: re.Pattern[str]) -> float:
    return sum(pattern.match(name) is not None for name in names) / max(1, len(names))


def _refuse_two_species(names: Array, path: Path) -> None:
    if min(_share(names, _HUMAN), _share(names, _ANIMAL)) < _SOME:
        return
    msg = (
        f"{path} holds genes of two species, distinguished by the prefix of their names "
        f"({_few(names[[_HUMAN.match(n) is not None for n in names]], 1)}, "
        f"{_few(names[[_ANIMAL.match(n) is not None for n in names]], 1)}). Keep the human cells "
        "and genes, and write the file again."
    )
    raise GeneCoverageError(msg)


def _refuse_transcripts(names: Array, path: Path) -> None:
    if _share(names, _TRANSCRIPT) < _MOST:
        return
    msg = (
        f"{path}: the rows are transcripts ({_few(names, 1)}), not genes. Sum them by gene (for "
        "example tximport in R, or the gene matrix of the same pipeline)."
    )
    raise GeneCoverageError(msg)


def warn_of_dates(names: Array, path: Path) -> None:
    """Warn of names that a spreadsheet turned into dates, which no rule can turn back."""
    dates = [name for name in map(str, names) if _DATE.fullmatch(name)]
    if dates and len(dates) < _SOME * len(names) + 2:
        msg = (
            f"{path}: {len(dates)} names of genes are dates, which a spreadsheet made of symbols, "
            f"for example MARCHF1 or SEPTIN7 ({', '.join(dates[:4])}). No signature matches them. "
            "Take the file as the pipeline wrote it."
        )
        warn(msg)


def _warn_of_strangers(names: Array, path: Path) -> None:
    if len(names) < _ENOUGH:
        return
    known = known_symbols()
    share = float(np.mean([name in known for name in names]))
    if share < _LEAST_KNOWN:
        msg = (
            f"{path}: only {share:.1%} of the {len(names):,} names of genes are symbols that "
            f"nkscore knows ({_few(names)}). Its signatures will find no genes: name the genes by "
            "human symbols."
        )
        warn(msg)


def _few(names: Sequence[str] | Array, n: int = 3) -> str:
    return ", ".join(map(str, names[:n])) + (", ..." if len(names) > n else "")
