"""Put the results of a finished run into their folder: all of them or none."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Folder within the results while they are put in place.
UNFINISHED: Final = ".nkscore"
LOG: Final = "run.log"
#: Beginning of the last line of a log, which lists the files of the run.
FILES: Final = "Files of this run: "


def files_in(folder: Path) -> list[str]:
    """Return the paths of all files, relative to ``folder``."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def written_before(out: Path) -> set[str]:
    """Return which files the log of an earlier run lists as its own."""
    try:
        lines = (out / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        listed = next((line for line in reversed(lines) if FILES in line), "")
        found = json.loads(listed.partition(FILES)[2] or "[]")
    except (OSError, ValueError):
        return set()
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    # Whoever wrote the list: nothing outside of the folder is removed.
    root = out.resolve()
    return {name for name in names if root in (out / name).resolve().parents}


def place(made: Path, out: Path) -> None:
    """Move the files of ``made`` to ``out``, which keeps all files that no run has written.

    After an error, ``out`` is as before.
    """
    if not out.exists():
        made.rename(out)
        return
    mend(out)
    new, old = (out / UNFINISHED / name for name in ("new", "old"))
    new.parent.mkdir()
    placed: list[str] = []
    try:
        old.mkdir()
        # The results may be on another disk than their folder: copy before anything is replaced.
        shutil.move(made, new)
        names = files_in(new)
        for name in sorted({*names, *written_before(out)}):
            if _is_there(out / name):
                _move(out / name, old / name)
        for folder in [p for p in new.rglob("*") if p.is_dir()]:
            (out / folder.relative_to(new)).mkdir(parents=True, exist_ok=True)
        for name in names:
            _move(new / name, out / name)
            placed.append(name)
    except BaseException:
        for name in placed:
            (out / name).unlink()
        mend(out)
        raise
    _remove_empty(out, old)
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


def mend(out: Path) -> None:
    """Restore what stood in ``out`` before results were put in place, and the run was ended."""
    unfinished = out / UNFINISHED
    old, new = unfinished / "old", unfinished / "new"
    for name in files_in(old) if old.is_dir() else ():
        _move(old / name, out / name)
    if new.is_dir() or old.is_dir():
        _remove_empty(out, new)
    shutil.rmtree(unfinished, ignore_errors=True)


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _remove_empty(out: Path, like: Path) -> None:
    """Remove folders of ``out`` that are in ``like``, too, and hold nothing now."""
    folders = [p.relative_to(like) for p in like.rglob("*") if p.is_dir()]
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):
            (out / folder).rmdir()
