"""Human symbols for the genes of a mouse screen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from nkscore._text import opened, reading_table, with_header
from nkscore._warn import warn
from nkscore.errors import GeneCoverageError, MissingKeyError

if TYPE_CHECKING:
    from os import PathLike

_MOUSE_SHARE: Final = 0.5
#: Names without a human gene of that name: clones, models, histocompatibility, olfaction.
_MOUSE_ONLY: Final = r"Rik\d*$|^Gm\d|^H2-|^Olfr|^Vmn|^LOC\d|^(?:BC|AI|AU|AW)\d{4,}"


def human_genes(
    table: pd.DataFrame, orthologs: str | PathLike[str] | pd.DataFrame | None, path: Path
) -> pd.DataFrame:
    """Map mouse genes to human symbols on request; warn if genes look like mouse genes."""
    if orthologs is None:
        _warn_of_mouse(table["gene"].drop_duplicates(), path)
        return table
    mapping = _mapping(table["gene"], orthologs)
    human = table["gene"].map(mapping)
    known = human.notna()
    if not known.any():
        msg = (
            f"{path}: orthologs names none of its genes ({', '.join(table['gene'][:3])}, ...). "
            "Its column 'mouse' must hold names as in the file."
        )
        raise GeneCoverageError(msg)
    left = table.loc[~known, "gene"].drop_duplicates()
    if len(left):
        warn(
            f"{path}: {len(left)} of {table['gene'].nunique()} genes have no unique human "
            f"ortholog in this table and keep their names ({', '.join(left[:5])})."
        )
    return table.assign(gene=human.where(known, table["gene"]), gene_source=table["gene"])


def _warn_of_mouse(genes: pd.Series, path: Path) -> None:
    mouse = genes.str.fullmatch(r"[A-Z][a-z0-9]+[a-z][A-Za-z0-9-]*").mean()
    if mouse > _MOUSE_SHARE:
        warn(
            f"{path}: {100 * mouse:.0f} % of the genes are written like mouse genes "
            f"({', '.join(genes[:3])}); they do not match human genes. Map them with orthologs=."
        )


def _mapping(genes: pd.Series, orthologs: str | PathLike[str] | pd.DataFrame) -> dict[str, str]:
    if isinstance(orthologs, str) and orthologs == "same_symbol":
        unique = genes.drop_duplicates()
        unique = unique[~unique.str.contains(_MOUSE_ONLY)]
        pairs = pd.DataFrame({"mouse": unique, "human": unique.str.upper()})
    elif isinstance(orthologs, pd.DataFrame):
        pairs = orthologs
    else:
        path = Path(orthologs)
        with reading_table(path), opened(path) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8")
            pairs = pd.read_csv(text, sep=None, engine="python", dtype=str, keep_default_na=False)
            pairs = with_header(pairs, path)
    if not {"mouse", "human"} <= set(pairs.columns):
        msg = (
            f"orthologs has the columns {', '.join(map(str, pairs.columns))}; 'mouse' and 'human' "
            "are needed. Rename them."
        )
        raise MissingKeyError(msg)
    pairs = pairs[["mouse", "human"]].replace("", None).dropna().drop_duplicates()
    single = ~pairs["mouse"].duplicated(keep=False) & ~pairs["human"].duplicated(keep=False)
    return dict(zip(pairs.loc[single, "mouse"], pairs.loc[single, "human"], strict=True))
