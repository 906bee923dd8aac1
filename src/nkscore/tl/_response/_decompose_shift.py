"""Selection or induction: the two parts of a change of any score."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema
from nkscore._checks import check_confidence, check_whole, names_of
from nkscore._samples._left_out import LEFT_OUT
from nkscore._samples._samples import arms, compartment_samples, control_of, note_samples
from nkscore.stats import interval, kitagawa, unit_spread
from nkscore.tl._response._cell_values import cell_values
from nkscore.tl._response._decompose_strata import (
    Arm,
    matched_lines,
    moments_of,
    require_replicates,
    strata_of,
    with_stratum,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._samples._samples import Samples
    from nkscore._types import Floats, Ints, Level
    from nkscore.stats import Decomposition

_ALL = "all"
_COMPONENTS = {False: ("within_state", "composition"), True: ("induction", "selection")}


_COLUMNS = [
    "tumor",
    "component",
    "stratum",
    "change",
    "se",
    "ci_low",
    "ci_high",
    "t",
    "df",
    "p_value",
    "share_of_total",
    "share_treated",
    "share_control",
    "mean_treated",
    "mean_control",
    "n_samples_treated",
    "n_samples_control",
    "paired",
]


def decompose_shift(
    adata: AnnData,
    score: str,
    strata: str | Sequence[str],
    *,
    stable: bool = False,
    compartment: str | None = schema.TUMOR_CELLS,
    treated: Level = schema.COCULTURE,
    control: Level | None = None,
    by: str | None = schema.TUMOR,
    replicate: str = schema.NK_DONOR,
    condition: str = schema.CONDITION,
    key: str = schema.SCORES,
    min_cells: int = 20,
    interval: str = "t",
    n_resamples: int = 2000,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Split the change of a mean score into changes within strata and of their shares.

    Reads ``obs["sample"]``, ``obs["compartment"]``, ``obs["qc_pass"]``, the score and the columns
    named by the options. Samples are the replicates, never cells.

    Parameters
    ----------
    adata
        Cells × genes.
    score
        Column of ``obsm[key]``, numeric column of ``obs``, or gene of ``X``.
    strata
        Column of ``obs`` (or several, crossed): states (``"tumor_state"``), clusters, clones,
        genotypes. Cells without a stratum are excluded.
    stable
        Whether a cell cannot leave its stratum within the experiment (clone, genotype, barcode).
        The change of shares is then called ``selection``; otherwise it is called ``composition``,
        because cells may also have changed state.
    compartment
        ``"tumor"``, ``"nk"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    treated, control
        Levels of ``obs[condition]``; ``control`` is by default the monoculture of the compartment,
        and must be named for another ``condition``.
    by
        Column whose levels are analyzed separately (lines), or ``None`` for all samples together.
    replicate
        Column of the replicates. Lines with at least two replicates in both arms are compared in
        pairs; wells of one replicate and arm are averaged first.
    condition
        Column of the arms.
    key
        Key of ``obsm`` with the scores.
    min_cells
        Samples with fewer cells are excluded.
    interval
        ``"t"`` (first-order expansion, spread between samples), ``"bootstrap"`` (percentiles over
        resampled samples; too narrow below about ten per arm) or ``"none"``.
    n_resamples
        Resamples of the bootstrap.
    confidence
        Coverage of the intervals, 0 to 1.
    rng
        Seed of the bootstrap.

    Returns
    -------
    One row per line × component × stratum, with columns ``tumor`` (the level of ``by``),
    ``component`` (``total``; ``within_state`` and ``composition``, or ``induction`` and
    ``selection`` if ``stable``), ``stratum`` (``all`` for the sum, then each one), ``change`` (unit
    of the score), ``se``, ``ci_low``, ``ci_high``, ``t``, ``df``, ``p_value``, ``share_of_total``
    (of the change of the mean score), ``share_treated``, ``share_control`` (of cells),
    ``mean_treated``, ``mean_control`` (of the score), ``n_samples_treated``,
    ``n_samples_control`` (replicates), ``paired``. ``attrs["score"]`` names the score;
    ``attrs["left_out"]`` lists the samples and lines that are not used, each with ``what``,
    ``name`` and ``reason``.

    Raises
    ------
    DesignError
        If an arm is empty, or no line has a second sample in either arm; if no strata are named.
    MissingKeyError
        If the score or a column is absent.
    WrongScaleError
        If the score is NaN or infinite in a cell.
    ValueError
        If ``interval`` is unknown, or a number is out of range.

    Notes
    -----
    Kitagawa 1955, doi 10.1080/01621459.1955.10501299. ``docs/selection_induction.md`` has the
    limits of the split.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.tl.score(adata, "DUFVA2023_CORE_NK_RESPONSE")
    >>> adata.obs["tumor_state"] = adata.obs["truth_tumor_state"]
    >>> split = nk.tl.decompose_shift(adata, "DUFVA2023_CORE_NK_RESPONSE", "tumor_state")
    >>> sums = split[split["stratum"] == "all"].pivot(index="tumor", columns="component")["change"]
    >>> bool(np.allclose(sums["within_state"] + sums["composition"], sums["total"]))
    True
    """
    if interval not in ("t", "bootstrap", "none"):
        msg = f"interval is {interval!r}; known: 't', 'bootstrap', 'none'."
        raise ValueError(msg)
    check_confidence(confidence)
    check_whole(1, n_resamples=n_resamples)
    control = control_of(compartment, condition=condition, control=control)
    columns = [c for c in (by, replicate, condition) if c is not None]
    samples = compartment_samples(
        adata, compartment, columns=columns, min_cells=min_cells, replicate=replicate
    )
    column = by or _ALL
    samples = replace(samples, table=samples.table.assign(**({} if by else {_ALL: _ALL})))
    stratum, levels = strata_of(adata, names_of(strata))
    samples = with_stratum(samples, stratum, min_cells)
    samples = arms(samples, treated=treated, control=control, by=column, column=condition)
    moments = moments_of(cell_values(adata, score, key), samples, stratum, len(levels))
    lines, alone = matched_lines(samples, moments, column, replicate)
    if interval != "none":
        require_replicates(lines)
    generator = np.random.default_rng(rng)
    parts = []
    for name, (low, high, paired) in lines.items():
        part = _decomposed(low, high, paired=paired, levels=levels, stable=stable)
        if interval == "bootstrap":
            part = _bootstrap(part, (low, high), (n_resamples, confidence, generator))
        elif interval == "t":
            part = _t_interval(part, confidence)
        parts.append(part.assign(tumor=name))
    table = pd.concat(parts, ignore_index=True)
    if interval == "none":
        table = table.assign(se=np.nan, df=np.nan)
    return _noted(_ordered(table, score), samples, alone, by)


def _noted(
    table: pd.DataFrame, samples: Samples, alone: tuple[LeftOut, ...], by: str | None
) -> pd.DataFrame:
    table = note_samples(table, samples, step="tl.decompose_shift", by=by)
    table.attrs[LEFT_OUT] = [dict(entry) for entry in (*samples.left_out, *alone)]
    return table


def _decomposed(
    low: Arm, high: Arm, *, paired: bool, levels: list[str], stable: bool
) -> pd.DataFrame:
    split = kitagawa((low.share, high.share), (low.mass, high.mass))
    present = np.flatnonzero(split.share.any(axis=0))
    select = _selection(split.share.shape[1], present)
    change = np.stack([split.within, split.composition]).reshape(-1) @ select
    moves, noise = [], []
    for arm, coefficients in zip((low, high), split.coefficients, strict=True):
        flat = coefficients.reshape(coefficients.shape[0], -1) @ select
        mean = np.concatenate([arm.share, arm.mass], axis=1)
        moves.append((mean - mean.mean(axis=0)) @ flat)
        noise.append(np.einsum("iq,uij,jq->uq", flat, arm.noise, flat))
    if max(len(low.names), len(high.names)) > 1:
        se, df = unit_spread((moves[0], moves[1]), paired=paired, noise=(noise[0], noise[1]))
    else:
        se = df = np.full(change.size, np.nan)
    # Rounding leaves small residues if nothing varies.
    size = max(float(np.nanmax(np.abs(split.mean))), 1e-300)
    se, change = (np.where(np.abs(x) < 1e-12 * size, 0.0, x) for x in (se, change))
    names = _COMPONENTS[stable]
    n = present.size
    return pd.DataFrame(
        {
            "component": ["total"] + [c for c in names for _ in range(n + 1)],
            "stratum": [_ALL] + 2 * [_ALL, *(levels[k] for k in present)],
            "change": change,
            "se": se,
            "df": df,
            **_arm_columns(split, present),
            "n_samples_treated": len(high.names),
            "n_samples_control": len(low.names),
            "paired": paired,
        }
    )


def _selection(n_strata: int, present: Ints) -> Floats:
    """Return the reported sums: total; within: all, each stratum; composition: all, each."""
    each = np.eye(n_strata)[:, present]
    both = np.column_stack([np.ones(n_strata), each])
    zero = np.zeros_like(both)
    total = np.ones((2 * n_strata, 1))
    return np.column_stack([total, np.vstack([both, zero]), np.vstack([zero, both])])


def _arm_columns(split: Decomposition, present: Ints) -> dict[str, Floats]:
    columns = {}
    for arm, name in ((1, "treated"), (0, "control")):
        overall = float(np.nansum(split.share[arm] * np.nan_to_num(split.mean[arm])))
        share = np.concatenate([[1.0], split.share[arm][present]])
        mean = np.concatenate([[overall], split.mean[arm][present]])
        columns[f"share_{name}"] = np.concatenate([[1.0], share, share])
        columns[f"mean_{name}"] = np.concatenate([[overall], mean, mean])
    return columns


def _t_interval(part: pd.DataFrame, confidence: float) -> pd.DataFrame:
    low, high = interval(part["change"], part["se"], part["df"], confidence)
    return part.assign(ci_low=low, ci_high=high)


def _bootstrap(
    part: pd.DataFrame, units: tuple[Arm, Arm], how: tuple[int, float, np.random.Generator]
) -> pd.DataFrame:
    n_resamples, confidence, rng = how
    if min(len(arm.names) for arm in units) < 2:
        return part.assign(ci_low=np.nan, ci_high=np.nan)
    present = np.flatnonzero((units[0].share.sum(axis=0) + units[1].share.sum(axis=0)) > 0)
    select = _selection(units[0].share.shape[1], present)
    drawn = np.empty((n_resamples, len(part)))
    for i in range(n_resamples):
        rows = [rng.integers(len(arm.names), size=len(arm.names)) for arm in units]
        if part["paired"].iloc[0]:
            rows[1] = rows[0]
        low, high = (arm.rows(r) for arm, r in zip(units, rows, strict=True))
        split = kitagawa((low.share, high.share), (low.mass, high.mass))
        drawn[i] = np.stack([split.within, split.composition]).reshape(-1) @ select
    tail = (1 - confidence) / 2
    limits = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return part.assign(ci_low=limits[0], ci_high=limits[1])


def _ordered(table: pd.DataFrame, score: str) -> pd.DataFrame:
    change, se = table["change"].to_numpy(), table["se"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(se > 0, change / se, np.nan)
    p = 2 * scipy_stats.t.sf(np.abs(t), table["df"])
    # No change without spread is not evidence of a change.
    table["t"], table["p_value"] = t, np.where((se == 0) & (change == 0), 1.0, p)
    total = (
        table["tumor"]
        .map(table[table["component"] == "total"].set_index("tumor")["change"])
        .to_numpy()
    )
    table["share_of_total"] = np.where(total == 0, np.nan, change / np.where(total == 0, 1, total))
    for name in ("ci_low", "ci_high"):
        if name not in table:
            table[name] = np.nan
    table.attrs["score"] = score
    return table[_COLUMNS]
