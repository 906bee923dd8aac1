"""Convert any form of "signatures" into named signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nkscore._gate import expanded
from nkscore.errors import GeneCoverageError, MissingKeyError
from nkscore.signatures._catalog import all_panels, get, nearest, packaged, panel
from nkscore.signatures._long_table import from_long_table
from nkscore.signatures._read_sets import is_file_name, read_sets
from nkscore.signatures._signature import Signature

if TYPE_CHECKING:
    from typing import TypeAlias

    #: Genes, or the name of a set that holds them.
    GenesLike: TypeAlias = str | Signature | Iterable[str]
    SignaturesLike: TypeAlias = (
        str
        | Path
        | Signature
        | Iterable[str | Path | Signature]
        | Mapping[str, GenesLike]
        | pd.DataFrame
    )


def as_signatures(x: SignaturesLike) -> dict[str, Signature]:
    """Return named signatures from any common form.

    Parameters
    ----------
    x
        One of

        - the name of a set of the catalog or of a panel;
        - the path of a ``.gmt``, ``.tsv`` or ``.csv`` file (see :func:`load`);
        - a :class:`Signature`;
        - a sequence. Signatures, files and names of sets or panels may be mixed. If no string of a
          sequence is a set or panel, the sequence is one list of genes, named ``signature``. If
          only some strings are sets or panels, the others are misspelt, because no gene symbol
          equals a name in the catalog; this is an error;
        - a mapping of names to genes, to a :class:`Signature` or to the name of a set. Genes can
          end in ``+`` (up) or ``-`` (down); otherwise they are up;
        - a long table (see :func:`load`).

    Returns
    -------
    Name to signature, in the order given.

    Raises
    ------
    MissingKeyError
        If a name is neither a set nor a panel.
    GeneCoverageError
        If there is no signature, or one without genes.
    ValueError
        If two signatures have the same name, or a gene is both up and down.
    FileNotFoundError
        If a file does not exist.
    TypeError
        If ``x`` is none of the above.

    Examples
    --------
    >>> from nkscore.signatures import as_signatures
    >>> list(as_signatures("cell_cycle"))
    ['s', 'g2m']
    >>> as_signatures(["GNLY", "PRF1"])["signature"].up
    ('GNLY', 'PRF1')
    >>> as_signatures({"mature": ["FCGR3A+", "SELL-"]})["mature"].weights
    {'FCGR3A': 1, 'SELL': -1}
    """
    found = _convert(x)
    empty = [name for name, signature in found.items() if not len(signature)]
    if empty or not found:
        what = f"Signatures without genes: {', '.join(empty)}" if found else "No signature is given"
        msg = f"{what}. Each needs at least one gene: check the source of the genes."
        raise GeneCoverageError(msg)
    return found


def _convert(x: object) -> dict[str, Signature]:
    if isinstance(x, Path):
        return read_sets(x)
    if isinstance(x, str):
        return _named(x)
    if isinstance(x, Signature):
        return {x.name: x}
    if isinstance(x, pd.DataFrame):
        return from_long_table(x, "The table")
    if isinstance(x, Mapping):
        return {str(name): _from_value(str(name), value) for name, value in x.items()}
    if isinstance(x, Iterable):
        return _from_sequence(sorted(x) if isinstance(x, (set, frozenset)) else list(x))
    msg = (
        f"Signatures are given as {type(x).__name__}; a name, a Signature, a sequence, a mapping "
        "or a long table is needed."
    )
    raise TypeError(msg)


def _named(name: str) -> dict[str, Signature]:
    if name in all_panels():
        return panel(name)
    if name in packaged():
        return {name: get(name)}
    if is_file_name(name):
        return read_sets(expanded(name))
    msg = (
        f"{name!r} is neither a signature nor a panel of the catalog. "
        f"{nearest(name, [*packaged(), *all_panels()])}"
        "signatures.catalog() and signatures.panels() list all; a single gene is written "
        f"[{name!r}], a file ends in .gmt, .tsv or .csv."
    )
    raise MissingKeyError(msg)


def _from_value(name: str, value: object) -> Signature:
    if isinstance(value, Signature):
        return value.rename(name)
    if isinstance(value, str):
        return get(value).rename(name)
    if not isinstance(value, Iterable):
        msg = (
            f"Signature {name!r} is given as {type(value).__name__}; genes, a Signature or the "
            "name of a set are needed."
        )
        raise TypeError(msg)
    genes = sorted(value) if isinstance(value, (set, frozenset)) else list(value)
    down = tuple(g[:-1] for g in genes if isinstance(g, str) and g.endswith("-"))
    up = tuple(
        g.removesuffix("+") if isinstance(g, str) else g
        for g in genes
        if not (isinstance(g, str) and g.endswith("-"))
    )
    return Signature(name, up, down)


def _from_sequence(items: list[object]) -> dict[str, Signature]:
    strings = [item for item in items if isinstance(item, str)]
    known = packaged().keys() | all_panels().keys()
    files = any(map(is_file_name, strings))
    if items and len(strings) == len(items) and known.isdisjoint(strings) and not files:
        return {"signature": _from_value("signature", strings)}
    found: dict[str, Signature] = {}
    for item in items:
        if not isinstance(item, (str, Path, Signature)):
            msg = (
                f"The signatures hold {item!r}; only names and Signature objects are possible in "
                "a sequence. Lists of genes need names: pass a mapping of name to genes."
            )
            raise TypeError(msg)
        for name, signature in _convert(item).items():
            if name in found:
                msg = (
                    f"The signature {name!r} is given twice; each name labels one score. "
                    "Remove one or use .rename()."
                )
                raise ValueError(msg)
            found[name] = signature
    return found
