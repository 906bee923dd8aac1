"""DESeq2 on the sums of samples, by pydeseq2."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pydeseq2.dds import DeseqDataSet

    from nkscore._types import Bools, Floats
    from nkscore.stats.linear._design import Design


def fit_deseq2(
    counts: Floats, design: Design, *, tested: dict[str, Bools], min_log2_fc: float = 0.0
) -> pd.DataFrame:
    """Return the table of :func:`nkscore.stats.fit_response` from pydeseq2's Wald tests.

    Love et al. 2014, doi 10.1186/s13059-014-0550-8; Muzellec et al. 2023, doi
    10.1093/bioinformatics/btad547. Fold changes are not shrunken; ``df_total`` is infinite. Genes
    with an outlying count (Cook's distance) get no p-value and are excluded.

    Raises
    ------
    ImportError
        If pydeseq2 is not installed.
    """
    kept = np.any(list(tested.values()), axis=0)
    columns = _independent(design.matrix, list(design.effects.values()))
    fitted = _fitted(counts[:, kept], design.matrix[:, columns])
    library = counts.sum(axis=1)
    level = np.log2((counts[:, kept] + 0.5) / (library[:, None] + 1) * 1e6)
    parts = []
    for name, column in design.effects.items():
        rows = design.members[name]
        contrast = np.array([float(c == column) for c in columns])
        found = _wald(fitted, contrast, min_log2_fc)
        part = pd.DataFrame(
            {
                "group": name,
                "gene": np.flatnonzero(kept),
                "log2_fc": found["log2FoldChange"].to_numpy(),
                "se": found["lfcSE"].to_numpy(),
                "t": found["stat"].to_numpy(),
                "p_value": found["pvalue"].to_numpy(),
                "mean_log2_cpm": level[rows].mean(axis=0),
                "n_samples_treated": int(design.treated[rows].sum()),
                "n_samples_control": int((~design.treated[rows]).sum()),
                "df_residual": float(design.df_residual),
                "df_total": np.inf,
            }
        )
        parts.append(part[tested[name][kept] & np.isfinite(part["p_value"].to_numpy())])
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def _independent(matrix: Floats, wanted: list[int]) -> list[int]:
    """Return columns that determine all others; the required ones are dropped last."""
    rest = [j for j in range(matrix.shape[1]) if j not in wanted]
    chosen: list[int] = []
    for j in [*wanted, *rest]:
        if np.linalg.matrix_rank(matrix[:, [*chosen, j]]) > len(chosen):
            chosen.append(j)
    return chosen


def _fitted(counts: Floats, matrix: Floats) -> DeseqDataSet:
    try:
        from pydeseq2.dds import DeseqDataSet as Data
    except ImportError as error:
        msg = "method='pydeseq2' needs pydeseq2: pip install pydeseq2, or use method='voom'."
        raise ImportError(msg) from error
    names = [f"s{i}" for i in range(counts.shape[0])]
    genes = [f"g{i}" for i in range(counts.shape[1])]
    table = pd.DataFrame(np.rint(counts).astype(np.int64), index=names, columns=genes)
    model = pd.DataFrame(matrix, index=names, columns=[f"c{i}" for i in range(matrix.shape[1])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = Data(
            counts=table,
            metadata=pd.DataFrame({"sample": names}, index=names),
            design=model,
            quiet=True,
            n_cpus=1,
        )
        dataset.deseq2()
    return dataset


def _wald(fitted: DeseqDataSet, contrast: Floats, min_log2_fc: float) -> pd.DataFrame:
    from pydeseq2.ds import DeseqStats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = DeseqStats(
            fitted,
            contrast=contrast,
            quiet=True,
            n_cpus=1,
            independent_filter=False,
            lfc_null=min_log2_fc,
            alt_hypothesis="greaterAbs" if min_log2_fc else None,
        )
        test.summary()
    found: pd.DataFrame = test.results_df
    return found
