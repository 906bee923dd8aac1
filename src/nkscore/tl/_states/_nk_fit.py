"""From counts of NK cells and a vocabulary to the fitted states, shared by the functions of tl."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore._samples._cells import exposure_genes
from nkscore.errors import GeneCoverageError
from nkscore.stats import (
    MarkerCells,
    MarkerModel,
    fit_informed,
    fit_present_states,
    marker_posterior,
    with_doubt,
)
from nkscore.tl._states._nk_other_genes import OtherGenes, other_genes, samples_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Ints, Labels
    from nkscore.signatures._vocabularies import VocabularyLike

_LEAST_MARKERS = 2
NO_DONOR = ""
#: Natural-log folds below this carry no information.
_LEAST_FOLD = 1e-3
_LOG = logging.getLogger("nkscore")


@dataclass(frozen=True)
class Markers:
    """Markers of the states, and of what excludes them (``controls``), among the genes."""

    states: list[str]
    controls: list[str]
    genes: Ints
    marks: Floats
    coverage: pd.DataFrame


@dataclass(frozen=True)
class StateFit:
    """Fit of the NK cells; ``posterior`` has a last column for no state."""

    markers: Markers
    model: MarkerModel
    donors: list[str]
    posterior: Floats
    others: OtherGenes | None = None


def find_markers(adata: AnnData, vocabulary: VocabularyLike) -> Markers:
    """Find the markers of a vocabulary among the genes of the data."""
    states = signatures.vocabulary(vocabulary)
    wanted = {name: state.marks for name, state in states.items()}
    controls = _controls(states)
    match = signatures.match(adata.var_names, wanted | controls)
    names = [*wanted, *controls]
    few = [n for n in names if len(match.up[n]) + len(match.down[n]) < _LEAST_MARKERS]
    if few:
        msg = (
            f"{', '.join(few)}: fewer than {_LEAST_MARKERS} markers are in the data. A "
            "state is called from coexpressed markers: give it more of them."
        )
        raise GeneCoverageError(msg)
    genes = np.unique(np.concatenate([np.r_[match.up[n], match.down[n]] for n in names]))
    # Sums over genes must not depend on the order of the columns.
    genes = genes[np.argsort(adata.var_names[genes].astype(str).to_numpy(), kind="stable")]
    marks = np.zeros((len(names), genes.size))
    for row, name in enumerate(names):
        weights = states[name].weights if name in states else {}
        by_column = _weights(adata, weights)
        for columns, sign in ((match.up[name], 1.0), (match.down[name], -1.0)):
            inside = np.isin(genes, columns)
            marks[row, inside] = [sign * by_column.get(g, 1.0) for g in genes[inside]]
    return Markers(list(wanted), list(controls), genes, marks, match.coverage)


def _controls(states: Mapping[str, signatures.State]) -> dict[str, signatures.Signature]:
    """Return the sets whose cells are in no state."""
    controls = {name: s for state in states.values() for name, s in state.excludes.items()}
    clash = [name for name in controls if name in states]
    if clash:
        msg = (
            f"{', '.join(clash)} is both a state and the exclusion of one. States exclude "
            "each other anyway: rename the exclusion, or remove it."
        )
        raise ValueError(msg)
    return controls


def _weights(adata: AnnData, weights: Mapping[str, float]) -> dict[int, float]:
    found = adata.var_names.get_indexer(list(weights))
    return {int(c): w for c, w in zip(found, weights.values(), strict=True) if c >= 0}


def exposure(adata: AnnData, counts: Counts, cells: Ints) -> Floats:
    """Return the total count of each of the cells without mitochondrial and ribosomal genes."""
    return np.maximum(counts.totals(exposure_genes(adata), cells), 1.0)


def fit_states(
    adata: AnnData,
    counts: Counts,
    cells: Ints,
    markers: Markers,
    *,
    donor: str | None,
    others: bool = True,
) -> StateFit:
    """Fit the states of the vocabulary to NK cells, with other genes that follow them."""
    depth = exposure(adata, counts, cells)
    levels, codes = donor_codes(adata, cells, donor)
    sorted_cells = MarkerCells.of(counts.columns(markers.genes, cells), depth, codes)
    model = fit_present_states(sorted_cells, markers.marks)
    posterior = marker_posterior(model, sorted_cells)
    found = None
    if others and model.present.any():
        present = np.append(model.present, True)
        candidates = np.setdiff1d(np.flatnonzero(exposure_genes(adata)), markers.genes)
        found = other_genes(
            counts,
            cells,
            candidates,
            posterior=posterior[:, present],
            depth=depth,
            donor=codes,
            sample=samples_of(adata, cells, codes),
        )
    if found is not None:
        # No genes are known to follow a state that was not found: treat it like no state.
        evidence = np.repeat(found.evidence[:, -1:], present.size, axis=1)
        evidence[:, present] = found.evidence
        sorted_cells = sorted_cells.informed(evidence)
        model = fit_informed(model, sorted_cells)
    doubted = marker_posterior(with_doubt(model), sorted_cells)
    return StateFit(markers, model, levels, doubted, found)


def donor_codes(adata: AnnData, cells: Ints, donor: str | None) -> tuple[list[str], Ints]:
    """Return the names of donors and the number of each cell's donor."""
    if donor is None or (donor == schema.NK_DONOR and donor not in adata.obs):
        return [NO_DONOR], np.zeros(len(cells), dtype=np.int64)
    schema.require(adata, "obs", [donor], "io.read_coculture")
    column = adata.obs[donor].iloc[cells]
    names = np.where(column.isna(), NO_DONOR, column.astype(str).to_numpy(dtype=object))
    levels, codes = np.unique(names.astype(str), return_inverse=True)
    return list(map(str, levels)), codes.astype(np.int64)


def explain_table(adata: AnnData, fit: StateFit) -> pd.DataFrame:
    """Return the fit for ``tl.explain_state``: one row per state, gene and donor."""
    genes = adata.var_names[fit.markers.genes].astype(str).to_numpy(dtype=object)
    model = fit.model
    present = np.flatnonzero(model.present)
    parts = [
        _explain_rows(
            fit,
            genes,
            log_fold=model.log_fold[present],
            rate=model.base * model.offset,
            dispersion=model.dispersion,
            weight=1.0,
        )
    ]
    if fit.others is not None:
        others = fit.others
        genes = adata.var_names[others.genes].astype(str).to_numpy(dtype=object)
        parts.append(
            _explain_rows(
                fit,
                genes,
                log_fold=others.log_fold[:-1],
                rate=others.rate,
                dispersion=others.dispersion,
                weight=others.weight,
            )
        )
    return pd.concat(parts, ignore_index=True)


def _explain_rows(
    fit: StateFit,
    genes: Labels,
    *,
    log_fold: Floats,
    rate: Floats,
    dispersion: Floats,
    weight: float,
) -> pd.DataFrame:
    used = np.abs(log_fold) > _LEAST_FOLD
    shape = (*used.shape, len(fit.donors))
    state, gene, donor = np.nonzero(np.broadcast_to(used[:, :, None], shape))
    return pd.DataFrame(
        {
            "state": _present_states(fit)[state],
            "gene": genes[gene],
            "group": np.array(fit.donors, dtype=object)[donor],
            "rate": rate[donor, gene],
            "log_fold": log_fold[state, gene],
            "dispersion": dispersion[gene],
            "weight": weight,
        }
    )


def other_genes_table(adata: AnnData, fit: StateFit) -> pd.DataFrame:
    """Return one row per state and gene beyond the markers: its fold over cells of no state."""
    if fit.others is None:
        return pd.DataFrame({"state": np.array([], dtype=object), "gene": [], "fold": []})
    state, gene = np.nonzero(np.abs(fit.others.log_fold[:-1]) > _LEAST_FOLD)
    return pd.DataFrame(
        {
            "state": _present_states(fit)[state],
            "gene": adata.var_names[fit.others.genes[gene]].astype(str).to_numpy(dtype=object),
            "fold": np.exp(fit.others.log_fold[state, gene]),
        }
    )


def _present_states(fit: StateFit) -> Labels:
    names = np.array([*fit.markers.states, *fit.markers.controls], dtype=object)
    return names[fit.model.present]


def evidence_table(fit: StateFit) -> pd.DataFrame:
    """Return for each state whether it is present, and its evidence."""
    model = fit.model
    return pd.DataFrame(
        {
            "state": np.array([*fit.markers.states, *fit.markers.controls], dtype=object),
            "n_markers": (model.marks != 0).sum(axis=1),
            "evidence": model.evidence,
            "present": model.present,
            "share": np.where(model.present, fit.posterior[:, :-1].mean(axis=0), 0.0),
        }
    )


def marker_table(adata: AnnData, fit: StateFit) -> pd.DataFrame:
    """Return markers with their fit: direction, fold, agreement with the others."""
    state, gene = np.nonzero(fit.model.marks)
    names = np.array([*fit.markers.states, *fit.markers.controls], dtype=object)
    present = fit.model.present[state]
    return pd.DataFrame(
        {
            "gene": adata.var_names[fit.markers.genes[gene]].astype(str).to_numpy(dtype=object),
            "state": names[state],
            "weight": fit.model.marks[state, gene],
            "fold": np.where(present, np.exp(fit.model.log_fold[state, gene]), 1.0),
            "fold_by_others": fit.model.agreement[state, gene],
        }
    )
