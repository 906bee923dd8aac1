"""Read gene sets from files: GMT, or long tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pandas as pd

from nkscore._gate import is_there
from nkscore._text import opened, read_text, reading_table, with_header
from nkscore.errors import GeneCoverageError, NkscoreError
from nkscore.signatures._diagnose import diagnose
from nkscore.signatures._long_table import from_long_table
from nkscore.signatures._signature import PROVENANCE, Signature

SEPARATOR: Final = {".tsv": "\t", ".csv": ","}
_ENDINGS: Final = {"_UP": "up", "_DN": "down", "_DOWN": "down"}
TAG: Final = "nkscore_signature"


def is_file_name(text: str) -> bool:
    """Whether a text names a file of gene sets, by its end.

    >>> [is_file_name(text) for text in ("sets/my.gmt", "my.csv.gz", "hallmark", "HLA-A")]
    [True, True, False, False]
    """
    name = text.casefold().removesuffix(".gz")
    return name.endswith((".gmt", *SEPARATOR)) and len(Path(name).stem) > 0


def read_sets(path: Path) -> dict[str, Signature]:
    """Return the sets of a file by name."""
    kind = kind_of(path)
    if not is_there(path) or path.is_dir():
        msg = (
            f"{path} is not a file (working folder: {Path.cwd()}). Give the path of a .gmt, .tsv "
            "or .csv file of gene sets, or the name of a set of signatures.catalog()."
        )
        raise FileNotFoundError(msg)
    with reading_table(path):
        try:
            found = _read_gmt(path) if kind == ".gmt" else _read_table(path, SEPARATOR[kind])
        except pd.errors.ParserError:
            raise
        except (ValueError, TypeError) as error:
            if isinstance(error, (NkscoreError, UnicodeError, pd.errors.EmptyDataError)):
                raise
            raise GeneCoverageError(str(error)) from error
        _check_genes(found, path)
    return found


def _read_table(path: Path, separator: str) -> dict[str, Signature]:
    with opened(path) as stream:
        table = pd.read_csv(stream, sep=separator, dtype=str, keep_default_na=False)
    table = with_header(table, path)
    return from_long_table(table, path.name)


def is_zipped(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return path.suffix.casefold() == ".gz"


def kind_of(path: Path) -> str:
    """Return the end of a name, which tells the format."""
    kind = Path(path.stem if is_zipped(path) else path.name).suffix.casefold()
    if kind != ".gmt" and kind not in SEPARATOR:
        msg = (
            f"{path.name} ends in {kind or 'nothing'}; .gmt, .tsv or .csv (or one of them with "
            ".gz) is needed. Convert the file."
        )
        raise ValueError(msg)
    return kind


def _read_gmt(path: Path) -> dict[str, Signature]:
    text = read_text(path)
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    names = [row[0] for row in rows]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{path.name} holds the set {twice!r} twice; each name must be one set. Rename one."
        raise ValueError(msg)
    found: dict[str, dict[str, Any]] = {}
    for name, description, *genes in (row if len(row) > 1 else [*row, ""] for row in rows):
        tag = _own_tag(description)
        key, direction = _key_and_direction(name, tag, names)
        source = {field: tag[field] for field in PROVENANCE if field in tag}
        parts = found.setdefault(key, {})
        if direction in parts:
            msg = f"{path.name} holds {direction} genes of {key!r} twice. Rename one set."
            raise ValueError(msg)
        parts.update({direction: tuple(gene for gene in genes if gene)} | source)
    return {key: Signature(key, **({"up": ()} | parts)) for key, parts in found.items()}


def _own_tag(description: str) -> dict[str, str]:
    """Return the source that :func:`save` wrote into the description, if any."""
    if not description.startswith(f'{{"{TAG}"'):
        return {}
    tag: dict[str, str] = json.loads(description)
    return tag


def _key_and_direction(name: str, tag: dict[str, str], names: list[str]) -> tuple[str, str]:
    if tag:
        return tag[TAG], tag["direction"]
    for ending, direction in _ENDINGS.items():
        stem = name.removesuffix(ending)
        partners = ("_DN", "_DOWN") if direction == "up" else ("_UP",)
        if (
            stem != name
            and stem not in names
            and any(stem + partner in names for partner in partners)
        ):
            return stem, direction
    return name, "up"


def _check_genes(found: dict[str, Signature], path: Path) -> None:
    genes = {gene for signature in found.values() for gene in signature.genes}
    if not genes:
        msg = f"{path.name} holds no genes; at least one set with a gene is needed."
        raise GeneCoverageError(msg)
    problem = diagnose(sorted(genes))
    if problem and "dates" in problem:
        msg = f"{path.name} cannot be used. {problem}"
        raise GeneCoverageError(msg)
