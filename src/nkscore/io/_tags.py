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
from nkscore.io._barcodes import decode, match
from nkscore.io._genes import unique_names
from nkscore.io._lane import (
    ANTIBODY,
    GENE_EXPRESSION,
    GUIDE,
    MULTIPLEXING,
    Lane,
    check_barcodes,
    own_table,
)
from nkscore.io._tag_names import alike, marks_samples, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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


@dataclass(frozen=True, slots=True)
class TagTables:
    """Tables of one lane: those of its hashtags, and that of its proteins if it has its own."""

    hashtags: tuple[TagTable, ...]
    proteins: tuple[TagTable, ...] = ()

    @property
    def all(self) -> TagTable:
        """All of them side by side: a hashtag can be among the proteins."""
        return joined((*self.hashtags, *self.proteins))

    def proteins_beside(self, used: Iterable[int]) -> list[pd.DataFrame]:
        """Return the tags of the protein matrix that mark no sample."""
        first = sum(len(table.names) for table in self.hashtags)
        own = [place - first for place in used if place >= first]
        return [unused(table, own) for table in self.proteins]


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


def separate(lane: Lane, tags: Lane, what: str = "hashtag") -> TagTable:
    """Return the tags of another matrix, its rows put into the order of the lane's barcodes."""
    cells, tagged = decode(lane.barcodes, lane.path), decode(tags.barcodes, tags.path)
    check_barcodes(cells, lane.path)
    check_barcodes(tagged, tags.path)
    rows = match(cells, tagged, where=lane.path, other=tags.path, what=f"{what} matrix")
    absent = int((rows < 0).sum())
    if absent:
        then = ", so they will be called negative" if what == "hashtag" else ""
        msg = (
            f"{absent:,} of {len(rows):,} cells of {lane.path} are not in its {what} matrix "
            f"{tags.path}; their {what} counts are 0{then}."
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


def joined(tables: Sequence[TagTable]) -> TagTable:
    """Return the tags of several tables of one lane side by side."""
    if len(tables) == 1:
        return tables[0]
    inside = [t.origin if len(t.origin) else np.full(len(t.names), -1) for t in tables]
    return TagTable(
        np.concatenate([table.names for table in tables]),
        np.concatenate([table.ids for table in tables]),
        sparse.csr_matrix(sparse.hstack([table.counts for table in tables])),
        " and ".join(table.where for table in tables),
        np.concatenate(inside),
    )


def unused(table: TagTable, used: Iterable[int]) -> pd.DataFrame:
    """Return the tags of a table that mark no sample."""
    rest = np.setdiff1d(np.arange(len(table.names)), list(used))
    names = unique_names(table.names[rest], table.ids[rest], where=table.where)
    labels = pd.Index(stored_names(names, "The tags"), dtype=object)
    return pd.DataFrame(table.counts[:, rest].toarray(), columns=labels)


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
