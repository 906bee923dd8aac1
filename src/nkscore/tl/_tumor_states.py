"""Programs and state of each tumor cell."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore.errors import DesignError
from nkscore.stats import two_level_posterior

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

_LOG = logging.getLogger("nkscore")


@dataclass(frozen=True, slots=True)
class TumorProgram:
    """A set of genes whose summed counts take one of two levels in the cells of a line.

    ``genes`` and ``without`` name sets of the catalogue; genes of ``without`` are left out.
    ``fold`` is the starting ratio of the other level to the usual one, ``bounds`` its limits.
    ``excluded_by`` names programs that rule this one out. An ``induced`` program is off in
    monocultures by definition; it is on where it exceeds what their cells show.
    """

    genes: tuple[str, ...]
    without: tuple[str, ...]
    fold: float
    bounds: tuple[float, float]
    excluded_by: tuple[str, ...] = ()
    induced: bool = False


_CYCLE = ("TIROSH2016_G1S", "TIROSH2016_G2M")
#: In the order in which a cell's primary label is chosen.
PROGRAMS: dict[str, TumorProgram] = {
    "low_myc_dormant_like": TumorProgram(
        genes=("HALLMARK_MYC_TARGETS_V1", "HALLMARK_MYC_TARGETS_V2"),
        # What remains is translation and ribosome biogenesis, which cycling changes little.
        without=(*_CYCLE, "HALLMARK_E2F_TARGETS", "HALLMARK_G2M_CHECKPOINT"),
        fold=0.6,
        bounds=(0.2, 0.8),
        excluded_by=("cycling",),
    ),
    "cycling": TumorProgram(genes=_CYCLE, without=(), fold=3.0, bounds=(1.5, 50.0)),
    "ifn_gamma_response": TumorProgram(
        genes=("DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT",),
        without=(),
        fold=2.0,
        bounds=(1.5, 50.0),
        induced=True,
    ),
}
BASELINE = "baseline"


def tumor_states(
    adata: AnnData,
    *,
    programs: Mapping[str, TumorProgram] | None = None,
    by: str = schema.TUMOR,
    min_confidence: float = 0.7,
    min_cells: int = 20,
) -> None:
    """Call programs and a primary state of each tumor cell.

    Programs may coexist. Each is judged by the sum of its genes' counts against what the cell's
    depth predicts, within its line: a shallow cell is uncertain, not low.

    Reads ``layers["counts"]`` and ``obs[by]`` of the cells with ``obs["compartment"] == "tumor"``
    (and ``obs["qc_pass"]`` where present).

    Parameters
    ----------
    adata
        Cells × genes.
    programs
        Name to :class:`TumorProgram`, in the order of the primary label; default
        ``low_myc_dormant_like``, ``cycling``, ``ifn_gamma_response``.
    by
        Column of ``obs`` whose levels have usual levels of their own (lines).
    min_confidence
        A program is on at this posterior probability and off at one minus it; a cell between the
        two for a program that would decide its label is ``unassigned``.
    min_cells
        Lines with fewer tumor cells are ``unassigned``.

    Returns
    -------
    None
        Writes ``obsm["tumor_programs"]`` (float64 DataFrame, cells × programs: posterior
        probability, NaN outside the tumor compartment), ``obs["tumor_state"]`` (categorical: the
        programs, ``baseline``, ``unassigned``; missing outside), ``obs["tumor_state_confidence"]``
        (float64) and ``uns["nkscore"]["tl.tumor_states"]`` with the fitted levels.

    Raises
    ------
    MissingKeyError
        If compartments were not called.
    DesignError
        If no line has ``min_cells`` tumor cells.
    GeneCoverageError
        If fewer than half of a program's genes are in the data.

    Notes
    -----
    ``low_myc_dormant_like`` looks for lowered MYC targets without cell-cycle genes, in cells that
    do not cycle; after Dhimolea et al. 2021 (doi 10.1016/j.ccell.2020.12.002) and Rehman et al.
    2021 (doi 10.1016/j.cell.2020.11.018). No list of persister genes of blood cancers could be
    had. Where one level explains a program as well as two, no cell has it.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.tumor_states(adata)
    >>> list(adata.obsm["tumor_programs"].columns)
    ['low_myc_dormant_like', 'cycling', 'ifn_gamma_response']
    """
    schema.check_input(adata)
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    schema.require(adata, "obs", [by], "pp.demultiplex")
    programs = dict(PROGRAMS if programs is None else programs)
    cells, line = _tumor_cells(adata, by, min_cells=min_cells)
    rows = adata.layers[schema.COUNTS][cells]
    depth = np.asarray(rows.sum(axis=1), dtype=float).ravel()
    usual = _monoculture(adata, cells)
    posterior, folds = {}, {}
    for name, program in programs.items():
        genes = _positions(adata, name, program)
        summed = np.asarray(rows[:, genes].sum(axis=1), dtype=float).ravel()
        # Depth without the program's own genes, which would dilute a change of large programs.
        expected = np.maximum(depth - summed, 1.0)
        posterior[name], folds[name] = two_level_posterior(
            summed, expected, line,
            fold=program.fold, bounds=program.bounds, usual=usual, induced=program.induced,
        )  # fmt: skip
    table = pd.DataFrame(posterior)
    for name, program in programs.items():
        for other in program.excluded_by:
            table[name] *= 1 - table[other]
    _write(adata, table, cells, min_confidence=min_confidence)
    schema.record(
        adata,
        "tl.tumor_states",
        function="tl.tumor_states",
        options={"programs": list(programs), "by": by, "min_confidence": min_confidence},
        fold={name: float(fold) for name, fold in folds.items()},
    )


def _tumor_cells(adata: AnnData, by: str, *, min_cells: int) -> tuple[Any, Any]:
    inside = (adata.obs[schema.COMPARTMENT] == schema.TUMOR_CELLS).to_numpy()
    inside = inside & adata.obs[by].notna().to_numpy()
    if schema.QC_PASS in adata.obs:
        inside = inside & adata.obs[schema.QC_PASS].to_numpy(dtype=bool)
    lines = adata.obs[by].astype(str).to_numpy()
    sizes = pd.Series(lines[inside]).value_counts()
    large = sizes.index[sizes >= min_cells]
    small = sorted(set(sizes.index) - set(large))
    if small:
        _LOG.warning("Fewer than %d tumor cells, unassigned: %s", min_cells, ", ".join(small))
    cells = np.flatnonzero(inside & np.isin(lines, list(large)))
    if cells.size == 0:
        msg = (
            f"No {by} has {min_cells} tumor cells that passed QC. Check obs['compartment'] and "
            f"obs[{by!r}], or lower min_cells."
        )
        raise DesignError(msg)
    _, code = np.unique(lines[cells], return_inverse=True)
    return cells, code.astype(np.int64)


def _monoculture(adata: AnnData, cells: Any) -> Any:
    """Return which cells grew alone; none where conditions are unknown."""
    if schema.CONDITION not in adata.obs:
        return np.zeros(cells.size, dtype=bool)
    return (adata.obs[schema.CONDITION] == schema.TUMOR_MONO).to_numpy(dtype=bool)[cells]


def _positions(adata: AnnData, name: str, program: TumorProgram) -> Any:
    left_out = {gene for other in program.without for gene in signatures.get(other).genes}
    genes = [gene for source in program.genes for gene in signatures.get(source).up]
    kept = [gene for gene in dict.fromkeys(genes) if gene not in left_out]
    return signatures.match(adata.var_names, {name: kept}).up[name]


def _write(adata: AnnData, table: pd.DataFrame, cells: Any, *, min_confidence: float) -> None:
    probability = table.to_numpy()
    label = np.full(len(table), BASELINE, dtype=object)
    confidence = 1 - probability.max(axis=1)
    for j in range(table.shape[1])[::-1]:
        p = probability[:, j]
        on, open_ = p >= min_confidence, (p > 1 - min_confidence) & (p < min_confidence)
        label[on] = table.columns[j]
        label[open_] = schema.UNASSIGNED
        confidence = np.where(on, p, np.where(open_, np.maximum(p, 1 - p), confidence))
    full = np.full((adata.n_obs, table.shape[1]), np.nan)
    full[cells] = probability
    adata.obsm["tumor_programs"] = pd.DataFrame(
        full, index=adata.obs_names, columns=list(table.columns)
    )
    call = np.full(adata.n_obs, None, dtype=object)
    call[(adata.obs[schema.COMPARTMENT] == schema.TUMOR_CELLS).to_numpy()] = schema.UNASSIGNED
    call[cells] = label
    certain = np.full(adata.n_obs, np.nan)
    certain[cells] = confidence
    levels = [*table.columns, BASELINE, schema.UNASSIGNED]
    adata.obs[schema.TUMOR_STATE] = schema.categorical(call, levels)
    adata.obs[schema.TUMOR_STATE_CONFIDENCE] = certain
    counted = adata.obs[schema.TUMOR_STATE].value_counts()
    _LOG.info("Tumor states: %s", ", ".join(f"{n} {name}" for name, n in counted.items()))
