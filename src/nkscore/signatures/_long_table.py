"""Signatures as a long table: one row per set and gene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore._text import as_numbers
from nkscore.errors import MissingKeyError
from nkscore.signatures._signature import PROVENANCE, Signature

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Accepted headers, nkscore's first; the others come from decoupler, GSEA tools and AUCell.
_NAME_COLUMNS: Final = ("signature", "source", "geneset", "gene_set", "set", "name")
_GENE_COLUMNS: Final = ("gene", "target", "genesymbol", "gene_symbol", "symbol")
_DIRECTIONS: Final = {
    "": "up",
    "up": "up",
    "+": "up",
    "positive": "up",
    "down": "down",
    "dn": "down",
    "-": "down",
    "negative": "down",
}


def to_long_table(signatures: Mapping[str, Signature]) -> pd.DataFrame:
    """Return ``signature``, ``direction``, ``gene`` and the source of each set."""
    rows = [
        {"signature": name, "direction": "up" if weight > 0 else "down", "gene": gene}
        | {key: getattr(signature, key) for key in PROVENANCE}
        for name, signature in signatures.items()
        for gene, weight in signature.weights.items()
    ]
    return pd.DataFrame(rows, columns=["signature", "direction", "gene", *PROVENANCE])


def from_long_table(table: pd.DataFrame, where: str) -> dict[str, Signature]:
    """Return the signatures of a long table; ``where`` names it in errors."""
    frame = table.rename(columns=lambda column: str(column).strip().casefold())
    if not frame.columns.is_unique:
        again = frame.columns[frame.columns.duplicated()][0]
        msg = f"{where} has more than one column {again!r} (whatever its case). Rename one of them."
        raise ValueError(msg)
    name_column = _pick(frame, _NAME_COLUMNS, where)
    gene_column = _pick(frame, _GENE_COLUMNS, where)
    # As plain text, because unused levels of a categorical are not sets.
    names = pd.Series([_text(name).strip() for name in frame[name_column]], frame.index, dtype=str)
    unnamed = names == ""
    if unnamed.any():
        msg = (
            f"{where} has {int(unnamed.sum())} rows without a name in the column {name_column!r}; "
            "each gene needs the name of its set. Fill it in or remove the rows."
        )
        raise ValueError(msg)
    frame = frame.assign(_direction=_directions(frame, where))
    kept = [key for key in PROVENANCE if key in frame.columns and key != name_column]
    found: dict[str, Signature] = {}
    for name, rows in frame.groupby(names.to_numpy(), sort=False):
        source = {key: _text(rows[key].iloc[0]) for key in kept}
        is_up = rows["_direction"] == "up"
        found[str(name)] = Signature(
            str(name),
            tuple(rows.loc[is_up, gene_column]),
            tuple(rows.loc[~is_up, gene_column]),
            **source,
        )
    return found


def _directions(frame: pd.DataFrame, where: str) -> pd.Series[str]:
    if "direction" in frame.columns:
        words = frame["direction"].map(_text).str.strip().str.casefold()
        direction = words.map(_DIRECTIONS)
        unknown = words[direction.isna()]
        if len(unknown):
            msg = (
                f"{where} holds the direction {unknown.iloc[0]!r}; 'up' or 'down' is needed. "
                "Rename it, or remove the column if the sets have no direction."
            )
            raise ValueError(msg)
        return direction
    if "weight" in frame.columns:
        weight = as_numbers(frame["weight"])
        if (weight.isna() | (weight == 0)).any():
            msg = (
                f"{where} holds weights that are zero or missing or no numbers; a positive (up) or "
                "negative (down) number is needed. Remove those rows."
            )
            raise ValueError(msg)
        return weight.gt(0).map({True: "up", False: "down"})
    return pd.Series("up", index=frame.index)


def _pick(frame: pd.DataFrame, accepted: tuple[str, ...], where: str) -> str:
    for column in accepted:
        if column in frame.columns:
            return column
    msg = (
        f"{where} has the columns {', '.join(map(str, frame.columns))}; one of "
        f"{', '.join(accepted)} is needed. Rename the column."
    )
    raise MissingKeyError(msg)


def _text(value: str | float | None) -> str:
    return "" if pd.isna(value) else str(value)
