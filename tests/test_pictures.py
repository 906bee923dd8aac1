"""Published pictures show what today's code finds: if this fails, run ``make pictures``."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():
    import matplotlib as mpl

    before = mpl.get_backend()
    yield runpy.run_path(str(ROOT / "tools" / "make_pictures.py"))
    mpl.use(before)


@pytest.fixture(scope="module")
def record(tool):
    return json.loads(tool["RECORD"].read_text(encoding="utf-8"))


def test_pictures_are_those_of_the_record(tool, record):
    assert len(record["pictures"]) == 2
    for name, known in record["pictures"].items():
        assert tool["digest"](tool["STATIC"] / name) == known, f"{name}: run make pictures"


def test_code_still_finds_what_the_pictures_show(tool, record, finished_demo):
    """The demo of the tests, whose results were recorded when the pictures were drawn."""
    today = tool["results"](finished_demo[1])
    for name, known in record["results"].items():
        assert len(known) > 3
        assert list(today[name]) == list(known), f"{name}: run make pictures"
        assert today[name] == pytest.approx(known, abs=0.1), f"{name}: run make pictures"


def test_no_ambient_gene_is_shown_as_core(record):
    assert not {"GNLY", "NKG7", "GZMB", "CCL5"} & set(record["results"]["core_response"])


def test_readme_states_what_the_drawn_demo_recovered(record):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(record["truth"]) == 6
    for row in record["truth"]:
        assert row in page, f"README.md lacks: {row}"
