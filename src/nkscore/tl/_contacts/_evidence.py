"""Observed and in-silico pairs of each lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from nkscore import schema
from nkscore._checks import check_frame
from nkscore._samples._matrices import counts_of
from nkscore._samples._pairs import Singles, lane_pairs
from nkscore._samples._samples import labels
from nkscore.errors import GeneCoverageError
from nkscore.stats import FixedTags, LaneEvidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._samples._pairs import LanePairs
    from nkscore._types import Bools, Floats, Ints, Labels

#: In-silico pairs per well, and of two wells per lane.
_PER_WELL: Final = 400
_CROSS: Final = 6000
#: Cross-tag pairs from which a chance rate is estimated, and genes that recognize pairs.
_FEWEST_CROSS: Final = 10
_FEWEST_GENES: Final = 50


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane: its wells, one row each, and the evidence, or why there is none.

    ``pairs`` are the droplets and models that the evidence is made from.
    """

    lane: str
    wells: pd.DataFrame
    evidence: LaneEvidence | None
    reason: str = ""
    pairs: LanePairs | None = None


@dataclass(frozen=True, slots=True)
class Droplets:
    """What the droplets of one lane are, in the order of ``LanePairs.cells``.

    ``well``: number of the tag (-1: none); ``nk``, ``tumor``: single cells; ``hashtags``: counts.
    """

    well: Ints
    nk: Bools
    tumor: Bools
    hashtags: Floats


def lanes_of(adata: AnnData, *, rng: np.random.Generator) -> list[Lane]:
    """Return all lanes of the data."""
    needed = (schema.LANE, schema.SAMPLE, schema.TUMOR, schema.HASHTAG, schema.HASHTAG_CLASS)
    schema.require(adata, "obs", needed, "pp.demultiplex")
    schema.require(adata, "obs", [schema.COMPARTMENT, schema.PAIR], "pp.compartments")
    record = schema.recorded(adata, "pp.demultiplex", "pp.demultiplex")
    models = record.get("models")
    names = sorted({str(name) for name in labels(adata.obs, schema.LANE)})
    reasons = {name: _no_answer(adata, name, record, models) for name in names}
    asked = [name for name in names if not reasons[name]]
    singles = Singles.of(adata, labels(adata.obs, schema.COMPARTMENT))
    found = {}
    if asked:
        found = {lane.lane: lane for lane in _pairs_of(adata, singles, asked)}
        hashtags = check_frame(adata.obsm[schema.HASHTAGS], "obsm['hashtags']", "Read them again.")
    lanes = []
    for name in names:
        wells = _wells(adata, name)
        if name not in found:
            why = reasons[name] or "fewer than 20 single NK cells, or no line with 20 tumor cells"
            lanes.append(Lane(name, wells, None, why))
            continue
        tags = FixedTags.from_table(models[models["lane"] == name])
        lanes.append(_lane(adata, found[name], wells, (tags, hashtags), singles=singles, rng=rng))
    return lanes


def _no_answer(
    adata: AnnData, lane: str, record: dict[str, object], models: pd.DataFrame | None
) -> str:
    """Return why the tags of a lane cannot tell, empty if they can."""
    here = (adata.obs[schema.LANE].astype(str) == lane).to_numpy()
    n_tags = adata.obs.loc[here, schema.HASHTAG].dropna().nunique()
    if n_tags < 2:
        return "one hashtag: pairs of one well look like pairs of two"
    if models is None or lane not in set(models["lane"]):
        options = record.get("options", {})
        method = options.get("method") if isinstance(options, dict) else "another method"
        return (
            f"hashtags were called by {method}: the recall needs pp.demultiplex(method='mixture')"
        )
    return ""


def _pairs_of(adata: AnnData, singles: Singles, lanes: list[str]) -> list[LanePairs]:
    """Return droplets and models of lanes, with the genes that showed their pairs."""
    record = schema.recorded(adata, "pp.compartments", "pp.compartments")
    wanted = pd.Index([str(gene) for gene in record.get("pair_genes", [])])
    genes = adata.var_names.astype(str).get_indexer(wanted)
    genes = np.sort(genes[genes >= 0])
    if genes.size < _FEWEST_GENES:
        msg = (
            f"{genes.size} of the {len(wanted)} genes that showed pp.compartments the pairs "
            f"are in the data; {_FEWEST_GENES} are needed. Run pp.compartments on these genes."
        )
        raise GeneCoverageError(msg)
    allowed = np.ones(adata.n_vars, dtype=bool)
    return list(lane_pairs(counts_of(adata), singles, lanes, allowed=allowed, genes=genes))


def _wells(adata: AnnData, lane: str) -> pd.DataFrame:
    """Return one row per tag of the lane: tag, sample and its description."""
    columns = [c for c in (schema.HASHTAG, *schema.SAMPLE_COLUMNS) if c in adata.obs]
    here = (adata.obs[schema.LANE].astype(str) == lane).to_numpy()
    rows = adata.obs.loc[here, columns]
    if schema.HASHTAG in rows:
        rows = rows[rows[schema.HASHTAG].notna()].drop_duplicates(schema.HASHTAG)
    else:
        rows = rows.drop_duplicates(schema.SAMPLE)
    text = rows.astype(object).where(rows.notna(), None)
    table: pd.DataFrame = text.sort_values(schema.HASHTAG).reset_index(drop=True)
    return table


def _lane(
    adata: AnnData,
    lane: LanePairs,
    wells: pd.DataFrame,
    tags: tuple[FixedTags, pd.DataFrame],
    *,
    singles: Singles,
    rng: np.random.Generator,
) -> Lane:
    """Return the evidence of one lane."""
    fixed, hashtags = tags
    obs = adata.obs.iloc[lane.cells]
    wells = wells.set_index(schema.HASHTAG).reindex(list(fixed.tags)).reset_index()
    wells = wells.astype(object).where(wells.notna(), None)
    droplets = Droplets(
        numbers(labels(obs, schema.HASHTAG), fixed.tags),
        singles.is_nk[lane.cells],
        np.array([line is not None for line in singles.line[lane.cells]]),
        hashtags.iloc[lane.cells][list(fixed.tags)].to_numpy(dtype=np.float64),
    )
    made = _InSilico(lane, fixed, droplets, numbers(labels(wells, schema.TUMOR), lane.lines), rng)
    n = len(fixed.tags)
    n_nk = np.bincount(droplets.well[droplets.nk & (droplets.well >= 0)], minlength=n)
    n_tumor = np.bincount(droplets.well[droplets.tumor & (droplets.well >= 0)], minlength=n)
    unmixed = labels(wells, schema.CONDITION) == schema.TUMOR_MONO
    seen = _observed(obs, droplets, unmixed)
    wells = wells.assign(n_nk=n_nk, n_tumor=n_tumor, **seen[1])
    if (n_nk.sum() * n_tumor.sum() - n_nk @ n_tumor) == 0 or seen[0]["cross"] < _FEWEST_CROSS:
        why = f"{seen[0]['cross']} pairs with two hashtags; {_FEWEST_CROSS} are needed"
        return Lane(lane.lane, wells, None, why)
    evidence = made.evidence(n_nk, n_tumor, unmixed=unmixed, seen=(seen[0], seen[1]["own"]))
    if not evidence.cross_found:
        return Lane(lane.lane, wells, None, "no in-silico pair of two wells was recognized")
    return Lane(lane.lane, wells, evidence, pairs=lane)


def numbers(values: Labels, names: Sequence[str]) -> Ints:
    """Return the number of each value among the names, -1 if it is none of them."""
    place = {name: i for i, name in enumerate(names)}
    return np.array([place.get(value, -1) for value in values], dtype=np.int64)


def expected_of_samples(lanes: list[Lane]) -> pd.DataFrame:
    """Return own pairs of each sample, expected from chance and leaked tags, and observed."""
    parts = []
    for lane in lanes:
        if lane.evidence is not None:
            chance, leak = lane.evidence.expected()
            columns = {"expected": chance + leak, "observed": lane.evidence.own}
            parts.append(pd.DataFrame(columns, index=lane.wells[schema.SAMPLE].astype(str)))
    return pd.concat(parts).groupby(level=0).sum()


def _observed(
    obs: pd.DataFrame, droplets: Droplets, unmixed: Bools
) -> tuple[dict[str, int], dict[str, Ints]]:
    """Return cross and leaked pairs of the lane; own pairs and droplets with one tag per well."""
    pair, kind = labels(obs, schema.PAIR), labels(obs, schema.HASHTAG_CLASS)
    single = (kind == schema.SINGLET) & (droplets.well >= 0)
    n = unmixed.size
    own = np.bincount(droplets.well[(pair == "own") & single], minlength=n)
    here = droplets.nk | droplets.tumor | (pair == "own")
    per_well = np.bincount(droplets.well[single & here], minlength=n)
    leaked = int(((pair == "chance") & single).sum() + own[unmixed].sum())
    cross = int(((pair == "chance") & (kind == "doublet")).sum())
    return {"cross": cross, "leaked": leaked}, {"own": own, "n_droplets": per_well}


@dataclass(frozen=True, slots=True)
class _InSilico:
    """Pairs made of two single cells of a lane: sums of their RNA and hashtags."""

    lane: LanePairs
    tags: FixedTags
    droplets: Droplets
    line_of: Ints
    rng: np.random.Generator

    def evidence(
        self,
        n_nk: Ints,
        n_tumor: Ints,
        *,
        unmixed: Bools,
        seen: tuple[dict[str, int], Ints],
    ) -> LaneEvidence:
        counts, own = seen
        n = n_nk.size
        tried, found, mistaken = np.zeros((3, n))
        for well in np.flatnonzero((n_nk > 0) & (n_tumor > 0)):
            wells = np.full(_PER_WELL, well)
            call, line = self._made(wells, wells)
            right = line == self.line_of[well]
            tried[well] = _PER_WELL
            found[well] = ((call == well) & right).sum()
            mistaken[well] = ((call == well) & (line >= 0) & ~right).sum()
        weight = np.outer(n_nk, n_tumor).astype(np.float64)
        np.fill_diagonal(weight, 0.0)
        cell = self.rng.choice(weight.size, _CROSS, p=(weight / weight.sum()).ravel())
        call, line = self._made(*np.divmod(cell, n))
        tagged = (call >= 0) & (line >= 0)
        hides = tagged & (self.line_of[np.maximum(call, 0)] == line)
        hidden = np.bincount(call[hides], minlength=n)
        return LaneEvidence(
            n_nk=n_nk,
            n_tumor=n_tumor,
            own=own,
            tried=tried.astype(np.int64),
            found=found.astype(np.int64),
            hidden=np.where(unmixed, 0, hidden),
            cross=counts["cross"],
            leaked=counts["leaked"],
            cross_tried=_CROSS,
            cross_found=int(((call < -1) & (line >= 0)).sum()),
            cross_leaked=int((tagged & ~hides).sum() + hidden[unmixed].sum()),
            mistaken=float((own * mistaken / np.maximum(found, 1)).sum()),
        )

    def _made(self, nk_well: Ints, tumor_well: Ints) -> tuple[Ints, Ints]:
        """Return call of the tags and line (-1: not a pair) of pairs of cells of these wells."""
        first = self._cells(self.droplets.nk, nk_well)
        second = self._cells(self.droplets.tumor, tumor_well)
        rna = sparse.csr_matrix(self.lane.counts[first] + self.lane.counts[second])
        total = self.lane.total[first] + self.lane.total[second]
        fit = self.lane.model.fit(rna, total, droplets=2)
        call = self.tags.call(self._hashtags(first, second, tumor_well), total)
        return call, np.where(fit.pair, fit.line, -1)

    def _cells(self, kind: Bools, wells: Ints) -> Ints:
        """Return one random cell of a kind for each of the wells."""
        chosen = np.zeros(wells.size, dtype=np.int64)
        for well in np.unique(wells):
            cells = np.flatnonzero(kind & (self.droplets.well == well))
            here = wells == well
            chosen[here] = self.rng.choice(cells, int(here.sum()))
        return chosen

    def _hashtags(self, first: Ints, second: Ints, well: Ints) -> Floats:
        """Return summed tags, with only the background that a second cell adds."""
        a, b = self.droplets.hashtags[first], self.droplets.hashtags[second]
        kept = self.rng.binomial(b.astype(np.int64), min(self.tags.doubling - 1, 1.0))
        rows = np.arange(well.size)
        kept[rows, well] = b[rows, well]
        return a + kept
