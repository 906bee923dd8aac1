"""From lanes to one AnnData that meets the data contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._warn import warn
from nkscore.errors import GeneCoverageError, LaneError
from nkscore.io import _tags
from nkscore.io._axes import check_names
from nkscore.io._barcodes import decode
from nkscore.io._genes import check_symbols, unique_names
from nkscore.io._lane import (
    ANTIBODY,
    GENE_EXPRESSION,
    GUIDE,
    MULTIPLEXING,
    Lane,
    check_barcodes,
)
from nkscore.io._names import mend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData
    from scipy import sparse

    from nkscore._types import Array, Ints

GeneRule = Literal["union", "intersection"]
_COPIED: Final = 20


@dataclass(frozen=True, slots=True)
class Written:
    """Stands for the counts of a lane that are in a file."""

    shape: tuple[int, int]
    indptr: Array


@dataclass(frozen=True, slots=True)
class Part:
    """One lane, ready to be joined.

    ``counts``: CSR, cells × ``genes`` (names, made unique; ``gene_ids`` as in the file);
    ``Written`` if they are in a file, ``None`` once joined. ``frames``: tables of tags by slot.
    """

    lane: str
    source: Lane
    counts: Any
    barcodes: pd.Index
    genes: pd.Index
    gene_ids: Array
    frames: dict[str, pd.DataFrame]
    n_dropped: int
    #: Which barcodes of the source were kept; None for all.
    kept: Array | None = None
    #: What was done to the names of genes, in words.
    mended: tuple[str, ...] = ()
    #: Rows of the file that are no genes, and tags that mark samples but not those of the sheet.
    no_genes: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    #: Calls of genetic donors, one row per barcode.
    calls: pd.DataFrame | None = None


def part(
    lane: str,
    source: Lane,
    tables: _tags.TagTables,
    tags: Sequence[str],
    *,
    min_counts: int,
    calls: pd.DataFrame | None = None,
) -> Part:
    """Split a lane into genes and tags and check both; drop barcodes below ``min_counts``.

    ``calls``: of genetic donors, one row per barcode of the source.
    """
    table = tables.all
    hashtags, used = table.frame(tags)
    _tags.log_left_out(source)
    own = table.origin[used] if len(table.origin) else table.origin
    own = own[own >= 0]
    proteins = _tags.others(source, ANTIBODY, schema.PROTEIN, own)
    frames = {
        schema.HASHTAGS: hashtags,
        schema.PROTEIN: _with_rest(
            _beside(source, [proteins, *tables.proteins_beside(used)]),
            _tags.others(source, MULTIPLEXING, "", own),
            table.rest(used),
        ),
        schema.GUIDES: _tags.others(source, GUIDE, schema.GUIDES, own),
    }
    is_gene = _genes_of(source)
    counts = _tags.columns(source.counts, is_gene)
    genes = source.features.iloc[is_gene]
    mended = mend(genes["name"].to_numpy(dtype=object), source.path)
    if not mended.is_gene.all():
        counts, genes = counts[:, np.flatnonzero(mended.is_gene)], genes[mended.is_gene]
    names, ids = mended.names[mended.is_gene], genes["id"].to_numpy(dtype=object)
    check_symbols(names, source.path, ids=ids)
    check_names(names, source.barcodes, source.path)
    keep = _kept(counts, min_counts, source)
    kept = source.barcodes if keep is None else source.barcodes[keep]
    barcodes = decode(kept, source.path)
    check_barcodes(barcodes, source.path)
    if keep is not None:
        counts = counts[keep]
        frames = {slot: frame[keep] for slot, frame in frames.items()}
        calls = None if calls is None else calls[keep]
    # Release the counts of genes and tags together, which are as large as the result.
    n_read, source = source.counts.shape[0], replace(source, counts=None)
    return Part(
        lane,
        source,
        counts,
        barcodes,
        unique_names(names, ids, where=str(source.path)),
        ids,
        {slot: frame for slot, frame in frames.items() if frame.shape[1]},
        n_read - len(barcodes),
        keep,
        tuple(mended.done),
        tuple(mended.names[~mended.is_gene]),
        tuple(table.unlisted(used, tags)),
        calls,
    )


def _genes_of(source: Lane) -> Ints:
    is_gene = np.flatnonzero((source.features["type"] == GENE_EXPRESSION).to_numpy())
    if not len(is_gene):
        msg = (
            f"{source.path} holds no genes (feature types: "
            f"{', '.join(source.features['type'].unique())}). Give the lane's RNA matrix "
            "as path, and a matrix of hashtags as hashtag_path."
        )
        raise LaneError(msg)
    return is_gene


def _with_rest(protein: pd.DataFrame, *others: pd.DataFrame) -> pd.DataFrame:
    """Add tags that no sheet lists, so that pp.demultiplex can name them."""
    for rest in others:
        new = [name for name in rest if name not in protein]
        protein = pd.concat([protein, rest[new]], axis=1) if new else protein
    return protein


def _beside(source: Lane, frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables of proteins side by side."""
    table = pd.concat(frames, axis=1) if len(frames) > 1 else frames[0]
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        msg = (
            f"{source.path} and its matrix of proteins both hold {', '.join(twice[:5])}. Give the "
            "matrix without these, or leave protein_path empty."
        )
        raise LaneError(msg)
    return table


def _kept(counts: sparse.csr_matrix, min_counts: int, source: Lane) -> Array | None:
    if min_counts <= 0:
        return None
    keep = np.asarray(counts.sum(axis=1)).ravel() >= min_counts
    if not keep.any():
        msg = (
            f"{source.path}: none of {len(keep):,} barcodes has min_counts = {min_counts:,} UMIs. "
            "Lower min_counts, or check the lane."
        )
        raise LaneError(msg)
    return keep


def join(
    parts: list[Part],
    joined: Callable[[list[Part], pd.Index], Any],
    *,
    genes: GeneRule,
) -> AnnData:
    """Return one AnnData of all ``parts``; cells are named ``<lane>_<barcode>``.

    ``joined`` returns the counts of all parts, cells × the genes that it is given. The counts of
    ``parts`` move into the result: their own become ``None``.
    """
    from anndata import AnnData

    _check_copies(parts)
    names = _common_genes(parts, genes)
    counts = joined(parts, names)
    n_cells = [len(each.barcodes) for each in parts]
    lanes = [each.lane for each in parts]
    lane = pd.Categorical.from_codes(np.repeat(np.arange(len(parts)), n_cells), pd.Index(lanes))
    cells = [f"{each.lane}_{barcode}" for each in parts for barcode in each.barcodes]
    columns = {schema.LANE: lane, **_donors(parts)}
    obs = pd.DataFrame(columns, index=pd.Index(cells))
    return AnnData(
        X=None,
        obs=obs,
        var=_var(parts, names),
        layers={schema.COUNTS: counts},
        obsm={slot: _stack(parts, slot, obs.index) for slot in _slots(parts)},
    )


def _donors(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the columns of genetic donors, if any lane has them."""
    if all(each.calls is None for each in parts):
        return {}
    nothing = {"donor": None, "call": None, "probability": np.nan, "doublet_probability": np.nan}
    tables = [
        pd.DataFrame(nothing, index=range(len(each.barcodes))) if each.calls is None else each.calls
        for each in parts
    ]
    column = {name: np.concatenate([t[name].to_numpy(object) for t in tables]) for name in nothing}
    donors = sorted({str(name) for name in column["donor"] if isinstance(name, str)})
    text = [name if isinstance(name, str) else None for name in column["donor"]]
    return {
        schema.GENOTYPE: schema.categorical(np.array(text, dtype=object), donors),
        schema.GENOTYPE_CLASS: schema.categorical(column["call"], schema.GENOTYPE_CLASSES),
        schema.GENOTYPE_CONFIDENCE: column["probability"].astype(np.float64),
        schema.GENOTYPE_DOUBLET: column["doublet_probability"].astype(np.float64),
    }


def _check_copies(parts: Sequence[Part]) -> None:
    """Raise :class:`LaneError` if two lanes hold the same cells with the same counts."""
    for second in range(1, len(parts)):
        for first in range(second):
            one, other = parts[first], parts[second]
            where = one.barcodes.get_indexer(other.barcodes)
            shared = int((where >= 0).sum())
            # By chance two lanes share few barcodes, and hardly any with the same number of genes.
            if shared < max(_COPIED, 0.5 * min(len(one.barcodes), len(other.barcodes))):
                continue
            n_genes = [np.diff(each.counts.indptr) for each in (one, other)]
            same = float((n_genes[0][where[where >= 0]] == n_genes[1][where >= 0]).mean())
            if same > 0.9:
                msg = (
                    f"The lanes {one.lane!r} ({one.source.path}) and {other.lane!r} "
                    f"({other.source.path}) hold the same cells: {shared:,} barcodes are in "
                    f"both, {same:.0%} of them with the same number of genes. A file was "
                    "copied or named twice: give each lane its own file, or remove one "
                    "of the two from the sheet."
                )
                raise LaneError(msg)


def _slots(parts: Sequence[Part]) -> list[str]:
    return [
        slot
        for slot in (schema.HASHTAGS, schema.PROTEIN, schema.GUIDES)
        if any(slot in each.frames for each in parts)
    ]


def _stack(parts: Sequence[Part], slot: str, cells: pd.Index) -> pd.DataFrame:
    names = list(dict.fromkeys(n for each in parts for n in each.frames.get(slot, ())))
    place = {name: column for column, name in enumerate(names)}
    values = np.zeros((len(cells), len(names)), dtype=np.int32)
    start = 0
    for each in parts:
        stop = start + len(each.barcodes)
        if slot in each.frames:
            frame = each.frames[slot]
            values[start:stop, [place[name] for name in frame]] = frame.to_numpy()
        start = stop
    return pd.DataFrame(values, index=cells, columns=pd.Index(names))


def _var(parts: Sequence[Part], names: pd.Index) -> pd.DataFrame:
    ids = pd.Series("", index=names, dtype=object)
    for each in reversed(parts):
        known = pd.Series(each.gene_ids, index=each.genes, dtype=object)
        known = known[(known != "").to_numpy() & each.genes.isin(names)]
        ids.loc[known.index] = known
    columns = {schema.GENE_ID: pd.Series(ids.to_list(), index=names)} if (ids != "").any() else {}
    return pd.DataFrame(columns, index=names)


def _common_genes(parts: Sequence[Part], rule: GeneRule) -> pd.Index:
    first = parts[0].genes
    if all(each.genes is first or each.genes.equals(first) for each in parts[1:]):
        return first
    union = pd.Index(list(dict.fromkeys(gene for each in parts for gene in each.genes)))
    shared = np.logical_and.reduce([union.isin(each.genes) for each in parts])
    if not shared.any():
        msg = (
            "The lanes share no gene: they were counted with different references or "
            f"named differently (lane {parts[0].lane!r}: {parts[0].genes[0]}, ...; lane "
            f"{parts[-1].lane!r}: {parts[-1].genes[0]}, ...). Count all lanes with one reference."
        )
        raise GeneCoverageError(msg)
    if shared.all():
        # The same genes in another order need no warning.
        return first
    names: pd.Index = union if rule == "union" else union[shared]
    _warn_unlike(parts, union, shared, rule)
    return names


def _warn_unlike(parts: Sequence[Part], union: pd.Index, shared: Array, rule: GeneRule) -> None:
    lacks = [(each.lane, len(union) - len(each.genes)) for each in parts]
    listed = ", ".join(f"{lane}: {n}" for lane, n in lacks[:6] if n)
    consequence = (
        "Genes that a lane lacks were filled with zeros, which are not measurements: do "
        "not compare those genes between lanes, or pass genes='intersection'"
        if rule == "union"
        else f"Only the genes that all lanes have were kept ({int(shared.sum()):,})"
    )
    msg = (
        f"The lanes differ in their genes ({len(union):,} in all; missing in {listed}): "
        f"they were counted with different references or filtered earlier. {consequence}. "
        "Use unfiltered lanes with one reference if possible."
    )
    warn(msg)
