"""The sample sheet: forms of the file, and one problem per rule."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import NkscoreWarning, SampleSheetError


def read(sheet, **options):
    return nk.io.read_sample_sheet(sheet, check_files=False, **options)


def problems(rows, tmp_path, **options):
    """Lines of the error that the sheet of ``rows`` ends in."""
    path = tmp_path / "sheet.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    with pytest.raises(SampleSheetError) as caught:
        read(path, **options)
    first, *lines = str(caught.value).splitlines()
    assert re.fullmatch(rf"{re.escape(str(path))} has \d+ problems? \(nothing was loaded\):", first)
    return [line.strip() for line in lines]


@pytest.fixture
def rows(lanes):
    return lanes.hashed_rows()


TEXT = """\
# wells of March
Path,Hashtag , SAMPLE,tumor,nk_donor,condition,time_h,et_ratio,well

lane_a.h5,HTO_1,K562_mono,K562,,tumor_mono,24,,A1
,,,,,,,,
lane_a.h5,HTO_2,K562_co,K562,d1,coculture,24,0.5,A2
"""


def check(table):
    assert list(table.columns) == [
        "lane",
        "hashtag",
        "sample",
        "tumor",
        "lineage",
        "nk_donor",
        "nk_source",
        "condition",
        "time_h",
        "et_ratio",
        "well",
    ]
    assert table["lane"].tolist() == ["lane_a", "lane_a"]
    assert table["hashtag"].tolist() == ["HTO_1", "HTO_2"]
    assert table["nk_donor"].tolist() == ["", "d1"]
    assert table["well"].tolist() == ["A1", "A2"]
    assert table["time_h"].tolist() == [24.0, 24.0]
    np.testing.assert_array_equal(table["et_ratio"], [np.nan, 0.5])
    assert list(table.index) == ["0", "1"]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_forms_of_a_text_file(tmp_path, delimiter, encoding, newline):
    path = tmp_path / "sheet.txt"
    path.write_bytes(TEXT.replace(",", delimiter).replace("\n", newline).encode(encoding))
    check(read(path))
    check(read(str(path)))


def test_data_frame_is_read_and_not_changed(rows):
    frame = pd.DataFrame(rows, index=[7, 9]).assign(well=["A1", "A2"])
    frame["time_h"] = [24, 24]
    frame["et_ratio"] = [None, 0.5]
    frame["lane"] = None
    frame["nk_donor"] = [np.nan, "d1"]
    before = frame.copy(deep=True)
    check(read(frame).assign(nk_source="", lineage=""))
    pd.testing.assert_frame_equal(frame, before)


def test_whole_numbers_as_names_stay_whole(rows):
    frame = pd.DataFrame(rows)
    frame["nk_donor"] = [np.nan, 1.0]
    assert read(frame)["nk_donor"].tolist() == ["", "1"]


def test_quoted_delimiter_and_decimal_comma(tmp_path):
    header = "path;sample;tumor;nk_donor;condition;et_ratio\n"
    (tmp_path / "s.csv").write_text(header + 'a.h5;"co;1";K562;d1;coculture;0,5\n')
    table = read(tmp_path / "s.csv")
    assert table["sample"].tolist() == ["co;1"]
    assert table["et_ratio"].tolist() == [0.5]


def test_lanes_are_named_by_their_files(rows, tmp_path):
    del rows[0]["lane"], rows[1]["lane"]
    rows[1]["path"] = "runs/pool_2/outs/filtered_feature_bc_matrix.h5"
    pd.DataFrame(rows).to_csv(tmp_path / "s.csv", index=False)
    assert read(tmp_path / "s.csv")["lane"].tolist() == ["lane_a", "pool_2"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"# only\n\n", "is empty"),
        (b"PK\x03\x04xx", "cannot be read as a workbook.*CSV"),
        (b"path,sample,condition\n", "a header but no samples"),
        (b"path,sample,condition\na,b,c,d\n", "row 2: has more cells than the header"),
        (
            b"path,sample,condition\na;b;c\n",
            "row 2: is a single cell, split by ';'.*same delimiter",
        ),
        (b"path,sample,condition,\na,b,c,d\n", "row 2: has a value in a column without a name"),
        (b"path,sample,condition,sample\na,b,c,d\n", "'sample': occurs more than once"),
        (b"path,condition\na,b\n", "'sample': is missing .columns found: path, condition"),
        (b"path,smple,condition\na,b,c\n", "'sample': is missing.*Rename 'smple'\\?"),
    ],
)
def test_files_that_are_no_sheet(tmp_path, content, match):
    path = tmp_path / "sheet.csv"
    path.write_bytes(content)
    with pytest.raises(SampleSheetError, match=match) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_examples_of_the_documentation(tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "sample_sheet.md"
    blocks = re.findall(r"```text\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    sheets = [block for block in blocks if "path," in block.splitlines()[0]]
    assert len(sheets) == 4
    for number, text in enumerate(sheets):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        assert len(read(path)) == text.count("\n") - 1


def test_missing_sheet_and_other_types(tmp_path):
    with pytest.raises(SampleSheetError, match=r"nothing\.csv does not exist \(working folder"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(TypeError, match=r"sheet is of type int; a path .* is needed"):
        read(3)


def test_near_miss_of_a_column_warns(rows):
    frame = pd.DataFrame(rows).rename(columns={"lineage": "linage"})
    with pytest.warns(
        NkscoreWarning, match="'linage' is kept.*If it means 'lineage', rename it"
    ) as caught:
        table = read(frame)
    assert {item.filename for item in caught} == {__file__}
    assert table["linage"].tolist() == ["CML", "CML"]


def test_empty_cells(rows, tmp_path):
    rows[0].update(sample="", condition=" ")
    rows[1].update(path="NA")
    lines = problems(rows, tmp_path)
    assert [line.split(": ")[0] for line in lines] == [
        "row 2, column 'sample'",
        "row 2, column 'condition'",
        "row 3, column 'path'",
    ]
    assert all("is empty. Give" in line for line in lines)


def test_row_numbers_count_comments_and_blank_lines(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_text(TEXT.replace("coculture", "unheard"))
    with pytest.raises(SampleSheetError, match="row 6, column 'condition': 'unheard'"):
        read(path)


def test_unknown_condition(rows, tmp_path):
    rows[1]["condition"] = "Co-kulture"
    (line,) = problems(rows, tmp_path)
    assert line.startswith("row 3, column 'condition': 'Co-kulture' is not a known condition")
    assert "Did you mean 'coculture'?" in line
    assert "extra_conditions=['Co-kulture']" in line
    pd.DataFrame(rows).to_csv(tmp_path / "s.csv", index=False)
    table = read(tmp_path / "s.csv", extra_conditions=["Co-kulture"])
    assert table["condition"].tolist() == ["tumor_mono", "Co-kulture"]
    assert len(read(tmp_path / "s.csv", extra_conditions="Co-kulture")) == 2


@pytest.mark.parametrize(
    ("condition", "tumor", "nk_donor", "column", "match"),
    [
        (
            "tumor_mono",
            "",
            "",
            "tumor",
            "is empty, but a sample of condition 'tumor_mono' needs it",
        ),
        ("nk_mono", "", "", "nk_donor", "is empty, but a sample of condition 'nk_mono' needs it"),
        ("coculture", "", "d1", "tumor", "is empty, but a sample of condition 'coculture'"),
        ("coculture", "K562", "", "nk_donor", "is empty, but a sample of condition 'coculture'"),
        ("tumor_mono", "K562", "d1", "nk_donor", "is 'd1', but condition 'tumor_mono' has no such"),
        ("nk_mono", "K562", "d1", "tumor", "is 'K562', but condition 'nk_mono' has no such cells"),
    ],
)
def test_condition_contradicts_the_cells(rows, tmp_path, condition, tumor, nk_donor, column, match):
    rows[1].update(condition=condition, tumor=tumor, nk_donor=nk_donor)
    (line,) = problems(rows, tmp_path)
    assert line.startswith(f"row 3, column '{column}': {match}")


def test_conditioned_medium_needs_neither(rows, tmp_path):
    rows[1].update(condition="conditioned_medium", nk_donor="")
    pd.DataFrame(rows).to_csv(tmp_path / "s.csv", index=False)
    assert len(read(tmp_path / "s.csv")) == 2


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("time_h", "overnight", "'overnight' is not a number. Write hours"),
        ("time_h", "-2", "is negative"),
        ("et_ratio", "4:x", "'4:x' is not a number. .*4:1 or 4"),
        ("et_ratio", "-0.5", "is negative"),
        ("et_ratio", "1,000", "is not a number"),
        ("time_h", "inf", "is infinite"),
        ("time_h", "1_16", "'1_16' is not a number"),
    ],
)
def test_numbers(rows, tmp_path, column, value, match):
    rows[0][column] = value
    (line,) = problems(rows, tmp_path)
    assert line.startswith(f"row 2, column '{column}': ")
    assert re.search(match, line)


def test_repeated_sample_and_hashtag(rows, tmp_path):
    rows[1].update(sample="K562_mono", hashtag="HTO_1")
    lines = problems(rows, tmp_path)
    assert lines[0].startswith("row 3, column 'sample': 'K562_mono' is already the sample of row 2")
    assert lines[1].startswith("row 3, column 'hashtag': 'HTO_1' already marks the sample of row 2")


def two_lanes(rows):
    """Return the pool of ``rows``, loaded on two lanes."""
    return [*rows, *({**row, "lane": "B", "path": "lane_b.h5"} for row in rows)]


def test_one_well_on_two_lanes(rows, tmp_path):
    pd.DataFrame(two_lanes(rows)).to_csv(tmp_path / "s.csv", index=False)
    table = read(tmp_path / "s.csv")
    assert table["sample"].value_counts().tolist() == [2, 2]
    assert table["lane"].tolist() == ["A", "A", "B", "B"]


def test_rows_of_one_sample_agree(rows, tmp_path):
    pool = two_lanes([{**row, "time_h": "24", "plate": "P1"} for row in rows])
    pool[2] |= {"time_h": "24.0", "lineage": "AML", "plate": "P2"}
    lines = problems(pool, tmp_path)
    assert len(lines) == 2
    assert lines[0].startswith("row 4, column 'lineage': is 'AML', but ")
    assert "in row 2 of the same sample 'K562_mono'" in lines[0]
    assert lines[1].startswith("row 4, column 'plate': is 'P2', but 'P1' in row 2")


def test_one_pool_under_other_names_is_warned_of(rows, tmp_path):
    pool = two_lanes(rows)
    for row in pool[2:]:
        row["sample"] += "_L2"
    pd.DataFrame(pool).to_csv(tmp_path / "s.csv", index=False)
    with pytest.warns(NkscoreWarning, match="lanes 'A' and 'B' have the same hashtags"):
        read(tmp_path / "s.csv")
    # Wells that are named as different ones, other donors and other tags need no warning.
    for change in ({"well": "w{}"}, {"nk_source": "s{}"}, {"hashtag": "T{}"}):
        other = [
            {**row, **{k: v.format(i) for k, v in change.items()}} for i, row in enumerate(pool)
        ]
        pd.DataFrame(other).to_csv(tmp_path / "s.csv", index=False)
        read(tmp_path / "s.csv")


def test_repetitions_are_found_in_a_frame_with_repeated_index(rows):
    rows[1]["sample"] = "K562_mono"
    with pytest.raises(SampleSheetError, match="row 2 of the DataFrame, column 'sample'"):
        read(pd.DataFrame(rows, index=[0, 0]))
    with pytest.raises(SampleSheetError, match=r"index b, column 'sample'.* sample of index a"):
        read(pd.DataFrame(rows, index=["a", "b"]))


def test_same_hashtag_in_two_lanes_is_fine(rows, tmp_path):
    rows[1].update(hashtag="HTO_1", lane="B", path="lane_b.h5")
    pd.DataFrame(rows).to_csv(tmp_path / "s.csv", index=False)
    assert read(tmp_path / "s.csv")["lane"].tolist() == ["A", "B"]


def test_one_lane_with_two_files(rows, tmp_path):
    rows[1]["path"] = "lane_b.h5"
    (line,) = problems(rows, tmp_path)
    assert line.startswith(f"row 3, column 'path': lane 'A' is already at {tmp_path}/lane_a.h5")


def test_one_file_with_two_lane_names(rows, tmp_path):
    rows[1]["lane"] = "B"
    (line,) = problems(rows, tmp_path)
    assert line.startswith("row 3, column 'lane': this file is already the lane 'A' (row 2)")


def test_one_lane_with_two_hashtag_matrices(rows, tmp_path):
    rows[0]["hashtag_path"] = "tags"
    (line,) = problems(rows, tmp_path)
    assert line.startswith("row 3, column 'hashtag_path': is '', but 'tags' in row 2")


@pytest.mark.parametrize("which", [(0,), (0, 1)])
def test_several_samples_without_hashtags(rows, tmp_path, which):
    for row in which:
        rows[row]["hashtag"] = ""
    lines = problems(rows, tmp_path)
    (line,) = lines
    assert line.startswith(f"{'row 2' if len(which) == 1 else 'rows 2, 3'}, column 'hashtag': is")
    assert "lane 'A' holds 2 samples" in line


def test_hashtag_matrix_without_hashtag(rows, tmp_path):
    rows[0].update(hashtag="", hashtag_path="tags")
    (line,) = problems(rows[:1], tmp_path)
    assert line.startswith("row 2, column 'hashtag': is empty, but 'hashtag_path' is given")


def test_all_missing_files_are_listed(lanes, rows, tmp_path):
    lanes.write_h5_v3(tmp_path / "lane_a.h5")
    rows += [
        dict(rows[1], lane="B", path="lane_b.h5", sample="B", hashtag=""),
        dict(rows[1], lane="C", path="sub\\c.h5", sample="C", hashtag_path="tags"),
    ]
    lanes.write_h5_v3(tmp_path / "sub" / "c.h5")
    lanes.write_sheet(tmp_path / "s.csv", rows)
    with pytest.raises(SampleSheetError) as caught:
        nk.io.read_sample_sheet(tmp_path / "s.csv")
    head, *lines = str(caught.value).splitlines()
    assert "3 problems" in head
    assert lines[0].startswith("  row 4, column 'path': 'lane_b.h5' does not exist (looked for")
    assert "Did you mean 'lane_a.h5'?" in lines[0]
    assert f"relative to {tmp_path}." in lines[0]
    assert lines[1].endswith(
        "is written with backslashes. Write 'sub/c.h5'." + f" Paths are relative to {tmp_path}."
    )
    assert lines[2].startswith("  row 5, column 'hashtag_path': 'tags' does not exist")


def test_problems_of_a_kind_are_one_line(rows, tmp_path):
    many = [dict(rows[0], sample=f"s{i}", hashtag=f"h{i}", condition=f"x{i % 2}") for i in range(6)]
    many += [
        dict(rows[0], sample="s", hashtag="h"),
        dict(rows[0], sample="t", hashtag="i", path=""),
    ]
    many.append(dict(rows[0], sample="", hashtag="j", condition="x1"))
    first, second, third = problems(many, tmp_path)
    assert first.startswith("rows 2 to 7, 10, column 'condition' ('x0', 'x1'): is not a known")
    assert first.endswith("extra_conditions=['x0', 'x1'].")
    assert second == "row 9, column 'path': is empty. Give the lane's file or folder in every row."
    assert third.startswith("row 10, column 'sample': is empty")
    with pytest.raises(SampleSheetError, match="has 9 problems"):
        read(tmp_path / "sheet.csv")


def test_twenty_kinds_of_problems_are_shown(rows, tmp_path):
    many = [dict(rows[0], sample="s", hashtag=f"h{i}", path=f"{i}.h5") for i in range(25)]
    frame = pd.DataFrame(many, index=[f"w{i}" for i in range(25)])
    with pytest.raises(SampleSheetError) as caught:
        read(frame)
    lines = str(caught.value).splitlines()
    assert "48 problems" in lines[0]
    assert lines[1].startswith("  index w1, index w2, ")
    many = [dict(rows[0], tumor="", nk_donor=f"d{i}", sample=f"s{i}") for i in range(25)]
    with pytest.raises(SampleSheetError) as caught:
        read(pd.DataFrame(many))
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  ... and 7 more."


def test_a_folder_is_no_sheet(tmp_path):
    with pytest.raises(
        SampleSheetError, match=r"is a folder\. Give the CSV, TSV or XLSX file in it"
    ):
        nk.io.read_sample_sheet(tmp_path)
