from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

GENES = ["a", "b", "c", "d"]
CELLS = np.array([[1.0, 2.0, 0.0, 4.0], [0.0, 0.5, 3.0, 0.0]])


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        ("ab", "d", [(1 + 2 - 4) / 3, 0.5 / 3]),
        ("ab", "", [1.5, 0.25]),
        # absent genes do not count in the mean
        ("abx", "y", [1.5, 0.25]),
        ("", "d", [-4.0, 0.0]),
        ("x", "", [0.0, 0.0]),
    ],
)
def test_by_hand(score, up, down, expected):
    for matrix in (CELLS, sparse.csr_matrix(CELLS), sparse.csc_matrix(CELLS)):
        found = score(matrix, GENES, {"s": (list(up), list(down))}, method="weighted_mean")
        np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=1e-15)


def test_several_sets_share_genes(score):
    sets = {"s": (["a", "b"], ["d"]), "t": (["b"], []), "u": (["d", "c"], ["b"])}
    found = score(CELLS, GENES, sets, method="weighted_mean")
    np.testing.assert_allclose(found, [[-1 / 3, 2, 2 / 3], [0.5 / 3, 0.5, 2.5 / 3]], atol=1e-15)


def test_has_no_options(score):
    with pytest.raises(TypeError, match=r"weighted_mean has no option max_rank\. Known: none"):
        score(CELLS, GENES, {"s": (["a"], [])}, method="weighted_mean", max_rank=3)
