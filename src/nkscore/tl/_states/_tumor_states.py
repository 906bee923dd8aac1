"""Programs and state of each tumor cell."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema, stats
from nkscore._checks import no_longer
from nkscore._samples._matrices import counts_of
from nkscore.signatures._programs import packaged_programs
from nkscore.stats import two_level_posterior
from nkscore.tl._states._tumor_axes import write_axes
from nkscore.tl._states._tumor_programs import (
    DORMANT,
    choose_programs,
    count_programs,
    leave_out_ambient,
    match_programs,
    other_programs,
    tumor_cells,
)
from nkscore.tl._states._write import BY_MAPPING, forget_mapping, write_states, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

    from nkscore._types import Bools, Floats
    from nkscore.signatures import TumorProgram
    from nkscore.stats import ProgramCounts, TwoLevels
    from nkscore.tl._states._tumor_programs import ProgramGenes, TumorCells, TumorCounts

_LOG = logging.getLogger("nkscore")
#: The packaged programs.
PROGRAMS: dict[str, TumorProgram] = packaged_programs()
BASELINE = "baseline"
_EVEN = 0.5


@no_longer(**BY_MAPPING)
def tumor_states(
    adata: AnnData,
    *,
    programs: Mapping[str, TumorProgram | str] | Iterable[str] | str | None = None,
    order: Iterable[str] | None = None,
    by: str = schema.TUMOR,
    batch: str | None = schema.LANE,
    min_confidence: float = 0.8,
    min_cells: int = 20,
) -> None:
    """Call programs and a primary state of each tumor cell.

    Several programs can be on in one cell. Each is called from the sum of its genes' counts,
    compared with the expectation for the cell's depth in its line: a shallow cell is uncertain, not
    low.

    Reads ``layers["counts"]``, ``obs[by]``, and if present ``obs["condition"]`` and ``obs[batch]``
    of the cells with ``obs["compartment"] == "tumor"`` (and ``obs["qc_pass"]`` if present), and the
    results of :func:`nkscore.pp.ambient`, if it was run.

    Parameters
    ----------
    adata
        Cells × genes.
    programs
        Names of packaged programs or of their groups (:func:`nkscore.signatures.tumor_programs`:
        ``core``, ``response``, ``stress``, ``ligands``, ``aml``, ``mm``), or a mapping from name to
        :class:`TumorProgram`. Default: ``core``, ``response`` and ``stress``; of these, programs
        with too few genes in the data are skipped, with a log line.
    order
        Programs that decide the primary label; the first that is on wins. Default
        ``low_myc_dormant_like``, ``cycling``, ``ifn_gamma_response``; for custom programs, all of
        them.
    by
        Column of ``obs`` whose levels (lines) have separate baseline levels.
    batch
        Column of ``obs`` with batches, whose baseline levels can differ slightly; ``None`` or an
        absent column: one batch.
    min_confidence
        A program is on at this posterior probability and off at one minus it; a cell between the
        two for a program that would decide its label is ``unassigned``.
    min_cells
        Lines with fewer tumor cells are ``unassigned``.

    Returns
    -------
    None
        Writes ``obsm["tumor_programs"]`` (float64 DataFrame, cells × programs: posterior
        probability, NaN outside the tumor compartment), ``obsm["tumor_program_scores"]`` (same
        shape: observed minus expected count in standard deviations, positive toward the program),
        ``obs["tumor_state"]`` (categorical: the programs of ``order``, ``baseline``,
        ``unassigned``; missing outside), ``obs["tumor_state_confidence"]`` (float64),
        ``uns["tumor_state_colors"]`` and ``uns["nkscore"]["tl.tumor_states"]`` with the fitted
        ``levels``, the ``genes`` of each program, their ``rates`` per 10,000 reference counts, and
        the parts of the ``axes``. With ``low_myc_dormant_like`` also ``obsm["tumor_axes"]``,
        ``obsm["tumor_axes_low"]`` and ``obsm["tumor_axes_high"]`` (float64 DataFrames, cells × 7
        axes of :func:`nkscore.signatures.tumor_axes`: relative change against the line's
        monoculture, and the ends of its 95 % interval; NaN for axes whose genes the data lack), and
        ``obsm["dormancy"]`` (float64 DataFrame: ``myc``, ``biosynthesis``, ``diapause``, ``g0``,
        ``senescence``, ``apoptosis``, and the ``index`` made of them; only if all their genes are
        in the data). Adds cells without a state to ``uns["nkscore"]["ledger"]``.

    Raises
    ------
    MissingKeyError
        If compartments were not called, or a program or one of its sets is unknown.
    DesignError
        If no line has ``min_cells`` tumor cells.
    GeneCoverageError
        If fewer than half of a program's genes are in the data.

    Notes
    -----
    Negative binomial counts with two levels per program (:func:`nkscore.stats.two_level_posterior`)
    with the depth in genes outside all programs as offset. A probability is open (0.2 to 0.8), not
    low, if the data could not have shown the program: in shallow cells and, for programs that
    contact with NK cells induces, in lines without a monoculture. After ``pp.ambient`` such
    programs lose the genes that ambient NK RNA dominates, until at most a tenth of their counts is
    ambient. ``low_myc_dormant_like`` are cells with lowered MYC targets that neither cycle nor are
    senescent or dying; after Dhimolea et al. 2021 (doi 10.1016/j.ccell.2020.12.002) and Rehman et
    al. 2021 (doi 10.1016/j.cell.2020.11.018). No list of persister genes of blood cancers was
    available. ``docs/dormancy.md`` has the formulas.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.tumor_states(adata, programs=["low_myc_dormant_like", "cycling"])
    >>> list(adata.obs["tumor_state"].cat.categories)
    ['low_myc_dormant_like', 'cycling', 'baseline', 'unassigned']
    """
    matrix = counts_of(adata)
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    schema.require(adata, "obs", [by], "pp.demultiplex")
    chosen, primary = choose_programs(programs, order)
    cells = tumor_cells(adata, by, batch, min_cells=min_cells)
    needed = {primary[0]} if programs is None and order is None else set(chosen)
    genes = match_programs(adata.var_names, chosen, needed=needed)
    called = {**other_programs(chosen), **chosen}
    genes = leave_out_ambient(adata, matrix, cells, genes, called)
    counts = count_programs(adata, matrix, cells, genes)
    fits = _fits(counts, called)
    shown = {name: program for name, program in chosen.items() if name in fits}
    primary = [name for name in primary if name in shown]
    _log_not_judged(fits, primary)
    table = pd.DataFrame({name: fits[name].posterior for name in shown})
    write_table(adata, schema.TUMOR_PROGRAMS, table, cells.rows, shown)
    _write_states(adata, _label_table(fits, shown, primary), cells, min_confidence=min_confidence)
    scores = {name: _score(fits[name], counts.of(name), p) for name, p in shown.items()}
    write_table(adata, schema.TUMOR_PROGRAM_SCORES, pd.DataFrame(scores), cells.rows, scores)
    made_from: dict[str, pd.DataFrame] = {}
    if DORMANT in shown:
        made_from["axes"] = write_axes(adata, counts)
        if genes.has_components:
            dormancy = _dormancy(counts, fits)
            write_table(adata, schema.DORMANCY, dormancy, cells.rows, dormancy.columns)
    options = {
        "programs": list(shown),
        "order": primary,
        "by": by,
        "batch": batch,
        "min_confidence": min_confidence,
        "min_cells": min_cells,
    }
    forget_mapping(adata, schema.TUMOR_CELLS)
    schema.record(
        adata,
        "tl.tumor_states",
        function="tl.tumor_states",
        options=options,
        fold={name: float(fits[name].fold) for name in shown},
        levels=_level_table(fits, cells, list(shown)),
        genes=_gene_table(adata, genes, shown),
        rates=_rate_table(adata, counts, cells, shown),
        **made_from,
    )


def _fits(counts: TumorCounts, programs: Mapping[str, TumorProgram]) -> dict[str, TwoLevels]:
    """Fit each program with enough genes; programs that others are compared within come first."""
    fits: dict[str, TwoLevels] = {}
    for name, program in sorted(programs.items(), key=lambda item: bool(item[1].within)):
        if name in counts.genes.columns:
            kind = _called_on(fits, program.within)
            fits[name] = two_level_posterior(
                counts.of(name, kind),
                fold=program.fold,
                bounds=program.bounds,
                induced=program.induced,
                rare=program.rare,
            )
    return fits


def _called_on(fits: Mapping[str, TwoLevels], name: str) -> Bools | None:
    """Return the cells that have a program, or ``None`` if it was not found."""
    found = name in fits and fits[name].supported
    return fits[name].posterior > _EVEN if found else None


def _label_table(
    fits: Mapping[str, TwoLevels], shown: Mapping[str, TumorProgram], labels: list[str]
) -> pd.DataFrame:
    """Probability of each label: of its program, and of none that excludes it."""
    table = {}
    for name in labels:
        table[name] = fits[name].posterior
        for other in shown[name].excluded_by:
            # A program that was not found excludes nothing.
            if other in fits and fits[other].supported:
                table[name] = table[name] * (1 - fits[other].posterior)
    return pd.DataFrame(table)


def _log_not_judged(fits: Mapping[str, TwoLevels], labels: list[str]) -> None:
    for name in labels:
        left = int((~fits[name].comparable).sum())
        if left:
            _LOG.warning(
                "%s: %d cells are of lines without reference cells of condition %r, so "
                "it stays open and they are unassigned unless an earlier program is on. "
                "Remove it from order to label them by the other programs.",
                name,
                left,
                schema.TUMOR_MONO,
            )


def _score(fit: TwoLevels, data: ProgramCounts, program: TumorProgram) -> Floats:
    """Observed minus expected count in standard deviations, positive toward the program."""
    variance = fit.mean + (fit.dispersion[data.line] + data.noise) * fit.mean**2
    score: Floats = np.sign(np.log(program.fold)) * (data.x - fit.mean) / np.sqrt(variance)
    return score


def _dormancy(counts: TumorCounts, fits: Mapping[str, TwoLevels]) -> pd.DataFrame:
    line, baseline = counts.line, counts.baseline
    change = {
        key: stats.relative_change(p.x, p.expected, line, baseline) for key, p in counts.parts()
    }
    parts = {name: change[name] for name in ("myc", "biosynthesis")}
    for name in ("diapause", "g0"):
        signed = [(change[f"{name}_up"], 1), (change[f"{name}_down"], -1)]
        parts[name] = stats.signed_mean(signed, line, baseline)
    parts |= {name: change[name] for name in ("senescence", "apoptosis")}
    index = stats.dormancy_index(parts, line, baseline)
    for other in ("senescence_like", "apoptosis"):
        if other in fits and fits[other].supported:
            index = index * (1 - fits[other].posterior)
    return pd.DataFrame({**parts, "index": index})


def _write_states(
    adata: AnnData, table: pd.DataFrame, cells: TumorCells, *, min_confidence: float
) -> None:
    labels, probability = list(table.columns), table.to_numpy()
    call = np.full(len(table), len(labels))
    confidence = 1 - probability.max(axis=1)
    for j in reversed(range(len(labels))):
        p = probability[:, j]
        on, open_ = p >= min_confidence, (p > 1 - min_confidence) & (p < min_confidence)
        call[on] = j
        call[open_] = len(labels) + 1
        confidence = np.where(on, p, np.where(open_, np.maximum(p, 1 - p), confidence))
    write_states(
        adata,
        schema.TUMOR_CELLS,
        cells.rows,
        [*labels, BASELINE],
        call=call,
        confidence=confidence,
        everywhere=True,
    )


def _level_table(
    fits: Mapping[str, TwoLevels], cells: TumorCells, shown: list[str]
) -> pd.DataFrame:
    rows = [
        {
            "program": name,
            "line": line,
            "fold": fits[name].fold,
            "baseline_level": float(fits[name].level[code]),
            "dispersion": float(fits[name].dispersion[code]),
            "supported": bool(fits[name].supported),
            "comparable": bool(fits[name].comparable[cells.line == code].all()),
            "mean_probability": float(fits[name].posterior[cells.line == code].mean()),
        }
        for name in shown
        for code, line in enumerate(cells.names)
    ]
    return pd.DataFrame(rows)


def _gene_table(adata: AnnData, genes: ProgramGenes, shown: Iterable[str]) -> pd.DataFrame:
    symbols = adata.var_names.astype(str)
    parts = [
        pd.DataFrame({"program": name, "gene": symbols[genes.columns[name]]}) for name in shown
    ]
    return pd.concat(parts, ignore_index=True)


def _rate_table(
    adata: AnnData, counts: TumorCounts, cells: TumorCells, shown: Iterable[str]
) -> pd.DataFrame:
    """Genes × lines: counts per 10,000 reference counts."""
    used = np.unique(np.concatenate([counts.genes.columns[name] for name in shown]))
    # h5ad does not allow slashes in column names.
    columns = [name.replace("/", "|") for name in cells.names]
    index = adata.var_names[used].astype(str)
    return pd.DataFrame(1e4 * counts.levels.rate[:, used].T, index=index, columns=columns)
