"""Changes of scores and states by knock-outs, without and with NK cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_frame
from nkscore._warn import warn
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import group_sums, means_without_replicates, placed_behind
from nkscore.tl._genes._perturbed_cells import GuideCells, GuideColumns, guide_cells
from nkscore.tl._genes._perturbed_units import (
    ArmUnits,
    arms_of,
    contrasts,
    counted_effects,
    finished,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._types import Bools


def perturbation_scores(
    adata: AnnData,
    values: str | Sequence[str] = schema.SCORES,
    *,
    perturbation: str = schema.PERTURBATION,
    guide: str = schema.GUIDE,
    control: str = schema.NON_TARGETING,
    replicate: str | None = schema.SAMPLE,
    condition: str | None = None,
    treated: str | float = schema.COCULTURE,
    control_condition: str | float = schema.TUMOR_MONO,
    unit: Literal["guide", "replicate", "guide_replicate"] = "guide",
    compartment: str | None = None,
    min_cells: int = 10,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test scores and fractions of states for a change by each knock-out.

    It works for any number or category per cell: the core response score, NK states, MYC or
    dormancy. Guides of a target are its replicates, as in ``tl.perturbation_response``. The
    variance of a guide's mean is the sampling variance of its cells plus a variance between guides,
    estimated for each score.

    Reads ``obsm[values]`` or columns of ``obs``, ``obs["qc_pass"]`` if present, and the columns
    named below.

    Parameters
    ----------
    adata
        Cells × genes.
    values
        Key of ``obsm`` with a table of scores (``"scores"``, ``"dormancy"``), or names of columns
        of ``obs``. For a categorical column, the fraction of cells at each level is tested.
    perturbation, guide, control, replicate, condition, treated, control_condition, unit
        As in ``tl.perturbation_response``.
    compartment, min_cells, confidence
        As in ``tl.perturbation_response``.

    Returns
    -------
    One row per contrast × target × score with columns ``target``, ``score``, ``contrast``,
    ``effect`` (difference from the controls, in units of the score), ``se``, ``ci_low``,
    ``ci_high``, ``t``, ``p_value``, ``q_value`` (within a contrast), ``effect_sd`` (in standard
    deviations between cells of a guide), ``df_residual``, ``df_total`` (``p_value`` is that of
    ``t`` with ``df_total`` degrees of freedom), ``n_guides``, ``n_guides_control``,
    ``n_replicates``, ``n_cells``, ``n_cells_control``.

    Raises
    ------
    MissingKeyError
        If scores or columns are absent.
    WrongScaleError
        If a score or state is missing in some cells with a guide.
    DesignError
        As in ``tl.perturbation_response``; if a score is given twice, or all scores are constant
        (single constant scores are excluded with a warning).

    Examples
    --------
    >>> import numpy as np
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> adata.obs["guide"] = [f"{'JAK1' if i % 2 else 'NT'}g{i % 3}" for i in range(adata.n_obs)]
    >>> adata.obs["perturbation"] = ["JAK1" if i % 2 else "non-targeting"
    ...                              for i in range(adata.n_obs)]
    >>> adata.obs["score"] = np.arange(adata.n_obs) % 2 + np.arange(adata.n_obs) % 7 / 100
    >>> table = nk.tl.perturbation_scores(adata, ["score"], replicate="lane")
    >>> table["effect"].round(1).tolist()
    [1.0]
    """
    arms, names = arms_of(condition, treated, control_condition)
    columns = GuideColumns(perturbation, guide, control, replicate, condition)
    cells = guide_cells(adata, columns, arms=arms, compartment=compartment, min_cells=min_cells)
    scores = _scores(adata, values, cells.codes >= 0)
    means, within = _means(scores, cells)
    size = cells.table["n_cells"].to_numpy(dtype=float)[:, None]

    def collapse(units: ArmUnits) -> tuple[Any, ...]:
        level, total = means_without_replicates(
            means[units.rows], size[units.rows], units.unit, units.replicate
        )
        return level, within / total

    parts = [
        counted_effects(contrast)
        for contrast in contrasts(cells, arms, unit, collapse, names=names)
    ]
    table = pd.concat(parts, ignore_index=True)
    score = table.pop("variable").to_numpy(dtype=int)
    names_of_scores = np.asarray(scores.columns, dtype=object)
    table = placed_behind(table, "target", score=names_of_scores[score])
    spread = np.sqrt(within)[score]
    table["effect_sd"] = table["effect"] / np.where(spread > 0, spread, np.nan)
    table = finished(table, cells, "effect", confidence=confidence)
    return cells.note(table, "tl.perturbation_scores")


def _scores(adata: AnnData, values: str | Sequence[str], used: Bools) -> pd.DataFrame:
    if isinstance(values, str):
        if values not in adata.obsm and values in adata.obs:
            msg = f"{values!r} is a column of obs, not a table in obsm. Give [{values!r}]."
            raise MissingKeyError(msg)
        schema.require(adata, "obsm", [values], "tl.score")
        table = check_frame(adata.obsm[values], f"obsm[{values!r}]", "Name the scores.")
        table = table.reset_index(drop=True)
    else:
        schema.require(adata, "obs", list(values), "the function that makes these scores")
        parts = [_columns_of(adata.obs[name].reset_index(drop=True)) for name in values]
        table = pd.concat([pd.DataFrame(index=range(adata.n_obs)), *parts], axis=1)
    if table.columns.has_duplicates or table.shape[1] == 0:
        twice = table.columns[table.columns.duplicated()]
        found = f"The score {twice[0]!r} is given twice" if len(twice) else "No score is given"
        msg = f"{found}; each must occur once, and at least one is needed."
        raise DesignError(msg)
    table = table.astype(np.float64)
    return _varying(_finite(table, used), used)


def _finite(table: pd.DataFrame, used: Bools) -> pd.DataFrame:
    broken = ~np.isfinite(table.to_numpy()[used]).all(axis=0)
    if broken.any():
        name = table.columns[broken][0]
        msg = (
            f"Score {name!r} is missing or infinite in some cells with a guide. Exclude "
            "those cells (compartment=, obs['qc_pass']) or score them."
        )
        raise WrongScaleError(msg)
    return table


def _varying(table: pd.DataFrame, used: Bools) -> pd.DataFrame:
    """Return the scores that can be tested."""
    constant = np.ptp(table.to_numpy()[used], axis=0) == 0
    if constant.any():
        names = ", ".join(map(str, table.columns[constant]))
        said = f"One value in all cells with a guide, so these cannot be tested: {names}."
        if constant.all():
            raise DesignError(f"{said} Give scores that vary.")
        warn(f"{said} Skipped.")
    varying: pd.DataFrame = table.loc[:, ~constant]
    return varying


def _columns_of(column: pd.Series) -> pd.DataFrame:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_frame()
    levels = sorted(set(column.dropna().astype(str)))
    text = column.astype(str)
    parts = {f"{column.name}: {level}": (text == level).astype(float) for level in levels}
    return pd.DataFrame(parts, index=column.index).where(column.notna())


def _means(scores: pd.DataFrame, cells: GuideCells) -> tuple[Any, Any]:
    """Return the mean of each group of cells, and the variance within groups."""
    value = scores.to_numpy()
    size = np.bincount(cells.codes[cells.codes >= 0])[:, None]
    used = cells.codes >= 0
    # Centered at its mean, a score far from zero loses no digits when squared.
    value = np.where(used[:, None], value - value[used].mean(axis=0), 0.0)
    means = group_sums(value, cells.codes, len(size)) / size
    squares = group_sums(value**2, cells.codes, len(size)).sum(axis=0)
    within = squares - (size * means**2).sum(axis=0)
    return means, np.maximum(within / max(int(size.sum()) - len(size), 1), 1e-12)
