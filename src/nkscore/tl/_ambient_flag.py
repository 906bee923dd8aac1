"""Which apparently induced tumor genes may be NK RNA floating in the lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nkscore import signatures
from nkscore.errors import MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd


def flag_ambient(responses: pd.DataFrame, *, nk_genes: Iterable[str] | None = None) -> pd.DataFrame:
    """Mark raised genes of a tumor response that NK cells alone express.

    Tumor cells in co-culture carry ambient NK transcripts, so such genes look induced in every
    line. The table needs no counts: published ones work too.

    Parameters
    ----------
    responses
        Table with columns ``gene`` and ``log2_fc`` (or Seurat's ``avg_log2FC``), as
        :func:`nkscore.tl.interaction_response` returns.
    nk_genes
        NK-exclusive genes; by default ``NK_EXCLUSIVE`` and ``NK_SHARED`` of the catalogue (the
        latter are genes that some tumors express too).

    Returns
    -------
    A copy of the table with the boolean column ``ambient_suspect``: the gene is NK-exclusive and
    its change is positive. A flag is a reason to look, not proof.

    Raises
    ------
    MissingKeyError
        If a column is absent.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"gene": ["GNLY", "HLA-B"], "log2_fc": [1.2, 0.5]})
    >>> nk.tl.flag_ambient(table)["ambient_suspect"].tolist()
    [True, False]
    """
    effect = next((c for c in ("log2_fc", "avg_log2FC") if c in responses), None)
    if effect is None or "gene" not in responses:
        msg = (
            f"The table has columns {', '.join(map(str, responses.columns))}; 'gene' and 'log2_fc' "
            "(or Seurat's 'avg_log2FC') are needed. Rename yours."
        )
        raise MissingKeyError(msg)
    if nk_genes is None:
        nk_genes = [*signatures.get("NK_EXCLUSIVE").up, *signatures.get("NK_SHARED").up]
    suspect = responses["gene"].isin(list(nk_genes)) & (responses[effect] > 0)
    return responses.assign(ambient_suspect=suspect.to_numpy(dtype=bool))
