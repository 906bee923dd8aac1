"""Run a scorer over all blocks of a matrix, on several threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from nkscore.scoring._blocks import BLOCK_BYTES, RowBlock, as_rows, row_blocks

if TYPE_CHECKING:
    from nkscore.scoring._registry import Scorer
    from nkscore.scoring._sets import GeneSets

    Scores = np.ndarray[Any, np.dtype[np.float64]]


def run(
    scorer: Scorer, matrix: Any, sets: GeneSets, *, block_bytes: int = BLOCK_BYTES, **options: Any
) -> Scores:
    """Score all cells of ``matrix``; returns cells × sets, float64.

    The kernels release the interpreter lock and keep no state, so plain threads share the blocks;
    their number follows ``numba.get_num_threads()``, that is ``NUMBA_NUM_THREADS``. Each cell is
    computed alone: threads and block size cannot change a result.
    """
    unknown = set(options) - set(scorer.options)
    if unknown:
        msg = (
            f"{scorer.name} has no option {', '.join(sorted(unknown))}. "
            f"Known: {', '.join(scorer.options) or 'none'}."
        )
        raise TypeError(msg)
    rows = as_rows(matrix)
    out = np.zeros((rows.shape[0], sets.n_sets))
    if 0 in rows.shape or sets.n_sets == 0:
        return out

    def score(block: RowBlock) -> None:
        scores = scorer.func(block, sets, **options)
        out[block.start : block.start + block.n_cells] = scores

    n_threads = numba.get_num_threads()
    with ThreadPoolExecutor(n_threads) as pool:
        pending: deque[Future[None]] = deque()
        for block in row_blocks(rows, block_bytes):
            pending.append(pool.submit(score, block))
            # Blocks are made as they are needed: only a few exist at a time.
            if len(pending) > 2 * n_threads:
                pending.popleft().result()
        for future in pending:
            future.result()
    return out
