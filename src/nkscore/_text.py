"""Open text files as labs hold them: packed or not, in any encoding that a spreadsheet writes."""

from __future__ import annotations

import codecs
import gzip
import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GZIP: Final = b"\x1f\x8b"
#: A browser may pack a packed file once more.
_MOST_LAYERS: Final = 3
_LOOKED_AT: Final = 1 << 20
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file as a stream of UTF-8 without a mark at its beginning."""
    with path.open("rb") as raw:
        stream = _unpacked(raw)
        encoding = _encoding(stream.read(_LOOKED_AT))
        stream.seek(0)
        if encoding == "utf-8":
            yield stream
        else:
            yield io.BytesIO(_decoded(stream.read(), encoding).encode("utf-8"))


def read_text(path: Path) -> str:
    """Return the text of a file; the ends of its lines are as they are stored."""
    with path.open("rb") as raw:
        content = _unpacked(raw).read()
    return _decoded(content, _encoding(content))


def _unpacked(stream: IO[bytes]) -> IO[bytes]:
    # By content, not by name: browsers unpack .gz files and keep the name.
    for _ in range(_MOST_LAYERS):
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        if not packed:
            break
        stream = cast("IO[bytes]", gzip.GzipFile(filename="", mode="rb", fileobj=stream))
    return stream


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    zeros = [head[first::2].count(0) for first in (0, 1)]
    if max(zeros) > len(head) / 4:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _decoded(content: bytes, encoding: str) -> str:
    if encoding == "utf-8":
        # Only the beginning was looked at.
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            encoding = "cp1252"
    # Five bytes have no letter in cp1252.
    return content.decode(encoding, errors="replace")
