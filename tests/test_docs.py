"""Every Python block of the README and the docs runs, in order, in a folder with example files.

Blocks marked ``py`` instead of ``python`` need more data than the example: a download, files of a
published study, or many cells.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import nkscore as nk

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


WITH_CODE = [page for page in PAGES if blocks(page)]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """A folder with lanes, two names of the same sheet and two files of gene sets."""
    folder = tmp_path_factory.mktemp("docs")
    simulated = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    sheet = nk.datasets.write_lanes(simulated, folder / "example")
    for name in ("sheet.csv", "wells.csv"):
        shutil.copy(sheet, folder / "example" / name)
    sets = {"mine": nk.signatures.get("DUFVA2023_NK_ACTIVATED")}
    nk.signatures.save(sets, folder / "example" / "my_sets.gmt")
    nk.signatures.save(sets, folder / "example" / "my_sets.csv")
    nk.datasets.use_truth(simulated)
    return folder / "example", simulated


def test_pages_with_code_are_found():
    assert {"README.md", "docs/signatures.md", "docs/sample_sheet.md"} <= set(WITH_CODE)


@pytest.mark.parametrize("page", WITH_CODE)
def test_blocks_run(page, example, monkeypatch):
    folder, simulated = example
    monkeypatch.chdir(folder)
    mpl.use("Agg")
    names = {
        "adata": simulated,
        "response": nk.tl.flag_ambient(nk.tl.interaction_response(simulated, "tumor")),
        "core": nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE"),
        "nk": nk,
    }
    for code in blocks(page):
        exec(compile(code, page, "exec"), names)
    plt.close("all")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    missing = [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()]
    assert not missing
