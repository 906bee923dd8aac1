"""Expected counts of each NK state and each tumor state, from the single cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import special

from nkscore import schema
from nkscore.signatures._programs import packaged_programs
from nkscore.stats.markers._marker_mixture import LEVEL_SHARE, LEVELS

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Ints

#: Probability of its state at which a single tumor cell adds to the profile of the state.
_CLEAR: Final = 0.8
#: Genes that separate the tumor states.
_N_GENES: Final = 200
#: Prior counts of a gene for the fold of a state over lines, and in one line.
_PRIOR, _LINE_PRIOR = 10.0, 20.0
_LEAST, _MOST = 0.02, 10.0
_MOST_CELLS: Final = 4000
_TINY: Final = 1e-9
#: What ``tl.tumor_states`` calls a cell without a program.
_BASELINE: Final = "baseline"


@dataclass(frozen=True, slots=True)
class Depths:
    """Per droplet: counts of the NK cell (with ambient RNA) and of the tumor cell.

    ``donor`` and ``line`` are numbers of the profiles.
    """

    nk: Floats
    tumor: Floats
    donor: Ints
    line: Ints


@dataclass(frozen=True, slots=True)
class NkProfiles:
    """What ``tl.nk_states`` fitted: states (last: none) × genes, donors × genes."""

    states: list[str]
    donors: list[str]
    genes: Ints
    log_fold: Floats
    rate: Floats
    dispersion: Floats
    weight: Floats
    tumor_rate: Floats
    tumor_dispersion: Floats

    def log_likelihood(self, x: Floats, depths: Depths) -> Floats:
        """Return the log likelihood of each state, up to a constant: droplets × states."""
        other = depths.tumor[:, None] * self.tumor_rate[depths.line]
        extra = self.tumor_dispersion * other**2
        marker = self.weight == 1
        found = np.empty((len(x), len(self.log_fold)))
        base = depths.nk[:, None] * self.rate[depths.donor]
        for k, log_fold in enumerate(self.log_fold):
            at_levels = []
            for level in LEVELS:
                own = base[:, marker] * np.exp(log_fold[marker] * level)
                parts = own, other[:, marker], extra[:, marker]
                at_levels.append(_log_nb(x[:, marker], *parts, self.dispersion[marker]).sum(axis=1))
            own = base[:, ~marker] * np.exp(log_fold[~marker])
            parts = own, other[:, ~marker], extra[:, ~marker]
            further = _log_nb(x[:, ~marker], *parts, self.dispersion[~marker])
            mixed = special.logsumexp(at_levels, axis=0, b=LEVEL_SHARE[:, None])
            found[:, k] = mixed + further @ self.weight[~marker]
        return found


@dataclass(frozen=True, slots=True)
class TumorProfiles:
    """Rates of each line and state on the genes that separate the states."""

    states: list[str]
    lines: list[str]
    genes: Ints
    rate: Floats
    dispersion: Floats
    nk_rate: Floats
    nk_dispersion: Floats

    def log_likelihood(self, x: Floats, depths: Depths) -> Floats:
        """Return the log likelihood of each state, up to a constant: droplets × states."""
        other = depths.nk[:, None] * self.nk_rate[depths.donor]
        extra = self.nk_dispersion * other**2
        found = np.empty((len(x), len(self.states)))
        for k in range(len(self.states)):
            own = depths.tumor[:, None] * self.rate[depths.line, k]
            found[:, k] = _log_nb(x, own, other, extra, self.dispersion).sum(axis=1)
        return found


@dataclass(frozen=True, slots=True)
class SingleCells:
    """Single cells of the hashed lanes: depth, number of donor and line (-1: not such a cell).

    ``keep`` marks the genes that count as depth.
    """

    counts: Counts
    depth: Floats
    keep: Bools
    donor: Ints
    line: Ints
    donors: list[str]
    lines: list[str]

    def rate(self, code: Ints, n: int) -> Floats:
        """Return groups × genes: counts over depth."""
        there = code >= 0
        depth = np.bincount(code[there], weights=self.depth[there], minlength=n)
        sums = self.counts.group_sums(code, n).sums
        return np.asarray(sums / np.maximum(depth, 1.0)[:, None])

    def dispersion(self, genes: Ints, code: Ints, rate: Floats) -> Floats:
        """Return the dispersion of each gene around the rates of its groups."""
        rows = np.flatnonzero(code >= 0)
        rows = rows[:: -(-rows.size // _MOST_CELLS) or 1]
        if not rows.size:
            return np.full(genes.size, 1.0)
        x = self.counts.columns(genes, rows).toarray().astype(np.float64)
        mean = self.depth[rows, None] * rate[code[rows]]
        excess = ((x - mean) ** 2 - mean).sum(axis=0)
        found = excess / np.maximum((mean**2).sum(axis=0), _TINY)
        return np.asarray(np.clip(found, _LEAST, _MOST))


def _log_nb(x: Floats, own: Floats, other: Floats, extra: Floats, dispersion: Floats) -> Floats:
    """Log probability of counts that two cells add up to, without the term of the counts alone."""
    mean = own + other + _TINY
    size = mean**2 / np.maximum(dispersion * own**2 + extra, _TINY)
    spread = np.log1p(mean / size)
    ways = special.gammaln(x + size) - special.gammaln(size)
    return np.asarray(ways - size * spread + x * (np.log(mean / size) - spread))


def nk_profiles(adata: AnnData, cells: SingleCells) -> NkProfiles:
    """Return the profiles of the NK states."""
    record = schema.recorded(adata, "tl.nk_states", "tl.nk_states")
    table = pd.DataFrame(record["explain"])
    names = adata.obsm[schema.NK_STATE_POSTERIOR].columns.astype(str)
    symbols = pd.Index(pd.unique(table["gene"].astype(str)))
    row = names.get_indexer(table["state"].astype(str))
    table, row = table[row >= 0], row[row >= 0]
    gene = symbols.get_indexer(table["gene"].astype(str))
    log_fold = np.zeros((len(names) + 1, len(symbols)))
    log_fold[row, gene] = table["log_fold"]
    groups = pd.Index(pd.unique(table["group"].astype(str)))
    rate = np.full((len(groups), len(symbols)), np.nan)
    rate[groups.get_indexer(table["group"].astype(str)), gene] = table["rate"]
    dispersion, weight = np.ones((2, len(symbols)))
    dispersion[gene], weight[gene] = table["dispersion"], table["weight"]
    rate = np.where(np.isnan(rate), np.nanmean(rate, axis=0), rate)
    of_donor = groups.get_indexer(pd.Index(cells.donors))
    rate = np.where(of_donor[:, None] >= 0, rate[of_donor], rate.mean(axis=0))
    genes = np.asarray(adata.var_names.astype(str).get_indexer(symbols))
    known = genes >= 0
    tumor = cells.rate(cells.line, len(cells.lines))[:, genes[known]]
    return NkProfiles(
        [*names],
        cells.donors,
        genes[known],
        log_fold[:, known],
        rate[:, known],
        dispersion[known],
        weight[known],
        tumor,
        cells.dispersion(genes[known], cells.line, tumor),
    )


def tumor_probabilities(adata: AnnData) -> tuple[list[str], Floats]:
    """Return the labels of ``tl.tumor_states`` and their probabilities, cells × labels."""
    record = schema.recorded(adata, "tl.tumor_states", "tl.tumor_states")
    order = [str(name) for name in record["options"]["order"]]
    programs = adata.obsm[schema.TUMOR_PROGRAMS]
    packaged = packaged_programs()
    left = np.ones(adata.n_obs)
    shares = []
    for name in order:
        p = programs[name].to_numpy(dtype=np.float64)
        excluders = packaged[name].excluded_by if name in packaged else ()
        for other in set(excluders) & set(programs):
            p = p * (1 - programs[other].to_numpy(dtype=np.float64))
        shares.append(left * p)
        left = left * (1 - p)
    return [*order, _BASELINE], np.column_stack([*shares, left])


def tumor_profiles(
    cells: SingleCells, states: list[str], probability: Floats, *, avoid: Ints
) -> TumorProfiles:
    """Return the profiles of the tumor states, on genes that NK cells do not dominate."""
    n_lines, n_states = len(cells.lines), len(states)
    best = np.nan_to_num(probability).argmax(axis=1)
    clear = np.nan_to_num(probability).max(axis=1) >= _CLEAR
    code = np.where((cells.line >= 0) & clear, cells.line * n_states + best, -1)
    sums = cells.counts.group_sums(code, n_lines * n_states).sums
    sums = sums.reshape(n_lines, n_states, -1)
    there = code >= 0
    depth = np.bincount(code[there], weights=cells.depth[there], minlength=n_lines * n_states)
    depth = depth.reshape(n_lines, n_states)
    mean = sums.sum(axis=1) / np.maximum(depth.sum(axis=1), 1.0)[:, None]
    expected = mean[:, None] * depth[:, :, None]
    fold = (sums.sum(axis=0) + _PRIOR) / (expected.sum(axis=0) + _PRIOR)
    rate = mean[:, None] * (sums + _LINE_PRIOR * fold) / (expected + _LINE_PRIOR)
    nk = cells.rate(cells.donor, len(cells.donors))
    typical = float(np.median(cells.depth[there])) if there.any() else 1.0
    genes = _separating(rate * typical, mean * typical, nk.mean(axis=0) * typical, cells.keep)
    genes = np.setdiff1d(genes, avoid)
    flat = rate.reshape(n_lines * n_states, -1)[:, genes]
    return TumorProfiles(
        states,
        cells.lines,
        genes,
        flat.reshape(n_lines, n_states, -1),
        cells.dispersion(genes, code, flat),
        nk[:, genes],
        cells.dispersion(genes, cells.donor, nk[:, genes]),
    )


def _separating(rate: Floats, mean: Floats, nk: Floats, keep: Bools) -> Ints:
    """Return genes in which the states of a line differ most, for their error."""
    variance = mean + 0.1 * mean**2 + 0.5 * nk
    score = ((rate - mean[:, None]) ** 2 / (variance[:, None] + _TINY)).sum(axis=(0, 1))
    score[~keep | (nk > mean.mean(axis=0))] = 0.0
    order = np.argsort(-score, kind="stable")[:_N_GENES]
    return np.sort(order[score[order] > 0]).astype(np.int64)
