"""``nkscore score``: signature scores of an h5ad or zarr file of any size, resumably."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    import numpy as np
    import pandas as pd

#: Cells whose scores are kept in memory before they are written to the side folder.
PART_CELLS = 50_000
_FORMATS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")


def add_command(commands: Any) -> None:
    """Add ``score`` to the subcommands of ``nkscore``."""
    parser = commands.add_parser(
        "score", help="score signatures on an h5ad or zarr file of any size, resumably"
    )
    parser.add_argument("data", type=Path, help="h5ad file or zarr store")
    parser.add_argument(
        "--signatures", required=True, help="set or panel of the catalogue, or a GMT or TSV file"
    )
    parser.add_argument("--out", type=Path, required=True, help=f"table: {', '.join(_FORMATS)}")
    parser.add_argument("--method", default="rank_auc", help="scoring method (default rank_auc)")
    parser.add_argument("--layer", help="layer to score instead of the method's own; X for adata.X")
    parser.add_argument(
        "--min-coverage", type=float, default=0.5, help="share of genes needed (default 0.5)"
    )
    parser.add_argument("--force", action="store_true", help="replace --out and unfinished parts")
    parser.add_argument("--verbose", action="store_true", help="log every step")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(command=_score)


def _score(options: argparse.Namespace) -> int:
    source = options.signatures
    n_cells, n_scores = score_file(
        options.data,
        Path(source) if Path(source).is_file() else source,
        options.out,
        method=options.method,
        layer=options.layer,
        min_coverage=options.min_coverage,
        force=options.force,
    )
    print(f"{n_cells} cells, {n_scores} scores. Results are in {options.out}")
    return 0


def score_file(
    data: Path,
    signatures: Any,
    out: Path,
    *,
    method: str = "rank_auc",
    layer: str | None = None,
    min_coverage: float = 0.5,
    force: bool = False,
) -> tuple[int, int]:
    """Score a file block by block and write the table; returns its shape.

    Scores go to a folder beside ``out`` as they are made. After an interruption, the same call
    goes on where it stopped; ``out`` appears at the end, whole.
    """
    from nkscore.cli._stored import opened
    from nkscore.scoring import open_rows, prepared, scored
    from nkscore.signatures import load
    from nkscore.tl._scores._score_input import score_input

    _check_out(out, force=force)
    sets = load(signatures) if isinstance(signatures, Path) else signatures
    with opened(data) as file:
        found = score_input(file, sets, method=method, layer=layer, min_coverage=min_coverage)
        rows = open_rows(found.matrix)
        job = _fingerprint(data, found, rows.shape)
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = _Parts.open(out.with_name(out.name + ".parts"), job, force=force)
        if parts.n_cells < rows.shape[0]:
            plan = prepared(found.scorer, rows, found.sets)
            for _, scores in scored(
                found.scorer, rows, plan, first=parts.n_cells, largest=found.largest
            ):
                parts.add(scores)
            parts.flush()
        _replace(out, lambda path: _write(parts, file.obs_names, found.names, path))
    shutil.rmtree(parts.folder)
    return parts.n_cells, len(found.names)


def _check_out(out: Path, *, force: bool) -> None:
    if not out.name.endswith(_FORMATS):
        msg = f"--out is {out.name}; a name ending in {', '.join(_FORMATS)} is needed."
        raise ValueError(msg)
    if out.name.endswith(".parquet"):
        from importlib.util import find_spec

        if find_spec("pyarrow") is None:
            msg = f"{out.name} needs pyarrow: pip install pyarrow, or write .csv.gz."
            raise ValueError(msg)
    if out.exists() and not force:
        msg = f"{out} exists. Choose another name, or pass --force to replace it."
        raise FileExistsError(msg)


def _fingerprint(data: Path, found: Any, shape: tuple[int, int]) -> dict[str, Any]:
    from nkscore._version import __version__

    genes = hashlib.sha256()
    for array in (found.sets.first, found.sets.members, found.sets.last, found.sets.size):
        genes.update(array.tobytes())
    # A zarr store is a folder, whose own time changes with its first level only.
    files = [Path(top, name) for top, _, names in os.walk(data) for name in names] or [data]
    states = [path.stat() for path in files]
    return {
        "data": str(data.resolve()),
        "bytes": sum(state.st_size for state in states),
        "files": len(states),
        "changed": max(state.st_mtime_ns for state in states),
        "cells": shape[0],
        "genes": shape[1],
        "method": found.scorer.name,
        "layer": found.layer,
        "signatures": found.names,
        "gene_sets": genes.hexdigest(),
        "version": __version__,
    }


@dataclass
class _Parts:
    """Scores written so far, as files of consecutive cells."""

    folder: Path
    n_cells: int
    waiting: list[Any]

    @classmethod
    def open(cls, folder: Path, job: dict[str, Any], *, force: bool) -> _Parts:
        """Take up the parts of an interrupted run of the same job."""
        label = folder / "job.json"
        if force and folder.exists():
            shutil.rmtree(folder)
        if folder.exists() and (not label.exists() or json.loads(label.read_text()) != job):
            msg = (
                f"{folder} holds parts of another job (other data, signatures, method or "
                "version). Pass --force to start anew, or delete the folder."
            )
            raise FileExistsError(msg)
        folder.mkdir(exist_ok=True)
        _replace(label, lambda path: path.write_text(json.dumps(job)))
        parts = cls(folder, 0, [])
        parts.n_cells = sum(len(scores) for scores in parts)
        return parts

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.npy"))

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        import numpy as np

        for path in self.files():
            yield np.load(path, mmap_mode="r", allow_pickle=False)

    def add(self, scores: np.ndarray[Any, Any]) -> None:
        self.waiting.append(scores)
        if sum(map(len, self.waiting)) >= PART_CELLS:
            self.flush()

    def flush(self) -> None:
        import numpy as np

        if self.waiting:
            scores = np.concatenate(self.waiting)
            # Written whole under another name first: a part that is there is complete.
            with (self.folder / "writing").open("wb") as file:
                np.save(file, scores)
            (self.folder / "writing").replace(self.folder / f"{self.n_cells:012d}.npy")
            self.n_cells += len(scores)
            self.waiting = []


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write under another name beside ``path``, which then appears whole or not at all."""
    # Text tables are compressed by the end of their name.
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write(parts: _Parts, cells: Any, names: list[str], out: Path) -> None:
    """Write the table part by part, so that it is never in memory as a whole."""
    import numpy as np
    import pandas as pd

    def tables() -> Iterator[pd.DataFrame]:
        start = 0
        for scores in parts:
            yield pd.DataFrame(scores, index=cells[start : start + len(scores)], columns=names)
            start += len(scores)
        if start == 0:
            yield pd.DataFrame(np.zeros((0, len(names))), index=cells, columns=names)

    if out.name.endswith(".parquet"):
        _write_parquet(tables(), out)
        return
    separator = "\t" if ".tsv" in out.name else ","
    with gzip.open(out, "wb") if out.name.endswith(".gz") else out.open("wb") as file:
        for i, table in enumerate(tables()):
            table.to_csv(file, sep=separator, header=i == 0)


def _write_parquet(tables: Iterator[pd.DataFrame], out: Path) -> None:
    from pyarrow import Table  # type: ignore[import-untyped, unused-ignore]
    from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped, unused-ignore]

    first = Table.from_pandas(next(tables))
    with ParquetWriter(out, first.schema) as file:
        file.write_table(first)
        for table in tables:
            file.write_table(Table.from_pandas(table, schema=first.schema))
