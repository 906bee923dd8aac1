"""Cell quality: metrics, limits, result and reason."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_positive
from nkscore._samples._matrices import counts_of
from nkscore._warn import warn
from nkscore.pp._marks import note_marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Labels

_LOG = logging.getLogger("nkscore")

#: Inclusive limits of Dufva, Gandolfi et al. 2023: relaxed for the co-cultures, strict for
#: CROP-seq.
PRESETS: dict[str, dict[str, tuple[float, float]]] = {
    "coculture": {
        schema.TOTAL_COUNTS: (700, 500_000),
        schema.N_GENES_BY_COUNTS: (300, 10_000),
        schema.PCT_COUNTS_MT: (0, 15),
        schema.PCT_COUNTS_RIBO: (5, 50),
    },
    "cropseq": {
        schema.TOTAL_COUNTS: (3_000, 500_000),
        schema.N_GENES_BY_COUNTS: (300, 10_000),
        schema.PCT_COUNTS_MT: (0, 10),
        schema.PCT_COUNTS_RIBO: (5, 50),
    },
}
_REASON = {
    schema.TOTAL_COUNTS: "counts",
    schema.N_GENES_BY_COUNTS: "genes",
    schema.PCT_COUNTS_MT: "mitochondrial",
    schema.PCT_COUNTS_RIBO: "ribosomal",
}
_LOGGED = (schema.TOTAL_COUNTS, schema.N_GENES_BY_COUNTS)


def qc(
    adata: AnnData,
    *,
    preset: str = "adaptive",
    limits: Mapping[str, tuple[float, float]] | None = None,
    by: str = schema.LANE,
    n_mads: float = 5.0,
) -> None:
    """Check the quality of each cell.

    Reads ``layers["counts"]`` and ``obs[by]``; no cell is removed (see :func:`nkscore.pp.keep`).

    Parameters
    ----------
    adata
        Cells × genes.
    preset
        ``"adaptive"``: per ``by``, counts and genes more than ``n_mads`` median absolute deviations
        below or above the median on the log scale fail, and so do cells with fewer than 200 genes
        or a mitochondrial share more than ``n_mads`` above the median (limit between 5 and 25 %).
        ``"coculture"`` and ``"cropseq"``: the fixed, inclusive limits of Dufva, Gandolfi et al.
        2023.
    limits
        Inclusive ``(low, high)`` for any of ``total_counts``, ``n_genes_by_counts``,
        ``pct_counts_mt``, ``pct_counts_ribo``; these replace those of the preset.
    by
        Column of ``obs`` within which adaptive limits are found.
    n_mads
        Median absolute deviations (scaled to the standard deviation) of the adaptive limits.

    Returns
    -------
    None
        Writes ``obs["total_counts"]``, ``obs["n_genes_by_counts"]``, ``obs["pct_counts_mt"]``,
        ``obs["pct_counts_ribo"]`` (float64; genes ``MT-*``; ribosomal proteins, without kinases
        like ``RPS6KA1``), ``obs["qc_pass"]`` (bool), ``obs["qc_reason"]`` (categorical: ``pass``,
        or the limits that were crossed, for example ``low counts; high mitochondrial``) and
        ``uns["nkscore"]["pp.qc"]`` with the limits per level of ``by``; adds the cells that failed
        to ``uns["nkscore"]["ledger"]`` (:func:`nkscore.ledger`).

    Raises
    ------
    WrongScaleError
        If ``layers["counts"]`` is not counts.
    MissingKeyError
        If ``obs[by]`` is absent.
    ValueError
        If the preset or a name in ``limits`` is unknown, a limit is not a pair, or ``n_mads`` is
        not above 0.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.pp.qc(adata, preset="coculture")
    >>> bool(adata.obs["qc_pass"].mean() > 0.9)
    True
    """
    counts = counts_of(adata)
    schema.require(adata, "obs", [by], "io.read_coculture")
    _check_options(preset, dict(limits or {}), n_mads)
    metrics = _metrics(adata, counts)
    groups = adata.obs[by].astype(str).to_numpy()
    fixed = PRESETS.get(preset, {}) | dict(limits or {})
    reasons = np.full(adata.n_obs, "", dtype=object)
    used: dict[str, dict[str, list[float]]] = {}
    for name in sorted(set(groups)):
        rows = np.flatnonzero(groups == name)
        here = metrics.iloc[rows]
        found = (_adaptive(here, n_mads) if preset == "adaptive" else {}) | fixed
        used[name] = {metric: [float(low), float(high)] for metric, (low, high) in found.items()}
        reasons[rows] = _reasons(here, found)
    for column in metrics:
        adata.obs[column] = metrics[column]
    adata.obs[schema.QC_PASS] = reasons == ""
    reasons[reasons == ""] = "pass"
    adata.obs[schema.QC_REASON] = pd.Categorical(reasons)
    schema.record(
        adata,
        "pp.qc",
        function="pp.qc",
        options={"preset": preset, "by": by, "n_mads": n_mads},
        limits=used,
    )
    note_marks(adata)
    n_cells = adata.obs[schema.QC_REASON].value_counts()
    _LOG.info("QC: %s", ", ".join(f"{n} {reason}" for reason, n in n_cells.items()))


def _check_options(preset: str, limits: Mapping[str, tuple[float, float]], n_mads: float) -> None:
    unknown = set(limits) - set(_REASON)
    if unknown or (preset != "adaptive" and preset not in PRESETS):
        what = f"limit {min(unknown)!r}" if unknown else f"preset {preset!r}"
        msg = (
            f"Unknown {what}. Presets: adaptive, {', '.join(PRESETS)}; "
            f"limits: {', '.join(_REASON)}."
        )
        raise ValueError(msg)
    check_positive("n_mads", n_mads)
    for name, pair in limits.items():
        if np.shape(pair) != (2,) or not pair[0] <= pair[1]:
            msg = (
                f"limits[{name!r}] is {pair!r}; a pair (low, high) is needed, the lower first. "
                "Write float('inf') for a side without a limit."
            )
            raise ValueError(msg)


def _metrics(adata: AnnData, counts: Counts) -> pd.DataFrame:
    names = adata.var_names.astype(str).str.upper()
    is_mitochondrial = names.str.startswith("MT-")
    if not is_mitochondrial.any():
        warn(
            "No mitochondrial gene (MT-CO1, ...) is among the genes, so pct_counts_mt is 0 and "
            "cells that die are not recognized. Look for other names of these genes (MT.CO1, "
            "MT_CO1), or take a reference that has them."
        )
    families = np.column_stack(
        [
            np.ones(adata.n_vars),
            is_mitochondrial,
            # RPS6KA1 and related genes are kinases.
            names.str.match(r"(?!RPS6K)(RP[SL]\d|RPLP\d|RPSA)"),
        ]
    ).astype(np.float64)
    total, mitochondrial, ribosomal = counts.totals(families).T
    # Multiply by 100 first: a share times 100 can miss an inclusive limit by rounding.
    known = np.where(total > 0, total, 1.0)
    return pd.DataFrame(
        {
            schema.TOTAL_COUNTS: total,
            schema.N_GENES_BY_COUNTS: counts.detected(),
            schema.PCT_COUNTS_MT: 100 * mitochondrial / known,
            schema.PCT_COUNTS_RIBO: 100 * ribosomal / known,
        },
        index=adata.obs_names,
    )


def _adaptive(metrics: pd.DataFrame, n_mads: float) -> dict[str, tuple[float, float]]:
    limits: dict[str, tuple[float, float]] = {}
    for name in _LOGGED:
        center, spread = _median_and_mad(np.log1p(metrics[name].to_numpy()))
        floor = 200.0 if name == schema.N_GENES_BY_COUNTS else 0.0
        low, high = np.expm1(center - n_mads * spread), np.expm1(center + n_mads * spread)
        # Without rounding, a cell at a limit fails by the last bit of exp(log(x)).
        limits[name] = (max(round(float(low), 6), floor), round(float(high), 6))
    center, spread = _median_and_mad(metrics[schema.PCT_COUNTS_MT].to_numpy())
    limits[schema.PCT_COUNTS_MT] = (0.0, float(np.clip(center + n_mads * spread, 5.0, 25.0)))
    return limits


def _median_and_mad(values: Floats) -> tuple[float, float]:
    center = float(np.median(values))
    return center, 1.4826 * float(np.median(np.abs(values - center)))


def _reasons(metrics: pd.DataFrame, limits: Mapping[str, tuple[float, float]]) -> Labels:
    reasons = np.full(len(metrics), "", dtype=object)
    for name, (low, high) in limits.items():
        values = metrics[name].to_numpy()
        for word, outside in (("low", values < low), ("high", values > high)):
            text = f"{word} {_REASON[name]}"
            joined = np.where(reasons[outside] == "", "", "; ").astype(object)
            reasons[outside] = reasons[outside] + joined + text
    return reasons
