"""Dependence of calls on sequencing depth."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from nkscore import schema
from nkscore._samples._matrices import counts_of
from nkscore.errors import DesignError, NkscoreWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from scipy import sparse

ALL = "all"
_COLUMNS = ["share", "repeat", "depth", "state", "n_cells", "agreement", "unassigned", "fraction"]


def depth_stability(
    adata: AnnData,
    call: Callable[[AnnData], object],
    *,
    column: str = schema.NK_STATE,
    shares: Sequence[float] = (0.1, 0.25, 0.5),
    repeats: int = 2,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Thin the counts, call the cells again, and compare with the calls at full depth.

    Each count is kept with a given probability, as if the same libraries had been sequenced less.
    Biological calls do not change. If the fraction of a state drifts with the share kept, it is an
    artifact of depth, which may also differ between samples of unequal depth.

    Reads ``layers["counts"]`` and the slots that ``call`` reads.

    Parameters
    ----------
    adata
        Cells × genes with counts in memory.
    call
        A function that writes ``obs[column]``, for example ``nk.tl.nk_states`` or ``lambda cells:
        nk.tl.tumor_states(cells, by="lineage")``. It gets a copy without ``X`` (run
        ``nk.pp.normalize`` within it if needed).
    column
        Column of ``obs`` with the calls.
    shares
        Shares of the counts to keep, each above 0 and below 1.
    repeats
        Number of repetitions for each share.
    rng
        Seed or generator of the thinning.

    Returns
    -------
    DataFrame with one row per share, repetition and state, deepest last: ``share`` (1 is full
    depth), ``repeat``, ``depth`` (median counts of the cells that have a call or are
    ``unassigned``, times the share), ``state`` (also ``all``, every called cell), ``n_cells`` (in
    the state at full depth), ``agreement`` (share of them with the same call), ``unassigned``
    (share of them without a call), ``fraction`` (cells in the state at this depth, of all that have
    a call or are ``unassigned``). Plot it with ``pl.depth(table, value="agreement", by="state")``.

    Raises
    ------
    MissingKeyError
        If ``call`` does not write ``obs[column]``, or there are no counts.
    WrongScaleError
        If the counts are not whole numbers.
    DesignError
        If no cell is called at full depth.
    ValueError
        If a share is not between 0 and 1, or ``repeats`` is below 1.

    Notes
    -----
    Agreement with the calls at full depth shows the stability of calls, not their accuracy: for
    that compare with a truth (``tl.calibration``).

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, tumors=["K562"], rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.depth_stability(adata, nk.tl.nk_states, shares=[0.5], repeats=1)
    >>> table.loc[table["state"] == "all", ["share", "agreement"]].iloc[-1].tolist()
    [1.0, 1.0]
    """
    _check(shares, repeats)
    counts = counts_of(adata).whole("tl.depth_stability")
    full = _called(adata, counts, call, column)
    known = full.notna().to_numpy()
    if not (known & (full != schema.UNASSIGNED).to_numpy()).any():
        msg = (
            f"No cell has a call in obs[{column!r}] at full depth; at least one is needed. Check "
            "that the function calls these cells."
        )
        raise DesignError(msg)
    generator = np.random.default_rng(rng)
    plan = [(float(share), i) for share in sorted(shares) for i in range(repeats)]
    parts = []
    for share, i in tqdm(plan, desc="depth_stability", disable=None):
        with warnings.catch_warnings():
            # Thinned counts are meant to be shallow; the call at full depth has warned.
            warnings.simplefilter("ignore", NkscoreWarning)
            found = _called(adata, _thinned(counts, share, generator), call, column)
        parts.append(_compared(full, found).assign(share=share, repeat=i))
    parts.append(_compared(full, full).assign(share=1.0, repeat=0))
    table = pd.concat(parts, ignore_index=True)
    depth = float(np.median(np.asarray(counts.sum(axis=1)).ravel()[known]))
    return table.assign(depth=depth * table["share"])[_COLUMNS]


def _check(shares: Sequence[float], repeats: int) -> None:
    wrong = [share for share in shares if not 0 < share < 1]
    if wrong or not len(shares) or repeats < 1:
        found = f"share {wrong[0]:g}" if wrong else f"{len(shares)} shares, repeats={repeats}"
        msg = f"Found {found}; shares above 0 and below 1, and at least one repeat, are needed."
        raise ValueError(msg)


def _called(
    adata: AnnData, counts: sparse.csr_matrix, call: Callable[[AnnData], object], column: str
) -> pd.Series:
    """Return the calls on a copy with these counts, as text; other cells are missing."""
    from anndata import AnnData

    obs = adata.obs.drop(columns=[name for name in (column,) if name in adata.obs])
    cells = AnnData(
        obs=obs,
        var=adata.var.copy(),
        layers={schema.COUNTS: counts.copy()},
        obsm=dict(adata.obsm),
        uns=deepcopy(dict(adata.uns)),
    )
    call(cells)
    schema.require(cells, "obs", [column], "a function that writes it (call)")
    found: pd.Series = cells.obs[column].astype(object)
    return found.where(found.isna(), found.astype(str))


def _thinned(
    counts: sparse.csr_matrix, share: float, generator: np.random.Generator
) -> sparse.csr_matrix:
    thinned = counts.copy()
    thinned.data = generator.binomial(counts.data.astype(np.int64), share).astype(counts.dtype)
    thinned.eliminate_zeros()
    return thinned


def _compared(full: pd.Series, found: pd.Series) -> pd.DataFrame:
    counted = full.notna() | found.notna()
    called = full.notna() & (full != schema.UNASSIGNED)
    same, open_ = found == full, found.isna() | (found == schema.UNASSIGNED)
    rows = []
    for state in [ALL, *sorted(set(full[called]) | set(found.dropna()) - {schema.UNASSIGNED})]:
        chosen = called if state == ALL else called & (full == state)
        now = counted & ~open_ if state == ALL else found == state
        rows.append(
            {
                "state": state,
                "n_cells": int(chosen.sum()),
                "agreement": float(same[chosen].mean()),
                "unassigned": float(open_[chosen].mean()),
                "fraction": float(now.sum() / counted.sum()),
            }
        )
    return pd.DataFrame(rows)
