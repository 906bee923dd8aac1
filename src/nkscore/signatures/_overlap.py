"""Overlap of signatures."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from nkscore.signatures._convert import as_signatures

if TYPE_CHECKING:
    from nkscore.signatures._convert import SignaturesLike


def overlap(signatures: SignaturesLike) -> pd.DataFrame:
    """Count the genes that each pair of signatures shares, regardless of direction.

    Parameters
    ----------
    signatures
        As in :func:`as_signatures`.

    Returns
    -------
    DataFrame with one row per pair, most similar first: ``signature_a``, ``signature_b``, ``n_a``,
    ``n_b``, ``n_shared``, ``n_opposite`` (shared, but with opposite direction), ``jaccard`` (shared
    / either), ``overlap_coefficient`` (shared / smaller set), ``shared`` (genes in the order of the
    first set).

    Examples
    --------
    >>> from nkscore.signatures import overlap
    >>> row = overlap({"a": ["GNLY", "PRF1", "NKG7"], "b": ["PRF1-", "XCL1"]}).iloc[0]
    >>> int(row["n_shared"]), int(row["n_opposite"]), float(row["jaccard"])
    (1, 1, 0.25)
    """
    weights = {name: signature.weights for name, signature in as_signatures(signatures).items()}
    rows = []
    for (name_a, a), (name_b, b) in combinations(weights.items(), 2):
        shared = [gene for gene in a if gene in b]
        rows.append(
            {
                "signature_a": name_a,
                "signature_b": name_b,
                "n_a": len(a),
                "n_b": len(b),
                "n_shared": len(shared),
                "n_opposite": sum(a[gene] != b[gene] for gene in shared),
                "jaccard": len(shared) / (len(a) + len(b) - len(shared)),
                "overlap_coefficient": len(shared) / min(len(a), len(b)),
                "shared": ", ".join(shared),
            }
        )
    columns = [
        "signature_a",
        "signature_b",
        "n_a",
        "n_b",
        "n_shared",
        "n_opposite",
        "jaccard",
        "overlap_coefficient",
        "shared",
    ]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("jaccard", ascending=False, kind="stable", ignore_index=True)
