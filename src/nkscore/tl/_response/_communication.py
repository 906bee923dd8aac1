"""Receptors and ligands of NK and tumor cells, and their change in co-culture."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._checks import check_confidence, check_whole, seed_of
from nkscore.errors import DesignError
from nkscore.stats import (
    benjamini_hochberg,
    fit_count_response,
    placed_behind,
    with_interval,
    with_q_values,
)
from nkscore.tl._response._ambient_counts import ambient_share_of_genes
from nkscore.tl._response._communication_liana import liana_pairs
from nkscore.tl._response._communication_pairs import (
    ambient_genes,
    chosen_pairs,
    in_log2,
    levels,
    line_differences,
    lowest,
    well_table,
)
from nkscore.tl._response._response_inputs import ResponseInputs, response_inputs

if TYPE_CHECKING:
    from anndata import AnnData

_LOG = logging.getLogger("nkscore")
_ALL = "all"
_MOSTLY_AMBIENT = 0.5


def communication(
    adata: AnnData,
    *,
    pairs: pd.DataFrame | None = None,
    state: str | None = None,
    engine: str = "model",
    level: str = "line",
    treated: str = schema.COCULTURE,
    by: str = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    min_cells: int = 10,
    min_count: int = 10,
    n_permutations: int = 999,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Score receptor-ligand pairs between NK and tumor cells and test their change in co-culture.

    The score of a pair in a sample is the log2 of the product of both genes' counts per million:
    the NK gene (its rarest subunit) in the sample's NK cells, the tumor gene in its tumor cells.
    Its change against both monocultures is the sum of the changes of the two genes, each from the
    joint model of :func:`nkscore.tl.interaction_response` with samples as replicates.

    Reads ``layers["counts"]``, ``obs["compartment"]``, ``obs["condition"]``, the columns named by
    the options and the results of ``pp.ambient``, if it was run.

    Parameters
    ----------
    adata
        Cells × genes.
    pairs
        Columns ``nk_gene``, ``tumor_gene`` and, if known, ``nk_partners``, ``class``, ``sender``;
        by default :func:`nkscore.signatures.ligand_receptor` without doubtful pairs.
    state
        Column of ``obs`` with NK states, which are scored separately; ``None``: all NK cells
        together.
    engine
        ``"model"``, or ``"liana"``: CellPhoneDB's permutation test as in LIANA+, per sample of the
        treated condition, which uses cells as replicates.
    level
        ``"line"`` or ``"sample"`` (scores of each sample, no tests).
    treated
        Condition in which both cell types are together.
    by, replicate
        Columns of lines and of replicates (donors).
    min_cells
        Samples with fewer NK or tumor cells are excluded on that side.
    min_count
        As in :func:`nkscore.tl.interaction_response`: genes with fewer counts are not tested.
    n_permutations, rng
        Number of LIANA's permutations, and their seed, which is the same in all samples.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    With ``level="line"`` one row per line × NK state × pair, if both genes were tested: ``tumor``,
    ``nk_state`` (``all`` if not split), ``nk_gene``, ``nk_partners``, ``tumor_gene``, ``class``,
    ``sender``, ``limiting_gene`` (rarest NK subunit), ``score`` (mean over samples), ``log2_fc``
    (change of the product), ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg over the table), ``log2_fc_nk``, ``log2_fc_tumor`` (its two parts),
    ``line_difference`` (score minus the mean of the other lines) with ``p_value_line`` and
    ``q_value_line`` (within line and state; NaN for one line), ``ambient_share`` of the tumor gene
    (NaN without ``pp.ambient``), ``ambient_suspect`` and ``n_samples``. With ``level="sample"`` one
    row per sample × NK state × pair: ``sample``, ``tumor``, ``nk_donor``, the pair,
    ``nk_log2_cpm``, ``tumor_log2_cpm``, ``score``. With LIANA: ``sample``, ``tumor``, ``nk_state``,
    the pair, ``score`` (``lr_means``), ``p_value`` = (b + 1) / (m + 1), never 0, ``q_value`` within
    the sample.

    Raises
    ------
    DesignError
        If a compartment or an arm is empty, no replicate exists, no state has enough cells, or no
        sample has enough cells of both types.
    MissingKeyError
        If a column is absent.
    GeneCoverageError
        If no pair has all its genes in the data.
    ValueError
        If ``engine`` or ``level`` is unknown, or a number is out of range.
    ImportError
        If LIANA is requested but not installed.

    Notes
    -----
    NK and tumor cells are fitted in separate models, which are assumed to be independent. A pair is
    suspect if its tumor gene is mostly ambient (half of its counts) or, without ``pp.ambient``, if
    only NK cells express it: NK cells may be interacting with themselves. RNA expression does not
    show binding: surface protein, shedding and peptide loading are not measured.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.communication(adata)
    >>> bool((table["p_value"] > 0).all())
    True
    """
    if engine not in ("model", "liana") or level not in ("line", "sample"):
        msg = f"engine={engine!r}, level={level!r}; known: 'model' or 'liana', 'line' or 'sample'."
        raise ValueError(msg)
    check_confidence(confidence)
    check_whole(1, n_permutations=n_permutations)
    schema.check_input(adata)
    table = chosen_pairs(pairs, list(adata.var_names))
    if engine == "liana":
        return liana_pairs(
            adata,
            table,
            treated=treated,
            by=by,
            state=state,
            min_cells=min_cells,
            n_permutations=n_permutations,
            seed=seed_of(rng),
        )
    options: dict[str, Any] = {
        "treated": treated,
        "control": None,
        "by": by,
        "replicate": replicate,
        "condition": schema.CONDITION,
        "covariates": (),
        "min_cells": min_cells,
    }
    tumor = response_inputs(adata, schema.TUMOR_CELLS, **options)
    by_state = _by_state(adata, state, options)
    described, genes = well_table(tumor, [by, replicate]), adata.var_names
    wells = _wells_of_states(by_state, described, table, levels(tumor), genes=genes)
    _require_wells(wells, treated, min_cells)
    if level == "sample":
        made = _joined(wells, by)
        return _front(made, ["sample", schema.TUMOR, replicate, "nk_state"])
    of_tumor = _fitted(tumor, min_count)
    tables = {}
    for name, part in wells.items():
        fitted = _fitted(by_state[name], min_count), of_tumor
        made = _lines(part, table, fitted, by=by, replicate=replicate, genes=genes)
        tables[name] = _with_tests(made, confidence)
    return _finished(_joined(tables, by), adata)


def _require_wells(wells: dict[str, pd.DataFrame], treated: str, min_cells: int) -> None:
    if not wells:
        msg = (
            f"No sample of condition {treated!r} has {min_cells} NK and {min_cells} tumor cells. "
            "Check obs['compartment'] and obs['condition'], or lower min_cells."
        )
        raise DesignError(msg)


def _joined(tables: dict[str, pd.DataFrame], by: str) -> pd.DataFrame:
    parts = [table.assign(nk_state=name) for name, table in tables.items()]
    return pd.concat(parts, ignore_index=True).rename(columns={by: schema.TUMOR})


def _finished(table: pd.DataFrame, adata: AnnData) -> pd.DataFrame:
    """Adjust p-values over the table, flag what may be ambient, and sort."""
    table = table.assign(q_value=benjamini_hochberg(table["p_value"]))
    order = ["tumor", "nk_state", "p_value", "nk_gene", "tumor_gene"]
    table = _flagged(table, adata).sort_values(order, ignore_index=True)
    return _front(table, ["tumor", "nk_state"])


def _front(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return table[[*columns, *[c for c in table if c not in columns]]]


def _by_state(
    adata: AnnData, state: str | None, options: dict[str, Any]
) -> dict[str, ResponseInputs]:
    if state is None:
        return {_ALL: response_inputs(adata, schema.NK, **options)}
    schema.require(adata, "obs", [state], "tl.nk_states")
    values = adata.obs[state].astype(object)
    names = sorted({str(v) for v in values.dropna().unique()} - {schema.UNASSIGNED})
    found = {}
    for name in names:
        cells = (
            (values.astype(str) == name) & (adata.obs[schema.COMPARTMENT] == schema.NK)
        ).to_numpy(bool)
        try:
            found[name] = response_inputs(adata[cells], schema.NK, **options)
        except DesignError as error:
            _LOG.warning("NK state %s is excluded: %s", name, error)
    if not found:
        msg = (
            f"None of the NK states {', '.join(names) or '(no state is called)'} has enough cells "
            "in both conditions. Lower min_cells, or omit state."
        )
        raise DesignError(msg)
    return found


def _wells_of_states(
    by_state: dict[str, ResponseInputs],
    described: pd.DataFrame,
    table: pd.DataFrame,
    tumor: pd.DataFrame,
    *,
    genes: pd.Index,
) -> dict[str, pd.DataFrame]:
    """Return :func:`_wells` of each NK state that has any."""
    found = {}
    for name, nk in by_state.items():
        wells = _wells(described, table, levels(nk), tumor, genes=genes)
        if wells.empty:
            _LOG.warning("NK state %s: no sample has enough cells of both types", name)
        else:
            found[name] = wells
    return found


def _wells(
    described: pd.DataFrame,
    table: pd.DataFrame,
    own: pd.DataFrame,
    other: pd.DataFrame,
    *,
    genes: pd.Index,
) -> pd.DataFrame:
    """Return one row per pair and well with both cell types, from levels on both sides."""
    shared = [well for well in own.index if well in other.index]
    if not shared:
        return pd.DataFrame()
    nk_side, limiting = lowest(own.loc[shared], table, genes)
    at_tumor = genes.get_indexer(pd.Index(table["tumor_gene"]))
    tumor_side = other.loc[shared][at_tumor].to_numpy()
    n_pairs = len(table)
    long = described.loc[np.repeat(shared, n_pairs)].rename_axis("sample").reset_index()
    repeated = pd.concat([table.assign(limiting_gene=limiting)] * len(shared), ignore_index=True)
    long = pd.concat([long, repeated], axis=1)
    long["nk_log2_cpm"], long["tumor_log2_cpm"] = nk_side.ravel(), tumor_side.ravel()
    return long.assign(score=long["nk_log2_cpm"] + long["tumor_log2_cpm"])


def _lines(
    wells: pd.DataFrame,
    table: pd.DataFrame,
    fitted: tuple[pd.DataFrame, pd.DataFrame],
    *,
    by: str,
    replicate: str,
    genes: pd.Index,
) -> pd.DataFrame:
    """Return one row per line × pair: mean score, change with its error, difference of lines."""
    nk, tumor = fitted
    n_pairs = len(table)
    score = wells["score"].to_numpy().reshape(-1, n_pairs)
    samples = wells.iloc[::n_pairs].reset_index(drop=True)
    tests = line_differences(score, samples, by=by, replicate=replicate)
    limiting = wells["limiting_gene"].to_numpy()[:n_pairs]
    line = samples[by].astype(str).to_numpy()
    at_nk = genes.get_indexer(pd.Index(limiting)).tolist()
    at_tumor = genes.get_indexer(pd.Index(table["tumor_gene"])).tolist()
    parts = []
    for name in sorted(set(line)):
        a = nk.reindex(pd.MultiIndex.from_product([[name], at_nk])).to_numpy()
        b = tumor.reindex(pd.MultiIndex.from_product([[name], at_tumor])).to_numpy()
        part = table.assign(
            tumor=name, limiting_gene=limiting, score=score[line == name].mean(axis=0)
        )
        variance = a[:, 1] ** 2, b[:, 1] ** 2
        part["log2_fc"], part["se"] = a[:, 0] + b[:, 0], np.sqrt(variance[0] + variance[1])
        # Welch and Satterthwaite: the error has two sources with different degrees of freedom.
        part["df"] = part["se"] ** 4 / (variance[0] ** 2 / a[:, 2] + variance[1] ** 2 / b[:, 2])
        part["log2_fc_nk"], part["log2_fc_tumor"] = a[:, 0], b[:, 0]
        test = tests.get(name)
        part["line_difference"] = np.nan if test is None else test.effect
        part["p_value_line"] = np.nan if test is None else test.p_value
        part["n_samples"] = int((line == name).sum())
        parts.append(part)
    made = pd.concat(parts, ignore_index=True)
    known: pd.DataFrame = made[np.isfinite(made["se"])].reset_index(drop=True)
    return known


def _fitted(inputs: ResponseInputs, least: int) -> pd.DataFrame:
    """Fit like :func:`nkscore.tl.interaction_response`."""
    return in_log2(
        fit_count_response(
            inputs.sums.sums,
            inputs.design,
            min_count=least,
            overdispersion=inputs.overdispersion(),
            n_cells=inputs.samples.table["n_cells"].to_numpy(float),
            cell_squares=inputs.sums.squares,
        )
    )


def _with_tests(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
    df = table.pop("df").to_numpy(dtype=float)
    t = (table["log2_fc"] / table["se"]).to_numpy(dtype=float)
    p = np.maximum(2 * scipy_stats.t.sf(np.abs(t), df), np.finfo(float).tiny)
    table = with_interval(table, "log2_fc", df, confidence)
    table = placed_behind(table, "ci_high", t=t, p_value=p, q_value=np.nan)
    return with_q_values(table, p_value="p_value_line", q_value="q_value_line", by="tumor")


def _flagged(table: pd.DataFrame, adata: AnnData) -> pd.DataFrame:
    share = ambient_share_of_genes(adata, table["tumor"], table["tumor_gene"])
    listed = table["tumor_gene"].isin(ambient_genes()).to_numpy()
    suspect = np.where(np.isfinite(share), share >= _MOSTLY_AMBIENT, listed)
    return table.assign(ambient_share=share, ambient_suspect=suspect.astype(bool))
