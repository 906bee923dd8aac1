"""A few seconds of benchmarks/fuzz_readers.py: damaged inputs end in nkscore's errors only."""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from pathlib import Path

import pytest

import nkscore as nk


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
        *("mageck", "mle", "guides", "bioplex", "xlsx", "gmt", "sets"),
    ],
)
def test_damaged_inputs_raise_errors_of_nkscore_only(fuzz, tmp_path, kind):
    stop = time.monotonic() + 1
    ends = set()
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        with warnings.catch_warnings(action="ignore"):
            ends.add(fuzz.one(kind, number, 7, folder))
        if time.monotonic() > stop and number >= 10:
            break
    # Some survive their damage, most do not.
    assert ends <= {"read", *nk.errors.__all__}
    assert len(ends) > 1 or kind in {"mtx_gz", "xlsx", "zarr"}


def test_odd_data_frames(fuzz):
    tried = fuzz.sheets_by_hypothesis(60, 3)
    assert 0 < tried["refused"] < tried["sheets"]
