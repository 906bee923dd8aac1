"""Runs whose counts stay in files: the same results as in memory, and nothing half-written."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore._counts import _store
from nkscore._counts._open import BLOCK_BYTES, open_counts
from nkscore._run import _disk, _job, _options, _steps
from nkscore.cli import main

CORE = "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT"


@pytest.fixture(scope="module")
def sheet(tmp_path_factory):
    """Lanes of 400 cells."""
    folder = tmp_path_factory.mktemp("lanes")
    adata = nk.datasets.simulate_coculture(
        tumors=["697"], n_donors=2, n_cells_per_sample=60, n_genes=4000, rng=0
    )
    nk.datasets.write_lanes(adata, folder)
    return folder / "sample_sheet.csv"


def _run(sheet, out, *, checkpoints=True, **options):
    chosen = _options.defaults()
    chosen["run"] |= {"figures": False, "report": False}
    chosen["run"]["tables"] = ["nk_state_fractions", "tumor_response", "nk_response"]
    with warnings.catch_warnings(), _job.job(out, force=False, checkpoints=checkpoints) as job:
        warnings.simplefilter("ignore")
        return _steps.analyze(sheet, job, chosen, **options)


def _same(one, other):
    assert set(one.tables) == set(other.tables)
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(other.tables[name], table, check_exact=True, obj=name)


def test_same_results_also_after_a_stop(sheet, tmp_path, monkeypatch):
    expected = _run(sheet, tmp_path / "memory", backed="never")
    monkeypatch.setitem(open_counts.__kwdefaults__, "block_bytes", 100_000)
    with monkeypatch.context() as patch:
        patch.setattr(nk.tl, "embed", _stopped)
        with pytest.raises(KeyboardInterrupt):
            _run(sheet, tmp_path / "disk", backed="always")
    parts = sorted(p.name.partition("-")[0] for p in (tmp_path / "disk.parts").glob("*.h5"))
    assert parts == ["cells", "counts_lanes", "counts_states", "lanes", "states"]
    monkeypatch.setitem(open_counts.__kwdefaults__, "block_bytes", BLOCK_BYTES)
    with monkeypatch.context() as patch:
        # What is finished is not made again.
        patch.setattr(nk.pp, "keep", _stopped)
        found = _run(sheet, tmp_path / "disk", backed="always")
    _same(expected, found)
    memory, disk = (
        anndata.read_h5ad(tmp_path / name / "adata.h5ad") for name in ("memory", "disk")
    )
    pd.testing.assert_frame_equal(disk.obs, memory.obs, check_exact=True)
    pd.testing.assert_frame_equal(disk.var, memory.var, check_exact=True)
    for one, other in ((disk.X, memory.X), (disk.layers["counts"], memory.layers["counts"])):
        assert one.dtype == other.dtype
        assert (one != other).nnz == 0
    for key in ("X_pca", "X_umap"):
        np.testing.assert_array_equal(disk.obsm[key], memory.obsm[key])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "memory"]


def _stopped(*_, **__):
    raise KeyboardInterrupt


def test_damaged_counts_are_made_again(sheet, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(nk.tl, "nk_states", _stopped)
        with pytest.raises(KeyboardInterrupt):
            _run(sheet, tmp_path / "out", backed="always")
    store = next((tmp_path / "out.parts").glob("counts_lanes-*.h5"))
    content = bytearray(store.read_bytes())
    content[len(content) // 2] ^= 1
    store.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr(nk.io, "read_coculture", _stopped)
        with pytest.raises(KeyboardInterrupt):
            _run(sheet, tmp_path / "out", backed="always")


def test_full_disk(sheet, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_store.Writer, "finish", full)
        with pytest.raises(OSError, match=r"cannot be written .*No space left.*Free space there"):
            _run(sheet, tmp_path / "out", backed="always")
    assert not list(tmp_path.iterdir())


def test_nothing_stays_without_checkpoints(sheet, tmp_path, monkeypatch):
    monkeypatch.setattr(nk.pp, "qc", _stopped)
    with pytest.raises(KeyboardInterrupt):
        _run(sheet, tmp_path / "out", backed="always", checkpoints=False)
    assert not list(tmp_path.iterdir())


def test_command_line(sheet, tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(_disk, "free_memory", lambda: 700_000_000)
    monkeypatch.setattr(_steps, "analyze", lambda *_, backed, **__: seen.append(backed) or 1 / 0)
    main(["run", str(sheet), "--out", str(tmp_path / "out"), "--backed", "always"])
    main(["run", str(sheet), "--out", str(tmp_path / "out")])
    assert seen == ["always", "auto"]
    with pytest.raises(SystemExit):
        main(["run", str(sheet), "--backed", "perhaps"])
    assert "invalid choice: 'perhaps'" in capsys.readouterr().err


def test_memory_decides(sheet, monkeypatch):
    files = _job.files_in_sheet(sheet)
    n_counts = nk.io.read_coculture(sheet, progress=False).layers["counts"].nnz
    assert 0.2 * n_counts < sum(map(_disk.stored_counts, files)) < 3 * n_counts
    for free, expected in ((10**12, False), (10**8, True)):
        monkeypatch.setattr(_disk, "free_memory", lambda free=free: free)
        assert _disk.from_disk("auto", files) is expected
    assert _disk.from_disk("always", files)
    assert not _disk.from_disk("never", files)
    monkeypatch.undo()
    assert 10**7 < _disk.free_memory() < 10**14


def _lanes(folder, names):
    """Two lanes of few cells, the second with other genes in another order."""
    rng = np.random.default_rng(0)
    genes = ["NKG7", "B2M", "CD34", "CD7", "PRF1", "GZMB", "ACTB"]
    for name, own in zip(names, (genes[:6], genes[::-1]), strict=True):
        cells = pd.DataFrame(index=["".join(rng.choice(list("ACGT"), 16)) for _ in range(30)])
        counts = rng.poisson(1.0, (30, len(own)))
        lane = anndata.AnnData(counts.astype(np.int32), cells, pd.DataFrame(index=own))
        lane.write_h5ad(folder / f"{name}.h5ad")
    return pd.DataFrame(
        {
            "path": [f"{name}.h5ad" for name in names],
            "sample": list(names),
            "condition": "nk_mono",
            "nk_donor": "d1",
        }
    )


@pytest.mark.parametrize("rule", ["union", "intersection"])
@pytest.mark.filterwarnings("ignore:The lanes differ in their genes")
def test_lanes_with_other_genes(tmp_path, rule):
    wells = _lanes(tmp_path, ("a", "b"))
    memory = nk.io.read_coculture(wells, base=tmp_path, genes=rule)
    stored = nk.io.read_coculture(wells, base=tmp_path, genes=rule, store=tmp_path / "s.h5")
    pd.testing.assert_frame_equal(stored.obs, memory.obs)
    pd.testing.assert_frame_equal(stored.var, memory.var)
    found = stored.layers["counts"].to_memory()
    assert found.dtype == np.int32
    assert found.has_sorted_indices
    assert (found != memory.layers["counts"]).nnz == 0
    assert not list(tmp_path.glob(".*"))


def test_errors_leave_no_store(tmp_path):
    wells = _lanes(tmp_path, ("a", "b"))
    (tmp_path / "old.h5").write_text("mine")
    with pytest.raises(FileExistsError, match=r"old\.h5 exists; a store of counts is a new file"):
        nk.io.read_coculture(wells, base=tmp_path, store=tmp_path / "old.h5")
    with pytest.raises(FileNotFoundError, match=r"is no folder"):
        nk.io.read_coculture(wells, base=tmp_path, store=tmp_path / "nowhere" / "s.h5")
    with pytest.raises(FileExistsError, match=r"old\.h5 exists"):
        nk.io.read_cells(tmp_path / "a.h5ad", store=tmp_path / "old.h5")
    (tmp_path / "b.h5ad").write_bytes(b"broken")
    with pytest.raises(nk.errors.LaneError):
        nk.io.read_coculture(wells, base=tmp_path, store=tmp_path / "s.h5")
    with pytest.raises(nk.errors.MissingKeyError):
        nk.io.read_cells(tmp_path / "a.h5ad", store=tmp_path / "s.h5")
    assert (tmp_path / "old.h5").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad", "old.h5"]


def _chain(adata, store):
    """Steps by hand; ``store`` is a folder, or None for memory."""
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    nk.pp.compartments(adata)
    nk.pp.ambient(adata)
    adata.obs["clusters"] = "a"
    kept = nk.pp.keep(adata, store=None if store is None else store / "kept.h5")
    nk.pp.normalize(kept)
    nk.tl.score(kept, CORE, method="zscore")
    nk.tl.cell_cycle(kept)
    nk.tl.embed(kept)
    return kept


def test_python_chain_with_counts_in_files(sheet, tmp_path):
    made = []
    for store in (None, tmp_path):
        path = None if store is None else tmp_path / "lanes.h5"
        adata = nk.io.read_coculture(sheet, progress=False, store=path)
        kept = _chain(adata, store)
        made.append(kept)
    memory, stored = made
    pd.testing.assert_frame_equal(stored.obs, memory.obs, check_exact=True)
    pd.testing.assert_frame_equal(stored.obsm["scores"], memory.obsm["scores"], check_exact=True)
    np.testing.assert_array_equal(stored.obsm["X_umap"], memory.obsm["X_umap"])
    assert not isinstance(stored.X, type(memory.X))
    np.testing.assert_array_equal(stored.X.to_memory().data, memory.X.data)
    np.testing.assert_array_equal(stored.X[7:19].toarray(), memory.X[7:19].toarray())
    nk.schema.validate(stored, stage="normalized")
    few = [
        nk.pp.keep(memory, compartments=["nk"]),
        nk.pp.keep(stored, compartments=["nk"], store=tmp_path / "nk.h5"),
    ]
    assert few[0].n_obs < memory.n_obs
    np.testing.assert_array_equal(few[1].X.to_memory().data, few[0].X.data)
    # Other programs get both matrices.
    stored.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as file:
        np.testing.assert_array_equal(file["X/data"][:], memory.X.data)
    with pytest.raises(FileExistsError, match=r"kept\.h5 exists"):
        nk.pp.keep(adata, store=Path(tmp_path / "kept.h5"))
