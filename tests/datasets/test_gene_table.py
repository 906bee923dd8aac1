"""The packaged tables hold real genes, all programs and every published signature gene."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

import nkscore as nk
from nkscore.datasets._genes import FLOOR, gene_table, program_table, select_genes
from nkscore.datasets._lines import LINEAGES, NK_STATES

SHARED = (Path(__file__).parents[2] / ".." / "shared").resolve()
JUNK = r"(RP\d+-|CTD-|CTB-|CTC-|LOC\d|ENSG|A[CLPF]\d{6}|RN7|RNA\d|RNVU|VTRNA|MIR\d+$|SNOR)"


def test_table_is_large_unique_and_sorted():
    genes = gene_table()["gene"]
    assert len(genes) >= 8_000
    assert genes.is_unique
    assert genes.is_monotonic_increasing
    assert genes.str.fullmatch(r"[A-Z][A-Za-z0-9]*(-[A-Z0-9]+)?").all()


def test_classes():
    table = gene_table().set_index("gene")["class"]
    assert (table == "mitochondrial").sum() == 13
    assert table["MT-CO1"] == "mitochondrial"
    assert table["RPL3"] == "ribosomal"
    assert table["RPS6KA1"] != "ribosomal"
    assert table["B2M"] == "hla"
    assert table["GAPDH"] == "housekeeping"


def test_nk_markers_are_silent_in_tumor_cells():
    table = gene_table().set_index("gene")
    markers = ["NKG7", "GNLY", "KLRD1", "PRF1", "GZMB", "KLRF1", "NCAM1", "CST7"]
    assert (table.loc[markers, "tumor"] == FLOOR).all()
    assert (table.loc[markers, "nk"] >= 6).all()


def test_programs_use_known_genes_once():
    programs = program_table()
    assert set(programs["gene"]) <= set(gene_table()["gene"])
    assert not programs.duplicated(["program", "gene"]).any()
    names = set(programs["program"])
    assert {f"nk_{state}" for state in NK_STATES} <= names
    assert {f"identity_{lineage}" for lineage in LINEAGES} <= names


def test_core_response_is_planted_without_the_ambient_gene():
    ifng = program_table().query("program == 'ifng_response'").set_index("gene")["value"]
    core = sorted({*nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE").up} - {"GNLY"})
    assert len(core) == 16
    assert ifng[core].between(0.3, 2.0).all()
    assert "GNLY" not in ifng


def test_fewer_genes_keep_the_signature_genes():
    everything, fewer = select_genes(None), select_genes(5_000)
    assert fewer.names.size == 5_000
    assert set(program_table()["gene"]) <= set(fewer.names)
    assert (fewer.kept_share < 1).all()
    assert (fewer.kept_share > 0.8).all()
    assert everything.kept_share.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [10, 1_000_000])
def test_too_few_or_too_many_genes(bad):
    with pytest.raises(ValueError, match=rf"n_genes is {bad}; .*Choose a number between"):
        select_genes(bad)


def test_every_gene_of_the_catalog_is_in_the_table():
    known = set(gene_table()["gene"])
    for name in nk.signatures.catalog()["name"]:
        signature = nk.signatures.get(name)
        if "DENDRITIC" in name or "PROGENITOR" in name:  # these cells are not simulated
            continue
        genes = {*signature.up, *signature.down} - {"MT-CYTB"}
        assert {gene for gene in genes - known if not re.match(JUNK, gene)} == set(), name


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is absent")
def test_every_signature_gene_is_in_the_table():
    known = set(gene_table()["gene"])
    with (SHARED / "reference" / "signatures.tsv").open() as handle:
        wanted = {row["gene"] for row in csv.DictReader(handle, delimiter="\t")}
    for line in (SHARED / "reference" / "hallmark_v2025_human.gmt").read_text().splitlines():
        wanted.update(line.split("\t")[2:])
    missing = {gene for gene in wanted - known if not re.match(JUNK, gene)} - {"MT-CYTB"}
    # Read-through names and lower-case oddities are no symbols of one gene.
    assert {gene for gene in missing if re.fullmatch(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)?", gene)} == set()
    assert len(missing) < 60
