"""Write cells and tables for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

import pandas as pd

from nkscore._gate import expanded
from nkscore.errors import DesignError
from nkscore.io._export_cells import write_cellxgene, write_seurat
from nkscore.io._export_tables import Choice, write_gmt, write_rnk, write_xlsx

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData

Target = Literal["seurat", "xlsx", "rnk", "gmt", "cellxgene"]
_TARGETS: Final = get_args(Target)
_OF_CELLS: Final = ("seurat", "cellxgene")


def export(
    adata_or_table: AnnData | pd.DataFrame | Mapping[str, pd.DataFrame],
    path: str | os.PathLike[str],
    to: Target,
    *,
    by: str = "tumor",
    rank_by: str | None = None,
    max_q: float = 0.05,
    overwrite: bool = False,
) -> list[Path]:
    """Write cells or a table in the form that another program reads.

    Parameters
    ----------
    adata_or_table
        Cells × genes (``seurat``, ``cellxgene``, ``xlsx``) or a table (``xlsx``, ``rnk``, ``gmt``);
        for ``xlsx`` also a mapping from name to table, one worksheet each.
    path
        File to write; for ``seurat`` a folder.
    to
        - ``seurat``: a folder with the counts (``matrix.mtx.gz``), the cells' columns, embeddings,
          hashtags, proteins and scores, and ``load.R``, which makes a Seurat object of them
          (SeuratObject 4 or 5): in R, ``source("load.R", chdir = TRUE)``.
        - ``cellxgene``: an ``.h5ad`` as the CELLxGENE explorer opens it: ``X`` normalized, counts
          in ``raw``, scores as columns of ``obs``, embeddings.
        - ``xlsx``: a workbook. Text is stored as text, so no gene name becomes a date; a worksheet
          ``columns`` explains the columns. Of cells, the columns of ``obs`` and the tables of
          ``obsm`` are written.
        - ``rnk``: genes and a statistic, largest first, for GSEA; one file per level of ``by``.
        - ``gmt``: gene sets. Of a table of modules or sets, each of them; of a response, the genes
          that are up (``_UP``) and down (``_DN``) in each level of ``by``.
    by
        Only for ``rnk`` and ``gmt``: column whose levels are separate lists, if the table has it.
    rank_by
        Only for ``rnk``: column of the statistic; by default ``t``, else ``log2_fc``, else
        ``score``.
    max_q
        Only for ``gmt`` of a response: genes with a smaller ``q_value``.
    overwrite
        Whether to replace what ``path`` holds.

    Returns
    -------
    The files that were written (for ``seurat`` all files of the folder).

    Raises
    ------
    ValueError
        If ``to`` is unknown, or a table is too large for a worksheet.
    TypeError
        If ``to`` does not fit the data.
    FileExistsError
        If a file exists and ``overwrite`` is false.
    MissingKeyError
        If a slot or a column is absent.
    DesignError
        If a gene occurs twice in one list.
    ImportError
        If openpyxl is needed and not installed.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> response = pd.DataFrame({"gene": ["SEPTIN1", "B2M"], "t": [-1.5, 8.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (file,) = nk.io.export(response, f"{folder}/k562.rnk", to="rnk")
    ...     print(file.read_text())
    B2M	8.0
    SEPTIN1	-1.5
    """
    if to not in _TARGETS:
        msg = f"to={to!r} is unknown. Pass one of {', '.join(map(repr, _TARGETS))}."
        raise ValueError(msg)
    place = expanded(path)
    choice = Choice(by, rank_by, max_q, overwrite)
    if to == "xlsx":
        return write_xlsx(adata_or_table, place, choice)
    if to in _OF_CELLS and hasattr(adata_or_table, "obs_names"):
        write_cells = write_seurat if to == "seurat" else write_cellxgene
        return write_cells(adata_or_table, place, choice)
    if to not in _OF_CELLS and isinstance(adata_or_table, pd.DataFrame):
        if not adata_or_table.columns.is_unique:
            twice = adata_or_table.columns[adata_or_table.columns.duplicated()][0]
            raise DesignError(f"The table has several columns {twice!r}. Rename or drop one.")
        write_genes = write_rnk if to == "rnk" else write_gmt
        return write_genes(adata_or_table, place, choice)
    needed = "an AnnData" if to in _OF_CELLS else "a DataFrame"
    msg = f"adata_or_table is of type {type(adata_or_table).__name__}; to={to!r} takes {needed}."
    raise TypeError(msg)
