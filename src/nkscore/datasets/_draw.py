"""Counts of genes and hashtags for given droplets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from scipy import sparse

from nkscore import schema
from nkscore.datasets import _counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from nkscore._types import Floats, Floats32, Ints, Ints32
    from nkscore.datasets._cells import Cells, Droplets
    from nkscore.datasets._contacts import Contacts
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._profiles import Programs
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells

T = TypeVar("T")

_BLOCK_BYTES: Final = 16 << 20
#: Hashtag counts: median of the signal, of the background, and their spreads (SD of log).
_SIGNAL: Final = 300.0
_BACKGROUND: Final = 9.0
_SIGNAL_BETWEEN_TAGS: Final = 0.45
_BACKGROUND_BETWEEN_TAGS: Final = 0.45
_STAINING: Final = 0.75
_CAPTURE: Final = 0.55
_TAG_SIZE: Final = 12.0
#: More than the hashtags of a lane, so that each keeps its position in the random stream.
_TAG_STRIDE: Final = 64


@dataclass(frozen=True)
class Expected:
    """Expectations for each cell.

    The profile of a cell is row ``base_of`` of ``base``, changed by the programs with the numbers
    in ``program`` (-1: none), each as far as ``activity`` says.
    """

    base: Floats32
    base_of: Ints32
    program: Ints32
    activity: Floats
    programs: Programs

    def arguments(self) -> _counts.Sources:
        """Return the arrays in the order of the kernels' arguments."""
        return (
            self.base,
            self.base_of,
            self.program,
            self.activity,
            self.programs.starts,
            self.programs.members,
            self.programs.effect,
        )


def lane_soups(
    expected: Expected, cells: Cells, lane: Ints, n_lanes: int, n_threads: int
) -> Floats:
    """Return the average expression of all cells of each lane, lanes × genes."""
    soup = np.zeros((n_lanes, expected.base.shape[1]))

    def fill(number: int) -> None:
        members = np.flatnonzero(lane == number)
        _counts.add_profiles(members, cells.depth, expected.arguments(), soup[number])
        soup[number] /= soup[number].sum()

    _in_threads(fill, list(range(n_lanes)), n_threads)
    return soup


def ambient_shares(droplets: Droplets, cells: Cells, lane: Ints, chosen: Floats) -> Floats:
    """Return the ambient share of each droplet.

    Every droplet of a lane has the same expected number of ambient molecules, so small cells have a
    larger share. The option sets the share of all counts of the lane.
    """
    depth = cells.depth[droplets.cells[:, 0]] + np.where(
        droplets.cells[:, 1] >= 0, cells.depth[droplets.cells[:, 1]], 0.0
    )
    mean = np.bincount(lane, weights=depth) / np.bincount(lane)
    return np.minimum(chosen[lane] * mean[lane] / depth, 0.9)


def gene_counts(
    expected: Expected,
    droplets: Droplets,
    cells: Cells,
    genes: Genes,
    *,
    rest: tuple[Ints, Floats, Floats],
    order: Ints,
    streams: Streams,
    n_threads: int,
) -> sparse.csr_matrix:
    """Draw droplets × genes, rows in ``order``; ``rest`` is lane, ambient share, soup."""
    lane, ambient, soup = rest
    n_genes = genes.names.size
    rows = max(1, _BLOCK_BYTES // (8 * n_genes))
    key = np.uint64(streams.key("counts"))
    size = dispersion(genes, streams)

    def draw(start: int) -> tuple[Ints32, Ints32, Ints]:
        block = order[start : start + rows]
        data = np.empty(block.size * n_genes, dtype=np.int32)
        indices = np.empty(block.size * n_genes, dtype=np.int32)
        indptr = np.empty(block.size + 1, dtype=np.int64)
        stored = _counts.draw_counts(
            key,
            (
                block,
                np.ascontiguousarray(droplets.cells[block]),
                ambient[block],
                lane[block].astype(np.int32),
                cells.depth,
                soup,
            ),
            (size, genes.numbers),
            expected.arguments(),
            (data, indices, indptr),
        )
        return data[:stored].copy(), indices[:stored].copy(), np.diff(indptr)

    blocks = _in_threads(draw, list(range(0, order.size, rows)), n_threads)
    return _joined(blocks, (order.size, n_genes))


def _joined(blocks: list[tuple[Ints32, Ints32, Ints]], shape: tuple[int, int]) -> sparse.csr_matrix:
    """Return one matrix of the counts, genes and numbers of genes of the blocks."""
    data = np.concatenate([block[0] for block in blocks])
    indices = np.concatenate([block[1] for block in blocks])
    lengths = np.concatenate([block[2] for block in blocks])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    kind: type[np.signedinteger] = np.int32 if indptr[-1] < 2**31 else np.int64
    genes, ends = indices.astype(kind, copy=False), indptr.astype(kind, copy=False)
    matrix = sparse.csr_matrix((data, genes, ends), shape=shape)
    matrix.has_sorted_indices = True
    return matrix


def dispersion(genes: Genes, streams: Streams) -> Floats:
    """Return the size of the negative binomial per gene: variance = mu + mu² / size."""
    size = 3.0 * np.exp(0.6 * streams.normal("dispersion", genes.numbers))
    size *= np.where(
        genes.classes.isin(["ribosomal", "housekeeping", "mitochondrial", "hla"]), 6.0, 1.0
    )
    return np.asarray(np.clip(size, 0.3, 50.0), dtype=np.float64)


def hashtag_counts(
    wells: Wells,
    droplets: Droplets,
    cells: Cells,
    *,
    lane: Ints,
    n_tags: int,
    weaker: Floats,
    streams: Streams,
    contacts: Contacts | None = None,
) -> Ints32:
    """Draw droplets × hashtags: signal of the droplet's well, and background of the lane.

    ``weaker`` is a factor on the signal of each well.
    """
    tag = tag_numbers(wells)
    numbers = np.arange(lane.size, dtype=np.int64)
    lanes, columns = np.meshgrid(np.arange(len(wells.lanes)), np.arange(n_tags), indexing="ij")
    place = (lanes * _TAG_STRIDE + columns).ravel()
    used = np.zeros((len(wells.lanes), n_tags), dtype=bool)
    used[wells.lane, tag] = True
    shape = used.shape
    typical = _SIGNAL if contacts is None else contacts.tag_signal
    between = _SIGNAL_BETWEEN_TAGS if contacts is None else contacts.tag_spread
    signal = typical * np.exp(between * streams.normal("signal", place))
    noise = _BACKGROUND * np.exp(_BACKGROUND_BETWEEN_TAGS * streams.normal("background", place))
    mean = np.where(used, noise.reshape(shape), 0.0)[lane]
    for part in range(2):
        there = (droplets.cells[:, part] >= 0) & ~droplets.negative
        cell = droplets.cells[there, part]
        staining = np.exp(_STAINING * streams.normal("staining", cells.numbers[cell]))
        own = tag[cells.well[cell]]
        staining *= weaker[cells.well[cell]]
        mean[there, own] += signal.reshape(shape)[lane[there], own] * staining
    mean *= np.exp(_CAPTURE * streams.normal("tag capture", numbers))[:, None]
    out = np.zeros(mean.shape, dtype=np.int32)
    _counts.draw_table(np.uint64(streams.key("hashtags")), numbers, mean, _TAG_SIZE, out)
    return out


def tag_numbers(wells: Wells) -> Ints:
    """Return the position of each well's hashtag."""
    return np.array(
        [int(name.removeprefix("Hashtag")) - 1 for name in wells.sheet[schema.HASHTAG]],
        dtype=np.int64,
    )


def _in_threads(work: Callable[[int], T], items: list[int], n_threads: int) -> list[T]:
    if n_threads == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(work, items))
