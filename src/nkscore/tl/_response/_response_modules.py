"""Groups of genes with similar responses across lines, named by enriched gene sets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import signatures
from nkscore._checks import check_shares, check_whole
from nkscore.errors import DesignError
from nkscore.stats import benjamini_hochberg
from nkscore.tl._response._response_table import response_matrices

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints
    from nkscore.signatures._convert import SignaturesLike
    from nkscore.tl._response._response_table import ResponseTable

_LOG = logging.getLogger("nkscore")


_COLUMNS = [
    "gene",
    "module",
    "label",
    "label_p",
    "label_q",
    "label_overlap",
    "n_genes",
    "variance",
    "mean_log2_fc",
    "n_lines",
]


def response_modules(
    responses: pd.DataFrame,
    *,
    n_top: int = 200,
    k: int = 8,
    gene_sets: SignaturesLike = "hallmark",
    q_threshold: float = 0.05,
    raised_only: bool = True,
    label_q: float = 0.05,
) -> pd.DataFrame:
    """Group the genes whose response varies most between lines.

    Ward's clustering of the responding genes with the largest variance, cut into ``k`` modules,
    each named by a significantly overlapping gene set.

    Parameters
    ----------
    responses
        One row per line × gene, with columns ``tumor``, ``gene``, ``log2_fc`` and ``q_value_line``
        (or ``q_value``).
    n_top
        Number of genes, at least two, with the largest variance of ``log2_fc`` over lines.
    k
        Number of modules, at most one per gene.
    gene_sets
        Sets that name modules; any form of :func:`nkscore.signatures.as_signatures`.
    q_threshold
        A gene must have a smaller q in at least one line.
    raised_only
        Whether it must be upregulated in that line.
    label_q
        A module is named by its best set if that has a smaller q (Benjamini-Hochberg over all
        modules and sets); otherwise its label is ``"unnamed"``.

    Returns
    -------
    One row per gene, in the order of the dendrogram's leaves, with columns ``gene``, ``module`` (1
    … in that order), ``label`` (set, or ``unnamed``), ``label_p`` (Fisher's exact test, one-sided,
    against all genes of the table), ``label_q``, ``label_overlap`` (genes of the module in the
    set), ``n_genes`` (in the module), ``variance`` (of log2_fc over lines), ``mean_log2_fc`` and
    ``n_lines`` (in which it was tested). Two modules can carry the same label.

    Raises
    ------
    DesignError
        If there are no rows or only one line, or fewer than two genes respond.
    MissingKeyError
        If a column or the gene sets are absent.
    WrongScaleError
        If a numeric column contains text.
    ValueError
        If a number is out of range.

    Notes
    -----
    The method of Dufva et al. 2023, doi 10.1016/j.immuni.2023.11.008 (200 genes, ``ward.D2`` on
    Euclidean distances, eight modules, untested genes counted as unchanged), who named modules by
    hand.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=60, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> modules = nk.tl.response_modules(nk.tl.interaction_response(adata, "tumor"), n_top=60, k=4)
    >>> sorted(modules["module"].unique().tolist())
    [1, 2, 3, 4]
    """
    check_whole(2, n_top=n_top)
    check_whole(1, k=k)
    check_shares(q_threshold=q_threshold, label_q=label_q)
    table = response_matrices(responses, ["log2_fc", "q_value_line"])
    if len(table.lines) < 2:
        msg = (
            f"The table holds only one line ({table.lines[0]}); modules are genes with "
            "similar variation between lines. Add the responses of other lines."
        )
        raise DesignError(msg)
    measured = table.matrices["log2_fc"]
    known = np.isfinite(measured)
    # As in the published method, a gene that was not tested in a line counts as unchanged.
    effect = np.where(known, measured, 0.0)
    chosen = _variable_genes(table, effect, n_top, q_threshold, raised_only=raised_only)
    module, leaves = _ward(effect[chosen], min(k, len(chosen)))
    if len(chosen) < k:
        _LOG.warning("%d responding genes make %d modules at most", len(chosen), len(chosen))
    result = pd.DataFrame(
        {
            "gene": np.array(table.genes, dtype=object)[chosen],
            "module": module,
            "variance": effect[chosen].var(axis=1, ddof=1),
            "mean_log2_fc": effect[chosen].sum(axis=1) / known[chosen].sum(axis=1),
            "n_lines": known[chosen].sum(axis=1),
        }
    ).iloc[leaves]
    names = _labels(result, set(table.genes), gene_sets, label_q)
    result = result.merge(names, on="module", how="left")
    return result[_COLUMNS].reset_index(drop=True)


def _variable_genes(
    table: ResponseTable, effect: Floats, n_top: int, q_threshold: float, *, raised_only: bool
) -> Ints:
    tested = np.isfinite(table.matrices["log2_fc"])
    called = (table.matrices["q_value_line"] < q_threshold) & tested
    if raised_only:
        called = called & (effect > 0)
    responding = np.flatnonzero(called.any(axis=1))
    if responding.size < 2:
        msg = (
            f"{responding.size} gene(s) respond with q < {q_threshold:g} in any line; two "
            "are needed to form modules. Raise q_threshold, or use more cells."
        )
        raise DesignError(msg)
    variance = effect[responding].var(axis=1, ddof=1)
    # Sorted by gene first, so that ties do not depend on the order of rows.
    top = np.argsort(-variance, kind="stable")[:n_top]
    return np.sort(responding[top])


def _ward(effect: Floats, k: int) -> tuple[Ints, Ints]:
    """Return the module of each row, numbered along the dendrogram, and the leaves' order."""
    from scipy.cluster import hierarchy

    tree = hierarchy.linkage(effect, method="ward")
    leaves = hierarchy.leaves_list(tree)
    cut = hierarchy.cut_tree(tree, n_clusters=[k]).ravel()
    first = list(dict.fromkeys(cut[leaves]))
    return np.array([first.index(c) + 1 for c in cut]), leaves.astype(np.int64)


def _labels(
    result: pd.DataFrame, universe: set[str], gene_sets: SignaturesLike, label_q: float
) -> pd.DataFrame:
    sets = {
        name: set(signature.up) & universe
        for name, signature in signatures.as_signatures(gene_sets).items()
    }
    rows = []
    for number, part in result.groupby("module"):
        genes = set(part["gene"])
        for name, members in sets.items():
            overlap = len(genes & members)
            p = scipy_stats.hypergeom.sf(overlap - 1, len(universe), len(members), len(genes))
            rows.append((number, name, float(p), overlap, len(genes)))
    columns = ["module", "label", "label_p", "label_overlap", "n_genes"]
    tests = pd.DataFrame(rows, columns=columns)
    tests["label_q"] = benjamini_hochberg(np.clip(tests["label_p"], 0, 1))
    best = tests.sort_values(["module", "label_p", "label"]).drop_duplicates("module")
    return best.assign(label=best["label"].where(best["label_q"] < label_q, "unnamed"))
