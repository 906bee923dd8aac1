"""Which genetic donors a sample of the sheet holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nkscore import schema

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pandas as pd


def donors_in(text: str, held: Collection[str]) -> list[str]:
    """Return the donors that an entry of the sheet names; ``;``, ``,`` or ``+`` separate them.

    >>> donors_in("K562; donor_1", ["K562", "donor_1"])
    ['K562', 'donor_1']
    """
    if not text or text in held:
        return [text] if text else []
    return [part for part in map(str.strip, re.split(r"[;,+]", text)) if part]


def marks_of(rows: pd.DataFrame, held: Collection[str]) -> dict[str, list[int]]:
    """Return donor → positions of the samples of one lane that hold it.

    A sample holds the donors of its ``genotype`` or, where that is empty, those that have the name
    of its tumor or of its NK donor, but for case and punctuation.
    """
    plain = {_plain(name): name for name in held}
    found: dict[str, list[int]] = {}
    for position, row in enumerate(rows.to_dict("records")):
        named = {str(name): value for name, value in row.items()}
        for donor in dict.fromkeys(_donors_of(named, held, plain)):
            found.setdefault(donor, []).append(position)
    return found


def _donors_of(
    row: Mapping[str, object], held: Collection[str], plain: Mapping[str, str]
) -> list[str]:
    named = donors_in(str(row.get(schema.GENOTYPE, "") or ""), held)
    if named:
        return named
    names = (str(row.get(column) or "") for column in (schema.TUMOR, schema.NK_DONOR))
    return [plain[_plain(name)] for name in names if _plain(name) in plain]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()) or name
