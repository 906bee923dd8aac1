"""The simulated truth: per cell in ``obs``, per well and gene in ``uns``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._bystanders import BYSTANDERS
from nkscore.datasets._lines import NK_STATES, PHASES, TUMOR_STATES

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Array, Bools, Floats, Ints
    from nkscore.datasets._cells import Cells, Droplets
    from nkscore.datasets._draw import Expected
    from nkscore.datasets._wells import Wells

_SAMPLE_TEXT: Final = tuple(
    c for c in schema.SAMPLE_COLUMNS if c not in schema.NUMERIC_SAMPLE_COLUMNS
)
_QC_REASONS: Final = ("pass", "low_quality")


def cell_truth(
    wells: Wells, droplets: Droplets, cells: Cells, *, expected: Expected, ambient: Floats
) -> pd.DataFrame:
    """Return the ``truth_*`` columns, one row per droplet in the order of drawing."""
    sheet = wells.sheet
    first, second = droplets.cells[:, 0], droplets.cells[:, 1]
    double = second >= 0
    well, other = cells.well[first], np.where(double, cells.well[second], -1)
    frame: dict[str, Array | pd.Categorical[str]] = {
        f"truth_{name}": _labels(sheet[name].to_numpy()[well], sheet[name]) for name in _SAMPLE_TEXT
    }
    frame[schema.TRUTH_SAMPLE_2] = _labels(
        np.where(double, sheet[schema.SAMPLE].to_numpy()[other], ""), sheet[schema.SAMPLE]
    )
    crossed = double & (well != other)
    frame[schema.TRUTH_HASHTAG] = _labels(
        np.where(crossed | droplets.negative, "", sheet[schema.HASHTAG].to_numpy()[well]),
        sheet[schema.HASHTAG],
    )
    kind = np.where(crossed, "doublet", np.where(droplets.negative, "negative", "singlet"))
    frame[schema.TRUTH_HASHTAG_CLASS] = schema.categorical(kind, schema.HASHTAG_CLASSES)
    frame[schema.TRUTH_DOUBLET] = double
    both = np.column_stack([first, np.where(double, second, first)])
    nk, tumor = cells.is_nk[both], cells.is_tumor[both]
    frame[schema.TRUTH_COMPARTMENT] = _compartments(nk, tumor)
    if (cells.bystander >= 0).any():
        kind = np.array([*BYSTANDERS, ""])[cells.bystander[first]]
        frame[schema.TRUTH_BYSTANDER] = _labels(kind, pd.Series(list(BYSTANDERS)))
    nk_cell = np.where(nk[:, 0], first, np.where(nk[:, 1], second, -1))
    tumor_cell = np.where(tumor[:, 0], first, np.where(tumor[:, 1], second, -1))
    frame[schema.TRUTH_NK_STATE] = _states(nk_cell, cells, NK_STATES)
    frame[schema.TRUTH_TUMOR_STATE] = _states(tumor_cell, cells, TUMOR_STATES)
    frame[schema.TRUTH_PHASE] = schema.categorical(np.array(PHASES)[cells.phase[first]], PHASES)
    frame[schema.TRUTH_IFNG_ACTIVITY] = np.round(
        np.where(tumor_cell >= 0, expected.activity[tumor_cell, 2], 0.0), 6
    )
    frame[schema.TRUTH_LOW_QUALITY] = cells.low_quality[first]
    frame[schema.TRUTH_AMBIENT] = np.round(ambient, 6)
    return pd.DataFrame(frame)


def _compartments(nk: Bools, tumor: Bools) -> pd.Categorical[str]:
    """Return the compartment of droplets, each with two cells or twice the same one."""
    other = ~nk & ~tumor
    code = np.select([nk.all(axis=1), tumor.all(axis=1), other.all(axis=1)], [0, 1, 3], default=2)
    levels = ["nk", "tumor", "mixed", "other"][: max(3, int(code.max(initial=0)) + 1)]
    return pd.Categorical.from_codes(code, categories=pd.Index(levels))


def _labels(values: Array, known: pd.Series[str]) -> pd.Categorical[str]:
    """Return a categorical in which empty strings are missing."""
    levels = [value for value in dict.fromkeys(known) if value != ""]
    codes = pd.Index(levels).get_indexer(pd.Index(values)) if levels else np.full(len(values), -1)
    return pd.Categorical.from_codes(codes, categories=pd.Index(levels, dtype=str))


def _states(cell: Ints, cells: Cells, levels: tuple[str, ...]) -> pd.Categorical[str]:
    codes = np.where(cell >= 0, np.minimum(cells.state[cell], len(levels) - 1), -1)
    return pd.Categorical.from_codes(codes, categories=pd.Index(levels))


def well_truth(wells: Wells, obs: pd.DataFrame) -> pd.DataFrame:
    """Return the simulated effects per sample, next to the numbers of cells drawn."""
    table = wells.truth.copy()
    single = obs[~obs[schema.TRUTH_DOUBLET]]
    for name, column, level in (
        ("n_nk", schema.TRUTH_COMPARTMENT, "nk"),
        ("n_tumor", schema.TRUTH_COMPARTMENT, "tumor"),
        ("n_low_myc", schema.TRUTH_TUMOR_STATE, "low_myc"),
    ):
        counts = single.loc[single[column] == level, schema.TRUTH_SAMPLE].value_counts()
        table[name] = counts.reindex(table[schema.SAMPLE], fill_value=0).to_numpy(dtype=np.int64)
    for i, state in enumerate(NK_STATES):
        table[f"nk_{state}"] = np.where(wells.has_nk, wells.states[:, i], np.nan)
    # A well on several lanes has several rows.
    return table.drop_duplicates(schema.SAMPLE)


def use_truth(adata: AnnData) -> None:
    """Write the simulated truth into the slots that ``pp`` fills, to test later steps alone.

    Reads the ``obs["truth_*"]`` of :func:`simulate_coculture` and
    ``uns["nkscore"]["sample_sheet"]``.

    Parameters
    ----------
    adata
        Simulated cells × genes.

    Returns
    -------
    None
        Writes ``obs["qc_pass"]`` (bool) and ``obs["qc_reason"]`` (``pass`` or ``low_quality``);
        ``obs["hashtag"]`` (missing unless one tag), ``obs["hashtag_class"]`` and
        ``obs["hashtag_confidence"]`` (1); the sample columns ``sample``, ``tumor``, ``lineage``,
        ``nk_donor``, ``nk_source``, ``condition`` (categorical), ``time_h`` and ``et_ratio``
        (float64), all missing for hashtag doublets and negatives; ``obs["compartment"]`` (``nk``,
        ``tumor`` or ``mixed``) and ``obs["compartment_confidence"]`` (1).

    Raises
    ------
    MissingKeyError
        If ``adata`` was not made by :func:`simulate_coculture`.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> nk.schema.validate(adata, stage="compartments")
    """
    needed = [f"truth_{name}" for name in (*_SAMPLE_TEXT, schema.HASHTAG_CLASS, schema.COMPARTMENT)]
    schema.require(adata, "obs", needed, "datasets.simulate_coculture")
    sheet = schema.recorded(adata, schema.SAMPLE_SHEET, "datasets.simulate_coculture")
    obs = adata.obs
    usable = (obs[schema.TRUTH_HASHTAG_CLASS] == schema.SINGLET).to_numpy()
    for name in _SAMPLE_TEXT:
        values = obs[f"truth_{name}"]
        codes = np.where(usable, values.cat.codes, -1)
        obs[name] = pd.Categorical.from_codes(codes, categories=values.cat.categories)
    by_sample = sheet.drop_duplicates(schema.SAMPLE).set_index(schema.SAMPLE)
    for name in schema.NUMERIC_SAMPLE_COLUMNS:
        found = (
            by_sample[name].reindex(obs[schema.TRUTH_SAMPLE].astype(str)).to_numpy(dtype=np.float64)
        )
        obs[name] = np.where(usable, found, np.nan)
    obs[schema.HASHTAG] = obs[schema.TRUTH_HASHTAG].copy()
    obs[schema.HASHTAG_CLASS] = obs[schema.TRUTH_HASHTAG_CLASS].copy()
    obs[schema.HASHTAG_CONFIDENCE] = 1.0
    poor = obs[schema.TRUTH_LOW_QUALITY].to_numpy(dtype=bool)
    obs[schema.QC_PASS] = ~poor
    obs[schema.QC_REASON] = schema.categorical(np.array(_QC_REASONS)[poor.astype(int)], _QC_REASONS)
    obs[schema.COMPARTMENT] = schema.categorical(
        obs[schema.TRUTH_COMPARTMENT].astype(str).to_numpy(), schema.COMPARTMENTS
    )
    obs[schema.COMPARTMENT_CONFIDENCE] = 1.0
