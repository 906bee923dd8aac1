"""The ledger of losses: what came into each step, what went on, and why the rest did not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

import pandas as pd

from nkscore import schema
from nkscore.errors import MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

    from nkscore._types import Bools

    #: Reason → names of what was lost, or a name (lane, sample, ...) → how many of it.
    Losses = Mapping[str, Iterable[str] | Mapping[str, int]]

#: Key of ``attrs`` of a table, and of the records in ``uns``.
LEDGER: Final = schema.LEDGER
#: More names are counted only.
_NAMED: Final = 50
#: Reason of a loss that no step explained; no row should have it.
UNEXPLAINED: Final = "not recorded"


class Row(TypedDict):
    """One reason of one step; the first row of a step may be without loss."""

    step: str
    what: str
    n_in: int
    n_out: int
    n_lost: int
    reason: str
    names: str


def rows(step: str, what: str, n_in: int, n_out: int, losses: Losses) -> list[Row]:
    """Return one row per reason, or one row without a loss.

    ``n_out`` is counted separately; a difference that ``losses`` do not explain has its own row.
    """
    found = {reason: _counted(names) for reason, names in losses.items()}
    lost = {reason: names for reason, names in found.items() if sum(names.values())}
    rest = n_in - n_out - sum(sum(names.values()) for names in lost.values())
    if rest:
        lost[UNEXPLAINED] = {"": rest}
    return [
        Row(
            step=step,
            what=what,
            n_in=int(n_in),
            n_out=int(n_out),
            n_lost=int(sum(names.values())),
            reason=reason,
            names=_listed(names),
        )
        for reason, names in (lost or {"": {}}).items()
    ]


def _counted(names: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    if hasattr(names, "items"):
        return {str(name): int(n) for name, n in names.items() if n}
    return dict.fromkeys(map(str, names), 1)


def _listed(names: Mapping[str, int]) -> str:
    one_each = all(n == 1 for n in names.values())
    shown = [name if one_each else f"{name}: {n}" for name, n in names.items() if name]
    more = [f"and {len(shown) - _NAMED} more"] if len(shown) > _NAMED else []
    return "; ".join([*shown[:_NAMED], *more])


def records(table: pd.DataFrame | None) -> list[Row]:
    """Return the rows of a ledger."""
    made: list[Any] = [] if table is None else table.to_dict("records")
    return made


def cells_by_lane(adata: AnnData, cells: Bools) -> dict[str, int]:
    """Count cells by lane, the names of a loss of cells."""
    if schema.LANE not in adata.obs:
        return {"": int(cells.sum())}
    counts = adata.obs[schema.LANE][cells].astype(str).value_counts(sort=False).sort_index()
    return {str(lane): int(n) for lane, n in counts.items()}


def rows_of_sets(step: str, coverage: pd.DataFrame) -> list[Row]:
    """Return the rows of gene sets that were all found, and of their genes, from the coverage."""
    sizes, found = int(coverage["n_genes"].sum()), int(coverage["n_found"].sum())
    absent = (coverage["n_genes"] - coverage["n_found"]).to_numpy()
    missing = dict(zip(coverage["signature"].astype(str), absent, strict=True))
    n = len(coverage)
    return [
        *rows(step, "gene sets", n, n, {}),
        *rows(step, "genes of gene sets", sizes, found, {"not in the data": missing}),
    ]


def note(adata: AnnData, made: Mapping[str, list[Row]]) -> None:
    """Write rows of some steps to the ledger, in place of their earlier rows of the same kinds.

    A step without rows is removed.
    """
    book = dict(adata.uns.get(schema.RECORD, {}))
    before = records(book.get(LEDGER))
    kinds = {step: {row["what"] for row in new} for step, new in made.items()}
    new = [row for step in made.values() for row in step]
    kept = [row for row in before if not _replaced(row, kinds)]
    # A step that is run again stays where it was.
    steps = list(dict.fromkeys([*(row["step"] for row in before), *made]))
    whats = list(dict.fromkeys(row["what"] for row in [*before, *new]))
    place = {row: i for i, row in enumerate((s, w) for s in steps for w in whats)}
    ordered = sorted([*new, *kept], key=lambda row: place[row["step"], row["what"]])
    book[LEDGER] = _table(ordered)
    adata.uns[schema.RECORD] = book


def _replaced(row: Row, kinds: Mapping[str, set[str]]) -> bool:
    step = row["step"]
    return step in kinds and (not kinds[step] or row["what"] in kinds[step])


def has_step(adata: AnnData, step: str) -> bool:
    """Whether a step wrote to the ledger."""
    found = adata.uns.get(schema.RECORD, {}).get(LEDGER)
    return found is not None and step in set(found["step"])


def note_in(table: pd.DataFrame, made: Iterable[Row]) -> None:
    """Add rows to the ledger in ``attrs`` of a table of results."""
    table.attrs[LEDGER] = [*table.attrs.get(LEDGER, []), *map(dict, made)]


def _table(made: Iterable[Row]) -> pd.DataFrame:
    columns = list(Row.__annotations__)
    listed: list[Any] = list(made)
    table = pd.DataFrame({column: [row[column] for row in listed] for column in columns})
    counts = [column for column in columns if column.startswith("n_")]
    texts = [column for column in columns if column not in counts]
    table = table.astype(dict.fromkeys(counts, "int64") | dict.fromkeys(texts, object))
    table.index = pd.Index([str(i) for i in range(len(table))])
    return table


def keep_in(adata: AnnData, table: pd.DataFrame) -> None:
    """Write a whole ledger to ``uns``."""
    book = dict(adata.uns.get(schema.RECORD, {}))
    book[LEDGER] = _table(records(table))
    adata.uns[schema.RECORD] = book


def ledger(adata: AnnData, tables: Mapping[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Return what each step received and passed on, and what it lost for which reason.

    Reads ``uns["nkscore"]["ledger"]``, which every step that loses something extends, and the
    ``attrs`` of ``tables``.

    Parameters
    ----------
    adata
        Cells × genes, after any of the steps.
    tables
        Results of ``tl`` by name, for example ``{"tumor_response": response}``. Their rows name
        the table as the step.

    Returns
    -------
    One row per step, kind and reason, in the order of the steps: ``step`` (function or table),
    ``what`` (``cells``, ``genes``, ``gene sets``, ``samples``, ``tags``, ``lines``, ...), ``n_in``,
    ``n_out``, ``n_lost`` (for this reason; the rows of a step sum to ``n_in - n_out``), ``reason``
    (empty where nothing was lost) and ``names`` (lanes with their cells, or what was lost). A cell
    that fails several steps counts in the first one: QC, hashtags, compartment.

    Raises
    ------
    MissingKeyError
        If no step wrote a ledger, or a table is not a DataFrame.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> losses = nk.ledger(adata)
    >>> cells = losses[losses["what"] == "cells"].drop_duplicates("step")
    >>> cells["step"].tolist()
    ['pp.qc', 'pp.demultiplex']
    >>> bool(cells["n_in"].iloc[1] == cells["n_out"].iloc[0])
    True
    """
    given: Mapping[str, object] = tables or {}
    for name, table in given.items():
        if not isinstance(table, pd.DataFrame):
            msg = f"tables[{name!r}] is of type {type(table).__name__}; a DataFrame is needed."
            raise MissingKeyError(msg)
    made = collected(adata, tables or {})
    if made.empty:
        msg = (
            "adata.uns['nkscore'] has no 'ledger', because no step that writes it was run. Run "
            "io.read_coculture or pp.qc first."
        )
        raise MissingKeyError(msg)
    return made


def collected(
    adata: AnnData, tables: Mapping[str, pd.DataFrame], skipped: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return the ledger of the cells, of tables and of results that were not made."""
    made = records(adata.uns.get(schema.RECORD, {}).get(LEDGER))
    made = [row for row in made if row["step"].partition(" (")[0] not in tables]
    for name, table in tables.items():
        own: list[Row] = table.attrs.get(LEDGER, [])
        for row in own:
            renamed = row.copy()
            # "tl.state_shift (coculture)": one of several conditions.
            renamed["step"] = f"{name}{row['step'][len(row['step'].partition(' ')[0]) :]}"
            made.append(renamed)
    if skipped is not None:
        made = [row for row in made if row["what"] != "results"]
    for name, reason in (skipped or {}).items():
        made += rows(name, "results", 1, 0, {reason: [name]})
    return _table(made).reset_index(drop=True)
