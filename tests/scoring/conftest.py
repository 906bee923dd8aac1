"""Score named genes through the array kernels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from nkscore.scoring import gene_sets, get_scorer, run


def index_of(genes, sets, *, skip_absent=False):
    """Index of ``{name: (up, down)}``; absent genes count in the size unless skipped."""
    column = {gene: i for i, gene in enumerate(genes)}

    def positions(names):
        return [column[name] for name in dict.fromkeys(names) if name in column]

    found = [(positions(up), positions(down)) for up, down in sets.values()]
    sizes = [(len(set(up)), len(set(down))) for up, down in sets.values()]
    if skip_absent:
        sizes = [(len(up), len(down)) for up, down in found]
    up, down = zip(*found, strict=True)
    return gene_sets(up, down, n_genes=len(genes), sizes=sizes)


@pytest.fixture(scope="session")
def score():
    """Return ``score(matrix, genes, sets, method=..., **options)``: cells × sets."""

    def run_named(matrix, genes, sets, *, method="rank_auc", skip_absent=False, **options):
        index = index_of(genes, sets, skip_absent=skip_absent)
        return run(get_scorer(method), matrix, index, **options)

    return run_named


@pytest.fixture(scope="session")
def plain_rank_auc():
    """Return the formula for one up set in plain scipy, for dense values."""

    def compute(values, columns, max_rank=1500):
        values = np.asarray(values, dtype=float)
        cap = min(max_rank, values.shape[1])
        ranks = np.minimum(stats.rankdata(-values, axis=1)[:, columns], cap)
        n = len(columns)
        least = n * (n + 1) / 2
        return 1 - (ranks.sum(axis=1) - least) / (n * cap - least)

    return compute
