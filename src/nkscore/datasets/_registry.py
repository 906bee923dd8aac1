"""Public data sets: the registry and their download."""

from __future__ import annotations

import difflib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from nkscore._warn import warn
from nkscore.datasets._download import ResumingDownloader, download_failed
from nkscore.errors import LaneError

if TYPE_CHECKING:
    import os

_COLUMNS: Final = (
    "accession",
    "holds",
    "shape",
    "license",
    "doi",
    "file",
    "url",
    "sha256",
    "how_to_get",
)


def _entries() -> dict[str, dict[str, Any]]:
    text = files("nkscore.datasets").joinpath("data", "registry.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def registry() -> pd.DataFrame:
    """Return the public data sets that nkscore was designed for or tested on.

    Returns
    -------
    pandas.DataFrame
        One row per file or record, by name: ``accession``, ``holds``, ``shape``, ``license``,
        ``doi``, ``file`` (its name on disk), ``url`` (empty if it cannot be downloaded without an
        account), ``sha256`` (empty if unknown), ``how_to_get``.

    Examples
    --------
    >>> import nkscore as nk
    >>> nk.datasets.registry().loc["dufva2023_objects", "accession"]
    'syn52600685'
    """
    table = pd.DataFrame.from_dict(_entries(), orient="index", columns=list(_COLUMNS))
    return table.rename_axis("name")


def fetch(
    name: str, *, folder: str | os.PathLike[str] | None = None, progress: bool = True
) -> Path:
    """Download a file of the registry, or find an earlier download.

    An interrupted download resumes where it stopped, if the server allows it. The file appears
    under its name only when it is complete and its checksum is correct.

    Parameters
    ----------
    name
        Row of :func:`registry`.
    folder
        Folder for the file; by default the user's cache folder for nkscore.
    progress
        Show a progress bar.

    Returns
    -------
    pathlib.Path
        The file. If no checksum is known, a warning says so and shows the checksum of the download.
        It is stored next to the file as ``<file>.sha256``, and the file is compared with it from
        then on.

    Raises
    ------
    ValueError
        If the registry has no such row.
    LaneError
        If there is no address for it (the message says how to get it), the download fails, or
        the checksum is wrong.

    Examples
    --------
    >>> import nkscore as nk
    >>> nk.datasets.fetch("dufva2023_raw")
    Traceback (most recent call last):
    nkscore.errors.LaneError: 'dufva2023_raw' (EGAS00001007272) cannot be downloaded by nkscore. ...
    """
    import pooch  # type: ignore[import-untyped]

    entry = _entry(name)
    target: Path = (
        Path(pooch.os_cache("nkscore") if folder is None else folder).expanduser().resolve()
    )
    path = target / str(entry["file"])
    noted = path.with_name(path.name + ".sha256")
    expected = entry["sha256"] or _noted(noted)
    try:
        pooch.retrieve(
            entry["url"],
            known_hash=f"sha256:{expected}" if expected else None,
            fname=path.name,
            path=target,
            downloader=ResumingDownloader(path, progress=progress),
        )
    except (ValueError, OSError) as error:
        raise LaneError(download_failed(entry["url"], path, error)) from error
    if not expected:
        _note(name, path, noted)
    return path


def _entry(name: str) -> dict[str, Any]:
    entries = _entries()
    if name not in entries:
        close = difflib.get_close_matches(name, entries, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = f"There is no data set {name!r}.{hint} datasets.registry() lists all."
        raise ValueError(msg)
    entry = entries[name]
    if not entry["url"]:
        msg = (
            f"{name!r} ({entry['accession']}) cannot be downloaded by nkscore. "
            f"{entry['how_to_get']}"
        )
        raise LaneError(msg)
    return entry


def _noted(path: Path) -> str:
    return path.read_text(encoding="utf-8").split()[0] if path.is_file() else ""


def _note(name: str, path: Path, noted: Path) -> None:
    import pooch

    found = pooch.file_hash(str(path), alg="sha256")
    noted.write_text(f"{found}  {path.name}\n", encoding="utf-8")
    msg = (
        f"No checksum is known for {name!r}, so nkscore cannot verify that {path} is the "
        f"published file. It has {path.stat().st_size:,} bytes and sha256 {found}: keep "
        f"that in your records (it is also in {noted.name})."
    )
    warn(msg)
