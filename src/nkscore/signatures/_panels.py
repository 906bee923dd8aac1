"""Panels: groups of sets in the catalog, with their purpose."""

from __future__ import annotations

from typing import Final, NamedTuple


class Panel(NamedTuple):
    """Sets with one purpose: label in the result to name in the catalog."""

    purpose: str
    sets: dict[str, str]


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _prefixed(prefix: str, *endings: str) -> dict[str, str]:
    return {ending.lower(): f"{prefix}{ending}" for ending in endings}


def _lineage(label: str) -> dict[str, str]:
    return {label: f"{label.upper()}_MARKERS"}


_OTHER_LINEAGES = (
    _lineage("t_cell")
    | _lineage("b_cell")
    | _lineage("plasma_cell")
    | _lineage("myeloid")
    | _lineage("erythroid")
    | _lineage("platelet")
    | _lineage("dendritic")
    | _lineage("plasmacytoid_dendritic")
    | _lineage("progenitor")
)
_STATES = {
    "resting": "DUFVA2023_NK_RESTING",
    "adaptive": "DUFVA2023_NK_ADAPTIVE",
    "activated": "DUFVA2023_NK_ACTIVATED",
    "type_i_ifn": "DUFVA2023_NK_TYPE_I_IFN",
    "cytokine": "DUFVA2023_NK_CYTOKINE",
}
_CYCLE = ("TIROSH2016_G1S", "TIROSH2016_G2M")
_CORE = "DUFVA2023_CORE_NK_RESPONSE"

PANELS: Final[dict[str, Panel]] = {
    "nk": Panel(
        "what NK cells do: states, subsets, function, memory, stress with its control, cycle",
        _same(
            *_STATES.values(),
            "NETSKAR2024_PB_ADAPTIVE",
            "CRINIER2020_HNK_BM3_CD56BRIGHT",
            "CRINIER2020_HNK_BM1_CD56DIM",
            "REBUFFET2024_FUNC_CYTOTOXIC",
            "REBUFFET2024_FUNC_CYTOKINES_CHEMOKINES",
            "FOLTZ_IML_MARKERS",
            "NETSKAR2024_TINK_G1_STRESSED_BRIGHT",
            "SIGNATUR_HEATSHOCK",
            *_CYCLE,
        ),
    ),
    "tumor": Panel(
        "what tumor cells do: response to NK cells, dormancy with its controls, senescence",
        _same(
            f"{_CORE}_NO_AMBIENT",
            "HALLMARK_INTERFERON_GAMMA_RESPONSE",
            "HALLMARK_INTERFERON_ALPHA_RESPONSE",
            "HALLMARK_TNFA_SIGNALING_VIA_NFKB",
            "REACTOME_MHC_I_FOLDING_ASSEMBLY_PEPTIDE_LOADING",
            "REHMAN2021_DIAPAUSE",
            "HALLMARK_MYC_TARGETS_V1",
            "HALLMARK_MYC_TARGETS_V2",
            "WIECEK2023_QUIESCENCE_COMMON",
            "DHIMOLEA2021_MYC_CORE_DOWN_DERIVED",
            "SENMAYO",
            *_CYCLE,
        ),
    ),
    "nk_states_expanded": Panel("the five states of expanded NK cells in Dufva 2023", _STATES),
    "nk_states_blood": Panel(
        "the six states of blood NK cells in Dufva 2023; the subsets are read with sets of "
        "other articles, as that article has no marker panel for them",
        {
            "cd56bright": "CRINIER2020_HNK_BM3_CD56BRIGHT",
            "cd56dim": "CRINIER2020_HNK_BM1_CD56DIM",
            "adaptive": "NETSKAR2024_PB_ADAPTIVE",
            "activated": _STATES["activated"],
            "type_i_ifn": _STATES["type_i_ifn"],
            "cytokine": _STATES["cytokine"],
        },
    ),
    "nk_identity": Panel("NK cells against all others", {"nk": "CURSONS2019_NK_IDENTITY"}),
    "nk_ambient": Panel(
        "NK transcripts that reach tumor profiles as ambient RNA; the second tier is weaker",
        {"nk_exclusive": "NK_EXCLUSIVE", "nk_shared": "NK_SHARED"},
    ),
    "lineages": Panel(
        "separation of NK cells from other blood cells",
        {"nk": "CURSONS2019_NK_IDENTITY", **_OTHER_LINEAGES},
    ),
    "t_cell": Panel("T cells, to exclude them from NK cells", _lineage("t_cell")),
    "b_cell": Panel("B lineage", _lineage("b_cell")),
    "plasma_cell": Panel("plasma and myeloma cells", _lineage("plasma_cell")),
    "myeloid": Panel("monocytes and myeloid blasts", _lineage("myeloid")),
    "erythroid": Panel("red cells", _lineage("erythroid")),
    "platelet": Panel("platelets", _lineage("platelet")),
    "dendritic": Panel("conventional dendritic cells", _lineage("dendritic")),
    "plasmacytoid_dendritic": Panel(
        "plasmacytoid dendritic cells", _lineage("plasmacytoid_dendritic")
    ),
    "progenitor": Panel("stem and progenitor cells of marrow", _lineage("progenitor")),
    "core_response": Panel(
        "core response of tumor cells: as published, and without NK transcripts",
        _same(
            _CORE,
            f"{_CORE}_NO_AMBIENT",
            f"{_CORE}_MODULESCORE",
            f"{_CORE}_MODULESCORE_NO_AMBIENT",
        ),
    ),
    "target_response": Panel(
        "classes of genes that NK cells induce in some tumor lines",
        _prefixed(
            "DUFVA2023_TARGET_",
            "MHC_II",
            "MYELOID",
            "LIGANDS",
            "CYTOKINES",
            "TYPE_I_IFN",
            "SPECIFIC",
            "NFKB",
        ),
    ),
    "dormancy": Panel(
        "diapause-like, quiescent and low-MYC tumor cells; senescence to rule it out",
        _same(
            "REHMAN2021_DIAPAUSE",
            "HALLMARK_MYC_TARGETS_V1",
            "HALLMARK_MYC_TARGETS_V2",
            "WIECEK2023_QUIESCENCE_COMMON",
            "DHIMOLEA2021_PERSISTER_CONSENSUS_DERIVED",
            "DHIMOLEA2021_MYC_CORE_DOWN_DERIVED",
            "SENMAYO",
        ),
    ),
    "cell_cycle": Panel("S and G2/M phase", {"s": _CYCLE[0], "g2m": _CYCLE[1]}),
    "nk_ligands": Panel(
        "ligands of NK receptors by class",
        _same(
            *(
                f"NK_LIGANDS_{kind}"
                for kind in (
                    "NKG2D",
                    "NCR",
                    "DNAM1",
                    "TIGIT_CD96_PVRIG",
                    "SLAM_CD2",
                    "NKG2A",
                    "KIR",
                    "LILRB1",
                    "LAG3",
                    "CHECKPOINT",
                )
            ),
            "NK_ADHESION_LIGANDS",
            "NK_DEATH_RECEPTORS",
            "NK_DECOY_DEATH_RECEPTORS",
            "NK_COSTIM_LIGANDS",
        ),
    ),
    "crispr_classes": Panel(
        "classes of hits in CRISPR screens against NK killing",
        _prefixed(
            "DUFVA2023_CRISPR_",
            "ANTIGEN_PRESENTATION",
            "IFNG_SIGNALING",
            "ACTIVATING_LIGANDS",
            "DEATH_RECEPTOR_APOPTOSIS",
            "ADHESION",
            "FUCOSYLATION",
            "MUCIN",
            "TF_CHROMATIN",
            "OTHER",
            "BLOOD_SELECTIVE",
        ),
    ),
    "aml_hierarchy": Panel(
        "cell types of AML (van Galen 2019)",
        _prefixed(
            "VANGALEN2019_",
            "HSC_LIKE",
            "PROG_LIKE",
            "GMP_LIKE",
            "PROMONO_LIKE",
            "MONO_LIKE",
            "CDC_LIKE",
        ),
    ),
    "aml_hierarchy_zeng": Panel(
        "cell types of AML (Zeng 2022)",
        _prefixed(
            "ZENG2022_",
            "LSPC_QUIESCENT",
            "LSPC_PRIMED",
            "LSPC_CYCLE",
            "GMP_LIKE",
            "PROMONO_LIKE",
            "MONO_LIKE",
            "CDC_LIKE",
        ),
    ),
    "leukemic_stem_cell": Panel(
        "stem cells of AML",
        _same(
            "NG2016_LSC17",
            "NG2016_LSC104",
            "EPPERT2011_LSC_R",
            "EPPERT2011_CE_HSC_LSC",
            "GENTLES2010_LSC",
            "GAL2006_LSC",
        ),
    ),
    "myeloma": Panel(
        "molecular groups of multiple myeloma, and its IRF4 program",
        _same(
            *(f"ZHAN2006_MM_{group}" for group in ("MS", "MF", "CD1", "CD2", "HP", "LB", "PR")),
            "SHAFFER2008_IRF4_MM_PROGRAM",
        ),
    ),
    "all_resistance": Panel(
        "drug resistance of acute lymphoblastic leukemia",
        _prefixed(
            "HOLLEMAN2004_ALL_",
            "PREDNISOLONE_RESISTANCE",
            "VINCRISTINE_RESISTANCE",
            "ASPARAGINASE_RESISTANCE",
        ),
    ),
    "cml_quiescence": Panel(
        "quiescent against dividing stem cells, CML and normal",
        _prefixed("GRAHAM2007_", "CML_QUIESCENT_VS_DIVIDING", "NORMAL_QUIESCENT_VS_DIVIDING"),
    ),
}
#: The panel of all sets with this prefix.
HALLMARK: Final = ("hallmark", "HALLMARK_", "the 50 Hallmark sets of MSigDB 2025.1")
