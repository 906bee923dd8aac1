"""Every Python block of the README and the docs runs, in order, in a folder with example files.

Blocks marked ``py`` instead of ``python`` need more data than the example: a download, files of a
published study, or many cells.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import zlib
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

import nkscore as nk

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    "README.md",
    *sorted(
        page.relative_to(ROOT).as_posix()
        for page in DOCS.rglob("*.md")
        if page.relative_to(DOCS).parts[0] not in {"_build", "generated"}
    ),
]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page):
    return BLOCK.findall(read(page))


WITH_CODE = [page for page in PAGES if blocks(page)]


def seurat_object(cells, file):
    """Write cells as the Seurat object that the page on Seurat reads."""
    place = ROOT / "tests" / "io" / "rds_writer.py"
    spec = importlib.util.spec_from_file_location("rds_writer", place)
    rds = sys.modules["rds_writer"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rds)
    small = cells[:100, :500].copy()
    names = small.obs["truth_sample"].astype(str)
    columns = {"hash.ID": rds.factor(names.tolist(), sorted(set(names)))}
    matrix = rds.sparse_matrix(small.layers["counts"], small.var_names, small.obs_names)
    assay = rds.S4("Assay", {"counts": matrix, "data": matrix, "key": "rna_"})
    slots = {"assays": {"RNA": assay}, "meta.data": rds.data_frame(columns, small.obs_names)}
    slots |= {"active.assay": "RNA", "misc": rds.PlainList(), "commands": rds.PlainList()}
    rds.dump(rds.S4("Seurat", slots), file)


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
    seurat_object(simulated, folder / "example" / "panel.rds")
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
    text = read(page)
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
    missing = [t for t in targets if not (ROOT / page).parent.joinpath(t).exists()]
    assert not missing


def test_every_page_is_in_one_contents_list():
    """Sphinx warns of a page in none; here also of a page in two."""
    listed = []
    for page in PAGES[1:]:
        for contents in re.findall(r"```{toctree}\n(.*?)```", read(page), re.DOTALL):
            names = [line for line in contents.split() if not line.startswith(":")]
            listed += [(ROOT / page).parent.joinpath(name).resolve() for name in names]
    pages = [(ROOT / page).with_suffix("") for page in PAGES[1:]] + [
        path.with_suffix("") for path in DOCS.glob("*.ipynb")
    ]
    assert sorted(path for path in listed if path in pages) == sorted(
        path for path in pages if path != DOCS / "index"
    )


def test_formulas_become_mathml_without_a_script():
    """The way that ``docs/_sphinx/mathml.py`` takes; Sphinx stops at a formula that fails."""
    from docutils.utils.math.latex2mathml import tex2mathml  # of the group docs

    formulas = [
        formula for page in PAGES for formula in re.findall(r"\$\$(.+?)\$\$", read(page), re.DOTALL)
    ]
    assert len(formulas) >= 10
    for formula in formulas:
        assert tex2mathml(formula, as_block=True).startswith("<math")


def test_links_to_other_libraries_need_no_download(tmp_path):
    spec = importlib.util.spec_from_file_location("inventories", DOCS / "_sphinx/inventories.py")
    inventories = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inventories)
    found = inventories.mapping(tmp_path)
    for address, file in found.values():
        assert address.startswith("https://")
        head, _, packed = Path(file).read_bytes().partition(b"zlib.\n")
        assert head.startswith(b"# Sphinx inventory version 2\n")
        assert b" py:" in zlib.decompress(packed)


def test_the_gallery_shows_every_figure_as_its_code_draws_it():
    """Each picture holds a mark of the code that drew it. Renew with: make gallery."""
    image = pytest.importorskip("PIL.Image")
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "tools/make_gallery.py")
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    setup, figures = gallery.read()
    assert set(figures) == set(nk.pl.__all__) - {"palette", "save", "style"}
    for name, code in figures.items():
        with image.open(gallery.PICTURES / f"{name}.png") as picture:
            assert picture.info["code"] == gallery.stamp(setup, code), name
