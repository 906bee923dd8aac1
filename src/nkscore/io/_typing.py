"""HLA and KIR typing, as programs and typing laboratories write it."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pandas as pd

from nkscore._gate import expanded
from nkscore._text import read_text, reading_table
from nkscore.errors import MissingKeyError, WrongScaleError

if TYPE_CHECKING:
    import os
    from pathlib import Path

#: Donor, gene, presence, alleles.
_Typed: TypeAlias = tuple[str, str, bool | None, str]
_SAMPLE: Final = frozenset(
    {
        *("sample", "samplename", "sampleid", "subject", "subjectid", "id", "name", "patient"),
        *("patientid", "donor", "nkdonor", "line", "cellline", "tumor"),
    }
)
_ALLELE: Final = frozenset(["allele", "alleles", "hla", "hlaallele", "genotype"])
#: ``A1``, ``HLA-B_2``, ``DRB1_1``: gene and copy.
_HLA_COLUMN: Final = re.compile(
    r"(?:HLA[-_. ]?)?(A|B|C|Cw|E|F|G|DRA|DRB[1345]|D[PQ][AB]1)(?:[-_. ]?([12]))?(?:[-_. ]?allele)?",
    re.IGNORECASE,
)
_KIR_COLUMN: Final = re.compile(
    r"(?:KIR[-_. ]?)?([23]D[LSP]\d[AB]?)(?:[-_. ]?([12]))?", re.IGNORECASE
)
_YES: Final = frozenset(
    ["1", "2", "3", "4", "1.0", "2.0", "yes", "y", "true", "pos", "positive", "present", "+", "p"]
)
_NO: Final = frozenset(["0", "0.0", "no", "n", "false", "neg", "negative", "absent", "-", "a"])
_UNKNOWN: Final = frozenset(["", "na", "nan", "nt", "none", "unknown", "?", "."])
_STEM: Final = re.compile(
    r"(?:[._-](?:genotypes?|resolved|result|hla|kir|t1k|optitype|arcashla))+$", re.IGNORECASE
)


def read_hla(path: str | os.PathLike[str], *, sample: str | None = None) -> pd.DataFrame:
    r"""Read the HLA typing of one or several samples.

    Parameters
    ----------
    path
        ``.genotype.json`` or ``genotypes.tsv`` of arcasHLA, ``_result.tsv`` of OptiType,
        ``_genotype.tsv`` of T1K, or a table (tabs, commas or semicolons): one row per sample with
        columns like ``A1``, ``A2``, ``HLA-B_1``, or one row per allele with the columns ``sample``
        and ``allele``.
    sample
        Name of the sample for files of one sample; by default that of the file.

    Returns
    -------
    pandas.DataFrame
        One row per typed allele: ``sample``, ``gene`` (``A``, ``B``, ``C``, ...), ``allele`` as it
        is written, with ``/`` between those that the typing could not distinguish. Of T1K, alleles
        with quality 0 are excluded.

    Raises
    ------
    MissingKeyError
        If the file is absent, damaged, or holds no columns or rows of HLA genes.
    WrongScaleError
        If a table of several samples does not name them.

    Notes
    -----
    arcasHLA: Orenbuch et al. 2020, doi 10.1093/bioinformatics/btz474. OptiType: Szolek et al. 2014,
    doi 10.1093/bioinformatics/btu548. T1K: Song et al. 2023, doi 10.1101/gr.277585.122. Names are
    checked by :func:`nkscore.tl.hla_ligands`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import nkscore as nk
    >>> file = Path(tempfile.mkdtemp()) / "MOLM13.genotype.json"
    >>> _ = file.write_text('{"A": ["A*01:01:01", "A*24:02:01"], "C": ["C*07:02:01"]}')
    >>> nk.io.read_hla(file).values.tolist()[0]
    ['MOLM13', 'A', 'A*01:01:01']
    """
    place = expanded(path)
    text = _text_of(place)
    name = sample or _stem(place)
    if text.lstrip().startswith("{"):
        rows = _of_json(text, place, name)
    elif _is_t1k(text):
        rows = [(name, gene, allele) for gene, allele in _of_t1k(text) if "KIR" not in gene]
    else:
        rows = _of_hla_table(_table(text, place), place, sample)
    clean = [(s, g, a.strip()) for s, g, a in rows if a.strip().lower() not in _UNKNOWN]
    if not clean:
        msg = (
            f"{place} holds no alleles of HLA genes. Give the output of arcasHLA, OptiType or T1K, "
            "or a table with the columns sample and A1, A2, B1, ... or sample and allele."
        )
        raise MissingKeyError(msg)
    made = pd.DataFrame(clean, columns=["sample", "gene", "allele"])
    return made.assign(gene=made["gene"].str.replace(r"^HLA-|^Cw$", _plain_gene, regex=True))


def read_kir(path: str | os.PathLike[str], *, sample: str | None = None) -> pd.DataFrame:
    r"""Read the KIR typing of one or several donors.

    Parameters
    ----------
    path
        ``_genotype.tsv`` of T1K, or a table: one row per donor with a column per gene (``KIR2DL1``
        or ``2DL1``) that holds 1 and 0, yes and no, ``pos`` and ``neg``, or alleles; or one row per
        donor and gene with the columns ``sample`` and ``gene`` and, if known, ``present`` and
        ``alleles``.
    sample
        Name of the donor for files of one donor; by default that of the file.

    Returns
    -------
    pandas.DataFrame
        One row per donor and gene: ``sample``, ``gene`` (``KIR2DL1``), ``present`` (boolean,
        missing where it was not typed), ``alleles`` (separated by ``+``; ``""`` where only presence
        is known).

    Raises
    ------
    MissingKeyError
        If the file is absent, damaged, or holds no KIR genes.
    WrongScaleError
        If a cell says neither presence nor alleles, or several donors have no names.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import nkscore as nk
    >>> file = Path(tempfile.mkdtemp()) / "kir.csv"
    >>> _ = file.write_text("donor,2DL1,2DS4\nD1,1,KIR2DS4*003\nD2,0,\n")
    >>> nk.io.read_kir(file).values.tolist()[:2]
    [['D1', 'KIR2DL1', True, ''], ['D1', 'KIR2DS4', True, 'KIR2DS4*003']]
    """
    place = expanded(path)
    text = _text_of(place)
    if _is_t1k(text):
        rows: list[_Typed] = _kir_of_t1k(text, sample or _stem(place))
    else:
        rows = _of_kir_table(_table(text, place), place, sample)
    if not rows:
        msg = (
            f"{place} holds no KIR genes. A table with a column per gene (KIR2DL1, KIR2DL2, ...), "
            "or with the columns sample and gene, or the output of T1K is needed."
        )
        raise MissingKeyError(msg)
    made = pd.DataFrame(rows, columns=["sample", "gene", "present", "alleles"])
    made = made.assign(present=made["present"].astype("boolean"))
    return made.sort_values(["sample", "gene"], kind="stable").reset_index(drop=True)


def _text_of(place: Path) -> str:
    if not place.is_file():
        raise MissingKeyError(f"{place} does not exist. Give a table of HLA or KIR typing.")
    with reading_table(place):
        return read_text(place)


def _stem(place: Path) -> str:
    name = re.sub(r"\.(?:json|tsv|csv|txt)(?:\.gz)?$", "", place.name, flags=re.IGNORECASE)
    return _STEM.sub("", name) or name


def _plain_gene(found: re.Match[str]) -> str:
    return "C" if found[0] == "Cw" else ""


def _table(text: str, place: Path) -> pd.DataFrame:
    with reading_table(place):
        mark = max("\t,;", key=text.split("\n", 1)[0].count)
        return pd.read_csv(io.StringIO(text), sep=mark, dtype=str, na_filter=False, index_col=False)


def _key(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _of_json(text: str, place: Path, name: str) -> list[tuple[str, str, str]]:
    with reading_table(place):
        given: dict[str, Any] = json.loads(text)
    nested = all(isinstance(value, dict) for value in given.values())
    samples = given if nested else {name: given}
    return [
        (str(who), gene, str(allele))
        for who, genes in samples.items()
        for gene, alleles in genes.items()
        for allele in ([alleles] if isinstance(alleles, str) else alleles)
    ]


def _is_t1k(text: str) -> bool:
    cells = text.split("\n", 1)[0].rstrip("\r").split("\t")
    return len(cells) >= 8 and cells[1].isdigit() and bool(re.match(r"(HLA-|KIR)", cells[0]))


def _t1k_rows(text: str) -> list[tuple[str, list[str]]]:
    """Return each gene and its called alleles, of quality above 0."""
    made = []
    for line in text.splitlines():
        cells = line.split("\t")
        if len(cells) >= 8:
            called = [(cells[2], cells[4]), (cells[5], cells[7])]
            alleles = [
                allele.replace(",", "/")
                for allele, quality in called
                if allele != "." and float(quality) > 0
            ]
            made.append((cells[0], alleles))
    return made


def _of_t1k(text: str) -> list[tuple[str, str]]:
    return [(gene, allele) for gene, alleles in _t1k_rows(text) for allele in alleles]


def _kir_of_t1k(text: str, name: str) -> list[_Typed]:
    return [
        (name, gene, bool(alleles), "+".join(alleles))
        for gene, alleles in _t1k_rows(text)
        if gene.startswith("KIR")
    ]


def _names(table: pd.DataFrame, place: Path, sample: str | None) -> list[str]:
    """Return the sample of each row, by its column or, of a single row, the file's name."""
    column = next((c for c in table if _key(c) in _SAMPLE), None)
    if column is not None:
        return [str(value).strip() for value in table[column]]
    if len(table) == 1 or sample is not None:
        return [sample or _stem(place)] * len(table)
    msg = (
        f"{place} has {len(table)} rows and no column that names the samples (its columns: "
        f"{', '.join(map(str, list(table)[:8]))}). Add a column 'sample'."
    )
    raise WrongScaleError(msg)


def _of_hla_table(
    table: pd.DataFrame, place: Path, sample: str | None
) -> list[tuple[str, str, str]]:
    long = next((c for c in table if _key(c) in _ALLELE), None)
    genes = {c: found for c in map(str, table) if (found := _HLA_COLUMN.fullmatch(c.strip()))}
    if long is None and not genes:
        return []
    names = _names(table, place, sample)
    if long is not None:
        alleles = [str(value).strip() for value in table[long]]
        return [
            (name, allele.removeprefix("HLA-").split("*")[0], allele)
            for name, allele in zip(names, alleles, strict=True)
        ]
    return [
        (name, found[1], _whole(str(value).strip(), found[1]))
        for name, (_, row) in zip(names, table.iterrows(), strict=True)
        for column, found in genes.items()
        for value in re.split(r"[+,]", str(row[column]))
    ]


def _whole(value: str, gene: str) -> str:
    """Return ``A*24:02`` for ``24:02`` in a column of HLA-A."""
    return f"{gene}*{value}" if re.match(r"\d{2}", value) else value


def _of_kir_table(table: pd.DataFrame, place: Path, sample: str | None) -> list[_Typed]:
    by_key = {_key(c): c for c in table}
    if "gene" in by_key:
        names = _names(table, place, sample)
        values = table[by_key.get("alleles", by_key.get("allele", by_key["gene"]))]
        given = table[by_key["present"]] if "present" in by_key else values
        cells = zip(names, table[by_key["gene"]], given, values, strict=True)
        typed = [(n, str(g), str(p), str(a)) for n, g, p, a in cells if _KIR_COLUMN.fullmatch(g)]
        return [
            (n, _gene(g), True if p == g else _presence(p, place), "" if a == g else a.strip())
            for n, g, p, a in typed
        ]
    genes = [c for c in map(str, table) if _KIR_COLUMN.fullmatch(c.strip())]
    if not genes:
        return []
    names = _names(table, place, sample)
    made: dict[tuple[str, str], list[str]] = {}
    for name, (_, row) in zip(names, table.iterrows(), strict=True):
        for column in genes:
            made.setdefault((name, _gene(column)), []).append(str(row[column]).strip())
    return [(*key, *_together(cells, place)) for key, cells in made.items()]


def _gene(text: str) -> str:
    found = _KIR_COLUMN.fullmatch(text.strip())
    return f"KIR{found[1].upper()}" if found else text


def _together(cells: list[str], place: Path) -> tuple[bool | None, str]:
    """Return presence and alleles of a gene, from its one or two columns."""
    found = [_presence(cell, place) for cell in cells]
    known = [one for one in found if one is not None]
    alleles = "+".join(cell for cell in cells if re.search(r"\d{3}", cell))
    return (any(known) if known else None), alleles


def _presence(cell: str, place: Path) -> bool | None:
    word = cell.strip().lower()
    if word in _UNKNOWN:
        return None
    if word in _YES or re.search(r"\d{3}", word):
        return True
    if word in _NO:
        return False
    msg = (
        f"{place} holds {cell!r} for a KIR gene; 1 and 0, yes and no, pos and neg, or alleles "
        "(KIR2DL1*003) are needed. Correct the table; leave the cell empty where it was not typed."
    )
    raise WrongScaleError(msg)
