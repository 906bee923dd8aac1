"""Every notebook runs from its first to its last cell, and is stored without outputs."""

from __future__ import annotations

import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDS_SHARED = {"real_data_tour"}


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_outputs_are_stored(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), f"clear the outputs of {path.name}"
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_survives_jupytext(path):
    """Edited as a script and back, a notebook keeps its cells."""
    notebook = nbformat.read(path, as_version=4)
    script = jupytext.writes(notebook, fmt="py:percent")
    back = jupytext.reads(script, fmt="py:percent")
    assert [(c.cell_type, c.source) for c in back.cells] == [
        (c.cell_type, c.source) for c in notebook.cells
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_part_of_the_docs(path):
    page = ROOT / "docs" / path.name
    assert page.resolve() == path
    assert re.search(rf"^{path.stem}$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    """Notebooks name each other by the role doc, which sphinx -W checks; here are the pages."""
    text = "\n".join(
        c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"
    )
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    assert not [t for t in targets if not (ROOT / "docs" / t).exists()]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path, monkeypatch):
    shared = ROOT.parent / "shared" / "data"
    if path.stem in NEEDS_SHARED and not (shared / "kang2018_ifnb").is_dir():
        pytest.skip(f"real data are not in {shared}")
    monkeypatch.setenv("NKSCORE_DATA", str(shared))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # The published figures are simulated unless a path is given.
    monkeypatch.delenv("NKSCORE_DUFVA", raising=False)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
