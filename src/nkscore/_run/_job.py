"""Files of a command in progress: finished parts, its log, and results not yet in place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore._version import __version__
from nkscore._whole import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from nkscore._types import Array

_LOG = logging.getLogger("nkscore")
_LOCK, _REPLACED = "lock", "replaced"
#: Files of finished parts; names that begin with a dot are still being written.
_FINISHED = ("[!.]*.h5", "[!.]*.npy")


@dataclass(slots=True)
class Parts:
    """Folder next to a result, ``NAME.parts``: its finished parts, named by their inputs."""

    folder: Path
    #: Whether finished parts are stored and reused.
    checkpoints: bool = True

    def path(self, name: str, key: str, suffix: str = ".h5") -> Path:
        """Return the path of the part that was made from the inputs ``key``."""
        return self.folder / f"{name}-{key}{suffix}"

    def has(self, name: str, key: str) -> bool:
        """Whether a part was finished with exactly this input, options and version."""
        return self.checkpoints and self.path(name, key).exists()

    def finished(self) -> list[Path]:
        """Return all files of finished parts."""
        return sorted(file for pattern in _FINISHED for file in self.folder.glob(pattern))


@dataclass(slots=True)
class Rows:
    """Rows of one array in the order in which they are made, in consecutive files."""

    parts: Parts
    name: str
    key: str
    #: Rows to wait for before a file is written.
    n_per_file: int
    #: Rows in files.
    n_rows: int = 0
    waiting: list[Array] = field(default_factory=list)

    @classmethod
    def taken_up(cls, parts: Parts, name: str, key: str, *, n_per_file: int) -> Rows:
        """Resume from the rows of an interrupted run of the same job."""
        if any(not file.name.startswith(f"{name}-{key}-") for file in parts.finished()):
            msg = (
                f"{parts.folder} holds parts of another job (other data, options or version). "
                "Pass --force to start again, or delete the folder."
            )
            raise FileExistsError(msg)
        rows = cls(parts, name, key, n_per_file)
        rows.n_rows = sum(map(len, rows))
        return rows

    def __iter__(self) -> Iterator[Array]:
        for path in self.parts.finished():
            yield np.load(path, mmap_mode="r", allow_pickle=False)

    def add(self, rows: Array) -> None:
        """Take more rows."""
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) >= self.n_per_file:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        if self.waiting:
            rows = np.concatenate(self.waiting)
            place = self.parts.path(self.name, f"{self.key}-{self.n_rows:012d}", ".npy")
            with whole(place) as path:
                np.save(path, rows)
            self.n_rows += len(rows)
            self.waiting = []


@dataclass(slots=True)
class Job(Parts):
    """Parts of a run: cells after a step, and tables."""

    @property
    def results(self) -> Path:
        """Folder in which results are collected before they are moved into place."""
        return self.folder / "results"

    def load_cells(self, name: str, key: str) -> tuple[AnnData, dict[str, str]]:
        """Return the cells after a step, and what was skipped so far."""
        import anndata

        _LOG.info("Step %s: reused from %s", name, self.path(name, key))
        notes = self.path(name, key, ".json").read_text(encoding="utf-8")
        return anndata.read_h5ad(self.path(name, key)), json.loads(notes)

    def save_cells(self, name: str, key: str, adata: AnnData, notes: dict[str, str]) -> None:
        """Keep the cells after a step."""
        if self.checkpoints:
            with whole(self.path(name, key, ".json")) as path:
                path.write_text(json.dumps(notes), encoding="utf-8")
            with whole(self.path(name, key)) as path:
                adata.write_h5ad(path)

    def load_table(self, name: str, key: str) -> pd.DataFrame:
        """Return a finished table, with the types of its columns."""
        import h5py
        from anndata.io import read_elem

        with h5py.File(self.path(name, key), "r") as file:
            table: pd.DataFrame = read_elem(file["table"])
            types = json.loads(file.attrs["text"])
        table.index = pd.RangeIndex(len(table))
        return table.astype({column: kind for column, kind in types.items() if column in table})

    def save_table(self, name: str, key: str, table: pd.DataFrame) -> None:
        """Keep a finished table."""
        if self.checkpoints:
            with whole(self.path(name, key)) as path:
                _write_table(table, path)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    import h5py
    from anndata.io import write_elem

    # Text with gaps can be stored as categories only.
    text = {
        column: str(table[column].dtype)
        for column in table
        if not isinstance(table[column].dtype, pd.CategoricalDtype)
        and not pd.api.types.is_numeric_dtype(table[column])
    }
    stored = table.astype(dict.fromkeys(text, "category"))
    stored.index = stored.index.astype(str)
    with h5py.File(path, "w") as file:
        write_elem(file, "table", stored)
        file.attrs["text"] = json.dumps(text)


def key(*parts: object) -> str:
    """Return a short name for these contents and this version of nkscore."""
    text = json.dumps([__version__, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def fingerprint(sheet: Path) -> list[Any]:
    """Describe the sheet by its bytes, and each file it names by path, size and time."""
    from nkscore.io import _sheet, _sheet_columns
    from nkscore.io._source import files_of

    parsed = _sheet.parse(sheet, None)
    columns = [_sheet_columns.PATH, _sheet_columns.HASHTAG_PATH]
    texts = {str(text) for column in columns for text in parsed.cells[column] if str(text)}
    files = {file for text in texts for file in files_of(parsed.resolve(text))}
    states = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]
    return [hashlib.sha256(Path(sheet).read_bytes()).hexdigest(), states]


def check_folder(out: Path, *, force: bool) -> None:
    """Refuse a non-empty results folder, unless ``force``; change nothing."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not force:
        msg = f"{out} exists and is not empty. Choose another --out, or add --force."
        raise FileExistsError(msg)


@contextlib.contextmanager
def parts_of(out: Path, *, anew: bool) -> Iterator[Parts]:
    """Give the finished parts of ``out`` to one process at a time.

    Their folder is deleted on success; after a failure it stays if a later run can use any of it.
    With ``anew``, nothing is reused from an earlier run.
    """
    out = out.resolve()
    folder = out.with_name(f"{out.name}.parts")
    _make(folder)
    with _locked(folder):
        parts = Parts(folder)
        # Any other writer has ended, or this process would not have the lock.
        for file in [*folder.glob(".*"), *(parts.finished() if anew else ())]:
            file.unlink()
        try:
            yield parts
        except BaseException:
            # If the new files could not be put in place, restore the user's old ones.
            if not parts.finished() and not (folder / _REPLACED).exists():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def job(out: Path, *, force: bool, checkpoints: bool = True) -> Iterator[Job]:
    """Run a job whose results appear in the folder ``out`` only if it succeeds.

    Files of the same names from an earlier run are replaced, other files stay.
    """
    check_folder(out, force=force)
    with parts_of(out, anew=not checkpoints) as parts:
        folder = parts.folder
        made = Job(folder, checkpoints)
        shutil.rmtree(made.results, ignore_errors=True)
        made.results.mkdir()
        try:
            with _logged(folder / "run.log"):
                yield made
            (folder / "run.log").replace(made.results / "run.log")
            with _undisturbed():
                _place(made.results, out.resolve(), folder / _REPLACED)
        finally:
            shutil.rmtree(made.results, ignore_errors=True)


def _make(folder: Path) -> None:
    """Make the folder; if that fails, name the path that the user chose."""
    if folder.exists() and not _ours(folder):
        msg = f"{folder} is needed for finished parts but holds other files. Move it away."
        raise FileExistsError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "writable").touch()
        (folder / "writable").unlink()
    except OSError as error:
        place = folder.with_name(folder.name.removesuffix(".parts"))
        msg = (
            f"Results cannot be written to {place}: {error.strerror or error} ({folder.parent}). "
            "Choose another --out, in a writable folder."
        )
        raise OSError(msg) from error


def _ours(folder: Path) -> bool:
    """Whether an earlier run made this folder, so that it can be emptied and removed."""
    return folder.is_dir() and (
        not any(folder.iterdir()) or (folder / _LOCK).exists() or bool(Parts(folder).finished())
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Exclude a second run; the lock ends with the process."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        msg = (
            f"Another run is writing to {folder.name.removesuffix('.parts')} (it holds "
            f"{folder}). Wait for it, or choose another --out."
        )
        raise FileExistsError(msg) from error
    try:
        yield
    finally:
        lock.release()
    if sys.platform == "win32":  # where no file can go that is open
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Also write nkscore's messages, and warnings of other libraries, to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        yield
    except BaseException as error:
        _LOG.info("Stopped: %s: %s", type(error).__name__, error)
        raise
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)
        handler.close()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay interruptions until all files of a result are written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, signal.SIG_IGN) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def _place(made: Path, out: Path, replaced: Path) -> None:
    if not out.exists():
        made.rename(out)
        return
    replaced.mkdir(exist_ok=True)
    for entry in sorted(made.iterdir()):
        old = out / entry.name
        # Not rename: a results folder may be on a separate disk, as in a container.
        if old.exists():
            shutil.move(old, replaced / entry.name)
        shutil.move(entry, old)
