"""``nkscore score``: signature scores of an h5ad or zarr file of any size, resumably."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nkscore.errors import LaneError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

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


def _score(options: argparse.Namespace) -> None:
    source = options.signatures
    table = score_file(
        options.data, Path(source) if Path(source).is_file() else source, options.out,
        method=options.method, layer=options.layer, min_coverage=options.min_coverage,
        force=options.force,
    )  # fmt: skip
    print(f"{table.shape[0]} cells, {table.shape[1]} scores. Results are in {options.out}")  # noqa: T201


def score_file(
    data: Path,
    signatures: Any,
    out: Path,
    *,
    method: str = "rank_auc",
    layer: str | None = None,
    min_coverage: float = 0.5,
    force: bool = False,
) -> pd.DataFrame:
    """Score a file block by block and write the table; returns it.

    Scores go to a folder beside ``out`` as they are made. After an interruption, the same call
    goes on where it stopped; ``out`` appears at the end, whole.
    """
    import numpy as np
    import pandas as pd

    from nkscore._score_input import score_input
    from nkscore.scoring import open_rows, prepared, scored
    from nkscore.signatures import load

    _check_out(out, force=force)
    sets = load(signatures) if isinstance(signatures, Path) else signatures
    with _opened(data) as file:
        found = score_input(
            file, sets, method=method, layer=layer, min_coverage=min_coverage
        )  # fmt: skip
        rows = open_rows(found.matrix)
        job = _fingerprint(data, found, rows.shape)
        parts = _Parts.open(out.with_name(out.name + ".parts"), job, force=force)
        if parts.n_cells < rows.shape[0]:
            plan = prepared(found.scorer, rows, found.sets)
            for _, scores in scored(
                found.scorer, rows, plan, first=parts.n_cells, largest=found.largest
            ):
                parts.add(scores)
            parts.flush()
        values = np.concatenate([*parts.load(), np.zeros((0, len(found.names)))])
        table = pd.DataFrame(values, index=file.obs_names, columns=found.names)
    _write(table, out)
    shutil.rmtree(parts.folder)
    return table


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
    out.parent.mkdir(parents=True, exist_ok=True)


def _fingerprint(data: Path, found: Any, shape: tuple[int, int]) -> dict[str, Any]:
    from nkscore import __version__

    genes = hashlib.sha256()
    for array in (found.sets.first, found.sets.members, found.sets.last, found.sets.size):
        genes.update(array.tobytes())
    # A zarr store is a folder, whose own time changes with its first level only.
    state = data.stat()
    return {
        "data": str(data.resolve()), "bytes": state.st_size, "changed": state.st_mtime_ns,
        "cells": shape[0], "genes": shape[1], "method": found.scorer.name, "layer": found.layer,
        "signatures": found.names, "gene_sets": genes.hexdigest(), "version": __version__,
    }  # fmt: skip


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
        parts.n_cells = sum(len(scores) for scores in parts.load())
        return parts

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.npy"))

    def load(self) -> list[np.ndarray[Any, Any]]:
        import numpy as np

        return [np.load(path, allow_pickle=False) for path in self.files()]

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


def _replace(path: Path, write: Any) -> None:
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _write(table: pd.DataFrame, out: Path) -> None:
    if out.name.endswith(".parquet"):
        _replace(out, table.to_parquet)
    else:
        separator = "\t" if ".tsv" in out.name else ","
        _replace(out, lambda path: table.to_csv(path, sep=separator))


@dataclass(frozen=True)
class _File:
    """What scoring needs of an AnnData, read from an open file."""

    X: Any
    layers: dict[str, Any]
    obs_names: Any
    var_names: Any

    @property
    def n_vars(self) -> int:
        return len(self.var_names)

    @property
    def uns(self) -> dict[str, Any]:
        return {}


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    if not path.exists():
        msg = f"{path} does not exist. Give the path of an h5ad file or a zarr store."
        raise LaneError(msg)
    if path.is_dir():
        import zarr

        yield _describe(zarr.open_group(path, mode="r"), path)
        return
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} cannot be opened as HDF5 ({error}). Give an h5ad file or a zarr store."
        raise LaneError(msg) from error
    with file:
        yield _describe(file, path)


def _describe(group: Any, path: Path) -> _File:
    if "obs" not in group or "var" not in group:
        msg = f"{path} has no obs and var, so it is no AnnData. Write it with adata.write_h5ad."
        raise LaneError(msg)
    layers = group.get("layers", {})
    return _File(
        _matrix(group["X"]) if "X" in group else None,
        {name: _matrix(layers[name]) for name in layers},
        _names(group["obs"]),
        _names(group["var"]),
    )


def _matrix(element: Any) -> Any:
    from anndata.io import sparse_dataset

    return sparse_dataset(element) if hasattr(element, "keys") else element


def _names(frame: Any) -> pd.Index[str]:
    import pandas as pd
    from anndata.io import read_elem

    return pd.Index(read_elem(frame[frame.attrs["_index"]]))
