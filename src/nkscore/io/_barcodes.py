"""Match the barcodes of two files of one lane, however each of them writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._warn import warn
from nkscore.errors import LaneError
from nkscore.io._lane import reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nkscore._types import Array


def decode(barcodes: Array, path: Path) -> pd.Index:
    """Return barcodes, bytes or text, as an index of text."""
    if barcodes.dtype.kind == "S":
        with reading(path):
            try:
                barcodes = barcodes.astype(str)
            except UnicodeDecodeError:
                barcodes = np.char.decode(barcodes, "utf-8")
    index: pd.Index = pd.Index(barcodes.astype(object))
    return index


def match(cells: pd.Index, tagged: pd.Index, *, where: Path, other: Path, what: str) -> Array:
    """Return the row of each cell of the lane ``where`` in the file ``other``, -1 where none is.

    Of all ways to write a barcode the one that matches most counts, the plainest among equals: by
    chance some barcodes of a lane are those of another.
    """
    best, how, rows = 0, "", np.full(len(cells), -1)
    possible = min(len(cells), len(tagged))
    for name, ours, theirs in _WAYS:
        if best == possible:
            break
        mine, named = ours(cells), theirs(tagged)
        if mine.is_unique and named.is_unique:
            found = named.get_indexer(mine)
            matched = int((found >= 0).sum())
            if matched > best:
                best, how, rows = matched, name, np.asarray(found)
    if best < _LEAST_MATCHED * possible or best == 0:
        few = f"Only {best:,}" if best else "None"
        msg = (
            f"{few} of the {len(cells):,} barcodes of {where} (for example {cells[0]}) "
            f"{'are' if best else 'is'} among the {len(tagged):,} of its {what} {other} "
            f"(for example {tagged[0]}), read as they are, by sequence, reversed and by 10x's "
            f"translation of TotalSeq-B and -C barcodes. Give the {what} of the same lane."
        )
        raise LaneError(msg)
    if how:
        warn(
            f"{other}: {best:,} of its {len(tagged):,} barcodes match those of {where} "
            f"{how}. They were matched so; check that this is how the library was made."
        )
    return rows


def _as_is(barcodes: pd.Index) -> pd.Index:
    return barcodes


def _without_suffix(barcodes: pd.Index) -> pd.Index:
    return pd.Index(barcodes.str.replace(r"-\d+$", "", regex=True))


def _sequence_only(barcodes: pd.Index) -> pd.Index:
    # A cell's name can contain its lane: "lane1_ACGT...-1". Without a sequence it stays unchanged.
    return pd.Index(barcodes.str.replace(r"^.*?([ACGTN]{14,})(-\d+)?.*$", r"\1", regex=True))


_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")


def _translated(barcodes: pd.Index) -> pd.Index:
    """Complement bases 8 and 9: 10x's list pairs barcodes of tags and RNA that way."""
    plain = _sequence_only(barcodes)
    return plain.str[:7] + plain.str[7:9].str.translate(_COMPLEMENT) + plain.str[9:]


def _reversed(barcodes: pd.Index) -> pd.Index:
    return _sequence_only(barcodes).str[::-1].str.translate(_COMPLEMENT)


_Way = tuple[str, "Callable[[pd.Index], pd.Index]", "Callable[[pd.Index], pd.Index]"]
#: What a match by this way is worth a warning for, and how cells and tags are written for it.
_WAYS: Final[tuple[_Way, ...]] = (
    ("", _as_is, _as_is),
    ("", _without_suffix, _without_suffix),
    ("", _sequence_only, _sequence_only),
    ("after 10x's translation of TotalSeq-B and -C barcodes", _sequence_only, _translated),
    ("as reverse complements", _sequence_only, _reversed),
)
#: Share of the smaller of both lists.
_LEAST_MATCHED: Final = 0.5
