"""Receptor-ligand pairs of NK and tumor cells, with their expression per sample."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nkscore import schema, signatures
from nkscore._checks import check_columns
from nkscore._samples._samples import WELL, labels
from nkscore.errors import GeneCoverageError
from nkscore.stats import fit_linear, joint_factors, log_cpm, moderated_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats, Labels
    from nkscore.tl._response._response_inputs import ResponseInputs

KEPT = ("nk_gene", "nk_partners", "tumor_gene", "class", "sender")


def chosen_pairs(pairs: pd.DataFrame | None, genes: Sequence[str]) -> pd.DataFrame:
    """Return the pairs whose genes, including subunits, are all in the data."""
    if pairs is None:
        known = signatures.ligand_receptor()
        pairs = known[~known["doubtful"].to_numpy(dtype=bool)]
    advice = "Rename the columns as in signatures.ligand_receptor()."
    check_columns(pairs, ["nk_gene", "tumor_gene"], advice, what="pairs")
    table = pairs.assign(**{c: "" for c in KEPT if c not in pairs})[list(KEPT)]
    table = table.fillna("")
    needed, tumor = subunits_of(table), table["tumor_gene"]
    complexes = [(*sorted(units), gene) for units, gene in zip(needed, tumor, strict=True)]
    # A complex can be listed once per subunit.
    table = table[~pd.Series(complexes, index=table.index).duplicated()]
    present = set(genes)
    needed, tumor = subunits_of(table), table["tumor_gene"]
    inside = [{*units, gene} <= present for units, gene in zip(needed, tumor, strict=True)]
    if not any(inside):
        msg = (
            f"None of {len(table)} pairs has all its genes in the data ({len(present)} genes). "
            "Check that adata.var_names are gene symbols."
        )
        raise GeneCoverageError(msg)
    return table[inside].reset_index(drop=True)


def subunits_of(table: pd.DataFrame) -> list[list[str]]:
    """Return all genes that the NK cell needs for each pair."""
    return [
        [gene, *(p.strip() for p in re.split("[,;]", partners) if p.strip())]
        for gene, partners in zip(table["nk_gene"], table["nk_partners"], strict=True)
    ]


def levels(inputs: ResponseInputs) -> pd.DataFrame:
    """Return log2 counts per million of the treated samples, wells × genes (by position).

    Lines are compared with each other, so library sizes have a scale common to all of them.
    """
    counts, treated = inputs.sums.sums, inputs.design.treated
    size = joint_factors(counts, counts.sum(axis=1), inputs.design).library
    wells = inputs.samples.table[WELL].astype(str)[treated]
    return pd.DataFrame(log_cpm(counts[treated], size[treated]), index=wells.to_numpy())


def lowest(values: pd.DataFrame, table: pd.DataFrame, genes: pd.Index) -> tuple[Floats, list[str]]:
    """Return wells × pairs of the lowest NK subunit, and its name."""
    columns, names = [], []
    for units in subunits_of(table):
        at = genes.get_indexer(pd.Index(units))
        limiting = int(np.argmin(values[at].to_numpy().mean(axis=0)))
        columns.append(values[at[limiting]].to_numpy())
        names.append(units[limiting])
    return np.column_stack(columns), names


def line_differences(
    score: Floats, samples: pd.DataFrame, *, by: str, replicate: str
) -> dict[str, Any]:
    """Test for each line whether its scores differ from the mean of the other lines.

    Samples × pairs. Donors are matched if they connect all lines; if each line has its own donors,
    donors are plain replicates. Lines without a residual degree of freedom give no result.
    """
    line, donor = labels(samples, by), labels(samples, replicate)
    names = sorted({str(x) for x in line})
    tests: dict[str, Any] = {}
    if len(names) < 2:
        return tests
    blocks = _donor_columns(donor.astype(str), line, names)
    for name in names:
        others = [other for other in names if other != name]
        here = (line == name).astype(float)
        columns = [np.ones(len(line)), here - 1 / len(names)]
        columns += [(line == o).astype(float) - (line == others[-1]) for o in others[:-1]]
        design = np.column_stack([*columns, *blocks])
        if len(line) - np.linalg.matrix_rank(design) < 1:
            continue
        fit = fit_linear(np.ascontiguousarray(score.T), design, np.ones(score.T.shape))
        tests[name] = moderated_test(fit, 1)
    return tests


def _donor_columns(donor: Labels, line: Labels, names: list[str]) -> list[Floats]:
    """Return a column per donor but the first, none where they do not connect the lines."""
    donors = sorted(set(donor))
    blocks = [(donor == d).astype(float) - (donor == donors[0]) for d in donors[1:]]
    lines = np.column_stack([(line == name).astype(float) for name in names])
    connected = np.linalg.matrix_rank(np.column_stack([lines, *blocks]))
    return blocks if connected == len(names) + len(blocks) else []


def ambient_genes() -> set[str]:
    """Return genes whose RNA in tumor cells probably comes from NK cells, from lists."""
    return {*signatures.get("NK_EXCLUSIVE").up, *signatures.get("NK_SHARED").up}


def in_log2(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a fitted response that a pair needs, by group and gene."""
    kept = ["group", "gene", "log2_fc", "se", "df_total", "p_value"]
    return table[kept].set_index(["group", "gene"])


def well_table(inputs: ResponseInputs, columns: Sequence[str]) -> pd.DataFrame:
    """Return the treated samples' columns by well."""
    table = inputs.samples.table[inputs.design.treated]
    wanted = [c for c in dict.fromkeys(columns) if c != schema.SAMPLE]
    return table[wanted].set_axis(table[WELL].astype(str).to_numpy())
