"""The main job, from a sample sheet or annotated cells: one function per step."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from nkscore import pp, schema, tl
from nkscore._ledger import LEDGER, keep_in
from nkscore._report._dossier import dossiers
from nkscore._report._figures import draw
from nkscore._report._results import Results
from nkscore._report._tables import available
from nkscore._report._write import write as write_report
from nkscore._run import _job as parts
from nkscore._run import _options as options_of
from nkscore._run._contents import with_contents
from nkscore._run._disk import Store, from_disk
from nkscore._run._source import Source, calls_kept
from nkscore._samples._matrices import with_moved_counts
from nkscore._storable import spreadsheet_safe
from nkscore.io._columns import dictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from nkscore._report._figures import Panel
    from nkscore._report._tables import Table
    from nkscore._run._disk import Backed
    from nkscore._run._job import Job
    from nkscore._run._options import Options

_LOG = logging.getLogger("nkscore")


@dataclass(frozen=True, slots=True)
class Step:
    """One step on cells: which object it makes, and which sections of options it depends on."""

    name: str
    makes: str
    sections: tuple[str, ...]
    run: Callable[[Results, Options, Source, Store | None], None]


def analyze(
    sheet: str | Path, job: Job, options: Options | None = None, *, backed: Backed = "auto"
) -> Results:
    """Run all steps on the lanes of ``sheet`` and write objects, tables, figures and the report.

    ``sheet`` is a sample sheet, or a file of annotated cells. Steps that an interrupted run of the
    same job finished are reused. ``backed`` says whether counts stay in files: if memory may not
    suffice (``auto``), ``always`` or ``never``. Results are the same.
    """
    source = Source(Path(sheet))
    options = options_of.defaults() if options is None else options
    source.check(options)
    tables = _wanted(options)
    n_steps = len(STEPS) + len(tables) + 2
    # No progress bar without a terminal: the log has each step.
    with tqdm(total=n_steps, desc="nkscore", unit="step", leave=False, disable=None) as bar:

        def report_step(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()
            _LOG.info("Step %s", name)

        results, key = _cells(source, job, options, report_step, backed)
        results.source = source.path.name
        for table in tables:
            report_step(table.name)
            _table(table, results, job, (key, options))
        _add_ambient(results)
        _add_ledger(results)
        report_step("figures and report")
        drawn: list[tuple[Panel, Path]] = []
        if options["run"]["figures"]:
            with results.optional("figures"):
                drawn = draw(results, job.results / "figures")
        _report(results, drawn, job, options)
        report_step("files")
        write(results, job.results)
        (job.results / "config.toml").write_text(options_of.write(options), encoding="utf-8")
    return results


def _report(results: Results, drawn: list[tuple[Panel, Path]], job: Job, options: Options) -> None:
    if not options["run"]["report"]:
        return
    with results.optional("dossiers"):
        results.dossiers = dossiers(results.tables)
    with results.optional("report"):
        title = options["run"]["title"]
        write_report(results, drawn, job.results / "report.html", title=title)


def _cells(
    source: Source,
    job: Job,
    options: Options,
    report_step: Callable[[str], None],
    backed: Backed,
) -> tuple[Results, str]:
    """Run the steps on cells, or load their results; also return the key of the cells."""
    steps = [s for s in STEPS if s.name != "map" or options["run"]["embedding"]]
    keys: list[str] = []
    for step in steps:
        before = keys[-1] if keys else source.fingerprint()
        keys.append(_key(step.name, before, {s: options[s] for s in step.sections}))
    last = {
        step.makes: i
        for i, (step, key) in enumerate(zip(steps, keys, strict=True))
        if job.has(step.name, key)
    }
    results = Results(None, None)
    in_files = from_disk(backed, source.files())
    for i, (step, key) in enumerate(zip(steps, keys, strict=True)):
        report_step(step.name)
        if i == last.get(step.makes):
            cells, results.skipped = job.load_cells(step.name, key)
            setattr(results, step.makes, cells)
        elif i > last.get(step.makes, -1):
            step.run(results, options, source, Store(job, step.name, key) if in_files else None)
            # The next run tries failed steps again, but not those that the data do not allow.
            if not results.failed:
                job.save_cells(step.name, key, getattr(results, step.makes), results.skipped)
    # The map does not affect the tables.
    return results, keys[_STATES]


def _key(name: str, before: object, *options: object) -> str:
    """Return the key of a part: what it is made from, its options and the files they name."""
    return parts.key(name, before, *(with_contents(each) for each in options))


def _read(results: Results, options: Options, source: Source, store: Store | None) -> None:
    if store is None:
        results.loaded = source.read(options)
    else:
        results.loaded = store.holding(lambda path: source.read(options, path))


def _call(results: Results, options: Options, _: Source, __: Store | None) -> None:
    """Annotate the cells: quality, sample, compartment, ambient RNA."""
    adata = results.loaded
    kept = calls_kept(adata)
    pp.qc(adata, **options["qc"])
    if kept is None:
        pp.demultiplex(adata, **options["demultiplex"])
    if schema.COMPARTMENT not in (kept or ()):
        pp.compartments(adata, **options["compartments"])
    with results.optional("ambient"):
        pp.ambient(adata, **options["ambient"])


def _describe(results: Results, options: Options, _: Source, store: Store | None) -> None:
    """Keep the cells that passed and call their states."""
    given = options["keep"]
    if store is None:
        kept = _kept(results.loaded, options)
    else:
        kept = store.holding(lambda path: pp.keep(results.loaded, store=path, **given))
    results.kept = kept
    pp.normalize(kept, **options["normalize"])
    with results.optional("scores"):
        tl.score(kept, **options["score"])
    calls = calls_kept(kept) or ()
    if schema.NK_STATE not in calls:
        with results.optional("nk_states"):
            tl.nk_states(kept, **options["nk_states"])
    if schema.TUMOR_STATE not in calls:
        with results.optional("tumor_states"):
            tl.tumor_states(kept, **options["tumor_states"])


def _kept(loaded: AnnData, options: Options) -> AnnData:
    """Keep the cells that passed; their counts move from ``loaded``, which has none afterwards.

    Only attached pairs are counted later from the cells that were removed.
    """
    paired = schema.PAIR in loaded.obs and loaded.obs[schema.PAIR].isin(["own", "chance"]).any()
    if paired:
        return pp.keep(loaded, **options["keep"])
    return with_moved_counts(loaded, lambda cells: pp.keep(cells, **options["keep"]))


def _map(results: Results, options: Options, _: Source, __: Store | None) -> None:
    with results.optional("map"):
        tl.embed(results.kept, **options["embed"])


#: Steps on cells, in order; each depends on the options of all earlier ones.
STEPS = (
    Step("lanes", "loaded", ("read", "cells"), _read),
    Step("cells", "loaded", ("qc", "demultiplex", "compartments", "ambient"), _call),
    Step("states", "kept", ("keep", "normalize", "score", "nk_states", "tumor_states"), _describe),
    Step("map", "kept", ("embed",), _map),
)
_STATES = 2


def _wanted(options: Options) -> list[Table]:
    chosen = options["run"]["tables"]
    return [t for t in available() if chosen is None or t.name in chosen or t.into in chosen]


def _table(table: Table, results: Results, job: Job, made_from: tuple[str, Options]) -> None:
    """Make a table or reuse it; say why if the design does not allow it."""
    cells, options = made_from
    name, own = table.into or table.name, options[table.name]
    if table.reads is not None and table.reads not in results.tables:
        if name != table.reads:
            results.skipped[name] = f"It needs the table {table.reads}, which is missing."
        return
    earlier = results.methods.get(table.reads or "", ())
    key = _key(table.name, cells, own, earlier)
    if job.has(table.name, key):
        results.tables[name] = job.load_table(table.name, key)
    else:
        with results.optional(name):
            made = table.make(results, own)
            job.save_table(table.name, key, made)
            results.tables[name] = made
    if name in results.tables:
        _note(table, name, results, own)


def _note(table: Table, name: str, results: Results, own: dict[str, object]) -> None:
    function, options = f"tl.{table.function}", {**table.fixed, **own}
    if table.into in results.methods:
        before = results.methods[table.into]
        function, options = f"{before[0]} + {function}", {**before[1], **options}
    results.methods[name] = (function, options)


def _add_ambient(results: Results) -> None:
    record = results.kept.uns[schema.RECORD].get("pp.ambient")
    if record is not None:
        results.tables["ambient"] = record["samples"]
        results.methods["ambient"] = ("pp.ambient", dict(record["options"]))


def _add_ledger(results: Results) -> None:
    results.add_ledger()
    if LEDGER in results.tables:
        keep_in(results.kept, results.tables[LEDGER])


def write(results: Results, out: Path) -> None:
    """Write the kept cells as ``adata.h5ad`` and the tables as TSV (and Parquet, with pyarrow).

    ``columns.tsv`` says what their columns mean.
    """
    tables = out / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    parquet = importlib.util.find_spec("pyarrow") is not None
    for name, table in results.tables.items():
        spreadsheet_safe(table).to_csv(tables / f"{name}.tsv", sep="\t", index=False)
        if parquet:
            with results.optional(f"{name}.parquet"):
                table.to_parquet(tables / f"{name}.parquet", index=False)
    dictionary(results.tables).to_csv(out / "columns.tsv", sep="\t", index=False)
    parts.write_h5ad(results.kept, out / "adata.h5ad", compression="lzf")
