"""Command line: ``nkscore demo``, ``run``, ``score``, ``sheet``, ``plan`` and ``completion``.

Exit codes: 0 done; 1 an error that the user can fix; 2 wrong use; 3 an error in nkscore itself; 4
done, except for an optional part that failed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nkscore._version import __version__
from nkscore.cli import _plan as _plan_cli
from nkscore.cli import _score as _score_cli
from nkscore.cli import _sheet as _sheet_cli
from nkscore.errors import NkscoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nkscore._report._results import Results
    from nkscore._run._disk import Backed

_INCOMPLETE = 4
_INTERRUPTED = 130
#: What shtab writes scripts for.
_SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
_EXAMPLES = """\
examples:
  nkscore demo --out demo                      try everything on simulated lanes
  nkscore sheet --template sheet.csv           write a sample sheet to fill in
  nkscore sheet --check sheet.csv              check its columns, names and files
  nkscore plan sheet.csv --effect 1            what the design can answer, with which power
  nkscore run sheet.csv --out results          analyze your lanes; open results/report.html
  nkscore run cells.h5ad --map condition=treatment,coculture=NK+tumor --out results
  nkscore run --write-config run.toml          write all options with their meaning
  nkscore run sheet.csv --out results --config run.toml
  nkscore score cells.h5ad --signatures nk --out scores.csv.gz
  eval "$(nkscore completion bash)"            complete commands with the tab key

To resume an interrupted run, repeat the same command.
exit codes: 0 done, 1 error you can fix, 2 wrong use, 3 error in nkscore,
            4 done except for an optional part (named), 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    debug = getattr(options, "debug", False)
    try:
        with _console(verbose=getattr(options, "verbose", False)), _terminable():
            code: int = options.command(options)
    except KeyboardInterrupt:
        print("nkscore: interrupted." + _way_on(options), file=sys.stderr)
        return _INTERRUPTED
    except (NkscoreError, OSError, ValueError, ImportError) as error:
        if debug:
            raise
        print(f"nkscore: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        print(
            f"nkscore: unexpected {type(error).__name__}: {error}\nThis is an error in "
            "nkscore, not in your data. Repeat with --debug and report the output.",
            file=sys.stderr,
        )
        return 3
    return code


def _way_on(options: argparse.Namespace) -> str:
    out = getattr(options, "out", None)
    if out is None or not out.resolve().with_name(f"{out.resolve().name}.parts").exists():
        return ""
    return f" Finished steps are in {out}.parts; the same command resumes from there."


@contextlib.contextmanager
def _console(*, verbose: bool) -> Iterator[None]:
    """Show messages of nkscore, but not of the libraries it uses."""
    log = logging.getLogger("nkscore")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.setLevel(logging.INFO if verbose else logging.WARNING)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let ``kill``, and the end of the terminal, end a run like Ctrl-C, with cleanup."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # Windows has no SIGHUP, which the end of a terminal sends.
    signals = [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)]
    # A run under nohup goes on.
    wanted = [s for s in dict.fromkeys(signals) if signal.getsignal(s) != signal.SIG_IGN]
    before = [(each, signal.signal(each, stop)) for each in wanted]
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nkscore",
        description="Single-cell RNA-seq of NK cells co-cultured with blood-cancer cells.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nkscore {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--out", type=Path, default=Path("results"), help="folder for results (default results)"
    )
    common.add_argument("--force", action="store_true", help="replace earlier results in --out")
    common.add_argument("--verbose", action="store_true", help="show every step")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    _add_demo(commands, common)
    _add_run(commands, common)
    _score_cli.add_command(commands)
    _sheet_cli.add_command(commands)
    _plan_cli.add_command(commands)
    completion = commands.add_parser("completion", help="print a script of completions for a shell")
    completion.add_argument("shell", choices=_SHELLS, help="the shell that you use")
    completion.set_defaults(command=_complete)
    return parser


def _add_demo(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    demo = commands.add_parser(
        "demo", parents=[common], help="simulate an experiment, analyze its files, compare"
    )
    demo.add_argument(
        "--cells", type=_positive, default=250, metavar="N", help="cells per sample (default 250)"
    )
    demo.add_argument("--seed", type=int, default=0, help="seed of the simulation (default 0)")
    demo.set_defaults(command=_demo)


def _add_run(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    run = commands.add_parser(
        "run",
        parents=[common],
        help="analyze the lanes of a sample sheet, or annotated cells",
        description="Analyze the lanes of a sample sheet, or cells that were annotated elsewhere: "
        "cells, tables, figures and report.html in one folder. After an interruption, the same "
        "command resumes where it stopped.",
    )
    run.add_argument(
        "sheet",
        type=Path,
        nargs="?",
        help="sample sheet (CSV, TSV, XLSX, ODS) or annotated cells (.h5ad, .zarr, .rds, .loom)",
    )
    run.add_argument(
        "--map",
        action="append",
        metavar="NAMES",
        help="of annotated cells: their columns and values, for example "
        "'condition=treatment,coculture=NK+tumor,tumor_mono=tumor'; can be repeated",
    )
    run.add_argument(
        "--keep",
        action="append",
        metavar="CALL",
        help="of annotated cells: keep compartment, nk_state or tumor_state as they are; can be "
        "repeated",
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="options of the steps (TOML)")
    run.add_argument(
        "--write-config", type=Path, metavar="FILE", help="write all options to FILE and stop"
    )
    run.add_argument(
        "--no-checkpoints",
        action="store_true",
        help="start again, and store no finished steps next to --out",
    )
    run.add_argument(
        "--backed",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether counts stay in files and are read block by block, with the same results: "
        "if memory may not suffice (auto, the default), always or never",
    )
    run.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="scheduler of a dask cluster (tcp://host:8786, or its scheduler file), whose workers "
        "read the counts; they stay in files, in a folder that all workers share",
    )
    run.set_defaults(command=_run, usage_error=run.error)


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        msg = f"{text!r} is not a positive whole number"
        raise argparse.ArgumentTypeError(msg)
    return value


def _demo(options: argparse.Namespace) -> int:
    from nkscore.cli._demo import demo

    start = time.monotonic()
    text, results = demo(
        options.out, n_cells_per_sample=options.cells, seed=options.seed, force=options.force
    )
    print(text)
    whole = options.out / "summary.md"
    done = f"Took {time.monotonic() - start:.0f} s; {whole} compares line by line."
    return _end(results, done, options.out)


def _end(results: Results, done: str, out: Path) -> int:
    """Print the last line, which names what failed; return the exit code."""
    failed = f" Failed: {', '.join(sorted(results.failed))}." if results.failed else ""
    place = out / "report.html"
    print(f"{done}{failed} {f'Open {place}' if place.exists() else f'Results are in {out}'}")
    return _INCOMPLETE if results.failed else 0


def _run(options: argparse.Namespace) -> int:
    if options.write_config is not None:
        return _write_config(options.write_config, force=options.force)
    if options.sheet is None:
        options.usage_error("the following arguments are required: sheet")
    if options.dask is not None and options.backed == "never":
        options.usage_error("--dask works on counts in files; remove --backed never")
    from nkscore._report._caveats import absent
    from nkscore._run import _options as _workflow_options
    from nkscore._run import _steps as _workflow
    from nkscore._run._cluster import cluster
    from nkscore._run._job import job
    from nkscore._run._source import Source

    chosen = _workflow_options.read_or_default(options.config)
    _workflow_options.set_cells(chosen, options.map, options.keep)
    Source(options.sheet).check(chosen)
    backed: Backed = "always" if options.dask is not None else options.backed
    with (
        cluster(options.dask),
        job(options.out, force=options.force, checkpoints=not options.no_checkpoints) as running,
    ):
        results = _workflow.analyze(options.sheet, running, chosen, backed=backed)
    print(*absent(results), sep="\n", file=sys.stderr)
    return _end(results, f"{results.kept.n_obs} cells kept.", options.out)


def _write_config(path: Path, *, force: bool) -> int:
    from nkscore._run import _options as _workflow_options

    if path.exists() and not force:
        msg = f"{path} exists. Choose another name, or add --force."
        raise FileExistsError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_workflow_options.write(_workflow_options.defaults()), encoding="utf-8")
    print(f"All options are in {path}")
    return 0


def _complete(options: argparse.Namespace) -> int:
    import shtab

    parser = _parser()
    for below in _all_parsers(parser):
        for action in below._actions:  # noqa: SLF001 - argparse has no other way to its arguments
            if action.type is Path:
                # The way of shtab to say that an argument is a file.
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    return 0


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield from action.choices.values()
