"""Read and write gene sets: GMT, or long tables."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from nkscore._text import opened, read_text
from nkscore.errors import GeneCoverageError
from nkscore.signatures._convert import as_signatures
from nkscore.signatures._diagnose import diagnose
from nkscore.signatures._long_table import from_long_table, to_long_table
from nkscore.signatures._signature import PROVENANCE, Signature

if TYPE_CHECKING:
    from os import PathLike

    from nkscore.signatures._convert import GenesLike, SignaturesLike

_SEPARATOR: Final = {".tsv": "\t", ".csv": ","}
_ENDINGS: Final = {"_UP": "up", "_DN": "down", "_DOWN": "down"}
_TAG: Final = "nkscore_signature"


def load(source: str | PathLike[str] | Mapping[str, GenesLike]) -> dict[str, Signature]:
    """Read your own gene sets.

    Parameters
    ----------
    source
        A file, gzipped or not, or a mapping as in :func:`as_signatures`.

        - ``.gmt``: one set per line. ``X_UP`` with ``X_DN`` (or ``X_DOWN``) become the signed set
          ``X``; without such a partner a set keeps its full name, and its genes are up.
        - ``.tsv``, ``.csv``: one row per set and gene, with the columns ``signature`` (or
          ``source``, ``geneset``, ``set``, ``name``), ``gene`` (or ``target``, ``genesymbol``,
          ``symbol``), and if signed ``direction`` (``up``, ``down``, ``+``, ``-``) or ``weight``
          (its sign counts). Columns like ``citation`` or ``doi`` are kept.

        Files written by :func:`save` are read back unchanged.

    Returns
    -------
    Name to signature.

    Raises
    ------
    GeneCoverageError
        If the file contains no genes, or dates instead of genes.
    MissingKeyError
        If a table lacks a column.
    ValueError
        If the file has another format, a set occurs twice, or a direction is unknown.

    Examples
    --------
    >>> from nkscore import signatures
    >>> signatures.load({"killing": ["PRF1", "GZMB"]})["killing"].genes
    ('PRF1', 'GZMB')
    """
    if isinstance(source, Mapping):
        return as_signatures(source)
    path = Path(source)
    kind = _kind(path)
    if kind == ".gmt":
        found = _read_gmt(path)
    else:
        with opened(path) as stream:
            table = pd.read_csv(stream, sep=_SEPARATOR[kind], dtype=str, keep_default_na=False)
        found = from_long_table(table, f"{path.name}")
    _check_genes(found, path)
    return found


def save(signatures: SignaturesLike, path: str | PathLike[str]) -> None:
    """Write gene sets to a file that :func:`load` reads back unchanged.

    Parameters
    ----------
    signatures
        As in :func:`as_signatures`.
    path
        Ends in ``.gmt`` (signed sets become ``X_UP`` and ``X_DN``; the source is in the
        description), ``.tsv`` or ``.csv`` (long table); an additional ``.gz`` compresses the file.

    Raises
    ------
    ValueError
        If the extension is not one of these.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nkscore import signatures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "states.gmt")
    ...     signatures.save("nk_states_expanded", path)
    ...     signatures.load(path) == signatures.panel("nk_states_expanded")
    True
    """
    path = Path(path)
    kind = _kind(path)
    found = as_signatures(signatures)
    if kind == ".gmt":
        text = "".join(line for name, s in found.items() for line in _gmt_lines(s.rename(name)))
        with (
            gzip.open(path, "wt", encoding="utf-8")
            if _zipped(path)
            else path.open("w", encoding="utf-8") as file
        ):
            file.write(text)
        return
    to_long_table(found).to_csv(path, sep=_SEPARATOR[kind], index=False)


def _zipped(path: Path) -> bool:
    return path.suffix.casefold() == ".gz"


def _kind(path: Path) -> str:
    kind = Path(path.stem if _zipped(path) else path.name).suffix.casefold()
    if kind != ".gmt" and kind not in _SEPARATOR:
        msg = (
            f"{path.name} ends in {kind or 'nothing'}; .gmt, .tsv or .csv (or one of them with "
            ".gz) is needed. Convert the file."
        )
        raise ValueError(msg)
    return kind


def _gmt_lines(signature: Signature) -> list[str]:
    signed = bool(signature.up and signature.down)
    lines = []
    for direction, ending in (("up", "_UP"), ("down", "_DN")):
        genes = getattr(signature, direction)
        if not genes:
            continue
        tag = {_TAG: signature.name, "direction": direction}
        source = {key: getattr(signature, key) for key in PROVENANCE if getattr(signature, key)}
        name = signature.name + (ending if signed or direction == "down" else "")
        lines.append("\t".join([name, json.dumps(tag | source), *genes]) + "\n")
    return lines


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
    if not description.startswith(f'{{"{_TAG}"'):
        return {}
    tag: dict[str, str] = json.loads(description)
    return tag


def _key_and_direction(name: str, tag: dict[str, str], names: list[str]) -> tuple[str, str]:
    if tag:
        return tag[_TAG], tag["direction"]
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
