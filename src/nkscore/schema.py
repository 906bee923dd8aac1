"""The data contract: the only module that knows the names of slots.

Each name has a constant here and a row in :data:`SLOTS`, which says who writes and who reads it.
An AnnData passes through stages; :func:`validate` checks that one has reached a stage.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore._counts import _scales
from nkscore._slots import SLOTS
from nkscore._storable import stored_value
from nkscore.errors import GeneCoverageError, MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from anndata import AnnData

    from nkscore._types import Array

COUNTS: Final = "counts"
HASHTAGS: Final = "hashtags"
PROTEIN: Final = "protein"
GUIDES: Final = "guides"
NON_TARGETING: Final = "non-targeting"
RECORD: Final = "nkscore"
SAMPLE_SHEET: Final = "sample_sheet"
LEDGER: Final = "ledger"
GENE_ID: Final = "gene_id"
LANE_IN_FILE: Final = "lane_in_file"

LANE: Final = "lane"
SAMPLE: Final = "sample"
TUMOR: Final = "tumor"
LINEAGE: Final = "lineage"
NK_DONOR: Final = "nk_donor"
NK_SOURCE: Final = "nk_source"
CONDITION: Final = "condition"
TIME_H: Final = "time_h"
ET_RATIO: Final = "et_ratio"

TOTAL_COUNTS: Final = "total_counts"
N_GENES_BY_COUNTS: Final = "n_genes_by_counts"
PCT_COUNTS_MT: Final = "pct_counts_mt"
PCT_COUNTS_RIBO: Final = "pct_counts_ribo"
QC_PASS: Final = "qc_pass"
QC_REASON: Final = "qc_reason"
HASHTAG: Final = "hashtag"
HASHTAG_CLASS: Final = "hashtag_class"
HASHTAG_CONFIDENCE: Final = "hashtag_confidence"
GENOTYPE: Final = "genotype"
GENOTYPE_CLASS: Final = "genotype_class"
GENOTYPE_CONFIDENCE: Final = "genotype_confidence"
GENOTYPE_DOUBLET: Final = "genotype_doublet"
SAMPLE_EVIDENCE: Final = "sample_evidence"
CLONE: Final = "clone"
GUIDE: Final = "guide"
PERTURBATION: Final = "perturbation"
GUIDE_CLASS: Final = "guide_class"
GUIDE_CONFIDENCE: Final = "guide_confidence"
COMPARTMENT: Final = "compartment"
COMPARTMENT_CONFIDENCE: Final = "compartment_confidence"
NK_RNA_SHARE: Final = "nk_rna_share"
PAIR: Final = "pair"
PAIR_TUMOR: Final = "pair_tumor"
PAIR_NK_STATE: Final = "pair_nk_state"
PAIR_NK_CONFIDENCE: Final = "pair_nk_state_confidence"
PAIR_TUMOR_STATE: Final = "pair_tumor_state"
PAIR_TUMOR_CONFIDENCE: Final = "pair_tumor_state_confidence"
PAIR_NK_POSTERIOR: Final = "pair_nk_posterior"
PAIR_TUMOR_POSTERIOR: Final = "pair_tumor_posterior"
DOUBLET_SCORE: Final = "doublet_score"
AMBIENT_SOUP: Final = "ambient_soup"
AMBIENT_NK: Final = "ambient_nk"

SCORES: Final = "scores"
SCORES_Z: Final = "scores_z"
SCORES_P: Final = "scores_p"
SCORES_NULL: Final = "scores_null"
S_SCORE: Final = "S_score"
G2M_SCORE: Final = "G2M_score"
PHASE: Final = "phase"
NK_STATE: Final = "nk_state"
NK_STATE_CONFIDENCE: Final = "nk_state_confidence"
NK_STATE_MARGIN: Final = "nk_state_margin"
NK_STATE_DISTANCE: Final = "nk_state_distance"
NK_STATE_POSTERIOR: Final = "nk_state_posterior"
NK_STATE_COLORS: Final = "nk_state_colors"
TUMOR_STATE: Final = "tumor_state"
TUMOR_STATE_CONFIDENCE: Final = "tumor_state_confidence"
TUMOR_STATE_MARGIN: Final = "tumor_state_margin"
TUMOR_STATE_DISTANCE: Final = "tumor_state_distance"
TUMOR_STATE_POSTERIOR: Final = "tumor_state_posterior"
TUMOR_STATE_COLORS: Final = "tumor_state_colors"
TUMOR_PROGRAMS: Final = "tumor_programs"
TUMOR_PROGRAM_SCORES: Final = "tumor_program_scores"
DORMANCY: Final = "dormancy"
TUMOR_AXES: Final = "tumor_axes"
TUMOR_AXES_LOW: Final = "tumor_axes_low"
TUMOR_AXES_HIGH: Final = "tumor_axes_high"
UMAP_REFERENCE: Final = "X_umap_reference"
RESPONDER: Final = "responder"
RESPONDER_PROBABILITY: Final = "responder_probability"

# What scanpy names.
HIGHLY_VARIABLE: Final = "highly_variable"
PCA: Final = "X_pca"
UMAP: Final = "X_umap"
LOADINGS: Final = "PCs"
DISTANCES: Final = "distances"
CONNECTIVITIES: Final = "connectivities"
OPTIONS_OF_PCA: Final = "pca"
OPTIONS_OF_NEIGHBORS: Final = "neighbors"
OPTIONS_OF_UMAP: Final = "umap"

# Of the sums that tl.pseudobulk returns.
GROUPS: Final = "groups"
N_CELLS: Final = "n_cells"
N_COUNTS: Final = "n_counts"
N_GENES: Final = "n_genes"
COUNTS_PER_CELL: Final = "counts_per_cell"

# What the simulator planted.
TRUTH: Final = "truth"
TRUTH_SAMPLE: Final = "truth_sample"
TRUTH_SAMPLE_2: Final = "truth_sample_2"
TRUTH_TUMOR: Final = "truth_tumor"
TRUTH_LINEAGE: Final = "truth_lineage"
TRUTH_NK_DONOR: Final = "truth_nk_donor"
TRUTH_NK_SOURCE: Final = "truth_nk_source"
TRUTH_CONDITION: Final = "truth_condition"
TRUTH_HASHTAG: Final = "truth_hashtag"
TRUTH_HASHTAG_CLASS: Final = "truth_hashtag_class"
TRUTH_DOUBLET: Final = "truth_doublet"
TRUTH_COMPARTMENT: Final = "truth_compartment"
TRUTH_BYSTANDER: Final = "truth_bystander"
TRUTH_NK_STATE: Final = "truth_nk_state"
TRUTH_TUMOR_STATE: Final = "truth_tumor_state"
TRUTH_PHASE: Final = "truth_phase"
TRUTH_IFNG_ACTIVITY: Final = "truth_ifng_activity"
TRUTH_LOW_QUALITY: Final = "truth_low_quality"
TRUTH_AMBIENT: Final = "truth_ambient"
TRUTH_PAIR: Final = "truth_pair"
TRUTH_CLONE: Final = "truth_clone"

#: Columns of one biological sample, in the order of the sample sheet.
SAMPLE_COLUMNS: Final = (
    SAMPLE,
    TUMOR,
    LINEAGE,
    NK_DONOR,
    NK_SOURCE,
    CONDITION,
    TIME_H,
    ET_RATIO,
)
NUMERIC_SAMPLE_COLUMNS: Final = (TIME_H, ET_RATIO)

TUMOR_MONO: Final = "tumor_mono"
NK_MONO: Final = "nk_mono"
COCULTURE: Final = "coculture"
CONDITIONS: Final = (TUMOR_MONO, NK_MONO, COCULTURE, "conditioned_medium")

SINGLET: Final = "singlet"
HASHTAG_CLASSES: Final = (SINGLET, "doublet", "negative")
GENOTYPE_CLASSES: Final = (SINGLET, "doublet", "unassigned")
NK: Final = "nk"
TUMOR_CELLS: Final = "tumor"
COMPARTMENTS: Final = (NK, TUMOR_CELLS, "other", "mixed", "unassigned")
UNASSIGNED: Final = "unassigned"
MIXED: Final = "mixed"
#: NK–tumor pairs: of one hashtag, of two, or without a tag that could say.
PAIRS: Final = ("own", "chance", "unknown")

#: Stage → the stages that it builds on, and itself.
_STAGE_REQUIRES: Final[dict[str, tuple[str, ...]]] = {
    "loaded": ("loaded",),
    "qc": ("loaded", "qc"),
    "demultiplexed": ("loaded", "demultiplexed"),
    "compartments": ("loaded", "demultiplexed", "compartments"),
    "normalized": ("loaded", "normalized"),
    "nk_states": ("loaded", "compartments", "nk_states"),
    "tumor_states": ("loaded", "compartments", "tumor_states"),
}
#: Stages of the chain, in order.
STAGES: Final = tuple(_STAGE_REQUIRES)


def validate(adata: AnnData, stage: str = "loaded") -> None:
    """Check that ``adata`` meets the data contract up to ``stage``.

    Parameters
    ----------
    adata
        Cells × genes.
    stage
        One of ``loaded``, ``qc``, ``demultiplexed``, ``compartments``, ``normalized``,
        ``nk_states``, ``tumor_states``. A stage includes the stages it builds on.

    Raises
    ------
    MissingKeyError
        If a slot is absent; names the function that writes it.
    WrongScaleError
        If ``layers["counts"]`` holds values other than whole, finite, non-negative numbers, or
        ``X`` is not on the log scale from stage ``normalized`` on.
    GeneCoverageError
        If gene names are repeated.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> nk.schema.validate(adata, stage="loaded")
    """
    if stage not in _STAGE_REQUIRES:
        msg = f"Unknown stage {stage!r}. Known: {', '.join(STAGES)}."
        raise ValueError(msg)
    for part in _STAGE_REQUIRES[stage]:
        for slot in SLOTS:
            if slot.stage == part and slot.place != "X":
                require(adata, slot.place, [slot.name], slot.written_by[0])
    check_input(adata)
    if "normalized" in _STAGE_REQUIRES[stage]:
        check_log_scale(adata.X)


def check_input(adata: AnnData) -> None:
    """Check what every function needs: raw counts with distinct gene names."""
    require(adata, "layers", [COUNTS], "io.read_coculture")
    check_var_names(adata)
    check_counts(adata.layers[COUNTS], f"layers[{COUNTS!r}]")


def check_samples(adata: AnnData) -> None:
    """Raise :class:`MissingKeyError` where hashtags were read and nobody has asked them yet."""
    called = HASHTAG_CLASS in adata.obs or (SAMPLE in adata.obs and adata.obs[SAMPLE].notna().any())
    if HASHTAGS in adata.obsm and not called:
        msg = (
            "obsm['hashtags'] holds hashtags, but no cell has a sample yet. Run pp.demultiplex "
            "first, or fill obs['sample'] yourself."
        )
        raise MissingKeyError(msg)


def require(adata: AnnData, attribute: str, keys: Iterable[str], written_by: str) -> None:
    """Raise :class:`MissingKeyError` unless ``getattr(adata, attribute)`` holds all ``keys``."""
    slot = getattr(adata, attribute)
    missing = [key for key in keys if key not in slot]
    if missing:
        have = sorted(map(str, slot.keys()))
        shown = ", ".join(have[:20]) + (", ..." if len(have) > 20 else "") if have else "nothing"
        msg = (
            f"adata.{attribute} has no {', '.join(map(repr, missing))} (it holds: {shown}). "
            f"Run {written_by} first, or fill the slot yourself."
        )
        raise MissingKeyError(msg)


def check_var_names(adata: AnnData) -> None:
    """Raise :class:`GeneCoverageError` if gene names are repeated."""
    if not adata.var_names.is_unique:
        repeated = adata.var_names[adata.var_names.duplicated()].unique()
        msg = (
            f"{len(repeated)} gene names occur more than once in adata.var_names, for example "
            f"{', '.join(map(str, repeated[:3]))}. Each gene must be one column: sum the "
            "duplicates or call adata.var_names_make_unique()."
        )
        raise GeneCoverageError(msg)


def check_counts(matrix: object, where: str) -> None:
    """Raise :class:`WrongScaleError` unless all values are whole, finite and not negative."""
    _check(matrix, partial(_scales.check_counts, where=where), where)


def check_log_scale(matrix: object) -> None:
    """Raise :class:`WrongScaleError` if ``X`` cannot be log1p of counts per 10,000."""
    if matrix is None:
        msg = "adata.X is empty. Run pp.normalize first, which makes it from layers['counts']."
        raise MissingKeyError(msg)
    _check(matrix, _scales.check_log_scale, "adata.X")


def _check(matrix: object, check: Callable[[Array], None], where: str) -> None:
    data = getattr(matrix, "data", None)
    if isinstance(data, np.ndarray) and hasattr(matrix, "nnz"):
        check(data)
    elif isinstance(matrix, np.ndarray):
        check(matrix)
    else:
        from nkscore._counts._open import open_counts

        open_counts(matrix, where, check=check).check()


def record(
    adata: AnnData, key: str, *, function: str, options: Mapping[str, object], **extra: object
) -> None:
    """Write ``uns["nkscore"][key]``: how ``key`` was made.

    Holds only values that survive ``write_h5ad`` and reading back: see ``_storable``.
    """
    from nkscore._version import __version__

    book = dict(adata.uns.get(RECORD, {}))
    book[key] = stored_value(
        {"function": function, "options": dict(options), "version": __version__, **extra}
    )
    adata.uns[RECORD] = book


def recorded(adata: AnnData, key: str, written_by: str) -> Any:  # noqa: ANN401 (as it was written)
    """Return ``uns["nkscore"][key]`` or raise :class:`MissingKeyError`."""
    book = adata.uns.get(RECORD, {})
    if key not in book:
        msg = f"adata.uns[{RECORD!r}] has no {key!r}. Run {written_by} first."
        raise MissingKeyError(msg)
    return book[key]


def categorical(values: Array, levels: Iterable[str]) -> pd.Categorical[str]:
    """Return ``values`` as an unordered categorical with all ``levels``, used or not."""
    return pd.Categorical(values, categories=list(levels))
