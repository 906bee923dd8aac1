"""Cytokine panels: marks of the plate reader become numbers by the rule that was asked for."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from nkscore import io
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

ROWS = [
    "Plate: 1",
    "Acquired: yesterday",
    "Type,Well,Description,Hu IFN-g (21),Hu TNF-a (36)",
    "X1,A1,NK,OOR <,*3.5",
    "X2,A2,K562 NK,80,12",
    "X3,A3,K562,8,OOR >",
]


def _write(tmp_path, rows=ROWS, name="plate.csv"):
    path = tmp_path / name
    path.write_text("\n".join(rows))
    return path


def _column(table, analyte, column="concentration"):
    return table.loc[table["analyte"] == analyte, column].tolist()


def test_rules_of_the_reference_study(tmp_path):
    table = io.read_bioplex(_write(tmp_path))
    assert list(table.columns) == ["sample", "well", "type", "analyte", "concentration", "flag"]
    assert _column(table, "IFN-g") == [8.0, 80.0, 8.0]
    assert _column(table, "TNF-a") == [3.5, 12.0, 12.0]
    assert _column(table, "IFN-g", "flag") == ["below", "", ""]
    assert _column(table, "TNF-a", "flag") == ["extrapolated", "", "above"]
    assert table["sample"].tolist()[:3] == ["NK", "K562 NK", "K562"]


def test_other_rules(tmp_path):
    half = io.read_bioplex(_write(tmp_path), below="half_limit", above="missing")
    assert _column(half, "IFN-g")[0] == 4.0
    assert np.isnan(_column(half, "TNF-a")[2])
    assert np.isnan(_column(io.read_bioplex(_write(tmp_path), below="missing"), "IFN-g")[0])


def test_empty_wells_and_what_follows_the_table(tmp_path):
    rows = [*ROWS, "X4,A4,blank,***,", ",,,,", "limits,,,1,2"]
    table = io.read_bioplex(_write(tmp_path, rows))
    assert table["sample"].tolist()[:4] == ["NK", "K562 NK", "K562", "blank"]
    assert len(table) == 8
    assert _column(table, "IFN-g", "flag")[3] == "missing"


def test_chosen_analytes(tmp_path):
    table = io.read_bioplex(_write(tmp_path), analytes=["TNF-a"])
    assert set(table["analyte"]) == {"TNF-a"}
    with pytest.raises(MissingKeyError, match="has no IL-2; it has IFN-g, TNF-a"):
        io.read_bioplex(_write(tmp_path), analytes=["IL-2"])


@pytest.mark.parametrize(
    ("row", "error", "match"),
    [
        ("X4,A4,x,many,1", WrongScaleError, "IFN-g, well 4: 'many' is not a concentration"),
        ("X4,A4,x,-3,1", WrongScaleError, "IFN-g, well 4: '-3' is not a concentration"),
    ],
)
def test_bad_cells(tmp_path, row, error, match):
    with pytest.raises(error, match=match):
        io.read_bioplex(_write(tmp_path, [*ROWS, row]))


def test_analyte_out_of_range_everywhere(tmp_path):
    path = _write(tmp_path, ["Well,Sample,IL-2,IL-4", "A1,x,OOR <,1", "A2,y,OOR <,2"])
    with pytest.raises(WrongScaleError, match="IL-2 is out of range in every well"):
        io.read_bioplex(path)
    assert np.isnan(io.read_bioplex(path, below="missing")["concentration"].iloc[:2]).all()
    assert len(io.read_bioplex(path, analytes=["IL-4"])) == 2


def test_no_header(tmp_path):
    with pytest.raises(MissingKeyError, match="no row with 'Well'"):
        io.read_bioplex(_write(tmp_path, ["a,b", "1,2"]))


def test_unknown_rule(tmp_path):
    with pytest.raises(ValueError, match="below must be one of limit, half_limit, missing"):
        io.read_bioplex(_write(tmp_path), below="zero")


@pytest.mark.skipif(
    importlib.util.find_spec("openpyxl") is None, reason="openpyxl is not installed"
)
def test_workbook(tmp_path):
    rows = [row.split(",") for row in ROWS]
    width = max(map(len, rows))
    frame = pd.DataFrame([row + [None] * (width - len(row)) for row in rows])
    frame.to_excel(tmp_path / "plate.xlsx", header=False, index=False)
    expected = io.read_bioplex(_write(tmp_path))
    pd.testing.assert_frame_equal(io.read_bioplex(tmp_path / "plate.xlsx"), expected)


def test_quotes_and_commas(tmp_path):
    head = "Well,Description,Hu IFN-g (21),Hu TNF-a (36)"
    table = io.read_bioplex(_write(tmp_path, [head, 'A1,"K562, NK","1,234.5",7', "A2,NK,2.5,8"]))
    assert table["sample"].tolist()[:2] == ["K562, NK", "NK"]
    assert _column(table, "IFN-g") == [1234.5, 2.5]
    decimal = [head.replace(",", ";"), "A1;K562;12,5;7,25", "A2;NK;1234,5;8"]
    table = io.read_bioplex(_write(tmp_path, decimal))
    assert _column(table, "IFN-g") == [12.5, 1234.5]
    assert _column(table, "TNF-a") == [7.25, 8.0]
    with pytest.raises(WrongScaleError, match=r"'1,234' the comma may be a decimal point"):
        io.read_bioplex(_write(tmp_path, [head.replace(",", ";"), "A1;K562;1,234;7", "A2;NK;2;8"]))
    with pytest.raises(WrongScaleError, match="'12,5' is not a concentration"):
        io.read_bioplex(_write(tmp_path, [head.replace(",", ";"), "A1;K562;12,5;7", "A2;NK;2.5;8"]))


def test_nothing_is_dropped_in_silence(tmp_path, caplog):
    head = "Well,Description,Hu IFN-g (21),Hu TNF-a (36)"
    table = io.read_bioplex(_write(tmp_path, [head, "A1,K562,5,7", ",,,", "A2,NK,2,8"]))
    assert len(table) == 2
    assert "1 rows below the first empty one are not read" in caplog.text
    with pytest.raises(DesignError, match=r"two columns of 'IFN-g' \('Hu IFN-g \(21\)' and"):
        io.read_bioplex(_write(tmp_path, [head.replace("TNF-a", "IFN-g"), "A1,K562,5,7"]))
    only = io.read_bioplex(_write(tmp_path), analytes="TNF-a")
    assert only["analyte"].unique().tolist() == ["TNF-a"]
