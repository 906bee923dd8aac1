"""Find the genes of signatures among the genes of the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore._warn import warn
from nkscore.errors import GeneCoverageError
from nkscore.signatures._convert import as_signatures
from nkscore.signatures._diagnose import diagnose
from nkscore.signatures._tables import synonyms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

    from nkscore._types import Ints
    from nkscore.signatures._convert import SignaturesLike
    from nkscore.signatures._signature import Signature

#: Maximum length of lists in messages.
_SHOWN_SETS: Final = 20
_SHOWN_GENES: Final = 8
#: With fewer genes, data were probably restricted to highly variable genes.
_FEW_GENES: Final = 5_000


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Positions of the genes of signatures among the genes of the data.

    Attributes
    ----------
    signatures
        The requested signatures, by name.
    up, down
        Name to the column positions of its genes: int64, unique, in the order of the genes in
        the signature, so that sums do not depend on the order of the columns. A column is
        never both up and down of one signature.
    coverage
        One row per signature: ``signature``, ``n_genes`` (two names of one gene count once),
        ``n_found``, ``n_by_alias`` (of those, found under another name), ``fraction``,
        ``missing`` (absent genes, separated by commas).
    """

    signatures: dict[str, Signature]
    up: dict[str, Ints]
    down: dict[str, Ints]
    coverage: pd.DataFrame


@dataclass(slots=True)
class _Placed:
    """Columns and absent genes of one signature."""

    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    n_by_alias: int = 0

    @property
    def n_found(self) -> int:
        return len(self.up) + len(self.down)

    @property
    def n_genes(self) -> int:
        return self.n_found + len(self.missing)

    @property
    def fraction(self) -> float:
        return self.n_found / self.n_genes


def match(
    var_names: Iterable[str],
    signatures: SignaturesLike,
    *,
    min_coverage: float = 0.5,
    aliases: bool = True,
) -> Match:
    """Find the genes of signatures among the genes of the data.

    A gene is matched by its name, then by its older or newer names, so that lists and data from
    different years match. A column that one gene of a signature matches by name is not used for
    another gene's alias.

    Parameters
    ----------
    var_names
        Names of the genes of the data.
    signatures
        As in :func:`as_signatures`.
    min_coverage
        Lowest share of the genes of each signature that must be found, 0 to 1. With less than half
        of its genes a set differs mostly from the published one, and small marker panels are down
        to one or two genes. Each direction also needs at least one gene, because a signed set
        without one direction measures something else.
    aliases
        Whether to match older and newer names.

    Returns
    -------
    Positions of the genes of each signature, and its coverage.

    Raises
    ------
    GeneCoverageError
        If a signature has too few genes in the data, or gene names are repeated. The error names
        all these signatures and says what is wrong with the gene names.
    ValueError
        If ``min_coverage`` is not between 0 and 1.

    Warns
    -----
    NkscoreWarning
        Once, naming every incomplete signature and its absent genes.

    Examples
    --------
    >>> from nkscore.signatures import match
    >>> found = match(["ACTB", "H2AFZ", "GNLY"], {"a": ["GNLY", "H2AZ1-"]})
    >>> found.up["a"].tolist(), found.down["a"].tolist()
    ([2], [1])
    >>> found.coverage[["n_genes", "n_found", "n_by_alias"]].values.tolist()
    [[2, 2, 1]]
    """
    if not 0 <= min_coverage <= 1:
        msg = f"min_coverage is {min_coverage}; a share between 0 and 1 is needed."
        raise ValueError(msg)
    names = pd.Index(var_names) if not isinstance(var_names, pd.Index) else var_names
    wanted = as_signatures(signatures)
    placed = _place_all(names, wanted, aliases=aliases)
    failed = {
        name: entry
        for name, entry in placed.items()
        if entry.fraction < min_coverage or _direction_lost(wanted[name], entry)
    }
    if failed:
        raise GeneCoverageError(_failure(names, failed, len(placed), min_coverage))
    incomplete = {name: entry for name, entry in placed.items() if entry.missing}
    if incomplete:
        msg = (
            f"{len(incomplete)} of {len(placed)} signatures are incomplete in these data: "
            f"{_listing(incomplete)}. Their scores use only the genes that were found."
        )
        warn(msg)
    return Match(
        wanted,
        {name: np.array(entry.up, dtype=np.int64) for name, entry in placed.items()},
        {name: np.array(entry.down, dtype=np.int64) for name, entry in placed.items()},
        _coverage_table(placed),
    )


def coverage(adata: AnnData, signatures: SignaturesLike) -> pd.DataFrame:
    """Count the genes of each signature in the data; nothing is written.

    Unlike in :func:`match`, low coverage is not an error.

    Parameters
    ----------
    adata
        Reads ``var_names``.
    signatures
        As in :func:`as_signatures`.

    Returns
    -------
    DataFrame as in :attr:`Match.coverage`: ``signature``, ``n_genes``, ``n_found``,
    ``n_by_alias``, ``fraction``, ``missing``.

    Raises
    ------
    GeneCoverageError
        If gene names are repeated.

    Examples
    --------
    >>> from anndata import AnnData
    >>> import numpy as np, pandas as pd
    >>> from nkscore.signatures import coverage
    >>> adata = AnnData(np.ones((2, 2)), var=pd.DataFrame(index=["GNLY", "PRF1"]))
    >>> coverage(adata, {"a": ["GNLY", "XCL1"]})[["n_found", "missing"]].values.tolist()
    [[1, 'XCL1']]
    """
    return _coverage_table(_place_all(adata.var_names, as_signatures(signatures), aliases=True))


def _place_all(
    names: pd.Index[str], wanted: Mapping[str, Signature], *, aliases: bool
) -> dict[str, _Placed]:
    if not names.is_unique:
        # With two columns of one name, it is unclear which one is the gene.
        raise GeneCoverageError(diagnose(names) or "Gene names are repeated.")
    other_names = synonyms() if aliases else {}
    genes = {gene for entry in wanted.values() for gene in entry.genes}
    asked = sorted(genes.union(*(other_names.get(gene, ()) for gene in genes)))
    found = names.get_indexer(pd.Index(asked, dtype=names.dtype))
    columns = {name: int(place) for name, place in zip(asked, found, strict=True) if place >= 0}
    return {name: _place(entry, columns, other_names) for name, entry in wanted.items()}


def _place(
    signature: Signature, columns: Mapping[str, int], other_names: Mapping[str, tuple[str, ...]]
) -> _Placed:
    result = _Placed()
    owner = {columns[gene]: gene for gene in signature.genes if gene in columns}
    absent: set[str] = set()
    weights = signature.weights
    for gene, weight in weights.items():
        column = columns.get(gene)
        if column is None:
            others = other_names.get(gene, ())
            candidates = [columns[name] for name in others if name in columns]
            same = next((owner[candidate] for candidate in candidates if candidate in owner), None)
            if same is not None or not absent.isdisjoint(others):
                _check_direction(signature, gene, same)
                continue
            if not candidates:
                absent.add(gene)
                result.missing.append(gene)
                continue
            column = candidates[0]
            owner[column] = gene
            result.n_by_alias += 1
        (result.up if weight > 0 else result.down).append(column)
    return result


def _check_direction(signature: Signature, gene: str, same: str | None) -> None:
    weights = signature.weights
    if same is not None and weights[gene] != weights[same]:
        msg = (
            f"Signature {signature.name!r} holds {gene} and {same} with opposite directions, but "
            "these are two names of one gene. Remove one of them."
        )
        raise GeneCoverageError(msg)


def _direction_lost(signature: Signature, entry: _Placed) -> bool:
    return bool((signature.up and not entry.up) or (signature.down and not entry.down))


def _coverage_table(placed: Mapping[str, _Placed]) -> pd.DataFrame:
    counted = ("n_genes", "n_found", "n_by_alias", "fraction")
    return pd.DataFrame(
        {
            "signature": list(placed),
            **{name: [getattr(entry, name) for entry in placed.values()] for name in counted},
            "missing": [",".join(entry.missing) for entry in placed.values()],
        }
    )


def _failure(
    names: pd.Index[str], failed: Mapping[str, _Placed], n_all: int, min_coverage: float
) -> str:
    reason = diagnose(names)
    if reason is None and len(names) < _FEW_GENES:
        reason = (
            f"The data contain only {len(names):,} genes: use all genes, not only the "
            "highly variable ones."
        )
    return (
        f"{len(failed)} of {n_all} signatures have too few of their genes in the data: "
        f"{_listing(failed)}. Each needs {min_coverage:.0%} of its genes "
        f"(min_coverage={min_coverage:g}) and at least one gene of each direction. "
        f"{reason or 'Check the gene names against the signature, or lower min_coverage.'}"
    )


def _listing(entries: Mapping[str, _Placed]) -> str:
    parts = [
        f"{name} {entry.n_found} of {entry.n_genes} (absent: {_shortened(entry.missing)})"
        for name, entry in list(entries.items())[:_SHOWN_SETS]
    ]
    if len(entries) > _SHOWN_SETS:
        parts.append(f"and {len(entries) - _SHOWN_SETS} more (signatures.coverage lists all)")
    return "; ".join(parts)


def _shortened(genes: list[str]) -> str:
    shown = ", ".join(genes[:_SHOWN_GENES])
    left = len(genes) - _SHOWN_GENES
    return f"{shown} and {left} more" if left > 0 else shown
