"""Warnings of NK state calls: a vocabulary that does not fit, and cells that are too shallow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nkscore import signatures
from nkscore._warn import warn
from nkscore.errors import NkscoreError, NkscoreWarning
from nkscore.stats import MarkerCells, fit_present_states, marker_posterior
from nkscore.stats.markers._marker_presence import EVEN_EVIDENCE
from nkscore.tl._states._nk_fit import donor_codes, exposure, find_markers

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Ints
    from nkscore.signatures._vocabularies import VocabularyLike
    from nkscore.tl._states._nk_fit import StateFit

#: Number of cells on which other vocabularies are tried.
_MOST_CELLS = 3000
#: A cell is in a state of another vocabulary if its posterior is at least this.
_LEAST_CONFIDENCE = 0.55
#: Where fewer cells are called, the highest of plain scores names more cells correctly: in three
#: generators at 500 to 6,000 counts (docs/nk_states.md).
_LEAST_CALLED = 0.5
#: Cells of no state are certain of it in deep data; with more undecided ones, depth is the reason.
_MOST_UNDECIDED = 0.25


class Found(NamedTuple):
    """States that a vocabulary finds in the cells, and the share of cells in them."""

    vocabulary: str
    states: list[str]
    share: float


def advise(
    adata: AnnData,
    counts: Counts,
    cells: Ints,
    fit: StateFit,
    *,
    vocabulary: VocabularyLike,
    donor: str | None,
    called: float,
    no_state: float,
) -> None:
    """Warn if no state was found, and if most cells are left open.

    ``called`` is the share of cells with a state, ``no_state`` of those certainly in none.
    """
    states = fit.markers.states
    name = vocabulary if isinstance(vocabulary, str) else ", ".join(states)
    present, evidence = fit.model.present[: len(states)], fit.model.evidence[: len(states)]
    if not present.any():
        _warn_of_vocabulary(adata, counts, cells, vocabulary=name, donor=donor)
        return
    left = np.array(states, dtype=object)[~present & (evidence >= EVEN_EVIDENCE)]
    undecided = 1 - called - no_state
    if called < _LEAST_CALLED and (undecided >= _MOST_UNDECIDED or left.size):
        depth = float(np.median(exposure(adata, counts, cells)))
        listed = f" {', '.join(left)} can be neither shown nor ruled out." if left.size else ""
        warn(
            f"The data are too shallow for vocabulary {name!r}: {called:.0%} of "
            f"{cells.size:,} NK cells have a certain state and {no_state:.0%} certainly none, at a "
            f"median of {depth:,.0f} counts without mitochondrial and ribosomal genes.{listed} "
            "The other cells are 'unassigned', not in another state. Use fewer states or more "
            "markers of each, compare means of obsm['nk_state_posterior'] between samples, or "
            "sequence deeper."
        )


def _warn_of_vocabulary(
    adata: AnnData,
    counts: Counts,
    cells: Ints,
    *,
    vocabulary: str,
    donor: str | None,
) -> None:
    """Warn that no state of the vocabulary was found, and say which packaged one finds some."""
    found = _others(adata, counts, cells, vocabulary=vocabulary, donor=donor)
    depth = float(np.median(exposure(adata, counts, cells)))
    listed = "; ".join(
        f"{f.vocabulary!r} finds {', '.join(f.states)} ({f.share:.0%} of cells)" for f in found[:3]
    )
    remedy = "None of the other packaged vocabularies finds one, either."
    if found:
        remedy = (
            f"Of the packaged vocabularies, {listed}. For example: "
            f"tl.nk_states(adata, vocabulary={found[0].vocabulary!r})."
        )
    warn(
        f"No state of vocabulary {vocabulary!r} was found in {cells.size:,} NK cells: all are "
        f"'unassigned'. {remedy} If this vocabulary should fit, the cells are too few, too shallow "
        f"(a median of {depth:,.0f} counts without mitochondrial and ribosomal genes), or all in "
        "one state: sequence deeper, or call the cells of all arms together. "
        "uns['nkscore']['tl.nk_states']['evidence'] has the evidence for each state."
    )


def _others(
    adata: AnnData, counts: Counts, cells: Ints, *, vocabulary: str, donor: str | None
) -> list[Found]:
    """Try the packaged vocabularies on some cells; the one with most cells in states is first."""
    rows = cells[:: -(-cells.size // _MOST_CELLS)]
    depth = exposure(adata, counts, rows)
    _, codes = donor_codes(adata, rows, donor)
    names = [n for n in signatures.vocabularies()["vocabulary"].unique() if n != vocabulary]
    found = []
    for name in names:
        try:
            with warnings.catch_warnings():
                # The user did not ask for this vocabulary: its absent genes do not matter.
                warnings.simplefilter("ignore", NkscoreWarning)
                markers = find_markers(adata, name)
        except NkscoreError:
            continue
        part = MarkerCells.of(counts.columns(markers.genes, rows), depth, codes)
        model = fit_present_states(part, markers.marks)
        inside = model.present[: len(markers.states)]
        if inside.any():
            best = marker_posterior(model, part)[:, np.flatnonzero(inside)].max(axis=1)
            share = (best >= _LEAST_CONFIDENCE).mean()
            states = [s for s, there in zip(markers.states, inside, strict=True) if there]
            found.append(Found(name, states, float(share)))
    return sorted(found, key=lambda f: -f.share)
