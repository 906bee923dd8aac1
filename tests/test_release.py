"""What a release needs: citation, conda environment, licences, text of the tag."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHECK = runpy.run_path(str(ROOT / "tools" / "check_release.py"))


def test_ready_for_a_release():
    assert CHECK["problems"]() == []


def test_text_of_the_tag_is_that_of_the_version():
    text = "# Log\n\n## Unreleased\n\n- new\n\n## 1.2.0 - 2026-01-01\n\n- old\n\n## 1.1.0\n\n- x\n"
    assert CHECK["tag_text"](text, "1.2.0") == "nkscore 1.2.0\n\n- old\n"
    assert CHECK["tag_text"](text, "1.3.0") == "nkscore 1.3.0\n\n- new\n"
    assert CHECK["tag_text"]("# Log\n\n## Unreleased\n", "1.3.0") == ""


def test_a_citation_without_the_study_is_refused():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert CHECK["citation"](text) == []
    (lost,) = CHECK["citation"](text.replace(CHECK["STUDY"], "10.1/x"))
    assert "does not cite the reference study" in lost
    assert CHECK["citation"](text.replace("license:", "rights:")) == ["CITATION.cff lacks license."]


@pytest.mark.parametrize("line", ["  - scipy >=1.14\n", "  - python-igraph >=0.11\n"])
def test_a_dependency_that_conda_lacks_is_found(line):
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert line in text
    wanted = ["scipy>=1.14", "igraph>=0.11"]
    assert CHECK["environment"](text, wanted) == []
    assert len(CHECK["environment"](text.replace(line, ""), wanted)) == 1
    assert len(CHECK["environment"](text.replace(line, line.replace(">=", ">=9")), wanted)) == 1


def test_a_table_without_licence_is_found():
    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if "signatures/data/aliases.tsv" in line)
    assert CHECK["tables"](page.replace(row, "")) != []
    bare = "|".join([*row.split("|")[:-2], " ", ""])
    assert CHECK["tables"](page.replace(row, bare)) != []
