"""Cells, samples and lines on their way into a comparison, for the ledger of its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore._ledger import note_in, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from nkscore._ledger import Row
    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Ints

_KINDS: Final = {schema.NK: "NK cells", schema.TUMOR_CELLS: "tumor cells", None: "cells"}
#: Of samples that no step named: their condition was not asked for.
_NEITHER: Final = "in neither arm of the comparison"


@dataclass(frozen=True, slots=True)
class Flow:
    """What there was before a comparison excluded samples.

    ``outside`` counts cells that are in no sample, by reason; ``samples`` has one row per sample
    with its ``n_cells``.
    """

    kind: str
    outside: Mapping[str, int]
    samples: pd.DataFrame

    @classmethod
    def of(
        cls,
        compartment: str | None,
        inside: Bools,
        reasons: Iterable[tuple[str, Bools]],
        samples: pd.DataFrame,
    ) -> Flow:
        """Count the cells of a compartment, ``inside``, by the first reason that excludes them."""
        outside, going = {}, inside.copy()
        for reason, fits in reasons:
            outside[reason] = int((going & ~fits).sum())
            going &= fits
        return cls(_KINDS.get(compartment, f"{compartment} cells"), outside, samples)

    def without(self, reason: str, samples: pd.Series, n_lost: Ints) -> Flow:
        """Return the flow after ``n_lost`` cells of each of these samples were excluded."""
        lost = dict(zip(samples.astype(str), n_lost, strict=True))
        of_sample = self.samples[schema.SAMPLE].astype(str).map(lost).fillna(0).astype(int)
        table = self.samples.assign(n_cells=self.samples["n_cells"].to_numpy() - of_sample)
        return Flow(self.kind, {**self.outside, reason: int(of_sample.sum())}, table)


def note_flow(
    table: pd.DataFrame,
    flow: Flow | None,
    used: pd.DataFrame,
    left_out: Iterable[LeftOut],
    *,
    step: str,
    n_cells: int,
    by: str | None,
) -> None:
    """Add the cells, samples and lines of a table of results to its ledger.

    ``used`` has the samples that the table is made from.
    """
    if flow is None:
        return
    known = {(each["what"], each["name"]): each["reason"] for each in left_out}
    lost = _lost_samples(flow, used, known, by)
    made = _of_cells(flow, lost, n_cells, step)
    names = {reason: list(group[schema.SAMPLE].astype(str)) for reason, group in lost.items()}
    made += rows(step, "samples", len(flow.samples), len(used), names)
    if by in flow.samples:
        made += _of_lines(table, flow, known, lost, by=str(by), step=step)
    note_in(table, made)


def _lost_samples(
    flow: Flow, used: pd.DataFrame, known: Mapping[tuple[str, str], str], by: str | None
) -> dict[str, pd.DataFrame]:
    """Return the samples that are not used, by reason."""
    table = flow.samples[~flow.samples[schema.SAMPLE].isin(used[schema.SAMPLE])]
    lines = table[by].astype(str) if by in table else table[schema.SAMPLE]
    pairs = zip(table[schema.SAMPLE].astype(str), lines, strict=True)
    reasons = [known.get(("sample", s), known.get(("line", g), _NEITHER)) for s, g in pairs]
    general = np.array([_general(reason) for reason in reasons], dtype=object)
    return {reason: table[general == reason] for reason in sorted(set(general))}


def _general(reason: str) -> str:
    """Return a reason without the number of cells of one sample."""
    first, comma, rest = reason.partition(" cells, ")
    return f"fewer than {rest.replace(' needed', '')}" if comma and first.isdigit() else reason


def _of_cells(flow: Flow, lost: Mapping[str, pd.DataFrame], n_cells: int, step: str) -> list[Row]:
    reasons = {reason: {"": n} for reason, n in flow.outside.items()}
    for reason, group in lost.items():
        reasons[f"sample: {reason}"] = dict(
            zip(group[schema.SAMPLE].astype(str), group["n_cells"], strict=True)
        )
    n_in = int(flow.samples["n_cells"].sum()) + sum(flow.outside.values())
    return rows(step, flow.kind, n_in, n_cells, reasons)


def _of_lines(
    table: pd.DataFrame,
    flow: Flow,
    known: Mapping[tuple[str, str], str],
    lost: Mapping[str, pd.DataFrame],
    *,
    by: str,
    step: str,
) -> list[Row]:
    lines = sorted(set(flow.samples[by].dropna().astype(str)))
    present = set(table[schema.TUMOR].dropna().astype(str)) if schema.TUMOR in table else set(lines)
    # Where no reason names a line, it is that of its samples.
    of_samples = {str(line): why for why, group in lost.items() for line in group[by].dropna()}
    reasons: dict[str, list[str]] = {}
    for line in (line for line in lines if line not in present):
        reason = known.get(("line", line), of_samples.get(line, _NEITHER))
        reasons.setdefault(reason, []).append(line)
    return rows(step, "lines", len(lines), len(present & set(lines)), reasons)
