"""The table of slots: every place of an AnnData that nkscore writes or reads.

``schema`` has a constant for each name; ``docs/data_contract.md`` shows the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    #: Name → dtype, meaning, and if any: functions that read it, stage that needs it.
    Rows = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of an AnnData. A record of ``uns["nkscore"]`` is named ``nkscore/<key>``."""

    place: str
    #: In angle brackets where the user's data name it.
    name: str
    dtype: str
    axis: str
    #: Functions; the first is the one to run where the slot is missing.
    written_by: tuple[str, ...]
    #: Functions that read it by this name, if only when an option asks for it.
    read_by: tuple[str, ...]
    meaning: str
    #: Stage of ``schema.validate`` that needs it.
    stage: str = ""

    @property
    def path(self) -> str:
        """Place and name, as in ``obs/qc_pass``; ``X`` is its own."""
        return self.place if self.place == "X" else f"{self.place}/{self.name}"


# Functions that read the same slots.
_OF_PAIRS = "tl.contact_preferences tl.pair_states"
_CONTACTS = f"tl.contact_response tl.contacts {_OF_PAIRS}"
_CLONES = "tl.clone_expression tl.clone_fate"
_STATES = "tl.explain_state tl.map_reference tl.nk_states tl.tumor_states"
_FRACTIONS = "tl.nk_activation tl.state_fractions tl.state_shift"
_COMPARED = (
    "tl.communication tl.decompose_shift tl.interaction_response tl.response_model "
    "tl.response_score"
)
_BY_SAMPLE = f"{_CLONES} {_COMPARED} {_FRACTIONS} tl.doublet_sensitivity tl.flag_ambient"
_GUIDED = "tl.guide_abundance tl.perturbation_response tl.perturbation_scores tl.responders"
_PREPARED = "pp.ambient pp.compartments"
_TAGS = "pl.hashtag_ridges pl.hashtags report"
_QC = "pl.qc report"
_SUMMED = "tl.project_cohort tl.pseudobulk"
_ON_MAPS = "pl.embedding pl.state_density report"
_OF_COUNTS = (
    f"{_PREPARED} {_STATES} {_SUMMED} datasets.write_lanes pp.assign_guides pp.demultiplex "
    "pp.doublet_scores pp.normalize pp.qc tl.communication tl.depth_stability "
    "tl.doublet_sensitivity tl.flag_ambient tl.interaction_response tl.perturbation_response "
    "tl.response_model "
    "tl.responders tl.score tl.score_null tl.clone_expression"
    f" {_CONTACTS}"
)
_OF_X = f"{_SUMMED} tl.cell_cycle tl.embed tl.marker_table tl.responders tl.score tl.score_null"
_OF_LANE = (
    f"{_TAGS} io.read_clones datasets.write_lanes pl.qc pp.ambient pp.assign_guides pp.demultiplex "
    "pp.doublet_scores pp.qc tl.communication tl.flag_ambient tl.interaction_response "
    "tl.tumor_states"
    f" {_CONTACTS}"
)
_OF_SAMPLE = (
    f"{_PREPARED} {_BY_SAMPLE} {_GUIDED} {_SUMMED} pl.compartments report tl.nk_states "
    "tl.tumor_states"
)
_OF_TUMOR = (
    f"{_PREPARED} {_BY_SAMPLE} pl.embedding pl.state_density report tl.explain_state "
    "tl.map_reference tl.tumor_states"
)
_OF_CONDITION = (
    f"{_PREPARED} {_BY_SAMPLE} {_ON_MAPS} tl.explain_state tl.guide_abundance tl.tumor_states"
)
_OF_LINEAGE = "report tl.interaction_response tl.response_score tl.state_fractions"
_OF_DONOR = (
    f"{_COMPARED} {_FRACTIONS} pp.compartments report tl.explain_state tl.map_reference "
    "tl.nk_states"
)
_OF_QC_PASS = (
    f"{_PREPARED} {_BY_SAMPLE} {_GUIDED} {_STATES} {_SUMMED} pl.qc pp.doublet_scores pp.keep "
    "report tl.marker_table"
)
_OF_COMPARTMENT = (
    f"{_BY_SAMPLE} {_GUIDED} {_STATES} {_SUMMED} pl.compartments pl.embedding pl.state_density "
    "pp.ambient pp.keep report"
    f" {_CONTACTS}"
)
_OF_SCORES = "pl.embedding tl.decompose_shift tl.perturbation_scores tl.response_score"
_OF_NK_STATE = (
    f"{_FRACTIONS} pl.state_density report tl.calibration tl.communication tl.depth_stability "
    "tl.explain_state tl.map_reference tl.marker_table"
)
_OF_TUMOR_STATE = "report tl.explain_state tl.map_reference tl.state_fractions tl.state_shift"
_OF_TAGS = f"{_TAGS} datasets.write_lanes pp.demultiplex {_CONTACTS}"
_PLANTED = "datasets.write_lanes"
_TRUTH = f"datasets.use_truth {_PLANTED}"
_OF_SHEET = f"{_TRUTH} pp.demultiplex"
_WITH_AMBIENT = "tl.communication tl.flag_ambient"

_LOADED = "io.read_coculture io.read_lane datasets.simulate_coculture io.read_cells"
_SHEET = "pp.demultiplex io.read_coculture io.read_cells"
_LOSING = (
    "pp.qc io.read_coculture io.read_lane io.read_cells pp.demultiplex pp.compartments pp.keep "
    "tl.map_reference tl.nk_states tl.score tl.score_null tl.tumor_states"
)
_NULL = "against random sets; `key_added` gives other names"
_RESPONDER = "`responder`, `non-responder`, `unassigned` or `control`; `key_added` names it"
_SCORED = "`coverage` and versions of the sets; `key_added` names it"

#: (place, axis, written by) → slots, in the order of the chain.
_TABLE: Final[dict[tuple[str, str, str], Rows]] = {
    ("layers", "cells × genes", _LOADED): {
        "counts": ("int32 CSR", "raw UMI counts; never changed", _OF_COUNTS, "loaded"),
    },
    ("X", "cells × genes", "pp.normalize"): {
        "X": ("float32 CSR", "log1p of counts per 10,000; empty before", _OF_X, "normalized"),
    },
    ("obs", "cells", _LOADED): {
        "lane": ("category", "10x lane", _OF_LANE, "loaded"),
    },
    ("var", "genes", "io.read_coculture io.read_lane io.read_cells"): {
        "gene_id": ("text", "Ensembl id, where the files hold ids"),
    },
    ("obs", "cells", "io.read_coculture io.read_lane"): {
        "genotype": ("category", "genetic donor; missing unless one", "pp.demultiplex"),
        "genotype_class": ("category", "`singlet`, `doublet` or `unassigned`", "pp.demultiplex"),
        "genotype_confidence": ("float64", "probability of that call", "pp.demultiplex"),
        "genotype_doublet": ("float64", "probability that the droplet holds two donors"),
    },
    ("obsm", "cells × tags", _LOADED): {
        "hashtags": ("int32 frame", "raw counts of sample tags", _OF_TAGS),
    },
    ("obsm", "cells × tags", "io.read_coculture io.read_lane io.read_cells"): {
        "protein": (
            "int32 frame",
            "raw counts of antibodies and of tags that the sheet does not name",
        ),
        "guides": ("int32 frame", "raw counts of CRISPR guides", "pp.assign_guides"),
    },
    ("obs", "cells", "io.read_lane"): {
        "lane_in_file": ("any", "the file's own column `lane`, if `annotations` asks for it"),
        "<annotation of the file>": ("any", "further columns that `annotations` names"),
    },
    ("obs", "cells", f"{_SHEET} datasets.use_truth"): {
        "sample": ("category", "well; missing where none is known", _OF_SAMPLE, "demultiplexed"),
        "tumor": ("category", "cell line or patient", _OF_TUMOR, "demultiplexed"),
        "lineage": ("category", "AML, CML, MM, B-ALL, T-ALL, BCL, ...", _OF_LINEAGE),
        "nk_donor": ("category", "donor of the NK cells", f"{_OF_DONOR} {_OF_PAIRS}"),
        "nk_source": ("category", "`expanded`, `pbmc`, ...", "report"),
        "condition": (
            "category",
            "`tumor_mono`, `nk_mono`, `coculture`, `conditioned_medium` or your own",
            _OF_CONDITION,
            "demultiplexed",
        ),
        "time_h": ("float64", "hours of culture", "report tl.state_fractions"),
        "et_ratio": ("float64", "effector (NK) cells per target cell", "report"),
    },
    ("obs", "cells", _SHEET): {
        "<column of the sheet>": ("category", "further columns of the sample sheet"),
    },
    ("obs", "cells", "pp.qc"): {
        "total_counts": ("float64", "UMI counts", _QC),
        "n_genes_by_counts": ("float64", "genes with a count", _QC),
        "pct_counts_mt": ("float64", "percent of counts of mitochondrial genes", _QC),
        "pct_counts_ribo": ("float64", "percent of counts of ribosomal proteins", _QC),
    },
    ("obs", "cells", "pp.qc datasets.use_truth"): {
        "qc_pass": ("bool", "whether the cell passed", _OF_QC_PASS, "qc"),
        "qc_reason": ("category", "`pass`, or the limits it crossed", "pp.keep", "qc"),
    },
    ("obs", "cells", "pp.demultiplex datasets.use_truth"): {
        "hashtag": ("category", "tag of the cell; missing unless one", f"{_TAGS} {_CONTACTS}"),
        "hashtag_class": (
            "category",
            "`singlet`, `doublet` or `negative`",
            f"{_TAGS} {_CONTACTS} pp.keep",
        ),
        "hashtag_confidence": ("float64", "probability of that call", _TAGS),
    },
    ("obs", "cells", "pp.demultiplex"): {
        "sample_evidence": ("category", "what named the sample: tag, genotype, both, ..."),
    },
    ("obs", "cells", "pp.assign_guides"): {
        "guide": ("category", "CRISPR guide; missing unless one", _GUIDED),
        "perturbation": ("category", "its gene, or `non-targeting`", _GUIDED),
        "guide_class": ("category", "`single`, `multiple` or `none`"),
        "guide_confidence": ("float64", "probability of class and gene"),
    },
    ("obs", "cells", "pp.compartments datasets.use_truth io.read_cells"): {
        "compartment": (
            "category",
            "`nk`, `tumor`, `other`, `mixed` (NK–tumor doublet) or `unassigned`",
            _OF_COMPARTMENT,
            "compartments",
        ),
        "compartment_confidence": ("float64", "probability of that call", "", "compartments"),
    },
    ("obs", "cells", "pp.compartments"): {
        "nk_rna_share": ("float64", "share of its RNA from NK cells", "tl.doublet_sensitivity"),
        "pair": (
            "category",
            "NK–tumor pair: `own` (one tag), `chance` (two), `unknown`; else missing",
            f"pp.keep {_CONTACTS}",
        ),
        "pair_tumor": ("category", "line of the pair by its RNA", _CONTACTS),
    },
    ("obs", "cells", "tl.pair_states"): {
        "pair_nk_state": ("category", "state of the NK cell of a pair, `unassigned`"),
        "pair_nk_state_confidence": ("float64", "its posterior probability"),
        "pair_tumor_state": ("category", "state of the tumor cell of a pair, `unassigned`"),
        "pair_tumor_state_confidence": ("float64", "its posterior probability"),
    },
    ("obsm", "cells × states", "tl.pair_states"): {
        "pair_nk_posterior": ("float64 frame", "probability of each NK state; NaN: no pair"),
        "pair_tumor_posterior": ("float64 frame", "probability of each tumor state; NaN: no pair"),
    },
    ("obs", "cells", "io.read_clones"): {
        "clone": ("category", "what the cell inherits and keeps: barcode, genotype", _CLONES),
    },
    ("obs", "cells", "pp.doublet_scores"): {
        "doublet_score": ("float64", "Scrublet's score, 0 to 1"),
    },
    ("varm", "genes × lanes", "pp.ambient"): {
        "ambient_soup": ("float64 frame", "ambient profile; sums to 1", _WITH_AMBIENT),
        "ambient_nk": ("float64 frame", "the part of it from NK cells", "tl.tumor_states"),
    },
    ("obsm", "cells × signatures", "tl.score"): {
        "scores": ("float64 frame", "scores; `key_added` gives another name", _OF_SCORES),
    },
    ("obsm", "cells × signatures", "tl.score_null"): {
        "scores_z": ("float64 frame", f"z {_NULL}"),
        "scores_p": ("float64 frame", f"p {_NULL}"),
    },
    ("obs", "cells", "tl.cell_cycle"): {
        "S_score": ("float64", "score of S genes"),
        "G2M_score": ("float64", "score of G2/M genes"),
        "phase": ("category", "`G1`, `S` or `G2M`"),
    },
    ("obs", "cells", "tl.nk_states tl.map_reference io.read_cells"): {
        "nk_state": ("category", "state of NK cells; else missing", _OF_NK_STATE, "nk_states"),
        "nk_state_confidence": ("float64", "its probability", "tl.calibration", "nk_states"),
    },
    ("obs", "cells", "tl.nk_states tl.map_reference"): {
        "nk_state_margin": ("float64", "distance to the second probability"),
    },
    ("obsm", "cells × states", "tl.nk_states tl.map_reference"): {
        "nk_state_posterior": ("float64 frame", "probability of each state", _OF_PAIRS),
    },
    ("uns", "states", "tl.nk_states tl.map_reference"): {
        "nk_state_colors": ("list", "colors in the order of the categories, for scanpy"),
    },
    ("obs", "cells", "tl.tumor_states tl.map_reference io.read_cells"): {
        "tumor_state": (
            "category",
            "state of tumor cells; else missing",
            f"{_OF_TUMOR_STATE} tl.decompose_shift",
            "tumor_states",
        ),
        "tumor_state_confidence": ("float64", "its probability", "tl.calibration", "tumor_states"),
    },
    ("uns", "states", "tl.tumor_states tl.map_reference"): {
        "tumor_state_colors": ("list", "colors in the order of the categories, for scanpy"),
    },
    ("obsm", "cells × programs", "tl.tumor_states"): {
        "tumor_programs": ("float64 frame", "probability of each program", _OF_PAIRS),
        "tumor_program_scores": ("float64 frame", "observed less expected count, in SD"),
        "dormancy": ("float64 frame", "change of the components of dormancy, and `index`"),
    },
    ("obsm", "cells × axes", "tl.tumor_states"): {
        "tumor_axes": ("float64 frame", "change along each axis of a tumor cell's state"),
        "tumor_axes_low": ("float64 frame", "lower end of its 95 % interval"),
        "tumor_axes_high": ("float64 frame", "upper end"),
    },
    ("obs", "cells", "tl.map_reference"): {
        "nk_state_distance": ("float64", "0: as the label's median cell; above 1: unlike all"),
        "tumor_state_distance": ("float64", "the same for tumor cells"),
        "tumor_state_margin": ("float64", "distance to the second probability"),
    },
    ("obsm", "cells × states", "tl.map_reference"): {
        "tumor_state_posterior": ("float64 frame", "probability of each label"),
    },
    ("obsm", "cells × 2", "tl.map_reference"): {
        "X_umap_reference": ("float64 array", "places on the map of the reference, if it has one"),
    },
    ("obs", "cells", "tl.responders"): {
        "responder": ("category", _RESPONDER),
        "responder_probability": ("float64", "probability of `responder`"),
    },
    ("var", "genes", "tl.embed"): {
        "highly_variable": ("bool", "whether the map is made from the gene"),
    },
    ("obsm", "cells × components", "tl.embed"): {
        "X_pca": ("float array", "principal components", "tl.responders"),
    },
    ("obsm", "cells × 2", "tl.embed"): {
        "X_umap": ("float array", "map for figures", f"{_ON_MAPS} tl.map_reference"),
    },
    ("varm", "genes × components", "tl.embed"): {
        "PCs": ("float array", "loadings of the components"),
    },
    ("obsp", "cells × cells", "tl.embed"): {
        "distances": ("float CSR", "distances of neighbors"),
        "connectivities": ("float CSR", "weights of neighbors", "tl.nk_states"),
    },
    ("uns", "", "tl.embed"): {
        "pca": ("dict", "variances and options, by scanpy"),
        "neighbors": ("dict", "options, by scanpy"),
        "umap": ("dict", "options, by scanpy"),
    },
    ("obs", "droplets", "datasets.simulate_coculture"): {
        "truth_sample": ("category", "planted: sample", _TRUTH),
        "truth_tumor": ("category", "planted: cell line", _TRUTH),
        "truth_lineage": ("category", "planted: its lineage", _TRUTH),
        "truth_nk_donor": ("category", "planted: donor of the NK cells", _TRUTH),
        "truth_nk_source": ("category", "planted: their source", _TRUTH),
        "truth_condition": ("category", "planted: condition", _TRUTH),
        "truth_hashtag": ("category", "planted: tag; missing unless one", _TRUTH),
        "truth_hashtag_class": ("category", "planted: `singlet`, `doublet` or `negative`", _TRUTH),
        "truth_compartment": ("category", "planted: `nk`, `tumor`, `mixed` or `other`", _TRUTH),
        "truth_bystander": ("category", "planted: type of a cell of `other`", _PLANTED),
        "truth_low_quality": ("bool", "planted: whether the cell is poor", _TRUTH),
        "truth_sample_2": ("category", "planted: sample of a doublet's second cell", _PLANTED),
        "truth_doublet": ("bool", "planted: whether the droplet holds two cells", _PLANTED),
        "truth_nk_state": ("category", "planted: state of the NK cell", _PLANTED),
        "truth_tumor_state": ("category", "planted: state of the tumor cell", _PLANTED),
        "truth_phase": ("category", "planted: phase of the cell cycle", _PLANTED),
        "truth_ifng_activity": ("float64", "planted: response to interferon gamma", _PLANTED),
        "truth_ambient": ("float64", "planted: share of its counts that is ambient", _PLANTED),
        "truth_clone": ("category", "planted: clone; with `clones`", _PLANTED),
        "truth_pair": ("category", "planted: `own` or `chance`; with `contacts`", _PLANTED),
    },
    ("uns", "", "io.read_coculture datasets.simulate_coculture io.read_cells"): {
        "nkscore/sample_sheet": ("frame", "the checked sample sheet", _OF_SHEET),
    },
    ("uns", "", _LOSING): {
        "nkscore/ledger": ("frame", "what each step lost, with the reason", "ledger report"),
    },
    ("uns", "", "datasets.simulate_coculture"): {
        "truth": ("dict", "planted: samples, lanes, response, ambient profile"),
    },
    ("obs", "groups", "tl.pseudobulk"): {
        "n_cells": ("int64", "of the sums: cells of the group"),
        "n_counts": ("float64", "of the sums: counts of the group"),
        "n_genes": ("int64", "of the sums: genes with a count"),
        "counts_per_cell": ("float64", "of the sums: mean counts"),
    },
    ("layers", "groups × genes", "tl.pseudobulk"): {
        "n_cells": ("int32 array", "of the sums: cells with a count"),
    },
    ("uns", "groups", "tl.pseudobulk"): {
        "groups": ("frame", "of the sums: all groups, with `kept`"),
    },
}

#: Key of a record → what it holds in addition to function, options and version, and if any: who
#: reads it except ``report``, who writes it where that is not the function of this name.
_RECORDS: Final[dict[str, tuple[str, ...]]] = {
    "io.read_coculture": ("`lanes`: file, format and size of each",),
    "io.read_lane": ("`lanes`: file, format and size",),
    "io.read_cells": ("`lanes`: file, format and size; `kept`: calls that the file held",),
    "datasets.simulate_coculture": ("`seed`",),
    "pp.qc": ("`limits` of each lane", "pl.qc"),
    "pp.demultiplex": (
        "`cells` of each call, `tags` with their cut-offs, `models` of the mixture, `genotypes`",
        _CONTACTS,
    ),
    "pp.assign_guides": ("`guides` with their cells",),
    "pp.compartments": ("`cells_per_reference`, `conflicts`, `pair_genes`", _CONTACTS),
    "pp.doublet_scores": ("nothing",),
    "pp.ambient": ("`samples` with their ambient share", f"{_WITH_AMBIENT} tl.tumor_states"),
    "pp.keep": ("`removed` for each reason, `n_before`, `n_kept`",),
    "pp.normalize": ("nothing",),
    "scores": (_SCORED, "tl.score", "tl.score"),
    "scores_null": (_SCORED, "tl.score_null", "tl.score_null"),
    "responder": ("`targets` with their responders; `key_added` names it", "", "tl.responders"),
    "tl.cell_cycle": ("`coverage` and versions of the sets",),
    "tl.nk_states": (
        "`markers`, `evidence`, `explain`, `other_genes`",
        f"tl.explain_state {_OF_PAIRS}",
    ),
    "tl.tumor_states": ("`fold`, `levels`, `genes`, `rates`", f"tl.explain_state {_OF_PAIRS}"),
    "tl.pair_states": ("`power` of the likelihoods, `n_pairs`, `n_in_silico`",),
    "tl.map_reference": ("`levels` of depth, `n_reference`, `n_genes`",),
    "tl.embed": ("nothing",),
}


def _slots(place: str, axis: str, written_by: str, rows: Rows) -> Iterator[Slot]:
    for name, (dtype, meaning, *rest) in rows.items():
        read_by, stage = (*rest, "", "")[:2]
        writers, readers = tuple(written_by.split()), tuple(sorted(set(read_by.split())))
        yield Slot(place, name, dtype, axis, writers, readers, meaning, stage)


def _table() -> Iterator[Slot]:
    for (place, axis, written_by), rows in _TABLE.items():
        yield from _slots(place, axis, written_by, rows)
    for key, (meaning, *rest) in _RECORDS.items():
        read_by, written_by = (*rest, "", "")[:2]
        row = {f"nkscore/{key}": ("dict", meaning, f"report {read_by}")}
        yield from _slots("uns", "", written_by or key, row)


#: All slots.
SLOTS: Final[tuple[Slot, ...]] = tuple(_table())
