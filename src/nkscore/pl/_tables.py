"""The tables that figures draw: checks, and what is printed for rows and columns in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._colors import default_order
from nkscore.errors import DesignError, MissingKeyError
from nkscore.pl._look import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MANY = 10


def check_table(table: object, columns: Iterable[str], made_by: str) -> None:
    """Raise unless ``table`` has rows and the columns that a figure draws."""
    if not isinstance(table, pd.DataFrame):
        msg = (
            f"Found {type(table).__name__}; a pandas DataFrame is needed: pass the table "
            f"that {made_by} returns."
        )
        raise TypeError(msg)
    wanted = list(columns)
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        msg = (
            f"The table has no column {listed(missing)} (it has: {listed(table.columns)}). "
            f"The figure needs {listed(wanted)}: pass the table that {made_by} returns."
        )
        raise MissingKeyError(msg)
    twice = [name for name in dict.fromkeys(wanted) if (table.columns == name).sum() > 1]
    if twice:
        msg = f"The table has several columns {listed(twice)}; one is needed. Rename the others."
        raise DesignError(msg)
    if len(table) == 0:
        msg = (
            "The table has no rows, so there is nothing to draw. "
            f"At least one row is needed: check the filters between {made_by} and this figure."
        )
        raise DesignError(msg)


def check_number(table: pd.DataFrame, *columns: str) -> None:
    """Raise unless some row has a finite number in all of ``columns``, and text is in none."""
    for name in columns:
        _check_no_text(table[name], name)
    numbers = table[list(columns)].to_numpy(dtype=float, na_value=np.nan)
    if not np.isfinite(numbers).all(axis=1).any():
        names = " and ".join(repr(name) for name in columns)
        where = (
            f"No row has a finite number in both {names}"
            if len(columns) > 1
            else (f"Column {names} holds no finite number")
        )
        msg = (
            f"{where}, so there is nothing to draw; at least one is needed. Check why "
            "nothing was tested: too few cells or samples, or the wrong column."
        )
        raise DesignError(msg)


def _check_no_text(values: pd.Series, name: str) -> None:
    text = next((value for value in values if isinstance(value, str)), None)
    if text is not None:
        msg = (
            f"Column {name!r} holds text ({text!r}); numbers are needed. Convert it with "
            "pandas.to_numeric."
        )
        raise DesignError(msg)


def check_unique(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise if one cell of a figure would have to show two rows."""
    repeated = table.duplicated(list(columns))
    if repeated.any():
        first = table.loc[repeated, list(columns)].iloc[0]
        where = ", ".join(f"{name} {first[name]!s}" for name in columns)
        msg = (
            f"The table has several rows for {where}; one is needed. Select one contrast "
            "(one condition and time) before drawing."
        )
        raise ValueError(msg)


def check_probabilities(values: pd.Series, name: str) -> None:
    """Raise unless all values that are not missing lie between 0 and 1."""
    _check_no_text(values, name)
    known = values.dropna()
    wrong = known[(known < 0) | (known > 1)]
    if len(wrong):
        msg = (
            f"Column {name!r} holds {wrong.iloc[0]:g}; probabilities between 0 and 1 are needed. "
            "Pass p-values themselves, not their logarithm."
        )
        raise ValueError(msg)


def levels_of(column: pd.Series, kind: str = "") -> list[str]:
    """Return the levels in use.

    Categories keep their order; others come in the order of the palette ``kind``, and levels that
    it lacks in natural order (``NK2`` before ``NK10``).
    """
    used = {str(value) for value in column.dropna().unique()}
    if isinstance(column.dtype, pd.CategoricalDtype):
        return ordered(str(level) for level in column.cat.categories if str(level) in used)
    return ordered(default_order(kind, used))


def all_levels(column: pd.Series, kind: str = "") -> list[str]:
    """Return the levels, used or not, so that a subset of cells keeps its colors."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return ordered(str(level) for level in column.cat.categories)
    return levels_of(column, kind)


def as_text(column: pd.Series) -> pd.Series:
    """Return the column as plain text in which missing values are ``unassigned``."""
    text = column.astype(object).where(column.notna(), "unassigned")
    return text.astype(str)


def in_order(names: Iterable[str], order: Sequence[str] | None, what: str) -> list[str]:
    """Return ``order`` restricted to ``names``; raise if it has unknown names."""
    known = list(names)
    if order is None:
        return ordered(known)
    wanted = [str(name) for name in order]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        msg = f"Unknown {what} {listed(unknown)}. The table holds: {listed(known)}."
        raise ValueError(msg)
    return wanted


def one_of(known: Sequence[str], wanted: str | None, option: str) -> str:
    """Return the level that was asked for, or the only one."""
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None or wanted not in known:
        found = f"{len(known)} {option}s" if wanted is None else f"no {option} {wanted!r}"
        msg = f"Found {found}; one is needed. Pass {option}= one of: {listed(known) or 'none'}."
        raise ValueError(msg)
    return wanted


def listed(names: Iterable[object]) -> str:
    """Return names in quotes, shortened if there are many."""
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:MANY]) + (", ..." if len(shown) > MANY else "")


def by_significance(data: pd.DataFrame, row: str, called: pd.Series, p: str) -> list[str]:
    """Return the levels of ``row``, those called most often first, then by their evidence.

    ``called`` marks the rows of the table that are hits; ``p`` is the column of p- or q-values,
    whose negative logarithms are summed.
    """
    ranking = pd.DataFrame(
        {row: data[row], "hits": called, "strength": -np.log10(data[p].clip(lower=1e-300))}
    )
    ranking = ranking.groupby(row, as_index=False).sum()
    ranking = ranking.sort_values(["hits", "strength", row], ascending=[False, False, True])
    return [str(name) for name in ranking[row]]


def lineages_of(data: pd.DataFrame) -> dict[str, str]:
    """Return the lineage of each tumor, empty if the table has none."""
    if "lineage" not in data.columns:
        return {}
    known = data.drop_duplicates("tumor")
    return dict(zip(known["tumor"], known["lineage"], strict=True))


def tumor_order(table: pd.DataFrame, tumors: Sequence[str] | None) -> list[str]:
    """Return the requested tumors, or all, grouped by lineage."""
    names = levels_of(table["tumor"])
    if tumors is not None or "lineage" not in table.columns:
        return in_order(names, tumors, "tumors")
    lineage_of = lineages_of(
        table.assign(tumor=as_text(table["tumor"]), lineage=as_text(table["lineage"]))
    )
    ranks = {level: i for i, level in enumerate(levels_of(table["lineage"], "lineage"))}
    return ordered(sorted(names, key=lambda name: ranks.get(lineage_of[name], len(ranks))))


def interval_words(rows: pd.DataFrame, effect: str, high: str) -> str:
    """Return "95 % interval" or alike if standard errors and degrees of freedom say so."""
    from scipy import stats

    df = next((name for name in ("df_total", "df") if name in rows.columns), None)
    if df is None or "se" not in rows.columns:
        return "interval"
    center, end, error, free = (
        rows[name].to_numpy(dtype=float) for name in (effect, high, "se", df)
    )
    known = np.isfinite(center) & np.isfinite(end) & (error > 0) & (free > 0)
    level = 2 * stats.t.cdf(((end - center) / np.where(known, error, 1.0))[known], free[known]) - 1
    if not len(level) or np.ptp(level) > 0.002 or not 0 < level[0] < 1:
        return "interval"
    return f"{100 * float(np.median(level)):.3g} % interval"


def number_words(rows: pd.DataFrame) -> str:
    """Return the numbers of samples in both arms, "" if the table has none."""
    names = ("n_samples_treated", "n_samples_control")
    if not set(names) <= set(rows.columns) or rows[list(names)].isna().all(axis=None):
        return ""
    treated, control = (_from_to(rows[name].dropna()) for name in names)
    return f"n = {treated} against {control} samples"


def _from_to(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return str(low) if low == high else f"{low}–{high}"


_ABBREVIATIONS: Final = {
    "tnfa": "TNFα",
    "nfkb": "NF-κB",
    "il6": "IL6",
    "jak": "JAK",
    "stat3": "STAT3",
    "il2": "IL2",
    "stat5": "STAT5",
    "mtorc1": "mTORC1",
    "myc": "MYC",
    "e2f": "E2F",
    "g2m": "G2M",
    "dna": "DNA",
    "uv": "UV",
    "kras": "KRAS",
    "tgf": "TGF",
    "pi3k": "PI3K",
    "akt": "AKT",
    "mtor": "mTOR",
    "p53": "p53",
    "wnt": "WNT",
}


def readable(names: Sequence[str]) -> list[str]:
    """Return MSigDB's names of hallmark sets as words, unless two would look the same."""
    words = []
    for name in names:
        text = name
        if name.startswith("HALLMARK_"):
            parts = name.removeprefix("HALLMARK_").lower().split("_")
            text = " ".join(_ABBREVIATIONS.get(part, part) for part in parts)
            text = text[0].upper() + text[1:] if parts[0] not in _ABBREVIATIONS else text
        words.append(text)
    return words if len(set(words)) == len(words) else list(names)
