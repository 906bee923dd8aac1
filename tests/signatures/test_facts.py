from __future__ import annotations

from nkscore.signatures import crispr_hits, get, ligand_receptor
from nkscore.signatures._tables import read_table, synonyms


def test_pairs_are_tidy():
    pairs = ligand_receptor()
    assert not pairs.duplicated(["nk_gene", "tumor_gene"]).any()
    assert set(pairs["sender"]) == {"tumor", "nk", "both"}
    for column in ("plotted_in_dufva2023", "crispr_hit_in_dufva2023", "doubtful"):
        assert pairs[column].dtype == bool
    for column in ("nk_gene", "tumor_gene", "class", "sources"):
        assert pairs[column].ne("").all()
    assert pairs["pmids"].str.fullmatch(r"(\d+(;\d+)*)?").all()


def test_textbook_pairs():
    kinds = {
        ("NCR3", "NCR3LG1"): "activating",
        ("KLRK1", "MICA"): "activating",
        ("KLRC1", "HLA-E"): "inhibitory",
        ("TIGIT", "PVR"): "inhibitory",
        ("ITGAL", "ICAM1"): "adhesion",
        ("FASLG", "FAS"): "death",
    }
    pairs = ligand_receptor().set_index(["nk_gene", "tumor_gene"])
    assert pairs.loc[list(kinds), "class"].to_dict() == kinds


def test_obligate_partner_of_nkg2a():
    pairs = ligand_receptor().set_index(["nk_gene", "tumor_gene"])
    assert pairs.loc[("KLRC1", "HLA-E"), "nk_partners"] == "KLRD1"


def test_artifact_is_marked():
    pairs = ligand_receptor().set_index(["nk_gene", "tumor_gene"])
    assert pairs["doubtful"].sum() == 1
    assert pairs.loc[("KLRK1", "HLA-E"), "doubtful"]


def test_ligand_sets_come_from_the_pairs():
    known = set(ligand_receptor()["tumor_gene"])
    for name in ("NK_LIGANDS_NKG2D", "NK_LIGANDS_DNAM1", "NK_LIGANDS_NKG2A", "NK_DEATH_RECEPTORS"):
        assert set(get(name).up) <= known


def test_hits():
    hits = crispr_hits()
    assert not hits.duplicated(["gene", "study"]).any()
    assert set(hits["effect"]) == {"protects", "sensitizes", "unknown"}
    assert set(hits["perturbation"]) == {"loss", "gain"}
    assert hits["effect_read"].sum() == 7
    assert not hits.loc[hits["study"].str.contains("Dufva"), "effect_read"].any()
    assert set(hits.loc[hits["perturbation"] == "gain", "gene"]) == {"MUC1", "MUC21"}
    assert (hits["study"].str.contains("Dufva")).sum() == 70
    assert hits["doi"].ne("").all()


def test_aliases_are_one_to_one_from_the_old_side():
    table = read_table("aliases.tsv")
    assert table["old"].is_unique
    assert not set(table["old"]) & set(table["current"])
    assert (table["old"] != table["current"]).all()
    assert synonyms()["H2AFZ"] == ("H2AZ1",)
    assert synonyms()["SELS"] == ("SELENOS", "VIMP")
    assert set(synonyms()["SELENOS"]) == {"SELS", "VIMP"}
