"""A few seconds of benchmarks/fuzz_readers.py: damaged inputs end in nkscore's errors only."""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import NkscoreError, SampleSheetError


@pytest.fixture(scope="module")
def fuzz():
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_readers.py"
    spec = importlib.util.spec_from_file_location("nkscore_fuzz_readers", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# Not h5ad: libhdf5 itself can hang on a damaged heap of text, which only a process of its own
# would survive.
@pytest.mark.parametrize(
    "kind",
    [
        *("sheet", "h5", "mtx", "mtx_gz", "csv", "rds", "zarr"),
        *("mageck", "mle", "guides", "bioplex", "xlsx", "gmt", "sets", "popscle", "vireo"),
    ],
)
def test_damaged_inputs_raise_errors_of_nkscore_only(fuzz, tmp_path, kind):
    stop = time.monotonic() + 1
    ends = set()
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        with warnings.catch_warnings(action="ignore"):
            ends.add(fuzz.one(kind, number, 7, folder)[0])
        if time.monotonic() > stop and number >= 25:
            break
    # Some survive their damage, most do not.
    assert ends <= {"read", *nk.errors.__all__}
    assert len(ends) > 1 or kind in {"mtx_gz", "rds", "xlsx", "zarr"}


def test_odd_data_frames(fuzz):
    tried = fuzz.sheets_by_hypothesis(60, 3)
    assert 0 < tried["refused"] < tried["sheets"]


def test_numbers_that_end_pandas(tmp_path):
    """pandas ends the process at an exponent of many digits."""
    huge = "9e40099999999999999"
    (tmp_path / "a.csv").write_text(
        f",AAACCTGAGATAGCAT-1,AAACCTGAGCAGCGTA-1\nNKG7,{huge},1\nCD34,1,1\n"
    )
    # pandas 2 leaves it as text, pandas 3 reads it as infinite.
    with pytest.raises(NkscoreError, match=r"infinite .*'NKG7'|'NKG7'.*is not a count"):
        nk.io.read_lane(tmp_path / "a.csv")
    names = "Gene\tsgRNA\tnk|beta\tnk|z\tnk|p-value\tnk|fdr\tnk|wald-p-value"
    (tmp_path / "a.txt").write_text(f"{names}\nB2M\t4\t{huge}\t-3\t0.1\t0.1\t0.1\n")
    with pytest.raises(NkscoreError, match="is not a number"):
        nk.io.read_mageck(tmp_path / "a.txt")


@pytest.mark.parametrize("path", ["~no-such-user/a.h5", "a" * 300 + ".h5"])
def test_paths_that_no_system_holds(path, tmp_path):
    sheet = pd.DataFrame(
        {"path": [path], "sample": "s", "condition": "tumor_mono", "tumor": "K562"}
    )
    with pytest.raises(SampleSheetError, match="does not exist"):
        nk.io.read_coculture(sheet, base=tmp_path)
    with pytest.raises(NkscoreError, match="does not exist"):
        nk.io.read_lane(path)


def test_text_of_a_store_that_announces_more(tmp_path):
    """The decoder of zarr takes memory for as many texts as the first bytes of a chunk say."""
    numcodecs = pytest.importorskip("numcodecs")
    path = tmp_path / "a.zarr"
    obs, var = pd.DataFrame(index=["c1", "c2"]), pd.DataFrame(index=["NKG7", "CD34"])
    with warnings.catch_warnings(action="ignore"):
        anndata.AnnData(np.ones((2, 2)), obs, var).write_zarr(path)
    chunk = next(file for file in (path / "obs" / "_index").rglob("*") if file.name == "0")
    text = (300_000_000).to_bytes(4, "little") + b"\0" * 60
    shards = chunk.parent.parent / "zarr.json"
    if shards.is_file() and "sharding_indexed" in shards.read_text(encoding="utf-8"):
        # A shard is a chunk and an index of its place and size, with a checksum.
        packed = numcodecs.Zstd().encode(text)
        index = np.array([0, len(packed)], dtype="<u8").tobytes()
        crc32c = pytest.importorskip("google_crc32c")
        chunk.write_bytes(packed + index + crc32c.value(index).to_bytes(4, "little"))
    else:
        chunk.write_bytes(numcodecs.Blosc().encode(text))
    with pytest.raises(NkscoreError, match="announces 300,000,000 texts"):
        nk.io.read_lane(path)
