"""Concentrations of a bead-based cytokine panel, exported by Bio-Plex Manager."""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from nkscore._gate import check_workbook
from nkscore._text import as_numbers, read_text, reading_table
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Columns of the export that describe a well; everything to their right is an analyte.
_DESCRIBING: Final = {
    "type": "type",
    "well": "well",
    "description": "sample",
    "sample": "sample",
    "outlier": "",
    "dilution": "dilution",
    "sampling errors": "",
    "group": "group",
    "gate": "",
}
_EMPTY: Final = {"", "nan", "n/a", "na", "***", "---", "none"}
_OBSERVED: Final = re.compile(r"\bobs(erved)?\b.*\bconc", re.IGNORECASE)
_SUMMARY: Final = re.compile(
    r"mean|average|median|s\.?d\.?|std( ?dev)?|(%|percent) ?cv|cv ?%?|min|max|n|sem", re.IGNORECASE
)
_LOG = logging.getLogger("nkscore")
_LOOKED_AT: Final = 60
_RULES: Final = ("limit", "half_limit", "missing")


def read_bioplex(
    path: str | Path,
    *,
    sheet: str | int = 0,
    below: str = "limit",
    above: str = "limit",
    analytes: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read concentrations of a cytokine panel with the marks of the instrument's software.

    ``OOR <`` (below the standard curve) and ``OOR >`` (above it) become numbers by a documented
    rule, and ``*`` (extrapolated beyond the curve) is removed; the column ``flag`` keeps the
    original mark.

    Parameters
    ----------
    path
        Export of observed concentrations, pg/ml: ``.csv`` or ``.tsv`` (plain or gzipped), or
        ``.xlsx`` (needs openpyxl). Lines above the header row (the one with ``Well``,
        ``Description`` or ``Sample``) and rows below the first empty one are skipped.
    sheet
        Name or number of the sheet of a workbook.
    below, above
        Replacement of ``OOR <`` and ``OOR >``: ``"limit"``, the smallest (largest) number of the
        analyte in the file, as in Dufva, Gandolfi et al. 2023; ``"half_limit"`` (``below`` only),
        half of it; ``"missing"``.
    analytes
        Analytes to keep, by their names in the returned table; by default all.

    Returns
    -------
    One row per well and analyte: ``sample`` (description), ``well`` and ``type`` if the file has
    them, ``analyte`` (without the maker's prefix ``Hu`` and the bead region in brackets),
    ``concentration`` (float64, pg/ml) and ``flag`` (empty, ``below``, ``above``, ``extrapolated``
    or ``missing``).

    Raises
    ------
    MissingKeyError
        If no header row is found, or a requested analyte is missing.
    WrongScaleError
        If a cell holds neither a number nor a mark, or a negative number, or a comma that could be
        a decimal point or a thousands separator; or if an analyte is out of range in every well and
        ``below`` or ``above`` needs its limit.
    DesignError
        If two columns hold one analyte.
    ValueError
        If ``below`` or ``above`` is unknown.

    Notes
    -----
    A concentration set to a limit is a bound, not a measurement: tests on analytes that are mostly
    out of range compare mainly bounds. Dufva, Gandolfi et al. 2023, doi
    10.1016/j.immuni.2023.11.008.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import nkscore as nk
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "plate.csv"
    >>> lines = ["Plate 1", "Well,Description,Hu IFN-g (21)", "A1,NK,OOR <", "A2,K562 NK,*90.5"]
    >>> _ = file.write_text(chr(10).join([*lines, "A3,K562,8.0"]))
    >>> nk.io.read_bioplex(file)[["sample", "analyte", "concentration", "flag"]].values.tolist()[:2]
    [['NK', 'IFN-g', 8.0, 'below'], ['K562 NK', 'IFN-g', 90.5, 'extrapolated']]
    """
    path = Path(path)
    if below not in _RULES or above not in {"limit", "missing"}:
        msg = (
            f"below={below!r}, above={above!r}; below must be one of {', '.join(_RULES)} and above "
            "'limit' or 'missing'."
        )
        raise ValueError(msg)
    with reading_table(path):
        return _read(path, sheet, below=below, above=above, analytes=analytes)


def _read(
    path: Path,
    sheet: str | int,
    *,
    below: str,
    above: str,
    analytes: str | Sequence[str] | None,
) -> pd.DataFrame:
    cells = _cells(path, sheet)
    header, names = _header(cells, path)
    body = _wells_only(cells.iloc[header + 1 :], names, path)
    describing = {place: _DESCRIBING[n.lower()] for place, n in names.items() if _describes(n)}
    wells = pd.DataFrame({name: body[p] for p, name in describing.items() if name})
    # Some exports list the limits of the curves below the wells.
    blank = (wells == "").all(axis=1).to_numpy()
    last = int(np.argmax(blank)) if blank.any() else len(wells)
    _log_rest(wells.iloc[last:], path)
    places = _places(names, path)
    parts = [
        _analyte(body[places[name]].iloc[:last], name, path, below=below, above=above).assign(
            **{column: wells[column].iloc[:last].to_numpy() for column in map(str, wells)}
        )
        for name in _chosen(places, analytes, path)
    ]
    made = pd.concat(parts, ignore_index=True)
    first = [c for c in ("sample", "well", "type", "group", "dilution") if c in made]
    return made[[*first, "analyte", "concentration", "flag"]]


def _cells(path: Path, sheet: str | int) -> pd.DataFrame:
    """Return all cells as text, without a header."""
    if path.suffix.lower() in {".xlsx", ".xlsm", ".xls"}:
        check_workbook(path)
        # Named, as pandas will change which library reads .xlsx.
        engine: Literal["openpyxl"] | None = "openpyxl" if path.suffix.lower() != ".xls" else None
        raw = pd.read_excel(
            path, sheet_name=sheet, header=None, dtype=str, keep_default_na=False, engine=engine
        )
        return raw.map(lambda cell: str(cell).strip())
    lines = read_text(path).splitlines()
    mark = max("\t,;", key=lambda m: sum(line.count(m) for line in lines[:_LOOKED_AT]))
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)]
    width = max((len(row) for row in rows), default=0)
    return pd.DataFrame([row + [""] * (width - len(row)) for row in rows], dtype=str)


def _describes(name: str) -> bool:
    return name.lower() in _DESCRIBING


def _header(cells: pd.DataFrame, path: Path) -> tuple[int, dict[int, str]]:
    blocks = {row: names for row in range(len(cells)) if (names := _names_in(cells.iloc[row]))}
    titles = {row: _title(cells, row) for row in blocks}
    if len(blocks) > 1:
        observed = [row for row, title in titles.items() if _OBSERVED.search(title)]
        if len(observed) != 1:
            listed = ", ".join(repr(title or f"row {row + 1}") for row, title in titles.items())
            msg = (
                f"{path} holds {len(blocks)} blocks of wells ({listed}); one of observed "
                "concentrations ('Obs Conc') is needed. Export that block alone."
            )
            raise DesignError(msg)
        _LOG.info("%s: the block %r is read", path, titles[observed[0]])
        return observed[0], blocks[observed[0]]
    row = next(iter(blocks), _LOOKED_AT)
    if row < _LOOKED_AT:
        return row, blocks[row]
    msg = (
        f"{path} has no row with 'Well', 'Description' or 'Sample' and names of analytes among its "
        f"first {_LOOKED_AT}. Export the table of observed concentrations, wells in rows."
    )
    raise MissingKeyError(msg)


def _names_in(row: Iterable[object]) -> dict[int, str]:
    """Return the names in a row that heads a block of wells, nothing for any other row."""
    names = {place: str(cell) for place, cell in enumerate(row)}
    found = {name.lower() for name in names.values()}
    others = [name for name in names.values() if name and not _describes(name)]
    heads = found & {"well", "description", "sample"} and others
    return names if heads and not any(_is_value(name) for name in others) else {}


def _is_value(text: str) -> bool:
    return re.fullmatch(r"\*?[\d.,]+|OOR\s*[<>]", text) is not None


def _title(cells: pd.DataFrame, header: int) -> str:
    """Return the last text above a block that stands alone in its row."""
    for row in range(header - 1, -1, -1):
        texts = [str(cell) for cell in cells.iloc[row] if str(cell)]
        if texts:
            return texts[0] if len(texts) == 1 else ""
    return ""


def _wells_only(body: pd.DataFrame, names: dict[int, str], path: Path) -> pd.DataFrame:
    """Leave out rows of means and the like that programs put below the wells."""
    describing = [place for place, name in names.items() if _describes(name)]
    summary = body[describing].map(lambda text: bool(_SUMMARY.fullmatch(str(text)))).any(axis=1)
    if summary.any():
        _LOG.info("%s: %d rows of means and the like are skipped", path, int(summary.sum()))
    return body[~summary.to_numpy()].reset_index(drop=True)


def _log_rest(rest: pd.DataFrame, path: Path) -> None:
    n = int((rest != "").any(axis=1).sum())
    if n:
        _LOG.warning(
            "%s: %d rows below the first empty one are not read; if they are wells, remove the "
            "empty row",
            path,
            n,
        )


def _places(names: dict[int, str], path: Path) -> dict[str, int]:
    """Return the column of each analyte."""
    places: dict[str, int] = {}
    for place, name in names.items():
        if not name or _describes(name):
            continue
        short = _analyte_name(name)
        if short in places:
            msg = (
                f"{path} has two columns of {short!r} ({names[places[short]]!r} and {name!r}). "
                "Rename or remove one."
            )
            raise DesignError(msg)
        places[short] = place
    return places


def _analyte_name(name: str) -> str:
    return re.sub(r"\s*\(\d+\)$", "", re.sub(r"^(Hu|Ms|Human|Mouse)\s+", "", name))


def _analyte(cells: pd.Series, name: str, path: Path, *, below: str, above: str) -> pd.DataFrame:
    text = cells.astype(str).str.strip()
    low, high = (text.str.fullmatch(rf"OOR\s*{sign}") for sign in "<>")
    empty = text.str.lower().isin(_EMPTY)
    starred = text.str.contains("*", regex=False) & ~empty
    plain = _with_points(text.str.replace("*", "", regex=False).str.strip(), name, path)
    value = as_numbers(plain.where(~(low | high | empty)))
    _refuse_text(text, (value.isna() & ~(low | high | empty)) | (value < 0), name, path)
    asked = (low.any() and below != "missing") or (high.any() and above != "missing")
    if value.isna().all() and asked:
        msg = (
            f"{path}: {name} is out of range in every well, so its limit is unknown. "
            "Exclude it with analytes=, or read with below='missing', above='missing'."
        )
        raise WrongScaleError(msg)
    limits = {"limit": 1.0, "half_limit": 0.5, "missing": np.nan}
    made = np.where(low, value.min() * limits[below], value)
    made = np.where(high, value.max() * limits[above], made)
    flag = np.select([low, high, empty, starred], ["below", "above", "missing", "extrapolated"], "")
    return pd.DataFrame({"analyte": name, "concentration": made, "flag": flag})


def _refuse_text(text: pd.Series[str], bad: pd.Series[bool], name: str, path: Path) -> None:
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        msg = (
            f"{path}, {name}, well {row + 1}: {text.iloc[row]!r} is not a concentration. A number "
            "of 0 or more, OOR <, OOR >, or a number with * is needed."
        )
        raise WrongScaleError(msg)


def _with_points(text: pd.Series[str], name: str, path: Path) -> pd.Series[str]:
    """Return numbers with a decimal point; a comma may be the point or separate thousands."""
    comma = text.str.contains(",", regex=False)
    if not comma.any():
        return text
    grouped = text.str.fullmatch(r"\d{1,3}(,\d{3})+(\.\d*)?")
    if text.str.contains(r"\d\.|\.\d").any():
        return text.where(~grouped, text.str.replace(",", "", regex=False))
    if (grouped | ~comma).all():
        msg = (
            f"{path}, {name}: in {text[comma].iloc[0]!r} the comma may be a decimal point "
            "or separate thousands. Export numbers without thousands separators."
        )
        raise WrongScaleError(msg)
    return text.str.replace(",", ".", regex=False)


def _chosen(places: dict[str, int], analytes: str | Sequence[str] | None, path: Path) -> list[str]:
    if analytes is None:
        return list(places)
    analytes = [analytes] if isinstance(analytes, str) else list(analytes)
    unknown = [name for name in analytes if name not in places]
    if unknown or not analytes:
        msg = f"{path} has no {', '.join(unknown) or 'such analyte'}; it has {', '.join(places)}."
        raise MissingKeyError(msg)
    return list(dict.fromkeys(analytes))
