"""What holds for every scorer, whatever its statistic."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import sparse

from nkscore.errors import WrongScaleError
from nkscore.scoring import gene_sets, get_scorer, register, row_blocks, run, scorers

METHODS = sorted(scorers())
pytestmark = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.2, 5, 500) * rng.gamma(3, 0.3, (120, 1)))
    counts[7] = 0
    return sparse.csr_matrix(counts.astype(np.int32))


@pytest.fixture(scope="module")
def index():
    rng = np.random.default_rng(1)
    parts = [rng.choice(500, size, replace=False) for size in (20, 5, 40, 1, 12, 12)]
    sizes = [(20, 5), (42, 1), (12, 13)]
    return gene_sets(parts[0::2], parts[1::2], n_genes=500, sizes=sizes)


@pytest.fixture
def expected(cells, index, method):
    return run(get_scorer(method), cells, index)


def test_within_the_limits_and_finite(expected, method):
    low, high = get_scorer(method).limits
    assert expected.dtype == np.float64
    assert expected.min() >= low
    assert expected.max() <= high
    assert expected.std() > 0


@pytest.mark.parametrize("block_bytes", [1, 8, 100, 8 * 500, 12_345, 1 << 30])
def test_blocks_of_any_size_give_the_same_bytes(cells, index, method, block_bytes, expected):
    for matrix in (cells, cells.toarray()):
        found = run(get_scorer(method), matrix, index, block_bytes=block_bytes)
        assert found.tobytes() == expected.tobytes()


def test_any_number_of_threads_gives_the_same_bytes(cells, index, method, monkeypatch):
    found = []
    for n_threads in (1, 2, 7):
        monkeypatch.setattr("numba.get_num_threads", lambda n=n_threads: n)
        found.append(run(get_scorer(method), cells, index, block_bytes=2000).tobytes())
    assert found[1:] == found[:1] * 2


def test_several_callers_at_once(cells, index, method, expected):
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(run, get_scorer(method), cells, index, block_bytes=size)
            for size in (500, 3000, 500, 1 << 20, 700, 3000)
        ]
        assert all(job.result().tobytes() == expected.tobytes() for job in jobs)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint32, np.float32, np.float64])
def test_number_types(cells, index, method, dtype):
    small = cells.minimum(1 if dtype is bool else 200)
    expected = run(get_scorer(method), small, index)
    for matrix in (small.astype(dtype), small.astype(dtype).toarray()):
        np.testing.assert_array_equal(run(get_scorer(method), matrix, index), expected)


_KINDS = [f"{k}_{c}" for k in ("csr", "csc", "coo", "lil", "bsr") for c in ("matrix", "array")]


@pytest.mark.parametrize("kind", _KINDS)
def test_sparse_formats(cells, index, method, expected, kind):
    matrix = getattr(sparse, kind)(cells)
    assert run(get_scorer(method), matrix, index).tobytes() == expected.tobytes()


def test_order_of_bytes_in_memory(cells, index, method, expected):
    dense = cells.toarray()
    for matrix in (np.asfortranarray(dense), np.repeat(dense, 2, axis=0)[::2]):
        assert run(get_scorer(method), matrix, index).tobytes() == expected.tobytes()


def test_64_bit_positions(cells, index, method, expected):
    wide = cells.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert run(get_scorer(method), wide, index).tobytes() == expected.tobytes()
    assert wide.indices.dtype == np.int64


def _scrambled(cells, rng):
    """The same matrix with genes in any order and some counts split in two entries."""
    data, genes, starts = [], [], [0]
    for row in cells:
        values = row.data.astype(np.int32)
        split = np.minimum(values, rng.integers(0, 3, values.size))
        order = rng.permutation(2 * values.size)
        data.append(np.concatenate([values - split, split])[order])
        genes.append(np.concatenate([row.indices, row.indices])[order])
        starts.append(starts[-1] + order.size)
    parts = np.concatenate(data), np.concatenate(genes), np.array(starts)
    return sparse.csr_matrix(parts, shape=cells.shape)


def test_unsorted_and_repeated_entries(cells, index, method, expected):
    messy = _scrambled(cells, np.random.default_rng(2))
    before = [part.tobytes() for part in (messy.data, messy.indices, messy.indptr)]
    assert run(get_scorer(method), messy, index).tobytes() == expected.tobytes()
    assert [part.tobytes() for part in (messy.data, messy.indices, messy.indptr)] == before


def test_unsorted_entries_alone(cells, index, method, expected):
    messy = cells.copy()
    for start, stop in zip(messy.indptr[:-1], messy.indptr[1:], strict=True):
        messy.indices[start:stop] = messy.indices[start:stop][::-1].copy()
        messy.data[start:stop] = messy.data[start:stop][::-1].copy()
    messy = sparse.csr_matrix((messy.data, messy.indices, messy.indptr), shape=messy.shape)
    before = messy.indices.tobytes()
    assert run(get_scorer(method), messy, index).tobytes() == expected.tobytes()
    assert messy.indices.tobytes() == before


def test_stored_zeros(cells, index, method, expected):
    padded = cells.copy()
    padded.data = padded.data.copy()
    padded = (padded + 5 * sparse.csr_matrix(np.ones(cells.shape, dtype=np.int32))).tocsr()
    padded.data -= 5
    assert padded.nnz == cells.shape[0] * cells.shape[1]
    assert run(get_scorer(method), padded, index).tobytes() == expected.tobytes()
    assert padded.nnz == cells.shape[0] * cells.shape[1]


def test_read_only_input(cells, index, method, expected):
    frozen = cells.copy()
    for part in (frozen.data, frozen.indices, frozen.indptr):
        part.setflags(write=False)
    assert run(get_scorer(method), frozen, index).tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(0, 500), (0, 0)])
def test_no_cells(index, method, shape):
    for matrix in (sparse.csr_matrix(shape), np.zeros(shape)):
        assert run(get_scorer(method), matrix, index).shape == (0, 3)


def test_cells_without_any_entry(index, method):
    empty = run(get_scorer(method), sparse.csr_matrix((3, 500)), index)
    np.testing.assert_array_equal(empty, run(get_scorer(method), np.zeros((3, 500)), index))


def test_no_sets(cells, method):
    none = gene_sets([], [], n_genes=500, sizes=[])
    assert run(get_scorer(method), cells, none).shape == (120, 0)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_type", [sparse.csr_matrix, np.asarray])
def test_impossible_values(cells, index, method, bad, as_type):
    values = cells.toarray().astype(float)
    values[90, 3] = bad
    words = "negative" if bad < 0 else "NaN or infinite"
    with pytest.raises(WrongScaleError, match=rf"holds {words}.*layers\['counts'\]"):
        run(get_scorer(method), as_type(values), index, block_bytes=4000)


class _LazyArray:
    """Stands for dask arrays and backed datasets."""

    shape, dtype = (120, 500), np.dtype(np.int32)


def test_other_types(cells, index, method):
    for matrix in (cells.toarray().tolist(), "counts", None, _LazyArray()):
        words = rf"{type(matrix).__name__}; a scipy CSR or CSC .* is needed. Load it into memory"
        with pytest.raises(TypeError, match=words):
            run(get_scorer(method), matrix, index)


def test_unknown_option(cells, index, method):
    with pytest.raises(TypeError, match=f"{method} has no option depth"):
        run(get_scorer(method), cells, index, depth=3)


def test_a_name_can_be_taken_once(method):
    with pytest.raises(ValueError, match=f"A scorer named '{method}' is already registered"):
        register(get_scorer(method))


def test_the_table_is_a_copy(method):
    scorers().clear()
    assert method in scorers()


def test_unknown_name(method):
    with pytest.raises(ValueError, match=f"Unknown scoring method 'mean'. Known: .*{method}"):
        get_scorer("mean")


def test_blocks_cover_all_rows_once(cells, method):
    for matrix in (cells, cells.toarray()):
        blocks = list(row_blocks(matrix, 3000))
        assert len(blocks) > 5
        assert [b.start for b in blocks] == list(np.cumsum([0] + [b.n_cells for b in blocks[:-1]]))
        assert sum(b.n_cells for b in blocks) == 120
        assert np.concatenate([b.values for b in blocks]).tolist() == cells.data.tolist()
        assert np.concatenate([b.indices for b in blocks]).tolist() == cells.indices.tolist()
