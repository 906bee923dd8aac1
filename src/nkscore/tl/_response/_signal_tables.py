"""Signatures of signals: packaged sets, a table of the user, or an installed CytoSig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, WrongScaleError
from nkscore.signatures import get
from nkscore.signatures._catalog import panel
from nkscore.signatures._tables import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats

HALLMARK: Final = "hallmark"
CYTOSIG: Final = "cytosig"
ALL: Final = "all"
_FILE: Final = "signature.centroid"
#: Genes of a signature that the response must have.
_FEWEST_GENES: Final = 10


@dataclass(frozen=True, slots=True)
class Signals:
    """``table``: genes × signals; ``family``: what each stands for, or its name."""

    table: pd.DataFrame
    family: dict[str, str]


def families() -> dict[str, str]:
    """Return name in a table of signatures → signal."""
    rows = read_table("signals.tsv")
    pairs = zip(rows["signal"], rows["names"], strict=True)
    return {name: str(signal) for signal, names in pairs for name in names.split(",")}


def partners() -> pd.DataFrame:
    """Return ligands and receptors by signal."""
    return read_table("signals.tsv").set_index("signal")[["ligands", "receptors"]]


def signals_of(source: pd.DataFrame | str, only: Sequence[str] | str | None) -> Signals:
    """Read the table, and keep the signals that NK cells can send, or those named."""
    table = _checked(_table(source))
    known = families()
    family = {str(name): known.get(str(name), str(name)) for name in table.columns}
    if only is None:
        chosen = [name for name in table.columns if name in known] or list(table.columns)
    elif only == ALL:
        chosen = list(table.columns)
    else:
        wanted = [only] if isinstance(only, str) else list(only)
        lost = [name for name in wanted if name not in table.columns]
        if lost:
            have = ", ".join(map(str, table.columns[:20]))
            msg = f"There is no signal {', '.join(lost)} in the signatures (they have: {have})."
            raise MissingKeyError(f"{msg} Name some of these, or 'all'.")
        chosen = wanted
    if len(chosen) < 2:
        msg = f"{len(chosen)} signal is in the table; two or more are needed to compare them."
        raise DesignError(msg)
    return Signals(table[chosen], {name: family[name] for name in chosen})


def _table(source: pd.DataFrame | str) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        return source
    if source == CYTOSIG:
        return _installed()
    if source == HALLMARK:
        return sets_as_table([name for name in families() if name.startswith("HALLMARK_")])
    msg = f"signatures={source!r}; a table of genes × signals, 'hallmark' or 'cytosig' is needed."
    raise ValueError(msg)


def sets_as_table(names: Sequence[str]) -> pd.DataFrame:
    """Return packaged sets as genes × sets of 0 and 1."""
    return pd.DataFrame({n: pd.Series(1.0, index=list(get(n).up)) for n in names}).fillna(0.0)


def hallmark_sets() -> pd.DataFrame:
    """Return all packaged Hallmark sets."""
    return sets_as_table(list(panel("hallmark")))


def _installed() -> pd.DataFrame:
    """Read the signatures of the user's copy of CytoSig; nothing of it comes with nkscore."""
    from importlib import metadata

    advice = "Install it: pip install --no-deps cytosig (GPL-3)."
    try:
        package = metadata.distribution("cytosig")
    except metadata.PackageNotFoundError as error:
        msg = f"signatures='cytosig' needs the package cytosig. {advice}"
        raise ImportError(msg) from error
    listed = [Path(str(f.locate())) for f in package.files or [] if f.name == _FILE]
    # pip install --target puts scripts elsewhere than it records.
    places = [*listed, Path(str(package.locate_file(""))) / "bin" / _FILE]
    path = next((place for place in places if place.exists()), None)
    if path is None:
        msg = f"The installed cytosig has no file {_FILE}. {advice}"
        raise ImportError(msg)
    return pd.read_csv(path, sep="\t", index_col=0)


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    for axis, what in ((table.index, "gene"), (table.columns, "signal")):
        if axis.has_duplicates:
            first = axis[axis.duplicated()][0]
            msg = f"The signatures hold the {what} {first!r} more than once; each is needed once."
            raise DesignError(msg)
    text = [c for c in table.columns if not pd.api.types.is_numeric_dtype(table[c])]
    if text:
        msg = (
            f"Column {text[0]!r} of the signatures holds {table[text[0]].dtype} values; numbers "
            "are needed, genes in rows and signals in columns."
        )
        raise WrongScaleError(msg)
    made = table.astype("float64").fillna(0.0)
    if not np.isfinite(made.to_numpy()).all():
        msg = "The signatures hold infinite values; finite numbers are needed. Clip them."
        raise WrongScaleError(msg)
    return made


def scaled(table: pd.DataFrame, genes: pd.Index) -> pd.DataFrame:
    """Return signatures of the genes of a response with mean 0 and standard deviation 1.

    Signatures with fewer than ten genes of the response are dropped.
    """
    own = table.reindex(genes).fillna(0.0)
    own = own.loc[:, (own != 0).sum() >= _FEWEST_GENES]
    spread = own.std(ddof=0)
    own = own.loc[:, spread > 0]
    made: pd.DataFrame = (own - own.mean()) / own.std(ddof=0)
    return made


def too_few(table: pd.DataFrame, genes: pd.Index) -> GeneCoverageError:
    """Return the error for a response without enough genes of the signatures."""
    shared = len(genes.intersection(table.index))
    return GeneCoverageError(
        f"Fewer than two signatures have {_FEWEST_GENES} genes of the response ({shared} of "
        f"{len(table)} genes are in both). Both need human gene symbols."
    )


def values_of(table: pd.DataFrame) -> Floats:
    """Return genes × signals as an array."""
    return np.ascontiguousarray(table.to_numpy(dtype=float))
