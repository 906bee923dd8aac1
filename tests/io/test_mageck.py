"""Tables of pooled screens: every kind that MAGeCK writes, and what is wrong with them."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nkscore import io
from nkscore.errors import GeneCoverageError, MissingKeyError, NkscoreWarning, WrongScaleError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mageck_outputs"
RRA = "id\tnum\tneg|p-value\tneg|fdr\tneg|lfc\tpos|p-value\tpos|fdr\tpos|lfc\n"
MLE = "Gene\tsgRNA\tnk|beta\tnk|z\tnk|p-value\tnk|fdr\tnk|wald-p-value\tnk|wald-fdr\n"


def _write(tmp_path, text, name="k562.gene_summary.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_rra_by_hand(tmp_path):
    path = _write(
        tmp_path, RRA + "A\t4\t0.9\t1\t1.5\t0.01\t0.02\t1.5\nB\t4\t0.3\t0.6\t-1\t0.8\t1\t-1\n"
    )
    table = io.read_mageck(path)
    assert table.attrs["format"] == "rra"
    assert table["screen"].tolist() == ["k562", "k562"]
    np.testing.assert_allclose(table["p_value"], [0.02, 0.6])
    np.testing.assert_allclose(table["q_value"], [0.04, 0.6])
    np.testing.assert_allclose(table["log2_fc"], [1.5, -1])
    assert table["p_enriched"].tolist() == [0.01, 0.8]


@pytest.mark.parametrize("change", [("|", "."), ("neg|lfc", "avgfc"), ("\t", ",")])
def test_headers_of_other_programs(tmp_path, change):
    text = RRA + "A\t4\t0.9\t1\t1.5\t0.01\t0.02\t1.5\n"
    text = text.replace(*change) if change[0] != "|" else text.replace("|", ".").replace("-", ".")
    table = io.read_mageck(_write(tmp_path, text))
    assert table[["gene", "log2_fc", "p_value"]].values.tolist() == [["A", 1.5, 0.02]]


def test_two_sided_p_is_at_most_one(tmp_path):
    table = io.read_mageck(_write(tmp_path, RRA + "A\t4\t0.7\t1\t0.1\t0.6\t1\t0.1\n"))
    assert table["p_value"].tolist() == [1.0]


def test_mle_by_hand(tmp_path):
    path = _write(tmp_path, MLE + f"A\t4\t{math.log(2)}\t2\t0.03\t0.06\t0.04\t0.1\n")
    table = io.read_mageck(path, screen="s")
    assert table.attrs["format"] == "mle"
    row = table.iloc[0]
    assert (row["screen"], row["comparison"], row["p_value"], row["p_wald"]) == (
        "s",
        "nk",
        0.03,
        0.04,
    )
    np.testing.assert_allclose([row["log2_fc"], row["se"]], [1.0, 0.5])


def test_gzipped_counts(tmp_path):
    path = tmp_path / "counts.txt.gz"
    path.write_bytes(gzip.compress(b"sgRNA\tGene\tday0\tNK 1\ng1\tA\t3\t0\ng2\tA\t1\t9\n"))
    table = io.read_mageck(path)
    assert table.attrs["format"] == "counts"
    assert table[["guide", "gene", "NK 1"]].values.tolist() == [["g1", "A", 0], ["g2", "A", 9]]


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("x\ty\n1\t2\n", MissingKeyError, "match no MAGeCK file"),
        (RRA + "A\t4\t-3\t1\t1\t0.5\t1\t1\n", WrongScaleError, r"gene 'A', p_depleted: -3"),
        (RRA + "A\t4\tlow\t1\t1\t0.5\t1\t1\n", WrongScaleError, r"row 2, p_depleted: 'low'"),
        (RRA + "A\t4\t.5\t1\t1\t.5\t1\t1\n" * 2, GeneCoverageError, "1 repeated rows, first of"),
        (RRA + "\t4\t.5\t1\t1\t.5\t1\t1\n", GeneCoverageError, "without a gene, first in row 2"),
        ("Gene\tnk|beta\nA\t1\n", MissingKeyError, "comparison 'nk' has a beta but no"),
        ("sgRNA\tGene\tNK\ng\tA\t-2\n", WrongScaleError, r"guide 'g', sample 'NK': -2"),
        ("sgRNA\tGene\tNK\ng\tA\t1\ng\tA\t2\n", GeneCoverageError, "first of guide 'g'"),
    ],
)
def test_bad_files(tmp_path, text, error, match):
    with pytest.raises(error, match=match):
        io.read_mageck(_write(tmp_path, text))


def _mouse(tmp_path):
    rows = "".join(f"{g}\t4\t0.5\t1\t1\t0.5\t1\t1\n" for g in ("Jak1", "B2m", "Gm101", "Stat1"))
    return _write(tmp_path, RRA + rows)


def test_mouse_is_diagnosed(tmp_path):
    with pytest.warns(
        NkscoreWarning, match=r"written like mouse genes .*Map them with orthologs="
    ) as caught:
        table = io.read_mageck(_mouse(tmp_path))
    assert {item.filename for item in caught} == {__file__}
    assert table["gene"].tolist() == ["Jak1", "B2m", "Gm101", "Stat1"]


def test_mouse_is_mapped_and_the_rest_kept(tmp_path):
    with pytest.warns(
        NkscoreWarning, match=r"1 of 4 genes have no unique human ortholog.*Gm101"
    ) as caught:
        table = io.read_mageck(_mouse(tmp_path), orthologs="same_symbol")
    assert {item.filename for item in caught} == {__file__}
    assert table["gene"].tolist() == ["JAK1", "B2M", "Gm101", "STAT1"]
    assert table["gene_source"].tolist() == ["Jak1", "B2m", "Gm101", "Stat1"]


def test_orthologs_that_are_not_one_to_one_are_not_used(tmp_path):
    pairs = pd.DataFrame({"mouse": ["Jak1", "B2m", "Stat1"], "human": ["JAK1", "B2M", "B2M"]})
    with pytest.warns(NkscoreWarning, match="3 of 4 genes") as caught:
        table = io.read_mageck(_mouse(tmp_path), orthologs=pairs)
    assert {item.filename for item in caught} == {__file__}
    assert table["gene"].tolist() == ["JAK1", "B2m", "Gm101", "Stat1"]


def test_bad_orthologs(tmp_path):
    with pytest.raises(MissingKeyError, match="'mouse' and 'human' are needed"):
        io.read_mageck(_mouse(tmp_path), orthologs=pd.DataFrame({"a": ["x"]}))
    with pytest.raises(GeneCoverageError, match="names none of its genes"):
        io.read_mageck(_mouse(tmp_path), orthologs=pd.DataFrame({"mouse": ["x"], "human": ["X"]}))


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/mageck_outputs is not here")
@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("rra.gene_summary.txt", "rra", 19326),
        ("mle.gene_summary.txt", "mle", 3 * 19675),
        ("rra.sgrna_summary.txt", "guides", 794),
        ("mageck_demo1_counts.txt", "counts", 999),
    ],
)
@pytest.mark.filterwarnings("ignore::nkscore.errors.NkscoreWarning")
def test_real_files(name, kind, rows):
    table = io.read_mageck(SHARED / name)
    assert table.attrs["format"] == kind
    assert len(table) == rows
    assert table.drop(columns=[c for c in ("se",) if c in table]).notna().all().all()


def test_files_without_rows(tmp_path):
    with pytest.raises(MissingKeyError, match="is empty or not a table"):
        io.read_mageck(_write(tmp_path, ""))
    with pytest.raises(GeneCoverageError, match="a header but no rows"):
        io.read_mageck(_write(tmp_path, "sgRNA\tGene\ts1\n"))


def test_a_mouse_gene_without_ortholog_keeps_its_name(tmp_path):
    path = _write(tmp_path, "sgRNA\tGene\ts1\nx\tStat1\t3\ny\tJak1\t4\n")
    pairs = pd.DataFrame({"mouse": ["Stat1", "Jak1"], "human": ["STAT1", ""]})
    with pytest.warns(NkscoreWarning, match="1 of 2 genes have no unique human ortholog") as caught:
        table = io.read_mageck(path, orthologs=pairs)
    assert {item.filename for item in caught} == {__file__}
    assert table["gene"].tolist() == ["STAT1", "Jak1"]
