"""What the columns of nkscore's tables mean, for readers who have only the files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Column → its meaning in every table, except where :data:`_OF_TABLE` says otherwise.
_MEANINGS: Final[dict[str, str]] = {
    "sample": "biological sample: one well, tumor × NK donor × condition × time",
    "lane": "10x lane",
    "tumor": "cell line or patient",
    "lineage": "lineage of the tumor (AML, CML, MM, B-ALL, ...)",
    "nk_donor": "donor of the NK cells",
    "nk_source": "source of the NK cells",
    "condition": "condition of the sample",
    "time_h": "hours of culture",
    "et_ratio": "effector (NK) cells per target cell",
    "gene": "gene symbol",
    "state": "state of the cells",
    "nk_state": "state of the NK cells; all: not split by state",
    "compartment": "type of cell: nk, tumor, ...",
    "treated": "condition that is compared with the control",
    "log2_fc": "log2 fold change, treated against control",
    "se": "standard error of the effect",
    "ci_low": "lower limit of the confidence interval of the effect",
    "ci_high": "upper limit of the confidence interval of the effect",
    "t": "test statistic: effect / its moderated standard error",
    "df": "degrees of freedom of the interval",
    "df_total": "degrees of freedom of t: those of the standard error and of the shared variance",
    "df_residual": "degrees of freedom of the standard error",
    "p_value": "p-value of the effect",
    "q_value": "p_value adjusted for all tests of the table (Benjamini-Hochberg)",
    "q_value_line": "p_value adjusted for the tests of the line (Benjamini-Hochberg)",
    "mean_log2_cpm": "mean log2 counts per million of the gene",
    "pct_treated": "percent of treated cells with a count of the gene",
    "pct_control": "percent of control cells with a count of the gene",
    "n_cells": "number of cells",
    "n_cells_treated": "number of treated cells",
    "n_cells_control": "number of control cells",
    "n_samples": "number of samples",
    "n_samples_treated": "number of treated samples",
    "n_samples_control": "number of control samples",
    "n_total": "cells of all states in the sample",
    "n_genes": "number of genes",
    "donor_aware": "whether samples, not cells, are the replicates",
    "ambient_share": "share of the counts that is ambient RNA",
    "log2_fc_adjusted": "log2_fc after the expected ambient counts are subtracted",
    "se_adjusted": "standard error of log2_fc_adjusted",
    "se_ambient": "part of se_adjusted from the expected ambient counts, shared by lines",
    "p_value_adjusted": "p-value of log2_fc_adjusted",
    "ambient_suspect": "whether ambient RNA may explain the effect",
    "nk_share": "share of the counts that is ambient RNA of NK cells",
    "evidence": "how the value was estimated",
    "fraction": "share of the cells of the sample, 0 to 1",
    "fraction_treated": "mean share in treated samples, 0 to 1",
    "fraction_control": "mean share in control samples, 0 to 1",
    "log_odds_ratio": "change of the share as natural logarithm of the odds ratio",
    "rank": "rank of the line; 1: strongest",
    "active_treated": "mean share of activated NK cells in co-culture, 0 to 1",
    "active_control": "mean share of activated NK cells alone, 0 to 1",
    "core": "whether the gene belongs to the core response",
    "tau2": "variance of the effect between lines",
    "i2": "share of the spread between lines that is not error, 0 to 1",
    "heterogeneity_p": "p-value of a difference between lines",
    "prediction_low": "lower limit of the effect expected in a further line",
    "prediction_high": "upper limit of the effect expected in a further line",
    "n_lines": "number of lines in which the gene was tested",
    "n_up": "lines in which the gene is up",
    "n_down": "lines in which the gene is down",
    "n_ambient": "lines in which ambient RNA may explain the effect of the gene",
    "error_correlation": "correlation of the errors of two lines",
    "min_up": "lines in which a core gene must be up",
    "module": "number of the module, in the order of the heat map",
    "label": "gene set that names the module",
    "label_p": "p-value of the overlap of module and set",
    "label_q": "label_p adjusted for all modules and sets (Benjamini-Hochberg)",
    "label_overlap": "genes of the module in the set",
    "variance": "variance of log2_fc over lines",
    "mean_log2_fc": "mean of log2_fc over lines",
    "component": "part of the change: total, within_state, composition, ...",
    "stratum": "state; all: sum over states",
    "change": "change in units of the score",
    "share_of_total": "part of the change of the mean score",
    "share_treated": "share of treated cells in the stratum, 0 to 1",
    "share_control": "share of control cells in the stratum, 0 to 1",
    "mean_treated": "mean score of treated cells",
    "mean_control": "mean score of control cells",
    "paired": "whether treated and control samples are paired by replicate",
    "set": "gene set",
    "n_tested": "genes of the set in the table of the line",
    "coverage": "share of the genes of the set that were tested, 0 to 1",
    "mean": "mean statistic of the genes of the set",
    "mean_other": "mean statistic of all other genes",
    "direction": "up or down",
    "leading_genes": "genes of the set that change most in this direction",
    "nk_gene": "gene of the NK cell",
    "nk_partners": "further subunits that the NK gene needs",
    "tumor_gene": "gene of the tumor cell",
    "class": "type of the pair: activating, inhibitory, ...",
    "sender": "cell with the ligand",
    "limiting_gene": "rarest subunit of the NK cell",
    "score": "expression of both genes of the pair, mean over samples",
    "log2_fc_nk": "part of log2_fc from the NK gene",
    "log2_fc_tumor": "part of log2_fc from the tumor gene",
    "line_difference": "score minus the mean of the other lines",
    "p_value_line": "p-value of line_difference",
    "step": "function or table",
    "what": "what was counted: cells, genes, samples, tags, ...",
    "n_in": "number that came into the step",
    "n_out": "number that the step passed on",
    "n_lost": "number lost for this reason",
    "reason": "why; empty where nothing was lost",
    "names": "lanes or samples with their cells, or what was lost",
    "p_value_bonferroni": "p_value × number of genes (Seurat's p_val_adj)",
    "signal": "signature of a signal",
    "stands_for": "what the signal stands for; signals of one name act alike",
    "activity": "change in log2 per standard deviation of the signature, all signals in one model",
    "z": "activity over its standard error",
    "activity_shrunken": "activity moved toward the mean over lines",
    "alone_z": "z of the signal by itself",
    "rival_z": "smallest z of the difference to a signal that stands for something else",
    "explained": "share of the variance of the response that all signals explain",
    "inflation": "factor on the errors, as genes are correlated",
    "receptor": "gene of the receptor of the signal",
    "receptor_level": "mean log2 counts per million of the receptor in the line",
    "ligand": "gene of the signal",
    "ligand_level": "log2 level of the ligand in NK cells",
    "ligand_state": "NK state with the highest level of the ligand",
    "call": "what the strongest signal of the line stands for, or unclear",
    "answer": "as_such, or equal_depth_and_cycle: against cells of the same depth and cell cycle",
    "role": "role of the class of genes in recognition by NK cells",
    "more_means": "what an increase means for recognition by NK cells",
    "detectable_log2_fc": "smallest change that would be found in four of five such experiments",
    "mean_residual": "mean level in residual cells",
    "n_residual": "number of residual cells",
    "n_other": "number of other cells",
    "overlap": "how much both groups share of depth and cell cycle, 0 to 1",
    "also_in": "other classes of the gene",
    "n_droplets": "droplets with one tag",
    "n_nk": "single NK cells",
    "n_tumor": "single tumor cells",
    "n_own": "NK-tumor pairs of the tag and line of the well",
    "expected_chance": "own pairs expected by chance",
    "expected_leak": "own pairs expected from pairs of two wells that lost a tag",
    "excess": "attached pairs: own pairs beyond the expected ones",
    "per_100": "attached pairs per 100 droplets",
    "per_100_low": "lower limit of the confidence interval of per_100",
    "per_100_high": "upper limit of the confidence interval of per_100",
    "per_nk": "share of the NK cells that is in contact",
    "per_tumor": "share of the tumor cells that is in contact",
    "p_family": "p_value adjusted over all rows (Holm)",
    "n_cross": "pairs with two tags in the lanes",
    "leak_factor": "leak of tags that is seen, over what the model of the tags predicts",
}
_OF_TABLE: Final[dict[tuple[str, str], str]] = {
    ("ambient", "ci_low"): "lower limit of the confidence interval of ambient_share",
    ("ambient", "ci_high"): "upper limit of the confidence interval of ambient_share",
    ("ambient", "n_cells"): "tumor cells of the sample",
    ("ambient", "n_genes"): "genes from which the share was estimated",
    ("communication", "log2_fc"): "log2 fold change of the product of both genes",
    ("communication", "q_value_line"): "p_value_line adjusted within line and state",
    ("core_response", "log2_fc"): "mean log2 fold change over lines, ambient RNA subtracted",
    ("nk_activation", "p_value"): "p-value of log_odds_ratio",
    ("response_modules", "n_genes"): "genes of the module",
    ("contacts", "recall"): "share of a well's pairs that is recognized",
    ("contacts", "ci_low"): "lower limit of the confidence interval of excess",
    ("contacts", "ci_high"): "upper limit of the confidence interval of excess",
    ("contacts", "p_value"): "one-sided p-value for more own pairs than expected",
    ("contacts", "answer"): "excess, upper bound (no p-value) or no answer",
    ("signal_activity", "p_value"): "one-sided p-value of alone_z over all signals of the line",
    ("signal_activity", "se"): "standard error of activity",
    ("signal_activity", "n_genes"): "genes that the signatures and the response share",
    ("tumor_enrichment", "n_genes"): "genes of the set",
    ("tumor_enrichment", "p_value"): "p-value of the set, two-sided",
    ("tumor_enrichment", "q_value"): "p_value adjusted for the sets of the line",
}


def dictionary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row per table and column: ``table``, ``column``, ``type``, ``meaning``.

    The meaning is empty for columns of your own sample sheet.
    """
    rows = [
        (name, str(column), _type(table[column]), meaning(name, str(column)))
        for name, table in tables.items()
        for column in table
    ]
    return pd.DataFrame(rows, columns=pd.Index(["table", "column", "type", "meaning"]))


def meaning(table: str, column: str) -> str:
    """Return what a column of a table means, ``""`` if that is not known."""
    return _OF_TABLE.get((table, column)) or _MEANINGS.get(column, "")


def _type(values: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(values):
        return "true or false"
    if pd.api.types.is_integer_dtype(values):
        return "whole number"
    return "number" if pd.api.types.is_numeric_dtype(values) else "text"
