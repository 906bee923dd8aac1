"""Make the tables of the simulator, ``genes.tsv`` and ``programs.tsv``, and ``nk_profile.tsv``.

Run from the repository root, with the reference material beside it::

    python tools/make_gene_table.py ../shared

``genes.tsv`` lists real human symbols with a class and two coarse abundances (log2 of counts
per million, in steps of 0.25): one typical of leukemia cells, one of NK cells. They are derived
from the detection rates of untreated 697 and RCHACV cells (Dufva et al. 2023), from 10x PBMC 4k
(labels of SoupX) and from sorted CD56+ cells (Zheng et al. 2017). ``programs.tsv`` lists gene
programs with log2 values; the effect sizes are choices, the membership is published.
``nk_profile.tsv`` (of the signatures) repeats the NK levels of expressed genes: ``tl.flag_ambient``
reads it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _program_choices import (
    ABSENT_IN_NK,
    ABSENT_IN_TUMOR,
    EXTRA,
    HOUSEKEEPING,
    IDENTITY,
    LINE_OVERRIDES,
    NK_LEVELS,
    PLANTED,
)

DATA = Path(__file__).parents[1] / "src" / "nkscore" / "datasets" / "data"
PROFILE = DATA.parents[1] / "signatures" / "data" / "nk_profile.tsv"
#: Least level in NK cells of a gene of the NK profile: 8 counts per million.
LEAST_NK = 3.0
FLOOR = -3.5
CEILING = 14.5
STEP = 0.25
N_GENES = 12_000
#: Published with another name than the expression data carry: current symbol -> symbol in data.
RENAMED = {
    "AARS1": "AARS",
    "ADSS1": "ADSSL1",
    "ATP5MJ": "C14orf2",
    "ATP5MK": "USMG5",
    "CARS1": "CARS",
    "CYRIA": "FAM49A",
    "CYRIB": "FAM49B",
    "EPRS1": "EPRS",
    "GARS1": "GARS",
    "GBA1": "GBA",
    "IARS1": "IARS",
    "KARS1": "KARS",
    "MARS1": "MARS",
    "NARS1": "NARS",
    "RARS1": "RARS",
    "SARS1": "SARS",
    "TARS1": "TARS",
    "WARS1": "WARS",
    "YARS1": "YARS",
    "PHB1": "PHB",
    "STING1": "TMEM173",
    "RIGI": "DDX58",
    "MACROH2A1": "H2AFY",
    "MACROH2A2": "H2AFY2",
    "H2AZ1": "H2AFZ",
    "H2AZ2": "H2AFV",
    "H2AX": "H2AFX",
    "H2AJ": "H2AFJ",
    "H1-0": "H1F0",
    "H1-10": "H1FX",
    "H1-2": "HIST1H1C",
    "H1-3": "HIST1H1D",
    "H1-4": "HIST1H1E",
    "H1-5": "HIST1H1B",
    "H3-3A": "H3F3A",
    "H3-3B": "H3F3B",
    "H4C3": "HIST1H4C",
    "H2BC12": "HIST1H2BK",
    "H2BC21": "HIST2H2BE",
    "H2AC6": "HIST1H2AC",
    "TASL": "CXorf21",
    "MARCHF1": "MARCH1",
    "MARCHF7": "MARCH7",
    "NHERF1": "SLC9A3R1",
    "POLR1F": "TWISTNB",
    "POLR1H": "ZNRD1",
    "PRP4K": "PRPF4B",
    "SKIC3": "TTC37",
    "TMT1B": "METTL7B",
    "MATCAP1": "KIAA0895L",
    "NTAQ1": "WDYHV1",
    "MIX23": "CCDC58",
    "IRAG2": "LRMP",
    "BMAL1": "ARNTL",
    "FHIP1B": "FAM160A2",
    "GFUS": "TSTA3",
    "HYCC2": "FAM126B",
}


def symbols_wanted(shared: Path) -> dict[str, int]:
    """Return gene -> priority (0: planted or in a recommended panel, 1: any signature)."""
    reference = shared / "reference"
    table = pd.read_csv(reference / "signatures.tsv", sep="\t")
    text = (reference / "signatures.md").read_text()
    panel = text.split("## Recommended default set")[1]
    stems = [s.rstrip("_*") for s in re.findall(r"[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*[_*]*", panel)]
    recommended = table["signature"].map(
        lambda name: any(len(s) > 3 and name.startswith(s) for s in stems)
    )
    wanted = dict.fromkeys(table["gene"], 1)
    for name in ("nk_ligand_receptor.tsv", "crispr_nk_hits.tsv"):
        other = pd.read_csv(reference / name, sep="\t")
        columns = [
            c for c in ("nk_gene", "nk_partner_subunits", "tumor_gene", "gene") if c in other
        ]
        for column in columns:
            for cell in other[column].dropna():
                wanted.update(dict.fromkeys(re.split(r"[;,+ ]+", cell), 1))
    for line in (reference / "hallmark_v2025_human.gmt").read_text().splitlines():
        wanted.update(dict.fromkeys(line.split("\t")[2:], 1))
    wanted.update(dict.fromkeys(table.loc[recommended, "gene"], 0))
    return {gene: rank for gene, rank in wanted.items() if plausible(gene)}


def plausible(symbol: str) -> bool:
    """Tell whether ``symbol`` looks like a current human gene symbol."""
    junk = r"(RP\d+-|CTD-|CTB-|CTC-|LOC\d|ENSG|A[CLPF]\d{6}|RN7|RNA\d|RNVU|VTRNA|MIR\d+$|SNOR)"
    if not symbol or symbol == "MT-CYTB" or re.match(junk, symbol):
        return False
    return bool(re.fullmatch(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)?|C\d+orf\d+|CXorf\d+", symbol))


def counts_per_million(adata: ad.AnnData, keep: np.ndarray) -> pd.Series:
    total = np.asarray(adata.X[keep].sum(axis=0)).ravel().astype(float)
    return pd.Series(total / total.sum() * 1e6, index=adata.var_names).groupby(level=0).sum()


def tumor_abundance(shared: Path, lymphoid: pd.Series) -> pd.Series:
    """Return counts per million in leukemia cells, from the share of cells with a count."""
    share = []
    for line in ("697", "RCHACV"):
        file = shared / "data" / "dufva2023_target_de" / f"{line}_expandedNK_vs_untreated.tsv.gz"
        share.append(pd.read_csv(file, sep="\t").drop_duplicates("gene").set_index("gene")["pct.2"])
    detected = pd.concat(share, axis=1).fillna(0).mean(axis=1)
    # Zeros of a negative binomial with size 3: p0 = (1 + mu / 3) ** -3.
    mean = 3 * ((1 - detected.clip(upper=0.999)) ** (-1 / 3) - 1)
    both = mean.index.intersection(lymphoid.index)
    middle = both[(detected[both] > 0.1) & (detected[both] < 0.9)]
    per_unit = np.median(lymphoid[middle] / mean[middle])
    abundance = mean * per_unit
    high = both[detected[both] >= 0.9]
    abundance[high] = np.maximum(lymphoid[high], abundance[high].clip(upper=500))
    return abundance


def nk_abundance(shared: Path, pbmc: ad.AnnData) -> pd.Series:
    """Return counts per million in NK cells."""
    file = shared / "data" / "zheng_sorted_pbmc" / "mudan_sorted_2140x8863_counts.h5ad"
    sorted_cells = ad.read_h5ad(file)
    first = counts_per_million(pbmc, (pbmc.obs["cell_type"] == "NK").to_numpy())
    second = counts_per_million(sorted_cells, (sorted_cells.obs["cell_type"] == "nk").to_numpy())
    both = first.index.intersection(second.index)
    merged = first.copy()
    merged[both] = np.sqrt((first[both] + 0.1) * (second[both] + 0.1))
    return merged


def classify(genes: pd.Index, rank: dict[str, int]) -> list[str]:
    classes = []
    for gene in genes:
        if gene.startswith("MT-"):
            classes.append("mitochondrial")
        elif re.match(r"RP[LS](P?\d|A$|A\d|AX)", gene) and not gene.startswith("RPS6K"):
            classes.append("ribosomal")
        elif gene.startswith("HLA-") or gene == "B2M":
            classes.append("hla")
        elif gene in HOUSEKEEPING:
            classes.append("housekeeping")
        else:
            classes.append("signature" if rank.get(gene) == 0 else "other")
    return classes


def planted_programs(shared: Path) -> pd.DataFrame:
    """Return program, gene, value for all programs."""
    table = pd.read_csv(shared / "reference" / "signatures.tsv", sep="\t")
    members = {
        (name, direction): list(dict.fromkeys(part["gene"]))
        for (name, direction), part in table.groupby(["signature", "direction"])
    }
    rows: dict[tuple[str, str], float] = {}
    for program, blocks in PLANTED.items():
        for genes, value in blocks:
            chosen = genes
            if isinstance(genes, str):
                name, _, direction = genes.partition(":")
                chosen = members[name, direction or "up"]
            for position, gene in enumerate(chosen):
                # Genes of one block differ in strength up to twofold, in a fixed pattern.
                spread = 1.3 - 0.6 * ((position * 7) % 11) / 10
                if plausible(gene):
                    rows.setdefault((program, gene), round(value * spread, 2))
    for lineage, levels in IDENTITY.items():
        rows.update({(f"identity_{lineage}", gene): level for gene, level in levels.items()})
    for line, levels in LINE_OVERRIDES.items():
        rows.update({(f"line_{line}", gene): level for gene, level in levels.items()})
    return pd.DataFrame(
        [(p, g, v) for (p, g), v in rows.items()], columns=["program", "gene", "value"]
    )


def main(shared: Path) -> None:
    rank = symbols_wanted(shared)
    pbmc = ad.read_h5ad(shared / "data" / "soupx_pbmc4k" / "soupx_pbmc4k_2170x33694_counts.h5ad")
    kang = ad.read_h5ad(shared / "data" / "kang2018_ifnb" / "kang_ifnb_4k_counts_donors.h5ad")
    lymphoid = counts_per_million(
        pbmc, pbmc.obs["cell_type"].isin(["T_CD4", "T_CD8", "B"]).to_numpy()
    )
    tumor, nk = tumor_abundance(shared, lymphoid), nk_abundance(shared, pbmc)
    aliases = pd.read_csv(shared / "reference" / "symbol_aliases.tsv", sep="\t")
    old = dict(zip(aliases["symbol_in_table"], aliases["published_symbol"], strict=True)) | RENAMED
    replaced = {o for new, o in old.items() if new != o and new in rank} - set(rank)
    programs = planted_programs(shared)
    rank.update(dict.fromkeys(programs["gene"], 0))
    rank.update(dict.fromkeys([*sorted(HOUSEKEEPING), *sorted(EXTRA)], 0))
    fill = {g for g in kang.var_names if plausible(g) and g not in rank and g not in replaced}
    always = [g for g in lymphoid.index if g.startswith("MT-") or re.match(r"RP[LS]\d", g)]
    rank.update(dict.fromkeys([g for g in always if plausible(g) and lymphoid[g] > 5], 1))

    def level(values: pd.Series, gene: str) -> float:
        for name in (gene, old.get(gene, gene)):
            if name in values.index:
                return float(values[name])
        return 0.0

    ranked = sorted(fill - set(rank), key=lambda g: (-level(tumor, g) - level(nk, g), g))
    genes = pd.Index(sorted([*rank, *ranked[: max(0, N_GENES - len(rank))]]))
    frame = pd.DataFrame({"gene": genes, "class": classify(genes, rank)})
    for column, values, absent in (
        ("tumor", tumor, ABSENT_IN_TUMOR),
        ("nk", nk, ABSENT_IN_NK),
    ):
        raw = np.log2(np.array([level(values, g) for g in genes]) + 2.0**FLOOR)
        raw[np.isin(genes, list(absent))] = FLOOR
        raw = np.minimum(raw, CEILING)
        frame[column] = np.round(raw / STEP) * STEP
    frame["nk"] = [NK_LEVELS.get(g, v) for g, v in zip(genes, frame["nk"], strict=True)]
    DATA.mkdir(parents=True, exist_ok=True)
    frame.to_csv(DATA / "genes.tsv", sep="\t", index=False, lineterminator="\n")
    profile = frame.loc[frame["nk"] >= LEAST_NK, ["gene", "nk"]].set_axis(
        ["gene", "log2_cpm"], axis=1
    )
    profile.to_csv(PROFILE, sep="\t", index=False, lineterminator="\n")
    programs.to_csv(DATA / "programs.tsv", sep="\t", index=False, lineterminator="\n")
    print(frame["class"].value_counts(), programs.groupby("program").size(), len(frame), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared"))
