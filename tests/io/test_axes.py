"""Axes: exchanged names, lost corners, row numbers and totals are refused, never shifted."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import LaneError

GENES = ["NKG7", "GNLY", "CD34", "CD7", "MT-CO1", "GZMB", "PRF1", "CD33"]
CELLS = [f"{''.join(np.random.default_rng(i).choice(list('ACGT'), 16))}-1" for i in range(6)]
COUNTS = np.random.default_rng(0).poisson(3, (len(GENES), len(CELLS)))
TABLE = pd.DataFrame(COUNTS, index=GENES, columns=CELLS)


def texts(table, corner="gene"):
    """Lines of a table as lists of cells."""
    rows = [
        [str(name), *map(str, row)] for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return [[*([] if corner is None else [corner]), *map(str, table.columns)], *rows]


def written(lines, path, sep=","):
    path.write_text("\n".join(sep.join(line) for line in lines) + "\n")
    return path


def counts_of(adata):
    frame = pd.DataFrame(
        adata.layers["counts"].toarray(), index=adata.obs_names, columns=adata.var_names
    )
    frame.index = [name.rpartition("_")[2] for name in frame.index]
    return frame.T.loc[GENES, CELLS]


FORMS = [(turned, sep) for turned in (False, True) for sep in (",", "\t")]


@pytest.mark.parametrize(("turned", "sep"), FORMS)
@pytest.mark.parametrize("corner", ["gene", "", None])
def test_right_tables_are_read_right(tmp_path, turned, sep, corner):
    table = TABLE.T if turned else TABLE
    adata = nk.io.read_lane(written(texts(table, corner), tmp_path / "lane.csv", sep))
    assert (counts_of(adata).to_numpy() == COUNTS).all()


def without_last_of_header(lines):
    return [lines[0][:-1], *lines[1:]]


def corner_lost_and_delimiter_last(lines):
    return [[*lines[0][1:], ""], *lines[1:]]


def row_numbers_before(lines):
    head, *rows = lines
    return [["", *head], *[[str(i), *row] for i, row in enumerate(rows)]]


def row_numbers_behind_names(lines):
    head, *rows = lines
    return [
        [head[0], "X", *head[1:]],
        *[[row[0], str(i + 1), *row[1:]] for i, row in enumerate(rows)],
    ]


def total_column(lines):
    head, *rows = lines
    return [[*head, "Total"], *[[*row, str(sum(map(int, row[1:])))] for row in rows]]


def total_row(lines):
    sums = np.array([row[1:] for row in lines[1:]], dtype=int).sum(axis=0)
    return [*lines, ["all", *map(str, sums)]]


def cut_in_the_last_row(lines):
    return [*lines[:-1], lines[-1][:-2]]


def cut_in_every_row(lines):
    return [lines[0], *[line[:-1] for line in lines[1:]]]


def text_column(lines):
    head, *rows = lines
    return [[head[0], "symbol", *head[1:]], *[[row[0], row[0], *row[1:]] for row in rows]]


BROKEN = [
    without_last_of_header,
    corner_lost_and_delimiter_last,
    row_numbers_before,
    row_numbers_behind_names,
    total_column,
    total_row,
    cut_in_the_last_row,
    cut_in_every_row,
    text_column,
]


@pytest.mark.parametrize(("turned", "sep"), FORMS)
@pytest.mark.parametrize("change", BROKEN)
def test_broken_tables_are_refused(tmp_path, turned, sep, change):
    lines = change(texts(TABLE.T if turned else TABLE))
    path = written(lines, tmp_path / "lane.tsv", sep)
    with pytest.raises((LaneError, nk.errors.WrongScaleError, nk.errors.GeneCoverageError)) as info:
        nk.io.read_lane(path)
    assert "lane.tsv" in str(info.value)


def test_exchanged_lists_of_a_matrix_are_refused(tmp_path):
    """Square matrices have no shape that shows it."""
    n = min(COUNTS.shape)
    entries = [
        f"{i + 1} {j + 1} {COUNTS[i, j]}" for j in range(n) for i in range(n) if COUNTS[i, j]
    ]
    head = ["%%MatrixMarket matrix coordinate integer general", f"{n} {n} {len(entries)}"]
    (tmp_path / "matrix.mtx").write_text("\n".join([*head, *entries]) + "\n")
    (tmp_path / "features.tsv").write_text("".join(f"{c}\n" for c in CELLS[:n]))
    (tmp_path / "barcodes.tsv").write_text("".join(f"{g}\n" for g in GENES[:n]))
    with pytest.raises(LaneError, match="genes have the names of cell barcodes"):
        nk.io.read_lane(tmp_path)


def test_transposed_objects_are_refused(tmp_path):
    adata = anndata.AnnData(
        COUNTS.astype(np.float32), pd.DataFrame(index=GENES), pd.DataFrame(index=CELLS)
    )
    adata.write_h5ad(tmp_path / "turned.h5ad")
    with pytest.raises(LaneError, match="transpose the matrix"):
        nk.io.read_lane(tmp_path / "turned.h5ad")


SCREEN = [
    "id num neg|p-value neg|fdr neg|lfc pos|p-value pos|fdr pos|lfc".split(),  # noqa: SIM905 (as in the file)
    "NCR3LG1 4 0.99 0.99 2.5 0.00001 0.001 2.5".split(),  # noqa: SIM905 (as in the file)
    "HLA-E 4 0.30 0.99 -0.5 0.70000 0.900 -0.5".split(),  # noqa: SIM905 (as in the file)
]
SETS = [["set", "gene"], ["killing", "PRF1"], ["killing", "GZMB"], ["myeloid", "CD33"]]
SHEET = [["path", "sample", "nk_donor", "condition"], ["a.h5", "w1", "D1", "nk_mono"]]


def sheet(path):
    return nk.io.read_sample_sheet(path, check_files=False)


@pytest.mark.parametrize(
    ("read", "lines"), [(nk.io.read_mageck, SCREEN), (nk.signatures.load, SETS), (sheet, SHEET)]
)
def test_other_tables_are_never_shifted(tmp_path, read, lines):
    head, *rows = lines
    numbered = [head, *[[str(i + 1), *row] for i, row in enumerate(rows)]]
    right = read(written(lines, tmp_path / "x.tsv", "\t"))
    for change in (
        [head[:-1], *rows],
        [head[1:], *rows],
        [head, *[row[1:] for row in rows]],
        [[*head, ""], *[["", *row] for row in rows]],
    ):
        with pytest.raises(nk.errors.NkscoreError):
            read(written(change, tmp_path / "x.tsv", "\t"))
    for fine in (numbered, [["", *head], *numbered[1:]]):
        try:
            made = read(written(fine, tmp_path / "x.tsv", "\t"))
        except nk.errors.NkscoreError:
            continue
        assert str(made) == str(right)
