"""The same answers for counts in memory, in files and in dask arrays, however they are cut."""

from __future__ import annotations

import itertools
import warnings
from functools import partial

import anndata
import h5py
import numba
import numpy as np
import pytest
from scipy import sparse

from nkscore._counts import _scales
from nkscore._counts._open import BLOCK_BYTES, open_counts
from nkscore.errors import WrongScaleError
from nkscore.stats import log_moments

N_CELLS, N_GENES = 150, 40


@pytest.fixture(scope="module")
def cells():
    """Counts with empty cells, some at the ends, and a gene without counts."""
    counts = np.random.default_rng(0).poisson(0.6, (N_CELLS, N_GENES))
    counts[[0, 50, 51, N_CELLS - 1]] = 0
    counts[:, 7] = 0
    return counts.astype(np.int32)


@pytest.fixture(scope="module")
def folder(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counts")
    for name, as_type in (
        ("csr", sparse.csr_matrix),
        ("csc", sparse.csc_matrix),
        ("dense", np.asarray),
        ("messy", _messy),
    ):
        adata = anndata.AnnData(as_type(cells))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata.write_h5ad(folder / f"{name}.h5ad", compression="gzip")
            if name == "csr":
                adata.write_zarr(folder / "csr.zarr")
    return folder


def _messy(cells):
    """Entries out of order, stored twice and stored as zero."""
    matrix = sparse.coo_matrix(cells)
    half = matrix.data // 2
    data = np.concatenate([half, matrix.data - half])
    order = np.random.default_rng(1).permutation(data.size)
    row, column = np.tile(matrix.row, 2), np.tile(matrix.col, 2)
    row, column, data = row[order], column[order], data[order]
    order = np.argsort(row, kind="stable")
    indptr = np.searchsorted(row[order], np.arange(N_CELLS + 1))
    return sparse.csr_matrix((data[order], column[order], indptr), shape=cells.shape)


def _backed(folder, name):
    return anndata.read_h5ad(folder / f"{name}.h5ad", backed="r").X


def _zarr(folder):
    zarr = pytest.importorskip("zarr", reason="zarr (extra 'scale') is not installed")
    return anndata.io.sparse_dataset(zarr.open_group(folder / "csr.zarr", mode="r")["X"])


def _lazy(path):
    pytest.importorskip("xarray", reason="xarray, which anndata reads lazily with, is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return anndata.experimental.read_lazy(path).X


def _dask(cells, chunks, as_type=sparse.csr_matrix):
    array = pytest.importorskip("dask.array", reason="dask (extra 'scale') is not installed")
    return array.from_array(cells, chunks=chunks).map_blocks(as_type)


FORMS = {
    "csr": lambda cells, _: sparse.csr_matrix(cells),
    "csc": lambda cells, _: sparse.csc_matrix(cells),
    "coo": lambda cells, _: sparse.coo_matrix(cells),
    "csr_array": lambda cells, _: sparse.csr_array(cells),
    "dense": lambda cells, _: cells,
    "messy": lambda cells, _: _messy(cells),
    "h5ad": lambda _, folder: _backed(folder, "csr"),
    "h5ad csc": lambda _, folder: _backed(folder, "csc"),
    "h5ad dense": lambda _, folder: _backed(folder, "dense"),
    "h5ad messy": lambda _, folder: _backed(folder, "messy"),
    "zarr": lambda _, folder: _zarr(folder),
    "lazy h5ad": lambda _, folder: _lazy(folder / "csr.h5ad"),
    "lazy zarr": lambda _, folder: _lazy(folder / "csr.zarr"),
    "dask": lambda cells, _: _dask(cells, (37, N_GENES)),
    "dask in both axes": lambda cells, _: _dask(cells, (64, 9), np.asarray),
}
DTYPES = [bool, np.uint8, np.uint16, np.int64, np.float32, np.float64]
BLOCKS = [8, 500, BLOCK_BYTES]
#: What is asked for: nothing, in order, out of order and twice, a mask, all.
CHOICES = {
    "none": np.array([], dtype=int),
    "few": np.array([3, 4, 5, 90]),
    "out of order": np.array([90, 3, 149, 3, 51, 0]),
    "mask": np.arange(N_CELLS) % 3 == 0,
    "all": None,
}


@pytest.fixture(scope="module", params=FORMS)
def matrix(request, cells, folder):
    return FORMS[request.param](cells, folder)


@pytest.fixture(scope="module", params=BLOCKS)
def counts(request, matrix):
    return open_counts(matrix, "layers['counts']", block_bytes=request.param)


def test_parts_hold_each_cell_once(counts, cells):
    parts = list(counts.parts())
    assert np.concatenate([part.cells for part in parts]).tolist() == list(range(N_CELLS))
    for part in parts:
        assert (part.places == part.cells).all()
        assert part.matrix.has_canonical_format
        assert type(part.matrix) is sparse.csr_matrix
        assert (part.matrix.toarray() == cells[part.cells]).all()


def test_parts_of_some_cells(counts, cells):
    for choice in CHOICES.values():
        wanted = np.arange(N_CELLS)[slice(None) if choice is None else choice]
        places = []
        for part in counts.parts(choice):
            assert (np.diff(part.cells) >= 0).all()
            assert (wanted[part.places] == part.cells).all()
            assert (part.matrix.toarray() == cells[part.cells]).all()
            places += part.places.tolist()
        assert sorted(places) == list(range(wanted.size))


def test_rows_and_columns(counts, cells):
    # Out of order, one without counts, one twice.
    for genes, choice in itertools.product(([30, 7, 2], [30, 2, 30]), CHOICES.values()):
        wanted = cells[slice(None) if choice is None else choice]
        rows = counts.rows(choice)
        assert (rows.toarray() == wanted).all()
        columns = counts.columns(genes, choice)
        assert columns.format == "csr"
        assert columns.dtype == rows.dtype
        assert columns.shape == (rows.shape[0], 3)
        assert (columns.toarray() == wanted[:, genes]).all()


def test_totals(counts, cells):
    mask = np.arange(N_GENES) % 2 == 0
    weights = np.column_stack([mask, ~mask, np.linspace(-1, 1, N_GENES)])
    sets = sparse.csr_matrix(np.where(np.arange(N_GENES)[:, None] == [3, 9], [2.0, 0.1], 0))
    memory = open_counts(sparse.csr_matrix(cells))
    for choice in CHOICES.values():
        wanted = cells[slice(None) if choice is None else choice]
        asked = [(None, choice), (mask, CHOICES["few"]), (sets, None), (weights, choice)]
        whole, few, in_sets, weighted = counts.each_totals(asked)
        assert whole.dtype == np.float64
        assert (whole == wanted.sum(axis=1)).all()
        assert (few == cells[CHOICES["few"]][:, mask].sum(axis=1)).all()
        np.testing.assert_allclose(in_sets, cells @ sets.toarray(), rtol=1e-15)
        np.testing.assert_allclose(weighted, wanted @ weights, rtol=1e-12, atol=1e-12)
        # To the last bit: the order of additions does not depend on where counts are.
        assert (weighted == memory.totals(weights, choice)).all()
        assert (in_sets == memory.totals(sets)).all()
        assert (counts.totals(weights, choice) == weighted).all()


def test_numbers_of_genes(counts, cells):
    assert (counts.detected() == (cells > 0).sum(axis=1)).all()


@pytest.mark.parametrize("squares", [False, True])
def test_sums_over_groups(counts, cells, squares):
    codes = np.random.default_rng(2).choice([-1, 0, 1, 3], N_CELLS)
    few = np.full(N_CELLS, -1)
    few[[5, 90]] = [2, 0]
    found = counts.each_group_sums([(codes, 4), (few, 3)], squares=squares)
    for sums, own in zip(found, (codes, few), strict=True):
        for group in range(sums.n_groups):
            inside = cells[own == group]
            assert (sums.sums[group] == inside.sum(axis=0)).all()
            assert (sums.cells[group] == (inside > 0).sum(axis=0)).all()
            if squares:
                assert (sums.squares[group] == (inside.astype(float) ** 2).sum(axis=0)).all()
        assert sums.squares.shape == ((sums.n_groups, N_GENES) if squares else (1, 0))
    nobody = counts.group_sums(np.full(N_CELLS, -1), 2)
    assert nobody.sums.tolist() == np.zeros((2, N_GENES)).tolist()


def test_moments_are_added_cell_by_cell(counts, cells):
    codes = np.random.default_rng(3).choice([-1, 0, 1], N_CELLS)
    found = log_moments(counts, codes, 2)
    assert (found == log_moments(open_counts(sparse.csr_matrix(cells)), codes, 2)).all()
    total = np.maximum(cells.sum(axis=1, keepdims=True), 1)
    x = np.log1p(1e4 * cells / total)
    expected = [[x[codes == g].sum(axis=0), (x[codes == g] ** 2).sum(axis=0)] for g in range(2)]
    np.testing.assert_allclose(found[:, :, :2], np.swapaxes(expected, 1, 2), rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(cells, folder, threads, monkeypatch):
    monkeypatch.setattr("numba.get_num_threads", lambda: threads)
    assert numba.get_num_threads() == threads
    counts = open_counts(_backed(folder, "csr"), block_bytes=200)
    assert (counts.totals() == cells.sum(axis=1)).all()
    assert (counts.group_sums(np.zeros(N_CELLS, int), 1).sums == cells.sum(axis=0)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("as_type", [sparse.csr_matrix, np.asarray])
def test_any_type_of_number(cells, dtype, as_type):
    small = np.minimum(cells, 1) if dtype is bool else cells
    counts = open_counts(
        as_type(small.astype(dtype)), check=partial(_scales.check_counts, where="x")
    )
    assert (counts.totals() == small.sum(axis=1)).all()
    assert (counts.detected() == (small > 0).sum(axis=1)).all()
    assert (counts.group_sums(np.zeros(N_CELLS, int), 1).sums == small.sum(axis=0)).all()
    assert (counts.columns([3, 1]).toarray() == small[:, [3, 1]]).all()


def test_the_input_is_left_alone(cells):
    for given in (_messy(cells), sparse.csc_matrix(cells), sparse.csr_array(cells), cells.copy()):
        parts = [given] if given is cells or isinstance(given, np.ndarray) else None
        parts = parts or [given.data, given.indices, given.indptr]
        before = [part.tobytes() for part in parts]
        for part in parts:
            part.flags.writeable = False
        counts = open_counts(given)
        assert (counts.totals(np.ones((N_GENES, 2)))[:, 0] == cells.sum(axis=1)).all()
        assert (counts.group_sums(np.zeros(N_CELLS, int), 1).sums == cells.sum(axis=0)).all()
        assert [part.tobytes() for part in parts] == before


def test_counts_opened_once_are_not_copied(cells):
    given = sparse.csr_matrix(cells)
    rows = open_counts(given).rows()
    assert np.shares_memory(rows.data, given.data)
    as_array = sparse.csr_array(cells)
    assert np.shares_memory(open_counts(as_array).rows().data, as_array.data)


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "h5ad", "zarr", "dask"])
def test_values_that_are_no_counts(cells, tmp_path, form):
    broken = cells.astype(float)
    broken[60, 5] = 0.5
    adata = anndata.AnnData(sparse.csr_matrix(broken))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata.write_h5ad(tmp_path / "csr.h5ad")
        adata.write_zarr(tmp_path / "csr.zarr")
    matrix = FORMS[form](broken, tmp_path)
    check = partial(_scales.check_counts, where="layers['counts']")
    words = r"layers\['counts'\] holds fractions \(for example 0\.5\)"
    if form in {"csr", "csc", "dense"}:
        with pytest.raises(WrongScaleError, match=words):
            open_counts(matrix, check=check)
    else:
        # As it is read: what is not read does no harm.
        counts = open_counts(matrix, "layers['counts']", check=check, block_bytes=800)
        assert (counts.rows([3, 140]).toarray() == broken[[3, 140]]).all()
        with pytest.raises(WrongScaleError, match=words):
            counts.totals()
        with pytest.raises(WrongScaleError, match=words):
            counts.check()
    unchecked = open_counts(matrix, "layers['counts']", block_bytes=800)
    codes = np.full(N_CELLS, -1)
    codes[:50] = 0
    assert (unchecked.group_sums(codes, 1).sums == broken[:50].sum(axis=0)).all()
    codes[60] = 0
    with pytest.raises(WrongScaleError, match=r"layers\['counts'\] \(cell 60\) holds fractions"):
        unchecked.group_sums(codes, 1)


def test_broken_file(cells, tmp_path):
    anndata.AnnData(sparse.csr_matrix(cells)).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["X"]["indices"][3] = 1 << 20
    counts = open_counts(_backed(tmp_path, "a"))
    with pytest.raises(ValueError, match="broken from cell 0 on: its positions do not match"):
        counts.totals()


def test_what_is_no_matrix():
    with pytest.raises(TypeError, match=r"The matrix is a builtins\.list; a scipy CSR or CSC"):
        open_counts([[1, 2]])
