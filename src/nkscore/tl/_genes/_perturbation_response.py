"""Expression changes by knock-outs, without and with NK cells: guides are the replicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from nkscore import schema
from nkscore._samples._matrices import counts_of
from nkscore.stats import fit_response, placed_behind, without_replicates
from nkscore.tl._genes._perturbed_cells import GuideColumns, guide_cells
from nkscore.tl._genes._perturbed_units import ArmUnits, arms_of, contrasts, finished

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore.tl._genes._perturbed_units import Contrast


def perturbation_response(
    adata: AnnData,
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
    min_count: int = 10,
    min_log2_fc: float = 0.0,
    robust: bool = True,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test each gene for a change by each knock-out, and whether NK cells change that effect.

    Counts are summed per guide and replicate; guides of a target are its replicates, never cells.
    All targets share their controls and, by empirical Bayes, their variances. With ``condition``
    the table has the effects in both arms and their difference, the ``interaction``: whether the
    knock-out changes what NK cells induce.

    Reads ``layers["counts"]``, ``obs["qc_pass"]`` if present, and the columns named below;
    ``pp.assign_guides`` writes ``obs["perturbation"]`` and ``obs["guide"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    perturbation, guide
        Columns of ``obs``: the knocked-out gene, and the guide. Cells without a guide are excluded.
    control
        Level of ``obs[perturbation]`` that all targets are compared with.
    replicate
        Column of wells, donors or batches; ``None`` if there is only one. With ``unit="guide"`` and
        ``condition`` each arm can have its own. Samples that are one well, or wells of one NK
        donor, line, condition and time, count as one replicate.
    condition
        Column that holds the arms, for example ``"condition"``; without it there is one arm.
    treated, control_condition
        Its levels with and without NK cells.
    unit
        ``"guide"``: replicates are summed after adjusting each gene for differences between them,
        and guides are the units, so guides of a target must agree. ``"replicate"``: guides of a
        target are summed; for libraries with one guide per target. ``"guide_replicate"``: each
        guide in each replicate counts as a unit. Its p-values are too small if guides differ.
    compartment
        Only cells of this level of ``obs["compartment"]``.
    min_cells
        Guides with fewer cells in an arm are excluded.
    min_count
        A gene is tested if it has about this many counts in as many units as the smallest target
        has; see :func:`nkscore.stats.expressed_genes`.
    min_log2_fc
        Smallest relevant change (``treat`` of limma).
    robust
        Whether genes that vary much more between guides than others keep their own variance.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per contrast × target × gene, sorted by contrast, target and p-value, with columns
    ``target``, ``gene``, ``contrast`` (``knockout``; with ``condition`` its two levels and
    ``interaction``), ``log2_fc``, ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``, ``q_value``
    (Benjamini-Hochberg within a contrast), ``mean_log2_cpm``, ``df_residual``, ``df_total``
    (``p_value`` is that of ``t`` with ``df_total`` degrees of freedom), ``n_units`` and
    ``n_units_control`` (guides, or the chosen ``unit``), ``n_guides``, ``n_guides_control``,
    ``n_replicates``, ``n_cells``, ``n_cells_control``. ``attrs["left_out"]`` lists the guides and
    targets without a row, each with ``what``, ``name`` and ``reason``.

    Raises
    ------
    MissingKeyError
        If a column or the counts are absent.
    DesignError
        If there are no controls, an arm is missing, there is one guide per target (for
        ``unit="guide"``), one replicate (for ``unit="replicate"``), or a guide has several targets.
    ValueError
        If ``unit`` is unknown.
    WrongScaleError
        If ``layers["counts"]`` is not counts.

    Notes
    -----
    Law et al. 2014, doi 10.1186/gb-2014-15-2-r29; Smyth 2004, doi 10.2202/1544-6115.1027.
    ``docs/perturbations.md`` has the formulas, ``docs/evidence/perturbations.md`` the calibration.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> adata.obs["guide"] = [f"{'JAK1' if i % 2 else 'NT'}g{i % 3}" for i in range(adata.n_obs)]
    >>> adata.obs["perturbation"] = ["JAK1" if i % 2 else "non-targeting"
    ...                              for i in range(adata.n_obs)]
    >>> table = nk.tl.perturbation_response(adata)
    >>> table["n_guides"].unique().tolist()
    [3]
    """
    counts = counts_of(adata, check=False)
    schema.check_var_names(adata)
    arms, names = arms_of(condition, treated, control_condition)
    columns = GuideColumns(perturbation, guide, control, replicate, condition)
    cells = guide_cells(adata, columns, arms=arms, compartment=compartment, min_cells=min_cells)
    sums = counts.group_sums(cells.codes, len(cells.table)).sums

    def collapse(units: ArmUnits) -> tuple[Any, ...]:
        return (without_replicates(sums[units.rows], units.unit, units.replicate),)

    parts = [
        _tested(
            contrast, cells.control, min_count=min_count, min_log2_fc=min_log2_fc, robust=robust
        )
        for contrast in contrasts(cells, arms, unit, collapse, names=names)
    ]
    table = pd.concat(parts, ignore_index=True)
    table = finished(table, cells, "log2_fc", confidence=confidence)
    table["gene"] = adata.var_names.astype(str)[table["gene"].to_numpy()]
    order = {part["contrast"].iloc[0]: i for i, part in enumerate(parts)}
    table = table.sort_values(
        ["contrast", "target", "p_value", "gene"],
        key=lambda column: column.map(order) if column.name == "contrast" else column,
    )
    return cells.note(table.reset_index(drop=True), "tl.perturbation_response")


def _tested(
    contrast: Contrast, control: str, *, min_count: int, min_log2_fc: float, robust: bool
) -> pd.DataFrame:
    table = fit_response(
        contrast.levels[0],
        contrast.design,
        min_count=min_count,
        min_log2_fc=min_log2_fc,
        robust=robust,
    )
    table = table.rename(columns={"group": "target"}).drop(
        columns=["n_samples_treated", "n_samples_control"]
    )
    table = placed_behind(table, "gene", contrast=contrast.name)
    n_units = contrast.table.groupby("target")["name"].nunique()
    table["n_units"] = table["target"].map(n_units)
    return table.assign(n_units_control=int(n_units[control]))
