"""Measure ``tl.map_reference`` beside CellTypist, scanpy's ingest and plain scikit-learn.

Run by hand: ``python benchmarks/reference_mapping.py [truth|depth|open|real|cost] [seed ...]`` (the
first four by default, on the reported seeds). Prints Markdown tables. Data: two experiments of
``datasets.simulate_coculture`` with other seeds, so that donors, wells and lanes differ, the
reference at 6,000 UMI; and real cells in ``../shared/data``.

``plain`` is a logistic regression of scikit-learn (default penalty) on the marker genes of the
reference at its own depth; ``ingest`` is scanpy's, with the share of 15 neighbors as probability.
With pynndescent 0.7 scanpy 1.11 stops inside ingest, as it hands on a number of trees that is now
``None``; here the number is filled in. CellTypist 1.7.1 asks scikit-learn for ``multi_class``,
which 1.9.1 does not know; here it gets the same regression, one label against the rest; scores are
divided by their sum.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import sys
import time
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import nkscore as nk
from nkscore.tl._states import _reference_genes as mapping
from nkscore.tl._states import _reference_models as models

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
#: Of references (the query has the next); 21 and 71 were looked at while the method was written.
SEEDS = (701, 703)
DEPTHS = (500, 1500, 6000)
ENGINES = ("nkscore", "celltypist", "ingest", "plain")
TYPES = {
    "B cells": ("B", "B Activated"),
    "myeloid cells": ("CD14 Mono", "CD16 Mono", "DC"),
    "T and NK cells": ("CD4 Naive T", "CD4 Memory T", "CD8 T", "T activated", "NK"),
    "NK cells": ("NK",),
    "platelets": ("Mk",),
}


def simulated(seed: int, depth: float, *, shift: float = 1.0) -> ad.AnnData:
    adata = nk.datasets.simulate_coculture(
        tumors=["697", "GDM1", "JURKAT"],
        n_genes=6000,
        median_umi=depth,
        state_shift=shift,
        rng=seed,
    )
    nk.datasets.use_truth(adata)
    return adata[adata.obs["qc_pass"].to_numpy()].copy()


def of_compartment(adata: ad.AnnData, compartment: str) -> ad.AnnData:
    part = adata[(adata.obs["compartment"] == compartment).to_numpy()].copy()
    part.obs["label"] = part.obs[f"truth_{compartment}_state"].astype(str)
    return part


def thinned(adata: ad.AnnData, share: float) -> ad.AnnData:
    copy = adata.copy()
    counts = sparse.csr_matrix(copy.layers["counts"])
    counts.data = np.random.default_rng(5).binomial(counts.data.astype(int), share).astype(np.int32)
    counts.eliminate_zeros()
    copy.layers["counts"] = counts
    return copy


def normalized(adata: ad.AnnData, genes: list[str]) -> ad.AnnData:
    counts = mapping.shared_counts(adata, np.arange(adata.n_obs), genes)
    values = mapping.log_normalized(counts).astype(np.float32)
    return ad.AnnData(
        values, obs=pd.DataFrame(index=adata.obs_names), var=pd.DataFrame(index=genes)
    )


def by_ingest(reference: ad.AnnData, query: ad.AnnData) -> pd.DataFrame:
    import scanpy as sc
    from pynndescent import rp_trees

    made = rp_trees.make_forest
    rp_trees.make_forest = lambda data, k, trees, *rest: made(data, k, trees or 8, *rest)
    genes = mapping.shared_genes(query, reference)
    theirs, mine = normalized(reference, genes), normalized(query, genes)
    sc.pp.highly_variable_genes(theirs, n_top_genes=2000)
    chosen = theirs.var["highly_variable"].to_numpy()
    theirs, mine = theirs[:, chosen].copy(), mine[:, chosen].copy()
    sc.pp.pca(theirs, n_comps=30, random_state=0)
    sc.pp.neighbors(theirs, n_neighbors=15, random_state=0)
    engine = sc.tl.Ingest(theirs)
    rp_trees.make_forest = made
    engine.fit(mine)
    engine.neighbors(15)
    votes = pd.get_dummies(reference.obs["label"])
    share = votes.to_numpy(dtype=float)[engine._indices].mean(axis=1)  # noqa: SLF001
    return pd.DataFrame(share, index=query.obs_names, columns=list(votes))


def by_celltypist(reference: ad.AnnData, query: ad.AnnData) -> pd.DataFrame:
    import celltypist
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    class OneVersusRest(OneVsRestClassifier):
        """What CellTypist asks scikit-learn for, which versions from 1.8 on no longer have."""

        def __init__(self, estimator: object = None, **options: object) -> None:
            options = {k: v for k, v in options.items() if k in ("C", "solver", "max_iter")}
            super().__init__(estimator or LogisticRegression(**options))

        def fit(self, x: np.ndarray, y: np.ndarray) -> OneVersusRest:
            super().fit(x, y)
            self.coef_ = np.vstack([one.coef_ for one in self.estimators_])
            return self

    sys.modules["celltypist.train"].LogisticRegression = OneVersusRest
    genes = mapping.shared_genes(query, reference)
    labels = reference.obs["label"].to_numpy(dtype=str)
    theirs, mine = normalized(reference, genes), normalized(query, genes)
    model = celltypist.train(theirs, labels=labels, n_jobs=1, check_expression=False)
    score = celltypist.annotate(mine, model=model).probability_matrix
    if score.shape[1] == 1 or np.unique(labels).size == 2:
        return score
    return score.div(np.maximum(score.sum(axis=1), 1e-300), axis=0)


def by_plain(reference: ad.AnnData, query: ad.AnnData) -> pd.DataFrame:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    genes = mapping.shared_genes(query, reference)
    theirs, mine = normalized(reference, genes).X, normalized(query, genes).X
    names, code = np.unique(reference.obs["label"].to_numpy(dtype=str), return_inverse=True)
    chosen = models.choose_markers(theirs, code, names.size, 30)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(theirs[:, chosen].toarray(), reference.obs["label"].to_numpy(dtype=str))
    share = model.predict_proba(mine[:, chosen].toarray())
    return pd.DataFrame(share, index=query.obs_names, columns=list(model.classes_))


def mapped(
    engine: str,
    reference: ad.AnnData,
    query: ad.AnnData,
    *,
    compartment: str = "nk",
    batch: str | None = None,
) -> tuple[pd.DataFrame, np.ndarray, float]:
    """Return probabilities, calls and CPU seconds."""
    start = time.process_time()
    peers = {"celltypist": by_celltypist, "ingest": by_ingest, "plain": by_plain}
    if engine in peers:
        share = peers[engine](reference, query)
        call = share.idxmax(axis=1).where(share.max(axis=1) >= 0.5, "unassigned")
        return share, call.to_numpy(dtype=str), time.process_time() - start
    adata = query.copy()
    nk.tl.map_reference(adata, reference, labels="label", compartment=compartment, batch=batch)
    state = f"{compartment}_state"
    call = adata.obs[state].to_numpy(dtype=str)
    return adata.obsm[f"{state}_posterior"], call, time.process_time() - start


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    bins = np.minimum((10 * confidence).astype(int), 9)
    return float(
        sum(
            abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
            for b in np.unique(bins)
        )
    )


def judged(share: pd.DataFrame, call: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    best = share.idxmax(axis=1).to_numpy(dtype=str)
    called = call != "unassigned"
    confidence = share.max(axis=1).to_numpy()
    f1 = [
        2 * ((best == k) & (truth == k)).sum() / max((best == k).sum() + (truth == k).sum(), 1)
        for k in np.unique(truth)
    ]
    return {
        "accuracy": (best == truth).mean(),
        "macro-F1": np.mean(f1),
        "ECE": calibration_error(confidence, best == truth),
        "called": called.mean(),
        "precision": (call == truth)[called].mean() if called.any() else np.nan,
        "confidence": confidence.mean(),
    }


def show(rows: list[dict], keys: list[str]) -> None:
    frame = pd.DataFrame(rows).groupby(keys, sort=False, observed=True).mean(numeric_only=True)
    frame = frame.drop(columns="seed", errors="ignore").reset_index()
    print("| " + " | ".join(frame.columns) + " |")
    print("|" + "---|" * frame.shape[1])
    for row in frame.itertuples(index=False):
        print("| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row) + " |")
    print(flush=True)


def truth(seeds: tuple[int, ...]) -> None:
    rows = []
    for seed in seeds:
        deep = simulated(seed, 6000)
        for name, depth, shift in [
            *((f"{d:,}", d, 1.0) for d in DEPTHS),
            ("1,500, no shift", 1500, 0.0),
        ]:
            shallow = simulated(seed + 1, depth, shift=shift)
            for part in ("nk", "tumor"):
                reference, query = of_compartment(deep, part), of_compartment(shallow, part)
                answers = query.obs["label"].to_numpy(dtype=str)
                for engine in ENGINES:
                    share, call, seconds = mapped(engine, reference, query, compartment=part)
                    rows.append(
                        {"cells": part, "UMI": name, "engine": engine, "seed": seed}
                        | judged(share, call, answers)
                        | {"CPU s": seconds}
                    )
                    print(rows[-1], file=sys.stderr, flush=True)
    show(rows, ["cells", "UMI", "engine"])


def depth(seeds: tuple[int, ...]) -> None:
    rows = []
    for seed in seeds:
        deep, other = simulated(seed, 6000), simulated(seed + 1, 4000)
        for part in ("nk", "tumor"):
            reference, query = of_compartment(deep, part), of_compartment(other, part)
            for engine in ENGINES:
                before, first, _ = mapped(engine, reference, query, compartment=part)
                for share in (0.5, 0.25):
                    shallow = thinned(query, share)
                    after, second, _ = mapped(engine, reference, shallow, compartment=part)
                    where = {"cells": part, "counts kept": f"{share:.0%}", "engine": engine}
                    rows.append(where | _changes((before, first), (after, second), shallow))
    show(rows, ["cells", "counts kept", "engine"])


def _changes(
    full: tuple[pd.DataFrame, np.ndarray], thin: tuple[pd.DataFrame, np.ndarray], query: ad.AnnData
) -> dict[str, float]:
    (before, first), (after, second) = full, thin
    answers, was = query.obs["label"].to_numpy(dtype=str), first != "unassigned"
    counts = np.asarray(query.layers["counts"].sum(axis=1)).ravel()
    confidence = after.max(axis=1).to_numpy()
    right = after.idxmax(axis=1).to_numpy(dtype=str) == answers
    rank = pd.Series(counts).corr(pd.Series(confidence), method="spearman")
    return {
        "called before": was.mean(),
        "lost": (second == "unassigned")[was].mean(),
        "changed": ((second != first) & (second != "unassigned"))[was].mean(),
        "accuracy before": (before.idxmax(axis=1).to_numpy(dtype=str) == answers).mean(),
        "accuracy": right.mean(),
        "confidence": confidence.mean(),
        "ECE": calibration_error(confidence, right),
        "rho of confidence and depth": rank,
    }


def open_set(seeds: tuple[int, ...]) -> None:
    """Cells that the reference lacks: a state, tumor cells among NK cells, cell types of blood."""
    rows = []
    for seed in seeds:
        deep, other = simulated(seed, 6000), simulated(seed + 1, 2000)
        reference, query = of_compartment(deep, "nk"), of_compartment(other, "nk")
        for state in ("adaptive", "cytokine", "type_i_ifn"):
            lacking = reference[(reference.obs["label"] != state).to_numpy()].copy()
            rows += _unknown(f"simulated NK, no {state}", lacking, query, {state})
        tumor = of_compartment(other, "tumor")[:500].copy()
        tumor.obs["label"] = "tumor"
        tumor.obs["compartment"] = "nk"
        mixed = ad.concat([query, tumor], index_unique="-")
        rows += _unknown("simulated NK, tumor cells among them", reference, mixed, {"tumor"})
    halves = kang_halves()
    for name, types in TYPES.items():
        lacking = halves[0][~halves[0].obs["label"].isin(types).to_numpy()].copy()
        rows += _unknown(f"kang2018, no {name}", lacking, halves[1], set(types))
    show(rows, ["setting", "engine"])


def _unknown(
    setting: str, reference: ad.AnnData, query: ad.AnnData, absent: set[str]
) -> list[dict]:
    rows = []
    answers = query.obs["label"].to_numpy(dtype=str)
    unknown = np.isin(answers, list(absent))
    for engine in ENGINES:
        _, call, _ = mapped(
            engine, reference, query, batch="batch" if "batch" in reference.obs else None
        )
        open_ = call == "unassigned"
        rows.append(
            {
                "setting": setting,
                "engine": engine,
                "unknown cells": float(unknown.sum()),
                "unassigned of unknown": open_[unknown].mean(),
                "unassigned of known": open_[~unknown].mean(),
                "precision of all calls": (call == answers)[~open_].mean(),
            }
        )
    return rows


def kang_halves() -> tuple[ad.AnnData, ad.AnnData]:
    """Blood cells of every other donor; cell types are the labels."""
    adata = ad.read_h5ad(SHARED / "kang2018_ifnb" / "kang_ifnb_4k_counts_donors.h5ad")
    adata = adata[(adata.obs["cell_type"].notna() & adata.obs["donor"].notna()).to_numpy()].copy()
    adata.layers["counts"] = sparse.csr_matrix(adata.X)
    adata.obs["label"] = adata.obs["cell_type"].astype(str)
    adata = adata[(adata.obs["label"] != "Eryth").to_numpy()].copy()
    adata.obs["compartment"] = "nk"
    adata.obs["batch"] = adata.obs["donor"].astype(str)
    donors = np.unique(adata.obs["batch"].to_numpy(dtype=str))
    odd = adata.obs["batch"].isin(donors[::2]).to_numpy()
    return adata[odd].copy(), adata[~odd].copy()


def real(_: tuple[int, ...]) -> None:
    rows = []
    first, second = kang_halves()
    with_arm = [part.copy() for part in (first, second)]
    for part in with_arm:
        part.obs["label"] = part.obs["label"] + ", " + part.obs["condition"].astype(str)
        kept = part.obs["label"].map(part.obs["label"].value_counts()) >= 10
        part._inplace_subset_obs(kept.to_numpy())  # noqa: SLF001
    known = set(with_arm[0].obs["label"]) & set(with_arm[1].obs["label"])
    with_arm = [part[part.obs["label"].isin(known).to_numpy()].copy() for part in with_arm]
    zheng = _zheng()
    pairs = {
        "kang2018 cell types, odd on even donors": (first, second),
        "kang2018 cell types, even on odd donors": (second, first),
        "kang2018 cell types × interferon": tuple(with_arm),
        "kang2018 on zheng_sorted_pbmc, four classes": (_merged(first), zheng),
        "zheng_sorted_pbmc on kang2018, four classes": (zheng, _merged(second)),
    }
    for name, (reference, query) in pairs.items():
        answers = query.obs["label"].to_numpy(dtype=str)
        batch = "batch" if "batch" in reference.obs else None
        for engine in ENGINES:
            for kept in (1.0, 0.5):
                shallow = query if kept == 1 else thinned(query, kept)
                share, call, seconds = mapped(engine, reference, shallow, batch=batch)
                rows.append(
                    {"pair": name, "counts": f"{kept:.0%}", "engine": engine}
                    | judged(share, call, answers)
                    | {"CPU s": seconds}
                )
                print(rows[-1], file=sys.stderr, flush=True)
    show(rows, ["pair", "counts", "engine"])


def _merged(adata: ad.AnnData) -> ad.AnnData:
    """Classes that both data sets have."""
    classes = {
        t: k for k, types in TYPES.items() for t in types if k in ("B cells", "myeloid cells")
    }
    classes |= {"NK": "NK cells"} | dict.fromkeys(
        ("CD4 Naive T", "CD4 Memory T", "CD8 T"), "T cells"
    )
    copy = adata[adata.obs["label"].isin(classes).to_numpy()].copy()
    copy.obs["label"] = copy.obs["label"].map(classes).astype(str)
    return copy


def _zheng() -> ad.AnnData:
    adata = ad.read_h5ad(SHARED / "zheng_sorted_pbmc" / "mudan_sorted_2140x8863_counts.h5ad")
    adata.layers["counts"] = sparse.csr_matrix(adata.X)
    names = adata.obs["cell_type"].astype(str)
    classes = _ZHENG
    adata = adata[names.isin(classes).to_numpy()].copy()
    adata.obs["label"] = names[names.isin(classes)].map(classes).to_numpy(dtype=object)
    adata.obs["compartment"] = "nk"
    return adata


_ZHENG = {"nk": "NK cells", "bcells": "B cells", "monocytes": "myeloid cells"} | dict.fromkeys(
    ("memoryt", "regulatoryt", "thelper", "cytotoxict", "naivet", "naivecytotoxic"), "T cells"
)


def cost(seeds: tuple[int, ...]) -> None:
    """100,000 cells; memory is the growth of the process while it maps, over the counts' bytes."""
    deep, other = simulated(seeds[0], 6000), simulated(seeds[0] + 1, 3000)
    reference, query = of_compartment(deep, "nk"), of_compartment(other, "nk")
    many = ad.concat([query] * int(np.ceil(100_000 / query.n_obs)), index_unique="-")
    many = many[:100_000].copy()
    counts = many.layers["counts"]
    size = counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
    rows = []
    for engine in ("nkscore", "celltypist", "plain"):
        # A process of its own for each, as the peak of a process never falls.
        answers = multiprocessing.get_context("fork").SimpleQueue()
        child = multiprocessing.get_context("fork").Process(
            target=_one_cost, args=(engine, reference, many, answers)
        )
        child.start()
        seconds, wall, grown = answers.get()
        child.join()
        rows.append(
            {
                "engine": engine,
                "cells": f"{many.n_obs:,}",
                "CPU s": seconds,
                "wall s": wall,
                "memory / counts": grown / size,
            }
        )
    print(f"counts: {size / 2**20:.0f} MB, {many.n_vars:,} genes\n")
    show(rows, ["engine", "cells"])


def _one_cost(
    engine: str, reference: ad.AnnData, many: ad.AnnData, answers: multiprocessing.SimpleQueue
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, wall = time.process_time(), time.perf_counter()
    if engine == "nkscore":
        nk.tl.map_reference(many, reference, labels="label")
    else:
        mapped(engine, reference, many)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers.put(
        (time.process_time() - start, time.perf_counter() - wall, 1024.0 * (after - before))
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    parts = {"truth": truth, "depth": depth, "open": open_set, "real": real, "cost": cost}
    names = [name for name in sys.argv[1:] if name in parts]
    numbers = tuple(int(name) for name in sys.argv[1:] if name.isdigit()) or SEEDS
    for name in names or ["truth", "depth", "open", "real"]:
        print(f"## {name}, seeds {', '.join(map(str, numbers))}\n", flush=True)
        parts[name](numbers)
