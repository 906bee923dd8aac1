"""Read and write gene sets: GMT, or long tables."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nkscore.signatures._convert import as_signatures
from nkscore.signatures._long_table import to_long_table
from nkscore.signatures._read_sets import SEPARATOR, TAG, is_zipped, kind_of, read_sets
from nkscore.signatures._signature import PROVENANCE, Signature

if TYPE_CHECKING:
    from os import PathLike

    from nkscore.signatures._convert import GenesLike, SignaturesLike


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
    return read_sets(Path(source))


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
    kind = kind_of(path)
    found = as_signatures(signatures)
    if kind == ".gmt":
        text = "".join(line for name, s in found.items() for line in _gmt_lines(s.rename(name)))
        with (
            gzip.open(path, "wt", encoding="utf-8")
            if is_zipped(path)
            else path.open("w", encoding="utf-8") as file
        ):
            file.write(text)
        return
    to_long_table(found).to_csv(path, sep=SEPARATOR[kind], index=False)


def _gmt_lines(signature: Signature) -> list[str]:
    signed = bool(signature.up and signature.down)
    lines = []
    for direction, ending in (("up", "_UP"), ("down", "_DN")):
        genes = getattr(signature, direction)
        if not genes:
            continue
        tag = {TAG: signature.name, "direction": direction}
        source = {key: getattr(signature, key) for key in PROVENANCE if getattr(signature, key)}
        name = signature.name + (ending if signed or direction == "down" else "")
        lines.append("\t".join([name, json.dumps(tag | source), *genes]) + "\n")
    return lines
