"""Samples from genetic donors, with or without hashtags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._donors import marks_of
from nkscore._warn import warn
from nkscore.errors import SampleSheetError

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Array, Bools, Floats, Ints

#: What named the sample of a cell, or why it has none.
EVIDENCE: Final = (
    *("whole_lane", "hashtag", "genotype", "both", "conflict"),
    *("doublet_hashtag", "doublet_genotype", "doublet_both", "none"),
)
_DOUBLET: Final = "doublet"
#: A lane with a larger share of contradictions among cells with both calls is warned of.
_MOST_CONFLICTS: Final = 0.05
_FEW: Final = 50


@dataclass(slots=True)
class Settled:
    """Calls of all cells; changed in place by :func:`settle`."""

    #: Row of the sheet; -1 where there is no sample.
    row: Ints
    kind: Array
    hashtag: Array
    confidence: Floats
    evidence: Array


def has_genotypes(adata: AnnData) -> bool:
    """Whether the lanes were read with calls of donors."""
    return schema.GENOTYPE_CLASS in adata.obs


def settle(
    adata: AnnData, sheet: pd.DataFrame, lanes: Array, calls: Settled, min_confidence: float
) -> pd.DataFrame | None:
    """Join the calls of hashtags with those of genotypes; return the cells per lane and evidence.

    None, and nothing is changed, if no lane was read with calls of donors.
    """
    if not has_genotypes(adata):
        return None
    donor = adata.obs[schema.GENOTYPE].astype(object).to_numpy()
    kind = adata.obs[schema.GENOTYPE_CLASS].astype(object).to_numpy()
    confidence = adata.obs[schema.GENOTYPE_CONFIDENCE].to_numpy(dtype=np.float64)
    # A program without probabilities has made its own cut.
    kind = np.where(confidence < min_confidence, schema.UNASSIGNED, kind)
    for lane in sorted(set(sheet[schema.LANE])):
        cells = np.flatnonzero(lanes == lane)
        if pd.notna(adata.obs[schema.GENOTYPE_CLASS].iloc[cells]).any():
            genotypes = _Genotypes(donor[cells], kind[cells], confidence[cells])
            _settle_lane(calls, sheet, lane, cells, genotypes)
    counts = pd.crosstab(pd.Series(lanes, name=schema.LANE), calls.evidence)
    table = counts.reindex(columns=list(EVIDENCE), fill_value=0).astype(np.int64).reset_index()
    table.columns.name = None
    return table.set_index(table.index.astype(str))


@dataclass(frozen=True, slots=True)
class _Genotypes:
    donor: Array
    kind: Array
    confidence: Floats


@dataclass(frozen=True, slots=True)
class _Owners:
    """Of each cell: the row of the only sample with its donor, and what the sheet says of it."""

    row: Ints
    known: Bools
    agrees: Bools


def _settle_lane(
    calls: Settled, sheet: pd.DataFrame, lane: str, cells: Ints, genotypes: _Genotypes
) -> None:
    places = np.flatnonzero((sheet[schema.LANE] == lane).to_numpy())
    rows = sheet.iloc[places]
    hashed = bool((rows[schema.HASHTAG] != "").any())
    held = sorted({str(name) for name in genotypes.donor[pd.notna(genotypes.donor)]})
    marks = {donor: [int(places[i]) for i in at] for donor, at in marks_of(rows, held).items()}
    if not hashed and len(rows) > 1:
        _check_separable(rows, marks, places, lane, held)
    _warn_of_unknown(genotypes, marks, lane)
    owners = _owners(calls.row[cells], genotypes, marks)
    tagged = calls.row[cells] >= 0
    doublet = calls.kind[cells] == _DOUBLET, genotypes.kind == _DOUBLET
    alone = "hashtag" if hashed else "whole_lane"
    rules = [
        (doublet[0] & doublet[1], "doublet_both", _DOUBLET),
        (doublet[0], "doublet_hashtag", _DOUBLET),
        (doublet[1], "doublet_genotype", _DOUBLET),
        (tagged & owners.known & owners.agrees, "both" if hashed else "whole_lane", schema.SINGLET),
        (tagged & owners.known & (len(rows) > 1), "conflict", "negative"),
        (tagged, alone, schema.SINGLET),
        (owners.row >= 0, "genotype", schema.SINGLET),
    ]
    which = [rule[0] for rule in rules]
    evidence = np.select(which, [rule[1] for rule in rules], "none").astype(object)
    kind = np.select(which, [rule[2] for rule in rules], "negative").astype(object)
    _store(calls, cells, evidence, kind, owners, genotypes)
    _warn_of_conflicts(evidence, lane)


def _store(  # noqa: PLR0917
    calls: Settled,
    cells: Ints,
    evidence: Array,
    kind: Array,
    owners: _Owners,
    genotypes: _Genotypes,
) -> None:
    by_genotype = np.isin(evidence, ["genotype", "doublet_genotype"])
    row = np.where(evidence == "genotype", owners.row, calls.row[cells])
    calls.row[cells] = np.where(kind == schema.SINGLET, row, -1)
    confidence = np.where(by_genotype, genotypes.confidence, calls.confidence[cells])
    calls.confidence[cells] = np.where(evidence == "conflict", np.nan, confidence)
    calls.hashtag[cells] = np.where(kind == schema.SINGLET, calls.hashtag[cells], "")
    calls.kind[cells], calls.evidence[cells] = kind, evidence


def _owners(tag_row: Ints, genotypes: _Genotypes, marks: dict[str, list[int]]) -> _Owners:
    single = genotypes.kind == schema.SINGLET
    row = np.full(len(tag_row), -1, dtype=np.int64)
    known, agrees = np.zeros(len(tag_row), dtype=bool), np.zeros(len(tag_row), dtype=bool)
    for donor, places in marks.items():
        here = single & (genotypes.donor == donor)
        known |= here
        agrees |= here & np.isin(tag_row, places)
        if len(places) == 1:
            row[here] = places[0]
    return _Owners(row, known, agrees)


def _check_separable(
    rows: pd.DataFrame, marks: dict[str, list[int]], places: Ints, lane: str, held: list[str]
) -> None:
    """Refuse a lane without hashtags in which a sample shares all of its donors."""
    own = {at[0] for at in marks.values() if len(at) == 1}
    names = dict(zip(places.tolist(), rows[schema.SAMPLE], strict=True))
    without = [name for place, name in names.items() if place not in own]
    shared = [
        f"{donor} is in {' and '.join(names[i] for i in at)}"
        for donor, at in marks.items()
        if len(at) > 1
    ]
    if without or shared:
        why = f" ({'; '.join(shared)})" if shared else ""
        msg = (
            f"Lane {lane!r} has no hashtags, and its donors ({', '.join(held[:12]) or 'none'}) "
            f"do not separate its samples{why}. Without a donor that is in no other: "
            f"{', '.join(without) or 'none'}. Name the donors of each sample in the column "
            "'genotype' as the calls name them, or give hashtags."
        )
        raise SampleSheetError(msg)


def _warn_of_unknown(genotypes: _Genotypes, marks: dict[str, list[int]], lane: str) -> None:
    donors = pd.Series(genotypes.donor[genotypes.kind == schema.SINGLET], dtype=object)
    counts = donors[~donors.isin(list(marks))].value_counts()
    if len(counts):
        shown = ", ".join(f"{donor}: {n:,} cells" for donor, n in counts.head(8).items())
        warn(
            f"Lane {lane!r}: the sheet names no sample of the donors {shown}. Their genotypes were "
            "not used. Name them in the column 'genotype' of their samples, separated by ';'."
        )


def _warn_of_conflicts(evidence: Array, lane: str) -> None:
    conflicts = int((evidence == "conflict").sum())
    total = conflicts + int((evidence == "both").sum())
    if total >= _FEW and conflicts > _MOST_CONFLICTS * total:
        warn(
            f"Lane {lane!r}: hashtag and genotype name different samples for {conflicts:,} of "
            f"{total:,} cells with both ({conflicts / total:.0%}); these cells have no sample. "
            "Check which donor is in which well, and that both files are of this lane."
        )
