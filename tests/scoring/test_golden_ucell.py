"""``rank_auc`` against R UCell 2.17 on real cells (../shared/golden/ucell/run.R)."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse

#: R counts a repeated down gene twice and takes "GNLY" and "GNLY+" for two genes; here a gene of a
#: set counts once.
_REPEATED = {"dup_plus", "dup_neg"}


def _signed(names):
    up = [name.removesuffix("+") for name in names if not name.endswith("-")]
    return up, [name[:-1] for name in names if name.endswith("-")]


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "ucell"

    def read(name):
        return pd.read_csv(folder / name, index_col=0, float_precision="round_trip")

    with gzip.open(folder / "counts.mtx.gz") as file:
        counts = sparse.csr_matrix(io.mmread(file).T)
    long = read("signatures.csv.gz")
    sets = {name: _signed(list(rows)) for name, rows in long.groupby("signature")["gene"]}
    genes = list(pd.read_csv(folder / "genes.csv")["gene"])
    return SimpleNamespace(read=read, counts=counts, genes=genes, sets=sets)


_RUNS = {
    "scores_maxRank1500": {},
    "scores_maxRank300": {"max_rank": 300},
    "scores_maxRank1500_wneg0.5": {"w_neg": 0.5},
    "scores_maxRank1500_skip": {"skip_absent": True},
}


@pytest.mark.parametrize("name", _RUNS)
def test_equals_r_for_every_signature(golden, score, name):
    expected = golden.read(f"{name}.csv.gz")
    ours = score(golden.counts, golden.genes, golden.sets, **_RUNS[name])
    ours = pd.DataFrame(ours, index=expected.index, columns=list(golden.sets))
    compared = [c for c in expected if c not in _REPEATED]
    assert len(compared) == 10
    np.testing.assert_allclose(ours[compared], expected[compared], rtol=0, atol=1e-12)
    assert expected[compared].to_numpy().std() > 0.1


@pytest.mark.parametrize("max_rank", [1500, 100])
def test_equals_r_on_a_panel_of_200_genes(golden, score, max_rank):
    expected = golden.read(f"panel200_scores_maxRank{max_rank}.csv.gz")
    panel = list(golden.read("panel200_genes.csv").index)
    counts = golden.counts[:, pd.Index(golden.genes).get_indexer(panel)]
    ours = score(counts, panel, golden.sets, max_rank=max_rank)
    ours = pd.DataFrame(ours, index=expected.index, columns=list(golden.sets))
    compared = [c for c in expected if c not in _REPEATED]
    np.testing.assert_allclose(ours[compared], expected[compared], rtol=0, atol=1e-12)


def test_repeated_genes_count_once(golden, score, plain_rank_auc):
    expected = golden.read("scores_maxRank1500.csv.gz")
    ours = score(golden.counts, golden.genes, golden.sets)
    ours = pd.DataFrame(ours, index=expected.index, columns=list(golden.sets))
    np.testing.assert_allclose(ours["dup_neg"], expected["nodup_neg"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours["NK_dup"], expected["NK_nodup"], rtol=0, atol=1e-12)
    columns = pd.Index(golden.genes).get_indexer(["GNLY", "NKG7", "PRF1"])
    plain = plain_rank_auc(golden.counts.toarray(), columns)
    np.testing.assert_allclose(ours["dup_plus"], plain, rtol=0, atol=1e-12)
    # The reason for the exception: R's own scores of these two sets differ.
    assert np.abs(expected["dup_neg"] - expected["nodup_neg"]).max() > 0.01


def test_ranks_of_20_cells(golden, score):
    expected = golden.read("ranks_first20cells.csv.gz")
    counts = golden.counts[:20]
    n_genes = len(golden.genes)
    alone = {gene: ([gene], []) for gene in golden.genes}
    # The score of a single gene is 1 - (rank - 1) / (n_genes - 1).
    scores = score(counts, golden.genes, alone, max_rank=n_genes)
    ranks = 1 + (1 - scores) * (n_genes - 1)
    np.testing.assert_allclose(ranks.T, expected.loc[golden.genes], rtol=0, atol=1e-8)
