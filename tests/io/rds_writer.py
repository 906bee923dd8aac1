"""A small writer of R's serialization format (XDR, version 2 or 3), for objects that R would save.

Written after the description in "R Internals"; values are lists, dicts (named lists), numpy
arrays, strings and the classes below. There is no R on the test machines.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from dataclasses import dataclass, field

import numpy as np

NA_INT = -(2**31)
PACK = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "none": bytes}


@dataclass
class S4:
    """An S4 object: class, package and slots."""

    name: str
    slots: dict
    package: str = "SeuratObject"


@dataclass
class With:
    """A value with attributes."""

    value: object
    attributes: dict = field(default_factory=dict)
    #: S4 objects that are a vector with slots (LogMap) carry the S4 bit.
    is_s4: bool = False


class PlainList(list):
    """A list that is a generic vector whatever it holds, also text or nothing."""


class Closure:
    """A function without arguments that returns NULL."""


def dump(value, path, packed="gz", *, version=3):
    first = 0x00030500 if version == 3 else 0x00020300
    out = bytearray(b"X\n" + struct.pack(">3i", version, 0x00040202, first))
    if version == 3:
        out += struct.pack(">i", 5) + b"UTF-8"
    _item(value, out)
    path.write_bytes(PACK[packed](bytes(out)))
    return path


def _int(number, out):
    out += struct.pack(">i", number)


def _flags(kind, out, *, attributes=False, tag=False, is_object=False, level=0):
    _int(kind | is_object << 8 | attributes << 9 | tag << 10 | level << 12, out)


def _char(text, out):
    if text is None:
        _flags(9, out)
        _int(-1, out)
        return
    raw = text.encode()
    _flags(9, out, level=8)
    _int(len(raw), out)
    out += raw


def _pairs(pairs, out):
    for name, value in pairs.items():
        _flags(2, out, tag=True)
        _flags(1, out)
        _char(name, out)
        _item(value, out)
    _int(254, out)


def _vector(kind, data, out, attributes, level):
    _flags(kind, out, attributes=bool(attributes), is_object="class" in attributes, level=level)
    _int(len(data), out)
    if kind == 14:
        out += np.asarray(data, ">f8").tobytes()
    elif kind in {10, 13}:
        out += np.asarray(data, ">i4").tobytes()
    else:
        for element in data:
            (_char if kind == 16 else _item)(element, out)
    if attributes:
        _pairs(attributes, out)


def _item(value, out):  # noqa: C901
    attributes, level = {}, 0
    if isinstance(value, With):
        attributes, level, value = value.attributes, 16 if value.is_s4 else 0, value.value
    if value is None:
        _int(254, out)
    elif isinstance(value, Closure):
        # Environment (global), arguments (none), body (NULL).
        _flags(3, out, tag=True)
        for part in (253, 254, 254):
            _int(part, out)
    elif isinstance(value, S4):
        named = With([value.name], {"package": [value.package]})
        _flags(25, out, attributes=True, is_object=True, level=16)
        _pairs({**value.slots, "class": named}, out)
    elif isinstance(value, dict):
        attributes = {"names": list(value), **attributes}
        _vector(19, list(value.values()), out, attributes, level)
    elif isinstance(value, str):
        _vector(16, [value], out, attributes, level)
    elif isinstance(value, np.ndarray):
        kind = {"f": 14, "i": 13, "b": 10}[value.dtype.kind]
        _vector(kind, value.ravel(order="F"), out, attributes, level)
    elif not isinstance(value, PlainList) and all(
        isinstance(element, str) or element is None for element in value
    ):
        _vector(16, value, out, attributes, level)
    else:
        _vector(19, value, out, attributes, level)


def sparse_matrix(counts, genes, cells, kind="dgCMatrix"):
    """dgCMatrix of genes × cells from an array of cells × genes."""
    from scipy import sparse

    names = [None if each is None else list(each) for each in (genes, cells)]
    shape = np.array(counts.shape[::-1], dtype=np.int32)
    slots = {"Dim": shape, "Dimnames": PlainList(names)}
    if kind == "dgTMatrix":
        coo = sparse.coo_matrix(counts.T)
        slots |= {"i": coo.row.astype(np.int32), "j": coo.col.astype(np.int32)}
        slots["x"] = coo.data.astype(float)
    else:
        made = sparse.csr_matrix(counts) if kind == "dgCMatrix" else sparse.csc_matrix(counts)
        slots["i" if kind == "dgCMatrix" else "j"] = made.indices.astype(np.int32)
        slots |= {"p": made.indptr.astype(np.int32), "x": made.data.astype(float)}
    return S4(kind, {**slots, "factors": PlainList()}, "Matrix")


def factor(values, levels):
    codes = [NA_INT if value is None else levels.index(value) + 1 for value in values]
    return With(np.array(codes, dtype=np.int32), {"levels": levels, "class": ["factor"]})


def data_frame(columns, rows):
    return With(columns, {"class": ["data.frame"], "row.names": list(rows)})


def log_map(names, layers):
    """LogMap of Seurat 5: which name is in which layer."""
    values = np.array([[name in held for held in layers.values()] for name in names])
    dimnames = PlainList([list(names), list(layers)])
    dim = np.array(values.shape, dtype=np.int32)
    kind = With(["LogMap"], {"package": ["SeuratObject"]})
    attributes = {"dim": dim, "dimnames": dimnames, "class": kind}
    return With(values, attributes, is_s4=True)
