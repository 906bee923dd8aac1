from __future__ import annotations

import dataclasses

import pytest

from nkscore.signatures import Signature


def test_genes_are_kept_once_in_order():
    signature = Signature("s", up=("B", "A", "B"), down=("D", "C", "D"))
    assert signature.up == ("B", "A")
    assert signature.down == ("D", "C")
    assert signature.genes == ("B", "A", "D", "C")
    assert len(signature) == 4
    assert signature.weights == {"B": 1, "A": 1, "D": -1, "C": -1}


def test_lists_become_tuples_and_spaces_go():
    assert Signature("s", up=[" GNLY", "HLA-A "]).up == ("GNLY", "HLA-A")


def test_gene_in_both_directions_is_an_error():
    with pytest.raises(ValueError, match=r"'s' holds B both as up and as down\..*one direction"):
        Signature("s", up=("A", "B"), down=("B",))


@pytest.mark.parametrize("name", ["", "a\tb", "a\nb"])
def test_name_must_be_usable(name):
    with pytest.raises(ValueError, match="name without tabs and line breaks"):
        Signature(name, up=("A",))


def test_one_string_is_not_a_list_of_letters():
    with pytest.raises(TypeError, match=r"single string 'GNLY'.*Write \('GNLY',\)"):
        Signature("s", up="GNLY")


@pytest.mark.parametrize("gene", [float("nan"), 3, None])
def test_genes_are_strings(gene):
    with pytest.raises(TypeError, match="not a gene symbol"):
        Signature("s", up=("A", gene))


def test_empty_gene_is_an_error():
    with pytest.raises(ValueError, match="empty gene symbol"):
        Signature("s", up=("A", " "))


def test_frozen_and_slotted():
    signature = Signature("s", up=("A",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        signature.name = "other"
    assert not hasattr(signature, "__dict__")


def test_empty_signature_is_still_true():
    assert Signature("s", up=())
    assert len(Signature("s", up=())) == 0


class TestOperators:
    a = Signature(
        "a", up=("A", "B"), down=("C", "D"), citation="Ada 1843", doi="10.1/a", compartment="nk"
    )
    b = Signature("b", up=("B", "E", "C"), down=("D",), compartment="tumor")

    def test_union_keeps_signs(self):
        union = self.a | Signature("c", up=("B", "X"), down=("D", "Y"))
        assert union.up == ("A", "B", "X")
        assert union.down == ("C", "D", "Y")

    def test_union_of_opposite_signs_is_an_error(self):
        with pytest.raises(ValueError, match="holds C both as up and as down"):
            _ = self.a | self.b

    def test_intersection_needs_the_same_sign(self):
        both = self.a & self.b
        assert both.up == ("B",)
        assert both.down == ("D",)

    def test_difference_ignores_the_sign(self):
        rest = self.a - self.b
        assert rest.up == ("A",)
        assert rest.down == ()

    def test_provenance_moves_to_the_note(self):
        both = self.a & self.b
        assert both.name == "a & b"
        assert both.note == "Made from a (Ada 1843, 10.1/a) & b."
        assert both.citation == both.doi == both.compartment == ""
        assert (self.a & self.a).compartment == "nk"

    def test_only_with_signatures(self):
        for operation in ("__or__", "__and__", "__sub__"):
            assert getattr(self.a, operation)({"A"}) is NotImplemented

    def test_rename_changes_only_the_name(self):
        renamed = self.a.rename("z")
        assert renamed.name == "z"
        assert dataclasses.replace(renamed, name="a") == self.a
