"""Which cells are residual, called without the genes that are then tested."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore import schema
from nkscore._samples._matrices import matrix_of
from nkscore.errors import DesignError, MissingKeyError
from nkscore.signatures import Signature
from nkscore.signatures._programs import found_genes, packaged_programs
from nkscore.tl._states._tumor_states import tumor_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData

    from nkscore._types import Bools, Labels
    from nkscore.signatures import TumorProgram

_STEP = "tl.tumor_states"
_MAPPED = "tl.map_reference"
_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Groups:
    """``residual`` and ``other`` cells; ``gave``: genes of the calls; ``remark``: how it was."""

    residual: Bools
    other: Bools
    gave: frozenset[str]
    remark: str


def groups_of(
    adata: AnnData,
    tested: set[str],
    *,
    state: str,
    residual: str,
    other: str | None,
    gave: Iterable[str] | None,
) -> Groups:
    """Return both groups; calls of ``tl.tumor_states`` are made again without the tested genes."""
    schema.require(adata, "obs", [state], _STEP)
    labels = _labels(adata, state)
    _check_level(labels, state, residual, other)
    book = adata.uns.get(schema.RECORD, {})
    if gave is None and state == schema.TUMOR_STATE and _STEP in book:
        programs = _programs_without(adata, book[_STEP]["options"], residual, other, tested)
        if programs is None:
            gave = set(book[_STEP]["genes"]["gene"].astype(str))
            remark = "Custom programs called the state; their genes are not tested."
            return Groups(*_two(labels, residual, other), frozenset(gave), remark)
        again = _called_again(adata, programs, book[_STEP]["options"])
        return Groups(
            *_two(again, residual, other), frozenset(), _agreement(labels, again, residual)
        )
    known = frozenset(map(str, gave or ()))
    remark = f"obs[{state!r}] was taken as it is. " + (
        "The genes of state_genes are not tested."
        if known
        else "The genes that made it are unknown: if tested genes are among them, name them in "
        "state_genes."
    )
    return Groups(*_two(labels, residual, other), known, remark)


def _labels(adata: AnnData, state: str) -> Labels:
    column = adata.obs[state].astype(object)
    named = column.where(column.notna(), schema.UNASSIGNED).astype(str)
    labels: Labels = named.to_numpy(dtype=object)
    return labels


def _check_level(labels: Labels, state: str, residual: str, other: str | None) -> None:
    have = sorted(set(labels))
    for option, level in (("residual", residual), ("other", other)):
        if level is not None and level not in have:
            msg = (
                f"obs[{state!r}] has no level {level!r} (it has: {', '.join(have)}). Name in "
                f"{option} a level that some cells have."
            )
            raise MissingKeyError(msg)
    if residual == other:
        msg = f"Both groups are {residual!r}. Name two different levels, or no other."
        raise DesignError(msg)


def _two(labels: Labels, residual: str, other: str | None) -> tuple[Bools, Bools]:
    here = labels == residual
    rest = labels == other if other is not None else ~here & (labels != schema.UNASSIGNED)
    return np.asarray(here, dtype=bool), np.asarray(rest, dtype=bool)


def _programs_without(
    adata: AnnData,
    options: Mapping[str, Any],
    residual: str,
    other: str | None,
    tested: set[str],
) -> dict[str, TumorProgram] | None:
    """Return the programs that decide who is residual, without the tested genes.

    Programs that come later in the order of labels cannot change who is residual. ``None`` if a
    program is not packaged.
    """
    packaged, order = packaged_programs(), [str(name) for name in options["order"]]
    named = [name for name in (residual, other) if name in order]
    if residual not in order or not set(order) <= set(packaged):
        return None
    last = len(order) - 1 if other is not None and other not in order else 0
    deciding = order[: max(last, *(order.index(name) for name in named)) + 1]
    hidden = [n for name in deciding for n in (*packaged[name].excluded_by, packaged[name].within)]
    found = {}
    for name in dict.fromkeys([*deciding, *filter(None, hidden)]):
        members = tuple(gene for gene in packaged[name].members() if gene not in tested)
        there = found_genes(adata.var_names, Signature(name, members))
        if name in deciding or len(there) >= _COVERAGE * len(members):
            found[name] = replace(packaged[name], genes=(Signature(name, there),), without=())
    return found


def _called_again(
    adata: AnnData, programs: Mapping[str, TumorProgram], options: Mapping[str, Any]
) -> Labels:
    from anndata import AnnData as Cells

    counts = matrix_of(adata, schema.COUNTS)
    copy = Cells(obs=adata.obs.copy(), var=adata.var[[]], layers={schema.COUNTS: counts})
    if schema.AMBIENT_NK in adata.varm:
        copy.varm[schema.AMBIENT_NK] = adata.varm[schema.AMBIENT_NK]
    copy.uns[schema.RECORD] = dict(adata.uns[schema.RECORD])
    order = [str(name) for name in options["order"] if name in programs]
    batch = str(options["batch"])
    tumor_states(
        copy,
        programs=programs,
        order=order,
        by=str(options["by"]),
        batch=None if batch == str(None) else batch,
        min_confidence=float(options["min_confidence"]),
        min_cells=int(options["min_cells"]),
    )
    return _labels(copy, schema.TUMOR_STATE)


def _agreement(before: Labels, after: Labels, residual: str) -> str:
    was, now = before == residual, after == residual
    return (
        f"The state was called again without the tested genes: {int(now.sum())} {residual} cells, "
        f"{int(was.sum())} before, {int((was & now).sum())} in both."
    )
