"""Which apparently induced tumor genes may be RNA floating in the lane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nkscore import schema, signatures
from nkscore._samples import compartment_samples, labels
from nkscore.errors import MissingKeyError
from nkscore.stats import group_sums

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData


def flag_ambient(
    responses: pd.DataFrame,
    *,
    adata: AnnData | None = None,
    nk_genes: Iterable[str] | None = None,
    threshold: float = 0.5,
) -> pd.DataFrame:
    """Mark genes of a tumor response that ambient RNA may explain.

    Tumor cells in co-culture carry floating transcripts of the NK cells in their lane, so genes of
    NK cells look induced in every line. With ``adata``, the expected ambient counts of each gene
    (from :func:`nkscore.pp.ambient`) are compared with those counted. Without counts, as for
    published tables, raised genes that NK cells alone express are marked.

    Parameters
    ----------
    responses
        Table with columns ``gene`` and ``log2_fc`` (or Seurat's ``avg_log2FC``), and ``tumor`` if
        ``adata`` is given, as :func:`nkscore.tl.interaction_response` returns for tumor cells.
    adata
        Cells × genes, from which the responses were computed, after ``pp.ambient``.
    nk_genes
        NK-exclusive genes to mark without counts; by default ``NK_EXCLUSIVE`` and ``NK_SHARED`` of
        the catalogue (the latter are genes that some tumors express too).
    threshold
        A gene is suspect if ambient RNA makes up this share of its counts in co-culture, whatever
        its direction: a fall of such a gene means that more of it floated in the control's lane.

    Returns
    -------
    A copy of the table with the boolean column ``ambient_suspect`` and, with ``adata``, the column
    ``ambient_share``: expected ambient counts over counts in the co-culture samples of the line, 0
    to 1, NaN where none was counted. A flag is a reason to look, not proof.

    Raises
    ------
    MissingKeyError
        If a column is absent, or ``pp.ambient`` was not run on ``adata``.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"gene": ["GNLY", "HLA-B"], "log2_fc": [1.2, 0.5]})
    >>> nk.tl.flag_ambient(table)["ambient_suspect"].tolist()
    [True, False]
    """
    effect = next((c for c in ("log2_fc", "avg_log2FC") if c in responses), None)
    needed = {"gene"} | ({"tumor"} if adata is not None else set())
    if effect is None or not needed <= set(responses.columns):
        msg = (
            f"The table has columns {', '.join(map(str, responses.columns))}; "
            f"{', '.join(sorted(needed))} and 'log2_fc' (or Seurat's 'avg_log2FC') are needed. "
            "Rename yours."
        )
        raise MissingKeyError(msg)
    if adata is None:
        raised = (responses[effect] > 0).to_numpy(dtype=bool)
        if nk_genes is None:
            nk_genes = [*signatures.get("NK_EXCLUSIVE").up, *signatures.get("NK_SHARED").up]
        suspect = responses["gene"].isin(list(nk_genes)).to_numpy(dtype=bool)
        return responses.assign(ambient_suspect=suspect & raised)
    share = _expected_share(adata, responses)
    return responses.assign(ambient_share=share, ambient_suspect=np.nan_to_num(share) >= threshold)


def _expected_share(adata: AnnData, responses: pd.DataFrame) -> Any:
    """Return expected ambient counts over counts in co-culture, for each row of the table."""
    table = schema.recorded(adata, "pp.ambient", "pp.ambient")["samples"]
    samples = compartment_samples(
        adata, schema.TUMOR_CELLS, columns=[schema.LANE, schema.TUMOR], min_cells=1
    )
    samples = samples.keep(samples.table[schema.SAMPLE].isin(list(table["sample"])))
    rho = table.set_index("sample")["ambient_share"].reindex(samples.table[schema.SAMPLE])
    counts = group_sums(adata.layers[schema.COUNTS], samples.codes, len(samples.table))
    soup = adata.varm["ambient_soup"][list(samples.table[schema.LANE].astype(str))].to_numpy().T
    expected = counts.sum(axis=1)[:, None] * rho.to_numpy()[:, None] * soup
    lines = labels(samples.table, schema.TUMOR)
    gene = adata.var_names.get_indexer(responses["gene"])
    share = np.full(len(responses), np.nan)
    for line in set(lines):
        rows = np.flatnonzero((responses["tumor"].astype(str) == line).to_numpy() & (gene >= 0))
        floating, counted = expected[lines == line].sum(axis=0), counts[lines == line].sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            share[rows] = np.minimum(floating / counted, 1.0)[gene[rows]]
    return share
