"""The parts of the page: what of a figure, a table and a number is shown."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import math
import re
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import pandas as pd

from nkscore.io._columns import meaning

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
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
    made.filters["slug"] = slug
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


#: Columns that a reader looks for first, in this order; the others follow as they are.
_KEYS = (
    *("tumor", "gene", "state", "signal", "set", "class", "nk_gene", "tumor_gene", "nk_state"),
    *("answer", "component", "stratum", "sample", "step", "what", "core", "call", "rank"),
    *("log2_fc", "log_odds_ratio", "change", "activity", "per_100", "ambient_share", "fraction"),
    *("ci_low", "ci_high", "per_100_low", "per_100_high", "q_value", "p_family"),
    *("ambient_suspect", "log2_fc_adjusted", "n_lines", "n_up", "n_down"),
)
#: Columns in which genes link to their dossier.
_OF_GENES = frozenset({"gene", "nk_gene", "tumor_gene"})
#: Significant digits: enough to rank and to plot; the files have all.
_DIGITS, _DIGITS_OF_EFFECTS = 3, 4
#: Numbers from here on are written as powers of ten.
_LARGE = 1e15
_EFFECTS = frozenset({"log2_fc", "se", "log_odds_ratio", "change", "activity", "per_100"})


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
        content, (width, height) = _small(image)
        packed = base64.b64encode(content).decode("ascii")
        return cls(
            slug(name), title, caption, round(width * _SCALE), round(height * _SCALE), packed
        )

    @property
    def kind(self) -> str:
        """What figures of one type have in common: the name up to the lane or line."""
        head, found, _ = self.key.partition("_")
        return head if found and head in {"volcano", "hashtags", "overview"} else self.key


def _small(image: Path) -> tuple[bytes, tuple[int, int]]:
    """Return a PNG with at most 256 colors, a third of the size, and its width and height."""
    from PIL import Image

    content = image.read_bytes()
    with Image.open(io.BytesIO(content)) as opened:
        size = opened.size
        flat = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small = io.BytesIO()
    flat.save(small, "PNG", optimize=True)
    return min(content, small.getvalue(), key=len), size


@dataclass(frozen=True, slots=True)
class Gallery:
    """Figures of one type, side by side."""

    key: str
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that is known of one gene, folded until a link leads to it."""

    gene: str
    names: list[str]
    numeric: list[bool]
    rows: Sequence[Sequence[str]]

    @property
    def title(self) -> str:
        """The gene."""
        return self.gene

    @property
    def key(self) -> str:
        """Name of the anchor."""
        return slug(self.gene)

    @classmethod
    def of(cls, gene: str, frame: pd.DataFrame) -> Dossier:
        """Return what the page holds of the evidence on a gene."""
        columns = [_as_text(frame.iloc[:, i]) for i in range(frame.shape[1])]
        numeric = [_is_number(frame.iloc[:, i]) for i in range(frame.shape[1])]
        rows = list(zip(*columns, strict=True)) if columns else []
        return cls(str(gene), [str(name) for name in frame.columns], numeric, rows)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that sorts, filters and can be downloaded.

    The first rows are HTML; all rows follow compressed, column by column.
    """

    key: str
    name: str
    title: str
    caption: str
    names: list[str]
    numeric: list[bool]
    helps: list[str]
    #: Whether genes of a column link to their dossier.
    genes: list[bool]
    n_rows: int
    rows: Sequence[Sequence[str]]
    packed: str

    @classmethod
    def of(
        cls,
        name: str,
        title: str,
        caption: str,
        frame: pd.DataFrame,
        *,
        linked: Container[str] = (),
    ) -> Table:
        """Return what the page holds of a table; genes in ``linked`` have a dossier."""
        places = _key_first([str(column) for column in frame.columns])
        frame = frame.iloc[:, places]
        names = [str(column) for column in frame.columns]
        columns = [_as_text(frame.iloc[:, i]) for i in range(frame.shape[1])]
        numeric = [_is_number(frame.iloc[:, i]) for i in range(frame.shape[1])]
        first = [column[:SHOWN] for column in columns]
        lines = [[_plain(n) for n in names], *columns]
        text = "\n".join("\t".join(line) for line in lines)
        packed = gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)
        return cls(
            slug(name),
            name,
            title,
            caption,
            names,
            numeric,
            [meaning(name, column) for column in names],
            [bool(linked) and column in _OF_GENES for column in names],
            len(frame) if columns else 0,
            list(zip(*first, strict=True)) if columns else [],
            base64.b64encode(packed).decode("ascii"),
        )


def _key_first(names: list[str]) -> list[int]:
    """Return the order of the columns: keys, effect, interval, q-value and doubt first."""
    rank = {key: place for place, key in enumerate(_KEYS)}
    if "log2_fc" in names:
        # There the ambient share qualifies the effect; elsewhere it is the result.
        del rank["ambient_share"]
    return sorted(range(len(names)), key=lambda i: (rank.get(names[i], len(rank)), i))


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _as_text(column: pd.Series) -> list[str]:
    """Return significant digits of numbers, one line of text otherwise, "" where missing."""
    known = column.notna().to_numpy()
    digits = _DIGITS_OF_EFFECTS if column.name in _EFFECTS else _DIGITS
    values = column.to_numpy(dtype=object)
    shown = partial(_digits, digits=digits) if _is_number(column) else _plain
    return [shown(v) if here else "" for v, here in zip(values, known, strict=True)]


def _digits(value: SupportsFloat, digits: int) -> str:
    """Write a number with significant digits, and never fewer than those before the point."""
    plain = float(value)
    whole = plain.is_integer() or 10**digits <= abs(plain) < _LARGE
    return f"{plain:.0f}" if whole and abs(plain) < _LARGE else f"{plain:.{digits}g}"


def _plain(value: object) -> str:
    return _UNSAFE.sub(" ", str(value))
