"""Write the tables of docs/data_contract.md from ``nkscore.schema.SLOTS``.

python tools/make_data_contract.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nkscore.schema import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nkscore._slots import Slot

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data_contract.md"
BEGIN = "<!-- made by tools/make_data_contract.py -->"
END = "<!-- end of what it made -->"
#: Heading of a table → places whose slots it lists.
TABLES = {
    "Matrices": ("layers", "X"),
    "Columns of `obs`": ("obs",),
    "Columns of `var`": ("var",),
    "Tables and maps of cells: `obsm`, `obsp`": ("obsm", "obsp"),
    "Tables of genes: `varm`": ("varm",),
    "`uns`": ("uns",),
}


def spelled(slot: Slot) -> str:
    """Return a slot as Python code names it."""
    if slot.place == "X":
        return "`X`"
    record, found, key = slot.name.partition("/")
    keys = [record, key] if found else [slot.name]
    shown = "".join(f"[{key}]" if key.startswith("<") else f'["{key}"]' for key in keys)
    return f"`{slot.place}{shown}`"


def _names(functions: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in functions) or "–"


def tables() -> str:
    """Return all slots as tables of Markdown."""
    lines = []
    for heading, places in TABLES.items():
        lines += [f"## {heading}", ""]
        lines += ["| slot | content | type | axis | written by | read by |"]
        lines += ["| --- | --- | --- | --- | --- | --- |"]
        for slot in SLOTS:
            if slot.place in places:
                cells = (spelled(slot), slot.meaning, slot.dtype, slot.axis or "–")
                cells += (_names(slot.written_by), _names(slot.read_by))
                lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def page(text: str) -> str:
    """Return the page with new tables."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        message = f"The page has no lines {BEGIN!r} and {END!r}, between which the tables go."
        raise ValueError(message)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
