"""Evidence of genes for the calls of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_there
from nkscore._samples._matrices import counts_of
from nkscore.errors import DesignError, MissingKeyError
from nkscore.signatures._programs import packaged_programs, reference_genes
from nkscore.stats.programs._program_counts import gene_levels
from nkscore.tl._states._nk_fit import exposure
from nkscore.tl._states._tumor_programs import match_programs, tumor_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData
    from scipy import sparse

    from nkscore._counts._base import Counts
    from nkscore._types import Array, Bools, Floats, Ints, Labels
    from nkscore.stats import GeneLevels

_STEPS = {
    "nk": ("tl.nk_states", schema.NK_STATE),
    "tumor": ("tl.tumor_states", schema.TUMOR_STATE),
}
_COLUMNS = ["state", "gene", "n_cells", "count", "expected", "expected_in_state", "log_odds"]


def explain_state(
    adata: AnnData,
    cells: str | Sequence[str] | Labels | Bools,
    *,
    compartment: str = "nk",
    states: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the evidence of genes for and against each state in a cell or a group of cells.

    Reads ``layers["counts"]``, ``uns["nkscore"]["tl.nk_states"]`` (or ``tl.tumor_states``) and the
    column of ``obs`` that those used to fit baseline levels.

    Parameters
    ----------
    adata
        Cells × genes with called states.
    cells
        The name of a cell, several names, or a boolean mask. Cells outside the compartment are
        excluded.
    compartment
        ``"nk"`` or ``"tumor"``.
    states
        States to explain; by default all that were found in the data.

    Returns
    -------
    DataFrame with one row per state and gene, most informative genes first: ``state``, ``gene``,
    ``n_cells``, ``count`` (mean per cell), ``expected`` (expected mean count without the state,
    from depth and donor), ``expected_in_state``, ``log_odds`` (mean natural-log ratio of the
    probability of the count with and without the state; positive values support it).

    Raises
    ------
    MissingKeyError
        If states were not called, or a cell, a gene or a state is missing.
    DesignError
        If none of the cells is in the compartment.
    ValueError
        If ``compartment`` is neither ``nk`` nor ``tumor``.

    Notes
    -----
    The sum of ``log_odds`` over the genes of a state is the evidence of the cell itself. The call
    also uses the frequency of the state (in the donor, the batch), and allows cells to show a state
    weakly or strongly. Tumor programs are called from the weighted sum of their genes' counts: each
    gene gets the part of that evidence that corresponds to its count and its expected count
    (``expected`` is that of the line, without the small differences between batches).

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=80, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> called = adata.obs_names[adata.obs["nk_state"] == "type_i_ifn"]
    >>> why = nk.tl.explain_state(adata, called)
    >>> totals = why.groupby("state")["log_odds"].sum()
    >>> totals.idxmax()
    'type_i_ifn'
    """
    if compartment not in _STEPS:
        msg = f"compartment is {compartment!r}; 'nk' or 'tumor' is needed."
        raise ValueError(msg)
    step, label = _STEPS[compartment]
    book = schema.recorded(adata, step, step)
    rows = _positions(adata, cells, label)
    explain = _explain_nk if compartment == "nk" else _explain_tumor
    found = pd.DataFrame(explain(adata, rows, book, states), columns=_COLUMNS)
    order = found["log_odds"].abs().sort_values(ascending=False, kind="stable").index
    return found.loc[order].reset_index(drop=True)


def _positions(adata: AnnData, cells: str | Sequence[str] | Labels | Bools, label: str) -> Ints:
    schema.require(adata, "obs", [label], f"tl.{label}s")
    rows = _named(adata, np.asarray([cells] if isinstance(cells, str) else cells))
    rows = rows[adata.obs[label].notna().to_numpy()[rows]]
    if not rows.size:
        msg = (
            f"None of these cells has a value in obs[{label!r}]: they are in another "
            "compartment or failed QC. Name cells of the compartment to explain."
        )
        raise DesignError(msg)
    return np.asarray(rows)


def _named(adata: AnnData, cells: Array) -> Ints:
    """Return the places of cells given by name or by a mask."""
    if cells.dtype == bool:
        if cells.size != adata.n_obs:
            msg = f"The mask has {cells.size} entries for {adata.n_obs} cells; give one for each."
            raise ValueError(msg)
        return np.flatnonzero(cells)
    rows = adata.obs_names.get_indexer(cells.astype(str))
    if (rows < 0).any():
        lost = cells[rows < 0]
        msg = (
            f"{len(lost)} of the cells are not in adata.obs_names, for example {lost[0]!r}. "
            "Name cells of this object, or pass a boolean mask."
        )
        raise MissingKeyError(msg)
    return np.asarray(rows)


def _chosen(states: str | Iterable[str] | None, found: pd.Series) -> list[str]:
    """Return the states to explain, which must be among those found in the data."""
    available = list(dict.fromkeys(str(name) for name in found))
    if states is None:
        return available
    wanted = [states] if isinstance(states, str) else list(map(str, states))
    check_there(wanted, available, "state")
    return wanted


def _needed(book: Mapping[str, Any], key: str, step: str) -> pd.DataFrame:
    if key not in book:
        msg = f"The record of {step} does not contain its fit. Run {step} of this version again."
        raise MissingKeyError(msg)
    return pd.DataFrame(book[key])


def _taken(
    adata: AnnData, counts: Counts, rows: Ints, genes: pd.Index, step: str
) -> sparse.csr_matrix:
    """Return the counts of some cells in the genes of the calls."""
    columns = adata.var_names.get_indexer(genes)
    if (columns < 0).any():
        lost = np.asarray(genes)[columns < 0]
        msg = (
            f"{len(lost)} genes of the called states are no longer in the data, for "
            f"example {lost[0]}. Explain calls on the genes from which they were made, or "
            f"run {step} again."
        )
        raise MissingKeyError(msg)
    return counts.columns(columns, rows)


def _names(adata: AnnData, rows: Ints, column: str) -> Labels:
    schema.require(adata, "obs", [column], "io.read_coculture")
    values = adata.obs[column].iloc[rows]
    return np.where(values.isna(), "", values.astype(str).to_numpy(dtype=object))


def _explain_nk(
    adata: AnnData, rows: Ints, book: Mapping[str, Any], states: str | Iterable[str] | None
) -> list[Any]:
    table = _needed(book, "explain", "tl.nk_states")
    table = table.assign(**{c: table[c].astype(str) for c in ("state", "gene", "group")})
    table = table[table["state"].isin(_chosen(states, table["state"]))]
    column = str(book.get("explain_group", "None"))
    group = np.full(rows.size, "", dtype=object)
    if column != "None":
        group = _names(adata, rows, column)
    genes = pd.Index(pd.unique(table["gene"]))
    counts = counts_of(adata, check=False)
    dense = _taken(adata, counts, rows, genes, "tl.nk_states").toarray().astype(float)
    depth = exposure(adata, counts, rows)
    place = {gene: i for i, gene in enumerate(genes)}
    parts: dict[tuple[str, str], Any] = {}
    for row in table.to_dict("records"):
        inside = group == row["group"]
        if not inside.any():
            continue
        log_fold, dispersion = row["log_fold"], row["dispersion"]
        x = dense[inside, place[row["gene"]]]
        baseline = np.maximum(depth[inside] * row["rate"], 1e-9)
        raised = baseline * np.exp(log_fold)
        odds = x * log_fold - (x + 1 / dispersion) * (
            np.log1p(raised * dispersion) - np.log1p(baseline * dispersion)
        )
        sums = parts.setdefault((row["state"], row["gene"]), np.zeros(5))
        weight = row.get("weight", 1.0)
        sums += [x.size, x.sum(), baseline.sum(), raised.sum(), weight * odds.sum()]
    return [
        (state, gene, int(n), *(np.array(rest) / n)) for (state, gene), (n, *rest) in parts.items()
    ]


def _explain_tumor(
    adata: AnnData, rows: Ints, book: Mapping[str, Any], states: str | Iterable[str] | None
) -> list[Any]:
    step = "tl.tumor_states"
    levels, genes, rates = (_needed(book, key, step) for key in ("levels", "genes", "rates"))
    by = str(book["options"]["by"])
    called = np.isin(_names(adata, rows, by), levels["line"].astype(str))
    if not called.any():
        msg = "These cells are of lines with too few tumor cells: their programs were not called."
        raise DesignError(msg)
    rows = rows[called]
    cells = tumor_cells(adata, by, None, min_cells=1)
    counts = counts_of(adata, check=False)
    all_depths = _reference_depth(adata, counts, cells.rows, book, rates.index)
    baseline_rates = gene_levels(counts, cells.rows, cells.line, all_depths)
    here = np.searchsorted(cells.rows, rows)
    line, depth = cells.line[here], all_depths[here]
    chosen = _chosen(states, levels.loc[levels["supported"].astype(bool), "program"].astype(str))
    of_program = {
        name: genes.loc[genes["program"].astype(str) == name, "gene"].astype(str).to_numpy()
        for name in chosen
    }
    place = pd.Index(list(dict.fromkeys(g for members in of_program.values() for g in members)))
    taken = _taken(adata, counts, rows, place, step)
    records: list[Any] = []
    for name, members in of_program.items():
        x = taken[:, place.get_indexer(pd.Index(members))].toarray().astype(float)
        weight = _weights(baseline_rates, adata.var_names.get_indexer(members))[line]
        of_lines = rates[[cells.names[i].replace("/", "|") for i in line]]
        rate = of_lines.loc[members.tolist()].to_numpy().T
        fit = levels[levels["program"].astype(str) == name].set_index("line")
        fit = fit.loc[[cells.names[i] for i in line]]
        baseline = rate * (depth / 1e4 * fit["baseline_level"].to_numpy())[:, None]
        fold, dispersion = float(fit["fold"].iloc[0]), fit["dispersion"].to_numpy() + 1 / depth
        odds = _parts_of_sum(weight * x, weight * baseline, fold, dispersion[:, None])
        means = zip(
            *(part.mean(axis=0) for part in (x, baseline, fold * baseline, odds)), strict=True
        )
        records += [(name, gene, rows.size, *m) for gene, m in zip(members, means, strict=True)]
    return records


def _weights(levels: GeneLevels, columns: Ints) -> Floats:
    """Return the weight of each gene in the sum of its program: lines × genes."""
    rate = levels.rate[:, columns]
    weight = 1 / (1 + levels.spread[:, columns] * rate * levels.depth[:, None])
    once, twice = (weight * rate).sum(axis=1), (weight**2 * rate).sum(axis=1)
    return np.asarray(weight * (once / np.maximum(twice, 1e-300))[:, None])


def _parts_of_sum(x: Floats, baseline: Floats, fold: float, dispersion: Floats) -> Floats:
    """Split the log odds of each cell's summed count, for ``fold`` times baseline, over genes."""
    total = np.maximum(baseline.sum(axis=1, keepdims=True), 1e-9)
    spread = np.log1p(fold * total * dispersion) - np.log1p(total * dispersion)
    return np.asarray(x * (np.log(fold) - spread) - baseline / total * spread / dispersion)


def _reference_depth(
    adata: AnnData, counts: Counts, rows: Ints, book: Mapping[str, Any], called: pd.Index
) -> Floats:
    """Return counts in genes outside all programs, the depth used for the calls."""
    packaged = packaged_programs()
    chosen = {n: packaged[n] for n in map(str, book["options"]["programs"]) if n in packaged}
    used = set(map(str, called))
    if chosen:
        columns = match_programs(adata.var_names, chosen, needed=set()).columns
        used |= {str(adata.var_names[c]) for part in columns.values() for c in part}
    steady = reference_genes(adata.var_names, pd.Index(sorted(used)))
    return np.maximum(counts.totals(steady, rows), 1.0)
