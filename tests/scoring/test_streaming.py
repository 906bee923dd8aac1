"""The same bytes from memory, files, dask arrays and the command line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import anndata
import h5py
import numba
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore._counts._hdf5 import unlocked
from nkscore._counts._open import open_counts
from nkscore._counts._whole_chunks import WholeChunks
from nkscore._run._job import Rows, parts_of
from nkscore.cli import _score as _score_cli
from nkscore.cli import main
from nkscore.cli._stored import opened
from nkscore.errors import LaneError, WrongScaleError
from nkscore.scoring import scorers
from nkscore.tl._scores._score_input import score_input

METHODS = sorted(scorers())
SETS = {"a": ["PRF1", "GZMB", "NKG7", "CD3E-"], "b": ["ACTB", "B2M", "MKI67"]}


@pytest.fixture(scope="module")
def adata(small_coculture):
    adata = small_coculture.copy()
    nk.pp.normalize(adata)
    # Only what a user's file holds; X of one method may then be the counts of another.
    del adata.uns["nkscore"]
    return adata


@pytest.fixture(scope="module")
def folder(adata, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suffix, x in {
            "x": adata.X,
            "counts": adata.layers["counts"],
            "csc": sparse.csc_matrix(adata.X),
            "dense": adata.X.toarray(),
        }.items():
            other = anndata.AnnData(X=x, obs=adata.obs[[]], var=adata.var[[]])
            other.write_h5ad(folder / f"{suffix}.h5ad", compression="gzip")
        adata.write_h5ad(folder / "all.h5ad")
        adata.write_zarr(folder / "all.zarr")
    return folder


def _expected(adata, method):
    nk.tl.score(adata, SETS, method=method)
    return adata.obsm.pop("scores")


def _same(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_names=False)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(
        "nkscore.scoring._run.run.__kwdefaults__",
        {
            **nk.scoring.run.__kwdefaults__,
            "block_bytes": 40_000,
        },
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stored", ["csr", "dense", "csc"])
def test_backed_h5ad(adata, folder, method, stored, small_blocks):
    layer = None
    name = "x" if stored == "csr" else stored
    if scorers()[method].reads == "counts":
        name, layer = ("counts", "X") if stored == "csr" else (name, "X")
    backed = anndata.read_h5ad(folder / f"{name}.h5ad", backed="r")
    nk.tl.score(backed, SETS, method=method, layer=layer)
    _same(backed.obsm["scores"], _expected(adata, method))
    backed.file.close()


def _lazy(path):
    pytest.importorskip("dask", reason="dask (extra 'scale') is not installed")
    pytest.importorskip("xarray", reason="xarray, which anndata reads lazily with, is missing")
    from anndata.experimental import read_lazy

    return read_lazy(path)


def _chunked(matrix, n_rows, n_columns=None):
    array = pytest.importorskip("dask.array", reason="dask (extra 'scale') is not installed")
    starts = range(0, matrix.shape[0], n_rows)
    columns = range(0, matrix.shape[1], n_columns or matrix.shape[1])
    rows = [
        array.concatenate(
            [
                array.from_array(
                    matrix[i : i + n_rows, j : j + (n_columns or matrix.shape[1])].toarray()
                )
                for j in columns
            ],
            axis=1,
        ).map_blocks(sparse.csr_matrix)
        for i in starts
    ]
    return array.concatenate(rows)


@pytest.mark.parametrize("method", METHODS)
def test_dask_arrays(adata, method):
    lazy = adata.copy()
    lazy.X = _chunked(adata.X, 37)
    lazy.layers["counts"] = _chunked(adata.layers["counts"], 50)
    nk.tl.score(lazy, SETS, method=method)
    _same(lazy.obsm["scores"], _expected(adata, method))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_lazily_read_files(adata, folder, suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lazy = _lazy(folder / f"all.{suffix}")
        for method in METHODS:
            nk.tl.score(lazy, SETS, method=method, key_added=f"s_{method}")
    for method in METHODS:
        found = lazy.obsm[f"s_{method}"]
        np.testing.assert_array_equal(np.asarray(found), _expected(adata, method).to_numpy())


def test_workers_of_a_cluster(adata):
    distributed = pytest.importorskip(
        "distributed", reason="distributed (extra 'scale') is not installed"
    )
    lazy = adata.copy()
    lazy.layers["counts"] = _chunked(adata.layers["counts"], 80)
    lazy.X = _chunked(adata.X, 80)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert len(client.scheduler_info()["workers"]) == 2
        for method in ("rank_auc", "module_score"):
            nk.tl.score(lazy, SETS, method=method)
            _same(lazy.obsm["scores"], _expected(adata, method))
        # All else that is asked of counts goes the same way.
        there, here = (open_counts(each.layers["counts"]) for each in (lazy, adata))
        codes = np.arange(adata.n_obs) % 3 - 1
        assert (there.group_sums(codes, 2).sums == here.group_sums(codes, 2).sums).all()
        assert (there.totals() == here.totals()).all()
        assert (there.columns([5, 3]) != here.columns([5, 3])).nnz == 0


def test_wrong_scale_in_a_file(folder):
    backed = anndata.read_h5ad(folder / "counts.h5ad", backed="r")
    with pytest.raises(WrongScaleError, match=r"goes to 9\.21 at most\. Run pp\.normalize"):
        nk.tl.score(backed, SETS, method="ulm")
    backed.file.close()


# --- command line


def _arguments(data, out, *more):
    return ["score", str(data), "--signatures", "nk_states_expanded", "--out", str(out), *more]


@pytest.fixture(scope="module")
def states(adata):
    found = {}
    for method in METHODS:
        nk.tl.score(adata, "nk_states_expanded", method=method)
        found[method] = adata.obsm.pop("scores")
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_command_gives_the_scores_of_tl_score(folder, tmp_path, states, method, suffix, capsys):
    out = tmp_path / "new" / "scores.parquet"
    assert main(_arguments(folder / f"all.{suffix}", out, "--method", method)) == 0
    assert "320 cells, 5 scores" in capsys.readouterr().out
    _same(pd.read_parquet(out), states[method])
    assert [path.name for path in out.parent.iterdir()] == ["scores.parquet"]


def test_text_tables(folder, tmp_path, states):
    for name, separator in (("s.csv", ","), ("s.tsv.gz", "\t")):
        assert main(_arguments(folder / "all.h5ad", tmp_path / name)) == 0
        table = pd.read_csv(tmp_path / name, sep=separator, index_col=0, dtype=str).astype(float)
        _same(table, states["rank_auc"])


class _Stop(BaseException):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("method", ["rank_auc", "module_score"])
def test_interrupted_command_goes_on_where_it_stopped(
    folder, tmp_path, states, method, monkeypatch
):
    out = tmp_path / "scores.parquet"
    arguments = _arguments(folder / "all.h5ad", out, "--method", method)
    monkeypatch.setattr(_score_cli, "PART_CELLS", 50)
    defaults = nk.scoring.scored.__kwdefaults__ | {"block_bytes": 40_000}
    monkeypatch.setattr(nk.scoring.scored, "__kwdefaults__", defaults)
    flush, calls = Rows.flush, []

    def flush_twice(rows):
        if len(calls) == 2:
            raise _Stop
        calls.append(rows.n_rows)
        flush(rows)

    with monkeypatch.context() as patch:
        patch.setattr(Rows, "flush", flush_twice)
        with pytest.raises(_Stop):
            main(arguments)
    assert not out.exists()
    written = sorted((tmp_path / "scores.parquet.parts").glob("*.npy"))
    assert len(written) == 2
    before = [path.stat().st_mtime_ns for path in written]
    again = []

    def seen(rows):
        again.append(rows.n_rows)
        assert [path.stat().st_mtime_ns for path in written] == before
        flush(rows)

    monkeypatch.setattr(Rows, "flush", seen)
    assert main(arguments) == 0
    assert again[0] >= 100
    _same(pd.read_parquet(out), states[method])
    assert not (tmp_path / "scores.parquet.parts").exists()


def test_half_written_part_is_not_taken(folder, tmp_path, states, monkeypatch):
    """Neither where an error ends the writing, nor where nothing can be tidied up any more."""
    out, parts = tmp_path / "scores.parquet", tmp_path / "scores.parquet.parts"
    monkeypatch.setattr(_score_cli, "PART_CELLS", 50)
    defaults = nk.scoring.scored.__kwdefaults__ | {"block_bytes": 40_000}
    monkeypatch.setattr(nk.scoring.scored, "__kwdefaults__", defaults)
    arguments = _arguments(folder / "all.h5ad", out)
    save = np.save

    def full(path, array):
        save(path, array)
        if len(list(parts.glob("scores-*.npy"))) == 1:
            shutil.copy(path, parts / ".12345.scores-0-000000000050.npy")
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        assert main(arguments) == 1
    assert len(list(parts.glob("scores-*.npy"))) == 1
    assert [path.name for path in parts.glob(".*")] == [".12345.scores-0-000000000050.npy"]
    assert main(arguments) == 0
    _same(pd.read_parquet(out), states["rank_auc"])
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_two_commands_into_one_table(folder, tmp_path, capsys, states):
    out = tmp_path / "scores.parquet"
    with parts_of(out, anew=False):
        assert main(_arguments(folder / "all.h5ad", out, "--force")) == 1
        assert "Another run is writing to scores.parquet" in capsys.readouterr().err
    assert main(_arguments(folder / "all.h5ad", out)) == 0
    _same(pd.read_parquet(out), states["rank_auc"])


def test_folder_of_the_user_is_left_alone(folder, tmp_path, capsys):
    mine = tmp_path / "scores.csv.parts" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert main(_arguments(folder / "all.h5ad", tmp_path / "scores.csv", "--force")) == 1
    assert "holds other files. Move it away." in capsys.readouterr().err
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"out": "scores.xlsx"}, r"a name ending in \.parquet"),
        ({"data": "absent.h5ad"}, r"absent\.h5ad does not exist"),
        ({"data": "text.h5ad"}, r"cannot be opened as HDF5"),
        ({"data": "empty.h5ad"}, r"no obs and var"),
        ({"out": "there.csv"}, r"there\.csv exists.*--force"),
        ({"out": "other.csv"}, r"holds parts of another job.*--force"),
    ],
)
def test_refused(folder, tmp_path, capsys, change, words):
    (tmp_path / "text.h5ad").write_text("no data")
    h5py.File(tmp_path / "empty.h5ad", "w").close()
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "other.csv.parts").mkdir()
    (tmp_path / "other.csv.parts" / "scores-0123456789abcdef-000000000000.npy").touch()
    data = tmp_path / change["data"] if "data" in change else folder / "all.h5ad"
    assert main(_arguments(data, tmp_path / change.get("out", "new.csv"))) == 1
    assert re.search(words, capsys.readouterr().err)
    assert (tmp_path / "there.csv").read_text() == "mine"


# --- reading


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("layout", ["chunked", "contiguous"])
def test_arrays_read_past_the_lock(tmp_path, compression, shuffle, layout):
    if layout == "contiguous" and (compression or shuffle):
        return
    values = np.random.default_rng(0).poisson(3, 1000).astype(np.float32)
    chunks = (170,) if layout == "chunked" else None
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "a", data=values, chunks=chunks, compression=compression, shuffle=shuffle or None
        )
    with h5py.File(tmp_path / "a.h5") as file:
        found = unlocked(file["a"])
        assert not isinstance(found, h5py.Dataset) or compression == "lzf" or shuffle
        for low, high in ((0, 1000), (0, 1), (169, 171), (340, 999), (999, 1000), (5, 5)):
            np.testing.assert_array_equal(found[low:high], values[low:high])


def test_open_for_writing_is_left_to_the_library(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(10)
        assert isinstance(unlocked(file["a"]), h5py.Dataset)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_truncated_file(tmp_path, compression):
    # Random bits: what is packed is as long as what is not.
    values = np.random.default_rng(0).integers(0, 1 << 60, 50_000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=values, chunks=(1000,), compression=compression)
    with h5py.File(tmp_path / "a.h5") as file:
        found = unlocked(file["a"])
        os.truncate(tmp_path / "a.h5", 100_000)
        with pytest.raises(LaneError, match=r"a\.h5, /a, is damaged: it ends too early"):
            found[0:50_000]


def test_damaged_chunk(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("a", data=np.arange(5000), chunks=(1000,), compression="gzip")
        place = data.id.get_chunk_info(2).byte_offset
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 30)
    with h5py.File(tmp_path / "a.h5") as file:
        found = unlocked(file["a"])
        with pytest.raises(LaneError, match="is damaged: Error -3 while decompressing"):
            found[0:5000]
        np.testing.assert_array_equal(found[0:1500], np.arange(1500))


def test_threads_share_chunks():
    calls = []

    def unpack(number):
        calls.append(number)
        time.sleep(0.01)
        return np.arange(number * 100, number * 100 + 100)

    chunks = WholeChunks(unpack, 1000, 100, np.int64)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: chunks[i : i + 50], range(0, 1000, 50)))
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(1000))
    assert sorted(calls) == list(range(10))


@pytest.mark.parametrize("block_bytes", [8, 4000, 4 << 20])
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_for_all_blocks_and_threads(folder, block_bytes, threads):
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(min(threads, before))
        with opened(folder / "counts.h5ad") as file:
            sets = nk.scoring.gene_sets(
                [[1, 2, 3], [5]], [[7], []], n_genes=file.n_vars, sizes=[(3, 1), (1, 0)]
            )
            matrix = file.X
            for method in METHODS:
                found = nk.scoring.run(scorers()[method], matrix, sets, block_bytes=block_bytes)
                whole = anndata.read_h5ad(folder / "counts.h5ad").X
                assert (found == nk.scoring.run(scorers()[method], whole, sets)).all()
    finally:
        numba.set_num_threads(before)


def test_genes_first_says_what_memory_it_takes(folder, caplog):
    with opened(folder / "csc.h5ad") as file:
        nk.scoring.open_rows(file.X)
    assert re.search(r"gene by gene \(CSC\).* about \d+\.\d GB .*CSR", caplog.text)


def test_bar_on_dask(adata, monkeypatch, capsys):
    monkeypatch.setattr("nkscore._counts._dask.QUIET_SECONDS", 0)
    lazy = adata.copy()
    lazy.layers["counts"] = _chunked(adata.layers["counts"], 80)
    nk.tl.score(lazy, SETS)
    assert re.search(r"scoring, rank_auc: 100%.* 320/320", capsys.readouterr().err)


# --- a process that is killed

# A shell starts its background jobs, and so this test, deaf to the interrupt: hear it again.
_SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from nkscore import cli
from nkscore._run._job import Rows
from nkscore.cli import _score as _score_cli
from nkscore.scoring import scored
_score_cli.PART_CELLS = 40
scored.__kwdefaults__["block_bytes"] = 20_000
flush = Rows.flush
def slow(rows):
    flush(rows)
    print(rows.n_rows, flush=True)
    time.sleep(0.05)
Rows.flush = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_process_leaves_what_can_be_resumed(folder, tmp_path, states, number):
    out = tmp_path / "scores.parquet"
    arguments = _arguments(folder / "all.h5ad", out)
    child = subprocess.Popen(
        [sys.executable, "-c", _SLOW, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(3):
        assert child.stdout.readline()
    child.send_signal(number)
    said = child.communicate(timeout=60)[1]
    assert child.returncode != 0
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet.parts"]
    done = sorted((tmp_path / "scores.parquet.parts").glob("*.npy"))
    assert 3 <= len(done) < 8
    before = {path: path.stat().st_mtime_ns for path in done}
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, **_: seen.extend(path.glob("*.npy")))
        assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert len(seen) > len(done)
    _same(pd.read_parquet(out), states["rank_auc"])


@pytest.mark.parametrize("change", ["data", "method", "layer", "signatures"])
def test_parts_of_another_job_are_refused(folder, tmp_path, monkeypatch, capsys, change):
    data = tmp_path / "all.h5ad"
    shutil.copy(folder / "all.h5ad", data)
    out = tmp_path / "scores.csv"

    def stop(*_):
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(_score_cli, "_write", stop)
        with pytest.raises(_Stop):
            main(_arguments(data, out))
    more = {"method": ("--method", "aucell"), "layer": ("--layer", "X")}.get(change, ())
    arguments = _arguments(data, out, *more)
    if change == "data":
        os.utime(data, ns=(1, 1))
    if change == "signatures":
        sets = tmp_path / "sets.gmt"
        sets.write_text("own\t\tPRF1\tGZMB\n")
        arguments[arguments.index("nk_states_expanded")] = str(sets)
    assert main(arguments) == 1
    assert re.search(r"holds parts of another job.*--force", capsys.readouterr().err)
    assert not out.exists()
    assert main([*arguments, "--force"]) == 0


def test_changed_zarr_is_another_job(folder, tmp_path):
    store = tmp_path / "all.zarr"
    shutil.copytree(folder / "all.zarr", store)
    labels = []
    for _ in range(2):
        with opened(store) as file:
            found = score_input(file, SETS, method="rank_auc")
            labels.append(_score_cli._fingerprint(store, found, found.matrix.shape))
        inner = next(path for path in (store / "X" / "data").rglob("*") if path.is_file())
        os.utime(inner, ns=(2**61, 2**61))
    assert labels[0] != labels[1]


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        ("no counts", (), r"no layer 'counts' \(layers here: none\).*--layer X"),
        ("counts in X", ("--method", "ulm"), r"goes to 9\.21 at most\. Run pp\.normalize"),
        ("nan", ("--layer", "X"), r"NaN or infinite values"),
        ("negative", ("--layer", "X"), r"negative values"),
        ("panel", ("--layer", "X", "--signatures", "nk_stats"), r"nk_stats.*nk_states"),
        ("method", ("--method", "uccell"), r"uccell.*rank_auc"),
        ("genes", ("--layer", "X"), r"Ensembl"),
        ("wrong gene", ("--layer", "X"), r"positions do not match"),
    ],
)
def test_bad_input_is_one_line(adata, tmp_path, capsys, suffix, change, more, words):
    x = (adata.layers["counts"] if change == "counts in X" else adata.X).astype(np.float32)
    if change in {"nan", "negative"}:
        x.data[7] = {"nan": np.nan, "negative": -1}[change]
    other = anndata.AnnData(X=x, obs=adata.obs[[]], var=adata.var[[]].copy())
    if change == "genes":
        other.var_names = [f"ENSG{i:011d}" for i in range(other.n_vars)]
    path = tmp_path / f"a.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.write_h5ad(path) if suffix == "h5ad" else other.write_zarr(path)
    if change == "wrong gene":
        _break(path)
    arguments = _arguments(path, tmp_path / "out.csv", *more)
    if "--signatures" in more:
        del arguments[2:4]
    assert main(arguments) == 1
    said = capsys.readouterr().err.strip()
    assert re.search(words, said)
    assert said.startswith("nkscore: ")
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out.csv").exists()


def _break(path):
    if path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr", reason="zarr (extra 'scale') is not installed")
        zarr.open_group(path, mode="r+")["X"]["indices"][3] = 1 << 20
        return
    with h5py.File(path, "r+") as file:
        file["X"]["indices"][3] = 1 << 20


def test_frame_without_index(folder, tmp_path, capsys):
    shutil.copy(folder / "x.h5ad", tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file["var"].attrs["_index"]
    assert main(_arguments(tmp_path / "a.h5ad", tmp_path / "out.csv")) == 1
    assert "a.h5ad is not laid out as an AnnData" in capsys.readouterr().err


def test_folder_without_zarr(tmp_path, capsys):
    assert main(_arguments(tmp_path, tmp_path / "out.csv")) == 1
    assert "a folder without a zarr group" in capsys.readouterr().err


def test_imports_of_the_command():
    """What takes long to import and is not needed stays out."""
    program = (
        "import sys, nkscore.cli._score, nkscore.tl._scores._score_input, nkscore.cli._stored; "
        "print(*{'anndata', 'dask', 'scanpy', 'matplotlib', 'zarr'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not done.stdout.strip()
