"""Make the tables under src/nkscore/signatures/data and the tables of docs/signatures.md.

The facts (gene symbols, identifiers, files read) come from ../shared/reference; notes, short
citations, the rule of what is left out, the curated sets and the extra aliases stand here.

    python tools/make_signature_tables.py            # tables, then docs
    python tools/make_signature_tables.py --docs     # docs only, from the packaged tables
"""

from __future__ import annotations

import gzip
import io
import re
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT.parent / "shared" / "reference"
DATA = ROOT / "src" / "nkscore" / "signatures" / "data"
DOCS = ROOT / "docs" / "signatures.md"

# --- What is left out, and why --------------------------------------------------------------

#: Longest list that is taken from a source with a copyleft licence or with none. Short lists
#: are facts; long ones come close to copying a table.
LONGEST_UNLICENSED = 150

#: Sets whose source gives one list for genes that go up and genes that go down.
DIRECTION_LOST = {
    "KIM2012_DORMANCY",
    "REN2022_DORMANCY",
    "RUTH2021_DORMANCY",
    "CHENG2014_DORMANCY",
    "MONTAGNER2020_DORMANCY",
    "CANCERSEA_QUIESCENCE",
    "FOLTZ_EML_CLASSIFIER",
}
#: Sets that mark poor cells, or hold next to nothing.
WEAK = {"NETSKAR2024_TINK_G5_WEAK", "BLOOD2024_MM_NK_C6", "YANG2019_BM_6_TERMINAL"}
DUPLICATES = {"CURSONS_NATURAL_KILLER_CELLS_MSIGDB": "CURSONS2019_NK_IDENTITY"}
#: Kept although no article stands behind it: the control for heat shock and dissociation.
NO_ARTICLE_BUT_KEPT = {"SIGNATUR_HEATSHOCK"}

REASONS = {
    "low trust": "the reference notes give it low or low-to-medium trust",
    "no publication": "no DOI or PMID of a publication could be found for the list",
    "unclear source": "transcribed by others, no licence, attribution inferred",
    "direction lost": "genes that go up and genes that go down are merged in the source",
    "long": f"more than {LONGEST_UNLICENSED} genes from a source with GPL or without licence",
    "duplicate": "the same genes as another set",
    "weak": "few markers, or markers of poor-quality cells",
}

# --- Sets made here -------------------------------------------------------------------------

#: name -> (compartment, genes, note)
CURATED = {
    "NK_EXCLUSIVE": (
        "nk",
        "GNLY PRF1 GZMB GZMH KLRD1 KLRF1 KLRC1 CTSW FGFBP2 XCL1 XCL2 NCR1 SH2D1B",
        (
            "Transcripts that tumor cells receive from NK cells as ambient RNA or in doublets. "
            "Each is detected in under 5 % of untreated 697 and RCHACV cells (Dufva 2023 tables). "
            "Cytotoxic T cells share most of them: unsafe for T-lineage tumors."
        ),
    ),
    "NK_SHARED": (
        "nk",
        "NKG7 GZMA CST7 CCL5 CCL3 CCL4 TNF",
        (
            "Second tier of NK_EXCLUSIVE: abundant in NK cells, but some tumor cells make them. "
            "Untreated 697 cells express GZMA (91 %) and NKG7 (35 %), RCHACV cells CST7 (12 %); "
            "monocytes and myeloid blasts make CCL3, CCL4 and TNF, T cells CCL5."
        ),
    ),
    "T_CELL_MARKERS": (
        "other",
        "CD3D CD3E CD3G TRAC TRBC1 TRBC2 CD8A CD8B CD4 CD5 CD6 CD28",
        (
            "To tell T from NK cells. Read the whole set: NK cells may express CD8A, TRBC1 and "
            "CD3E, monocytes CD4; T-ALL cells express most of it."
        ),
    ),
    "B_CELL_MARKERS": (
        "other",
        "CD19 MS4A1 CD79A CD79B PAX5 EBF1 CD22 BLK BANK1 FCRL1 VPREB3 TCL1A",
        "B lineage up to mature B cells. B-ALL cells may lack MS4A1 and BANK1.",
    ),
    "PLASMA_CELL_MARKERS": (
        "other",
        "SDC1 TNFRSF17 MZB1 JCHAIN DERL3 XBP1 FCRL5 POU2AF1 TNFRSF13B",
        "Plasma and myeloma cells. CD38 and SLAMF7 are excluded because NK cells express them.",
    ),
    "MYELOID_MARKERS": (
        "other",
        "LYZ CST3 CD14 FCN1 S100A8 S100A9 S100A12 CSF1R CSF3R CD33 CD68 MS4A6A MPO AZU1",
        (
            "Monocytes and myeloid blasts; FCER1G and TYROBP are excluded because NK cells express "
            "them."
        ),
    ),
    "ERYTHROID_MARKERS": (
        "other",
        "HBA1 HBA2 HBB HBD AHSP ALAS2 CA1 GYPA SLC4A1 HEMGN",
        "Red cells and their precursors. Erythroid tumor lines (K562, OCIM1) express part of it.",
    ),
    "PLATELET_MARKERS": (
        "other",
        "PPBP PF4 GP9 GP1BA GP1BB ITGA2B TUBB1 TREML1 CLEC1B",
        "Platelets and megakaryocytes, which stick to cells of blood and marrow samples.",
    ),
    "DENDRITIC_MARKERS": (
        "other",
        "CLEC9A XCR1 BATF3 CD1C CD1E FCER1A CLEC10A",
        "Conventional dendritic cells of both types; monocytes express part of it.",
    ),
    "PLASMACYTOID_DENDRITIC_MARKERS": (
        "other",
        "CLEC4C LILRA4 SCT PTCRA PACSIN1 SMPD3 LAMP5 SERPINF1 IL3RA TCF4",
        (
            "Plasmacytoid dendritic cells; GZMB is excluded because NK cells express it. "
            "Leukemic blasts can express IL3RA and TCF4."
        ),
    ),
    "PROGENITOR_MARKERS": (
        "other",
        "CD34 SPINK2 AVP CRHBP HLF MECOM PROM1 CYTL1 EGFL7 NPR3 GATA2 MEIS1 HOXA9",
        (
            "Stem and progenitor cells of marrow, and blasts that resemble them; KIT, SOX4 and "
            "HOPX are excluded because NK cells express them."
        ),
    ),
}
CURATED_SOURCE = {
    "citation": "nkscore, curated from lineage markers in common use",
    "doi": "none (curated in nkscore)",
    "where_read": "curated in nkscore; checked on sorted and annotated blood cells "
    "(10.1038/ncomms14049, 10.1093/gigascience/giaa151) and Dufva 2023 target-cell tables",
    "licence": "BSD-3-Clause (nkscore)",
    "trust": "medium",
    "version": "nkscore 0.1",
}
#: derived set -> (parent, genes taken out, note)
WITHOUT_NK_RNA = {
    "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT": (
        "DUFVA2023_CORE_NK_RESPONSE",
        ("GNLY",),
        "Derived in nkscore: the 17 published genes without GNLY, an NK transcript.",
    ),
    "DUFVA2023_CORE_NK_RESPONSE_MODULESCORE_NO_AMBIENT": (
        "DUFVA2023_CORE_NK_RESPONSE_MODULESCORE",
        ("GNLY", "CCL5"),
        "Derived in nkscore: the 17 published genes without GNLY and CCL5, NK transcripts.",
    ),
}
#: British spelling and a label of the source -> name in the catalog.
RENAMED = {
    "DUFVA2023_CRISPR_IFNG_SIGNALLING": "DUFVA2023_CRISPR_IFNG_SIGNALING",
    "NETSKAR2024_TINK_G6_ACTIVATED_DIM_TUMOUR": "NETSKAR2024_TINK_G6_ACTIVATED_DIM_TUMOR",
}

# --- Own notes: first matching prefix counts ------------------------------------------------

MEMBERS = "Members, no direction of regulation."
NOTES = {
    "DUFVA2023_NK_TIMECOURSE_PANEL": "Display panel of a heat map over contact time: early and "
    "late genes together, so do not score it as one set.",
    "DUFVA2023_NK_": "Marker panel of one NK cluster as plotted by the authors, not a full "
    "differential-expression table.",
    "DUFVA2023_CORE_NK_RESPONSE_MODULESCORE": "Second published version of the core response. "
    "Holds the NK transcripts GNLY and CCL5: use the _NO_AMBIENT version for tumor cells.",
    "DUFVA2023_CORE_NK_RESPONSE": "Genes induced in target cells by NK cells, mostly through "
    "IFN-gamma. Holds the NK transcript GNLY: use the _NO_AMBIENT version for tumor cells.",
    "DUFVA2023_TARGET_NFKB": "NF-kB genes altered in target cells by NFKBIA or TRAF2 loss.",
    "DUFVA2023_TARGET_": "Genes induced by NK cells in some target lines; figure panel.",
    "DUFVA2023_BCELL_": "Figure panel of B-cell development genes.",
    "DUFVA2023_CRISPR_": "Hits of one class in CRISPR screens against NK killing. "
    "Which way each hit acts was not in the files read. " + MEMBERS,
    "REBUFFET2024_NK1_AUTHOR": "Four anchor genes as plotted by the authors.",
    "REBUFFET2024_NK2_AUTHOR": "Four anchor genes as plotted by the authors.",
    "REBUFFET2024_NK3_AUTHOR": "Four anchor genes as plotted by the authors.",
    "REBUFFET2024_NK2": "Rich in ribosomal genes, which follow batch; the published cluster "
    "name is inferred from an earlier one.",
    "REBUFFET2024_NKINT": "Rich in ribosomal genes, which follow batch; the published cluster "
    "name is inferred from an earlier one.",
    "REBUFFET2024_FUNC_": "Functional gene panel of the authors. " + MEMBERS,
    "REBUFFET2024_NK": "Short list taken from a companion article.",
    "NETSKAR2024_PB_ADAPTIVE": "Sorted blood NK subset against all others. Holds CD3 and "
    "hemoglobin genes, which also mark contaminating cells.",
    "NETSKAR2024_PB_": "Sorted blood NK subset against all others.",
    "NETSKAR2024_TINK_G1": "Top 50 markers of a tumor NK group; label given on reading. "
    "Heat-shock genes: compare with SIGNATUR_HEATSHOCK and with NK cells alone.",
    "NETSKAR2024_TINK_": "Top markers (at most 50) of a tumor NK group; label given on reading.",
    "CRINIER2020_": "Transcribed in a later article; DOI of the original from memory.",
    "YANG2019_BM_3": "Immediate-early genes: also a trace of tissue dissociation.",
    "YANG2019_PBMC_3": "Immediate-early genes: also a trace of tissue dissociation.",
    "YANG2019_": "Published cluster table; negative fold changes are down.",
    "FOLTZ_IML": "Memory-like NK cells; gene panel of the authors.",
    "FOLTZ_ADAPTIVE": "The four down genes are textbook knowledge (Schlums 2015), not read.",
    "FOLTZ_": "Anchor genes of a CD56 subset.",
    "TANG2023_": "Read in an analysis script of the authors.",
    "CURSONS2019_": "NK cells against other immune cells and tumors.",
    "BLOOD2024_MM_NK_C1": "NK cells in myeloma marrow. Label: CD56dim mature.",
    "BLOOD2024_MM_NK_C2": "NK cells in myeloma marrow. Label: HLA-high CD56dim.",
    "BLOOD2024_MM_NK_C3": "NK cells in myeloma marrow. Label: NF-kB activated.",
    "BLOOD2024_MM_NK_C4": "NK cells in myeloma marrow. Label: adaptive with IFN genes.",
    "BLOOD2024_MM_NK_C5": "NK cells in myeloma marrow. Label: CD56bright, transitional.",
    "BLOOD2024_MM_NK_C7": "NK cells in myeloma marrow. Label: IFN, inflamed.",
    "BLOOD2024_MM_NK_C8": "NK cells in myeloma marrow. Label: marrow-resident.",
    "HALLMARK_": "",
    "ZHAN2006_MM_MS": "NSD2 (MMSET), t(4;14); bulk arrays.",
    "ZHAN2006_MM_MF": "MAF or MAFB; bulk arrays.",
    "ZHAN2006_MM_CD1": "CCND1 or CCND3, first group; bulk arrays.",
    "ZHAN2006_MM_CD2": "CCND1 or CCND3, second group; bulk arrays.",
    "ZHAN2006_MM_HP": "Hyperdiploid; bulk arrays.",
    "ZHAN2006_MM_LB": "Low bone disease; bulk arrays.",
    "ZHAN2006_MM_PR": "Proliferation; bulk arrays.",
    "GRAHAM2007_CML": "Quiescent against dividing CML stem cells.",
    "GRAHAM2007_NORMAL": "Quiescent against dividing normal stem cells.",
    "FISCHER2016_": "Repressed in quiescence: a high score means proliferation.",
    "REACTOME_": MEMBERS,
    "TIROSH2016_G1S": "42 of the 43 published genes: CENPU is missing in the copy read.",
    "TIROSH2016_G2M": "52 genes in the copy read; the article has two or three more.",
    "SIGNATUR_HEATSHOCK": "Gene family of heat-shock proteins incl. constitutive ones: control "
    "for stress and dissociation. No article; R package.",
    "REHMAN2021_DIAPAUSE": "Up minus down. 110 of 124 genes go down (growth, MYC, mTOR), so "
    "read it together with MYC targets and cell cycle. Not compared with the article's own table.",
    "DHIMOLEA2021_PERSISTER": "Derived from published fold changes, not the article's list "
    "(not readable): genes that move alike in at least 4 of 7 drug contrasts of solid tumors.",
    "DHIMOLEA2021_MYC_CORE": "Derived: MYC target genes down in at least 5 of 7 drug contrasts "
    "of solid tumors. Chosen because they fall, so no evidence by themselves.",
    "WIECEK2023_": "Genes common to several kinds of G0 arrest.",
    "SENMAYO": "Holds CCL3, CCL4, CCL5 and TNF, which ambient NK RNA brings into tumor cells.",
    "ZHAO2020_": "Drug-tolerant persisters of solid tumors.",
    "CHANG2022_": "Cells primed for drug tolerance, HER2-positive breast cancer.",
    "VANGALEN2019_": "Tumor-derived cell type, top 30 genes; read in a copy by others.",
    "ZENG2022_LSPC_QUIESCENT": "Nearest AML counterpart of a dormant state.",
    "ZENG2022_": "AML cell type of the hierarchy.",
    "NG2016_LSC17": "The published score weights its genes, some negatively; the weights are "
    "not used here, so the score is a proxy.",
    "HOLLEMAN2004_": "Genes of resistant against sensitive childhood ALL.",
    "NK_": "Ligands of one receptor class, compiled from the pairs of "
    "signatures.ligand_receptor(); class assigned in nkscore. " + MEMBERS,
}

#: Locators that the reference notes give as search ids: nobody else could follow those.
WHERE_READ = {
    "TANG2023_TISSUE_RESIDENCY": "public analysis script (repository not recorded)",
    "SENMAYO": "public script with all 125 genes (repository not recorded); 114 confirmed "
    "through the mouse list of github HA-DKFZ/senescence_publi",
    "VANGALEN2019": "public script with the six lists (repository not recorded)",
    "NK_": "nkscore.signatures.ligand_receptor()",
    "NG2016_LSC17": "github DaneVass/singlecell",
}
CITATION = {
    "HALLMARK_": "Liberzon et al. 2015 Cell Syst 1:417; MSigDB Hallmark 2025.1",
    "REACTOME_": "Gillespie et al. 2022 Nucleic Acids Res (Reactome), through MSigDB C2",
    "NK_": "CellPhoneDB v5, LIANA 1.10, Dufva 2023 (pairs); nkscore (classes)",
    "BLOOD2024_": "NK dysfunction in multiple myeloma, Blood 2024 (ImmuneAxisa)",
    "SIGNATUR_": "SignatuR R package (Carmona lab)",
}
DOI = {
    "CRINIER2020_": "10.1038/s41423-020-00574-8; transcribed in 10.1182/blood.2023023529",
    "SIGNATUR_": "none (R package, github carmonalab/SignatuR)",
    "FOLTZ_": "10.1126/sciimmunol.adk4893",
}
LICENCES = (
    # pattern in the reference notes -> text in the catalog
    (r"^CC BY 4\.0 \(MSigDB", "CC BY 4.0 (MSigDB)"),
    (r"^GPL-3\.0.*article CC", "article CC BY 4.0; list read in a GPL-3.0 repository"),
    (r"^GPL-3\.0", "list read in a GPL-3.0 repository; gene names only"),
    (r"^article CC-BY", "CC BY 4.0 (article)"),
    (r"^MIT", "MIT"),
    (r"^CellPhoneDB", "CellPhoneDB data without licence, LIANA BSD-3; pairs only"),
    (r"no licence|unknown", "source without licence; gene names only, cite the article"),
)

# --- Aliases beyond those seen in the reference notes: old name, current HGNC name -----------

EXTRA_ALIASES = """
ADCK3 COQ8A|ADSSL1 ADSS1|AIM1 CRYBG1|APITD1 CENPS|ATP5S DMAC2L|BZRAP1 TSPOAP1|C12orf65 MTRFR|
C14orf80 TEDC1|C16orf59 TEDC2|C17orf53 HROB|C5orf30 MACIR|C7orf26 INTS15|C9orf3 AOPEP|
CCDC58 MIX23|DFNB31 WHRN|DIEXF UTP25|DOPEY1 DOP1A|DSCR3 VPS26C|EIF3J-AS1 EIF3J-DT|ELTD1 ADGRL4|
FAM126B HYCC2|FAM179B TOGARAM1|FAM212A INKA1|FAM63B MINDY2|FAM69B DIPK1B|FAM73B MIGA2|FOPNL CEP20|
G6PC G6PC1|GPR1 CMKLR2|GRAMD3 GRAMD2B|GSG2 HASPIN|H2BFS H2BC12L|HIST1H2AB H2AC4|HIST1H2AD H2AC7|
HIST1H2AI H2AC13|HIST1H2AK H2AC15|HIST1H3J H3C12|HIST1H4G H4C7|HIST2H3A H3C15|HIST2H3D H3C13|
HIST3H2A H2AC25|KIAA0141 DELE1|KIAA0226L RUBCNL|KIAA1715 LNPK|LARGE LARGE1|METTL20 ETFBKMT|
METTL21B EEF1AKMT3|METTL7B TMT1B|MPP5 PALS1|MT-CYTB MT-CYB|MYLPF MYL11|N6AMT2 EEF1AKMT1|
PARK2 PRKN|PDZD3 NHERF4|PQLC1 SLC66A2|PQLC3 SLC66A3|PRKRIR THAP12|PRPF4B PRP4K|PRUNE PRUNE1|
PYCRL PYCR3|RGAG4 RTL5|RNF219 OBI1|ST5 DENND2B|THEG SPMAP2|TWISTNB POLR1F|WDYHV1 NTAQ1|
WISP2 CCN5|XRCC6BP1 ATP23|ZAK MAP3K20|
ADRBK1 GRK2|ADRBK2 GRK3|ADSS ADSS2|ATP5A1 ATP5F1A|ATP5C1 ATP5F1C|ATP5E ATP5F1E|ATP5L ATP5MG|
ATPIF1 ATP5IF1|BAI1 ADGRB1|C10orf54 VSIR|C11orf31 SELENOH|C11orf73 HIKESHI|C14orf166 RTRAF|
C15orf48 COXFA4L3|C17orf62 CYBC1|C17orf89 NDUFAF8|C19orf10 MYDGF|C19orf60 REX1BD|C1orf228 ARMH1|
C1orf86 FAAP20|C20orf112 NOL4L|C2orf47 MAIP1|C6orf25 MPIG6B|C7orf55 FMC1|C9orf16 BBLN|
C9orf69 TMEM250|CASC5 KNL1|CCDC53 WASHC3|CD97 ADGRE5|CECR1 ADA2|CENPC1 CENPC|CTSL1 CTSL|
DARC ACKR1|DARS DARS1|DFNA5 GSDME|EMR1 ADGRE1|EMR2 ADGRE2|EMR3 ADGRE3|EPT1 SELENOI|ERBB2IP ERBIN|
ERO1L ERO1A|FAM102A EEIG1|FAM129A NIBAN1|FAM129B NIBAN2|FAM134B RETREG1|FAM173A ANTKMT|
FAM195A MCRIP2|FAM195B MCRIP1|FAM208A TASOR|FAM26F CALHM6|FAM46A TENT5A|FAM46C TENT5C|
FAM63A MINDY1|FAM64A PIMREG|FAM65B RIPOR2|FAM69A DIPK1A|FAM73A MIGA1|FAM84B LRATD2|
FAM96A CIAO2A|FAM96B CIAO2B|FYB FYB1|GPR97 ADGRG3|GUCY1B3 GUCY1B1|H2AFJ H2AJ|H2AFX H2AX|
HARS HARS1|HDGFRP2 HDGFL2|HDGFRP3 HDGFL3|HIAT1 MFSD14A|HIST1H1B H1-5|HIST1H1T H1-6|
HIST1H2AG H2AC11|HIST1H2AH H2AC12|HIST1H2AJ H2AC14|HIST1H2AM H2AC17|HIST1H2BB H2BC3|
HIST1H2BE H2BC6|HIST1H2BF H2BC7|HIST1H2BG H2BC8|HIST1H2BH H2BC9|HIST1H2BI H2BC10|
HIST1H2BL H2BC13|HIST1H2BM H2BC14|HIST1H2BN H2BC15|HIST1H2BO H2BC17|HIST1H3A H3C1|
HIST1H3B H3C2|HIST1H3C H3C3|HIST1H3D H3C4|HIST1H3F H3C7|HIST1H3G H3C8|HIST1H3H H3C10|
HIST1H4A H4C1|HIST1H4B H4C2|HIST1H4D H4C4|HIST1H4E H4C5|HIST1H4F H4C6|HIST1H4H H4C8|
HIST1H4I H4C9|HIST1H4J H4C11|HIST1H4K H4C12|HIST1H4L H4C13|HIST2H2AA3 H2AC18|HIST2H2AB H2AC21|
HMHA1 ARHGAP45|HN1 JPT1|HN1L JPT2|HRSP12 RIDA|ICT1 MRPL58|IGJ JCHAIN|IKBKAP ELP1|IL8 CXCL8|
INADL PATJ|KARS KARS1|KIAA0020 PUM3|KIAA0101 PCLAF|KIAA0196 WASHC5|KIAA0226 RUBCN|
KIAA0368 ECPAS|KIAA0907 KHDC4|KIAA1033 WASHC4|KIAA1524 CIP2A|KIAA1551 RESF1|KIAA1598 SHTN1|
KIAA1731 CEP295|LARS LARS1|LEPRE1 P3H1|LINC00493 SMIM26|LRMP IRAG2|LRRC16A CARMIL1|
MARC1 MTARC1|MARC2 MTARC2|MARCH1 MARCHF1|MARCH2 MARCHF2|MARCH3 MARCHF3|MARCH4 MARCHF4|
MARCH5 MARCHF5|MARCH6 MARCHF6|MARCH7 MARCHF7|MARCH8 MARCHF8|MARCH9 MARCHF9|MB21D1 CGAS|
MESDC2 MESD|MKL1 MRTFA|MKL2 MRTFB|MLF1IP CENPU|MLL KMT2A|MLL2 KMT2D|MLL3 KMT2C|MLL5 KMT2E|
MLLT4 AFDN|MRE11A MRE11|MST4 STK26|MUM1 PWWP3A|NAPRT1 NAPRT|NHP2L1 SNU13|NOV CCN3|NRD1 NRDC|
OBFC1 STN1|PAPD5 TENT4B|PAPD7 TENT4A|PHF15 JADE2|PKM2 PKM|PPAP2A PLPP1|PPAP2B PLPP3|
PPP2R4 PTPA|PRKCDBP CAVIN3|PTPLAD1 HACD3|PTPLB HACD2|PTRF CAVIN1|PVRL1 NECTIN1|PVRL2 NECTIN2|
PVRL3 NECTIN3|QARS QARS1|RARS RARS1|RFWD2 COP1|RQCD1 CNOT9|SDPR CAVIN2|SELS SELENOS|
SEP15 SELENOF|SEPP1 SELENOP|SEPT1 SEPTIN1|SEPT2 SEPTIN2|SEPT3 SEPTIN3|SEPT4 SEPTIN4|
SEPT5 SEPTIN5|SEPT7 SEPTIN7|SEPT8 SEPTIN8|SEPT10 SEPTIN10|SEPT12 SEPTIN12|SEPX1 MSRB1|
SETD8 KMT5A|SGOL1 SGO1|SGOL2 SGO2|SHFM1 SEM1|SKIV2L2 MTREX|SMEK1 PPP4R3A|SMEK2 PPP4R3B|
SPG20 SPART|SQRDL SQOR|SRPR SRPRA|STRA13 CENPX|SUV420H1 KMT5B|TARS TARS1|TAZ TAFAZZIN|
TCEB1 ELOC|THOC4 ALYREF|TMEM66 SARAF|TMEM8A PGAP6|TROVE2 RO60|TSTA3 GFUS|TTC37 SKIC3|
UFD1L UFD1|VARS VARS1|VIMP SELENOS|VPRBP DCAF1|WARS WARS1|WBP5 TCEAL9|WHSC1 NSD2|
WHSC1L1 NSD3|WISP1 CCN4|ZCCHC6 TUT7|ZFYVE20 RBSN|ZNRD1 POLR1H
"""


def first(table: dict[str, str], name: str, default: str) -> str:
    """Return the value of the first key with which ``name`` begins."""
    return next((value for key, value in table.items() if name.startswith(key)), default)


def excluded(row: pd.Series) -> str | None:
    """Return the key of REASONS under which a set is left out, or None."""
    name, size = row["signature"], row["n_up"] + row["n_down"]
    unlicensed = not re.search(r"CC.?BY|^MIT", row["licence"])
    derived = name.endswith("_DERIVED")
    published = re.search(r"\b10\.\d{4,}/|PMID:? ?\d", row["doi_or_pmid"])
    rules = {
        "low trust": row["trust"].startswith("low"),
        "direction lost": name in DIRECTION_LOST,
        "no publication": not published and name not in NO_ARTICLE_BUT_KEPT,
        "unclear source": row["licence"] == "unknown" and not row["trust"].startswith("medium-h"),
        "long": unlicensed and size > LONGEST_UNLICENSED and not derived,
        "duplicate": name in DUPLICATES,
        "weak": name in WEAK,
    }
    return next((reason for reason, broken in rules.items() if broken), None)


def identifiers(text: str) -> str:
    """Return DOIs, or PMIDs where there is no DOI."""
    dois = re.findall(r"10\.\d{4,}/[^\s;]+", text)
    return "; ".join(dois or [f"PMID {number}" for number in re.findall(r"PMID:? ?(\d+)", text)])


def tidy(text: str) -> str:
    """Return a locator or a citation without remarks in brackets or behind a dash."""
    return re.sub(r"\s*\([^)]*\)|\s+- DERIVED.*|\"", "", text).strip(" ;,")


def version(name: str, where: str) -> str:
    if name.startswith("HALLMARK_"):
        return "MSigDB 2025.1"
    if "c2.all.v2022.1" in where:
        return "MSigDB 2022.1"
    commit = re.search(r"@([0-9a-f]{7,40})", where)
    return f"commit {commit[1]}" if commit else ""


def describe(row: pd.Series) -> dict[str, str]:
    """Return the metadata of one set in the words of the catalog."""
    name, where = row["signature"], row["where_read"]
    note = first(NOTES, name, "")
    if "from memory" in row["doi_or_pmid"]:
        note = f"{note} Identifier from memory.".strip()
    licence = next((text for pattern, text in LICENCES if re.search(pattern, row["licence"])), "")
    if name.endswith("_DERIVED"):
        licence = "derived from fold changes in a GPL-3.0 repository; gene names only"
    return {
        "name": RENAMED.get(name, name),
        "compartment": row["compartment"],
        "citation": first(CITATION, name, tidy(row["source_citation"])),
        "doi": first(DOI, name, identifiers(row["doi_or_pmid"])),
        "where_read": first(WHERE_READ, name, tidy(where)),
        "licence": licence,
        "trust": "high" if row["trust"].startswith("high") else "medium",
        "version": version(name, where) or "as read in 2026",
        "note": note,
    }


def hallmark(known: set[str], like: dict[str, str]) -> list[tuple[dict[str, str], list[str]]]:
    """Return the Hallmark sets that the long table does not hold."""
    rows = []
    for line in (REFERENCE / "hallmark_v2025_human.gmt").read_text().splitlines():
        name, _, *genes = line.split("\t")
        if name not in known:
            rows.append((like | {"name": name}, genes))
    return rows


def made_here(genes: pd.DataFrame, sets: pd.DataFrame) -> list[tuple[dict[str, str], list[str]]]:
    """Return curated sets, and published ones without NK transcripts."""
    rows = [
        (CURATED_SOURCE | {"name": name, "compartment": where, "note": note}, symbols.split())
        for name, (where, symbols, note) in CURATED.items()
    ]
    for name, (parent, drop, note) in WITHOUT_NK_RNA.items():
        source = sets.set_index("name", drop=False).loc[parent].to_dict()
        kept = genes.loc[genes["signature"] == parent, "gene"]
        rows.append((source | {"name": name, "note": note}, [g for g in kept if g not in drop]))
    return rows


def read_sets() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return (sets, genes, sets left out)."""
    options = {"sep": "\t", "keep_default_na": False}
    index = pd.read_csv(REFERENCE / "signatures_index.tsv", **options)
    index["reason"] = index.apply(excluded, axis=1)
    out = index.loc[index["reason"].notna(), ["signature", "reason"]]
    kept = index[index["reason"].isna()]
    sets = pd.DataFrame([describe(row) for _, row in kept.iterrows()])
    genes = pd.read_csv(REFERENCE / "signatures.tsv", **options)
    genes = genes.loc[
        genes["signature"].isin(kept["signature"]), ["signature", "direction", "gene"]
    ]
    genes["signature"] = genes["signature"].replace(RENAMED)
    model = sets.set_index("name", drop=False).loc["HALLMARK_HYPOXIA"].to_dict()
    extra = hallmark(set(sets["name"]), model) + made_here(genes, sets)
    added = [(meta["name"], "up", gene) for meta, members in extra for gene in members]
    sets = pd.concat([sets, pd.DataFrame([meta for meta, _ in extra])], ignore_index=True)
    genes = pd.concat([genes, pd.DataFrame(added, columns=genes.columns)], ignore_index=True)
    genes["weight"] = genes["direction"].map({"up": 1, "down": -1})
    return sets, genes, out


def read_aliases(in_use: set[str]) -> pd.DataFrame:
    """Return old name and current name, one to one from the old side."""
    table = pd.read_csv(REFERENCE / "symbol_aliases.tsv", sep="\t", keep_default_na=False)
    usable = table["status"].str.match("updated|manual")
    usable &= table["published_symbol"].str.fullmatch(r"[A-Za-z][\w.-]*")
    usable &= table["published_symbol"] != table["symbol_in_table"]
    pairs = list(table.loc[usable, ["published_symbol", "symbol_in_table"]].itertuples(index=False))
    pairs += [tuple(pair.split()) for pair in "".join(EXTRA_ALIASES.split("\n")).split("|")]
    aliases = pd.DataFrame(pairs, columns=["old", "current"]).drop_duplicates()
    clash = aliases["old"].duplicated(keep=False) | aliases["old"].isin(aliases["current"])
    clash |= aliases["old"].isin(in_use) & aliases["current"].isin(in_use)
    if clash.any():
        print("aliases left out:", aliases[clash].to_string(index=False), sep="\n")
    return aliases[~clash].sort_values("old", ignore_index=True)


def pmids(text: str) -> str:
    return ";".join(sorted(set(re.findall(r"PMID:(\d+)", text))))


def read_pairs() -> pd.DataFrame:
    """Return the receptor-ligand pairs that a source confirms, without prose."""
    table = pd.read_csv(REFERENCE / "nk_ligand_receptor.tsv", sep="\t", keep_default_na=False)
    table = table[table["verified"] == "yes"]
    doubtful = (table["nk_gene"] == "KLRK1") & (table["tumor_gene"] == "HLA-E")
    sources = table["sources"].str.replace(r"\s*\([^)]*\)", "", regex=True)
    return pd.DataFrame(
        {
            "nk_gene": table["nk_gene"],
            "nk_partners": table["nk_partner_subunits"],
            "tumor_gene": table["tumor_gene"],
            "class": table["class"],
            "sender": table["signal"]
            .str.extract(r"^(tumor|nk|homophilic)")[0]
            .replace({"homophilic": "both"}),
            "plotted_in_dufva2023": table["dufva_top_pair"] == "yes",
            "crispr_hit_in_dufva2023": table["tumor_gene_dufva_crispr_hit"] == "yes",
            "doubtful": doubtful,
            "n_resources": table["n_resources"],
            "sources": sources.str.replace("Dufva2023", "Dufva 2023"),
            "pmids": table["evidence"].map(pmids),
        }
    )


#: Start of the note of a gene of the study's Figure 4 → class of gene.
CATEGORIES = {
    "antigen presentation": "antigen presentation",
    "IFN-gamma": "interferon gamma signaling",
    "activating ligands": "activating ligand",
    "death receptor": "death receptor and apoptosis",
    "adhesion": "adhesion",
    "fucosylation": "fucosylation",
    "mucin": "mucin",
    "TF/": "transcription and chromatin",
    "other": "other",
}
#: Genes that only other studies name.
CATEGORIES_OF_OTHERS = {"IFNGR2": "interferon gamma signaling", "DCAF15": "other"}


def _categories(table: pd.DataFrame) -> pd.Series:
    """Return the class of each gene, as one of the study's Figure 4."""
    found = {
        gene: category
        for gene, note, basis in zip(table["gene"], table["note"], table["basis"], strict=True)
        for start, category in CATEGORIES.items()
        if note.startswith(start) and basis.startswith("hit-list")
    }
    # JAK1 and the like stand in the list of antigen presentation and in that of the pathway.
    return table["gene"].map(CATEGORIES_OF_OTHERS | found)


def read_hits() -> pd.DataFrame:
    """Return screen hits; an effect that was not read is marked as expected."""
    table = pd.read_csv(REFERENCE / "crispr_nk_hits.tsv", sep="\t", keep_default_na=False)
    effect = table["effect_of_loss_on_NK_killing"]
    expected = effect.str.contains("expected")
    gain = effect.str.contains("GOF")
    where = table["where_read"].str.replace(r" \([^)]*\)", "", regex=True)
    return pd.DataFrame(
        {
            "gene": table["gene"],
            "category": _categories(table),
            "study": table["study"],
            "model": table["model"].str.replace("tumour", "tumor"),
            "perturbation": gain.map({True: "gain", False: "loss"}),
            "effect": effect.str.extract(r"^(protects|sensiti[sz]es|unknown)")[0].replace(
                {"sensitises": "sensitizes"}
            ),
            "effect_read": ~expected & ~effect.str.startswith("unknown"),
            "doi": table["doi_or_pmid"].str.replace(" / ", "; "),
            "where_read": where.str.replace("search corpus pages", "abstract"),
        }
    )


def write(frame: pd.DataFrame, name: str) -> None:
    """Write a tab-separated table; the bytes depend on nothing but its content."""
    buffer = io.StringIO()
    frame.to_csv(buffer, sep="\t", index=False, lineterminator="\n")
    raw = buffer.getvalue().encode()
    path = DATA / name
    path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    print(f"{path.relative_to(ROOT)}: {len(frame)} rows, {path.stat().st_size:,} bytes")


def members(labels: list[str], names: list[str]) -> str:
    """Return the sets of a panel, with their labels where these differ."""
    return ", ".join(
        f"`{name}`" if label == name else f"{label}: `{name}`"
        for label, name in zip(labels, names, strict=True)
    )


def docs_tables() -> dict[str, str]:
    """Return the generated blocks of docs/signatures.md by their marker."""
    from nkscore import signatures

    sets = signatures.catalog().set_index("name", drop=False)
    panels = signatures.panels()
    lines = ["| panel | sets | for |", "|---|---|---|"]
    lines += [
        f"| `{row.panel}` | {members(row.labels.split(', '), row.signatures.split(', '))} "
        f"| {row.purpose} |"
        for row in panels.itertuples()
    ]
    blocks = {"panels": "\n".join(lines)}
    for compartment, rows in sets.groupby("compartment", sort=False):
        lines = [
            "| set | up | down | source | licence | trust | note |",
            "|---|--:|--:|---|---|---|---|",
        ]
        lines += [
            f"| `{row.name}` | {row.n_up} | {row.n_down} | {row.citation} ({row.doi}) "
            f"| {row.licence} | {row.trust} | {row.note} |"
            for row in rows.reset_index(drop=True).rename_axis(None).itertuples(index=False)
        ]
        blocks[f"sets-{compartment}"] = "\n".join(lines)
    out = pd.read_csv(DATA / "left_out.tsv", sep="\t", keep_default_na=False)
    lines = ["| reason | sets |", "|---|---|"]
    lines += [
        f"| {REASONS[reason]} | {', '.join(f'`{name}`' for name in rows['signature'])} |"
        for reason, rows in out.groupby("reason", sort=False)
    ]
    return blocks | {"left-out": "\n".join(lines)}


def fill_docs(text: str) -> str:
    """Return ``text`` with every generated block renewed."""
    for marker, block in docs_tables().items():
        pattern = rf"(<!-- begin {marker} -->\n).*?(<!-- end {marker} -->)"
        text, found = re.subn(
            pattern, lambda m, b=block: f"{m[1]}\n{b}\n\n{m[2]}", text, flags=re.DOTALL
        )
        if found != 1:
            message = f"docs/signatures.md needs one block {marker!r}, found {found}."
            raise ValueError(message)
    return text


def main() -> None:
    if "--docs" not in sys.argv:
        sets, genes, out = read_sets()
        write(sets, "sets.tsv")
        write(genes, "genes.tsv.gz")
        write(out, "left_out.tsv")
        write(read_aliases(set(genes["gene"])), "aliases.tsv")
        write(read_pairs(), "ligand_receptor.tsv")
        write(read_hits(), "crispr_hits.tsv")
    if DOCS.exists():
        DOCS.write_text(fill_docs(DOCS.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
