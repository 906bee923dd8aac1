"""``nkscore.report``: one HTML file of an analysis."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nkscore import schema, tl
from nkscore._report._dossier import dossiers
from nkscore._report._figures import MODULES, draw
from nkscore._report._page import page
from nkscore._report._results import Results, is_response
from nkscore._report._tables import ORDER, TABLES
from nkscore._whole import whole
from nkscore.errors import MissingKeyError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from anndata import AnnData

    from nkscore._report._figures import Panel

TITLE = "Interaction of NK and tumor cells"


def report(
    adata: AnnData,
    responses: pd.DataFrame | Mapping[str, pd.DataFrame],
    path: str | os.PathLike[str],
    *,
    loaded: AnnData | None = None,
    title: str = TITLE,
    overwrite: bool = False,
) -> Path:
    """Write an analysis as one HTML file that opens from disk and loads nothing.

    Reads the available slots of ``obs`` (``lane``, ``sample``, ``qc_pass``, ``hashtag_class``,
    ``compartment``, ``nk_state``, ``tumor_state``, ...), ``obsm["hashtags"]``, ``obsm["X_umap"]``
    and ``uns["nkscore"]``; computes only counts and the modules of the tumor response.

    Parameters
    ----------
    adata
        Cells × genes, after any of the steps.
    responses
        Table of :func:`nkscore.tl.interaction_response`, or any tables by name. The names that
        ``nkscore run`` uses (``tumor_response``, ``nk_response``, ``nk_state_fractions``,
        ``nk_state_shift``, ``ambient``, ...) get their figures and text; a single table is
        ``tumor_response``. Its heat map shows ``response_modules``, by default those of
        :func:`nkscore.tl.response_modules`.
    path
        HTML file to write.
    loaded
        All cells before ``pp.keep``, for the quality section; by default ``adata``.
    title
        Heading of the page.
    overwrite
        Whether to replace an existing file.

    Returns
    -------
    Path
        The file: summary with caveats, quality, states, response, methods and versions; tables that
        sort, filter and download as TSV; figures as PNG within. It appears only when complete.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is false.
    MissingKeyError
        If ``responses`` is not a table, or contains something else.

    Examples
    --------
    >>> import tempfile
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.qc(adata)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = nk.report(adata, {}, f"{folder}/report.html", title="First look")
    ...     "First look" in file.read_text(encoding="utf-8")
    True
    """
    path = Path(path)
    if path.exists() and not overwrite:
        msg = f"{path} exists. Choose another name, or pass overwrite=True to replace it."
        raise FileExistsError(msg)
    tables = {"tumor_response": responses} if isinstance(responses, pd.DataFrame) else responses
    results = Results(adata if loaded is None else loaded, adata, _checked(tables))
    record = adata.uns.get(schema.RECORD, {})
    if "ambient" not in results.tables and "pp.ambient" in record:
        results.tables["ambient"] = record["pp.ambient"]["samples"]
        results.methods["ambient"] = ("pp.ambient", dict(record["pp.ambient"]["options"]))
    _add_modules(results)
    results.add_ledger()
    with results.optional("dossiers"):
        results.dossiers = dossiers(results.tables)
    with tempfile.TemporaryDirectory() as folder:
        write(results, draw(results, Path(folder), formats=["png"]), path, title=title)
    return path


def _add_modules(results: Results) -> None:
    response = results.tables.get("tumor_response")
    if MODULES in results.tables or response is None or not is_response(response):
        return
    modules = next(table for table in TABLES if table.name == MODULES)
    with results.optional(MODULES):
        results.tables[MODULES] = modules.make(results, {})
    if MODULES not in results.tables:
        return
    given = inspect.signature(getattr(tl, modules.function)).parameters.values()
    options = {each.name: each.default for each in given if each.default is not each.empty}
    results.methods[MODULES] = (f"tl.{modules.function}", options)


def _checked(tables: object) -> dict[str, pd.DataFrame]:
    if not hasattr(tables, "items"):
        msg = (
            f"responses is of type {type(tables).__name__}; a table of tl.interaction_response or "
            "a mapping from names to tables is needed."
        )
        raise MissingKeyError(msg)
    for name, table in tables.items():
        if not isinstance(table, pd.DataFrame):
            msg = f"responses[{name!r}] is of type {type(table).__name__}; a DataFrame is needed."
            raise MissingKeyError(msg)
    named = {str(name): table for name, table in tables.items()}
    known = [name for name in ORDER if name in named]
    return {name: named[name] for name in dict.fromkeys([*known, *named])}


def write(
    results: Results, drawn: list[tuple[Panel, Path]], path: Path, *, title: str = TITLE
) -> None:
    """Write the page, which appears only when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        beside.write_text(page(results, drawn, title), encoding="utf-8")
