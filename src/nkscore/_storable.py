"""Put names, tables and records into the form that h5ad and zarr files store and give back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What files cannot hold in a name, and what stands for it.
_SIGNS: Final = str.maketrans({"/": "|", "\0": "_"})
#: With these signs spreadsheets begin a formula.
_FORMULA: Final = frozenset("=+-@\t\r")
#: Names that mean something else in a path, or to anndata.
_TAKEN: Final = frozenset({"", ".", "..", "_index"})


def stored_name(name: object) -> str:
    """Return a name as a file can hold it: ``/`` becomes ``|``.

    >>> stored_name("CD4/CD8")
    'CD4|CD8'
    """
    text = str(name).translate(_SIGNS)
    return f"{text}_" if text in _TAKEN else text


def stored_names(names: Iterable[object], what: str) -> list[str]:
    """Return names as a file can hold them; no two may become one.

    Raises
    ------
    ValueError
        If two names differ only by a sign that files cannot hold.
    """
    first: dict[str, str] = {}
    for name in map(str, names):
        other = first.setdefault(stored_name(name), name)
        if other != name:
            msg = (
                f"{what} {other!r} and {name!r} have the same name in a file, where '/' becomes "
                "'|'. Rename one of them."
            )
            raise ValueError(msg)
    return list(first)


def check_key(key: str, option: str = "key_added") -> None:
    """Raise ``ValueError`` unless files can hold a slot of the name ``key``."""
    if stored_name(key) != key:
        msg = (
            f"{option}={key!r} cannot name a slot: .h5ad and .zarr files have no such name. Choose "
            f"another one, for example {stored_name(key)!r}."
        )
        raise ValueError(msg)


def stored_column(column: pd.Series) -> pd.Series:
    """Return a column as files can hold it: text with gaps as categories, other objects as text."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        levels = kind.categories
        if pd.api.types.is_numeric_dtype(levels) or _is_text(levels):
            return column
        return column.cat.rename_categories([str(level) for level in levels])
    known = column.notna().to_numpy()
    # The text of pandas 3 is stored and read as such.
    is_str = isinstance(kind, pd.StringDtype) and kind.na_value is not pd.NA
    if pd.api.types.is_numeric_dtype(kind) or (is_str and known.all()):
        return column
    text = column.astype(object)
    text[known] = [str(value) for value in text[known]]
    return text if known.all() else text.where(known, np.nan).astype("category")


def _is_text(values: pd.Index[Any]) -> bool:
    return bool(pd.api.types.infer_dtype(values) in {"string", "empty"})


def stored_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as files can hold it, with names of columns as text."""
    columns = [stored_column(table.iloc[:, place]) for place in range(table.shape[1])]
    names = stored_names(table.columns, "The columns")
    made = dict(zip(names, columns, strict=True))
    result = pd.DataFrame(made, index=table.index, columns=names)
    if not pd.api.types.is_numeric_dtype(table.index.dtype):
        result.index = pd.Index([str(name) for name in table.index])
    return result


def stored_value(value: object) -> object:
    """Return a record as files can hold it.

    ``None`` becomes ``"None"``, tuples and sets become lists.
    """
    if isinstance(value, dict):
        keys = stored_names(value, "The entries")
        return {key: stored_value(v) for key, v in zip(keys, value.values(), strict=True)}
    if isinstance(value, pd.DataFrame):
        return stored_frame(value)
    if isinstance(value, (list, tuple)):
        # An empty list would come back from h5ad as an array of floats.
        return [stored_value(v) for v in value] or "None"
    if isinstance(value, (set, frozenset)):
        members: list[Any] = [stored_value(v) for v in value]
        return sorted(members) or "None"
    if value is None:
        return "None"
    return value.item() if isinstance(value, np.generic) else value


def spreadsheet_safe(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose text no spreadsheet takes for a formula.

    Text that begins with ``=``, ``+``, ``-`` or ``@`` and is no number gets an apostrophe.
    """
    result = table.copy(deep=False)
    for place in range(table.shape[1]):
        column = table.iloc[:, place]
        if not pd.api.types.is_numeric_dtype(column.dtype) and _begins_odd(column):
            result.isetitem(place, column.astype(object).map(_safe).array)
    result.columns = pd.Index([_safe(name) for name in table.columns])
    if _begins_odd(table.index.to_series()):
        result.index = table.index.map(_safe)
    return result


def _begins_odd(column: pd.Series) -> bool:
    return any(isinstance(value, str) and value[:1] in _FORMULA for value in column.unique())


def _safe(value: object) -> object:
    if not isinstance(value, str) or value[:1] not in _FORMULA:
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
