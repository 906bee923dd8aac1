"""``nkscore plan``: what a sample sheet can answer, and with which power."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nkscore._whole import whole

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

    from nkscore.tl import ExperimentPlan

#: Options that are numbers, separated by commas: name → its type and meaning.
_NUMBERS = {
    "levels": (float, "expression of the genes to find, counts per 10,000 (default 0.1,0.5,2)"),
    "donors": (int, "numbers of NK donors to try (default 2,3,4,6,8)"),
    "wells": (int, "numbers of wells of each line alone to try (default 1,2,3)"),
    "lines": (int, "numbers of lines to try"),
    "cells": (int, "cells per sample, those of the sheet first (default 300,100,1000)"),
    "umi": (float, "UMI per cell, those of the sheet first (default 4000,2000,10000)"),
    "state-share": (float, "share of the cells in the state to test (default 1,0.2,0.05)"),
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plan`` to the subcommands of ``nkscore``."""
    parser = commands.add_parser(
        "plan",
        help="say what a sample sheet can answer, before the experiment",
        description="Say which questions a sample sheet can answer, what would fix the others, and "
        "how likely changes are found. Files, lanes and hashtags need not exist yet.",
    )
    parser.add_argument("sheet", type=Path, help="sample sheet (.csv, .tsv, .xlsx, .ods)")
    parser.add_argument(
        "--compartment", choices=["tumor", "nk"], default="tumor", help="cells to plan for"
    )
    parser.add_argument(
        "--pilot", type=Path, metavar="FILE", help="cells (.h5ad) to measure variances in"
    )
    parser.add_argument(
        "--effect", type=float, default=1.0, help="log2 fold change to find (default 1)"
    )
    for name, (_, meaning) in _NUMBERS.items():
        parser.add_argument(f"--{name}", metavar="N,N", help=meaning)
    parser.add_argument(
        "--prices",
        action="append",
        default=[],
        metavar="NAME=PRICE",
        help="price of one donor, well, lane or million_reads, for example donor=100,lane=1500",
    )
    parser.add_argument("--factor", action="append", metavar="COLUMN", help="column of a treatment")
    parser.add_argument("--extra-condition", action="append", default=[], metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="simulations per design (default 5)")
    parser.add_argument("--out", type=Path, help="folder for the tables and figures")
    parser.add_argument("--force", action="store_true", help="write into an existing folder")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(command=_plan)


def _plan(options: argparse.Namespace) -> int:
    from nkscore import tl

    if options.out is not None and options.out.exists() and not options.force:
        msg = f"{options.out} exists. Choose another folder, or add --force."
        raise FileExistsError(msg)
    given: dict[str, Any] = {
        name.replace("-", "_"): _numbers(name, text, kind)
        for name, (kind, _) in _NUMBERS.items()
        if (text := getattr(options, name.replace("-", "_"))) is not None
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = tl.plan_experiment(
            options.sheet,
            options.compartment,
            pilot=_pilot(options.pilot),
            effect=options.effect,
            prices=_prices(options.prices),
            factors=options.factor,
            extra_conditions=options.extra_condition,
            repeats=options.repeats,
            **given,
        )
    for item in caught:
        print(f"Please check: {item.message}")
    print(plan)
    if options.out is None:
        columns = [
            c
            for c in ("varied", "value", "level", "power_low", "power_high", "cost")
            if c in plan.power
        ]
        print(plan.power[columns].round(2).to_string(index=False, na_rep=""))
        return 0
    _write(plan, options.out)
    print(f"The tables and figures are in {options.out}.")
    return 0


def _numbers(name: str, text: str, kind: type) -> list[float]:
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        what = "whole numbers" if kind is int else "numbers"
        msg = f"--{name} is {text!r}; {what} separated by commas are needed."
        raise ValueError(msg) from error


def _prices(texts: list[str]) -> dict[str, float] | None:
    found = {}
    for part in ",".join(texts).split(",") if texts else []:
        name, _, price = part.partition("=")
        try:
            found[name.strip()] = float(price)
        except ValueError as error:
            msg = f"--prices has {part!r}; NAME=PRICE is needed, for example donor=100."
            raise ValueError(msg) from error
    return found or None


def _pilot(path: Path | None) -> AnnData | None:
    if path is None:
        return None
    import anndata

    return anndata.read_h5ad(path)


def _write(plan: ExperimentPlan, folder: Path) -> None:
    import matplotlib.pyplot as plt

    from nkscore import pl

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("questions", "power", "variances"):
        with whole(folder / f"{name}.tsv") as beside:
            getattr(plan, name).to_csv(beside, sep="\t", index=False)
    for varied in [v for v in dict.fromkeys(plan.power["varied"]) if v != "sheet"]:
        ax = pl.power(plan.power, varied=varied)
        pl.save(ax, folder / f"power_{varied}")
        plt.close("all")
