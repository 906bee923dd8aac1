"""Which clone each cell belongs to, from a table of barcodes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._gate import expanded
from nkscore._text import as_numbers, read_text, reading_table
from nkscore.errors import LaneError, MissingKeyError, WrongScaleError
from nkscore.io._barcodes import match

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from anndata import AnnData

#: What a column holds → its names, as lower-case letters and digits.
_NAMES: Final = {
    "cell": "cell cellbarcode cellid cellbc cb barcode barcodes droplet",
    "clone": (
        "clone cloneid clonalid clonebarcode lineagebarcode lineage larrybarcode larry celltag "
        "barcodeid clonename bc"
    ),
    "lane": "lane library",
    "umis": "umis umi numis numi count counts umicount nreads reads",
}


def read_clones(
    path: str | os.PathLike[str],
    adata: AnnData,
    *,
    lane: str | None = None,
    min_share: float = 0.8,
) -> pd.Series:
    r"""Read the clone of each cell from a table of cell barcodes and clones.

    Reads ``obs["lane"]`` if the table has lanes or ``lane`` is given.

    Parameters
    ----------
    path
        Table separated by tabs, commas or blanks, plain or gzipped: a column of cells (``cell``,
        ``cell_barcode``, ``barcode``, ``CB``, ...) and of clones (``clone``, ``clone_id``,
        ``lineage_barcode``, ...); if there are any, of lanes (``lane``) and counts (``umis``,
        ``count``, ...). Several rows of a cell and clone are summed.
    adata
        Cells that the table describes. Barcodes are matched as those of tags are: with or without
        ``-1`` and the name of the lane, reversed, or by 10x's translation.
    lane
        Lane that the table is of, if it names none and ``adata`` has several.
    min_share
        A cell with several clones belongs to one with at least this share of its counts (of its
        rows, without counts); otherwise to none, as doublets do.

    Returns
    -------
    pandas.Series
        Categorical ``clone``, one value per cell, in the order of ``adata.obs_names``; missing
        where the table names no clone or several. Store it as ``adata.obs["clone"]``.

    Raises
    ------
    MissingKeyError
        If the file is absent, empty, damaged, or has no columns of cells and clones; or if
        ``adata`` has no lane of a name.
    LaneError
        If fewer than half of the barcodes match.
    WrongScaleError
        If a count is not a number of at least 0, or ``min_share`` allows two clones.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, n_genes=4000, rng=0)
    >>> file = Path(tempfile.mkdtemp()) / "clones.tsv"
    >>> _ = file.write_text("cell\tclone\n" + "".join(f"{c}\tc1\n" for c in adata.obs_names))
    >>> adata.obs["clone"] = nk.io.read_clones(file, adata)
    >>> adata.obs["clone"].cat.categories.tolist()
    ['c1']
    """
    if not 0.5 < min_share <= 1:
        msg = f"min_share is {min_share}; a share above 0.5 and up to 1 is needed."
        raise WrongScaleError(msg)
    place = expanded(path)
    table = _table(place)
    found = np.full(adata.n_obs, None, dtype=object)
    for name, part in _of_lanes(table, adata, lane, place):
        cells = np.arange(adata.n_obs)
        if name is not None:
            cells = np.flatnonzero((adata.obs[schema.LANE].astype(str) == name).to_numpy())
        called = _called(part, min_share)
        rows = match(
            adata.obs_names[cells].astype(object),
            called.index,
            where=place.with_name(f"cells of lane {name}" if name else "cells"),
            other=place,
            what="clones",
        )
        matched = rows >= 0
        found[cells[matched]] = called.to_numpy(dtype=object)[rows[matched]]
    return pd.Series(pd.Categorical(found), index=adata.obs_names, name=schema.CLONE)


def _key(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _table(path: Path) -> pd.DataFrame:
    """Return the columns ``cell``, ``clone`` and, if any, ``lane`` and ``umis``."""
    if not path.is_file():
        msg = f"{path} is not a file. Give a table with columns of cells and of clones."
        raise MissingKeyError(msg)
    with reading_table(path):
        text = read_text(path)
        mark = max("\t,; ", key=text.split("\n", 1)[0].count)
        table = pd.read_csv(
            io.StringIO(text), sep=mark, dtype=str, na_filter=False, index_col=False
        )
    keys = {_key(name): str(name) for name in reversed(list(table))}
    names = {
        what: next((keys[word] for word in words.split() if word in keys), None)
        for what, words in _NAMES.items()
    }
    absent = [what for what in ("cell", "clone") if names[what] is None]
    if absent:
        msg = (
            f"{path} has no column of {' and '.join(absent)}s (its columns: "
            f"{', '.join(map(str, list(table)[:12]))}). Name the columns cell and clone."
        )
        raise MissingKeyError(msg)
    chosen = {what: table[name].str.strip() for what, name in names.items() if name is not None}
    made = pd.DataFrame(chosen)
    if "umis" in made:
        made["umis"] = _counts(made["umis"], path)
    made = made[(made["cell"] != "") & ~made["clone"].str.lower().isin(["", "na", "nan", "none"])]
    if made.empty:
        msg = f"{path} names no cell with a clone. Give the table as the program wrote it."
        raise MissingKeyError(msg)
    return made


def _counts(text: pd.Series, path: Path) -> pd.Series:
    values = as_numbers(text.mask(text == "", "0"))
    bad = ~(values >= 0).to_numpy()
    if bad.any():
        row = int(np.argmax(bad))
        msg = f"{path}, row {row + 2}: {text.iloc[row]!r} is no count of at least 0."
        raise WrongScaleError(msg)
    return values


def _of_lanes(
    table: pd.DataFrame, adata: AnnData, lane: str | None, path: Path
) -> list[tuple[str | None, pd.DataFrame]]:
    """Return the rows of each lane; the lane is ``None`` if all cells are asked."""
    if lane is None and "lane" not in table:
        return [(None, table)]
    schema.require(adata, "obs", [schema.LANE], "io.read_coculture")
    have = set(adata.obs[schema.LANE].dropna().astype(str))
    named = [lane] if lane is not None else sorted(table["lane"].unique())
    unknown = [name for name in named if name not in have]
    if unknown:
        msg = (
            f"{path}: there is no lane {', '.join(map(repr, unknown[:5]))} in adata.obs['lane'] "
            f"({', '.join(sorted(have))}). Name one of these."
        )
        raise MissingKeyError(msg)
    if "lane" not in table:
        return [(lane, table)]
    parts = [(str(name), table[table["lane"] == name]) for name in named]
    if not any(len(part) for _, part in parts):
        msg = f"{path} has no row of lane {lane!r}. Choose one of its lanes."
        raise LaneError(msg)
    return [(name, part) for name, part in parts if len(part)]


def _called(table: pd.DataFrame, min_share: float) -> pd.Series:
    """Return the clone of each cell of the table, missing where there are several."""
    size = table["umis"] if "umis" in table else pd.Series(1.0, index=table.index)
    sums = size.groupby([table["cell"], table["clone"]]).sum().reset_index(name="n")
    total = sums.groupby("cell")["n"].transform("sum")
    best = sums[(sums["n"] >= min_share * total) & (total > 0)].set_index("cell")["clone"]
    return best.reindex(pd.Index(sums["cell"].unique(), dtype=object))
