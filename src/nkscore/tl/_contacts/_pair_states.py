"""State of the NK cell and of the tumor cell of each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_shares, seed_of
from nkscore._samples._cells import spread
from nkscore._storable import stored_names
from nkscore.tl._contacts._pair_fit import fit_pairs

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore.tl._contacts._pair_fit import SideFit

_STEP = "tl.pair_states"
_NK_SLOTS: Final = (schema.PAIR_NK_STATE, schema.PAIR_NK_CONFIDENCE, schema.PAIR_NK_POSTERIOR)
_TUMOR_SLOTS: Final = (
    schema.PAIR_TUMOR_STATE,
    schema.PAIR_TUMOR_CONFIDENCE,
    schema.PAIR_TUMOR_POSTERIOR,
)


def pair_states(
    adata: AnnData,
    *,
    min_confidence: float = 0.6,
    rng: int | np.random.Generator | None = 0,
) -> None:
    """Call the state of both cells of each NK–tumor pair of hashed lanes.

    The counts of a droplet are compared with the sum of the profiles of every NK state and of its
    line, and of every tumor state and of its NK donor, at the droplet's shares of NK and tumor RNA.

    Reads ``obs["pair"]``, ``obs["compartment"]``, ``obs["hashtag"]``, ``obs["hashtag_class"]``,
    ``obs["lane"]``, ``obs["nk_donor"]`` and the other columns of the samples, the states of the
    single cells (``obsm["nk_state_posterior"]``, ``obsm["tumor_programs"]``),
    ``obsm["hashtags"]``, ``layers["counts"]``, and what ``pp.demultiplex``, ``pp.compartments``,
    ``tl.nk_states`` and ``tl.tumor_states`` recorded. Run it before ``pp.keep``, or on the result
    of ``pp.keep(pairs=True)``.

    Parameters
    ----------
    adata
        Cells × genes.
    min_confidence
        A cell whose most probable state has a lower posterior is ``unassigned``.
    rng
        Seed or generator, for in-silico pairs.

    Returns
    -------
    None
        Writes ``obs["pair_nk_state"]`` and ``obs["pair_tumor_state"]`` (categorical with the states
        of the single cells and ``unassigned``; missing for droplets that are no pair, or whose
        wells are unknown), ``obs["pair_nk_state_confidence"]`` and
        ``obs["pair_tumor_state_confidence"]`` (float64, highest posterior),
        ``obsm["pair_nk_posterior"]`` and ``obsm["pair_tumor_posterior"]`` (float64 DataFrames,
        droplets × states), and ``uns["nkscore"]["tl.pair_states"]`` with the power of the
        likelihood that in-silico pairs chose.

    Raises
    ------
    MissingKeyError
        If an earlier step was not run.
    DesignError
        If no lane has pairs whose wells are known.
    ValueError
        If ``min_confidence`` is not from 0 to 1.

    Notes
    -----
    Negative binomial counts. NK states have the genes, folds and donor levels of ``tl.nk_states``;
    tumor states the rates of the single cells of their line that are called with a probability of
    at least 0.8, on the 200 genes that separate states best and that NK cells do not dominate.
    Genes are not independent, so the likelihood is raised to the power (at most 1) at which sums of
    two single cells get the best log score. The prior is the composition of the single cells of the
    well, shifted by how much more frequent a state is in all own pairs, or in all pairs with two
    tags. Fractions over pairs are less biased than counts of calls: see
    :func:`contact_preferences`.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Contacts(rate=0.1)
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562", "697"], n_donors=2, n_cells_per_sample=300, contacts=planted, rng=0
    ... )
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> nk.pp.compartments(adata)
    >>> nk.tl.nk_states(adata)
    >>> nk.tl.tumor_states(adata)
    >>> nk.tl.pair_states(adata)
    >>> called = adata.obs[["pair_nk_state", "truth_nk_state"]].dropna().astype(str)
    >>> called = called[called["pair_nk_state"] != "unassigned"]
    >>> bool((called["pair_nk_state"] == called["truth_nk_state"]).mean() > 0.8)
    True
    """
    check_shares(min_confidence=min_confidence)
    fits = fit_pairs(adata, np.random.default_rng(seed_of(rng)))
    rows = fits.pairs.cells[:, 0]
    _write(adata, rows, fits.nk, _NK_SLOTS, min_confidence)
    _write(adata, rows, fits.tumor, _TUMOR_SLOTS, min_confidence)
    schema.record(
        adata,
        _STEP,
        function=_STEP,
        options={"min_confidence": min_confidence},
        power={"nk": fits.nk.power, "tumor": fits.tumor.power},
        n_pairs=int(rows.size),
        n_in_silico=fits.nk.n_in_silico,
    )


def _write(
    adata: AnnData,
    rows: np.ndarray,
    side: SideFit,
    names: tuple[str, str, str],
    min_confidence: float,
) -> None:
    label, probability, table = names
    states = [name for name in side.states if name != schema.UNASSIGNED]
    best = side.posterior.argmax(axis=1)
    confidence = side.posterior.max(axis=1)
    called = np.array([*side.states], dtype=object)[best]
    called[confidence < min_confidence] = schema.UNASSIGNED
    values = np.full(adata.n_obs, None, dtype=object)
    values[rows] = called
    adata.obs[label] = schema.categorical(values, [*states, schema.UNASSIGNED])
    adata.obs[probability] = spread(confidence, rows, adata.n_obs)
    posterior = spread(side.posterior[:, : len(states)], rows, adata.n_obs)
    columns = stored_names(states, "The columns")
    adata.obsm[table] = pd.DataFrame(posterior, index=adata.obs_names, columns=columns)
