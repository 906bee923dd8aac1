"""``nkscore sheet``: write a sample sheet to fill in, and check one before the lanes are read."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nkscore._whole import whole

if TYPE_CHECKING:
    import argparse

    import pandas as pd

    from nkscore.io._sheet import Sheet

_STANDARD = Path("-")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``sheet`` to the subcommands of ``nkscore``."""
    parser = commands.add_parser(
        "sheet",
        help="write or check a sample sheet",
        description="Write a sample sheet to fill in, or check one: its columns, names and files.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--template",
        type=Path,
        nargs="?",
        const=_STANDARD,
        metavar="FILE",
        help="write a sheet to fill in (.csv, .tsv or .xlsx; without FILE: print it)",
    )
    what.add_argument("--check", type=Path, metavar="FILE", help="check a sheet and its files")
    what.add_argument(
        "--from-names",
        type=Path,
        metavar="FILE",
        help="make a sheet from names of samples, one per line of FILE (- reads the input)",
    )
    parser.add_argument(
        "--out", type=Path, default=_STANDARD, help="sheet to write (default: print it)"
    )
    parser.add_argument(
        "--extra-condition",
        action="append",
        default=[],
        metavar="NAME",
        help="with --check: a custom condition; can be repeated",
    )
    parser.add_argument(
        "--without-files", action="store_true", help="with --check: the lanes need not exist yet"
    )
    parser.add_argument(
        "--pattern",
        action="append",
        default=[],
        metavar="REGEX",
        help="with --from-names: form of the names, for example '(?P<tumor>.+)_(?P<nk_donor>d.)'; "
        "can be repeated",
    )
    parser.add_argument(
        "--nk-donor", metavar="NAME", help="with --from-names: donor where a name has none"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing sheet")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(command=_sheet)


def _sheet(options: argparse.Namespace) -> int:
    if options.check is not None:
        print(check(options.check, options.extra_condition, files=not options.without_files))
        return 0
    from nkscore.io import _sheet_template

    if options.template is not None:
        place = options.out if options.template == _STANDARD else options.template
        _put(_sheet_template.template(), place, force=options.force)
        return 0
    source = options.from_names
    text = sys.stdin.read() if source == _STANDARD else source.read_text(encoding="utf-8-sig")
    made = _sheet_template.from_names(
        text.splitlines(), patterns=options.pattern, nk_donor=options.nk_donor
    )
    _put(made, options.out, force=options.force)
    return 0


def _put(table: pd.DataFrame, path: Path, *, force: bool) -> None:
    """Write the sheet, or print it."""
    from nkscore.io import _sheet_template

    if path == _STANDARD:
        print(table.to_csv(index=False), end="")
        return
    if path.exists() and not force:
        msg = f"{path} exists. Choose another name, or add --force."
        raise FileExistsError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        _sheet_template.write(table, beside)
    print(f"The sheet is in {path}. Fill it in, then run nkscore sheet --check {path}")


def check(path: Path, conditions: list[str], *, files: bool) -> str:
    """Check a sheet and return how it is read, with everything it leaves open."""
    from nkscore.io import _loading

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sheet = _loading.checked_sheet(path, None, conditions, files=files)
    lines = [*_described(sheet), *(f"Please check: {item.message}" for item in caught)]
    lines += _answered(path, conditions)
    lines.append("All files exist." if files else "Files were not looked for.")
    return "\n".join(lines)


def _answered(path: Path, conditions: list[str]) -> list[str]:
    """Return which questions the design answers, by the planner (``nkscore plan``)."""
    from nkscore.tl._plan._design_words import described_sheet

    with warnings.catch_warnings():
        # They are in the lines above.
        warnings.simplefilter("ignore")
        return described_sheet(path, conditions)


def _described(sheet: Sheet) -> list[str]:
    from nkscore import schema
    from nkscore.io._sheet_columns import KNOWN

    cells = sheet.cells
    lanes = cells[schema.LANE].nunique()
    counts = cells[schema.CONDITION].value_counts(sort=False)
    lines = [
        f"{sheet.name}: {len(cells)} sample{'s' * (len(cells) > 1)} in {lanes} "
        f"lane{'s' * (lanes > 1)}; " + ", ".join(f"{n} {name}" for name, n in counts.items())
    ]
    for column in (schema.TUMOR, schema.NK_DONOR):
        names = list(dict.fromkeys(filter(None, cells[column])))
        lines.append(f"{column}: {', '.join(names) or 'none'}")
    lines += [f"The column {name!r} is read as {column}." for column, name in sheet.spelled.items()]
    own = [str(column) for column in cells if column not in KNOWN]
    return [*lines, f"Further columns: {', '.join(own)}"] if own else lines
