"""Tags that a lane holds but the sample sheet does not name for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._ledger import note, rows
from nkscore._warn import warn
from nkscore.pp._demultiplex_methods import METHODS, Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._types import Floats, Ints

#: A tag is worth a second fit if it leads in so many negative cells, with so many counts each.
_FEW_CELLS: Final = 5
_FEW_COUNTS: Final = 10
#: And worth a warning if it then has this share of the lane's cells.
_SHARE: Final = 0.01


class Unlisted(NamedTuple):
    """A tag with the negative cells of a lane that carry it."""

    lane: str
    tag: str
    n_cells: int


def other_tags(
    adata: AnnData, counts: pd.DataFrame, listed: pd.DataFrame, cells: Ints
) -> pd.DataFrame:
    """Return the counts of tags that mark samples, but none of this lane, in its cells."""
    names = [name for name in counts if name not in listed]
    parts = [counts.iloc[cells][names]]
    book = adata.uns.get(schema.RECORD, {})
    known = [book.get(f"io.{name}", {}) for name in ("read_coculture", "read_lane")]
    tags = [tag for entry in known for tag in np.atleast_1d(entry.get("unlisted_tags", []))]
    unlisted = set(map(str, tags))
    if schema.PROTEIN in adata.obsm:
        protein = adata.obsm[schema.PROTEIN]
        own = [name for name in protein if name in unlisted and name not in counts]
        parts.append(protein.iloc[cells][own])
    found = pd.concat(parts, axis=1)
    return found.loc[:, (found > 0).any(axis=0)]


def unlisted(
    listed: pd.DataFrame, more: pd.DataFrame, called: pd.DataFrame, depth: Floats, lane: str
) -> list[Unlisted]:
    """Return the tags that mark negative cells of a lane; warn of them.

    All tags are fitted together, because a droplet can hold a cell of each.
    """
    negative = called["class"].to_numpy() == "negative"
    values = more.to_numpy(dtype=np.float64)
    most = listed.to_numpy(dtype=np.float64).max(axis=1)
    leads = (values > most[:, None]) & (values >= _FEW_COUNTS) & negative[:, None]
    more = more.loc[:, leads.sum(axis=0) >= _FEW_CELLS]
    if more.empty:
        return []
    both = pd.concat([listed, more], axis=1)
    options = Options(priors=None, positive_quantile=0.99)
    fit = METHODS["mixture"].func(both.to_numpy(dtype=np.float64), depth, options)
    call = np.where(negative, fit.probability.argmax(axis=1), -1)
    first = listed.shape[1]
    sizes = [int((call == first + i).sum()) for i in range(more.shape[1])]
    least = max(_FEW_CELLS, _SHARE * len(called))
    found = [Unlisted(lane, str(tag), n) for tag, n in zip(more, sizes, strict=True) if n >= least]
    for one in found:
        warn(
            f"Lane {lane!r}: {one.n_cells:,} of {int(negative.sum()):,} negative cells carry tag "
            f"{one.tag}, which the sample sheet does not name for this lane, so they have no "
            "sample. Add its row to the sheet. Doublets with such cells are called singlets."
        )
    return found


def as_table(found: Sequence[Unlisted]) -> pd.DataFrame | None:
    """Return the tags as a table for the record; None if there are none."""
    if not found:
        return None
    table = pd.DataFrame(found, columns=list(Unlisted._fields))
    return table.set_index(table.index.astype(str))


def note_tags(adata: AnnData, hashed: pd.DataFrame, found: Sequence[Unlisted]) -> None:
    """Add the tags of each lane that no cell has, or that the sheet does not name."""
    if not len(hashed) and not found:
        return
    step = "pp.demultiplex"
    listed = [f"{lane} {tag}" for lane, tag in zip(hashed["lane"], hashed["hashtag"], strict=True)]
    lanes, tags = adata.obs[schema.LANE].astype(str), adata.obs[schema.HASHTAG].astype(object)
    called = set((lanes + " " + tags.astype(str))[tags.notna()])
    without = [name for name in listed if name not in called]
    strangers = {f"{each.lane} {each.tag} ({each.n_cells} cells)": 1 for each in found}
    made = rows(
        step,
        "tags",
        len(listed) + len(found),
        len(set(listed) & called),
        {"no cell has it": without, "in negative cells, but not in the sample sheet": strangers},
    )
    note(adata, {step: made})
