"""What the simulator plants, in words that ``make_gene_table.py`` turns into tables.

Levels are log2 of counts per million, program values are log2 fold changes at full activity.
"""

from __future__ import annotations

_NK_ONLY = {
    "NKG7": 11.5, "GNLY": 11.5, "KLRD1": 9.0, "PRF1": 9.5, "GZMB": 10.5, "GZMA": 10.0,
    "KLRF1": 7.5, "NCAM1": 6.0, "CD247": 8.5, "FCER1G": 9.5, "TYROBP": 10.0, "CTSW": 9.5,
    "CST7": 9.5, "CCL5": 10.0, "KLRB1": 8.5, "KLRC1": 6.5, "KLRC2": 5.5, "KLRC3": 4.5,
    "KLRK1": 7.5, "FGFBP2": 7.5, "SPON2": 6.5, "GZMH": 8.0, "GZMM": 7.5, "GZMK": 6.0,
    "NCR1": 4.5, "NCR3": 6.0, "CD160": 5.0, "CD244": 5.5, "IL2RB": 7.0, "IL18RAP": 6.0,
    "XCL1": 6.5, "XCL2": 7.0, "HOPX": 7.5, "SH2D1B": 6.0, "FCGR3A": 7.5, "TBX21": 5.5,
    "EOMES": 5.0, "S1PR5": 5.0, "KIR2DL1": 4.0, "KIR2DL3": 4.5, "KIR2DL4": 4.5, "KIR3DL1": 4.0,
    "KIR3DL2": 4.5, "FASLG": 4.0, "CCL3": 6.0, "CCL4": 7.5, "IFNG": 3.5, "CLIC3": 6.5,
    "CMC1": 7.5, "PRSS23": 5.0, "MATK": 6.5, "CD7": 8.5, "LAG3": 4.5, "TIGIT": 4.0,
    "HAVCR2": 4.5, "TNFRSF9": 2.5, "TNFRSF18": 4.0, "CRTAM": 2.5, "ENTPD1": 2.0, "CSF2": 1.5,
    "TNF": 3.5, "CD69": 6.5, "TNFSF10": 4.0, "BCL2L11": 4.0, "LILRB1": 3.0, "CX3CR1": 5.0,
    "SAMD3": 5.5, "TRDC": 6.5, "IL2RG": 7.5,
}  # fmt: skip

#: Markers that decide which lineage a tumor cell looks like; elsewhere they are silent.
IDENTITY = {
    "B-ALL": {
        "CD19": 7.0, "CD79A": 9.0, "CD79B": 9.0, "PAX5": 6.5, "EBF1": 6.0, "VPREB1": 8.0,
        "VPREB3": 7.0, "IGLL1": 9.5, "DNTT": 7.0, "MME": 6.5, "CD24": 8.5, "RAG1": 5.0,
        "RAG2": 4.0, "CD9": 7.5, "TCL1A": 7.5, "BLNK": 6.0, "CD22": 6.5, "LEF1": 6.0, "SOX4": 8.5,
        "ERG": 5.5, "CD74": 9.5, "HLA-DRA": 9.5, "HLA-DRB1": 8.5, "HLA-DPA1": 8.0,
        "HLA-DPB1": 8.0, "IGHM": 8.0, "CD37": 8.5, "FLT3": 5.0, "CD34": 4.0,
    },
    "T-ALL": {
        "CD3D": 9.0, "CD3E": 7.5, "CD3G": 7.5, "TRAC": 9.0, "TRBC1": 8.5, "TRBC2": 8.0,
        "CD7": 8.5, "CD5": 6.5, "CD2": 7.5, "CD28": 5.5, "LCK": 7.5, "TCF7": 7.0, "BCL11B": 6.5,
        "GATA3": 6.5, "NOTCH1": 5.5, "NOTCH3": 5.0, "PTCRA": 6.0, "ZAP70": 6.5, "LAT": 7.0,
        "THEMIS": 5.0, "CD6": 5.5, "CD1E": 5.5, "RAG1": 4.5, "TAL1": 4.5, "CD247": 6.0,
        "IL32": 7.5, "SELPLG": 6.5, "LEF1": 6.0,
    },
    "AML": {
        "MPO": 9.0, "AZU1": 8.5, "ELANE": 7.5, "PRTN3": 8.5, "CTSG": 7.5, "CD33": 6.5,
        "ANPEP": 6.0, "LYZ": 9.0, "CSF3R": 6.0, "CEBPA": 6.5, "CEBPE": 5.5, "SPI1": 7.0,
        "CFD": 7.5, "S100A8": 6.5, "S100A9": 6.5, "IRF8": 6.5, "HLA-DRA": 8.0, "HLA-DRB1": 7.5,
        "HLA-DPA1": 7.0, "CD74": 8.5, "KIT": 5.5, "FLT3": 6.0, "HOXA9": 5.5, "MEIS1": 5.0,
        "MNDA": 6.0, "NCF1": 6.5, "CTSZ": 7.0, "CLEC12A": 6.0, "CST3": 8.5, "TYROBP": 7.0,
        "FCER1G": 7.0, "CD34": 4.5, "CD68": 6.5, "PRAM1": 5.0, "IGFBP2": 5.5,
    },
    "CML": {
        "HBG1": 10.0, "HBG2": 10.5, "HBE1": 8.0, "HBZ": 8.5, "HBA1": 7.5, "HBA2": 7.5,
        "GYPA": 6.5, "GYPC": 7.5, "GATA1": 7.0, "KLF1": 6.5, "ALAS2": 5.5, "TAL1": 5.5,
        "NFE2": 6.0, "EPOR": 5.0, "BLVRB": 8.0, "LYL1": 6.0, "GFI1B": 5.5, "TFRC": 8.5,
        "PRAME": 8.0, "CD36": 5.0, "APOC1": 7.5, "PRDX2": 9.5, "LMO2": 6.0, "TESC": 6.5,
        "CA2": 6.0, "KIT": 4.5,
    },
    "BCL": {
        "MS4A1": 8.0, "CD19": 6.5, "CD79A": 9.0, "CD79B": 9.0, "PAX5": 6.5, "CD37": 8.5,
        "BANK1": 6.0, "CD22": 6.5, "CD74": 11.0, "HLA-DRA": 10.5, "HLA-DRB1": 9.5,
        "HLA-DPA1": 9.0, "HLA-DPB1": 9.0, "HLA-DQA1": 8.0, "HLA-DQB1": 8.0, "IGHM": 9.0,
        "IGKC": 9.5, "BCL6": 5.5, "AICDA": 5.0, "BLK": 5.5, "SPIB": 6.0, "CD40": 6.0,
        "CIITA": 5.5, "POU2AF1": 7.0, "TNFRSF13C": 6.0, "LTB": 7.5, "FCRLA": 6.5, "BLNK": 6.0,
        "CD83": 6.5, "IRF8": 7.0,
    },
    "MM": {
        "SDC1": 7.0, "JCHAIN": 8.5, "IGHG1": 9.5, "IGLC2": 10.0, "MZB1": 9.5, "XBP1": 9.5,
        "IRF4": 8.0, "PRDM1": 6.5, "TNFRSF17": 7.5, "CD38": 7.0, "SLAMF7": 7.0, "DERL3": 7.5,
        "FKBP11": 8.5, "SSR4": 9.5, "CCND2": 7.0, "HERPUD1": 8.0, "POU2AF1": 7.5, "SEC11C": 8.5,
        "LIME1": 6.0, "CD27": 5.0, "TNFRSF13B": 5.0, "CAV1": 5.0, "ITGB7": 6.5,
    },
}  # fmt: skip

#: K562 is known for scarce HLA class I; values here are log2 fold changes of one line.
LINE_OVERRIDES = {
    "K562": {"HLA-A": -1.5, "HLA-B": -1.5, "HLA-C": -1.2, "HLA-E": -0.8},
}

NK_LEVELS = _NK_ONLY
_MYELOID = {
    "LYZ", "S100A8", "S100A9", "S100A12", "CST3", "FCN1", "VCAN", "CD14", "LST1", "AIF1", "MNDA",
    "FTL", "PPBP", "PF4", "HBB", "HBA1", "HBA2", "IGHA1", "IGHA2", "IGHG2", "IGHG3", "IGHG4",
    "IGLC3", "IGLL5", "TRBV28", "CD8B", "CD8A", "IL7R", "CD40LG", "CD4",
}  # fmt: skip
_IDENTITY_GENES = {gene for levels in IDENTITY.values() for gene in levels}
_SHARED_WITH_NK = {"FLT3", "CST3", "SSR4", "PRDX2", "HERPUD1", "XBP1", "TFRC", "CD37", "CD74"}
ABSENT_IN_NK = (_IDENTITY_GENES | _MYELOID) - _SHARED_WITH_NK - {
    "CD7", "CD247", "IL32", "TYROBP", "FCER1G", "HLA-DRA", "HLA-DRB1", "HLA-DPA1", "HLA-DPB1",
    "SELPLG", "LCK", "ZAP70", "LAT", "CD2", "FTL", "CTSZ", "GYPC", "BLVRB", "SLAMF7", "PRDM1",
    "SPI1", "LTB", "FKBP11", "SEC11C", "CD38", "SOX4", "LIME1", "ITGB7",
}  # fmt: skip
_BASAL_IN_TUMOR = {
    "SSR4", "PRDX2", "HERPUD1", "XBP1", "TFRC", "SEC11C", "CST3", "CTSZ", "GYPC", "BLVRB",
    "IL32", "SELPLG", "SOX4", "LYL1", "LMO2", "FKBP11", "LIME1", "CCND2",
}  # fmt: skip
ABSENT_IN_TUMOR = (
    set(_NK_ONLY) | _IDENTITY_GENES | (_MYELOID - {"FTL"})
) - _BASAL_IN_TUMOR - {"BCL2L11", "IL2RG", "CD69", "TNFSF10"}  # fmt: skip

HOUSEKEEPING = {
    "ACTB", "ACTG1", "GAPDH", "EEF1A1", "EEF1B2", "EEF2", "TMSB4X", "TMSB10", "PFN1", "CFL1",
    "TPT1", "UBA52", "UBB", "UBC", "PPIA", "PPIB", "YWHAZ", "TBP", "HPRT1", "PGK1", "SDHA",
    "TUBA1B", "TUBB", "FTH1", "FTL", "MYL6", "OAZ1", "NACA", "HNRNPA1", "HSP90AB1", "COX4I1",
    "EIF1", "SERF2", "H3-3B", "ATP5F1E", "NPM1", "LDHB", "CALM1", "CALM2", "PTMA", "MALAT1",
}  # fmt: skip

#: Markers of other blood cells that signatures name and the tables above lack.
EXTRA = {"FCRL5", "CLEC1B", "GP1BB", "TREML1", "GP9", "TUBB1", "MT-CO1"}

_CORE = [
    "B2M", "HLA-A", "HLA-B", "HLA-C", "HLA-E", "TAP1", "TAPBP", "STAT1", "IRF1", "PSMB8",
    "PSMB9", "PSME1", "PSME2", "UBE2L6", "MT2A", "BST2",
]  # fmt: skip

#: program -> blocks of (genes or "SIGNATURE[:direction]", log2 fold change), first mention wins.
PLANTED: dict[str, list[tuple[list[str] | str, float]]] = {
    "ifng_response": [
        (["B2M", "PSME1", "PSME2", "TAPBP"], 0.6),
        (["HLA-A", "HLA-B", "HLA-C", "HLA-E", "PSMB8"], 1.0),
        (_CORE, 1.5),
        (["IRF9", "PSMB10", "CXCL10", "GBP1", "GBP2", "IDO1", "CD74", "HLA-DRA"], 1.2),
        ("HALLMARK_INTERFERON_GAMMA_RESPONSE", 0.5),
    ],
    "nk_resting": [
        ("DUFVA2023_NK_RESTING", 1.6),
        (["GPR183", "IL7R", "SELL", "LTB", "TCF7", "CD44"], 1.2),
        (["XCL1", "TMEM123", "CAPG", "COTL1", "KLF2"], 0.6),
    ],
    "nk_adaptive": [
        ("DUFVA2023_NK_ADAPTIVE", 2.2),
        ("NETSKAR2024_PB_ADAPTIVE", 1.6),
        ("CRINIER2020_ADAPTIVE_LIKE", 0.9),
        ("CRINIER2020_HNK_BM1_CD56DIM", 0.5),
        (["FCER1G", "SH2D1B", "SYK", "ZBTB16", "KLRB1", "KLRC1"], -1.2),
    ],
    "nk_activated": [
        ("DUFVA2023_NK_ACTIVATED", 2.6),
        (["TNFSF4", "RGS1", "TOX2", "CD96", "CD2"], 1.3),
        (["GZMB", "PRF1", "SERPINB9", "FASLG", "LAG3", "GSDMD"], 0.8),
        (["NFKBIA", "BIRC3", "REL", "TRAF1", "RELB", "IL2RA", "MIR155HG", "BATF"], 1.2),
        ("HALLMARK_IL2_STAT5_SIGNALING", 0.3),
    ],
    "nk_type_i_ifn": [
        ("DUFVA2023_NK_TYPE_I_IFN", 2.6),
        (["ISG20", "IFIT1", "IFIT3", "IFI6", "IFI44L", "IFI44", "XAF1"], 2.2),
        ("HALLMARK_INTERFERON_ALPHA_RESPONSE", 0.9),
    ],
    "nk_cytokine": [
        ("DUFVA2023_NK_CYTOKINE", 2.8),
        (["XCL1", "XCL2", "CCL3L3", "CCL4L2"], 2.0),
        (["FOS", "JUN", "EGR1", "EGR2", "NR4A1", "NR4A2", "NR4A3", "NFKBID", "NFKBIZ"], 1.6),
        (["NFKBIA", "REL", "BIRC3", "DUSP2", "ZFP36", "PPP1R15A", "TNFAIP3"], 1.3),
        ("HALLMARK_TNFA_SIGNALING_VIA_NFKB", 0.4),
    ],
    "phase_s": [("TIROSH2016_G1S", 1.8), ("HALLMARK_E2F_TARGETS", 0.6)],
    "phase_g2m": [("TIROSH2016_G2M", 2.0), ("HALLMARK_G2M_CHECKPOINT", 0.6)],
    "phase_out": [
        ("TIROSH2016_G1S", -1.2),
        ("TIROSH2016_G2M", -1.8),
        ("HALLMARK_E2F_TARGETS", -0.4),
        ("HALLMARK_G2M_CHECKPOINT", -0.4),
    ],
    "low_myc": [
        ("REHMAN2021_DIAPAUSE:up", 1.0),
        ("HALLMARK_MYC_TARGETS_V2", -0.75),
        ("HALLMARK_MYC_TARGETS_V1", -0.62),
        (["MYC"], -1.0),
        ("REHMAN2021_DIAPAUSE:down", -0.4),
        (["CDKN1B", "CDKN1A", "BTG1", "BTG2", "KLF2", "TXNIP", "TSC22D3", "FOXO3"], 0.7),
    ],
    "hla_variation": [(["HLA-A", "HLA-B", "HLA-C", "HLA-E", "B2M", "TAP1", "NLRC5"], 0.35)],
}
