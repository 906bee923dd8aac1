"""Sheets as labs write them: workbooks, other names of columns, other words for conditions."""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore import schema
from nkscore.errors import NkscoreWarning, SampleSheetError
from nkscore.io import _sheet_columns, _tag_names


def read(path, **options):
    return nk.io.read_sample_sheet(path, check_files=False, **options)


def quietly(path, text, **options):
    """Read the sheet ``text`` and expect no warning."""
    path.write_text(text, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(path, **options)


def asking(path, text, match):
    """Read the sheet ``text`` and expect one question."""
    path.write_text(text, encoding="utf-8")
    with pytest.warns(NkscoreWarning, match=match) as caught:
        table = read(path)
    assert len(caught) == 1
    return table


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sheet.csv"


HEAD = "path,sample,condition,cell line,donor"


# --- columns


@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("path", "Path|FILE PATH|file|Filename|Folder|h5 file|Matrix path|outs"),
        ("lane", "Lane|10x lane|GEM well|Channel|Pool|Lane ID"),
        ("hashtag", "HTO|Hash-tag|hashtag name|HTO #|Hashtag No.|Tag|CMO|Sample tag|TotalSeq tag"),
        ("hashtag_path", "HTO path|hashtag file|HTO folder"),
        ("sample", "Sample|Sample ID|sample name|Samples|SampleName"),
        ("tumor", "Tumor|Tumour|Cell line|Cell-Line|cellLine|Target cells|Patient|Line|Target"),
        ("lineage", "Lineage|Disease|Cancer type|Diagnosis|Entity"),
        ("nk_donor", "NK donor|Donor|Donor ID|NK_Donor|nkDonor|NK cell donor"),
        ("nk_source", "NK source|Source|NK type|Effector type"),
        ("condition", "Condition|Culture|Culture condition|Treatment|Group"),
        (
            "time_h",
            "Time (h)|time|Time [hrs]|Timepoint|Co-culture (h)|Incubation time|Hours|time_h",
        ),
        ("et_ratio", "E:T|E/T ratio|ET|ET_ratio|Effector:Target ratio|Ratio|NK:tumor|T:E"),
    ],
)
def test_names_of_columns(column, names):
    found = {name: _sheet_columns.column_of(name) for name in names.split("|")}
    assert found == dict.fromkeys(found, column)


@pytest.mark.parametrize(
    "name", ["Plate", "Well", "Day", "Batch", "Notes", "Viability (%)", "d", "Culture flask", ""]
)
def test_columns_of_the_lab_itself(name):
    assert _sheet_columns.column_of(name) is None


def test_the_exact_name_goes_first(path):
    table = quietly(path, f"{HEAD},nk_donor\na.h5,s,coculture,K562,t1,d1\n")
    assert table["nk_donor"].tolist() == ["d1"]
    assert table["donor"].tolist() == ["t1"]


def test_two_names_of_one_column_are_asked_about(path):
    path.write_text("Sample ID,Sample name,path,condition,cell line\ns,t,p.h5,tumor,K562\n")
    with pytest.raises(SampleSheetError, match=r"could be 'Sample ID' or 'Sample name'\. Rename"):
        read(path)


def test_errors_name_the_column_as_the_sheet_does(path):
    path.write_text(f"{HEAD},E:T\na.h5,s,coculture,K562,,4-Jan\n")
    with pytest.raises(SampleSheetError) as caught:
        read(path)
    assert "row 2, column 'donor': is empty" in str(caught.value)
    assert "row 2, column 'E:T': '4-Jan' is not a number" in str(caught.value)


@pytest.mark.parametrize(
    "name", [s.name for s in schema.SLOTS if s.place == "obs" and "<" not in s.name]
)
def test_no_column_takes_a_name_that_steps_write(path, name):
    own = {schema.LANE, schema.HASHTAG, schema.GENOTYPE, *schema.SAMPLE_COLUMNS}
    if name in own:
        return
    table = asking(path, f"{HEAD},{name}\na.h5,s,tumor,K562,,7\n", f"kept as 'sheet_{name.lower()}")
    assert name not in table
    assert table[f"sheet_{name.lower()}"].tolist() == ["7"]


def test_columns_of_a_sheet_survive_the_steps(lanes, tmp_path):
    """A sheet with ``total_counts`` and ``phase`` does not change what the steps write."""
    lanes.write_h5_v3(tmp_path / "lane_a.h5", with_tags=True)
    rows = pd.DataFrame(lanes.hashed_rows()).assign(phase=["I", "II"], total_counts=["5", "6"])
    with pytest.warns(NkscoreWarning, match="is kept as 'sheet_"):
        adata = nk.io.read_coculture(rows, base=tmp_path)
    with pytest.warns(NkscoreWarning, match="No mitochondrial gene"):
        nk.pp.qc(adata, preset="coculture")
    counted = adata.obs["total_counts"].copy()
    nk.pp.demultiplex(adata)
    pd.testing.assert_series_equal(adata.obs["total_counts"], counted)
    assert set(adata.obs["sheet_phase"].cat.categories) == {"I", "II"}
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_a_slash_cannot_be_stored(path):
    table = asking(path, f"{HEAD},a/b\na.h5,s,tumor,K562,,7\n", r"kept as 'a\|b', because .h5ad")
    assert table["a|b"].tolist() == ["7"]


# --- values


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            "coculture",
            "Co-culture|co culture|CO_CULTURE|Cocultured|Co‑culture|+NK|+ NK|with NK|NK + tumor",
        ),
        ("coculture", "Tumor+NK|w/ NK|K562 + d1|K562+NK|NK & target|Effector + target"),
        ("tumor_mono", "Tumor|Tumour only|tumor alone|Target only|no NK|-NK|w/o NK|without NK"),
        ("tumor_mono", "K562 alone|K562 only|mono|Alone|Monoculture|monoculture tumor|Tumor_Mono"),
        ("nk_mono", "NK|NK only|NK alone|NK cells only|Effectors only|no tumor|nk-mono|d1 alone"),
        ("nk_mono", "mono|only|Monoculture|NK monoculture|no target|w/o target"),
        ("conditioned_medium", "Conditioned medium|CM|supernatant|NK-conditioned medium"),
    ],
)
def test_words_for_conditions(path, condition, words):
    cells = {"coculture": "K562,d1", "tumor_mono": "K562,", "nk_mono": ",d1"}
    filled = cells.get(condition, "K562,")
    rows = [f"{i}.h5,s{i},{word},{filled}" for i, word in enumerate(words.split("|"))]
    table = quietly(path, "\n".join([HEAD, *rows]))
    assert set(table["condition"]) == {condition}


@pytest.mark.parametrize("word", ["mono", "only", "NK alone", "unstimulated", "K562"])
def test_words_that_contradict_the_cells_are_refused(path, word):
    path.write_text(f"{HEAD}\na.h5,s,{word},K562,d1\n")
    with pytest.raises(SampleSheetError, match="row 2, column"):
        read(path)


def test_your_own_condition_goes_first(path):
    path.write_text(f"{HEAD}\na.h5,s,with NK,K562,d1\nb.h5,t,CAR-NK,K562,d1\n")
    table = read(path, extra_conditions=["with NK", "car_nk"])
    assert table["condition"].tolist() == ["with NK", "car_nk"]


@pytest.mark.parametrize(
    "nothing", ["-", "–", "n.a.", "none", "no NK", "without NK", "No NK cells"]
)
def test_words_for_no_donor(path, nothing):
    table = quietly(path, f"{HEAD}\na.h5,s,tumor alone,K562,{nothing}\n")
    assert table["nk_donor"].tolist() == [""]


@pytest.mark.parametrize("nothing", ["-", "none", "NK only", "no tumor", "NK", "no target"])
def test_words_for_no_tumor(path, nothing):
    table = quietly(path, f"{HEAD}\na.h5,s,NK only,{nothing},d1\n")
    assert table["tumor"].tolist() == [""]


def test_a_donor_called_none_is_kept_where_one_is_needed(path):
    path.write_text(f"{HEAD}\na.h5,s,coculture,no tumor,d1\n")
    assert read(path)["tumor"].tolist() == ["no tumor"]


@pytest.mark.parametrize(
    ("header", "value", "hours"),
    [
        ("Time (h)", "24", 24),
        ("Time (h)", "24h", 24),
        ("time_h", "24 hrs", 24),
        ("Time (h)", "1.5 h", 1.5),
        ("Time (d)", "2", 48),
        ("Incubation (days)", "0.5", 12),
        ("Time [min]", "90", 1.5),
        ("Time [min]", "2 h", 2),
        ("Time", "1 day", 24),
        ("Timepoint", "t=6h", 6),
        ("Duration", "30 min", 0.5),
        ("Time", "0", 0),
    ],
)
def test_times(path, header, value, hours):
    table = quietly(path, f"{HEAD},{header}\na.h5,s,coculture,K562,d1,{value}\n")
    assert table["time_h"].tolist() == [hours]


def test_a_time_without_a_unit_is_asked_about(path):
    text = f"{HEAD},Time\na.h5,s,coculture,K562,d1,24\n"
    table = asking(path, text, "'Time' has no unit; its numbers are read as hours")
    assert table["time_h"].tolist() == [24]


@pytest.mark.parametrize(
    ("header", "value", "ratio"),
    [
        ("E:T", "1:4", 0.25),
        ("E:T", "4:1", 4),
        ("E:T ratio", "1 : 4", 0.25),
        ("ET", "1/4", 0.25),
        ("ET", "1 to 4", 0.25),
        ("ET", "1_16", 1 / 16),
        ("ET", "E:T 1:4", 0.25),
        ("ET", "0.25", 0.25),
        ("ET", '"0,25"', 0.25),
        ("ET", "2.5:1", 2.5),
        ("T:E", "4:1", 0.25),
        ("T:E ratio", "4", 0.25),
        ("ET", "", np.nan),
        ("ET", "-", np.nan),
    ],
)
def test_ratios(path, header, value, ratio):
    table = quietly(path, f"{HEAD},{header}\na.h5,s,coculture,K562,d1,{value}\n")
    np.testing.assert_array_equal(table["et_ratio"], [ratio])


def test_ratios_of_one_kind_of_cell(path):
    text = f"{HEAD},E:T\na.h5,s,no NK,K562,-,0:1\nb.h5,t,NK only,-,d1,1:0\n"
    np.testing.assert_array_equal(quietly(path, text)["et_ratio"], [0, np.nan])
    path.write_text(f"{HEAD},E:T\na.h5,s,coculture,K562,d1,1:0\n")
    with pytest.raises(SampleSheetError, match="'1:0' is not a number"):
        read(path)


@pytest.mark.parametrize(("text", "ratio"), [("01:04", 0.25), ("1:04:00", 0.25), ("10:01", 10)])
def test_ratios_that_became_times_are_asked_about(path, text, ratio):
    sheet = f"{HEAD},E:T\na.h5,s,coculture,K562,d1,{text}\n"
    assert asking(path, sheet, "is a time that a spreadsheet made")["et_ratio"].tolist() == [ratio]


def test_sources_and_lineages(path):
    head = f"{HEAD},NK source,Disease"
    table = quietly(path, f"{head}\na.h5,s,coculture,K562,d1,PBMC,Multiple Myeloma\n")
    assert table["nk_source"].tolist() == ["pbmc"]
    assert table["lineage"].tolist() == ["MM"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("Hashtag 1", 1),
        ("HTO_12", 12),
        ("hto-03", 3),
        ("#4", 4),
        ("5", 5),
        ("anti-human Hashtag 6", 6),
        ("TotalSeq-C0257", 7),
        ("B0251", 1),
        ("SampleTag02", 2),
        ("CMO301", 301),
        ("Hashtag1_TotalSeqC", 1),
        ("CD56", None),
        ("CD3", None),
        ("ACGTACGTACGTACG", None),
        ("CD45RA-2", None),
    ],
)
def test_numbers_of_hashtags(name, number):
    assert _tag_names.number_of(name) == number


def test_the_same_hashtag_twice_in_a_matrix_is_not_guessed():
    assert _tag_names.alike("Hashtag 1", ["HTO_1", "Hashtag1-B"]) == 0
    assert _tag_names.alike("Hashtag 1", ["HTO_1", "HTO-01"]) is None
    assert _tag_names.alike("hto1", ["HTO_1", "hto.1"]) is None


# --- forms of text


def test_title_above_the_header(path):
    text = f"Experiment 24,,,,\nmade by J. S.,,,,\n,,,,\n{HEAD}\na.h5,s,tumor,K562,\n"
    assert quietly(path, text)["sample"].tolist() == ["s"]
    path.write_text(text.replace(",s,", ",,"))
    with pytest.raises(SampleSheetError, match="row 5, column 'sample': is empty"):
        read(path)


def test_title_with_commas_above_a_table_with_tabs(path):
    text = f"Experiment, March, 24\n{HEAD}\na.h5,s,tumor,K562,\n".replace(
        HEAD + "\na.h5,s,tumor,K562,", "\t".join(HEAD.split(",")) + "\na.h5\ts\ttumor\tK562\t"
    )
    assert quietly(path, text)["tumor"].tolist() == ["K562"]


def test_header_behind_a_hash(path):
    table = quietly(path, f"#{HEAD}\na.h5,s,tumor,K562,\n# b.h5,t,tumor,K562,\n")
    assert table["sample"].tolist() == ["s"]


@pytest.mark.parametrize("first", ['"",', '"Unnamed: 0",', ""])
@pytest.mark.parametrize("start", [0, 1])
def test_numbers_of_rows_of_pandas_and_r(path, first, start):
    rows = "".join(f"{start + i},{i}.h5,s{i},tumor,K562,x\n" for i in range(3))
    table = quietly(path, f"{first}{HEAD}\n{rows}".replace("donor", "plate"))
    assert table["sample"].tolist() == ["s0", "s1", "s2"]
    assert table["plate"].tolist() == ["x"] * 3


def test_samples_in_columns_are_refused(path):
    path.write_text("path,a.h5,b.h5\nsample,s,t\ncondition,coculture,tumor\ntumor,K562,K562\n")
    with pytest.raises(SampleSheetError, match=r"its samples are columns.*paste transposed"):
        read(path)


def test_odd_spaces_and_signs(path):
    text = (
        "  Path ,Sample\xa0name ,CONDITION* ,Cell-Line,NK Donor ID:\na.h5,s  1,tumor,K562\u200b,\n"
    )
    table = quietly(path, text)
    assert table["sample"].tolist() == ["s 1"]
    assert table["tumor"].tolist() == ["K562"]


# --- workbooks

openpyxl = pytest.importorskip("openpyxl")

ROWS = [
    ["Experiment 12"],
    [],
    ["Lane", "File", "HTO", "Sample", "Cell line", "Donor", "Condition", "Time (h)", "E:T", "Note"],
    ["L1", "l1.h5", "HTO 1", "S1", "K562", None, "Tumor only", 24, None, "ok"],
    ["L1", "l1.h5", "HTO 2", "S2", "K562", 1, "Co-culture", 24.0, "1:4", None],
    ["L1", "l1.h5", "HTO 3", "S3", None, 1, "NK only", 24, None, None],
]


@pytest.fixture
def book():
    made = openpyxl.Workbook()
    made.active.title = "README"
    made.active["A1"] = "Plates of March"
    sheet = made.create_sheet("samples")
    for row in ROWS:
        sheet.append(row)
    return made


def check(table):
    assert table["lane"].tolist() == ["L1"] * 3
    assert table["nk_donor"].tolist() == ["", "1", "1"]
    assert table["condition"].tolist() == ["tumor_mono", "coculture", "nk_mono"]
    np.testing.assert_array_equal(table["et_ratio"], [np.nan, 0.25, np.nan])
    assert table["time_h"].tolist() == [24, 24, 24]
    assert table["note"].tolist() == ["ok", "", ""]


def test_workbook(book, tmp_path):
    book.save(tmp_path / "s.xlsx")
    check(read(tmp_path / "s.xlsx"))


def test_merged_cells_of_a_workbook(book, tmp_path):
    for column in "AB":
        book["samples"].merge_cells(f"{column}4:{column}6")
    book.save(tmp_path / "s.xlsx")
    check(read(tmp_path / "s.xlsx"))


def test_times_and_dates_of_a_workbook(book, tmp_path):
    book["samples"]["I5"] = dt.time(1, 4)
    book.save(tmp_path / "s.xlsx")
    with pytest.warns(NkscoreWarning, match="'01:04:00'.*is read as 1:4"):
        check(read(tmp_path / "s.xlsx"))
    book["samples"]["I5"] = dt.date(2026, 4, 1)
    book.save(tmp_path / "s.xlsx")
    with pytest.raises(SampleSheetError, match="row 5 of 'samples', column 'E:T': '2026-04-01"):
        read(tmp_path / "s.xlsx")


def test_hidden_rows_are_asked_about(book, tmp_path):
    book["samples"].row_dimensions[5].hidden = True
    book.save(tmp_path / "s.xlsx")
    with pytest.warns(NkscoreWarning, match=r"hidden rows are read, too \(5\)"):
        check(read(tmp_path / "s.xlsx"))


def test_hidden_worksheets_are_not_read(book, tmp_path):
    book.copy_worksheet(book["samples"]).sheet_state = "hidden"
    book.save(tmp_path / "s.xlsx")
    check(read(tmp_path / "s.xlsx"))


def _twice(book):
    book.copy_worksheet(book["samples"])


def _error(book):
    book["samples"]["F6"] = "#N/A"
    book["samples"]["F6"].data_type = "e"


def _formula(book):
    book["samples"]["F6"] = "=1+1"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_twice, "worksheets 'samples', 'samples Copy' all hold a sample sheet"),
        (_error, "row 6 of 'samples', column 'Donor': is '#N/A', a spreadsheet error"),
        (_formula, "'samples', cell F6 holds a formula without a stored result"),
    ],
)
def test_workbooks_that_are_refused(book, tmp_path, change, match):
    change(book)
    book.save(tmp_path / "s.xlsx")
    with pytest.raises(SampleSheetError, match=re.escape(match)):
        read(tmp_path / "s.xlsx")


@pytest.mark.parametrize("content", [b"PK\x03\x04xx", b"\xd0\xcf\x11\xe0xx"])
def test_damaged_workbooks(tmp_path, content):
    (tmp_path / "s.xlsx").write_bytes(content)
    with pytest.raises(SampleSheetError, match="cannot be read as a workbook"):
        read(tmp_path / "s.xlsx")


def test_a_workbook_of_great_size_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", "")
        with archive.open("xl/big.xml", "w", force_zip64=True) as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    assert (tmp_path / "s.xlsx").stat().st_size < 1 << 20
    with pytest.raises(SampleSheetError, match="unpacks to more than 256 MB"):
        read(tmp_path / "s.xlsx")


_SPREAD = """\
<?xml version="1.0" encoding="UTF-8"?>
<office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.3">
<office:body><office:spreadsheet><table:table table:name="samples">{rows}</table:table>
</office:spreadsheet></office:body></office:document-content>"""
_KIND = "application/vnd.oasis.opendocument.spreadsheet"
_MANIFEST = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">
<manifest:file-entry manifest:full-path="/" manifest:media-type="{_KIND}"/>
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>
</manifest:manifest>"""


def _ods_cell(value):
    if value is None:
        return "<table:table-cell/>"
    if isinstance(value, str):
        kind = 'calcext:value-type="error" ' if value == "#N/A" else ""
        return (
            f'<table:table-cell office:value-type="string" {kind}><text:p>{value}</text:p>'
            "</table:table-cell>"
        )
    return f'<table:table-cell office:value-type="float" office:value="{value}"/>'


def write_ods(path, rows):
    lines = [f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>" for row in rows]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", _KIND)
        archive.writestr("META-INF/manifest.xml", _MANIFEST)
        archive.writestr("content.xml", _SPREAD.format(rows="".join(lines)))


def test_open_document(tmp_path):
    pytest.importorskip("python_calamine")
    write_ods(tmp_path / "s.ods", ROWS)
    check(read(tmp_path / "s.ods"))
    write_ods(tmp_path / "s.ods", [*ROWS[:5], [*ROWS[5][:4], "#N/A", *ROWS[5][5:]]])
    with pytest.raises(SampleSheetError, match="holds cells in error"):
        read(tmp_path / "s.ods")


def test_a_workbook_without_the_extra(book, tmp_path, monkeypatch):
    book.save(tmp_path / "s.xlsx")
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(SampleSheetError, match=r"openpyxl is needed.*pip install 'nkscore\[workbo"):
        read(tmp_path / "s.xlsx")
