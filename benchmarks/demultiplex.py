"""Compare the methods of pp.demultiplex with each other and with the peers.

    python benchmarks/demultiplex.py [--demuxem-python PYTHON] [--gmm-demux PROGRAM] [--figure PNG]

Two captures of Howitt et al. 2023 (doi 10.1093/nargab/lqad086) with genetic donors, from
``../shared/data/hashtag_bal``, and simulated lanes. Peers run in environments of their own:
``pip install demuxEM==0.1.8``; ``pip install GMM-Demux==0.2.2.3 'numpy<2' 'pandas<2.2'
'scikit-learn<1.6'``. demuxEM wants the RNA of empty droplets only to tell cells from empty ones;
here every droplet is a cell, and its background comes from its own k-means on total tag counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from nkscore.pp._demultiplex_methods import METHODS, Options

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "hashtag_bal"
CAPTURES = {"batch 1": "bal_batch1_c1_hto", "batch 2": "bal_batch2_c1_hto"}

DEMUXEM = """
import sys
import demuxEM, numpy as np, pandas as pd
from pegasusio import UnimodalData
from scipy import sparse

def droplets(table):
    obs = pd.DataFrame(index=pd.Index(table.index, name="barcodekey"))
    var = pd.DataFrame(index=pd.Index(table.columns, name="featurekey"))
    counts = sparse.csr_matrix(table.to_numpy(dtype=np.float32))
    return UnimodalData(obs, var, {"X": counts}, {"genome": "tags", "modality": "rna"})

if __name__ == "__main__":
    table = pd.read_csv(sys.argv[1], index_col=0)
    tags, cells = droplets(table), droplets(table)
    demuxEM.estimate_background_probs(tags)
    demuxEM.demultiplex(cells, tags)
    kind = cells.obs["demux_type"].astype(str).replace("unknown", "negative")
    call = cells.obs["assignment"].astype(str).where(kind == "singlet", kind)
    call.rename("call").to_csv(sys.argv[2])
"""


def read(name):
    """Tag counts and the true call of each droplet (a tag, ``doublet`` or ``negative``)."""
    lane = ad.read_h5ad(SHARED / f"{name}.h5ad")
    tags = [tag.replace(" ", "") for tag in lane.var_names]
    counts = pd.DataFrame(lane.X.toarray().astype(int), index=lane.obs_names, columns=tags)
    donor_of = {f"BAL {chr(ord('A') + i)}": f"BAL{i + 1:02d}" for i in range(24)}
    donor_of |= {"Doublet": "doublet", "Negative": "negative"}
    return counts, lane.obs["genetic_donor"].astype(str).map(donor_of).to_numpy()


def ours(method, counts):
    fit = METHODS[method].func(counts.to_numpy(dtype=float), np.ones(len(counts)), Options())
    names = np.array([*counts.columns, "negative", "doublet"])
    confidence = fit.probability.max(axis=1) if METHODS[method].gives_probabilities else None
    return names[fit.probability.argmax(axis=1)], confidence


def demuxem(python, counts, folder):
    script, table, out = folder / "run.py", folder / "counts.csv", folder / "calls.csv"
    script.write_text(DEMUXEM)
    counts.to_csv(table)
    subprocess.run([python, str(script), str(table), str(out)], check=True, capture_output=True)  # noqa: S603
    call = pd.read_csv(out, index_col=0)["call"]
    return call.reindex(counts.index).fillna("negative").to_numpy(), None


def gmm_demux(program, counts, folder):
    table = folder / "counts.csv"
    counts.to_csv(table)
    command = [program, "-c", str(table), ",".join(counts.columns), "-rs", "0"]
    command += ["-f", str(folder / "full"), "-o", str(folder / "ssd")]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    found = pd.read_csv(folder / "full" / "GMM_full.csv", index_col=0).reindex(counts.index)
    config = folder / "full" / "GMM_full.config"
    name = pd.read_csv(config, header=None, skipinitialspace=True).set_index(0)[1].astype(str)
    label = found["Cluster_id"].map(name).str.strip()
    known = [*counts.columns, "negative"]
    return label.where(label.isin(known), "doublet").to_numpy(), found["Confidence"].to_numpy()


def scores(call, confidence, truth, tags):
    per_tag = []
    for tag in tags:
        right = ((call == tag) & (truth == tag)).sum()
        called, there = max(1, (call == tag).sum()), max(1, (truth == tag).sum())
        per_tag.append((right / called, right / there, 2 * right / (called + there)))
    precision, recall, f1 = np.array(per_tag).T
    double = truth == "doublet"
    row = {
        "mean F1": f1.mean(),
        "worst F1": f1.min(),
        "precision": precision.mean(),
        "recall": recall.mean(),
        "doublet recall": (call == "doublet")[double].mean(),
        "negative": (call == "negative").mean(),
        "ECE": np.nan,
    }
    if confidence is not None:
        row["ECE"] = calibration_error(confidence, call == truth)
    return row, pd.DataFrame({"precision": precision, "recall": recall, "F1": f1}, index=tags)


def calibration_error(confidence, right, n_bins=10):
    table = reliability(confidence, right, n_bins)
    return (table["n"] * (table["confidence"] - table["right"]).abs()).sum() / table["n"].sum()


def reliability(confidence, right, n_bins=10):
    place = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    table = pd.DataFrame({"bin": place, "confidence": confidence, "right": right})
    grouped = table.groupby("bin")
    return grouped[["confidence", "right"]].mean().assign(n=grouped.size())


def simulated(n_tags, *, n=3000, weak=1.0, bare_tag=False, doubling=1.0, seed=0):
    """Draw counts and truth; the last tag stains ``weak`` times as well, or not at all."""
    rng = np.random.default_rng(seed)
    tag = rng.integers(n_tags, size=n)
    double, empty = rng.random(n) < 0.08, rng.random(n) < 0.03
    second = (tag + rng.integers(1, n_tags, size=n)) % n_tags
    factor = np.exp(0.4 * rng.normal(size=n)) * np.where(double, doubling, 1)
    background = 9 * np.exp(0.4 * rng.normal(size=n_tags))
    signal = 250 * np.exp(0.4 * rng.normal(size=n_tags))
    signal[-1] *= 0 if bare_tag else weak
    mean = np.tile(background, (n, 1))
    for carried, rows in ((tag, ~empty), (second, double & ~empty)):
        at = np.flatnonzero(rows)
        mean[at, carried[at]] += signal[carried[at]] * np.exp(0.7 * rng.normal(size=at.size))
    mean *= factor[:, None]
    counts = rng.negative_binomial(10, 10 / (10 + mean))
    names = np.array([f"T{i:02d}" for i in range(n_tags)])
    truth = np.where(empty, "negative", np.where(double, "doublet", names[tag]))
    if bare_tag:
        bare = n_tags - 1
        truth = np.where((tag == bare) & ~double, "negative", truth)
        truth = np.where(double & ~empty & (tag == bare), names[second], truth)
        truth = np.where(double & ~empty & (second == bare), names[tag], truth)
    return pd.DataFrame(counts, columns=names, index=[f"c{i}" for i in range(n)]), truth


LANES = {
    "2 tags": {"n_tags": 2},
    "4 tags": {"n_tags": 4},
    "8 tags, twice the background in doublets": {"n_tags": 8, "doubling": 2.0},
    "14 tags": {"n_tags": 14},
    "8 tags, the last stains a tenth": {"n_tags": 8, "weak": 0.1},
    "8 tags, the last not at all": {"n_tags": 8, "bare_tag": True},
}


def real_lanes(peers):
    rows, details, fits = [], [], {}
    for capture, name in CAPTURES.items():
        counts, truth = read(name)
        runs = {method: (lambda m=method, c=counts: ours(m, c)) for method in METHODS}
        for peer, (run, program) in peers.items():
            runs[peer] = lambda run=run, program=program, c=counts: in_folder(run, program, c)
        for method, run in runs.items():
            start = time.perf_counter()
            call, confidence = run()
            seconds = time.perf_counter() - start
            row, per_tag = scores(call, confidence, truth, list(counts.columns))
            rows.append({"capture": capture, "method": method, **row, "seconds": seconds})
            details.append(per_tag.assign(capture=capture, method=method))
            fits[capture, method] = (call, confidence, truth)
    return pd.DataFrame(rows), pd.concat(details), fits


def in_folder(run, program, counts):
    with tempfile.TemporaryDirectory() as folder:
        return run(program, counts, Path(folder))


def simulated_lanes():
    rows = []
    for lane, options in LANES.items():
        counts, truth = simulated(**options)
        for method in METHODS:
            call, confidence = ours(method, counts)
            tags = [tag for tag in counts.columns if (truth == tag).sum() > 10]
            row = scores(call, confidence, truth, tags)[0]
            rows.append({"lane": lane, "method": method, **row})
    return pd.DataFrame(rows)


def figure(fits, file):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = [m for m in ("mixture", "hashsolo", "GMM-Demux") if ("batch 1", m) in fits]
    color = dict(
        zip(("mixture", "hashsolo", "GMM-Demux"), ("#0B5FA5", "#D55E00", "#777777"), strict=True)
    )
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.5), sharey=True, layout="constrained")
    for ax, capture in zip(axes, CAPTURES, strict=True):
        ax.plot([0, 1], [0, 1], color="#B5B5B5", lw=1, zorder=0)
        for method in shown:
            call, confidence, truth = fits[capture, method]
            table = reliability(confidence, call == truth)
            table = table[table["n"] >= 30]
            error = calibration_error(confidence, call == truth)
            ax.plot(table["confidence"], table["right"], color=color[method], lw=1.2, zorder=1)
            ax.scatter(
                table["confidence"],
                table["right"],
                s=4 + 120 * table["n"] / table["n"].sum(),
                color=color[method],
                label=f"{method} (ECE {error:.3f})",
                zorder=2,
            )
        ax.set(title=capture, xlabel="confidence of the call", xlim=(0.2, 1.02), ylim=(0, 1.02))
        legend = ax.legend(frameon=False, fontsize=8, loc="upper left")
        for handle in legend.legend_handles:
            handle.set_sizes([20])
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share confirmed by genetics")
    figure.savefig(file, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demuxem-python", help="Python with demuxEM")
    parser.add_argument("--gmm-demux", help="program GMM-demux")
    parser.add_argument("--figure", type=Path, help="where to draw the reliability (PNG)")
    options = parser.parse_args()
    peers = {}
    if options.demuxem_python:
        peers["demuxEM"] = (demuxem, options.demuxem_python)
    if options.gmm_demux:
        peers["GMM-Demux"] = (gmm_demux, options.gmm_demux)
    pd.set_option("display.width", 200, "display.max_columns", 20)
    print(simulated_lanes().round(3).to_string(index=False))
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is absent: only the simulated lanes were run.")
    table, details, fits = real_lanes(peers)
    print(table.round(3).to_string(index=False))
    for method in dict.fromkeys(details["method"]):
        print(f"\n{method}, per donor")
        print(details[details["method"] == method].drop(columns="method").round(3).to_string())
    if options.figure:
        figure(fits, options.figure)


if __name__ == "__main__":
    main()
