"""Every figure family drawn on real data, to be looked at before a release.

``.venv/bin/python tools/figures_real.py --out /tmp/figures`` reads ``../shared/data`` beside
the checkout and writes one PNG per figure, none of which is committed. Control and IFN-β treated
blood cells (Kang 2018) stand in for monoculture and co-culture, their cell types for tumor lines;
the other data sets are named in the files. ``--only depth time`` draws the figures whose names
hold one of the words; ``--data kang screens`` reads only these data sets.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")
import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import nkscore as nk

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, Callable[[], Any]]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LYMPHOID = ("CD4 Memory T", "CD4 Naive T", "CD8 T", "B", "B Activated", "T activated", "NK")
INTERFERON = "HALLMARK_INTERFERON_ALPHA_RESPONSE"
MARKERS = {
    "T": ["CD3D", "CD3E", "IL7R", "CD8A"],
    "NK": ["GNLY", "NKG7", "KLRD1", "PRF1"],
    "B": ["MS4A1", "CD79A"],
    "Monocyte": ["CD14", "LYZ", "FCGR3A", "MS4A7"],
    "Type I IFN": ["ISG15", "IFIT1", "MX1"],
}


def load(path: str) -> anndata.AnnData:
    adata = anndata.read_h5ad(DATA / path)
    if "counts" not in adata.layers:
        adata.layers["counts"] = adata.X.copy()
    adata.X = None
    adata.obs["lane"] = Path(path).parent.name
    return adata


def kang_cells() -> anndata.AnnData:
    """Return Kang's cells; their types play the lines, treatment plays the co-culture."""
    adata = load("kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    known = adata.obs["donor"].notna() & adata.obs["cell_type"].notna()
    adata = adata[known].copy()
    obs = adata.obs
    kind, treated = obs["cell_type"].astype(str), (obs["condition"] == "stim").to_numpy()
    is_nk = (kind == "NK").to_numpy()
    obs["cell_type"] = kind
    obs["tumor"] = kind
    obs["lineage"] = np.where(kind.isin(LYMPHOID), "lymphoid", "myeloid")
    obs["nk_donor"] = "D" + obs["donor"].astype(str)
    obs["condition"] = np.where(treated, "coculture", np.where(is_nk, "nk_mono", "tumor_mono"))
    obs["sample"] = kind + " " + obs["nk_donor"] + np.where(treated, " IFN", " control")
    obs["compartment"] = pd.Categorical(
        np.where(is_nk, "nk", "tumor"), categories=nk.schema.COMPARTMENTS
    )
    obs["lane"] = np.where(treated, "IFN-β", "control")
    nk.pp.qc(adata)
    nk.pp.normalize(adata)
    nk.tl.embed(adata)
    nk.tl.nk_states(adata)
    nk.tl.tumor_states(adata, programs=["type_i_ifn", "nfkb", "stress", "mhc_i_high"])
    nk.tl.score(adata, INTERFERON)
    on = adata.obs["tumor_state"].astype(str) == "type_i_ifn"
    adata.obs["interferon"] = pd.Categorical(np.where(on, "on", "off"))
    return adata


def kang() -> Figures:
    adata = kang_cells()
    tumor_fractions = nk.tl.state_fractions(adata, "tumor_state")
    by_type = nk.tl.marker_table(adata, MARKERS, by="cell_type")
    return {
        "qc_kang": lambda: nk.pl.qc(adata),
        "embedding_line": lambda: nk.pl.embedding(adata, color="tumor"),
        "embedding_condition": lambda: nk.pl.embedding(adata, color="condition"),
        "embedding_score": lambda: nk.pl.embedding(adata, color=INTERFERON),
        "embedding_state": lambda: nk.pl.embedding(adata, color="tumor_state"),
        "state_density": lambda: nk.pl.state_density(
            adata, compartment="tumor", color="tumor_state"
        ),
        "state_density_nk": lambda: nk.pl.state_density(adata, by="nk_donor"),
        "state_fractions_nk": lambda: nk.pl.state_fractions(nk.tl.state_fractions(adata)),
        "state_fractions_tumor": lambda: nk.pl.state_fractions(
            tumor_fractions, conditions=["tumor_mono", "coculture"], rank_by=["type_i_ifn"]
        ),
        "marker_scanpy": lambda: nk.pl.marker_dots(by_type),
        "marker_seurat": lambda: nk.pl.marker_dots(by_type, convention="seurat"),
        "depth_nk": lambda: nk.pl.depth(
            nk.tl.depth_stability(adata, nk.tl.nk_states), value="agreement", by="state"
        ),
        "compartments_kang": lambda: nk.pl.compartments(adata),
        **_kang_response(adata),
        **_kang_time(adata, tumor_fractions),
    }


def _kang_response(adata: anndata.AnnData) -> Figures:
    response = nk.tl.interaction_response(adata, "tumor")
    flagged = nk.tl.flag_ambient(response, nk_genes=["GNLY", "NKG7", "CCL5"])
    largest = str(adata.obs["tumor"].value_counts().index[0])
    change = nk.tl.response_score(adata, INTERFERON)
    by_lineage = nk.tl.response_score(adata, INTERFERON, level="lineage")
    pairs = nk.tl.communication(_beside_nk(adata), min_cells=2, min_count=3)
    return {
        "volcano": lambda: nk.pl.volcano(
            flagged, tumor=largest, highlight=nk.signatures.get(INTERFERON)
        ),
        "volcano_40": lambda: nk.pl.volcano(response, tumor=largest, label=40),
        "response_dots": lambda: nk.pl.response_dots(response),
        "response_heatmap": lambda: nk.pl.response_heatmap(
            response, modules=nk.tl.response_modules(response)
        ),
        "core_response": lambda: nk.pl.core_response(nk.tl.core_response(response)),
        "enrichment": lambda: nk.pl.enrichment_dots(nk.tl.enrichment(response)),
        "state_shift": lambda: nk.pl.state_shift(nk.tl.state_shift(adata, "tumor_state")),
        "decomposition": lambda: nk.pl.decomposition(
            nk.tl.decompose_shift(adata, INTERFERON, "interferon")
        ),
        "box": lambda: nk.pl.box_by_group(change, value="change", tests=by_lineage),
        "communication": lambda: nk.pl.communication_dots(pairs),
        "p_values": lambda: nk.pl.p_values(response, by="tumor"),
        "p_values_all": lambda: nk.pl.p_values(response),
        "effects": lambda: nk.pl.effects(response[response["gene"] == "ISG15"], label="tumor"),
    }


def _beside_nk(adata: anndata.AnnData) -> anndata.AnnData:
    """Return cells in which the NK cells of a donor stand in the wells of four other types."""
    kind = adata.obs["cell_type"].astype(str)
    parts = []
    for name in ("CD14 Mono", "CD16 Mono", "CD4 Naive T", "B"):
        part = adata[kind.isin(["NK", name])].copy()
        treated = part.obs["condition"].astype(str) == "coculture"
        well = f"{name} " + part.obs["nk_donor"].astype(str) + " "
        alone = part.obs["compartment"].astype(str) + " alone"
        part.obs["sample"] = well + alone.where(~treated, "IFN")
        part.obs["tumor"] = name
        part.obs["lineage"] = "lymphoid" if name in LYMPHOID else "myeloid"
        part.obs_names = name + " " + part.obs_names
        parts.append(part)
    return anndata.concat(parts)


def _kang_time(adata: anndata.AnnData, fractions: pd.DataFrame) -> Figures:
    """Return lines over time: control is 0 h, treatment with IFN-β was 6 h long."""
    obs = adata.obs.assign(mean=adata.obsm["scores"][INTERFERON].to_numpy())
    obs["time_h"] = np.where(obs["lane"] == "control", 0.0, 6.0)
    means = obs.groupby(["tumor", "nk_donor", "time_h"], as_index=False, observed=True)["mean"]
    hours = obs.drop_duplicates("sample").set_index("sample")["time_h"]
    states = fractions.assign(time_h=fractions["sample"].map(hours).astype(float))
    interferon = states[states["state"] == "type_i_ifn"]
    monocytes = states[states["tumor"] == "CD14 Mono"]
    return {
        "time_course_score": lambda: nk.pl.time_course(means.mean(), value="mean"),
        "time_course_line": lambda: nk.pl.time_course(interferon, value="fraction"),
        "time_course_state": lambda: nk.pl.time_course(monocytes, value="fraction", by="state"),
    }


def mixture() -> Figures:
    """Sorted NK cells with lung-cancer lines; source and type are confounded."""
    adata = load("nk_plus_tumour_lines/nk_plus_tumour_lines_counts.h5ad")
    obs = adata.obs
    obs["tumor"] = obs["line"].astype(str)
    obs["lane"] = obs["source"].astype(str)
    obs["condition"] = "coculture"
    obs["sample"] = obs["tumor"]
    nk.pp.qc(adata)
    nk.pp.compartments(adata)
    nk.pp.normalize(adata)
    nk.tl.embed(adata)
    truth = obs["truth"].astype(str).str.lower().str.replace("tumour", "tumor")
    obs["truth"] = truth
    return {
        "qc_mixture": lambda: nk.pl.qc(adata),
        "compartments": lambda: nk.pl.compartments(adata),
        "confusion": lambda: nk.pl.confusion(pd.crosstab(obs["truth"], obs["compartment"])),
        "embedding_compartment": lambda: nk.pl.embedding(adata, color="compartment"),
        "state_density_lines": lambda: nk.pl.state_density(
            adata, compartment=None, color="compartment"
        ),
        "reliability_compartments": lambda: nk.pl.reliability(
            nk.tl.calibration(adata, "truth", called="compartment")
        ),
        "marker_lines": lambda: nk.pl.marker_dots(
            nk.tl.marker_table(adata, ["NKG7", "GNLY", "EPCAM", "KRT18", "VIM", "B2M"], by="line")
        ),
    }


def ambient() -> Figures:
    """PBMC 4k with the profile of its empty droplets; cell types play the lines."""
    adata = load("soupx_pbmc4k/soupx_pbmc4k_2170x33694_counts.h5ad")
    obs = adata.obs
    kind = obs["cell_type"].astype(str)
    obs["tumor"], obs["sample"], obs["condition"] = kind, kind, "coculture"
    obs["compartment"] = pd.Categorical(
        np.where(kind == "NK", "nk", "tumor"), categories=nk.schema.COMPARTMENTS
    )
    nk.pp.qc(adata)
    profile = pd.read_csv(DATA / "soupx_pbmc4k" / "soupx_profile.csv", index_col=0)
    soup = profile[["counts"]].set_axis([obs["lane"].iloc[0]], axis=1).reindex(adata.var_names)
    nk.pp.ambient(adata, soup=soup.fillna(0))
    return {
        "ambient": lambda: nk.pl.ambient(adata.uns["nkscore"]["pp.ambient"]["samples"]),
        "qc_pbmc": lambda: nk.pl.qc(adata),
    }


def tags() -> Figures:
    """BAL hashtags with a genetic truth (batch 1 clean, batch 2 hard), CITE-fuse without one."""
    figures: Figures = {}
    for batch in ("batch1", "batch2"):
        adata = load(f"hashtag_bal/bal_{batch}_c1_hto.h5ad")
        adata.obsm["hashtags"] = pd.DataFrame(
            adata.layers["counts"].toarray(), adata.obs_names, list(adata.var_names)
        )
        figures |= _tags(_called(adata), batch)
    fused = load("citefuse_hashed/citefuse_500x19521_counts_49adt_4hto.h5ad")
    fused.obsm["hashtags"] = fused.obsm["hto"]
    _called(fused)
    figures["hashtags_citefuse"] = lambda: nk.pl.hashtags(fused)
    figures["hashtag_ridges_citefuse"] = lambda: nk.pl.hashtag_ridges(fused)
    return figures


def _called(adata: anndata.AnnData) -> anndata.AnnData:
    """Call the hashtags of one lane in which each tag is a sample."""
    tags = [str(tag) for tag in adata.obsm["hashtags"].columns]
    sheet = pd.DataFrame(
        {
            "path": "counts.h5ad",
            "lane": adata.obs["lane"].iloc[0],
            "hashtag": tags,
            "sample": tags,
            "tumor": "unknown",
            "condition": "tumor_mono",
        }
    )
    read = nk.io.read_sample_sheet(sheet, check_files=False)
    adata.uns["nkscore"] = {"sample_sheet": read}
    nk.pp.demultiplex(adata)
    return adata


def _tags(adata: anndata.AnnData, batch: str) -> Figures:
    obs = adata.obs
    single = obs[(obs["hashtag_class"] == "singlet")]
    table = pd.crosstab(single["genetic_donor"].astype(str), single["hashtag"].astype(str))
    of_donor = table.drop(index=["Doublet", "Negative"], errors="ignore").idxmax(axis=1)
    # Two donors or none in a droplet: a call of one tag is wrong there.
    obs["true_tag"] = obs["genetic_donor"].astype(str).map(of_donor).fillna("none")
    return {
        f"hashtags_{batch}": lambda: nk.pl.hashtags(adata),
        f"hashtag_ridges_{batch}": lambda: nk.pl.hashtag_ridges(adata),
        f"confusion_{batch}": lambda: nk.pl.confusion(table),
        f"reliability_{batch}": lambda: nk.pl.reliability(
            nk.tl.calibration(adata, "true_tag", called="hashtag")
        ),
    }


def perturbations() -> Figures:
    adata = load("papalexi_eccite_thp1/papalexi_20729x299_counts_110grna.h5ad")
    names = [str(name) for name in adata.uns["grna_names"]]
    adata.obsm["guides"] = pd.DataFrame(
        adata.obsm["grna"].toarray(), index=adata.obs_names, columns=names
    )
    library = dict(zip(names, map(str, adata.uns["grna_target"]), strict=True))
    nk.pp.assign_guides(adata, library=library)
    table = nk.tl.perturbation_response(adata, replicate="bio_rep")
    return {"perturbation_dots": lambda: nk.pl.perturbation_dots(table)}


def screens() -> Figures:
    folder = DATA / "mageck_outputs"
    rra = nk.tl.screen_hits({"RRA": nk.io.read_mageck(folder / "rra.gene_summary.txt")})
    mle = nk.tl.screen_hits(nk.io.read_mageck(folder / "mle.gene_summary.txt"))
    both = pd.concat([rra, mle])
    return {
        "screen_scatter": lambda: nk.pl.screen_scatter(rra),
        "screen_dots": lambda: nk.pl.screen_dots(both),
        "screen_dots_joined": lambda: nk.pl.screen_dots(both, joined=nk.tl.join_screens(both)),
    }


def published() -> Figures:
    """Target cells of the reference study: two lines, tests between cells."""
    tables = [
        pd.read_csv(
            DATA / "dufva2023_target_de" / f"{line}_expandedNK_vs_untreated.tsv.gz", sep="\t"
        ).assign(tumor=line)
        for line in ("697", "RCHACV")
    ]
    names = {"avg_log2FC": "log2_fc", "p_val": "p_value", "p_val_adj": "q_value"}
    table = nk.tl.flag_ambient(pd.concat(tables, ignore_index=True).rename(columns=names))
    core = nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE")
    genes = [gene for gene in core.genes if gene in set(table["gene"])]
    return {
        "volcano_697": lambda: nk.pl.volcano(table, tumor="697", highlight=core),
        "volcano_RCHACV_40": lambda: nk.pl.volcano(table, tumor="RCHACV", highlight=core, label=40),
        "response_dots_dufva": lambda: nk.pl.response_dots(
            table.assign(lineage="B-ALL"), genes=genes[:25]
        ),
    }


def composition() -> Figures:
    """Blood of 20 people with 30 groups of cells, which play the states."""
    long = pd.read_csv(DATA / "composition_counts" / "sccomp_composition.csv")
    long = long.rename(columns={"cell_group": "state", "Freq": "n_cells", "type": "tumor"})
    total = long.groupby("sample")["n_cells"].transform("sum")
    table = long.assign(
        fraction=long["n_cells"] / total,
        n_total=total,
        condition="coculture",
        nk_donor=long["sample"],
    )
    shift = nk.tl.state_shift(
        long, treated="cancer", control="healthy", by=None, replicate="sample", condition="tumor"
    ).assign(tumor="Cancer against healthy")
    first = shift.sort_values("p_value").head(25)
    return {
        "state_fractions_30": lambda: nk.pl.state_fractions(table, rank_by=["NK cycling"]),
        "state_shift_30": lambda: nk.pl.state_shift(shift),
        "effects_30": lambda: nk.pl.effects(first, label="state", effect="log_odds_ratio"),
    }


def persisters() -> Figures:
    """Eleven contrasts of drug-tolerant persister cells, which play the lines."""
    table = pd.read_csv(
        DATA / "dhimolea2021_persister_de" / "dhimolea2021_deseq_11contrasts.csv.gz"
    )
    names = {
        "contrast": "tumor",
        "Symbol": "gene",
        "log2FoldChange": "log2_fc",
        "pvalue": "p_value",
        "padj": "q_value",
        "lfcSE": "se",
    }
    table = table.rename(columns=names).dropna(subset=["gene", "log2_fc", "p_value", "q_value"])
    table = table.sort_values("p_value").drop_duplicates(["tumor", "gene"])
    table["tumor"] = table["tumor"].str.split("_VS_").str[0]
    first = str(table["tumor"].iloc[0])
    return {
        "volcano_persister": lambda: nk.pl.volcano(table, tumor=first, label=40),
        "response_dots_persister": lambda: nk.pl.response_dots(table),
        "p_values_persister": lambda: nk.pl.p_values(table, by="tumor"),
    }


SETS: dict[str, Callable[[], Figures]] = {
    "kang": kang,
    "mixture": mixture,
    "ambient": ambient,
    "tags": tags,
    "perturbations": perturbations,
    "screens": screens,
    "published": published,
    "composition": composition,
    "persisters": persisters,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[""])
    parser.add_argument("--data", nargs="*", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    warnings.simplefilter("ignore", nk.errors.NkscoreWarning)
    print("| data | figure | s |\n|---|---|---|")
    for name in options.data:
        for figure, drawer in SETS[name]().items():
            if any(word in figure for word in options.only):
                start = time.process_time()
                nk.pl.save(drawer(), options.out / figure, formats=["png"], dpi=130)
                plt.close("all")
                print(f"| {name} | {figure} | {time.process_time() - start:.2f} |", flush=True)


if __name__ == "__main__":
    main()
