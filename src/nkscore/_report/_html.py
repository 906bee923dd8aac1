"""Pieces of HTML: all text is escaped here, once."""

from __future__ import annotations

import base64
import gzip
import html
import math
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

#: Rows of a table that stand in the page itself; the others appear on demand.
SHOWN = 50
#: CSS pixels per pixel of a figure: type of 7.5 points at 200 dpi reads well beside the text.
_SCALE = 0.62
_UNSAFE = re.compile(r"[\t\r\n\x00-\x08\x0b\x0c\x0e-\x1f]+")


def text(value: object) -> str:
    """Return ``value`` as text that HTML shows as it is."""
    # Lone surrogates, as in file names that are not UTF-8, cannot be written.
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def slug(name: str) -> str:
    """Return a name for an anchor, distinct for distinct names."""
    return re.sub(r"[^0-9A-Za-z_-]", lambda m: f".{ord(m[0]):x}", name)


def number(value: Any) -> str:
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


def paragraphs(sentences: Iterable[str]) -> str:
    """Return each sentence (plain text) as a paragraph."""
    return "\n".join(f"<p>{text(sentence)}</p>" for sentence in sentences)


def bullets(items: Iterable[str]) -> str:
    """Return plain texts as a list."""
    return "<ul>\n" + "\n".join(f"<li>{text(item)}</li>" for item in items) + "\n</ul>"


def figure(name: str, title: str, caption: str, image: Path) -> str:
    """Return a figure with its image inside the page, in the size of print."""
    content = image.read_bytes()
    # Width and height stand at a fixed place of every PNG.
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    return (
        f'<figure id="figure-{slug(name)}"><img alt="{text(title)}. {text(caption)}" '
        f'width="{round(width * _SCALE)}" height="{round(height * _SCALE)}" '
        f'src="data:image/png;base64,{base64.b64encode(content).decode("ascii")}">'
        f"<figcaption><b>{text(title)}.</b> {text(caption)}</figcaption></figure>"
    )


def table(name: str, title: str, caption: str, frame: pd.DataFrame) -> str:
    """Return a table that sorts, filters and can be downloaded.

    The first rows are HTML; all rows, with six significant digits, follow compressed.
    """
    names = [str(column) for column in frame.columns]
    columns = [_as_text(frame.iloc[:, i]) for i in range(frame.shape[1])]
    numeric = [_is_number(frame.iloc[:, i]) for i in range(frame.shape[1])]
    rows = list(zip(*columns, strict=True)) if columns else []
    lines = ["\t".join(_plain(n) for n in names), *("\t".join(row) for row in rows)]
    packed = gzip.compress(("\n".join(lines) + "\n").encode("utf-8", "replace"), 9, mtime=0)
    key = slug(name)
    heads = "".join(
        f'<th scope="col" aria-sort="none"{" class=number" if kind else ""}>'
        f'<button type="button">{text(column)}</button></th>'
        for column, kind in zip(names, numeric, strict=True)
    )
    return (
        f'<section class="table" id="table-{key}" data-name="{text(name)}" data-rows="{len(rows)}">'
        f"<h3>{text(title)}</h3><p>{text(caption)}</p>{_controls(key, len(rows))}"
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(title)}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{_body(rows[:SHOWN], numeric)}</tbody></table>"
        "</div>"
        f'<p class="note">{_footnote(len(rows))}</p>'
        '<script type="text/plain" class="data">'
        f"{base64.b64encode(packed).decode('ascii')}</script></section>"
    )


def _controls(key: str, n_rows: int) -> str:
    return (
        f'<div class="controls"><label for="filter-{key}">Filter</label>'
        f'<input type="search" id="filter-{key}" autocomplete="off" spellcheck="false" '
        'placeholder="words, or for example q_value&lt;0.05">'
        f'<output for="filter-{key}" aria-live="polite">{n_rows:,} rows</output>'
        '<button type="button" class="download">Download TSV</button></div>'
    )


def _footnote(n_rows: int) -> str:
    if n_rows <= SHOWN:
        return ""
    return (
        f"The first {SHOWN} of {n_rows:,} rows are shown; sorting, filtering and the download "
        'use all of them. <button type="button" class="more">Show more rows</button>'
    )


def _body(rows: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    return "".join(
        "<tr>"
        + "".join(
            f"<td class=number>{number(cell) if cell else ''}</td>"
            if kind
            else f"<td>{text(cell)}</td>"
            for cell, kind in zip(row, numeric, strict=True)
        )
        + "</tr>"
        for row in rows
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
