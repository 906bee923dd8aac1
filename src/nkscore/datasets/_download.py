"""A downloader for pooch that resumes interrupted downloads."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Final

from nkscore.errors import LaneError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import requests

_LOG: Final = logging.getLogger("nkscore")
#: An interrupted download loses fewer bytes than this.
_CHUNK: Final = 1 << 16
_SECONDS: Final = 30


class ResumingDownloader:
    """Download into ``<file>.part``, and resume from its end if it exists.

    The version of the file on the server (its ETag or date) is kept in ``<file>.part.json``, so
    that two versions are never joined.
    """

    def __init__(self, path: Path, *, progress: bool) -> None:
        self._part = path.with_name(path.name + ".part")
        self._about = path.with_name(path.name + ".part.json")
        self._progress = progress

    def __call__(self, url: str, output_file: str | os.PathLike[str], pooch: object) -> None:  # noqa: ARG002
        """Download ``url`` into ``output_file``, as required by pooch."""
        self._download(url)
        shutil.move(self._part, output_file)
        self._about.unlink(missing_ok=True)

    def _download(self, url: str) -> None:
        import requests

        start, version = self._state(url)
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": version}
        with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as answer:
            answer.raise_for_status()
            resumed = answer.status_code == requests.codes.partial_content
            if not resumed:
                start = 0
                self._refuse_page(answer, url)
            else:
                _LOG.info("%s: resuming after %d bytes.", url, start)
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            about = {"url": url, "version": version}
            self._about.write_text(json.dumps(about), encoding="utf-8")
            self._write(answer, start)

    def _state(self, url: str) -> tuple[int, str]:
        if not (self._part.is_file() and self._about.is_file()):
            return 0, ""
        about = json.loads(self._about.read_text(encoding="utf-8"))
        version = about.get("version", "")
        # A weak ETag does not guarantee the same bytes.
        usable = about.get("url") == url and version and not version.startswith("W/")
        return (self._part.stat().st_size, version) if usable else (0, "")

    def _refuse_page(self, answer: requests.Response, url: str) -> None:
        kind = answer.headers.get("Content-Type", "")
        if kind.startswith("text/html") and not url.endswith((".html", ".htm")):
            msg = f"the server sent a web page instead of the file ({url})"
            raise ValueError(msg)

    def _write(self, answer: requests.Response, start: int) -> None:
        from tqdm import tqdm

        size = int(answer.headers.get("Content-Length", 0))
        with (
            self._part.open("ab" if start else "wb") as file,
            tqdm(
                total=start + size or None,
                initial=start,
                unit="B",
                unit_scale=True,
                desc=self._part.stem,
                disable=not self._progress,
            ) as bar,
        ):
            for block in answer.iter_content(_CHUNK):
                file.write(block)
                bar.update(len(block))


def download_failed(url: str, path: Path, error: Exception) -> str:
    """Return the message for a failed download."""
    if isinstance(error, LaneError):
        return str(error)
    detail = " ".join(str(error).split())[:300]
    part = path.with_name(path.name + ".part")
    rest = (
        f"The {part.stat().st_size:,} bytes received are kept, and the next call resumes "
        "from there if the server allows it."
        if part.is_file()
        else "Nothing was kept."
    )
    return (
        f"{url} could not be downloaded to {path} ({type(error).__name__}: {detail}). {rest} Try "
        "again, or download it by hand and put it there."
    )
