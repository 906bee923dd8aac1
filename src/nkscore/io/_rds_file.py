"""Open .rds files with rds2py, which is fast, or else with rdata."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import shutil
import tempfile
import warnings
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from nkscore._text import bounded
from nkscore.errors import LaneError, NkscoreError
from nkscore.io._rds_nodes import RdataNode, Rds2pyNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nkscore.io._rds_nodes import Node

_LOG: Final = logging.getLogger("nkscore")
_GZIP: Final = b"\x1f\x8b"
_PACKED: Final[tuple[tuple[bytes, Callable[..., Any]], ...]] = (
    (_GZIP, gzip.open),
    (b"\xfd7zXZ\x00", lzma.open),
    (b"BZh", bz2.open),
)
#: Memory for each byte of an unpacked object, and for any object.
_MOST_PER_BYTE: Final = 100
_ALWAYS: Final = 1 << 29
#: First bytes of a serialized object: binary (XDR), text, native binary.
_SERIALIZED: Final = (b"X\n", b"A\n", b"A\r\n", b"B\n")
_WORKSPACE: Final = (b"RDX", b"RDA", b"RDB")


def parse(path: Path) -> Node:
    """Return the R value in a file, whichever of the two libraries can read it."""
    check_head(path)
    failures: dict[str, Exception] = {}
    for name, read in (("rds2py", _with_rds2py), ("rdata", _with_rdata)):
        if find_spec(name) is None:
            continue
        try:
            return read(path)
        except NkscoreError:
            raise
        except Exception as error:  # noqa: BLE001
            # rds2py does not know closures, which FindVariableFeatures leaves in every object.
            _LOG.debug("%s: %s cannot read it (%s).", path, name, error)
            failures[name] = error
    unusable = [name for name, error in failures.items() if isinstance(error, ImportError)]
    if "rdata" in failures and "rdata" not in unusable:
        raise failures["rdata"]
    raise LaneError(_unread(path, failures)) from next(iter(failures.values()), None)


def _unread(path: Path, failures: dict[str, Exception]) -> str:
    if not failures:
        return (
            f"{path} is an R object, but neither rds2py nor rdata, which can read it, is "
            "installed. Run: pip install 'nkscore[rds]'. Or write the counts from R as a 10x "
            "folder (DropletUtils::write10xCounts)."
        )
    reasons = "; ".join(
        f"{name} cannot read this R object ({str(error).strip().splitlines()[-1].strip()})"
        for name, error in failures.items()
        if str(error).strip()
    )
    return (
        f"{path}: {reasons}, and the other library is not installed. Run: pip install "
        "'nkscore[rds]'. "
        "Or in R: object@commands <- list(); saveRDS(object, file)."
    )


def _opener(path: Path) -> Callable[..., Any]:
    with path.open("rb") as file:
        head = file.read(6)
    return next((opener for magic, opener in _PACKED if head.startswith(magic)), open)


def check_head(path: Path) -> None:
    """Raise :class:`LaneError` for a file that holds no serialized R object."""
    with _opener(path)(path, "rb") as file:
        head = file.read(16)
    if head.startswith(_SERIALIZED):
        return
    if head.startswith(_WORKSPACE):
        what = (
            "is an R workspace (.RData), which holds named objects. Load it in R and "
            "saveRDS(object, file)"
        )
    elif not head:
        what = "is empty. Copy or download it again"
    elif head.lstrip().startswith(b"<"):
        what = "is a web page, not data: the download failed. Repeat it"
    else:
        what = f"holds no R object (it begins with {head[:8]!r}). Write it with saveRDS in R"
    msg = f"{path} {what}."
    raise LaneError(msg)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    # Never by rds2py: a damaged gzip makes it hang or crash.
    opener = _opener(path)
    if opener is open:
        yield path
        return
    with _unnamed() as (target, plain):
        source: IO[bytes]
        with opener(path, "rb") as source:
            shutil.copyfileobj(bounded(source, path), target, 1 << 20)
        target.flush()
        yield plain


@contextmanager
def _unnamed() -> Iterator[tuple[IO[bytes], Path]]:
    """Give a temporary file and its path; if possible it has no name that could stay behind."""
    with tempfile.TemporaryFile(prefix="nkscore_") as file:
        path = Path(f"/proc/self/fd/{file.fileno()}")
        if path.exists():
            yield file, path
            return
    with tempfile.TemporaryDirectory(prefix="nkscore_") as folder:
        path = Path(folder) / "object.rds"
        with path.open("wb") as file:
            yield file, path


@contextmanager
def _bounded(plain: Path) -> Iterator[None]:
    """Let a damaged length fail where it asks for more memory than any object of this file.

    On Linux only: other systems do not tell how much is in use.
    """
    in_use = Path("/proc/self/statm")
    if not in_use.exists():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = int(in_use.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    most += _ALWAYS + _MOST_PER_BYTE * plain.stat().st_size
    limits = [limit for limit in (most, before[0]) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _with_rds2py(path: Path) -> Node:
    # Its import prints its missing extras, none of which is needed.
    silent = redirect_stdout(io.StringIO())
    with warnings.catch_warnings(action="ignore"), silent, _unpacked(path) as plain:
        module = import_module("rds2py")
        with _bounded(plain):
            return Rds2pyNode(module.parse_rds(str(plain)))


def _with_rdata(path: Path) -> Node:
    with warnings.catch_warnings(action="ignore"), _unpacked(path) as plain:
        # The suffix may not match the content.
        parse_file = import_module("rdata").parser.parse_file
        with _bounded(plain):
            return RdataNode(parse_file(str(plain), extension=".rds").object)
