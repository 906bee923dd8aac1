"""Files that claim too much, or point elsewhere, are refused before anything is loaded."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.cli import main
from nkscore.errors import LaneError, NkscoreError

GENES = ["NKG7", "CD34", "GNLY", "CD7"]
_METADATA = {".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json"}
CELLS = ["AAACCCAAGAAACACT-1", "AAACCCAAGAAACCAT-1"]


@pytest.fixture
def lane(tmp_path):
    """A sound .h5 of Cell Ranger 3."""
    path = tmp_path / "lane.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(CELLS, dtype="S")
        made = sparse.csr_matrix([[3, 0, 1, 0], [0, 2, 5, 1]])
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(made, name)
        group["shape"] = [4, 2]
        group["features/name"] = np.array(GENES, dtype="S")
        group["features/id"] = np.array(GENES, dtype="S")
    return path


def _huge(matrix):
    del matrix["data"]
    matrix.create_dataset(
        "data", shape=(1 << 30,), dtype="i8", chunks=(1 << 20,), compression="gzip"
    )


def _contiguous(matrix):
    del matrix["barcodes"]
    matrix.create_dataset("barcodes", shape=(1 << 30,), dtype="S16")


def _chunk(matrix):
    del matrix["indices"]
    matrix.create_dataset("indices", data=[1], chunks=(1 << 28,), maxshape=(None,), dtype="i8")


def _external_storage(matrix):
    del matrix["data"]
    where = [(str(matrix.file.filename) + ".raw", 0, 40)]
    matrix.create_dataset("data", shape=(5,), dtype="i8", external=where)


def _external_link(matrix):
    del matrix["data"]
    matrix["data"] = h5py.ExternalLink("/etc/passwd", "/x")


def _virtual(matrix):
    del matrix["data"]
    layout = h5py.VirtualLayout(shape=(5,), dtype="i8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(5,))
    matrix.create_virtual_dataset("data", layout)


def _many(matrix):
    for number in range(20_001):
        matrix["features"].create_group(str(number))


def _circle(matrix):
    matrix["again"] = matrix
    matrix["soft"] = h5py.SoftLink("/matrix")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_huge, r"data, claims 8,589,934,592 bytes of values but stores 0"),
        (_contiguous, r"barcodes, claims 17,179,869,184 bytes"),
        (_chunk, r"indices, has chunks of 2,147,483,648 bytes"),
        (_external_storage, r"data, has its values in other files"),
        (_external_link, r"data, is a link to another file \(/etc/passwd\)"),
        (_virtual, r"data, has its values in other files"),
        (_many, r"features, holds 20,003 entries"),
    ],
)
def test_hostile_hdf5(lane, capsys, harm, message):
    with h5py.File(lane, "a") as file:
        harm(file["matrix"])
    with pytest.raises(LaneError, match=message):
        nk.io.read_lane(lane)
    out = str(lane.with_name("s.csv"))
    assert main(["score", str(lane), "--signatures", "nk", "--out", out]) == 1
    assert message.replace("\\", "") in capsys.readouterr().err


def test_links_within_a_file_are_read(lane):
    with h5py.File(lane, "a") as file:
        _circle(file["matrix"])
    assert nk.io.read_lane(lane).shape == (2, 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize("name", ["matrix.mtx", "barcodes.tsv", "features.tsv"])
def test_pipes_in_a_folder(tmp_path, name):
    (tmp_path / "matrix.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n4 2 1\n1 1 3\n"
    )
    (tmp_path / "barcodes.tsv").write_text("\n".join(CELLS))
    (tmp_path / "features.tsv").write_text("\n".join(GENES))
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(LaneError, match="a pipe or a device"):
        nk.io.read_lane(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
@pytest.mark.parametrize(
    "read",
    [
        nk.io.read_mageck,
        nk.io.read_bioplex,
        nk.io.read_lane,
        nk.io.read_sample_sheet,
        nk.signatures.load,
    ],
)
@pytest.mark.parametrize("end", ["csv", "gmt", "txt", "tsv", "xlsx", "h5ad", "rds"])
def test_pipes_instead_of_files(tmp_path, read, end):
    path = tmp_path / f"a.{end}"
    os.mkfifo(path)
    with pytest.raises((NkscoreError, ValueError)):
        read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_pipes_at_the_command_line(tmp_path, capsys):
    path = tmp_path / "a"
    os.mkfifo(path)
    commands = [
        ["score", str(path), "--signatures", "nk", "--out", str(tmp_path / "o.csv")],
        ["run", str(path), "--out", str(tmp_path / "o")],
        ["run", "s.csv", "--config", str(path), "--out", str(tmp_path / "o")],
    ]
    for command in commands:
        assert main(command) == 1
        assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("read", [nk.io.read_lane, nk.io.read_mageck, nk.io.read_bioplex])
def test_packed_text_that_grows_without_end(tmp_path, read):
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(200):
            file.write(b"0" * (1 << 20))
    with pytest.raises(NkscoreError, match="unpacks to more"):
        read(path)


@pytest.mark.parametrize("pack", ["gzip", "bz2", "lzma"])
def test_packed_objects_of_r_that_grow_without_end(tmp_path, pack):
    module = __import__(pack)
    path = tmp_path / "a.rds"
    with module.open(path, "wb") as file:
        file.write(b"X\n\0\0\0\x03")
        for _ in range(200):
            file.write(bytes(1 << 20))
    with pytest.raises(LaneError, match="unpacks to more than"):
        nk.io.read_lane(path)


def test_nothing_is_left_of_a_killed_read(tmp_path):
    """The unpacked object of R has no name that would have to be removed."""
    pytest.importorskip("rds2py")
    text = f"""
import os, signal, gzip
from pathlib import Path
from nkscore.io import _rds_file
path = Path({str(tmp_path / "a.rds")!r})
path.write_bytes(gzip.compress(b"X\\n" + bytes(1000)))
with _rds_file._unpacked(path) as plain:
    assert Path(plain).read_bytes()[:2] == b"X\\n"
    os.kill(os.getpid(), signal.SIGKILL)
"""
    place = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    done = subprocess.run([sys.executable, "-c", text], env=place, check=False)
    assert done.returncode == -9
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def store(tmp_path):
    """A zarr store of four cells with tags, each array in chunks of one file."""
    pytest.importorskip("zarr")
    obs = pd.DataFrame(
        {"plate": ["a", "b", "a", "b"]}, index=[f"AAACCCAAGAAACAC{x}" for x in "ACGT"]
    )
    adata = anndata.AnnData(
        sparse.csr_matrix([[3, 0, 1, 0], [0, 2, 5, 1], [1, 1, 1, 1], [0, 0, 0, 9]]),
        obs,
        pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(4)]}, index=GENES),
    )
    adata.obsm["tags"] = pd.DataFrame({"t1": [9, 1, 9, 1], "t2": [1, 8, 2, 8]}, index=obs.index)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        adata.write_zarr(tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def test_a_store_without_one_of_its_chunks_is_never_read_in_silence(store):
    def read():
        return nk.io.read_lane(store, hashtag_path="obsm:tags", annotations=True)

    def found(adata):
        counts = adata.layers["counts"].toarray().tolist()
        return counts, adata.obs.astype(str).to_csv(), adata.obsm["hashtags"].to_csv()

    sound, ends = found(read()), []
    chunks = [p for p in store.rglob("*") if p.is_file() and p.name not in _METADATA]
    for chunk in chunks:
        raw = chunk.read_bytes()
        chunk.unlink()
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            try:
                same = found(read()) == sound
            except NkscoreError:
                ends.append("refused")
            else:
                told = any("has no stored values" in str(w.message) for w in given)
                ends.append("same" if same else "told" if told else f"silent: {chunk}")
        chunk.write_bytes(raw)
    assert not [end for end in ends if end.startswith("silent")]
    assert {"refused", "told"} <= set(ends)


def test_hostile_stores(store):
    # Of format 2 and 3, as the anndata at hand writes it.
    names = (".zarray", "zarr.json")
    file = next(path for name in names if (path := store / "X" / "data" / name).exists())
    metadata = json.loads(file.read_text()) | {"shape": [1 << 40]}
    if file.name == ".zarray":
        metadata["chunks"] = [1 << 10]
    else:
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 10]
    file.write_text(json.dumps(metadata))
    with pytest.raises(LaneError, match=r"data, claims 8,796,093,022,208 bytes"):
        nk.io.read_lane(store)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(LaneError, match="a pipe or a device"):
        nk.io.read_lane(store)
