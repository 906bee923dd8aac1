"""Every notebook runs from its first to its last cell, and holds its current outputs."""

from __future__ import annotations

import base64
import copy
import importlib.util
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from nbclient import NotebookClient

import nkscore as nk

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def _tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


store_notebooks = _tool("store_notebooks")
NEEDS_SHARED = store_notebooks.NEEDS_DATA


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stored_and_small(path):
    """Renew with: make notebooks."""
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    pictures = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    assert outputs
    assert max([len(base64.b64decode(p)) for p in pictures], default=0) <= 100_000
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert path.stat().st_size <= 1_000_000


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
    assert re.search(rf"^{path.stem}$", (ROOT / "docs" / "tutorials.md").read_text(), re.MULTILINE)


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
    stored = copy.deepcopy(notebook)
    store_notebooks.run(notebook)
    if path.stem in store_notebooks.USES_DATA and not shared.is_dir():
        return
    same_world = stored.metadata["made_with"] == notebook.metadata["made_with"]
    for then, now in zip(stored.cells, notebook.cells, strict=True):
        assert _kinds(now) == _kinds(then), f"renew {path.name}: make notebooks"
        if same_world:
            _assert_same_text(_text(now), _text(then))


def _kinds(cell):
    return [(o.output_type, sorted(o.get("data", {}))) for o in cell.get("outputs", [])]


def _text(cell):
    outputs = cell.get("outputs", [])
    return " ".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)


def _assert_same_text(now, then):
    """The same words, and numbers that agree in three digits: machines differ in the last ones."""
    assert NUMBER.sub("#", " ".join(now.split())) == NUMBER.sub("#", " ".join(then.split()))
    numbers = [[float(n) for n in NUMBER.findall(text)] for text in (now, then)]
    assert numbers[0] == pytest.approx(numbers[1], rel=5e-3, abs=2e-3)


def test_stored_text_that_is_not_current_is_found():
    _assert_same_text("gene  0.1234", "gene 0.1233")
    for other in ("gene 0.2", "line 0.1234", "gene 0.1234 0.1"):
        with pytest.raises(AssertionError):
            _assert_same_text("gene 0.1234", other)


def _merged_object():
    """Stand-in for the merged object of the paper: two batches, blood NK cells, called tags."""
    lines = ["697", "K562"]
    simulated = nk.datasets.simulate_coculture(
        tumors=lines, n_donors=3, n_cells_per_sample=40, n_mono_replicates=2, n_genes=4000, rng=3
    )
    obs = simulated.obs.astype(str)
    # Donor NK3 stands for the blood NK cells of donor NK1.
    donor = obs["truth_nk_donor"].where(obs["truth_nk_donor"] != "NK3", "NK1-PBMC")
    name = (obs["truth_tumor"] + "-" + donor).where(
        obs["truth_condition"] == "coculture",
        obs["truth_tumor"].where(obs["truth_condition"] == "tumor_mono", donor),
    )
    name = name.replace("NK1-PBMC", "NK-PBMC")
    called = simulated.obs["truth_hashtag_class"].astype(str)
    name = name.where(called == "singlet", called.str.capitalize())
    # Wells of cells alone, one per batch, share their hash.ID.
    second = obs["truth_sample"].str.endswith("2") & (obs["truth_condition"] != "coculture")
    kind = donor.where(obs["truth_condition"] != "tumor_mono", "targets")
    lane = second.map({False: "Batch1_", True: "Batch5_"}) + kind
    held = pd.DataFrame({"hash.ID": name, "orig.ident": lane.str.replace("-", "_")})
    held["seurat_clusters"] = "0"
    return AnnData(simulated.layers["counts"].astype(float), held, simulated.var[[]])


def _write_rds(cells, file):
    place = ROOT / "tests" / "io" / "rds_writer.py"
    spec = importlib.util.spec_from_file_location("rds_writer", place)
    rds = sys.modules["rds_writer"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rds)
    factors = {
        name: rds.factor(values.tolist(), sorted(set(values))) for name, values in cells.obs.items()
    }
    matrix = rds.sparse_matrix(cells.X, cells.var_names, cells.obs_names)
    assay = rds.S4("Assay", {"counts": matrix, "data": matrix, "key": "rna_"})
    slots = {"assays": {"RNA": assay}, "meta.data": rds.data_frame(factors, cells.obs_names)}
    slots |= {"active.assay": "RNA", "misc": rds.PlainList(), "commands": rds.PlainList()}
    rds.dump(rds.S4("Seurat", slots), file)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["h5ad", "rds"])
def test_published_figures_load_a_merged_object(form, tmp_path, monkeypatch):
    cells = _merged_object()
    file, kept = tmp_path / f"panel.{form}", tmp_path / "kept.h5ad"
    if form == "h5ad":
        cells.write_h5ad(file)
    elif not any(importlib.util.find_spec(name) for name in ("rds2py", "rdata")):
        pytest.skip("neither rds2py nor rdata (extra 'rds') is installed")
    else:
        _write_rds(cells, file)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("NKSCORE_DUFVA", str(file))
    notebook = nbformat.read(ROOT / "notebooks" / "07_dufva_figures.ipynb", as_version=4)
    loading = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    keep = nbformat.v4.new_code_cell(f"adata.write_h5ad({str(kept)!r})")
    notebook.cells = [*notebook.cells[: loading + 1], keep]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    obs = read_h5ad(kept).obs
    wells = obs[["sample", "condition", "lane"]].drop_duplicates().astype(str)
    assert wells["sample"].is_unique
    # Two lines with two donors; each line and each donor alone in both batches; no blood NK cells.
    assert wells["condition"].value_counts().to_dict() == {
        "coculture": 4,
        "tumor_mono": 4,
        "nk_mono": 4,
    }
    alone = wells[wells["condition"] == "tumor_mono"]
    assert sorted(alone["lane"]) == ["Batch1_targets"] * 2 + ["Batch5_targets"] * 2
    assert set(obs["nk_donor"].dropna().astype(str)) == {"NK1", "NK2"}
    lineage = obs["tumor"].astype(object).map(nk.datasets.LINES).fillna("")
    assert lineage.tolist() == obs["lineage"].astype(object).fillna("").tolist()
    wrong = (obs["condition"] == "tumor_mono") & (obs["compartment"] != "tumor")
    assert not wrong.any()
    known = cells.obs["hash.ID"].isin({name.split(" in ")[0] for name in wells["sample"]})
    assert 0.8 * known.sum() < len(obs) <= known.sum()
