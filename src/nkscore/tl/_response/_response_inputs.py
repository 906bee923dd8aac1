"""Samples, model and sums of counts of a comparison of two arms."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore import schema
from nkscore._ledger import note_in, rows
from nkscore._samples._left_out import LEFT_OUT, confounded_lines
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import (
    WELL,
    Samples,
    arms,
    compartment_samples,
    control_of,
    labels,
    note_samples,
)
from nkscore._samples._wells import repeated_measures
from nkscore.stats import response_design

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

    from nkscore._counts._group_sums import GroupSums
    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Floats, Level
    from nkscore.stats import Design

_LOG = logging.getLogger("nkscore")


@dataclass(frozen=True, slots=True)
class ResponseInputs:
    """Inputs of a response; ``sums`` and ``design`` have one row per sample.

    ``remarks`` say in words which questions the samples can and cannot answer.
    """

    samples: Samples
    design: Design
    sums: GroupSums
    remarks: tuple[str, ...]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Samples and lines that are not in the model, each with its reason."""
        return (*self.samples.left_out, *confounded_lines(self.design))

    def overdispersion(self) -> Floats:
        """Return the variance between cells of a sample over their mean, one value per gene."""
        return self.sums.overdispersion(self.samples.table["n_cells"].to_numpy())


def response_inputs(
    adata: AnnData,
    compartment: str | None,
    *,
    treated: Level,
    control: Level | None,
    by: str,
    replicate: str,
    condition: str,
    covariates: Sequence[str],
    min_cells: int,
) -> ResponseInputs:
    """Collect the samples of both arms, the model that fits them, and their counts."""
    control = control_of(compartment, condition=condition, control=control)
    columns = list(dict.fromkeys([by, replicate, condition, *covariates]))
    samples = compartment_samples(
        adata,
        compartment,
        columns=columns,
        min_cells=min_cells,
        split=(by, condition),
        replicate=replicate,
    )
    samples = _name_samples_without(condition, samples)
    samples = arms(samples, treated=treated, control=control, by=by, column=condition)
    design = response_design(
        samples.table["treated"].to_numpy(),
        labels(samples.table, by),
        labels(samples.table, WELL if replicate == schema.SAMPLE else replicate),
        covariates={name: list(samples.table[name]) for name in covariates},
    )
    unmatched = _replicates_apart(samples, replicate)
    if unmatched:
        _LOG.warning(unmatched)
    if design.confounded:
        _LOG.warning("Confounded with other terms, excluded: %s", ", ".join(design.confounded))
    counts = counts_of(adata, check=False)
    sums = counts.group_sums(samples.codes, len(samples.table), squares=True)
    remarks = [*_remarks(adata, samples, design), *([unmatched] if unmatched else [])]
    return ResponseInputs(samples, design, sums, tuple(remarks))


def note_response(
    table: pd.DataFrame, inputs: ResponseInputs, tested: Bools, *, by: str
) -> pd.DataFrame:
    """Add cells, samples, lines and genes that a response lost to its ledger; return it."""
    step = "tl.interaction_response"
    left_out = table.attrs.get(LEFT_OUT, ())
    note_samples(table, inputs.samples, step=step, by=by, left_out=left_out)
    few = {"too few counts in every line (min_count)": {"": int((~tested).sum())}}
    note_in(table, rows(step, "genes", len(tested), table["gene"].nunique(), few))
    return table


def _name_samples_without(condition: str, samples: Samples) -> Samples:
    known = [value is not None for value in labels(samples.table, condition)]
    names = labels(samples.table, schema.SAMPLE)[np.logical_not(known)]
    if names.size:
        _LOG.warning(
            "%d samples without obs[%r], excluded: %s",
            names.size,
            condition,
            ", ".join(map(str, names[:10])),
        )
    return samples.without("sample", names, [f"no value of obs[{condition!r}]"] * names.size)


def _replicates_apart(samples: Samples, replicate: str) -> str:
    """Return a remark if both arms have replicates but none in common."""
    if replicate == schema.SAMPLE:
        return ""
    treated = samples.table["treated"].to_numpy()
    names = labels(samples.table, replicate)
    arms_of = [set(names[side]) - {None} for side in (treated, ~treated)]
    if not all(arms_of) or arms_of[0] & arms_of[1]:
        return ""
    fewest = min(map(len, arms_of))
    known = (
        "one arm has a single one, so its peculiarities cannot be distinguished from the treatment"
        if fewest == 1
        else "differences between them add to the error"
    )
    return f"No level of {replicate!r} is in both arms: {known}."


def _remarks(adata: AnnData, samples: Samples, design: Design) -> tuple[str, ...]:
    """Describe which questions the samples can answer."""
    treated = design.treated
    arms = (
        f"{len(design.effects)} effects from {int(treated.sum())} treated and "
        f"{int((~treated).sum())} control samples; {design.matrix.shape[1]} coefficients, "
        f"{design.df_residual} residual degrees of freedom."
    )
    matched = "are compared with themselves" if design.blocked else "are not matched between arms"
    said = [arms, f"Replicates {matched}."]
    cells = samples.codes >= 0
    wells = samples.table[WELL].to_numpy(dtype=object)[samples.codes[cells]]
    summed = repeated_measures(wells, adata.obs[schema.SAMPLE][cells])
    said += [summed] if summed else []
    single = [n for n, rows in design.members.items() if _smaller_arm(treated[rows]) < 2]
    if single:
        said.append(
            f"One sample in an arm: {', '.join(single)}. The variation of such samples is "
            "estimated from the other samples of the model."
        )
    if design.confounded:
        said.append(f"Not estimable: {', '.join(design.confounded)}.")
    if _lanes_apart(adata, samples):
        said.append(
            "No lane holds samples of both arms: differences between lanes cannot be "
            "distinguished from the treatment."
        )
        _LOG.info(said[-1])
    return tuple(said)


def _smaller_arm(treated: Bools) -> int:
    return min(int(treated.sum()), int((~treated).sum()))


def _lanes_apart(adata: AnnData, samples: Samples) -> bool:
    if schema.LANE not in adata.obs:
        return False
    lanes = adata.obs[schema.LANE].astype(str).to_numpy(dtype=object)
    cells = samples.codes >= 0
    arm = samples.table["treated"].to_numpy()[samples.codes[cells]]
    return not set(np.unique(lanes[cells][arm])) & set(np.unique(lanes[cells][~arm]))
