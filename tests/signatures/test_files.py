from __future__ import annotations

import pandas as pd
import pytest

from nkscore.errors import GeneCoverageError, MissingKeyError
from nkscore.signatures import Signature, as_signatures, catalog, get, load, save

OWN = {
    "signed": Signature(
        "signed",
        ("A", "B"),
        ("C",),
        citation='Ada "A" 1843, x',
        doi="10.1/a",
        note="tab\there, comma",
    ),
    "only_down": Signature("only_down", (), ("C", "D")),
    "ends_UP": Signature("ends_UP", ("A",)),
    "ends_DN": Signature("ends_DN", ("A",), ("B",)),
    "NA": Signature("NA", ("NA",)),
}


@pytest.mark.parametrize("ending", [".gmt", ".tsv", ".csv", ".gmt.gz", ".tsv.gz", ".csv.gz"])
def test_round_trip(tmp_path, ending):
    path = tmp_path / f"own{ending}"
    save(OWN, path)
    assert load(path) == OWN
    assert list(load(path)) == list(OWN)
    assert load(str(path)) == OWN


@pytest.mark.parametrize("ending", [".gmt", ".tsv"])
def test_round_trip_of_the_whole_catalog(tmp_path, ending):
    path = tmp_path / f"all{ending}"
    names = list(catalog()["name"])
    save(names, path)
    assert load(path) == {name: get(name) for name in names}


def test_compressed_files_are_compressed(tmp_path):
    save(OWN, tmp_path / "own.gmt.gz")
    assert (tmp_path / "own.gmt.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_gmt_can_be_read_by_others(tmp_path):
    save({"a": ["A", "B-"], "b": ["C"]}, tmp_path / "own.gmt")
    rows = [line.split("\t") for line in (tmp_path / "own.gmt").read_text().splitlines()]
    assert [(row[0], row[2:]) for row in rows] == [("a_UP", ["A"]), ("a_DN", ["B"]), ("b", ["C"])]


def test_names_are_those_of_the_mapping(tmp_path):
    save({"mine": get("DUFVA2023_NK_RESTING")}, tmp_path / "own.gmt")
    assert load(tmp_path / "own.gmt")["mine"].name == "mine"


def test_foreign_gmt_pairs_directions(tmp_path):
    path = tmp_path / "msigdb.gmt"
    path.write_text(
        "X_UP\thttp://x\tA\tB\nX_DN\thttp://x\tC\nY_UP\t\tD\nZ_DN\t\tE\nW_DOWN\tna\tF\nW_UP\tna\tG\n"
        "V\tna\tH\nV_UP\tna\tI\nV_DN\tna\tJ\n\n"
    )
    assert load(path) == {
        "X": Signature("X", ("A", "B"), ("C",)),
        "Y_UP": Signature("Y_UP", ("D",)),
        "Z_DN": Signature("Z_DN", ("E",)),
        "W": Signature("W", ("G",), ("F",)),
        # A set V exists besides: merging would hide it.
        "V": Signature("V", ("H",)),
        "V_UP": Signature("V_UP", ("I",)),
        "V_DN": Signature("V_DN", ("J",)),
    }


def test_foreign_long_tables(tmp_path):
    (tmp_path / "net.csv").write_text("source,target,weight\na,A,1\na,B,-0.3\nb,C,2\n")
    assert load(tmp_path / "net.csv") == {
        "a": Signature("a", ("A",), ("B",)),
        "b": Signature("b", ("C",)),
    }
    (tmp_path / "net.tsv").write_text("GeneSet\tSymbol\tDirection\nx\tA\tUP\nx\tB\tdn\nx\tC\t\n")
    assert load(tmp_path / "net.tsv") == {"x": Signature("x", ("A", "C"), ("B",))}
    (tmp_path / "plain.tsv").write_text("set\tgene\nx\tA\nx\tA\nx\tNA\n")
    assert load(tmp_path / "plain.tsv") == {"x": Signature("x", ("A", "NA"))}


def test_mapping():
    assert load({"a": ["A", "B-"]}) == {"a": Signature("a", ("A",), ("B",))}


def test_missing_column_is_named(tmp_path):
    (tmp_path / "bad.tsv").write_text("signature\tx\na\tA\n")
    with pytest.raises(
        MissingKeyError, match=r"bad\.tsv has the columns signature, x; one of gene"
    ):
        load(tmp_path / "bad.tsv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("signature\tgene\tdirection\na\tA\tsideways\n", "direction 'sideways'; 'up' or 'down'"),
        ("signature\tgene\tweight\na\tA\t0\n", "zero or missing"),
        ("signature\tgene\tweight\na\tA\t\n", "zero or missing"),
        ("signature\tgene\n\tA\n", "1 rows without a name"),
        ("signature\tgene\na\t\n", "empty gene symbol"),
        ("signature\tgene\tdirection\na\tA\tup\na\tA\tdown\n", "A both as up and as down"),
    ],
)
def test_bad_rows(tmp_path, text, message):
    (tmp_path / "bad.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "bad.tsv")


def test_spreadsheet_dates_are_found(tmp_path):
    (tmp_path / "dates.csv").write_text("signature,gene\na,GNLY\na,1-Sep\n")
    with pytest.raises(GeneCoverageError, match=r"dates\.csv cannot be used.*are dates.*1-Sep"):
        load(tmp_path / "dates.csv")


@pytest.mark.parametrize("name", ["empty.gmt", "empty.tsv"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).write_text("signature\tgene\n" if name.endswith("tsv") else "\n")
    with pytest.raises(GeneCoverageError, match="holds no genes"):
        load(tmp_path / name)


def test_set_twice_in_gmt(tmp_path):
    (tmp_path / "twice.gmt").write_text("X\t\tA\nX\t\tB\n")
    with pytest.raises(ValueError, match="holds the set 'X' twice"):
        load(tmp_path / "twice.gmt")
    (tmp_path / "twice.gmt").write_text("X_UP\t\tA\nX_DN\t\tB\nX_DOWN\t\tC\n")
    with pytest.raises(ValueError, match="holds down genes of 'X' twice"):
        load(tmp_path / "twice.gmt")


@pytest.mark.parametrize("name", ["sets.xlsx", "sets", "sets.gz"])
def test_other_kinds_of_files(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.gmt, \.tsv or \.csv"):
        load(tmp_path / name)
    with pytest.raises(ValueError, match=r"\.gmt, \.tsv or \.csv"):
        save(OWN, tmp_path / name)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.gmt")


def test_table_with_missing_values():
    table = pd.DataFrame({"signature": ["a", "a"], "gene": ["A", None]})
    with pytest.raises(TypeError, match="not a gene symbol"):
        as_signatures(table)


def test_mark_before_the_text_is_no_part_of_a_name(tmp_path):
    """Spreadsheets and editors of Windows write one."""
    path = tmp_path / "a.gmt"
    path.write_bytes("\ufeffkilling\tmine\tGNLY\tPRF1\n".encode())
    assert list(load(path)) == ["killing"]
