from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from nkscore import signatures
from nkscore.errors import GeneCoverageError, NkscoreWarning
from nkscore.signatures import Signature, coverage, match

SIGNED = Signature("s", up=("C", "A"), down=("B",))


def test_positions_by_hand():
    found = match(["A", "X", "B", "C"], SIGNED)
    np.testing.assert_array_equal(found.up["s"], [3, 0])
    np.testing.assert_array_equal(found.down["s"], [2])
    assert found.up["s"].dtype == found.down["s"].dtype == np.int64
    assert found.signatures == {"s": SIGNED}
    assert found.coverage.to_dict("records") == [
        {
            "signature": "s",
            "n_genes": 3,
            "n_found": 3,
            "n_by_alias": 0,
            "fraction": 1.0,
            "missing": "",
        }
    ]


def test_unsigned_set_has_an_empty_int64_down():
    found = match(["A"], ["A"])
    assert found.down["signature"].dtype == np.int64
    assert found.down["signature"].shape == (0,)


def test_order_of_columns_does_not_change_the_order_of_genes():
    names = np.array(["A", "X", "B", "C", "Y"])
    for seed in range(5):
        shuffled = names[np.random.default_rng(seed).permutation(5)]
        found = match(shuffled, SIGNED)
        assert shuffled[found.up["s"]].tolist() == ["C", "A"]
        assert shuffled[found.down["s"]].tolist() == ["B"]


def test_coverage_by_hand():
    with pytest.warns(NkscoreWarning) as caught:
        found = match(["A", "B", "D"], {"s": SIGNED, "t": ["D", "E", "F", "A"]})
    assert {item.filename for item in caught} == {__file__}
    table = found.coverage.set_index("signature")
    assert table.loc["s", ["n_genes", "n_found", "fraction"]].tolist() == [3, 2, 2 / 3]
    assert table.loc["t", ["n_genes", "n_found", "fraction"]].tolist() == [4, 2, 0.5]
    assert table.loc["s", "missing"] == "C"
    assert table.loc["t", "missing"] == "E,F"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("H2AFZ", "H2AZ1"),
        ("H2AZ1", "H2AFZ"),
        ("HIST1H4C", "H4C3"),
        ("FAM64A", "PIMREG"),
        ("MLF1IP", "CENPU"),
        ("HN1", "JPT1"),
        ("SEPT6", "SEPTIN6"),
        ("MARCH1", "MARCHF1"),
        ("JCHAIN", "IGJ"),
        ("H3F3B", "H3-3B"),
        ("GPR56", "ADGRG1"),
        ("SELENOP", "SEPP1"),
    ],
)
def test_aliases_both_ways(data, wanted):
    found = match(["ACTB", data], [wanted])
    assert found.up["signature"].tolist() == [1]
    assert found.coverage["n_by_alias"].tolist() == [1]
    found = match(["ACTB", wanted], [data])
    assert found.up["signature"].tolist() == [1]
    with pytest.raises(GeneCoverageError):
        match(["ACTB", data], [wanted], aliases=False)


def test_old_to_old_through_the_current_name():
    # SELS and VIMP are both former names of SELENOS.
    assert match(["VIMP"], ["SELS"]).up["signature"].tolist() == [0]


def test_current_name_wins_over_another_old_one():
    assert match(["VIMP", "SELENOS"], ["SELS"]).up["signature"].tolist() == [1]


def test_own_name_wins_over_alias():
    found = match(["H2AFZ", "H2AZ1"], ["H2AZ1"])
    assert found.up["signature"].tolist() == [1]
    assert found.coverage["n_by_alias"].tolist() == [0]


@pytest.mark.parametrize("genes", [["H2AFZ", "H2AZ1", "GNLY"], ["H2AZ1", "H2AFZ", "GNLY"]])
@pytest.mark.parametrize("column", ["H2AZ1", "H2AFZ"])
def test_two_names_of_one_gene_count_once(genes, column):
    found = match([column, "GNLY"], genes)
    assert sorted(found.up["signature"]) == [0, 1]
    assert found.coverage.loc[0, ["n_genes", "n_found", "n_by_alias"]].tolist() == [2, 2, 0]


def test_two_old_names_share_one_column_through_aliases():
    found = match(["SELENOS", "GNLY"], ["SELS", "VIMP", "GNLY"])
    assert sorted(found.up["signature"]) == [0, 1]
    assert found.coverage.loc[0, ["n_genes", "n_found", "n_by_alias"]].tolist() == [2, 2, 1]


def test_two_names_of_one_absent_gene_are_missing_once():
    with pytest.warns(NkscoreWarning, match=r"1 of 2 \(absent: H2AFZ\)") as caught:
        found = match(["GNLY"], ["H2AFZ", "H2AZ1", "GNLY"])
    assert {item.filename for item in caught} == {__file__}
    assert found.coverage.loc[0, ["n_genes", "n_found", "missing"]].tolist() == [2, 1, "H2AFZ"]


def test_one_gene_with_opposite_directions_under_two_names():
    contradiction = Signature("s", up=("H2AFZ",), down=("H2AZ1",))
    with pytest.raises(GeneCoverageError, match="H2AFZ and H2AZ1 with opposite directions"):
        match(["H2AZ1"], contradiction)


def test_no_column_is_both_up_and_down():
    names = sorted({g for s in signatures.catalog()["name"] for g in signatures.get(s).genes})
    found = match(names, list(signatures.catalog()["name"]))
    for name in found.signatures:
        together = np.concatenate([found.up[name], found.down[name]])
        assert len(np.unique(together)) == len(together) == len(signatures.get(name))


def test_too_few_genes_names_set_genes_and_remedy():
    with pytest.raises(GeneCoverageError) as raised:
        match(["GNLY", "A"], {"few": ["GNLY", "PRF1", "NKG7"], "fine": ["A"]})
    text = str(raised.value)
    assert "1 of 2 signatures have too few of their genes in the data" in text
    assert "few 1 of 3 (absent: PRF1, NKG7)" in text
    assert "fine" not in text
    assert "Each needs 50% of its genes (min_coverage=0.5)" in text
    assert "The data contain only 2 genes: use all genes" in text


def test_error_diagnoses_the_names():
    with pytest.raises(GeneCoverageError, match="2 of 2 gene names are written like mouse genes"):
        match(["Gnly", "Nkg7"], "nk_states_expanded")


def test_error_without_diagnosis_says_what_to_check():
    with pytest.raises(GeneCoverageError, match="or lower min_coverage"):
        match([f"G{i}" for i in range(6000)], ["GNLY"])


def test_all_absent_fails_whatever_the_limit():
    with pytest.raises(GeneCoverageError, match="signature 0 of 1"):
        match(["A"], ["GNLY"], min_coverage=0)


def test_lost_direction_fails_whatever_the_limit():
    lopsided = Signature("s", up=("A",), down=tuple(f"D{i}" for i in range(9)))
    with pytest.raises(GeneCoverageError, match=r"s 9 of 10 \(absent: A\).*each direction"):
        match([f"D{i}" for i in range(9)], lopsided)


def test_limit_is_inclusive():
    with pytest.warns(NkscoreWarning) as caught:
        match(["A", "B"], ["A", "B", "C", "D"], min_coverage=0.5)
    assert {item.filename for item in caught} == {__file__}
    with pytest.raises(GeneCoverageError):
        match(["A", "B"], ["A", "B", "C", "D"], min_coverage=0.51)


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
def test_limit_is_a_share(limit):
    with pytest.raises(ValueError, match="a share between 0 and 1 is needed"):
        match(["A"], ["A"], min_coverage=limit)


def test_one_warning_lists_all_incomplete_sets():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        match(["A", "B"], {"x": ["A", "C"], "y": ["B", "D"], "z": ["A"]})
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.startswith("2 of 3 signatures are incomplete")
    assert "x 1 of 2 (absent: C); y 1 of 2 (absent: D)" in text
    assert caught[0].filename == __file__


def test_long_lists_are_cut():
    genes = {f"s{i:02d}": ["A", *(f"M{j}" for j in range(12))] for i in range(25)}
    with pytest.warns(NkscoreWarning) as caught:
        match(["A"], genes, min_coverage=0)
    assert {item.filename for item in caught} == {__file__}
    text = str(caught[0].message)
    assert "M7 and 4 more" in text
    assert "M8" not in text
    assert "s19" in text
    assert "s20" not in text
    assert "and 5 more (signatures.coverage lists all)" in text


def test_repeated_gene_in_a_set_counts_once():
    found = match(["A", "B"], ["A", "A", "B"])
    assert found.up["signature"].tolist() == [0, 1]
    assert found.coverage.loc[0, "n_genes"] == 2


def test_repeated_gene_names_are_an_error():
    with pytest.raises(GeneCoverageError, match=r"1 gene names occur more than once \(GNLY\)"):
        match(["GNLY", "PRF1", "GNLY"], ["PRF1"])


def test_empty_signature_and_empty_data():
    with pytest.raises(GeneCoverageError, match="without genes: a"):
        match(["A"], {"a": []})
    with pytest.raises(GeneCoverageError, match="no gene names: "):
        match([], ["A"])


def test_one_gene():
    found = match(pd.Index(["X", "GNLY"]), ["GNLY"])
    assert found.up["signature"].tolist() == [1]


def test_coverage_of_an_anndata_raises_nothing_and_writes_nothing():
    adata = AnnData(np.ones((2, 3)), var=pd.DataFrame(index=["GNLY", "H2AFZ", "X"]))
    table = coverage(adata, {"none": ["PRF1"], "some": ["GNLY", "H2AZ1", "NKG7"]})
    assert table["n_found"].tolist() == [0, 2]
    assert table["fraction"].tolist() == [0.0, 2 / 3]
    assert table["n_by_alias"].tolist() == [0, 1]
    assert table["missing"].tolist() == ["PRF1", "NKG7"]
    assert not adata.uns
    assert list(adata.var_names) == ["GNLY", "H2AFZ", "X"]


def test_all_sets_against_ten_thousand_genes_are_fast():
    names = list(signatures.catalog()["name"])
    known = sorted({gene for name in names for gene in signatures.get(name).genes})[::2][:3000]
    var_names = known + [f"FILL{i}" for i in range(10_000 - len(known))]
    wanted = signatures.as_signatures(names)
    start = time.perf_counter()
    with pytest.raises(GeneCoverageError, match="too few of their genes"):
        match(var_names, wanted)
    assert time.perf_counter() - start < 0.5
