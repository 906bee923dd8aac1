"""``nkscore sheet``: templates, checks and sheets from names."""

from __future__ import annotations

import io

import pandas as pd
import pytest

import nkscore as nk
from nkscore.cli import main
from nkscore.io import _sheet_template


def test_a_template_is_a_sheet(tmp_path, capsys):
    assert main(["sheet", "--template"]) == 0
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)
    assert list(printed) == list(_sheet_template.MEANINGS)
    for name in ("new/a.csv", "a.tsv", "a.xlsx"):
        path = tmp_path / name
        assert main(["sheet", "--template", str(path)]) == 0
        assert f"nkscore sheet --check {path}" in capsys.readouterr().out
        table = nk.io.read_sample_sheet(path, check_files=False)
        assert table["condition"].tolist() == ["tumor_mono", "coculture", "nk_mono"]
        assert table["et_ratio"].tolist()[1] == 0.25
        assert main(["sheet", "--check", str(path), "--without-files"]) == 0
        assert (
            "3 samples in 1 lane; 1 tumor_mono, 1 coculture, 1 nk_mono" in capsys.readouterr().out
        )
    assert main(["sheet", "--template", "--out", str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "b.csv").read_text() == (tmp_path / "new" / "a.csv").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {"new", "a.tsv", "a.xlsx", "b.csv"}


def test_cells_of_the_workbook_stay_text(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    assert main(["sheet", "--template", str(tmp_path / "a.xlsx")]) == 0
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == ["samples", "columns"]
    cells = [cell for row in book["samples"]["A2:L100"] for cell in row]
    assert {cell.number_format for cell in cells} == {"@"}
    (choice,) = book["samples"].data_validations.dataValidation
    assert choice.formula1 == '"' + ",".join(nk.schema.CONDITIONS) + '"'
    assert str(choice.sqref) == "J2:J1000"


def test_the_page_lists_the_columns_of_the_template(request):
    page = (request.config.rootpath / "docs" / "sample_sheet.md").read_text(encoding="utf-8")
    for column in _sheet_template.MEANINGS:
        assert f"\n| `{column}` |" in page


def test_an_existing_sheet_is_kept(tmp_path, capsys):
    path = tmp_path / "a.csv"
    path.write_text("mine")
    assert main(["sheet", "--template", str(path)]) == 1
    assert "exists. Choose another name, or add --force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["sheet", "--template", str(path), "--force"]) == 0
    assert path.read_text() != "mine"
    assert main(["sheet", "--template", str(tmp_path / "a.docx")]) == 1
    assert ".csv, .tsv or .xlsx is needed" in capsys.readouterr().err


TEXT = """\
File,HTO,Sample,Cell line,Donor,Condition,Time,Plate
a.h5,1,s1,K562,,Tumor only,24,P1
a.h5,2,s2,K-562,d1,Co-culture,24,P1
a.h5,3,s3,,d1,NK only,24,P2
"""


def test_check_says_how_a_sheet_is_read(tmp_path, capsys):
    path = tmp_path / "s.csv"
    path.write_text(TEXT)
    assert main(["sheet", "--check", str(path), "--without-files"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: 3 samples in 1 lane; 1 tumor_mono, 1 coculture, 1 nk_mono"
    assert "tumor: K562, K-562" in lines
    assert "nk_donor: d1" in lines
    assert "The column 'Cell line' is read as tumor." in lines
    assert "The column 'HTO' is read as hashtag." in lines
    assert "Further columns: plate" in lines
    asked = [line for line in lines if line.startswith("Please check: ")]
    assert len(asked) == 2
    assert "'K562' and 'K-562' in column 'tumor' differ only by case" in " ".join(asked)
    assert lines[-1] == "Files were not looked for."


def test_check_lists_the_problems(tmp_path, capsys):
    path = tmp_path / "s.csv"
    path.write_text(TEXT.replace("Co-culture", "shaken").replace("s3", ""))
    assert main(["sheet", "--check", str(path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3 problems" in shown.err
    assert "row 2, column 'File': 'a.h5' does not exist" in shown.err
    assert (
        main(["sheet", "--check", str(path), "--without-files", "--extra-condition", "shaken"]) == 1
    )
    assert "1 problem (" in capsys.readouterr().err


def test_a_sheet_from_names(tmp_path, capsys, monkeypatch):
    names = tmp_path / "names.txt"
    names.write_text("K562-NK2-expanded\nK562\n\nNK2-expanded\nDoublet\nK562\n")
    out = tmp_path / "s.csv"
    assert main(["sheet", "--from-names", str(names), "--out", str(out)]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert table["sample"].tolist() == ["K562-NK2-expanded", "K562", "NK2-expanded"]
    assert table["condition"].tolist() == ["coculture", "tumor_mono", "nk_mono"]
    assert table["path"].tolist() == ["", "", ""]
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("THP1+d7\nTHP1\n"))
    pattern = r"(?P<tumor>\w+)(\+(?P<nk_donor>\w+))?"
    assert main(["sheet", "--from-names", "-", "--pattern", pattern]) == 0
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out), keep_default_na=False)
    assert printed["nk_donor"].tolist() == ["d7", ""]
    names.write_text("what is this\n")
    assert main(["sheet", "--from-names", str(names)]) == 1
    assert "match no pattern" in capsys.readouterr().err
    names.write_text("Doublet\n")
    assert main(["sheet", "--from-names", str(names)]) == 1
    assert "no names of samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["sheet"], ["sheet", "--template", "--check", "s.csv"], ["sheet", "s.csv"]]
)
def test_one_thing_at_a_time(wrong):
    with pytest.raises(SystemExit) as stop:
        main(wrong)
    assert stop.value.code == 2
