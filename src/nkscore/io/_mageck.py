"""Results and counts of pooled CRISPR screens in MAGeCK's formats."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import stats

from nkscore._text import as_numbers, opened, reading_table, with_header
from nkscore.errors import GeneCoverageError, MissingKeyError, WrongScaleError
from nkscore.io._names import warn_of_dates
from nkscore.io._orthologs import human_genes

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from nkscore._types import Floats

#: Names of one column in MAGeCK's files and in tables that R has read and written.
_NAMES: Final = {
    "id": "gene",
    "gene": "gene",
    "gene_symbol": "gene",
    "num": "n_guides",
    "sgrna": "guide",
    "neg_lfc": "log2_fc",
    "avgfc": "log2_fc",
    "neg_p_value": "p_depleted",
    "neg_fdr": "q_depleted",
    "pos_p_value": "p_enriched",
    "pos_fdr": "q_enriched",
}
_SIDES: Final = ["p_depleted", "q_depleted", "p_enriched", "q_enriched"]
_MLE_COLUMNS: Final = [
    "gene",
    "comparison",
    "n_guides",
    "beta",
    "log2_fc",
    "se",
    "p_value",
    "q_value",
    "p_wald",
]
_GUIDE_NAMES: Final = {
    "sgrna": "guide",
    "gene": "gene",
    "control_mean": "mean_control",
    "treat_mean": "mean_treated",
    "lfc": "log2_fc",
    "p_twosided": "p_value",
    "fdr": "q_value",
}


def read_mageck(
    path: str | Path,
    *,
    screen: str | None = None,
    orthologs: str | PathLike[str] | pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Read one file of a pooled CRISPR screen in a MAGeCK format.

    The columns show the format: gene summaries of RRA (also after R changed ``neg|lfc`` to
    ``neg.lfc``, and with ``avgfc``) and of MLE, guide summaries, and count tables.

    Parameters
    ----------
    path
        Text file, separated by tabs or commas, plain or gzipped.
    screen
        Name of the screen; by default the name of the file up to its first dot.
    orthologs
        How genes of a mouse screen get human symbols: a table with columns ``mouse`` and ``human``
        or its path, or ``"same_symbol"``, the name in capitals, which is correct for most orthologs
        but not for all (clones, ``Gm`` models, ``H2``, ``Olfr`` and ``Vmn`` genes are not changed).
        Genes that are not mapped one to one keep their names, with a warning.

    Returns
    -------
    A table with the column ``screen`` and, depending on the format (in ``attrs["format"]``)

    ``rra``
        ``gene``, ``n_guides``, ``log2_fc`` (median of the guides, treated over control),
        ``p_depleted``, ``p_enriched`` (one-sided, as written), ``q_depleted``, ``q_enriched``,
        ``p_value`` (twice the smaller, at most 1) and ``q_value`` (Benjamini-Hochberg of it);
    ``mle``
        one row per gene and ``comparison``: ``n_guides``, ``beta`` (natural logarithm, as written),
        ``log2_fc`` (``beta / ln 2``), ``se`` (of ``log2_fc``), ``p_value`` and ``q_value`` of the
        permutation and ``p_wald``;
    ``guides``
        ``guide``, ``gene``, ``mean_control``, ``mean_treated``, ``log2_fc``, ``p_value``,
        ``q_value``;
    ``counts``
        ``guide``, ``gene`` and one column of counts per sample.

    With ``orthologs``, ``gene_source`` holds the names of the file.

    Raises
    ------
    MissingKeyError
        If the file is not a table, or its columns match no known format.
    WrongScaleError
        If a p-value is outside 0 to 1, or a count is negative or not a number.
    GeneCoverageError
        If there are no rows, genes are repeated, or ``orthologs`` names none of them.

    Notes
    -----
    The meaning of the sign depends on the design: see :func:`nkscore.tl.screen_hits`. MAGeCK: Li et
    al. 2014, doi 10.1186/s13059-014-0554-4; MLE: Li et al. 2015, doi 10.1186/s13059-015-0843-6.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import nkscore as nk
    >>> text = "id,num,neg|p-value,neg|fdr,neg|lfc,pos|p-value,pos|fdr,pos|lfc" + chr(10)
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "k562.gene_summary.txt"
    >>> _ = file.write_text(text + "NCR3LG1,4,0.999,1,2.5,0.00001,0.001,2.5")
    >>> nk.io.read_mageck(file)[["screen", "gene", "log2_fc", "p_value"]].values.tolist()
    [['k562', 'NCR3LG1', 2.5, 2e-05]]
    """
    path = Path(path)
    with reading_table(path):
        with opened(path) as stream:
            table = pd.read_csv(
                io.TextIOWrapper(stream, encoding="utf-8"),
                sep=None,
                engine="python",
                dtype=str,
                na_values=["NA", ""],
                keep_default_na=False,
            )
        table = with_header(table, path).apply(_inferred)
        made = _checked(table, path, screen=screen)
    kind = made.attrs["format"]
    made = human_genes(made, orthologs, path)
    made.attrs["format"] = kind
    return made


def _inferred(column: pd.Series) -> pd.Series:
    """Return a column as numbers if all of its text is."""
    values = as_numbers(column)
    return values if values.notna().equals(column.notna()) else column


def _checked(table: pd.DataFrame, path: Path, *, screen: str | None) -> pd.DataFrame:
    table.columns = [str(column).strip() for column in table.columns]
    kind, read = _kind(table, path)
    if table.empty:
        msg = f"{path} has a header but no rows. Use the original file of the program."
        raise GeneCoverageError(msg)
    made = read(table, path)
    read_columns = list(made.columns)
    made = made.assign(screen=screen or path.name.split(".")[0])[["screen", *read_columns]]
    unnamed = made["gene"].isna()
    if unnamed.any():
        msg = (
            f"{path} has {int(unnamed.sum())} rows without a gene, first in row "
            f"{int(np.argmax(unnamed.to_numpy())) + 2}. Each row needs a gene; fill them "
            "in or remove the rows."
        )
        raise GeneCoverageError(msg)
    made["gene"] = made["gene"].astype(str).astype(object)
    warn_of_dates(made["gene"].to_numpy(dtype=object), path)
    _refuse_repeats(made, kind, path)
    made.attrs["format"] = kind
    return made


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _kind(
    table: pd.DataFrame, path: Path
) -> tuple[str, Callable[[pd.DataFrame, Path], pd.DataFrame]]:
    plain = {_plain(column) for column in table.columns}
    if {"neg_p_value", "pos_p_value"} <= plain and plain & {"neg_lfc", "avgfc"}:
        return "rra", _read_rra
    if any(re.search(r"[|.]beta$", column) for column in table.columns):
        return "mle", _read_mle
    if {"sgrna", "gene", "lfc", "p_twosided"} <= plain:
        return "guides", _read_guides
    if {"sgrna", "gene"} <= plain and table.shape[1] > 2:
        return "counts", _read_counts
    msg = (
        f"{path} has the columns {', '.join(table.columns[:8])}, which match no MAGeCK "
        "file. Needed: a gene summary (RRA: id, neg|lfc, neg|p-value, pos|p-value; MLE: Gene, "
        "NAME|beta), a guide summary (sgrna, Gene, LFC, p.twosided) or counts (sgRNA, Gene, "
        "samples)."
    )
    raise MissingKeyError(msg)


def _renamed(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    found = {names[_plain(c)]: table[c] for c in table.columns if _plain(c) in names}
    return pd.DataFrame(found)


def _read_rra(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    made = _renamed(table, _NAMES)
    _numeric(made, [c for c in made.columns if c != "gene"], path)
    _probabilities(made, [c for c in _SIDES if c in made], path)
    smaller = np.fmin(made["p_depleted"], made["p_enriched"])
    made["p_value"] = np.minimum(2 * smaller, 1.0)
    made["q_value"] = _adjusted(made["p_value"])
    order = ["gene", "n_guides", "log2_fc", "p_value", "q_value", *_SIDES]
    return made[[column for column in order if column in made]]


def _read_mle(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    gene = next((c for c in table.columns if _plain(c) in {"gene", "id"}), table.columns[0])
    guides = next((c for c in table.columns if _plain(c) == "sgrna"), None)
    parts = []
    for column in table.columns:
        match = re.fullmatch(r"(.+)([|.])beta", column)
        if not match:
            continue
        name, mark = match[1], match[2]
        found = {
            _plain(c.removeprefix(name + mark)): c
            for c in table.columns
            if c.startswith(name + mark)
        }
        missing = {"z", "p_value", "fdr", "wald_p_value"} - set(found)
        if missing:
            msg = (
                f"{path}: comparison {name!r} has a beta but no "
                f"{', '.join(sorted(missing))}. Use the whole gene summary of 'mageck mle'."
            )
            raise MissingKeyError(msg)
        part = pd.DataFrame({"gene": table[gene], "comparison": name})
        part["n_guides"] = table[guides] if guides else np.nan
        for ours, theirs in {
            "beta": "beta",
            "z": "z",
            "p_value": "p_value",
            "q_value": "fdr",
            "p_wald": "wald_p_value",
        }.items():
            part[ours] = table[found[theirs]]
        parts.append(part)
    made = pd.concat(parts, ignore_index=True)
    _numeric(made, ["beta", "z", "p_value", "q_value", "p_wald"], path)
    _probabilities(made, ["p_value", "q_value", "p_wald"], path)
    made["log2_fc"] = made["beta"] / math.log(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        made["se"] = np.abs(made["log2_fc"] / made["z"])
    return made[_MLE_COLUMNS]


def _read_guides(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    made = _renamed(table, _GUIDE_NAMES)
    _numeric(made, [c for c in made.columns if c not in {"guide", "gene"}], path)
    _probabilities(made, [c for c in ("p_value", "q_value") if c in made], path)
    return made


def _read_counts(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    names = {"sgrna": "guide", "gene": "gene"}
    made = table.rename(columns={c: names.get(_plain(c), c) for c in table.columns})
    samples = [c for c in made.columns if c not in {"guide", "gene"}]
    _numeric(made, samples, path)
    low = (made[samples] < 0).to_numpy() | made[samples].isna().to_numpy()
    if low.any():
        row, column = np.argwhere(low)[0]
        msg = (
            f"{path}, guide {made['guide'].iloc[row]!r}, sample {samples[column]!r}: "
            f"{made[samples[column]].iloc[row]} is not a count. Counts are 0 or more."
        )
        raise WrongScaleError(msg)
    return made[["guide", "gene", *samples]]


def _numeric(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    for column in columns:
        values = as_numbers(table[column])
        bad = values.isna() & table[column].notna()
        if bad.any():
            row = int(np.argmax(bad.to_numpy()))
            msg = (
                f"{path}, row {row + 2}, {column}: {table[column].iloc[row]!r} is not a "
                "number. Use the original file of the program."
            )
            raise WrongScaleError(msg)
        table[column] = values


def _probabilities(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    for column in columns:
        bad = ((table[column] < 0) | (table[column] > 1)).to_numpy()
        if bad.any():
            row = int(np.argmax(bad))
            msg = (
                f"{path}, gene {table['gene'].iloc[row]!r}, {column}: {table[column].iloc[row]:g} "
                "is outside 0 to 1, so it is not a p-value (perhaps its logarithm). Give p-values."
            )
            raise WrongScaleError(msg)


def _adjusted(p: pd.Series) -> Floats:
    q = np.full(len(p), np.nan)
    known = p.notna().to_numpy()
    if known.any():
        q[known] = stats.false_discovery_control(p[known])
    return q


def _refuse_repeats(table: pd.DataFrame, kind: str, path: Path) -> None:
    key = {"rra": ["gene"], "mle": ["gene", "comparison"]}.get(kind, ["guide"])
    repeated = table.duplicated(key)
    if repeated.any():
        name = table.loc[repeated, key[0]].iloc[0]
        msg = (
            f"{path} has {int(repeated.sum())} repeated rows, first of {key[0]} {name!r}. "
            f"Each {key[0]} occurs once in such a file; merge or remove them."
        )
        raise GeneCoverageError(msg)
