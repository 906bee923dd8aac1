"""The planted truth: per cell in ``obs``, per well and gene in ``uns``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._lines import NK_STATES, PHASES, TUMOR_STATES

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore.datasets._cells import Cells, Droplets
    from nkscore.datasets._draw import Expected
    from nkscore.datasets._random import Floats
    from nkscore.datasets._wells import Wells

#: Key of the planted truth in ``uns``.
TRUTH: Final = "truth"
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
    frame = {
        f"truth_{name}": _labels(sheet[name].to_numpy()[well], sheet[name]) for name in _SAMPLE_TEXT
    }
    frame["truth_sample_2"] = _labels(
        np.where(double, sheet[schema.SAMPLE].to_numpy()[other], ""), sheet[schema.SAMPLE]
    )
    crossed = double & (well != other)
    frame["truth_hashtag"] = _labels(
        np.where(crossed | droplets.negative, "", sheet[schema.HASHTAG].to_numpy()[well]),
        sheet[schema.HASHTAG],
    )
    kind = np.where(crossed, "doublet", np.where(droplets.negative, "negative", "singlet"))
    frame["truth_hashtag_class"] = schema.categorical(kind, schema.HASHTAG_CLASSES)
    frame["truth_doublet"] = double
    nk = np.column_stack([cells.is_nk[first], cells.is_nk[np.where(double, second, first)]])
    compartment = np.where(nk.all(axis=1), "nk", np.where(nk.any(axis=1), "mixed", "tumor"))
    frame["truth_compartment"] = schema.categorical(compartment, ("nk", "tumor", "mixed"))
    nk_cell = np.where(nk[:, 0], first, np.where(nk[:, 1], second, -1))
    tumor_cell = np.where(~nk[:, 0], first, np.where(~nk[:, 1], second, -1))
    frame["truth_nk_state"] = _states(nk_cell, cells, NK_STATES)
    frame["truth_tumor_state"] = _states(tumor_cell, cells, TUMOR_STATES)
    frame["truth_phase"] = schema.categorical(np.array(PHASES)[cells.phase[first]], PHASES)
    frame["truth_ifng_activity"] = np.round(
        np.where(tumor_cell >= 0, expected.activity[tumor_cell, 2], 0.0), 6
    )
    frame["truth_low_quality"] = cells.low_quality[first]
    frame["truth_ambient"] = np.round(ambient, 6)
    return pd.DataFrame(frame)


def _labels(values: Any, known: pd.Series[Any]) -> pd.Categorical:
    """Return a categorical in which the empty text is missing."""
    levels = [value for value in dict.fromkeys(known) if value != ""]
    codes = pd.Index(levels).get_indexer(values) if levels else np.full(len(values), -1)
    return pd.Categorical.from_codes(codes, categories=pd.Index(levels, dtype=str))


def _states(cell: Any, cells: Cells, levels: tuple[str, ...]) -> pd.Categorical:
    codes = np.where(cell >= 0, np.minimum(cells.state[cell], len(levels) - 1), -1)
    return pd.Categorical.from_codes(codes, categories=list(levels))


def well_truth(wells: Wells, obs: pd.DataFrame) -> pd.DataFrame:
    """Return per sample what was planted, next to the counts of cells that were drawn."""
    table = wells.truth.copy()
    single = obs[~obs["truth_doublet"]]
    for name, column, level in (
        ("n_nk", "truth_compartment", "nk"),
        ("n_tumor", "truth_compartment", "tumor"),
        ("n_low_myc", "truth_tumor_state", "low_myc"),
    ):
        counts = single.loc[single[column] == level, "truth_sample"].value_counts()
        table[name] = counts.reindex(table[schema.SAMPLE], fill_value=0).to_numpy(dtype=np.int64)
    for i, state in enumerate(NK_STATES):
        table[f"nk_{state}"] = np.where(wells.has_nk, wells.states[:, i], np.nan)
    return table


def use_truth(adata: AnnData) -> None:
    """Write the planted truth into the slots that ``pp`` fills, to test later steps alone.

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
    needed = [f"truth_{name}" for name in (*_SAMPLE_TEXT, "hashtag_class", "compartment")]
    schema.require(adata, "obs", needed, "datasets.simulate_coculture")
    sheet = schema.recorded(adata, schema.SAMPLE_SHEET, "datasets.simulate_coculture")
    obs = adata.obs
    usable = (obs["truth_hashtag_class"] == schema.SINGLET).to_numpy()
    for name in _SAMPLE_TEXT:
        values = obs[f"truth_{name}"]
        codes = np.where(usable, values.cat.codes, -1)
        obs[name] = pd.Categorical.from_codes(codes, categories=values.cat.categories)
    by_sample = sheet.set_index(schema.SAMPLE)
    for name in schema.NUMERIC_SAMPLE_COLUMNS:
        found = by_sample[name].reindex(obs["truth_sample"].astype(str)).to_numpy(dtype=np.float64)
        obs[name] = np.where(usable, found, np.nan)
    obs[schema.HASHTAG] = obs["truth_hashtag"].copy()
    obs[schema.HASHTAG_CLASS] = obs["truth_hashtag_class"].copy()
    obs[schema.HASHTAG_CONFIDENCE] = 1.0
    poor = obs["truth_low_quality"].to_numpy(dtype=bool)
    obs[schema.QC_PASS] = ~poor
    obs[schema.QC_REASON] = schema.categorical(np.array(_QC_REASONS)[poor.astype(int)], _QC_REASONS)
    obs[schema.COMPARTMENT] = schema.categorical(
        obs["truth_compartment"].astype(str).to_numpy(), schema.COMPARTMENTS
    )
    obs[schema.COMPARTMENT_CONFIDENCE] = 1.0
