"""Calls of genetic demultiplexing: which donor each droplet comes from."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._gate import expanded
from nkscore._text import as_numbers, read_text, reading_table
from nkscore.errors import MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from nkscore._types import Floats

#: Columns of the table that is returned.
COLUMNS: Final = ("donor", "call", "probability", "doublet_probability")
DOUBLET: Final = "doublet"
#: Files that vireo and souporcell write into their folder.
_FILES: Final = ("donor_ids.tsv", "clusters.tsv")
#: What a column holds → its names in tables of other programs, as lower-case letters and digits.
_NAMES: Final = {
    "barcode": "barcode barcodes cell cellid cellbarcode cb droplet",
    "donor": (
        "donorid donor genotype individual assignment bestsample sampleid besthash cluster "
        "majoritysingletindividualassignment"
    ),
    "call": "status call droplettype class classification type majoritysingletdroplettype",
    "probability": "probability prob probmax posterior confidence",
    "doublet_probability": "probdoublet doubletprobability doubletposterior",
}
_CALLS: Final = {
    schema.SINGLET: "singlet sng single singleton s",
    DOUBLET: "doublet dbl multiplet double d",
    schema.UNASSIGNED: "unassigned amb ambiguous negative unknown na nan none u",
}
_CALL_OF: Final = {word: call for call, words in _CALLS.items() for word in words.split()}
#: ``SNG-donor_1`` of demuxlet and scSplit.
_JOINED: Final = re.compile(r"(?P<call>SNG|DBL|AMB)(?:-(?P<donor>.+))?")


def read_genotypes(path: str | os.PathLike[str]) -> pd.DataFrame:
    r"""Read the calls of genetic demultiplexing of one lane.

    Parameters
    ----------
    path
        ``donor_ids.tsv`` of vireo, ``clusters.tsv`` of souporcell, ``.best`` of demuxlet (also of
        popscle), ``.clust1.samples.gz`` of freemuxlet, ``scSplit_result.csv``, or any table with
        the columns ``barcode`` and ``donor`` and, if known, ``call``, ``probability`` and
        ``doublet_probability``; or the folder of vireo or souporcell. Plain or gzipped, separated
        by tabs or commas.

    Returns
    -------
    pandas.DataFrame
        One row per droplet, by its barcode (index ``barcode``):

        ``donor`` (str)
            As the program names it; missing unless the call is ``singlet``.
        ``call`` (str)
            ``singlet``, ``doublet`` (two donors) or ``unassigned``.
        ``probability`` (float64)
            Of that call, 0 to 1; missing for ``unassigned`` and where the program gives none.
        ``doublet_probability`` (float64)
            That the droplet holds two donors; missing where the program gives none.

    Raises
    ------
    MissingKeyError
        If the file is absent, empty, damaged or has no columns of barcodes and donors.
    WrongScaleError
        If a probability is not between 0 and 1, or a barcode is named twice.

    Notes
    -----
    Vireo: Huang et al. 2019, doi 10.1186/s13059-019-1865-2. Souporcell: Heaton et al. 2020, doi
    10.1038/s41592-020-0820-1; tables without posteriors get them from both log probabilities, which
    hold the priors. Demuxlet: Kang et al. 2018, doi 10.1038/nbt.4042; the probability of a singlet
    is that it is no doublet, of popscle ``SNG.POSTERIOR``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import nkscore as nk
    >>> file = Path(tempfile.mkdtemp()) / "donor_ids.tsv"
    >>> _ = file.write_text(
    ...     "cell\tdonor_id\tprob_max\tprob_doublet\n"
    ...     "AAACCTGAGATAGCAT-1\tdonor_1\t0.99\t0.01\n"
    ...     "AAACCTGAGCAGCGTA-1\tdoublet\t0.02\t0.97\n"
    ... )
    >>> nk.io.read_genotypes(file)["call"].tolist()
    ['singlet', 'doublet']
    """
    place = _file_of(expanded(path))
    with reading_table(place):
        text = read_text(place)
        mark = max("\t,; ", key=text.split("\n", 1)[0].count)
        table = pd.read_csv(
            io.StringIO(text), sep=mark, dtype=str, na_filter=False, index_col=False
        )
    names = _columns(table, place)
    plain = table.rename(columns={name: key for key, name in names.items()})
    calls = _of_programs(table, plain, place)
    calls.index = pd.Index(plain["barcode"].str.strip(), name="barcode")
    return _checked(calls, place)


def _file_of(path: Path) -> Path:
    if path.is_dir():
        path = next((path / name for name in _FILES if (path / name).is_file()), path)
    if not path.is_file():
        what = "is a folder without" if path.is_dir() else "does not exist. Give"
        msg = f"{path} {what} {' or '.join(_FILES)} or another table of donors."
        raise MissingKeyError(msg)
    return path


def _key(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _columns(table: pd.DataFrame, path: Path) -> dict[str, str]:
    """Return what is known → the name of its column."""
    keys = {_key(name): str(name) for name in reversed(list(table))}
    found = {}
    for what, words in _NAMES.items():
        name = next((keys[word] for word in words.split() if word in keys), None)
        if name is not None:
            found[what] = name
    if "best" in keys or "bestguess" in keys:
        found.setdefault("donor", keys.get("bestguess", keys.get("best", "")))
    absent = [what for what in ("barcode", "donor") if what not in found]
    if absent:
        msg = (
            f"{path} has no column of {' and '.join(absent)}s (its columns: "
            f"{', '.join(map(str, list(table)[:12]))}). Give donor_ids.tsv of vireo, clusters.tsv "
            "of souporcell, .best of demuxlet, or a table with columns barcode and donor."
        )
        raise MissingKeyError(msg)
    return found


def _of_programs(table: pd.DataFrame, plain: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return donor, call and probabilities, by the columns that a program writes."""
    if {"BEST.GUESS", "SNG.POSTERIOR"} & set(table):
        return _popscle(table, path)
    if {"BEST", "SNG.1ST", "PRB.DBL"} <= set(table):
        return _demuxlet(table, path)
    if {"status", "assignment", "log_prob_singleton", "log_prob_doublet"} <= set(table):
        return _souporcell(table, path)
    return _plain(plain, path)


def _number(table: pd.DataFrame, name: str, path: Path) -> Floats:
    """Return a column as numbers; empty cells are missing."""
    text = table[name].str.strip()
    values = as_numbers(text.mask(text.str.lower().isin(["", "na", "nan"])))
    bad = values.isna() & ~text.str.lower().isin(["", "na", "nan"])
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        msg = f"{path}, row {row + 2}, column {name!r}: {text.iloc[row]!r} is not a number."
        raise WrongScaleError(msg)
    return values.to_numpy(dtype=np.float64)


def _probability(table: pd.DataFrame, name: str, path: Path) -> Floats:
    values = _number(table, name, path)
    if ((values < 0) | (values > 1)).any():
        row = int(np.argmax((values < 0) | (values > 1)))
        msg = (
            f"{path}, row {row + 2}, column {name!r} is {values[row]:g}; a probability from 0 to 1 "
            "is needed."
        )
        raise WrongScaleError(msg)
    return values


def _popscle(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    needed = ("DROPLET.TYPE", "SNG.BEST.GUESS", "SNG.POSTERIOR")
    if absent := [name for name in needed if name not in table]:
        msg = (
            f"{path} is a table of popscle without {', '.join(absent)}. Give the file .best or "
            ".clust1.samples.gz as the program wrote it."
        )
        raise MissingKeyError(msg)
    doublet = 1 - _probability(table, "SNG.POSTERIOR", path)
    donor = table["SNG.BEST.GUESS"].str.strip()
    return _frame(donor, table["DROPLET.TYPE"].map(_call), 1 - doublet, doublet)


def _demuxlet(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    doublet = _probability(table, "PRB.DBL", path)
    call = table["BEST"].str.split("-").str[0].map(_call)
    return _frame(table["SNG.1ST"].str.strip(), call, 1 - doublet, doublet)


def _souporcell(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    single = _number(table, "log_prob_singleton", path)
    double = _number(table, "log_prob_doublet", path)
    # Both hold the prior, so their ratio is that of the posteriors.
    doublet = np.exp(double - np.logaddexp(single, double))
    best = 1 - doublet
    if "singlet_posterior" in table:
        best = best * _probability(table, "singlet_posterior", path)
    return _frame(table["assignment"].str.strip(), table["status"].map(_call), best, doublet)


def _plain(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the calls of vireo, scSplit and plain tables: the donor can hold the call."""
    donor = table["donor"].str.strip()
    joined = donor.str.extract(_JOINED.pattern)
    whole = donor.str.fullmatch(_JOINED.pattern)
    call = donor.where(~whole, joined["call"]).map(_call_in_name)
    donor = donor.where(~whole, joined["donor"].fillna(""))
    if "call" in table:
        named = table["call"].map(_call)
        call = named.where(call == schema.SINGLET, call)
    absent = np.full(len(table), np.nan)
    given = [name for name in COLUMNS[2:] if name in table]
    numbers = {name: _probability(table, name, path) for name in given}
    best = numbers.get("probability", absent)
    return _frame(donor, call, best, numbers.get("doublet_probability", absent))


def _call(text: object) -> str:
    return _CALL_OF.get(_key(text), schema.UNASSIGNED)


def _call_in_name(name: str) -> str:
    """Return the call that a donor's name stands for; a donor can be called by one letter."""
    key = _key(name)
    return _CALL_OF.get(key, schema.SINGLET) if len(key) != 1 else schema.SINGLET


def _frame(donor: pd.Series, call: pd.Series, best: Floats, doublet: Floats) -> pd.DataFrame:
    # Without a donor there is no singlet, whatever the call.
    call = call.mask((call == schema.SINGLET) & (donor == ""), schema.UNASSIGNED)
    single, double = (call == schema.SINGLET).to_numpy(), (call == DOUBLET).to_numpy()
    probability = np.where(single, best, np.where(double, doublet, np.nan))
    made = {"donor": donor.where(single).astype(object), "call": call.astype(object)}
    return pd.DataFrame(made).assign(probability=probability, doublet_probability=doublet)


def _checked(calls: pd.DataFrame, path: Path) -> pd.DataFrame:
    calls = calls[calls.index != ""]
    if not len(calls):
        msg = f"{path} names no barcodes. Give the table as the program wrote it."
        raise MissingKeyError(msg)
    twice = calls.index[calls.index.duplicated()]
    if len(twice):
        msg = (
            f"{path} names {len(set(twice)):,} barcodes twice, for example {twice[0]}. Give the "
            "calls of one lane."
        )
        raise WrongScaleError(msg)
    return calls
