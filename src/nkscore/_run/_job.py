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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nkscore._run import _contents, _disk
from nkscore._run._place import FILES, LOG, UNFINISHED, files_in, mend, place
from nkscore._samples._stored import add_matrices, place_of, without_matrices
from nkscore._version import __version__
from nkscore._whole import is_full, new_hdf5, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData

    from nkscore._types import Array

_LOG = logging.getLogger("nkscore")
_LOCK = "lock"
#: Files of finished parts; names that begin with a dot are still being written.
_FINISHED = ("[!.]*.h5", "[!.]*.npy")
#: Attribute of stored cells.
_NOTES = "nkscore_skipped"


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
        path = self.path(name, key)
        return self.checkpoints and _contents.is_sealed(path) and _disk.is_complete(path)

    def finished(self) -> list[Path]:
        """Return all files of finished parts."""
        return sorted(file for pattern in _FINISHED for file in self.folder.glob(pattern))

    @contextlib.contextmanager
    def writing(self, name: str, key: str, suffix: str = ".h5") -> Iterator[Path]:
        """Give a temporary path for a part, which is sealed and put in place at the end."""
        with whole(self.path(name, key, suffix)) as path:
            yield path
            _contents.seal(path)


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
        found = [(file, _contents.is_sealed(file)) for file in parts.finished()]
        sound = [is_sound for _, is_sound in found]
        # Rows after a damaged file would not be those that their names say.
        for file, _ in found[sound.index(False) :] if False in sound else ():
            _LOG.warning("%s is damaged or follows a damaged file and is computed again.", file)
            file.unlink()
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
            with self.parts.writing(self.name, f"{self.key}-{self.n_rows:012d}", ".npy") as path:
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
        import h5py

        _LOG.info("Step %s: reused from %s", name, self.path(name, key))
        with h5py.File(self.path(name, key), "r") as file:
            notes = json.loads(file.attrs[_NOTES])
        adata = anndata.read_h5ad(self.path(name, key))
        _disk.attach(adata, self.path(name, key))
        return adata, notes

    def save_cells(self, name: str, key: str, adata: AnnData, notes: dict[str, str]) -> None:
        """Keep the cells after a step."""
        if self.checkpoints:
            with self.writing(name, key) as path:
                place = _disk.notes_of(adata)
                lean = without_matrices(adata) if place else adata
                write_h5ad(lean, path, notes={_NOTES: json.dumps(notes), **place})

    def load_table(self, name: str, key: str) -> pd.DataFrame:
        """Return a finished table, with the types of its columns."""
        import h5py
        from anndata.io import read_elem

        with h5py.File(self.path(name, key), "r") as file:
            table: pd.DataFrame = read_elem(file["table"])
            types = json.loads(file.attrs["text"])
            attrs = json.loads(file.attrs["attrs"])
        table.index = pd.RangeIndex(len(table))
        table = table.astype({column: kind for column, kind in types.items() if column in table})
        table.attrs = attrs
        return table

    def save_table(self, name: str, key: str, table: pd.DataFrame) -> None:
        """Keep a finished table."""
        if self.checkpoints:
            with self.writing(name, key) as path:
                _write_table(table, path)


def write_h5ad(
    adata: AnnData,
    path: Path,
    *,
    compression: Literal["gzip", "lzf"] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write an AnnData as its own ``write_h5ad`` does, but for a full disk: see ``new_hdf5``."""
    from anndata.io import write_elem

    adata.strings_to_categoricals()
    packed = {} if compression is None else {"compression": compression}
    in_files = place_of(adata) is not None
    lean = without_matrices(adata) if in_files else adata
    with new_hdf5(path) as file:
        write_elem(file, "/", lean, dataset_kwargs=packed)
        if in_files:
            add_matrices(file, adata, packed)
        file.attrs.update(notes or {})


def _write_table(table: pd.DataFrame, path: Path) -> None:
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
    with new_hdf5(path) as file:
        write_elem(file, "table", stored)
        file.attrs["text"] = json.dumps(text)
        file.attrs["attrs"] = json.dumps(table.attrs, default=str)


def key(*parts: object) -> str:
    """Return a short name for these contents and this version of nkscore."""
    text = json.dumps([__version__, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def fingerprint(sheet: Path) -> list[Any]:
    """Describe the sheet by its bytes, and each file it names by path, time and content."""
    states = _contents.states_of(files_in_sheet(sheet))
    return [hashlib.sha256(Path(sheet).read_bytes()).hexdigest(), states]


def files_in_sheet(sheet: Path) -> list[Path]:
    """Return all files that a sheet names."""
    from nkscore.io import _sheet, _sheet_columns, _sheet_rules
    from nkscore.io._source import files_of

    parsed = _sheet.parse(sheet, None)
    entries = [str(text) for column in _sheet_columns.FILES for text in parsed.cells[column]]
    texts = {text for entry in entries for text in (entry, *_sheet_rules.paths_in(entry)) if text}
    return sorted({file for text in texts for file in files_of(parsed.resolve(text))})


def check_folder(out: Path, *, force: bool) -> None:
    """Refuse a non-empty results folder, unless ``force``; change nothing."""
    if force or (out / UNFINISHED).is_dir():
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
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
        except BaseException as error:
            if not parts.finished():
                shutil.rmtree(folder, ignore_errors=True)
            if is_full(error):
                raise OSError(_full(out, error, resumes=folder.exists())) from error
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def job(out: Path, *, force: bool, checkpoints: bool = True) -> Iterator[Job]:
    """Run a job whose results appear in the folder ``out`` only if it succeeds.

    Files of an earlier run and files of the same names are replaced, other files stay.
    """
    check_folder(out, force=force)
    with parts_of(out, anew=not checkpoints) as parts:
        folder = parts.folder
        made = Job(folder, checkpoints)
        mend(out.resolve())
        shutil.rmtree(made.results, ignore_errors=True)
        made.results.mkdir()
        try:
            with _logged(folder / LOG):
                yield made
                names = sorted([*files_in(made.results), LOG])
                _LOG.info("%s%s", FILES, json.dumps(names, ensure_ascii=False))
            (folder / LOG).replace(made.results / LOG)
            with _undisturbed():
                place(made.results, out.resolve())
        finally:
            shutil.rmtree(made.results, ignore_errors=True)
            # Counts in files are among the parts of each run.
            for file in () if checkpoints else parts.finished():
                file.unlink()


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
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
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
    if handler.error is not None:
        raise handler.error


class _LogFile(logging.FileHandler):
    """A log that keeps its first error instead of printing each of them."""

    error: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (so named by logging)
        error = sys.exception()
        if isinstance(error, OSError):
            self.error = self.error or error
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self.error = self.error or error


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay interruptions until all files of a result are written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    before = [signal.signal(each, signal.SIG_IGN) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def _full(out: Path, error: BaseException, *, resumes: bool) -> str:
    reason = getattr(error, "strerror", None) or "too little space"
    kept = "; finished steps are kept, and the same command resumes from them" if resumes else ""
    return (
        f"Results cannot be written to {out}: {reason}. Free space there or raise the quota{kept}, "
        "or choose another --out."
    )
