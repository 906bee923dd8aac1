"""Missing self: published groups and rules, names of alleles, files of typing programs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from nkscore import io, signatures, tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.signatures._hla import parse_alleles


def _hla(**people):
    rows = [(who, allele) for who, alleles in people.items() for allele in alleles.split()]
    return pd.DataFrame(rows, columns=["sample", "allele"])


def _kir(donor="D", **genes):
    return pd.DataFrame(
        {
            "sample": donor,
            "gene": [f"KIR{gene}" for gene in genes],
            "present": pd.array([bool(v) for v in genes.values()], dtype="boolean"),
            "alleles": [v if isinstance(v, str) else "" for v in genes.values()],
        }
    )


def _status(made):
    return made.set_index("receptor")["status"].to_dict()


# --- published tables


def test_groups_of_hla_c():
    """Residue 80: Moesta and Parham 2012 (doi 10.3389/fimmu.2012.00336) and IPD-IMGT/HLA."""
    table = signatures.hla_groups().set_index("allele")["group"]
    for group, fields in {"C1": "01 03 07 08 12 14 16", "C2": "02 04 05 06 15 17 18"}.items():
        assert {table[f"C*{field}"] for field in fields.split()} == {group}
    other = {"C*07:07": "C2", "C*12:04": "C2", "C*15:07": "C1", "C*16:02": "C2"}
    assert {name: table[name] for name in other} == other


def test_leader_of_hla_b():
    """-21 M: Horowitz et al. 2016, doi 10.1126/sciimmunol.aag1672; all other groups have T."""
    table = signatures.hla_groups()
    table = table[table["allele"].str.fullmatch(r"B\*\d\d")].set_index("allele")["leader"]
    with_m = sorted(name.removeprefix("B*") for name in table.index[table == "M"])
    assert with_m == ["07", "08", "14", "38", "39", "42", "48", "67", "73", "81"]
    assert set(table) == {"M", "T"}


def test_ligands_of_kir3dl1():
    """Foley et al. 2008, Blood 112:435, and Stern et al. 2008, Blood 112:708."""
    bw4 = {
        **dict.fromkeys(["A*23:01", "A*24:02", "A*32:01", "B*27:05", "B*44:02", "B*51:01"], True),
        **dict.fromkeys(["B*38:01", "B*57:01", "B*58:01", "B*15:16", "B*27:02"], True),
        **dict.fromkeys(["A*25:01", "B*13:01", "B*13:02", "A*02:01", "B*07:02"], False),
        **dict.fromkeys(["B*35:01", "B*15:01", "B*27:08"], False),
    }
    for name, binds in bw4.items():
        gene = name[0]
        other = "B*08:01 B*08:01" if gene == "A" else "A*01:01 A*01:01"
        hla = _hla(D="A*24:02 A*24:02 B*07:02 B*07:02", T=f"{name} {name} {other}")
        made = tl.missing_self(hla, _kir(**{"3DL1": 1}))
        assert bool(made["ligand_in_tumor"].item()) is binds, name
    # The epitope is there in all that carry it, a ligand or not.
    groups = tl.hla_ligands(_hla(T="A*25:01 A*25:01 B*13:02 B*07:02"))
    assert groups[["Bw4", "Bw4_80I", "Bw4_80T"]].to_numpy().all()


def test_residue_80_of_bw4():
    for name, residue in {"B*57:01": "I", "B*51:01": "I", "B*44:02": "T", "B*27:05": "T"}.items():
        made = tl.hla_ligands(_hla(T=f"{name} B*07:02 A*01:01 A*02:01")).iloc[0]
        assert (made["Bw4_80I"], made["Bw4_80T"]) == (residue == "I", residue == "T")


@pytest.mark.parametrize("name", ["B*46:01", "B*73:01"])
def test_hla_b_with_the_c1_epitope(name):
    hla = _hla(D="C*07:02 C*07:02", T=f"{name} B*15:01 C*04:01 C*06:02")
    made = tl.missing_self(hla, _kir(**{"2DL3": 1, "2DL2": 1}))
    assert set(made["status"]) == {"inhibited"}
    assert set(made["alleles_tumor"]) == {name}


# --- pairs


def test_every_case_of_one_receptor():
    """Receptor, ligand of the donor, ligand of the tumor: all eight, for KIR2DL1 and C2."""
    expected = {
        (0, 0, 0): "no_receptor",
        (0, 0, 1): "no_receptor",
        (0, 1, 0): "no_receptor",
        (0, 1, 1): "no_receptor",
        (1, 0, 0): "uneducated",
        (1, 0, 1): "uneducated",
        (1, 1, 0): "missing_self",
        (1, 1, 1): "inhibited",
    }
    for case in itertools.product([0, 1], repeat=3):
        receptor, own, theirs = case
        hla = _hla(
            D="C*07:01 C*05:01" if own else "C*07:01 C*07:01",
            T="C*07:02 C*02:02" if theirs else "C*07:02 C*03:04",
        )
        made = tl.missing_self(hla, _kir(**{"2DL1": receptor})).iloc[0]
        assert made["status"] == expected[case]
        assert made["missing_self"] == (case == (1, 1, 0))


def test_activating_receptors_and_patients_against_themselves():
    hla = _hla(P="C*04:01 C*07:02 A*11:01 A*02:01")
    pairs = pd.DataFrame({"nk_donor": ["P"], "tumor": ["P"]})
    made = tl.missing_self(hla, _kir("P", **{"2DS1": 1, "2DS2": 1, "2DL1": 1, "3DS1": 1}), pairs)
    assert _status(made) == {"KIR2DL1": "inhibited", "KIR2DS1": "ligand", "KIR2DS2": "ligand"}
    assert made.attrs["left_out"] == ["KIR3DS1: no rule"]
    lost = tl.missing_self(hla, _kir("P", **{"2DS1": 1, "2DL1": 1}), pairs)
    assert not lost["missing_self"].any()


def test_lines_without_hla_lack_every_ligand():
    hla = _hla(D="A*03:01 A*24:02 B*07:02 B*08:01 C*07:02 C*05:01")
    kir = _kir(**{"2DL1": 1, "2DL3": 1, "3DL1": 1, "3DL2": 1})
    made = tl.missing_self(hla, kir, without_hla=["K562"])
    assert set(made["tumor"]) == {"K562"}
    assert made["missing_self"].all()
    silent = tl.hla_ligands(hla, without_hla=["K562"]).set_index("sample").loc["K562"]
    assert not silent[["C1", "C2", "Bw4"]].any()
    assert silent["n_leader_m"] == 0


def test_weak_ligands_count_where_asked():
    hla = _hla(D="C*07:02 C*07:02", T="C*04:01 C*06:02")
    kir = _kir(**{"2DL2": 1})
    assert _status(tl.missing_self(hla, kir)) == {"KIR2DL2": "missing_self"}
    every = ("strong", "peptide", "weak")
    assert _status(tl.missing_self(hla, kir, count=every)) == {"KIR2DL2": "inhibited"}


def test_receptors_that_do_not_reach_the_surface():
    hla = _hla(D="B*57:01 B*57:01 A*01:01 A*01:01 C*05:01 C*05:01", T="B*07:02 A*02:01 C*07:02")
    for text, present in {
        "KIR3DL1*004": False,
        "*00401+*0040102": False,
        "*004+*001": True,
    }.items():
        made = tl.missing_self(hla, _kir(**{"3DL1": text}))
        assert bool(made["receptor_present"].item()) is present, text
    made = tl.missing_self(hla, _kir(**{"2DS4": "KIR2DS4*0030101+KIR2DS4*006"}))
    assert _status(made) == {"KIR2DS4": "no_receptor"}


def test_features_for_associate():
    rng = np.random.default_rng(0)
    lines = {f"L{i}": "C*07:02 C*07:01" if i % 2 else "C*07:02 C*04:01" for i in range(24)}
    made = tl.missing_self(_hla(D="C*07:02 C*05:01", **lines), _kir(**{"2DL1": 1, "2DL3": 1}))
    feature = made.set_index(["tumor", "receptor"])["missing_self"].unstack()  # noqa: PD010
    auc = pd.Series({n: 0.3 * (int(n[1:]) % 2) + rng.normal(0, 0.1) for n in lines}, name="auc")
    with pytest.warns(UserWarning, match="KIR2DL3"):
        found = tl.associate(auc, feature)
    assert found[["feature", "test", "n_positive"]].values.tolist() == [["KIR2DL1", "wilcoxon", 12]]
    assert found["p_value"].item() < 0.01


# --- names


def test_names_of_alleles():
    for text, expected in {
        "HLA-A*24:02:01:02L": "A*24:02:01:02",
        "C*04:09N": "C*04:09",
        "B*07:02:01G": "B*07:02:01",
        "A*02:01P": "A*02:01",
        "A*2402": "A*24:02",
        "Cw*0702": "C*07:02",
        "DRB1*15:01": "DRB1*15:01",
    }.items():
        (one,) = parse_alleles(text)
        assert one.name == expected
    names = [a.name for a in parse_alleles("A*24:02/03/A*24:04")]
    assert names == ["A*24:02", "A*24:03", "A*24:04"]
    assert [a.name for a in parse_alleles("A*24:02:01/02:02")] == ["A*24:02:01", "A*24:02:02"]
    assert [a.name for a in parse_alleles("B*08:AB")] == ["B*08"]


def test_ambiguity_is_kept():
    """C*12:03 is C1, C*12:05 is C2."""
    made = tl.hla_ligands(_hla(sure="C*12:03/02 C*07:02", both="C*12:03/05 C*12:03/05"))
    made = made.set_index("sample")
    assert made.loc["sure", ["C1", "C2"]].tolist() == [True, False]
    assert made.loc["both", ["C1", "C2"]].isna().all()
    hla = _hla(D="C*12:03 C*05:01", both="C*12:03/05 C*12:03/05", one="C*12:03/05 C*04:01")
    pairs = tl.missing_self(hla, _kir(**{"2DL1": 1})).set_index("tumor")
    assert pairs["status"].to_dict() == {"both": "unknown", "one": "inhibited"}
    assert pairs.loc["both", "alleles_tumor"] == "C*12:03/C*12:05?"
    assert pd.isna(pairs.loc["both", "missing_self"])


def test_null_and_doubtful_alleles():
    made = tl.hla_ligands(
        _hla(
            null="C*04:09N C*07:02",
            unmarked="C*04:09 C*07:02",
            secreted="B*44:02:01:02S B*07:02 A*01:01",
            doubtful="C*04:22Q C*07:02",
            low="A*24:02:01:02L A*24:02:01:02L B*07:02 B*07:02",
        )
    ).set_index("sample")
    assert made.loc[["null", "unmarked"], "C2"].tolist() == [False, False]
    assert not made.loc["secreted", "Bw4"]
    assert pd.isna(made.loc["doubtful", "C2"])
    assert made.loc["low", "Bw4"]


def test_genes_that_were_not_typed_are_unknown():
    made = tl.hla_ligands(_hla(T="A*02:01 A*03:01", U="A*24:02 A*01:01")).set_index("sample")
    assert made.loc["T", ["C1", "C2", "Bw4"]].isna().all()
    assert made.loc["U", "Bw4"]
    assert made.loc["T", "A3_A11"]
    assert made["leader"].tolist() == ["", ""]
    assert made["n_leader_m"].isna().all()
    kir = _kir(**{"2DL1": 1}).assign(present=pd.array([pd.NA], dtype="boolean"))
    hla = _hla(D="C*05:01 C*05:01", T="C*07:01 C*07:01")
    assert _status(tl.missing_self(hla, kir)) == {"KIR2DL1": "unknown"}


def test_one_copy_counts_as_two():
    made = tl.hla_ligands(_hla(one="B*07:02", two="B*07:02 B*44:02"))
    assert made["leader"].tolist() == ["M/M", "M/T"]
    assert made["n_leader_m"].tolist() == [2, 1]


def test_bad_typing():
    kir = _kir(**{"2DL1": 1})
    for text, words in {
        "A*99:01": "no allele group A\\*99; it has A\\*01",
        "HLA-A2": "'HLA-A2' is not a name",
        "A*24:02/B*07:02": "several genes",
        "KIR2DL1*003": "is not a name",
    }.items():
        with pytest.raises(WrongScaleError, match=words):
            tl.hla_ligands(_hla(T=text))
    with pytest.raises(DesignError, match="Sample 'T' has 3 alleles of HLA-A"):
        tl.hla_ligands(_hla(T="A*01:01 A*02:01 A*03:01"))
    with pytest.raises(WrongScaleError, match="rows without a sample or an allele"):
        tl.hla_ligands(pd.DataFrame({"sample": ["T"], "allele": [None]}))
    with pytest.raises(MissingKeyError, match="no column 'allele'"):
        tl.hla_ligands(pd.DataFrame({"sample": ["T"]}))
    with pytest.raises(DesignError, match="No pair of donor and tumor"):
        tl.missing_self(_hla(D="C*07:01"), kir)
    hla = _hla(D="C*07:01", T="C*05:01")
    with pytest.raises(WrongScaleError, match="names no KIR gene"):
        tl.missing_self(hla, kir.assign(gene="NKG2A"))
    with pytest.raises(WrongScaleError, match="holds 'yes'; true or false"):
        tl.missing_self(hla, kir.assign(present=["yes"]))
    with pytest.raises(DesignError, match="several rows for KIR2DL1 of donor 'D'"):
        tl.missing_self(hla, pd.concat([kir, kir]))
    with pytest.raises(DesignError, match=r"No typed KIR gene has a rule \(typed: KIR3DS1\)"):
        tl.missing_self(hla, _kir(**{"3DS1": 1}))
    with pytest.raises(MissingKeyError, match="X"):
        tl.missing_self(hla, kir, pd.DataFrame({"nk_donor": ["X"], "tumor": ["T"]}))
    with pytest.raises(ValueError, match="names 'firm'"):
        tl.missing_self(hla, kir, count=["firm"])


# --- files


def test_files_of_hla(tmp_path):
    alleles = {"A": ["A*01:01:01", "A*24:02:01"], "B": ["B*07:02:01"], "C": ["C*07:02:01"]}
    arcas = tmp_path / "S1.genotype.json"
    arcas.write_text(json.dumps(alleles))
    merged = tmp_path / "genotypes.tsv"
    merged.write_text("subject\tA1\tA2\tB1\tB2\nS1\tA*01:01:01\tA*24:02:01\tB*07:02:01\t\n")
    optitype = tmp_path / "S1_result.tsv"
    optitype.write_text(
        "\tA1\tA2\tB1\tB2\tC1\tC2\tReads\tObjective\n"
        "0\tA*01:01\tA*24:02\tB*07:02\tB*07:02\tC*07:02\tC*07:02\t949.0\t924.3\n"
    )
    t1k = tmp_path / "S1_genotype.tsv"
    t1k.write_text(
        "HLA-A\t2\tHLA-A*01:01:01\t9.5\t60\tHLA-A*24:02:01,HLA-A*24:03:01\t8.1\t60\t.\n"
        "HLA-B\t1\tHLA-B*07:02:01\t9.5\t60\t.\t0\t-1\t.\n"
        "HLA-C\t2\tHLA-C*07:02:01\t9.5\t60\tHLA-C*04:01:01\t0.1\t0\t.\n"
        "HLA-G\t0\t.\t0\t-1\t.\t0\t-1\t.\n"
    )
    wide = tmp_path / "lines.csv"
    wide.write_text("cell line,HLA-A_1,HLA-A_2,Cw_1\nS1,01:01,24:02/03,07:02\nS2,,,05:01\n")
    long = tmp_path / "long.csv"
    long.write_text("sample;allele\nS1;HLA-A*01:01\nS1;A*24:02\n")
    for path in (arcas, merged, optitype, t1k, wide, long):
        made = io.read_hla(path)
        found = made[(made["sample"] == "S1") & (made["gene"] == "A")]["allele"]
        assert [a.removeprefix("HLA-")[:7] for a in found] == ["A*01:01", "A*24:02"], path
        tl.hla_ligands(made)
    assert io.read_hla(t1k)["allele"].tolist()[1:] == [
        "HLA-A*24:02:01/HLA-A*24:03:01",
        "HLA-B*07:02:01",
        "HLA-C*07:02:01",
    ]
    assert io.read_hla(wide)["gene"].tolist() == ["A", "A", "C", "C"]
    assert set(io.read_hla(arcas, sample="other")["sample"]) == {"other"}


def test_files_of_kir(tmp_path):
    t1k = tmp_path / "D1_t1k_genotype.tsv"
    t1k.write_text(
        "KIR2DL1\t1\tKIR2DL1*003\t9.5\t60\t.\t0\t-1\t.\n"
        "KIR2DS1\t0\t.\t0\t-1\t.\t0\t-1\t.\n"
        "KIR3DL1\t1\tKIR3DL1*004\t0.2\t0\t.\t0\t-1\t.\n"
    )
    wide = tmp_path / "wide.csv"
    wide.write_text("Donor,2DL1,KIR2DS1,3DL1,3DL2\nD1,KIR2DL1*003,neg,-,\n")
    copies = tmp_path / "copies.csv"
    copies.write_text("sample,KIR2DL1_1,KIR2DL1_2,2DS1,3DL1\nD1,*003,,0,no\n")
    long = tmp_path / "long.tsv"
    long.write_text(
        "sample\tgene\tpresent\nD1\tKIR2DL1\tyes\nD1\tKIR2DS1\t0\nD1\tKIR3DL1\tabsent\n"
    )
    for path in (t1k, wide, copies, long):
        made = io.read_kir(path)
        assert set(made["sample"]) == {"D1"}
        present = made.set_index("gene")["present"]
        expected = {"KIR2DL1": True, "KIR2DS1": False, "KIR3DL1": False}
        assert present.loc[list(expected)].to_dict() == expected, path
        tl.missing_self(_hla(D1="C*05:01", T="C*07:02"), made)
    assert io.read_kir(t1k)["alleles"].tolist() == ["KIR2DL1*003", "", ""]
    assert pd.isna(io.read_kir(wide).set_index("gene").loc["KIR3DL2", "present"])


def test_files_without_typing(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("gene,value\nCD3E,1\n")
    with pytest.raises(MissingKeyError, match="holds no alleles of HLA"):
        io.read_hla(path)
    with pytest.raises(MissingKeyError, match="holds no KIR genes"):
        io.read_kir(path)
    with pytest.raises(MissingKeyError, match="does not exist"):
        io.read_kir(tmp_path / "none.csv")
    path.write_text("2DL1\n1\n0\n")
    with pytest.raises(WrongScaleError, match="2 rows and no column that names the samples"):
        io.read_kir(path)
    path.write_text("donor,2DL1\nD1,maybe\n")
    with pytest.raises(WrongScaleError, match="holds 'maybe' for a KIR gene"):
        io.read_kir(path)
    path.write_bytes(b"\x00\x01{")
    with pytest.raises(MissingKeyError):
        io.read_hla(path)
    path.write_text('{"A": [1')
    with pytest.raises(MissingKeyError, match="not a table, or damaged"):
        io.read_hla(path)
