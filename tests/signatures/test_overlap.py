from __future__ import annotations

import pytest

from nkscore.signatures import Signature, overlap


def test_by_hand():
    a = Signature("a", up=("A", "B", "C"), down=("D",))
    b = Signature("b", up=("B", "D"))
    c = Signature("c", up=("X",))
    table = overlap([a, b, c])
    assert table[["signature_a", "signature_b"]].to_numpy().tolist() == [
        ["a", "b"],
        ["a", "c"],
        ["b", "c"],
    ]
    row = table.iloc[0]
    assert row[["n_a", "n_b", "n_shared", "n_opposite"]].tolist() == [4, 2, 2, 1]
    assert row["jaccard"] == pytest.approx(2 / 4)
    assert row["overlap_coefficient"] == pytest.approx(2 / 2)
    assert row["shared"] == "B, D"
    assert table.loc[1:, "jaccard"].tolist() == [0, 0]


def test_most_alike_first():
    table = overlap({"a": ["A"], "b": ["A", "B"], "c": ["A"]})
    assert table.loc[0, ["signature_a", "signature_b", "jaccard"]].tolist() == ["a", "c", 1.0]


def test_one_signature_has_no_pairs_but_all_columns():
    table = overlap(["GNLY"])
    assert len(table) == 0
    assert "jaccard" in table.columns


def test_the_two_core_responses_share_fourteen_genes():
    table = overlap(["DUFVA2023_CORE_NK_RESPONSE", "DUFVA2023_CORE_NK_RESPONSE_MODULESCORE"])
    assert table.loc[0, ["n_a", "n_b", "n_shared"]].tolist() == [17, 17, 14]
    assert table.loc[0, "jaccard"] == pytest.approx(14 / 20)
