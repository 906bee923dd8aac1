"""Cells of each clone in each well, by line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._samples._samples import Samples, compartment_samples, labels
from nkscore._samples._wells import WELL_COLUMNS
from nkscore.errors import DesignError
from nkscore.stats import Drift, ShareTest, change_of_shares, fit_drift, wells_apart

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Floats, Labels

_ALL: Final = "all"


def clone_samples(
    adata: AnnData,
    key: str,
    *,
    by: str | None,
    condition: str,
    compartment: str | None,
    min_cells: int,
) -> tuple[Samples, Labels]:
    """Return wells of the cells of known clone, and the clone of each cell."""
    schema.require(adata, "obs", [key], "io.read_clones, or name the column with key,")
    donor = [schema.NK_DONOR] if schema.NK_DONOR in adata.obs else []
    columns = list(dict.fromkeys(c for c in (by, condition, *donor) if c is not None))
    # Replicate wells of one donor drift apart, so only parts of one well are summed.
    samples = compartment_samples(
        adata,
        compartment,
        columns=columns,
        min_cells=1,
        split=(by,) if by else (),
        replicate=WELL_COLUMNS[0],
    )
    if not by:
        samples = replace(samples, table=samples.table.assign(**{_ALL: _ALL}))
    clones = labels(adata.obs, key)
    known = np.array([bool(clone) for clone in clones])
    before = samples.table["n_cells"].to_numpy()
    codes = np.where(known, samples.codes, -1)
    n_cells = np.bincount(codes[codes >= 0], minlength=len(samples.table))
    flow = samples.flow and samples.flow.without(
        "no clone", samples.table[schema.SAMPLE], before - n_cells
    )
    samples = replace(samples, codes=codes, flow=flow, table=samples.table.assign(n_cells=n_cells))
    enough = n_cells >= max(1, min_cells)
    if not enough.any():
        msg = (
            f"No well has {min_cells} cells with a value of obs[{key!r}] (min_cells); the largest "
            f"has {n_cells.max(initial=0)}. Lower min_cells, or check how clones were assigned."
        )
        raise DesignError(msg)
    reasons = [f"{n} cells, {min_cells} needed (min_cells)" for n in n_cells[~enough]]
    lost = list(samples.table.loc[~enough, schema.SAMPLE])
    return samples.without("sample", lost, reasons).keep(enough), clones


@dataclass(frozen=True)
class LineOfClones:
    """Wells × clones of the treated and of the control arm of a line, and cells of each well."""

    name: str
    clones: Labels
    counts: tuple[Floats, Floats]
    totals: tuple[Floats, Floats]
    #: NK donor of each treated well, ``None`` where unknown.
    donors: Labels

    @cached_property
    def drift(self) -> tuple[Drift, Drift] | None:
        """Drift of both arms, unless an arm has one well."""
        if self.single():
            return None
        treated, control = (
            fit_drift(n, total) for n, total in zip(self.counts, self.totals, strict=True)
        )
        return treated, control

    def single(self) -> str:
        """Return the arm that has one well, empty if both have more."""
        sizes = zip(("treated", "control"), self.totals, strict=True)
        return next((name for name, total in sizes if total.size < 2), "")

    def test(self, alpha: float, confidence: float) -> ShareTest | None:
        """Test each clone, unless drift is unknown."""
        if self.drift is None:
            return None
        return change_of_shares(
            self.counts, self.totals, self.drift, alpha=alpha, confidence=confidence
        )

    def plain_change(self) -> Floats:
        """Return the log2 fold change of the shares, half a cell added to each."""
        sums = [part.sum(axis=0) + 0.5 for part in self.counts]
        rest = self.totals[1].sum() / self.totals[0].sum()
        return np.asarray(np.log2(sums[0] / sums[1] * rest))

    def apart(self) -> tuple[Floats, Floats]:
        """Return p of each well and clone of both arms that it exceeds the arm's other wells.

        Adjusted for the number of wells.
        """
        drift = self.drift
        if drift is None:
            return np.ones((1, self.clones.size)), np.ones((1, self.clones.size))
        alone = (self.counts[1].sum(axis=0) + 0.5) / self.totals[1].sum()
        # In control wells nothing was selected, so shares are those of the founders.
        treated = wells_apart(self.counts[0], drift[0], alone) * self.totals[0].size
        control = wells_apart(self.counts[1], drift[1]) * self.totals[1].size
        return np.minimum(1.0, treated), np.minimum(1.0, control)

    def drift_rows(self) -> list[dict[str, object]]:
        """Return one row per arm with what drift was estimated."""
        if self.drift is None:
            return []
        return [
            {
                "tumor": self.name,
                "arm": arm,
                "founders": 1 / each.per_cell,
                "growth_cv": float(np.sqrt(each.growth)),
            }
            for arm, each in zip(("treated", "control"), self.drift, strict=True)
        ]


def lines_of_clones(samples: Samples, clones: Labels, *, by: str) -> list[LineOfClones]:
    """Return the counts of each line."""
    table = samples.table
    inside = samples.codes >= 0
    cells = pd.DataFrame({"row": samples.codes[inside], "clone": clones[inside]})
    sizes = cells.groupby(["row", "clone"], sort=True).size().reset_index(name="n")
    line_of = labels(table, by)
    donor = schema.NK_DONOR in table
    made = []
    for name in sorted({line for line in line_of if line is not None}):
        of_line = np.flatnonzero(line_of == name)
        treated = table["treated"].to_numpy()[of_line]
        part = sizes[sizes["row"].isin(of_line)]
        names = np.array(sorted(part["clone"].unique()), dtype=object)
        counts = np.zeros((of_line.size, names.size))
        at = pd.Index(names).get_indexer(part["clone"])
        counts[np.searchsorted(of_line, part["row"].to_numpy()), at] = part["n"].to_numpy()
        total = counts.sum(axis=1)
        donors = labels(table.iloc[of_line[treated]], schema.NK_DONOR) if donor else np.array([])
        made.append(
            LineOfClones(
                name,
                names,
                (counts[treated], counts[~treated]),
                (total[treated], total[~treated]),
                donors,
            )
        )
    return made
