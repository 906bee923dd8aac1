"""``nkscore run`` on annotated cells instead of a sample sheet."""

from __future__ import annotations

import anndata
import pandas as pd
import pytest

import nkscore as nk
from nkscore._run import _options, _source
from nkscore.cli import main

MAP = "condition=treatment,coculture=NK+tumor,tumor_mono=tumor,nk_mono=NK,tumor=line,nk_donor=donor"
QUICK = """
[run]
embedding = false
figures = false
tables = ["nk_state_fractions"]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    adata = nk.datasets.simulate_coculture(tumors=["K562"], n_cells_per_sample=60, rng=0)
    words = {"coculture": "NK+tumor", "tumor_mono": "tumor", "nk_mono": "NK"}
    truth = adata.obs
    adata.obs = pd.DataFrame(
        {
            "treatment": truth["truth_condition"].map(words),
            "line": truth["truth_tumor"],
            "donor": truth["truth_nk_donor"],
            "compartment": truth["truth_compartment"],
            "nk_state": truth["truth_nk_state"],
        }
    )
    adata.uns, adata.obsm = {}, {}
    adata.write_h5ad(folder / "cells.h5ad")
    (folder / "run.toml").write_text(QUICK)
    return folder / "cells.h5ad"


def run(file, out, *more):
    config = file.with_name("run.toml")
    return main(["run", str(file), "--config", str(config), "--out", str(out), *more])


def test_cells_are_analyzed(file, tmp_path):
    out = tmp_path / "out"
    assert run(file, out, "--map", MAP) == 0
    made = anndata.read_h5ad(out / "adata.h5ad")
    assert set(made.obs["condition"].cat.categories) == {"coculture", "tumor_mono", "nk_mono"}
    assert made.obs["compartment_confidence"].notna().all()
    for step in ("pp.qc", "pp.compartments", "tl.nk_states", "io.read_cells"):
        assert step in made.uns["nkscore"]
    assert "pp.demultiplex" not in made.uns["nkscore"]
    table = pd.read_csv(out / "tables" / "nk_state_fractions.tsv", sep="\t")
    assert set(table["condition"]) == {"coculture", "nk_mono"}
    # The options of the run hold the map, so that config.toml repeats it.
    again = _options.read(out / "config.toml")
    assert again["cells"]["mapping"] == [MAP]
    assert run(file, tmp_path / "second", "--config", str(out / "config.toml")) == 0


def test_calls_of_the_file_are_kept(file, tmp_path):
    out = tmp_path / "out"
    assert run(file, out, "--map", MAP, "--keep", "compartment,nk_state") == 0
    made = anndata.read_h5ad(out / "adata.h5ad")
    given = anndata.read_h5ad(file).obs.loc[made.obs_names.str.removeprefix("cells_")]
    assert (
        made.obs["compartment"].astype(str) == given["compartment"].astype(str).to_numpy()
    ).all()
    assert "pp.compartments" not in made.uns["nkscore"]
    assert "tl.nk_states" not in made.uns["nkscore"]
    assert "tl.tumor_states" in made.uns["nkscore"]
    table = pd.read_csv(out / "tables" / "nk_state_fractions.tsv", sep="\t")
    assert set(given["nk_state"].dropna()) <= set(table["state"])


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--map", "conditon=treatment"], "did you mean 'condition'?"),
        (["--keep", "states"], "[cells] keep: 'states' is unknown; known: compartment"),
    ],
)
def test_a_wrong_map_is_an_error_before_anything_is_read(tmp_path, capsys, more, match):
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "no.h5ad"), "--out", str(out), *more]) == 1
    assert match in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_map_is_not_for_a_sheet(tmp_path, capsys):
    assert main(["run", "s.csv", "--out", str(tmp_path / "out"), "--map", MAP]) == 1
    assert "s.csv is a sample sheet; a map of columns (--map)" in capsys.readouterr().err


def test_a_run_resumes_only_from_the_same_file(file, tmp_path):
    copy = tmp_path / "cells.h5ad"
    copy.write_bytes(file.read_bytes())
    first = _source.Source(copy).fingerprint()
    assert first == _source.Source(copy).fingerprint()
    with copy.open("ab") as stream:
        stream.write(b"x")
    assert first != _source.Source(copy).fingerprint()
