"""Separate genes, hashtags, proteins and guides of a lane."""

from __future__ import annotations

import difflib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._storable import stored_names
from nkscore._warn import warn
from nkscore.errors import LaneError
from nkscore.io._genes import unique_names
from nkscore.io._lane import (
    ANTIBODY,
    GENE_EXPRESSION,
    GUIDE,
    MULTIPLEXING,
    Lane,
    check_barcodes,
    own_table,
    reading,
)
from nkscore.io._tag_names import alike, marks_samples, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from nkscore._types import Array

_LOG: Final = logging.getLogger("nkscore")
#: CITE-seq-Count appends the tag's sequence to its name.
_SEQUENCE: Final = re.compile(r"-([ACGTN]{6,})$")
_UNMAPPED: Final = "unmapped"
#: Names that Seurat users give to assays of tags.
_ASSAYS: Final = {
    schema.HASHTAGS: ("HTO", "hto"),
    schema.PROTEIN: ("ADT", "adt", "Protein"),
    schema.GUIDES: ("GDO", "sgRNA", "guides"),
}
_NOWHERE: Final = np.array([], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class TagTable:
    """Counts of tags, one row per barcode of the lane, with their source."""

    names: Array
    ids: Array
    counts: Any
    where: str
    #: Positions of the tags among the lane's features; empty for tags from another source.
    origin: Array

    def find(self, tag: str) -> int | None:
        """Return the column of ``tag``.

        By its name, id, name without sequence or sequence; else by the only name that differs in
        case, punctuation or the word for a tag, as "Hashtag 1" from "HTO_1".
        """
        names = [str(name) for name in self.names]
        without = np.array([_SEQUENCE.sub("", name) for name in names], dtype=object)
        ends = [_SEQUENCE.search(name) for name in names]
        sequences = np.array([end[1] if end else None for end in ends], dtype=object)
        for keys in (self.names, self.ids, without, sequences):
            hits = np.flatnonzero(keys == tag)
            if len(hits) == 1:
                return int(hits[0])
            if len(hits) > 1:
                msg = (
                    f"{self.where}: {len(hits)} features are called {tag!r}. Name the hashtag by "
                    f"its id instead (one of {', '.join(map(str, self.ids[hits]))})."
                )
                raise LaneError(msg)
        return alike(tag, list(without))

    def frame(self, tags: Sequence[str]) -> tuple[pd.DataFrame, list[int]]:
        """Return the counts of the ``tags`` that are present, and their positions."""
        found = {tag: column for tag in tags if (column := self.find(tag)) is not None}
        places = list(found.values())
        names = pd.Index(stored_names(found, "The tags"), dtype=object)
        return pd.DataFrame(self.counts[:, places].toarray(), columns=names), places

    def unlisted(self, used: Sequence[int], tags: Sequence[str]) -> list[str]:
        """Return the names of the tags that mark samples, but not those of ``tags``."""
        rest = [str(name) for i, name in enumerate(self.names) if i not in set(used)]
        of_tags = not len(self.origin)
        names = dict.fromkeys(_SEQUENCE.sub("", name) for name in rest)
        return [name for name in names if marks_samples(name, tags, of_tags=of_tags)]

    def rest(self, used: Sequence[int]) -> pd.DataFrame:
        """Return the counts of all tags that are not ``used``, if they are of another source."""
        elsewhere = np.arange(0 if len(self.origin) else len(self.names))
        chosen = np.setdiff1d(elsewhere, used)
        named = [_SEQUENCE.sub("", str(name)) for name in self.names[chosen]]
        names = unique_names(np.array(named, dtype=object), self.ids[chosen], where=self.where)
        labels = pd.Index(stored_names(names, "The tags"), dtype=object)
        return pd.DataFrame(columns(self.counts, chosen).toarray(), columns=labels)


def columns(counts: sparse.csr_matrix, chosen: Array) -> sparse.csr_matrix:
    """Return some columns of a CSR matrix; adjacent ones are sliced, which is much faster."""
    if len(chosen) == counts.shape[1]:
        return counts
    if len(chosen) == 0:
        return sparse.csr_matrix((counts.shape[0], 0), dtype=counts.dtype)
    first, last = int(chosen[0]), int(chosen[-1]) + 1
    return counts[:, first:last] if last - first == len(chosen) else counts[:, chosen]


def inside(lane: Lane) -> TagTable:
    """Return the tags in the lane's own file."""
    types = lane.features["type"].to_numpy()
    chosen = np.flatnonzero((types != GENE_EXPRESSION) & (types != "Peaks"))
    own = _own_key(lane, schema.HASHTAGS)
    if not len(chosen) and own is not None:
        return in_table(lane, own)
    return TagTable(
        lane.features["name"].to_numpy(dtype=object)[chosen],
        lane.features["id"].to_numpy(dtype=object)[chosen],
        columns(lane.counts, chosen),
        str(lane.path),
        chosen,
    )


def _own_key(lane: Lane, slot: str) -> str | None:
    keys = (slot, *_ASSAYS.get(slot, ())) if lane.tables_in == "assay" else (slot,)
    return next((key for key in keys if key in lane.tables), None)


def in_table(lane: Lane, key: str) -> TagTable:
    """Return the tags in a table of the lane's own file, for example ``obsm[key]``."""
    frame = own_table(lane, key)
    names = np.array(list(frame.columns), dtype=object)
    counts = sparse.csr_matrix(frame.to_numpy())
    return TagTable(names, names, counts, f"{lane.path}, {lane.tables_in}[{key!r}]", _NOWHERE)


def separate(lane: Lane, tags: Lane) -> TagTable:
    """Return the tags of another matrix, its rows put into the order of the lane's barcodes."""
    cells, tagged = decode(lane.barcodes, lane.path), decode(tags.barcodes, tags.path)
    check_barcodes(cells, lane.path)
    check_barcodes(tagged, tags.path)
    rows = _match(cells, tagged, lane=lane, tags=tags)
    absent = int((rows < 0).sum())
    if absent:
        msg = (
            f"{absent:,} of {len(rows):,} cells of {lane.path} are not in its hashtag matrix "
            f"{tags.path}; their hashtag counts are 0, so they will be called negative."
        )
        warn(msg)
    real = np.flatnonzero(lane_names(tags) != _UNMAPPED)
    picked = tags.counts[np.maximum(rows, 0)][:, real]
    counts = sparse.diags_array((rows >= 0).astype(np.int32), dtype=np.int32) @ picked
    features = tags.features.iloc[real]
    return TagTable(
        features["name"].to_numpy(dtype=object),
        features["id"].to_numpy(dtype=object),
        sparse.csr_matrix(counts),
        str(tags.path),
        _NOWHERE,
    )


def lane_names(lane: Lane) -> Array:
    """Return the names of all features of ``lane``."""
    return np.asarray(lane.features["name"], dtype=object)


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


def _match(cells: pd.Index, tagged: pd.Index, *, lane: Lane, tags: Lane) -> Array:
    """Return the row of each cell in the tag matrix, -1 where it has none.

    Of all ways to write a barcode the one that matches most counts, the plainest among equals: by
    chance some barcodes of a lane are those of another.
    """
    best, how, rows = 0, "", np.full(len(cells), -1)
    possible = min(len(cells), len(tagged))
    for name, ours, theirs in _WAYS:
        if best == possible:
            break
        mine, other = ours(cells), theirs(tagged)
        if mine.is_unique and other.is_unique:
            found = other.get_indexer(mine)
            matched = int((found >= 0).sum())
            if matched > best:
                best, how, rows = matched, name, np.asarray(found)
    if best < _LEAST_MATCHED * possible or best == 0:
        raise LaneError(_no_match(cells, tagged, best, lane=lane, tags=tags))
    if how:
        warn(
            f"{tags.path}: {best:,} of its {len(tagged):,} barcodes match those of {lane.path} "
            f"{how}. They were matched so; check that this is how the library was made."
        )
    return rows


def _no_match(cells: pd.Index, tagged: pd.Index, best: int, *, lane: Lane, tags: Lane) -> str:
    found = f"Only {best:,}" if best else "None"
    return (
        f"{found} of the {len(cells):,} barcodes of {lane.path} (for example {cells[0]}) "
        f"{'are' if best else 'is'} among the {len(tagged):,} of its hashtag matrix {tags.path} "
        f"(for example {tagged[0]}), read as they are, by sequence, reversed and by 10x's "
        "translation of TotalSeq-B and -C barcodes. Give the hashtag matrix of the same lane."
    )


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


def others(lane: Lane, feature_type: str, slot: str, used: Iterable[int]) -> pd.DataFrame:
    """Return the tags of ``feature_type`` that are not hashtags, one row per cell."""
    is_type = (lane.features["type"] == feature_type).to_numpy(copy=True)
    is_type[list(used)] = False
    chosen = np.flatnonzero(is_type)
    own = _own_key(lane, slot)
    if not len(chosen) and own is not None:
        frame = own_table(lane, own)
        frame.columns = pd.Index(stored_names(frame.columns, "The tags"))
        return frame
    features = lane.features.iloc[chosen]
    names = unique_names(
        features["name"].to_numpy(dtype=object),
        features["id"].to_numpy(dtype=object),
        where=f"{lane.path}, {feature_type}",
    )
    labels = pd.Index(stored_names(names, "The tags"), dtype=object)
    return pd.DataFrame(columns(lane.counts, chosen).toarray(), columns=labels)


def log_left_out(lane: Lane) -> None:
    """Log at INFO which features of a lane are not loaded."""
    left = [f"{count} × {name}" for name, count in not_loaded(lane).items()]
    if left:
        _LOG.info("%s: not loaded: %s.", lane.path, "; ".join(left))


def not_loaded(lane: Lane) -> dict[str, int]:
    """Return the number of features of each type that has no place in the result."""
    types = lane.features["type"]
    counts = types[~types.isin([GENE_EXPRESSION, ANTIBODY, GUIDE, MULTIPLEXING])].value_counts()
    return {str(name): int(n) for name, n in counts.items()}


def missing_tag(tag: str, lane: Lane, table: TagTable) -> str:
    """Return the message for a ``tag`` of the sheet that is not in the lane's matrix."""
    names = [_SEQUENCE.sub("", str(name)) for name in table.names]
    if not names:
        frames = ", ".join(f"{lane.tables_in}:{key}" for key in lane.tables)
        remedy = (
            f"Its {lane.tables_in} holds tables; name the one with the hashtags in hashtag_path: "
            f"{frames}."
            if frames
            else "Give the matrix of the hashtags in hashtag_path."
        )
        return f"{tag!r} is not in {table.where}, which holds genes only. {remedy}"
    close = difflib.get_close_matches(tag, names, n=1, cutoff=0.6)
    twins = [name for name in names if plain(name) == plain(tag)]
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if len(twins) > 1:
        hint = f" {' and '.join(map(repr, twins))} differ from it only in writing: write one."
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{tag!r} is not in {table.where} (its tags: {shown}).{hint}"
