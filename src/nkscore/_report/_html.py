"""The parts of the page: what of a figure, a table and a number is shown."""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import SupportsFloat

    from jinja2 import Environment

#: Rows of a table that stand in the page itself; the others appear on demand.
SHOWN = 50
#: CSS pixels per pixel of a figure: type of 7.5 points at 200 dpi matches the text.
_SCALE = 0.62
_UNSAFE = re.compile(r"[\t\r\n\x00-\x08\x0b\x0c\x0e-\x1f]+")


@cache
def templates() -> Environment:
    """Return the templates, which escape all text that is not marked as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("nkscore._report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Of the page's own script and style, which no name of a sample is part of.
    made.filters["sha256"] = _policy_hash
    made.filters["number"] = lambda cell: number(cell) if cell else ""
    return made


def part(name: str) -> str:
    """Return the script or style of the page as it stands in a file."""
    return templates().get_template(name).render()


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def slug(name: str) -> str:
    """Return a name for an anchor, distinct for distinct names."""
    return re.sub(r"[^0-9A-Za-z_-]", lambda m: f".{ord(m[0]):x}", name)


def number(value: SupportsFloat) -> str:
    """Write a number for the eye: three significant digits, or all of a whole number."""
    value = float(value)
    if not math.isfinite(value):
        return "" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == round(value) and abs(value) < 1e15:
        shown = f"{value:.0f}"
    elif abs(value) < 1e-3 or abs(value) >= 1e6:
        shown = re.sub(r"e([+-])0*", r"e\1", f"{value:.1e}")
    else:
        size = abs(value)
        shown = f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    return "0" if shown == "-0" else shown.replace("-", "−")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its image inside the page, in the size of print."""

    key: str
    title: str
    caption: str
    width: int
    height: int
    image: str

    @classmethod
    def of(cls, name: str, title: str, caption: str, image: Path) -> Figure:
        """Return the figure of a PNG file."""
        content = image.read_bytes()
        # Width and height stand at a fixed place of every PNG.
        width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
        packed = base64.b64encode(content).decode("ascii")
        return cls(
            slug(name), title, caption, round(width * _SCALE), round(height * _SCALE), packed
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A table that sorts, filters and can be downloaded.

    The first rows are HTML; all rows, with six significant digits, follow compressed.
    """

    key: str
    name: str
    title: str
    caption: str
    names: list[str]
    numeric: list[bool]
    n_rows: int
    rows: Sequence[Sequence[str]]
    packed: str

    @classmethod
    def of(cls, name: str, title: str, caption: str, frame: pd.DataFrame) -> Table:
        """Return what the page holds of a table."""
        names = [str(column) for column in frame.columns]
        columns = [_as_text(frame.iloc[:, i]) for i in range(frame.shape[1])]
        numeric = [_is_number(frame.iloc[:, i]) for i in range(frame.shape[1])]
        rows = list(zip(*columns, strict=True)) if columns else []
        lines = ["\t".join(_plain(n) for n in names), *("\t".join(row) for row in rows)]
        packed = gzip.compress(("\n".join(lines) + "\n").encode("utf-8", "replace"), 9, mtime=0)
        return cls(
            slug(name),
            name,
            title,
            caption,
            names,
            numeric,
            len(rows),
            rows[:SHOWN],
            base64.b64encode(packed).decode("ascii"),
        )


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _as_text(column: pd.Series) -> list[str]:
    """Return six significant digits of numbers, one line of text otherwise, "" where missing."""
    known = column.notna().to_numpy()
    write = f"{{:{'d' if pd.api.types.is_integer_dtype(column) else '.6g'}}}".format
    values = column.to_numpy(dtype=object)
    shown = write if _is_number(column) else _plain
    return [shown(v) if here else "" for v, here in zip(values, known, strict=True)]


def _plain(value: object) -> str:
    return _UNSAFE.sub(" ", str(value))
