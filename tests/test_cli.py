"""The command line: results complete or absent, errors without traceback, clear exit codes."""

from __future__ import annotations

import anndata
import pandas as pd
import pytest

import nkscore as nk
from nkscore.cli import main


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "results"
    code = main(["demo", "--out", str(out), "--cells", "60", "--seed", "3"])
    return code, out


def test_demo_leaves_everything(finished):
    code, out = finished
    assert code == 0
    assert {p.name for p in out.iterdir()} == {
        "adata.h5ad", "figures", "lanes", "summary.md", "tables",
    }  # fmt: skip
    adata = anndata.read_h5ad(out / "adata.h5ad")
    for stage in ("qc", "demultiplexed", "normalized", "nk_states", "tumor_states"):
        nk.schema.validate(adata, stage)
    names = {p.stem for p in (out / "tables").glob("*.tsv")}
    assert {"tumor_response", "nk_response", "nk_state_shift", "nk_state_fractions"} <= names
    figures = {p.stem for p in (out / "figures").glob("*.png")}
    assert {"map_condition", "nk_states", "response_dots", "volcano_K562", "qc"} <= figures
    assert figures == {p.stem for p in (out / "figures").glob("*.pdf")}
    assert {p.name for p in out.parent.iterdir()} == {"results"}


def test_tables_read_back_as_written(finished):
    _, out = finished
    table = pd.read_csv(out / "tables" / "tumor_response.tsv", sep="\t", dtype={"tumor": str})
    parquet = pd.read_parquet(out / "tables" / "tumor_response.parquet")
    pd.testing.assert_frame_equal(
        table, parquet.assign(tumor=parquet["tumor"].astype(str)), check_dtype=False
    )


def test_summary_states_planted_and_recovered(finished):
    _, out = finished
    text = (out / "summary.md").read_text(encoding="utf-8")
    assert "planted" in text
    for line in ("697", "ALLSIL", "JURKAT", "K562", "RI1", "GDM1"):
        assert f"| {line} |" in text


def test_results_are_not_overwritten(finished, capsys):
    _, out = finished
    before = (out / "summary.md").read_bytes()
    assert main(["demo", "--out", str(out), "--cells", "20"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert (out / "summary.md").read_bytes() == before


def test_run_from_a_sheet_and_force(finished, tmp_path, capsys):
    _, out = finished
    sheet, results = out / "lanes" / "sample_sheet.csv", tmp_path / "again"
    results.mkdir()
    (results / "mine.txt").write_text("kept")
    assert main(["run", str(sheet), "--out", str(results)]) == 1
    assert main(["run", str(sheet), "--out", str(results), "--force"]) == 0
    assert (results / "mine.txt").read_text() == "kept"
    first, second = (
        anndata.read_h5ad(folder / "adata.h5ad").obs["nk_state"].astype(str)
        for folder in (out, results)
    )
    pd.testing.assert_series_equal(first, second)
    assert "cells kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",coculture,", ",cocultur,"), "is not a known condition"),
        (lambda text: text.replace("Hashtag3", "Hashtag33"), "'Hashtag33' is not in"),
        (lambda text: text.replace("ALLSIL_NK1", "697_NK1"), "is already the sample of row"),
        (lambda text: text.replace("Lane_NK1.h5", "gone.h5"), "does not exist"),
        (lambda _: "", "is empty"),
    ],
)
def test_bad_sheet_is_one_error_and_no_folder(finished, tmp_path, capsys, change, message):
    sheet = finished[1] / "lanes" / f"bad_{tmp_path.name}.csv"
    sheet.write_text(change((finished[1] / "lanes" / "sample_sheet.csv").read_text()))
    out = tmp_path / "out"
    assert main(["run", str(sheet), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert sheet.name in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
    sheet.unlink()


def test_truncated_lane_is_named(finished, tmp_path, capsys):
    lanes = finished[1] / "lanes"
    (tmp_path / "Lane_NK1.h5").write_bytes((lanes / "Lane_NK1.h5").read_bytes()[:20_000])
    sheet = pd.read_csv(lanes / "sample_sheet.csv", dtype=str)
    sheet = sheet[sheet["lane"] == "Lane_NK1"]
    sheet.to_csv(tmp_path / "sheet.csv", index=False)
    assert main(["run", str(tmp_path / "sheet.csv"), "--out", str(tmp_path / "out")]) == 1
    assert "truncated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(nk.errors.SampleSheetError, match="does not exist"):
        main(["run", str(tmp_path / "no.csv"), "--out", str(tmp_path / "out"), "--debug"])


def test_version_and_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert nk.__version__ in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--cells", "0"])
    assert stop.value.code == 2
