"""Tables of genetic donors: rows as vireo, souporcell, demuxlet and freemuxlet write them.

The rows are those that the handbook of Demuxafy shows of its test data (13
donors, 20,982 droplets), with a doublet and an unassigned droplet in the same form.
"""

# ruff: noqa: E501 (tables as programs write them)

import gzip

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import nkscore as nk
from nkscore.errors import LaneError, MissingKeyError, NkscoreError, SampleSheetError

VIREO = """cell	donor_id	prob_max	prob_doublet	n_vars	best_singlet	best_doublet	doublet_logLikRatio
AAACCTGAGATAGCAT-1	41_41	1.00e+00	9.13e-09	115	41_41	40_40,41_41	-9.7
AAACCTGAGCAGCGTA-1	doublet	1.00e-03	9.80e-01	239	465_466	349_350,43_43	3.1
AAACCTGAGCGATGAC-1	unassigned	7.00e-01	7.57e-07	98	113_113	113_113,633_634	-2.0
"""
SOUPORCELL = """barcode	status	assignment	log_prob_singleton	log_prob_doublet	cluster0	cluster1
AAACCTGAGATAGCAT-1	singlet	6	-47.4906809612613	-67.16353115825044	-189.4	-167.2
AAACCTGAGCAGCGTA-1	doublet	11/3	-158.38006105671326	-102.80051804401324	-357.5	-403.0
AAACCTGAGCGATGAC-1	unassigned	5	-53.7	-53.76617956926222	-135.6	-129.3
"""
SOUPORCELL_NEW = """barcode	status	assignment	singlet_posterior	doublet_posterior	log_prob_singleton	log_prob_doublet	cluster0
AAACCTGAGATAGCAT-1	singlet	6	0.9	1e-9	-47.49	-67.16	-1
AAACCTGAGCAGCGTA-1	doublet	11/3	0.99	0.99	-158.4	-102.8	-1
AAACCTGAGCGATGAC-1	unassigned	5	0.5	0.5	-53.7	-53.7	-1
"""
_HEAD = (
    "INT_ID\tBARCODE\tNUM.SNPS\tNUM.READS\tDROPLET.TYPE\tBEST.GUESS\tBEST.LLK\tNEXT.GUESS\tNEXT.LLK"
    "\tDIFF.LLK.BEST.NEXT\tBEST.POSTERIOR\tSNG.POSTERIOR\tSNG.BEST.GUESS\n"
)
POPSCLE = (
    _HEAD
    + "0\tAAACCTGAGATAGCAT-1\t170\t231\tSNG\t41_41,41_41,0.00\t-29.42\t40_40,41_41,0.50\t-39.12\t9.70\t-33\t1\t41_41\n"
    + "1\tAAACCTGAGCAGCGTA-1\t600\t1050\tDBL\t12,1,0.50\t-1001\t12,4,0.50\t-1030\t29.1\t-0.0\t6.7e-16\t12\n"
    + "2\tAAACCTGAGCGATGAC-1\t10\t12\tAMB\t1,1,0.00\t-9.1\t2,2,0.00\t-9.3\t0.2\t-3\t0.9\t1\n"
)
DEMUXLET = """BARCODE	RD.TOTL	N.SNP	BEST	SNG.1ST	SNG.LLK1	PRB.DBL	PRB.SNG1
AAACCTGAGATAGCAT-1	231	170	SNG-my-donor	my-donor	-29.4	0.02	1
AAACCTGAGCAGCGTA-1	1050	600	DBL-a-b-0.500	a	-100	0.97	1
AAACCTGAGCGATGAC-1	12	10	AMB-a-b-a/b	a	-9	0.4	0.5
"""
SCSPLIT = """Barcode	Cluster
AAACCTGAGATAGCAT-1	SNG-3
AAACCTGAGCAGCGTA-1	DBL
AAACCTGAGCGATGAC-1	unassigned
"""
PLAIN = """"Cell","Donor","Call","Probability"
"AAACCTGAGATAGCAT-1","d,1","singlet","0.9"
"AAACCTGAGCAGCGTA-1","d,1","doublet",""
"AAACCTGAGCGATGAC-1","","singlet","0.9"
"""
# Table → donor, probability of the singlet, probability of the doublet.
TABLES = {
    "donor_ids.tsv": (VIREO, "41_41", 1.0, 0.98),
    "clusters.tsv": (
        SOUPORCELL,
        "6",
        1 - 1 / (1 + np.exp(67.16353115825044 - 47.4906809612613)),
        1.0,
    ),
    "new_clusters.tsv": (SOUPORCELL_NEW, "6", 0.9, 1.0),
    "lane.best": (POPSCLE, "41_41", 1.0, 1 - 6.7e-16),
    "lane_1.best": (DEMUXLET, "my-donor", 0.98, 0.97),
    "scSplit_result.csv": (SCSPLIT, "3", np.nan, np.nan),
    "calls.csv": (PLAIN, "d,1", 0.9, np.nan),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_programs(name, tmp_path):
    text, donor, single, double = TABLES[name]
    (tmp_path / name).write_text(text)
    found = nk.io.read_genotypes(tmp_path / name)
    assert list(found["call"]) == ["singlet", "doublet", "unassigned"]
    assert found["donor"].iloc[0] == donor
    assert found["donor"].iloc[1:].isna().all()
    expected = [single, double, np.nan]
    np.testing.assert_allclose(found["probability"], expected, rtol=1e-6)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode("utf-16")))
    pd.testing.assert_frame_equal(nk.io.read_genotypes(packed), found)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        ("a\tb\n1\t2\n", "no column of barcode"),
        (VIREO.replace("1.00e+00", "1.5"), "probability from 0 to 1"),
        (VIREO.replace("1.00e+00", "high"), "not a number"),
        (VIREO.replace("AAACCTGAGCAGCGTA-1", "AAACCTGAGATAGCAT-1"), "twice"),
        (VIREO.split("\n", 1)[0] + "\n", "no barcodes"),
        (POPSCLE.replace("DROPLET.TYPE", "TYPE"), r"without DROPLET\.TYPE"),
    ],
)
def test_refused(text, match, tmp_path):
    path = tmp_path / "donor_ids.tsv"
    path.write_text(text)
    with pytest.raises(NkscoreError, match=match):
        nk.io.read_genotypes(path)


def test_folder_and_absent_file(tmp_path):
    (tmp_path / "donor_ids.tsv").write_text(VIREO)
    assert len(nk.io.read_genotypes(tmp_path)) == 3
    with pytest.raises(MissingKeyError, match="does not exist"):
        nk.io.read_genotypes(tmp_path / "other.tsv")


CELLS = ["AAACCTGAGATAGCAT-1", "AAACCTGAGCAGCGTA-1", "AAACCTGAGCGATGAC-1"]


def _lane(path, cells=CELLS):
    var = pd.DataFrame(index=["NKG7", "CD34", "GNLY"])
    AnnData(np.arange(3 * len(cells)).reshape(-1, 3), pd.DataFrame(index=cells), var).write_h5ad(
        path
    )


def test_lane_with_donors(tmp_path):
    """Barcodes are matched with another suffix; a cell without call is unassigned and named."""
    _lane(tmp_path / "a.h5ad", [*CELLS, "CCCCCTGAGCGATGAC-1"])
    (tmp_path / "donor_ids.tsv").write_text(VIREO.replace("-1\t", "-2\t"))
    with pytest.warns(UserWarning, match="1 of 4 cells of .* are not in its table of donors"):
        adata = nk.io.read_lane(tmp_path / "a.h5ad", genotype_path=tmp_path / "donor_ids.tsv")
    assert adata.obs["genotype"].tolist()[0] == "41_41"
    assert adata.obs["genotype_class"].tolist() == [
        "singlet",
        "doublet",
        "unassigned",
        "unassigned",
    ]
    assert adata.obs["genotype_confidence"].tolist()[:2] == [1.0, 0.98]
    adata.write_h5ad(tmp_path / "b.h5ad")


def test_calls_of_another_lane(tmp_path):
    _lane(tmp_path / "a.h5ad", ["CCCCCTGAGCGATGAC-1", "GGGGCTGAGCGATGAC-1"])
    (tmp_path / "donor_ids.tsv").write_text(VIREO)
    with pytest.raises(LaneError, match=r"None of the 2 barcodes .* table of donors"):
        nk.io.read_lane(tmp_path / "a.h5ad", genotype_path=tmp_path / "donor_ids.tsv")


def test_sheet_with_donors(tmp_path):
    """Columns by a lab's own names; donors that the calls lack are named with the row."""
    _lane(tmp_path / "a.h5ad")
    (tmp_path / "donor_ids.tsv").write_text(VIREO)
    sheet = pd.DataFrame(
        {
            "path": "a.h5ad",
            "Vireo": "donor_ids.tsv",
            "Genetic donor": ["41_41", "41-42"],
            "sample": ["a", "b"],
            "tumor": ["K562", "THP1"],
            "condition": "tumor_mono",
        }
    )
    with pytest.raises(SampleSheetError, match=r"'41-42' is not a donor .* Did you mean '41_41'"):
        nk.io.read_coculture(sheet, base=tmp_path)
    alone = sheet.drop(columns="Vireo")
    with pytest.raises(SampleSheetError, match=r"'genotype' is given. Name the file of calls"):
        nk.io.read_coculture(alone, base=tmp_path)


def test_hashtags_in_two_matrices_and_proteins(tmp_path):
    """Hashtags of one lane in two matrices, antibodies in a third; a tag can be among them."""
    _lane(tmp_path / "a.h5ad")
    for name, tags in {"one": "HTO_1", "two": "HTO_2", "adt": "HTO_3,CD56"}.items():
        table = pd.DataFrame({tag: [1, 5, 2] for tag in tags.split(",")}, index=CELLS)
        table.T.to_csv(tmp_path / f"{name}.csv")
    sheet = pd.DataFrame(
        {
            "path": "a.h5ad",
            "hashtag": ["HTO_1", "HTO_2", "HTO_3"],
            "hashtag_path": "one.csv; two.csv",
            "ADT file": "adt.csv",
            "sample": ["a", "b", "c"],
            "tumor": ["K562", "THP1", "MOLM13"],
            "condition": "tumor_mono",
        }
    )
    adata = nk.io.read_coculture(sheet, base=tmp_path)
    assert list(adata.obsm["hashtags"]) == ["HTO_1", "HTO_2", "HTO_3"]
    assert list(adata.obsm["protein"]) == ["CD56"]
    assert adata.obsm["protein"]["CD56"].tolist() == [1, 5, 2]
    assert "ADT file" not in adata.uns["nkscore"]["sample_sheet"]
