"""Write an experiment as 10x lanes with a sample sheet."""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse
from tqdm import tqdm

from nkscore import schema
from nkscore._whole import new_hdf5

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

_FORMATS: Final = ("h5", "mtx")
_GENES: Final = "Gene Expression"
_TAGS: Final = "Antibody Capture"
#: Cell Ranger compresses more; level 1 is several times faster, which suits test files.
_LEVEL: Final = 1


def write_lanes(
    adata: AnnData,
    folder: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("h5", "mtx"),
    overwrite: bool = False,
) -> Path:
    """Write simulated cells as 10x lanes with a sample sheet for ``io.read_coculture``.

    Reads ``layers["counts"]``, ``obs["lane"]``, ``obsm["hashtags"]``,
    ``uns["nkscore"]["sample_sheet"]`` and, where present, ``obs["truth_*"]``.

    Parameters
    ----------
    adata
        Cells × genes, named ``<lane>_<barcode>``.
    folder
        Folder for the files; created if it does not exist.
    formats
        File formats, used in turn for the lanes. ``h5``: one Cell Ranger 3 file ``<lane>.h5`` with
        hashtags as Antibody Capture. ``mtx``: folder ``<lane>`` with the genes and folder
        ``<lane>_hashtags`` with the hashtags.
    overwrite
        Write into a folder that is not empty. Files with other names are kept.

    Returns
    -------
    pathlib.Path
        ``sample_sheet.csv``: one row per sample with ``lane``, ``path``, ``hashtag_path`` (empty if
        ``path`` also holds the hashtags), ``hashtag``, ``sample``, ``tumor``, ``lineage``,
        ``nk_donor``, ``nk_source``, ``condition``, ``time_h``, ``et_ratio``; paths are relative to
        the sheet. The truth per cell is in ``truth.csv.gz`` next to it.

    Raises
    ------
    FileExistsError
        If ``folder`` is not empty and ``overwrite`` is false.
    ValueError
        If a format is not known, or cells are not named after their lane.
    MissingKeyError
        If a slot is missing.

    Notes
    -----
    The simulator knows genes only by symbol, so the column of Ensembl ids also holds symbols.

    Examples
    --------
    >>> import tempfile
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(tumors=["K562"], n_donors=1, n_cells_per_sample=10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sheet = nk.datasets.write_lanes(adata, folder)
    ...     sorted(path.name for path in sheet.parent.iterdir())
    ['Lane_NK1.h5', 'sample_sheet.csv', 'truth.csv.gz']
    """
    unknown = [repr(name) for name in formats if name not in _FORMATS]
    if unknown or not formats:
        msg = f"formats names {', '.join(unknown) or 'nothing'}; known: {', '.join(_FORMATS)}."
        raise ValueError(msg)
    schema.require(adata, "layers", [schema.COUNTS], "datasets.simulate_coculture")
    schema.require(adata, "obs", [schema.LANE], "datasets.simulate_coculture")
    schema.require(adata, "obsm", [schema.HASHTAGS], "datasets.simulate_coculture")
    sheet = schema.recorded(adata, schema.SAMPLE_SHEET, "datasets.simulate_coculture").copy()
    target = _empty_folder(folder, overwrite=overwrite)
    lanes = [
        lane for lane in dict.fromkeys(sheet[schema.LANE]) if (adata.obs[schema.LANE] == lane).any()
    ]
    paths, files = {}, _file_names(lanes)
    for i, lane in enumerate(tqdm(lanes, desc="write lanes", disable=None)):
        content = _lane_content(adata, lane, sheet, files[lane])
        write = _write_h5 if formats[i % len(formats)] == "h5" else _write_folders
        paths[lane] = write(target, content)
    sheet = sheet[sheet[schema.LANE].isin(lanes)]
    described = sheet.columns.drop(schema.LANE)
    sheet = sheet.assign(
        path=[paths[lane][0] for lane in sheet[schema.LANE]],
        hashtag_path=[paths[lane][1] for lane in sheet[schema.LANE]],
    )[[schema.LANE, "path", "hashtag_path", *described]]
    file = target / "sample_sheet.csv"
    sheet.to_csv(file, index=False, lineterminator="\n")
    truth = adata.obs[[name for name in adata.obs.columns if name.startswith("truth_")]]
    if truth.shape[1]:
        packing: Any = {"method": "gzip", "compresslevel": 6, "mtime": 0}
        truth.to_csv(target / "truth.csv.gz", index_label="cell", compression=packing)
    return file


def _file_names(lanes: Sequence[str]) -> dict[str, str]:
    """Return the name of each lane's file, without signs that make a path of it."""
    names: dict[str, str] = {}
    for lane in lanes:
        name = re.sub(r"[^\w() .+-]", "_", lane).lstrip(".") or "lane"
        # Tags of the lane "a" are in "a_hashtags".
        taken = {*names.values(), *(f"{other}_hashtags" for other in names.values())}
        while name.lower() in {other.lower() for other in taken}:
            name += "_"
        names[lane] = name
    return names


def _empty_folder(folder: str | os.PathLike[str], *, overwrite: bool) -> Path:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    found = next(target.iterdir(), None)
    if found is not None and not overwrite:
        msg = (
            f"{target} is not empty (it holds {found.name}); an empty folder is needed. Choose "
            "another one or pass overwrite=True."
        )
        raise FileExistsError(msg)
    return target


@dataclass(frozen=True)
class _Lane:
    """Name and contents of one lane's files."""

    name: str
    barcodes: list[str]
    counts: sparse.csr_matrix
    genes: list[str]
    tag_counts: sparse.csr_matrix
    tags: list[str]


def _lane_content(adata: AnnData, lane: str, sheet: pd.DataFrame, file: str) -> _Lane:
    rows = np.flatnonzero((adata.obs[schema.LANE] == lane).to_numpy())
    prefix = f"{lane}_"
    names = [str(name) for name in adata.obs_names[rows]]
    odd = next((name for name in names if not name.startswith(prefix)), None)
    if odd is not None:
        msg = (
            f"Cell {odd!r} is in lane {lane!r} but its name does not begin with {prefix!r}. Name "
            "cells <lane>_<barcode>."
        )
        raise ValueError(msg)
    tags = list(sheet.loc[sheet[schema.LANE] == lane, schema.HASHTAG])
    table = adata.obsm[schema.HASHTAGS].iloc[rows][tags].to_numpy(dtype=np.int32)
    return _Lane(
        name=file,
        barcodes=[name.removeprefix(prefix) for name in names],
        counts=sparse.csr_matrix(adata.layers[schema.COUNTS][rows]),
        genes=list(map(str, adata.var_names)),
        tag_counts=sparse.csr_matrix(table),
        tags=tags,
    )


def _write_h5(folder: Path, lane: _Lane) -> tuple[str, str]:
    matrix = sparse.hstack([lane.counts, lane.tag_counts], format="csr", dtype=np.int32)
    features = [*lane.genes, *lane.tags]
    columns = {
        "id": features,
        "name": features,
        "feature_type": [_GENES] * len(lane.genes) + [_TAGS] * len(lane.tags),
        "genome": ["GRCh38"] * len(lane.genes) + [""] * len(lane.tags),
    }
    name = f"{lane.name}.h5"
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": _LEVEL, "shuffle": True}
    with new_hdf5(folder / name) as file:
        group = file.create_group("matrix")
        group.create_dataset("barcodes", data=np.array(lane.barcodes, dtype="S"), **packed)
        group.create_dataset("data", data=matrix.data, **packed)
        # The file holds features × barcodes by column, which is cells × features by row.
        group.create_dataset("indices", data=matrix.indices.astype(np.int64), **packed)
        group.create_dataset("indptr", data=matrix.indptr.astype(np.int64), **packed)
        shape = np.array(matrix.shape[::-1], dtype=np.int32)
        group.create_dataset("shape", data=shape)
        for column, values in columns.items():
            data = np.array([value.encode() for value in values], dtype="S")
            group.create_dataset(f"features/{column}", data=data, **packed)
        group["features"].create_dataset("_all_tag_keys", data=np.array([b"genome"]))
    return name, ""


def _write_folders(folder: Path, lane: _Lane) -> tuple[str, str]:
    tags = f"{lane.name}_hashtags"
    _write_mtx(folder / lane.name, lane.barcodes, lane.counts, lane.genes, kind=_GENES)
    _write_mtx(folder / tags, lane.barcodes, lane.tag_counts, lane.tags, kind=_TAGS)
    return lane.name, tags


def _write_mtx(
    folder: Path, barcodes: list[str], counts: sparse.csr_matrix, features: list[str], *, kind: str
) -> None:
    from scipy.io import mmwrite

    folder.mkdir(exist_ok=True)
    text = io.BytesIO()
    mmwrite(text, counts.T.tocoo(), field="integer", symmetry="general")
    _write_gz(folder / "matrix.mtx.gz", text.getvalue())
    _write_gz(folder / "barcodes.tsv.gz", "".join(f"{b}\n" for b in barcodes).encode())
    lines = "".join(f"{name}\t{name}\t{kind}\n" for name in features)
    _write_gz(folder / "features.tsv.gz", lines.encode())


def _write_gz(path: Path, content: bytes) -> None:
    # Without a time stamp the same cells give the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
        packed.write(content)
