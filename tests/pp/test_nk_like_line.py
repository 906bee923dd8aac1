"""A tumor line that looks like NK and T cells, as NK-cell lymphomas and some T-ALL do."""

from __future__ import annotations

import numpy as np
import pytest

import nkscore as nk

# Cytotoxic and receptor genes of NK cells, and a CD3 gene.
BORROWED = (
    "NKG7",
    "GNLY",
    "PRF1",
    "GZMB",
    "GZMA",
    "KLRD1",
    "CTSW",
    "CST7",
    "CCL5",
    "CD247",
    "FCER1G",
    "TYROBP",
    "CD3E",
)


@pytest.mark.parametrize("evidence", ["monocultures", "markers"])
def test_a_line_with_nk_genes_is_no_nk_cell(evidence):
    adata = nk.datasets.simulate_coculture(
        tumors=("697", "K562"), n_donors=2, n_cells_per_sample=120, rng=2
    )
    truth = adata.obs["truth_compartment"].astype(str)
    line = np.flatnonzero((truth == "tumor") & (adata.obs["truth_tumor"] == "K562"))
    givers = np.random.default_rng(0).choice(np.flatnonzero(truth == "nk"), line.size)
    columns = adata.var_names.get_indexer(BORROWED)
    assert (columns >= 0).all()
    counts = adata.layers["counts"].tolil()
    borrowed = adata.layers["counts"][givers][:, columns].toarray()
    counts[np.ix_(line, columns)] = counts[np.ix_(line, columns)].toarray() + borrowed
    adata.layers["counts"] = counts.tocsr()
    nk.datasets.use_truth(adata)

    nk.pp.compartments(adata, evidence=evidence)

    known = adata.obs["qc_pass"] & adata.obs["sample"].notna()
    called = adata.obs["compartment"].astype(str)
    own = known & (truth == "tumor") & (adata.obs["truth_tumor"] == "K562")
    assert own.sum() > 150
    assert (called[own] == "nk").sum() == 0
    assert (called[own] == "tumor").mean() > 0.95
    assert (called[known & (truth == "nk")] == "nk").mean() > 0.97
