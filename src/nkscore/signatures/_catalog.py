"""The catalog: packaged sets by name and by panel."""

from __future__ import annotations

from dataclasses import fields, replace
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from nkscore.errors import MissingKeyError
from nkscore.signatures._panels import HALLMARK, PANELS, Panel
from nkscore.signatures._signature import PROVENANCE, Signature
from nkscore.signatures._tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterable


@cache
def packaged() -> dict[str, Signature]:
    """Return all sets of the catalog by name; shared, never changed."""
    genes: dict[str, dict[str, list[str]]] = {}
    table = read_table("genes.tsv.gz")
    for name, direction, gene in zip(
        table["signature"], table["direction"], table["gene"], strict=True
    ):
        genes.setdefault(name, {"up": [], "down": []})[direction].append(gene)
    known = {field.name for field in fields(Signature)}
    return {
        row["name"]: Signature(
            up=tuple(genes[row["name"]]["up"]),
            down=tuple(genes[row["name"]]["down"]),
            **{str(key): value for key, value in row.items() if key in known},
        )
        for row in read_table("sets.tsv").to_dict("records")
    }


def catalog() -> pd.DataFrame:
    """Return the packaged gene sets, one row each.

    Returns
    -------
    DataFrame with ``name``, ``compartment`` (``nk``, ``tumor``, ``both``, ``other``), ``n_up``,
    ``n_down``, ``citation``, ``doi``, ``where_read``, ``licence``, ``trust`` (``high``: file,
    code or package of the authors, or MSigDB; ``medium``: transcribed by others, derived or
    curated), ``version``, ``note``.

    Examples
    --------
    >>> from nkscore import signatures
    >>> sets = signatures.catalog()
    >>> sets.loc[sets["name"] == "REHMAN2021_DIAPAUSE", ["n_up", "n_down"]].values.tolist()
    [[14, 110]]
    """
    rows = [
        {"name": s.name, "n_up": len(s.up), "n_down": len(s.down)}
        | {key: getattr(s, key) for key in PROVENANCE}
        for s in packaged().values()
    ]
    order = ["name", "compartment", "n_up", "n_down", *PROVENANCE[1:]]
    return pd.DataFrame(rows)[order]


def get(name: str) -> Signature:
    """Return one set of the catalog.

    Parameters
    ----------
    name
        Name as in :func:`catalog`.

    Raises
    ------
    MissingKeyError
        If there is no such set; the error names the nearest ones.

    Examples
    --------
    >>> from nkscore import signatures
    >>> signatures.get("DUFVA2023_NK_ADAPTIVE").up
    ('KLRC2', 'GZMH', 'LAG3', 'HLA-DRA')
    """
    sets = packaged()
    if name not in sets:
        hint = nearest(name, sets)
        msg = (
            f"The catalog has no signature {name!r}; one of its {len(sets)} sets is needed. "
            f"{hint}signatures.catalog() lists all."
        )
        raise MissingKeyError(msg)
    return sets[name]


def panel(name: str) -> dict[str, Signature]:
    """Return the sets of one panel, by label.

    The labels are short if a panel defines states or cell types (``resting``, ``adaptive``, ...),
    otherwise the names of the sets. Each returned set is named by its label; ``note`` has the name
    in the catalog if the two differ.

    Parameters
    ----------
    name
        Name as in :func:`panels`, for example ``nk``, ``tumor``, ``nk_states_expanded``.

    Raises
    ------
    MissingKeyError
        If there is no such panel; the error names the nearest ones.

    Examples
    --------
    >>> from nkscore import signatures
    >>> list(signatures.panel("nk_states_expanded"))
    ['resting', 'adaptive', 'activated', 'type_i_ifn', 'cytokine']
    """
    known = all_panels()
    if name not in known:
        msg = (
            f"There is no panel {name!r}; one of the {len(known)} panels is needed. "
            f"{nearest(name, known)}signatures.panels() lists all."
        )
        raise MissingKeyError(msg)
    return {label: _labeled(get(key), label) for label, key in known[name].sets.items()}


def panels() -> pd.DataFrame:
    """Return the panels of :func:`panel`, one row each.

    Returns
    -------
    DataFrame with ``panel``, ``n_sets``, ``labels`` (as in :func:`panel`) and ``signatures`` (as
    in :func:`catalog`), both separated by commas and in the same order, and ``purpose``.

    Examples
    --------
    >>> from nkscore import signatures
    >>> signatures.panels().set_index("panel").loc["cell_cycle", "signatures"]
    'TIROSH2016_G1S, TIROSH2016_G2M'
    """
    rows = [
        (
            name,
            len(entry.sets),
            ", ".join(entry.sets),
            ", ".join(entry.sets.values()),
            entry.purpose,
        )
        for name, entry in all_panels().items()
    ]
    return pd.DataFrame(rows, columns=["panel", "n_sets", "labels", "signatures", "purpose"])


def nk_exclusive() -> tuple[str, ...]:
    """Return genes whose RNA in a tumor profile comes from NK cells (set ``NK_EXCLUSIVE``).

    The second, weaker tier is ``get("NK_SHARED")``.

    Examples
    --------
    >>> from nkscore import signatures
    >>> "GNLY" in signatures.nk_exclusive(), "GZMA" in signatures.nk_exclusive()
    (True, False)
    """
    return get("NK_EXCLUSIVE").up


@cache
def all_panels() -> dict[str, Panel]:
    """Return every panel, including the one of all Hallmark sets."""
    name, prefix, purpose = HALLMARK
    sets = {key: key for key in packaged() if key.startswith(prefix)}
    return PANELS | {name: Panel(purpose, sets)}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "Nearest: ... . " for names like ``name``, or an empty string."""
    by_key = {key.casefold(): key for key in known}
    wanted = str(name).casefold()
    holding = [key for key in by_key if wanted and wanted in key]
    close = get_close_matches(wanted, by_key, n=3, cutoff=0.6)
    found = list(dict.fromkeys([*close, *holding]))[:3]
    return f"Nearest: {', '.join(by_key[key] for key in found)}. " if found else ""


def _labeled(signature: Signature, label: str) -> Signature:
    if signature.name == label:
        return signature
    note = f"Set {signature.name}. {signature.note}".strip()
    return replace(signature, name=label, note=note)
