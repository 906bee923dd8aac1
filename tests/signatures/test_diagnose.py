from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nkscore.signatures import catalog, diagnose, get

GENES = ["GNLY", "NKG7", "HLA-A", "C1orf56", "MT-CO1", "CD3E", "IL2RA", "TRBC1", "RP11-5A19.5"]


def test_good_names_are_good():
    assert diagnose(GENES) is None
    every = {gene for name in catalog()["name"] for gene in get(name).genes}
    assert diagnose(sorted(every)) is None


@pytest.mark.parametrize(
    ("names", "found", "remedy"),
    [
        (["Gnly", "Cd3e", "H2-K1", "Nkg7"], "3 of 4 gene names are written like", "counterparts"),
        (["gnly", "hla-a"], "are in lower case (gnly)", "str.upper()"),
        (["ENSG00000115523", "ENSG00000105374"], "2 of 2 gene names are Ensembl IDs (", "symbols"),
        (["ENSG00000115523.12", "X"], "Ensembl IDs with a version (ENSG00000115523.12)", "symbols"),
        (["ENSMUSG00000004655"], "mouse Ensembl IDs", "human counterparts"),
        (["rna_GNLY", "rna_NKG7"], "carry a prefix (rna_GNLY)", "removeprefix('rna_')"),
        (["GRCh38_GNLY"], "carry a prefix", "removeprefix('GRCh38_')"),
        (["GRCh38___GNLY", "mm10___Gnly"], "carry a prefix", "removeprefix('GRCh38___')"),
        (["hg38_GNLY"], "carry a prefix", "removeprefix('hg38_')"),
        (["mm10_Gnly"], "prefix of a mouse genome", "human counterparts"),
        ([" GNLY", "NKG7"], "1 of 2 gene names begin or end with a space", "str.strip()"),
        (["NKG7 ", "GNLY"], "begin or end with a space", "str.strip()"),
        (["AAACCTGAGAAACCAT-1", "TTTCCTGAGAAACCAT-1"], "look like cell barcodes", "adata.T"),
        (["lane1_AAACCTGAGAAACCAT", "lane2_AAACCTGAGAAACCAT-1"], "cell barcodes", "adata.T"),
        (["0", "1", "2"], "are numbers (0)", "adata.var"),
        (["GNLY", "NKG7", "1-Mar"], "1 of 3 gene names are dates", "original file"),
        (["GNLY", "2018-09-09 00:00:00"], "are dates", "original file"),
        (["GNLY", "SEP-06"], "are dates", "original file"),
        (["GNLY", "NKG7", "GNLY"], "occur more than once (GNLY)", "var_names_make_unique"),
        ([], "no gene names: ", "no genes"),
    ],
)
def test_each_case(names, found, remedy):
    text = diagnose(names)
    assert text is not None
    assert found in text
    assert remedy in text


def test_several_findings_stand_together():
    text = diagnose(["rna_GNLY", "rna_GNLY"])
    assert "carry a prefix" in text
    assert "more than once" in text


def test_a_few_odd_names_are_no_symptom():
    names = [*(f"GENE{i}" for i in range(100)), "ENSG00000115523", "Gnly", " X"]
    assert diagnose(names) is None


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Index, pd.Series])
def test_any_container(kind):
    assert "lower case" in diagnose(kind(["gnly", "nkg7"]))
    assert diagnose(kind(GENES)) is None
