"""``nkscore.evidence``: all that an analysis knows of one gene or one line, as one table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._ledger import LEDGER
from nkscore._report._evidence_kinds import NOT_TESTED, OF_GENE, Kind
from nkscore._report._evidence_lines import OF_LINE, SUMMARIES
from nkscore.errors import MissingKeyError
from nkscore.signatures import catalog, crispr_hits, get, visibility_classes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from nkscore._report._evidence_kinds import Row

COLUMNS: Final = [
    "subject",
    "question",
    "source",
    "tumor",
    "compartment",
    "detail",
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "q_value",
    "unit",
    "verdict",
    "reason",
]
_ALL: Final = "all"
_SHOWN: Final = 8
_GENES: Final = ("gene", "nk_gene", "tumor_gene")


def evidence(
    results: Mapping[str, pd.DataFrame] | pd.DataFrame | str | os.PathLike[str],
    *,
    gene: str | None = None,
    line: str | None = None,
) -> pd.DataFrame:
    """Return all that an analysis knows of one gene or one line, and what was not tested.

    Parameters
    ----------
    results
        Tables by name, as given to :func:`nkscore.report`; the folder that ``nkscore run`` wrote
        (or its ``tables``); or a single table. Tables are recognized by their columns, so your own
        names are fine. Names that begin with ``nk_`` are of NK cells.
    gene, line
        What to look up: one of them.

    Returns
    -------
    pandas.DataFrame
        One row per question, table, line and detail: ``subject`` (the gene or line), ``question``,
        ``source`` (name of the table; the function where there is none), ``tumor`` (``all`` where
        lines are not separated), ``compartment`` (``nk`` or empty), ``detail`` (state, screen, set,
        pair, ...), ``estimate``, ``ci_low``, ``ci_high``, ``p_value``, ``q_value``, ``unit`` (of
        the estimate), ``verdict`` (``not tested`` where nothing is known) and ``reason``. For a
        gene: response, ambient RNA, doublets, core, specific, modules, gene sets, state or
        composition, attachment, clones, signals, screens, receptors, and what is published. For a
        line: responding genes, states, signals, contacts, clones, sensitivity and more. Its
        ``to_html`` and ``to_markdown`` make a page.

    Raises
    ------
    MissingKeyError
        If the gene or line is in no table (near names are given), there are no tables, or they are
        of another type.
    ValueError
        If neither or both of ``gene`` and ``line`` are given.

    Notes
    -----
    q-values are those of each table, over all its tests. A reader who looks up the best of many
    genes should use them, not ``p_value``.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.evidence({"tumor_response": nk.tl.interaction_response(adata)}, gene="STAT1")
    >>> table.loc[table["tumor"] == "K562", "question"].tolist()
    ['Does it respond to contact?']
    """
    if (gene is None) == (line is None):
        msg = "Name a gene or a line, one of them: evidence(results, gene='STAT1')."
        raise ValueError(msg)
    tables = _tables_of(results)
    known = lines_of(tables)
    if gene is not None:
        _check_name(gene, _named(tables, _GENES), "gene")
        rows = of_gene(tables, gene, known)
    else:
        _check_name(str(line), known, "line")
        rows = _of_line(tables, str(line))
    made = pd.DataFrame(rows).assign(subject=gene if gene is not None else str(line))
    return made[COLUMNS]


def _tables_of(
    results: Mapping[str, pd.DataFrame] | pd.DataFrame | str | os.PathLike[str],
) -> dict[str, pd.DataFrame]:
    if isinstance(results, pd.DataFrame):
        return {"tumor_response": results}
    if isinstance(results, Mapping):
        given: Mapping[str, object] = results
        wrong = [str(n) for n, table in given.items() if not isinstance(table, pd.DataFrame)]
        if wrong or not results:
            found = f"results[{wrong[0]!r}] is not a DataFrame" if wrong else "results is empty"
            msg = f"{found}; tables by name are needed, as from nkscore run or tl functions."
            raise MissingKeyError(msg)
        return {str(name): table for name, table in results.items()}
    if not isinstance(results, str | Path):
        msg = (
            f"results is of type {type(results).__name__}; tables by name, or the folder that "
            "nkscore run wrote, are needed."
        )
        raise MissingKeyError(msg)
    folder = Path(results)
    folder = folder / "tables" if (folder / "tables").is_dir() else folder
    files = sorted(folder.glob("*.tsv"))
    if not files:
        msg = f"{folder} has no tables (*.tsv). Give the folder that nkscore run wrote."
        raise MissingKeyError(msg)
    text = dict.fromkeys((*_GENES, "tumor", "sample", "lane", "clone"), str)
    return {
        # "NA" could be a gene; empty cells are missing.
        file.stem: pd.read_csv(file, sep="\t", dtype=text, keep_default_na=False, na_values=[""])
        for file in files
    }


def lines_of(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return the lines that any table names."""
    return sorted(_named(tables, ("tumor",)) - {_ALL, "all lines"})


def _named(tables: Mapping[str, pd.DataFrame], columns: Iterable[str]) -> set[str]:
    return {
        str(value)
        for table in tables.values()
        for column in columns
        if column in table
        for value in table[column].dropna().unique()
    }


def _check_name(name: str, known: Iterable[str], what: str) -> None:
    names = sorted(known)
    if name in names:
        return
    upper = {each.upper(): each for each in names}
    near = [upper[each] for each in difflib.get_close_matches(name.upper(), list(upper), n=3)]
    ending = f"Did you mean {', '.join(near)}?" if near else f"There are {_listed(names)}."
    raise MissingKeyError(f"No table names the {what} {name!r}. {ending}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def of_gene(tables: Mapping[str, pd.DataFrame], gene: str, lines: list[str]) -> list[Row]:
    """Return the rows of a gene."""
    rows: list[Row] = []
    for kind in OF_GENE:
        fitting = {name: table for name, table in tables.items() if kind.fits(table)}
        if not fitting:
            rows.append(_not_tested(kind, _why_absent(kind, tables)))
        for name, table in fitting.items():
            found = kind.rows(kind.of_gene(table, gene), name)
            rows += found
            rows += _gaps(kind, name, table, found, lines)
    return [*rows, *_published(gene)]


def _gaps(
    kind: Kind, name: str, table: pd.DataFrame, found: list[Row], lines: list[str]
) -> list[Row]:
    """Return rows for the lines of a table in which a gene has none."""
    if kind.genes != ("gene",) or "tumor" not in table:
        return [] if found else [_not_tested(kind, f"not named by {name}", name)]
    have = {row["tumor"] for row in found}
    if "all lines" in have:
        return []
    of_table = set(table["tumor"].astype(str))
    lost = {str(each["name"]): str(each["reason"]) for each in table.attrs.get("left_out", [])}
    made = []
    for line in (each for each in lines if each not in have):
        reason = "too few counts of the gene in the line"
        if line not in of_table:
            reason = lost.get(line, f"the line is not in {name}")
        made.append({**_not_tested(kind, reason, name), "tumor": line})
    return made


def _not_tested(kind: Kind, reason: str, name: str = "") -> Row:
    empty = dict.fromkeys(("estimate", "ci_low", "ci_high", "p_value", "q_value"), np.nan)
    return {
        **empty,
        "question": kind.question,
        "source": name or kind.source,
        "tumor": _ALL,
        "compartment": "nk" if name.startswith("nk_") else "",
        "detail": "",
        "unit": "",
        "verdict": NOT_TESTED,
        "reason": reason,
    }


def _why_absent(kind: Kind, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return why there is no table, as the ledger says or by what was not run."""
    ledger = tables.get(LEDGER)
    function = kind.source.partition(".")[2]
    if ledger is not None and {"step", "what", "reason"} <= set(ledger.columns):
        missing = ledger[ledger["what"] == "results"]
        same = missing[missing["step"].astype(str).str.contains(function, regex=False)]
        if len(same):
            return str(same["reason"].iloc[0])
    return f"no table of {kind.source} among the results"


@cache
def _sets() -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Return name, up and down genes of the packaged sets that are not of hallmarks."""
    names = [str(name) for name in catalog()["name"] if not str(name).startswith("HALLMARK")]
    found = [(name, get(name)) for name in names]
    return [(name, frozenset(each.up), frozenset(each.down)) for name, each in found]


def _published(gene: str) -> list[Row]:
    """Return what is published of a gene: screens, classes of genes that NK cells see, sets."""
    made = []
    hits = crispr_hits()
    for hit in hits[hits["gene"] == gene].to_dict("records"):
        detail = f"{hit['study']}: {hit['model']}"
        verdict = f"{hit['perturbation']} {hit['effect']}".strip()
        made.append(
            _fact("Published: screens", detail, verdict, f"{hit['category']}; {hit['doi']}")
        )
    for each in visibility_classes().to_dict("records"):
        if gene in str(each["genes"]).split(","):
            verdict = f"{each['role']}; more of it: {each['more_means']}"
            made.append(
                _fact("Published: what NK cells see", each["class"], verdict, each["source"])
            )
    for name, up, down in _sets():
        if gene in up or gene in down:
            made.append(_fact("Published: gene sets", name, "up" if gene in up else "down", ""))
    if not made:
        made.append(_fact("Published", "", "not listed", "in no packaged screen, class or set"))
    return made


def _fact(question: str, detail: str, verdict: str, reason: str) -> Row:
    empty = dict.fromkeys(("estimate", "ci_low", "ci_high", "p_value", "q_value"), np.nan)
    return {
        **empty,
        "question": question,
        "source": "signatures",
        "tumor": _ALL,
        "compartment": "",
        "detail": str(detail),
        "unit": "",
        "verdict": str(verdict),
        "reason": str(reason),
    }


def _of_line(tables: Mapping[str, pd.DataFrame], line: str) -> list[Row]:
    """Return the rows of a line."""
    rows: list[Row] = []
    for kind in (*SUMMARIES, *OF_LINE):
        fitting = {name: table for name, table in tables.items() if kind.fits(table)}
        if not fitting:
            rows.append(_not_tested(kind, _why_absent(kind, tables)))
        for name, table in fitting.items():
            part = table[table["tumor"].astype(str) == line]
            if len(part):
                rows += kind.rows(part, name)
                continue
            lost = {str(each["name"]): each["reason"] for each in table.attrs.get("left_out", [])}
            reason = str(lost.get(line, f"the line is not in {name}"))
            rows.append(_not_tested(kind, reason, name))
    return [{**row, "tumor": line} for row in rows]
