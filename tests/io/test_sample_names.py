"""Names of samples: every form of the reference study, and forms of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import SampleSheetError

MEDIUM = "conditioned_medium"
#: name, tumor, nk_donor, nk_source, condition, time_h, et_ratio, medium_from, replicate
FORMS = [
    # Panel of lines, hash.ID before and after renaming.
    ("K562", "K562", None, None, "tumor_mono", None, None, None, None),
    ("697", "697", None, None, "tumor_mono", None, None, None, None),
    ("697-NK-expanded", "697", "NK1", "expanded", "coculture", None, None, None, None),
    ("697-NK-PBMC", "697", "NK1", "pbmc", "coculture", None, None, None, None),
    ("GDM1-NK1", "GDM1", "NK1", "expanded", "coculture", None, None, None, None),
    ("GDM1-NK1-PBMC", "GDM1", "NK1", "pbmc", "coculture", None, None, None, None),
    *((f"RI1-NK{i}", "RI1", f"NK{i}", "expanded", "coculture", *[None] * 4) for i in range(2, 7)),
    ("NK-expanded", None, "NK1", "expanded", "nk_mono", None, None, None, None),
    ("NK-PBMC", None, "NK1", "pbmc", "nk_mono", None, None, None, None),
    ("NK1", None, "NK1", "expanded", "nk_mono", None, None, None, None),
    ("NK2", None, "NK2", "expanded", "nk_mono", None, None, None, None),
    ("NK1-PBMC", None, "NK1", "pbmc", "nk_mono", None, None, None, None),
    # Codes of the donors.
    ("K562-NK2587", "K562", "NK1", "expanded", "coculture", None, None, None, None),
    ("K562-FM2770", "K562", "NK2", "expanded", "coculture", None, None, None, None),
    ("NK2763", None, "NK3", "expanded", "nk_mono", None, None, None, None),
    ("FM2768", None, "NK4", "expanded", "nk_mono", None, None, None, None),
    ("NK2771", None, "NK5", "expanded", "nk_mono", None, None, None, None),
    ("NK2931", None, "NK6", "expanded", "nk_mono", None, None, None, None),
    ("NK2587-D0", None, "NK1", "pbmc", "nk_mono", None, None, None, None),
    ("NK2587-D14", None, "NK1", "expanded", "nk_mono", None, None, None, None),
    # Time course.
    ("JURKAT-0h", "JURKAT", None, None, "tumor_mono", 0, None, None, None),
    *((f"RI1-{h}h", "RI1", "d", None, "coculture", h, *[None] * 3) for h in (1, 3, 6, 12, 24)),
    ("NK-0h-1", None, "d", None, "nk_mono", 0, None, None, "1"),
    ("NK-0h-2", None, "d", None, "nk_mono", 0, None, None, "2"),
    # Media transfer.
    ("NK-only", None, "d", None, "nk_mono", None, None, None, None),
    ("NK-only-2", None, "d", None, "nk_mono", None, None, None, "2"),
    ("697-NK", "697", "d", None, "coculture", None, None, None, None),
    ("697-NK-1", "697", "d", None, "coculture", None, None, None, "1"),
    ("697-1", "697", None, None, "tumor_mono", None, None, None, "1"),
    ("NK-medium-from-697-NK", None, "d", None, MEDIUM, None, None, "697-NK", None),
    ("NK-medium-from-K562-NK-2", None, "d", None, MEDIUM, None, None, "K562-NK", "2"),
    ("NK-medium-from-697", None, "d", None, MEDIUM, None, None, "697", None),
    ("NK-medium-from-GDM1-1", None, "d", None, MEDIUM, None, None, "GDM1", "1"),
    ("K562-medium-from-GDM1-NK", "K562", None, None, MEDIUM, None, None, "GDM1-NK", None),
    ("K562-medium-from-NK-1", "K562", None, None, MEDIUM, None, None, "NK", "1"),
    # CROP-seq: conditions and lanes.
    ("no NK", None, None, None, "tumor_mono", None, None, None, None),
    ("No NK", None, None, None, "tumor_mono", None, None, None, None),
    ("NK 1:16", None, "d", None, "coculture", None, 1 / 16, None, None),
    ("NK 1:4", None, "d", None, "coculture", None, 0.25, None, None),
    *((f"NK 1:4 {h}h", None, "d", None, "coculture", h, 0.25, None, None) for h in (3, 6, 24)),
    ("CROPseq_K562_noNK", "K562", None, None, "tumor_mono", None, None, None, None),
    ("CROPseq_LP1_NK1_1_16", "LP1", "NK1", None, "coculture", None, 1 / 16, None, None),
    ("CROPseq_MM1S_NK1_1_4_3h", "MM1S", "NK1", None, "coculture", 3, 0.25, None, None),
    ("CROPseq_MM1S_activ_NK1_1_4", "MM1S", "NK1", None, "coculture", None, 0.25, None, None),
    # PRISM.
    ("D1_CTRL", None, None, None, "tumor_mono", None, 0, None, None),
    ("D1_NK_0.625", None, "d", None, "coculture", None, 0.625, None, None),
    ("D1_NK_5", None, "d", None, "coculture", None, 5, None, None),
]


@pytest.mark.parametrize("form", FORMS, ids=[form[0] for form in FORMS])
def test_forms_of_the_reference(form):
    name, tumor, donor, source, condition, time_h, et_ratio, medium, replicate = form
    row = nk.io.parse_sample_names([name], nk_donor="d").iloc[0]
    expected = {
        "sample": name,
        "tumor": tumor,
        "nk_donor": donor,
        "nk_source": source,
        "condition": condition,
        "medium_from": medium,
        "replicate": replicate,
    }
    got = {key: None if pd.isna(row[key]) else row[key] for key in expected}
    assert got == expected
    for column, value in (("time_h", time_h), ("et_ratio", et_ratio)):
        assert row[column] == value if value is not None else np.isnan(row[column])


def test_all_26_lines_of_the_panel():
    names = [f"{line}{end}" for line in nk.datasets.LINES for end in ("", "-NK1-PBMC", "-NK2")]
    parsed = nk.io.parse_sample_names(names, tumors=nk.datasets.LINES)
    assert list(parsed["tumor"]) == [line for line in nk.datasets.LINES for _ in range(3)]
    assert list(parsed["lineage"].iloc[::3]) == list(nk.datasets.LINES.values())
    assert parsed["condition"].value_counts().to_dict() == {"coculture": 52, "tumor_mono": 26}


def test_cells_of_a_series_keep_their_index_and_missing_stays_missing():
    names = pd.Series(
        ["K562", "Doublet", None, "negative", "K562", np.nan, "NK2"], index=list("gfedcba")
    )
    for given in (names, names.astype("category")):
        parsed = nk.io.parse_sample_names(given)
        assert list(parsed.index) == list("gfedcba")
        assert parsed["sample"].isna().tolist() == [False, True, True, True, False, True, False]
        assert parsed["condition"].dropna().tolist() == ["tumor_mono", "tumor_mono", "nk_mono"]
        assert parsed["condition"].cat.categories.tolist() == ["tumor_mono", "nk_mono"]
    assert parsed["tumor"].isna().sum() == 5


def test_unparsed_names_are_listed_in_one_error_or_stay_missing():
    # "NK" is a label of the treatment in one table of the study, not a sample.
    names = ["K562", "NK", "a b", "NK", "K562-NK1-x"]
    with pytest.raises(
        SampleSheetError, match=r"3 sample names match no pattern: 'NK', 'a b', 'K562-NK1-x'\. Pass"
    ):
        nk.io.parse_sample_names(names)
    parsed = nk.io.parse_sample_names(names, errors="ignore")
    assert parsed["sample"].tolist()[0] == "K562"
    assert parsed["sample"].isna().sum() == 4
    assert nk.io.parse_sample_names(names[:2], missing=["nk"])["sample"].isna().tolist() == [
        False,
        True,
    ]
    with pytest.raises(
        SampleSheetError, match=r"1 sample names .* or name a tumor that is not.*K52"
    ):
        nk.io.parse_sample_names(["K562", "K52"], tumors=["K562"])
    with pytest.raises(ValueError, match="errors='warn' is unknown"):
        nk.io.parse_sample_names([], errors="warn")


def test_patterns_of_ones_own():
    mine = {
        r"(?P<nk_donor>d\d)": {"nk_source": "pbmc"},
        r"(?P<tumor>\w+)\+(?P<nk_donor>d\d) (?P<et_ratio>\d+:\d+) (?P<plate>P\d)": {},
        r"blank": {"condition": "blank"},
    }
    names = ["d1", "THP1+d2 4:1 P7", "blank", "K562"]
    parsed = nk.io.parse_sample_names(names, patterns={**mine, **nk.io.SAMPLE_NAME_PATTERNS})
    assert parsed["condition"].tolist() == ["nk_mono", "coculture", "blank", "tumor_mono"]
    assert parsed["nk_source"].tolist()[0] == "pbmc"
    assert parsed["et_ratio"].tolist()[1] == 4
    assert parsed["plate"].tolist()[1] == "P7"
    with pytest.raises(SampleSheetError, match="1 sample names match no pattern: 'K562'"):
        nk.io.parse_sample_names(names, patterns=mine)
    with pytest.raises(ValueError, match=r"pattern '\(' is not a regular expression"):
        nk.io.parse_sample_names(names, patterns="(")
    with pytest.raises(SampleSheetError, match="time_h is 'late', which is not a number"):
        nk.io.parse_sample_names(["a late"], patterns=r"(?P<tumor>\w) (?P<time_h>\w+)")


def test_donors_of_ones_own():
    parsed = nk.io.parse_sample_names(["K562-NK2587"], donors={"NK2587": "donor A"})
    assert parsed["nk_donor"].tolist() == ["donor A"]


def test_a_sheet_made_from_names_passes_its_checks():
    names = [form[0] for form in FORMS if form[1] and form[4] != MEDIUM and ":" not in form[0]]
    sheet = nk.io.parse_sample_names(names, nk_donor="NK1")
    sheet["path"], sheet["hashtag"] = "a.h5", [f"HTO{i}" for i in range(len(sheet))]
    checked = nk.io.read_sample_sheet(sheet, check_files=False)
    assert checked["sample"].tolist() == names
    assert "medium_from" in checked


def test_hashtags_are_found_by_their_sequence(lanes, tmp_path):
    lanes.write_h5_v3(tmp_path / "a.h5")
    names = ["Hashtag1-ACATGTTACCGT", "Hashtag2-CTTATCACCGCT", "unmapped"]
    features = pd.DataFrame({"id": names, "name": names, "type": "Custom"})
    lanes.write_mtx(tmp_path / "tags", lanes.TAG_COUNTS, features=features)
    adata = nk.io.read_lane(
        tmp_path / "a.h5", hashtag_path=tmp_path / "tags", hashtags=["CTTATCACCGCT"]
    )
    assert adata.obsm["hashtags"]["CTTATCACCGCT"].tolist() == [1, 0, 70, 60]


def test_documented_way_from_lanes_to_one_object(lanes, tmp_path, monkeypatch):
    page = Path(__file__).resolve().parents[2] / "docs" / "public_data.md"
    blocks = re.findall(r"```py\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (way_1,) = [block for block in blocks if "HTO_sample_list" in block]
    (cropseq,) = [block for block in blocks if "CROPseq" in block]
    data = tmp_path / "data"
    lanes.write_mtx(data, prefix="Batch1_NK1_")
    names = ["Hashtag1-ACATGTTACCGT", "Hashtag2-CTTATCACCGCT", "unmapped"]
    features = pd.DataFrame({"id": names, "name": names, "type": "Custom"})
    lanes.write_mtx(data, lanes.TAG_COUNTS, prefix="Batch1_NK1_HTO_", features=features)
    listed = {
        "batch_10x_lane": "Batch1_NK1",
        "sample": ["K562-NK-expanded", "NK-expanded"],
        "hto_sequence": ["ACATGTTACCGT", "CTTATCACCGCT"],
    }
    pd.DataFrame(listed).to_csv(tmp_path / "Batch1_NK1_HTO_sample_list.txt", sep="\t", index=False)
    for lane in ("CROPseq_K562_noNK", "CROPseq_K562_NK1_1_16"):
        lanes.write_mtx(data, prefix=f"{lane}_")
    monkeypatch.chdir(tmp_path)
    # Four cells are too few to demultiplex.
    known = {"nk": nk, "pd": pd}
    exec(way_1.replace("nk.pp.demultiplex(adata)", ""), known)
    adata = known["adata"]
    np.testing.assert_array_equal(adata.obsm["hashtags"], lanes.TAG_COUNTS[:, :2])
    sheet = adata.uns["nkscore"]["sample_sheet"]
    assert sheet["nk_donor"].tolist() == ["NK1", "NK1"]
    assert sheet["condition"].tolist() == ["coculture", "nk_mono"]
    assert sheet["lineage"].tolist() == ["CML", ""]
    exec(cropseq, known)
    obs = known["adata"].obs.drop_duplicates("lane")
    assert obs["lane"].tolist() == ["CROPseq_K562_noNK", "CROPseq_K562_NK1_1_16"]
    assert obs["condition"].tolist() == ["tumor_mono", "coculture"]
    assert obs["et_ratio"].tolist()[1] == 1 / 16


def test_one_text_is_one_name():
    """Taken letter by letter, "Doublet" would be a tumor line, and line names parts of words."""
    parsed = nk.io.parse_sample_names(["K562", "Doublet"], missing="Doublet", tumors="K562")
    assert parsed["tumor"].tolist()[0] == "K562"
    assert parsed.loc[1].isna().all()
    with pytest.raises(SampleSheetError, match="1 sample names match no pattern or name a tumor"):
        nk.io.parse_sample_names("K5", tumors="K562")
