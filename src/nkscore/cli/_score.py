"""``nkscore score``: signature scores of an h5ad or zarr file of any size, resumably."""

from __future__ import annotations

import glob
import gzip
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nkscore._storable import spreadsheet_safe
from nkscore._whole import whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pandas as pd

    from nkscore._run._job import Rows
    from nkscore.tl._scores._score_input import ScoreInput

#: Number of cells whose scores are kept in memory before they are written to the side folder.
PART_CELLS = 50_000
_FORMATS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``score`` to the subcommands of ``nkscore``."""
    parser = commands.add_parser(
        "score", help="score signatures on an h5ad or zarr file of any size, resumably"
    )
    parser.add_argument("data", type=Path, help="h5ad file or zarr store")
    parser.add_argument(
        "--signatures", required=True, help="set or panel of the catalog, or a GMT or TSV file"
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
    signatures: str | Path,
    out: Path,
    *,
    method: str = "rank_auc",
    layer: str | None = None,
    min_coverage: float = 0.5,
    force: bool = False,
) -> tuple[int, int]:
    """Score a file block by block and write the table; returns its shape.

    Scores are written to a folder next to ``out`` as they are made. After an interruption, the same
    call resumes where it stopped; ``out`` appears when it is complete.
    """
    from nkscore._run._job import Rows, key, parts_of
    from nkscore.cli._stored import opened
    from nkscore.scoring import open_rows, prepared, scored
    from nkscore.signatures import load
    from nkscore.tl._scores._score_input import score_input

    _check_out(out, force=force)
    sets = load(signatures) if isinstance(signatures, Path) else signatures
    with opened(data) as file:
        found = score_input(file, sets, method=method, layer=layer, min_coverage=min_coverage)
        rows = open_rows(found.matrix)
        made_from = key("scores", _fingerprint(data, found, rows.shape))
        with parts_of(out, anew=force) as parts:
            made = Rows.taken_up(parts, "scores", made_from, n_per_file=PART_CELLS)
            if made.n_rows < rows.shape[0]:
                plan = prepared(found.scorer, rows, found.sets)
                for _, scores in scored(
                    found.scorer, rows, plan, first=made.n_rows, largest=found.largest
                ):
                    made.add(scores)
                made.flush()
            # A process that was killed while it wrote could not remove its file.
            for left in out.parent.glob(f".[0-9]*.{glob.escape(out.name)}"):
                left.unlink()
            with whole(out) as path:
                _write(made, file.obs_names, found.names, path)
    return made.n_rows, len(found.names)


def _check_out(out: Path, *, force: bool) -> None:
    if not out.name.endswith(_FORMATS):
        msg = f"--out is {out.name}; a name ending in {', '.join(_FORMATS)} is needed."
        raise ValueError(msg)
    if out.name.endswith(".parquet"):
        from importlib.util import find_spec

        if find_spec("pyarrow") is None:
            msg = f"{out.name} needs pyarrow: pip install 'nkscore[parquet]', or write .csv.gz."
            raise ValueError(msg)
    if out.exists() and not force:
        msg = f"{out} exists. Choose another name, or pass --force to replace it."
        raise FileExistsError(msg)


def _fingerprint(data: Path, found: ScoreInput, shape: tuple[int, int]) -> dict[str, Any]:
    genes = hashlib.sha256()
    for array in (found.sets.first, found.sets.members, found.sets.last, found.sets.size):
        genes.update(array.tobytes())
    # A zarr store is a folder, whose time changes only with its first level.
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
    }


def _write(made: Rows, cells: pd.Index, names: list[str], out: Path) -> None:
    """Write the table part by part, so that it is never in memory as a whole."""
    import numpy as np
    import pandas as pd

    def tables() -> Iterator[pd.DataFrame]:
        start = 0
        for scores in made:
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
            spreadsheet_safe(table).to_csv(file, sep=separator, header=i == 0)


def _write_parquet(tables: Iterator[pd.DataFrame], out: Path) -> None:
    from pyarrow import Table  # type: ignore[import-untyped, unused-ignore]
    from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped, unused-ignore]

    first = Table.from_pandas(next(tables))
    with ParquetWriter(out, first.schema) as file:
        file.write_table(first)
        for table in tables:
            file.write_table(Table.from_pandas(table, schema=first.schema))
