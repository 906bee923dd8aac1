"""What a run stores, takes up again, replaces and leaves alone."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from nkscore._run import _contents, _job, _place, _steps
from nkscore._whole import is_full, new_hdf5


def _tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def _run(out, files, *, force=False):
    with _job.job(out, force=force) as running:
        for name, text in files.items():
            path = running.results / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


def test_force_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    out = tmp_path / "out"
    _run(out, {"tables/a.tsv": "1", "tables/b.tsv": "1", "figures/f.png": "1", "adata.h5ad": "1"})
    (out / "tables" / "my_notes.txt").write_text("mine")
    (out / "mine").mkdir()
    _run(out, {"tables/a.tsv": "2", "adata.h5ad": "2"}, force=True)
    found = _tree(out)
    assert found.pop("run.log")
    assert found == {"tables/a.tsv": b"2", "adata.h5ad": b"2", "tables/my_notes.txt": b"mine"}
    assert (out / "mine").is_dir()
    assert not (out / "figures").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("log", ["no list", f"{_place.FILES}[1, ", f'{_place.FILES}["../x", "a"]'])
def test_a_log_can_not_make_a_run_remove_other_files(tmp_path, log):
    (tmp_path / "x").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.log").write_text(log)
    _run(out, {"b": "new"}, force=True)
    assert (tmp_path / "x").read_text() == "mine"
    assert (out / "b").read_text() == "new"


def test_results_that_cannot_be_placed_change_nothing(tmp_path):
    out = tmp_path / "out"
    _run(out, {"a": "1", "b": "1", "tables/c": "1"})
    (out / "b").unlink()
    (out / "b").mkdir()
    before = _tree(out)
    with pytest.raises(OSError, match="b"):
        _run(out, {"a": "2", "b": "2", "d": "2"}, force=True)
    assert _tree(out) == before
    assert sorted(p.name for p in out.iterdir()) == ["a", "b", "run.log", "tables"]


def test_a_run_killed_while_it_places_its_results_is_mended(tmp_path):
    out = tmp_path / "out"
    _run(out, {"a": "1", "b": "1"})
    for place, name in (("old", "a"), ("new", "b")):
        (out / _place.UNFINISHED / place).mkdir(parents=True)
        (out / _place.UNFINISHED / place / name).write_text(place)
    (out / "a").write_text("2")
    # The same command goes on, with and without --force.
    with _job.job(out, force=False):
        assert (out / "a").read_text() == "old"
        assert not (out / _place.UNFINISHED).exists()


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda raw: raw[:-1], lambda raw: raw[:9] + b"x" + raw[10:]]
)
def test_damaged_parts_are_as_if_absent(tmp_path, damage):
    running = _job.Job(tmp_path)
    adata = anndata.AnnData(np.ones((3, 2)), obs=pd.DataFrame(index=list("abc")))
    running.save_cells("cells", "k", adata, {"map": "no"})
    running.save_table("t", "k", pd.DataFrame({"a": [1.0, 2.0]}))
    again, notes = running.load_cells("cells", "k")
    assert notes == {"map": "no"}
    np.testing.assert_array_equal(again.X, adata.X)
    for name in ("cells", "t"):
        assert running.has(name, "k")
        path = running.path(name, "k")
        path.write_bytes(damage(path.read_bytes()))
        assert not running.has(name, "k")


def test_rows_after_a_damaged_file_are_made_anew(tmp_path):
    parts = _job.Parts(tmp_path)
    rows = _job.Rows.taken_up(parts, "scores", "k", n_per_file=2)
    for start in range(0, 6, 2):
        rows.add(np.arange(start, start + 2.0)[:, None])
    files = parts.finished()
    files[1].write_bytes(files[1].read_bytes()[:-3])
    again = _job.Rows.taken_up(parts, "scores", "k", n_per_file=2)
    assert again.n_rows == 2
    np.testing.assert_array_equal(np.concatenate(list(again)), [[0.0], [1.0]])


def test_tables_keep_their_attributes(tmp_path):
    table = pd.DataFrame({"a": [1]})
    table.attrs["design"] = "paired"
    running = _job.Job(tmp_path)
    running.save_table("t", "k", table)
    assert running.load_table("t", "k").attrs == {"design": "paired"}


def test_keys_hold_the_content_of_files_that_options_name(tmp_path):
    file = tmp_path / "states.gmt"
    keys = []
    for text in ("a\t\tNKG7\n", "a\t\tGNLY\n"):
        file.write_text(text)
        os.utime(file, ns=(1, 1))
        values = (str(file), [str(file)], {"x": str(file)})
        keys += [_steps._key("states", "k", {"vocabulary": value}) for value in values]
    assert len(set(keys)) == 6
    assert _contents.with_contents(["nk", 3, "x" * 5000, "a\0b"]) == ["nk", 3, "x" * 5000, "a\0b"]


def test_the_content_of_lanes_is_in_the_key(tmp_path):
    sheet, lane = tmp_path / "s.csv", tmp_path / "a.h5"
    sheet.write_text("path,sample,condition,tumor\na.h5,s,tumor_mono,K562\n")
    made = []
    for text in (b"1", b"2"):
        lane.write_bytes(text)
        os.utime(lane, ns=(1, 1))
        made.append(_job.key(_job.fingerprint(sheet)))
    assert made[0] != made[1]


_FULL_DISK = """
import resource, sys
from pathlib import Path
import anndata, numpy as np
from nkscore._run import _job
from nkscore._whole import is_full
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
adata = anndata.AnnData(np.random.default_rng(0).random((300, 200)))
try:
    with _job.job(Path(sys.argv[1]), force=True) as running:
        if sys.argv[2] == "part":
            running.save_cells("cells", "k", adata, {})
        else:
            _job.write_h5ad(adata, running.results / "adata.h5ad", compression="gzip")
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of file sizes")
@pytest.mark.parametrize("what", ["part", "result"])
@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_is_one_message_and_nothing_half_written(tmp_path, what, old):
    out = tmp_path / "out"
    if old:
        _run(out, {"a": "1"})
    before = _tree(tmp_path)
    command = [sys.executable, "-c", _FULL_DISK, str(out), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.strip() == (
        f"Results cannot be written to {out}: File too large. Free space there or raise the quota, "
        "or choose another --out."
    )
    assert _tree(tmp_path) == before


def test_errors_of_a_full_disk():
    assert is_full(OSError(errno.ENOSPC, "x"))
    assert is_full(OSError("1000 requested and 8 written"))
    assert not is_full(OSError(errno.EACCES, "x"))
    assert not is_full(ValueError("requested and"))


def test_hdf5_through_the_own_file_is_whole(tmp_path):
    values = np.random.default_rng(0).random((5000, 7))
    with new_hdf5(tmp_path / "a.h5") as file:
        file.create_dataset(
            "x", data=values, chunks=(100, 7), compression="gzip", maxshape=(None, 7)
        )
        file["x"].resize(9000, axis=0)
        file["x"][5000:] = 1
        file["text"] = ["a", "é" * 100]
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["x"][:5000], values)
        assert (file["x"][5000:] == 1).all()
        assert file["text"].asstr()[1] == "é" * 100


def test_importing_optional_libraries_keeps_the_style_of_figures(tmp_path):
    text = """
import matplotlib as mpl, numpy as np, pandas as pd
before = dict(mpl.rcParams)
from nkscore.tl._response._enrichment import _ulm
genes = [f"g{i}" for i in range(20)]
_ulm(pd.Series(np.arange(20.0), genes), pd.DataFrame({"s": np.eye(20)[:5].sum(axis=0)}, genes))
assert dict(mpl.rcParams) == before
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", text], check=True)
