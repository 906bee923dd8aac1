"""Pure profiles without monocultures: clusters named by published markers."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore._samples._cells import passed_qc
from nkscore.errors import DesignError, NkscoreWarning
from nkscore.pp._cell_clusters import cell_clusters
from nkscore.pp._references import Lanes, Reference, identity_genes
from nkscore.scoring import RANK_AUC, gene_sets, run
from nkscore.stats import marker_genes

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Ints, Labels

_LOG = logging.getLogger("nkscore")

# Scores of a cluster's summed profile are compared with each other, not with a fixed scale: ranks
# of sums do not depend on depth or on the number of cells.
_PANELS = {
    "nk": "NK_EXCLUSIVE",
    "t": "T_CELL_MARKERS",
    "b": "B_CELL_MARKERS",
    "myeloid": "MYELOID_MARKERS",
    "plasma": "PLASMA_CELL_MARKERS",
    "erythroid": "ERYTHROID_MARKERS",
    "platelet": "PLATELET_MARKERS",
    "dendritic": "DENDRITIC_MARKERS",
    "plasmacytoid dendritic": "PLASMACYTOID_DENDRITIC_MARKERS",
    "progenitor": "PROGENITOR_MARKERS",
}
_LEAST_COVERAGE = 0.3
_NEEDED = ("nk", "t", "b", "myeloid")
#: With fewer genes of the NK panel, NK cells look like other cells.
_FEWEST_NK_GENES = 8
#: A cell with this many genes of the NK panel looks like an NK cell.
_GENES_OF_NK = 3
#: With fewer genes that T cells lack, these are not required of an NK cell.
_FEWEST_NK_ONLY = 2
#: Least share of the cells of NK clusters that look like NK cells.
_LEAST_TYPICAL = 0.25
#: Variation of ambient RNA between droplets.
_AMBIENT_VARIATION = 0.5
#: Highest confidence of cells that the evidence leaves open.
OPEN = 0.5
#: Clusters that no panel of another lineage names.
_UNNAMED = ("nk", "none", "failed")
_LEAST_NK_SCORE = 0.4
# NK cells can express CD3E, and cytotoxic T cells most NK genes; these two groups are exclusive.
_T_ONLY = ("CD3D", "CD3G", "TRAC", "CD5", "CD6", "CD28")
_NK_ONLY = ("FCER1G", "KLRF1", "SH2D1B", "NCR1")


def marker_references(
    adata: AnnData, counts: Counts, lanes: Lanes, *, min_cells: int
) -> list[Reference]:
    """Return one reference per group of cells, each with the cells to classify.

    Clusters in which the NK panel scores highest are NK clusters. Their cells are compared with T
    cells, which are the most similar; cells of other clusters are compared with NK cells.
    """
    n_usable = int(passed_qc(adata).sum())
    if n_usable < min_cells:
        msg = (
            f"{n_usable} of {adata.n_obs} cells passed QC; at least {min_cells} are "
            "needed to find NK cells by their markers. Relax the limits of pp.qc, or "
            "lower min_cells."
        )
        raise DesignError(msg)
    group = _groups(adata, counts)
    _LOG.info("NK clusters hold %d of %d cells", int((group == "nk").sum()), adata.n_obs)
    nk = group == "nk"
    known = adata.var_names.isin(signatures.get(_PANELS["nk"]).genes).sum() >= _FEWEST_NK_GENES
    t_only, nk_only = counts.totals(_members(adata, _T_ONLY, _NK_ONLY)).T
    # Clusters of cytotoxic T cells can rank the NK panel highest, too.
    typical = nk & _typical(adata, counts, t_only, nk_only)
    if nk.sum() < min_cells or typical.sum() < min(min_cells, _LEAST_TYPICAL * nk.sum()):
        return _without_nk(adata, group, known=known)
    pure_nk = nk & (t_only == 0)
    t_like = nk & (t_only >= 2) & (nk_only == 0)
    hardest = t_like if t_like.sum() >= min_cells else group == "t"
    others, folds = {}, {}
    for name in sorted(set(group)):
        other = {"nk": hardest, "failed": ~nk & (group != "failed")}.get(name, group == name)
        enough = other.sum() >= min_cells
        others[name] = other if enough else ~nk
        folds[name] = 3.0 if name == "nk" and enough else 8.0
    codes = [np.where(pure_nk, 0, np.where(other, 1, -1)) for other in others.values()]
    profiles = counts.each_group_sums([(code, 2) for code in codes])
    allowed = identity_genes(adata)
    # Cells were chosen by these genes, so their counts do not show ambient RNA.
    unselected = allowed & ~adata.var_names.isin([*_T_ONLY, *_NK_ONLY])
    references = []
    for (name, other), found in zip(others.items(), profiles, strict=True):
        *pure, ambient = lanes.separate(
            (found.sums[0], found.sums[1]), (pure_nk, other & ~pure_nk), unselected
        )
        markers = marker_genes(*pure, allowed=allowed, fold=folds[name])
        made = Reference(
            name,
            "other",
            cells=np.flatnonzero(group == name),
            pure=np.flatnonzero(other & ~pure_nk),
            nk=np.flatnonzero(pure_nk),
            markers=markers,
            ambient=ambient,
            known=False,
            limit=OPEN if name in _UNNAMED and not known else 1.0,
        )
        references += _by_compartment(adata, made)
    return references


def _groups(adata: AnnData, counts: Counts) -> Labels:
    """Return the lineage of each cell's cluster."""
    clusters = cell_clusters(adata, counts)
    lineage = _lineages(adata, counts, clusters)
    return np.array([lineage[c] for c in clusters], dtype=object)


def _typical(adata: AnnData, counts: Counts, t_only: Floats, nk_only: Floats) -> Bools:
    """Return cells that look like NK cells by themselves, more than like T cells."""
    like = _panel_genes(adata, counts)[0] >= _GENES_OF_NK * (1 + t_only)
    if adata.var_names.isin(_NK_ONLY).sum() >= _FEWEST_NK_ONLY:
        like &= nk_only > t_only
    return np.asarray(like)


def _panel_genes(adata: AnnData, counts: Counts) -> tuple[Floats, Floats]:
    """Return the number of genes of the NK panel in each cell, and their counts."""
    panel = np.flatnonzero(adata.var_names.isin(signatures.get(_PANELS["nk"]).genes))
    found = counts.columns(panel)
    return (
        np.asarray((found > 0).sum(axis=1), dtype=np.float64).ravel(),
        np.asarray(found.sum(axis=1), dtype=np.float64).ravel(),
    )


def nk_like(adata: AnnData, counts: Counts, references: list[Reference], *, rest: Bools) -> Bools:
    """Return cells of ``rest`` with genes of the NK panel that the others of their group lack.

    They are too few for a cluster of their own where another type is called. A cell needs three
    genes of the panel and more of them for each count of a T-cell gene, since NK cells receive some
    as ambient RNA; and more counts of the panel than a low quartile of its group explains. Where no
    NK profile could be compared with the cell, less is enough.
    """
    every = np.ones((adata.n_vars, 1), dtype=bool)
    sums = counts.totals(np.column_stack([_members(adata, _T_ONLY, _NK_ONLY), every]))
    t_only, nk_only, total = sums.T
    n_genes, in_panel = _panel_genes(adata, counts)
    strict = n_genes >= _GENES_OF_NK * (1 + t_only)
    lenient = (n_genes >= _GENES_OF_NK - 1) & (nk_only > 0) & (t_only == 0)
    lenient |= n_genes >= _GENES_OF_NK + t_only
    like = np.zeros(adata.n_obs, dtype=bool)
    for reference in references:
        rows = reference.cells[rest[reference.cells]]
        # Ambient RNA of a co-culture is in the model that compared its cells with NK cells.
        compared = reference.compartment == schema.TUMOR_CELLS and reference.nk.size > 0
        if rows.size and not compared:
            # Ambient RNA and cytotoxic T cells raise the panel in a whole group.
            share = np.quantile(in_panel[rows] / np.maximum(total[rows], 1), 0.25)
            expected = share * total[rows]
            spread = np.sqrt(expected + (_AMBIENT_VARIATION * expected) ** 2)
            enough = strict if reference.nk.size else lenient
            like[rows] = enough[rows] & (in_panel[rows] > expected + 3 * spread)
    return like


def _by_compartment(adata: AnnData, reference: Reference) -> list[Reference]:
    """Return one reference for each compartment with cells to classify."""
    parts = []
    for compartment, mask in _compartments_of(adata).items():
        rows = reference.cells[mask[reference.cells]]
        if rows.size:
            parts.append(replace(reference, compartment=compartment, cells=rows))
    return parts


def _compartments_of(adata: AnnData) -> dict[str, Bools]:
    """Return the class of cells that are not NK cells: tumor if their well has one."""
    if schema.CONDITION not in adata.obs:
        return {"other": np.ones(adata.n_obs, dtype=bool)}
    condition = adata.obs[schema.CONDITION].astype(object)
    tumor = condition.isin([schema.COCULTURE, schema.TUMOR_MONO]).to_numpy()
    return {schema.TUMOR_CELLS: tumor, "other": ~tumor}


def _without_nk(adata: AnnData, group: Labels, *, known: bool) -> list[Reference]:
    """Return references without markers; a few cells of an NK cluster stay open."""
    nothing = np.zeros(0, dtype=np.int64)
    empty = marker_genes(np.ones(1), np.ones(1), allowed=np.zeros(1, dtype=bool))
    references = []
    for name in sorted(set(group)):
        open_ = name == "nk" or (name in _UNNAMED and not known)
        made = Reference(
            f"no NK cells found: {name}",
            "other",
            cells=np.flatnonzero(group == name),
            pure=nothing,
            nk=nothing,
            markers=empty,
            ambient=0.0,
            known=False,
            limit=OPEN if open_ else 1.0,
        )
        for part in _by_compartment(adata, made):
            # No panel and no tumor in the well: these cells stay open.
            silent = part.compartment == "other" and name in _UNNAMED
            references.append(replace(part, limit=OPEN) if silent else part)
    return references


def _lineages(adata: AnnData, counts: Counts, clusters: Ints) -> dict[int, str]:
    """Name each cluster by the panel its summed profile ranks highest; -1 is named ``failed``."""
    panels = {short: signatures.get(name) for short, name in _PANELS.items()}
    # A panel of another lineage with few genes here does not compete; the NK panel must be there.
    sets = {
        short: found
        for short, found in panels.items()
        if short in _NEEDED
        or adata.var_names.isin(found.genes).sum() >= _LEAST_COVERAGE * len(found.genes)
    }
    with warnings.catch_warnings():
        # Panels can be longer than small gene sets; warn only about too few genes.
        warnings.simplefilter("ignore", NkscoreWarning)
        match = signatures.match(adata.var_names, sets, min_coverage=_LEAST_COVERAGE)
    index = gene_sets(
        [match.up[name] for name in sets],
        [match.down[name] for name in sets],
        n_genes=adata.n_vars,
        sizes=[(len(match.up[name]), len(match.down[name])) for name in sets],
    )
    n_clusters = int(clusters.max()) + 1
    profiles = counts.group_sums(clusters, n_clusters).sums
    scores = pd.DataFrame(
        run(RANK_AUC, profiles, index, max_rank=min(3000, adata.n_vars)), columns=list(sets)
    )
    best = scores.idxmax(axis=1)
    names = {-1: "failed"}
    for cluster in range(n_clusters):
        name = str(best[cluster])
        weak = scores[name].loc[cluster] < _LEAST_NK_SCORE
        names[cluster] = "none" if weak else name
    return names


def _members(adata: AnnData, *sets: tuple[str, ...]) -> Bools:
    """Return genes × sets: which gene is in which set."""
    return np.column_stack([adata.var_names.isin(genes) for genes in sets])
