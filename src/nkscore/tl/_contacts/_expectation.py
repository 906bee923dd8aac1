"""What the genes of a pair would show if its two cells were those of their wells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_frame
from nkscore._samples._cells import without_deep
from nkscore._samples._matrices import counts_of
from nkscore._samples._pairs import Singles
from nkscore._samples._samples import labels
from nkscore.stats import FixedTags
from nkscore.tl._contacts._evidence import numbers

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._samples._pairs import LanePairs
    from nkscore._types import Bools, Floats, Ints, Labels

OWN, CROSS = "own", "cross"
_FEWEST: Final = 20
_MOST_AMBIENT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Sums:
    """Pairs summed by sample and arm: ``table`` (``sample``, ``arm``, ``n_pairs``, ``depth``).

    ``counts``, ``expected`` and ``from_nk``, the part of it from NK cells: rows × genes.
    """

    table: pd.DataFrame
    counts: Floats
    expected: Floats
    from_nk: Floats

    def rows(self, chosen: Bools | Ints) -> Sums:
        """Return some rows."""
        arrays = (x[chosen] for x in (self.counts, self.expected, self.from_nk))
        return Sums(self.table.iloc[np.arange(len(self.table))[chosen]], *arrays)

    def merged(self) -> Sums:
        """Return one row per sample and arm, added over lanes."""
        table, code = _numbered(self.table[["sample", "arm"]])
        member = np.zeros((len(table), code.size))
        member[code, np.arange(code.size)] = 1.0
        for name in ("n_pairs", "depth"):
            table[name] = member @ self.table[name].to_numpy(dtype=np.float64)
        arrays = (member @ x for x in (self.counts, self.expected, self.from_nk))
        return Sums(table, *arrays)


@dataclass(frozen=True, slots=True)
class _Profiles:
    """Profiles of a lane without ambient RNA: wells × genes (NaN: too few cells), and of ambient.

    ``per_droplet``: ambient counts.
    """

    nk: Floats
    tumor: Floats
    soup: Floats
    per_droplet: float


def sums_of_pairs(adata: AnnData, lanes: list[LanePairs], models: pd.DataFrame) -> Sums:
    """Return observed and expected counts of the pairs of all samples."""
    hashtags = check_frame(adata.obsm[schema.HASHTAGS], "obsm['hashtags']", "Read them again.")
    parts = []
    for lane in lanes:
        tags = FixedTags.from_table(models[models["lane"] == lane.lane])
        parts.append(_of_lane(adata, lane, tags, hashtags))
    return Sums(
        pd.concat([part.table for part in parts], ignore_index=True),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.expected for part in parts]),
        np.concatenate([part.from_nk for part in parts]),
    )


def _of_lane(adata: AnnData, lane: LanePairs, tags: FixedTags, hashtags: pd.DataFrame) -> Sums:
    obs = adata.obs.iloc[lane.cells]
    nk_well, tumor_well, arm = wells_of_pairs(obs, lane, tags, hashtags)
    arm[~without_deep(adata)[lane.cells]] = ""
    profiles = _profiles(adata, lane, tags)
    known = (arm != "") & (nk_well >= 0) & (tumor_well >= 0)
    known[known] = np.isfinite(profiles.nk[nk_well[known], 0]) & np.isfinite(
        profiles.tumor[tumor_well[known], 0]
    )
    rows = np.flatnonzero(known)
    sample_of = samples_of_tags(obs, tags)
    names = pd.DataFrame({"sample": sample_of[tumor_well[rows]], "arm": arm[rows]})
    table, code = _numbered(names)
    counts = counts_of(adata)
    groups = np.full(adata.n_obs, -1, dtype=np.int64)
    groups[lane.cells[rows]] = code
    observed = counts.group_sums(groups, len(table)).sums
    wells = nk_well[rows], tumor_well[rows]
    expected, from_nk = _expected(adata.n_vars, lane, rows, profiles, (*wells, code, len(table)))
    table["n_pairs"] = np.bincount(code, minlength=len(table))
    table["depth"] = observed.sum(axis=1)
    return Sums(table, observed, expected, from_nk)


def _numbered(names: pd.DataFrame) -> tuple[pd.DataFrame, Ints]:
    table = names.drop_duplicates().sort_values(["sample", "arm"], ignore_index=True)
    place = {tuple(row): i for i, row in enumerate(table.itertuples(index=False, name=None))}
    rows = names.itertuples(index=False, name=None)
    return table, np.array([place[tuple(row)] for row in rows], dtype=np.int64)


def samples_of_tags(obs: pd.DataFrame, tags: FixedTags) -> Labels:
    of = obs[[schema.HASHTAG, schema.SAMPLE]].dropna().astype(str).drop_duplicates()
    sample = dict(zip(of[schema.HASHTAG], of[schema.SAMPLE], strict=True))
    return np.array([sample.get(tag, "") for tag in tags.tags], dtype=object)


def wells_of_pairs(
    obs: pd.DataFrame, lane: LanePairs, tags: FixedTags, hashtags: pd.DataFrame
) -> tuple[Ints, Ints, Labels]:
    """Return the wells of both cells of each droplet, and the arm (empty: none).

    Of a pair with two tags, the line of the tumor cell says which tag is its own.
    """
    pair, kind = labels(obs, schema.PAIR), labels(obs, schema.HASHTAG_CLASS)
    nk = numbers(labels(obs, schema.HASHTAG), tags.tags)
    tumor = nk.copy()
    arm = np.where(pair == "own", OWN, "").astype(object)
    cross = np.flatnonzero((pair == "chance") & (kind == "doublet"))
    counts = hashtags.iloc[lane.cells[cross]][list(tags.tags)].to_numpy(dtype=np.float64)
    both = tags.pairs(counts, lane.total[cross])
    of = obs[[schema.HASHTAG, schema.TUMOR]].dropna().astype(str).drop_duplicates()
    line_of = dict(zip(of[schema.HASHTAG], of[schema.TUMOR], strict=True))
    line = np.array([line_of.get(tag, "") for tag in tags.tags], dtype=object)
    first, second = (line[both[:, k]] == labels(obs, schema.PAIR_TUMOR)[cross] for k in range(2))
    tumor[cross] = np.where(first, both[:, 0], both[:, 1])
    nk[cross] = np.where(first, both[:, 1], both[:, 0])
    arm[cross[first != second]] = CROSS
    return nk, tumor, arm


def _profiles(adata: AnnData, lane: LanePairs, tags: FixedTags) -> _Profiles:
    singles = Singles.of(adata, labels(adata.obs, schema.COMPARTMENT))
    tag = labels(adata.obs, schema.HASHTAG)
    here = np.zeros(adata.n_obs, dtype=bool)
    here[lane.cells] = True
    well = numbers(tag, tags.tags)
    is_tumor = np.array([line is not None for line in singles.line])
    n = len(tags.tags)
    code = np.where(singles.is_nk, well, np.where(is_tumor, well + n, -1))
    code[(well < 0) | ~here] = -1
    asked = [(code, 2 * n), (np.where(here & singles.usable, 0, -1), 1)]
    sums, soup = (found.sums for found in counts_of(adata).each_group_sums(asked))
    ambient = soup[0] / soup[0].sum()
    n_cells = np.bincount(code[code >= 0], minlength=2 * n)
    pure = np.maximum(sums - lane.model.ambient * n_cells[:, None] * ambient, 0.0)
    pure /= np.maximum(pure.sum(axis=1, keepdims=True), 1e-300)
    pure[n_cells < _FEWEST] = np.nan
    return _Profiles(pure[:n], pure[n:], ambient, lane.model.ambient)


def _expected(
    n_genes: int,
    lane: LanePairs,
    rows: Ints,
    profiles: _Profiles,
    groups: tuple[Ints, Ints, Ints, int],
) -> tuple[Floats, Floats]:
    """Return expected counts, groups × genes, and the part from NK cells.

    The share of NK RNA that a gene is expected by is fitted without it: by the other half of the
    genes that show it.
    """
    nk_well, tumor_well, code, n_groups = groups
    half = np.arange(lane.model.genes.size) % 2 == 0
    of_gene = np.zeros(n_genes, dtype=np.int64)
    of_gene[lane.model.genes[half]], of_gene[lane.model.genes[~half]] = 1, 2
    expected, from_nk = np.zeros((2, n_groups, n_genes))
    total = lane.total[rows]
    ambient = np.minimum(profiles.per_droplet / np.maximum(total, 1), _MOST_AMBIENT)
    unit = np.unique(np.column_stack([code, nk_well, tumor_well]), axis=0, return_inverse=True)
    place = unit[1].ravel()
    for which, only in ((0, None), (1, ~half), (2, half)):
        genes = np.flatnonzero(of_gene == which)
        share = _shares(lane, rows, only)
        for k, (group, nk, tumor) in enumerate(unit[0]):
            cells = place == k
            own = total[cells] * (1 - ambient[cells])
            part = float(own @ share[cells]) * profiles.nk[nk, genes]
            from_nk[group, genes] += part
            rest = float(own @ (1 - share[cells])) * profiles.tumor[tumor, genes]
            soup = float(total[cells] @ ambient[cells]) * profiles.soup[genes]
            expected[group, genes] += part + rest + soup
    return expected, from_nk


def _shares(lane: LanePairs, rows: Ints, only: Bools | None) -> Floats:
    """Return the share of NK RNA of each pair, at the line that fits best."""
    counts, total = lane.counts[rows], lane.total[rows]
    line = lane.model.shares(counts, total)[1].argmax(axis=1)
    share = lane.model.shares(counts, total, only=only)[0]
    return np.asarray(share[np.arange(rows.size), line])
