"""Diagnose problems of gene names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

#: In a mixture of species, only some genes may have a prefix.
_SHARE = 0.2


class _Symptom(NamedTuple):
    """A pattern, and the share of gene names that must match it."""

    pattern: str
    share: float
    found: str
    remedy: str


_SYMPTOMS = (
    _Symptom(
        r"(?:^|[_:#|.-])[ACGTN]{12,}(?:$|[_:#|.-])",
        0.5,
        "look like cell barcodes",
        "Cells and genes seem to be swapped: transpose with adata = adata.T.",
    ),
    _Symptom(
        r"^\d+$",
        0.5,
        "are numbers",
        "Set adata.var_names to the column of adata.var that holds the symbols.",
    ),
    _Symptom(
        r"^ENSMUSG\d{6,}(?:\.\d+)?$",
        _SHARE,
        "are mouse Ensembl IDs",
        "Map them to the symbols of their human counterparts first.",
    ),
    _Symptom(
        r"^ENSG\d{6,}\.\d+$",
        _SHARE,
        "are Ensembl IDs with a version",
        "Human gene symbols are needed: often adata.var holds them (gene_symbols, gene_name, "
        "feature_name); set adata.var_names to that column.",
    ),
    _Symptom(
        r"^ENSG\d{6,}$",
        _SHARE,
        "are Ensembl IDs",
        "Human gene symbols are needed: often adata.var holds them (gene_symbols, gene_name, "
        "feature_name); set adata.var_names to that column.",
    ),
    _Symptom(
        r"^(?:rna|gene|GRCh3[78]|hg18|hg19|hg38|b37)[_:]+",
        _SHARE,
        "carry a prefix",
        "Remove it: adata.var_names = adata.var_names.str.removeprefix({match!r}).",
    ),
    _Symptom(
        r"^(?:mm10|GRCm3[89]|mm39)[_:]+",
        0.5,
        "carry the prefix of a mouse genome",
        "Human genes are needed: map them to their human counterparts first.",
    ),
    _Symptom(
        r"^\s|\s$",
        _SHARE,
        "begin or end with a space",
        "Remove it: adata.var_names = adata.var_names.str.strip().",
    ),
    _Symptom(
        r"^[A-Z](?=[^A-Z]*[a-z])[a-z0-9.-]+$",
        0.5,
        "are written like mouse genes",
        "Human gene symbols are needed: map mouse genes to their human counterparts; do not "
        "merely change the case.",
    ),
    _Symptom(
        r"^(?=.*[a-z])[^A-Z]+$",
        0.5,
        "are in lower case",
        "Symbols are in capitals: adata.var_names = adata.var_names.str.upper().",
    ),
)
_DATE = (
    r"(?i)^(?:\d{1,2}-(?:mar|sept?|dec)|(?:mar|sept?|dec)-\d{1,2}|\d{4}-\d\d-\d\d(?: 00:00:00)?)$"
)


def diagnose(var_names: Iterable[str]) -> str | None:
    """Describe what is wrong with gene names, or return ``None`` if they look right.

    Recognized: barcodes (cells and genes swapped), numbers, Ensembl IDs with and without a version,
    prefixes like ``rna_`` or ``GRCh38_``, spaces, names of mouse genes, lower case, dates that a
    spreadsheet made from symbols, and repeated names.

    Parameters
    ----------
    var_names
        Names of genes, for example ``adata.var_names``.

    Returns
    -------
    One text with the problem and its remedy, or ``None``.

    Examples
    --------
    >>> from nkscore.signatures import diagnose
    >>> diagnose(["GNLY", "NKG7", "HLA-A", "C1orf56"]) is None
    True
    >>> print(diagnose(["rna_GNLY", "rna_NKG7"]))
    2 of 2 gene names carry a prefix (rna_GNLY). Remove it: adata.var_names = ...
    """
    names = pd.Index(var_names).astype(str)
    if not len(names):
        return "There are no gene names: the data contain no genes."
    findings = [text for text in (_main_symptom(names), _dates(names), _repeats(names)) if text]
    return " ".join(findings) or None


def _main_symptom(names: pd.Index[str]) -> str | None:
    for symptom in _SYMPTOMS:
        text = _describe(names, symptom)
        if text:
            return text
    return None


def _dates(names: pd.Index[str]) -> str | None:
    symptom = _Symptom(
        _DATE,
        0.0,
        "are dates, made from gene symbols by a spreadsheet",
        "Read the original file again instead of the saved spreadsheet.",
    )
    return _describe(names, symptom)


def _describe(names: pd.Index[str], symptom: _Symptom) -> str | None:
    hit = names.str.contains(symptom.pattern, regex=True)
    n_hits = int(hit.sum())
    if not n_hits or n_hits < symptom.share * len(names):
        return None
    example = names[hit][0]
    part = re.search(symptom.pattern, example)
    remedy = symptom.remedy.format(match=part[0] if part else "")
    return f"{n_hits:,} of {len(names):,} gene names {symptom.found} ({example}). {remedy}"


def _repeats(names: pd.Index[str]) -> str | None:
    repeated = names[names.duplicated()].unique()
    if not len(repeated):
        return None
    return (
        f"{len(repeated):,} gene names occur more than once ({repeated[0]}). Each gene must be "
        "one column: sum the duplicates or call adata.var_names_make_unique()."
    )
