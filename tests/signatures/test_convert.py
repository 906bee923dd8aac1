from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nkscore.errors import GeneCoverageError, MissingKeyError
from nkscore.signatures import Signature, as_signatures, get, panel, vocabulary

RESTING, ADAPTIVE = "DUFVA2023_NK_RESTING", "DUFVA2023_NK_ADAPTIVE"


def test_name_of_a_set_or_panel():
    assert as_signatures(RESTING) == {RESTING: get(RESTING)}
    assert as_signatures("cell_cycle") == panel("cell_cycle")


def test_signature():
    own = Signature("own", up=("A",))
    assert as_signatures(own) == {"own": own}


def test_sequence_of_names_and_signatures():
    own = Signature("own", up=("A",))
    assert list(as_signatures([RESTING, own, "cell_cycle"])) == [RESTING, "own", "s", "g2m"]


@pytest.mark.parametrize(
    "genes",
    [
        ["PRF1", "GNLY"],
        ("PRF1", "GNLY"),
        np.array(["PRF1", "GNLY"]),
        pd.Index(["PRF1", "GNLY"]),
        pd.Series(["PRF1", "GNLY"]),
        (gene for gene in ["PRF1", "GNLY"]),
    ],
    ids=["list", "tuple", "array", "index", "series", "generator"],
)
def test_plain_genes_are_one_signature(genes):
    assert as_signatures(genes) == {"signature": Signature("signature", up=("PRF1", "GNLY"))}


def test_set_of_genes_has_a_fixed_order():
    assert as_signatures({"PRF1", "GNLY", "NKG7"})["signature"].up == ("GNLY", "NKG7", "PRF1")
    assert as_signatures({"a": {"PRF1", "GNLY"}})["a"].up == ("GNLY", "PRF1")


def test_partly_known_names_are_a_misspelling_not_genes():
    with pytest.raises(MissingKeyError, match=r"'DUFVA2023_NK_ADAPTIV' is neither.*Nearest: DUFVA"):
        as_signatures([RESTING, "DUFVA2023_NK_ADAPTIV"])


def test_mapping_of_genes_signatures_and_names():
    own = Signature("own", up=("A",), citation="Ada 1843")
    found = as_signatures({"genes": ["B", "C"], "mine": own, "rest": RESTING})
    assert found["genes"] == Signature("genes", up=("B", "C"))
    assert found["mine"] == own.rename("mine")
    assert found["rest"] == get(RESTING).rename("rest")


def test_suffixes_give_the_direction_and_hyphens_stay():
    found = as_signatures({"s": ["HLA-A", "HLA-B+", "NKX2-1-", "MKI67-", "TOP2A"]})["s"]
    assert found.up == ("HLA-A", "HLA-B", "TOP2A")
    assert found.down == ("NKX2-1", "MKI67")


def test_suffixes_count_in_a_plain_list_too():
    assert as_signatures(["FCGR3A+", "SELL-"])["signature"].weights == {"FCGR3A": 1, "SELL": -1}


def test_long_table():
    table = pd.DataFrame(
        {"source": ["a", "a", "b"], "target": ["A", "B", "C"], "weight": [0.5, -2.0, 1.0]}
    )
    found = as_signatures(table)
    assert found == {"a": Signature("a", ("A",), ("B",)), "b": Signature("b", ("C",))}


@pytest.mark.parametrize("empty", [[], {}, ()])
def test_nothing_is_an_error(empty):
    with pytest.raises(GeneCoverageError, match="No signature is given"):
        as_signatures(empty)


def test_set_without_genes_is_an_error():
    with pytest.raises(GeneCoverageError, match="Signatures without genes: a, c"):
        as_signatures({"a": [], "b": ["B"], "c": Signature("x", up=())})
    with pytest.raises(GeneCoverageError, match="without genes: a - b"):
        as_signatures(Signature("a", up=("A",)) - Signature("b", up=("A",)))


def test_single_gene_as_text_says_what_to_write():
    with pytest.raises(MissingKeyError, match=r"a single gene is written \['GNLY'\]"):
        as_signatures("GNLY")


def test_same_name_twice():
    with pytest.raises(ValueError, match="'DUFVA2023_NK_RESTING' is given twice"):
        as_signatures([RESTING, RESTING])


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (3, "given as int"),
        (None, "given as NoneType"),
        ([["GNLY"]], "pass a mapping of name to genes"),
        ({"a": 3}, "'a' is given as int"),
        ({"a": [1.5]}, "not a gene symbol"),
        ([RESTING, 3], "hold 3; only names"),
    ],
)
def test_other_types(x, text):
    with pytest.raises(TypeError, match=text):
        as_signatures(x)


def test_gene_in_both_directions():
    with pytest.raises(ValueError, match="GNLY both as up and as down"):
        as_signatures({"a": ["GNLY+", "GNLY-"]})


def test_unknown_set_as_value():
    with pytest.raises(MissingKeyError, match="no signature 'GNLY'"):
        as_signatures({"a": "GNLY"})


def test_levels_that_no_row_holds_are_no_sets():
    table = pd.DataFrame({"signature": ["a", "a", "b"], "gene": ["GNLY", "PRF1", "NKG7"]})
    table["signature"] = table["signature"].astype("category")
    part = table[table["signature"] == "a"]
    assert as_signatures(part) == {"a": Signature("a", up=("GNLY", "PRF1"))}


def test_spaces_around_a_name_are_no_part_of_it():
    table = pd.DataFrame({"set": ["a ", " a"], "gene": ["GNLY", "PRF1"]})
    assert as_signatures(table) == {"a": Signature("a", up=("GNLY", "PRF1"))}


def test_columns_of_one_name():
    table = pd.DataFrame([["a", "GNLY", "X"]], columns=["set", "gene", "Gene"])
    with pytest.raises(ValueError, match="more than one column 'gene'"):
        as_signatures(table)


@pytest.mark.parametrize(
    ("states", "message"), [({}, "No state is given"), ({"a": {"GNLY": 0}}, "without markers: a")]
)
def test_vocabulary_needs_markers(states, message):
    with pytest.raises(GeneCoverageError, match=message):
        vocabulary(states)
