"""The functions that load data: one lane, the sample sheet, the whole experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from nkscore import schema
from nkscore._gate import expanded
from nkscore._storable import stored_name
from nkscore.io import _combine, _loading, _sheet, _tags
from nkscore.io._lane_store import place_for
from nkscore.io._readers import load
from nkscore.io._source import default_lane

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from anndata import AnnData


def read_sample_sheet(
    sheet: str | os.PathLike[str] | pd.DataFrame,
    *,
    base: str | os.PathLike[str] | None = None,
    extra_conditions: Sequence[str] = (),
    check_files: bool = True,
) -> pd.DataFrame:
    """Read and check a sample sheet without loading any lane.

    Parameters
    ----------
    sheet
        CSV or TSV file (comma, tab or semicolon), workbook (``.xlsx``, ``.ods``, ``.xls``) or
        DataFrame, one row per sample; ``docs/sample_sheet.md`` lists the columns and other
        spellings that are read.
    base
        Folder for relative paths; by default the sheet's folder, or the working folder for a
        DataFrame.
    extra_conditions
        Custom conditions in addition to ``schema.CONDITIONS``.
    check_files
        Whether the lanes must already exist.

    Returns
    -------
    pandas.DataFrame
        One row per sample: text columns with ``""`` for missing values, ``time_h`` and ``et_ratio``
        as float with NaN; your own columns follow. This is the table that
        :func:`read_coculture` keeps in ``uns["nkscore"]["sample_sheet"]``.

    Raises
    ------
    SampleSheetError
        With all problems of the sheet at once, each with its row, column and remedy.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> wells = pd.DataFrame(
    ...     {
    ...         "path": ["pool_1.h5", "pool_1.h5"],
    ...         "hashtag": ["HTO_1", "HTO_2"],
    ...         "sample": ["K562_alone", "K562_with_NK"],
    ...         "tumor": "K562",
    ...         "nk_donor": [None, "donor_1"],
    ...         "condition": ["tumor_mono", "coculture"],
    ...     }
    ... )
    >>> checked = nk.io.read_sample_sheet(wells, check_files=False)
    >>> checked[["lane", "hashtag", "sample", "condition"]]
         lane hashtag        sample   condition
    0  pool_1   HTO_1    K562_alone  tumor_mono
    1  pool_1   HTO_2  K562_with_NK   coculture
    """
    return _sheet.stored(_loading.checked_sheet(sheet, base, extra_conditions, files=check_files))


def read_coculture(
    sheet: str | os.PathLike[str] | pd.DataFrame,
    *,
    base: str | os.PathLike[str] | None = None,
    extra_conditions: Sequence[str] = (),
    genome: str | None = None,
    genes: _combine.GeneRule = "union",
    min_counts: int = 0,
    progress: bool | None = None,
    store: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Load all lanes of a sample sheet into one AnnData.

    The formats are 10x ``.h5`` (Cell Ranger 2 and later), folders of ``matrix.mtx`` (packed or
    not), ``.h5ad``, ``.zarr``, ``.loom``, ``.rds`` and text tables; lanes can have different
    formats. Nothing is returned unless all lanes could be read.

    Parameters
    ----------
    sheet
        CSV or TSV file (comma, tab or semicolon), workbook (``.xlsx``, ``.ods``, ``.xls``) or
        DataFrame, one row per sample; ``docs/sample_sheet.md`` lists the columns and other
        spellings that are read.
    base
        Folder for relative paths; by default the sheet's folder, or the working folder for a
        DataFrame.
    extra_conditions
        Custom conditions in addition to ``schema.CONDITIONS``.
    genome
        Genome to read if a lane was mapped to several; files without genome names are read whole.
    genes
        What to do if lanes differ in their genes: keep the ``union``, with zeros in the lanes that
        lack a gene, or the ``intersection``. A warning says so in both cases.
    min_counts
        Drop barcodes with fewer UMIs, for unfiltered matrices; 0 keeps all.
    progress
        Show a progress bar; by default if there are several lanes and a terminal.
    store
        New HDF5 file for the counts, which stay in it: only one lane at a time is in memory. All
        steps read them from there, block by block. By default counts are in memory.

    Returns
    -------
    AnnData
        Cells × genes, cells named ``<lane>_<barcode>``, genes by symbol (the second and later
        copies of a symbol get their id appended), with

        - ``layers["counts"]``: CSR int32; ``X`` is empty until ``pp.normalize``;
        - ``obs["lane"]``; for lanes of one sample without hashtag also ``sample``, ``tumor`` and
          the other columns of the sheet, which ``pp.demultiplex`` fills for the other lanes;
        - ``var["gene_id"]`` if the files contain ids;
        - ``obsm["hashtags"]``, ``obsm["protein"]``, ``obsm["guides"]``: int32 DataFrames, 0 if a
          lane lacks a tag; hashtags are those named in the sheet, other tags are in ``protein``;
        - ``uns["nkscore"]["sample_sheet"]``, the checked sheet,
          ``uns["nkscore"]["io.read_coculture"]``, a record of the read files, and
          ``uns["nkscore"]["ledger"]``, what was not read (:func:`nkscore.ledger`).

    Raises
    ------
    SampleSheetError
        If the sheet contradicts itself, its files or their hashtags.
    LaneError
        If a file is damaged, empty or in an unknown format, or barcodes do not match.
    GeneCoverageError
        If genes are not named by human symbols.
    WrongScaleError
        If values are not raw counts.
    FileExistsError
        If something is at ``store``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import anndata as ad
    >>> import numpy as np
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> folder = Path(tempfile.mkdtemp())
    >>> cells = pd.DataFrame(index=["AAACCCAAGAAACACT-1", "AAACCCAAGAAACCAT-1"])
    >>> lane = ad.AnnData(
    ...     np.array([[3, 0, 1], [0, 2, 5]]), cells, pd.DataFrame(index=["NKG7", "CD34", "CD7"])
    ... )
    >>> lane.obsm["hto"] = pd.DataFrame({"HTO_1": [50, 1], "HTO_2": [2, 80]}, index=cells.index)
    >>> lane.write_h5ad(folder / "pool_1.h5ad")
    >>> wells = pd.DataFrame(
    ...     {
    ...         "path": "pool_1.h5ad",
    ...         "hashtag_path": "obsm:hto",
    ...         "hashtag": ["HTO_1", "HTO_2"],
    ...         "sample": ["K562_alone", "K562_with_NK"],
    ...         "tumor": "K562",
    ...         "nk_donor": ["", "donor_1"],
    ...         "condition": ["tumor_mono", "coculture"],
    ...     }
    ... )
    >>> adata = nk.io.read_coculture(wells, base=folder)
    >>> adata.obsm["hashtags"]
                               HTO_1  HTO_2
    pool_1_AAACCCAAGAAACACT-1     50      2
    pool_1_AAACCCAAGAAACCAT-1      1     80
    """
    _loading.check_options(genes, min_counts)
    checked = _loading.checked_sheet(sheet, base, extra_conditions, files=True)
    entries = _loading.entries_of(checked)
    tags = list(dict.fromkeys(tag for tag in checked.cells[schema.HASHTAG] if tag))
    with place_for(store) as place:
        parts = [
            place.taken(
                _loading.load_entry(entry, checked, tags, genome=genome, min_counts=min_counts)
            )
            for entry in _loading.with_progress(entries, progress)
        ]
        adata = _combine.join(parts, place.joined, genes=genes)
        table = _sheet.stored(checked)
        table[schema.HASHTAG] = [stored_name(tag) if tag else "" for tag in table[schema.HASHTAG]]
        _loading.fill_samples(adata, entries, [len(part.barcodes) for part in parts], table)
        options = {
            "sheet": str(sheet) if not isinstance(sheet, pd.DataFrame) else "DataFrame",
            "base": str(checked.base),
            "extra_conditions": list(extra_conditions) or None,
            "genome": genome,
            "genes": genes,
            "min_counts": min_counts,
        }
        _loading.record(adata, "io.read_coculture", options, parts)
        adata.uns[schema.RECORD][schema.SAMPLE_SHEET] = table
        schema.validate(adata, stage="loaded")
    return adata


def read_lane(
    path: str | os.PathLike[str],
    *,
    lane: str | None = None,
    hashtags: Iterable[str] | None = None,
    hashtag_path: str | os.PathLike[str] | None = None,
    protein_path: str | os.PathLike[str] | None = None,
    genotype_path: str | os.PathLike[str] | None = None,
    genome: str | None = None,
    min_counts: int = 0,
    annotations: Sequence[str] | bool = False,
    store: str | os.PathLike[str] | None = None,
) -> AnnData:
    """Load one lane.

    Parameters
    ----------
    path
        10x ``.h5`` file, folder with ``matrix.mtx`` (or the ``.mtx`` file, if a folder holds
        several), ``.h5ad``, ``.zarr``, ``.loom``, ``.rds`` or a text table; ``docs/formats.md``
        lists them.
    lane
        Name of the lane; by default the name of the file or folder, or, if every pipeline run uses
        this name, that of the first parent folder with a specific name.
    hashtags
        Names or ids of the tags that mark samples; by default none, or all of
        ``hashtag_path``.
    hashtag_path
        Matrix that holds the hashtags; ``obsm:<key>`` for a table of an ``.h5ad`` or ``.zarr``
        lane, ``assay:<name>`` for an assay of an ``.rds`` lane; several are separated by ``;``. By
        default hashtags are read from the lane's own file.
    protein_path
        Separate matrix of antibodies, as for ``hashtag_path``; into ``obsm["protein"]``.
    genotype_path
        Calls of the donor of each cell, in a format of :func:`read_genotypes`; into
        ``obs["genotype"]``, ``["genotype_class"]``, ``["genotype_confidence"]`` and
        ``["genotype_doublet"]``.
    genome
        Genome to read if the lane was mapped to several; a file without genome names is read whole.
    min_counts
        Drop barcodes with fewer UMIs, for unfiltered matrices; 0 keeps all.
    annotations
        Cell annotations of the file (``obs`` of an AnnData, ``meta.data`` of a Seurat object,
        ``colData``, ``col_attrs``) to copy into ``obs``: names, or True for all. By default results
        of earlier analyses are not copied, because nkscore may write to the same names. A column
        ``lane`` becomes ``lane_in_file``.
    store
        New HDF5 file for the counts, which stay in it; by default they are in memory.

    Returns
    -------
    AnnData
        As from :func:`read_coculture`, without sample columns; :func:`parse_sample_names` makes
        them from a column of sample names.

    Raises
    ------
    LaneError
        If a file is missing, damaged, empty or in an unknown format, or a hashtag is absent.
    GeneCoverageError
        If genes are not named by human symbols.
    WrongScaleError
        If values are not raw counts.
    FileExistsError
        If something is at ``store``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import anndata as ad
    >>> import numpy as np
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> file = Path(tempfile.mkdtemp()) / "pool_1.h5ad"
    >>> genes = pd.DataFrame(index=["NKG7", "CD34", "CD7"])
    >>> ad.AnnData(np.array([[3, 0, 1], [0, 2, 5]]), var=genes).write_h5ad(file)
    >>> nk.io.read_lane(file).layers["counts"].toarray()
    array([[3, 0, 1],
           [0, 2, 5]], dtype=int32)
    """
    _loading.check_options("union", min_counts)
    place = expanded(path)
    source = load(place, genome=genome)
    tag_path = "" if hashtag_path is None else str(hashtag_path)
    files = {
        "hashtag_path": tag_path,
        "protein_path": "" if protein_path is None else str(protein_path),
        "genotype_path": "" if genotype_path is None else str(genotype_path),
    }
    tables = _loading.tag_tables(source, files, Path(), genome=genome)
    table = _tags.joined(tables.hashtags)
    if isinstance(hashtags, str):
        hashtags = [hashtags]
    wanted = [] if hashtags is None else list(dict.fromkeys(hashtags))
    if hashtags is None and tag_path:
        wanted = [str(name) for name in table.names]
    _loading.absent_in_lane(wanted, source, tables.all)
    calls = _loading.genotypes(source, files["genotype_path"], Path())
    name = lane if lane is not None else default_lane(place.resolve())
    part = _combine.part(name, source, tables, wanted, min_counts=min_counts, calls=calls)
    _loading.log(part)
    with place_for(store) as held:
        parts = [held.taken(part)]
        del part
        adata = _combine.join(parts, held.joined, genes="union")
        part = parts[0]
        _loading.annotate(adata, part, annotations)
        options = {
            "path": str(path),
            "lane": lane,
            "hashtags": wanted or None,
            "genome": genome,
            **{name: given or None for name, given in files.items()},
            "min_counts": min_counts,
            "annotations": annotations if isinstance(annotations, bool) else list(annotations),
        }
        _loading.record(adata, "io.read_lane", options, [part])
        schema.validate(adata, stage="loaded")
    return adata
