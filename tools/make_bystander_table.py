"""Make ``bystanders.tsv``: how the simulator's bystander cells differ from its NK cells.

Run from the repository root, with the reference material beside it::

    python tools/make_bystander_table.py ../shared

T cells, B cells and monocytes are those of 10x PBMC 4k (labels of SoupX, doi
10.1093/gigascience/giaa151), less a twentieth of the soup that SoupX measured in empty droplets.
Platelets and red cells are choices: known markers over a blood cell of few other genes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

DATA = Path(__file__).parents[1] / "src" / "nkscore" / "datasets" / "data"
FLOOR = -3.5
CEILING = 14.5
STEP = 0.25
SOUP = 0.05
#: A gene is listed where it differs this much from NK cells (log2), at this level or more.
APART = 1.5
LEAST = 5.0
LABELS = {
    "cd4_t_cell": ("T_CD4",),
    "cd8_t_cell": ("T_CD8",),
    "b_cell": ("B",),
    "monocyte": ("MNP",),
}
#: Log2 of counts per million.
CHOSEN = {
    "platelet": {
        "PPBP": 15.0,
        "PF4": 14.5,
        "TMSB4X": 15.0,
        "CAVIN2": 11.5,
        "GNG11": 12.0,
        "TUBB1": 11.5,
        "NRGN": 12.0,
        "CCL5": 11.5,
        "GP9": 10.0,
        "ITGA2B": 10.0,
        "TREML1": 9.5,
        "ACRBP": 10.0,
        "CLU": 10.5,
        "SPARC": 10.0,
        "F13A1": 9.5,
        "GP1BA": 8.5,
        "RGS18": 10.0,
        "MMD": 9.0,
        "MPP1": 9.0,
        "TAGLN2": 11.5,
        "H2AC6": 11.0,
    },
    "red_cell": {
        "HBB": 20.5,
        "HBA2": 20.0,
        "HBA1": 19.5,
        "HBD": 14.5,
        "HBM": 12.0,
        "ALAS2": 12.5,
        "AHSP": 12.0,
        "CA1": 11.5,
        "SLC25A37": 11.5,
        "SLC4A1": 10.0,
        "GYPA": 9.5,
        "GYPB": 9.0,
        "GYPC": 11.5,
        "BLVRB": 11.5,
        "SNCA": 11.5,
        "FECH": 10.0,
        "HEMGN": 10.0,
        "EPB42": 9.5,
        "BPGM": 10.5,
        "SELENBP1": 10.0,
        "UBB": 13.0,
    },
}


def counts_per_million(cells: ad.AnnData, labels: tuple[str, ...], soup: pd.Series) -> pd.Series:
    """Return the level of each gene, less the soup."""
    kept = cells.obs["cell_type"].isin(labels).to_numpy()
    total = np.asarray(cells.X[kept].sum(axis=0)).ravel().astype(float)
    level = pd.Series(total / total.sum(), index=cells.var_names).groupby(level=0).sum()
    own = (level - SOUP * soup.reindex(level.index).fillna(0.0)).clip(lower=0.0)
    return own / own.sum() * 1e6


def main(shared: Path) -> None:
    folder = shared / "data" / "soupx_pbmc4k"
    cells = ad.read_h5ad(folder / "soupx_pbmc4k_2170x33694_counts.h5ad")
    soup = soup_of(folder / "soupx_profile.csv")
    known = pd.read_csv(DATA / "genes.tsv", sep="\t", keep_default_na=False).set_index("gene")
    nk = counts_per_million(cells, ("NK",), soup)
    rows = [
        (kind, gene, level)
        for kind, labels in LABELS.items()
        for gene, level in differing(counts_per_million(cells, labels, soup), nk, known).items()
    ]
    # What makes an NK cell is in neither: the level of T cells, which have the least of it.
    absent = [g for g in known.index[known["nk"] - known["tumor"] > 6] if known["nk"][g] >= LEAST]
    for kind, chosen in CHOSEN.items():
        rows += [(kind, gene, FLOOR) for gene in absent if gene not in chosen]
        rows += [(kind, gene, level) for gene, level in chosen.items()]
    table = pd.DataFrame(rows, columns=["cell_type", "gene", "level"])
    table.sort_values(["cell_type", "gene"], kind="stable").to_csv(
        DATA / "bystanders.tsv", sep="\t", index=False, lineterminator="\n"
    )
    print(table.groupby("cell_type").size())


def soup_of(file: Path) -> pd.Series:
    table = pd.read_csv(file)
    return table.set_index(table.columns[0])["est"].groupby(level=0).sum()


def differing(level: pd.Series, nk: pd.Series, known: pd.DataFrame) -> dict[str, float]:
    """Return gene -> level where a type differs from NK cells of the same data."""
    both = level.index.intersection(known.index)
    log_level, log_nk = (np.log2(values[both] + 2.0**FLOOR) for values in (level, nk))
    apart = log_level - log_nk
    # The simulator's NK cells are from two data sets: differences carry over, levels do not.
    wanted = (known.loc[both, "nk"] + apart).clip(FLOOR, CEILING)
    wanted[(known.loc[both, "nk"] <= FLOOR) | (apart <= -4)] = log_level
    wanted[log_level < 0] = FLOOR
    listed = (apart.abs() >= APART) & (np.maximum(log_level, log_nk) >= LEAST)
    listed |= (log_level - known.loc[both, "nk"] >= 3) & (log_level >= LEAST)
    rounded = (wanted[listed] / STEP).round() * STEP
    return {str(gene): float(value) for gene, value in rounded.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared"))
