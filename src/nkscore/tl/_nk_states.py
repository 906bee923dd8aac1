"""State of each NK cell."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore.errors import DesignError
from nkscore.stats import fit_marker_mixture

if TYPE_CHECKING:
    from anndata import AnnData

_LOG = logging.getLogger("nkscore")
#: Panels of :func:`nkscore.signatures.panel` that are vocabularies of NK states.
VOCABULARIES = {"expanded": "nk_states_expanded"}


def nk_states(
    adata: AnnData,
    *,
    vocabulary: Any = "expanded",
    min_confidence: float = 0.5,
    min_cells: int = 20,
) -> None:
    """Call the state of each NK cell from the markers that are raised together in it.

    Reads ``layers["counts"]`` of the cells with ``obs["compartment"] == "nk"`` (and
    ``obs["qc_pass"]`` where present).

    Parameters
    ----------
    adata
        Cells × genes.
    vocabulary
        ``"expanded"`` (resting, adaptive, activated, type_i_ifn, cytokine; marker panels of
        Dufva, Gandolfi et al. 2023), or a mapping from state to signature or genes. Genes shared
        by states and genes that count against a set are not used.
    min_confidence
        Cells whose most probable state has a lower posterior probability are ``unassigned``, and
        so are cells in which no panel is raised.
    min_cells
        Fewest NK cells from which states can be learned.

    Returns
    -------
    None
        Writes ``obs["nk_state"]`` (categorical with all states and ``unassigned``; missing outside
        the NK compartment), ``obs["nk_state_confidence"]`` (float64, posterior probability of the
        call, or of no state for ``unassigned``), ``obsm["nk_state_posterior"]`` (float64
        DataFrame, cells × states, NaN outside) and ``uns["nkscore"]["tl.nk_states"]`` with markers,
        coverage and fitted folds.

    Raises
    ------
    MissingKeyError
        If compartments were not called.
    DesignError
        If fewer than ``min_cells`` NK cells passed QC.
    GeneCoverageError
        If fewer than half of the markers of a state are in the data.

    Notes
    -----
    A negative binomial mixture with the cell's total count as offset, so that a shallow cell gets
    a lower confidence rather than another state. The panels were read in the authors' code; doi
    10.1016/j.immuni.2023.11.008.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.nk_states(adata)
    >>> list(adata.obs["nk_state"].cat.categories)
    ['resting', 'adaptive', 'activated', 'type_i_ifn', 'cytokine', 'unassigned']
    """
    schema.check_input(adata)
    schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
    states = signatures.as_signatures(_vocabulary(vocabulary))
    match = signatures.match(adata.var_names, states)
    cells = _nk_cells(adata, min_cells=min_cells)
    members, genes = _exclusive_members(match, list(states))
    counts = adata.layers[schema.COUNTS]
    rows = counts[cells]
    depth = np.asarray(rows.sum(axis=1), dtype=float).ravel()
    markers = rows[:, genes]
    dense = np.asarray(markers.todense() if hasattr(markers, "todense") else markers, dtype=float)
    fit = fit_marker_mixture(dense, np.maximum(depth, 1), members)
    names = [*states, schema.UNASSIGNED]
    best = fit.posterior.argmax(axis=1)
    confidence = fit.posterior[np.arange(cells.size), best]
    best[confidence < min_confidence] = len(names) - 1
    call = np.full(adata.n_obs, None, dtype=object)
    call[cells] = np.array(names, dtype=object)[best]
    adata.obs[schema.NK_STATE] = schema.categorical(call, names)
    adata.obs[schema.NK_STATE_CONFIDENCE] = _spread(confidence, cells, adata.n_obs)
    posterior = _spread(fit.posterior[:, :-1], cells, adata.n_obs)
    adata.obsm["nk_state_posterior"] = pd.DataFrame(
        posterior, index=adata.obs_names, columns=list(states)
    )
    schema.record(
        adata,
        "tl.nk_states",
        function="tl.nk_states",
        options={"vocabulary": list(states), "min_confidence": min_confidence},
        coverage=match.coverage.reset_index(drop=True),
        markers=_marker_table(adata, genes, members, fit.fold, list(states)),
    )
    counted = adata.obs[schema.NK_STATE].value_counts()
    _LOG.info("NK states: %s", ", ".join(f"{n} {name}" for name, n in counted.items()))


def _vocabulary(vocabulary: Any) -> Any:
    if isinstance(vocabulary, str) and vocabulary in VOCABULARIES:
        return VOCABULARIES[vocabulary]
    return vocabulary


def _nk_cells(adata: AnnData, *, min_cells: int) -> Any:
    inside = (adata.obs[schema.COMPARTMENT] == schema.NK).to_numpy()
    if schema.QC_PASS in adata.obs:
        inside = inside & adata.obs[schema.QC_PASS].to_numpy(dtype=bool)
    cells = np.flatnonzero(inside)
    if cells.size < min_cells:
        msg = (
            f"{cells.size} NK cells passed QC; at least {min_cells} are needed to learn states. "
            "Check obs['compartment'], or lower min_cells."
        )
        raise DesignError(msg)
    return cells


def _exclusive_members(match: Any, states: list[str]) -> tuple[Any, Any]:
    """Marker genes × states, for genes that mark one state only."""
    genes = np.unique(np.concatenate([match.up[name] for name in states]))
    members = np.column_stack([np.isin(genes, match.up[name]) for name in states])
    alone = members.sum(axis=1) == 1
    return members[alone], genes[alone]


def _spread(values: Any, cells: Any, n_cells: int) -> Any:
    """Put values of some cells into an array of all cells, NaN elsewhere."""
    full = np.full((n_cells, *values.shape[1:]), np.nan)
    full[cells] = values
    return full


def _marker_table(
    adata: AnnData, genes: Any, members: Any, fold: Any, states: list[str]
) -> pd.DataFrame:
    owner = members.argmax(axis=1)
    return pd.DataFrame(
        {
            "gene": adata.var_names[genes].astype(str).to_numpy(dtype=object),
            "state": np.array(states, dtype=object)[owner],
            "fold": fold,
        }
    )
