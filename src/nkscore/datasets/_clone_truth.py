"""The planted clone of each cell, and the planted shares of each well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema

if TYPE_CHECKING:
    from nkscore._types import Floats, Ints
    from nkscore.datasets._cells import Cells, Droplets
    from nkscore.datasets._clones import Clones
    from nkscore.datasets._options import Options
    from nkscore.datasets._random import Streams
    from nkscore.datasets._wells import Wells


def clone_truth(
    options: Options, wells: Wells, cells: tuple[Droplets, Cells], streams: Streams
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return ``truth_clone`` of each droplet, and the planted shares of each well.

    Both are empty without clones.
    """
    droplets, every = cells
    made = pd.DataFrame(index=range(len(droplets.cells)))
    planted = options.clones
    if planted is None:
        return made, {}
    first, second = droplets.cells.T
    of_second = (second >= 0) & every.is_tumor[second]
    cell = np.where(every.is_tumor[first], first, np.where(of_second, second, -1))
    names = [clone_name(line, k) for line in options.tumors for k in range(planted.n)]
    code = np.full(cell.size, -1)
    tables = []
    for number, (sample, tumor, together) in enumerate(_wells(wells)):
        if not wells.has_tumor[number]:
            continue
        table = _well(planted, tumor, sample, streams, together=together)
        tables.append(table)
        rows = np.flatnonzero((cell >= 0) & (every.well[cell] == number))
        drawn = _drawn(planted, table, every, cell[rows], streams)
        code[rows] = drawn + planted.n * list(options.tumors).index(tumor)
    made[schema.TRUTH_CLONE] = pd.Categorical.from_codes(code, categories=pd.Index(names))
    truth = pd.concat(tables, ignore_index=True).drop_duplicates(["sample", "clone"])
    return made, {"clones": truth.set_axis(truth.index.astype(str))}


def clone_name(tumor: str, number: int) -> str:
    """Return the name of a clone."""
    return f"{tumor}_c{number + 1:03d}"


def _wells(wells: Wells) -> list[tuple[str, str, bool]]:
    sheet = wells.sheet
    together = sheet[schema.CONDITION] == schema.COCULTURE
    return list(zip(sheet[schema.SAMPLE], sheet[schema.TUMOR], together, strict=True))


def _well(
    planted: Clones, tumor: str, sample: str, streams: Streams, *, together: bool
) -> pd.DataFrame:
    """Return the clones of one well: seeding, killing and new events."""
    numbers = np.arange(planted.n)
    size = np.exp(planted.spread * streams.normal(f"clones of {tumor}", numbers))
    order = np.argsort(streams.uniform(f"fitness of clones of {tumor}", numbers), kind="stable")
    effect = np.zeros(planted.n)
    effect[order[: round(planted.changed * planted.n)]] = planted.log2_fc
    generator = np.random.default_rng(streams.key(f"drift of clones in {sample}"))
    founders = generator.multinomial(planted.founders, size / size.sum()).astype(np.float64)
    acquired = np.zeros(planted.n, dtype=bool)
    if together:
        alive = generator.binomial(founders.astype(np.int64), planted.survivors)
        founders = np.maximum(alive, 1e-9) * 2.0**effect
        chosen = generator.choice(planted.n, min(planted.acquired, planted.n), replace=False)
        acquired[chosen] = True
        founders[chosen] = np.maximum(founders[chosen], 1.0) * 2.0**planted.acquired_log2_fc
    values = {
        "sample": sample,
        "tumor": tumor,
        "clone": [clone_name(tumor, k) for k in range(planted.n)],
        "share": founders / founders.sum(),
        "log2_fc": effect * together,
        "changed": effect != 0,
        "acquired": acquired,
    }
    return pd.DataFrame(values)


def _drawn(
    planted: Clones, table: pd.DataFrame, every: Cells, cells: Ints, streams: Streams
) -> Ints:
    """Return the clone of each tumor cell of a well."""
    share: Floats = table["share"].to_numpy()
    odds = np.where(table["changed"].to_numpy(), planted.low_myc_odds, 1.0)
    low_myc = (every.state[cells] == 1)[:, None]
    weights = np.where(low_myc, share * odds, share)
    return streams.choice("clone", every.numbers[cells], weights)
