"""NK cell, tumor cell, both in one droplet, or unassigned."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from nkscore import schema
from nkscore._checks import check_part
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import labels
from nkscore.pp._marker_references import OPEN, marker_references, nk_like
from nkscore.pp._marks import note_marks
from nkscore.pp._pairs import find_pairs
from nkscore.pp._references import Lanes, Reference, monoculture_references
from nkscore.stats import MarkerCounts, class_posterior, fit_concentration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Labels

_LOG = logging.getLogger("nkscore")

# Order of the three classes in a posterior: the reference's cells, NK cells, both.
_PRIOR = {
    schema.TUMOR_MONO: (0.985, 0.005, 0.01),
    schema.NK_MONO: (0.005, 0.985, 0.01),
    "open": (0.475, 0.475, 0.05),
}

_NOT_NK = ("other", schema.TUMOR_CELLS)
# Assumed error rate of genotype calls; expression can thus overrule them.
_GENOTYPE_ERROR = 0.02


def compartments(
    adata: AnnData,
    *,
    evidence: str = "auto",
    genotype: str | None = None,
    min_confidence: float = 0.7,
    min_cells: int = 20,
) -> None:
    """Call each cell ``nk``, ``tumor``, ``other``, ``mixed`` or ``unassigned``.

    With monocultures in the data, the NK profile comes from ``nk_mono`` and each line's profile
    from its ``tumor_mono`` samples; the genes that differ most between the two show which share of
    a cell's RNA comes from NK cells. A line that expresses NK or T-cell genes is therefore called
    correctly. Without monocultures, clusters whose summed profile ranks NK genes high and T, B and
    myeloid genes low give the NK profile; all other cells are ``tumor`` if their sample has a tumor
    (conditions ``coculture`` and ``tumor_mono``), otherwise ``other``.

    Reads ``layers["counts"]`` and, where present, ``obs["condition"]``, ``obs["tumor"]``,
    ``obs["sample"]`` and ``obs["qc_pass"]``.

    Parameters
    ----------
    adata
        Cells × genes.
    evidence
        ``"monocultures"``, ``"markers"``, or ``"auto"``: monocultures if both types exist.
    genotype
        Column of ``obs`` with the donor that demuxlet, souporcell or vireo found in each cell. A
        name equal to the cell's ``nk_donor`` supports an NK cell, one equal to its ``tumor`` a
        tumor cell, ``doublet`` (or ``DBL``) both; any other value carries no information.
    min_confidence
        Cells with a lower probability are ``unassigned``.
    min_cells
        Minimum number of cells to estimate a profile.

    Returns
    -------
    None
        Writes ``obs["compartment"]`` (categorical), ``obs["compartment_confidence"]`` (float64,
        probability of the call, 0 if a cell has no sample for comparison), ``obs["nk_rna_share"]``
        (float64, expected share of the cell's RNA from NK cells, NaN if unknown), ``obs["pair"]``
        (categorical; NK–tumor pairs are ``own`` if their tag is of the well of their line,
        ``chance`` if they have two tags or that of another line, ``unknown`` if no tag can say;
        other cells are missing), ``obs["pair_tumor"]`` (line of a pair by its RNA) and
        ``uns["nkscore"]["pp.compartments"]`` with the evidence and the cells per reference; adds
        the cells that are neither to ``uns["nkscore"]["ledger"]``.

    Raises
    ------
    DesignError
        If ``evidence="monocultures"`` and one type of monoculture is absent, or fewer than
        ``min_cells`` cells passed QC.
    WrongScaleError
        If ``layers["counts"]`` is not counts.
    GeneCoverageError
        If the marker genes of NK cells are not in the data (``evidence="markers"``).
    ValueError
        If ``evidence`` is unknown, or ``min_confidence`` is not from 0 to below 1.

    Notes
    -----
    NK-tumor conjugates and doublets are ``mixed``, never dropped; in hashed lanes, droplets with
    two tags are compared with all lines of the lane (see :func:`nkscore.tl.contacts`). A cell whose
    hashtags did not
    identify a sample is ``unassigned`` if its line is needed. A cell that cannot be in its well is
    ``unassigned``, too: a tumor cell in an NK monoculture or the reverse (a wrong hashtag call).
    Without monocultures, cells that no panel names are ``unassigned`` if fewer than 8 of the 13
    genes of ``NK_EXCLUSIVE`` are measured, and so are NK clusters of fewer than ``min_cells`` cells
    or with few cells that look like NK cells by themselves, and cells of any cluster that have
    genes of NK cells which the cells around them lack.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> nk.pp.compartments(adata)
    >>> list(adata.obs["compartment"].cat.categories)
    ['nk', 'tumor', 'other', 'mixed', 'unassigned']
    """
    counts = counts_of(adata)
    schema.check_samples(adata)
    if evidence not in {"auto", "monocultures", "markers"}:
        msg = f"Unknown evidence {evidence!r}. Known: auto, monocultures, markers."
        raise ValueError(msg)
    check_part("min_confidence", min_confidence)
    lanes = Lanes.of(adata, counts)
    source, references = _references(adata, counts, lanes, evidence, min_cells=min_cells)
    call = np.full(adata.n_obs, schema.UNASSIGNED, dtype=object)
    confidence, nk_share = np.zeros(adata.n_obs), np.full(adata.n_obs, np.nan)
    condition = _condition(adata)
    genotypes = _genotypes(adata, genotype)
    for reference, made in _posteriors(counts, references, lanes, condition):
        posterior = made * genotypes[reference.cells]
        posterior /= posterior.sum(axis=1, keepdims=True)
        rows, best = reference.cells, posterior.argmax(axis=1)
        call[rows] = np.array([reference.compartment, schema.NK, "mixed"], dtype=object)[best]
        confidence[rows] = np.minimum(posterior[np.arange(rows.size), best], reference.limit)
        nk_share[rows] = posterior @ (0.0, 1.0, 0.5)
    if source == "markers":
        rest = np.isin(call, _NOT_NK) & (condition[:, 0] != schema.TUMOR_MONO)
        confidence[nk_like(adata, counts, references, rest=rest)] = OPEN
    conflict = _conflict(condition[:, 0], call)
    call[conflict | (confidence < min_confidence)] = schema.UNASSIGNED
    pairs = find_pairs(adata, counts, call)
    pairs.settle(call, confidence, nk_share)
    _write(adata, call, confidence, nk_share)
    pairs.write(adata)
    schema.record(
        adata,
        "pp.compartments",
        function="pp.compartments",
        options={
            "evidence": source,
            "genotype": genotype,
            "min_confidence": min_confidence,
            "min_cells": min_cells,
        },
        cells_per_reference={r.name: int(r.cells.size) for r in references},
        conflicts={str(k): int(n) for k, n in _per_sample(condition[conflict, 1]).items()},
        pair_genes=list(adata.var_names[pairs.genes].astype(str)),
    )
    _log(adata)


def _write(adata: AnnData, call: Labels, confidence: Floats, nk_share: Floats) -> None:
    adata.obs[schema.COMPARTMENT] = schema.categorical(call, schema.COMPARTMENTS)
    adata.obs[schema.COMPARTMENT_CONFIDENCE] = confidence
    adata.obs[schema.NK_RNA_SHARE] = nk_share


def _log(adata: AnnData) -> None:
    note_marks(adata)
    n_cells = adata.obs[schema.COMPARTMENT].value_counts()
    _LOG.info("Compartments: %s", ", ".join(f"{n} {name}" for name, n in n_cells.items() if n))


def _references(
    adata: AnnData, counts: Counts, lanes: Lanes, evidence: str, *, min_cells: int
) -> tuple[str, list[Reference]]:
    """Return the evidence used and its references."""
    references = None
    if evidence != "markers":
        references = monoculture_references(
            adata, counts, lanes, min_cells=min_cells, required=evidence == "monocultures"
        )
    source = "monocultures" if references is not None else "markers"
    if references is None:
        references = marker_references(adata, counts, lanes, min_cells=min_cells)
    _LOG.info("Compartments from %s: %d references", source, len(references))
    return source, references


def _conflict(condition: Labels, call: Labels) -> Bools:
    """Return which cells cannot be in their well."""
    tumor_with_nk: Bools = (condition == schema.NK_MONO) & (call == schema.TUMOR_CELLS)
    nk_with_tumor: Bools = (condition == schema.TUMOR_MONO) & (call == schema.NK)
    return tumor_with_nk | nk_with_tumor


def _genotypes(adata: AnnData, column: str | None) -> Floats:
    """Return the likelihood of each cell's genotype call if it is tumor, NK or both."""
    weights = np.ones((adata.n_obs, 3))
    if column is None:
        return weights
    schema.require(adata, "obs", [column], "your genotype caller")
    schema.require(adata, "obs", [schema.NK_DONOR, schema.TUMOR], "pp.demultiplex")
    called = labels(adata.obs, column)
    known = np.array([name is not None for name in called])
    found = {
        0: known & (called == labels(adata.obs, schema.TUMOR)),
        1: known & (called == labels(adata.obs, schema.NK_DONOR)),
        2: np.isin([str(c).lower() for c in called], ["doublet", "dbl"]),
    }
    for kind, cells in found.items():
        weights[cells] = _GENOTYPE_ERROR
        weights[cells, kind] = 1.0
    return weights


def _per_sample(samples: Labels) -> dict[str, int]:
    names, counts = np.unique(samples.astype(str), return_counts=True)
    return dict(zip(names, counts, strict=True))


def _condition(adata: AnnData) -> Labels:
    """Return condition and sample of each cell: the groups in which class shares are fitted."""
    if schema.CONDITION not in adata.obs:
        return np.full((adata.n_obs, 2), "open", dtype=object)
    condition = adata.obs[schema.CONDITION].astype(object).to_numpy()
    condition = np.array([c if c in _PRIOR else "open" for c in condition], dtype=object)
    sample = condition
    if schema.SAMPLE in adata.obs:
        # Missing samples form one group; pandas 3 would keep them as NaN, which is equal to
        # nothing.
        names = adata.obs[schema.SAMPLE].astype(object)
        sample = names.where(names.notna(), "").astype(str).to_numpy(dtype=object)
    return np.column_stack([condition, sample])


def _marker_sums(counts: Counts, references: list[Reference]) -> list[Floats]:
    """Return cells × 2 for each reference: the sums over the markers of either source.

    The rows are its cells to classify, its pure cells and its NK cells, one after the other.
    """
    asked = []
    for reference in references:
        member = np.zeros((counts.shape[1], 2))
        member[reference.markers.genes_a, 0] = 1
        member[reference.markers.genes_b, 1] = 1
        rows = np.concatenate([reference.cells, reference.pure, reference.nk])
        asked.append((member, rows))
    return counts.each_totals(asked)


def _posteriors(
    counts: Counts, references: list[Reference], lanes: Lanes, condition: Labels
) -> Iterator[tuple[Reference, Floats]]:
    """Yield each reference with the posterior of its cells: its own, NK cells, both."""
    for reference, sums in zip(references, _marker_sums(counts, references), strict=True):
        own, pure, nk = np.split(sums, np.cumsum([reference.cells.size, reference.pure.size]))
        # NK clusters can hold doublets, which would pass for a spread of NK cells.
        alike = nk if reference.known else nk[:0]
        spread = fit_concentration(*pure.T), fit_concentration(*alike.T)
        posterior = np.zeros((len(own), 3))
        lane_of = lanes.code[reference.cells]
        for lane in np.unique(lane_of):
            here = np.flatnonzero(lane_of == lane)
            # NK cells alone in this lane show how far its ambient RNA moves NK cells.
            anchors = reference.known & (lanes.code[reference.nk] == lane)
            cells = np.concatenate([reference.cells[here], reference.nk[anchors]])
            found = np.concatenate([own[here], nk[anchors]])
            part = _part(found, condition[cells], reference, lanes.soup[lane], spread)
            posterior[here] = class_posterior(part)[0][: here.size]
        yield reference, posterior


def _part(
    sums: Floats,
    condition: Labels,
    reference: Reference,
    soup: Floats,
    concentration: tuple[float, float],
) -> MarkerCounts:
    """Return the cells of a reference in one lane, with the prior of their wells."""
    markers = reference.markers
    unknown = markers.genes_a.size + markers.genes_b.size == 0
    # No NK cells were found: without this, each call would be random.
    open_prior = _PRIOR[schema.TUMOR_MONO if unknown else "open"]
    kinds = condition[:, 0]
    prior = np.array([open_prior if k == "open" else _PRIOR[k] for k in kinds])
    fitted = kinds == "open"
    sample = np.full(kinds.size, -1, dtype=np.int64)
    sample[fitted] = np.unique(condition[fitted, 1].astype(str), return_inverse=True)[1]
    return MarkerCounts(
        sums[:, 0],
        sums[:, 1],
        markers,
        (float(soup[markers.genes_a].sum()), float(soup[markers.genes_b].sum())),
        reference.ambient,
        concentration,
        prior,
        sample,
    )
