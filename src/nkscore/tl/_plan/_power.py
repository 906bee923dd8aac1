"""Power of a design: the sums of its samples are simulated and tested as the analysis would."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.errors import DesignError
from nkscore.stats import benjamini_hochberg, fit_count_response, response_design
from nkscore.tl._plan._variances import drawn, factor

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Labels
    from nkscore.stats import Design
    from nkscore.tl._plan._variances import Variances

_PER: Final = 1e4
#: As in ``tl.interaction_response``: smaller samples are excluded.
FEWEST_CELLS: Final = 10
#: Genes whose power is asked, per other gene.
_PROBES: Final = 0.25


@dataclass(frozen=True, slots=True)
class SampleRows:
    """Samples of a comparison: arm, line (None: control of all) and donor (None: none)."""

    treated: Bools
    line: Labels
    donor: Labels


def balanced(compartment: str, *, lines: int, donors: int, wells: int) -> SampleRows:
    """Return co-cultures of each line with each donor, and monocultures.

    ``wells``: of each line alone. NK cells have one monoculture per donor.
    """
    names = [f"line {i + 1}" for i in range(lines)]
    people = [f"donor {i + 1}" for i in range(donors)]
    rows: list[tuple[bool, str | None, str | None]] = [
        (True, name, donor) for name in names for donor in people
    ]
    if compartment == schema.NK:
        rows += [(False, None, donor) for donor in people]
    else:
        rows += [(False, name, None) for name in names for _ in range(wells)]
    treated, line, donor = zip(*rows, strict=True)
    columns = [np.array(values, dtype=object) for values in (line, donor)]
    return SampleRows(np.array(treated, dtype=bool), columns[0], columns[1])


@dataclass(frozen=True, slots=True)
class Depth:
    """Cells of a sample that enter the test, and their mean UMI count; one value or one each."""

    cells: float | Floats
    umi: float | Floats

    def column(self, n: int) -> tuple[Floats, Floats]:
        """Return both as columns of ``n`` samples."""
        cells, umi = (np.broadcast_to(x, n).astype(float)[:, None] for x in (self.cells, self.umi))
        return cells, umi


@dataclass(frozen=True, slots=True)
class Wanted:
    """The change to find.

    ``effect``: log2 fold change. ``levels``: counts per 10,000 of the genes whose power is wanted,
    the geometric mean of both arms. ``responding``: share of all other genes that change as much,
    which decides from where on p-values count as discoveries.
    """

    effect: float
    levels: tuple[float, ...]
    responding: float = 0.1
    fdr: float = 0.05
    n_genes: int = 800


def power_of(
    rows: SampleRows,
    depth: Depth,
    wanted: Wanted,
    variances: Variances,
    *,
    repeats: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the share of changed genes that are found, one row per level of expression.

    Columns ``level``, ``power``, ``n`` (genes × lines × repeats), ``fdr`` (share of all calls that
    are false), ``df_residual``. Power and degrees of freedom are 0 if no test is possible.
    """
    n_levels = len(wanted.levels)
    found = pd.DataFrame({"level": wanted.levels, "power": 0.0, "n": 0, "fdr": np.nan})
    design = None if np.min(depth.cells) < FEWEST_CELLS else _design(rows)
    if design is None:
        return found.assign(df_residual=0)
    tally = np.zeros((2, n_levels))
    calls = np.zeros(2)
    for _ in range(repeats):
        genes = _Genes.of(wanted, variances, rng)
        counts, squares = _simulated(rows, depth, genes, variances, rng)
        part, called = _found(_tested(counts, squares, design, depth), genes, design, wanted)
        tally, calls = tally + part, calls + called
    return found.assign(
        power=tally[0] / tally[1],
        n=tally[1].astype(int),
        fdr=calls[1] / max(calls[0], 1.0),
        df_residual=design.df_residual,
    )


def _design(rows: SampleRows) -> Design | None:
    try:
        return response_design(rows.treated, rows.line, rows.donor)
    except DesignError:
        return None


@dataclass(frozen=True, slots=True)
class _Genes:
    """Expression (counts per 10,000), number in ``levels`` (-1: another), log2 fold change."""

    level: Floats
    kind: Ints
    effect: Floats

    @classmethod
    def of(cls, wanted: Wanted, variances: Variances, rng: np.random.Generator) -> _Genes:
        n, n_levels = wanted.n_genes, len(wanted.levels)
        probes = max(n_levels * round(_PROBES * n / n_levels), n_levels)
        kind = np.append(np.full(n, -1), np.arange(probes) % n_levels)
        level = np.append(variances.draw_levels(rng, n), np.array(wanted.levels)[kind[n:]])
        changed = np.append(rng.random(n) < wanted.responding, np.ones(probes, dtype=bool))
        effect = np.where(changed, rng.choice([-1.0, 1.0], n + probes) * wanted.effect, 0.0)
        return cls(level, kind, effect)


def _simulated(
    rows: SampleRows,
    depth: Depth,
    genes: _Genes,
    variances: Variances,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Return sums of counts and of squared counts of the cells, samples × genes."""
    n_cells, umi = depth.column(len(rows.treated))
    cells, samples, donors = variances.at(genes.level)
    spread = variances.spread
    uneven = np.exp(rng.normal(-(spread**2) / 2, spread, genes.level.size))
    side = np.where(rows.treated, 0.5, -0.5)[:, None]
    mean = n_cells * umi / _PER * genes.level * 2.0 ** (side * genes.effect)
    person = _persons(rows)
    own = factor(rng, donors * uneven, (max(person.max(), 0) + 1, genes.level.size))
    mean = mean * np.where(person[:, None] >= 0, own[person], 1.0)
    between = np.where(person[:, None] >= 0, samples, samples + donors) * uneven
    counts = drawn(rng, mean, between, cells / n_cells)
    each = counts / n_cells
    within = each + (cells + variances.depth) * np.square(each)
    return counts, n_cells * np.square(each) + (n_cells - 1) * within


def _persons(rows: SampleRows) -> Ints:
    """Return a number for each donor whose cells are in both arms, -1 for other samples.

    Their baseline is common to both arms. Other donors only differ between samples.
    """
    shared = all(name is None for name in rows.line[~rows.treated])
    line = np.full(len(rows.line), "", dtype=object) if shared else rows.line
    keys = [(name, donor) for name, donor in zip(line, rows.donor, strict=True)]
    arms = [
        {k for k, t in zip(keys, rows.treated, strict=True) if t == arm} for arm in (True, False)
    ]
    both = [k for k in dict.fromkeys(keys) if k in arms[0] & arms[1] and k[1] is not None]
    number = {key: i for i, key in enumerate(both)}
    return np.array([number.get(key, -1) for key in keys])


def _tested(counts: Floats, squares: Floats, design: Design, depth: Depth) -> pd.DataFrame:
    """Test as ``tl.interaction_response`` does by default."""
    n_cells = depth.column(len(counts))[0]
    scatter = (squares - np.square(counts) / n_cells).sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_count_response(
            counts,
            design,
            n_cells=n_cells[:, 0],
            cell_squares=squares,
            overdispersion=scatter / np.maximum(counts.sum(axis=0), 1),
        )


def _found(
    table: pd.DataFrame, genes: _Genes, design: Design, wanted: Wanted
) -> tuple[Floats, Floats]:
    """Return found and all genes by level, and all and false calls among the other genes."""
    p, gene = table["p_value"].to_numpy(float), table["gene"].to_numpy(int)
    kind, effect = genes.kind[gene], genes.effect[gene]
    right = np.sign(table["log2_fc"].to_numpy(float)) == np.sign(effect)
    other = kind < 0
    called = benjamini_hochberg(p[other]) < wanted.fdr
    # Alone, a gene would have to be this small.
    limit = max(p[other][called].max(initial=0.0), wanted.fdr / max(other.sum(), 1))
    n = len(wanted.levels)
    hits = np.bincount(kind[~other & right & (p <= limit)], minlength=n)
    everyone = np.bincount(genes.kind[genes.kind >= 0], minlength=n) * len(design.effects)
    calls = np.array([called.sum(), (called & (effect[other] == 0)).sum()], dtype=float)
    return np.array([hits, everyone], dtype=float), calls
