"""Files for other programs: what they hold, and in R that they load."""

from __future__ import annotations

import shutil
import subprocess

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError


def response():
    return pd.DataFrame(
        {
            "tumor": ["K562"] * 4 + ["THP/1"] * 3,
            "gene": ["SEPT1", "MARCH1", "B2M", "=1+1", "B2M", "SEPT1", "1-Mar"],
            "log2_fc": [1.0, -2.0, 3.0, 0.5, 2.0, np.nan, -1.0],
            "t": [2.0, -4.0, 9.0, 2.0, 5.0, np.nan, -3.0],
            "q_value": [0.01, 0.001, 1e-9, 0.2, 0.01, np.nan, 0.04],
        }
    )


# --- genes


def test_ranked_lists(tmp_path, caplog):
    files = nk.io.export(response(), tmp_path / "r.rnk", "rnk")
    assert [file.name for file in files] == ["r_K562.rnk", "r_THP_1.rnk"]
    assert files[0].read_text() == "B2M\t9.0\n=1+1\t2.0\nSEPT1\t2.0\nMARCH1\t-4.0\n"
    assert files[1].read_text() == "B2M\t5.0\n1-Mar\t-3.0\n"
    assert "1 genes without t are not written" in caplog.text
    one = response().iloc[3::-1]
    (file,) = nk.io.export(one, tmp_path / "one.rnk", to="rnk")
    assert file.read_text() == files[0].read_text()
    (file,) = nk.io.export(one, tmp_path / "fc.rnk", to="rnk", rank_by="log2_fc")
    assert file.read_text().startswith("B2M\t3.0\nSEPT1\t1.0\n")


def test_lists_that_make_no_sense(tmp_path):
    with pytest.raises(DesignError, match="'B2M' occurs twice in one list"):
        nk.io.export(response(), tmp_path / "r.rnk", to="rnk", by="lineage")
    with pytest.raises(MissingKeyError, match="no column 'score'"):
        nk.io.export(response(), tmp_path / "r.rnk", to="rnk", rank_by="score")
    with pytest.raises(MissingKeyError, match="no column 'gene'"):
        nk.io.export(response().drop(columns="gene"), tmp_path / "r.gmt", to="gmt")
    with pytest.raises(DesignError, match="No gene has q_value below 1e-12"):
        nk.io.export(response(), tmp_path / "r.gmt", to="gmt", max_q=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_sets_of_a_response(tmp_path):
    (file,) = nk.io.export(response(), tmp_path / "r.gmt", to="gmt")
    assert file.read_text().splitlines() == [
        "K562_UP\tq_value < 0.05\tB2M\tSEPT1",
        "K562_DN\tq_value < 0.05\tMARCH1",
        "THP_1_UP\tq_value < 0.05\tB2M",
        "THP_1_DN\tq_value < 0.05\t1-Mar",
    ]
    genes = response().replace({"gene": {"1-Mar": "MARCHF1"}})
    nk.io.export(genes, file, to="gmt", overwrite=True)
    sets = nk.signatures.load(file)
    assert sets["K562"].up == ("B2M", "SEPT1")
    assert sets["K562"].down == ("MARCH1",)


def test_sets_of_modules(tmp_path):
    table = pd.DataFrame(
        {
            "gene": ["A", "B", "C"],
            "module": [1, 2, 1],
            "label": ["HALLMARK_X", "unnamed", "HALLMARK_X"],
        }
    )
    (file,) = nk.io.export(table, tmp_path / "m.gmt", to="gmt")
    assert file.read_text() == "module_1\tHALLMARK_X\tA\tC\nmodule_2\tunnamed\tB\n"


# --- workbooks


def test_no_gene_becomes_a_date_or_a_formula(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    table = response().assign(flag=[True, False] * 3 + [True], text="a\x01b")
    table.loc[0, "log2_fc"] = np.inf
    (file,) = nk.io.export(table, tmp_path / "r.xlsx", to="xlsx")
    book = openpyxl.load_workbook(file)
    assert book.sheetnames == ["table", "columns"]
    sheet = book["table"]
    column = list(sheet["B"])[1:]
    assert [cell.value for cell in column] == response()["gene"].tolist()
    assert {cell.data_type for cell in column} == {"s"}
    assert {cell.number_format for cell in column} == {"@"}
    assert [cell.value for cell in sheet["C"]][1:4] == ["inf", -2, 3]
    assert sheet["C7"].value is None
    assert sheet["F2"].value is True
    assert sheet["G2"].value == "a b"
    words = dict(list(book["columns"].values)[n][1::2] for n in range(1, 6))
    assert words["q_value"].startswith("p_value adjusted for all tests")
    assert pd.read_excel(file, engine="openpyxl")["gene"].tolist() == response()["gene"].tolist()


def test_several_tables_and_cells_in_a_workbook(tmp_path, experiment):
    openpyxl = pytest.importorskip("openpyxl")
    tables = {"a/b" + "x" * 40: response(), "A_B" + "x" * 40: response(), "s": response()}
    (file,) = nk.io.export(tables, tmp_path / "t.xlsx", to="xlsx")
    names = openpyxl.load_workbook(file).sheetnames
    assert names == ["a_b" + "x" * 28, "A_B" + "x" * 24 + "_2", "s", "columns"]
    (file,) = nk.io.export(experiment, tmp_path / "c.xlsx", to="xlsx")
    cells = pd.read_excel(file, sheet_name="cells", engine="openpyxl")
    assert cells["cell"].tolist() == experiment.obs_names.tolist()
    np.testing.assert_allclose(
        pd.read_excel(file, sheet_name="scores", engine="openpyxl").iloc[:, 1:],
        experiment.obsm["scores"],
    )
    with pytest.raises(ValueError, match="has 2 rows and 16,385 columns; a worksheet holds"):
        nk.io.export(pd.DataFrame(np.zeros((2, 16385))), tmp_path / "w.xlsx", to="xlsx")


# --- cells


@pytest.fixture(scope="module")
def experiment():
    adata = nk.datasets.simulate_coculture(
        tumors=["K562"], n_cells_per_sample=20, n_genes=4000, rng=0
    )
    nk.datasets.use_truth(adata)
    nk.pp.normalize(adata)
    nk.tl.score(adata, {"a": ["NKG7", "GNLY"], "b/c": ["B2M", "HLA-A"]})
    adata.obsm["X_umap"] = np.random.default_rng(0).normal(size=(adata.n_obs, 2))
    adata.obs["text"] = pd.Series(
        ['a "quoted"\tword', "# x", "TRUE", None] * 500, dtype=object
    ).to_numpy()[: adata.n_obs]
    return adata


def test_the_explorer_file(tmp_path, experiment):
    before = experiment.copy()
    (file,) = nk.io.export(experiment, tmp_path / "e.h5ad", to="cellxgene")
    made = anndata.read_h5ad(file)
    assert made.X.format == "csc"
    np.testing.assert_array_equal(made.raw.X.toarray(), experiment.layers["counts"].toarray())
    np.testing.assert_allclose(made.X.toarray(), experiment.X.toarray())
    assert set(made.obs.dtypes.map(lambda d: d.kind)) <= {"O", "f", "i"}
    assert not made.obs.select_dtypes("category").isna().any().any()
    np.testing.assert_allclose(made.obs["scores: b|c"], experiment.obsm["scores"]["b|c"], rtol=1e-6)
    assert list(made.obsm) == ["X_umap"]
    assert made.obsm["X_umap"].dtype == np.float32
    assert list(made.uns) == []
    assert experiment.obs.equals(before.obs)
    assert list(experiment.obsm) == list(before.obsm)


def test_colors_of_states_are_kept(tmp_path, experiment):
    cells = experiment.copy()
    cells.obs["nk_state"] = pd.Categorical(["x", None] * 1000, ["x", "y"])[: cells.n_obs]
    cells.uns["nk_state_colors"] = ["#111111", "#222222"]
    (file,) = nk.io.export(cells, tmp_path / "e.h5ad", to="cellxgene")
    made = anndata.read_h5ad(file)
    assert made.obs["nk_state"].cat.categories.tolist() == ["x", "y", "missing"]
    assert list(made.uns["nk_state_colors"]) == ["#111111", "#222222", "#bbbbbb"]


def test_what_the_explorer_needs(tmp_path, experiment):
    raw = experiment.copy()
    raw.X = None
    with pytest.raises(MissingKeyError, match=r"Run pp\.normalize"):
        nk.io.export(raw, tmp_path / "e.h5ad", to="cellxgene")
    raw.X = raw.layers["counts"] * 1000
    with pytest.raises(WrongScaleError, match="log1p"):
        nk.io.export(raw, tmp_path / "e.h5ad", to="cellxgene")
    flat = experiment.copy()
    del flat.obsm["X_umap"]
    with pytest.raises(MissingKeyError, match=r"Run tl\.embed first"):
        nk.io.export(flat, tmp_path / "e.h5ad", to="cellxgene")
    twice = experiment.copy()
    twice.obs_names = ["a", "a", *twice.obs_names[2:]]
    with pytest.raises(GeneCoverageError, match="obs_names holds 'a' twice; R needs distinct"):
        nk.io.export(twice, tmp_path / "s", to="seurat")
    assert list(tmp_path.iterdir()) == []


_R = """
source("load.R", chdir = TRUE)
stopifnot(inherits(object, "Seurat"))
counts <- GetAssayData(object, "counts"); data <- GetAssayData(object, "data")
cat(dim(object), sum(counts), sum(data > 0), "\\n")
cat(rownames(object)[1:3], "\\n"); cat(colnames(object)[1:2], "\\n")
cat(sort(tolower(Assays(object))), "\\n"); cat(Reductions(object), "\\n")
cat(sum(GetAssayData(object[["hashtags"]], "counts")), "\\n")
cat(format(Embeddings(object, "umap")[2, 2], digits = 12), "\\n")
cat(table(object$condition)[["coculture"]], class(object$qc_pass), "\\n")
cat(object$text[1:4], sep = "|")
"""


def r_with(package):
    found = shutil.which("Rscript")
    if found is None:
        return False
    command = [found, "-e", f'quit(status = !requireNamespace("{package}", quietly = TRUE))']
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_seurat_loads_the_folder(tmp_path, experiment):
    folder = tmp_path / "out"
    files = nk.io.export(experiment, folder, to="seurat")
    assert {file.name for file in files} >= {"load.R", "matrix.mtx.gz", "cells.tsv.gz"}
    assert all(file.is_relative_to(folder) for file in files)
    if not r_with("SeuratObject"):
        pytest.skip("R with SeuratObject is not here (Debian: r-cran-seuratobject)")
    done = subprocess.run(
        ["Rscript", "-e", _R], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    counts = experiment.layers["counts"]
    assert lines[0].split() == [
        *map(str, experiment.shape[::-1]),
        str(counts.sum()),
        str((experiment.X > 0).sum()),
    ]
    assert lines[1].split() == experiment.var_names[:3].tolist()
    assert lines[2].split() == experiment.obs_names[:2].tolist()
    assert lines[3].split() == ["hashtags", "rna", "scores"]
    assert lines[4].split() == ["umap"]
    assert int(lines[5]) == experiment.obsm["hashtags"].to_numpy().sum()
    assert float(lines[6]) == pytest.approx(experiment.obsm["X_umap"][1, 1], rel=1e-10)
    n_together = (experiment.obs["condition"] == "coculture").sum()
    assert lines[7].split() == [str(n_together), "logical"]
    assert lines[8] == 'a "quoted" word|# x|TRUE|NA'


# --- files


def test_files_are_kept_unless_told(tmp_path, experiment):
    for name, to in (("a.rnk", "rnk"), ("a.gmt", "gmt"), ("a.xlsx", "xlsx")):
        table = response().iloc[:4]
        nk.io.export(table, tmp_path / "new" / name, to=to)
        with pytest.raises(FileExistsError, match="pass overwrite=True"):
            nk.io.export(table, tmp_path / "new" / name, to=to)
        nk.io.export(table, tmp_path / "new" / name, to=to, overwrite=True)
    folder = tmp_path / "s"
    few = experiment[:5].copy()
    nk.io.export(few, folder, to="seurat")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        nk.io.export(few, folder, to="seurat")
    nk.io.export(few, folder, to="seurat", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.md").write_text("x")
    with pytest.raises(FileExistsError, match=r"is not a folder of io\.export"):
        nk.io.export(few, tmp_path / "mine", to="seurat", overwrite=True)
    assert (tmp_path / "mine" / "notes.md").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"new", "s", "mine"}


def test_targets_and_data_that_do_not_fit(tmp_path, experiment):
    with pytest.raises(ValueError, match=r"to='loupe' is unknown\. Pass one of 'seurat', 'xlsx'"):
        nk.io.export(response(), tmp_path / "a", to="loupe")
    with pytest.raises(TypeError, match="of type AnnData; to='rnk' takes a DataFrame"):
        nk.io.export(experiment, tmp_path / "a", to="rnk")
    with pytest.raises(TypeError, match="of type DataFrame; to='seurat' takes an AnnData"):
        nk.io.export(response(), tmp_path / "a", to="seurat")
    with pytest.raises(TypeError, match="of type dict; to='gmt' takes a DataFrame"):
        nk.io.export({"a": response()}, tmp_path / "a", to="gmt")
    with pytest.raises(TypeError, match="'a' is of type list; a DataFrame is needed"):
        nk.io.export({"a": []}, tmp_path / "a.xlsx", to="xlsx")
