"""The command line: results complete or absent, errors without traceback, clear exit codes."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import anndata
import pandas as pd
import pytest
import shtab

import nkscore as nk
from nkscore._report._results import Results
from nkscore._report._tables import Table
from nkscore._run import _job as _workflow_parts
from nkscore._run import _options as _workflow_options
from nkscore._run import _steps as _workflow
from nkscore.cli import main
from nkscore.cli._demo import brief, summary


@pytest.fixture
def finished(finished_demo):
    return finished_demo


#: Everything of a run but what takes long.
QUICK = """
[run]
embedding = false
figures = false
tables = ["nk_state_fractions", "nk_response"]
"""


@pytest.fixture
def quick(tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "run.toml"
    config.write_text(QUICK)
    return config


def test_demo_leaves_everything(finished):
    code, out = finished
    assert code == 0
    assert {p.name for p in out.iterdir()} == {
        "adata.h5ad",
        "columns.tsv",
        "config.toml",
        "figures",
        "lanes",
        "report.html",
        "run.log",
        "summary.md",
        "tables",
    }
    log = (out / "run.log").read_text(encoding="utf-8")
    assert "Kept " in log
    assert "was not" not in log
    adata = anndata.read_h5ad(out / "adata.h5ad")
    for stage in ("qc", "demultiplexed", "normalized", "nk_states", "tumor_states"):
        nk.schema.validate(adata, stage)
    names = {p.stem for p in (out / "tables").glob("*.tsv")}
    assert {"tumor_response", "nk_response", "nk_state_shift", "nk_state_fractions"} <= names
    figures = {p.stem for p in (out / "figures").glob("*.png")}
    assert {"map_condition", "nk_states", "response_dots", "volcanoes", "qc"} <= figures
    assert "response_heatmap" in figures
    assert figures == {p.stem for p in (out / "figures").glob("*.pdf")}
    assert {p.name for p in out.parent.iterdir()} == {"results"}


def test_every_column_of_a_table_is_explained(finished):
    _, out = finished
    words = pd.read_csv(out / "columns.tsv", sep="\t", keep_default_na=False)
    assert list(words) == ["table", "column", "type", "meaning"]
    for path in (out / "tables").glob("*.tsv"):
        columns = pd.read_csv(path, sep="\t", nrows=0).columns
        assert words.loc[words["table"] == path.stem, "column"].tolist() == list(columns)
    assert words.loc[words["meaning"] == "", ["table", "column"]].to_numpy().tolist() == []


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


def assert_same_results(out, demo):
    """The quick run must give what the demo gave from the same lanes."""
    for name in ("nk_state_fractions", "nk_response"):
        made, wanted = ((f / "tables" / f"{name}.tsv").read_bytes() for f in (out, demo))
        assert made == wanted
    first, second = (
        anndata.read_h5ad(folder / "adata.h5ad").obs["nk_state"].astype(str)
        for folder in (demo, out)
    )
    pd.testing.assert_series_equal(first, second)


def test_run_from_a_sheet_and_force(finished, quick, tmp_path, capsys, monkeypatch):
    _, out = finished
    monkeypatch.chdir(out / "lanes")
    results = tmp_path / "my results"
    results.mkdir()
    (results / "mine.txt").write_text("kept")
    command = ["run", "sample_sheet.csv", "--out", str(results), "--config", str(quick)]
    assert main(command) == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["my results", "mine.txt"]
    assert main([*command, "--force"]) == 0
    assert (results / "mine.txt").read_text() == "kept"
    assert [p.name for p in tmp_path.iterdir()] == ["my results"]
    assert_same_results(results, out)
    assert "cells kept" in capsys.readouterr().out
    # What was in force is written down, in a form that can be used again.
    options = _workflow_options.read(results / "config.toml")
    assert options["run"]["tables"] == ["nk_state_fractions", "nk_response"]
    assert options == _workflow_options.read(quick)


def test_killed_in_the_middle_and_resumed(finished, quick, tmp_path, capsys, monkeypatch):
    """SIGKILL leaves no results; the same command goes on, and ends as if never killed."""
    _, demo = finished
    out, folder = tmp_path / "out", tmp_path / "out.parts"
    command = ["run", str(demo / "lanes" / "sample_sheet.csv"), "--out", str(out)]
    command += ["--config", str(quick)]
    process = subprocess.Popen(
        [sys.executable, "-m", "nkscore.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(folder.glob("cells-*.h5")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not out.exists()
    assert list(folder.glob("cells-*.h5"))
    for step in ("qc", "demultiplex", "compartments", "ambient"):
        monkeypatch.setattr(f"nkscore.pp.{step}", None)
    # Interrupted once more, now by Ctrl-C in the last table.
    make = Table.make

    def interrupted(table, results, options):
        if table.name == "nk_response":
            raise KeyboardInterrupt
        return make(table, results, options)

    monkeypatch.setattr(Table, "make", interrupted)
    assert main(command) == 130
    assert "resumes from there" in capsys.readouterr().err
    assert not out.exists()
    for name in ("keep", "normalize"):
        monkeypatch.setattr(f"nkscore.pp.{name}", None)
    monkeypatch.setattr(Table, "make", make)
    assert main(command) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert_same_results(out, demo)
    log = (out / "run.log").read_text(encoding="utf-8")
    assert log.count("Step cells: reused from") == 2
    assert "Step states: reused from" in log
    assert "Stopped: KeyboardInterrupt" in log


def test_what_changed_is_not_taken_from_before(finished, quick, tmp_path, monkeypatch):
    """Other options, another version or a touched lane make the steps after them new."""
    lanes = tmp_path / "lanes"
    shutil.copytree(finished[1] / "lanes", lanes)
    sheet, stop = lanes / "sample_sheet.csv", KeyboardInterrupt
    command = ["run", str(sheet), "--out", str(tmp_path / "out"), "--config", str(quick)]

    def steps_made():
        made = []
        for name in ("_read", "_call"):
            real = getattr(_workflow, name)
            monkeypatch.setattr(
                _workflow, name, lambda *a, real=real, name=name: made.append(name) or real(*a)
            )
        steps = [replace(s, run=getattr(_workflow, s.run.__name__)) for s in _workflow.STEPS[:2]]
        describe = replace(_workflow.STEPS[2], run=lambda *_: (_ for _ in ()).throw(stop))
        with monkeypatch.context() as patch:
            patch.setattr(_workflow, "STEPS", (*steps, describe))
            assert main(command) == 130
        return made

    original = _workflow._read, _workflow._call

    def restored():
        monkeypatch.setattr(_workflow, "_read", original[0])
        monkeypatch.setattr(_workflow, "_call", original[1])
        return steps_made()

    assert restored() == ["_read", "_call"]
    assert restored() == []
    quick.write_text(QUICK + "[qc]\nn_mads = 4\n")
    assert restored() == ["_call"]
    os.utime(lanes / "Lane_NK1.h5", ns=(1, 1))
    assert restored() == ["_read", "_call"]
    monkeypatch.setattr(_workflow_parts, "__version__", "9.9")
    assert restored() == ["_read", "_call"]
    assert restored() == []


def test_two_runs_into_one_folder(finished, tmp_path, capsys):
    sheet = str(finished[1] / "lanes" / "sample_sheet.csv")
    with _workflow_parts.job(tmp_path / "out", force=False):
        assert main(["run", sheet, "--out", str(tmp_path / "out")]) == 1
        assert "Another run is writing to out" in capsys.readouterr().err
    assert (tmp_path / "out" / "run.log").exists()


def test_tables_keep_their_types_between_runs(tmp_path):
    table = pd.DataFrame(
        {
            "tumor": pd.Series(["A", None, "B"], dtype=object),
            "n": [1, 2, 3],
            "x": [0.1, float("nan"), 1e-300],
            "flag": [True, False, True],
            "state": pd.Categorical(["a", "b", None], categories=["b", "a", "c"]),
        },
        index=[5, 6, 7],
    )
    running = _workflow_parts.Job(tmp_path, checkpoints=True)
    running.save_table("t", "k", table)
    again = running.load_table("t", "k")
    pd.testing.assert_frame_equal(again, table.reset_index(drop=True), check_exact=True)
    assert running.has("t", "k")
    assert not running.has("t", "other")


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[qc]\nn_mad = 5", r"[qc] has no option 'n_mad'; did you mean 'n_mads'?"),
        ("[qcc]\nx = 1", "no section [qcc]; did you mean 'qc'?"),
        ("n_mads = 5", "no section for the option [n_mads]"),
        ("[qc]\npreset = 3", "[qc] preset is 3; needed: text"),
        ("[qc]\nn_mads = 'five'", "[qc] n_mads is 'five'; needed: a number"),
        ("[nk_states]\nmin_cells = 2.5", "min_cells is 2.5; needed: a whole number"),
        ("[run]\nfigures = 1", "[run] figures is 1; needed: true or false"),
        ("[nk_states]\nmin_cells = true", "min_cells is True; needed: a whole number"),
        ("[read]\nextra_conditions = 'x'", "needed: a list, each text"),
        ("[read]\nextra_conditions = [2020-01-01]", "needed: a list, each text"),
        ("[read]\ngenes = 'both'", "genes is 'both'; needed: one of 'union', 'intersection'"),
        ("[qc.limits]\npct_counts_mt = [0]", "a table, each value a list of 2"),
        ("[demultiplex]\npriors = [0.1, 0.2]", "needed: a list of 3"),
        ("[run]\ntables = ['nk_respons']", "no table 'nk_respons'; did you mean 'nk_response'?"),
        ("[qc", "is not valid TOML"),
    ],
)
def test_wrong_options_are_named(finished, tmp_path, capsys, text, message):
    config, out = tmp_path / "run.toml", tmp_path / "out"
    config.write_text(text)
    sheet = finished[1] / "lanes" / "sample_sheet.csv"
    assert main(["run", str(sheet), "--out", str(out), "--config", str(config)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(config) in error
    assert [p.name for p in tmp_path.iterdir()] == ["run.toml"]


def test_right_options_are_taken(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        "[qc]\nn_mads = 4\n[qc.limits]\npct_counts_mt = [0, 12.5]\n"
        "[demultiplex]\npriors = [0.1, 0.8, 0.1]\n[nk_states.vocabulary]\nmine = ['GNLY']\n"
        "[read]\ngenes = 'intersection'\n"
    )
    options = _workflow_options.read(config)
    assert options["qc"]["n_mads"] == 4
    assert options["qc"]["limits"] == {"pct_counts_mt": [0, 12.5]}
    assert options["nk_states"]["vocabulary"] == {"mine": ["GNLY"]}
    assert options["compartments"] == _workflow_options.defaults()["compartments"]


def test_all_options_can_be_written_and_read(tmp_path, capsys):
    path = tmp_path / "run.toml"
    assert main(["run", "--write-config", str(path)]) == 0
    assert _workflow_options.read(path) == _workflow_options.defaults()
    assert main(["run", "--write-config", str(path)]) == 1
    assert "exists" in capsys.readouterr().err
    text = path.read_text(encoding="utf-8")
    for section, found in _workflow_options.known().items():
        assert f"[{section}]" in text
        for option in found.values():
            assert option.meaning, f"{section}.{option.name} is not described"


def test_places_that_cannot_be_written(finished, tmp_path, capsys):
    sheet = str(finished[1] / "lanes" / "sample_sheet.csv")
    (tmp_path / "file").touch()
    places = [tmp_path / "file" / "out"]
    if sys.platform == "linux":
        places.append(Path("/proc/nkscore/out"))
    for place in places:
        assert main(["run", sheet, "--out", str(place)]) == 1
        assert f"cannot be written to {place}" in capsys.readouterr().err


def test_errors_of_our_own_are_told_apart(finished, tmp_path, capsys, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("odd")

    monkeypatch.setattr("nkscore.io.read_coculture", broken)
    command = ["run", str(finished[1] / "lanes" / "sample_sheet.csv"), "--out", str(tmp_path / "o")]
    assert main(command) == 3
    error = capsys.readouterr().err
    assert "unexpected RuntimeError: odd" in error
    assert "Traceback" not in error
    with pytest.raises(RuntimeError, match="odd"):
        main([*command, "--debug"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("nkscore.tl.embed", "map"),
        ("nkscore.tl.nk_states", "nk_states"),
        ("nkscore.tl.core_response", "core_response"),
        ("nkscore.pl.qc", "figure qc"),
        ("nkscore._run._steps.write_report", "report"),
    ],
)
def test_an_optional_part_that_fails_costs_nothing_else(
    finished, tmp_path, capsys, monkeypatch, what, name
):
    def broken(*_, **__):
        raise AttributeError("no attribute 'getnnz'")

    monkeypatch.setattr(what, broken)
    out = tmp_path / "out"
    sheet = str(finished[1] / "lanes" / "sample_sheet.csv")
    config = tmp_path / "most.toml"
    config.write_text(
        f"[run]\nembedding = {str(name == 'map').lower()}\n"
        f"figures = {str(name.startswith('figure')).lower()}\n"
        'tables = ["nk_state_fractions", "tumor_response", "core_response"]\n'
    )
    assert main(["run", sheet, "--out", str(out), "--config", str(config)]) == 4
    printed = capsys.readouterr()
    assert name in printed.out.splitlines()[-1]
    assert f"Failed: {name}. AttributeError: no attribute 'getnnz'" in printed.err
    log = (out / "run.log").read_text(encoding="utf-8")
    assert f"{name} failed: AttributeError" in log
    assert "Traceback" in log
    assert (out / "adata.h5ad").exists()
    assert (out / "tables" / "nk_state_fractions.tsv").exists() or name == "nk_states"
    if name != "report":
        page = (out / "report.html").read_text(encoding="utf-8")
        assert f"Failed: {name}." in page


def test_what_failed_is_tried_again(finished, quick, tmp_path, monkeypatch):
    """A checkpoint never holds a step that failed, so that a second try mends it."""
    sheet = str(finished[1] / "lanes" / "sample_sheet.csv")
    command = ["run", sheet, "--out", str(tmp_path / "out"), "--config", str(quick)]

    def broken(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("nkscore.tl.nk_states", broken)
        patch.setattr("nkscore._run._steps.write", broken)
        assert main(command) == 3
    assert main(command) == 0
    kept = anndata.read_h5ad(tmp_path / "out" / "adata.h5ad")
    assert "nk_state" in kept.obs


#: How each shell takes up a script, as the documentation says.
_TAKE_UP = {
    "bash": 'eval "$(cat script)"',
    "zsh": 'autoload -U compinit; compinit -u -D; eval "$(cat script)"',
    "tcsh": "unset autologout; set edit; source script",
}
_QUIET = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f"], "tcsh": ["-f"]}


class Shell:
    """A shell at a terminal, in which ``nkscore`` prints the words that it is given."""

    def __init__(self, name, folder):
        (folder / "bin").mkdir()
        (folder / "bin" / "nkscore").write_text('#!/bin/sh\necho "<$*>"\n')
        (folder / "bin" / "nkscore").chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", name, *_QUIET[name]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=folder,
            env=os.environ
            | {
                "TERM": "vt100",
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(folder),
            },
        )
        # The command is echoed, so that the word must not stand in it as it is printed.
        self._say(f"{_TAKE_UP[name]}; echo '<'ready'>'\n")

    def words(self, line):
        """Return the words of the command after the tab key was pressed behind ``line``."""
        return self._say(f"nkscore {line}\t\n")

    def _say(self, text):
        self._process.stdin.write(text.encode())
        shown, end = b"", time.monotonic() + 30
        while not (found := re.findall(rb"<([^<>'$]*)>\r", shown)):
            if time.monotonic() > end:
                raise TimeoutError(shown)
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                shown += os.read(self._process.stdout.fileno(), 4096)
        return found[0].decode()

    def close(self):
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def script(tmp_path, capsys, request):
    """The script of a shell beside a sheet and other files."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed, so that its script was not run")
    assert main(["completion", request.param]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "sheet.csv").touch()
    return request.param


@pytest.mark.parametrize("script", list(_TAKE_UP), indirect=True)
def test_completion_at_a_terminal(script, tmp_path):
    shell = Shell(script, tmp_path)
    try:
        assert shell.words("de") == "demo"
        assert shell.words("run --con") == "run --config"
        assert shell.words("run --no") == "run --no-checkpoints"
        assert shell.words("completion po") == "completion powershell"
        assert shell.words("run sh") == "run sheet.csv"
        assert shell.words("run --config sh") == "run --config sheet.csv"
        # tcsh has one list of options for all commands.
        other = "--config" if script == "tcsh" else "--con"
        assert shell.words("demo --con") == f"demo {other}"
    finally:
        shell.close()


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_completion_in_fish(script, tmp_path):
    def offered(line):
        command = f"source script; complete -C 'nkscore {line}'"
        done = subprocess.run(
            [script, "--no-config", "-c", command],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path)},
        )
        assert done.stderr == ""
        return [found.partition("\t")[0] for found in done.stdout.splitlines()]

    assert sorted(offered("")) == ["completion", "demo", "plan", "run", "score", "sheet"]
    assert offered("run --con") == ["--config"]
    assert offered("demo --con") == []
    assert offered("run sh") == ["sheet.csv"]
    assert offered("run --config sh") == ["sheet.csv"]


def test_completion_for_every_shell_of_shtab(capsys):
    for shell in shtab.SUPPORTED_SHELLS:
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        for word in ("demo", "run", "score", "sheet", "config", "no-checkpoints", "from-names"):
            assert word in script
    with pytest.raises(SystemExit):
        main(["completion", "ksh"])
    assert "'powershell'" in capsys.readouterr().err


def test_help_shows_commands_examples_and_codes(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "demo",
        "run",
        "score",
        "sheet",
        "completion",
        "examples:",
        "exit codes:",
        "--config",
    ):
        assert word in text


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(nk.errors.SampleSheetError, match="does not exist"):
        main(["run", str(tmp_path / "no.csv"), "--out", str(tmp_path / "out"), "--debug"])


def test_version_and_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert nk.__version__ in capsys.readouterr().out
    for wrong in (["demo", "--cells", "0"], ["run"], [], ["rnu"]):
        with pytest.raises(SystemExit) as stop:
            main(wrong)
        assert stop.value.code == 2


def test_limits_without_an_end_can_be_read_again(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text("\ufeff[qc.limits]\ntotal_counts = [500, inf]\n", encoding="utf-8")
    options = _workflow_options.read(config)
    assert options["qc"]["limits"] == {"total_counts": [500, float("inf")]}
    again = tmp_path / "again.toml"
    again.write_text(_workflow_options.write(options), encoding="utf-8")
    assert _workflow_options.read(again) == options


def test_missing_config_says_how_to_make_one(tmp_path, capsys):
    assert main(["run", "sheet.csv", "--config", str(tmp_path / "no.toml")]) == 1
    assert "no.toml does not exist. Run nkscore run --write-config" in capsys.readouterr().err
    path = tmp_path / "new" / "run.toml"
    assert main(["run", "--write-config", str(path)]) == 0
    assert path.exists()


def test_cells_that_are_no_number(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--cells", "many"])
    assert "'many' is not a positive whole number" in capsys.readouterr().err


def test_features_beside_a_matrix_count_as_part_of_the_lane(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        (tmp_path / "run" / name).write_text("1")
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("path,sample,condition\nrun/matrix.mtx,a,nk_mono\n")
    before = _workflow_parts.fingerprint(sheet)
    assert before == _workflow_parts.fingerprint(sheet)
    (tmp_path / "run" / "features.tsv").write_text("12")
    assert before != _workflow_parts.fingerprint(sheet)


def test_results_on_a_disk_of_their_own(tmp_path, monkeypatch):
    """Files cannot be renamed from one disk to another, as where --out is a mounted folder."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.txt").write_text("old")
    rename = os.rename

    def other_disk(source, target):
        if (out in Path(source).parents) != (out in Path(target).parents):
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", other_disk)
    with _workflow_parts.job(out, force=True, checkpoints=False) as running:
        (running.results / "old.txt").write_text("new")
        (running.results / "tables").mkdir()
    assert (out / "old.txt").read_text() == "new"
    assert (out / "tables").is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_was_to_be_replaced_outlives_a_full_disk(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("old")
    move = shutil.move

    def full(source, target):
        move(source, target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    with (
        pytest.raises(OSError, match="No space left"),
        _workflow_parts.job(out, force=True, checkpoints=False) as running,
    ):
        (running.results / "mine.txt").write_text("new")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert (out / "mine.txt").read_text() == "old"


def test_demo_of_too_few_cells_says_what_was_not_made():
    truth = nk.datasets.simulate_coculture(n_cells_per_sample=20, n_genes=4000, rng=0)
    loaded = truth.copy()
    nk.datasets.use_truth(loaded)
    text = summary(Results(loaded, nk.pp.keep(loaded), skipped={"nk_states": "few cells"}), truth)
    assert "## Tumor response, genes at q < 0.05\n\nNot made." in text
    assert "| NK cells with a called state | 0.0 % |" in text
    assert text.endswith("Not made: nk_states. few cells\n")


def test_demo_ends_with_ten_lines(finished):
    """Planted and recovered, in the words of the terminal."""
    _, out = finished
    truth = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=3)
    loaded = truth.copy()
    nk.datasets.use_truth(loaded)
    results = Results(loaded, nk.pp.keep(loaded), skipped={"nk_states": "few cells", "x": "y"})
    few = brief(results, truth)
    assert few.endswith("Not made: nk_states. few cells")
    for name in ("ambient", "nk_state_fractions", "tumor_state_fractions", "tumor_response"):
        text = out / "tables" / f"{name}.tsv"
        results.tables[name] = pd.read_csv(text, sep="\t", dtype={"tumor": str})
    text = brief(results, truth)
    # With the line that names the report.
    assert len(text.splitlines()) <= 9
    assert max(map(len, text.splitlines()[:-1])) <= 100
    assert "cells in their compartment           100.0 %" in text
    ambient = re.search(r"ambient RNA of tumor cells +([\d.]+)% → ([\d.]+)%", text)
    assert abs(float(ambient[1]) - float(ambient[2])) < 1
    assert re.search(r"dormant-like tumor cells +alone [\d.]+% → [\d.]+%, with NK [\d.]+% → ", text)
    assert re.search(r"activated NK cells +\w+.*\d+% → \d+%, ..., \w+ \d+% → \d+%", text)
    assert re.search(r"strong response genes found +\d+ of \d+, 0 in the wrong direction", text)
