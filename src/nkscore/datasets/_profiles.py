"""Expected expression: base profiles of wells and the gene programs that shift single cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._attached_cells import contact_programs, with_contact_slot
from nkscore.datasets._bystanders import BYSTANDERS, bystander_levels, owners, share_of
from nkscore.datasets._genes import FLOOR, program_table
from nkscore.datasets._inherited import inherited_levels
from nkscore.datasets._lines import NK_STATES

if TYPE_CHECKING:
    from nkscore._types import Floats, Floats32, Ints, Ints32
    from nkscore.datasets._cells import Cells
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells

#: Share of ribosomal and mitochondrial counts in tumor and NK profiles.
_SHARES: Final = {"ribosomal": (0.25, 0.26), "mitochondrial": (0.045, 0.035)}
#: Spread between lines (SD of log2) by gene class; 0.9 for other classes.
_LINE_SPREAD: Final = {
    "ribosomal": 0.25,
    "mitochondrial": 0.25,
    "housekeeping": 0.3,
    "hla": 0.4,
}
_SWITCHED: Final = 0.03
_N_LINE_GENES: Final = 20
#: Spread of programs between cells of one state (SD of the natural log, or of log2).
_CELL_SPREAD: Final = 0.3
_MITO_SPREAD: Final = 0.45
_RIBO_SPREAD: Final = 0.45
_SLOTS: Final = 7


@dataclass(frozen=True)
class Programs:
    """Gene programs as one sparse table.

    ``members`` (columns of genes) and ``effect`` (natural log, at activity 1) of program i lie from
    ``starts[i]`` to ``starts[i + 1]``.
    """

    names: list[str]
    starts: Ints
    members: Ints32
    effect: Floats

    def index(self, name: str) -> int:
        """Return the number of program ``name``."""
        return self.names.index(name)

    def part(self, name: str) -> tuple[Any, Floats]:
        """Return members and effects of program ``name``."""
        which = self.index(name)
        rows = slice(self.starts[which], self.starts[which + 1])
        return self.members[rows], self.effect[rows]


def make_programs(options: Options, genes: Genes, streams: Streams) -> Programs:
    """Collect the packaged programs, gene classes and the response genes of each line."""
    table = program_table()
    parts: list[tuple[str, Ints, Floats]] = [
        (str(name), genes.where(part["gene"]), part["value"].to_numpy(dtype=np.float64))
        for name, part in table.groupby("program", sort=True)
        if not str(name).startswith(("identity_", "line_"))
    ]
    for name in _SHARES:
        members = np.flatnonzero(genes.classes == name)
        parts.append((name, members, np.ones(members.size)))
    for tumor, lineage in options.tumors.items():
        parts.append((f"response_{tumor}", *_line_response(tumor, lineage, genes, streams)))
    parts += contact_programs(options, genes, streams)
    sizes = [members.size for _, members, _ in parts]
    return Programs(
        names=[name for name, _, _ in parts],
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        members=np.concatenate([members for _, members, _ in parts]).astype(np.int32),
        effect=np.concatenate([effect for _, _, effect in parts]) * np.log(2.0),
    )


def _line_response(tumor: str, lineage: str, genes: Genes, streams: Streams) -> tuple[Ints, Floats]:
    """Return response genes of one line: 15 up, 5 down, from genes in no other program."""
    free = ~genes.names.isin(program_table()["gene"]) & (genes.classes == "other").to_numpy()
    level = _line_level(tumor, lineage, genes, streams)
    candidates = np.flatnonzero(free & (level > 5.5) & (level < 9.0) & (genes.nk < 6.0))
    order = np.argsort(
        streams.uniform(f"response of {tumor}", genes.numbers[candidates]), kind="stable"
    )
    chosen = candidates[order[:_N_LINE_GENES]]
    size = 1.0 + streams.uniform(f"response size of {tumor}", np.arange(chosen.size))
    return chosen.astype(np.int64), np.where(np.arange(chosen.size) % 4 == 3, -size, size)


def _line_level(tumor: str, lineage: str, genes: Genes, streams: Streams) -> Floats:
    """Return log2 counts per million of a line."""
    table = program_table()
    level = genes.tumor.copy()
    own = table[table["program"] == f"identity_{lineage}"]
    level[genes.where(own["gene"])] = own["value"]
    marker = table.loc[table["program"].str.startswith("identity_"), "gene"]
    nk_only = (genes.tumor <= FLOOR) & (genes.nk >= 2.0)
    spread = np.array(genes.classes.map(_LINE_SPREAD).fillna(0.9), dtype=np.float64)
    spread[genes.names.isin(marker)] = 0.4
    level += spread * streams.normal(f"level in {tumor}", genes.numbers)
    fixed = nk_only | genes.names.isin(marker) | genes.classes.isin(_LINE_SPREAD).to_numpy()
    switched = streams.uniform(f"switched in {tumor}", genes.numbers) < _SWITCHED
    jump = np.where(streams.uniform(f"direction in {tumor}", genes.numbers) < 0.6, 3.0, -3.0)
    level += np.where(switched & ~fixed, jump, 0.0)
    special = table[table["program"] == f"line_{tumor}"]
    level[genes.where(special["gene"])] += special["value"]
    return np.maximum(level, FLOOR - 1.0)


def base_profiles(options: Options, wells: Wells, genes: Genes, streams: Streams) -> Floats32:
    """Return shares per (well, compartment): row 2 × well is tumor, row 2 × well + 1 is NK.

    Rows of bystanders follow, well by well.
    """
    n_rows = 2 * len(wells.sheet)
    kinds = list(BYSTANDERS) if options.bystanders else []
    base = np.zeros((n_rows + len(kinds) * len(wells.sheet), genes.names.size), dtype=np.float32)
    tumor_levels = {
        tumor: _line_level(tumor, lineage, genes, streams)
        for tumor, lineage in options.tumors.items()
    }
    sheet = wells.sheet
    donors = owners(wells).tolist()
    nk_level = {
        donor: inherited_levels(genes.nk, donor, genes, streams) if options.inherited else genes.nk
        for donor in dict.fromkeys(donors)
    }
    for i, sample in enumerate(sheet[schema.SAMPLE]):
        lane, donor = sheet[schema.LANE].iloc[i], sheet[schema.NK_DONOR].iloc[i]
        noise = options.sample_effect * streams.normal(f"genes of well {sample}", genes.numbers)
        noise += options.lane_effect * streams.normal(f"genes of lane {lane}", genes.numbers)
        if wells.has_tumor[i]:
            base[2 * i] = _shares(tumor_levels[sheet[schema.TUMOR].iloc[i]] + noise, genes, 0)
        if wells.has_nk[i]:
            own = noise + options.donor_effect * streams.normal(f"genes of {donor}", genes.numbers)
            base[2 * i + 1] = _shares(nk_level[donors[i]] + own, genes, 1)
        for j, kind in enumerate(kinds):
            level = bystander_levels(genes, nk_level[donors[i]])[j]
            own = options.donor_effect * streams.normal(f"{kind} of {donors[i]}", genes.numbers)
            base[n_rows + i * len(kinds) + j] = _shares(level + noise + own, genes, 1, kind)
    return base


def base_rows(cells: Cells, n_wells: int) -> Ints32:
    """Return the row of :func:`base_profiles` of each cell."""
    own = 2 * cells.well + cells.is_nk
    other = 2 * n_wells + cells.well * len(BYSTANDERS) + cells.bystander
    return np.where(cells.bystander >= 0, other, own).astype(np.int32)


def _shares(level: Floats, genes: Genes, compartment: int, kind: str = "") -> Floats:
    share: Floats = 2.0**level
    rest = np.ones(share.size, dtype=bool)
    left = 1.0
    for name, both in _SHARES.items():
        wanted = share_of(kind, name, both[compartment])
        member = (genes.classes == name).to_numpy()
        share[member] *= wanted / share[member].sum()
        rest &= ~member
        left -= wanted
    share[rest] *= left / share[rest].sum()
    return share


def activities(
    options: Options, wells: Wells, cells: Cells, programs: Programs, streams: Streams
) -> tuple[Ints32, Floats]:
    """Return up to seven programs per cell, with their activities."""
    program = np.full((cells.well.size, _SLOTS), -1, dtype=np.int32)
    activity = np.zeros((cells.well.size, _SLOTS))
    tumor, low = cells.is_tumor, cells.is_tumor & (cells.state == 1)
    bystander = cells.bystander >= 0
    varied = np.exp(_CELL_SPREAD * streams.normal("activity", cells.numbers) - _CELL_SPREAD**2 / 2)
    phases = np.array([programs.index(n) for n in ("phase_out", "phase_s", "phase_g2m")])
    program[:, 0] = phases[cells.phase]
    activity[:, 0] = np.where((cells.phase == 0) & ~low, 0.5, 1.0) * options.cell_cycle
    activity[bystander, 0] = 1.0 * options.cell_cycle
    states = np.array([programs.index(f"nk_{state}") for state in NK_STATES])
    program[:, 1] = np.where(cells.is_nk, states[cells.state], programs.index("low_myc"))
    activity[:, 1] = np.where(cells.is_nk, varied * (options.nk_states is not False), low)
    program[:, 2] = programs.index("ifng_response")
    activity[:, 2] = np.where(tumor, wells.ifn[cells.well] * varied, 0.0)
    responses = [
        programs.index(f"response_{name}") if name else -1 for name in wells.sheet[schema.TUMOR]
    ]
    program[:, 3] = np.array(responses)[cells.well]
    activity[:, 3] = np.where(tumor, wells.line_response[cells.well] * varied, 0.0)
    program[:, 4] = programs.index("hla_variation")
    activity[:, 4] = np.where(tumor, cells.hla, 0.0)
    program[:, 5] = programs.index("mitochondrial")
    activity[:, 5] = _MITO_SPREAD * streams.normal("mitochondrial", cells.numbers)
    activity[:, 5] += cells.low_quality * (
        2.0 + 2.5 * streams.uniform("high mitochondrial", cells.numbers)
    )
    program[:, 6] = programs.index("ribosomal")
    activity[:, 6] = _RIBO_SPREAD * streams.normal("ribosomal", cells.numbers)
    attached = (cells.attached, cells.is_nk)
    return with_contact_slot(options, attached, programs.names, (program, activity))


def planted_response(
    options: Options, wells: Wells, genes: Genes, programs: Programs, base: Floats32
) -> pd.DataFrame:
    """Return tumor, gene, kind, log2_fc, log2_fc_share: means over each line's co-cultures."""
    frames = []
    for tumor in options.tumors:
        mine = np.flatnonzero((wells.sheet[schema.TUMOR] == tumor).to_numpy() & wells.has_nk)
        parts = (
            ("ifng", programs.part("ifng_response"), wells.ifn[mine]),
            ("line", programs.part(f"response_{tumor}"), wells.line_response[mine]),
        )
        # Genes that rise take their share from all genes, since shares sum to 1.
        total = np.ones(mine.size)
        for _, (members, effect), strength in parts:
            fold = np.exp(strength[:, None] * effect) - 1
            total += (base[2 * mine][:, members] * fold).sum(axis=1)
        for kind, (members, effect), strength in parts:
            planted = effect / np.log(2.0) * strength.mean()
            frames.append(
                pd.DataFrame(
                    {
                        schema.TUMOR: tumor,
                        "gene": genes.names[members],
                        "kind": kind,
                        "log2_fc": planted,
                        "log2_fc_share": planted - np.log2(total).mean(),
                    }
                )
            )
    planted_all = pd.concat(frames, ignore_index=True)
    planted_all.index = planted_all.index.astype(str)
    return planted_all
