"""Tumor cells, the programs to call in them, and the programs' counts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema, stats
from nkscore._samples._cells import passed_qc
from nkscore._storable import stored_name
from nkscore._warn import warn
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError
from nkscore.signatures import Signature, dormancy_components, match
from nkscore.signatures._axes import axis_sets, incomplete_axes
from nkscore.signatures._programs import (
    found_genes,
    get_program,
    program_groups,
    reference_genes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._types import Bools, Floats, Ints
    from nkscore.signatures import TumorProgram

_LOG = logging.getLogger("nkscore")
#: Programs that decide the primary label, in order of priority.
ORDER = ("low_myc_dormant_like", "cycling", "ifn_gamma_response")
DORMANT = "low_myc_dormant_like"
_DEFAULT_GROUPS = ("core", "response", "stress")
_MIN_COVERAGE = 0.5
#: Minimum median reference count of a cell for a reliable depth.
_FEWEST_REFERENCE_COUNTS = 20
#: Maximum share of ambient NK RNA in a program's counts in the co-cultures of a line.
_MOST_AMBIENT = 0.1
#: Prefix of the sets of the dormancy index among those of the programs.
_PART = "dormancy: "


@dataclass(frozen=True, slots=True, eq=False)
class TumorCells:
    """``rows`` of the cells in the data, their ``line`` (a code of ``names``) and ``batch``."""

    rows: Ints
    line: Ints
    names: list[str]
    batch: Ints
    baseline: Bools


@dataclass(frozen=True, slots=True, eq=False)
class ProgramGenes:
    """Columns of the genes of each program and, if present, of each dormancy component."""

    columns: dict[str, Ints]
    has_components: bool


@dataclass(frozen=True, slots=True, eq=False)
class TumorCounts:
    """Summed counts of each set of genes, and the counts expected from the reference counts."""

    genes: ProgramGenes
    levels: stats.GeneLevels
    reference: Floats
    summed: Floats
    expected: Floats
    cells: TumorCells

    @property
    def line(self) -> Ints:
        """Line of each cell."""
        return self.cells.line

    @property
    def baseline(self) -> Bools:
        """Whether each cell is from a monoculture."""
        return self.cells.baseline

    def of(self, name: str, kind: Bools | None = None) -> stats.ProgramCounts:
        """Return the counts of one set; cells are compared within one ``kind``."""
        which = list(self.genes.columns).index(name)
        batch = self.cells.batch
        if kind is not None:
            batch = np.unique(2 * batch + kind, return_inverse=True)[1].astype(np.int64)
        return stats.ProgramCounts(
            self.summed[:, which],
            self.expected[:, which] * self.reference,
            1 / self.reference,
            self.cells.line,
            batch,
            self.cells.baseline,
        )

    def parts(self) -> Iterator[tuple[str, stats.ProgramCounts]]:
        """Yield the counts of the components of the dormancy index."""
        for name in self.genes.columns:
            if name.startswith(_PART):
                yield name.removeprefix(_PART), self.of(name)


def choose_programs(
    programs: str | Iterable[str] | Mapping[str, str | TumorProgram] | None,
    order: Iterable[str] | None,
) -> tuple[dict[str, TumorProgram], list[str]]:
    """Return the programs by name, and those that decide the label."""
    if programs is None:
        programs = _DEFAULT_GROUPS
    if isinstance(programs, str):
        programs = (programs,)
    groups = program_groups()
    own = hasattr(programs, "items")
    if hasattr(programs, "items"):
        chosen = {n: get_program(p) if isinstance(p, str) else p for n, p in programs.items()}
    else:
        names = [n for entry in programs for n in groups.get(entry, (entry,))]
        chosen = {name: get_program(name) for name in names}
    default = [name for name in ORDER if name in chosen]
    labels = list(order) if order is not None else list(chosen) if own or not default else default
    unknown = [name for name in labels if name not in chosen]
    if unknown or not chosen:
        msg = (
            f"order names {', '.join(unknown) or 'nothing'}, but the programs called are "
            f"{', '.join(chosen) or 'none'}. Name programs that are called."
        )
        raise MissingKeyError(msg)
    return chosen, labels


def other_programs(chosen: Mapping[str, TumorProgram]) -> dict[str, TumorProgram]:
    """Return further programs that chosen ones are compared within or excluded by."""
    others = [n for p in chosen.values() for n in (*p.excluded_by, p.within) if n]
    return {name: get_program(name) for name in others if name not in chosen}


def match_programs(
    var_names: pd.Index[str], chosen: Mapping[str, TumorProgram], *, needed: set[str]
) -> ProgramGenes:
    """Find the genes of the programs; those not ``needed`` are excluded if too few are found."""
    sets = {
        name: Signature(name, program.members())
        for name, program in {**other_programs(chosen), **chosen}.items()
    }
    if DORMANT in chosen:
        sets |= _component_sets() | axis_sets()
    poor, kept = [], {}
    for name, entry in sets.items():
        there = found_genes(var_names, entry) if name not in needed else entry.genes
        if len(there) < _MIN_COVERAGE * len(entry):
            poor.append(name)
        else:
            # Warn about absent genes of requested programs; for others see the coverage.
            kept[name] = Signature(name, there)
    named = [name for name in poor if name in chosen]
    if named:
        _LOG.warning("Too few genes in the data, not called: %s", ", ".join(named))
    lacking = [name.removeprefix(_PART) for name in poor if name.startswith(_PART)]
    complete = DORMANT in chosen and not lacking
    if DORMANT in chosen:
        _warn_of_lacking(lacking, list(incomplete_axes(kept)))
    if not complete:
        kept = {name: entry for name, entry in kept.items() if not name.startswith(_PART)}
    return ProgramGenes(match(var_names, kept, min_coverage=_MIN_COVERAGE).up, complete)


def _warn_of_lacking(components: list[str], axes: list[str]) -> None:
    """Warn once of components of the index of dormancy and of axes that lack genes."""
    said = []
    if components:
        said.append(
            f"obsm['dormancy'] is not written: less than {_MIN_COVERAGE:.0%} of the genes of "
            f"{', '.join(components)} are in the data."
        )
    if axes:
        said.append(
            f"obsm[{schema.TUMOR_AXES!r}] has no values of {', '.join(axes)}, for the same reason."
            if components
            else f"obsm[{schema.TUMOR_AXES!r}] has no values of {', '.join(axes)}: less than "
            f"{_MIN_COVERAGE:.0%} of the genes of an axis are in the data."
        )
    if said:
        said.append(
            "Use all genes, not a panel or the highly variable ones, if you need these values."
        )
        warn(" ".join(said))


def _component_sets() -> dict[str, Signature]:
    sets = {}
    for name, part in dormancy_components().items():
        if name == "dormant_like":
            continue
        if part.down:
            sets[f"{_PART}{name}_down"] = Signature(f"{name}_down", part.down)
        sets[f"{_PART}{name}{'_up' if part.down else ''}"] = Signature(name, part.up)
    return sets


def tumor_cells(adata: AnnData, by: str, batch: str | None, *, min_cells: int) -> TumorCells:
    """Return the tumor cells of lines that have enough of them."""
    inside = (adata.obs[schema.COMPARTMENT] == schema.TUMOR_CELLS).to_numpy()
    inside = inside & adata.obs[by].notna().to_numpy() & passed_qc(adata)
    lines = adata.obs[by].astype(str).to_numpy()
    sizes = pd.Series(lines[inside]).value_counts()
    large = sizes.index[sizes >= min_cells]
    small = sorted(set(sizes.index) - set(large))
    if small:
        _LOG.warning("Fewer than %d tumor cells, unassigned: %s", min_cells, ", ".join(small))
    rows = np.flatnonzero(inside & np.isin(lines, list(large)))
    if rows.size == 0:
        msg = (
            f"No {by} has {min_cells} tumor cells that passed QC. Check obs['compartment'] and "
            f"obs[{by!r}], or lower min_cells."
        )
        raise DesignError(msg)
    names, line = np.unique(lines[rows], return_inverse=True)
    group = lines[rows]
    if batch is not None and batch in adata.obs:
        group = group + "\t" + adata.obs[batch].astype(str).to_numpy()[rows]
    code = np.unique(group, return_inverse=True)[1]
    baseline = np.zeros(rows.size, dtype=bool)
    if schema.CONDITION in adata.obs:
        baseline = (adata.obs[schema.CONDITION] == schema.TUMOR_MONO).to_numpy(dtype=bool)[rows]
    return TumorCells(
        rows, line.astype(np.int64), [str(n) for n in names], code.astype(np.int64), baseline
    )


def leave_out_ambient(
    adata: AnnData,
    counts: Counts,
    cells: TumorCells,
    genes: ProgramGenes,
    programs: Mapping[str, TumorProgram],
) -> ProgramGenes:
    """Remove genes with ambient NK RNA in co-cultures from programs that contact induces.

    Their counts are higher in co-cultures than in monocultures even if no cell responded. The worst
    genes are removed first, until little ambient RNA is left; at least half of a program's genes
    stay. Without ``pp.ambient`` nothing is removed.
    """
    if "pp.ambient" not in adata.uns.get(schema.RECORD, {}) or schema.AMBIENT_NK not in adata.varm:
        return genes
    ambient, seen = _ambient_nk_counts(adata, counts, cells)
    columns = dict(genes.columns)
    for name in [n for n, program in programs.items() if program.induced and n in columns]:
        found = np.asarray(columns[name])
        share = (ambient[:, found] / np.maximum(seen[:, found], 1.0)).max(axis=0)
        found = found[np.argsort(share, kind="stable")]
        total = np.cumsum(seen[:, found], axis=1)
        excess = (np.cumsum(ambient[:, found], axis=1) - _MOST_AMBIENT * total).max(axis=0)
        n_kept = max(int(np.flatnonzero(excess <= 0).max(initial=-1)) + 1, (found.size + 1) // 2)
        if n_kept < found.size:
            _LOG.info("%s: %d genes excluded, ambient NK RNA", name, found.size - n_kept)
        columns[name] = np.sort(found[:n_kept])
    return replace(genes, columns=columns)


def _ambient_nk_counts(adata: AnnData, matrix: Counts, cells: TumorCells) -> tuple[Floats, Floats]:
    """Return lines × genes: ambient counts expected from NK cells, and all counts."""
    table = schema.recorded(adata, "pp.ambient", "pp.ambient")["samples"]
    places = zip(table["sample"].astype(str), table["lane"].astype(str), strict=True)
    number = {place: i for i, place in enumerate(places)}
    codes = np.full(adata.n_obs, -1)
    names, lanes = (
        adata.obs[c].astype(str).to_numpy()[cells.rows] for c in (schema.SAMPLE, schema.LANE)
    )
    codes[cells.rows] = [number.get(place, -1) for place in zip(names, lanes, strict=True)]
    counts = matrix.group_sums(codes, len(table)).sums
    profiles = adata.varm[schema.AMBIENT_NK]
    soup = np.array([profiles[stored_name(lane)].to_numpy(dtype=float) for lane in table["lane"]])
    total = counts.sum(axis=1) * table["ambient_share"].to_numpy(dtype=float)
    line = np.unique(table["tumor"].astype(str), return_inverse=True)[1]
    member = np.eye(int(line.max()) + 1)[:, line]
    return member @ (total[:, None] * soup), member @ counts


def count_programs(
    adata: AnnData, counts: Counts, cells: TumorCells, genes: ProgramGenes
) -> TumorCounts:
    """Sum the counts of each set of genes in each cell."""
    used = np.unique(np.concatenate(list(genes.columns.values())))
    steady = reference_genes(adata.var_names, adata.var_names[used])
    reference = counts.totals(steady, cells.rows)
    if np.median(reference) < _FEWEST_REFERENCE_COUNTS:
        msg = (
            f"The median tumor cell has {np.median(reference):g} counts in the {int(steady.sum())} "
            f"genes outside all programs, which measure depth; {_FEWEST_REFERENCE_COUNTS} "
            "are needed. Use all genes, not a panel or the highly "
            "variable ones."
        )
        raise GeneCoverageError(msg)
    reference = np.maximum(reference, 1.0)
    levels = stats.gene_levels(counts, cells.rows, cells.line, reference)
    summed, expected = stats.program_counts(
        counts, cells.rows, cells.line, levels, list(genes.columns.values())
    )
    return TumorCounts(genes, levels, reference, summed, expected, cells)
