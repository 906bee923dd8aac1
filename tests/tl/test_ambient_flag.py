from __future__ import annotations

import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import MissingKeyError


def test_raised_nk_genes_are_flagged():
    table = pd.DataFrame(
        {
            "gene": ["GNLY", "GNLY", "PRF1", "HLA-B", "NKG7"],
            "log2_fc": [1.0, -1.0, 0.0, 2.0, 0.3],
            "tumor": list("ababa"),
        }
    )
    flagged = nk.tl.flag_ambient(table)
    # Raised and NK-specific: the first and the last; lowered, unchanged or of tumors: not.
    assert flagged["ambient_suspect"].tolist() == [True, False, False, False, True]
    assert flagged["ambient_suspect"].dtype == bool
    assert "ambient_suspect" not in table


def test_own_genes_replace_the_default():
    table = pd.DataFrame({"gene": ["GNLY", "HLA-B"], "avg_log2FC": [1.0, 2.0]})
    flagged = nk.tl.flag_ambient(table, nk_genes=["HLA-B"])
    assert flagged["ambient_suspect"].tolist() == [False, True]


def test_index_and_rows_stay_as_they_are():
    table = pd.DataFrame({"gene": ["HLA-B", "GNLY"], "log2_fc": [1.0, 2.0]}, index=[7, 7])
    flagged = nk.tl.flag_ambient(table)
    pd.testing.assert_frame_equal(flagged.drop(columns="ambient_suspect"), table)


@pytest.mark.parametrize("table", [{"gene": ["A"], "lfc": [1.0]}, {"log2_fc": [1.0]}])
def test_missing_columns(table):
    with pytest.raises(MissingKeyError, match=r"gene and 'log2_fc'.*are needed"):
        nk.tl.flag_ambient(pd.DataFrame(table))


def test_empty_table():
    table = pd.DataFrame({"gene": pd.Series(dtype=str), "log2_fc": pd.Series(dtype=float)})
    assert nk.tl.flag_ambient(table)["ambient_suspect"].tolist() == []


@pytest.mark.parametrize("line", ["697", "RCHACV"])
def test_published_tables(shared, line):
    folder = shared / "data/dufva2023_target_de"
    table = pd.read_csv(folder / f"{line}_expandedNK_vs_untreated.tsv.gz", sep="\t")
    flagged = nk.tl.flag_ambient(table).set_index("gene")["ambient_suspect"]
    assert flagged["GNLY"]
    assert not flagged[["HLA-B", "STAT1", "PSMB9", "B2M", "HLA-E"]].any()
    assert 3 < flagged.sum() < 40


def test_simulated_ambient_genes_are_caught(simulate):
    soup = simulate(tumors=["697", "GDM1"], ambient=0.2, null=True)
    table = nk.tl.flag_ambient(nk.tl.interaction_response(soup))
    found = table[table["q_value"] < 0.05]
    # Nothing was planted; what is found is NK RNA, and the genes best known for it are flagged.
    flagged = found[found["ambient_suspect"]]
    assert len(flagged) >= 5
    assert (flagged["log2_fc"] > 0).all()
    known = found[found["gene"].isin(["GNLY", "PRF1", "GZMB"])]
    assert len(known) >= 3
    assert known["ambient_suspect"].all()
