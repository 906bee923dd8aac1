"""Lists that name a gene twice, as R UCell scores them (../shared/golden/ucell/run.R)."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

from nkscore.scoring import RANK_AUC, gene_sets, run


def _as_r_reads_it(names):
    """R drops repeated up names before it strips "+", and keeps repeated down names."""
    up = dict.fromkeys(name for name in names if not name.endswith("-"))
    return [n.removesuffix("+") for n in up], [n[:-1] for n in names if n.endswith("-")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scores_maxRank1500", {}),
        ("scores_maxRank300", {"max_rank": 300}),
        ("scores_maxRank1500_wneg0.5", {"w_neg": 0.5}),
    ],
)
def test_raw_lists_give_the_scores_of_r(shared, name, options):
    folder = shared / "golden" / "ucell"
    with gzip.open(folder / "counts.mtx.gz") as file, warnings.catch_warnings():
        # scipy announces another type of result, which makes no difference here.
        warnings.simplefilter("ignore", DeprecationWarning)
        counts = sparse.csr_matrix(io.mmread(file).T)
    genes = pd.Index(pd.read_csv(folder / "genes.csv")["gene"])
    long = pd.read_csv(folder / "signatures.csv.gz", index_col=0)
    raw = {key: _as_r_reads_it(list(rows)) for key, rows in long.groupby("signature")["gene"]}
    columns = {key: [genes.get_indexer(part) for part in parts] for key, parts in raw.items()}
    index = gene_sets(
        [up[up >= 0] for up, _ in columns.values()],
        [down[down >= 0] for _, down in columns.values()],
        n_genes=len(genes),
        sizes=[(len(up), len(down)) for up, down in raw.values()],
    )
    # Read as text and converted by Python, which keeps the last bit in every pandas.
    expected = pd.read_csv(folder / f"{name}.csv.gz", index_col=0, dtype=str).astype(float)
    ours = run(RANK_AUC, counts, index, **options)
    assert {"dup_plus", "dup_neg"} <= set(raw)
    np.testing.assert_allclose(ours, expected[list(raw)], rtol=0, atol=1e-12)


def test_a_column_listed_twice_counts_twice():
    # Ranks 1, 2, 3: Σr = 1 + 1 + 3 = 5, least 6, span 3 · 3 − 6 = 3.
    index = gene_sets([[0, 0, 2]], [[]], n_genes=3, sizes=[(3, 0)])
    assert run(RANK_AUC, np.array([[3, 2, 1]]), index)[0, 0] == pytest.approx(1 + 1 / 3)
