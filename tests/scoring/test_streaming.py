"""The same bytes from memory, files, dask arrays and the command line."""

from __future__ import annotations

import re
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore import _score_cli
from nkscore.cli import main
from nkscore.errors import WrongScaleError
from nkscore.scoring import scorers

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
            "x": adata.X, "counts": adata.layers["counts"], "csc": sparse.csc_matrix(adata.X),
            "dense": adata.X.toarray(),
        }.items():  # fmt: skip
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
    monkeypatch.setattr("nkscore.scoring._run.run.__kwdefaults__", {
        **nk.scoring.run.__kwdefaults__, "block_bytes": 40_000,
    })  # fmt: skip


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
    flush, calls = _score_cli._Parts.flush, []

    def flush_twice(parts):
        if len(calls) == 2:
            raise _Stop
        calls.append(parts.n_cells)
        flush(parts)

    with monkeypatch.context() as patch:
        patch.setattr(_score_cli._Parts, "flush", flush_twice)
        with pytest.raises(_Stop):
            main(arguments)
    assert not out.exists()
    written = sorted((tmp_path / "scores.parquet.parts").glob("*.npy"))
    assert len(written) == 2
    before = [path.stat().st_mtime_ns for path in written]
    again = []

    def seen(parts):
        again.append(parts.n_cells)
        assert [path.stat().st_mtime_ns for path in written] == before
        flush(parts)

    monkeypatch.setattr(_score_cli._Parts, "flush", seen)
    assert main(arguments) == 0
    assert again[0] >= 100
    _same(pd.read_parquet(out), states[method])
    assert not (tmp_path / "scores.parquet.parts").exists()


def test_half_written_part_is_not_taken(folder, tmp_path, states):
    out = tmp_path / "scores.parquet"
    parts = tmp_path / "scores.parquet.parts"
    parts.mkdir()
    assert main(_arguments(folder / "all.h5ad", out)) == 1
    (parts / "writing").write_bytes(b"half of a part")
    assert main(_arguments(folder / "all.h5ad", out, "--force")) == 0
    _same(pd.read_parquet(out), states["rank_auc"])


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
    data = tmp_path / change["data"] if "data" in change else folder / "all.h5ad"
    assert main(_arguments(data, tmp_path / change.get("out", "new.csv"))) == 1
    assert re.search(words, capsys.readouterr().err)
    assert (tmp_path / "there.csv").read_text() == "mine"
