from __future__ import annotations

import re
import subprocess
import sys

import pytest

from nkscore import signatures
from nkscore.errors import MissingKeyError
from nkscore.signatures._tables import read_table, synonyms

CORE_A = (
    "B2M HLA-A HLA-B HLA-C HLA-E TAP1 TAPBP STAT1 IRF1 PSMB8 PSMB9 PSME1 PSME2 UBE2L6 MT2A BST2 "
    "GNLY"
)
CORE_B = (
    "B2M HLA-A HLA-B HLA-C HLA-E TAP1 STAT1 IRF1 IRF9 PSMB8 PSMB9 PSMB10 PSME1 PSME2 UBE2L6 GNLY "
    "CCL5"
)
STATES = {
    "resting": "KLRC1 GZMA KLRB1 NCAM1 GZMK",
    "adaptive": "KLRC2 GZMH LAG3 HLA-DRA",
    "activated": "TNFRSF18 TNFRSF9 CRTAM ENTPD1 HAVCR2 TIGIT TNFSF10 BCL2L11",
    "type_i_ifn": "ISG15 MX1 MX2 OAS1 OAS2 OAS3 IRF7 IRF9 EIF2AK2",
    "cytokine": "IFNG CCL4 CCL3 TNF CSF2 CD69",
}


@pytest.fixture(scope="module")
def sets():
    return signatures.catalog()


def test_core_response_is_the_published_one():
    assert " ".join(signatures.get("DUFVA2023_CORE_NK_RESPONSE").up) == CORE_A
    assert " ".join(signatures.get("DUFVA2023_CORE_NK_RESPONSE_MODULESCORE").up) == CORE_B
    assert len(CORE_A.split()) == len(CORE_B.split()) == 17


def test_core_response_without_nk_transcripts():
    a = signatures.get("DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT")
    b = signatures.get("DUFVA2023_CORE_NK_RESPONSE_MODULESCORE_NO_AMBIENT")
    assert list(a.up) == [gene for gene in CORE_A.split() if gene != "GNLY"]
    assert list(b.up) == [gene for gene in CORE_B.split() if gene not in {"GNLY", "CCL5"}]
    for derived in (a, b):
        assert "Derived in nkscore" in derived.note
        tiers = signatures.nk_exclusive() + signatures.get("NK_SHARED").up
        assert not set(derived.genes) & set(tiers)


def test_states_of_expanded_nk_cells():
    states = signatures.panel("nk_states_expanded")
    assert {label: " ".join(state.up) for label, state in states.items()} == STATES
    assert list(states) == list(STATES)
    assert states["resting"].name == "resting"
    assert states["resting"].note.startswith("Set DUFVA2023_NK_RESTING. ")


@pytest.mark.parametrize(
    ("name", "n_up", "n_down"),
    [
        ("CURSONS2019_NK_IDENTITY", 20, 0),
        ("REHMAN2021_DIAPAUSE", 14, 110),
        ("WIECEK2023_QUIESCENCE_COMMON", 27, 112),
        ("HALLMARK_MYC_TARGETS_V1", 200, 0),
        ("HALLMARK_INTERFERON_ALPHA_RESPONSE", 97, 0),
        ("HALLMARK_ADIPOGENESIS", 200, 0),
        ("DHIMOLEA2021_MYC_CORE_DOWN_DERIVED", 0, 55),
        ("TIROSH2016_G1S", 42, 0),
        ("NG2016_LSC17", 17, 0),
        ("SENMAYO", 125, 0),
    ],
)
def test_sizes(sets, name, n_up, n_down):
    row = sets.set_index("name").loc[name]
    assert (row["n_up"], row["n_down"]) == (n_up, n_down)


def test_metadata_are_complete(sets):
    for column in ("compartment", "citation", "doi", "where_read", "licence", "trust", "version"):
        assert sets[column].str.strip().ne("").all(), column
    assert set(sets["trust"]) == {"high", "medium"}
    assert set(sets["compartment"]) == {"nk", "tumor", "both", "other"}
    stated = sets["doi"].str.contains(r"^10\.\d{4,}/|^PMID \d+|^none \(")
    assert stated.all(), sets.loc[~stated, "name"].tolist()


def test_sets_without_an_article_are_known(sets):
    without = set(sets.loc[sets["doi"].str.startswith("none"), "name"])
    curated = set(sets.loc[sets["licence"].str.contains("nkscore"), "name"])
    assert without - curated == {"SIGNATUR_HEATSHOCK"}
    assert curated == {
        "NK_EXCLUSIVE",
        "NK_SHARED",
        "T_CELL_MARKERS",
        "B_CELL_MARKERS",
        "PLASMA_CELL_MARKERS",
        "MYELOID_MARKERS",
        "ERYTHROID_MARKERS",
        "PLATELET_MARKERS",
        "DENDRITIC_MARKERS",
        "PLASMACYTOID_DENDRITIC_MARKERS",
        "PROGENITOR_MARKERS",
    }


def test_derived_sets_say_so(sets):
    derived = sets[sets["name"].str.contains("DERIVED|NO_AMBIENT")]
    assert len(derived) == 4
    assert derived["note"].str.contains("Derived").all()


def test_names_are_unique_and_plain(sets):
    assert sets["name"].is_unique
    assert sets["name"].str.fullmatch(r"[A-Z][A-Z0-9_]+").all()
    assert not sets["name"].str.contains("TUMOUR|SIGNALLING").any()


def test_restricted_collections_are_not_packaged(sets):
    assert not sets["name"].str.contains("KEGG|BIOCARTA").any()


def test_symbols_are_plausible():
    genes = read_table("genes.tsv.gz")
    assert genes["gene"].str.fullmatch(r"[A-Z][A-Z0-9.-]*|[A-Z0-9]+orf\d+[A-Z0-9-]*").all()
    date = r"(?i)^\d{1,2}-(?:mar|sep|dec)|^(?:mar|sep|dec)-\d{1,2}$|^\d{4}-"
    assert not genes["gene"].str.contains(date).any()
    assert not genes.duplicated(["signature", "gene"]).any()
    assert set(genes["signature"]) == set(read_table("sets.tsv")["name"])
    assert (genes["weight"] == genes["direction"].map({"up": 1, "down": -1})).all()


def test_no_set_holds_two_names_of_one_gene(sets):
    others = synonyms()
    for name in sets["name"]:
        genes = set(signatures.get(name).genes)
        twice = {gene for gene in genes if genes & set(others.get(gene, ()))}
        assert not twice, (name, twice)


def test_catalog_hands_out_copies(sets):
    before = signatures.catalog()
    changed = signatures.catalog()
    changed.loc[:, "note"] = "spoilt"
    assert signatures.catalog().equals(before)
    pairs = signatures.ligand_receptor()
    pairs.loc[:, "class"] = "spoilt"
    assert "spoilt" not in set(signatures.ligand_receptor()["class"])


def test_get_names_the_nearest():
    with pytest.raises(
        MissingKeyError,
        match=r"no signature 'DUFVA2023_NK_RESTIN'.*Nearest: "
        r"DUFVA2023_NK_RESTING.*catalog\(\)",
    ):
        signatures.get("DUFVA2023_NK_RESTIN")
    with pytest.raises(MissingKeyError, match="Nearest: HALLMARK_HYPOXIA"):
        signatures.get("hypoxia")
    with pytest.raises(MissingKeyError) as raised:
        signatures.get("qqqqqqq")
    assert "Nearest" not in str(raised.value)


def test_panel_names_the_nearest():
    with pytest.raises(MissingKeyError, match=r"no panel 'tumour'.*Nearest: tumor.*panels\(\)"):
        signatures.panel("tumour")


def test_every_panel_can_be_had():
    table = signatures.panels()
    assert table["panel"].is_unique
    catalog_names = set(signatures.catalog()["name"])
    assert not catalog_names & set(table["panel"])
    for row in table.itertuples():
        members = signatures.panel(row.panel)
        assert len(members) == row.n_sets
        assert ", ".join(members) == row.labels
        assert all(label == member.name for label, member in members.items())
        assert set(row.signatures.split(", ")) <= catalog_names
    assert table.set_index("panel").loc["hallmark", "n_sets"] == 50


def test_tumor_panel_is_free_of_the_exclusive_nk_transcripts():
    core = signatures.panel("tumor")["DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"]
    assert not set(core.genes) & set(signatures.nk_exclusive())


def test_nk_tiers():
    exclusive = set(signatures.nk_exclusive())
    shared = set(signatures.get("NK_SHARED").up)
    assert {"GNLY", "PRF1", "GZMB", "KLRD1", "KLRF1", "FGFBP2", "XCL1", "XCL2"} <= exclusive
    assert {"CCL3", "CCL4", "CCL5", "TNF"} <= shared
    assert not exclusive & shared


def test_lineages_do_not_overlap_with_nk_identity():
    lineages = signatures.panel("lineages")
    seen: set[str] = set()
    for lineage in lineages.values():
        assert not seen & set(lineage.genes)
        seen |= set(lineage.genes)
    assert list(lineages) == [
        "nk",
        "t_cell",
        "b_cell",
        "plasma_cell",
        "myeloid",
        "erythroid",
        "platelet",
        "dendritic",
        "plasmacytoid_dendritic",
        "progenitor",
    ]


def test_import_is_light():
    code = (
        "import sys, nkscore.signatures as s; s.match(['GNLY'], ['GNLY']); "
        "print(sorted({'scanpy','anndata','matplotlib','numba','scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_read_can_be_followed(sets):
    assert not sets["where_read"].str.contains(r"find_string|search corpus|tsv \(").any()
    commits = sets["version"].str.extract(r"commit (\w+)")[0].dropna()
    assert all(re.fullmatch("[0-9a-f]{7,40}", commit) for commit in commits)
