"""Evidence of genes beyond the markers for the state of each cell."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore.stats.markers._companion_genes import (
    companion_evidence,
    companion_weight,
    learn_companions,
)

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Floats, Ints

#: Number of cells for finding genes; more would only find weaker ones.
_MOST_CELLS = 10_000
_LOG = logging.getLogger("nkscore")


@dataclass(frozen=True)
class OtherGenes:
    """Genes that follow the states: columns of the data, folds of each class, evidence.

    ``log_fold`` (classes × genes) is relative to no state; ``rate`` is donors × genes. ``evidence``
    is cells × classes; classes are the states that are present, and none.
    """

    genes: Ints
    log_fold: Floats
    rate: Floats
    dispersion: Floats
    weight: float
    evidence: Floats


def other_genes(
    counts: Counts,
    cells: Ints,
    candidates: Ints,
    *,
    posterior: Floats,
    depth: Floats,
    donor: Ints,
    sample: Ints,
) -> OtherGenes | None:
    """Find candidate genes that follow the posterior, and their evidence for each cell."""
    ranked = np.argsort(depth, kind="stable")
    rows = np.sort(ranked[:: -(-ranked.size // _MOST_CELLS)])
    found = learn_companions(
        counts.columns(candidates, cells[rows]),
        depth[rows],
        sample[rows],
        posterior=posterior[rows],
        n_groups=int(sample.max()) + 1,
    )
    if found is None:
        return None
    genes = candidates[found.genes]

    def take(rows: Ints) -> sparse.csr_matrix:
        return counts.columns(genes, cells[rows])

    evidence = companion_evidence(found, take, depth, sample)
    weight = companion_weight(evidence, posterior, donor)
    _LOG.info("%d other genes follow the NK states; weight %.2f", genes.size, weight)
    if not weight:
        return None
    log_fold = found.log_fold.mean(axis=0)
    folds = np.exp(log_fold)
    member = sparse.csc_matrix((np.ones(depth.size), (donor, np.arange(depth.size))))
    codes = np.full(counts.shape[0], -1)
    codes[cells] = donor
    total = counts.group_sums(codes, member.shape[0]).sums[:, genes]
    expected = member @ (depth[:, None] * posterior)
    rate = (total + 0.5) / np.maximum(expected @ folds, 1e-12) * folds[-1]
    return OtherGenes(
        genes,
        log_fold - log_fold[-1],
        rate,
        found.dispersion.mean(axis=0),
        weight,
        weight * evidence,
    )


def samples_of(adata: AnnData, cells: Ints, donor: Ints) -> Ints:
    """Return the number of each cell's sample: well differences are not evidence of a state."""
    if schema.SAMPLE not in adata.obs:
        return donor
    sample = pd.factorize(adata.obs[schema.SAMPLE].iloc[cells].astype(str), sort=True)[0]
    together = sample.astype(np.int64) * (int(donor.max()) + 1) + donor
    return np.unique(together, return_inverse=True)[1].astype(np.int64)
