"""Calls of tl.signal_activity where the signal is known, absent, or not in the table.

Run from the repository root (about five minutes; needs ``../shared/data/kang2018_ifnb``, and for
``--signatures cytosig`` your own copy, ``pip install --no-deps cytosig``)::

    python benchmarks/signal_activity.py --signatures cytosig --out results/signal_activity

Cells of eight patients with and without interferon beta (Kang et al. 2018). ``swapped``: arms
exchanged in half of the patients, which keeps the correlation of genes and removes the signal.
``planted``: the signature of interferon gamma added to such a null, in three sizes. ``removed``:
the same without the signature of interferon gamma in the table, so no call is right. Written to the
folder: ``calls.tsv`` and ``summary.tsv``.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

import nkscore as nk
from nkscore.tl._response._signal_tables import families, signals_of

DATA = Path("../shared/data/kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
TYPES = ("NK", "CD14 Mono", "B")
SIZES = (0.1, 0.3, 1.0)


def sums(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return genes, and counts of donors × genes of both arms, for each cell type."""
    cells = anndata.read_h5ad(path)
    found = {}
    for kind in TYPES:
        own = cells[((cells.obs["cell_type"] == kind) & cells.obs["donor"].notna()).to_numpy()]
        counts, obs = own.layers["counts"].tocsr(), own.obs
        arms = []
        for arm in ("ctrl", "stim"):
            rows = [
                counts[((obs["donor"] == d) & (obs["condition"] == arm)).to_numpy()].sum(axis=0)
                for d in sorted(obs["donor"].unique())
            ]
            arms.append(np.asarray(np.concatenate(rows)))
        enough = np.minimum(arms[0].sum(axis=1), arms[1].sum(axis=1)) > 3000
        found[kind] = (np.array(own.var_names), arms[0][enough], arms[1][enough])
    return found


def response(genes: np.ndarray, control: np.ndarray, treated: np.ndarray) -> pd.DataFrame:
    """Return paired differences of log counts with moderated errors."""
    kept = (control + treated).sum(axis=0) >= 2 * len(control)
    logs = [
        np.log2((x[:, kept] + 0.5) / x.sum(axis=1, keepdims=True) * 1e6) for x in (control, treated)
    ]
    change, n = logs[1] - logs[0], len(control)
    variance = change.var(axis=0, ddof=1)
    variance = (variance * (n - 1) + 4 * np.median(variance)) / (n + 3)
    table = {"tumor": "cells", "gene": genes[kept], "log2_fc": change.mean(axis=0)}
    return pd.DataFrame({**table, "se": np.sqrt(variance / n)})


def experiments(signatures: str, data: Path) -> list[tuple[str, str, str]]:
    """Return cells, experiment and call of all experiments."""
    table = signals_of(signatures, None).table
    gamma = [name for name in table if families()[str(name)] == "IFNG"]
    rows = []
    for kind, (genes, control, treated) in sums(data).items():
        n = len(control)
        true = nk.tl.signal_activity(response(genes, control, treated), signatures)
        rows.append((kind, "interferon beta", true["call"].iloc[0]))
        for chosen in itertools.combinations(range(n), n // 2):
            if 0 not in chosen:
                continue
            swap = np.isin(np.arange(n), chosen)[:, None]
            null = response(
                genes, np.where(swap, treated, control), np.where(swap, control, treated)
            )
            made = nk.tl.signal_activity(null, signatures)
            rows.append((kind, "swapped", made["call"].iloc[0]))
            profile = table[gamma[0]].reindex(null["gene"]).fillna(0.0).to_numpy()
            for size in SIZES:
                more = size * profile / profile.std() * null["se"].median()
                changed = null.assign(log2_fc=null["log2_fc"] + more)
                made = nk.tl.signal_activity(changed, signatures)
                rows.append((kind, f"planted {size:g}", made["call"].iloc[0]))
                left = signatures if signatures == "hallmark" else table
                rest = [name for name in table if name not in gamma]
                made = nk.tl.signal_activity(changed, left, signals=rest)
                rows.append((kind, f"removed {size:g}", made["call"].iloc[0]))
    return rows


def main() -> None:
    """Call all experiments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signatures", default="hallmark")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("results/signal_activity"))
    options = parser.parse_args()
    rows = experiments(options.signatures, options.data)
    calls = pd.DataFrame(rows, columns=["cells", "experiment", "call"])
    options.out.mkdir(parents=True, exist_ok=True)
    calls.to_csv(options.out / "calls.tsv", sep="\t", index=False)
    made = pd.crosstab(calls["experiment"], calls["call"])
    made.to_csv(options.out / "summary.tsv", sep="\t")
    print(made.to_string())


if __name__ == "__main__":
    main()
