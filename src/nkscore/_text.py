"""Open text files as labs hold them: packed or not, in any encoding that a spreadsheet writes."""

from __future__ import annotations

import codecs
import gzip
import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, cast

import pandas as pd

from nkscore._gate import check_regular
from nkscore.errors import LaneError, MissingKeyError, NkscoreError, NkscoreWarning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_GZIP: Final = b"\x1f\x8b"
#: A browser may pack a packed file once more.
_MOST_LAYERS: Final = 3
_LOOKED_AT: Final = 1 << 20
#: Text packs 3 to 40 times. Small files may unpack to this many bytes anyway.
_MOST_PACKED: Final = 500
_ALWAYS: Final = 1 << 26
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Turn an error of a library into one that names the file; errors of the disk pass."""
    try:
        yield
    except (NkscoreError, NkscoreWarning, ImportError):
        raise
    except Exception as error:
        # A damaged archive leads to an OSError, too, but to none that names the file.
        if isinstance(error, OSError) and error.filename is not None:
            raise
        detail = " ".join(str(error).split())[:200]
        msg = (
            f"{path} is empty or not a table, or damaged ({type(error).__name__}: {detail}). Use "
            "the original file of the program, or save it again as text."
        )
        raise MissingKeyError(msg) from error


def with_header(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table without R's row names, or raise :class:`LaneError`.

    pandas takes the first cells of rows that are longer than the header for names of rows. If they
    are none, a cell of the header was lost, and each column would hold its neighbor.
    """
    # pandas 3 makes a range of row numbers that begin with 1, too.
    if table.index.equals(pd.RangeIndex(len(table))):
        return table
    if table.index.nlevels == 1 and table.index.is_unique:
        names = [str(name) for name in table.index]
        if all(map(str.isdigit, names)) or names == [str(cell) for cell in table.iloc[:, 0]]:
            return table.reset_index(drop=True)
    msg = (
        f"{path}: its rows have more cells than its header ({', '.join(map(str, table.columns))}), "
        "so it is not certain which column is which. Write one name for each column."
    )
    raise LaneError(msg)


class _Bounded(io.RawIOBase):
    """An unpacked stream that ends with an error where a small file has become a huge one."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path, self._place = stream, path, 0
        self._most = _ALWAYS + _MOST_PACKED * path.stat().st_size

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can start again."""
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self._place = self._stream.seek(place, whence)
        return self._place

    def readinto(self, data: bytearray) -> int:  # type: ignore[override]
        """Read the next bytes."""
        view = memoryview(data).cast("B")
        found = self._stream.read(len(view))
        view[: len(found)] = found
        self._place += len(found)
        if self._place > self._most:
            msg = (
                f"{self._path} ({self._path.stat().st_size:,} bytes) unpacks to more than "
                f"{self._most:,} bytes: it is damaged or made to fill the memory. Copy or download "
                "it again, or unpack it yourself."
            )
            raise LaneError(msg)
        return len(found)


def bounded(stream: IO[bytes], path: Path) -> IO[bytes]:
    """Return the unpacked stream of ``path``, which ends with an error once it is too long."""
    return io.BufferedReader(cast("io.RawIOBase", _Bounded(stream, path)), 1 << 17)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file as a stream of UTF-8 without a mark at its beginning."""
    check_regular(path)
    with path.open("rb") as raw:
        stream = _unpacked(raw, path)
        encoding = _encoding(stream.read(_LOOKED_AT))
        stream.seek(0)
        if encoding == "utf-8":
            yield stream
        else:
            yield io.BytesIO(_decoded(stream.read(), encoding).encode("utf-8"))


#: How read_csv of pandas 2 must read numbers: its other ways end the process at an exponent of many
#: digits. pandas 3 has one way, and warns of a choice.
SAFE_FLOATS: Final[dict[str, Any]] = (
    {"float_precision": "legacy"} if pd.__version__.startswith("2.") else {}
)
#: No table holds such a number, and pandas ends the process at it.
_HUGE_EXPONENT: Final = r"[eE][+-]?\d{5,}\s*$"


def as_numbers(values: pd.Series) -> pd.Series:
    """Return text as numbers, missing where it is none."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = values.mask(values.astype(str).str.contains(_HUGE_EXPONENT))
    return pd.to_numeric(values, errors="coerce")


def read_text(path: Path) -> str:
    """Return the text of a file; the ends of its lines are as they are stored."""
    check_regular(path)
    with path.open("rb") as raw:
        content = _unpacked(raw, path).read()
    return _decoded(content, _encoding(content))


def _unpacked(stream: IO[bytes], path: Path) -> IO[bytes]:
    # By content, not by name: browsers unpack .gz files and keep the name.
    for _ in range(_MOST_LAYERS):
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        if not packed:
            break
        packed_in = cast("IO[bytes]", gzip.GzipFile(filename="", mode="rb", fileobj=stream))
        stream = bounded(packed_in, path)
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
