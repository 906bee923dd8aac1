"""How each number was made: the functions, their options and their versions."""

from __future__ import annotations

import importlib
import inspect
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pandas as pd

from nkscore import schema
from nkscore._version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._report._results import Results

_PACKAGES = ("anndata", "numpy", "scipy", "pandas", "scanpy", "numba", "matplotlib")


def origin(results: Results, table: str) -> str:
    """Return the function and options behind a table, for its caption."""
    if table not in results.methods:
        return f"Table passed to nkscore.report, nkscore {__version__}."
    function, options = results.methods[table]
    return f"{function}({_options(options)}), nkscore {__version__}."


def steps(results: Results) -> pd.DataFrame:
    """Return one row per recorded step, then per table."""
    book: dict[str, Any] = results.kept.uns.get(schema.RECORD, {})
    rows = [
        (key, entry["function"], _options(entry.get("options", {})), str(entry["version"]))
        for key, entry in book.items()
        if isinstance(entry, dict) and {"function", "version"} <= set(entry)
    ]
    rows += [
        (f"table {name}", function, _options(options), __version__)
        for name, (function, options) in results.methods.items()
    ]
    return pd.DataFrame(
        [
            (name, function, _what(function), options, version)
            for name, function, options, version in rows
        ],
        columns=["step", "function", "what it does", "options", "nkscore version"],
    )


def _what(function: str) -> str:
    """Return the first line of a function's documentation."""
    space, _, name = function.partition(".")
    try:
        found = getattr(importlib.import_module(f"nkscore.{space}"), name)
    except (ImportError, AttributeError):
        return ""
    return (inspect.getdoc(found) or "").partition("\n")[0]


def _options(options: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={_value(options[key])}" for key in sorted(options))


def _value(value: object) -> str:
    if hasattr(value, "tolist"):
        value = value.tolist()
    # None does not survive h5ad; the record has its name instead.
    shown = "None" if value == "None" else repr(value)
    return shown if len(shown) <= 200 else shown[:200] + "…"


def today() -> str:
    """Return the date of the report; ``SOURCE_DATE_EPOCH`` fixes it, as in other builds."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = (
        datetime.fromtimestamp(int(fixed), UTC) if fixed.isdigit() else datetime.now().astimezone()
    )
    return f"{moment:%Y-%m-%d}"


def versions() -> dict[str, str]:
    """Name the software that ran."""
    found = {"nkscore": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
