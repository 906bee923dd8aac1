"""Files as pipelines, R, spreadsheets and archives leave them: read right, or refused by name."""

from __future__ import annotations

import gzip

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore._text import opened, read_text
from nkscore.errors import GeneCoverageError, LaneError, NkscoreWarning, SampleSheetError
from nkscore.io._names import mend

SYMBOLS = ["NKG7", "GNLY", "HLA-B", "MT-CO1", "CD34", "MYC", "MARCHF1", "C1orf56"]
IDS = [f"ENSG{100000 + 7 * i:011d}" for i in range(len(SYMBOLS))]
N = 6
BARCODES = ["".join(np.random.default_rng(i).choice(list("ACGT"), 16)) + "-1" for i in range(N)]
COUNTS = np.random.default_rng(0).poisson(2, (N, len(SYMBOLS)))


def matrix(path, counts):
    entries = sparse.coo_matrix(counts)
    lines = ["%%MatrixMarket matrix coordinate integer general"]
    lines.append(f"{counts.shape[0]} {counts.shape[1]} {entries.nnz}")
    lines += [
        f"{i + 1} {j + 1} {v}"
        for i, j, v in zip(entries.row, entries.col, entries.data, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def lines(path, rows):
    path.write_text("".join(f"{row}\n" for row in rows))


def folder(place, *, names=None, features=None, barcodes=None, cells_first=False):
    """Write the three files of a matrix; names are those of Cell Ranger unless given."""
    names = names or ("matrix.mtx", "barcodes.tsv", "features.tsv")
    place.mkdir(exist_ok=True)
    matrix(place / names[0], COUNTS if cells_first else COUNTS.T)
    lines(place / names[1], barcodes or BARCODES)
    whole = [f"{i}\t{s}\tGene Expression" for i, s in zip(IDS, SYMBOLS, strict=True)]
    lines(place / names[2], features or whole)
    return place


def assert_read(adata, symbols=SYMBOLS):
    assert list(adata.var_names) == symbols
    assert [name.removeprefix(f"{adata.obs['lane'].iloc[0]}_") for name in adata.obs_names] == (
        BARCODES
    )
    assert (adata.layers["counts"].toarray() == COUNTS).all()


def quoted(rows):
    return ["\t".join(f'"{cell}"' for cell in row) for row in rows]


PAIRS = list(zip(IDS, SYMBOLS, strict=True))


@pytest.mark.parametrize(
    ("features", "barcodes"),
    [
        (quoted(PAIRS), quoted([b] for b in BARCODES)),
        (quoted((i, s, "Gene Expression") for i, s in PAIRS), None),
        (["gene_id\tgene_name", *(f"{i}\t{s}" for i, s in PAIRS)], ["barcode", *BARCODES]),
        ([f"{i},{s}" for i, s in PAIRS], None),
        (["genome\tid\tx", *(f"hg38\t{i}\t{s}" for i, s in PAIRS)], None),
        (None, [f"{n}\t{b}" for n, b in enumerate(BARCODES, 1)]),
        (None, ['"x"', *(f'"{n}"\t"{b}"' for n, b in enumerate(BARCODES, 1))]),
    ],
    ids=["quotes", "quotes, types", "headers", "commas", "order", "row numbers", "write.table"],
)
def test_lists_of_names(tmp_path, features, barcodes):
    assert_read(nk.io.read_lane(folder(tmp_path / "lane", features=features, barcodes=barcodes)))


@pytest.mark.parametrize(
    ("names", "features", "cells_first"),
    [
        (("GSM1_matrix_s1.mtx", "GSM1_barcodes_s1.tsv", "GSM1_genes_s1.tsv"), None, False),
        (("GSM1_counts.mtx", "GSM1_barcodes.tsv", "GSM1_genes.tsv"), None, False),
        (("quants_mat.mtx", "quants_mat_rows.txt", "quants_mat_cols.txt"), SYMBOLS, True),
        (
            ("cells_x_genes.nascent.mtx", "cells_x_genes.barcodes.txt", "cells_x_genes.genes.txt"),
            SYMBOLS,
            True,
        ),
        (
            ("count_matrix.mtx", "cell_metadata.csv", "all_genes.csv"),
            ["gene_id,gene_name,genome", *(f"{i},{s},hg38" for i, s in PAIRS)],
            True,
        ),
    ],
    ids=["GEO", "GEO, counts", "alevin-fry", "kallisto", "Parse"],
)
def test_names_of_files(tmp_path, names, features, cells_first):
    barcodes = (
        ["bc_wells,sample", *(f"{b},s" for b in BARCODES)] if "all_genes" in names[2] else None
    )
    place = folder(
        tmp_path / "lane",
        names=names,
        features=features,
        barcodes=barcodes,
        cells_first=cells_first,
    )
    assert_read(nk.io.read_lane(place / names[0]))


def test_files_of_macos_are_passed(tmp_path):
    place = folder(tmp_path / "lane")
    for name in ("matrix.mtx", "barcodes.tsv"):
        (place / f"._{name}").write_bytes(b"\0\x05\x16\x07")
    assert_read(nk.io.read_lane(place))


def test_packed_twice(tmp_path):
    place = folder(tmp_path / "lane")
    content = (place / "matrix.mtx").read_bytes()
    (place / "matrix.mtx").unlink()
    (place / "matrix.mtx.gz").write_bytes(gzip.compress(gzip.compress(content)))
    assert_read(nk.io.read_lane(place))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_one_opener_for_text(tmp_path, encoding):
    text = "a,µ\n1,é\n"
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    assert read_text(path) == text
    with opened(path) as stream:
        assert stream.read().decode() == text


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_text_of_a_spreadsheet(tmp_path, encoding):
    plate = "Conc (µg/ml)\nWell,Description,Hu IFN-g (21)\nA1,NK,12.5\nA2,K562,8.0\n"
    (tmp_path / "p.csv").write_bytes(plate.encode(encoding))
    assert nk.io.read_bioplex(tmp_path / "p.csv")["concentration"].tolist() == [12.5, 8.0]
    (tmp_path / "s.gmt").write_bytes("S\tdécrit\tNKG7\tGNLY\n".encode(encoding))
    assert nk.signatures.load(tmp_path / "s.gmt")["S"].up == ("NKG7", "GNLY")
    sheet = "path,sample,condition,tumor\na,Zürich,tumor_mono,K562\n"
    (tmp_path / "sheet.csv").write_bytes(sheet.encode(encoding))
    read = nk.io.read_sample_sheet(tmp_path / "sheet.csv", check_files=False)
    assert read["sample"].tolist() == ["Zürich"]


@pytest.mark.parametrize(
    "change",
    [
        lambda s, _: f"GRCh38_{s}",
        lambda s, _: f"GRCh38______{s}",
        lambda s, _: f"hg19-{s}",
        lambda s, _: f"rna_{s}",
        lambda s, _: f" {s} ",
        lambda s, _: f'"{s}"',
        lambda s, i: f"{i}|{s}",
        lambda s, i: f"{i}.7_{s}",
        lambda s, i: f"{s}-{i}",
        lambda s, _: s.replace("-", "."),
        lambda s, _: s.replace("-", "_"),
    ],
)
def test_names_are_mended(tmp_path, change):
    names = np.array([change(s, i) for i, s in PAIRS], dtype=object)
    mended = mend(names, tmp_path)
    assert list(mended.names) == SYMBOLS
    assert mended.is_gene.all()
    assert len(mended.done) == 1


def test_names_that_are_right_stay(tmp_path):
    mended = mend(np.array([*SYMBOLS, "RP11-34P13.3", "NKX2-5", "Y_RNA"], dtype=object), tmp_path)
    assert list(mended.names) == [*SYMBOLS, "RP11-34P13.3", "NKX2-5", "Y_RNA"]
    assert mended.done == []


def test_what_was_mended_is_on_record(tmp_path):
    rows = [f"{i}\trna_{s}" for i, s in PAIRS[:-1]]
    place = folder(tmp_path / "lane", features=[*rows, "x\t__no_feature"])
    adata = nk.io.read_lane(place)
    assert list(adata.var_names) == SYMBOLS[:-1]
    (lane,) = adata.uns["nkscore"]["io.read_lane"]["lanes"].values()
    assert "prefix taken off ('rna_NKG7' is 'NKG7')" in lane["names_mended"]
    assert "1 rows that are not genes removed (__no_feature)" in lane["names_mended"]


def test_transcripts_and_two_species_are_refused(tmp_path):
    names = np.array([f"ENST{i:011d}.4" for i in range(9)], dtype=object)
    with pytest.raises(GeneCoverageError, match=r"rows are transcripts .*tximport"):
        mend(names, tmp_path)
    names = np.array([f"{p}_{s}" for p in ("hg19", "mm10") for s in SYMBOLS], dtype=object)
    with pytest.raises(GeneCoverageError, match=r"two species.*hg19_NKG7.*mm10_NKG7"):
        mend(names, tmp_path)


@pytest.mark.parametrize("date", ["1-Mar", "Mar-01", "2023-03-01", "44441", "7-Sep"])
def test_dates_are_told(tmp_path, date):
    features = [f"{i}\t{date if s == 'MARCHF1' else s}" for i, s in PAIRS]
    with pytest.warns(NkscoreWarning, match=rf"1 names of genes are dates.*\({date}\)") as caught:
        nk.io.read_lane(folder(tmp_path / "lane", features=features))
    assert caught[0].filename == __file__


def test_names_that_no_signature_knows_are_told(tmp_path):
    names = np.array([f"LOC{i}" for i in range(600)], dtype=object)
    with pytest.warns(NkscoreWarning, match=r"only 0.0% of the 600 names") as caught:
        mend(names, tmp_path)
    assert {item.filename for item in caught if item.category is NkscoreWarning} == {__file__}


# --- barcodes


def tagged(tmp_path, barcodes):
    """A lane of many cells, and its tags under other barcodes."""
    rng = np.random.default_rng(3)
    cells = ["".join(rng.choice(list("ACGT"), 16)) for _ in range(400)]
    tags = rng.poisson(20, (400, 2))
    rna = rng.poisson(1.0, (400, len(SYMBOLS))).astype("f4")
    obs = pd.DataFrame(index=[f"{c}-1" for c in cells])
    var = pd.DataFrame(index=SYMBOLS)
    ad.AnnData(sparse.csr_matrix(rna), obs, var).write_h5ad(tmp_path / "rna.h5ad")
    place = tmp_path / "tags"
    place.mkdir()
    matrix(place / "matrix.mtx", tags.T)
    lines(place / "barcodes.tsv", barcodes(cells))
    lines(place / "features.tsv", ["HTO1-ACCCACCAGTAAGAC", "HTO2-GGTCGAGAGCATTCA"])
    return place, tags


PAIR = str.maketrans("ACGT", "TGCA")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda c: f"{c[:7]}{c[7:9].translate(PAIR)}{c[9:]}", "translation of TotalSeq"),
        (lambda c: c[::-1].translate(PAIR), "reverse complements"),
    ],
)
def test_barcodes_written_another_way(tmp_path, write, words):
    place, tags = tagged(tmp_path, lambda cells: [write(c) for c in cells])
    with pytest.warns(NkscoreWarning, match=words) as caught:
        adata = nk.io.read_lane(tmp_path / "rna.h5ad", hashtag_path=place)
    assert {item.filename for item in caught if item.category is NkscoreWarning} == {__file__}
    assert (adata.obsm["hashtags"].to_numpy() == tags).all()


def test_a_few_barcodes_by_chance_are_no_match(tmp_path):
    def strangers(cells):
        rng = np.random.default_rng(9)
        made = ["".join(rng.choice(list("ACGT"), 16)) for _ in cells]
        return [
            c if i < 12 else other for i, (c, other) in enumerate(zip(cells, made, strict=True))
        ]

    place, _ = tagged(tmp_path, strangers)
    with pytest.raises(LaneError, match=r"Only 12 of the 400 barcodes.*same lane"):
        nk.io.read_lane(tmp_path / "rna.h5ad", hashtag_path=place)


def test_chance_does_not_hide_the_translation(tmp_path):
    def mixed(cells):
        return [
            c if i < 12 else f"{c[:7]}{c[7:9].translate(PAIR)}{c[9:]}" for i, c in enumerate(cells)
        ]  # 12 stay

    place, tags = tagged(tmp_path, mixed)
    with pytest.warns(NkscoreWarning) as caught:
        adata = nk.io.read_lane(tmp_path / "rna.h5ad", hashtag_path=place)
    assert {item.filename for item in caught if item.category is NkscoreWarning} == {__file__}
    assert any("translation" in str(w.message) for w in caught)
    assert (adata.obsm["hashtags"].to_numpy() == tags).all(axis=1).sum() >= 388


def test_table_of_tags_with_their_sequences(tmp_path):
    place, tags = tagged(tmp_path, lambda cells: cells)
    cells = (place / "barcodes.tsv").read_text().split()
    table = pd.DataFrame(tags.T, index=["HTO1-ACCCACCAGTAAGAC", "HTO2-GGTCGAGAGCATTCA"])
    table.columns = cells
    table.to_csv(tmp_path / "t.csv")
    adata = nk.io.read_lane(tmp_path / "rna.h5ad", hashtag_path=tmp_path / "t.csv")
    assert (adata.obsm["hashtags"].to_numpy() == tags).all()


# --- HDF5


def old_h5ad(path):
    """As anndata 0.7 wrote it: text columns are numbers, their levels lie in __categories."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file["X"] = COUNTS.astype("f4")
        for name, index in (("obs", BARCODES), ("var", IDS)):
            group = file.create_group(name)
            group.attrs["_index"] = "index"
            group.attrs["encoding-type"] = "dataframe"
            group.attrs["encoding-version"] = "0.1.0"
            group.create_dataset("index", data=np.array(index, dtype=object), dtype=text)
            columns = ["gene_symbols"] if name == "var" else []
            group.attrs.create("column-order", np.array(columns, dtype=object), dtype=text)
        symbols = pd.Categorical(SYMBOLS)
        levels = (
            file["var"]
            .create_group("__categories")
            .create_dataset(
                "gene_symbols", data=np.array(symbols.categories, dtype=object), dtype=text
            )
        )
        levels.attrs["ordered"] = False
        codes = file["var"].create_dataset("gene_symbols", data=symbols.codes)
        codes.attrs["categories"] = levels.ref
        file.create_group("uns")


def test_h5ad_of_anndata_0_7(tmp_path):
    old_h5ad(tmp_path / "a.h5ad")
    assert_read(nk.io.read_lane(tmp_path / "a.h5ad"))


@pytest.mark.parametrize("kind", ["CellBender 0.2", "liger"])
def test_files_like_those_of_10x(tmp_path, kind):
    counts = sparse.csr_matrix(COUNTS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(counts, name)
        group["barcodes"] = np.array(BARCODES, dtype="S")
        group["shape"] = np.array(counts.shape[::-1])
        if kind == "liger":
            group["features/name"] = np.array(SYMBOLS, dtype="S")
        else:
            group["genes"] = np.array(IDS, dtype="S")
            group["gene_names"] = np.array(SYMBOLS, dtype="S")
    assert_read(nk.io.read_lane(tmp_path / "a.h5"))


def modalities(file, names):
    for name, columns in names.items():
        values = COUNTS[:, : len(columns)].astype("f4")
        part = ad.AnnData(
            sparse.csr_matrix(values), pd.DataFrame(index=BARCODES), pd.DataFrame(index=columns)
        )
        ad.io.write_elem(file.require_group("mod"), name, part)


def test_mudata(tmp_path):
    path = tmp_path / "a.h5mu"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs["encoding-type"] = "MuData"
        modalities(file, {"rna": SYMBOLS, "hto": ["T1", "T2"]})
        ad.io.write_elem(file, "obs", pd.DataFrame(index=BARCODES))
        ad.io.write_elem(file, "var", pd.DataFrame(index=SYMBOLS))
    with path.open("r+b") as file:
        file.write(b"MuData (format-version=0.1.0;creator=muon)")
    assert_read(nk.io.read_lane(path))
    adata = nk.io.read_lane(path, hashtag_path="mod:hto")
    assert list(adata.obsm["hashtags"].columns) == ["T1", "T2"]
    assert (adata.obsm["hashtags"].to_numpy() == COUNTS[:, :2]).all()


def test_mudata_without_rna(tmp_path):
    path = tmp_path / "a.h5mu"
    with h5py.File(path, "w") as file:
        modalities(file, {"prot": ["CD3"], "atac": ["chr1"]})
    with pytest.raises(
        LaneError, match=r"MuData object whose RNA cannot be identified.*atac, prot"
    ):
        nk.io.read_lane(path)


def test_packed_h5ad_says_what_to_do(tmp_path):
    old_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "b.h5ad.gz").write_bytes(gzip.compress((tmp_path / "a.h5ad").read_bytes()))
    with pytest.raises(LaneError, match=r"unpack it first \(gunzip b\.h5ad\.gz\)"):
        nk.io.read_lane(tmp_path / "b.h5ad.gz")


def test_remarks_above_a_table(tmp_path):
    rows = [f"{b},{','.join(map(str, r))}" for b, r in zip(BARCODES, COUNTS, strict=True)]
    lines(tmp_path / "a.csv", ["#### BD", "## Sample: s", f"Cell_Index,{','.join(SYMBOLS)}", *rows])
    assert_read(nk.io.read_lane(tmp_path / "a.csv"))


def test_a_pipe_is_no_lane(tmp_path):
    import os

    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(LaneError, match="no file and no folder"):
        nk.io.read_lane(tmp_path / "p.csv")


# --- sheets and plates


def sheet(**cells):
    table = pd.DataFrame(
        {
            "path": "p.h5",
            "hashtag": ["1", "2", "3"],
            "sample": list("abc"),
            "tumor": ["K562", "K562", "K562"],
            "nk_donor": ["", "NK1", "NK2"],
            "condition": ["tumor_mono", "coculture", "coculture"],
        }
    )
    for column, value in cells.items():
        table.loc[0 if column == "tumor" else 2, column] = value
    return nk.io.read_sample_sheet(table, check_files=False)


@pytest.mark.parametrize(
    "cells", [{"tumor": "K-562"}, {"tumor": "k 562"}, {"nk_donor": "nk01"}, {"nk_donor": "NK1.0"}]
)
def test_names_that_differ_by_a_sign_are_asked_about(cells):
    with pytest.warns(NkscoreWarning, match=r"differ only by case.*write them alike") as caught:
        sheet(**cells)
    assert caught[0].filename == __file__


def test_lines_and_donors_that_differ_are_not_asked_about():
    assert len(sheet(tumor="K5620", nk_donor="NK10")) == 3


@pytest.mark.parametrize("value", ["#N/A", "#REF!", "#DIV/0!"])
def test_errors_of_spreadsheets_are_no_names(value):
    with pytest.raises(SampleSheetError, match=r"'tumor': is '#.*a spreadsheet error"):
        sheet(tumor=value)


def test_blocks_of_a_plate(tmp_path):
    head = "Well,Description,Hu IFN-g (21)"
    body = "A1,NK,OOR <\nA2,K562 NK,*90.5\nA3,K562,8.0"
    other = "A1,NK,20\nA2,K562 NK,500\nA3,K562,31"
    path = tmp_path / "p.csv"
    path.write_text(f"FI\n{head}\n{other}\n\nObs Conc\n{head}\n{body}\nMean,,50\nSD,,3\n")
    assert nk.io.read_bioplex(path)["concentration"].tolist() == [8.0, 90.5, 8.0]
    path.write_text(f"FI\n{head}\n{other}\n\nFI - Bkgd\n{head}\n{body}\n")
    with pytest.raises(nk.errors.DesignError, match=r"2 blocks of wells \('FI', 'FI - Bkgd'\)"):
        nk.io.read_bioplex(path)


def test_dates_in_a_screen_are_told(tmp_path):
    header = "id\tnum\tneg|p-value\tneg|fdr\tneg|lfc\tpos|p-value\tpos|fdr\tpos|lfc"
    rows = [f"{g}\t4\t.1\t.5\t-1\t.9\t1\t-1" for g in ("STAT1", "1-Mar")]
    lines(tmp_path / "m.txt", [header, *rows])
    with pytest.warns(NkscoreWarning, match="dates") as caught:
        nk.io.read_mageck(tmp_path / "m.txt")
    assert {item.filename for item in caught if item.category is NkscoreWarning} == {__file__}
