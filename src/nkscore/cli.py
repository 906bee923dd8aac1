"""Command line: ``nkscore demo``, ``run`` and ``score``, thin over the Python functions."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nkscore import __version__, _score_cli
from nkscore.errors import NkscoreError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 1 after an error that the user can mend."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        options.command(options)
    except (NkscoreError, OSError, ValueError) as error:
        if options.debug:
            raise
        print(f"nkscore: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nkscore",
        description="Single-cell RNA-seq of NK cells co-cultured with blood-cancer cells.",
    )
    parser.add_argument("--version", action="version", version=f"nkscore {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, default=Path("results"), help="folder for results")
    common.add_argument("--force", action="store_true", help="replace earlier results in --out")
    common.add_argument("--verbose", action="store_true", help="log every step")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    demo = commands.add_parser(
        "demo", parents=[common], help="simulate an experiment, analyze its files, compare"
    )
    demo.add_argument(
        "--cells", type=_positive, default=250, metavar="N", help="cells per sample (default 250)"
    )
    demo.add_argument("--seed", type=int, default=0, help="seed of the simulation (default 0)")
    demo.set_defaults(command=_demo)
    run = commands.add_parser("run", parents=[common], help="analyze the lanes of a sample sheet")
    run.add_argument("sheet", type=Path, help="sample sheet (CSV or TSV)")
    run.set_defaults(command=_run)
    _score_cli.add_command(commands)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        msg = f"{value} is not a positive number"
        raise argparse.ArgumentTypeError(msg)
    return value


def _demo(options: argparse.Namespace) -> None:
    from nkscore._demo import demo
    from nkscore._workflow import check_folder

    start = time.monotonic()
    check_folder(options.out, force=options.force)
    print(demo(options.out, n_cells_per_sample=options.cells, seed=options.seed))
    print(f"Took {time.monotonic() - start:.0f} s. Results are in {options.out}/")


def _run(options: argparse.Namespace) -> None:
    from nkscore._workflow import check_folder, run, staged

    check_folder(options.out, force=options.force)
    with staged(options.out) as folder:
        results = run(options.sheet, folder)
    for name, reason in results.skipped.items():
        print(f"Not made: {name}. {reason}", file=sys.stderr)
    print(f"{results.kept.n_obs} cells kept. Results are in {options.out}/")


if __name__ == "__main__":
    sys.exit(main())
