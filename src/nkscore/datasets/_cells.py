"""The cells in the droplets: compartment, state, phase, depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore.datasets._attached_cells import attached_droplets, preferred
from nkscore.datasets._bystanders import draw_bystanders, rna_of
from nkscore.datasets._wells import hla_bins

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints
    from nkscore.datasets._genes import Genes
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells

#: Shares of G1, S, G2M in cycling tumor cells, low-MYC tumor cells and expanded NK cells.
_PHASES_NORMAL: Final = (0.45, 0.33, 0.22)
_PHASES_LOW_MYC: Final = (0.96, 0.03, 0.01)
_PHASES_NK: Final = (0.80, 0.13, 0.07)
#: RNA content relative to the median of all cells, and spread (SD of the natural log).
_RNA_TUMOR: Final = 1.15
_RNA_NK: Final = 0.85
_RNA_SPREAD: Final = 0.36
#: Share of doublets whose second cell comes from the same well (undissociated conjugates).
_CONJUGATES: Final = 0.3


@dataclass(frozen=True)
class Cells:
    """Single cells: first one per droplet, then the second cells of doublets.

    ``state`` and ``phase`` by number; ``hla``: HLA class I against the mean of the line, in
    standard deviations; ``depth``: expected total count; ``numbers`` in the random streams;
    ``attached``: in a planted contact.
    """

    well: Ints
    is_nk: Bools
    state: Ints
    phase: Ints
    hla: Floats
    low_quality: Bools
    depth: Floats
    numbers: Ints
    #: Position in BYSTANDERS, -1 for NK and tumor cells.
    bystander: Ints
    attached: Bools

    @property
    def is_tumor(self) -> Bools:
        """Whether a cell is a tumor cell."""
        return ~self.is_nk & (self.bystander < 0)


@dataclass(frozen=True)
class Droplets:
    """Droplets, each with one or two cells; ``cells[:, 1]`` is -1 for one."""

    cells: Ints
    negative: Bools


def draw_droplets(
    options: Options, wells: Wells, genes: Genes, streams: Streams
) -> tuple[Droplets, Cells]:
    """Fill the wells and join some cells as doublets."""
    n_wells = len(wells.sheet)
    well = np.repeat(np.arange(n_wells), wells.n_droplets).astype(np.int64)
    first = np.arange(well.size, dtype=np.int64)
    rate = 0.0 if options.clean else options.doublets
    attached = attached_droplets(options, wells, well, streams)
    joined = np.flatnonzero((streams.uniform("is doublet", first) < rate) | attached)
    planted = None if options.contacts is None else attached[joined]
    partner, forced = _partners(wells, well, joined, streams, planted)
    numbers = np.concatenate([first, well.size + joined])
    is_nk = _compartments(wells, np.concatenate([well, partner]), numbers, streams)
    opposite = forced & (wells.nk_fraction[partner] > 0) & (wells.nk_fraction[partner] < 1)
    is_nk[well.size :] = np.where(opposite, ~is_nk[joined], is_nk[well.size :])
    of_cell = np.concatenate([well, partner])
    attached = np.concatenate([attached, attached[joined]])
    conjugate = attached.copy()
    conjugate[joined] |= forced
    conjugate[well.size :] |= forced
    bystander = draw_bystanders(options, of_cell, numbers, conjugate, streams)
    is_nk &= bystander < 0
    drawn = (of_cell, is_nk, numbers, bystander, attached)
    cells = _draw_cells(options, wells, genes, streams, drawn)
    pairs = np.full((well.size, 2), -1, dtype=np.int64)
    pairs[:, 0] = first
    pairs[joined, 1] = well.size + np.arange(joined.size)
    negative = streams.uniform("is negative", first) < options.negatives
    return Droplets(cells=pairs, negative=negative & (pairs[:, 1] < 0)), cells


def _partners(
    wells: Wells, well: Ints, joined: Ints, streams: Streams, planted: Bools | None
) -> tuple[Ints, Bools]:
    """Return the well of each second cell, and whether the two are a conjugate."""
    forced = planted
    if forced is None:
        forced = streams.uniform("is conjugate", joined) < _CONJUGATES
    same_lane = wells.lane[well[joined]][:, None] == wells.lane[None, :]
    partner = streams.choice("partner", joined, same_lane.astype(np.float64))
    return np.where(forced, well[joined], partner), forced


def _compartments(wells: Wells, well: Ints, numbers: Ints, streams: Streams) -> Bools:
    return streams.uniform("compartment", numbers) < wells.nk_fraction[well]


def _draw_cells(
    options: Options,
    wells: Wells,
    genes: Genes,
    streams: Streams,
    drawn: tuple[Ints, Bools, Ints, Ints, Bools],
) -> Cells:
    well, is_nk, numbers, bystander, attached = drawn
    bins = hla_bins()
    states, survivors = preferred(options, wells.states[well], wells.survivors[well], attached)
    survivor = streams.choice("tumor cell", numbers, survivors)
    low_myc = survivor // bins.size
    low_myc |= streams.uniform("induction", numbers) < wells.induction[well]
    state = np.where(is_nk, streams.choice("nk state", numbers, states), low_myc)
    low_quality = streams.uniform("low quality", numbers) < options.low_quality
    depth = wells.depth[well] * np.exp(_RNA_SPREAD * streams.normal("rna", numbers))
    ratio = None if options.contacts is None else options.contacts.rna_ratio
    of_nk = _RNA_NK if ratio is None else ratio * _RNA_TUMOR
    depth *= rna_of(bystander, np.where(is_nk, of_nk, _RNA_TUMOR))
    tumor = ~is_nk & (bystander < 0)
    depth *= np.where(tumor & (state == 1), options.low_myc_rna, 1.0)
    depth *= np.where(low_quality, 0.15 + 0.25 * streams.uniform("lost rna", numbers), 1.0)
    depth *= np.where(tumor, genes.kept_share[0], genes.kept_share[1])
    return Cells(
        well=well,
        is_nk=is_nk,
        state=state.astype(np.int64),
        phase=_phases(options, tumor, state, numbers, streams) * (bystander < 0),
        hla=bins[survivor % bins.size],
        low_quality=low_quality,
        depth=depth,
        numbers=numbers,
        bystander=bystander,
        attached=attached,
    )


def _phases(options: Options, tumor: Bools, state: Ints, numbers: Ints, streams: Streams) -> Ints:
    if not options.cell_cycle:
        return np.zeros(numbers.size, dtype=np.int64)
    kind = np.where(tumor, state == 1, 2)
    shares = np.array([_PHASES_NORMAL, _PHASES_LOW_MYC, _PHASES_NK])
    return streams.choice("phase", numbers, shares[kind])
