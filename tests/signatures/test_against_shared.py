"""The packaged tables against the reference material, and the sets against real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nkscore import signatures
from nkscore.signatures._tables import read_table

SHARED = Path(__file__).parents[2] / ".." / "shared"
pytestmark = pytest.mark.skipif(
    not SHARED.exists(), reason="needs ../shared (reference material beside the checkout)"
)
RENAMED = {
    "DUFVA2023_CRISPR_IFNG_SIGNALING": "DUFVA2023_CRISPR_IFNG_SIGNALLING",
    "NETSKAR2024_TINK_G6_ACTIVATED_DIM_TUMOR": "NETSKAR2024_TINK_G6_ACTIVATED_DIM_TUMOUR",
}


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(SHARED / "reference" / name, sep="\t", keep_default_na=False)


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, int]]:
    table = _read("signatures.tsv")
    weight = table["direction"].map({"up": 1, "down": -1})
    sets: dict[str, dict[str, int]] = {}
    for name, gene, value in zip(table["signature"], table["gene"], weight, strict=True):
        sets.setdefault(name, {})[gene] = value
    return sets


@pytest.fixture(scope="module")
def hallmark() -> dict[str, list[str]]:
    text = (SHARED / "reference" / "hallmark_v2025_human.gmt").read_text()
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: row[2:] for row in rows}


def test_packaged_genes_equal_the_reference(reference):
    checked = 0
    for name in signatures.catalog()["name"]:
        source = RENAMED.get(name, name)
        if source in reference:
            assert signatures.get(name).weights == reference[source], name
            checked += 1
    assert checked == 163


def test_hallmark_sets_equal_the_gmt(hallmark):
    packaged = signatures.panel("hallmark")
    assert {name: sorted(entry.up) for name, entry in packaged.items()} == {
        name: sorted(genes) for name, genes in hallmark.items()
    }


def test_every_set_has_a_known_origin(reference, hallmark):
    names = set(signatures.catalog()["name"])
    known = {RENAMED.get(name, name) for name in names} & (set(reference) | set(hallmark))
    rest = {name for name in names if RENAMED.get(name, name) not in known}
    here = {name for name in rest if "nkscore" in signatures.get(name).licence}
    derived = {name for name in rest if name.endswith("_NO_AMBIENT")}
    assert rest == here | derived


def test_every_reference_set_is_packaged_or_left_out_with_a_reason(reference):
    names = {RENAMED.get(name, name) for name in signatures.catalog()["name"]}
    out = set(read_table("left_out.tsv")["signature"])
    assert not names & out
    assert set(reference) == (names & set(reference)) | out


def test_no_low_trust_set_is_packaged():
    low = _read("signatures_index.tsv").query("trust.str.startswith('low')")["signature"]
    assert len(low) > 5
    assert not set(low) & {RENAMED.get(name, name) for name in signatures.catalog()["name"]}


def test_aliases_agree_with_the_reference():
    packaged = dict(read_table("aliases.tsv")[["old", "current"]].itertuples(index=False))
    table = _read("symbol_aliases.tsv").query("status == 'updated symbol'")
    shared = [(o, c) for o, c, *_ in table.itertuples(index=False) if o in packaged]
    assert len(shared) > 140
    assert all(packaged[old] == current for old, current in shared)


# --- Do the sets find, in other people's data, the cells they are meant for? -----------------


@pytest.mark.parametrize(
    ("name", "group"),
    [
        # Groups of Netskar 2024: 1 stressed, 2 CD56bright, 3 cytotoxic, 4 adaptive, 6 activated.
        ("SIGNATUR_HEATSHOCK", 1),
        ("FOLTZ_CD56BRIGHT", 2),
        ("CRINIER2020_HNK_BM3_CD56BRIGHT", 2),
        ("REBUFFET2024_NK2", 2),
        ("BLOOD2024_MM_NK_C5", 2),
        ("REBUFFET2024_NK1C", 3),
        ("REBUFFET2024_NK3", 4),
        ("DUFVA2023_NK_ADAPTIVE", 4),
        ("DUFVA2023_NK_ACTIVATED", 6),
    ],
)
def test_sets_are_highest_in_their_netskar_group(name, group):
    path = SHARED / "data" / "nk_state_tables" / "netskar2024_nhood_markers_all.csv.gz"
    table = pd.read_csv(path, index_col=0).set_index("GeneID")
    genes = [gene for gene in signatures.get(name).up if gene in table.index]
    mean = {i: table.loc[genes, f"logFC_{i}"].mean() for i in range(1, 7)}
    assert max(mean, key=mean.get) == group


#: Group of Netskar 2024 → sets that its markers overlap more, and less.
_ALIKE = {
    "brights": [
        ("CRINIER2020_HNK_BM3_CD56BRIGHT", "CRINIER2020_HNK_BM1_CD56DIM"),
        ("FOLTZ_CD56BRIGHT", "FOLTZ_CD56DIM"),
    ],
    "nkg2a_pos": [("YANG2019_PBMC_1_CD56BRIGHT", "YANG2019_PBMC_4_MATURE")],
    "adaptive": [
        ("DUFVA2023_NK_ADAPTIVE", "DUFVA2023_NK_ACTIVATED"),
        ("DUFVA2023_NK_ADAPTIVE", "DUFVA2023_NK_RESTING"),
    ],
}


@pytest.mark.parametrize(
    ("table", "expected", "other"),
    [(table, *pair) for table, pairs in _ALIKE.items() for pair in pairs],
)
def test_netskar_markers_overlap_the_matching_set_more(table, expected, other):
    path = SHARED / "data" / "nk_state_tables" / f"netskar2024_de_up_{table}.csv"
    markers = {"markers": list(pd.read_csv(path, index_col=0).index)}

    def share(name: str) -> float:
        pair = {**markers, name: list(signatures.get(name).up)}
        return float(signatures.overlap(pair).loc[0, "overlap_coefficient"])

    assert share(expected) > share(other)
    assert share(expected) >= 0.2


@pytest.mark.parametrize("line", ["697", "RCHACV"])
def test_exclusive_nk_genes_are_silent_in_untreated_tumor_cells(line):
    path = SHARED / "data" / "dufva2023_target_de" / f"{line}_expandedNK_vs_untreated.tsv.gz"
    table = pd.read_csv(path, sep="\t")
    names = "gene" if "gene" in table.columns else table.columns[0]
    table = table.set_index(names)
    assert table["pct.2"].reindex(signatures.nk_exclusive()).dropna().lt(0.05).all()
    # The reason for the second tier: the tumor cells themselves make some of these.
    assert table["pct.2"].reindex(signatures.get("NK_SHARED").up).max() > 0.1


def _per_million(path: str) -> pd.DataFrame:
    """Counts per million of each cell type, genes x types."""
    anndata = pytest.importorskip("anndata")
    adata = anndata.read_h5ad(SHARED / "data" / path)
    labels = adata.obs["cell_type"].astype(str).to_numpy()
    totals = {
        label: np.asarray(adata.X[labels == label].sum(axis=0)).ravel() for label in set(labels)
    }
    frame = pd.DataFrame(totals, index=adata.var_names)
    return frame / frame.sum() * 1e6


@pytest.fixture(scope="module")
def sorted_blood():
    """Cells sorted by antibodies: the labels owe nothing to the RNA."""
    return _per_million("zheng_sorted_pbmc/mudan_sorted_2140x8863_counts.h5ad")


T_CELLS = ["thelper", "cytotoxict", "memoryt", "naivecytotoxic", "naivet", "regulatoryt"]


@pytest.mark.filterwarnings("ignore::nkscore.errors.NkscoreWarning")
@pytest.mark.parametrize(
    ("label", "cell_types"),
    [("nk", ["nk"]), ("t_cell", T_CELLS), ("b_cell", ["bcells"]), ("myeloid", ["monocytes"])],
)
def test_lineage_markers_in_sorted_blood(sorted_blood, label, cell_types):
    found = signatures.match(sorted_blood.index, {label: signatures.panel("lineages")[label]})
    mean = np.log1p(sorted_blood.iloc[found.up[label]]).mean()
    assert mean[cell_types].min() > 1.5 * mean.drop(cell_types).max()


@pytest.mark.parametrize("name", ["NK_EXCLUSIVE", "NK_SHARED"])
def test_nk_transcripts_in_sorted_blood(sorted_blood, name):
    mean = np.log1p(sorted_blood.reindex(signatures.get(name).up).dropna()).mean()
    assert mean.idxmax() == "nk"


def test_exclusive_nk_genes_are_near_silent_in_other_sorted_cells(sorted_blood):
    genes = sorted_blood.reindex(signatures.nk_exclusive()).dropna()
    assert len(genes) >= 12
    others = genes[["bcells", "monocytes"]].max(axis=1)
    assert (others < 0.02 * genes["nk"]).all()


def test_old_reference_is_read_through_aliases():
    anndata = pytest.importorskip("anndata")
    path = SHARED / "data" / "soupx_pbmc4k" / "soupx_pbmc4k_2170x33694_counts.h5ad"
    names = anndata.read_h5ad(path, backed="r").var_names
    found = signatures.match(names, "HALLMARK_OXIDATIVE_PHOSPHORYLATION")
    row = found.coverage.loc[0]
    assert row["n_found"] == row["n_genes"] == 200
    assert row["n_by_alias"] > 10
    assert signatures.diagnose(names) is None
