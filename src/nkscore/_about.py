"""What a table of results says of itself, for the eye."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

#: Entries of ``attrs`` with several rows.
_ROWS: Final = {"left_out": "Not in the table", "ledger": "What was lost"}
#: Rows of each that are shown.
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class About:
    """Notes of a table: shown as text, or as HTML in a notebook."""

    title: str
    #: Heading → sentences or rows.
    notes: dict[str, list[str]]

    def __repr__(self) -> str:
        lines = [self.title]
        for heading, entries in self.notes.items():
            lines += [f"{heading}:", *(f"  {entry}" for entry in entries)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [f"<b>{escape(self.title)}</b>"]
        for heading, entries in self.notes.items():
            items = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
            parts.append(f"<p>{escape(heading)}</p><ul>{items}</ul>")
        return f"<div>{''.join(parts)}</div>"


def about(table: pd.DataFrame) -> About:
    """Show what a table says of itself: its design, and what is not in it and why.

    Parameters
    ----------
    table
        A table of ``tl``; reads its ``attrs``.

    Returns
    -------
    About
        Shown as text, or as HTML in a notebook: number of rows and columns, each entry of
        ``attrs``, and the rows of ``left_out`` (lines, samples, genes without a result) and of the
        ledger of losses.

    Raises
    ------
    TypeError
        If ``table`` is not a table.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"tumor": ["K562"], "log2_fc": [1.0]})
    >>> table.attrs["left_out"] = [{"what": "line", "name": "697", "reason": "one sample"}]
    >>> nk.about(table)
    Table of 1 row and 2 columns
    Not in the table:
      line 697: one sample
    """
    attrs = getattr(table, "attrs", None)
    if attrs is None or not hasattr(table, "columns"):
        msg = f"about() was given {type(table).__name__}; a table (DataFrame) of tl is needed."
        raise TypeError(msg)
    n, columns = len(table), table.shape[1]
    title = f"Table of {n:,} row{'s' * (n != 1)} and {columns:,} column{'s' * (columns != 1)}"
    notes = {_ROWS.get(str(key), str(key)): _entries(value) for key, value in attrs.items()}
    return About(title, {heading: entries for heading, entries in notes.items() if entries})


def _entries(value: object) -> list[str]:
    if not isinstance(value, list):
        return [str(value)]
    lost = [row for row in value if not (isinstance(row, dict) and row.get("n_lost") == 0)]
    more = [f"and {len(lost) - _SHOWN:,} more"] if len(lost) > _SHOWN else []
    return [*(_row(row) for row in lost[:_SHOWN]), *more]


def _row(row: object) -> str:
    """Write a row of ``left_out`` or of the ledger."""
    if not isinstance(row, dict):
        return str(row)
    if {"step", "n_in", "n_lost", "what", "reason"} <= set(row):
        return f"{row['step']}: {row['n_lost']:,} of {row['n_in']:,} {row['what']}: {row['reason']}"
    if {"what", "name", "reason"} <= set(row):
        return f"{row['what']} {row['name']}: {row['reason']}"
    return ", ".join(f"{key} {value}" for key, value in row.items())
