"""Values of an R object, the same through rds2py and rdata; read on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from nkscore._types import Array

_NA: Final = np.iinfo(np.int32).min


class Node(Protocol):
    """One R value."""

    @property
    def kind(self) -> str:
        """``number``, ``text``, ``list``, ``S4``, ``null`` or ``other``."""

    @property
    def data(self) -> Array:
        """Numbers as an array (NaN for NA), text as an object array (None for NA)."""

    @property
    def items(self) -> list[Node]:
        """Elements of a list."""

    def attribute(self, name: str) -> Node | None:
        """Return an attribute or, of an S4 object, a slot."""


class Rds2pyNode:
    """A value from ``rds2py.parse_rds``."""

    _KINDS: Final = {
        "integer": "number",
        "double": "number",
        "boolean": "number",
        "string": "text",
        "vector": "list",
        "S4": "S4",
        "null": "null",
    }

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self.kind = self._KINDS.get(str(raw.get("type")), "other")

    @property
    def data(self) -> Array:
        """Numbers or texts."""
        data = self._raw.get("data")
        if self.kind == "text":
            return np.array(data, dtype=object)
        values = np.asarray(data)
        return _numbers(values, logical=self._raw.get("type") == "boolean")

    @property
    def items(self) -> list[Node]:
        """Elements of a list."""
        return [Rds2pyNode(item) for item in self._raw["data"]]

    def attribute(self, name: str) -> Node | None:
        """Return an attribute or a slot."""
        raw = (self._raw.get("attributes") or {}).get(name)
        if name == "class" and raw is None and self.kind == "S4":
            raw = {"type": "string", "data": [self._raw["class_name"]]}
        return Rds2pyNode(raw) if isinstance(raw, dict) else None


class RdataNode:
    """A value from ``rdata.parser.parse_file``."""

    _KINDS: Final = {
        "INT": "number",
        "LGL": "number",
        "REAL": "number",
        "STR": "text",
        "VEC": "list",
        "S4": "S4",
        "NIL": "null",
        "NILVALUE": "null",
    }

    def __init__(self, raw: Any) -> None:
        self._raw = raw if raw.info.type.name != "REF" else raw.referenced_object
        self.kind = self._KINDS.get(self._raw.info.type.name, "other")

    @property
    def data(self) -> Array:
        """Numbers or texts."""
        if self.kind == "text":
            return np.array([_decoded(item.value) for item in self._raw.value], dtype=object)
        return _numbers(self._raw.value, logical=self._raw.info.type.name == "LGL")

    @property
    def items(self) -> list[Node]:
        """Elements of a list."""
        return [RdataNode(item) for item in self._raw.value]

    def attribute(self, name: str) -> Node | None:
        """Return an attribute or a slot."""
        for tag, value in self._pairs():
            if tag == name:
                return RdataNode(value)
        return None

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        pair = self._raw.attributes
        while pair is not None and pair.info.type.name in {"LIST", "ATTRLIST"}:
            tag = pair.tag
            if tag is not None:
                symbol = tag.referenced_object if tag.info.type.name == "REF" else tag
                yield str(_decoded(symbol.value.value)), pair.value[0]
            pair = pair.value[1]


def _decoded(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _numbers(values: npt.ArrayLike, *, logical: bool) -> Array:
    if isinstance(values, np.ma.MaskedArray):
        values = (
            np.ma.filled(values.astype(np.float64), np.nan) if values.mask.any() else values.data
        )
    found: Array = np.asarray(values)
    if found.dtype.kind == "i" and found.size and found.min() == _NA:
        found = np.where(found == _NA, np.nan, found)
    return found.astype(bool) if logical and found.dtype.kind != "f" else found


def classes(node: Node) -> tuple[str, ...]:
    """Return the class names of an R value; none for plain vectors."""
    names = node.attribute("class")
    return tuple(map(str, names.data)) if names is not None and names.kind == "text" else ()


def slot(node: Node | None, *names: str) -> Node | None:
    """Return a nested slot, None if one is missing."""
    for name in names:
        if node is None:
            return None
        node = node.attribute(name)
    return None if node is None or node.kind == "null" else node


def named(node: Node | None) -> dict[str, Node]:
    """Return the elements of a named list."""
    names = None if node is None or node.kind != "list" else node.attribute("names")
    if node is None or names is None or names.kind != "text":
        return {}
    return {str(name): item for name, item in zip(names.data, node.items, strict=True)}


def texts(node: Node | None) -> Array | None:
    """Return a vector of text, or None."""
    if node is None or node.kind != "text":
        return None
    return np.array([str(text) for text in node.data], dtype=object)


def column(node: Node) -> Array | pd.Categorical[str] | None:
    """Return a column of a data frame: a categorical for factors and text, else an array."""
    if node.kind == "text":
        return pd.Categorical(node.data)
    if node.kind != "number":
        return None
    levels = node.attribute("levels")
    if levels is None or levels.kind != "text":
        return node.data
    codes = np.nan_to_num(np.asarray(node.data, dtype=np.float64), nan=0).astype(np.int64) - 1
    return pd.Categorical.from_codes(codes, pd.Index([str(level) for level in levels.data]))


def frame(columns: dict[str, Node], n_rows: int) -> pd.DataFrame:
    """Return the plain columns of a data frame; nested ones are excluded."""
    values = {name: column(node) for name, node in columns.items()}
    fitting = {
        name: value for name, value in values.items() if value is not None and len(value) == n_rows
    }
    return pd.DataFrame(fitting, index=range(n_rows))
