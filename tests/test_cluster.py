"""Counts in files, read by the workers of a dask cluster: the same results, and own errors."""

from __future__ import annotations

import os
import signal
import threading
import time

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._counts import _far, _map, _open
from nkscore._counts._open import open_counts
from nkscore._run import _cluster
from nkscore.cli import main
from nkscore.errors import ClusterError

distributed = pytest.importorskip(
    "distributed", reason="distributed (extra 'scale') is not installed"
)
CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"


@pytest.fixture(scope="module")
def adata():
    return nk.datasets.simulate_coculture(
        tumors=["697"], n_donors=2, n_cells_per_sample=60, n_genes=4000, rng=0
    )


@pytest.fixture(scope="module")
def store(adata, tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "a.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture
def small_tasks(monkeypatch):
    for module in (_open, _map):
        monkeypatch.setattr(module, "TASK_BYTES", 200_000)


def _with_counts(adata, counts):
    return anndata.AnnData(
        obs=adata.obs.copy(),
        var=adata.var.copy(),
        layers={"counts": counts},
        obsm={"hashtags": adata.obsm["hashtags"].copy()},
        uns=dict(adata.uns),
    )


def _stored(adata, path):
    return _with_counts(adata, anndata.io.sparse_dataset(h5py.File(path)["layers/counts"]))


def _steps(adata):
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    nk.pp.compartments(adata)
    nk.pp.ambient(adata)
    nk.pp.normalize(adata)
    nk.tl.score(adata, CORE)
    nk.tl.score(adata, CORE, method="zscore", key_added="z")
    nk.tl.tumor_states(adata)
    sums = nk.tl.pseudobulk(adata)
    return {
        "obs": adata.obs,
        "scores": adata.obsm["scores"],
        "z": adata.obsm["z"],
        "sums": pd.DataFrame(sums.X, index=sums.obs_names, columns=sums.var_names),
    }


def test_same_results_though_a_worker_dies(adata, store, cluster, small_tasks, monkeypatch):
    expected = _steps(_with_counts(adata, adata.layers["counts"].copy()))
    workers = [worker.pid for worker in cluster.workers.values()]
    asked = []

    def counted(tasks, *args, **options):
        asked.append(len(tasks))
        if len(asked) == 3:
            threading.Timer(0.02, os.kill, (workers[0], signal.SIGKILL)).start()
        return computed(tasks, *args, **options)

    computed = _far.computed
    monkeypatch.setattr(_far, "computed", counted)
    with distributed.Client(cluster) as client:
        found = _steps(_stored(adata, store))
        # The nanny started another process for the one that was killed.
        deadline = time.monotonic() + 20
        while workers[0] in client.run(os.getpid).values() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert workers[0] not in client.run(os.getpid).values()
    assert len(asked) > 10
    assert max(asked) > 5
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, check_exact=True, obj=name)


def test_components(adata, store, cluster, small_tasks):
    genes = np.arange(0, 4000, 20)
    with distributed.Client(cluster):
        counts = open_counts(anndata.io.sparse_dataset(h5py.File(store)["layers/counts"]))
        found = counts.gram(genes)
    for one, other in zip(found, open_counts(adata.layers["counts"]).gram(genes), strict=True):
        np.testing.assert_array_equal(one, other)
    dense = adata.layers["counts"][:, genes].toarray().astype(float)
    np.testing.assert_array_equal(found[0], dense.T @ dense)


class _Stops:
    """Work that closes the client."""

    def __call__(self, part):
        time.sleep(5)
        return part.cells.size


def test_client_that_closes(store, cluster, small_tasks):
    counts = None
    with distributed.Client(cluster) as client:
        counts = open_counts(anndata.io.sparse_dataset(h5py.File(store)["layers/counts"]))
        threading.Timer(0.3, client.close).start()
        with pytest.raises(ClusterError, match=r"client closed during the work.*Start a client"):
            list(counts.map(_Stops()))
    # Without a client, this machine does the work.
    assert len(open_counts(anndata.io.sparse_dataset(h5py.File(store)["layers/counts"])).totals())
    with _far.client_required(), pytest.raises(ClusterError, match=r"repeat the command"):
        open_counts(anndata.io.sparse_dataset(h5py.File(store)["layers/counts"]))


def test_file_that_workers_cannot_see(adata, tmp_path, cluster):
    path = tmp_path / "gone.h5ad"
    adata.write_h5ad(path)
    stored = _stored(adata, path)
    path.unlink()
    with distributed.Client(cluster), pytest.raises(ClusterError, match=r"that all workers share"):
        nk.pp.qc(stored)
    assert "qc_pass" not in stored.obs


def test_wrong_counts(adata, tmp_path, cluster):
    broken = adata.copy()
    broken.layers["counts"] = broken.layers["counts"] * 0.5
    broken.write_h5ad(tmp_path / "a.h5ad")
    with distributed.Client(cluster), pytest.raises(nk.errors.WrongScaleError, match="fractions"):
        nk.pp.qc(_stored(adata, tmp_path / "a.h5ad"))


def test_command_line(tmp_path, capsys, monkeypatch):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("path,sample,condition\na.h5,a,nk_mono\n")
    with pytest.raises(SystemExit):
        main(["run", str(sheet), "--dask", "tcp://127.0.0.1:9", "--backed", "never"])
    assert "--dask works on counts in files" in capsys.readouterr().err
    monkeypatch.setattr(_cluster, "_SECONDS", 0.5)
    out = tmp_path / "out"
    assert main(["run", str(sheet), "--dask", "tcp://127.0.0.1:9", "--out", str(out)]) == 1
    assert "No dask scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err
    assert not out.exists()
