"""State of each NK cell."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore import schema
from nkscore._checks import check_shares, no_longer
from nkscore._samples._cells import cells_of
from nkscore._samples._matrices import counts_of
from nkscore.tl._states._nk_advice import advise
from nkscore.tl._states._nk_fit import (
    StateFit,
    evidence_table,
    explain_table,
    find_markers,
    fit_states,
    marker_table,
    other_genes_table,
)
from nkscore.tl._states._nk_smoothing import by_cluster, smoothed
from nkscore.tl._states._write import BY_MAPPING, forget_mapping, write_states, write_table

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Bools, Floats, Ints
    from nkscore.signatures._vocabularies import VocabularyLike

_LOG = logging.getLogger("nkscore")
_STEP = "tl.nk_states"


@no_longer(**BY_MAPPING)
def nk_states(
    adata: AnnData,
    *,
    vocabulary: VocabularyLike = "expanded",
    level: str = "cell",
    smooth: float = 0.0,
    donor: str | None = schema.NK_DONOR,
    other_genes: bool = True,
    min_confidence: float = 0.55,
    max_error: float = 0.17,
    min_cells: int = 20,
) -> None:
    """Call the state of each NK cell from coexpressed markers.

    Reads ``layers["counts"]`` of the cells with ``obs["compartment"] == "nk"`` (and
    ``obs["qc_pass"]`` if present), ``obs[donor]`` and, if present, ``obs["sample"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    vocabulary
        Possible states: ``"expanded"`` (resting, adaptive, activated, type_i_ifn, cytokine),
        another of :func:`nkscore.signatures.vocabularies`, a mapping of states to genes, or the
        path of a file; see :func:`nkscore.signatures.vocabulary`.
    level
        ``"cell"``, or ``"cluster"``: all cells of a Leiden cluster get the state of their mean
        posterior.
    smooth
        Weight of a cell's neighbors in its posterior, 0 (off) to 1; neighbors are those of
        ``obsp["connectivities"]`` (:func:`nkscore.tl.embed`) within the NK compartment.
    donor
        Column of ``obs`` with the donor of the NK cells: baseline levels of markers can differ
        between donors. ``None``, or no column ``nk_donor``: one level for all.
    other_genes
        Whether to use further genes that follow a state in the data (within samples, if
        ``obs["sample"]`` is present). Their weight depends on how well they predict the markers in
        held-out cells, and can be zero.
    min_confidence
        Cells whose most probable state has a lower posterior probability are ``unassigned``.
    max_error
        Largest expected share of wrong calls, if all cells are certain: the least certain cells
        become ``unassigned`` until the mean of ``1 - confidence`` of the calls is within
        ``max_error`` times the squared mean confidence of all cells.
    min_cells
        Minimum number of NK cells for a fit.

    Returns
    -------
    None
        Writes ``obs["nk_state"]`` (categorical with all states and ``unassigned``; missing outside
        the NK compartment), ``obs["nk_state_confidence"]`` (float64, highest posterior probability,
        including that of no state), ``obs["nk_state_margin"]`` (float64, distance to the second
        highest), ``obsm["nk_state_posterior"]`` (float64 DataFrame, cells × states, NaN outside;
        states without enough evidence, which are not called, also have one),
        ``uns["nk_state_colors"]`` and ``uns["nkscore"]["tl.nk_states"]`` with markers, coverage,
        ``evidence`` for each state, ``other_genes`` with their folds, ``other_genes_weight`` (0 to
        1), and what :func:`explain_state` needs; adds cells without a state to
        ``uns["nkscore"]["ledger"]``.

    Raises
    ------
    MissingKeyError
        If compartments were not called, ``obs[donor]`` is missing, or a state names an unknown
        signature.
    DesignError
        If fewer than ``min_cells`` NK cells passed QC.
    GeneCoverageError
        If fewer than half, or fewer than two, of the markers of a state are in the data.
    ValueError
        If an option is not one of the above.

    Warns
    -----
    NkscoreWarning
        If no state of the vocabulary is found (with packaged vocabularies that find some), or the
        data are too shallow for it: fewer than half of the cells are called, and a quarter is
        undecided or an uncalled state is more probable than not.

    Notes
    -----
    A negative binomial mixture with the cell's total count (without mitochondrial and ribosomal
    genes) as offset and a baseline level of each marker in each donor, so a shallow cell gets a
    lower confidence rather than another state. A state is called only if the data support it: each
    of its markers must be raised, within donors, in the cells indicated by the other markers,
    tested in the half of the cells in which the state was not fitted. A state that fails is not
    called, but keeps a share that depends on its evidence, so confidence is low if cells are too
    few or too shallow for a decision. The model follows the idea of CellAssign (Zhang et al. 2019,
    doi 10.1038/s41592-019-0529-1); the test, the levels of activity within a state and the other
    genes are nkscore's. The panels come from the code of Dufva, Gandolfi et al., doi
    10.1016/j.immuni.2023.11.008, and other authors.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> list(adata.obs["nk_state"].cat.categories)
    ['resting', 'adaptive', 'activated', 'type_i_ifn', 'cytokine', 'unassigned']
    """
    from threadpoolctl import threadpool_limits

    _check_options(level, smooth, min_confidence, max_error)
    counts = counts_of(adata)
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    markers = find_markers(adata, vocabulary)
    cells = cells_of(adata, schema.NK, min_cells=min_cells, purpose="to fit states")
    # For thousands of small products, threads would wait for each other longer than they compute.
    with threadpool_limits(limits=1, user_api="blas"):
        fit = fit_states(adata, counts, cells, markers, donor=donor, others=other_genes)
    posterior = fit.posterior
    if smooth:
        posterior = smoothed(adata, cells, posterior, weight=smooth)
    if level == "cluster":
        posterior = by_cluster(counts, cells, posterior)
    # A control is not a state: its cells are in none of the states that it excludes.
    n_states = len(markers.states)
    posterior = np.column_stack([posterior[:, :n_states], posterior[:, n_states:].sum(axis=1)])
    limits = {"min_confidence": min_confidence, "max_error": max_error}
    best, confidence, margin = decide(posterior, fit.model.present[:n_states], **limits)
    said: dict[str, Any] = {"call": best, "confidence": confidence, "margin": margin}
    write_states(adata, schema.NK, cells, markers.states, **said)
    write_table(adata, schema.NK_STATE_POSTERIOR, posterior[:, :-1], cells, markers.states)
    named = vocabulary if isinstance(vocabulary, str) else markers.states
    options = {
        "vocabulary": named,
        "states": markers.states,
        "level": level,
        "smooth": smooth,
        "donor": donor,
        "other_genes": other_genes,
        **limits,
    }
    forget_mapping(adata, schema.NK)
    _record(adata, fit, options, donor=donor)
    advise(
        adata,
        counts,
        cells,
        fit,
        vocabulary=vocabulary,
        donor=donor,
        # Mean posteriors of clusters do not show how deep the cells are.
        called=float((best < n_states).mean()) if level == "cell" else 1.0,
        no_state=float((posterior[:, -1] >= min_confidence).mean()),
    )


def _check_options(level: str, smooth: float, min_confidence: float, max_error: float) -> None:
    if level not in ("cell", "cluster"):
        msg = f"level is {level!r}; 'cell' or 'cluster' is needed."
        raise ValueError(msg)
    check_shares(smooth=smooth, min_confidence=min_confidence, max_error=max_error)


def _record(adata: AnnData, fit: StateFit, options: dict[str, Any], *, donor: str | None) -> None:
    evidence = evidence_table(fit)
    absent = evidence.loc[~evidence["present"], "state"].tolist()
    if absent:
        _LOG.info("No evidence of these NK states: %s", ", ".join(absent))
    grouped = donor is not None and donor in adata.obs
    schema.record(
        adata,
        _STEP,
        function=_STEP,
        options=options,
        coverage=fit.markers.coverage.reset_index(drop=True),
        markers=marker_table(adata, fit),
        evidence=evidence,
        explain=explain_table(adata, fit),
        explain_group=donor if grouped else None,
        other_genes=other_genes_table(adata, fit),
        other_genes_weight=0.0 if fit.others is None else fit.others.weight,
        exposure="no_mt_rp",
    )


def decide(
    posterior: Floats, present: Bools, *, min_confidence: float, max_error: float
) -> tuple[Ints, Floats, Floats]:
    """Return the call of each cell (last column: none), its confidence and its margin.

    States that are not ``present`` are not called, however probable they are in a cell. Calls are
    accepted in order of confidence as long as the mean of their error probabilities stays within
    ``max_error`` times the squared mean confidence of all cells. It is squared because cells with
    little information also make the folds, and thus the confidence, uncertain.
    """
    last = posterior.shape[1] - 1
    best = posterior.argmax(axis=1)
    ranked = np.sort(posterior, axis=1)
    confidence, margin = ranked[:, -1], ranked[:, -1] - ranked[:, -2]
    is_present = np.append(present, False)[best]
    candidate = np.flatnonzero(is_present & (confidence >= min_confidence))
    errors = np.sort(1 - confidence[candidate])
    mean_error = np.cumsum(errors) / np.arange(1, errors.size + 1)
    within = np.flatnonzero(mean_error <= max_error * confidence.mean() ** 2)
    limit = errors[within[-1]] if within.size else -1.0
    called = np.zeros(best.size, dtype=bool)
    called[candidate[(1 - confidence[candidate]) <= limit]] = True
    return np.where(called, best, last), confidence, margin
