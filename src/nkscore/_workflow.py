"""The main job from a sample sheet: one function per step, results in a folder."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from nkscore import io, pl, pp, schema, signatures, tl
from nkscore.errors import DesignError, GeneCoverageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Drawing = Callable[[], Axes | Figure]

_LOG = logging.getLogger("nkscore")
CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"


@dataclass(slots=True)
class Results:
    """What the main job made: all loaded cells, the kept ones, and the tables by name."""

    loaded: AnnData
    kept: AnnData
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a results folder that holds something, unless ``force``; change nothing."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        msg = f"{folder} exists and is not empty. Choose another --out, or add --force."
        raise FileExistsError(msg)


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Collect results in a hidden folder beside ``out``, moved there only if all went well.

    What an earlier run of the same job wrote under the same names is replaced.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".nkscore-", dir=out.parent) as name:
        yield Path(name)
        out.mkdir(exist_ok=True)
        for made in Path(name).iterdir():
            old = out / made.name
            if old.is_dir():
                shutil.rmtree(old)
            made.replace(old)


def run(sheet: str | Path, out: Path) -> Results:
    """Run all steps on the lanes of ``sheet`` and write objects, tables and figures to ``out``."""
    with tqdm(total=9, desc="nkscore", unit="step", leave=False) as bar:

        def step(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        return _run(sheet, out, step)


def _run(sheet: str | Path, out: Path, step: Callable[[str], None]) -> Results:
    step("read lanes")
    adata = io.read_coculture(sheet)
    step("quality")
    pp.qc(adata)
    step("hashtags")
    pp.demultiplex(adata)
    step("compartments")
    pp.compartments(adata)
    skipped = _ambient(adata)
    kept = pp.keep(adata)
    pp.normalize(kept)
    step("scores and states")
    results = Results(adata, kept, skipped=skipped)
    tl.score(kept, [CORE, "REHMAN2021_DIAPAUSE"])
    tl.nk_states(kept)
    tl.tumor_states(kept)
    step("responses")
    _tables(results)
    step("map")
    tl.embed(kept)
    step("figures")
    draw(results, out / "figures")
    step("files")
    write(results, out)
    return results


def _ambient(adata: AnnData) -> dict[str, str]:
    """Estimate ambient RNA where the design allows; return why not, where it does not."""
    try:
        pp.ambient(adata)
    except (DesignError, GeneCoverageError) as error:
        _LOG.warning("ambient RNA: %s", error)
        return {"ambient": str(error)}
    return {}


def _flagged(kept: AnnData, response: pd.DataFrame) -> pd.DataFrame:
    measured = "pp.ambient" in kept.uns[schema.RECORD]
    return tl.flag_ambient(response, adata=kept if measured else None)


def _tables(results: Results) -> None:
    """Make every table that the design allows; say which it does not."""
    kept = results.kept
    wanted: dict[str, Callable[[], pd.DataFrame]] = {
        "nk_state_fractions": lambda: tl.state_fractions(kept, schema.NK_STATE),
        "tumor_state_fractions": lambda: tl.state_fractions(kept, schema.TUMOR_STATE),
        "nk_state_shift": lambda: tl.state_shift(kept, schema.NK_STATE),
        "tumor_state_shift": lambda: tl.state_shift(kept, schema.TUMOR_STATE),
        "tumor_response": lambda: _flagged(kept, tl.interaction_response(kept, "tumor")),
        "nk_response": lambda: tl.interaction_response(kept, "nk"),
    }
    for name, make in wanted.items():
        try:
            results.tables[name] = make()
        except DesignError as error:
            results.skipped[name] = str(error)
            _LOG.warning("%s: %s", name, error)
    if "pp.ambient" in kept.uns[schema.RECORD]:
        results.tables["ambient"] = kept.uns[schema.RECORD]["pp.ambient"]["samples"]


def draw(results: Results, folder: Path) -> None:
    """Draw and save the figures of the main job as PNG and PDF."""
    import matplotlib as mpl

    # Files only: no display is needed.
    mpl.use("Agg")
    for name, figure in _figures(results).items():
        _save(figure, folder / name)


def _figures(results: Results) -> dict[str, Drawing]:
    loaded, kept, tables = results.loaded, results.kept, results.tables
    lanes = [str(x) for x in loaded.obs[schema.LANE].cat.categories]
    figures: dict[str, Drawing] = {
        "qc": lambda: pl.qc(loaded),
        "compartments": lambda: pl.compartments(loaded),
        "map_condition": lambda: pl.embedding(kept, color=schema.CONDITION),
        "map_line": lambda: pl.embedding(kept, color=schema.TUMOR, gray=()),
        "map_nk_state": lambda: pl.embedding(kept, color=schema.NK_STATE, gray=()),
        "map_tumor_state": lambda: pl.embedding(kept, color=schema.TUMOR_STATE, gray=()),
    }
    if schema.HASHTAGS in loaded.obsm:
        for lane in lanes:
            figures[f"hashtags_{lane}"] = partial(pl.hashtags, loaded, lane=lane)
    if "nk_state_fractions" in tables:
        figures["nk_states"] = lambda: pl.state_fractions(tables["nk_state_fractions"])
    if "nk_state_shift" in tables:
        figures["nk_state_shift"] = lambda: pl.state_shift(tables["nk_state_shift"])
    if "tumor_response" in tables:
        response = tables["tumor_response"]
        core = signatures.get(CORE)
        figures["response_dots"] = lambda: pl.response_dots(response)
        for line in response["tumor"].unique():
            figures[f"volcano_{line}"] = partial(pl.volcano, response, tumor=line, highlight=core)
    return figures


def _save(make: Drawing, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure = make()
    pl.save(figure, path)
    plt.close("all")


def write(results: Results, out: Path) -> None:
    """Write the kept cells as ``adata.h5ad`` and the tables as TSV (and Parquet, with pyarrow)."""
    tables = out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    parquet = importlib.util.find_spec("pyarrow") is not None
    for name, table in results.tables.items():
        table.to_csv(tables / f"{name}.tsv", sep="\t", index=False)
        if parquet:
            table.to_parquet(tables / f"{name}.parquet", index=False)
    results.kept.write_h5ad(out / "adata.h5ad", compression="gzip")
